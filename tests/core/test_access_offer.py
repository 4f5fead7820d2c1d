"""What an API offers, by its own discovery, under the names that RBAC asks for."""

from __future__ import annotations

from typing import Any

import pytest
from support.granted import API, ask, with_api
from support.snapshots import SERVER

from aggctl.core.access.offer import CUSTOM, EXTERNAL, Offer, Offered, offer_of
from aggctl.core.checks.extension import api_service_path
from aggctl.core.extension import Api
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.snapshot import NotKnown

FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
CUSTOM_API, EXTERNAL_API = Api("v1beta1", CUSTOM), Api("v1beta1", EXTERNAL)


def offered(*resources: dict[str, Any], api: Api = API, **more: Any) -> Offer:
    found = ask(with_api(*resources, api=api, **more), lambda snapshot: offer_of(snapshot, SERVER, api))
    assert isinstance(found, Offer)
    return found


def refused(scene: Any) -> str:
    found = ask(scene, lambda snapshot: offer_of(snapshot, SERVER, API))
    assert isinstance(found, Finding)
    return found.code


def resource(name: str, *verbs: str, namespaced: bool = True) -> dict[str, Any]:
    return {"name": name, "namespaced": namespaced, "verbs": list(verbs)}


def test_resources_are_offered_with_their_verbs() -> None:
    found = offered(resource("things", "get", "list"), resource("shelves", "get", namespaced=False))
    assert found.resources == (
        Offered("things", namespaced=True, verbs=("get", "list"), said="things"),
        Offered("shelves", namespaced=False, verbs=("get",), said="shelves"),
    )
    assert (found.names, found.verbs, found.open) == (("things", "shelves"), ("get", "list"), False)
    assert found.named("things") == found.resources[:1]
    assert found.named("pods") == ()


def test_the_other_versions_of_the_group_are_told_as_rbac_knows_none() -> None:
    assert offered(versions=("v2", "v1", "v1beta1", "no\nsense")).others == ("v1beta1", "v2")


def test_a_group_that_may_not_be_looked_at_has_no_other_versions_to_tell() -> None:
    scene = with_api().answering({ObjectAt(f"/apis/{API.group}", SERVER): FORBIDDEN})
    found = ask(scene, lambda snapshot: offer_of(snapshot, SERVER, API))
    assert isinstance(found, Offer)
    assert found.others == ()


@pytest.mark.parametrize("name", ["*", "*/*", "pods/*"])
def test_a_wildcard_of_the_discovery_is_no_resource_and_tells_that_there_are_others(name: str) -> None:
    found = offered(resource(name, "get"), resource("things", "list"))
    assert found.names == ("things",)
    assert found.unnamed == ("get",)
    assert found.named("anything") == (Offered("anything", namespaced=True, verbs=("get",), said="anything"),)
    assert found.verbs == ("list", "get")


@pytest.mark.parametrize(
    ("api", "name", "verbs"),
    [(CUSTOM_API, "/custommetrics", ("get",)), (EXTERNAL_API, "externalmetrics", ("get", "list"))],
)
def test_what_a_metrics_server_lists_for_any_metric_is_no_resource(
    api: Api, name: str, verbs: tuple[str, ...]
) -> None:
    found = offered(resource(name, "get"), api=api)
    assert (found.resources, found.unnamed) == ((), verbs)


def test_an_external_metric_is_asked_for_without_a_name_which_is_the_verb_list() -> None:
    found = offered(
        resource("queue", "get"), resource("lake", "list", "get"), resource("sea", "watch"), api=EXTERNAL_API
    )
    assert [each.verbs for each in found.resources] == [("get", "list"), ("list", "get"), ("watch",)]


def test_the_metric_of_a_namespace_itself_is_asked_for_as_metrics() -> None:
    found = offered(
        resource("namespaces/load", "get", namespaced=False), resource("pods/load", "get"), api=CUSTOM_API
    )
    assert found.resources == (
        Offered("metrics", namespaced=True, verbs=("get",), said="namespaces/load"),
        Offered("pods/load", namespaced=True, verbs=("get",), said="pods/load"),
    )
    assert found.named("namespaces/load") == found.named("metrics") == found.resources[:1]
    assert found.resources[1].parts == ("pods", "load")


def test_in_another_group_a_resource_of_that_name_is_itself() -> None:
    assert offered(resource("namespaces/load", "get")).names == ("namespaces/load",)


@pytest.mark.parametrize(
    "bad", [resource("a b", "get"), resource("things"), {"verbs": ["get"]}, resource("x", "GET", "*")]
)
def test_what_can_be_no_resource_is_passed_over(bad: dict[str, Any]) -> None:
    bad.setdefault("name", "")
    assert offered(bad, resource("things", "get")).names == ("things",)


def test_an_api_that_is_not_there_is_refused() -> None:
    assert refused(with_api().object(API.path, None)) == "api-not-registered"


def test_an_api_that_kube_apiserver_serves_itself_is_refused() -> None:
    assert refused(with_api(by_service=False)) == "api-served-by-cluster"


def test_an_api_that_does_not_answer_is_refused_as_not_available() -> None:
    silent = Unknown("answered 503", "apiserver-not-ready")
    assert refused(with_api().answering({ObjectAt(API.path, SERVER): silent})) == "api-not-available"


def test_who_may_not_read_apiservices_still_learns_what_is_offered() -> None:
    scene = with_api().answering({ObjectAt(api_service_path(API.name), SERVER): FORBIDDEN})
    assert isinstance(ask(scene, lambda snapshot: offer_of(snapshot, SERVER, API)), Offer)


def test_a_discovery_that_may_not_be_read_is_not_known() -> None:
    scene = with_api().answering({ObjectAt(API.path, SERVER): FORBIDDEN})
    with pytest.raises(NotKnown):
        ask(scene, lambda snapshot: offer_of(snapshot, SERVER, API))
