"""What stands in the way of registering an API: the layer off, namespaces, owners, Services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.checks.extension import AUTOMANAGED, service_of
from aggctl.core.fields import managers
from aggctl.core.findings import Finding
from aggctl.core.published import read_published
from aggctl.core.questions import ObjectAt
from aggctl.core.resources import Located, path_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.extension import ServiceAt
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]


def layer_findings(snapshot: Snapshot, server: str) -> Iterator[Finding]:
    """The layer is off: no API can be registered, and none answers."""
    if not read_published(snapshot, server).authorities:
        yield Finding(
            code="layer-off",
            severity="error",
            subject="ConfigMap kube-system/extension-apiserver-authentication",
            message="the aggregation layer is off: the cluster publishes no front-proxy CA",
            expected="requestheader-client-ca-file in it",
            fix="on each control-plane node: sudo aggctl enable",
        )


def namespace_findings(snapshot: Snapshot, server: str, located: tuple[Located, ...]) -> Iterator[Finding]:
    """Namespaces that are neither there nor among the objects, or that are about to go."""
    used = dict.fromkeys(each.namespace for each in located if each.namespace)
    made = {each.object["metadata"]["name"] for each in located if each.kind == "Namespace"}
    paths = {name: path_of("v1", "namespaces", "", name) for name in (*used, *made)}
    snapshot.expect(*(ObjectAt(path, server) for path in paths.values()))
    for name, path in paths.items():
        live = snapshot.object(path, server)
        if live is None and name not in made:
            yield finding(
                "namespace-missing",
                f"Namespace {name}",
                f"there is no namespace {name}",
                f"kubectl create namespace {name}",
            )
        if live and live["metadata"].get("deletionTimestamp"):
            yield finding(
                "namespace-terminating",
                f"Namespace {name}",
                f"namespace {name} is being deleted",
                f"wait until it is gone: kubectl wait --for=delete namespace/{name}, then run again",
            )


def owner_findings(
    declared: Located, ours: ServiceAt, live: Object | None, *, take_over: bool
) -> Iterator[Finding]:
    """An API that is served already, by the cluster itself or by another product."""
    if live is None:
        return
    metadata = live["metadata"]
    at = service_of(live)
    if at is None or (metadata.get("labels") or {}).get(AUTOMANAGED):
        yield finding(
            "api-served-by-cluster",
            declared.target,
            "kube-apiserver serves this group and version itself: built in, or a CustomResourceDefinition",
            "choose another group or version; or remove the CRD that serves it",
        )
        return
    release = (metadata.get("annotations") or {}).get("meta.helm.sh/release-name")
    helm = f"Helm release {clean(str(release), 80)}" if release else ""
    if take_over or (serves(ours, live) and not helm):
        return
    who = ", ".join(clean(each, 60) for each in managers(live)) or "unknown"
    yield finding(
        "api-owned-by-another",
        declared.target,
        f"it belongs to {helm or f'Service {at.namespace}/{at.name}'} (field managers: {who})",
        "leave it to its owner, or take it over by --take-over",
    )


def serves(at: ServiceAt, live: Object | None) -> bool:
    """Whether an APIService as it is names this Service, by whichever port."""
    there = service_of(live) if live else None
    return there is not None and (there.namespace, there.name) == (at.namespace, at.name)


def service_findings(
    snapshot: Snapshot, server: str, declared: Located, at: ServiceAt, located: tuple[Located, ...]
) -> Iterator[Finding]:
    """The Service that an APIService names: in the set, or else in the cluster, with the port."""
    path = path_of("v1", "services", at.namespace, at.name)
    of_set = next((each.object for each in located if each.path == path), None)
    found = of_set or snapshot.object(path, server)
    if found is None:
        yield finding(
            "service-not-found",
            declared.target,
            f"its Service {at.namespace}/{at.name} is neither among the objects nor in the cluster",
            "add the Service, or name the right one: --service NS/NAME, or -n NAMESPACE",
        )
        return
    ports = [each.get("port") for each in (found.get("spec") or {}).get("ports") or []]
    if at.port not in ports and (found.get("spec") or {}).get("type") != "ExternalName":
        said = ", ".join(str(each) for each in ports) or "none"
        yield finding(
            "service-port-missing",
            declared.target,
            f"Service {at.namespace}/{at.name} has no port {at.port} (it has {said})",
            f"name its port: --service {at.namespace}/{at.name}:PORT, or spec.service.port",
        )


def no_cert_manager() -> Finding:
    """Its kind is not there."""
    return finding(
        "cert-manager-missing",
        "cert-manager.io/v1",
        "this cluster has no cert-manager: its kind Certificate is unknown",
        "install cert-manager, or let aggctl make the certificate: --tls self",
    )


def finding(code: str, subject: str, message: str, fix: str) -> Finding:
    """An error without more to say."""
    return Finding(code=code, severity="error", subject=subject, message=message, fix=fix)
