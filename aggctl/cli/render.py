"""Reports and errors as text or as the one JSON document; nothing here decides anything."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING

from rich.text import Text

from aggctl.core.findings import Finding
from aggctl.core.report import Report
from aggctl.core.text import clean

if TYPE_CHECKING:
    from rich.console import Console

    from aggctl.core.report import ShownChange
    from aggctl.errors import AggctlError

_STYLES = {"error": "red", "warning": "yellow", "info": "blue"}
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_ASCII = str.maketrans({"…": "...", "·": "-", "\u2013": "-", "✓": "ok", "✗": "FAIL"})
EVIDENCE_LINES = 8


def show_report(report: Report, console: Console, *, verbose: bool = False) -> None:
    """The report for people: what was found, what changes, what to do next."""
    for line in report.summary:
        _line(console, line)
    show_changes(report, console)
    for finding in () if report.told else report.findings:
        _finding(
            finding, console, verbose=verbose or report.outcome in ("rolled-back", "rollback-incomplete")
        )
    for line in report.next:
        _line(console, f"Next: {line}" if line.startswith("aggctl") else line)


def show_changes(report: Report, console: Console) -> None:
    """The changes, each with its diff."""
    if report.command == "history":
        for change in report.changes:
            _line(console, f"{change.target:<20} {change.action:<20} {change.detail}")
        return
    if report.outcome in ("applied", "rolled-back", "rollback-incomplete"):
        return  # they were shown as the plan
    if report.changes:
        count = len(report.changes)
        word = "Plan" if report.outcome in ("planned", "refused") else "Changes"
        _line(console, f"\n{word} ({count} change{'s' if count != 1 else ''})")
    width = max((len(change.target) for change in report.changes), default=0)
    for change in report.changes:
        _change(change, width, console)


def write_json(report: Report) -> None:
    """The report as one document on stdout."""
    json.dump(report.to_json(), sys.stdout, indent=2)
    sys.stdout.write("\n")


def report_of_error(command: str, error: AggctlError) -> Report:
    """An error as the report that a script reads."""
    finding = Finding(
        code=error.code,
        severity="error",
        subject=command,
        message=error.message,
        fix=error.do,
        expected=error.expected,
        evidence=(*((error.found,) if error.found else ()), *error.evidence),
    )
    return Report(command, error.outcome, summary=(error.message,), findings=(finding,), next=(error.do,))


def show_error(error: AggctlError, console: Console, *, verbose: bool) -> None:
    """One sentence, then found, expected, and what to do."""
    _mark(console, "error", f"{error.message}   ({error.code})")
    for label, text in (("found", error.found), ("expected", error.expected), ("do", error.do)):
        if text:
            _line(console, f"    {label:<9} {text}")
    for line in error.evidence:
        _line(console, f"    {'evidence':<9} {clean(line)}")
    cause: BaseException | None = error.__cause__
    while verbose and cause:
        _line(console, f"    {'cause':<9} {type(cause).__name__}: {clean(str(cause))}")
        cause = cause.__cause__


def _finding(finding: Finding, console: Console, *, verbose: bool) -> None:
    _mark(console, finding.severity, f"{finding.message}   ({finding.code})")
    for label, text in (("at", finding.subject), ("expected", finding.expected), ("do", finding.fix)):
        if text and text not in finding.message:
            _line(console, f"    {label:<9} {text}")
    for line in finding.evidence[-EVIDENCE_LINES:] if verbose else ():
        _line(console, f"    {'evidence':<9} {line}")


def _mark(console: Console, severity: str, text: str) -> None:
    marks = (
        {"error": "✗", "warning": "!", "info": "·"}
        if is_unicode(console)
        else {"error": "FAIL", "warning": "warn", "info": "-"}
    )
    mark = Text(marks[severity], style=_STYLES[severity])
    console.print(mark, Text(shown(text, console)), soft_wrap=True)


def _change(change: ShownChange, width: int, console: Console) -> None:
    _line(console, f"  {change.action:<7} {change.target:<{width}}   {change.detail}".rstrip())
    for line in change.diff.splitlines()[2:]:
        text = Text(shown(f"          {line}", console), style=_DIFF_STYLES.get(line[:1], ""))
        console.print(text, soft_wrap=True)


def _line(console: Console, text: str) -> None:
    console.print(shown(text, console), markup=False, highlight=False, soft_wrap=True)


def is_unicode(console: Console) -> bool:
    """Whether the other side takes more than ASCII."""
    return (console.encoding or "").lower().startswith("utf")


def shown(text: str, console: Console) -> str:
    """The text as a terminal may have it: control characters of others as codes, ASCII where that is all."""
    if not is_unicode(console):
        text = text.translate(_ASCII)
    return "".join(each if each in "\n\t" or not _is_control(each) else _code(each) for each in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
