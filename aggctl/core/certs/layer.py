"""What a rotation of the layer's certificates works on: this node, its files, and every registered API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.checks.extension import ca_bundle_of, service_of
from aggctl.core.checks.workload import dialled_of, endpoints_of, slices_path
from aggctl.core.cluster_view import API_SERVICES, minor_of, see_cluster
from aggctl.core.extension import Api
from aggctl.core.findings import Finding
from aggctl.core.layer_files import LayerFiles, see_files
from aggctl.core.node import Node, see_node
from aggctl.core.questions import Dial, ObjectAt
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aggctl.core.cluster_view import ClusterView
    from aggctl.core.extension import ServiceAt
    from aggctl.core.snapshot import Snapshot

CLOCK_SECONDS = 60.0
RESTART = "restart-needed"
RELOADS_FROM = (1, 20)
"""The first kube-apiserver that reads --proxy-client-cert-file again by itself (kube-aggregator 3edc7f11)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One registered API: its Service, the CA that verifies it, its endpoints, what kube-apiserver dials."""

    api: Api
    service: ServiceAt
    bundle: str
    endpoints: tuple[str, ...]
    dialled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """The layer on this node, whole; `problems` are why nothing may be rotated now."""

    node: Node
    files: LayerFiles
    cluster: ClusterView
    targets: tuple[Target, ...]
    problems: tuple[Finding, ...]


def see_layer(snapshot: Snapshot, now: datetime) -> Layer:
    """Look at the node and every API; NotKnown where kube-apiserver does not tell what has to be known."""
    node = see_node(snapshot)
    files = see_files(snapshot, node, "")
    cluster = see_cluster(snapshot, node.server)
    targets = tuple(_targets(snapshot, node))
    problems = (*_of_node(snapshot, node, files, cluster, now), *_of_targets(snapshot, node.server, targets))
    return Layer(node, files, cluster, targets, problems)


def _targets(snapshot: Snapshot, node: Node) -> Iterator[Target]:
    found = (snapshot.object(API_SERVICES, node.server) or {}).get("items") or []
    named = [(each, at) for each in found if (at := service_of(each))]
    paths = [path_of("v1", "services", at.namespace, at.name) for _, at in named]
    snapshot.expect(*(ObjectAt(path, node.server) for path in paths))
    services = [snapshot.object(path, node.server) or {} for path in paths]
    slices = [path for each in services if each and (path := slices_path(each))]
    snapshot.expect(*(ObjectAt(path, node.server) for path in slices))
    routed = (node.layer.value(f.ROUTING) or "").lower() in ("true", "t", "1")
    for (each, at), service in zip(named, services, strict=True):
        endpoints = endpoints_of(snapshot, service, at.port, node.server) if service else ()
        dialled = dialled_of(service, at.port, endpoints, routed=routed)
        spec = each["spec"]
        yield Target(
            Api(str(spec["version"]), str(spec["group"])), at, ca_bundle_of(each), endpoints, dialled
        )


def _of_node(
    snapshot: Snapshot, node: Node, files: LayerFiles, cluster: ClusterView, now: datetime
) -> Iterator[Finding]:
    if node.layer.missing and set(node.layer.missing) != {f.ROUTING}:
        yield _problem(
            "layer-off",
            node.manifest.path,
            "the aggregation layer is not on, on this node",
            "sudo aggctl enable",
        )
    yield from files.unreadable
    yield from files.hidden
    yield from _single_files(node, files)
    yield from _linked(snapshot, files)
    version = minor_of(cluster.version)
    if version and version < RELOADS_FROM:
        yield _problem(
            RESTART,
            node.server,
            f"kube-apiserver {cluster.version} reads its client certificate at its start only",
            "run again with --restart: it is away meanwhile; from 1.20 on it does without",
        )
    yield from clock_problem(node.server, cluster.skew)
    for each in files.authorities[:1]:
        if each.not_after <= now:
            yield _problem(
                "front-proxy-ca-expired",
                files.ca_at.host,
                f"the CA expired on {each.not_after:%Y-%m-%d}: nothing that it signs is accepted",
                "aggctl explain front-proxy-ca-expired",
            )


def clock_problem(server: str, skew: float) -> Iterator[Finding]:
    """That a kube-apiserver's clock is that many seconds from this machine's, where it is too many."""
    if abs(skew) > CLOCK_SECONDS:
        yield _problem(
            "clock-wrong",
            server,
            f"its clock is {skew:+.0f} s from this machine's",
            "chronyc tracking, or timedatectl; then run again",
        )


def _single_files(node: Node, files: LayerFiles) -> Iterator[Finding]:
    """Files that are mounted by themselves: whatever is put in place, the Pod sees what it began with."""
    alone = {mount.mount_path for mount in node.manifest.mounts}
    for place in (files.ca_at, files.certificate_at, files.key_at):
        if place.inside in alone:
            yield _problem(
                "file-mounted-alone",
                place.host,
                f"it is mounted into the Pod as a single file, {place.inside}: a new one is not seen there",
                f"mount its folder in {node.manifest.path} instead; that restarts kube-apiserver once",
            )


def _linked(snapshot: Snapshot, files: LayerFiles) -> Iterator[Finding]:
    """Links in place of files: a rename would put a file in place of the link, and leave its target old.

    A folder that is reached by a link is another matter.
    """
    for seen, place in ((files.ca, files.ca_at), (files.certificate_file, files.certificate_at)):
        if not seen or not seen.link or any(each.subject == place.host for each in files.hidden):
            continue
        folder, _, name = place.host.rpartition("/")
        behind = snapshot.folder(folder)
        if seen.link != f"{behind.link if behind and behind.link else folder}/{name}":
            yield _problem(
                "certificate-linked",
                place.host,
                f"it is a symbolic link to {seen.link}: whoever renews it there would not know of another",
                f"cp --remove-destination {seen.link} {place.host}, and its key likewise; then run again",
            )


def _of_targets(snapshot: Snapshot, server: str, targets: tuple[Target, ...]) -> Iterator[Finding]:
    """APIs that are broken, or would be once kube-apiserver dials afresh: nobody could tell then."""
    snapshot.expect(*(Dial(address) for each in targets for address in each.dialled))
    try:
        unavailable = snapshot.unavailable_apis(server)
    except NotKnown as unknown:
        yield _problem(
            "metrics-not-readable", server, unknown.unknown.reason, "use a kubeconfig that may GET /metrics"
        )
        return
    for each in targets:
        if unavailable.get(each.api.name) is not False:
            yield _problem(
                "api-not-available",
                each.api.name,
                "it is not available, so that nobody could tell what a rotation does to it",
                f"mend it first, or take it away: aggctl unregister {each.api.name}",
            )
        for address in each.dialled:
            if error := snapshot.dial(address):
                yield _problem(
                    "api-not-dialled-afresh",
                    each.api.name,
                    f"{address} cannot be dialled from this node, {server} ({error}); "
                    "old connections may still answer",
                    "mend the way there (kube-proxy, a route, a firewall) first: a rotation dials afresh",
                )


def _problem(code: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code, "error", subject, message, fix)
