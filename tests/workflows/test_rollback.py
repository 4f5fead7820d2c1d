"""`aggctl rollback` and `history`: undo the last change, also with the API down, and nobody else's work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.cases import (
    assert_after,
    assert_before,
    drafts,
    open_records,
    run_enable,
    run_rollback,
)
from support.world import MANIFEST, PKI, Faults, FaultyCalls, World, in_child, killing, make_world, tree

from aggctl.errors import Refused
from aggctl.workflows.rollback import history, rollback

if TYPE_CHECKING:
    from pathlib import Path

    from aggctl.core.report import Report


def again(world: World) -> World:
    return World(world.folder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "node", "off")


def outcomes(world: World) -> list[str]:
    return [change.action for change in history(world.ports()).changes]


def test_with_no_change_on_record_there_is_nothing_to_undo(world: World) -> None:
    everything = tree(world.root)
    result = run_rollback(world)
    assert (result.outcome, result.status) == ("unchanged", 0)
    assert tree(world.root) == everything


def test_the_last_change_is_undone_byte_for_byte(world: World) -> None:
    before = world.tree()
    run_enable(world)
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


def test_a_second_rollback_has_nothing_to_undo(world: World) -> None:
    before = world.tree()
    run_enable(world)
    run_rollback(again(world))
    assert run_rollback(again(world)).outcome == "unchanged"
    assert_before(world, before)


def test_a_dry_run_shows_the_undo_and_makes_none(world: World) -> None:
    run_enable(world)
    everything = tree(world.root)
    result = run_rollback(again(world), dry_run=True)
    assert (result.outcome, len(result.document["changes"])) == ("planned", 5)
    assert tree(world.root) == everything


def test_an_interrupt_at_the_prompt_undoes_nothing(world: World) -> None:
    def interrupt(_: Report) -> bool:
        raise KeyboardInterrupt

    run_enable(world)
    everything = tree(world.root)
    with pytest.raises(KeyboardInterrupt):
        rollback(again(world).ports(), interrupt, dry_run=False, force=False)
    assert tree(world.root) == everything


def test_history_tells_newest_first(world: World) -> None:
    world.faults = Faults("never-publishes")
    run_enable(world)
    run_enable(again(world))
    run_rollback(again(world))
    run_enable(again(world), wait=False)
    assert outcomes(world) == ["open", "applied", "applied", "rolled-back"]
    commands = [change.detail.split()[0] for change in history(world.ports()).changes]
    assert commands == ["enable", "rollback", "enable", "enable"]


def test_the_order_holds_past_ten_changes_in_one_second_and_a_clock_that_was_set_back(world: World) -> None:
    before = world.tree()
    world.clock.passed = 200.0  # less than certificates are dated back by
    run_enable(world)
    for _ in range(6):
        assert run_rollback(again(world)).outcome == "applied"
        assert_before(world, before)
        assert run_enable(again(world)).outcome == "applied"
        assert_after(world, "off", before)
    details = [change.detail.split()[0] for change in history(world.ports()).changes]
    assert details == ["enable", "rollback"] * 5


def test_failed_tries_never_push_out_the_change_that_is_in_force(tmp_path: Path) -> None:
    world = make_world(tmp_path / "node", "leafless")
    before = world.tree()
    run_enable(world, "leafless")
    applied = world.tree()
    for _ in range(12):
        world = again(world)
        world.faults = Faults("never-comes-back")
        assert run_enable(world, "leafless", routing="off", routing_asked=True).outcome == "rolled-back"
        assert world.tree() == applied
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


# --- the API ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["never-comes-back", "silent"])
def test_a_change_is_undone_with_the_api_down(world: World, gate: str) -> None:
    before = world.tree()
    run_enable(world)
    world = again(world)
    world.faults = Faults(gate, for_good=True)
    world.path(MANIFEST).chmod(0o600)
    down_since(world)
    result = run_rollback(world)
    assert result.outcome == "applied"
    assert "not waited for" in result.summary
    assert_before(world, before)


def down_since(world: World) -> None:
    """Let the model notice a change, from which on its fault holds."""
    world._generation = 2


def test_an_interrupted_change_is_put_back_with_the_api_down_and_stays_open_until_it_is_up(
    world: World,
) -> None:
    before = world.tree()
    run_enable(world, wait=False)
    world = again(world)
    world.faults = Faults("silent", for_good=True)
    result = run_rollback(world)
    assert (result.outcome, result.status) == ("rollback-incomplete", 4)
    assert_before(world, before)
    assert run_rollback(again(world)).outcome == "applied"
    assert open_records(world) == []


def test_apis_that_are_served_through_the_layer_are_named_and_the_undo_refused(world: World) -> None:
    before = world.tree()
    run_enable(world)
    world = again(world)
    world.faults = Faults(served=("v1beta1.custom.metrics.k8s.io",))
    result = run_rollback(world)
    assert (result.outcome, result.codes) == ("refused", ["rollback-breaks-apis"])
    assert "v1beta1.custom.metrics.k8s.io" in result.text
    assert_after(world, "off", before)
    assert run_rollback(world, force=True).outcome == "applied"
    assert_before(world, before)


def test_a_rollback_whose_gate_does_not_open_leaves_the_layer_on(world: World) -> None:
    before = world.tree()
    run_enable(world)
    world = again(world)
    world.faults = Faults("never-comes-back")
    result = run_rollback(world)
    assert (result.outcome, result.status) == ("rolled-back", 1)
    assert_after(world, "off", before)


# --- somebody else's work ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [MANIFEST, f"{PKI}/front-proxy-client.crt"])
def test_what_was_changed_since_is_refused_and_left_alone(world: World, path: str) -> None:
    run_enable(world)
    with world.path(path).open("ab") as file:
        file.write(b"# by hand\n")
    everything = tree(world.root)
    result = run_rollback(again(world))
    assert (result.outcome, result.codes) == ("refused", ["changed-since"])
    assert tree(world.root) == everything


def test_a_damaged_backup_is_refused_before_anything_is_touched(world: World) -> None:
    before = world.path(MANIFEST).read_bytes()
    run_enable(world)
    for blob in world.path("/var/lib/aggctl/history").rglob("blobs/*"):
        if blob.read_bytes() == before:
            blob.write_bytes(b"rot")
    everything = world.tree()
    result = run_rollback(again(world))
    assert (result.outcome, result.codes) == ("refused", ["backup-not-usable"])
    assert world.tree() == everything


def test_a_damaged_backup_of_what_is_on_disk_anyway_does_no_harm(world: World) -> None:
    before = world.tree()
    run_enable(world)
    now = world.path(MANIFEST).read_bytes()
    for blob in world.path("/var/lib/aggctl/history").rglob("blobs/*"):
        if blob.read_bytes() == now:
            blob.write_bytes(b"rot")
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


# --- interrupted ------------------------------------------------------------------------------------------


def test_a_rollback_holds_the_contents_for_both_directions(world: World) -> None:
    """A rollback that is killed half-way is put back from its own record alone."""
    before = world.tree()
    run_enable(world)
    dying = World(world.folder, FaultyCalls(killing(55)))
    assert in_child(lambda: run_rollback(dying))
    (record,) = open_records(world)
    folder = world.path(f"/var/lib/aggctl/open/{record}")
    steps = json.loads((folder / "plan.json").read_text())["plan"]["steps"]
    stamps = [step["change"][side] for step in steps for side in ("before", "after")]
    assert {path.name for path in (folder / "blobs").iterdir()} == {each["digest"] for each in stamps if each}
    assert run_rollback(again(world)).outcome == "applied"
    assert_after(world, "off", before)


def test_another_aggctl_that_ended_the_change_meanwhile_is_noticed(world: World) -> None:
    before = world.tree()
    run_enable(world, wait=False)

    def meanwhile(_: Report) -> bool:
        return run_enable(again(world)).outcome == "unchanged"  # closes it as applied

    with pytest.raises(Refused, match="ended that change meanwhile"):
        rollback(again(world).ports(), meanwhile, dry_run=False, force=False)
    assert_after(world, "off", before)
    assert drafts(world) == []


def test_another_aggctl_that_undid_the_change_meanwhile_is_noticed(world: World) -> None:
    before = world.tree()
    run_enable(world)

    def meanwhile(_: Report) -> bool:
        return run_rollback(again(world)).outcome == "applied"

    with pytest.raises(Refused, match="meanwhile"):
        rollback(again(world).ports(), meanwhile, dry_run=False, force=False)
    assert_before(world, before)


def test_a_folder_that_an_earlier_rollback_removed_already_holds_nobody_up(tmp_path: Path) -> None:
    world = make_world(tmp_path / "node", "unmounted")
    before = world.tree()
    run_enable(world, "unmounted", wait=False)
    dying = World(world.folder, FaultyCalls(lambda name, *_: die_at_close(name, dying)))
    assert in_child(lambda: run_rollback(dying))
    assert not world.path("/etc/kubernetes/front-proxy").exists()
    assert len(open_records(world)) == 1
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


def die_at_close(name: str, world: World) -> None:
    if name == "rename" and not world.path("/etc/kubernetes/front-proxy").exists():
        killing(1)("rename", 1, 1)
