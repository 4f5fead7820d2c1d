"""Who reaches an API: every rule of every role that is bound, as RBAC itself decides it."""

from __future__ import annotations

from typing import Any

import pytest
from support.granted import API, account, ask, binding, group, having, role, rule, user, with_api
from support.snapshots import SERVER, Scene, codes

from aggctl.core.access.listing import Listing, findings_of, items_of, lines_of, see_listing
from aggctl.core.access.objects import collection
from aggctl.core.access.rbac import BOOTSTRAP
from aggctl.core.checks.access import matches
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.snapshot import NotKnown

Object = dict[str, Any]

FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
BY_KUBERNETES = {BOOTSTRAP: "rbac-defaults"}
READERS = role("readers", rule("get,list", "things"))
ADMIN = role("cluster-admin", rule("*", "*", "*"), labels=BY_KUBERNETES)


def listing(*objects: Object, scene: Scene | None = None, namespace: str = "") -> Listing:
    scene = having(scene or with_api(), *objects, namespace=namespace)
    found = ask(scene, lambda snapshot: see_listing(snapshot, API, namespace, SERVER))
    assert isinstance(found, Listing)
    return found


def who(found: Listing) -> list[str]:
    return [each.subject.words for each in found.reaches]


def warned(*objects: Object) -> list[tuple[str, str]]:
    return [(each.code, each.subject) for each in findings_of(listing(*objects))]


@pytest.mark.parametrize(
    ("given", "resource", "matching"),
    [
        (rule("get", "things"), "things", True),
        (rule("get", "*"), "things", True),
        (rule("get", "*", "*"), "things/status", True),
        (rule("get", "things/status"), "things/status", True),
        (rule("get", "*/status"), "things/status", True),
        (rule("get", "things"), "things/status", False),
        (rule("get", "*/status"), "things", False),
        (rule("get", "*/*"), "things", False),
        (rule("get", "things", "other.example"), "things", False),
        ({"nonResourceURLs": ["*"], "verbs": ["*"]}, "things", False),
    ],
)
def test_a_rule_is_about_a_resource_as_rbac_decides_it(given: Object, resource: str, matching: bool) -> None:
    assert matches(given, API.group, resource) is matching


def test_each_subject_of_a_binding_reaches_it_by_each_rule() -> None:
    found = listing(READERS, binding("b", READERS, group("devs"), account("shop", "web")))
    assert who(found) == ["group:devs", "serviceaccount:shop/web"]
    assert items_of(found)[0] == {
        "subject": {"kind": "Group", "name": "devs", "namespace": ""},
        "namespace": "",
        "verbs": ["get", "list"],
        "resources": ["things"],
        "resourceNames": [],
        "binding": "ClusterRoleBinding b",
        "role": "ClusterRole readers",
        "by": "others",
        "wildcard": False,
    }


@pytest.mark.parametrize(
    "rules",
    [
        [rule("get", "things", "other.example")],
        [rule("get", "parts")],
        [rule("get", "things") | {"verbs": []}],
        [],
    ],
    ids=["another group", "another resource", "no verb", "no rule"],
)
def test_a_role_that_opens_nothing_of_the_api_is_not_listed(rules: list[Object]) -> None:
    made = role("others", *rules)
    assert who(listing(made, binding("b", made, group("devs")))) == []


def test_a_binding_without_its_role_opens_nothing() -> None:
    assert who(listing(binding("b", READERS, group("devs")))) == []


def test_in_a_namespace_a_role_opens_what_is_in_one() -> None:
    shelves = role("shelves", rule("get", "shelves"))
    inside = role("inside", rule("get", "things"), namespace="shop")
    found = listing(
        shelves,
        inside,
        READERS,
        binding("one", shelves, group("a"), namespace="shop"),
        binding("two", inside, group("b"), namespace="shop"),
        binding("three", READERS, group("c"), namespace="shop"),
        binding("four", inside, group("d"), namespace="depot"),
    )
    assert [(each.subject.name, each.namespace, each.role) for each in found.reaches] == [
        ("b", "shop", "Role inside"),
        ("c", "shop", "ClusterRole readers"),
    ]


def test_whom_somebody_let_in_comes_first_and_kubernetes_own_last() -> None:
    ours = role("aggctl:read", rule("get", "things"), ours=True)
    found = listing(
        ADMIN,
        READERS,
        ours,
        binding("cluster-admin", ADMIN, group("system:masters"), labels=BY_KUBERNETES),
        binding("mine", ours, group("z"), ours=True),
        binding("theirs", READERS, group("y")),
    )
    assert [(each.subject.name, each.origin) for each in found.reaches] == [
        ("y", "others"),
        ("z", "aggctl"),
        ("system:masters", "kubernetes"),
    ]


def test_whole_populations_are_warned_of_whoever_let_them_in() -> None:
    found = warned(
        READERS,
        binding("b", READERS, group("system:authenticated"), user("system:anonymous"), labels=BY_KUBERNETES),
    )
    assert found == [
        ("access-open-to-all", "group:system:authenticated"),
        ("access-open-to-all", "user:system:anonymous"),
    ]


def test_a_wildcard_of_others_is_warned_of() -> None:
    wide = role("wide", rule("get", "*", "*"), rule("list", "*", "*"))
    assert warned(wide, binding("b", wide, user("bob"))) == [("access-by-wildcard", "user:bob")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (binding("cluster-admin", ADMIN, group("system:masters"), labels=BY_KUBERNETES), []),
        (binding("kubeadm:cluster-admins", ADMIN, group("kubeadm:cluster-admins")), []),
        (binding("system:controller:gc", ADMIN, account("kube-system", "gc"), labels=BY_KUBERNETES), []),
        (
            binding("cluster-admin", ADMIN, user("bob"), labels=BY_KUBERNETES),
            [("access-by-wildcard", "user:bob")],
        ),
        (binding("mine", ADMIN, user("system:masters")), [("access-by-wildcard", "user:system:masters")]),
    ],
    ids=["masters", "kubeadm", "a controller", "a guest of cluster-admin", "a user of that name"],
)
def test_administrators_and_controllers_are_normal_and_their_guests_are_not(
    given: Object, expected: list[tuple[str, str]]
) -> None:
    assert warned(ADMIN, given) == expected


def test_the_table_has_the_ways_and_one_line_for_kubernetes_own() -> None:
    many = role("many", rule("get", "things,shelves,orders,things/status"), namespace="")
    found = listing(
        ADMIN,
        many,
        binding("cluster-admin", ADMIN, group("system:masters"), labels=BY_KUBERNETES),
        binding("b", many, group("devs")),
    )
    head, row, own = lines_of(found)
    assert head.split() == ["SUBJECT", "NAMESPACE", "VERBS", "RESOURCES", "BINDING", "ROLE"]
    assert row.split() == ["group:devs", "*", "get", "things,shelves,orders,…", "b", "many"]
    assert own.endswith(": group:system:masters")


def test_the_wide_table_has_all() -> None:
    some = role("some", rule("get", "things", resourceNames=["a", "b"]))
    found = listing(
        ADMIN,
        some,
        binding("cluster-admin", ADMIN, group("system:masters"), labels=BY_KUBERNETES),
        binding("b", some, group("devs")),
    )
    head, first, second = lines_of(found, wide=True)
    assert head.split()[-2:] == ["NAMES", "BY"]
    assert first.split()[-6:] == ["ClusterRoleBinding", "b", "ClusterRole", "some", "a,b", "others"]
    assert second.split()[-2:] == ["-", "kubernetes"]


def test_where_only_kubernetes_is_let_in_or_nobody_that_is_said() -> None:
    masters = binding("cluster-admin", ADMIN, group("system:masters"), labels=BY_KUBERNETES)
    assert lines_of(listing(ADMIN, masters))[0] == "Nobody but Kubernetes' own."
    assert lines_of(listing()) == ("No role that RBAC has opens v1.things.example to anybody.",)


def test_a_name_of_others_cannot_steer_the_terminal() -> None:
    found = listing(READERS, binding("b", READERS, user("bob\x1b[2J\n")))
    assert all(each.isprintable() for each in lines_of(found))


# --- what cannot be seen ---------------------------------------------------------------------------------


def unseen(*kinds: str, namespace: str = "") -> Scene:
    scene = having(
        with_api(),
        role("inside", rule("get", "things"), namespace="shop"),
        binding("two", role("inside", namespace="shop"), group("b"), namespace="shop"),
        namespace="shop",
    )
    where = {kind: "" if kind.startswith("Cluster") else namespace for kind in kinds}
    return scene.answering({ObjectAt(collection(kind, at), SERVER): FORBIDDEN for kind, at in where.items()})


@pytest.mark.parametrize("kind", ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"])
def test_who_may_not_read_roles_is_refused_by_name(kind: str) -> None:
    with pytest.raises(NotKnown) as caught:
        ask(unseen(kind), lambda snapshot: see_listing(snapshot, API, "", SERVER))
    assert caught.value.question == ObjectAt(collection(kind), SERVER)


def test_in_a_namespace_its_own_roles_are_enough_and_the_rest_is_told_as_not_checked() -> None:
    scene = unseen("ClusterRole", "ClusterRoleBinding")
    found = ask(scene, lambda snapshot: see_listing(snapshot, API, "shop", SERVER))
    assert isinstance(found, Listing)
    assert who(found) == ["group:b"]
    assert lines_of(found)[-2:] == (
        "not checked: ClusterRoles: forbidden",
        "not checked: ClusterRoleBindings: forbidden",
    )


def test_of_an_api_that_does_not_answer_whatever_is_about_its_group_is_listed() -> None:
    silent = with_api().answering({ObjectAt(API.path, SERVER): Unknown("503", "apiserver-not-ready")})
    odd = role("odd", rule("get", "whatever"), rule("get", "whatever", "other.example"))
    found = listing(odd, binding("b", odd, group("devs")), scene=silent)
    assert who(found) == ["group:devs"]
    assert found.not_checked[0].startswith("which resources it has: v1.things.example does not answer")


def test_an_api_that_is_not_there_is_refused() -> None:
    scene = having(with_api().object(API.path, None))
    found = ask(scene, lambda snapshot: see_listing(snapshot, API, "", SERVER))
    assert isinstance(found, Finding)
    assert codes([found]) == ["api-not-registered"]
