"""Requests all the time, over connections that stay open, each of them counted."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import urllib3

from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONNECTIONS = 4
PAUSE = 0.02
"""Between two requests on one connection: some 150 a second in all, which leaves the machine to work."""


@dataclass
class Load:
    """What came of the requests so far: by status, or by the name of what went wrong."""

    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Requests that were answered with 200."""
        return self.outcomes["200"]

    @property
    def failed(self) -> dict[str, int]:
        """All others."""
        return {outcome: number for outcome, number in self.outcomes.items() if outcome != "200"}


@contextmanager
def load(kubeconfig: Path, path: str, server: str = "") -> Iterator[Load]:
    """GET `path` all the time until the block ends; it begins once the first requests were answered.

    `server` is the kubeconfig's where no other is named.
    """
    credentials = find_credentials(str(kubeconfig), "", "")
    found, over, begun = Load(), threading.Event(), threading.Barrier(CONNECTIONS + 1)
    one_at_a_time = threading.Lock()

    def ask() -> None:
        pool = urllib3.PoolManager(ssl_context=credentials.context(), retries=False, timeout=10)
        first = True
        while not over.wait(0 if first else PAUSE):
            try:
                outcome = str(pool.request("GET", (server or credentials.server) + path).status)
            except urllib3.exceptions.HTTPError as error:
                outcome = type(error).__name__
            with one_at_a_time:
                found.outcomes[outcome] += 1
            if first:
                begun.wait()
                first = False

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(CONNECTIONS)]
    for each in askers:
        each.start()
    begun.wait(30)
    try:
        yield found
    finally:
        over.set()
        for each in askers:
            each.join()
