"""Objects are found where the cluster says that their kinds are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import CERT_MANAGER, api_service, cluster, discovery, namespace, service
from support.snapshots import SERVER, Scene, codes

from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.resources import discovery_path, locate, path_of, resources_of, target_of
from aggctl.core.snapshot import NotKnown, Snapshot, Unasked

if TYPE_CHECKING:
    from aggctl.core.findings import Finding
    from aggctl.core.resources import Located

Object = dict[str, Any]

ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "shop:things"},
}
CERTIFICATE = {"apiVersion": CERT_MANAGER, "kind": "Certificate", "metadata": {"name": "things"}}


def find(scene: Scene, *objects: Object) -> tuple[tuple[Located, ...], tuple[Finding, ...]]:
    return scene.ask(lambda snapshot: locate(snapshot, SERVER, objects, "default"))


def place(thing: Object) -> Located:
    ((found,), problems) = find(cluster(), thing)
    assert problems == ()
    return found


@pytest.mark.parametrize(
    ("api_version", "path"),
    [("v1", "/api/v1"), ("apps/v1", "/apis/apps/v1"), ("a.b/v1beta1", "/apis/a.b/v1beta1")],
)
def test_the_core_group_is_discovered_at_a_place_of_its_own(api_version: str, path: str) -> None:
    assert discovery_path(api_version) == path


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("v1", "namespaces", "", "shop"), "/api/v1/namespaces/shop"),
        (("v1", "services", "shop", "things"), "/api/v1/namespaces/shop/services/things"),
        (("v1", "services", "shop"), "/api/v1/namespaces/shop/services"),
        (("a.b/v1", "things", "", "x:y/z?"), "/apis/a.b/v1/things/x%3Ay%2Fz%3F"),
        (("v1", "services", "a/b"), "/api/v1/namespaces/a%2Fb/services"),
    ],
)
def test_the_path_of_an_object_is_safe_whatever_its_name(words: tuple[str, ...], path: str) -> None:
    assert path_of(*words) == path


@pytest.mark.parametrize(
    ("thing", "path", "target", "where"),
    [
        (service(), "/api/v1/namespaces/shop/services/things", "Service shop/things", "shop"),
        (
            service() | {"metadata": {"name": "things"}},
            "/api/v1/namespaces/default/services/things",
            "Service default/things",
            "default",
        ),
        (namespace("shop", namespace="odd"), "/api/v1/namespaces/shop", "Namespace shop", ""),
        (
            api_service(),
            "/apis/apiregistration.k8s.io/v1/apiservices/v1.things.example",
            "APIService v1.things.example",
            "",
        ),
        (
            ROLE,
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/shop%3Athings",
            "ClusterRole shop:things",
            "",
        ),
    ],
    ids=["in its namespace", "in none: in ours", "a kind that is in none", "an APIService", "a colon"],
)
def test_an_object_is_placed_as_its_kind_is(thing: Object, path: str, target: str, where: str) -> None:
    found = place(thing)
    assert (found.path, found.target, found.namespace) == (path, target, where)
    assert found.kind == thing["kind"]


def test_placing_writes_the_namespace_and_leaves_what_was_given() -> None:
    bare = service() | {"metadata": {"name": "things"}}
    assert place(bare).object["metadata"] == {"name": "things", "namespace": "default"}
    assert bare["metadata"] == {"name": "things"}


def test_objects_are_found_in_the_order_in_which_they_came() -> None:
    found, _ = find(cluster(), api_service(), service(), namespace())
    assert [each.kind for each in found] == ["APIService", "Service", "Namespace"]


def test_a_subresource_has_the_same_kind_and_is_not_where_the_object_is() -> None:
    names = [each["name"] for each in discovery("v1")["resources"]]
    assert names.index("services/status") < names.index("services")
    assert place(service()).path.endswith("/services/things")


@pytest.mark.parametrize(
    "scene",
    [
        cluster(),
        cluster().object(f"/apis/{CERT_MANAGER}", {"resources": None}),
        cluster().object(
            f"/apis/{CERT_MANAGER}", {"resources": ["odd", {"kind": "Issuer", "name": "issuers"}]}
        ),
    ],
    ids=["no such group", "no resources", "other kinds only"],
)
def test_a_kind_that_the_cluster_lacks_is_named_and_the_others_are_found(scene: Scene) -> None:
    found, problems = find(scene, CERTIFICATE, service())
    assert [each.target for each in found] == ["Service shop/things"]
    assert codes(problems) == ["kind-unknown"]
    assert (problems[0].severity, problems[0].subject, problems[0].message) == (
        "error",
        "Certificate things",
        "this cluster has no kind Certificate in cert-manager.io/v1",
    )


def test_a_kind_is_found_once_it_is_installed() -> None:
    scene = cluster().object(f"/apis/{CERT_MANAGER}", discovery(CERT_MANAGER))
    ((found,), _) = find(scene, CERTIFICATE)
    assert found.path == "/apis/cert-manager.io/v1/namespaces/default/certificates/things"


def test_all_groups_are_asked_for_at_once() -> None:
    with pytest.raises(Unasked) as caught:
        locate(Snapshot(), SERVER, (service(), namespace(), ROLE), "default")
    assert caught.value.questions == {
        ObjectAt("/api/v1", SERVER), ObjectAt("/apis/rbac.authorization.k8s.io/v1", SERVER)
    }  # fmt: skip


def test_a_group_that_does_not_answer_is_not_taken_for_one_that_is_lacking() -> None:
    scene = cluster().answering({ObjectAt("/api/v1", SERVER): Unknown("timed out")})
    with pytest.raises(NotKnown):
        find(scene, service())


def test_a_version_that_is_not_served_has_no_resources() -> None:
    assert cluster().ask(lambda snapshot: list(resources_of(snapshot, SERVER, "apps/v9"))) == []


def test_what_people_call_an_object_is_bounded_and_fit_to_show() -> None:
    assert (
        target_of({"kind": "Service", "metadata": {"name": "a\x1b[31mb\n", "namespace": None}})
        == "Service ab"
    )
    assert len(target_of(service("x" * 500))) == 200
