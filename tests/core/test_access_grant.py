"""A grant: the objects that it stands for, what stands in its way, and what proves it."""

from __future__ import annotations

from typing import Any

import pytest
from support.clusters import namespace
from support.granted import API, ask, having, role, rule, with_api
from support.snapshots import SERVER, Scene, codes

from aggctl.core.access.grant import Granting, escalations, plan_grant, proof, see_grant
from aggctl.core.access.objects import OF_API, aggregates_to, is_of, is_ours, objects_of
from aggctl.core.access.rules import Wanted
from aggctl.core.access.subjects import Subject, parse_subject
from aggctl.core.checks import evaluate
from aggctl.core.extension import Api
from aggctl.core.fields import CREATED, MANAGED_BY
from aggctl.core.findings import Finding, Passed
from aggctl.core.plan import Condition, ObjectChange
from aggctl.core.questions import PROBE_USER, MayDo, ObjectAt, Unknown
from aggctl.core.register.plan import Rehearsed

Object = dict[str, Any]

DEVS, WEB, ALICE = map(parse_subject, ("group:devs", "serviceaccount:shop/web", "user:alice"))
READ = rule("get,list,watch", "things")
ESCALATION = (
    'x is forbidden: user "bob" is attempting to grant RBAC permissions not currently held:\n{Verbs:["get"]}'
)
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
IN_SHOP = having(with_api(), namespace="shop").object("/api/v1/namespaces/shop", namespace("shop"))


def wanted(*subjects: Subject, **more: Any) -> Wanted:
    return Wanted(more.pop("api", API), subjects, **more)


def names(of: Wanted) -> list[str]:
    return [each.target for each in objects_of(of, (READ,))]


def seen(of: Wanted, scene: Scene | None = None, **more: Any) -> Granting:
    scene = scene or having(with_api())
    return ask(scene, lambda snapshot: see_grant(snapshot, of, SERVER), **more)


def rehearsed(
    of: Wanted, status: int = 201, message: str = "", live: Object | None = None
) -> tuple[Rehearsed, ...]:
    """The server's answer to each of its objects."""
    return tuple(
        Rehearsed(each, each.object, live and each.object, status, stored(each.object), message)
        for each in objects_of(of, (READ,))
    )


def stored(object_: Object) -> Object:
    metadata = object_["metadata"] | {"annotations": {CREATED: "3f2a"}, "managedFields": []}
    return object_ | {"metadata": metadata}


# --- objects ---------------------------------------------------------------------------------------------


def test_a_grant_is_a_role_of_the_cluster_and_a_binding_for_each_subject() -> None:
    assert names(wanted(DEVS, WEB)) == [
        "ClusterRole aggctl:v1.things.example:read",
        "ClusterRoleBinding aggctl:v1.things.example:read:group:devs",
        "ClusterRoleBinding aggctl:v1.things.example:read:serviceaccount:shop:web",
    ]


def test_in_a_namespace_both_are_there() -> None:
    whole = list(objects_of(wanted(DEVS, namespace="shop"), (READ,)))
    assert [each.path.rpartition("/")[0] for each in whole] == [
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/shop/{kind}" for kind in ("roles", "rolebindings")
    ]
    assert whole[1].object["roleRef"]["kind"] == "Role"


def test_a_binding_names_the_role_and_one_subject() -> None:
    role_, bound = (each.object for each in objects_of(wanted(DEVS), (READ,)))
    assert bound["roleRef"]["name"] == role_["metadata"]["name"]
    assert bound["subjects"] == [DEVS.as_rbac()]
    assert role_["rules"] == [READ]


def test_an_aggregated_role_stands_beside_the_one_that_is_bound() -> None:
    both = [each.object for each in objects_of(wanted(DEVS, aggregate="view"), (READ,))]
    assert [aggregates_to(each) for each in both] == [("view",), (), ()]
    assert names(wanted(aggregate="view")) == ["ClusterRole aggctl:v1.things.example:read:to-view"]


def test_what_was_typed_names_a_role_and_not_what_came_of_it() -> None:
    assert (
        names(wanted(DEVS, verbs=("list", "get"), resources=("b", "a")))[0]
        == "ClusterRole aggctl:v1.things.example:get-list:a:b"
    )
    assert names(wanted(DEVS, verbs=("get", "list"), resources=("a", "b"))) == names(
        wanted(DEVS, verbs=("list", "get"), resources=("b", "a"))
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (wanted(DEVS, resources=("a/b",)), wanted(DEVS, resources=("a.b",))),
        (wanted(DEVS, resources=("*",)), wanted(DEVS, resources=("all",))),
        (wanted(parse_subject("user:a/b")), wanted(parse_subject("user:a.b"))),
        (wanted(parse_subject("user:" + "x" * 200 + "1")), wanted(parse_subject("user:" + "x" * 200 + "2"))),
        (wanted(parse_subject("user:shop:web")), wanted(parse_subject("serviceaccount:shop/web"))),
        (wanted(DEVS), wanted(DEVS, api=Api("v2", API.group))),
    ],
)
def test_what_looks_alike_in_a_name_is_told_apart(one: Wanted, other: Wanted) -> None:
    assert names(one)[-1] != names(other)[-1]
    assert all("/" not in name.partition(" ")[2] and "*" not in name for name in (*names(one), *names(other)))


def test_what_aggctl_made_is_known_by_its_mark_and_its_labels() -> None:
    whole = stored(next(objects_of(wanted(DEVS), (READ,))).object)
    assert is_ours(whole)
    assert is_of(API, whole)
    assert not is_of(Api("v2", API.group), whole)
    for lacking in ("annotations", "labels"):
        metadata = {key: value for key, value in whole["metadata"].items() if key != lacking}
        assert not is_of(API, whole | {"metadata": metadata})


def test_the_label_of_an_api_with_a_long_name_still_tells_it() -> None:
    long = Api("v1", ".".join(["a" * 60] * 3))
    labels = next(objects_of(wanted(DEVS, api=long), (READ,))).object["metadata"]["labels"]
    assert labels[MANAGED_BY] == "aggctl"
    assert 0 < len(labels[OF_API]) <= 63


# --- what is seen beforehand -----------------------------------------------------------------------------


def test_a_grant_that_may_be_made_has_its_objects_and_no_problem() -> None:
    found = seen(wanted(DEVS))
    assert (found.problems, found.notes, found.provable) == ((), (), True)
    assert [each.kind for each in found.objects] == ["ClusterRole", "ClusterRoleBinding"]
    assert found.situation == (
        "v1.things.example for group:devs, in the whole cluster",
        "Left out: things/console (a subresource: name it by --resources), orders (offers create)",
    )


def test_other_versions_of_the_group_are_told() -> None:
    found = seen(
        wanted(DEVS, aggregate="view", resources=("things",)), having(with_api(versions=("v1", "v2")))
    )
    assert found.situation == (
        "v1.things.example for group:devs, ClusterRole view, in the whole cluster",
        "RBAC knows groups, not versions: this counts for v2 as well.",
    )


def test_an_api_that_is_not_there_is_the_one_problem() -> None:
    assert codes(seen(wanted(DEVS), with_api().object(API.path, None)).problems) == ["api-not-registered"]


def test_what_cannot_be_granted_makes_no_object() -> None:
    found = seen(wanted(DEVS, resources=("nothing",)))
    assert (codes(found.problems), found.objects) == (["resource-not-offered"], ())


def test_a_role_of_that_name_that_somebody_else_made_is_refused() -> None:
    theirs = role("aggctl:v1.things.example:read")
    assert codes(seen(wanted(DEVS), having(with_api(), theirs)).problems) == ["name-taken"]


def test_a_role_of_ours_is_no_problem() -> None:
    ours = role("aggctl:v1.things.example:read", ours=True)
    assert seen(wanted(DEVS), having(with_api(), ours)).problems == ()


def test_a_namespace_that_is_missing_is_named() -> None:
    assert codes(seen(wanted(DEVS, namespace="nowhere")).problems) == ["namespace-missing"]
    assert seen(wanted(DEVS, namespace="shop"), IN_SHOP).problems == ()


def test_a_namespace_that_may_not_be_looked_at_is_left_to_the_server() -> None:
    unseen = IN_SHOP.answering({ObjectAt("/api/v1/namespaces/shop", SERVER): FORBIDDEN})
    found = seen(wanted(DEVS, namespace="shop"), unseen)
    assert found.problems == ()
    assert found.situation[0].endswith("in namespace shop")


def test_a_service_account_that_is_not_there_is_told() -> None:
    assert codes(seen(wanted(WEB)).notes) == ["service-account-missing"]
    there = having(with_api()).object("/api/v1/namespaces/shop/serviceaccounts/web", {"metadata": {}})
    assert seen(wanted(WEB), there).notes == ()
    unseen = having(with_api()).answering(
        {ObjectAt("/api/v1/namespaces/shop/serviceaccounts/web", SERVER): FORBIDDEN}
    )
    assert seen(wanted(WEB), unseen).notes == ()


def test_whole_populations_and_wildcards_are_warned_of_and_granted() -> None:
    found = seen(wanted(parse_subject("group:system:authenticated"), resources=("*",)))
    assert codes(found.notes) == ["access-open-to-all", "access-by-wildcard"]
    assert {each.severity for each in found.notes} == {"warning"}
    assert found.objects


@pytest.mark.parametrize("answer", [False, FORBIDDEN])
def test_who_may_not_ask_for_a_review_learns_that_nothing_is_proven(answer: bool | Unknown) -> None:
    assert seen(wanted(aggregate="view"), may=lambda _: answer).notes == ()
    found = seen(wanted(DEVS), may=lambda _: answer)
    assert (codes(found.notes), found.provable) == (["access-not-proven"], False)


# --- what the server says in a dry run -------------------------------------------------------------------


def test_an_escalation_is_told_with_the_rights_that_are_lacking() -> None:
    first, *_ = escalations(rehearsed(wanted(DEVS), 403, ESCALATION))
    assert (first.code, first.expected) == (
        "rbac-escalation",
        'these rights for the user of the kubeconfig: {Verbs:["get"]}',
    )


def test_another_refusal_is_a_missing_right() -> None:
    assert set(codes(escalations(rehearsed(wanted(DEVS), 403, "no")))) == {"no-rights-in-cluster"}


def test_a_binding_to_a_role_that_is_not_there_yet_is_no_problem() -> None:
    role_, _ = rehearsed(wanted(DEVS))
    _, bound = rehearsed(wanted(DEVS), 404, "not found")
    assert list(escalations((role_, bound))) == []
    assert codes(escalations((bound,))) == ["object-not-valid"]


# --- the plan --------------------------------------------------------------------------------------------


def test_roles_come_first_and_the_last_step_is_proven() -> None:
    of = wanted(DEVS, deadline=7.0)
    plan = plan_grant(seen(of), of, rehearsed(of))
    assert [step.title for step in plan.steps] == names(of)
    assert [step.gate is not None for step in plan.steps] == [False, True]
    assert (plan.command, plan.title) == ("access grant", "grant v1.things.example to group:devs")
    for step in plan.steps:
        assert isinstance(step.change, ObjectChange)
        assert step.change.before is None
    gate = plan.steps[-1].gate
    assert gate is not None
    assert (gate.deadline, gate.waits_for) == (7.0, "kube-apiserver to say yes")


def test_what_is_as_wanted_is_not_written() -> None:
    of = wanted(DEVS)
    same = tuple(
        Rehearsed(each.located, each.config, each.result, 200, each.result) for each in rehearsed(of)
    )
    assert plan_grant(seen(of), of, same).steps == ()


def proven(of: Wanted, **more: Any) -> list[dict[str, Any]]:
    gate = proof(seen(of, **more), of)
    return [{"check": each.check, **dict(each.arguments)} for each in gate.conditions] if gate else []


def test_each_subject_is_proven_by_the_first_rule() -> None:
    asked = {
        "verb": "get",
        "group": "things.example",
        "resource": "things/status",
        "namespace": "",
        "name": "",
    }
    assert proven(wanted(DEVS, ALICE)) == [
        {"check": "access-allowed", **asked, "user": PROBE_USER, "member": "devs", "server": SERVER},
        {"check": "access-allowed", **asked, "user": "alice", "member": "", "server": SERVER},
    ]


def test_for_a_wildcard_something_stands() -> None:
    (asked,) = proven(wanted(ALICE, verbs=("*",), resources=("*",)))
    assert (asked["verb"], asked["resource"]) == ("get", "anything")


def test_an_aggregated_role_is_proven_by_the_one_that_takes_it_in() -> None:
    of = wanted(aggregate="edit")
    (asked,) = proven(of)
    assert (asked["check"], asked["role"]) == ("role-taken-in", "edit")
    gate = proof(seen(of), of)
    assert gate is not None
    assert gate.waits_for == "ClusterRole edit to take it in"


def test_where_no_review_may_be_asked_for_nothing_is_waited_for() -> None:
    assert proven(wanted(DEVS), may=lambda _: False) == []


# --- the checks ------------------------------------------------------------------------------------------


def verdict(check: str, scene: Scene | None = None, may: Any = None, **arguments: str) -> Any:
    asked = Condition(check, tuple({**arguments, "server": SERVER}.items()))
    return ask(scene or with_api(), lambda snapshot: evaluate(asked, snapshot), may=may or (lambda _: True))


def test_a_review_asks_for_the_subresource_by_itself() -> None:
    asked: list[MayDo] = []

    def may(question: MayDo) -> bool:
        asked.append(question)
        return len(asked) > 1

    for member, groups in (("devs", ("devs",)), ("", ())):
        told = verdict(
            "access-allowed",
            may=may,
            user="alice",
            member=member,
            verb="get",
            group="g.example",
            resource="pods/load",
            namespace="shop",
            name="",
        )
        assert asked[-1] == MayDo("alice", groups, "get", "g.example", "pods", "shop", "", SERVER, "load")
        assert isinstance(told, Passed if len(asked) > 1 else Finding)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([rule("get,list", "things")], ""),
        ([rule("*", "*")], ""),
        ([rule("list", "things")], "role-not-taken-in"),
        ([rule("get", "things", "other.example")], "role-not-taken-in"),
        ([], "role-not-taken-in"),
    ],
)
def test_a_built_in_role_has_taken_it_in_or_not(rules: list[Object], code: str) -> None:
    told = verdict(
        "role-taken-in",
        having(with_api(), role("view", *rules)),
        role="view",
        verb="get",
        group=API.group,
        resource="things",
    )
    assert getattr(told, "code", "") == code
