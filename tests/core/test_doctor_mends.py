"""What doctor may mend by itself: one of its own plans, or one object nobody could want otherwise."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.ailments import API
from support.clusters import OTHER_SERVING_CA, SERVING_CA, pair_seen, serving
from support.doctoring import well
from support.snapshots import SERVER

from aggctl.core.checks.extension import api_service_path
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.doctor.mends import (
    BIND,
    BUNDLE,
    ENABLE,
    ROTATE,
    UNREGISTER,
    binding_for,
    bundle_for,
    choose,
    plan_mend,
)
from aggctl.core.findings import Finding
from aggctl.core.plan import ObjectChange
from aggctl.core.questions import Handshake, ObjectAt, PairAt
from aggctl.core.register.plan import Rehearsed
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from support.doctoring import Patient

    from aggctl.core.resources import Located

NOT_ON: dict[str, Any] = {"flags": {"proxy-client-key-file": None}}
FAILS: dict[str, Any] = {"answer": {"status": 503, "said": "boom"}}


def chosen(place: str = "node", **case: Any) -> list[tuple[str, str, str]]:
    return [(each.kind, each.api, each.finding.code) for each in choose(well(place, **case).diagnosis())]


@pytest.mark.parametrize("place", ["node", "anywhere"])
def test_what_is_well_is_not_mended(place: str) -> None:
    assert chosen(place) == []


@pytest.mark.parametrize(
    ("case", "mend"),
    [
        (NOT_ON, (ENABLE, "", "layer-partly-on")),
        ({"files": {"front-proxy-client": "expired"}}, (ENABLE, "", "client-certificate-expired")),
        ({"objects": {"service": None, "namespace": None}}, (UNREGISTER, API.name, "api-service-stale")),
        ({"served": "expired", **FAILS}, (ROTATE, API.name, "serving-certificate-expired")),
        ({"served": "another name", **FAILS}, (ROTATE, API.name, "serving-certificate-wrong-name")),
        ({"served": "of another CA", **FAILS}, (BUNDLE, API.name, "serving-certificate-of-another-ca")),
        (
            {"apiService": {"spec": {"caBundle": None}}, "served": "not verified", **FAILS},
            (BUNDLE, API.name, "ca-bundle-empty"),
        ),
        (
            {"may": {"configmaps": False}, "answer": {"status": 401}},
            (BIND, API.name, "auth-reader-missing"),
        ),
    ],
    ids=lambda each: each[2] if isinstance(each, tuple) else "",
)
def test_what_may_be_mended_is_chosen(case: dict[str, Any], mend: tuple[str, str, str]) -> None:
    assert mend in chosen(**case)


@pytest.mark.parametrize(
    "case",
    [
        {"dial": "Connection refused", **FAILS},
        {"objects": {"service": {"spec": {"ports": None}}}},
        {"apiService": {"spec": {"insecureSkipTLSVerify": True, "caBundle": None}}, "served": "not verified"},
        {"answer": {"status": 500, "said": "boom"}},
        {"flags": {"requestheader-allowed-names": ""}},
        {"may": {"tokenreviews": False}},
        {"objects": {"service": None}},
    ],
    ids=["refused", "no port", "not verified", "fails by itself", "layer", "it works", "only the Service"],
)
def test_what_somebody_must_decide_is_left(case: dict[str, Any]) -> None:
    assert chosen(**case) == []


def test_the_layer_is_mended_once_for_all_that_is_wrong_with_it() -> None:
    case: dict[str, Any] = {
        "flags": {"proxy-client-key-file": None},
        "files": {"front-proxy-client": "with another CN"},
    }
    assert [each[0] for each in chosen(**case)] == [ENABLE]


def test_from_anywhere_the_layer_of_a_node_is_left_alone() -> None:
    assert chosen("anywhere", published={"authorities": []}) == []


def test_each_binding_is_a_mend_of_its_own_and_each_rotation_is_one_for_all_endpoints() -> None:
    case: dict[str, Any] = {"may": {"configmaps": False, "tokenreviews": False}, "answer": {"status": 401}}
    assert [each[0] for each in chosen(**case)] == [BIND, BIND]
    assert [each[0] for each in chosen(served="expired", **FAILS)] == [ROTATE]


def test_the_binding_that_a_log_asks_for_is_that_of_the_service_account() -> None:
    forbidden = 'configmaps "extension-apiserver-authentication" is forbidden'
    state = {
        "name": "server",
        "ready": False,
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }
    pod = {"status": {"conditions": None, "containerStatuses": [state]}}
    case: dict[str, Any] = {"pods": [pod], "endpoints": {"ready": False}, "podLogs": {"server": [forbidden]}}
    (mend,) = choose(well(**case, condition={"reason": "MissingEndpoints"}).diagnosis())
    assert binding_for(mend.finding).object["subjects"][0] == {
        "kind": "ServiceAccount",
        "name": "things",
        "namespace": "shop",
    }


# --- bindings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "path", "target"),
    [
        (
            "auth-reader-missing",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/shop%3Athings%3Aauth-reader",
            "RoleBinding kube-system/shop:things:auth-reader",
        ),
        (
            "auth-delegator-missing",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/shop%3Athings%3Aauth-delegator",
            "ClusterRoleBinding shop:things:auth-delegator",
        ),
    ],
)
def test_a_binding_is_for_the_service_account_alone(code: str, path: str, target: str) -> None:
    found = binding_for(Finding(code, "error", "ServiceAccount shop/things", "", ""))
    assert (found.path, found.target) == (path, target)
    assert [each["name"] for each in found.object["subjects"]] == ["things"]


def test_a_mend_is_a_plan_of_one_step_that_can_be_undone() -> None:
    located = binding_for(Finding("auth-reader-missing", "error", "ServiceAccount shop/things", "", ""))
    plan = plan_mend(SERVER, "aggctl", Rehearsed(located, located.object, None, 201, located.object))
    (step,) = plan.steps
    assert (plan.command, step.title) == ("doctor --fix", "RoleBinding kube-system/shop:things:auth-reader")
    assert isinstance(step.change, ObjectChange)
    assert step.change.before is None


# --- the caBundle ----------------------------------------------------------------------------------------

TLS = {
    "containers": [
        {
            "name": "server",
            "ports": [{"name": "https", "containerPort": 8443}],
            "args": ["--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"],
            "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
        }
    ],
    "volumes": [{"name": "tls", "secret": {"secretName": "things-tls"}}],
}
UNTRUSTED = "unable to get local issuer certificate"
SECRET = PairAt("shop", "things-tls", SERVER)
STALE = {"spec": {"caBundle": base64.b64encode(OTHER_SERVING_CA.certificate).decode()}}


def known(answers: dict[Any, Any] | None = None, **case: Any) -> Patient:
    """A cluster whose API has an old caBundle, and whose Secret holds the CA of what is served."""
    patient = well(**{"apiService": STALE, "pods": [{"spec": TLS}], **case})
    items = patient.scene.objects[API_SERVICES]["items"]
    live = next((each for each in items if each["metadata"]["name"] == API.name), None)
    seen = {ObjectAt(api_service_path(API.name), SERVER): live, SECRET: pair_seen(serving())}
    return replace(patient, scene=patient.scene.answering({**seen, **(answers or {})}))


def told(answers: dict[Any, Any] | None = None, **case: Any) -> tuple[Any, Located] | str:
    """What the caBundle may become, or why nothing."""
    found = well().diagnosis()
    return known(answers, **case).ask(lambda snapshot: bundle_for(snapshot, found, API.name))


def test_the_ca_of_the_secret_comes_into_the_bundle_where_every_endpoint_verifies_by_it() -> None:
    found = told()
    assert not isinstance(found, str)
    live, wanted = found
    assert live["spec"]["caBundle"] == STALE["spec"]["caBundle"]
    assert base64.b64decode(wanted.object["spec"]["caBundle"]) == SERVING_CA.certificate
    assert wanted.target == f"APIService {API.name}"


@pytest.mark.parametrize(
    ("answers", "case", "why"),
    [
        ({ObjectAt(api_service_path(API.name), SERVER): None}, {}, "the APIService is gone"),
        ({}, {"apiService": {"spec": {"service": None}}}, "the APIService is gone"),
        ({}, {"objects": {"service": {"spec": {"selector": None}}}}, "the Service selects no Pods"),
        ({SECRET: None}, {}, "Secret shop/things-tls holds no CA (ca.crt)"),
        ({SECRET: pair_seen(serving(), b"")}, {}, "Secret shop/things-tls holds no CA (ca.crt)"),
        ({}, {"served": "not dialled"}, "not every endpoint can be dialled from here"),
        ({}, {"endpoints": {"addresses": []}}, "not every endpoint can be dialled from here"),
        (
            {},
            {"served": {"10.1.0.6:8443": "of another CA"}},
            f"the CA in Secret shop/things-tls does not verify what is served: {UNTRUSTED}",
        ),
    ],
    ids=[
        "gone",
        "kube-apiserver's own",
        "outside",
        "no Secret",
        "no CA",
        "not dialled",
        "no endpoint",
        "untrue",
    ],
)
def test_nothing_is_taken_on_trust(answers: dict[Any, Any], case: dict[str, Any], why: str) -> None:
    assert told(answers, **case) == why


def test_the_endpoints_are_tried_by_the_ca_of_the_secret_and_not_by_the_old_one() -> None:
    found = well().diagnosis()
    _, seen = settle(lambda snapshot: bundle_for(snapshot, found, API.name), known().look)
    asked = {each.authority for each in seen.answers if isinstance(each, Handshake)}
    assert asked == {SERVING_CA.certificate.decode()}
