"""Processes by pid *and* start time, so that a pid given to somebody else is never taken for ours."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that a program started from Python would ignore, too, if nobody reset them."""

KILL_WAIT = 5.0
"""Seconds that the kernel gets to remove a process after SIGKILL; it needs a moment under load."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process for ever: `started` is field 22 of /proc/PID/stat, clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> Process | None:
    """The process that has this pid now, also one that ended and waits to be reaped; None without one."""
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields else None


def alive(process: Process) -> bool:
    """Whether the process, any thread of it, still runs; one that waits to be reaped has ended."""
    with _handle(process) as handle:
        return handle is not None and not _ended(handle, 0)


def send(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process; False where it has ended already."""
    with _handle(process) as handle:
        if handle is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        return True


def wait(process: Process, seconds: float) -> bool:
    """Wait for the end of the process, child or not, at most so long; True when it has ended."""
    with _handle(process) as handle:
        if handle is not None:
            _ended(handle, seconds)
    reap(process)
    return not alive(process)


def reap(process: Process) -> int | None:
    """Exit status of an ended child (negative: the signal); None while it runs or if it is not ours."""
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def end(process: Process, grace: float) -> bool:
    """SIGTERM, `grace` seconds, SIGKILL; False where it had ended before."""
    if not alive(process):
        reap(process)
        return False
    send(process, signal.SIGTERM)
    if not wait(process, grace):
        send(process, signal.SIGKILL)
        wait(process, KILL_WAIT)
    return True


def launch(
    program: str | Path,
    arguments: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path | None = None,
) -> Process:
    """Start a program in a session of its own that outlives us: no terminal, no open files of ours.

    `arguments` begins with the name the program is called by. Without `stderr` both go to `stdout`.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    second = (os.POSIX_SPAWN_OPEN, 2, str(stderr), append, 0o600) if stderr else (os.POSIX_SPAWN_DUP2, 1, 2)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(stdout), append, 0o600),
        second,
    ]
    with _working_folder(folder):
        pid = os.posix_spawn(
            program,
            arguments,
            environment,
            file_actions=files,
            setsid=True,
            setsigmask=(),
            setsigdef=IGNORED_BY_PYTHON,
        )
    process = identify(pid)
    if process is None:  # only where somebody else reaps our children
        raise ProcessLookupError(f"{program} ended before it could be seen")
    return process


def last_lines(path: Path, count: int = 5) -> tuple[str, ...]:
    """The last lines of a log that say something, the newest last; none where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-count:]


@contextlib.contextmanager
def _handle(process: Process) -> Iterator[int | None]:
    """A pidfd of the process. It is opened first and compared after, so no reused pid slips in between."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if identify(process.pid) == process else None
    finally:
        os.close(handle)


def _ended(handle: int, seconds: float) -> bool:
    """Whether the process of a pidfd ended within so long. Its state in /proc goes by one thread."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@contextlib.contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    """Be in another folder for a moment; goes back by descriptor, so the old one may have been removed."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _stat(pid: int) -> list[str]:
    """Fields 3 onwards of /proc/PID/stat; the name before them may hold blanks and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
