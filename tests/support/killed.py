"""The console script, killing itself with SIGKILL at its n-th contact: system call, look, request.

Usage: killed.py N FILE WORDS... Writes to FILE how many contacts there were, where it lived to tell.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from support.nodes import environment

from aggctl.cli import wiring
from aggctl.cli.app import run
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.journal import Journal

_PACKAGES = (Path(__file__).parents[1], Path(__file__).parents[2])
_COUNTER = itertools.count(1)
_CONTACTS = [0]
CHANGING = frozenset(
    {"open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "fchmod", "fchown", "close"}
)


NEVER = 1_000_000


def killed(words: tuple[str, ...], point: int) -> int:
    """Run aggctl up to its `point`th contact; how many it had, where that is NEVER."""
    with tempfile.TemporaryDirectory() as folder:
        count = Path(folder) / "count"
        done = subprocess.run(
            [sys.executable, __file__, str(point), str(count), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(PYTHONPATH=os.pathsep.join(map(str, _PACKAGES))),
            check=False,
        )
        if point == NEVER:
            assert done.returncode == 0, done.stderr
            return int(count.read_text())
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr  # a run may have fewer than the first
        return 0


def spread(total: int, number: int) -> list[int]:
    """That many contacts of all, the last included."""
    return sorted({max(1, total * each // number) for each in range(1, number + 1)})


def contact(last: int) -> None:
    """Count one; the last is the end."""
    _CONTACTS[0] = next(_COUNTER)
    if _CONTACTS[0] >= last:
        os.kill(os.getpid(), signal.SIGKILL)


class _Counted:
    """The os module, whose calls that change something count."""

    def __init__(self, last: int) -> None:
        self._last = last

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return _counting(real, self._last) if name in CHANGING else real


def _counting(real: Any, last: int) -> Any:
    def counted(*words: Any, **named: Any) -> Any:
        contact(last)
        return real(*words, **named)

    return counted


def main(last: int, file: Path, words: list[str]) -> int:
    """Run the command, up to the last contact."""
    calls = _Counted(last)
    for name, port in (("Files", Files), ("Journal", Journal)):
        setattr(wiring, name, partial(port, calls=calls))
    for name in ("look", "send"):
        setattr(Cluster, name, _counting(getattr(Cluster, name), last))
    sys.argv = ["aggctl", *words]
    status = run()
    file.write_text(str(_CONTACTS[0]))
    return status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
