"""kubeadm's ClusterConfiguration: what it makes of the eight flags, and its text with other extraArgs.

`kubeadm upgrade` writes the manifest from it: its own seven flags, and in their place or besides what stands
in apiServer.extraArgs, a mapping in v1beta3 and a list of name and value, where names may repeat, in v1beta4
(kubernetes/cmd/kubeadm/app/phases/controlplane/manifests.go, util/arguments.go).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core import flags as f
from aggctl.core.manifest.yamltext import Items, Scalar, Table, decode, is_null, parse
from aggctl.core.paths import clean
from aggctl.core.resources import path_of
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.manifest.yamltext import Node

PATH = path_of("v1", "configmaps", "kube-system", "kubeadm-config")
TARGET = "ConfigMap kube-system/kubeadm-config"
KEY = "ClusterConfiguration"
FILES = (f.CA, f.CERTIFICATE, f.KEY)
"""Flags that name files: what they name must be there on every node that they are set on."""

_LISTED = {"kubeadm.k8s.io/v1beta2": False, "kubeadm.k8s.io/v1beta3": False, "kubeadm.k8s.io/v1beta4": True}
_FOLDER = "/etc/kubernetes/pki"
_OF_THE_SYSTEM = (
    *("/etc/ssl/certs", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/ca-certificates"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
)
"""What kubeadm mounts besides, where it is there (phases/controlplane/volumes.go)."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One of apiServer.extraArgs; `scalar` is its value in the text, None where it has none."""

    name: str
    value: str
    scalar: Scalar | None
    flow: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """A ClusterConfiguration. `listed` is the shape of its extraArgs, `folders` what kubeadm mounts by it."""

    text: str = field(repr=False)
    listed: bool
    certificates: str
    folders: tuple[str, ...]
    extras: tuple[Extra, ...] = field(repr=False)
    root: Table = field(repr=False, compare=False)
    path: str = TARGET

    def value(self, name: str) -> str | None:
        """What kubeadm sets one of the eight flags to; None where it leaves it out."""
        found = [each.value for each in self.extras if each.name == name]
        return f.effective(name, found or self._own(name))

    def mounts(self, path: str) -> bool:
        """Whether the Pod that kubeadm writes sees a file."""
        place = clean(path) or ""
        return any(place.startswith(f"{folder}/") for folder in self.folders)

    def _own(self, name: str) -> tuple[str, ...]:
        """The value that kubeadm has of itself; none for routing."""
        seven = {
            f.CA: f"{self.certificates}/front-proxy-ca.crt",
            f.NAMES: f.DEFAULT_NAME,
            f.CERTIFICATE: f"{self.certificates}/front-proxy-client.crt",
            f.KEY: f"{self.certificates}/front-proxy-client.key",
            **f.HEADERS,
        }
        return (seven[name],) if name in seven else ()


def agree(name: str, one: str | None, other: str | None) -> bool:
    """Whether two values of a flag are the same to kube-apiserver."""
    if name == f.ROUTING:
        return f.is_true(one) == f.is_true(other)
    if name in FILES and one and other:
        return clean(one) == clean(other)
    return one == other


def read_configuration(text: str) -> Configuration:
    """The configuration in its text; Refused where it is none that can be edited."""
    try:
        root = parse(decode(text.encode("utf-8", "replace"), TARGET), TARGET)
    except Refused as error:
        raise not_editable(error.message) from error
    if not isinstance(root, Table) or _word(root, "kind") != KEY:
        raise not_editable(f"data.{KEY} holds no {KEY}")
    version = _word(root, "apiVersion")
    if version not in _LISTED:
        raise not_editable(f"apiVersion is {version or 'missing'}, and aggctl knows {', '.join(_LISTED)}")
    listed = _LISTED[version]
    server = _table(root, "apiServer")
    certificates = clean(_word(root, "certificatesDir")) or _FOLDER
    return Configuration(
        text=text,
        listed=listed,
        certificates=certificates,
        folders=tuple(dict.fromkeys((certificates, *_OF_THE_SYSTEM, *_volumes(server)))),
        extras=tuple(_of_list(server) if listed else _of_mapping(server)),
        root=root,
    )


def layer_part(text: str) -> str:
    """A ClusterConfiguration with nothing but what concerns the layer: other values may be secrets.

    Empty where it is none that can be read.
    """
    try:
        found = read_configuration(text)
    except Refused:
        return ""
    args = [(each.name, each.value) for each in found.extras if each.name in f.AGGREGATION_FLAGS]
    shape: Any = [{"name": name, "value": value} for name, value in args] if found.listed else dict(args)
    server = {"extraArgs": shape, "extraVolumes": [{"mountPath": each} for each in found.folders]}
    head = {"apiVersion": _word(found.root, "apiVersion"), "kind": KEY}
    return json.dumps(head | {"certificatesDir": found.certificates, "apiServer": server})


def not_editable(reason: str) -> Refused:
    """The refusal of a ClusterConfiguration that nothing is written to."""
    return Refused(
        "kubeadm-config-not-editable",
        f"{TARGET} cannot be edited safely: {reason.removeprefix(TARGET).lstrip(', :').removesuffix('.')}",
        do="correct it: kubectl -n kube-system edit configmap kubeadm-config; or leave it as it is: "
        "aggctl enable --persist none",
    )


def _word(table: Table, key: str) -> str:
    node = table.get(key)
    return node.value if isinstance(node, Scalar) else ""


def _table(parent: Table, key: str) -> Table | None:
    """The mapping under a key; None where it is missing or null."""
    node = parent.get(key)
    if node is not None and not isinstance(node, Table):
        raise not_editable(f"line {node.line}: {key} is no mapping")
    return node


def _list(parent: Table | None, key: str) -> Iterator[Table]:
    """The mappings of the list under a key."""
    node = parent.get(key) if parent else None
    if node is None:
        return
    if not isinstance(node, Items):
        raise not_editable(f"line {node.line}: {key} is no list")
    for item in node.items:
        if not isinstance(item, Table):
            raise not_editable(f"line {item.line}: an item of {key} is no mapping")
        yield item


def _volumes(server: Table | None) -> Iterator[str]:
    for each in _list(server, "extraVolumes"):
        if path := clean(_word(each, "mountPath")):
            yield path


def _of_mapping(server: Table | None) -> Iterator[Extra]:
    args = _table(server, "extraArgs") if server else None
    for key, node in args.entries if args else ():
        yield _extra(key.value, node, flow=args is not None and args.flow)


def _of_list(server: Table | None) -> Iterator[Extra]:
    for each in _list(server, "extraArgs"):
        name, more = _word(each, "name"), {key.value for key, _ in each.entries} - {"name", "value"}
        if name in f.AGGREGATION_FLAGS and more:
            raise not_editable(f"line {each.line}: {name} has {', '.join(sorted(more))} besides its value")
        node = next((value for key, value in each.entries if key.value == "value"), None)
        yield _extra(name, node, flow=each.flow)


def _extra(name: str, node: Node | None, *, flow: bool) -> Extra:
    if node is not None and not isinstance(node, Scalar):
        raise not_editable(f"line {node.line}: the value of {name} is no text")
    return Extra(name, "" if node is None or is_null(node) else node.value, node, flow)
