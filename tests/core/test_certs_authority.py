"""Replacing the front-proxy CA, decided: the stage of a node, what is in the way, the plan of each stage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import (
    CA,
    NOW,
    ON,
    OTHER_CA,
    PKI,
    SERVER,
    Scene,
    authority,
    certificate,
    codes,
    leaf,
)

from aggctl.core.certs.authority import (
    Identities,
    NextCa,
    ca_problems,
    next_name,
    plan_retire,
    plan_switch,
    plan_trust,
    pruned,
    stage_of,
)
from aggctl.core.certs.layer import Layer, see_layer
from aggctl.core.certs.record import Record
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.plan import FileChange
from aggctl.core.questions import QueueSeen, UnavailableApis

if TYPE_CHECKING:
    from aggctl.core.pki import KeyPair
    from aggctl.core.plan import Gate, Plan

NEW_CA = authority("front-proxy-ca-20260601", days=0)
OLD, NEW = certificate(CA), certificate(NEW_CA)
NEXT = NextCa(NEW_CA, NEW)
NEW_LEAF = leaf(NEW_CA)
IDENTITIES = Identities("new-leaf", "old-leaf")
CA_FILE, CA_KEY, LEAF_FILE, LEAF_KEY = (
    f"{PKI}/{name}"
    for name in (
        "front-proxy-ca.crt",
        "front-proxy-ca.key",
        "front-proxy-client.crt",
        "front-proxy-client.key",
    )
)
RECORD = Record(NEW.fingerprint, (OLD.fingerprint,), NOW)
THINGS = "v1.things.example"


def layer_of(scene: Scene = ON, *, available: bool = True) -> Layer:
    seen = scene.answering({UnavailableApis(SERVER): {THINGS: not available}})
    return seen.ask(lambda snapshot: see_layer(snapshot, NOW))


def holding(*authorities: KeyPair, shows: KeyPair | None = None, signs: KeyPair | None = None) -> Scene:
    """A node with these CAs in its file, a leaf, and the key of a CA: those of the first one if not said."""
    first, shown = authorities[0], shows or leaf(authorities[0])
    scene = ON.file("front-proxy-ca.crt", b"".join(each.certificate for each in authorities))
    return scene.file("front-proxy-ca.key", (signs or first).key).pair("front-proxy-client", shown)


def with_api() -> Scene:
    """v1.things.example is registered."""
    return cluster(service()).object(API_SERVICES, {"items": [api_service()]})


def files(plan: Plan) -> list[tuple[str, bytes]]:
    """What the plan writes, in its order."""
    changes = [step.change for step in plan.steps if isinstance(step.change, FileChange)]
    return [(each.path, plan.blobs[each.after.digest]) for each in changes if each.after]


def conditions(gate: Gate | None) -> list[tuple[str, dict[str, Any]]]:
    return [(each.check, dict(each.arguments)) for each in gate.conditions] if gate else []


# --- the new CA's name ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ((CA,), "front-proxy-ca-20260601"),
        ((), "front-proxy-ca-20260601"),
        ((CA, NEW_CA), "front-proxy-ca-20260601120000"),
    ],
    ids=["the first of the day", "no CA yet", "the second of the day"],
)
def test_a_new_ca_has_a_name_that_none_here_has(taken: tuple[KeyPair, ...], name: str) -> None:
    assert next_name(tuple(map(certificate, taken)), NOW) == name


# --- the stage of a node ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "stage"),
    [
        (ON, "old"),
        (holding(CA, NEW_CA), "trusted"),
        (holding(NEW_CA, CA, shows=leaf(CA)), "trusted"),
        (holding(NEW_CA, CA, signs=CA, shows=leaf(CA)), "trusted"),
        (holding(CA, NEW_CA).file("front-proxy-client.crt", None), "trusted"),
        (holding(NEW_CA, CA), "switched"),
        (holding(CA, NEW_CA, shows=NEW_LEAF), "switched"),
        (holding(NEW_CA, OTHER_CA), "switched"),
        (holding(NEW_CA, NEW_CA), "switched"),
        (holding(NEW_CA), "retired"),
        (holding(NEW_CA, shows=leaf(CA)), "trusted"),
        (holding(OTHER_CA), "old"),
    ],
    ids=[
        "the old CA alone",
        "both, the old leaf",
        "both, in the new order, the old leaf yet",
        "only the file of CAs was switched",
        "both, no leaf",
        "both, the new leaf",
        "both, in the old order, the new leaf",
        "the new one with one of somebody else",
        "the new one twice",
        "the new CA alone",
        "the new CA alone, the old leaf",
        "another CA",
    ],
)
def test_the_files_tell_how_far_a_node_is(scene: Scene, stage: str) -> None:
    assert stage_of(layer_of(scene), NEW.fingerprint) == stage


# --- what is in the way -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "record", "found"),
    [
        (ON, None, []),
        (ON.file("front-proxy-ca.key", None), None, ["front-proxy-ca-external"]),
        (ON.file("front-proxy-client.crt", None), None, ["client-certificate-missing"]),
        (ON.file("front-proxy-client.key", None), None, ["client-certificate-missing"]),
        (holding(CA, signs=OTHER_CA), None, ["front-proxy-ca-external"]),
        (ON.publishing(CA, OTHER_CA), None, ["another-ca-published"]),
        (ON.publishing(CA, NEW_CA), None, ["another-ca-published"]),
        (ON.publishing(CA, NEW_CA), RECORD, []),
        (holding(NEW_CA).publishing(CA, NEW_CA), RECORD, []),
        (holding(NEW_CA).publishing(CA, NEW_CA), None, ["another-ca-published"]),
        (ON.publishing(CA, NEW_CA, OTHER_CA), RECORD, ["another-ca-published"]),
    ],
    ids=[
        "nothing",
        "the CA's key is elsewhere",
        "no leaf",
        "no key of the leaf",
        "the key is of another CA",
        "two CAs, nobody rotates",
        "a new one, and nothing says that it is",
        "the new one of the rotation",
        "the old one of the rotation, to be pruned",
        "one left over, and nothing says of what",
        "a third one during a rotation",
    ],
)
def test_a_rotation_is_refused_where_nobody_could_end_it(
    scene: Scene, record: Record | None, found: list[str]
) -> None:
    assert codes(ca_problems(layer_of(scene), record)) == found


def test_what_is_wrong_with_the_layer_is_said_first() -> None:
    layer = layer_of(with_api().file("front-proxy-ca.key", None), available=False)
    assert codes(ca_problems(layer, None)) == ["api-not-available", "front-proxy-ca-external"]


def test_a_ca_of_nobody_is_named() -> None:
    (found,) = ca_problems(layer_of(ON.publishing(CA, OTHER_CA)), None)
    other = certificate(OTHER_CA)
    assert (other.common_name in found.message, other.fingerprint[:12] in found.message) == (True, True)


# --- the plans --------------------------------------------------------------------------------------------

BEFORE = QueueSeen(adds=7.0, depth=0.0)
TRUST = plan_trust(layer_of(), NEXT, IDENTITIES, 60.0)
SWITCH = plan_switch(layer_of(holding(CA, NEW_CA)), NEXT, NEW_LEAF, BEFORE, 60.0)
RETIRE = plan_retire(layer_of(holding(NEW_CA, CA)), NEXT, IDENTITIES, 60.0)


def test_at_first_the_new_ca_is_added_behind_the_one_whose_key_signs() -> None:
    assert files(TRUST) == [(CA_FILE, CA.certificate + NEW_CA.certificate)]


def test_a_ca_of_somebody_else_stays_trusted_meanwhile() -> None:
    layer = layer_of(holding(CA, OTHER_CA))
    (written,) = files(plan_trust(layer, NEXT, IDENTITIES, 60.0))
    assert written == (CA_FILE, CA.certificate + OTHER_CA.certificate + NEW_CA.certificate)


def test_the_switch_puts_keys_before_the_certificate_and_the_new_ca_first() -> None:
    assert files(SWITCH) == [
        (CA_FILE, NEW_CA.certificate + CA.certificate),
        (CA_KEY, NEW_CA.key),
        (LEAF_KEY, NEW_LEAF.key),
        (LEAF_FILE, NEW_LEAF.certificate),
    ]


def test_at_last_the_new_ca_is_alone() -> None:
    assert files(RETIRE) == [(CA_FILE, NEW_CA.certificate)]


@pytest.mark.parametrize("plan", [TRUST, SWITCH, RETIRE], ids=["trust", "switch", "retire"])
def test_every_file_keeps_mode_and_owner_and_is_compared_first(plan: Plan) -> None:
    for step in plan.steps:
        assert isinstance(step.change, FileChange)
        before, after = step.change.before, step.change.after
        assert before
        assert after
        assert (after.mode, after.uid, after.gid) == (before.mode, before.uid, before.gid)
        assert after.digest != before.digest


@pytest.mark.parametrize("plan", [TRUST, SWITCH, RETIRE], ids=["trust", "switch", "retire"])
def test_only_the_last_file_waits_and_a_later_rollback_passes_over_it(plan: Plan) -> None:
    assert [bool(step.gate) for step in plan.steps] == [False] * (len(plan.steps) - 1) + [True]
    assert plan.lasting


@pytest.mark.parametrize("plan", [TRUST, SWITCH, RETIRE], ids=["trust", "switch", "retire"])
def test_undo_asks_for_the_old_pair_once_all_of_it_is_back(plan: Plan) -> None:
    """Newest first: before the first step is undone, key and certificate on disk are of two pairs."""
    first, *others = plan.steps
    back = {"server": SERVER, "certificate": LEAF_FILE, "key": LEAF_KEY}
    assert conditions(first.undo_gate) == [("identity-accepted", back)]
    assert [each.undo_gate for each in others] == [None] * len(others)


def test_trust_waits_until_the_new_ca_is_published_and_trusted_here() -> None:
    gate = TRUST.steps[-1].gate
    assert conditions(gate) == [
        ("authority-published", {"server": SERVER, "fingerprint": NEW.fingerprint}),
        ("identity-taken", {"server": SERVER, "identity": "new-leaf"}),
    ]
    assert gate
    assert gate.deadline == 60.0


def test_the_switch_waits_until_the_new_leaf_is_in_use() -> None:
    """By the counter as it was before, over all APIs that there are; each of them answers."""
    layer = layer_of(with_api())
    both = replace(layer, files=layer_of(holding(CA, NEW_CA)).files)
    gate = plan_switch(both, NEXT, NEW_LEAF, BEFORE, 60.0).steps[-1].gate
    assert conditions(gate) == [
        ("identity-accepted", {"server": SERVER, "certificate": LEAF_FILE, "key": LEAF_KEY}),
        ("client-certificate-loaded", {"server": SERVER, "adds": 7.0, "apis": 1}),
        ("api-answers", {"group": "things.example", "version": "v1", "server": SERVER}),
        ("api-available-here", {"name": THINGS, "server": SERVER}),
    ]


def test_retire_waits_until_the_old_ca_is_refused_and_the_new_one_is_not() -> None:
    assert conditions(RETIRE.steps[-1].gate) == [
        ("identity-refused", {"server": SERVER, "identity": "old-leaf"}),
        ("identity-taken", {"server": SERVER, "identity": "new-leaf"}),
    ]


@pytest.mark.parametrize("plan", [TRUST, SWITCH, RETIRE], ids=["trust", "switch", "retire"])
def test_no_plan_shows_a_key(plan: Plan) -> None:
    assert "PRIVATE KEY" not in repr(plan)


# --- what is published at the end -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "left"),
    [((CA, NEW_CA), (NEW_CA,)), ((NEW_CA, CA, OTHER_CA), (NEW_CA, OTHER_CA)), ((NEW_CA,), (NEW_CA,))],
    ids=["both", "one of somebody else, too", "the new one alone"],
)
def test_only_the_old_cas_of_the_rotation_are_pruned(
    published: tuple[KeyPair, ...], left: tuple[KeyPair, ...]
) -> None:
    wanted = b"".join(each.certificate for each in left).decode()
    assert pruned(tuple(map(certificate, published)), RECORD) == wanted
