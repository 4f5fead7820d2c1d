"""The control-plane lock of a node whose time is a model's: who waits, who goes on, who never takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.cases import run_dry, run_enable, run_rollback
from support.world import Faults, World, make_world

from aggctl.core.lease import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = "node-2_enable_boot-9.1.1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "node", "off")


def again(world: World) -> World:
    return World(world.folder)


def lease(world: World) -> dict[str, Any] | None:
    path = world.folder / "lease.json"
    found: dict[str, Any] | None = json.loads(path.read_bytes()) if path.exists() else None
    return found


def held_by_another(world: World, number: int = 1, seconds: int = SECONDS) -> None:
    """The Lease as the other node wrote it the so-manieth time."""
    spec = {"holderIdentity": OTHER, "leaseDurationSeconds": seconds, "renewTime": str(number)}
    metadata = {"name": "aggctl-control-plane", "uid": "two", "resourceVersion": str(number)}
    (world.folder / "lease.json").write_text(json.dumps({"metadata": metadata, "spec": spec}))


def at_each_pause(world: World, work: Callable[[int], None]) -> None:
    count = iter(range(2, 10_000))
    world.clock.on_pause.append(lambda: work(next(count)))


# --- who takes it -----------------------------------------------------------------------------------------


def test_it_is_held_while_kube_apiserver_restarts_and_gone_afterwards(world: World) -> None:
    holders: set[str] = set()
    at_each_pause(
        world, lambda _: holders.add(str((lease(world) or {"spec": {}})["spec"].get("holderIdentity")))
    )
    assert run_enable(world).outcome == "applied"
    (holder,) = holders
    assert "_enable_" in holder
    assert lease(world) is None


def test_an_undo_that_restarts_holds_it_too(world: World) -> None:
    run_enable(world)
    undoing = again(world)
    held_by_another(undoing)
    began = undoing.clock.monotonic()
    assert run_rollback(undoing).outcome == "applied"
    assert undoing.clock.monotonic() - began > SECONDS
    assert lease(world) is None


@pytest.mark.parametrize("held", [True, False], ids=["held by another", "free"])
def test_who_changes_nothing_neither_takes_it_nor_waits_for_it(world: World, *, held: bool) -> None:
    """A dry run, a second run, and one that changes files which kube-apiserver reads again by itself."""
    run_enable(world)
    node = again(world)
    if held:
        held_by_another(node)
    before = lease(node)
    assert run_enable(node).outcome == "unchanged"
    assert run_dry(make_world(world.folder / "off", "off")).outcome == "planned"
    assert run_rollback(node, dry_run=True).outcome == "planned"
    assert lease(node) == before
    assert node.clock.monotonic() == 0.0


def test_new_files_without_a_restart_need_no_turn(tmp_path: Path) -> None:
    world = make_world(tmp_path / "node", "expired")
    held_by_another(world)
    assert run_enable(world, "expired").outcome == "applied"
    assert world.clock.monotonic() < SECONDS
    assert lease(world)


def test_without_waiting_for_the_restart_it_stays_until_it_expires(world: World) -> None:
    result = run_enable(world, wait=False)
    assert result.outcome == "applied"
    assert "left to expire" in result.summary
    assert lease(world)


# --- another holder ---------------------------------------------------------------------------------------


def test_a_holder_that_does_not_renew_is_passed_over_when_its_lease_is_up(world: World) -> None:
    held_by_another(world, seconds=30)
    assert run_enable(world).outcome == "applied"
    assert 30 < world.clock.monotonic() < SECONDS


def test_a_holder_that_renews_is_waited_for_and_then_refused_with_nothing_changed(world: World) -> None:
    held_by_another(world, seconds=30)
    before = world.tree()
    at_each_pause(world, lambda number: held_by_another(world, number, seconds=30))
    result = run_enable(world, deadline=60.0)
    assert (result.outcome, result.status, result.codes) == ("refused", 3, ["control-plane-busy"])
    assert "aggctl enable on node-2" in result.text
    assert world.tree() == before
    assert (lease(world) or {})["spec"]["holderIdentity"] == OTHER
    assert world.clock.monotonic() >= 60.0


def test_what_was_planned_before_the_wait_is_refused_where_the_node_is_another_now(world: World) -> None:
    """Not only left alone when it is met half-way: nothing is begun."""
    held_by_another(world, seconds=30)
    before = world.tree()
    theirs = world.path("/etc/kubernetes/manifests/kube-apiserver.yaml")

    def changed(number: int) -> None:
        if number == 2:
            theirs.write_bytes(theirs.read_bytes() + b"# theirs\n")

    at_each_pause(world, changed)
    result = run_enable(world)
    assert (result.outcome, result.status, result.codes) == ("refused", 3, ["changed-meanwhile"])
    assert set(world.tree()) == set(before)
    assert lease(world) is None


def test_a_lock_that_is_lost_does_not_break_the_work_off_and_is_said(world: World) -> None:
    at_each_pause(world, lambda number: held_by_another(world, number))
    result = run_enable(world)
    assert (result.outcome, result.status) == ("applied", 0)
    assert result.codes == ["control-plane-lock-lost"]
    assert (lease(world) or {})["spec"]["holderIdentity"] == OTHER


# --- an API that is down ----------------------------------------------------------------------------------


def test_an_undo_with_the_api_down_goes_on_and_says_that_it_holds_no_lock(world: World) -> None:
    run_enable(world)
    down = again(world)
    down.faults = Faults("silent", for_good=True)
    down.path("/etc/kubernetes/manifests/kube-apiserver.yaml").touch()
    down._generation, down._text = 2, b"another"
    result = run_rollback(down)
    assert (result.outcome, result.status) == ("applied", 0)
    assert "lock was not taken" in result.summary
