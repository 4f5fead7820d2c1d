"""A process that can be told from every other one, and whether it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from aggctl.system import oneself

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
