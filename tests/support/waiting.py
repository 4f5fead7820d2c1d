"""Waiting in tests: for an event with a deadline, never for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(question: Callable[[], T | None], what: str, within: float = 60.0) -> T:
    """The first answer that is true; AssertionError with `what` was waited for, when none came."""
    deadline = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} s, last answer {answer!r}")
        time.sleep(0.02)
    return answer
