"""The side effects that a workflow may have, in one value that the edge builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aggctl.core.plan import ObjectChange

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from aggctl.core.pki import KeyPair
    from aggctl.core.plan import Change
    from aggctl.core.questions import Question
    from aggctl.system.files import Files
    from aggctl.system.journal import Journal
    from aggctl.system.logs import Logs
    from aggctl.system.objects import Objects
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


class Maker(Protocol):
    """Who makes a kind of change: Files below a root, or Objects of a cluster."""

    def apply(self, change: Change, content: bytes | None, draft: str) -> None:
        """Make it; Changed where the world holds neither side of it."""

    def holds(self, change: Change) -> str:
        """Which side of it the world shows: `before`, `after` or `other`."""

    def sweep(self, change: Change, draft: str) -> None:
        """Remove what an interrupted try left half made."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a workflow touches the world with.

    `look` answers questions; `watch(server, paths)` gives a pause that an event at a path cuts short.
    `hold` keeps a pair in memory and gives its fingerprint, by which questions name it. `logs()` reads whole
    logs, which are no answers to questions.
    """

    look: Callable[[Question], Any]
    files: Files
    objects: Objects
    journal: Journal
    clock: Clock
    progress: Progress
    stop: Stop
    watch: Callable[[str, tuple[str, ...]], AbstractContextManager[Callable[[float], None]]]
    hold: Callable[[KeyPair], str]
    logs: Callable[[], Logs]

    def of(self, change: Change) -> Maker:
        """The port that makes this kind of change."""
        return self.objects if isinstance(change, ObjectChange) else self.files
