"""Who owns which field, and what is left of an object when aggctl's own fields are as they were."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.fields import (
    CREATED,
    content_stamp,
    created_stamp,
    kept,
    managers,
    owned_fields,
    owned_stamp,
    project,
    restored,
    restored_owners,
    stamps,
)

Object = dict[str, Any]
Path = tuple[str, ...]


def entry(manager: str, fields: Object, operation: str = "Apply", **more: str) -> Object:
    """An entry of managedFields as kube-apiserver 1.37 writes it."""
    usual = {"apiVersion": "v1", "fieldsType": "FieldsV1", "time": "2026-06-01T12:00:00Z"}
    return {**usual, "manager": manager, "operation": operation, "fieldsV1": fields, **more}


def port(number: int, name: str, target: int | str) -> Object:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": target}


def port_fields(number: int) -> Object:
    names = (".", "f:name", "f:port", "f:protocol", "f:targetPort")
    return {f'k:{{"port":{number},"protocol":"TCP"}}': {name: {} for name in names}}


HELM = entry(
    "helm",
    {
        "f:metadata": {"f:finalizers": {'v:"example.com/hold"': {}}, "f:labels": {"f:app": {}}},
        "f:spec": {"f:ports": port_fields(8080), "f:selector": {}},
    },
)
ANNOTATED = entry("kubectl-annotate", {"f:metadata": {"f:annotations": {".": {}, "f:note": {}}}}, "Update")
OURS = {
    "f:metadata": {
        "f:finalizers": {'v:"example.com/aggctl"': {}},
        "f:labels": {"f:app": {}, "f:app.kubernetes.io/managed-by": {}},
    },
    "f:spec": {"f:ports": port_fields(443)},
}
STATUS = entry(
    "kubectl-patch",
    {"f:status": {"f:conditions": {".": {}, 'k:{"type":"x"}': {".": {}, "f:type": {}}}}},
    "Update",
    subresource="status",
)
BEFORE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "annotations": {"note": "by hand"},
        "creationTimestamp": "2026-06-01T12:00:00Z",
        "finalizers": ["example.com/hold"],
        "labels": {"app": "things"},
        "managedFields": [HELM, ANNOTATED],
        "name": "things",
        "namespace": "shop",
        "resourceVersion": "219",
        "uid": "10c39c5b",
    },
    "spec": {
        "clusterIP": "10.107.207.167",
        "ports": [port(8080, "metrics", 8080)],
        "selector": {"app": "things"},
    },
    "status": {"loadBalancer": {}},
}
"""A Service as Helm applied it, with an annotation by hand."""

AFTER: Object = {
    **BEFORE,
    "metadata": {
        **BEFORE["metadata"],
        "finalizers": ["example.com/hold", "example.com/aggctl"],
        "labels": {"app": "things", "app.kubernetes.io/managed-by": "aggctl"},
        "managedFields": [HELM, entry("aggctl", OURS), ANNOTATED, STATUS],
        "resourceVersion": "221",
    },
    "spec": {**BEFORE["spec"], "ports": [port(8080, "metrics", 8080), port(443, "https", "https")]},
    "status": {"loadBalancer": {}, "conditions": [{"type": "x", "status": "True"}]},
}
"""The same after aggctl applied a port, a label and a finalizer, and somebody wrote its status."""


def changed(live: Object, path: str, value: Any) -> Object:
    """A copy with the value at a path of keys, or without it by None."""
    result = copy.deepcopy(live)
    *above, last = path.split(".")
    inside = result
    for key in above:
        inside = inside[key]
    inside[last] = value
    if value is None:
        del inside[last]
    return result


def by(*entries: Object) -> Object:
    return {"metadata": {"managedFields": list(entries)}}


# --- owners ----------------------------------------------------------------------------------------------


def test_what_aggctl_applied_is_its_own() -> None:
    assert owned_fields(AFTER) == OURS


@pytest.mark.parametrize(
    "live",
    [
        BEFORE,
        by(entry("aggctl", OURS, "Update")),
        by(entry("aggctl", OURS, subresource="status")),
        by({"manager": "aggctl", "operation": "Apply"}),
        {"metadata": {"managedFields": None}},
        {},
    ],
    ids=["another's", "not by apply", "of status", "without fields", "managedFields hidden", "no metadata"],
)
def test_what_aggctl_did_not_apply_is_not_its_own(live: Object) -> None:
    assert owned_fields(live) == {}


def test_the_manager_may_be_called_otherwise() -> None:
    assert owned_fields(AFTER, "helm") == HELM["fieldsV1"]


def test_managers_are_those_of_other_fields_than_status_each_once() -> None:
    live = by(HELM, entry("aggctl", OURS), STATUS, entry("helm", {}, "Update"))
    assert managers(live) == ("helm", "aggctl")
    assert managers({}) == ()


# --- states ----------------------------------------------------------------------------------------------


def test_a_backup_is_the_object_without_what_the_server_makes_of_itself() -> None:
    metadata = {
        "annotations": {"note": "by hand"},
        "finalizers": ["example.com/hold"],
        "labels": {"app": "things"},
        "managedFields": [HELM, ANNOTATED],
        "name": "things",
        "namespace": "shop",
    }
    wanted = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": BEFORE["spec"]}
    assert kept(changed(BEFORE, "metadata.managedFields", [HELM, ANNOTATED, STATUS])) == wanted


REVISION = "deployment.kubernetes.io/revision"


def annotated(annotations: Object | None, *entries: Object) -> Object:
    return {"metadata": {"name": "x", "annotations": annotations, "managedFields": list(entries)}}


def annotating(manager: str, *names: str, **more: str) -> Object:
    return entry(
        manager,
        {"f:metadata": {"f:annotations": {".": {}} | {f"f:{each}": {} for each in names}}},
        "Update",
        **more,
    )


COUNTING = annotating("kube-controller-manager", REVISION, subresource="status")


@pytest.mark.parametrize(
    ("live", "backup"),
    [
        (annotated({REVISION: "2", "note": "x"}, COUNTING), annotated({"note": "x"})),
        (annotated({REVISION: "2"}, COUNTING), by() | {"metadata": {"name": "x", "managedFields": []}}),
        (
            annotated({REVISION: "2"}, annotating("helm", REVISION), COUNTING),
            annotated({REVISION: "2"}, annotating("helm", REVISION)),
        ),
        (annotated(None, COUNTING), by() | {"metadata": {"name": "x", "managedFields": []}}),
        (annotated({"note": "x"}, STATUS, {"manager": "x"}), annotated({"note": "x"}, {"manager": "x"})),
    ],
    ids=["beside others", "alone", "somebody applied it too", "gone already", "none"],
)
def test_an_annotation_that_the_writer_of_status_counts_in_is_no_part_of_a_backup(
    live: Object, backup: Object
) -> None:
    assert kept(live) == backup


def test_a_backup_of_an_object_without_managed_fields_has_none() -> None:
    assert kept({"metadata": {"name": "x"}}) == {"metadata": {"name": "x", "managedFields": []}}


@pytest.mark.parametrize(
    ("path", "value", "content", "own"),
    [
        ("metadata.resourceVersion", "222", True, True),
        ("status", {}, True, True),
        ("metadata.annotations.note", "other", False, True),
        ("spec.clusterIP", "10.0.0.1", False, True),
        ("spec.ports", [port(443, "https", "https"), port(8080, "metrics", 9)], False, True),
        ("metadata.labels.app", "other", False, False),
        ("spec.ports", [port(8080, "metrics", 8080), port(443, "https", 6443)], False, False),
        ("spec.ports", [port(8080, "metrics", 8080)], False, False),
        ("metadata.finalizers", ["example.com/hold"], False, False),
        ("metadata.managedFields", [HELM, entry("aggctl", {"f:spec": OURS["f:spec"]})], False, False),
    ],
    ids=[
        "its version",
        "its status",
        "another's annotation",
        "nobody's field",
        "another's port",
        "our label",
        "our port",
        "our port gone",
        "our finalizer gone",
        "our label taken over",
    ],
)
def test_an_object_is_as_it_was_where_only(path: str, value: Any, content: bool, own: bool) -> None:
    other = changed(AFTER, path, value)
    assert (content_stamp(other) == content_stamp(AFTER)) is content
    assert (owned_stamp(other) == owned_stamp(AFTER)) is own


def test_what_a_plan_created_carries_its_token() -> None:
    live = changed(AFTER, f"metadata.annotations.{CREATED}", "abc")
    assert created_stamp(live) == "created:abc"
    assert stamps(live) == {content_stamp(live), owned_stamp(live), "created:abc"}


@pytest.mark.parametrize("live", [AFTER, {}, {"metadata": {"annotations": None}}])
def test_what_no_plan_created_carries_none(live: Object) -> None:
    assert created_stamp(live) == ""


def test_an_object_of_others_is_in_no_state_that_a_plan_made() -> None:
    assert stamps(BEFORE) == {content_stamp(BEFORE), owned_stamp(BEFORE)}


# --- parts -----------------------------------------------------------------------------------------------

ITEMS = [{"name": "a", "value": 1}, {"name": "b", "value": 2}, "odd"]


@pytest.mark.parametrize(
    ("value", "fields", "part"),
    [
        (AFTER["metadata"], {"f:labels": {"f:app": {}}}, {"labels": {"app": "things"}}),
        (AFTER["metadata"], {"f:labels": {}}, {"labels": AFTER["metadata"]["labels"]}),
        (AFTER["metadata"], {"f:labels": {".": {}}}, {"labels": AFTER["metadata"]["labels"]}),
        (AFTER["metadata"], {"f:gone": {"f:x": {}}, "f:name": {}}, {"name": "things"}),
        (AFTER["spec"], {"f:ports": port_fields(443)}, {"ports": [port(443, "https", "https")]}),
        (AFTER["spec"], {"f:ports": port_fields(1)}, {"ports": []}),
        (ITEMS, {'k:{"name":"b"}': {".": {}, "f:value": {}}}, [{"value": 2}]),
        (["a", "b"], {'v:"b"': {}, 'v:"c"': {}}, ["b"]),
        (["a", "b"], {"i:1": {}, "i:2": {}}, ["b"]),
        ("text", {"f:x": {}}, "text"),
    ],
    ids=[
        "a key",
        "a whole value",
        "a value that is nothing but there",
        "a key that is gone",
        "the item of a list",
        "an item that is gone",
        "a field of an item",
        "an element of a set",
        "an item by its index",
        "a value that is no map any more",
    ],
)
def test_the_part_of_a_value_that_fields_name(value: Any, fields: Object, part: Any) -> None:
    assert project(value, fields) == part


# --- undoing an apply ------------------------------------------------------------------------------------


def content(live: Object) -> Object:
    """The object but for its managers and what the server makes of itself."""
    return changed(kept(live), "metadata.managedFields", None)


def test_an_undone_apply_leaves_the_object_as_it_was() -> None:
    assert content(restored(AFTER, BEFORE)) == content(BEFORE)
    assert restored_owners(AFTER, BEFORE) == [HELM, ANNOTATED, STATUS]


def test_undoing_changes_neither_of_what_it_is_given() -> None:
    given_after, given_before = copy.deepcopy(AFTER), copy.deepcopy(BEFORE)
    restored(given_after, given_before)
    restored_owners(given_after, given_before)
    assert (given_after, given_before) == (AFTER, BEFORE)


X, Y = {"name": "x"}, {"name": "y"}
A: Object = {"f:a": {}}
AB: Object = {"f:a": {"f:b": {}}}
ITEM: Object = {"f:a": {'k:{"name":"x"}': {".": {}, "f:name": {}}}}


@pytest.mark.parametrize(
    ("fields", "live", "before", "result"),
    [
        (A, {"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        (A, {"a": {"x": 1}}, {"a": {}}, {"a": {}}),
        (AB, {"a": {"b": 1}}, {}, {}),
        (AB, {"a": {"b": 1, "other": 2}}, {}, {"a": {"other": 2}}),
        (AB, {"a": {"b": 1}}, {"a": {}}, {"a": {}}),
        (AB, {}, {"a": {"b": 1, "other": 2}}, {"a": {"b": 1}}),
        (AB, {"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        (ITEM, {"a": [X]}, {}, {}),
        (ITEM, {"a": [X, Y]}, {}, {"a": [Y]}),
        (ITEM, {"a": [X | {"n": 1}]}, {"a": [X | {"n": 2}]}, {"a": [X | {"n": 1}]}),
        (ITEM, {"a": [Y]}, {"a": [X | {"n": 2}]}, {"a": [Y, X | {"n": 2}]}),
        (ITEM, {}, {"a": [X, Y]}, {"a": [X]}),
        (ITEM, {}, {}, {}),
    ],
    ids=[
        "a value",
        "a whole map",
        "a key, and what became empty with it",
        "a key, but none beside it",
        "a map that was empty before stays",
        "of a map that is gone, only what was ours",
        "a map that is none any more",
        "an item, and the list that became empty",
        "an item, but none beside it",
        "an item, but not what others set in it",
        "an item that is gone comes back whole",
        "of a list that is gone, only what was ours",
        "what never was",
    ],
)  # fmt: skip
def test_an_undo_puts_back(fields: Object, live: Object, before: Object, result: Object) -> None:
    owner = by(entry("aggctl", fields))
    assert restored(live | owner, before | owner) == result | owner


def env(names: str) -> Object:
    return {"env": [{"name": each} for each in names]}


def env_of_ours(names: str) -> Object:
    return by(entry("aggctl", {"f:env": {f'k:{{"name":"{each}"}}': {".": {}} for each in names}}))


@pytest.mark.parametrize(
    ("before", "live", "ours", "result"),
    [
        ("AB", "BC", "BC", "AB"),
        ("ABC", "CB", "CB", "ABC"),
        ("AB", "BZ", "B", "ABZ"),
        ("AB", "ZB", "B", "ZAB"),
        ("ABC", "BZC", "BC", "ABZC"),
    ],
    ids=[
        "one for another",
        "turned round",
        "behind them somebody's own",
        "before them somebody's own",
        "between them somebody's own",
    ],
)
def test_items_come_back_in_their_order_as_a_variable_may_name_one_before_it(
    before: str, live: str, ours: str, result: str
) -> None:
    given_before, given_live = env(before) | env_of_ours(before), env(live) | env_of_ours(ours)
    assert restored(given_live, given_before)["env"] == env(result)["env"]


def test_items_that_others_changed_keep_their_place() -> None:
    others = [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    found = restored({"env": others} | by(HELM), env("ABC") | env_of_ours("A"))["env"]
    assert found == [{"name": "A"}, *others]


@pytest.mark.parametrize(("one", "two", "three"), [("a", "b", "c"), (1, 2, 3)])
def test_elements_of_a_set_come_back_in_their_order(one: Any, two: Any, three: Any) -> None:
    ours: list[Object] = [{f"v:{json.dumps(each)}": {} for each in some} for some in ([one, two], [two])]
    then, now = (by(entry("aggctl", {"f:s": each})) for each in ours)
    assert restored({"s": [two, three]} | now, {"s": [one, two]} | then)["s"] == [one, two, three]


HAD_ADDRESS = {
    "spec": {"clusterIP": "10.0.0.1", "type": "ClusterIP", "selector": {"app": "x"}, "dns": {"ttl": 5}}
}
OF_HELM = entry("helm", {"f:spec": {"f:selector": {}}})


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        (
            {"type": "ExternalName", "externalName": "x.example", "selector": {"app": "x"}, "dns": {}},
            HAD_ADDRESS["spec"],
        ),
        ({"type": "ExternalName"}, {"clusterIP": "10.0.0.1", "type": "ClusterIP", "dns": {"ttl": 5}}),
        (
            {"type": "ExternalName", "dns": "odd"},
            {"clusterIP": "10.0.0.1", "type": "ClusterIP", "dns": "odd"},
        ),
    ],
    ids=[
        "what nobody owned and the server took away",
        "but not what another took away",
        "nor into what is of another shape now",
    ],
)
def test_what_comes_back_with_our_fields(spec: Object, result: Object) -> None:
    then = by(OF_HELM, entry("aggctl", {"f:spec": {"f:type": {}}}))
    now = by(OF_HELM, entry("aggctl", {"f:spec": {"f:type": {}, "f:externalName": {}}}))
    assert restored({"spec": spec} | now, HAD_ADDRESS | then)["spec"] == result


def test_an_object_in_which_aggctl_owns_nothing_stays_as_it_is() -> None:
    assert restored({"a": 1} | by(HELM), {"a": 2} | by(HELM))["a"] == 1


TAKEN = entry("helm", {"f:spec": {"f:selector": {}}})
GIVEN = entry("helm", {"f:metadata": {"f:labels": {"f:app": {}}}})
BOTH = entry("helm", GIVEN["fieldsV1"] | TAKEN["fieldsV1"])
FORCED = entry("aggctl", {"f:metadata": {"f:labels": {"f:app": {}, "f:x": {}}}, "f:spec": {"f:ports": {}}})
NAMED = entry("aggctl", {"f:ports": {next(iter(port_fields(443))): {".": {}, "f:name": {}}}})
LATER = {"time": "2026-06-02T12:00:00Z"}
OLD = entry("old", {"f:spec": {}}, "Update", apiVersion="v1beta1")


@pytest.mark.parametrize(
    ("now", "then", "result"),
    [
        ([FORCED], [], []),
        ([FORCED], [entry("aggctl", {})], [entry("aggctl", {})]),
        ([FORCED, entry("aggctl", {}, "Update")], [], []),
        ([FORCED, HELM | LATER], [HELM], [HELM]),
        ([FORCED, TAKEN | LATER], [BOTH], [BOTH]),
        ([FORCED], [GIVEN], [GIVEN]),
        ([FORCED], [HELM], [entry("helm", GIVEN["fieldsV1"])]),
        ([FORCED], [TAKEN], []),
        ([NAMED], [entry("helm", {"f:ports": port_fields(443)})], [NAMED | {"manager": "helm"}]),
        ([entry("aggctl", {}), TAKEN | LATER], [HELM], [TAKEN | LATER]),
        ([FORCED, TAKEN | LATER], [], [TAKEN | LATER]),
        ([FORCED, STATUS], [GIVEN], [GIVEN, STATUS]),
        ([FORCED, HELM | {"apiVersion": "v2"}], [HELM], [HELM]),
        ([FORCED, OLD, OLD | {"apiVersion": "v1"}], [OLD], [OLD, OLD | {"apiVersion": "v1"}]),
    ],
    ids=[
        "what aggctl applied is nobody's again",
        "aggctl as it was",
        "the undo itself leaves no manager",
        "another who only applied again",
        "another gets back what was taken",
        "another who lost all gets it back",
        "another who lost more gets back what was taken",
        "another who left by itself stays away",
        "another who had an item gets back that and what was taken in it",
        "what another gave up it does not get back",
        "another who came later stays",
        "the one who writes status stays",
        "an apply in another version is the same manager's",
        "an update in another version is another manager's",
    ],
)  # fmt: skip
def test_managers_after_an_undo(now: list[Object], then: list[Object], result: list[Object]) -> None:
    assert restored_owners(by(*now), by(*then)) == result


# --- the laws, for whatever is applied -------------------------------------------------------------------
# Names tell types, as a schema does: m a map, l a list of items by name, s a set, anything else one value.

NAMES = st.sampled_from("xyz")
ATOMS: st.SearchStrategy[Any] = st.one_of(
    NAMES, st.integers(0, 2), st.booleans(), st.just({}), st.lists(NAMES, max_size=2)
)


def maps(inner: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    items = st.lists(
        st.builds(lambda name, more: {"name": name, **more}, NAMES, inner),
        min_size=1, max_size=3, unique_by=lambda item: item["name"],
    )  # fmt: skip
    some = inner.filter(bool)
    sets = st.lists(NAMES, min_size=1, unique=True)
    return st.fixed_dictionaries({}, optional={"a": ATOMS, "b": ATOMS, "m": some, "l": items, "s": sets})


CONFIGS = maps(maps(st.fixed_dictionaries({}, optional={"a": ATOMS, "b": ATOMS})))
Flat = dict[Path, Any]
HERE = object()
"""Stands for an item of a list as such, whatever is in it."""


def flat(value: Object, above: Path = ()) -> Flat:
    """Each value by the path of FieldsV1 that owns it."""
    result: Flat = {}
    for name, each in value.items():
        path = (*above, f"f:{name}")
        match name[0]:
            case "m":
                result |= flat(each, path)
            case "l":
                for item in each:
                    key = (*path, f'k:{{"name":"{item["name"]}"}}')
                    result |= {key: HERE, **flat(item, key)}
            case "s":
                result |= {(*path, f'v:"{element}"'): element for element in each}
            case _:
                result[path] = each
    return result


def grouped(values: Flat) -> dict[str, Flat]:
    """By the first element of the path, in order."""
    heads = dict.fromkeys(path[0] for path in values if path)
    return {head: {path[1:]: each for path, each in values.items() if path[:1] == (head,)} for head in heads}


def built(values: Flat) -> Any:
    """The object, or the list, of `flat`."""
    if () in values and values[()] is not HERE:
        return values[()]
    inner = {head: built(each) for head, each in grouped(values).items()}
    if all(head.startswith("f:") for head in inner):
        return {head[2:]: each for head, each in inner.items()}
    return list(inner.values())


def fields_of(paths: Flat) -> Object:
    """FieldsV1 of these paths."""
    inner = {head: fields_of(each) for head, each in grouped(paths).items()}
    return {".": {}, **inner} if () in paths and inner else inner


class Server:
    """Server-side apply with force, of an object whose schema is in its names."""

    def __init__(self) -> None:
        self.values: Flat = {}
        self.owners: dict[str, Flat] = {}

    def apply(self, manager: str, config: Object) -> Object:
        wanted = flat(config)
        old = self.owners.pop(manager, {})
        differs = {path for path in wanted if self.values.get(path, wanted[path]) != wanted[path]}
        for name, owned in list(self.owners.items()):
            self.owners[name] = {path: None for path in owned if path not in differs}
        others = {path for owned in self.owners.values() for path in owned}
        stays = {path: each for path, each in self.values.items() if path not in old or path in others}
        self.values = {path: wanted.get(path, each) for path, each in ({**wanted, **stays}).items()}
        self.owners[manager] = dict.fromkeys(wanted)
        return self.live()

    def live(self) -> Object:
        entries = [entry(name, fields_of(owned)) for name, owned in self.owners.items() if owned]
        body: Object = copy.deepcopy(built(self.values))
        return body | by(*entries)


def body(live: Object) -> Object:
    return {name: each for name, each in live.items() if name != "metadata"}


def owners(entries: list[Object]) -> dict[str, Object]:
    return {each["manager"]: each["fieldsV1"] for each in entries}


@given(CONFIGS)
def test_the_part_that_all_fields_name_is_the_whole(config: Object) -> None:
    assert project(config, fields_of(flat(config))) == config


@given(CONFIGS, CONFIGS, CONFIGS)
def test_whatever_aggctl_applied_can_be_undone(others: Object, first: Object, second: Object) -> None:
    server = Server()
    server.apply("helm", others)
    before = server.apply("aggctl", first)
    after = server.apply("aggctl", second)
    assert body(restored(after, before)) == body(before)
    assert owners(restored_owners(after, before)) == owners(before["metadata"]["managedFields"])


LATE = {"aw": 1, "m": {"aw": 1}, "l": [{"name": "w", "aw": 1}], "s": ["w"]}


@given(CONFIGS, CONFIGS, CONFIGS)
def test_what_others_applied_meanwhile_outlives_the_undo(
    others: Object, first: Object, second: Object
) -> None:
    server, undisturbed = Server(), Server()
    for each in (server, undisturbed):
        each.apply("helm", others)
        before = each.apply("aggctl", first)
    server.apply("aggctl", second)
    after, wanted = server.apply("late", LATE), undisturbed.apply("late", LATE)
    assert flat(body(restored(after, before))) == flat(body(wanted))
    assert owners(restored_owners(after, before)) == owners(wanted["metadata"]["managedFields"])
