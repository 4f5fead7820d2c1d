"""Progress on stderr: live on a terminal, plain lines elsewhere; a terminal that went away is no error."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from aggctl.core.text import ago

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

LINE_EVERY = 10.0
"""Where nothing can be redrawn, a waiting step says so this often, in seconds."""


class ConsoleProgress:
    """Steps as they happen; `quiet` keeps all of it to itself."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._title = ""
        self._began = self._said = 0.0
        self._deadline: float | None = None
        self._status: Status | None = None
        unicode = (console.encoding or "").lower().startswith("utf")
        self._ok, self._bad = ("✓", "✗") if unicode else ("ok", "FAIL")

    def begin(self, title: str, deadline: float | None = None) -> None:
        """Show the step; on a terminal with a spinner while it waits."""
        self._stop()
        self._title, self._deadline = title, deadline
        self._began = self._said = time.monotonic()
        if not self._quiet and self._console.is_terminal and deadline is not None:
            with contextlib.suppress(OSError):
                self._status = self._console.status(self._line(""))
                self._status.start()

    def waiting(self, why: str) -> None:
        """Update the step that waits."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._status:
            with contextlib.suppress(OSError):
                self._status.update(self._line(why))
        elif now - self._said >= LINE_EVERY:
            self._said = now
            self.say(f"- {self._line(why)}")

    def done(self, detail: str = "") -> None:
        """Tick the step off with the time that it took."""
        self._end(self._ok, "green", detail)

    def failed(self, detail: str = "") -> None:
        """Cross the step out."""
        self._end(self._bad, "red", detail)

    def say(self, line: str) -> None:
        """Write one line."""
        if not self._quiet:
            with contextlib.suppress(OSError):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, why: str) -> str:
        spent = time.monotonic() - self._began
        limit = f" of {ago(self._deadline)}" if self._deadline else ""
        return f"{self._title}   {ago(round(spent))}{limit}   {why}".rstrip()

    def _end(self, mark: str, style: str, detail: str) -> None:
        self._stop()
        spent = time.monotonic() - self._began
        if self._quiet or not self._title:
            return
        text = f"{self._title}: {detail}" if detail else self._title
        with contextlib.suppress(OSError):
            self._console.print(mark, style=style, end=" ", markup=False)
            self._console.print(f"{text:<64} {spent:5.1f} s", markup=False, highlight=False, soft_wrap=True)
        self._title = ""

    def _stop(self) -> None:
        if self._status:
            with contextlib.suppress(OSError):
                self._status.stop()
            self._status = None
