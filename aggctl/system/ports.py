"""The side effects that a workflow may have, in one value that the edge builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aggctl.core.snapshot import Question
    from aggctl.system.files import Files
    from aggctl.system.journal import Journal
    from aggctl.system.signals import Stop


class Clock(Protocol):
    """Time, asked for."""

    def now(self) -> datetime:
        """This moment, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def pause(self, seconds: float) -> None:
        """Wait."""


class Progress(Protocol):
    """Where a workflow tells what it is doing; nothing here may fail, a lost terminal included."""

    def begin(self, title: str, deadline: float | None = None) -> None:
        """A step begins; `deadline` in seconds where it waits."""

    def waiting(self, why: str) -> None:
        """The step goes on waiting, for this reason."""

    def done(self, detail: str = "") -> None:
        """The step ended well."""

    def failed(self, detail: str = "") -> None:
        """The step did not end well."""

    def say(self, line: str) -> None:
        """A line beside the steps."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a workflow touches the world with; `look` answers questions."""

    look: Callable[[Question], Any]
    files: Files
    journal: Journal
    clock: Clock
    progress: Progress
    stop: Stop
