"""What a cluster tells a node that is about to change: version, published CAs, peers, aggregated APIs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.published import CONFIG_MAP, Published, read_published
from aggctl.core.questions import ClockSkew, Dial, ObjectAt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.snapshot import Snapshot

SLICES_FROM = (1, 34)
"""The first version whose aggregator follows EndpointSlices."""

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io/service-name={}"
KUBERNETES_SLICES = _SLICES.format("default", "kubernetes")


@dataclass(frozen=True, slots=True)
class ServiceOf:
    """An APIService that is served by a Service of the cluster."""

    name: str
    namespace: str
    service: str
    port: int = 443


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster side; `peers` are the addresses of the other kube-apiservers, `skew` is in seconds."""

    version: str
    published: Published
    peers: tuple[str, ...]
    aggregated: tuple[ServiceOf, ...]
    skew: float


def see_cluster(snapshot: Snapshot, server: str) -> ClusterView:
    """Ask this node's kube-apiserver; NotKnown where it does not answer or the rights are missing."""
    snapshot.expect(
        ObjectAt("/version", server),
        ObjectAt(CONFIG_MAP, server),
        ObjectAt(KUBERNETES_SLICES, server),
        ObjectAt(API_SERVICES, server),
        ClockSkew(server),
    )
    version = snapshot.object("/version", server) or {}
    own = server.rpartition("//")[2].rpartition(":")[0].strip("[]")
    return ClusterView(
        version=str(version.get("gitVersion", "unknown")),
        published=read_published(snapshot, server),
        peers=_peers(own, set(_addresses(snapshot.object(KUBERNETES_SLICES, server)))),
        aggregated=aggregated_apis(snapshot, server),
        skew=snapshot.clock_skew(server),
    )


def minor_of(version: str) -> tuple[int, ...]:
    """(major, minor) of v1.37.2; empty where the version says none."""
    parts = version.lstrip("v").split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(map(str.isdigit, parts)) else ()  # noqa: PLR2004 -- major and minor


def reads_endpoints(snapshot: Snapshot, server: str) -> bool:
    """Whether the aggregator takes a server's addresses from Endpoints, which no EndpointSlice becomes.

    kube-aggregator up to 0.33 does (pkg/apiserver/resolvers.go), 0.34 reads EndpointSlices. Not known is no.
    """
    if snapshot.unknown(ObjectAt("/version", server)):
        return False
    version = minor_of(str((snapshot.object("/version", server) or {}).get("gitVersion", "")))
    return bool(version) and version < SLICES_FROM


def aggregated_apis(snapshot: Snapshot, server: str) -> tuple[ServiceOf, ...]:
    """The APIServices that a Service answers for."""
    return tuple(_aggregated(snapshot.object(API_SERVICES, server)))


def broken_by_routing(
    snapshot: Snapshot, server: str, apis: tuple[ServiceOf, ...]
) -> Iterator[tuple[str, str]]:
    """APIServices that would stop answering with routing on, each with the reason.

    The aggregator then dials endpoints itself: it refuses a Service of type ExternalName, and needs a way
    from this node to each Pod (kubernetes/apiserver pkg/util/proxy).
    """
    paths = [path for api in apis for path in (_service_path(api), _slices_path(api))]
    snapshot.expect(*(ObjectAt(path, server) for path in paths))
    dialled: list[tuple[ServiceOf, str]] = []
    for api in apis:
        spec = _mapping(snapshot.object(_service_path(api), server) or {}, "spec")
        if spec.get("type") == "ExternalName":
            yield api.name, f"Service {api.namespace}/{api.service} is of type ExternalName"
            continue
        names = {
            str(port.get("name") or "") for port in spec.get("ports") or [] if port.get("port") == api.port
        }
        slices = snapshot.object(_slices_path(api), server)
        dialled += [(api, address) for address in ready_endpoints(slices, names)]
    snapshot.expect(*(Dial(address) for _, address in dialled))
    for api, address in dialled:
        if error := snapshot.dial(address):
            yield api.name, f"its endpoint {address} cannot be reached from this node: {error}"


def _peers(own: str, addresses: set[str]) -> tuple[str, ...]:
    """The addresses of the others; behind a loopback address the only one there is can but be this one's."""
    if len(addresses) == 1 and (own == "::1" or own.startswith("127.")):
        return ()
    return tuple(sorted({_canonical(each) for each in addresses} - {_canonical(own)}))


def _canonical(address: str) -> str:
    """An IP address as Kubernetes writes it, whatever a manifest's way is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _service_path(api: ServiceOf) -> str:
    return f"/api/v1/namespaces/{api.namespace}/services/{api.service}"


def _slices_path(api: ServiceOf) -> str:
    return _SLICES.format(api.namespace, api.service)


def _aggregated(found: dict[str, Any] | None) -> Iterator[ServiceOf]:
    for item in _items(found):
        service = _mapping(_mapping(item, "spec"), "service")
        if service:
            name = str(_mapping(item, "metadata").get("name", ""))
            yield ServiceOf(
                name,
                str(service.get("namespace", "")),
                str(service.get("name", "")),
                int(service.get("port") or 443),
            )


def _addresses(found: dict[str, Any] | None) -> Iterator[str]:
    for item in _items(found):
        for endpoint in item.get("endpoints") or []:
            yield from (str(address) for address in endpoint.get("addresses") or [])


def ready_endpoints(found: dict[str, Any] | None, names: set[str]) -> Iterator[str]:
    """Ready endpoints as HOST:PORT, of the ports called so; one without a condition counts as ready."""
    for item in _items(found):
        ports = [
            port["port"]
            for port in item.get("ports") or []
            if port.get("port") and (port.get("name") or "") in names
        ]
        for endpoint in item.get("endpoints") or []:
            if _mapping(endpoint, "conditions").get("ready") is not False:
                yield from (
                    f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                    for address in endpoint.get("addresses") or []
                    for port in ports
                )


def _items(found: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [item for item in (found or {}).get("items") or [] if isinstance(item, dict)]


def _mapping(item: dict[str, Any], key: str) -> dict[str, Any]:
    value = item.get(key)
    return value if isinstance(value, dict) else {}
