"""The layer as status shows it: on, partly on or off, of each node whose kube-apiserver can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.doctor.layer import switched
from aggctl.core.podspec import words_of
from aggctl.core.published import CONFIG_MAP, read_published
from aggctl.core.questions import ObjectAt
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.doctor.model import Place
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class LayerSeen:
    """The layer: on, partly on, off or not known; of each node where it can be seen, with the node's name.

    `published` says that only what the cluster publishes was seen. Moments are known on a node alone.
    """

    state: str
    nodes: tuple[tuple[str, str], ...] = ()
    published: bool = False
    client_until: datetime | None = None
    ca_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A kube-apiserver's mirror Pod: its node, that one's address, what its flags make of the layer."""

    node: str
    host: str
    state: str


def see_pods(snapshot: Snapshot, place: Place) -> tuple[Pod, ...]:
    """Those of all nodes; none where they may not be seen."""
    if snapshot.unknown(ObjectAt(APISERVER_PODS, place.server)):
        return ()
    found = (snapshot.object(APISERVER_PODS, place.server) or {}).get("items") or []
    return tuple(
        Pod(
            str((each.get("spec") or {}).get("nodeName") or ""),
            str((each.get("status") or {}).get("hostIP") or ""),
            switched(set(f.AGGREGATION_FLAGS) - _flags(each)),
        )
        for each in found
    )


def _flags(pod: Object) -> set[str]:
    """The names of the flags of all its containers."""
    return {word.removeprefix("--").partition("=")[0] for word in words_of(pod) if word.startswith("--")}


def see_layer(snapshot: Snapshot, place: Place, pods: tuple[Pod, ...]) -> LayerSeen:
    """By this node's manifest and every kube-apiserver's Pod; without any, by what the cluster publishes."""
    states = {each.node or each.host: each.state for each in pods}
    if place.node:
        states[_name(place.node.server, pods)] = switched(place.node.layer.missing)
    client = place.files.certificate if place.files else None
    authorities = place.files.authorities if place.files else ()
    if states:
        return LayerSeen(
            _of_all(set(states.values())),
            tuple(sorted(states.items())),
            client_until=client.not_after if client else None,
            ca_until=authorities[0].not_after if authorities else None,
        )
    if not place.servers or snapshot.unknown(ObjectAt(CONFIG_MAP, place.server)):
        return LayerSeen(NOT_KNOWN)
    try:
        published = read_published(snapshot, place.server)
    except NotKnown:
        return LayerSeen(NOT_KNOWN)
    return LayerSeen("on" if published.authorities else "off", published=True)


def _of_all(states: set[str]) -> str:
    return next(iter(states)) if len(states) == 1 else "partly on"


def _host(server: str) -> str:
    return urlsplit(server).hostname or ""


def _name(server: str, pods: tuple[Pod, ...]) -> str:
    """A kube-apiserver's node, where its Pod tells; else its address."""
    host = _host(server)
    return next((each.node for each in pods if each.node and each.host == host), urlsplit(server).netloc)


def label_of(server: str, place: Place, pods: tuple[Pod, ...]) -> str:
    """The same for the head of a column: the port only where the host alone does not tell."""
    name, host = _name(server, pods), _host(server)
    alone = sum(_host(each) == host for each in place.servers) == 1
    return host if alone and name == urlsplit(server).netloc else name
