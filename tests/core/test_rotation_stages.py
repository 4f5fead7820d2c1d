"""Trust is never lost: nodes replace their CA side by side, are killed anywhere, and end all the same."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.rotating import (
    ASKING,
    ENDPOINTS,
    GATES,
    LATE,
    NEW,
    OTHERS,
    PROOF,
    TrustLostError,
    rotate,
    world_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.rotating import Host, Run, World

ROUNDS = 12
"""Runs on every node that are surely enough: each stage waits for the others once."""

PAUSES = 100
"""No run pauses so often where everybody keeps up."""

node = st.integers(0, 2)


def runs_to_its_end(world: World, host: Host) -> None:
    """A run that nobody disturbs, in a cluster where nobody is late; trust is looked at all the time."""
    run = rotate(world, host)
    for _ in range(PAUSES):
        world.everything_happens()
        world.check_trust()
        if next(run, "ended") == "ended":
            return
    raise AssertionError(f"the run on {host.server} does not end")


def finished(world: World) -> bool:
    record = world.noted()
    return bool(record and record.finished)


def end_all(world: World) -> None:
    """Run it on one node after the other until the record says that it ended."""
    for host, _ in zip(cycle(world.hosts), range(ROUNDS * len(world.hosts)), strict=False):
        if finished(world):
            return
        runs_to_its_end(world, host)


def assert_new_alone(world: World) -> None:
    """Files, kube-apiservers, what is published, extension servers: nobody knows the old CA any more."""
    for host in world.hosts:
        layer = world.layer(host)
        assert layer.files.signs
        assert host.pair_matches()
        assert (layer.files.authorities, host.trusts, host.shows) == ((NEW,), (NEW,), host.on_disk())
    assert world.published == (NEW,)
    assert set(world.follows.values()) == {(NEW,)}


class Rotation(RuleBasedStateMachine):
    """Everything that can happen, in any order, at any pause of any run."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world_of(1)
        self.running: dict[str, Run] = {}

    @initialize(nodes=st.integers(1, 3), before=st.lists(node, max_size=5))
    def begin(self, nodes: int, before: list[int]) -> None:
        """Some stages are behind us already."""
        self.world = world_of(nodes)
        for number in before:
            runs_to_its_end(self.world, self.host(number))

    def host(self, number: int) -> Host:
        return self.world.hosts[number % len(self.world.hosts)]

    def go_on(self, host: Host, *, time_is_up: bool = False) -> None:
        run = self.running.get(host.server)
        try:
            if run is None:
                run = self.running[host.server] = rotate(self.world, host)
                next(run)
            else:
                run.send(time_is_up)
        except StopIteration:
            del self.running[host.server]

    @rule(number=node, pauses=st.integers(1, 12))
    def runs(self, number: int, pauses: int) -> None:
        for _ in range(pauses):
            self.go_on(self.host(number))
            self.world.check_trust()

    @rule(number=node, pauses=st.integers(1, 12), late=st.sampled_from(LATE))
    def runs_while_time_goes_by(self, number: int, pauses: int, late: str) -> None:
        for _ in range(pauses):
            self.go_on(self.host(number))
            self.world.everything_happens(late)
            self.world.check_trust()

    @rule(number=node)
    def time_is_up(self, number: int) -> None:
        if self.host(number).server in self.running:
            self.go_on(self.host(number), time_is_up=True)

    @rule(number=node)
    def is_killed(self, number: int) -> None:
        self.running.pop(self.host(number).server, None)

    @rule(number=node)
    def reads_authorities(self, number: int) -> None:
        self.host(number).reads_authorities()

    @rule(number=node)
    def reads_leaf(self, number: int) -> None:
        self.host(number).reads_leaf()

    @rule(number=node)
    def publishes(self, number: int) -> None:
        self.world.publishes(self.host(number))

    @rule(endpoint=st.sampled_from(ENDPOINTS))
    def follows(self, endpoint: str) -> None:
        self.world.followed(endpoint)

    @rule()
    def everything_happens(self) -> None:
        self.world.everything_happens()

    @invariant()
    def trust_is_never_lost(self) -> None:
        self.world.check_trust()

    def teardown(self) -> None:
        """From wherever it is, running it again on every node ends it."""
        self.running.clear()
        end_all(self.world)
        assert finished(self.world)
        assert_new_alone(self.world)


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- without chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_run_on_each_node_in_turn_it_ends_with_the_new_ca_alone(nodes: int) -> None:
    world = world_of(nodes)
    end_all(world)
    assert finished(world)
    assert_new_alone(world)


def goes_on_for(world: World, run: Run, pauses: int) -> bool:
    """Let nobody be late for so many pauses; whether it is still running then."""
    for _ in range(pauses):
        if next(run, "ended") == "ended":
            return False
        world.everything_happens()
        world.check_trust()
    return True


def is_killed(world: World, run: Run) -> None:  # noqa: ARG001 -- as the other way to end it
    run.close()


def is_stopped(world: World, run: Run) -> None:
    """It is told that its time is up, and puts back what it has begun."""
    next(run, "ended")
    while True:
        try:
            run.send(True)
        except StopIteration:
            return
        world.everything_happens()
        world.check_trust()


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("ends", [is_killed, is_stopped])
def test_at_whatever_pause_of_any_stage_it_ends_the_next_runs_finish(
    nodes: int, ends: Callable[[World, Run], None]
) -> None:
    """The pauses of all runs, on one node after the other, are counted through."""
    cut, over = 0, False
    while not over:
        world, left = world_of(nodes), cut
        for host in cycle(world.hosts):
            run = rotate(world, host)
            while left and goes_on_for(world, run, 1):
                left -= 1
            if not left:
                ends(world, run)
                break
            over = finished(world)
            if over:
                break
        end_all(world)
        assert_new_alone(world)
        cut += 1
    assert cut > 20 * nodes


# --- it can fail ------------------------------------------------------------------------------------------


def goes_on(world: World, run: Run, late: str) -> None:
    for _ in range(PAUSES):
        next(run, "ended")
        world.everything_happens(late)
        world.check_trust()


def killed_before_its_leaf_is_read(world: World) -> Run:
    """Killed when the new leaf is on disk, and run again."""
    host = world.hosts[0]
    run = rotate(world, host)
    while host.on_disk() == host.shows:
        next(run)
        world.everything_happens("leaves")
    return rotate(world, host)


def once_the_other_trusts_both(world: World) -> Run:
    """The other node is as far as that, and shows its old leaf."""
    first, second = world.hosts
    run = rotate(world, second)
    while not (record := world.noted()) or record.stage(second.server) == "old":
        next(run)
        world.everything_happens()
    run.close()
    return rotate(world, first)


def alone(world: World) -> Run:
    return rotate(world, world.hosts[0])


SCHEDULES = pytest.mark.parametrize(
    ("lacking", "nodes", "start", "late"),
    [
        (OTHERS, 2, once_the_other_trusts_both, "nobody"),
        (ASKING, 1, alone, "endpoints"),
        (GATES, 1, alone, "leaves"),
        (PROOF, 1, killed_before_its_leaf_is_read, "leaves"),
    ],
    ids=["others", "asking", "gates", "proof"],
)


@SCHEDULES
def test_each_precaution_is_what_keeps_trust(
    lacking: str, nodes: int, start: Callable[[World], Run], late: str
) -> None:
    """With it the run waits; the same run without it costs trust."""
    careful, careless = world_of(nodes), world_of(nodes, lacking)
    goes_on(careful, start(careful), late)
    assert not finished(careful)
    with pytest.raises(TrustLostError):
        goes_on(careless, start(careless), late)
