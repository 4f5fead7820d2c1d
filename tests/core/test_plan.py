"""A plan goes through JSON and back, undoes itself, and shows nobody a key."""

from __future__ import annotations

import json

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
    Plan,
    Step,
    digest,
    inverse,
    inverse_plan,
    plan_from_json,
    plan_to_json,
    stamp,
)
from aggctl.core.snapshot import Stamp

WORDS = st.text(max_size=12)
STAMPS = st.none() | st.builds(
    Stamp, st.binary().map(digest), st.integers(0, 0o7777), st.integers(0, 2**31), st.integers(0, 2**31)
)
CHANGES: st.SearchStrategy[Change] = st.builds(FileChange, WORDS, STAMPS, STAMPS) | st.builds(
    FolderChange, WORDS, st.integers(0, 0o7777), st.booleans()
)
ARGUMENTS = st.dictionaries(
    WORDS, st.none() | WORDS | st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=3
).map(lambda found: tuple(found.items()))
SECONDS = st.floats(0, 1e6)
GATES = st.none() | st.builds(
    Gate, st.lists(st.builds(Condition, WORDS, ARGUMENTS), max_size=3).map(tuple), SECONDS, SECONDS
)
STEPS = st.builds(Step, WORDS, CHANGES, GATES, GATES)
PLANS = st.builds(
    Plan,
    command=WORDS,
    title=WORDS,
    steps=st.lists(STEPS, max_size=4).map(tuple),
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
