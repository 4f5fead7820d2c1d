"""`status` and `doctor` of one API, ten, a hundred, and a hundred with one that is black-holed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peers
from many import MANY, Many
from measure import RUNS, aggctl, say, script
from report import Row

from aggctl.sandbox import control_plane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from peers import Programs

COUNTS = 1, 10, MANY
STATUS, DOCTOR = {MANY: 1.5}, {1: 1.5, MANY: 5.0}
DOCTOR_WITH_HOLE = 10.0
PROBLEMS = 3
"""The exit status for problems found."""


def rows(folder: Path, programs: Programs) -> Iterator[Row]:
    """In a cluster of its own, where one server answers for all."""
    cluster = Many(folder, say)
    look = peers.Scripts(programs, cluster.sandbox.kubeconfig, cluster.sandbox.root).look()
    try:
        with cluster.served():
            for count in COUNTS:
                cluster.make(count)
                yield from _of(cluster, count, look)
            with cluster.hole():
                yield _with_hole(cluster, look)
    finally:
        control_plane.down(cluster.sandbox.directory, say=say)


def _of(cluster: Many, count: int, look: str) -> tuple[Row, Row]:
    root = ("--root", str(cluster.sandbox.root))
    of = "one API" if count == 1 else f"{count} APIs"
    status, doctor = (
        Row(f"status, {of}", peers.LOOK, STATUS.get(count)),
        Row(f"doctor, {of}", peers.LOOK, DOCTOR.get(count)),
    )
    for number in range(RUNS):
        say(f"status and doctor, {of}, {number + 1} of {RUNS}")
        by_hand = script(look)
        status.runs.append((aggctl("status", *root), by_hand))
        doctor.runs.append((aggctl("doctor", *root), by_hand))
    return status, doctor


def _with_hole(cluster: Many, look: str) -> Row:
    row = Row(f"doctor, {MANY} APIs and a black hole", peers.LOOK, DOCTOR_WITH_HOLE)
    words = ("doctor", "--root", str(cluster.sandbox.root), "--fail-on", "error")
    for number in range(RUNS):
        say(f"{row.name}, {number + 1} of {RUNS}")
        row.measure(lambda: aggctl(*words, status=PROBLEMS), lambda: script(look))
    return row
