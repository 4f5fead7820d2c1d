"""From a rehearsal on the server to the plan: what differs, the gates between, what the server refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.clusters import api_service, namespace, path, service
from support.snapshots import SERVER

from aggctl.core.apiservers import Roster
from aggctl.core.extension import Tls
from aggctl.core.fields import CREATED, content_stamp, owned_stamp
from aggctl.core.plan import Condition, ObjectChange, canonical
from aggctl.core.register.plan import (
    INSECURE,
    Rehearsed,
    final_gate,
    plan_register,
    problems_of,
    shown_changes,
    workload_gate,
)
from aggctl.core.register.sight import Sight, Wanted
from aggctl.core.report import ShownChange
from aggctl.core.resources import Located, target_of

Object = dict[str, Any]

NAME, NEXT = "v1.things.example", "v1beta1.things.example"
PEER, HIDDEN = "https://10.0.0.12:6443", "https://10.0.0.13:6443"
WANTED = Wanted((), Tls("self"), "shop", {}, deadline=90.0)
SIGHT = Sight(
    SERVER, (), {NAME: None, NEXT: None}, (), Roster((SERVER, PEER), ((HIDDEN, "timed out"),)), (SERVER,), ()
)
LABELS = {"app": "things"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "things", "namespace": "shop"},
    "spec": {"selector": {"matchLabels": LABELS}},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "things-tls", "namespace": "shop"},
    "data": {"tls.key": "c2VjcmV0"},
}


def marked(of: Object) -> Object:
    """An object as it is applied by the plan that creates it."""
    return of | {"metadata": of["metadata"] | {"annotations": {CREATED: "3f2a"}}}


def stored(of: Object, *, version: int = 7, spec: Any = None) -> Object:
    """An object as the server holds it; `version` moves what the server itself writes."""
    owned = {"manager": "aggctl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:port": {}}}}
    metadata = of["metadata"] | {
        "uid": "u",
        "resourceVersion": str(version),
        "managedFields": [owned | {"time": f"2026-06-01T11:00:0{version}Z"}],
    }
    return of | {"metadata": metadata, "status": {"seen": version}} | ({"spec": spec} if spec else {})


def rehearsed(of: Object, live: Object | None = None, result: Object | None = None, **more: Any) -> Rehearsed:
    """An object that the server took in a dry run; created unless it is there."""
    place = Located(of, path(of), target_of(of))
    status = more.pop("status", 200 if live else 201)
    return Rehearsed(place, of, live, status, result or stored(of), **more)


def created(*objects: Object) -> tuple[Rehearsed, ...]:
    return tuple(rehearsed(marked(each)) for each in objects)


def unchanged(of: Object) -> Rehearsed:
    return rehearsed(of, stored(of), stored(of, version=8))


def changed(of: Object, **more: Any) -> Rehearsed:
    return rehearsed(of, stored(of, spec={"port": 1}), stored(of, version=8, spec={"port": 2}), **more)


EVERYTHING = created(namespace(), SECRET, DEPLOYMENT, service(), api_service(), api_service(NEXT))


# --- steps -----------------------------------------------------------------------------------------------


def test_every_object_that_differs_is_a_step_in_the_order_given() -> None:
    plan = plan_register(SIGHT, WANTED, EVERYTHING)
    assert [step.title for step in plan.steps] == [
        "Namespace shop",
        "Secret shop/things-tls",
        "Deployment shop/things",
        "Service shop/things",
        "APIService v1.things.example",
        "APIService v1beta1.things.example",
    ]
    assert (plan.command, plan.title) == ("register", f"register {NAME}, {NEXT}")


def test_an_object_that_only_the_server_touches_makes_no_step() -> None:
    plan = plan_register(SIGHT, WANTED, (unchanged(DEPLOYMENT), unchanged(api_service())))
    assert plan.steps == ()
    assert plan.blobs == {}


def test_a_new_owner_of_a_field_is_a_difference_though_no_value_is() -> None:
    other = stored(service())
    other["metadata"]["managedFields"] = []
    assert rehearsed(service(), other, stored(service())).changes


def test_a_created_object_goes_back_to_nothing_and_is_known_by_its_mark() -> None:
    (one,) = created(service())
    plan = plan_register(SIGHT, WANTED, (one,))
    change = plan.steps[0].change
    assert isinstance(change, ObjectChange)
    assert (change.server, change.path, change.target) == (SERVER, path(service()), "Service shop/things")
    assert (change.before, change.force) == (None, False)
    assert change.after is not None
    assert (change.after.holds, change.after.whole) == ("created:3f2a", False)
    assert plan.blobs == {change.after.blob: canonical(one.config)}


def test_a_changed_object_goes_back_to_all_that_it_was_and_is_known_by_our_fields() -> None:
    one = changed(service(), force=True)
    plan = plan_register(SIGHT, WANTED, (one,))
    change = plan.steps[0].change
    assert isinstance(change, ObjectChange)
    assert change.before is not None
    assert change.after is not None
    assert one.live is not None
    assert (change.before.holds, change.before.whole) == (content_stamp(one.live), True)
    assert (change.after.holds, change.after.whole) == (owned_stamp(one.result), False)
    assert change.force
    assert json.loads(plan.blobs[change.after.blob]) == one.config
    backup = json.loads(plan.blobs[change.before.blob])
    assert (backup["spec"], backup.get("status")) == ({"port": 1}, None)


def test_a_changed_object_is_known_by_the_fields_of_the_manager_in_whose_name_it_is() -> None:
    wanted = Wanted((), Tls(), "shop", {}, manager="pipeline")
    one = changed(service())
    change = plan_register(SIGHT, wanted, (one,)).steps[0].change
    assert isinstance(change, ObjectChange)
    assert change.after is not None
    assert change.after.holds == owned_stamp(one.result, "pipeline") != owned_stamp(one.result)


# --- where it waits --------------------------------------------------------------------------------------


def test_the_first_apiservice_waits_for_what_serves_it_and_the_last_step_for_the_answer() -> None:
    steps = plan_register(SIGHT, WANTED, EVERYTHING).steps
    workloads, answer = workload_gate(SIGHT, WANTED, EVERYTHING), final_gate(SIGHT, WANTED, EVERYTHING)
    assert [step.needs for step in steps] == [None] * 4 + [workloads, None]
    assert [step.gate for step in steps] == [None] * 5 + [answer]


def test_one_apiservice_waits_before_and_after() -> None:
    (step,) = plan_register(SIGHT, WANTED, created(api_service())).steps
    assert step.needs is not None
    assert step.gate is not None


def test_where_no_apiservice_changes_the_last_step_waits_for_all() -> None:
    everything = (changed(DEPLOYMENT), changed(service()), unchanged(api_service()))
    steps = plan_register(SIGHT, WANTED, everything).steps
    assert [step.needs for step in steps] == [None, None]
    assert [step.gate for step in steps] == [None, final_gate(SIGHT, WANTED, everything)]


def listed(conditions: tuple[Condition, ...]) -> list[tuple[str, ...]]:
    return [(each.check, *(str(value) for _, value in each.arguments)) for each in conditions]


WORKLOADS = [
    ("workload-available", "shop", "things", SERVER),
    ("endpoints-ready", "shop", "things", "443", SERVER),
]
WORKLOAD_PATHS = (
    "/apis/apps/v1/namespaces/shop/deployments?fieldSelector=metadata.name%3Dthings",
    "/api/v1/namespaces/shop/pods?labelSelector=app%3Dthings",
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things",
)


def test_a_server_in_the_cluster_is_waited_for_once_by_watching_it_its_pods_and_its_endpoints() -> None:
    gate = workload_gate(SIGHT, WANTED, EVERYTHING)
    assert listed(gate.conditions) == WORKLOADS
    assert (gate.deadline, gate.server, gate.watch) == (90.0, SERVER, WORKLOAD_PATHS)
    assert gate.waits_for == "the server's Pods"


def test_a_server_elsewhere_is_waited_for_by_its_endpoints_alone() -> None:
    gate = workload_gate(SIGHT, WANTED, created(service(), api_service(port=8443)))
    assert listed(gate.conditions) == [("endpoints-ready", "shop", "things", "8443", SERVER)]
    assert (gate.watch, gate.waits_for) == (WORKLOAD_PATHS[2:], "the Service")


def test_an_object_of_another_kind_that_names_a_service_waits_for_none() -> None:
    odd = service() | {"spec": {"service": {"namespace": "shop", "name": "things"}}}
    assert workload_gate(SIGHT, WANTED, created(odd)).conditions == ()


def test_the_pods_of_a_deployment_without_labels_are_watched_with_all_others() -> None:
    bare = DEPLOYMENT | {"spec": {"selector": None}}
    assert (
        workload_gate(SIGHT, WANTED, created(bare)).watch[1] == "/api/v1/namespaces/shop/pods?labelSelector="
    )


def test_in_the_end_each_kube_apiserver_that_can_be_asked_answers_for_each_version() -> None:
    gate = final_gate(SIGHT, WANTED, EVERYTHING)
    assert listed(gate.conditions) == [
        *WORKLOADS,
        ("serving-certificate-verified", NAME, SERVER),
        ("api-available", NAME, "shop", "things", SERVER),
        ("serving-certificate-verified", NEXT, SERVER),
        ("api-available", NEXT, "shop", "things", SERVER),
        ("api-answers", "things.example", "v1", SERVER),
        ("api-answers", "things.example", "v1beta1", SERVER),
        ("api-available-here", NAME, SERVER),
        ("api-available-here", NEXT, SERVER),
        ("api-answers", "things.example", "v1", PEER),
        ("api-answers", "things.example", "v1beta1", PEER),
    ]
    one = "/apis/apiregistration.k8s.io/v1/apiservices?fieldSelector=metadata.name%3D"
    assert gate.watch == (*WORKLOAD_PATHS, one + NAME, one + NEXT)
    assert (gate.deadline, gate.server) == (90.0, SERVER)


def test_an_apiservice_without_a_service_is_asked_for_its_answer_alone() -> None:
    sight = Sight(SERVER, (), {NAME: None}, (), Roster((SERVER,)), (), ())
    gate = final_gate(sight, WANTED, created(api_service(at=None)))
    assert listed(gate.conditions) == [("api-answers", "things.example", "v1", SERVER)]


# --- what the server refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    [
        rehearsed(service()),
        rehearsed(service(), stored(service())),
        rehearsed(service(), status=403, stand_in=True, message="forbidden in default"),
        rehearsed(service(), conflicts=((INSECURE, "helm"),), force=True),
    ],
    ids=["created", "applied", "no right in the stand-in's namespace", "taken over by consent"],
)
def test_what_the_server_took_is_no_problem(one: Rehearsed) -> None:
    assert list(problems_of((one,))) == []


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"status": 403}, "no-rights-in-cluster"),
        ({"status": 422}, "object-not-valid"),
        ({"status": 500}, "object-not-valid"),
        ({"status": 409}, "object-not-valid"),
        ({"status": 422, "stand_in": True}, "object-not-valid"),
    ],
    ids=[
        "forbidden",
        "invalid",
        "a field that no schema has",
        "conflict of another kind",
        "invalid elsewhere",
    ],
)
def test_what_the_server_refused_is_a_problem_with_its_words(how: Any, code: str) -> None:
    (found,) = problems_of((rehearsed(service()), rehearsed(SECRET, message="because", **how)))
    assert (found.code, found.severity, found.subject) == (code, "error", "Secret shop/things-tls")
    assert found.message == "Secret shop/things-tls: because"


def rbac(kind: str, namespace: str = "", name: str = "reader", **more: Any) -> Object:
    where = {"namespace": namespace} if namespace else {}
    version = "rbac.authorization.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where}, **more}


@pytest.mark.parametrize(
    ("role", "there", "codes"),
    [
        (rbac("Role", "shop"), None, []),
        (rbac("ClusterRole"), None, ["object-not-valid"]),
        (rbac("Role", "shop", "writer"), None, ["object-not-valid"]),
        (rbac("Role", "mart"), None, ["object-not-valid"]),
        (rbac("Role", "shop"), stored(rbac("Role", "shop")), ["object-not-valid"]),
    ],
    ids=["written first", "another kind", "another name", "another namespace", "there, and yet not found"],
)
def test_a_binding_may_wait_for_its_role(role: Object, there: Object | None, codes: list[str]) -> None:
    binding = rbac("RoleBinding", "shop", roleRef={"kind": "Role", "name": "reader"})
    bound = rehearsed(binding, status=404, message="not found")
    found = problems_of((rehearsed(role, there, status=201), bound))
    assert [each.code for each in found] == codes


def test_of_what_binds_nothing_404_is_a_problem() -> None:
    (found,) = problems_of((rehearsed(SECRET, status=404, message="no such kind"),))
    assert found.code == "object-not-valid"


def test_conflicts_are_told_field_by_field_with_the_other_manager() -> None:
    fields = ((".spec.replicas", "hpa"), (".spec.template", "helm"))
    found = list(problems_of((rehearsed(DEPLOYMENT, status=409, message="Apply failed", conflicts=fields),)))
    assert [(each.code, each.subject, each.message) for each in found] == [
        (
            "field-conflict",
            "Deployment shop/things, .spec.replicas",
            ".spec.replicas belongs to field manager hpa",
        ),
        (
            "field-conflict",
            "Deployment shop/things, .spec.template",
            ".spec.template belongs to field manager helm",
        ),
    ]
    assert all("--force-conflicts" in each.fix for each in found)


@pytest.mark.parametrize(
    ("conflicts", "only"),
    [
        ((), False),
        (((INSECURE, "helm"),), True),
        (((INSECURE, "helm"), (INSECURE, "argocd")), True),
        (((INSECURE, "helm"), (".spec.caBundle", "helm")), False),
        (((".spec.caBundle", "helm"),), False),
    ],
)
def test_insecure_alone_in_the_way_is_told_from_other_conflicts(conflicts: Any, only: bool) -> None:
    assert rehearsed(api_service(), conflicts=conflicts).only_insecure is only


# --- what is shown ---------------------------------------------------------------------------------------


def test_changes_are_shown_with_what_is_worth_saying_and_unchanged_objects_are_not() -> None:
    shown = shown_changes(
        (*created(namespace(), SECRET), unchanged(DEPLOYMENT)), {path(SECRET): "until 2027-06-01"}
    )
    assert shown == (
        ShownChange("create", "Namespace shop"),
        ShownChange("create", "Secret shop/things-tls", "until 2027-06-01"),
    )


def test_a_change_is_shown_as_a_diff_of_what_people_wrote() -> None:
    (shown,) = shown_changes((changed(service()),), {})
    assert (shown.action, shown.target) == ("change", "Service shop/things")
    lines = shown.diff.splitlines()
    assert '-  "port": 1' in lines
    assert '+  "port": 2' in lines
    assert not any(word in shown.diff for word in ("time", "resourceVersion", "status"))


def test_a_rehearsal_shows_no_content() -> None:
    assert "c2VjcmV0" not in repr(rehearsed(SECRET, stored(SECRET)))


def test_of_a_changed_secret_no_content_is_shown() -> None:
    after = stored(SECRET | {"data": {"tls.key": "bmV3"}})
    (shown,) = shown_changes((rehearsed(SECRET, stored(SECRET), after),), {})
    assert (shown.action, shown.diff) == ("change", "")
