"""The hops one by one: their states, what was not checked and why, and what a broken one hides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.doctoring import (
    BALANCER,
    FORBIDDEN,
    SERVERS,
    codes,
    hop_of,
    said,
    states,
    verdict,
    well,
)
from support.snapshots import CA, MANIFEST, NOW, PKI, SERVER, WRITTEN, certificate, leaf

from aggctl.core import pki
from aggctl.core.doctor.codes import HOPS
from aggctl.core.doctor.examine import BEHIND_SERVICE
from aggctl.core.doctor.layer import SOON, proxy_of
from aggctl.core.doctor.model import (
    BROKEN,
    NOT_CHECKED,
    OK,
    SKIPPED,
    WARNED,
    Exam,
    Hop,
    hop,
    skipped,
    state_of,
)
from aggctl.core.doctor.place import see_place
from aggctl.core.findings import Finding
from aggctl.core.questions import FileAt, ReadyAt, Unknown
from aggctl.core.snapshot import NotKnown
from aggctl.errors import Refused
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from support.doctoring import Patient

    from aggctl.core.doctor.model import Place

FROM_BOTH = pytest.mark.parametrize("place", ["node", "anywhere"])
REFUSED: dict[str, Any] = {"condition": {"message": "dial tcp 10.96.0.44:443: connect: connection refused"}}


def finding(severity: str = "error", code: str = "a-code") -> Finding:
    return Finding(code, severity, "it", "it is broken", "mend it")


# --- the model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severities", "state"),
    [((), OK), (("info",), OK), (("warning", "info"), WARNED), (("warning", "error"), BROKEN)],
)
def test_the_worst_finding_makes_the_state_of_a_hop(severities: tuple[str, ...], state: str) -> None:
    assert state_of(tuple(map(finding, severities))) == state


def test_a_hop_is_what_was_seen_there() -> None:
    assert hop("reach", lambda: ("well", [])) == Hop("reach", OK, "well")
    assert hop("reach", lambda: ("bad", [finding()])) == Hop("reach", BROKEN, "bad", (finding(),))


@pytest.mark.parametrize(
    ("error", "state", "words", "code"),
    [
        (NotKnown(ReadyAt(SERVER), FORBIDDEN), NOT_CHECKED, FORBIDDEN.reason, []),
        (pki.PkiError("it is no certificate"), NOT_CHECKED, "it is no certificate", []),
        (Refused("no-manifest", "no manifest", do="look", expected="one"), BROKEN, "no manifest",
         ["no-manifest"]),
    ],
    ids=["no answer", "a certificate that cannot be read", "a refusal"],
)  # fmt: skip
def test_what_cannot_be_seen_at_a_hop_is_never_a_pass(
    error: Exception, state: str, words: str, code: list[str]
) -> None:
    def look() -> tuple[str, list[Finding]]:
        raise error

    found = hop("reach", look)
    assert (found.state, found.said, [each.code for each in found.findings]) == (state, words, code)


def test_hops_that_were_not_reached_say_nothing() -> None:
    assert skipped("TLS", "identity") == [Hop("TLS", SKIPPED), Hop("identity", SKIPPED)]


def test_the_verdict_is_the_first_error_also_of_the_layer() -> None:
    late, early = finding(code="late"), finding(code="early")
    warned = Hop("layer", WARNED, "", (finding("warning", "of-the-layer"),))
    hops = (Hop("Service", WARNED, "", (finding("warning"),)), Hop("reach", BROKEN, "", (late,)))
    assert Exam("x", (warned,), hops).verdict == late
    assert Exam("x", (Hop("layer", BROKEN, "", (early,)),), hops).verdict == early


def test_a_warning_is_the_verdict_of_an_api_only_where_it_is_its_own() -> None:
    warned = Hop("layer", WARNED, "", (finding("warning"),))
    assert Exam("x", (warned,), (Hop("reach", OK),)).verdict is None
    assert Exam("x", (), (warned,)).verdict == finding("warning")


# --- where doctor looks from -----------------------------------------------------------------------------


def place_of(patient: Patient, held: str = "") -> Place:
    return patient.ask(lambda snapshot: see_place(snapshot, patient.server, NOW, held))


def test_on_a_node_this_kube_apiserver_is_asked_by_its_own_address() -> None:
    place = place_of(well())
    assert (place.server, place.servers, place.routed) == (SERVER, (SERVER,), False)
    assert place.node is not None
    assert place.files is not None


def test_from_anywhere_all_of_them_are_and_the_reason_is_kept_why_no_file_is_seen() -> None:
    place = place_of(well("anywhere", peer=True))
    assert (place.server, place.servers) == (BALANCER, tuple(SERVERS.values()))
    assert (place.node, place.problems) == (None, ())
    assert "no kube-apiserver manifest" in place.why_no_node


def test_behind_a_load_balancer_that_hides_them_it_is_asked_itself() -> None:
    assert place_of(well("anywhere", balancer=True)).servers == (BALANCER,)


@pytest.mark.parametrize(
    ("flag", "routed"),
    [
        ("--enable-aggregator-routing=true", True),
        ("--enable-aggregator-routing=True", True),
        ("--enable-aggregator-routing", True),
        ("--enable-aggregator-routing=false", False),
        ("--secure-port=6443", False),
    ],
)
@pytest.mark.parametrize("field", ["command", "args"])
def test_from_anywhere_routing_is_read_off_the_pods_of_kube_apiserver(
    field: str, flag: str, routed: bool
) -> None:
    pods = {"items": [{"spec": {"containers": [{field: ["kube-apiserver", flag]}]}}]}
    assert place_of(well("anywhere", objects={"apiserverPods": pods})).routed is routed


@pytest.mark.parametrize(
    "case",
    [
        {"hidden": ["apiserverPods"]},
        {"objects": {"apiserverPods": None}},
        {"objects": {"apiserverPods": {"items": [{"spec": None}]}}},
    ],
    ids=["not to be seen", "none", "without a spec"],
)
def test_where_the_pods_of_kube_apiserver_are_not_seen_routing_is_not_known(case: dict[str, Any]) -> None:
    assert place_of(well("anywhere", **case)).routed is None


def test_with_routing_not_known_neither_kind_of_service_is_blamed() -> None:
    for spec in (
        {"clusterIP": "None"},
        {"type": "ExternalName", "externalName": "x.example", "selector": None},
    ):
        found = well("anywhere", hidden=["apiserverPods"], objects={"service": {"spec": spec}}).diagnosis()
        assert verdict(found) is None


def test_the_leaf_counts_as_held_only_where_it_is_this_nodes() -> None:
    own = certificate(leaf(CA)).fingerprint
    assert place_of(well(), own).identity == own
    assert place_of(well(), "another").identity == ""
    assert place_of(well(files={"front-proxy-client": None}), "").identity == ""


def test_a_manifest_that_may_not_be_read_makes_no_node() -> None:
    patient = well()
    denied = patient.scene.answering({FileAt(MANIFEST): Unknown("Permission denied")})
    found = replace(patient, scene=denied).diagnosis()
    assert states(found)["layer"] == NOT_CHECKED
    as_root = "this node's files: Permission denied (run on a control-plane node as root)"
    assert found.not_checked[-1] == as_root


def test_a_manifest_that_is_no_static_pod_is_a_problem_of_this_node() -> None:
    found = well(files={MANIFEST: "kind: Nothing"}).diagnosis()
    assert states(found)["layer"] == BROKEN
    assert hop_of(found, verdict(found)) == "layer"
    assert not [each for each in found.not_checked if "as root" in each]


def test_another_nodes_silence_is_no_problem_of_this_one() -> None:
    found = well(peer=True, silent="n2").diagnosis()
    assert codes(found.findings) == set()
    assert [each for each in found.not_checked if SERVERS["n2"] in each]


def test_one_kube_apiserver_that_is_silent_is_named_and_the_others_are_asked() -> None:
    found = well("anywhere", peer=True, silent="n2").diagnosis()
    assert verdict(found) is None
    assert [each for each in found.not_checked if SERVERS["n2"] in each]


# --- the layer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "hosts", "name"),
    [
        ({}, ("10.1.0.5",), ""),
        ({"HTTPS_PROXY": ""}, ("10.1.0.5",), ""),
        ({"HTTP_PROXY": "p"}, ("10.1.0.5",), ""),
        ({"HTTPS_PROXY": "p"}, ("10.1.0.5",), "HTTPS_PROXY"),
        ({"https_proxy": "p"}, ("10.1.0.5",), "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "p"}, ("127.0.0.1", "::1"), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "*"}, ("10.1.0.5", "x.y.svc"), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "10.1.0.5"}, ("10.1.0.5",), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": " 10.1.0.0/16 , "}, ("10.1.0.5",), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "10.1.0.0/16"}, ("10.1.0.5", "10.2.0.5"), "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "fd00::/8,.svc"}, ("fd00::5", "x.y.svc"), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "svc"}, ("x.y.svc",), ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "y.svc"}, ("x.z.svc",), "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "10.1.0.0/99"}, ("10.1.0.5",), "HTTPS_PROXY"),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(env: dict[str, str], hosts: tuple[str, ...], name: str) -> None:
    assert proxy_of(env, hosts) == name


def test_labels_that_cannot_be_read_are_no_finding() -> None:
    assert codes(well(labels="hidden").diagnosis().findings, "warning") == set()


def test_labels_where_selinux_does_not_enforce_decide_nothing() -> None:
    assert codes(well(labels=["u:r:a:s0", "", "", ""]).diagnosis().findings, "warning") == set()


def test_a_clock_that_cannot_be_asked_is_no_finding() -> None:
    assert "clock-wrong" not in codes(well(silent="all").diagnosis().findings)


def test_a_ca_that_expires_soon_is_named_beside_its_leaf() -> None:
    ca = pki.new_ca("front-proxy-ca", NOW, algorithm="ECDSA-P256", lifetime=SOON / 2)
    patient = well()
    scene = patient.scene.pair("front-proxy-ca", ca).pair("front-proxy-client", leaf(ca)).publishing(ca)
    found = replace(patient, scene=scene).diagnosis()
    warned = {each.subject for each in found.findings if each.code == "certificate-expires-soon"}
    assert warned == {f"front-proxy-ca at {PKI}/front-proxy-ca.crt"}


def test_a_link_out_of_the_pods_volumes_is_a_file_that_is_not_mounted() -> None:
    path = f"{PKI}/front-proxy-ca.crt"
    patient = well()
    seen = patient.scene.look(FileAt(path))
    linked = patient.scene.answering({FileAt(path): replace(seen, link="/srv/ca.crt")})
    found = replace(patient, scene=linked).diagnosis()
    assert verdict(found) == next(each for each in found.findings if each.code == "file-not-mounted")


def test_what_a_container_said_before_the_manifest_was_changed_counts_no_more() -> None:
    patient = well(silent="all", processes=[], logs=[["Error: unknown flag: --a"]])
    assert codes(patient.diagnosis().findings) == {"flag-refused"}
    path = FileAt(MANIFEST)
    later = patient.scene.answering({path: replace(patient.scene.look(path), changed=WRITTEN + 9)})
    assert codes(replace(patient, scene=later).diagnosis().findings) == {"apiserver-down"}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({}, "7 of 7 flags, routing off"),
        ({"routing": True}, "7 of 7 flags, routing on"),
        ({"flags": {"proxy-client-key-file": None}}, "6 of 7 flags, routing off"),
    ],
)
def test_the_flags_of_the_layer_are_counted_and_routing_is_named(case: dict[str, Any], words: str) -> None:
    assert said(well(**case).diagnosis(), "layer") == words


def test_no_names_are_any_name_in_what_is_published() -> None:
    assert said(well(published={"names": []}).diagnosis(), "published") == "1 CA, any name"


def test_several_published_cas_are_counted() -> None:
    found = well(published={"authorities": ["another CA", "front-proxy-ca"], "names": ["a", "b"]}).diagnosis()
    assert said(found, "published") == "2 CAs, a, b"


@FROM_BOTH
def test_a_config_map_that_may_not_be_read_is_not_checked(place: str) -> None:
    found = well(place, hidden=["configMap"]).diagnosis()
    assert states(found)["published"] == NOT_CHECKED
    assert f"published: {FORBIDDEN.reason}" in found.not_checked


# --- what is skipped, and what hides what ----------------------------------------------------------------


@FROM_BOTH
def test_a_healthy_api_goes_through_every_hop(place: str) -> None:
    found = well(place).diagnosis()
    assert tuple(states(found)) == tuple(HOPS)
    assert set(states(found).values()) <= {OK, NOT_CHECKED}


@FROM_BOTH
def test_behind_a_service_that_is_not_there_nothing_is_reached_but_the_rights(place: str) -> None:
    found = states(well(place, objects={"service": None}).diagnosis())
    assert {found[name] for name in BEHIND_SERVICE} == {SKIPPED}
    assert found["rights"] == OK


@FROM_BOTH
def test_behind_endpoints_that_are_not_ready_the_way_is_not_walked(place: str) -> None:
    case: dict[str, Any] = {
        "endpoints": {"ready": False},
        "objects": {"service": {"spec": {"selector": None}}},
    }
    found = states(well(place, **case).diagnosis())
    assert [found[name] for name in BEHIND_SERVICE] == [BROKEN, *[SKIPPED] * 6]


def test_a_service_that_may_not_be_read_hides_endpoints_and_pods() -> None:
    found = states(well(hidden=["service"]).diagnosis())
    assert (found["Service"], found["endpoints"], found["Pods"]) == (NOT_CHECKED, SKIPPED, SKIPPED)


@pytest.mark.parametrize("hidden", ["service", "slices"])
def test_where_objects_may_not_be_read_the_words_of_kube_apiserver_still_tell(hidden: str) -> None:
    said = 'Get "https://10.1.0.5:8443/apis": x509: certificate has expired'
    condition = {"status": "False", "reason": "FailedDiscoveryCheck", "message": said}
    found = verdict(well("anywhere", hidden=[hidden], condition=condition).diagnosis())
    assert found is not None
    assert found.code == "serving-certificate-expired"


def test_before_there_were_endpoint_slices_of_v1_endpoints_are_not_checked() -> None:
    found = well(objects={"slices": None}).diagnosis()
    assert states(found)["endpoints"] == NOT_CHECKED
    assert verdict(found) is None


@pytest.mark.parametrize(
    ("theirs", "own", "foreign"),
    [
        (Unknown("not this CA", "apiserver-not-trusted"), "ok", True),
        (Unknown("not this CA", "apiserver-not-trusted"), Unknown("gone", "apiserver-not-reachable"), False),
        (Unknown("refused", "apiserver-not-reachable"), "ok", False),
    ],
    ids=["another cluster's", "which is silent", "this node is down"],
)
def test_a_kubeconfig_of_another_cluster_makes_this_machine_no_node(
    theirs: Any, own: Any, foreign: bool
) -> None:
    patient, given = well(), "https://elsewhere.example.com:6443"
    scene = patient.scene.answering({ReadyAt(SERVER): theirs, ReadyAt(given): own})
    place = settle(lambda snapshot: see_place(snapshot, given, NOW), scene.look)[0]
    assert (place.server == given, place.node is None) == (foreign, foreign)


def test_a_node_whose_kube_apiserver_goes_by_a_tunnel_dials_nothing_itself() -> None:
    patient = well(flags={"egress-selector-config-file": "/etc/egress.yaml"}, dial="Connection refused")
    assert verdict(patient.diagnosis()) is None


def test_endpoints_that_may_not_be_read_hide_what_is_behind_them() -> None:
    assert states(well(hidden=["slices"]).diagnosis())["Service"] == NOT_CHECKED


def test_pods_that_may_not_be_listed_are_not_checked_and_the_way_is_walked() -> None:
    found = states(well(hidden=["pods"]).diagnosis())
    assert (found["Pods"], found["access"], found["TLS"]) == (NOT_CHECKED, SKIPPED, OK)


def test_behind_a_way_that_is_closed_neither_tls_nor_identity_is_blamed() -> None:
    found = states(well(dial="timed out", served="expired", **REFUSED).diagnosis())
    assert [found[name] for name in ("reach", "TLS", "identity", "access", "discovery")] == [
        BROKEN, *[SKIPPED] * 4
    ]  # fmt: skip


def test_behind_tls_that_is_broken_what_the_service_account_lacks_is_a_warning() -> None:
    found = well(served="expired", may={"configmaps": False}, answer={"status": 503}).diagnosis()
    assert (states(found)["identity"], states(found)["discovery"]) == (SKIPPED, SKIPPED)
    assert codes(found.findings) == {"serving-certificate-expired"}
    assert codes(found.findings, "warning") == {"auth-reader-missing"}


def test_an_identity_that_is_refused_for_a_missing_right_has_its_cause_there() -> None:
    found = well(may={"configmaps": False}, answer={"status": 401}).diagnosis()
    assert (states(found)["identity"], states(found)["access"]) == (BROKEN, BROKEN)
    assert codes(found.findings) == {"auth-reader-missing"}


def test_access_reviews_that_may_not_be_made_are_not_checked() -> None:
    assert states(well(may={"configmaps": "hidden"}).diagnosis())["access"] == NOT_CHECKED


def test_rights_that_may_not_be_asked_about_are_not_checked() -> None:
    assert states(well(may={"caller": "hidden"}).diagnosis())["rights"] == NOT_CHECKED


def test_without_a_resource_the_caller_is_asked_about_all_of_them() -> None:
    found = well(may={"caller": False}, answer={"resources": ["*/*", "things/status"]}).diagnosis()
    assert said(found, "rights") == "may not list *"


def test_pods_without_a_service_account_run_as_the_default_one() -> None:
    found = well(pods=[{"spec": {"serviceAccountName": None}}]).diagnosis()
    assert said(found, "access") == "system:serviceaccount:shop:default"
