"""What a namespace holds beside what goes, and which namespaces cannot end because of an API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import cluster, namespace
from support.snapshots import SERVER, Scene

from aggctl.core.checks import evaluate
from aggctl.core.extension import Api
from aggctl.core.fields import CREATED
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.core.namespaces import (
    NAMESPACES,
    STUCK,
    end_of,
    foreign_objects,
    not_empty,
    ours_and_ending,
    stuck_by,
)
from aggctl.core.plan import Condition
from aggctl.core.questions import MetadataIn, ObjectAt, Unknown
from aggctl.core.resources import discovery_path, path_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict

Object = dict[str, Any]

V1, V1BETA1 = Api("v1", "things.example"), Api("v1beta1", "things.example")
METRICS, CUSTOM = Api("v1beta1", "metrics.k8s.io"), Api("v1beta1", "custom.metrics.k8s.io")
FORBIDDEN = Unknown("forbidden: list secrets", "no-rights-in-cluster")

KINDS = {
    "v1": {
        "pods": "Pod",
        "secrets": "Secret",
        "configmaps": "ConfigMap",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
        "endpoints": "Endpoints",
        "events": "Event",
    },
    "apps/v1": {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    "metrics.k8s.io/v1beta1": {"pods": "PodMetrics"},
    "things.example/v1": {"things": "Thing"},
    "things.example/v1beta1": {"things": "Thing"},
}
GROUPS = {
    "groups": [
        {"preferredVersion": {"groupVersion": "apps/v1"}},
        {"preferredVersion": {"groupVersion": "metrics.k8s.io/v1beta1"}, "versions": None},
        {
            "preferredVersion": {"groupVersion": "things.example/v1"},
            "versions": [{"groupVersion": f"things.example/{each}"} for each in ("v1", "v1beta1")],
        },
    ]
}
NEVER_LISTED = [
    {"name": "nodes", "kind": "Node", "namespaced": False, "verbs": ["list"]},
    {"name": "bindings", "kind": "Binding", "namespaced": True, "verbs": ["create"]},
    {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": None},
]
"""Resources that are not of a namespace, or cannot be listed: a Scene has no answer for them."""


def item(
    kind: str, name: str, uid: str | None = "", owner: str = "", version: str = "v1"
) -> tuple[str, str, Object]:
    """An object of a namespace as its list shows it; a UID of its own unless `uid` says which, or None."""
    metadata: Object = {"name": name, "ownerReferences": [{"uid": owner}] if owner else None}
    if uid is not None:
        metadata["uid"] = uid or f"uid-of-{kind}-{name}"
    return version, kind, {"metadata": metadata}


def holding(*items: tuple[str, str, Object]) -> Scene:
    """A cluster whose namespace `shop` holds these objects."""
    scene = cluster().object("/apis", GROUPS)
    for version, kinds in KINDS.items():
        listed = [
            {"name": name, "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
            for name, kind in kinds.items()
        ]
        scene = scene.object(discovery_path(version), {"resources": [*NEVER_LISTED, *listed]})
        for name, kind in kinds.items():
            here = [each for of, what, each in items if (of, what) == (version, kind)]
            scene = scene.answering({MetadataIn(path_of(version, name, "shop"), SERVER): {"items": here}})
    return scene


LEAVING = [{"metadata": {"uid": "ours"}}, {"metadata": {"uid": "ours-too"}}]


def foreign(scene: Scene, *apis: Api) -> str:
    return scene.ask(lambda snapshot: foreign_objects(snapshot, SERVER, namespace(), LEAVING, list(apis)))


# --- what it holds ---------------------------------------------------------------------------------------

CHAIN = (
    item("Deployment", "things", "ours", version="apps/v1"),
    item("ReplicaSet", "things-b", "set", "ours", version="apps/v1"),
    item("Pod", "things-b-1", "pod", "set"),
    item("Secret", "of-the-pod", "secret", "pod"),
)


@pytest.mark.parametrize(
    "items",
    [
        (),
        (item("Service", "things", "ours"), item("Secret", "things-tls", "ours-too")),
        CHAIN,
        CHAIN[::-1],
        (
            item("ServiceAccount", "default"),
            item("ConfigMap", "kube-root-ca.crt"),
            item("ConfigMap", "openshift-service-ca.crt"),
        ),
        (item("Event", "things-b-1.17f"), item("Endpoints", "things")),
        (item("PodMetrics", "things-b-1", None, version="metrics.k8s.io/v1beta1"),),
        (item("PodMetrics", "things-b-1", "", "ours", version="metrics.k8s.io/v1beta1"),),
    ],
    ids=[
        "nothing",
        "what goes",
        "what belongs to it, over three owners",
        "the same, the last first",
        "what every namespace has",
        "traces",
        "what is made up when asked for",
        "what another API says belongs to it",
    ],
)
def test_what_goes_with_the_api_keeps_no_namespace(items: tuple[Any, ...]) -> None:
    assert foreign(holding(*items)) == ""


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ((item("Pod", "web"),), "it holds Pod web"),
        (
            (item("ConfigMap", "default"), item("ServiceAccount", "web")),
            "it holds ConfigMap default, ServiceAccount web",
        ),
        ((item("Pod", "web", owner="elsewhere"),), "it holds Pod web"),
        (
            (item("Pod", "a", "uid-a", "uid-b"), item("Pod", "b", "uid-b", "uid-a")),
            "it holds Pod a, Pod b",
        ),
        (tuple(item("Secret", name) for name in "abc"), "it holds Secret a, Secret b, Secret c"),
        (tuple(item("Secret", name) for name in "abcd"), "it holds Secret a, Secret b, Secret c and 1 more"),
        ((item("Thing", "red", version="things.example/v1"),), "it holds Thing red"),
        ((item("Pod", "we\x1b[31mb"),), "it holds Pod web"),
    ],
    ids=[
        "a Pod",
        "names of what every namespace has, of another kind",
        "owned by a stranger",
        "two that own each other",
        "as many as a line takes",
        "more than a line takes",
        "an object of an extension server",
        "a name that would colour the terminal",
    ],
)
def test_objects_of_others_are_named(items: tuple[Any, ...], said: str) -> None:
    assert foreign(holding(*items)) == said


def test_what_the_leaving_api_serves_goes_with_it() -> None:
    scene = holding(item("Thing", "red", version="things.example/v1"))
    assert foreign(scene, V1, V1BETA1) == ""


def test_a_version_that_stays_shows_what_its_group_holds() -> None:
    things = [item("Thing", "red", version=f"things.example/{each}") for each in ("v1", "v1beta1")]
    assert foreign(holding(*things), V1) == "it holds Thing red"
    assert foreign(holding(things[0]), V1) == ""


SILENT = {ObjectAt(discovery_path("things.example/v1"), SERVER): Unknown("HTTP 503", "api-not-known")}


def test_a_broken_api_does_not_keep_the_namespace_once_it_goes_itself() -> None:
    broken = holding().answering(SILENT)
    assert foreign(broken, V1, V1BETA1) == ""
    assert foreign(broken) == "not everything in it could be looked at: HTTP 503"


@pytest.mark.parametrize(
    "question",
    [ObjectAt("/apis", SERVER), MetadataIn(path_of("v1", "secrets", "shop"), SERVER)],
    ids=["the groups", "a kind"],
)
def test_what_cannot_be_looked_at_keeps_the_namespace(question: Any) -> None:
    hidden = holding().answering({question: FORBIDDEN})
    assert foreign(hidden) == "not everything in it could be looked at: forbidden: list secrets"


def test_a_kind_that_went_meanwhile_holds_nothing() -> None:
    gone = {MetadataIn(path_of("v1", "secrets", "shop"), SERVER): None}
    assert foreign(holding().answering(gone)) == ""


def test_a_cluster_that_names_no_groups_still_shows_the_core() -> None:
    assert foreign(holding(item("Pod", "web")).object("/apis", None)) == "it holds Pod web"


def test_all_kinds_are_looked_at_side_by_side() -> None:
    rounds = []

    def look(snapshot: Any) -> str:
        rounds.append(1)
        return foreign_objects(snapshot, SERVER, namespace(), LEAVING, [])

    holding().ask(look)
    assert len(rounds) == 4  # the groups, their kinds, the objects, and the verdict


def test_a_namespace_that_stays_is_named_with_what_it_holds_and_how_to_delete_it() -> None:
    found = not_empty(namespace(), "it holds Pod web")
    assert (found.code, found.severity, found.subject) == ("namespace-not-empty", "info", "Namespace shop")
    assert found.message == "it stays: it holds Pod web"
    assert found.fix.startswith("kubectl delete namespace shop ")


# --- namespaces that cannot end --------------------------------------------------------------------------


def stuck(*said: str, status: str = "True", condition: str = STUCK, name: str = "shop") -> Object:
    conditions = [{"type": condition, "status": status, "message": each} for each in said]
    return namespace(name, deletionTimestamp="2026-06-01T11:00:00Z") | {"status": {"conditions": conditions}}


def failing(*apis: Api) -> str:
    """What the namespace controller says (kubernetes/pkg/controller/namespace/deletion)."""
    names = ", ".join(f"{each.group}/{each.version}" for each in apis)
    return (
        f"Discovery failed for some groups, {len(apis)} failing: unable to retrieve the complete list of"
        f" server APIs: {names}: stale GroupVersion discovery: {names}"
    )


def waiting(*namespaces: Object) -> Scene:
    return cluster().object(NAMESPACES, {"items": list(namespaces)})


def stuck_because(scene: Scene, *apis: Api) -> tuple[tuple[str, str], ...]:
    return scene.ask(lambda snapshot: stuck_by(snapshot, SERVER, list(apis)))


def test_a_stuck_namespace_is_found_by_its_condition_with_the_api_that_it_waits_for() -> None:
    scene = waiting(namespace("fine"), stuck(failing(V1)), stuck(failing(METRICS, V1BETA1), name="mall"))
    assert stuck_because(scene, V1, V1BETA1) == (
        ("shop", "things.example/v1"),
        ("mall", "things.example/v1beta1"),
    )


@pytest.mark.parametrize(
    ("found", "api"),
    [
        (stuck(failing(V1BETA1)), V1),
        (stuck(failing(CUSTOM)), METRICS),
        (stuck(failing(V1), status="False"), V1),
        (stuck(failing(V1), condition="NamespaceDeletionContentFailure"), V1),
        (namespace() | {"status": {"conditions": None}}, V1),
        (namespace() | {"status": None}, V1),
    ],
    ids=[
        "another version that begins alike",
        "another group that ends alike",
        "not any more",
        "for another reason",
        "no conditions",
        "no status",
    ],
)
def test_a_namespace_that_does_not_wait_for_this_api_is_not_stuck_by_it(found: Object, api: Api) -> None:
    assert stuck_because(waiting(found), api) == ()


@pytest.mark.parametrize("answer", [None, FORBIDDEN], ids=["none", "no rights"])
def test_namespaces_that_may_not_be_listed_are_not_called_stuck(answer: Any) -> None:
    assert stuck_because(cluster().answering({ObjectAt(NAMESPACES, SERVER): answer}), V1) == ()


# --- namespaces that are ending --------------------------------------------------------------------------

SHOP = ObjectAt(path_of("v1", "namespaces", "", "shop"), SERVER)
ENDING = {"deletionTimestamp": "2026-06-01T11:00:00Z"}
OURS = {"annotations": {CREATED: "3f2a"}}


@pytest.mark.parametrize(
    ("metadata", "ending"),
    [({**OURS, **ENDING}, ("shop",)), (OURS, ()), (ENDING, ()), ({}, ())],
    ids=["ours, and ending", "ours", "another's, and ending", "another's"],
)
def test_only_namespaces_of_ours_that_are_being_deleted_are_ours_and_ending(
    metadata: Object, ending: tuple[str, ...]
) -> None:
    scene = cluster(namespace(**metadata))  # and there is no namespace `mall`
    names = ("shop", "mall")
    assert scene.ask(lambda snapshot: ours_and_ending(snapshot, SERVER, names)) == ending


def test_a_namespace_that_may_not_be_seen_is_not_taken_for_one_that_is_not_ours() -> None:
    with pytest.raises(NotKnown):
        cluster().answering({SHOP: FORBIDDEN}).ask(
            lambda snapshot: ours_and_ending(snapshot, SERVER, ("shop",))
        )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(None, Passed), (namespace(), Passed), (namespace(**ENDING), Finding), (FORBIDDEN, NotChecked)],
    ids=["gone", "a new one", "being deleted", "not to be seen"],
)
def test_a_namespace_has_ended_where_it_is_gone_or_another_took_its_name(
    answer: Any, expected: type[Verdict]
) -> None:
    condition = Condition("namespace-ended", (("name", "shop"), ("server", SERVER)))
    found = cluster().answering({SHOP: answer}).ask(lambda snapshot: evaluate(condition, snapshot))
    assert isinstance(found, expected)
    assert not isinstance(found, Finding) or (found.code, found.hopeless) == ("namespace-terminating", False)


def test_the_end_of_several_namespaces_is_one_gate() -> None:
    gate = end_of(("shop", "mall"), SERVER, 60.0)
    ended = cluster().answering({SHOP: None})
    for name, condition in zip(("shop", "mall"), gate.conditions, strict=True):
        verdict = ended.ask(partial(evaluate, condition))
        assert verdict == Passed(f"namespace {name} is not being deleted")
    assert (gate.waits_for, gate.watch) == ("namespace shop and mall to be gone", (NAMESPACES,))


# --- going on --------------------------------------------------------------------------------------------


def goes_on(answer: Any, api: str = "things.example/v1") -> Verdict:
    scene = cluster().answering({SHOP: answer})
    condition = Condition("namespace-goes-on", (("name", "shop"), ("api", api), ("server", SERVER)))
    return scene.ask(lambda snapshot: evaluate(condition, snapshot))


@pytest.mark.parametrize(
    ("found", "because"),
    [(None, "namespace shop is gone"), (stuck(failing(V1BETA1)), "namespace shop goes on")],
    ids=["gone", "waits for something else"],
)
def test_a_namespace_that_is_gone_or_waits_for_something_else_went_on(found: Any, because: str) -> None:
    assert goes_on(found) == Passed(because)


def test_a_namespace_that_still_waits_for_the_api_is_named_and_there_is_hope() -> None:
    found = goes_on(stuck("of something", failing(METRICS, V1)))
    assert isinstance(found, Finding)
    assert (found.code, found.subject, found.hopeless) == ("namespace-stuck", "Namespace shop", False)
    assert "things.example/v1" in found.message


def test_a_namespace_that_may_not_be_seen_is_not_checked() -> None:
    assert goes_on(FORBIDDEN) == NotChecked(FORBIDDEN)
