"""What can be wrong between the objects of a set: the APIService, its Service, the workload behind that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.findings import Finding
from aggctl.core.manifestset.apiservice import check_api_service, port_of
from aggctl.core.podspec import WhyNot, containers, is_workload, pod_spec
from aggctl.core.serving import container_for, listening_ports, target_port, workload_for
from aggctl.core.shapes import (
    at,
    is_api_service,
    is_service,
    name_of,
    namespace_of,
    number,
    rows,
    table,
    tables,
    title,
    word,
)
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aggctl.core.manifestset.model import Item

FIRST_FREE_PORT = 1024


def check_set(items: Iterable[Item]) -> tuple[Finding, ...]:
    """Every problem of the set that shows without a cluster."""
    items = tuple(items)
    apis = [item for item in items if is_api_service(item.object)]
    return (
        *(finding for api in apis for finding in check_api_service(api.object, api.place)),
        *(
            finding
            for service, ports in _named(items, apis)
            for finding in _check_service(items, service, ports)
        ),
        *(finding for item in items if is_workload(item.object) for finding in _privileged(item)),
    )


def service_for(items: Iterable[Item], api_service: dict[str, Any]) -> Item | None:
    """The Service of the set that an APIService names; None where it is not among them."""
    wanted = table(api_service, "spec", "service")
    for item in items:
        found = item.object
        if is_service(found) and (name_of(found), namespace_of(found)) == (
            word(wanted, "name"),
            word(wanted, "namespace"),
        ):
            return item
    return None


def _named(items: Sequence[Item], apis: Iterable[Item]) -> list[tuple[Item, tuple[int, ...]]]:
    """The Services of the set that APIServices name, each with the ports that they ask for."""
    found: dict[str, tuple[Item, dict[int, None]]] = {}
    for api in apis:
        if service := service_for(items, api.object):
            found.setdefault(service.place, (service, {}))[1][port_of(api.object)] = None
    return [(service, tuple(ports)) for service, ports in found.values()]


def _check_service(items: Sequence[Item], service: Item, ports: Sequence[int]) -> Iterator[Finding]:
    about = f"{title(service.object)} ({service.place})"
    if word(service.object, "spec", "type") == "ExternalName":
        return  # it leads to a name, and its ports mean nothing (apiserver/pkg/util/proxy, ResolveCluster)
    if word(service.object, "spec", "clusterIP") == "None":
        yield _headless(about)
    known = [port for each in tables(service.object, "spec", "ports") if (port := number(each, "port"))]
    for port in ports:
        if port not in known:
            yield _no_port(about, port, known)
    yield from _check_backend(items, service.object, about, [port for port in ports if port in known])


def _headless(about: str) -> Finding:
    return Finding(
        "service-headless",
        "warning",
        about,
        "it is headless (clusterIP: None): kube-apiserver finds it only with --enable-aggregator-routing",
        expected="a Service with a ClusterIP",
        fix="remove clusterIP: None",
    )


def _no_port(about: str, port: int, known: Sequence[int]) -> Finding:
    has = ", ".join(map(str, known)) or "none"
    way = (
        f"set spec.service.port: {known[0]} in the APIService" if len(known) == 1 else "name one of its ports"
    )
    return Finding(
        "service-port-missing",
        "error",
        about,
        f"it has no port {port}, which an APIService asks for",
        expected=f"one of its ports: {has}",
        fix=f"{way}, or add {port} to the Service",
    )


def _check_backend(
    items: Sequence[Item], service: dict[str, Any], about: str, ports: Sequence[int]
) -> Iterator[Finding]:
    """The workload that the Service selects, and the container's port that it leads to."""
    workload = workload_for(items, service)
    if isinstance(workload, WhyNot):
        if table(service, "spec", "selector") and "no workload" in workload.reason:
            yield Finding(
                "service-selects-nothing",
                "warning",
                about,
                "its selector matches the Pod labels of no workload among these manifests",
                expected="the labels of the Pods that serve the API",
                fix="compare spec.selector with the Pod labels",
            )
        return
    for port in ports:
        target = target_port(service, port)
        if isinstance(target, str) and isinstance(
            container_for(pod_spec(workload.object), service, port), WhyNot
        ):
            yield Finding(
                "service-target-port-missing",
                "error",
                about,
                f"its port {port} leads to {clean(target, 40)}, a name that no container of"
                f" {title(workload.object)} gives to a port",
                expected="a port of a container with that name",
                fix=f"name the containerPort {clean(target, 40)}, or set targetPort to its number",
            )


# --- ports below 1024 ------------------------------------------------------------------------------------


def _privileged(item: Item) -> Iterator[Finding]:
    pod = pod_spec(item.object)
    if any(word(each, "name") == "net.ipv4.ip_unprivileged_port_start" for each in _sysctls(pod)):
        return
    for container in containers(pod):
        low = [port for port in listening_ports(container) if port < FIRST_FREE_PORT]
        if low and _not_root(pod, container) and not _may_bind(container):
            yield Finding(
                "privileged-port",
                "warning",
                f"{title(item.object)} ({item.place})",
                f"container {clean(word(container, 'name'), 60)} listens on {low[0]} and is not root",
                expected="a port from 1024 on",
                fix="--secure-port=6443 with the same containerPort and targetPort; or add NET_BIND_SERVICE",
            )


def _sysctls(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return tables(pod, "securityContext", "sysctls")


def _not_root(pod: dict[str, Any], container: dict[str, Any]) -> bool:
    """The container's own word counts before the Pod's."""
    contexts = (table(container, "securityContext"), table(pod, "securityContext"))
    for field, says in (
        ("runAsUser", lambda value: value != 0),
        ("runAsNonRoot", lambda value: value is True),
    ):
        given = [at(each, field) for each in contexts if at(each, field) is not None]
        if given:
            return bool(says(given[0]))
    return False


def _may_bind(container: dict[str, Any]) -> bool:
    return any(
        each in {"NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE", "ALL"}
        for each in rows(container, "securityContext", "capabilities", "add")
    )
