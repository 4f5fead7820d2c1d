"""Doctor's verdict on clusters that files describe, with the words of Kubernetes 1.20 to 1.37.

Each file below snapshots/ is a list of cases: what is not as usual in a healthy cluster (by the keys of
support/doctoring.py), whose words these are, and what doctor must find, from a node and from anywhere unless
`from` says less.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support.doctor_cases import CASES, Case, diagnosed
from support.doctoring import codes, hop_of, patient, verdict

from aggctl.core.doctor.codes import HOPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggctl.core.doctor.examine import Diagnosis

SAID_OF_THE_FOUND = {
    "verdict", "severity", "hop", "said", "evidence", "also", "absent", "errors", "warnings", "layer",
    "notChecked",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_verdict_is_the_first_broken_hop_and_its_cause(case: Case) -> None:
    diagnosis = diagnosed(case)
    assert _summary(diagnosis, case.found) == _wanted(case.found)


def _wanted(found: Mapping[str, Any]) -> dict[str, Any]:
    """What must be found: without a verdict no error, and no warning but that of the layer."""
    assert set(found) <= SAID_OF_THE_FOUND
    code = found.get("verdict", "")
    well = {"errors": [], "warnings": [found["layer"]] if "layer" in found else []}
    return {"verdict": code, **({"severity": "error"} if code else well), **found, "absent": []}


def _summary(diagnosis: Diagnosis, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what was found, as far as the case says something of it."""
    found = verdict(diagnosis)
    errors = codes(diagnosis.findings)
    warnings = codes(diagnosis.findings, "warning")
    every = errors | warnings
    evidence = "\n".join(found.evidence) if found else ""
    whole = {
        "verdict": found.code if found else "",
        "severity": found.severity if found else "",
        "hop": hop_of(diagnosis, found),
        "said": _holding(wanted.get("said", ""), f"{found.subject} {found.message}" if found else ""),
        "evidence": _holding(wanted.get("evidence", ""), evidence),
        "also": sorted(every & set(wanted.get("also", ()))),
        "errors": sorted(errors),
        "warnings": sorted(warnings),
        "layer": _among(
            wanted.get("layer", ""), [one.code for hop in diagnosis.layer for one in hop.findings]
        ),
        "notChecked": _holding(wanted.get("notChecked", ""), "\n".join(diagnosis.not_checked)),
    }
    asked = _wanted(wanted)
    return {key: value for key, value in whole.items() if key in asked} | {
        "absent": sorted(every & set(wanted.get("absent", ())))
    }


def _holding(part: str, whole: str) -> str:
    return part if part in whole else whole


def _among(one: str, several: list[str]) -> Any:
    return one if one in several else several


SERVED_ON_NODE = [case for case in CASES if case.place == "node" and "served" in case.world]


@pytest.mark.parametrize("case", SERVED_ON_NODE, ids=lambda case: case.name)
def test_by_the_portforward_of_pods_the_same_is_seen_from_anywhere(case: Case) -> None:
    found = verdict(patient({**case.world, "forwarded": True}, "anywhere").diagnosis())
    assert (found.code if found else "") == case.found.get("verdict", "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_finding_stands_at_a_hop_that_lists_its_code(case: Case) -> None:
    diagnosis = diagnosed(case)
    hops = (*diagnosis.layer, *(each for exam in diagnosis.exams for each in exam.hops))
    assert [one.code for hop in hops for one in hop.findings if one.code not in HOPS[hop.name]] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_finding_says_what_was_found_and_what_to_do(case: Case) -> None:
    for each in diagnosed(case).findings:
        assert all((each.subject, each.message, each.fix))
        assert "{" not in re.sub(r"'\{.*\}'", "", each.message + each.fix)
        assert each.severity in ("error", "warning", "info")


def test_every_cause_on_the_way_to_an_api_is_the_verdict_of_a_case() -> None:
    found = {case.found.get("verdict") for case in CASES} | {case.found.get("layer") for case in CASES}
    on_the_way = {
        code for hop, codes_ in HOPS.items() if hop not in ("layer", "certificates") for code in codes_
    }
    assert on_the_way - found == set()


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
