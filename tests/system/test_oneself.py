"""A process that can be told from every other one, and whether it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aggctl.system import oneself

if TYPE_CHECKING:
    from pathlib import Path

TELL = "from aggctl.system import oneself; print(oneself.mark(), flush=True); input()"


def test_who_runs_is_not_gone() -> None:
    assert not oneself.is_gone(oneself.mark())


def test_one_that_was_killed_is_gone_even_before_its_parent_has_asked() -> None:
    with subprocess.Popen([sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout
        mark = run.stdout.readline().decode().strip()
        assert mark != oneself.mark()
        assert not oneself.is_gone(mark)
        run.kill()
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        assert oneself.is_gone(mark)
        assert run.wait() == -signal.SIGKILL
    assert oneself.is_gone(mark)


def test_a_pid_that_another_process_has_now_is_gone() -> None:
    place, _, _ = oneself.mark().partition(".")
    assert oneself.is_gone(f"{place}.{os.getpid()}.1")
    assert oneself.is_gone(f"{place}.{2**70}.1")


@pytest.mark.parametrize("mark", ["", "another-boot.1.1", ".1.1", "by-hand", "{place}.x.1", "{place}"])
def test_of_what_runs_elsewhere_or_is_no_mark_nobody_can_tell(mark: str) -> None:
    place, _, _ = oneself.mark().partition(".")
    assert not oneself.is_gone(mark.format(place=place))


def test_who_ran_before_this_machine_was_started_again_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine-id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    monkeypatch.setattr(oneself, "_MACHINE", tmp_path / "machine-id")
    machine, boot, namespace = oneself.mark().partition(".")[0].split("-")
    assert machine not in ("", "3d1219c7c4c5404aaa1f6d2a48adfda4")
    assert oneself.is_gone(f"{machine}-{'0' * len(boot)}-{namespace}.1.1")
    assert not oneself.is_gone(f"{'0' * len(machine)}-{'0' * len(boot)}-{namespace}.1.1")
    assert not oneself.is_gone(f"-{'0' * len(boot)}-{namespace}.1.1")


def test_without_an_id_of_the_machine_nobody_can_tell_of_an_earlier_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oneself, "_MACHINE", tmp_path / "missing")
    _, boot, namespace = oneself.mark().partition(".")[0].split("-")
    assert not oneself.is_gone(f"-{'0' * len(boot)}-{namespace}.1.1")
