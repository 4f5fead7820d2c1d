"""The promise: whatever goes wrong, a node is all before or all after, and says which."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cases import (
    KINDS,
    Result,
    assert_after,
    assert_before,
    assert_no_secret_leaks,
    changed_paths,
    drafts,
    lives,
    open_records,
    run_enable,
    run_rollback,
)
from support.world import (
    MANIFEST,
    NAMES,
    PKI,
    Faults,
    FaultyCalls,
    World,
    copy_world,
    failing,
    in_child,
    killing,
    make_world,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.world import Tree

CODES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
GATES = (
    "never-comes-back",
    "flag-refused",
    "crash-loop",
    "never-publishes",
    "identity-refused",
    "silent",
    "kubelet-stopped",
)
kinds = st.sampled_from(KINDS)


def cases(number: int) -> settings:
    """The same cases every time: so many, and no deadline for one."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


class Nodes:
    """Prepared nodes of each kind, copied for each case into memory where there is such a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for kind in KINDS:
            make_world(folder / f"template-{kind}", kind)

    def fresh(self, kind: str) -> tuple[World, Tree]:
        shutil.rmtree(self.folder / "node", ignore_errors=True)
        world = copy_world(self.folder / f"template-{kind}", self.folder / "node")
        return world, world.tree()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 -- a folder of its own is made there
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Nodes(Path(folder))


def again(world: World) -> World:
    """The same node for the next command, nothing wrong with it any more."""
    return World(world.folder)


def settle_up(world: World, kind: str, before: Tree, result: Result, theirs: dict[str, bytes]) -> None:
    """What is owed once a command came to an end by itself."""
    assert_no_secret_leaks(world, result)
    changed = {f"/etc/kubernetes/{path}" for path in changed_paths(before, world.tree())}
    ours = changed - theirs.keys()
    for path, content in theirs.items():
        assert world.path(path).read_bytes() == content, "somebody else's work was touched"
    if result.outcome == "applied":
        assert result.status == 0
        if not theirs:
            assert_after(world, kind, before)
    elif result.outcome == "rollback-incomplete":
        assert result.status == 4
        named = " ".join(each["subject"] + " " + each["message"] for each in result.document["findings"])
        assert [path for path in ours if not is_named(path, named)] == []
        assert open_records(world)
        if not theirs:
            assert lives(world)
            assert run_rollback(again(world)).outcome == "applied"
            assert_before(world, before)
    else:
        assert (result.outcome, result.status) in {("rolled-back", 1), ("rolled-back", 130), ("refused", 3)}
        assert ours == set()
        assert drafts(world) == []
    if not theirs:
        next_try(world, kind, before)


def is_named(path: str, text: str) -> bool:
    """Whether a text names a file, that of a draft, or what is in a folder."""
    file = re.sub(r"/\.([^/]*)\.aggctl-draft-.*", r"/\1", path)
    return file in text or f"{path}/" in text


def next_try(world: World, kind: str, before: Tree) -> None:
    """Without the fault the layer can be switched on, or what is open be put back and then switched on.

    And it never takes a second front-proxy CA for that: one that was published is used again.
    """
    result = run_enable(again(world), kind)
    if result.outcome == "refused":
        assert result.codes == ["open-journal"]
        assert run_rollback(again(world)).outcome == "applied"
        assert_before(world, before)
        result = run_enable(again(world), kind)
    assert result.outcome in ("applied", "unchanged"), result.text
    assert_after(world, kind, before)
    assert len(again(world).etcd["authorities"]) == 1
    assert open_records(world) == []
    assert [path.name for path in world.path("/var/lib/aggctl/open").iterdir()] == []
    assert_no_secret_leaks(world, result)


# --- system calls -----------------------------------------------------------------------------------------


@cases(600)
@given(kinds, st.sampled_from(CODES), st.integers(1, 110), st.booleans())
def test_a_disk_that_refuses_a_change_leaves_all_before_or_all_after(
    nodes: Nodes, kind: str, code: int, at: int, persistent: bool
) -> None:
    world, before = nodes.fresh(kind)
    world.calls = FaultyCalls(failing(code, at, changes_only=True, persistent=persistent))
    settle_up(world, kind, before, run_enable(world, kind), {})


@cases(300)
@given(kinds, st.sampled_from(CODES), st.integers(1, 420))
def test_any_system_call_that_fails_once_leaves_all_before_or_all_after(
    nodes: Nodes, kind: str, code: int, at: int
) -> None:
    world, before = nodes.fresh(kind)
    world.calls = FaultyCalls(failing(code, at, changes_only=False, persistent=False))
    settle_up(world, kind, before, run_enable(world, kind), {})


@cases(200)
@given(kinds, st.sampled_from(CODES), st.integers(30, 130), st.booleans(), st.sampled_from(GATES))
def test_a_disk_that_fills_up_while_putting_back_leaves_nothing_unnamed(
    nodes: Nodes, kind: str, code: int, at: int, persistent: bool, gate: str
) -> None:
    world, before = nodes.fresh(kind)
    world.faults = Faults(gate)
    world.calls = FaultyCalls(failing(code, at, changes_only=True, persistent=persistent))
    settle_up(world, kind, before, run_enable(world, kind), {})


@cases(200)
@given(kinds, st.sampled_from(CODES), st.integers(1, 90), st.booleans())
def test_a_rollback_on_a_bad_disk_leaves_the_layer_off_or_on(
    nodes: Nodes, kind: str, code: int, at: int, persistent: bool
) -> None:
    world, before = nodes.fresh(kind)
    assert run_enable(world, kind).outcome == "applied"
    world = again(world)
    world.calls = FaultyCalls(failing(code, at, changes_only=True, persistent=persistent))
    result = run_rollback(world)
    assert_no_secret_leaks(world, result)
    if result.outcome == "applied":
        assert_before(world, before)
    elif result.outcome != "rollback-incomplete":
        assert_after(world, kind, before)
    assert lives(world)
    if open_records(world):
        assert run_rollback(again(world)).outcome == "applied"
        assert drafts(world) == []
    final = run_rollback(again(world))
    assert final.outcome in ("applied", "unchanged")
    assert_before(world, before)


# --- gates, interrupts, other people ----------------------------------------------------------------------


@cases(120)
@given(kinds, st.sampled_from(GATES), st.booleans())
def test_a_gate_that_does_not_open_puts_everything_back(
    nodes: Nodes, kind: str, gate: str, for_good: bool
) -> None:
    world, before = nodes.fresh(kind)
    world.faults = Faults(gate, for_good)
    result = run_enable(world, kind)
    # A pair that is replaced without a restart is not touched by what befalls new manifests.
    assert result.outcome in ("rolled-back", "rollback-incomplete") or kind == "expired"
    assert_before(world, before) if kind != "expired" else None
    settle_up(world, kind, before, result, {})


@cases(250)
@given(kinds, st.sampled_from(("", *GATES)), st.integers(1, 120), st.booleans())
def test_an_interrupt_at_any_moment_puts_everything_back(
    nodes: Nodes, kind: str, gate: str, at: int, in_calls: bool
) -> None:
    world, before = nodes.fresh(kind)
    world.faults = Faults(gate)
    ask = nth(at, lambda: setattr(world.stop, "requested", "SIGTERM"))
    if in_calls:
        world.calls = FaultyCalls(lambda _name, _number, _changes: ask())
    else:
        world.on_look.append(ask)
        world.clock.on_pause.append(ask)
    result = run_enable(world, kind)
    assert result.outcome != "refused"
    if result.outcome == "rolled-back" and "interrupted" in result.codes:
        assert result.status == 130
    settle_up(world, kind, before, result, {})


def nth(at: int, act: Callable[[], None]) -> Callable[[], None]:
    """Do something the n-th time that this is called."""
    left = [at]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            act()

    return count


@cases(250)
@given(
    kinds,
    st.sampled_from((MANIFEST, *(f"{PKI}/{name}" for name in NAMES))),
    st.integers(1, 110),
    st.sampled_from(("", "never-publishes", "identity-refused")),
    st.sampled_from(("comment", "garbage", "bare")),
)
def test_what_somebody_else_changes_meanwhile_is_left_alone(
    nodes: Nodes, kind: str, path: str, at: int, gate: str, how: str
) -> None:
    world, before = nodes.fresh(kind)
    world.faults = Faults(gate)
    if path == MANIFEST and how == "garbage":
        how = "comment"  # garbage is no manifest for the model either
    theirs: dict[str, bytes] = {}

    def meddle() -> None:
        target = world.path(path)
        old = target.read_bytes() if target.exists() else b""
        new = {"comment": old + b"# by hand\n", "garbage": b"not what it was\n", "bare": before_of(path)}[how]
        theirs[path] = new + b"# by them\n" if path == MANIFEST and how != "garbage" else new
        draft = target.with_name(".theirs")
        draft.write_bytes(theirs[path])
        draft.replace(target)

    def before_of(path: str) -> bytes:
        found = before.get(path.removeprefix("/etc/kubernetes/"))
        return found[4] if found else b"theirs\n"

    ask = nth(at, meddle)
    # Between the last look and rename(2) or unlink(2) lies one system call, which nobody can close.
    world.calls = FaultyCalls(lambda name, *_: ask() if name not in ("", "rename", "unlink") else None)
    world.clock.on_pause.append(ask)
    result = run_enable(world, kind)
    settle_up(world, kind, before, result, theirs)


# --- crashes ----------------------------------------------------------------------------------------------


def recover(world: World, kind: str, before: Tree, by: str) -> None:
    """After a crash: `rollback` puts everything back, a second `enable` closes it or says to."""
    if by == "rollback":
        result = run_rollback(again(world))
        assert result.outcome in ("applied", "unchanged"), result.text
        assert_before(world, before)
        assert open_records(world) == []
    next_try(world, kind, before)


@cases(500)
@given(kinds, st.integers(1, 110), st.sampled_from(("rollback", "enable")))
def test_a_killed_enable_is_put_back_or_finished(nodes: Nodes, kind: str, at: int, by: str) -> None:
    world, before = nodes.fresh(kind)
    world.calls = FaultyCalls(killing(at))
    in_child(lambda: run_enable(world, kind))
    recover(world, kind, before, by)


@cases(150)
@given(
    kinds, st.integers(20, 130), st.sampled_from(("never-publishes", "identity-refused", "never-comes-back"))
)
def test_an_enable_that_is_killed_while_putting_back_can_be_put_back(
    nodes: Nodes, kind: str, at: int, gate: str
) -> None:
    world, before = nodes.fresh(kind)
    world.calls, world.faults = FaultyCalls(killing(at)), Faults(gate)
    in_child(lambda: run_enable(world, kind))
    recover(world, kind, before, "rollback")


@cases(150)
@given(kinds, st.integers(1, 90), st.booleans())
def test_a_killed_rollback_is_taken_up_by_the_next(
    nodes: Nodes, kind: str, at: int, interrupted: bool
) -> None:
    world, before = nodes.fresh(kind)
    if interrupted:
        world.calls = FaultyCalls(killing(45))
        in_child(lambda: run_enable(world, kind))
    else:
        assert run_enable(world, kind).outcome == "applied"
    world = again(world)
    world.calls = FaultyCalls(killing(at))
    in_child(lambda: run_rollback(world))
    while open_records(world):
        assert run_rollback(again(world)).outcome == "applied"
        assert drafts(world) == []
    assert run_rollback(again(world)).outcome in ("applied", "unchanged")
    assert_before(world, before)


@cases(60)
@given(kinds, st.integers(1, 25))
def test_an_enable_that_is_killed_while_waiting_is_put_back_or_finished(
    nodes: Nodes, kind: str, at: int
) -> None:
    world, before = nodes.fresh(kind)
    world.clock.on_pause.append(nth(at, lambda: killing(1)("now", 1, 1)))
    in_child(lambda: run_enable(world, kind))
    recover(world, kind, before, "enable")


@pytest.mark.parametrize("kind", KINDS)
def test_the_points_that_are_tried_go_past_the_last_system_call(nodes: Nodes, kind: str) -> None:
    world, _ = nodes.fresh(kind)
    world.calls = counting = FaultyCalls()
    assert run_enable(world, kind).outcome == "applied"
    assert 40 < counting.changes < 110
    assert 100 < counting.number < 420
    undoing = again(world)
    undoing.calls = counting = FaultyCalls()
    assert run_rollback(undoing).outcome == "applied"
    assert counting.changes < 90


def test_a_ca_that_may_be_published_is_kept_for_root_alone_and_used_by_the_next_try(nodes: Nodes) -> None:
    world, before = nodes.fresh("off")
    world.faults = Faults("identity-refused")
    assert run_enable(world).outcome == "rolled-back"
    kept = world.path("/var/lib/aggctl/kept")
    assert kept.stat().st_mode & 0o7777 == 0o700
    assert {name: entry[1] for name, entry in tree(kept).items()} == {
        "front-proxy-ca.crt": 0o600,
        "front-proxy-ca.key": 0o600,
    }
    published = (kept / "front-proxy-ca.crt").read_text()
    assert again(world).etcd["authorities"] == [published]
    assert run_enable(again(world)).outcome == "applied"
    assert_after(world, "off", before)
    assert world.path(f"{PKI}/front-proxy-ca.crt").read_text() == published
    assert not kept.exists()


def test_a_ca_that_the_disk_did_not_take_is_kept_by_the_rollback_that_follows(nodes: Nodes) -> None:
    world, before = nodes.fresh("off")

    class NoRoomToKeep(FaultyCalls):
        def __getattr__(self, name: str) -> Any:
            real = super().__getattr__(name)

            def call(*arguments: Any, **options: Any) -> Any:
                if name == "mkdir" and Path(arguments[0]).name == "kept":
                    raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
                return real(*arguments, **options)

            return call

    world.faults = Faults("identity-refused")  # by then the CA is published
    world.calls = NoRoomToKeep()
    result = run_enable(world, "off")
    assert (result.outcome, open_records(world) != []) == ("rollback-incomplete", True)
    assert run_rollback(again(world)).outcome == "applied"
    assert world.path("/var/lib/aggctl/kept/front-proxy-ca.key").exists()
    next_try(world, "off", before)
