"""What remains of an `enable` that was interrupted, hung up on, or killed: a healthy kube-apiserver."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.killed import NEVER, killed, spread
from support.nodes import AGGCTL, Node
from support.sandboxes import sandbox_in
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.controlplane
KILL_POINTS = 24


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    """One node for the tests of this file; each leaves the layer off."""
    with sandbox_in(tmp_path_factory.mktemp("interrupted") / "sandbox") as running:
        yield Node(running)


def started(node: Node, **more: Any) -> subprocess.Popen[bytes]:
    command = [*AGGCTL, "enable", "--root", str(node.root), "--yes", "--routing", "off"]
    return subprocess.Popen(command, **more)


def manifest_is_changed(node: Node, before: bytes) -> bool:
    return node.manifest.read_bytes() != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_rename_puts_everything_back(node: Node, number: signal.Signals) -> None:
    before, manifest = node.files(), node.manifest.read_bytes()
    run = started(node, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: manifest_is_changed(node, manifest), "the manifest is replaced")
    run.send_signal(number)
    assert run.wait(60) == 130
    assert node.files() == before
    assert node.ready()
    (last, *_) = json.loads(node.aggctl("history", "-o", "json").stdout)["changes"]
    assert last["action"] == "rolled-back"


def test_a_terminal_that_went_away_is_found_and_closed_without_a_second_restart(node: Node) -> None:
    """SIGHUP as the kernel sends it when a terminal is closed, then SIGKILL."""
    before, manifest, begun = node.files(), node.manifest.read_bytes(), starts(node)
    leader, follower = pty.openpty()
    run = started(node, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    eventually(lambda: manifest_is_changed(node, manifest), "the manifest is replaced")
    os.kill(run.pid, signal.SIGHUP)
    os.close(leader)
    run.kill()
    run.wait(60)
    found = node.aggctl("enable", "--yes", "--routing", "off", "-o", "json")
    assert found.returncode == 0, found.stdout
    assert json.loads(found.stdout)["outcome"] == "unchanged"
    assert starts(node) - begun == 1
    assert "closed now" in found.stdout
    assert node.aggctl("rollback", "--yes").returncode == 0
    assert node.files() == before


def test_a_hangup_alone_lets_the_work_go_on_to_its_end(node: Node) -> None:
    before, manifest = node.files(), node.manifest.read_bytes()
    leader, follower = pty.openpty()
    run = started(node, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    eventually(lambda: manifest_is_changed(node, manifest), "the manifest is replaced")
    os.kill(run.pid, signal.SIGHUP)
    os.close(leader)
    run.wait(60)
    (last, *_) = json.loads(node.aggctl("history", "-o", "json").stdout)["changes"]
    assert last["action"] == "applied"
    assert node.aggctl("rollback", "--yes").returncode == 0
    assert node.files() == before


@pytest.mark.timeout(900)
def test_killed_anywhere_the_node_is_healthy_after_rollback_or_a_second_enable(node: Node) -> None:
    """SIGKILL at points spread over all system calls and looks of a real enable."""
    before = node.files()
    total = killed_at(node, NEVER)
    assert node.aggctl("rollback", "--yes").returncode == 0
    points = spread(total, KILL_POINTS)
    assert len(points) >= 20
    for number, point in enumerate(points):
        killed_at(node, point)
        mended = node.aggctl("rollback", "--yes") if number % 2 else second_enable(node)
        assert mended.returncode in (0, 1), (point, mended.stdout, mended.stderr)
        eventually(node.ready, f"kube-apiserver is ready after a kill at {point}")
        assert drafts(node) == []
        while json.loads(node.aggctl("rollback", "--yes", "-o", "json").stdout)["outcome"] != "unchanged":
            pass
        assert node.files() == before, point
        assert "PRIVATE KEY" not in node.record()


def second_enable(node: Node) -> subprocess.CompletedProcess[str]:
    """Run it again; where it refuses because of the open change, do as it says."""
    again = node.aggctl("enable", "--yes", "--routing", "off")
    if again.returncode == 3:
        assert "aggctl rollback" in again.stderr
        return node.aggctl("rollback", "--yes")
    return again


def killed_at(node: Node, point: int) -> int:
    """Run an enable that kills itself at its `point`th contact with the world; how many it had."""
    return killed(("enable", "--root", str(node.root), "--yes", "--routing", "off"), point)


def drafts(node: Node) -> list[Path]:
    return [path for path in (node.root / "etc/kubernetes").rglob(".*") if path.is_file()]


def starts(node: Node) -> int:
    """How many kube-apiservers were started so far: each has a log of its own."""
    return len([*node.root.glob("var/log/pods/*/kube-apiserver/*.log")])
