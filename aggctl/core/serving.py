"""Who serves an API, and with which certificate: from a Service to the container, its flags and its Secret.

A generic API server (k8s.io/apiserver, options/serving.go) serves with --tls-cert-file and
--tls-private-key-file. Without them it looks for apiserver.crt and apiserver.key in --cert-dir, and signs
itself a pair where they are missing.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.paths import below, clean
from aggctl.core.podspec import (
    WhyNot,
    command_line,
    containers,
    flag,
    is_workload,
    pod_labels,
    pod_spec,
    started_by_shell,
    with_flag,
)
from aggctl.core.shapes import at, namespace_of, number, rows, table, tables, title, word
from aggctl.core.text import clean as shown
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aggctl.core.manifestset.model import Item

CERT_FLAG, KEY_FLAG = "tls-cert-file", "tls-private-key-file"
VOLUME = "aggctl-tls"
FOLDER = "/aggctl-tls"
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class ServingSecret:
    """The Secret that a container serves with.

    `cert_entry` and `key_entry` are names in the Secret's data; `given` is False for the volume of aggctl.
    A file mounted by `sub_path` never changes in a running Pod: a new certificate needs new Pods.
    """

    namespace: str
    secret: str
    container: str
    volume: str
    cert_path: str
    key_path: str
    cert_entry: str
    key_entry: str
    sub_path: bool
    given: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of a container, and the Secret's entry that it comes from."""

    secret: str
    entry: str
    volume: str
    sub_path: bool


def tls_names(service: str, namespace: str, cluster_domain: str = "cluster.local") -> tuple[str, ...]:
    """The SANs of a serving certificate; kube-apiserver asks for the first one, whatever it dials."""
    return (
        f"{service}.{namespace}.svc",
        f"{service}.{namespace}",
        f"{service}.{namespace}.svc.{cluster_domain}",
    )


# --- from the Service to the container -------------------------------------------------------------------


def workload_for(items: Iterable[Item], service: dict[str, Any]) -> Item | WhyNot:
    """The workload of the set whose Pods the Service selects."""
    selector = table(service, "spec", "selector")
    if not selector:
        return WhyNot(f"{title(service)} has no selector, so that its endpoints are made by somebody else")
    workloads = [item for item in items if is_workload(item.object)]
    found = [item for item in workloads if _selects(service, selector, item.object)]
    if len(found) == 1:
        return found[0]
    if found:
        return WhyNot(
            f"{title(service)} selects several: {', '.join(title(item.object) for item in found[:4])}"
        )
    return WhyNot(f"{title(service)} selects no workload among these manifests")


def _selects(service: dict[str, Any], selector: dict[str, Any], workload: dict[str, Any]) -> bool:
    """Whether they are in one namespace and the labels hold; none is whatever the set is applied to."""
    one_place = namespace_of(service) == namespace_of(workload)
    return one_place and selector.items() <= pod_labels(workload).items()


def target_port(service: dict[str, Any], port: int) -> int | str | None:
    """Where the Service's port leads in the Pod: a number or a name; None where there is no such port."""
    for each in tables(service, "spec", "ports"):
        if number(each, "port") == port:
            target: int | str = number(each, "targetPort") or word(each, "targetPort") or port
            return target
    return None


def container_for(pod: dict[str, Any], service: dict[str, Any], port: int) -> dict[str, Any] | WhyNot:
    """The container of a Pod's spec that answers behind a port of the Service."""
    target = target_port(service, port)
    if target is None:
        return WhyNot(f"{title(service)} has no port {port}")
    every = containers(pod)
    if isinstance(target, str):
        found = [each for each in every if any(word(one, "name") == target for one in tables(each, "ports"))]
        return found[0] if found else WhyNot(f"no container has a port named {shown(target, 40)}")
    if len(every) == 1:
        return every[0]
    found = [each for each in every if target in listening_ports(each)]
    return (
        found[0]
        if len(found) == 1
        else WhyNot(f"none of {len(every)} containers says that it listens on {target}")
    )


def listening_ports(container: dict[str, Any]) -> tuple[int, ...]:
    """The ports that a container says it listens on: its containerPorts, and --secure-port."""
    ports = [number(each, "containerPort") for each in tables(container, "ports")]
    given = flag(command_line(container), "secure-port") or ""
    if _PORT.fullmatch(given):
        ports.append(int(given))
    return tuple(dict.fromkeys(each for each in ports if each))


# --- from the container to the Secret --------------------------------------------------------------------


def serving_secret(pod: dict[str, Any], namespace: str, container_name: str) -> ServingSecret | WhyNot:
    """The Secret that a container of a Pod's spec (of a manifest, or live) serves with."""
    container = _container(pod, container_name)
    paths = _files(container)
    if isinstance(paths, WhyNot):
        return paths
    cert, key = (_source(pod, container, path) for path in paths)
    if isinstance(cert, WhyNot):
        return cert
    if isinstance(key, WhyNot):
        return key
    if cert.secret != key.secret:
        return WhyNot(
            f"certificate and key come from two Secrets, {shown(cert.secret)} and {shown(key.secret)}"
        )
    return ServingSecret(
        namespace=namespace,
        secret=cert.secret,
        container=container_name,
        volume=cert.volume,
        cert_path=paths[0],
        key_path=paths[1],
        cert_entry=cert.entry,
        key_entry=key.entry,
        sub_path=cert.sub_path or key.sub_path,
        given=cert.volume != VOLUME,
    )


def _container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return [each for each in containers(pod) if word(each, "name") == name][0]  # noqa: RUF015 -- its absence is an IndexError here, not a StopIteration that ends somebody's loop


def _files(container: dict[str, Any]) -> tuple[str, str] | WhyNot:
    """The paths of certificate and key, as a generic API server makes them out."""
    words = command_line(container)
    cert, key, folder = (flag(words, name) for name in (CERT_FLAG, KEY_FLAG, "cert-dir"))
    if cert and key:
        return cert, key
    if cert or key:
        return WhyNot(f"only one of --{CERT_FLAG} and --{KEY_FLAG} is set")
    if any(CERT_FLAG in each for each in words) and started_by_shell(container):
        return WhyNot("the server is started by a shell, and its flags stand in a script")
    if folder:
        return f"{folder.rstrip('/')}/apiserver.crt", f"{folder.rstrip('/')}/apiserver.key"
    return WhyNot(f"it is started without --{CERT_FLAG} and --{KEY_FLAG}")


def _source(pod: dict[str, Any], container: dict[str, Any], path: str) -> _Source | WhyNot:
    """The Secret and the entry behind a path of the container."""
    inside = clean(path)
    if inside is None:
        return WhyNot(f"{shown(path)} is no absolute path")
    mount = _mount(container, inside)
    if mount is None:
        return WhyNot(f"{shown(inside)} is a file of the image: nothing is mounted there")
    if mount.get("subPathExpr"):
        return WhyNot(f"{shown(inside)} is mounted by subPathExpr")
    rest = below(inside, clean(word(mount, "mountPath")) or "") or ""
    sub_path = word(mount, "subPath").strip("/")
    file = "/".join(part for part in (sub_path, rest) if part)
    volume = next((each for each in tables(pod, "volumes") if each.get("name") == mount.get("name")), {})
    found = _in_volume(volume, file)
    if isinstance(found, WhyNot):
        return WhyNot(f"{shown(inside)} {found.reason}")
    return _Source(*found, volume=word(volume, "name"), sub_path=bool(sub_path))


def _mount(container: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The deepest mount above a path."""
    mounts = [
        (folder, each)
        for each in tables(container, "volumeMounts")
        if (folder := clean(word(each, "mountPath"))) and below(path, folder) is not None
    ]
    return max(mounts, key=lambda each: len(each[0]), default=(None, None))[1]


def _in_volume(volume: dict[str, Any], file: str) -> tuple[str, str] | WhyNot:
    """The Secret and the entry that a file of a volume is."""
    if secret := table(volume, "secret"):
        return _in_secrets([(word(secret, "secretName"), rows(secret, "items"))], file)
    if projected := table(volume, "projected"):
        secrets = [table(each, "secret") for each in tables(projected, "sources")]
        return _in_secrets([(word(each, "name"), rows(each, "items")) for each in secrets if each], file)
    kinds = [key for key in volume if key != "name"]
    return WhyNot(
        f"lies in a volume of kind {shown(kinds[0], 40)}" if kinds else "lies in a volume that is not defined"
    )


def _in_secrets(secrets: Sequence[tuple[str, list[Any]]], file: str) -> tuple[str, str] | WhyNot:
    """Entries with a path of their own first; a Secret without `items` has each entry as a file."""
    secrets = [each for each in secrets if each[0]]
    for name, items in secrets:
        for item in tables({"items": items}, "items"):
            if word(item, "path").strip("/") == file:
                return name, word(item, "key")
    whole = [name for name, items in secrets if not items]
    if len(whole) == 1 and file and "/" not in file:
        return whole[0], file
    return WhyNot("may come from several Secrets" if len(whole) > 1 else "is put there by no Secret")


# --- a certificate for who has none ----------------------------------------------------------------------


def with_serving_secret(workload: dict[str, Any], container_name: str, secret: str) -> dict[str, Any]:
    """A copy of the workload whose container serves with this Secret, unless it has one of its own."""
    changed = copy.deepcopy(workload)
    pod = pod_spec(changed)
    found = serving_secret(pod, "", container_name)
    if isinstance(found, ServingSecret) and found.given:
        return changed
    container = _container(pod, container_name)
    _refuse_script(workload, container)
    _put(pod, "volumes", {"name": VOLUME, "secret": {"secretName": secret}}, "name")
    _put(container, "volumeMounts", {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}, "mountPath")
    with_flag(container, CERT_FLAG, f"{FOLDER}/tls.crt")
    with_flag(container, KEY_FLAG, f"{FOLDER}/tls.key")
    return changed


def image_arguments_lost(container: dict[str, Any]) -> bool:
    """Whether flags that are added take the place of those that the image itself names (its CMD)."""
    return not rows(container, "command") and not rows(container, "args")


def _put(parent: dict[str, Any], field: str, entry: dict[str, Any], key: str) -> None:
    """Add an entry to a list that Kubernetes merges by `key`, in place of the one that is there."""
    others = [each for each in rows(parent, field) if at(each, key) != entry[key]]
    parent[field] = [*others, entry]


def _refuse_script(workload: dict[str, Any], container: dict[str, Any]) -> None:
    if started_by_shell(container):
        raise Refused(
            "server-started-by-shell",
            f"{title(workload)}: container {shown(word(container, 'name'), 60)} is started by a shell, and no"
            " flag can be added to its script.",
            expected=f"--{CERT_FLAG} and --{KEY_FLAG} in command or args",
            do="start the server without a shell; or mount the Secret and name its files in the script, then"
            " register with --tls secret=NAME",
        )
