"""Who would hold a replacement of the CA: named before it begins, and nobody else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import NOW, ON, SERVER, Scene, codes, slices

from aggctl.core.apiservers import NODES, Roster
from aggctl.core.certs.layer import see_layer
from aggctl.core.certs.preflight import blockers
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.questions import PROBE_USER, AskApi, AskWith, ClockSkew, UnavailableApis, Unknown, WhoSeen

if TYPE_CHECKING:
    from aggctl.core.findings import Finding

API, LEAF = "v1.things.example", "leaf in use"
PODS = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dthings"
ENDPOINTS = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
TRIAL = AskApi("10.1.0.5:8443", "things.shop.svc", "", "/apis/things.example/v1", LEAF)
PIN = "--requestheader-client-ca-file=/etc/own/ca.crt"
WELL = Roster((SERVER,))
PEER = "https://10.0.0.12:6443"


def place(*pods: dict[str, Any], selector: dict[str, str] | None = None) -> Scene:
    """A cluster with one API, whose server takes the leaf; `pods` run it."""
    selector = {"app": "things"} if selector is None else selector
    scene = cluster(service(selector=selector), scene=ON).object(ENDPOINTS, slices("10.1.0.5", https=8443))
    scene = scene.object(API_SERVICES, {"items": [api_service()]}).object(PODS, {"items": list(pods)})
    return scene.answering(
        {UnavailableApis(SERVER): {API: False}, AskWith(SERVER, LEAF): WhoSeen(201, PROBE_USER), TRIAL: 200}
    )


def pod(name: str = "things-1", **words: Any) -> dict[str, Any]:
    """A Pod, whose second container has these words."""
    containers = [{"name": "sidecar"}, {"name": "server", **words}]
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"containers": containers}}


def held(scene: Scene, known: Roster = WELL, identity: str = LEAF) -> tuple[Finding, ...]:
    return scene.ask(lambda snapshot: blockers(snapshot, see_layer(snapshot, NOW), known, identity))


def node(name: str, *, ready: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_where_all_take_part_nothing_holds_it() -> None:
    assert held(place(pod(command=["/server"], args=["--secure-port=8443"]))) == ()


def test_a_kube_apiserver_that_does_not_answer_holds_it_with_the_reason() -> None:
    (finding,) = held(place(), Roster((SERVER,), (("https://10.0.0.12:6443", "no route"),)))
    assert (finding.code, finding.severity) == ("apiserver-not-asked", "error")
    assert finding.subject == "https://10.0.0.12:6443"
    assert "no route" in finding.message


def test_a_node_whose_own_address_the_cluster_does_not_know_holds_it() -> None:
    (finding,) = held(place().answering({ClockSkew(PEER): 0.0}), Roster((PEER,)))
    assert (finding.code, finding.severity) == ("apiserver-under-another-address", "error")
    assert PEER in finding.message


@pytest.mark.parametrize(("skew", "found"), [(61.0, ["clock-wrong"]), (-61.0, ["clock-wrong"]), (60.0, [])])
def test_a_node_whose_clock_is_wrong_holds_it(skew: float, found: list[str]) -> None:
    findings = held(place().answering({ClockSkew(PEER): skew}), Roster((SERVER, PEER)))
    assert codes(findings) == found
    assert all(each.subject == PEER for each in findings)


def test_a_control_plane_node_that_is_away_holds_it_by_name() -> None:
    nodes = {"items": [node("here", ready="True"), node("gone", ready="Unknown")]}
    (finding,) = held(place().object(NODES, nodes))
    assert (finding.code, finding.severity) == ("control-plane-node-away", "error")
    assert finding.subject == "Node gone"
    assert "kubectl delete node gone" in finding.fix


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (401, "endpoint-refuses-identity"),
        (0, "endpoint-refuses-identity"),
        (Unknown("no route"), "endpoint-not-asked"),
    ],
    ids=["HTTP 401", "the handshake ended", "not to be asked"],
)
def test_an_endpoint_that_refuses_even_the_leaf_in_use_holds_it(answer: int | Unknown, code: str) -> None:
    (finding,) = held(place().answering({TRIAL: answer}))
    assert (finding.code, finding.subject) == (code, f"10.1.0.5:8443 of APIService {API}")
    assert "the certificate in use" in finding.message


def test_without_a_leaf_to_ask_with_nobody_is_asked() -> None:
    nobody = {TRIAL: 401, AskWith(SERVER, LEAF): WhoSeen(401, "")}
    assert held(place().answering(nobody), identity="") == ()


@pytest.mark.parametrize(
    "words",
    [
        {"command": ["/server", PIN]},
        {"args": [PIN]},
        {"command": ["/server"], "args": ["--requestheader-client-ca-file", "/etc/own/ca.crt"]},
    ],
    ids=["in command", "in args", "as a word of its own"],
)
def test_a_pod_that_pins_the_ca_is_a_warning_that_names_it(words: dict[str, Any]) -> None:
    (finding,) = held(place(pod("free"), pod("pinned", **words)))
    assert (finding.code, finding.severity) == ("endpoint-pins-ca", "warning")
    assert finding.subject == f"Pod shop/pinned of APIService {API}"


def test_of_many_pods_that_pin_the_ca_one_is_named() -> None:
    assert codes(held(place(*(pod(f"things-{each}", args=[PIN]) for each in range(3))))) == [
        "endpoint-pins-ca"
    ]


@pytest.mark.parametrize(
    "scene",
    [
        place(pod(args=[PIN]), selector={}),
        place().object(PODS, None),
        place().object(PODS, {"items": None}),
        place({"metadata": {"name": "x"}, "spec": None}),
        place(pod(args=[f"x{PIN}", 8443, None])),
        place(pod(args=["--proxy-client-cert-file=/x"])),
    ],
    ids=[
        "a Service without a selector",
        "no Pods",
        "null for Pods",
        "no spec",
        "other words",
        "another flag",
    ],
)
def test_who_pins_nothing_that_can_be_seen_is_not_named(scene: Scene) -> None:
    assert held(scene) == ()


def test_an_api_whose_service_is_gone_has_no_pods_to_look_at() -> None:
    scene = place().object("/api/v1/namespaces/shop/services/things", None)
    assert held(scene) == ()


def test_errors_come_first_and_all_are_told_at_once() -> None:
    scene = place(pod(args=[PIN])).answering({TRIAL: 401})
    scene = scene.object(NODES, {"items": [node("gone", ready="False")]})
    silent = Roster((SERVER,), (("https://10.0.0.12:6443", "no route"),))
    assert codes(held(scene, silent)) == [
        "apiserver-not-asked",
        "control-plane-node-away",
        "endpoint-refuses-identity",
        "endpoint-pins-ca",
    ]
