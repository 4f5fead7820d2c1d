"""What `aggctl certs timer` does with what was typed."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.cli import options as o
from aggctl.cli.wiring import Manners, run_command
from aggctl.core.certs.timer import NOT_IN_PROGRAMS, SERVICE_NAME, TIMER_NAME, service, timer
from aggctl.core.text import clean
from aggctl.errors import Refused, UsageError
from aggctl.system.files import Files
from aggctl.workflows.timer import install, remove, status

if TYPE_CHECKING:
    from aggctl.core.report import Report


@dataclass(frozen=True, slots=True)
class TypedTimer:
    """When to renew what, as it was typed."""

    within: str
    calendar: str
    random_delay: str


def manners(output: o.Output, *, quiet: bool, verbose: bool, no_color: bool) -> Manners:
    """How the user wants to be talked to; nothing here is asked about."""
    return Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)


def install_timer(root: str, manner: Manners, typed: TypedTimer) -> int:
    """Install it."""

    def work() -> Report:
        o.some_seconds(typed.within, "--within")
        delay = f"{o.seconds(typed.random_delay):.0f}s"
        if not (typed.calendar.strip() and typed.calendar.isprintable()):
            raise UsageError(
                "calendar-not-understood",
                f"--calendar {clean(typed.calendar, 60)!r} is no calendar event",
                expected="one as systemd.time(7) has it",
                do="for example: --calendar daily",
            )
        words = (_command(), "certs", "rotate", "due", "--within", typed.within, "--yes")
        units = {SERVICE_NAME: service(words), TIMER_NAME: timer(typed.calendar.strip(), delay)}
        return install(_files(root), root, units)

    return run_command("certs timer install", manner, work)


def remove_timer(root: str, manner: Manners) -> int:
    """Remove it."""
    return run_command("certs timer remove", manner, lambda: remove(_files(root), root))


def show_timer(root: str, manner: Manners) -> int:
    """Say how it is."""
    return run_command("certs timer status", manner, lambda: status(_files(root), root))


def _files(root: str) -> Files:
    if not Path(root).is_dir():
        raise Refused("no-root", f"there is no folder {root}", do="name the root of a node by --root DIR")
    return Files(root)


def _command() -> str:
    """This very program, by its absolute path."""
    found = shutil.which(sys.argv[0])
    if found is None:
        raise Refused(
            "program-not-found",
            f"{clean(sys.argv[0])} is no program that systemd could start",
            do="install aggctl, then run it by its name: pipx install aggctl",
        )
    path = str(Path(found).absolute())
    if NOT_IN_PROGRAMS & set(path) or not path.isprintable():
        raise Refused(
            "program-not-found",
            f"systemd starts no program with a quote, a backslash or a control character: {clean(path)}",
            do="install aggctl elsewhere, then run it by its name: pipx install aggctl",
        )
    return path
