"""Where doctor looks from: a control-plane node, or anywhere with a kubeconfig."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS, roster
from aggctl.core.doctor.model import Place
from aggctl.core.findings import Finding
from aggctl.core.layer_files import see_files
from aggctl.core.node import see_node
from aggctl.core.podspec import words_of
from aggctl.core.questions import ObjectAt, ReadyAt
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.snapshot import Snapshot

NO_NODE = frozenset({"no-manifest", "distribution-manages-kube-apiserver", "systemd-unit"})
"""Why a machine is no node whose files tell anything: no fault of the cluster."""


def see_place(snapshot: Snapshot, server: str | AggctlError, now: datetime, held: str = "") -> Place:
    """This node, if it is one, and every kube-apiserver that answers; `server` may be why there is none.

    `held` is the fingerprint of the node's leaf, where that is held for direct questions.
    """
    given = "" if isinstance(server, AggctlError) else server
    place = _on_node(snapshot, Place(given, (), now), held)
    if _is_foreign(snapshot, place, given):
        why = "this node's files: the kubeconfig is of another cluster"
        place = Place(given, (), now, why_no_node=why)
    if isinstance(server, AggctlError):
        return replace(place, server="", silent=(("the cluster", server.message),))
    if unknown := snapshot.unknown(ReadyAt(place.server)):
        return replace(place, silent=((place.server, unknown.reason),))
    known = roster(snapshot, place.server)
    routed = place.node.layer.routes if place.node else _routed(snapshot, place.server)
    return replace(place, servers=known.servers, silent=known.silent, routed=routed)


def _is_foreign(snapshot: Snapshot, place: Place, given: str) -> bool:
    """Whether the kubeconfig is of another cluster: it does not fit this kube-apiserver, its own answers."""
    if not place.node or not given or given == place.server:
        return False
    unknown = snapshot.unknown(ReadyAt(place.server))
    if unknown is None or unknown.code not in ("apiserver-not-trusted", "kubeconfig-not-accepted"):
        return False
    return snapshot.unknown(ReadyAt(given)) is None


def _on_node(snapshot: Snapshot, place: Place, held: str) -> Place:
    try:
        node = see_node(snapshot)
        files = see_files(snapshot, node, "")
    except NotKnown as unknown:
        return replace(place, why_no_node=f"this node's files: {unknown.unknown.reason}")
    except AggctlError as error:
        if error.code in NO_NODE:
            return replace(place, why_no_node=f"this node's files: {error.message}")
        problem = Finding(error.code, "error", "this node", error.message, error.do, error.expected)
        return replace(place, why_no_node=error.message, problems=(problem,))
    own = files.certificate.fingerprint if files.certificate else "-"
    server = node.server if place.server else ""
    return replace(place, server=server, node=node, files=files, identity=held if held == own else "")


def _routed(snapshot: Snapshot, server: str) -> bool | None:
    """--enable-aggregator-routing of the kube-apiservers' Pods; None where these cannot be seen."""
    if snapshot.unknown(ObjectAt(APISERVER_PODS, server)):
        return None
    pods = (snapshot.object(APISERVER_PODS, server) or {}).get("items") or []
    words = [set(words_of(each)) for each in pods]
    on = {f"--{f.ROUTING}", f"--{f.ROUTING}=true", f"--{f.ROUTING}=True", f"--{f.ROUTING}=1"}
    return any(on & each for each in words) if any(words) else None
