"""The record of a CA rotation in the cluster: who is how far, and what several writers make of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshots import NOW

from aggctl.core.certs.record import (
    PATH,
    STAGES,
    Record,
    behind,
    from_object,
    is_past,
    joined,
    to_object,
)

FIRST, SECOND, THIRD = (f"https://10.0.0.{number}:6443" for number in (11, 12, 13))
LATER = NOW + timedelta(minutes=3)
BEGUN = Record("new", ("old",), NOW, ((FIRST, "old"), (SECOND, "old")))

moments = st.none() | st.integers(0, 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds))
records = st.builds(
    Record,
    ca=st.text("0123456789abcdef", min_size=1),
    old=st.lists(st.text("0123456789abcdef", min_size=1), max_size=3).map(tuple),
    started=st.just(NOW),
    nodes=st.dictionaries(st.sampled_from([FIRST, SECOND, THIRD]), st.sampled_from(STAGES)).map(
        lambda found: tuple(sorted(found.items()))
    ),
    finished=moments,
    switched=moments,
)


# --- stages -----------------------------------------------------------------------------------------------


def test_a_node_that_noted_nothing_is_at_the_beginning() -> None:
    assert BEGUN.stage(THIRD) == "old"


def test_a_noted_stage_leaves_those_of_others() -> None:
    noted = BEGUN.with_stage(SECOND, "trusted", NOW)
    assert noted.nodes == ((FIRST, "old"), (SECOND, "trusted"))


@pytest.mark.parametrize(
    ("stage", "switched"), [("trusted", None), ("switched", LATER), ("retired", None)], ids=str
)
def test_the_soak_counts_from_the_moment_a_leaf_was_switched(stage: str, switched: object) -> None:
    assert BEGUN.with_stage(FIRST, stage, LATER).switched == switched


def test_a_later_stage_keeps_the_moment_of_the_switch() -> None:
    assert replace(BEGUN, switched=NOW).with_stage(FIRST, "retired", LATER).switched == NOW


@pytest.mark.parametrize("wanted", STAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_node_is_past_its_own_stage_and_all_before(stage: str, wanted: str) -> None:
    assert is_past(stage, wanted) == (STAGES.index(wanted) <= STAGES.index(stage))


@pytest.mark.parametrize(
    ("nodes", "servers", "late"),
    [
        ({FIRST: "trusted", SECOND: "switched"}, (FIRST, SECOND), ()),
        ({FIRST: "trusted", SECOND: "old"}, (FIRST, SECOND), (SECOND,)),
        ({FIRST: "trusted"}, (FIRST, THIRD), (THIRD,)),
        ({FIRST: "trusted", SECOND: "old"}, (FIRST,), (SECOND,)),
    ],
    ids=["all are", "one is not", "one never took part", "one does not answer any more"],
)
def test_whoever_answers_or_took_part_has_to_be_as_far(
    nodes: dict[str, str], servers: tuple[str, ...], late: tuple[str, ...]
) -> None:
    record = replace(BEGUN, nodes=tuple(nodes.items()))
    assert behind(record, servers, "trusted") == late


# --- several writers --------------------------------------------------------------------------------------


def test_where_there_is_no_record_ours_is_written() -> None:
    assert joined(BEGUN, None) == BEGUN


def test_that_of_another_rotation_is_replaced() -> None:
    earlier = Record("earlier", (), NOW, ((FIRST, "retired"),), finished=NOW, switched=NOW)
    assert joined(BEGUN, earlier) == BEGUN


def test_what_both_noted_is_kept_ours_for_this_node() -> None:
    ours = Record("new", ("old",), NOW, ((FIRST, "switched"),))
    theirs = Record("new", ("old",), NOW, ((FIRST, "trusted"), (SECOND, "trusted")))
    assert joined(ours, theirs).nodes == ((FIRST, "switched"), (SECOND, "trusted"))


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [(None, None, None), (NOW, None, NOW), (None, NOW, NOW), (NOW, LATER, LATER), (LATER, NOW, LATER)],
    ids=["nobody", "we", "they", "they last", "we last"],
)
def test_the_last_switch_of_all_counts(ours: Any, theirs: Any, kept: Any) -> None:
    assert joined(replace(BEGUN, switched=ours), replace(BEGUN, switched=theirs)).switched == kept


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"), [(None, LATER, LATER), (NOW, LATER, NOW), (NOW, None, NOW)], ids=str
)
def test_what_ended_stays_ended(ours: Any, theirs: Any, kept: Any) -> None:
    assert joined(replace(BEGUN, finished=ours), replace(BEGUN, finished=theirs)).finished == kept


# --- the ConfigMap ----------------------------------------------------------------------------------------


@given(records)
def test_a_record_comes_back_from_the_cluster_as_it_was(record: Record) -> None:
    assert from_object(to_object(record)) == record


def test_its_object_is_where_it_is_looked_for_and_says_whose_it_is() -> None:
    metadata = to_object(BEGUN)["metadata"]
    assert f"/api/v1/namespaces/{metadata['namespace']}/configmaps/{metadata['name']}" == PATH
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "aggctl"}


def test_no_object_is_no_record() -> None:
    assert from_object(None) is None


def without(name: str) -> dict[str, Any]:
    data = to_object(BEGUN)["data"]
    return {"data": {key: value for key, value in data.items() if key != name}}


def changed(**data: Any) -> dict[str, Any]:
    return {"data": to_object(BEGUN)["data"] | data}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "it lacks what a rotation notes ('data')"),
        ({"data": None}, "it lacks what a rotation notes"),
        *((without(name), f"it lacks what a rotation notes ('{name}')") for name in to_object(BEGUN)["data"]),
        (changed(nodes="[]"), "it lacks what a rotation notes"),
        (changed(nodes="no JSON"), "Expecting value"),
        (changed(nodes='{"https://10.0.0.11:6443": "nearly"}'), "it names a stage that there is not"),
        (changed(started="yesterday"), "Invalid isoformat string"),
        (changed(started="2026-06-01T00:00:00"), "a time without a zone"),
        (changed(finished="soon"), "Invalid isoformat string"),
    ],
    ids=[
        "nothing",
        "no data",
        *(f"no {name}" for name in to_object(BEGUN)["data"]),
        "nodes are a list",
        "nodes are no JSON",
        "an unknown stage",
        "no beginning",
        "a beginning without a zone",
        "no end",
    ],
)
def test_what_is_no_record_is_never_taken_for_one(found: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        from_object(found)
