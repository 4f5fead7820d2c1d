"""Run a command as a whole process: how long it took, and how much memory."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from pathlib import Path

from report import Cost

RUNS = 5
AGGCTL = str(Path(sys.executable).parent / "aggctl")


def timed(command: list[str], status: int = 0) -> Cost:
    """What a command took that ends with `status`; of a script CPU is the sum of its children's."""
    measured = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *command], capture_output=True, text=True, check=False
    )
    if measured.returncode != status:
        raise SystemExit(f"{shlex.join(command)} ended with {measured.returncode}: {measured.stderr}")
    seconds, kib, cpu = measured.stdout.split()
    return Cost(float(seconds), int(kib) / 1024, float(cpu))


def aggctl(*words: str, status: int = 0) -> Cost:
    """The same of aggctl."""
    return timed([AGGCTL, *words], status)


def script(text: str) -> Cost:
    """The same of a shell script."""
    return timed(["/bin/sh", "-c", text])


def say(line: str) -> None:
    """Tell how far it is, beside the result."""
    sys.stderr.write(f"{line}\n")


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


# A process inherits its parent's peak memory through fork and exec, so a small parent measures.
_MEASURE = """
import os, sys, time
null = os.devnull
quiet = [(os.POSIX_SPAWN_OPEN, 0, null, 0, 0), (os.POSIX_SPAWN_OPEN, 1, null, 1, 0)]
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""
