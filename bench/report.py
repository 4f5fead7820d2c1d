"""The table: what was measured of aggctl and of its peer, run by run, and the file that keeps it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

HEAD = ("what", "aggctl", "its peer", "peer", "ratio", "target", "CPU, both", "memory, both", "seen besides")
INTRODUCTION = """\
# What aggctl costs

Written by `make bench`. A row is a piece of work by aggctl and by its peer, run in turn: the median, and in
brackets the least and the most. Ratios are taken run by run. CPU is the median of user and system time, which
a busy machine distorts least; memory is the peak of the largest process.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: seconds on the wall, its largest process's peak memory in MiB, seconds of CPU."""

    seconds: float
    memory: float = 0.0
    cpu: float = 0.0


@dataclass(slots=True)
class Row:
    """One line: the same work by aggctl and by its peer, in turn.

    `target` is in seconds, or with `of_peer` a multiple of what the peer takes; None: there is none.
    """

    name: str
    peer: str
    target: float | None = None
    of_peer: bool = False
    runs: list[tuple[Cost, Cost]] = field(default_factory=list)
    besides: str = ""

    def measure(self, own: Callable[[], Cost], peer: Callable[[], Cost]) -> None:
        """One run of each, one after the other."""
        self.runs.append((own(), peer()))

    @property
    def ratios(self) -> list[float]:
        """How many times as long as the peer, run by run: so the machine's speed may drift."""
        return [own.seconds / peer.seconds for own, peer in self.runs]

    @property
    def met(self) -> bool:
        """Whether the median is within the target."""
        measured = self.ratios if self.of_peer else [own.seconds for own, _ in self.runs]
        return self.target is None or statistics.median(measured) <= self.target

    def cells(self) -> tuple[str, ...]:
        """The line's cells."""
        owns, peers = zip(*self.runs, strict=True)
        aimed = "" if self.target is None else f"{self.target:g} {'x' if self.of_peer else 's'}"
        cpu = " and ".join(f"{statistics.median(each.cpu for each in side):.2f}" for side in (owns, peers))
        memory = " and ".join(f"{max(each.memory for each in side):.0f}" for side in (owns, peers))
        return (
            self.name,
            spread([each.seconds for each in owns], "s"),
            self.peer,
            spread([each.seconds for each in peers], "s"),
            spread(self.ratios, "x"),
            f"{aimed} {'met' if self.met else 'MISSED'}" if aimed else "",
            f"{cpu} s",
            f"{memory} MiB",
            self.besides,
        )


def spread(values: list[float], unit: str) -> str:
    """The median with the least and the most."""
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def table(rows: Iterable[Row]) -> str:
    """The rows as a table that is read as it is, and as Markdown."""
    lines = [HEAD, *(each.cells() for each in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    written = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    written.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(line)} |\n" for line in written)


def write_results(file: Path, rows: Iterable[Row], facts: dict[str, str], scripts: dict[str, str]) -> None:
    """The table as a file: when and on what it was measured before it, what the peers did behind it."""
    parts = [
        INTRODUCTION,
        "".join(f"- {name}: {value}\n" for name, value in facts.items()),
        table(rows),
        *(f"{name}:\n\n```sh\n{script.strip()}\n```\n" for name, script in scripts.items()),
    ]
    file.write_text("\n".join(parts))
