"""A real `enable` that kills itself with SIGKILL at its n-th contact with the world: system call or look.

Usage: killed_enable.py ROOT N. Prints how many contacts there were, where it lived to tell.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from typing import Any

from aggctl.cli.options import Output
from aggctl.cli.wiring import Access, Manners, node_ports
from aggctl.core.need import Wanted
from aggctl.system.files import Files
from aggctl.system.journal import Journal
from aggctl.workflows.enable import Manner, enable

_COUNTER = itertools.count(1)
_LAST = [0]


def _contact(last: int) -> None:
    _LAST[0] = next(_COUNTER)
    if _LAST[0] >= last:
        os.kill(os.getpid(), signal.SIGKILL)


class _Counted:
    """The os module, whose calls that change something count."""

    CHANGING = frozenset(
        {"open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "fchmod", "fchown", "close"}
    )

    def __init__(self, last: int) -> None:
        self._last = last

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CHANGING:
            return real

        def counted(*words: Any, **named: Any) -> Any:
            _contact(self._last)
            return real(*words, **named)

        return counted


def main(root: str, last: int) -> None:
    """Switch the layer on, up to the last contact."""
    real = node_ports(Access(root), Manners(Output.json, yes=True))
    calls = _Counted(last)

    def look(question: Any) -> Any:
        _contact(last)
        return real.look(question)

    ports = replace(real, look=look, files=Files(root, calls), journal=Journal(root, calls))
    report = enable(ports, Wanted(routing="off"), Manner(dry_run=False, confirm=lambda _: True))
    sys.stdout.write(f"{_LAST[0]}\n")
    sys.exit(report.exit_status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
