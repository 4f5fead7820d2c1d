"""What goes with an API: what aggctl made and nobody else uses, APIServices first, a Namespace last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, namespace, path, service
from support.snapshots import OFF, SERVER, Scene, codes

from aggctl.core.apiservers import Roster
from aggctl.core.checks.extension import AUTOMANAGED, api_service_path
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.fields import CREATED, content_stamp
from aggctl.core.namespaces import NAMESPACES, STUCK
from aggctl.core.plan import Condition, ObjectChange
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import MetadataIn, ObjectAt, Unknown
from aggctl.core.register.leaving import Leaving, plan_leaving, see_leaving, shown, went_on
from aggctl.core.register.sight import INVENTORY
from aggctl.core.report import ShownChange
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from aggctl.core.questions import Question
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

NAME, NEXT = "v1.things.example", "v1beta1.things.example"
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
PEER = "https://10.0.0.12:6443"


def made(kind: str, name: str = "things", version: str = "v1", **metadata: Any) -> Object:
    """An object that aggctl created."""
    where = {} if kind in ("Namespace", "ClusterRole", "APIService") else {"namespace": "shop"}
    own = {"name": name, **where, "uid": f"{kind}-{name}", "annotations": {CREATED: "3f2a"}}
    return {"apiVersion": version, "kind": kind, "metadata": {**own, **metadata}}


ROLE = made("ClusterRole", "shop:things", "rbac.authorization.k8s.io/v1")
SPACE, ACCOUNT, SECRET, SERVICE = (
    made("Namespace", "shop"),
    made("ServiceAccount"),
    made("Secret", "things-tls"),
    made("Service"),
)
DEPLOYMENT = made("Deployment", version="apps/v1")
ALL = (SPACE, ACCOUNT, ROLE, SECRET, SERVICE, DEPLOYMENT)


def registered(
    name: str = NAME, inventory: Any = (), at: str | None = "shop/things", port: int = 443, **metadata: Any
) -> Object:
    """An APIService of ours, as a list shows it; its inventory are objects, or the text of the annotation."""
    text = inventory if isinstance(inventory, str) else json.dumps([path(each) for each in inventory])
    found = api_service(name, at, port=port)
    annotations = {CREATED: "3f2a", INVENTORY: text}
    found["metadata"] |= {
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "annotations": annotations,
        **metadata,
    }
    return {"metadata": found["metadata"], "spec": found["spec"]}


def with_apis(*apis: Object, objects: tuple[Object, ...] = ALL) -> Scene:
    return cluster(*objects).object(API_SERVICES, {"items": list(apis)})


def leaving(scene: Scene, *names: str, stale: bool = False) -> Leaving:
    return scene.ask(lambda snapshot: see_leaving(snapshot, names, SERVER, stale=stale))


def going(found: Leaving) -> list[str]:
    return [each.target for each in shown(found)]


# --- what goes -------------------------------------------------------------------------------------------


def test_an_api_goes_first_then_what_was_made_for_it_backwards_and_the_namespace_last() -> None:
    found = leaving(with_apis(registered(inventory=ALL)), NAME)
    assert going(found) == [
        "APIService v1.things.example",
        "Deployment shop/things",
        "Service shop/things",
        "Secret shop/things-tls",
        "ClusterRole shop:things",
        "ServiceAccount shop/things",
        "Namespace shop",
    ]
    assert (found.notes, found.problems, found.stuck) == ((), (), ())


def test_the_namespace_is_last_wherever_the_inventory_has_it() -> None:
    found = leaving(with_apis(registered(inventory=(SECRET, SPACE, SERVICE))), NAME)
    assert going(found)[1:] == ["Service shop/things", "Secret shop/things-tls", "Namespace shop"]


def test_only_the_named_apis_go_and_what_is_not_registered_is_nothing() -> None:
    scene = with_apis(registered(), registered("v1.other.example", at="mall/other"))
    assert going(leaving(scene, "v1.gone.example", NAME)) == ["APIService v1.things.example"]
    assert leaving(scene, "v1.gone.example").apis == ()


def test_what_goes_is_shown_with_the_service_that_served_it() -> None:
    found = leaving(with_apis(registered(inventory=(SECRET,))), NAME)
    assert shown(found) == (
        ShownChange("delete", "APIService v1.things.example", "served by Service shop/things"),
        ShownChange("delete", "Secret shop/things-tls"),
    )


def test_what_goes_does_not_show_the_content_of_a_secret() -> None:
    secret = SECRET | {"data": {"tls.key": "c2VjcmV0"}}
    found = leaving(with_apis(registered(inventory=(SECRET,)), objects=(secret,)), NAME)
    assert len(found.objects) == 1
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize("answer", [None, {"items": None}], ids=["no such kind", "no items"])
def test_where_no_apiservice_is_nothing_goes(answer: Any) -> None:
    assert leaving(cluster().object(API_SERVICES, answer), NAME).apis == ()


def test_apiservices_that_may_not_be_listed_are_not_taken_for_none() -> None:
    with pytest.raises(NotKnown):
        leaving(cluster().answering({ObjectAt(API_SERVICES, SERVER): FORBIDDEN}), NAME)


# --- what stays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"kind": "Secret", "metadata": {"name": "things-tls", "namespace": "shop"}},
        {"kind": "Secret", "metadata": {"name": "things-tls", "annotations": {CREATED: ""}}},
        made("Secret", "things-tls", deletionTimestamp="2026-06-01T11:00:00Z"),
        made("APIService", "v1.other.example"),
        {"kind": "APIResourceList", "resources": []},
        FORBIDDEN,
    ],
    ids=[
        "is gone",
        "has no mark of aggctl",
        "has an empty mark",
        "is going already",
        "is another API",
        "is no object",
        "may not be seen",
    ],
)
def test_of_an_inventory_that_anybody_may_write_only_what_aggctl_made_goes(answer: Any) -> None:
    scene = with_apis(registered(inventory=ALL)).answering({ObjectAt(path(SECRET), SERVER): answer})
    assert going(leaving(scene, NAME)) == [
        "APIService v1.things.example",
        "Deployment shop/things",
        "Service shop/things",
        "ClusterRole shop:things",
        "ServiceAccount shop/things",
        "Namespace shop",
    ]


@pytest.mark.parametrize(
    "inventory",
    [
        "",
        "no JSON",
        "{}",
        '"/api/v1/namespaces/shop/secrets/things-tls"',
        "null",
        "[1, null, {}]",
        '["https://elsewhere/api/v1/namespaces/shop/secrets/things-tls"]',
        '["/api/v1/namespaces/shop/secrets/things-tls?x=y"]',
        '["/api/v1/namespaces/shop/secrets/things-tls\\n"]',
        '["/api/secrets"]',
        '["/metrics/a/b"]',
        '["/apis' + "/a" * 9 + '"]',
    ],
    ids=[
        "empty",
        "no JSON",
        "no list",
        "a string",
        "null",
        "no strings",
        "an address",
        "a query",
        "a line break",
        "too short",
        "no API",
        "too long",
    ],
)
def test_a_malformed_inventory_is_harmless(inventory: str) -> None:
    asked = []

    def look(question: Question) -> Any:
        asked.append(question)
        return scene.look(question)

    scene = with_apis(registered(inventory=inventory), objects=())
    found, _ = settle(lambda snapshot: see_leaving(snapshot, (NAME,), SERVER, stale=False), look)
    assert going(found) == ["APIService v1.things.example"]
    assert {each.path for each in asked if isinstance(each, ObjectAt)} == {
        API_SERVICES,
        CONFIG_MAP,
        NAMESPACES,
    }


def test_a_hundred_objects_are_looked_at_side_by_side() -> None:
    secrets = tuple(made("Secret", f"s{each}") for each in range(100))
    rounds = []

    def look(snapshot: Snapshot) -> Leaving:
        rounds.append(1)
        return see_leaving(snapshot, (NAME,), SERVER, stale=False)

    found = with_apis(registered(inventory=secrets), objects=secrets).ask(look)
    assert len(found.objects) == 100
    assert len(rounds) < 8


def test_an_apiservice_without_annotations_has_no_inventory() -> None:
    found = leaving(with_apis(registered(annotations=None)), NAME)
    assert going(found) == ["APIService v1.things.example"]


def test_an_object_in_the_inventory_of_an_api_that_stays_is_still_used() -> None:
    other = registered("v1.other.example", (ROLE, SPACE), at="mall/other")
    found = leaving(with_apis(registered(inventory=ALL), other), NAME)
    assert "ClusterRole shop:things" not in going(found)
    assert "Deployment shop/things" in going(found)
    assert [(each.code, each.subject) for each in found.notes] == [
        ("still-used", "Namespace shop"),
        ("still-used", "ClusterRole shop:things"),
    ]


@pytest.mark.parametrize("port", [443, 8443])
def test_all_that_serves_another_version_that_stays_is_still_used(port: int) -> None:
    scene = with_apis(registered(inventory=ALL), registered(NEXT, port=port))
    found = leaving(scene, NAME)
    assert going(found) == ["APIService v1.things.example"]
    assert codes(found.notes) == ["still-used"] * len(ALL)


def test_what_was_made_for_an_api_that_shares_with_none_goes_beside_one_that_does() -> None:
    alone = made("Secret", "alone")
    apis = (
        registered(inventory=ALL),
        registered(NEXT),
        registered("v1.alone.example", (alone,), at="mall/alone"),
    )
    found = leaving(with_apis(*apis, objects=(*ALL, alone)), NAME, "v1.alone.example")
    assert going(found) == [
        "APIService v1.things.example",
        "APIService v1.alone.example",
        "Secret shop/alone",
    ]


def test_when_all_versions_go_all_that_serves_them_goes_once() -> None:
    scene = with_apis(registered(inventory=ALL), registered(NEXT, ALL))
    assert len(going(leaving(scene, NAME, NEXT))) == 2 + len(ALL)


# --- the namespace ---------------------------------------------------------------------------------------

PODS = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]}


def holding(scene: Scene, *pods: Object) -> Scene:
    listed = MetadataIn(path_of("v1", "pods", "shop"), SERVER)
    return scene.object("/api/v1", {"resources": [PODS]}).answering({listed: {"items": list(pods)}})


def pod(name: str, owner: str) -> Object:
    return {"metadata": {"name": name, "uid": f"pod-{name}", "ownerReferences": [{"uid": owner}]}}


def test_a_namespace_with_others_objects_stays_and_they_are_named() -> None:
    scene = holding(
        with_apis(registered(inventory=ALL)), pod("things-1", "Deployment-things"), pod("web", "x")
    )
    found = leaving(scene, NAME)
    assert "Namespace shop" not in going(found)
    assert "Deployment shop/things" in going(found)
    (note,) = found.notes
    assert (note.code, note.subject, note.severity) == ("namespace-not-empty", "Namespace shop", "info")
    assert note.message == "it stays: it holds Pod web"
    assert note.fix.startswith("kubectl delete namespace shop ")


def test_a_namespace_with_nothing_but_what_goes_goes() -> None:
    scene = holding(with_apis(registered(inventory=ALL)), pod("things-1", "Deployment-things"))
    assert going(leaving(scene, NAME))[-1] == "Namespace shop"


def test_a_namespace_that_could_not_be_looked_at_stays() -> None:
    scene = holding(with_apis(registered(inventory=ALL)))
    hidden = scene.answering({MetadataIn(path_of("v1", "pods", "shop"), SERVER): FORBIDDEN})
    assert codes(leaving(hidden, NAME).notes) == ["namespace-not-empty"]


def test_objects_of_the_api_itself_do_not_keep_its_namespace() -> None:
    groups = {"groups": [{"preferredVersion": {"groupVersion": "things.example/v1"}}]}
    scene = with_apis(registered(inventory=ALL)).object("/apis", groups)
    broken = {ObjectAt("/apis/things.example/v1", SERVER): Unknown("HTTP 503")}
    assert going(leaving(scene.answering(broken), NAME))[-1] == "Namespace shop"


# --- what may not go, and what is not ours ---------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        registered(at=None),
        registered(labels={AUTOMANAGED: "true"}),
        registered(labels={AUTOMANAGED: "onstart"}),
    ],
    ids=["built in", "a CRD's", "made again at each start"],
)
def test_an_api_that_the_cluster_serves_itself_cannot_be_taken_away(found: Object) -> None:
    (problem,) = leaving(with_apis(found), NAME).problems
    assert (problem.code, problem.subject) == ("api-served-by-cluster", "APIService v1.things.example")


def test_of_an_api_that_the_cluster_serves_itself_no_service_is_shown() -> None:
    found = leaving(with_apis(registered(at=None)), NAME)
    assert shown(found) == (ShownChange("delete", "APIService v1.things.example"),)


def test_with_the_layer_off_it_points_to_enable() -> None:
    off = cluster(scene=OFF).object(API_SERVICES, {"items": [registered()]})
    (problem,) = leaving(off, NAME).problems
    assert (problem.code, problem.fix) == ("layer-off", "on each control-plane node: sudo aggctl enable")


APPLIED = [
    {"manager": "kubectl", "operation": "Apply"},
    {"manager": "kube-apiserver", "subresource": "status"},
]


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        (
            {"annotations": {"meta.helm.sh/release-name": "shop"}, "managedFields": APPLIED},
            "Helm release shop",
        ),
        ({"annotations": None, "managedFields": APPLIED}, "kubectl"),
        ({"annotations": {}}, "unknown"),
    ],
    ids=["Helm", "a field manager", "nobody knows"],
)
def test_an_api_that_aggctl_did_not_make_goes_alone_with_a_warning_that_names_its_owner(
    metadata: Object, owner: str
) -> None:
    found = leaving(with_apis(registered(**metadata)), NAME)
    (note,) = found.notes
    assert (note.code, note.severity) == ("not-made-by-aggctl", "warning")
    assert note.message == f"aggctl did not make it (owner: {owner}); it goes, nothing around it"
    assert going(found) == ["APIService v1.things.example"]


# --- stale -----------------------------------------------------------------------------------------------

SPACES, SERVICES = path(namespace()), path(service())
ENDING = {"metadata": {"name": "x", "deletionTimestamp": "2026-06-01T11:00:00Z"}}
THERE = cluster(namespace(), service()).object(API_SERVICES, {"items": [registered()]})


@pytest.mark.parametrize(
    ("gone", "answer"),
    [(SERVICES, None), (SPACES, None), (SERVICES, ENDING), (SPACES, ENDING)],
    ids=["no Service", "no namespace", "the Service is going", "the namespace is terminating"],
)
def test_an_api_whose_service_or_namespace_is_gone_or_going_is_stale(gone: str, answer: Any) -> None:
    assert going(leaving(THERE.object(gone, answer), stale=True)) == ["APIService v1.things.example"]


@pytest.mark.parametrize("names", [(), (NAME,)], ids=["of all", "of the named"])
def test_an_api_whose_service_is_there_is_not_stale(names: tuple[str, ...]) -> None:
    assert leaving(THERE, *names, stale=True).apis == ()


def test_an_api_that_the_cluster_serves_itself_is_never_stale() -> None:
    local = {"items": [registered(at=None)]}
    assert leaving(THERE.object(API_SERVICES, local).object(SERVICES, None), stale=True).apis == ()


def test_of_the_named_apis_only_the_stale_ones_go() -> None:
    apis = [registered(at="gone/things"), registered(NEXT), registered("v1.old.example", at="gone/old")]
    scene = THERE.object(API_SERVICES, {"items": apis})
    assert going(leaving(scene, NAME, NEXT, stale=True)) == ["APIService v1.things.example"]
    assert len(leaving(scene, stale=True).apis) == 2


@pytest.mark.parametrize("gone", [SERVICES, SPACES], ids=["Service", "namespace"])
def test_a_service_that_may_not_be_seen_is_not_taken_for_a_missing_one(gone: str) -> None:
    with pytest.raises(NotKnown):
        leaving(THERE.answering({ObjectAt(gone, SERVER): FORBIDDEN}), stale=True)


def test_a_hundred_apis_are_looked_at_side_by_side() -> None:
    apis = [registered(f"v1.g{each}.example", at=f"shop/s{each}") for each in range(100)]
    rounds = []

    def look(snapshot: Snapshot) -> Leaving:
        rounds.append(1)
        return see_leaving(snapshot, (), SERVER, stale=True)

    assert len(THERE.object(API_SERVICES, {"items": apis}).ask(look).apis) == 100
    assert len(rounds) < 8


# --- namespaces that were stuck --------------------------------------------------------------------------


def test_namespaces_that_are_stuck_because_of_it_are_named_and_seen_to_go_on() -> None:
    condition = {
        "type": STUCK,
        "status": "True",
        "message": "things.example/v1: stale GroupVersion discovery",
    }
    waiting = namespace("mall") | {"status": {"conditions": [condition]}}
    found = leaving(with_apis(registered()).object(NAMESPACES, {"items": [waiting]}), NAME)
    assert found.stuck == (("mall", "things.example/v1"),)
    gate = went_on(found, 30.0)
    assert gate.conditions == (
        Condition("namespace-goes-on", (("name", "mall"), ("api", "things.example/v1"), ("server", SERVER))),
    )
    assert (gate.deadline, gate.server, gate.watch) == (30.0, SERVER, (NAMESPACES,))


# --- the plan --------------------------------------------------------------------------------------------

BOTH = Roster((SERVER, PEER), (("https://10.0.0.13:6443", "timed out"),))


def test_the_plan_deletes_in_the_order_shown_by_what_each_object_is() -> None:
    found = leaving(with_apis(registered(inventory=ALL), registered(NEXT, ALL)), NAME, NEXT)
    plan = plan_leaving(found, BOTH, 60.0)
    assert [step.change.target for step in plan.steps] == going(found)
    assert (plan.command, plan.title) == ("unregister", f"unregister {NAME}, {NEXT}")
    assert [step.title for step in plan.steps][-1] == "delete Namespace shop"


def test_everywhere_the_apis_are_seen_gone_before_anything_else_goes() -> None:
    found = leaving(with_apis(registered(inventory=ALL), registered(NEXT, ALL)), NAME, NEXT)
    first, second, *others = plan_leaving(found, BOTH, 60.0).steps
    assert (first.gate, [step.gate for step in others]) == (None, [None] * len(ALL))
    assert second.gate is not None
    assert second.gate.deadline == 60.0
    assert [dict(each.arguments) for each in second.gate.conditions] == [
        {"group": "things.example", "version": version, "server": server}
        for version in ("v1", "v1beta1")
        for server in (SERVER, PEER)
    ]


def test_each_deletion_holds_its_undo_and_goes_on_only_where_the_object_is_as_it_was_seen() -> None:
    api = registered(inventory=(SECRET,))
    plan = plan_leaving(leaving(with_apis(api), NAME), BOTH, 60.0)
    changes = [step.change for step in plan.steps]
    whole = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"} | api
    for change, where, live, holds in zip(
        changes,
        (api_service_path(NAME), path(SECRET)),
        (whole, SECRET),
        (content_stamp(whole), "created:3f2a"),
        strict=True,
    ):
        assert isinstance(change, ObjectChange)
        assert (change.server, change.path, change.after) == (SERVER, where, None)
        assert change.before is not None
        assert (change.before.holds, change.before.whole) == (holds, True)
        backup = json.loads(plan.blobs[change.before.blob])
        assert (backup["kind"], backup["metadata"]["annotations"]) == (
            live["kind"],
            live["metadata"]["annotations"],
        )
        assert not {"uid", "resourceVersion"} & set(backup["metadata"])


def test_where_nothing_goes_there_is_no_step() -> None:
    assert plan_leaving(leaving(with_apis(), NAME), BOTH, 60.0).steps == ()
