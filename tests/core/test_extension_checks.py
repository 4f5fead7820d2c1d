"""Whether a registered API is ours, available, verified and answered for: each with its opposites."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import CA, SERVER, Scene, slices

from aggctl.core.checks import evaluate
from aggctl.core.checks.extension import api_service_path, ca_bundle_of, condition_of, service_of
from aggctl.core.extension import ServiceAt
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.core.plan import Condition
from aggctl.core.questions import Handshake, ObjectAt, ServedSeen, UnavailableApis, Unknown
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

NAME = "v1.things.example"
API = "/apis/things.example/v1"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
BUNDLE = CA.certificate.decode()
ENCODED = base64.b64encode(CA.certificate).decode()
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
UNAVAILABLE = Unknown(f"{SERVER}{API} answered 503: service unavailable", "apiserver-not-ready")


def condition(status: str, reason: str, message: str = "") -> Object:
    return {"type": "Available", "status": status, "reason": reason, "message": message}


def verdict(scene: Scene, check: str, **arguments: Any) -> Verdict:
    asked = Condition(check, (*arguments.items(), ("server", SERVER)))
    return scene.ask(lambda snapshot: evaluate(asked, snapshot))


def failed(found: Verdict) -> Finding:
    assert isinstance(found, Finding)
    return found


# --- reading an APIService -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (
            {"service": {"namespace": "shop", "name": "things", "port": 8443}},
            ServiceAt("shop", "things", 8443),
        ),
        ({"service": {"namespace": "shop", "name": "things"}}, ServiceAt("shop", "things", 443)),
        (
            {"service": {"namespace": "shop", "name": "things", "port": None}},
            ServiceAt("shop", "things", 443),
        ),
        ({"service": {}}, ServiceAt("", "", 443)),
        ({"service": None}, None),
        ({}, None),
        (None, None),
    ],
    ids=["a port", "no port", "port null", "names nothing", "null", "none", "no spec"],
)
def test_the_service_of_an_apiservice_is_read_with_443_as_its_port(
    spec: Any, found: ServiceAt | None
) -> None:
    assert service_of({"spec": spec}) == found


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"caBundle": ENCODED}, BUNDLE),
        ({"caBundle": ""}, ""),
        ({"caBundle": None}, ""),
        ({"caBundle": "x"}, ""),
        ({"caBundle": "not base64: ä"}, ""),
        ({"caBundle": base64.b64encode(b"\xff\xfe").decode()}, ""),
        (None, ""),
    ],
    ids=["PEM", "empty", "null", "no base64", "no ASCII", "no text", "no spec"],
)
def test_a_cabundle_that_cannot_be_read_is_none(spec: Any, found: str) -> None:
    assert ca_bundle_of({"spec": spec}) == found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ({"conditions": [{"type": "Odd"}, condition("True", "Passed")]}, condition("True", "Passed")),
        ({"conditions": [{"type": "Odd"}]}, {}),
        ({"conditions": None}, {}),
        (None, {}),
    ],
    ids=["there", "another", "null", "no status"],
)
def test_the_condition_available_is_found_or_empty(status: Any, found: Object) -> None:
    assert condition_of({"status": status}) == found


# --- available -------------------------------------------------------------------------------------------


def available(*conditions: Object, at: str | None = "shop/things") -> Verdict:
    found = api_service(at=at) | {"status": {"conditions": list(conditions)}}
    return verdict(cluster(found), "api-available", name=NAME, namespace="shop", service="things")


def test_available_with_reason_passed_and_our_service_passes() -> None:
    assert isinstance(available(condition("True", "Passed")), Passed)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([], "no kube-apiserver has looked at it yet"),
        (
            [condition("False", "FailedDiscoveryCheck", "x509: no SAN")],
            "not Available, FailedDiscoveryCheck: x509: no SAN",
        ),
        ([condition("True", "Local")], "not Available, Local: "),
        ([condition("Unknown", "Passed")], "not Available, Passed: "),
        ([condition("False", "MissingEndpoints")], "not Available, MissingEndpoints: "),
    ],
    ids=["not looked at", "discovery fails", "served by kube-apiserver", "not known", "no endpoints"],
)
def test_anything_but_available_with_reason_passed_is_not_yet(conditions: list[Object], message: str) -> None:
    found = failed(available(*conditions))
    assert (found.code, found.message) == ("api-not-available", message)
    assert (found.hopeless, found.evidence) == (False, ())


@pytest.mark.parametrize(
    ("at", "now"),
    [(None, "no Service"), ("shop/other", "Service shop/other"), ("mall/things", "Service mall/things")],
    ids=["none, as a CRD's", "another one", "one of another namespace"],
)
def test_an_api_that_another_answers_for_is_no_success_and_hopeless(at: str | None, now: str) -> None:
    found = failed(available(condition("True", "Passed"), at=at))
    assert (found.code, found.hopeless) == ("api-taken-over", True)
    assert (found.message, found.expected) == (f"it names {now} now", "Service shop/things")


def test_an_externalname_where_endpoints_are_dialled_is_hopeless_with_the_servers_words() -> None:
    said = 'failing or missing response: unsupported service type "ExternalName"'
    found = failed(available(condition("False", "FailedDiscoveryCheck", said)))
    assert (found.code, found.hopeless, found.evidence) == ("externalname-with-routing", True, (said,))


def test_an_apiservice_that_is_gone_is_not_available() -> None:
    found = failed(verdict(cluster(), "api-available", name=NAME, namespace="shop", service="things"))
    assert (found.code, found.message) == ("api-not-available", "the APIService is not there")


@pytest.mark.parametrize("check", ["api-available", "serving-certificate-verified"])
def test_an_apiservice_that_may_not_be_seen_is_not_checked(check: str) -> None:
    names = {"namespace": "shop", "service": "things"} if check == "api-available" else {}
    hidden = cluster().answering({ObjectAt(api_service_path(NAME), SERVER): FORBIDDEN})
    assert verdict(hidden, check, name=NAME, **names) == NotChecked(FORBIDDEN)


# --- served ----------------------------------------------------------------------------------------------

WELL, WRONG = ServedSeen(b"", ""), ServedSeen(b"", "hostname mismatch")
UNREACHABLE = Unknown("10.1.0.5:6443 cannot be dialled from here: timed out")


def dialled(address: str, bundle: str = BUNDLE) -> Handshake:
    return Handshake(address, "things.shop.svc", bundle)


def served(scene: Scene) -> Verdict:
    return verdict(scene, "serving-certificate-verified", name=NAME)


def serving(*answers: ServedSeen | Unknown) -> Scene:
    addresses = [f"10.1.0.{5 + number}" for number, _ in enumerate(answers)]
    scene = cluster(service(), api_service(caBundle=ENCODED)).object(SLICES, slices(*addresses, https=6443))
    return scene.answering(
        {dialled(f"{address}:6443"): answer for address, answer in zip(addresses, answers, strict=True)}
    )


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((WELL, WELL), "2 of 2 endpoints verified from here"),
        ((WELL, UNREACHABLE), "1 of 2 endpoints verified from here"),
        ((UNREACHABLE,), "0 of 1 endpoints verified from here"),
        ((), "0 of 0 endpoints verified from here"),
    ],
    ids=["both", "one out of reach", "all out of reach", "none yet, which another check tells"],
)
def test_what_can_be_dialled_verifies_and_what_cannot_is_counted_and_no_failure(
    answers: tuple[Any, ...], said: str
) -> None:
    assert served(serving(*answers)) == Passed(said)


@pytest.mark.parametrize("answers", [(WRONG,), (WELL, WRONG), (UNREACHABLE, WRONG)])
def test_one_endpoint_that_serves_a_wrong_certificate_is_named_with_the_reason(
    answers: tuple[Any, ...],
) -> None:
    found = failed(served(serving(*answers)))
    assert (found.code, found.evidence) == ("serving-certificate-not-verified", ("hostname mismatch",))
    assert found.subject == f"10.1.0.{4 + len(answers)}:6443 of APIService {NAME}"
    assert not found.hopeless  # servers read a changed Secret within a minute or so


def test_a_hundred_endpoints_are_dialled_side_by_side() -> None:
    rounds = []

    def look(snapshot: Snapshot) -> Verdict:
        rounds.append(1)
        asked = Condition("serving-certificate-verified", (("name", NAME), ("server", SERVER)))
        return evaluate(asked, snapshot)

    assert isinstance(serving(*[WELL] * 100).ask(look), Passed)
    assert len(rounds) == 5  # the APIService, its Service, the endpoints, the handshakes, and the verdict


def test_an_externalname_is_dialled_by_its_name_and_verified_by_that_of_the_service() -> None:
    outside = service(type="ExternalName", externalName="things.example.com")
    scene = cluster(outside, api_service(caBundle=ENCODED))
    asked = {dialled("things.example.com:443"): WRONG}
    assert failed(served(scene.answering(asked))).code == "serving-certificate-not-verified"


def test_without_a_cabundle_it_is_verified_by_none_rather_than_passed() -> None:
    scene = cluster(service(), api_service()).object(SLICES, slices("10.1.0.5", https=6443))
    asked = {dialled("10.1.0.5:6443", ""): ServedSeen(b"", "there is no CA to verify it by")}
    assert failed(served(scene.answering(asked))).evidence == ("there is no CA to verify it by",)


def test_an_insecure_api_is_not_verified_as_it_asks() -> None:
    insecure = cluster(service(), api_service(insecureSkipTLSVerify=True))
    assert served(insecure) == Passed("not verified, as the APIService asks")


@pytest.mark.parametrize("found", [None, api_service(at=None)], ids=["gone", "without a Service"])
def test_an_apiservice_without_a_service_to_verify_is_not_available(found: Object | None) -> None:
    scene = cluster().object(api_service_path(NAME), found)
    assert failed(served(scene)).code == "api-not-available"


def test_a_service_that_is_gone_has_nothing_to_verify_which_another_check_tells() -> None:
    scene = cluster(api_service(caBundle=ENCODED))
    assert served(scene) == Passed("0 of 0 endpoints verified from here")


@pytest.mark.parametrize("path", [path_of("v1", "services", "shop", "things"), SLICES])
def test_endpoints_that_may_not_be_seen_are_not_checked(path: str) -> None:
    assert served(serving(WELL).answering({ObjectAt(path, SERVER): FORBIDDEN})) == NotChecked(FORBIDDEN)


# --- answers ---------------------------------------------------------------------------------------------


def answers(answer: Any) -> Verdict:
    scene = cluster().answering({ObjectAt(API, SERVER): answer})
    return verdict(scene, "api-answers", group="things.example", version="v1")


def test_an_answer_for_this_group_and_version_passes() -> None:
    assert isinstance(answers({"groupVersion": "things.example/v1", "resources": []}), Passed)


@pytest.mark.parametrize(
    ("answer", "code", "hopeless"),
    [
        (None, "api-not-answering", False),
        ({"groupVersion": "things.example/v1beta1"}, "api-answers-other-group", True),
        ({"groupVersion": "others.example/v1"}, "api-answers-other-group", True),
        ({"kind": "Odd"}, "api-answers-other-group", True),
    ],
    ids=["404", "another version", "another group", "no group"],
)
def test_any_other_answer_is_a_finding(answer: Any, code: str, hopeless: bool) -> None:
    found = failed(answers(answer))
    assert (found.code, found.hopeless) == (code, hopeless)
    assert SERVER in found.message


def test_a_503_is_of_the_way_behind_this_kube_apiserver_which_is_named() -> None:
    found = failed(answers(UNAVAILABLE))
    assert (found.code, found.subject) == ("api-not-available-everywhere", f"APIService {NAME}")
    assert found.message == UNAVAILABLE.reason
    assert not found.hopeless


def test_an_api_that_may_not_be_asked_is_not_checked_and_never_passes() -> None:
    assert answers(FORBIDDEN) == NotChecked(FORBIDDEN)


# --- gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(None, Passed), ({"groupVersion": "things.example/v1"}, Finding), (UNAVAILABLE, NotChecked)],
    ids=["404", "still served", "503"],
)
def test_only_an_api_that_is_not_found_is_gone(answer: Any, expected: type[Verdict]) -> None:
    scene = cluster().answering({ObjectAt(API, SERVER): answer})
    found = verdict(scene, "api-gone", group="things.example", version="v1")
    assert isinstance(found, expected)


# --- what one kube-apiserver sees ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gauge", "expected"),
    [
        ({NAME: False, "v1.other.example": True}, Passed),
        ({NAME: True}, Finding),
        ({"v1.other.example": False}, Finding),
        ({}, Finding),
        (FORBIDDEN, NotChecked),
    ],
    ids=["available", "unavailable here", "not measured", "nothing measured", "no rights"],
)
def test_only_a_gauge_that_says_available_passes(gauge: Any, expected: type[Verdict]) -> None:
    scene = cluster().answering({UnavailableApis(SERVER): gauge})
    assert isinstance(verdict(scene, "api-available-here", name=NAME), expected)
