"""What a rotation works on: every API with its endpoints, and why nothing may be rotated now."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import (
    CA,
    CA_FLAG,
    MANIFEST,
    NOW,
    OFF,
    ON,
    PKI,
    SERVER,
    Scene,
    authority,
    codes,
    leaf,
    slices,
)

from aggctl.core.certs.layer import Target, see_layer
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.extension import Api, ServiceAt
from aggctl.core.questions import (
    ClockSkew,
    Dial,
    FileAt,
    FolderAt,
    FolderSeen,
    ObjectAt,
    UnavailableApis,
    Unknown,
)
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.certs.layer import Layer
    from aggctl.core.findings import Finding

Object = dict[str, Any]

NAME = "v1.things.example"
AT = ServiceAt("shop", "things", 443)
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name={}"
)
ENCODED = base64.b64encode(CA.certificate).decode()
EXPIRED_CA = authority("front-proxy-ca", days=-400, lifetime=300)


def scene(
    *apis: Object, services: tuple[Object, ...] = (), unavailable: Any = None, base: Scene = ON
) -> Scene:
    """A node with the layer on, with these APIs; all of them are available unless said otherwise."""
    found = {each["metadata"]["name"]: False for each in apis} if unavailable is None else unavailable
    whole = cluster(*services, scene=base).object(API_SERVICES, {"items": list(apis)})
    return whole.answering({UnavailableApis(SERVER): found})


def things(*addresses: str, base: Scene = ON, unavailable: Any = None, **spec: Any) -> Scene:
    """The same with one API behind a Service with a ClusterIP, unless `spec` says otherwise."""
    has = service(**{"clusterIP": "10.96.0.9", **spec})
    shown = scene(api_service(caBundle=ENCODED), services=(has,), base=base, unavailable=unavailable)
    return shown.object(SLICES.format("things"), slices(*addresses, https=6443))


def see(shown: Scene) -> Layer:
    return shown.ask(lambda snapshot: see_layer(snapshot, NOW))


def problem(shown: Scene) -> Finding:
    """The only one."""
    (found,) = see(shown).problems
    return found


# --- targets ----------------------------------------------------------------------------------------------


def test_an_api_is_seen_with_its_service_its_ca_its_endpoints_and_what_is_dialled() -> None:
    layer = see(things("10.1.1.1", "10.1.1.2"))
    endpoints = ("10.1.1.1:6443", "10.1.1.2:6443")
    expected = Target(Api("v1", "things.example"), AT, CA.certificate.decode(), endpoints, endpoints)
    assert layer.targets == (expected,)
    assert layer.problems == ()


@pytest.mark.parametrize(
    ("routing", "spec", "dialled"),
    [
        ("true", {}, ("10.1.1.1:6443",)),
        ("1", {}, ("10.1.1.1:6443",)),
        ("T", {}, ("10.1.1.1:6443",)),
        ("false", {}, ("10.96.0.9:443",)),
        (None, {}, ("10.96.0.9:443",)),
        (None, {"clusterIP": "fd00::9"}, ("[fd00::9]:443",)),
        (None, {"clusterIP": "None"}, ("10.1.1.1:6443",)),
        (None, {"clusterIP": None}, ("10.1.1.1:6443",)),
        (
            None,
            {"clusterIP": None, "type": "ExternalName", "externalName": "things.example.com"},
            ("things.example.com:443",),
        ),
    ],
    ids=[
        "routing",
        "routing 1",
        "routing T",
        "routing off",
        "no flag",
        "IPv6",
        "headless",
        "no address",
        "external name",
    ],
)
def test_what_is_dialled_is_what_kube_apiserver_dials(
    routing: str | None, spec: Object, dialled: tuple[str, ...]
) -> None:
    (target,) = see(things("10.1.1.1", base=ON.flag(enable_aggregator_routing=routing), **spec)).targets
    assert target.dialled == dialled


def test_an_api_whose_service_is_not_there_has_no_endpoints() -> None:
    (target,) = see(scene(api_service())).targets
    assert (target.endpoints, target.dialled) == ((), ())


def test_what_kube_apiserver_serves_itself_is_no_target() -> None:
    assert see(scene(api_service("v1.apps", None))).targets == ()


def test_a_cluster_without_a_list_of_apis_has_no_targets() -> None:
    assert see(scene().object(API_SERVICES, None)).targets == ()


def test_a_hundred_apis_are_looked_at_side_by_side() -> None:
    """The rounds in which is looked do not grow with their number."""
    names = [f"things{number}" for number in range(100)]
    many = scene(
        *(api_service(f"v1.{each}.example", f"shop/{each}") for each in names),
        services=tuple(service(each, clusterIP="10.96.0.9") for each in names),
    )
    for each in names:
        many = many.object(SLICES.format(each), slices("10.1.1.1", https=6443))
    layer = see(many)
    assert {each.endpoints for each in layer.targets} == {("10.1.1.1:6443",)}
    assert len(layer.targets) == 100


# --- why nothing may be rotated: the node -----------------------------------------------------------------


def test_a_layer_that_lacks_nothing_but_routing_is_on() -> None:
    assert see(things("10.1.1.1", base=ON.flag(enable_aggregator_routing=None))).problems == ()


@pytest.mark.parametrize(
    ("base", "code", "subject"),
    [
        (OFF, "layer-off", MANIFEST),
        (ON.flag(requestheader_allowed_names=None), "layer-off", MANIFEST),
        (
            ON.file("front-proxy-client.crt", b"garbage"),
            "certificate-not-readable",
            f"{PKI}/front-proxy-client.crt",
        ),
        (
            ON.answering({ClockSkew(SERVER): 61.0}),
            "clock-wrong",
            SERVER,
        ),
        (ON.answering({ClockSkew(SERVER): -61.0}), "clock-wrong", SERVER),
        (
            ON.object("/version", {"gitVersion": "v1.19.16"}),
            "restart-needed",
            SERVER,
        ),
        (
            ON.pair("front-proxy-ca", EXPIRED_CA).pair("front-proxy-client", leaf(EXPIRED_CA, days=-30)),
            "front-proxy-ca-expired",
            f"{PKI}/front-proxy-ca.crt",
        ),
    ],
    ids=[
        "off",
        "half on",
        "garbage",
        "clock ahead",
        "clock behind",
        "old version",
        "expired CA",
    ],
)
def test_a_node_where_nothing_may_be_rotated_says_why(base: Scene, code: str, subject: str) -> None:
    found = problem(scene(base=base))
    assert (found.code, found.severity, found.subject) == (code, "error", subject)


@pytest.mark.parametrize("skew", [60.0, -60.0, 0.4], ids=str)
def test_a_minute_between_the_clocks_is_no_problem(skew: float) -> None:
    assert see(scene(base=ON.answering({ClockSkew(SERVER): skew}))).problems == ()


@pytest.mark.parametrize("version", ["v1.20.0", "v1.37.2", "v2.0.0", "v1", "unknown", "v1.x", ""], ids=str)
def test_a_version_that_reloads_or_says_nothing_needs_no_restart(version: str) -> None:
    assert see(scene(base=ON.object("/version", {"gitVersion": version}))).problems == ()


@pytest.mark.parametrize(
    "name", ["front-proxy-ca.crt", "front-proxy-client.crt", "front-proxy-client.key"], ids=str
)
def test_a_file_that_is_mounted_alone_is_refused_with_its_remedy(name: str) -> None:
    path = f"{PKI}/{name}"
    found = problem(scene(base=ON.mounted((PKI, PKI), (path, path))))
    assert (found.code, found.subject) == ("file-mounted-alone", path)
    assert MANIFEST in found.fix


def test_a_link_that_leads_out_of_the_volumes_is_refused() -> None:
    path = f"{PKI}/front-proxy-ca.crt"
    seen = ON.look(FileAt(path))
    linked = type(seen)(seen.content, seen.stamp, "/srv/ca.crt")
    assert codes(see(scene(base=ON.answering({FileAt(path): linked}))).problems) == ["file-not-mounted"]


@pytest.mark.parametrize(
    ("target", "folder", "found"),
    [
        (f"{PKI}/v2.crt", "", ["certificate-linked"]),
        ("/data/pki/v2.crt", "/data/pki", ["certificate-linked"]),
        ("/data/pki/front-proxy-client.crt", "/data/pki", []),
    ],
    ids=["a file", "a file in a linked folder", "the folder alone"],
)
def test_a_certificate_that_is_a_link_is_refused_and_a_linked_folder_is_not(
    target: str, folder: str, found: list[str]
) -> None:
    path = f"{PKI}/front-proxy-client.crt"
    seen = ON.look(FileAt(path))
    linked = type(seen)(seen.content, seen.stamp, target)
    behind = FolderSeen((), writable=True, uid=0, gid=0, link=folder)
    problems = see(scene(base=ON.answering({FileAt(path): linked, FolderAt(PKI): behind}))).problems
    assert codes(problems) == found
    assert all(each.subject == path and target in each.fix for each in problems)


def test_the_ca_expires_at_the_very_moment() -> None:
    ca = authority("front-proxy-ca", days=-10, lifetime=10)
    base = ON.pair("front-proxy-ca", ca)
    until = NOW + timedelta(seconds=-1)
    at = scene(base=base)
    assert codes(see(at).problems) == ["front-proxy-ca-expired"]
    assert at.ask(lambda snapshot: see_layer(snapshot, until)).problems == ()


def test_without_a_ca_file_none_has_expired() -> None:
    assert see(scene(base=ON.pair("front-proxy-ca", None))).problems == ()


# --- why nothing may be rotated: the APIs -----------------------------------------------------------------


@pytest.mark.parametrize("unavailable", [{NAME: True}, {}], ids=["by the gauge", "unknown to the gauge"])
def test_an_api_that_is_not_available_here_is_refused(unavailable: dict[str, bool]) -> None:
    found = problem(things("10.1.1.1", unavailable=unavailable))
    assert (found.code, found.subject) == ("api-not-available", NAME)
    assert f"aggctl unregister {NAME}" in found.fix


def test_what_cannot_be_dialled_afresh_is_refused_by_name_and_reason() -> None:
    shown = things("10.1.1.1", "10.1.1.2").answering({Dial("10.1.1.2:6443"): "No route to host"})
    found = problem(shown)
    assert (found.code, found.subject) == ("api-not-dialled-afresh", NAME)
    assert "10.1.1.2:6443" in found.message
    assert "No route to host" in found.message


def test_without_the_metrics_nobody_can_tell() -> None:
    found = problem(things("10.1.1.1", unavailable=Unknown("GET /metrics is forbidden")))
    assert (found.code, found.message) == ("metrics-not-readable", "GET /metrics is forbidden")


@pytest.mark.parametrize(
    "question", [ObjectAt("/version", SERVER), ObjectAt(API_SERVICES, SERVER), ClockSkew(SERVER)], ids=str
)
def test_what_kube_apiserver_does_not_tell_is_never_taken_for_well(question: Any) -> None:
    with pytest.raises(NotKnown):
        see(things("10.1.1.1").answering({question: Unknown("HTTP 403")}))


def test_all_problems_are_told_at_once_the_nodes_first() -> None:
    base = ON.flag(**{CA_FLAG.replace("-", "_"): None}).answering({ClockSkew(SERVER): 600.0})
    shown = things("10.1.1.1", base=base, unavailable={NAME: True})
    found = codes(see(shown.answering({Dial("10.1.1.1:6443"): "timed out"})).problems)
    assert found == ["layer-off", "clock-wrong", "api-not-available", "api-not-dialled-afresh"]
