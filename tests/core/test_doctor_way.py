"""The way of an API, hop by hop: what is asked at each, what counts there, and what is left out."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.ailments import API, CLUSTER_IP, HOSTS
from support.doctoring import (
    FORBIDDEN,
    SERVERS,
    asked_of,
    codes,
    hop_of,
    said,
    states,
    verdict,
    well,
)
from support.snapshots import NOW, SERVER

from aggctl.core import pki
from aggctl.core.doctor.layer import SOON
from aggctl.core.doctor.model import (
    NOT_CHECKED,
    OK,
)
from aggctl.core.questions import Dial, MayDo, ObjectAt, PairAt

FROM_BOTH = pytest.mark.parametrize("place", ["node", "anywhere"])
FAILS: dict[str, Any] = {"answer": {"status": 503, "said": "boom"}}
REFUSED: dict[str, Any] = {"condition": {"message": "dial tcp 10.96.0.44:443: connect: connection refused"}}


# --- APIService and Service ------------------------------------------------------------------------------


def test_a_bundle_whose_last_ca_expires_soon_is_a_warning() -> None:
    soon = pki.new_ca("things-ca", NOW, algorithm="ECDSA-P256", lifetime=SOON / 2)
    bundle = {"spec": {"caBundle": base64.b64encode(soon.certificate).decode()}}
    found = well(apiService=bundle, served="wildcard").diagnosis()
    assert "certificate-expires-soon" in codes(found.findings, "warning")
    assert hop_of(found, found.exams[0].verdict) == "APIService"


OUTSIDE = {"type": "ExternalName", "externalName": "things.example.com", "clusterIP": None}


@pytest.mark.parametrize(
    ("spec", "dialled"),
    [
        ({"clusterIP": CLUSTER_IP}, f"{CLUSTER_IP}:443"),
        ({"clusterIP": "fd01::44"}, "[fd01::44]:443"),
        (OUTSIDE, "things.example.com:443"),
    ],
    ids=["IPv4", "IPv6", "ExternalName"],
)
def test_a_node_dials_what_kube_apiserver_dials(spec: dict[str, Any], dialled: str) -> None:
    found = [
        each.address for each in asked_of(well(objects={"service": {"spec": spec}})) if isinstance(each, Dial)
    ]
    assert found == [dialled]


def test_with_routing_the_endpoints_are_dialled() -> None:
    found = {each.address for each in asked_of(well(routing=True)) if isinstance(each, Dial)}
    assert found == {f"{host}:8443" for host in HOSTS}


def test_from_anywhere_nothing_is_dialled_from_here() -> None:
    assert not [each for each in asked_of(well("anywhere", **REFUSED)) if isinstance(each, Dial)]


# --- which APIs are examined -----------------------------------------------------------------------------


@FROM_BOTH
def test_those_that_a_service_answers_for_are_examined_unless_they_are_named(place: str) -> None:
    assert [each.name for each in well(place).diagnosis().exams] == [API.name]
    named = well(place, named=["v1.apps.example", API.name]).diagnosis()
    assert [each.name for each in named.exams] == ["v1.apps.example", API.name]


def test_a_named_api_that_kube_apiserver_serves_itself_is_well() -> None:
    items = {
        "items": [{"metadata": {"name": "v1.own.example"}, "spec": {"group": "own.example", "version": "v1"}}]
    }
    found = well(named=["v1.own.example"], objects={"apiServices": items}).diagnosis()
    assert [(each.state, each.said) for each in found.exams[0].hops] == [
        (OK, "kube-apiserver serves it itself")
    ]


def test_an_api_service_without_a_spec_is_kube_apiservers_own() -> None:
    items = {"items": [{"metadata": {"name": "v1.own.example"}}]}
    assert verdict(well(named=["v1.own.example"], objects={"apiServices": items}).diagnosis()) is None


def test_without_any_api_nothing_is_examined() -> None:
    found = well(objects={"apiServices": None}).diagnosis()
    assert (found.exams, found.not_checked) == ((), ())


def test_where_api_services_may_not_be_read_the_reason_is_told() -> None:
    found = well("anywhere", hidden=["apiServices"]).diagnosis()
    assert (found.exams, found.not_checked[0]) == ((), f"APIServices: {FORBIDDEN.reason}")


@pytest.mark.parametrize(
    ("case", "state", "words"),
    [
        ({}, OK, "200 through https://10.0.0.11:6443"),
        ({"answer": {"status": 403}}, NOT_CHECKED, "403 through https://10.0.0.11:6443"),
        ({"answer": "timed out"}, NOT_CHECKED, "no answer"),
    ],
    ids=["it answers", "it refuses", "it is silent"],
)
def test_a_named_api_whose_api_service_may_not_be_read_is_asked_all_the_same(
    case: dict[str, Any], state: str, words: str
) -> None:
    found = well("anywhere", hidden=["apiServices"], named=[API.name], **case).diagnosis()
    assert states(found)["APIService"] == NOT_CHECKED
    assert (states(found)["discovery"], said(found, "discovery")) == (state, words)
    assert states(found)["rights"] == OK


# --- through each kube-apiserver -------------------------------------------------------------------------


def test_a_kube_apiserver_that_does_not_answer_in_time_waits_for_the_api() -> None:
    found = well("anywhere", peer=True, answers={"n2": "it timed out"}).diagnosis()
    assert codes(found.findings) == {"api-not-available-everywhere", "discovery-slow"}


ON_ONE: dict[str, Any] = {"peer": True, "answers": {"n2": {"status": 503, "said": "boom"}}}


def test_what_is_broken_before_the_way_is_no_matter_of_one_kube_apiserver() -> None:
    found = well("anywhere", apiService={"spec": {"caBundle": None}}, **ON_ONE).diagnosis()
    assert "api-not-available-everywhere" not in codes(found.findings)


def test_a_warning_before_the_way_does_not_hide_that_it_is_one_kube_apiserver() -> None:
    insecure = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
    found = well("anywhere", apiService=insecure, **ON_ONE).diagnosis()
    assert "api-not-available-everywhere" in codes(found.findings)


def test_a_kube_apiserver_that_cannot_be_asked_is_shown_with_the_reason() -> None:
    found = well("anywhere", peer=True, answers={"n2": "no right"}).diagnosis()
    first = verdict(found)
    assert first is not None
    assert first.code == "api-not-available-everywhere"
    assert first.evidence == (f"GET through {SERVERS['n2']}: no right",)


def test_what_both_say_is_evidence_once() -> None:
    words = "error trying to reach service: x509: certificate has expired or is not yet valid: whatever"
    found = verdict(well("anywhere", answer={"status": 503, "said": words}).diagnosis())
    assert found is not None
    assert found.evidence == (words, f"GET through {SERVER}: {words}")


def test_without_the_gauges_the_answers_count() -> None:
    assert verdict(well("anywhere", hidden=["metrics"], answer={"status": 500}).diagnosis()) is not None


# --- the way ---------------------------------------------------------------------------------------------


def test_a_pod_that_kube_apiserver_may_not_be_made_to_dial_is_no_evidence() -> None:
    found = verdict(well("anywhere", throughPods="hidden", **REFUSED).diagnosis())
    assert found is not None
    assert (found.code, found.message) == (
        "connection-refused",
        "10.96.0.44:443 refuses the connection: nothing listens there",
    )


def test_pods_without_an_address_are_not_dialled_through_kube_apiserver() -> None:
    patient = well("anywhere", pods=[{"status": {"podIP": None}}], **REFUSED)
    assert not [each for each in asked_of(patient) if "/proxy/" in str(getattr(each, "path", ""))]


def test_a_pod_is_dialled_on_the_port_of_its_endpoint() -> None:
    paths = {str(getattr(each, "path", "")) for each in asked_of(well("anywhere", **REFUSED))}
    assert "/api/v1/namespaces/shop/pods/https:things-1:8443/proxy/livez" in paths


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [({"app": "things"}, True), ({"app": "others"}, False), (None, True)],
    ids=["their label", "another label", "no label"],
)
def test_network_policies_count_that_select_the_pods(wanted: Any, shown: bool) -> None:
    policy = {"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": wanted}}}
    found = verdict(well("anywhere", objects={"policies": {"items": [policy]}}, **REFUSED).diagnosis())
    assert found is not None
    assert ("NetworkPolicy shop/deny may be about the Pods" in found.evidence) is shown


def test_network_policies_that_may_not_be_seen_are_left_out() -> None:
    found = verdict(well("anywhere", hidden=["policies"], **REFUSED).diagnosis())
    assert found is not None
    assert found.code == "connection-refused"


def test_a_server_outside_has_no_pods_whose_policies_could_be_in_the_way() -> None:
    case = {"objects": {"service": {"spec": {"selector": None}}}, **REFUSED}
    found = verdict(well("anywhere", **case).diagnosis())
    assert found is not None
    assert not [each for each in found.evidence if "NetworkPolicy" in each]


def test_without_pods_there_is_none_in_the_way() -> None:
    case: dict[str, Any] = {"pods": [], "hidden": ["deployments"], **REFUSED}
    assert states(well("anywhere", **case).diagnosis())["Pods"] == NOT_CHECKED


@pytest.mark.parametrize(("place", "from_where"), [("node", "this node"), ("anywhere", "the control plane")])
def test_it_is_told_from_where_there_is_no_route(place: str, from_where: str) -> None:
    unroutable = {"condition": {"message": "dial tcp 10.96.0.44:443: connect: network is unreachable"}}
    found = verdict(well(place, dial={"10.96.0.44:443": "Network is unreachable"}, **unroutable).diagnosis())
    assert found is not None
    assert found.message == f"ClusterIP 10.96.0.44:443 has no route from {from_where}"
    assert found.fix.startswith(f"on {from_where}: ip route add")


@pytest.mark.parametrize(
    ("place", "case", "words"),
    [
        ("node", {}, "1/1 dialled from here; answers through 10.0.0.11:6443"),
        (
            "node",
            {"routing": True, "dial": {"10.1.0.6:8443": "refused"}},
            "1/2 dialled from here; answers through 10.0.0.11:6443",
        ),
        ("anywhere", {}, "answers through 10.0.0.11:6443"),
        ("anywhere", {"peer": True}, "answers through 10.0.0.11:6443, 10.0.0.12:6443"),
        ("anywhere", FAILS, "answers through none"),
    ],
)
def test_what_answers_and_what_was_dialled_is_counted(place: str, case: dict[str, Any], words: str) -> None:
    assert said(well(place, **case).diagnosis(), "reach") == words


def test_an_error_of_the_dial_that_is_not_known_is_shown_as_it_is() -> None:
    found = verdict(well(dial="Operation not permitted", **REFUSED).diagnosis())
    assert found is not None
    assert "Operation not permitted" in found.evidence


# --- TLS and identity ------------------------------------------------------------------------------------


def test_without_an_identity_at_hand_no_server_is_asked_directly() -> None:
    found = well(held=False, direct={"status": 401}, answer={"status": 401}).diagnosis()
    assert said(found, "identity") == "refused"


def test_a_server_that_cannot_be_asked_directly_is_judged_by_what_kube_apiserver_says() -> None:
    found = well(direct="hidden", answer={"status": 500, "said": "boom"}).diagnosis()
    assert (said(found, "identity"), codes(found.findings)) == ("not refused", {"server-fails"})


def test_the_endpoints_that_refuse_are_counted() -> None:
    direct = {"10.1.0.6:8443": {"status": 401}}
    found = well(
        direct=direct, condition={"message": "bad status from https://10.96.0.44:443: 401"}
    ).diagnosis()
    assert said(found, "identity") == "refused by 1 of 2"
    first = verdict(found)
    assert first is not None
    assert first.subject == f"10.1.0.6:8443 of APIService {API.name}"


def test_a_refusal_of_the_probe_by_its_own_name_is_a_right_answer() -> None:
    direct = {"status": 403, "said": 'forbidden: User "aggctl-probe" cannot get path'}
    found = well(direct=direct, answer={"status": 500, "said": "boom"}).diagnosis()
    assert said(found, "identity") == "taken"


def test_unverified_tls_is_handshaken_all_the_same() -> None:
    insecure = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
    found = well(apiService=insecure, served="plain HTTP", answer={"status": 503}).diagnosis()
    assert (said(found, "TLS"), codes(found.findings)) == ("not verified", {"plain-http"})


def test_unverified_tls_takes_any_certificate() -> None:
    insecure = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
    assert codes(well(apiService=insecure, served="expired").diagnosis().findings) == set()


def test_a_service_account_is_asked_about_the_config_map_and_both_reviews() -> None:
    asked = [each for each in asked_of(well()) if isinstance(each, MayDo) and each.user]
    assert {(each.verb, each.resource, each.namespace, each.name) for each in asked} == {
        ("get", "configmaps", "kube-system", "extension-apiserver-authentication"),
        ("create", "tokenreviews", "", ""),
        ("create", "subjectaccessreviews", "", ""),
    }
    assert {each.user for each in asked} == {"system:serviceaccount:shop:things"}
    assert {each.groups for each in asked} == {
        ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    }


# --- discovery -------------------------------------------------------------------------------------------


def test_staleness_that_cannot_be_asked_about_is_no_finding() -> None:
    assert verdict(well(stale="hidden").diagnosis()) is None


def test_staleness_is_told_once_for_two_kube_apiservers() -> None:
    found = well("anywhere", peer=True, stale=["things.example/v1"]).diagnosis()
    assert [each.code for each in found.findings] == ["discovery-stale"]


def test_the_slowest_kube_apiserver_counts() -> None:
    found = well("anywhere", peer=True, answers={"n2": {"seconds": 1.5}}).diagnosis()
    assert said(found, "discovery") == "1500 ms"


# --- all together ----------------------------------------------------------------------------------------


def test_of_two_problems_that_can_be_told_apart_both_are_told() -> None:
    found = well(served={"10.1.0.5:8443": "expired", "10.1.0.6:8443": "another name"}).diagnosis()
    assert codes(found.findings) == {"serving-certificate-expired", "serving-certificate-wrong-name"}


def test_each_finding_is_told_once_and_each_verdict_before_what_else_there_is() -> None:
    found = well(may={"caller": False}, served="expired", answer={"status": 503}).diagnosis()
    assert [each.code for each in found.findings][:2] == ["serving-certificate-expired"] * 2
    assert len(set(found.findings)) == len(found.findings)


def test_the_layers_problem_is_told_once_for_many_apis() -> None:
    found = well(flags={"proxy-client-key-file": None}, named=[API.name, "v2.things.example"]).diagnosis()
    assert [each.code for each in found.findings].count("layer-partly-on") == 1


def test_nothing_secret_is_asked_for() -> None:
    seen = asked_of(well(**REFUSED))
    assert not [each for each in seen if isinstance(each, PairAt)]
    assert not [each for each in seen if isinstance(each, ObjectAt) and "secrets" in each.path]
