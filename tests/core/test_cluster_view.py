"""What the cluster tells: version, published CAs and names, peers, and which APIs routing would break."""

from __future__ import annotations

from typing import Any

import pytest
from support.snapshots import CA, OFF, ON, OTHER_CA, PEER, SERVER, Scene, config_map, slices

from aggctl.core.cluster_view import (
    API_SERVICES,
    KUBERNETES_SLICES,
    ClusterView,
    ServiceOf,
    aggregated_apis,
    broken_by_routing,
    reads_endpoints,
    see_cluster,
)
from aggctl.core.published import CONFIG_MAP, Published, read_published
from aggctl.core.questions import ClockSkew, Dial, ObjectAt, Unknown
from aggctl.core.snapshot import NotKnown, Snapshot

METRICS = "v1beta1.metrics.k8s.io"


def see(scene: Scene, server: str = SERVER) -> ClusterView:
    return scene.ask(lambda snapshot: see_cluster(snapshot, server))


def published(found: Any) -> Published:
    return ON.object(CONFIG_MAP, found).ask(lambda snapshot: read_published(snapshot, SERVER))


# --- published -------------------------------------------------------------------------------------------


def test_published_cas_and_names_are_read_in_their_order() -> None:
    bundle = config_map(CA.certificate + OTHER_CA.certificate, ("front-proxy-client", "aggregator"))
    found = published(bundle)
    assert [each.common_name for each in found.authorities] == ["front-proxy-ca", "other-front-proxy-ca"]
    assert found.names == ("front-proxy-client", "aggregator")


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {"data": None},
        {"data": {"client-ca-file": "x"}},
        {"data": {"requestheader-client-ca-file": " \n"}},
    ],
    ids=["no ConfigMap", "empty", "no data", "only the clients' CA", "only blanks"],
)
def test_a_cluster_without_the_layer_publishes_nothing(found: Any) -> None:
    assert published(found) == Published((), ())


@pytest.mark.parametrize(
    ("names", "read"),
    [('["a","b"]', ("a", "b")), ("[]", ()), ("", ()), (None, ()), ("a,b", ()), ('"a"', ()), ("[1]", ("1",))],
    ids=["two", "any name", "empty", "absent", "no JSON", "no list", "no strings"],
)
def test_allowed_names_are_a_json_list_or_none(names: str | None, read: tuple[str, ...]) -> None:
    data = {"requestheader-client-ca-file": CA.certificate.decode(), "requestheader-allowed-names": names}
    assert published({"data": data}).names == read


def test_a_published_ca_that_cannot_be_read_is_unknown_rather_than_none() -> None:
    with pytest.raises(NotKnown) as caught:
        published({"data": {"requestheader-client-ca-file": "garbage"}})
    assert caught.value.unknown.code == "published-ca-not-readable"


# --- the cluster -----------------------------------------------------------------------------------------


def test_version_and_clock_are_the_servers() -> None:
    view = see(ON.answering({ClockSkew(SERVER): 2.5}))
    assert (view.version, view.skew) == ("v1.34.1", 2.5)


def test_a_server_that_tells_no_version_has_an_unknown_one() -> None:
    assert see(ON.object("/version", None)).version == "unknown"


@pytest.mark.parametrize(
    ("server", "addresses", "peers"),
    [
        (SERVER, ["10.0.0.11"], ()),
        (SERVER, ["10.0.0.11", PEER], (PEER,)),
        (SERVER, ["10.0.0.13", PEER, "10.0.0.11"], (PEER, "10.0.0.13")),
        (SERVER, [PEER], (PEER,)),
        ("https://[fd00::11]:6443", ["fd00::11", "fd00::12"], ("fd00::12",)),
        ("https://[fd00:0:0::11]:6443", ["fd00::11"], ()),
        ("https://127.0.0.1:6443", ["10.0.0.11"], ()),
        ("https://[::1]:6443", ["10.0.0.11"], ()),
        ("https://127.0.0.1:6443", ["10.0.0.11", PEER], ("10.0.0.11", PEER)),
        (SERVER, [], ()),
        (SERVER, ["10.0.0.11", "odd.example"], ("odd.example",)),
    ],
    ids=[
        "one node",
        "two nodes",
        "three nodes",
        "only the other is registered",
        "IPv6",
        "IPv6 written at length",
        "one node, asked at its loopback address",
        "the same by IPv6",
        "two nodes, asked at loopback: one of them is this one",
        "none registered",
        "no IP address",
    ],
)
def test_peers_are_the_addresses_that_are_not_this_nodes(
    server: str, addresses: list[str], peers: tuple[str, ...]
) -> None:
    assert see(ON.object(KUBERNETES_SLICES, slices(*addresses, https=6443)), server).peers == peers


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {"items": None},
        {"items": ["odd"]},
        {"items": [{"endpoints": None}]},
        {"items": [{"endpoints": [{"addresses": None}]}]},
    ],
)
def test_odd_or_missing_slices_mean_no_peers(found: Any) -> None:
    assert see(ON.object(KUBERNETES_SLICES, found)).peers == ()


def test_a_silent_cluster_is_no_empty_one() -> None:
    with pytest.raises(NotKnown):
        see(ON.silent())


def test_forbidden_to_read_the_configmap_is_not_taken_for_an_absent_one() -> None:
    forbidden = Unknown("forbidden", "no-rights-in-cluster")
    with pytest.raises(NotKnown) as caught:
        see(ON.answering({ObjectAt(CONFIG_MAP, SERVER): forbidden}))
    assert caught.value.unknown is forbidden


def api_service(name: str, service: str = "metrics", port: int | None = None) -> dict[str, Any]:
    reference: dict[str, Any] = {"namespace": "kube-system", "name": service}
    return {
        "metadata": {"name": name},
        "spec": {"service": {**reference, **({"port": port} if port else {})}},
    }


def test_aggregated_apis_are_those_with_a_service() -> None:
    local = {"metadata": {"name": "v1."}, "spec": {"service": None}}
    listed = {
        "items": [local, api_service(METRICS), api_service("v1.x", "x", 8443), {"metadata": {"name": "odd"}}]
    }
    assert ON.object(API_SERVICES, listed).ask(lambda snapshot: aggregated_apis(snapshot, SERVER)) == (
        ServiceOf(METRICS, "kube-system", "metrics", 443),
        ServiceOf("v1.x", "kube-system", "x", 8443),
    )


# --- routing ---------------------------------------------------------------------------------------------

SERVICE = "/api/v1/namespaces/kube-system/services/{}"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
    "?labelSelector=kubernetes.io/service-name={}"
)


def served(service: Any, found: Any, name: str = "metrics") -> Scene:
    return OFF.object(SERVICE.format(name), service).object(SLICES.format(name), found)


def broken(scene: Scene, *apis: ServiceOf) -> list[tuple[str, str]]:
    asked = apis or (ServiceOf(METRICS, "kube-system", "metrics"),)
    return scene.ask(lambda snapshot: list(broken_by_routing(snapshot, SERVER, asked)))


HTTPS = {"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}}
REFUSED = {Dial("10.1.0.5:4443"): "connection refused", Dial("[fd00::5]:4443"): "no route to host"}


def test_a_service_with_endpoints_in_reach_is_not_broken() -> None:
    assert broken(served(HTTPS, slices("10.1.0.5", https=4443))) == []


def test_a_service_of_type_externalname_is_broken_and_named() -> None:
    ((api, why),) = broken(served({"spec": {"type": "ExternalName"}}, None))
    assert (api, why) == (METRICS, "Service kube-system/metrics is of type ExternalName")


@pytest.mark.parametrize(
    ("found", "address"),
    [
        (slices("10.1.0.5", https=4443), "10.1.0.5:4443"),
        (slices("fd00::5", https=4443), "[fd00::5]:4443"),
        (slices("10.1.0.5", ready=True, https=4443), "10.1.0.5:4443"),
    ],
    ids=["no condition", "IPv6", "ready"],
)
def test_an_endpoint_out_of_reach_breaks_the_api_and_is_named_with_the_error(
    found: Any, address: str
) -> None:
    ((api, why),) = broken(served(HTTPS, found).answering(REFUSED))
    assert api == METRICS
    assert why.startswith(f"its endpoint {address} cannot be reached from this node: ")


@pytest.mark.parametrize(
    ("service", "found"),
    [
        (HTTPS, slices("10.1.0.5", ready=False, https=4443)),
        (HTTPS, slices("10.1.0.9", https=4443)),
        (HTTPS, slices("10.1.0.5", metrics=4443)),
        (HTTPS, {"items": [{"ports": [{"name": "https"}], "endpoints": [{"addresses": ["10.1.0.5"]}]}]}),
        (HTTPS, None),
        (None, None),
        ({"spec": {"ports": [{"port": 8443}]}}, slices("10.1.0.5", unnamed=4443)),
    ],
    ids=[
        "an endpoint that is not ready",
        "another endpoint",
        "another port of the Service, such as one for metrics",
        "a port without a number",
        "no endpoints",
        "a stale APIService without its Service",
        "a Service without the port of the APIService",
    ],
)
def test_what_routing_does_not_change_is_no_reason_against_it(service: Any, found: Any) -> None:
    assert broken(served(service, found).answering(REFUSED)) == []


def test_a_port_without_a_name_is_the_services_only_one() -> None:
    scene = served({"spec": {"ports": [{"port": 443}]}}, slices("10.1.0.5", unnamed=4443)).answering(REFUSED)
    assert len(broken(scene)) == 1


def test_a_hundred_apis_are_looked_at_side_by_side() -> None:
    scene, apis = OFF, []
    for number in range(100):
        service = f"s{number}"
        scene = scene.object(SERVICE.format(service), HTTPS)
        scene = scene.object(SLICES.format(service), slices(f"10.2.0.{number}", https=4443))
        apis.append(ServiceOf(f"v1.g{number}", "kube-system", service))
    unreachable = scene.answering({Dial("10.2.0.99:4443"): "timed out"})
    assert [api for api, _ in broken(unreachable, *apis)] == ["v1.g99"]


@pytest.mark.parametrize(
    ("version", "endpoints"),
    [
        ("v1.33.5", True),
        ("v1.30.14+k3s1", True),
        ("v1.34.0", False),
        ("v1.37.2", False),
        ("v2.0.0", False),
        ("unknown", False),
        (None, False),
    ],
)
def test_an_older_aggregator_follows_endpoints(version: str | None, endpoints: bool) -> None:
    said = {"gitVersion": version} if version else None
    snapshot = Snapshot({ObjectAt("/version", SERVER): said})
    assert reads_endpoints(snapshot, SERVER) is endpoints


def test_of_a_server_that_does_not_answer_nothing_is_taken_for_old() -> None:
    snapshot = Snapshot({ObjectAt("/version", SERVER): Unknown("refused")})
    assert not reads_endpoints(snapshot, SERVER)
