"""Who would hold a replacement of the CA, as far as can be seen before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.apiservers import away
from aggctl.core.certs.client import trials
from aggctl.core.certs.layer import clock_problem
from aggctl.core.checks.workload import pods_path
from aggctl.core.findings import Finding
from aggctl.core.podspec import words_of
from aggctl.core.questions import ClockSkew, ObjectAt
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.apiservers import Roster
    from aggctl.core.certs.layer import Layer, Target
    from aggctl.core.snapshot import Snapshot

PIN = "--requestheader-client-ca-file"


def blockers(snapshot: Snapshot, layer: Layer, known: Roster, identity: str) -> tuple[Finding, ...]:
    """Nodes that are away or whose clock is wrong, endpoints that refuse even the leaf in use, pinned CAs.

    `identity` is the leaf in use, empty where it cannot be read.
    """
    server = layer.node.server
    others = [each for each in known.servers if each != server]
    snapshot.expect(*(ClockSkew(each) for each in others))
    return (
        *((_under_another_name(server, known),) if server not in known.servers else ()),
        *silent(known),
        *(found for each in others for found in clock_problem(each, snapshot.clock_skew(each))),
        *(_away(each) for each in away(snapshot, server, known)),
        *(trials(snapshot, layer, identity, "the certificate in use") if identity else ()),
        *_pinned(snapshot, layer),
    )


def _pinned(snapshot: Snapshot, layer: Layer) -> Iterator[Finding]:
    """Pods that name a file of their own for the CA: they follow what the cluster publishes no more.

    Whoever may not list Pods goes without the warning: the switch waits for each endpoint all the same.
    """
    server = layer.node.server
    paths = {each.api.name: _pods_of(snapshot, each, server) for each in layer.targets}
    snapshot.expect(*(ObjectAt(path, server) for path in paths.values() if path))
    for name, path in paths.items():
        if not path or snapshot.unknown(ObjectAt(path, server)):
            continue
        for pod in (snapshot.object(path, server) or {}).get("items") or []:
            if pins_ca(pod):
                where = f"{pod['metadata'].get('namespace')}/{pod['metadata'].get('name')}"
                yield Finding(
                    "endpoint-pins-ca",
                    "warning",
                    f"Pod {where} of APIService {name}",
                    f"it reads the CA from a file of its own ({PIN}), and does not follow what is published",
                    "take the flag away, or put both CAs into its file before the leaf is switched",
                )
                break


def pins_ca(pod: dict[str, Any]) -> bool:
    """Whether a server reads the front-proxy CA from a file of its own."""
    return PIN in {word.split("=")[0] for word in words_of(pod)}


def _pods_of(snapshot: Snapshot, target: Target, server: str) -> str:
    at = target.service
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server) or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    return pods_path(at.namespace, selector) if selector else ""


def _under_another_name(server: str, known: Roster) -> Finding:
    """Nodes note their stages by address: one with two addresses would be waited for by itself."""
    return Finding(
        "apiserver-under-another-address",
        "error",
        server,
        f"its manifest says {server}, and the cluster knows {', '.join(known.servers)}",
        "set --advertise-address in its manifest to the address that the cluster knows, then run again",
    )


def silent(known: Roster) -> tuple[Finding, ...]:
    """The kube-apiservers that do not answer; a Pod on such a node may be why an API cannot be dialled."""
    return tuple(
        Finding(
            "apiserver-not-asked",
            "error",
            server,
            f"this kube-apiserver does not answer, and every one has to take part: {why}",
            "bring it back, or take it out of the cluster, then run again",
        )
        for server, why in known.silent
    )


def _away(name: str) -> Finding:
    return Finding(
        "control-plane-node-away",
        "error",
        f"Node {name}",
        "this control-plane node is not ready, and every one has to take part",
        f"bring it back, or take it out of the cluster (kubectl delete node {name}), then run again",
    )
