"""Which of the eight flags each kube-apiserver runs with, and which kubeadm-config may hold for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.manifest.program import read_flags
from aggctl.core.manifest.yamltext import Scalar
from aggctl.core.persist.configuration import FILES, agree
from aggctl.core.podspec import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggctl.core.manifest import Manifest
    from aggctl.core.node import Node
    from aggctl.core.persist.configuration import Configuration
    from aggctl.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Server:
    """A kube-apiserver's Pod: its name, its addresses, and the eight flags, None for one that is not set."""

    name: str
    addresses: frozenset[str]
    flags: Mapping[str, str | None]


def shared_flags(
    configuration: Configuration, wanted: Mapping[str, str], others: Iterable[Server]
) -> tuple[str, ...]:
    """The flags that are right for every node, so that kubeadm-config may say them."""
    found = list(others)
    return tuple(
        name
        for name, value in wanted.items()
        if all(goes_with(name, each.flags[name], value) for each in found)
        and (name not in FILES or configuration.mounts(value))
    )


def goes_with(name: str, theirs: str | None, ours: str) -> bool:
    """Whether another kube-apiserver runs with the same, or says nothing that it would lose."""
    return agree(name, theirs, ours) or (theirs is None and name not in FILES)


def flags_of(manifest: Manifest) -> dict[str, str]:
    """Those of the eight flags that a manifest sets; routing is off where it says nothing of it."""
    found = {name: f.effective(name, manifest.values(name)) for name in f.AGGREGATION_FLAGS}
    return {f.ROUTING: "false"} | {name: value for name, value in found.items() if value is not None}


def see_servers(snapshot: Snapshot, server: str) -> tuple[Server, ...]:
    """Every kube-apiserver by its Pod; NotKnown where they may not be seen."""
    found = (snapshot.object(APISERVER_PODS, server) or {}).get("items") or []
    return tuple(_server(each) for each in found)


def _server(pod: dict[str, Any]) -> Server:
    scalars = [Scalar(word, "", number, number, 0) for number, word in enumerate(words_of(pod))]
    values: dict[str, list[str]] = {}
    for each in read_flags(scalars):
        values.setdefault(each.flag.name, []).append("true" if each.flag.value is None else each.flag.value)
    host = str((pod.get("status") or {}).get("hostIP") or "")
    return Server(
        name=str((pod.get("metadata") or {}).get("name") or "kube-apiserver"),
        addresses=frozenset({host, *values.get("advertise-address", ())}) - {""},
        flags={name: f.effective(name, values.get(name, ())) for name in f.AGGREGATION_FLAGS},
    )


def other_servers(snapshot: Snapshot, node: Node) -> tuple[Server, ...]:
    """All but this node's."""
    here = {urlsplit(node.server).hostname or "", *node.manifest.values("advertise-address")}
    return tuple(each for each in see_servers(snapshot, node.server) if not here & each.addresses)
