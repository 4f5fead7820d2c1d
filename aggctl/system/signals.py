"""Signals while something is being changed: noted and acted on at safe points, never in between.

Ctrl-C and SIGTERM ask for everything to be put back. SIGHUP, a dropped SSH session, does not: putting back
would restart kube-apiserver a second time, with nobody watching; the work goes on to its end, which `aggctl
history` tells.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ASK_TO_STOP = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818 -- a wish of the user, no error
    """The user or the system asked to stop."""


class Stop:
    """Whether somebody asked to stop; `check` is called wherever stopping is safe."""

    def __init__(self) -> None:
        self.requested = ""
        self._put_off = False

    def check(self) -> None:
        """Raise Stopped where somebody asked."""
        if self.requested and not self._put_off:
            raise Stopped(self.requested)

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        """Note signals inside instead of dying of them; what was in place before comes back after."""
        before = {each: signal.signal(each, self._note) for each in _ASK_TO_STOP}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """Let `check` pass inside: what is being put back is put back whole."""
        self._put_off = True
        try:
            yield
        finally:
            self._put_off = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.requested = signal.Signals(number).name
