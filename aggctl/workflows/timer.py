"""`aggctl certs timer`: two units below /etc/systemd/system, and systemd told of them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from aggctl.core.certs.timer import FOLDER, MARK, SERVICE_NAME, TIMER_NAME
from aggctl.core.findings import Finding
from aggctl.core.plan import FileChange, inverse, stamp
from aggctl.core.report import Report, ShownChange
from aggctl.errors import AggctlError, Refused
from aggctl.system.files import Changed
from aggctl.system.systemd import is_running, systemctl

if TYPE_CHECKING:
    from aggctl.core.questions import FileSeen, Stamp
    from aggctl.system.files import Files

READABLE = 0o644
_ASKED = ("ActiveState", "NextElapseUSecRealtime", "LastTriggerUSec", "Result")


def install(files: Files, root: str, units: dict[str, bytes]) -> Report:
    """Write the units (content by name) and start the timer; what was there comes back where that fails."""
    before = {name: _ours(files, name) for name in units}
    same = all(seen and seen.content == units[name] for name, seen in before.items())
    if same and not (is_running(root) and _is_idle()):
        return Report(
            "certs timer install", "unchanged", summary=("The timer is installed.", *_by_hand(root))
        )
    written: list[tuple[FileChange, bytes | None]] = []
    try:
        for name, content in units.items():
            seen = before[name]
            change = FileChange(_path(name), seen.stamp if seen else None, _stamp(content))
            files.apply(change, content, "timer")
            written.append((change, seen.content if seen else None))
        if is_running(root):
            systemctl("daemon-reload")
            systemctl("enable", "--now", TIMER_NAME)
    except (OSError, Changed, AggctlError) as error:
        for change, old in reversed(written):
            files.apply(inverse(change), old, "timer")
        if is_running(root):
            with contextlib.suppress(AggctlError):  # the first error is the one to tell
                systemctl("daemon-reload")
        raise _not_written(error) from error
    return Report(
        "certs timer install",
        "applied",
        summary=("Certificates that expire soon are renewed by a timer.", *_by_hand(root)),
        changes=tuple(ShownChange("change", _path(name)) for name in units),
        next=("aggctl certs timer status", "aggctl certs timer remove"),
    )


def remove(files: Files, root: str) -> Report:
    """Stop the timer and remove both units."""
    there = {name: seen for name in (TIMER_NAME, SERVICE_NAME) if (seen := _ours(files, name))}
    if not there:
        return Report("certs timer remove", "unchanged", summary=("No timer is installed.",))
    if is_running(root):
        with contextlib.suppress(AggctlError):  # one that was never started cannot be stopped
            systemctl("disable", "--now", TIMER_NAME)
    for name, seen in there.items():
        files.apply(FileChange(_path(name), seen.stamp, None), None, "timer")
    if is_running(root):
        systemctl("daemon-reload")
    return Report(
        "certs timer remove",
        "applied",
        summary=("The timer is gone.",),
        changes=tuple(ShownChange("delete", _path(name)) for name in there),
    )


def status(files: Files, root: str) -> Report:
    """Whether it is installed, when it runs next, and how it ended last."""
    if not all(_ours(files, name) for name in (TIMER_NAME, SERVICE_NAME)):
        return _problem("timer-not-installed", "no timer is installed", "sudo aggctl certs timer install")
    if not is_running(root):
        return Report("certs timer status", "unchanged", summary=("The timer is installed.", *_by_hand(root)))
    shown = systemctl("show", TIMER_NAME, SERVICE_NAME, *(f"--property={each}" for each in _ASKED))
    of_timer, _, of_service = shown.partition("\n\n")
    timer, service = _properties(of_timer), _properties(of_service)
    if timer.get("ActiveState") != "active":
        return _problem("timer-not-active", "the timer is not active", f"systemctl enable --now {TIMER_NAME}")
    if service.get("Result") != "success":
        said = f"its last run ended as {service.get('Result')!r}"
        return _problem("timer-run-failed", said, f"journalctl -u {SERVICE_NAME}; then: aggctl certs list")
    ran = timer.get("LastTriggerUSec") or "never yet"
    return Report(
        "certs timer status",
        "healthy",
        summary=(f"The timer is active; next run {timer.get('NextElapseUSecRealtime')}, last run {ran}.",),
    )


def _ours(files: Files, name: str) -> FileSeen | None:
    """A unit that aggctl wrote, None where there is none; Refused where it is somebody else's."""
    seen = files.read(_path(name))
    if seen and not seen.content.startswith(MARK.encode()):
        raise Refused(
            "unit-not-ours",
            f"{_path(name)} was not written by aggctl",
            expected=f"a file whose first line is {MARK!r}",
            do="move it away, then run again",
        )
    return seen


def _problem(code: str, said: str, fix: str) -> Report:
    return Report(
        "certs timer status", "problems", findings=(Finding(code, "warning", TIMER_NAME, said, fix),)
    )


def _not_written(error: Exception) -> AggctlError:
    if isinstance(error, AggctlError):
        return error
    said = error.strerror if isinstance(error, OSError) else "somebody else changed it meanwhile"
    return Refused(
        "timer-not-writable",
        f"the units below {FOLDER} cannot be written: {said}",
        do="run as root: sudo aggctl certs timer install",
    )


def _by_hand(root: str) -> tuple[str, ...]:
    if is_running(root):
        return ()
    return (f"systemd does not run here; on the machine itself: systemctl enable --now {TIMER_NAME}",)


def _is_idle() -> bool:
    return _properties(systemctl("show", TIMER_NAME, "--property=ActiveState")).get("ActiveState") != "active"


def _properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _path(name: str) -> str:
    return f"{FOLDER}/{name}"


def _stamp(content: bytes) -> Stamp:
    return stamp(content, READABLE, os.geteuid(), os.getegid())
