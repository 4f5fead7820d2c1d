"""Whether the server can be reached: by a fresh connection from this node, or as kube-apiservers say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.doctor.layer import proxy_of
from aggctl.core.doctor.model import BROKEN, Hop, hop, host_of
from aggctl.core.doctor.pods import MESHES
from aggctl.core.doctor.signs import REACH, Sign, read_sign
from aggctl.core.findings import Finding
from aggctl.core.questions import Dial, ObjectAt, RawAt
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.snapshot import Snapshot

_FIXES = {
    "connection-refused": "see on which port the server listens, and compare targetPort: "
    "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={service} -o yaml",
    "endpoint-timeout": "let {node} reach {address} over TCP: firewall or security group, NetworkPolicy "
    "(ipBlock of the control plane), CNI on the control plane",
    "service-address-timeout": "see that kube-proxy runs on {node}, or: sudo aggctl enable --routing on",
    "no-route-to-service": (
        "on {node}: ip route add SERVICE-CIDR dev IFACE     (or: sudo aggctl enable --routing on)"
    ),
    "no-route-to-endpoint": (
        "give {node} a route to {address}: a CNI on the control plane, or hostNetwork for the server"
    ),
    "address-family-mismatch": (
        "let the server listen in the family that comes first in the Service's ipFamilies"
    ),
    "proxy-environment": (
        "extend NO_PROXY of kube-apiserver by .svc and the networks of Services and Pods, in its "
        "manifest and in kubeadm's patches"
    ),
    "egress-tunnel-broken": (
        "mend the tunnel's agents: kubectl -n kube-system get pods | grep -e konnectivity -e agent"
    ),
    "name-not-resolved": "correct spec.externalName of Service {namespace}/{service}",
    "connection-lost": "wait a minute: kube-apiserver drops the connection; run two replicas",
    "connection-failed": "see what {node} itself forbids: nft list ruleset, iptables-save, its addresses",
    "connection-reset": (
        "see what stands before the port: a mesh's sidecar (exclude the port), another protocol"
    ),
}
_MESSAGES = {
    "connection-refused": "{address} refuses the connection: nothing listens there",
    "endpoint-timeout": "{address} does not answer: packets are dropped on the way, or the server hangs",
    "service-address-timeout": "ClusterIP {address} does not answer, and endpoints are not to blame so far",
    "no-route-to-service": "ClusterIP {address} has no route from {node}",
    "no-route-to-endpoint": "{address} has no route from {node}",
    "address-family-mismatch": "{address} is of a family that {node} has no route for",
    "proxy-environment": "kube-apiserver sends its requests for {address} to a proxy",
    "egress-tunnel-broken": "the tunnel by which kube-apiserver dials Pods has no way to {address}",
    "name-not-resolved": "the name in {address} does not resolve",
    "connection-lost": "the connection to the server was lost; a node that held it may be gone",
    "connection-reset": "{address} ends the connection",
    "connection-failed": "{address} cannot be dialled from {node}",
}
_CANDIDATES = {
    "endpoint-timeout": (
        (
            "candidates: firewall or security group; NetworkPolicy; "
            "Pod network not routed to the control plane; "
            "VXLAN checksums or MTU; the server hangs"
        ),
        "decides: a dial of the same endpoint from its own node, and of another endpoint from here",
    ),
}


def of_reach(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place, ways: Ways, pods: Pods | None
) -> Hop:
    """Dial anew what kube-apiserver dials; where that is not possible, go by its words."""
    if place.dials:
        snapshot.expect(*(Dial(each) for each in backend.dialled))
    probed = {} if ways.works or place.dials else _proxied(snapshot, subject, backend, ways, pods)
    look = hop(
        "reach",
        lambda: (
            _said(snapshot, backend, place, ways),
            _findings(snapshot, subject, backend, place, ways, probed),
        ),
    )
    if look.state == BROKEN and pods is not None:
        (only,) = look.findings
        noted = replace(only, evidence=(*only.evidence, *_policies(snapshot, subject, place, pods)))
        return replace(look, findings=(noted,))
    return look


def _said(snapshot: Snapshot, backend: Backend, place: Place, ways: Ways) -> str:
    well = [each.server.rpartition("//")[2] for each in ways.every if each.works]
    fresh = [each for each in backend.dialled if place.dials and not snapshot.dial(each)]
    dialled = f"{len(fresh)}/{len(backend.dialled)} dialled from here; " if place.dials else ""
    return f"{dialled}answers through {', '.join(well) or 'none'}"


def _findings(
    snapshot: Snapshot,
    subject: Subject,
    backend: Backend,
    place: Place,
    ways: Ways,
    probed: dict[str, str],
) -> Iterator[Finding]:
    signs = {each.code: each for each in ways.signs(REACH)}
    failures = _dialled(snapshot, backend, place) or probed
    if "proxy-environment" in signs or (signs and _proxied_away(place, backend)):
        yield _finding("proxy-environment", subject, backend, place, ways, next(iter(signs.values())))
        return
    if "egress-tunnel-broken" in signs:
        yield _finding("egress-tunnel-broken", subject, backend, place, ways, signs["egress-tunnel-broken"])
        return
    for address, error in failures.items():
        sign = read_sign(error)
        code = sign.code if sign and sign.hop == REACH else "connection-failed"
        at = Sign(REACH, code, error, address=address)
        severity = "error" if len(failures) >= len(backend.dialled) or not ways.works else "warning"
        yield _finding(code, subject, backend, place, ways, at, severity=severity)
        return
    for sign in signs.values():
        late = sign.code == "endpoint-timeout" or not ways.is_broken_through(place.server)
        if place.dials and backend.dialled and late:
            continue  # dialled a moment ago: what is slow is behind the connection, or on another node
        yield _finding(sign.code, subject, backend, place, ways, sign)
        return


def _dialled(snapshot: Snapshot, backend: Backend, place: Place) -> dict[str, str]:
    """What cannot be dialled; where that is a ClusterIP, the endpoints behind it if they are the cause."""
    if not place.dials:
        return {}
    failed = {each: error for each in backend.dialled if (error := snapshot.dial(each))}
    behind = [each for each in backend.endpoints if failed and each not in backend.dialled]
    snapshot.expect(*(Dial(each) for each in behind))
    return {each: error for each in behind if (error := snapshot.dial(each))} or failed


def _proxied_away(place: Place, backend: Backend) -> bool:
    env = dict(place.node.manifest.env) if place.node else {}
    hosts = tuple(host_of(each) for each in backend.dialled)
    return bool(proxy_of(env, hosts))


def _proxied(
    snapshot: Snapshot, subject: Subject, backend: Backend, ways: Ways, pods: Pods | None
) -> dict[str, str]:
    """What kube-apiservers say that are made to dial a Pod themselves; only what fails to connect counts.

    It proves reachability of the Pod from there, nothing about ClusterIPs, TLS or identity. One of each is
    enough: what is black-holed takes as long as a request may.
    """
    called = [(each, name) for each in backend.endpoints if pods and (name := pods.called_at(host_of(each)))]
    if not ways.signs(REACH) or not called:
        return {}
    address, name = called[0]
    port = address.rpartition(":")[2]
    path = f"/api/v1/namespaces/{subject.at.namespace}/pods/https:{name}:{port}/proxy/livez"
    server = ways.broken[0].server
    if unknown := snapshot.unknown(RawAt(path, server)):
        silent = read_sign(unknown.reason)
        waits = silent is not None and silent.code == "endpoint-timeout"
        return {address: f"GET of the Pod through kube-apiserver: {unknown.reason}"} if waits else {}
    words = snapshot.raw(path, server).said
    sign = read_sign(words)
    return {sign.address or address: f"{words} (as {server} says)"} if sign and sign.hop == REACH else {}


def _finding(
    code: str,
    subject: Subject,
    backend: Backend,
    place: Place,
    ways: Ways,
    sign: Sign,
    *,
    severity: str = "error",
) -> Finding:
    address = sign.address or (backend.dialled[0] if backend.dialled else "")
    code = _sharper(code, address, sign.words, backend)
    words = {
        "address": address,
        "node": "this node" if place.node else "the control plane",
        "namespace": subject.at.namespace,
        "service": subject.at.name,
    }
    return Finding(
        code,
        severity,
        subject.name,
        _MESSAGES[code].format(**words),
        _FIXES[code].format(**words),
        evidence=tuple(dict.fromkeys((sign.words, *ways.evidence, *_CANDIDATES.get(code, ())))),
    )


def _sharper(code: str, address: str, words: str, backend: Backend) -> str:
    """Whether it is the ClusterIP or an endpoint that is out of reach, and the address family."""
    clustered = str((backend.service.get("spec") or {}).get("clusterIP") or "-")
    if host_of(address) == clustered:
        # "No route to host" tells of a neighbour that is not there: where the default route leads when
        # nothing turns the ClusterIP into a Pod's address. Without a route the network is unreachable.
        unrouted = code == "no-route" and "network is unreachable" in words.lower()
        silent = code in ("no-route", "endpoint-timeout")
        return "no-route-to-service" if unrouted else "service-address-timeout" if silent else code
    if code != "no-route":
        return code
    families = (backend.service.get("spec") or {}).get("ipFamilies") or []
    foreign = _family(address) not in families or (len(families) > 1 and _family(address) == "IPv6")
    return "address-family-mismatch" if families and foreign else "no-route-to-endpoint"


def _family(address: str) -> str:
    return "IPv6" if address.startswith("[") else "IPv4"


def _policies(snapshot: Snapshot, subject: Subject, place: Place, pods: Pods) -> tuple[str, ...]:
    """NetworkPolicies that select the Pods, and sidecars of a mesh: both may stand in the way."""
    path = path_of("networking.k8s.io/v1", "networkpolicies", subject.at.namespace)
    notes = []
    if pods.items and not snapshot.unknown(ObjectAt(path, place.server)):
        labels = pods.items[0]["metadata"].get("labels") or {}
        for each in (snapshot.object(path, place.server) or {}).get("items") or []:
            wanted = ((each.get("spec") or {}).get("podSelector") or {}).get("matchLabels") or {}
            if all(labels.get(name) == value for name, value in wanted.items()):
                notes.append(
                    f"NetworkPolicy {subject.at.namespace}/{each['metadata']['name']} may be about the Pods"
                )
    containers = [
        each["name"] for pod in pods.items[:1] for each in (pod.get("spec") or {}).get("containers") or []
    ]
    notes += [f"{MESHES[each]}'s sidecar is in the Pods" for each in containers if each in MESHES]
    return tuple(notes)
