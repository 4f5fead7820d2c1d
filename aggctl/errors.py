"""What can go wrong, as values that an operator can act on.

Every error of aggctl is one sentence (what, expected, found) with a way forward and the exit status that
scripts rely on. Anything else that escapes is a defect of aggctl.
"""

from __future__ import annotations

from typing import ClassVar


class AggctlError(Exception):
    """An error with a `code` for `aggctl explain`, one sentence, and what to do next.

    `found` and `expected` are shown on lines of their own when given; `evidence` holds raw words of others.
    """

    exit_status: ClassVar[int] = 1
    outcome: ClassVar[str] = "rolled-back"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        do: str,
        found: str = "",
        expected: str = "",
        evidence: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.do = do
        self.found = found
        self.expected = expected
        self.evidence = evidence


class UsageError(AggctlError):
    """The command line is wrong; nothing was looked at."""

    exit_status = 2
    outcome = "refused"


class Refused(AggctlError):  # noqa: N818 -- it is no fault of the program: a precondition does not hold
    """A precondition does not hold; nothing was changed."""

    exit_status = 3
    outcome = "refused"


class Failed(AggctlError):  # noqa: N818 -- reads as the outcome that it is
    """The work failed and everything was put back."""


class RollbackIncomplete(AggctlError):  # noqa: N818 -- reads as the outcome that it is
    """The work failed and not all could be put back; the message says what to run."""

    exit_status = 4
    outcome = "rollback-incomplete"


class Interrupted(AggctlError):  # noqa: N818 -- reads as the outcome that it is
    """The user or the system ended the work; everything was put back."""

    exit_status = 130
    outcome = "rolled-back"
