"""Every kube-apiserver by its own address: a load balancer shows one, and never says which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.core.cluster_view import KUBERNETES_SLICES, ready_endpoints
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, ReadyAt
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.snapshot import Snapshot

LEASES = (
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    "?labelSelector=apiserver.kubernetes.io/identity=kube-apiserver"
)
NODES = "/api/v1/nodes?labelSelector=node-role.kubernetes.io/control-plane"
APISERVER_PODS = "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver"
PEER_ADDRESS = "kubernetes.io/peer-advertise-address"


@dataclass(frozen=True, slots=True)
class Roster:
    """kube-apiservers that answer from here, by their own addresses, and those that do not, and why.

    `complete` where the cluster told them all: what is known is more than the kubeconfig's own address.
    """

    servers: tuple[str, ...]
    silent: tuple[tuple[str, str], ...] = ()
    complete: bool = field(default=True, compare=False)

    @property
    def alone(self) -> bool:
        """There is one, so it is that one which wrote whatever the cluster says of its APIs."""
        return self.complete and len(self.servers) == 1 and not self.silent


def roster(snapshot: Snapshot, server: str) -> Roster:
    """The EndpointSlice of default/kubernetes, and the Leases by which kube-apiservers know each other.

    The kubeconfig's own address counts where none of them can be asked: it may be that of a load balancer.
    """
    snapshot.expect(ObjectAt(KUBERNETES_SLICES, server), ObjectAt(LEASES, server))
    found = (*_from_slices(snapshot, server), *_from_leases(snapshot, server))
    known = tuple(dict.fromkeys(f"https://{address}" for address in found))
    snapshot.expect(*(ReadyAt(each) for each in known))
    silent = tuple((each, unknown.reason) for each in known if (unknown := snapshot.unknown(ReadyAt(each))))
    gone = {each for each, _ in silent}
    answering = tuple(each for each in known if each not in gone) or (server,)
    return Roster(answering, silent, 0 < _leases_held(snapshot, server) <= len(known))


def ready_servers(snapshot: Snapshot, server: str) -> tuple[str, ...]:
    """The kube-apiservers that are ready, the one at `server` last: it may be about to restart."""
    known = roster(snapshot, server)
    every = (*_others(known, server), server)
    snapshot.expect(*(ReadyAt(each) for each in every))
    return tuple(each for each in every if _said(snapshot, each) == "ok")


def peers_not_ready(snapshot: Snapshot, server: str) -> tuple[Finding, ...]:
    """The others that are not ready, so that a restart of the one at `server` might leave none.

    Nothing where that one is not ready itself: its restart takes nothing away, and may bring it back.
    """
    if _said(snapshot, server) != "ok":
        return ()
    peers = _others(roster(snapshot, server), server)
    snapshot.expect(*(ReadyAt(each) for each in peers))
    return tuple(_peer_not_ready(each, said) for each in peers if (said := _said(snapshot, each)) != "ok")


def _others(known: Roster, server: str) -> tuple[str, ...]:
    """All but the one at `server`, by whichever name of it is known; those that do not answer included."""
    own = urlsplit(server).hostname
    every = (*known.servers, *(each for each, _ in known.silent))
    return tuple(each for each in every if urlsplit(each).hostname != own)


def _said(snapshot: Snapshot, server: str) -> str:
    """What it says on /readyz, or why it says nothing."""
    unknown = snapshot.unknown(ReadyAt(server))
    return unknown.reason if unknown else snapshot.ready(server)


def _peer_not_ready(server: str, said: str) -> Finding:
    return Finding(
        "peer-not-ready",
        "error",
        server,
        f"this other kube-apiserver is not ready, and a restart here might leave none: {said}",
        "bring it back first, see there: aggctl doctor; of a node that is gone for good delete the Lease: "
        "kubectl -n kube-system get leases -l apiserver.kubernetes.io/identity=kube-apiserver",
        expected="every other kube-apiserver ready before this one restarts",
    )


def addresses(snapshot: Snapshot, server: str) -> tuple[str, ...]:
    """IP addresses of the kube-apiservers, as far as the cluster tells."""
    snapshot.expect(ObjectAt(KUBERNETES_SLICES, server), ObjectAt(LEASES, server))
    found = (*_from_slices(snapshot, server), *_from_leases(snapshot, server))
    hosts = (urlsplit(f"//{address}").hostname or "" for address in found)
    return tuple(dict.fromkeys(host for host in hosts if host))


def away(snapshot: Snapshot, server: str, known: Roster) -> tuple[str, ...]:
    """Control-plane nodes that are not ready, and whose kube-apiserver the cluster has forgotten."""
    here = {urlsplit(each).hostname for each in (*known.servers, *(one for one, _ in known.silent))}
    found = (snapshot.object(NODES, server) or {}).get("items") or []
    return tuple(
        str(each["metadata"]["name"])
        for each in found
        if not _is_ready(each) and not here & {str(one.get("address")) for one in _addresses(each)}
    )


def _addresses(node: dict[str, Any]) -> list[dict[str, Any]]:
    return (node.get("status") or {}).get("addresses") or []


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _from_slices(snapshot: Snapshot, server: str) -> Iterator[str]:
    try:
        yield from ready_endpoints(snapshot.object(KUBERNETES_SLICES, server), {"https"})
    except NotKnown:
        return


def _leases_held(snapshot: Snapshot, server: str) -> int:
    """How many there are, also of those that tell no address, as before 1.29; 0 where they are not shown."""
    if snapshot.unknown(ObjectAt(LEASES, server)):
        return 0
    return len((snapshot.object(LEASES, server) or {}).get("items") or [])


def _from_leases(snapshot: Snapshot, server: str) -> Iterator[str]:
    try:
        found = snapshot.object(LEASES, server) or {}
    except NotKnown:
        return
    for lease in found.get("items") or []:
        address = (lease["metadata"].get("annotations") or {}).get(PEER_ADDRESS)
        if address:
            yield str(address)
