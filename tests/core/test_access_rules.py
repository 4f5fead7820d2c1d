"""From what is wanted to the rules of a role: never a wildcard that nobody typed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.granted import API, RESOURCES
from support.snapshots import codes

from aggctl.core.access.offer import CUSTOM, Offer, Offered
from aggctl.core.access.rules import Choice, Wanted, choose, shortened
from aggctl.core.extension import Api

GROUP = API.group
OFFER = Offer(
    API,
    tuple(
        Offered(each["name"], namespaced=each["namespaced"], verbs=tuple(each["verbs"]), said=each["name"])
        for each in RESOURCES
    ),
)
OPEN = Offer(API, (), unnamed=("get",))


def chosen(offer: Offer = OFFER, **wanted: Any) -> Choice:
    return choose(offer, Wanted(offer.api, **wanted))


def written(choice: Choice) -> list[tuple[str, str]]:
    """The rules as resources and verbs."""
    assert all(each["apiGroups"] == [GROUP] for each in choice.rules)
    return [(",".join(each["resources"]), ",".join(each["verbs"])) for each in choice.rules]


def test_by_default_what_reads_is_granted_as_far_as_each_resource_offers_it() -> None:
    assert written(chosen()) == [
        ("things/status", "get"),
        ("shelves", "get,list"),
        ("things", "get,list,watch"),
    ]


def test_what_is_left_out_is_told_with_the_reason() -> None:
    assert chosen().left_out == (
        "things/console (a subresource: name it by --resources)",
        "orders (offers create)",
    )


def test_a_namespaces_role_leaves_out_what_is_in_no_namespace() -> None:
    choice = chosen(namespace="shop")
    assert [resources for resources, _ in written(choice)] == ["things/status", "things"]
    assert "shelves (is in no namespace)" in choice.left_out


def test_a_resource_in_no_namespace_that_is_named_for_one_is_refused() -> None:
    assert codes(chosen(namespace="shop", resources=("shelves",)).problems) == ["resource-cluster-scoped"]


def test_a_subresource_that_is_named_is_granted() -> None:
    assert written(chosen(resources=("things/console", "things"), verbs=("get",))) == [
        ("things,things/console", "get")
    ]


def test_a_resource_that_the_api_has_not_got_is_refused_with_those_that_it_has() -> None:
    (problem,) = chosen(resources=("thing",)).problems
    assert (problem.code, problem.expected) == (
        "resource-not-offered",
        "things, things/status, things/console, shelves, orders",
    )


def test_where_there_are_none_that_is_what_is_told() -> None:
    (problem,) = chosen(Offer(API, ()), resources=("thing",)).problems
    assert problem.expected == "its discovery lists no resource"


def test_a_verb_that_nothing_offers_is_refused_with_those_that_are() -> None:
    problems = chosen(resources=("shelves",), verbs=("get", "create")).problems
    assert [(each.code, each.expected) for each in problems] == [("verb-not-offered", "get, list")]


def test_a_verb_that_one_of_several_offers_is_granted_there() -> None:
    assert written(chosen(resources=("things", "shelves"), verbs=("create", "list"))) == [
        ("things", "create,list"),
        ("shelves", "list"),
    ]


def test_wildcards_are_granted_where_they_are_typed() -> None:
    assert written(chosen(resources=("*",), verbs=("*",))) == [("*", "*")]
    assert written(chosen(resources=("*",))) == [("*", "get,list,watch")]
    assert written(chosen(resources=("things",), verbs=("*",))) == [("things", "*")]


def test_for_all_resources_a_verb_must_be_offered_by_one() -> None:
    assert codes(chosen(resources=("*",), verbs=("delete",)).problems) == ["verb-not-offered"]


@given(
    verbs=st.lists(st.sampled_from(("get", "list", "create")), max_size=3, unique=True),
    namespace=st.sampled_from(("", "shop")),
    names=st.lists(st.sampled_from(("things", "*/*", "*", "things/*", "a b", "shelves")), max_size=5),
)
def test_a_wildcard_never_comes_of_a_discovery_document(
    verbs: list[str], namespace: str, names: list[str]
) -> None:
    resources = tuple(
        Offered(name, namespaced=True, verbs=("get", "list"), said=name) for name in names if "*" not in name
    )
    offer = Offer(API, resources, unnamed=("get",) if any("*" in name for name in names) else ())
    choice = choose(offer, Wanted(API, verbs=tuple(verbs), namespace=namespace))
    words = [word for each in choice.rules for word in (*each["resources"], *each["verbs"])]
    assert not any("*" in word for word in words)


def test_of_an_open_api_nothing_is_granted_until_it_is_named() -> None:
    (problem,) = chosen(OPEN).problems
    assert problem.code == "nothing-to-grant"
    assert "--resources METRIC; or all: --resources '*'" in problem.fix
    assert written(chosen(OPEN, resources=("anything",))) == [("anything", "get")]


def test_the_example_for_custom_metrics_has_their_two_parts() -> None:
    (problem,) = choose(Offer(Api("v1", CUSTOM), (), ("get",)), Wanted(Api("v1", CUSTOM))).problems
    assert "--resources pods/METRIC" in problem.fix


def test_custom_metrics_are_subresources_that_only_read() -> None:
    api = Api("v1beta1", CUSTOM)
    offer = Offer(api, (Offered("pods/load", namespaced=True, verbs=("get",), said="pods/load"),))
    (only,) = choose(offer, Wanted(api)).rules
    assert only == {"apiGroups": [CUSTOM], "resources": ["pods/load"], "verbs": ["get"]}


def test_where_all_is_left_out_the_reasons_are_the_message() -> None:
    (problem,) = chosen(Offer(API, OFFER.resources[-1:])).problems
    assert (problem.code, problem.message) == (
        "nothing-to-grant",
        "v1.things.example: nothing is left to grant: orders (offers create)",
    )
    assert "its discovery lists no resource" in chosen(Offer(API, ())).problems[0].message


def test_many_names_are_cut() -> None:
    assert shortened([str(each) for each in range(14)]).endswith("11 … and 2 more")
