"""A plan goes through JSON and back, undoes itself, and shows nobody a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshots import CA, OFF, leaf

from aggctl.core.enable import Minted, plan_enable
from aggctl.core.need import Wanted
from aggctl.core.plan import (
    Change,
    Condition,
    FileChange,
    FolderChange,
    Gate,
    ObjectChange,
    ObjectState,
    Plan,
    Step,
    canonical,
    digest,
    digests_of,
    inverse,
    inverse_plan,
    plan_from_json,
    plan_to_json,
    stamp,
)
from aggctl.core.questions import Stamp

WORDS = st.text(max_size=12)
STAMPS = st.none() | st.builds(
    Stamp, st.binary().map(digest), st.integers(0, 0o7777), st.integers(0, 2**31), st.integers(0, 2**31)
)
STATES = st.none() | st.builds(ObjectState, WORDS, WORDS, st.booleans())
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(FileChange, WORDS, STAMPS, STAMPS),
    st.builds(FolderChange, WORDS, st.integers(0, 0o7777), st.booleans()),
    st.builds(ObjectChange, WORDS, WORDS, WORDS, STATES, STATES, st.booleans()),
)
ARGUMENTS = st.dictionaries(
    WORDS, st.none() | WORDS | st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=3
).map(lambda found: tuple(found.items()))
SECONDS = st.floats(0, 1e6)
GATES = st.none() | st.builds(
    Gate,
    st.lists(st.builds(Condition, WORDS, ARGUMENTS), max_size=3).map(tuple),
    SECONDS,
    SECONDS,
    waits_for=WORDS,
    server=WORDS,
    watch=st.lists(WORDS, max_size=2).map(tuple),
)
STEPS = st.builds(Step, WORDS, CHANGES, GATES, GATES, GATES)
PLANS = st.builds(
    Plan,
    command=WORDS,
    title=WORDS,
    steps=st.lists(STEPS, max_size=3).map(tuple),
    blobs=st.dictionaries(WORDS, st.binary(), max_size=2),
    keep=st.lists(WORDS, max_size=2).map(tuple),
    undoes=WORDS,
)


@given(PLANS)
def test_a_plan_that_goes_through_json_comes_back_the_same(plan: Plan) -> None:
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan))), plan.blobs) == plan


@given(CHANGES)
def test_the_inverse_of_the_inverse_of_a_change_is_the_change(change: Change) -> None:
    assert inverse(inverse(change)) == change


@given(PLANS)
def test_undoing_an_undo_makes_the_same_changes_behind_the_same_gates_in_the_same_order(plan: Plan) -> None:
    again = inverse_plan(inverse_plan(plan, "1", ""), "2", "")
    assert [(each.change, each.gate, each.undo_gate) for each in again.steps] == [
        (each.change, each.gate, each.undo_gate) for each in plan.steps
    ]


def test_an_undo_begins_with_the_newest_step_and_names_what_it_undoes() -> None:
    plan = Plan(
        "enable", "", (Step("first", FolderChange("/a", 0o755)), Step("last", FolderChange("/b", 0o755)))
    )
    undo = inverse_plan(plan, "20260601-1", "undo it")
    assert [step.title for step in undo.steps] == ["undo: last", "undo: first"]
    assert undo.undoes == "20260601-1"


def test_what_an_undo_waits_for_is_the_undo_gate_of_the_step() -> None:
    gate, undo_gate = Gate((), 1.0), Gate((), 2.0)
    plan = Plan("enable", "", (Step("one", FolderChange("/a", 0o755), gate, undo_gate),))
    assert inverse_plan(plan, "1", "").steps[0].gate is undo_gate


def test_the_undo_of_a_new_file_is_no_file() -> None:
    after = stamp(b"x", 0o600, 0, 0)
    assert inverse(FileChange("/a", None, after)) == FileChange("/a", after, None)


def test_the_undo_of_a_new_folder_removes_it() -> None:
    assert inverse(FolderChange("/a", 0o755)) == FolderChange("/a", 0o755, create=False)


ONE, OTHER = ObjectState("b1", "created:x"), ObjectState("b2", "h2", whole=True)


def test_the_undo_of_an_object_is_its_other_side_and_takes_over_what_the_change_did() -> None:
    change = ObjectChange("https://s", "/api/v1/x", "X", OTHER, ONE, force=True)
    assert inverse(change) == ObjectChange("https://s", "/api/v1/x", "X", ONE, OTHER, force=True)
    made = ObjectChange("https://s", "/api/v1/x", "X", None, ONE)
    assert inverse(made) == ObjectChange("https://s", "/api/v1/x", "X", ONE, None)


A, B = stamp(b"a", 0o600, 0, 0), stamp(b"b", 0o600, 0, 0)


@pytest.mark.parametrize(
    ("change", "digests"),
    [
        (FileChange("/a", A, B), (A.digest, B.digest)),
        (FileChange("/a", None, B), (B.digest,)),
        (ObjectChange("", "/p", "", OTHER, ONE), ("b2", "b1")),
        (ObjectChange("", "/p", "", ONE, None), ("b1",)),
        (FolderChange("/a", 0o755), ()),
    ],
)
def test_a_change_needs_the_contents_of_both_its_sides(change: Change, digests: tuple[str, ...]) -> None:
    assert digests_of(change) == digests


@pytest.mark.parametrize(
    ("change", "target"),
    [
        (FileChange("/a", None, None), "/a"),
        (FolderChange("/b", 0o755), "/b"),
        (ObjectChange("https://s", "/api/v1/namespaces/x", "Namespace x", None, ONE), "Namespace x"),
    ],
)
def test_a_change_is_called_by_what_it_changes(change: Change, target: str) -> None:
    assert change.target == target


def test_an_object_has_one_way_to_be_written() -> None:
    assert canonical({"b": [1, None], "a": "é"}) == canonical({"a": "é", "b": [1, None]})
    assert canonical({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'.encode()


OLD_GATE = {
    "deadline": 120.0,
    "steady": 2.0,
    "conditions": [{"check": "apiserver-ready", "arguments": {"port": 6443}}],
}
OLD_JOURNAL: dict[str, Any] = {
    "command": "enable",
    "title": "switch the layer on",
    "undoes": "",
    "keep": ["/ca.key"],
    "steps": [
        {
            "title": "one",
            "change": {"folder": "/a", "mode": 0o755, "create": True},
            "gate": None,
            "undoGate": None,
        },
        {
            "title": "two",
            "change": {
                "file": "/a/b",
                "before": None,
                "after": {"digest": "d", "mode": 384, "uid": 0, "gid": 0},
            },
            "gate": OLD_GATE,
            "undoGate": OLD_GATE,
        },
    ],
}
"""A plan as journals held it before objects could be changed and gates could watch."""


def test_a_journal_of_an_earlier_version_is_still_read() -> None:
    gate = Gate((Condition("apiserver-ready", (("port", 6443),)),), 120.0, 2.0, "kube-apiserver", "", ())
    assert plan_from_json(OLD_JOURNAL, {}) == Plan(
        "enable",
        "switch the layer on",
        (
            Step("one", FolderChange("/a", 0o755), needs=None),
            Step("two", FileChange("/a/b", None, Stamp("d", 0o600, 0, 0)), gate, gate, None),
        ),
        keep=("/ca.key",),
    )


@pytest.mark.parametrize(
    "change", [{"object": "/p"}, {"object": "/p", "before": {"odd": 1}, "after": None}, {}]
)
def test_a_change_of_another_shape_is_an_error_that_the_journal_expects(change: dict[str, Any]) -> None:
    step = {"title": "one", "change": change, "gate": None, "undoGate": None}
    with pytest.raises((KeyError, TypeError)):
        plan_from_json(OLD_JOURNAL | {"steps": [step]}, {})


def test_a_stamp_is_sha256_with_mode_and_owner() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert stamp(b"", 0o640, 3, 4) == Stamp(empty, 0o640, 3, 4)


def test_neither_the_json_of_a_plan_nor_its_repr_holds_a_key() -> None:
    client = leaf(CA)
    plan = plan_enable(OFF.see(), Minted(CA, client), Wanted(ca=CA))
    assert client.key in plan.blobs.values()
    secrets = [line for key in (CA.key, client.key) for line in key.decode().splitlines()]
    for shown in (json.dumps(plan_to_json(plan)), repr(plan), repr(Wanted(ca=CA, kept=CA)), repr(client)):
        assert not [line for line in secrets if line in shown]
