"""What a command did and found: its exit status and its one JSON document."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aggctl.core.findings import Finding
from aggctl.core.report import Report, ShownChange


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("unchanged", 0),
        ("planned", 0),
        ("applied", 0),
        ("healthy", 0),
        ("rolled-back", 1),
        ("refused", 3),
        ("problems", 3),
        ("rollback-incomplete", 4),
    ],
)
def test_each_outcome_has_the_exit_status_that_scripts_rely_on(outcome: str, status: int) -> None:
    assert Report("enable", outcome).exit_status == status


def test_an_interrupt_that_was_put_back_is_130() -> None:
    assert Report("enable", "rolled-back", interrupted=True).exit_status == 130


def test_an_interrupt_that_was_not_put_back_is_4() -> None:
    assert Report("enable", "rollback-incomplete", interrupted=True).exit_status == 4


def test_the_json_document_holds_the_keys_of_the_contract_and_all_that_was_found() -> None:
    finding = Finding("a-code", "error", "it", "is wrong", "mend it", evidence=("a line",))
    report = Report("enable", "refused", ("s",), (ShownChange("create", "/a"),), (finding,), ("go on",))
    report = replace(report, items=({"kind": "serving"},))
    assert json.loads(json.dumps(report.to_json())) == {
        "apiVersion": "aggctl/v1",
        "command": "enable",
        "outcome": "refused",
        "summary": ["s"],
        "items": [{"kind": "serving"}],
        "changes": [{"action": "create", "target": "/a", "detail": "", "diff": ""}],
        "findings": [
            {
                "code": "a-code",
                "severity": "error",
                "subject": "it",
                "message": "is wrong",
                "fix": "mend it",
                "expected": "",
                "evidence": ["a line"],
                "hopeless": False,
            }
        ],
        "next": ["go on"],
    }
