"""Memory that large answers share: one of them is worked on at a time, and not more is kept than fits."""

from __future__ import annotations

import threading

from aggctl.core.typed import NotTyped

SMALL, KEPT = 256 * 1024, 80 * 1024 * 1024
"""What is kept of so many bytes in memory is not counted; to what all that is kept may come."""


class Room:
    """Room for one large answer at a time, for as long as the thread that read it works on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.local()

    def take(self, seconds: float) -> None:
        """Wait for it; TimeoutError where another one takes too long."""
        if getattr(self._mine, "taken", False):
            return
        if not self._lock.acquire(timeout=seconds):
            raise TimeoutError("other large answers go before this one")
        self._mine.taken = True

    def leave(self) -> None:
        """Give it back, where this thread has it."""
        if getattr(self._mine, "taken", False):
            self._mine.taken = False
            self._lock.release()


class Purse:
    """How much the answers come to that are kept; the newest of each question counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, int] = {}

    def keep(self, name: str, weight: int) -> None:
        """Count an answer of so many bytes in memory; NotTyped where there is no room for it."""
        with self._lock:
            before = self._kept.pop(name, 0)
            if weight > SMALL:
                if sum(self._kept.values()) + weight > KEPT:
                    self._kept |= {name: before} if before else {}
                    raise NotTyped("it is too large to be kept beside what was answered before")
                self._kept[name] = weight
