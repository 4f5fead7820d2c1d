"""The cases of doctor: files that say what is not as usual, whose words these are, and what must be found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from support.doctoring import Patient, patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.doctor.examine import Diagnosis
    from aggctl.core.snapshot import Snapshot

FOLDER = Path(__file__).parent.parent / "core" / "snapshots"
PLACES = ("node", "anywhere")
SAID_OF_A_CASE = {"name", "words", "from", "world", "found"}


@dataclass(frozen=True, eq=False)
class Case:
    """A case seen from one place."""

    name: str
    place: str
    world: Mapping[str, Any]
    found: Mapping[str, Any]


def cases() -> Iterator[Case]:
    """Every case of every file, once for each place that it is seen from."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for each in YAML(typ="safe").load(path.read_text("utf-8")):
            assert set(each) <= SAID_OF_A_CASE, f"{path.name}: {each['name']}"
            for place in each.get("from", PLACES):
                found = each["found"].get(place, {}) if set(each["found"]) & set(PLACES) else each["found"]
                yield Case(f"{path.stem}: {each['name']}, from {place}", place, each["world"], found)


CASES = tuple(cases())


@cache
def seen_by(case: Case) -> tuple[Patient, Diagnosis, Snapshot]:
    """Who is examined, what was found, and all that was looked at."""
    found = patient(case.world, case.place)
    return (found, *found.examined())


def diagnosed(case: Case) -> Diagnosis:
    """What was found."""
    return seen_by(case)[1]
