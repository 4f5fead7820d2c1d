"""A static Pod's manifest as the stand-in kubelet reads it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

SIZE_LIMIT = 10 << 20
"""The kubelet reads no more of a manifest (pkg/kubelet/config/file.go, maxConfigLength)."""


class NotAPod(ValueError):  # noqa: N818 -- reads as what the file is
    """The text is no static Pod; the message says why."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path as a container sees it. `kind` is the hostPath type; no `host_path` means emptyDir."""

    host_path: str
    mount_path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container: what it runs (variables expanded), with which environment and mounts."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    mounts: tuple[Mount, ...]

    def flag(self, name: str) -> str | None:
        """Value of the last `--name=value`, which is the one that counts; None where it is not given."""
        values = [text.partition("=")[2] for text in self.arguments if text.startswith(f"--{name}=")]
        return values[-1] if values else None


@dataclass(frozen=True, slots=True)
class StaticPod:
    """A Pod of the manifest folder; `uid` changes exactly when the content of its file does."""

    namespace: str
    name: str
    uid: str
    containers: tuple[Container, ...]


def parse(data: bytes) -> StaticPod:
    """Read the first document of a manifest; NotAPod for all that the kubelet would not run."""
    if len(data) > SIZE_LIMIT:
        raise NotAPod(f"the file is larger than {SIZE_LIMIT} bytes")
    document = _load(data)
    if not isinstance(document, dict) or "kind" not in document:
        raise NotAPod("couldn't parse as pod(Object 'Kind' is missing)")
    if document["kind"] != "Pod":
        raise NotAPod(f"couldn't parse as pod(it is a {document['kind']})")
    try:
        return _pod(document, hashlib.md5(data, usedforsecurity=False).hexdigest())
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAPod(f"couldn't parse as pod({type(error).__name__}: {error})") from error


def _load(data: bytes) -> Any:
    try:
        return next(iter(YAML(typ="safe", pure=True).load_all(data)), None)
    except (YAMLError, ValueError) as error:
        raise NotAPod(f"couldn't parse as pod({error})") from error


def _pod(document: dict[str, Any], uid: str) -> StaticPod:
    specification = document["spec"]
    volumes = {volume["name"]: volume for volume in specification.get("volumes") or ()}
    metadata = document["metadata"]
    return StaticPod(
        namespace=metadata.get("namespace") or "default",
        name=metadata["name"],
        uid=uid,
        containers=tuple(_container(container, volumes) for container in specification["containers"]),
    )


def _container(container: dict[str, Any], volumes: dict[str, Any]) -> Container:
    environment = {item["name"]: str(item.get("value") or "") for item in container.get("env") or ()}
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return Container(
        name=container["name"],
        arguments=tuple(_expand(str(word), environment) for word in words),
        environment=environment,
        mounts=tuple(_mount(mount, volumes) for mount in container.get("volumeMounts") or ()),
    )


def _mount(mount: dict[str, Any], volumes: dict[str, Any]) -> Mount:
    host = volumes[mount["name"]].get("hostPath") or {}
    return Mount(host.get("path", ""), mount["mountPath"], host.get("type") or "")


def _expand(word: str, environment: dict[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: unknown names stay, `$$(NAME)` is an escaped `$(NAME)`."""

    def value(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        return environment.get(match[1], match[0])

    return re.sub(r"\$?\$\(([-._A-Za-z0-9]+)\)", value, word)
