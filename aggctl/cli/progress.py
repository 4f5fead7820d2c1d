"""Progress on stderr: live on a terminal, plain lines elsewhere; a terminal that went away is no error."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.text import Text

from aggctl.cli.render import is_unicode, shown
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
        self._ok, self._bad = ("✓", "✗") if is_unicode(console) else ("ok", "FAIL")

    def begin(self, title: str, deadline: float | None = None) -> None:
        """Show the step; on a terminal with a spinner while it waits."""
        self._stop()
        self._title, self._deadline = title, deadline
        self._began = self._said = time.monotonic()
        if not self._quiet and self._console.is_terminal and deadline is not None:
            with contextlib.suppress(OSError):
                spinner = "dots" if is_unicode(self._console) else "line"
                self._status = self._console.status(self._live(""), spinner=spinner)
                self._status.start()

    def waiting(self, why: str) -> None:
        """Update the step that waits."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._status:
            with contextlib.suppress(OSError):
                self._status.update(self._live(why))
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
                text = shown(line, self._console)
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, why: str) -> str:
        spent = time.monotonic() - self._began
        limit = f" of {ago(self._deadline)}" if self._deadline else ""
        return f"{self._title}   {ago(round(spent))}{limit}   {why}".rstrip()

    def _live(self, why: str) -> Text:
        return Text(shown(self._line(why), self._console))

    def _end(self, mark: str, style: str, detail: str) -> None:
        self._stop()
        spent = time.monotonic() - self._began
        if self._quiet or not self._title:
            return
        text = f"{self._title}: {detail}" if detail else self._title
        if detail.startswith(self._title):
            text = detail
        with contextlib.suppress(OSError):
            self._console.print(mark, style=style, end=" ", markup=False)
            line = shown(f"{text:<64} {spent:5.1f} s", self._console)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._title = ""

    def _stop(self) -> None:
        if self._status:
            with contextlib.suppress(OSError):
                self._status.stop()
            self._status = None
