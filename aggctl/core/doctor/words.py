"""A diagnosis for people and for scripts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aggctl.core.doctor.model import BROKEN, NOT_CHECKED, OK, SKIPPED, WARNED
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.examine import Diagnosis
    from aggctl.core.doctor.model import Exam, Hop
    from aggctl.core.findings import Finding

MARKS = {OK: "✓", WARNED: "!", BROKEN: "✗", NOT_CHECKED: "?", SKIPPED: "·"}
FEW = 6
EVIDENCE_LINES = 4


def lines_of(diagnosis: Diagnosis, *, verbose: bool) -> tuple[str, ...]:
    """What a person reads: broken APIs first, one line for those that are well."""
    return tuple(_lines(diagnosis, verbose=verbose))


def items_of(diagnosis: Diagnosis) -> tuple[dict[str, Any], ...]:
    """What a script reads: one entry for the layer, one for each API."""
    layer = {"name": "layer", "verdict": _code(diagnosis.layer), "hops": _hops(diagnosis.layer)}
    return (
        layer,
        *(
            {
                "name": each.name,
                "verdict": each.verdict.code if each.verdict else "",
                "hops": _hops(each.hops),
                "findings": [asdict(finding) for finding in each.findings],
                "effects": list(each.effects),
            }
            for each in diagnosis.exams
        ),
        {"name": "not checked", "reasons": list(diagnosis.not_checked)},
    )


def _code(hops: tuple[Hop, ...]) -> str:
    found = [each for hop in hops for each in hop.findings]
    return next((each.code for each in sorted(found, key=_gravity)), "")


def _gravity(finding: Finding) -> int:
    return ("error", "warning", "info").index(finding.severity)


def _hops(hops: tuple[Hop, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "state": each.state,
            "said": clean(each.said),
            "codes": [finding.code for finding in each.findings],
        }
        for each in hops
    ]


def _lines(diagnosis: Diagnosis, *, verbose: bool) -> Iterator[str]:
    yield from _of_layer(diagnosis, verbose=verbose)
    told = {finding for hop in diagnosis.layer for finding in hop.findings}
    well = [each for each in diagnosis.exams if each.verdict is None]
    still = [each for each in diagnosis.exams if each.works and each.verdict in told and not verbose]
    for severity in ("error", "warning"):
        for exam in diagnosis.exams:
            verdict = exam.verdict
            if verdict and verdict.severity == severity and exam not in still:
                yield from _of_exam(exam, verdict, told, verbose=verbose)
    if still:
        yield f"! {_named(still)}: answered a moment ago, and what they stand on is broken: see the layer"
    if verbose:
        for exam in well:
            yield f"✓ {exam.name}"
            yield from _each_hop(exam.hops)
    elif well:
        yield f"✓ {_named(well)}{' answer' * (len(well) > FEW)}"
    if not diagnosis.exams and diagnosis.listed:
        yield "No API is registered that a Service answers for."
    yield from (f"not checked: {each}" for each in diagnosis.not_checked)
    yield from _ending(diagnosis)


def _named(exams: list[Exam]) -> str:
    """A few by their names, many by their number."""
    return ", ".join(each.name for each in exams) if len(exams) <= FEW else f"{len(exams)} APIs"


def _of_layer(diagnosis: Diagnosis, *, verbose: bool) -> Iterator[str]:
    findings = [finding for hop in diagnosis.layer for finding in hop.findings]
    worst = BROKEN if any(each.severity == "error" for each in findings) else WARNED if findings else OK
    if verbose or findings:
        yield f"{MARKS[worst]} the layer"
        yield from _each_hop(diagnosis.layer) if verbose else [f"    {_in_one_line(diagnosis.layer)}"]
    for each in findings:
        yield from _of_finding(each, named=True)


def _of_exam(exam: Exam, verdict: Finding, told: set[Finding], *, verbose: bool) -> Iterator[str]:
    yield f"{'✗' if verdict.severity == 'error' else '!'} {exam.name:<36} {verdict.code}"
    yield from _each_hop(exam.hops) if verbose else [f"    {_in_one_line((*exam.layer, *exam.hops))}"]
    if verdict in told:
        yield "    why       it stands on the layer, which is broken: see above"
    else:
        yield from _of_finding(verdict, named=False)
    for each in exam.effects:
        yield f"    effect    {each}"
    for other in exam.findings:
        if other is not verdict and other not in told:
            yield from _of_finding(other, named=True)


def _in_one_line(hops: tuple[Hop, ...]) -> str:
    return "  ".join(f"{each.name} {MARKS[each.state]}" for each in hops)


def _each_hop(hops: tuple[Hop, ...]) -> Iterator[str]:
    for each in hops:
        codes = ", ".join(finding.code for finding in each.findings)
        yield f"    {MARKS[each.state]} {each.name:<13} {clean(each.said)}{f'   ({codes})' if codes else ''}"


def _of_finding(finding: Finding, *, named: bool) -> Iterator[str]:
    mark = {"error": "✗", "warning": "!"}.get(finding.severity, "·")
    yield f"    {mark} {finding.message}   ({finding.code})" if named else f"    found     {finding.message}"
    for label, text in (("at", finding.subject), ("expected", finding.expected)):
        if text and text not in finding.message:
            yield f"    {label:<9} {text}"
    for line in finding.evidence[:EVIDENCE_LINES]:
        yield f"    {'evidence':<9} {clean(line, 400)}"
    yield f"    {'do':<9} {finding.fix}"


def _ending(diagnosis: Diagnosis) -> Iterator[str]:
    errors = [each for each in diagnosis.findings if each.severity == "error"]
    warnings = [each for each in diagnosis.findings if each.severity == "warning"]
    if not errors and not warnings:
        return
    counts = [
        f"{len(found)} {word}{'s' * (len(found) != 1)}"
        for found, word in ((errors, "problem"), (warnings, "warning"))
        if found
    ]
    yield f"{', '.join(counts)}. Details: aggctl explain {(errors or warnings)[0].code}"
