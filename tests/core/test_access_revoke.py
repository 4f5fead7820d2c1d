"""What goes with a revocation: what aggctl granted, and the roles that nobody needs any more."""

from __future__ import annotations

from typing import Any

import pytest
from support.granted import API, account, ask, binding, group, having, role, rule, user, with_api
from support.snapshots import SERVER, Scene, codes

from aggctl.core.access.objects import AGGREGATE, collection, path
from aggctl.core.access.revoke import Revoking, Unwanted, plan_revoke, see_revoke, shown
from aggctl.core.access.subjects import parse_subject
from aggctl.core.extension import Api
from aggctl.core.fields import kept
from aggctl.core.plan import ObjectChange, canonical, digest
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.resources import target_of
from aggctl.core.snapshot import NotKnown

Object = dict[str, Any]

DEVS = parse_subject("group:devs")
READ = role("read", rule("get", "things"), ours=True)
INSIDE = role("read", rule("get", "things"), namespace="shop", ours=True)
TO_VIEW = role("read:to-view", rule("get", "things"), ours=True, labels={f"{AGGREGATE}view": "true"})
OF_DEVS = binding("read:devs", READ, group("devs"), ours=True)
OF_OPS = binding("read:ops", READ, group("ops"), ours=True)
DEVS_INSIDE = binding("read:devs", INSIDE, group("devs"), namespace="shop", ours=True)
EVERYTHING = (READ, INSIDE, TO_VIEW, OF_DEVS, OF_OPS, DEVS_INSIDE)


def revoked(*objects: Object, scene: Scene | None = None, **unwanted: Any) -> Revoking:
    what = Unwanted(unwanted.pop("api", API), **unwanted)
    scene = scene or having(with_api(), *objects, namespace=what.namespace)
    return ask(scene, lambda snapshot: see_revoke(snapshot, what, SERVER))


def going(found: Revoking) -> list[str]:
    return [target_of(each) for each in found.objects]


def test_a_subjects_bindings_go_wherever_they_are_and_roles_with_the_last_of_theirs() -> None:
    found = revoked(*EVERYTHING, subjects=(DEVS,))
    assert going(found) == ["ClusterRoleBinding read:devs", "RoleBinding shop/read:devs", "Role shop/read"]
    assert codes(found.notes) == ["role-still-used"]


def test_in_a_namespace_only_what_is_there_goes() -> None:
    found = revoked(*EVERYTHING, subjects=(DEVS,), namespace="shop")
    assert going(found) == ["RoleBinding shop/read:devs", "Role shop/read"]
    assert codes(found.notes) == []


def test_all_is_everything_that_was_granted_of_the_api() -> None:
    assert going(revoked(*EVERYTHING, everybody=True)) == [
        "ClusterRoleBinding read:devs",
        "ClusterRoleBinding read:ops",
        "RoleBinding shop/read:devs",
        "ClusterRole read",
        "ClusterRole read:to-view",
        "Role shop/read",
    ]


def test_a_role_that_a_built_in_one_takes_in_goes_by_that_ones_name() -> None:
    assert going(revoked(*EVERYTHING, aggregate="view")) == ["ClusterRole read:to-view"]
    assert going(revoked(*EVERYTHING, aggregate="edit")) == []


def test_what_others_made_stays_and_is_told_where_it_still_leads_in() -> None:
    theirs = role("theirs", rule("*", "*", "*"))
    copied = binding("copy", READ, group("devs"))
    copied["metadata"]["labels"] = OF_DEVS["metadata"]["labels"]
    found = revoked(READ, theirs, OF_DEVS, copied, binding("other", theirs, group("devs")), subjects=(DEVS,))
    assert going(found) == ["ClusterRoleBinding read:devs"]
    assert codes(found.notes) == ["role-still-used", "still-has-access", "still-has-access"]
    assert "through ClusterRoleBinding other (ClusterRole theirs)" in found.notes[-1].message


def test_what_leads_elsewhere_or_is_somebody_elses_is_not_told() -> None:
    other = role("other", rule("get", "things", "other.example"))
    found = revoked(
        READ,
        other,
        OF_DEVS,
        binding("a", other, group("devs")),
        binding("b", READ, user("devs")),
        subjects=(DEVS,),
    )
    assert codes(found.notes) == ["role-still-used"]


def test_of_a_namespace_only_the_ways_in_there_are_told() -> None:
    found = revoked(*EVERYTHING, subjects=(DEVS,), namespace="depot")
    assert (going(found), found.notes) == ([], ())


def test_grants_of_another_version_stay() -> None:
    assert going(revoked(*EVERYTHING, api=Api("v2", API.group), subjects=(DEVS,))) == []


def test_a_binding_without_aggctls_mark_stays() -> None:
    bare = binding("read:devs", READ, group("devs"), ours=True)
    del bare["metadata"]["annotations"]
    assert going(revoked(READ, bare, subjects=(DEVS,))) == []


def test_the_plan_deletes_by_the_mark_and_holds_what_undoing_needs() -> None:
    found = revoked(READ, OF_DEVS, subjects=(DEVS,))
    plan = plan_revoke(found)
    assert (plan.command, plan.title) == ("access revoke", "revoke v1.things.example")
    for step, live in zip(plan.steps, found.objects, strict=True):
        change = step.change
        assert isinstance(change, ObjectChange)
        assert (change.path, change.after) == (path(live), None)
        assert change.before is not None
        assert (change.before.holds, change.before.whole) == ("created:3f2a", True)
        assert change.before.blob == digest(canonical(kept(live)))
        assert change.before.blob in plan.blobs


def test_what_goes_is_shown_with_whom_it_let_in() -> None:
    web = binding("read:web", READ, account("shop", "web"), ours=True)
    found = revoked(READ, web, everybody=True)
    assert [(each.action, each.target, each.detail) for each in shown(found)] == [
        ("delete", "ClusterRoleBinding read:web", "serviceaccount:shop/web"),
        ("delete", "ClusterRole read", ""),
    ]


@pytest.mark.parametrize(
    ("kind", "namespace", "refused"),
    [
        ("ClusterRole", "", True),
        ("RoleBinding", "", True),
        ("ClusterRoleBinding", "shop", False),
        ("Role", "shop", True),
    ],
)
def test_roles_and_bindings_that_count_must_be_seen(kind: str, namespace: str, refused: bool) -> None:
    at = "" if kind.startswith("Cluster") else namespace
    unseen = {ObjectAt(collection(kind, at), SERVER): Unknown("forbidden", "no-rights-in-cluster")}
    scene = having(with_api(), *EVERYTHING, namespace=namespace).answering(unseen)
    if refused:
        with pytest.raises(NotKnown):
            revoked(scene=scene, subjects=(DEVS,), namespace=namespace)
    else:
        assert going(revoked(scene=scene, subjects=(DEVS,), namespace=namespace))
