"""A finding: what a check saw that is not as it should be, with a fix that can be pasted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggctl.core.questions import Unknown


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. `hopeless` says that waiting cannot mend it; `severity` is error, warning or info."""

    code: str
    severity: str
    subject: str
    message: str
    fix: str
    expected: str = ""
    evidence: tuple[str, ...] = ()
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """The check holds; `because` says what was seen."""

    because: str = ""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """The check could not be made."""

    why: Unknown


Verdict = Passed | Finding | NotChecked
