"""What a command did and found, as one value: rendered as text or as JSON at the edge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggctl.core.findings import Finding

EXIT_STATUS = {
    "unchanged": 0,
    "planned": 0,
    "applied": 0,
    "healthy": 0,
    "rolled-back": 1,
    "refused": 3,
    "problems": 3,
    "rollback-incomplete": 4,
}
"""Exit status by outcome; an interrupt that was put back is 130 instead of 1, wrong usage is 2."""

MEANINGS = {
    0: "done, or already so",
    1: "failed, everything was put back",
    2: "wrong usage",
    3: "refused, or problems found; nothing was changed",
    4: "failed, and not all could be put back; the message says what to run",
    130: "interrupted, and put back",
}
"""What each exit status means, for people."""


@dataclass(frozen=True, slots=True)
class ShownChange:
    """One change as people see it: the verb, the path, what it is, and its unified diff where it is text."""

    action: str
    target: str
    detail: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command; `summary` are its lines for people, `next` commands to go on with.

    `items` are what a command lists, for scripts; `told` says that the summary tells the findings already.
    """

    command: str
    outcome: str
    summary: tuple[str, ...] = ()
    changes: tuple[ShownChange, ...] = ()
    findings: tuple[Finding, ...] = ()
    next: tuple[str, ...] = ()
    interrupted: bool = False
    items: tuple[dict[str, Any], ...] = ()
    told: bool = False

    @property
    def exit_status(self) -> int:
        """The status that scripts go by."""
        if self.interrupted and self.outcome == "rolled-back":
            return 130
        return EXIT_STATUS[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """The one document of `-o json`."""
        return {
            "apiVersion": "aggctl/v1",
            "command": self.command,
            "outcome": self.outcome,
            "summary": list(self.summary),
            "items": list(self.items),
            "changes": [asdict(change) for change in self.changes],
            "findings": [asdict(finding) for finding in self.findings],
            "next": list(self.next),
        }
