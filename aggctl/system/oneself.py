"""This very process among all processes of all machines, and whether another one of this machine is gone."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")
_NAMESPACE = Path("/proc/self/ns/pid")
_ENDED = ("Z", "X")
"""Killed, and only its parent has not asked yet how it ended."""


def mark() -> str:
    """This process for ever: its machine, the boot, its PID namespace, its pid and its start in ticks."""
    return f"{_place()}.{os.getpid()}.{_seen(os.getpid())[1]}"


def is_gone(other: str) -> bool:
    """Whether the process of a `mark` has ended; of one on another machine or in another Pod: False."""
    place, _, process = other.partition(".")
    pid, _, started = process.partition(".")
    if _of_another_boot(place):
        return True
    if not place or place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)  # /proc may hide the processes of others
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    state, since = _seen(int(pid))
    return state in _ENDED or since not in ("", started)


def _of_another_boot(place: str) -> bool:
    """Whether it was on this machine before that was started again."""
    machine, _, rest = place.partition("-")
    here, _, now = _place().partition("-")
    return bool(machine and rest and now) and machine == here and rest.split("-")[0] != now.split("-")[0]


def _place() -> str:
    """Where a pid names one process: machine, boot, PID namespace; empty where that cannot be told."""
    try:
        boot = _BOOT.read_text("ascii").strip().replace("-", "")
        return f"{_machine()}-{boot}-{_NAMESPACE.stat().st_ino}"
    except OSError:
        return ""


def _machine() -> str:
    """This machine, by its id and its host name, which a clone of its disk has another one of; or empty.

    The id itself is confidential (machine-id(5)).
    """
    try:
        identity = _MACHINE.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
    named = f"aggctl {identity} {platform.node()}".encode()
    return hashlib.sha256(named).hexdigest()[:16] if identity else ""


def _seen(pid: int) -> tuple[str, str]:
    """State and start (fields 3 and 22 of /proc/PID/stat); the name before them may hold blanks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
