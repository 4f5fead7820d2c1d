"""The contract with scripts: exit statuses, outcomes, and the keys of the one JSON document."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from support.refusals import FINDING_KEYS, KEYS, aggctl, assert_decent, assert_document

from aggctl.cli.options import Output
from aggctl.cli.render import report_of_error
from aggctl.cli.wiring import Manners, run_command
from aggctl.core.findings import Finding
from aggctl.core.questions import FileAt, Unknown
from aggctl.core.report import EXIT_STATUS, Report, ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError, Failed, Interrupted, Refused, RollbackIncomplete, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATUS = {
    "unchanged": 0,
    "planned": 0,
    "applied": 0,
    "healthy": 0,
    "rolled-back": 1,
    "refused": 3,
    "problems": 3,
    "rollback-incomplete": 4,
}
FINDING = Finding("no-manifest", "error", "a file", "it is not there", "put it there")


def test_an_outcome_has_one_exit_status() -> None:
    assert EXIT_STATUS == STATUS
    assert {outcome: Report("enable", outcome).exit_status for outcome in STATUS} == STATUS


def test_an_interrupt_that_was_put_back_is_130_and_one_that_was_not_is_4() -> None:
    assert Report("enable", "rolled-back", interrupted=True).exit_status == 130
    assert Report("enable", "rollback-incomplete", interrupted=True).exit_status == 4


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        (AggctlError, 1, "rolled-back"),
        (Failed, 1, "rolled-back"),
        (UsageError, 2, "refused"),
        (Refused, 3, "refused"),
        (RollbackIncomplete, 4, "rollback-incomplete"),
        (Interrupted, 130, "rolled-back"),
    ],
)
def test_an_error_has_one_exit_status_and_an_outcome_of_the_list(
    kind: type[AggctlError], status: int, outcome: str
) -> None:
    assert (kind.exit_status, kind.outcome) == (status, outcome)
    assert outcome in STATUS


def test_a_report_and_an_error_make_documents_of_one_shape() -> None:
    report = Report("enable", "refused", findings=(FINDING,), changes=(ShownChange("create", "x"),)).to_json()
    error = report_of_error("enable", Refused("no-manifest", "it is not there", do="put it there")).to_json()
    assert set(report) == set(error) == KEYS
    assert set(asdict(FINDING)) == set(error["findings"][0]) == FINDING_KEYS
    assert set(report["changes"][0]) == {"action", "target", "detail", "diff"}
    assert report["apiVersion"] == error["apiVersion"] == "aggctl/v1"


def test_what_a_command_lists_is_in_the_document_as_it_is() -> None:
    item = {"kind": "serving", "residualSeconds": 5}
    assert Report("certs list", "unchanged", items=(item,)).to_json()["items"] == [item]
    assert Report("enable", "unchanged").to_json()["items"] == []


@pytest.mark.parametrize(
    "words", [("history",), ("rollback", "--yes"), ("rollback", "--dry-run"), ("enable", "--yes")]
)
def test_on_an_empty_node_there_is_one_document_and_nothing_else(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = aggctl(*words, "--root", str(tmp_path), "-o", "json")
    assert said.err == ""
    assert_document(said)
    assert_decent(said)
    assert said.document["command"] == words[0]
    assert said.status == STATUS[said.document["outcome"]]
    assert list(tmp_path.iterdir()) == []


def raises(error: BaseException) -> Callable[[], Report]:
    def work() -> Report:
        raise error

    return work


ESCAPES: dict[str, tuple[BaseException, int, str]] = {
    "a defect": (ZeroDivisionError("division by zero"), 1, "defect"),
    "no rights": (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), 1, "no-rights"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), 1, "write-failed"),
    "a bad disk": (OSError(errno.EIO, "Input/output error", "/etc/x"), 1, "file-not-readable"),
    "what cannot be seen": (NotKnown(FileAt("/x"), Unknown("/x: it is gone", "not-known")), 3, "not-known"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "interrupted"),
}


@pytest.mark.parametrize(("error", "status", "code"), ESCAPES.values(), ids=ESCAPES.keys())
@pytest.mark.parametrize("output", Output)
def test_whatever_escapes_is_one_sentence(
    error: BaseException, status: int, code: str, output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("enable", Manners(output), raises(error)) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if output is Output.json:
        assert err == ""
        assert [finding["code"] for finding in json.loads(out)["findings"]] == [code]
        assert json.loads(out)["outcome"] in STATUS
    else:
        assert out == ""
        assert f"({code})" in err.splitlines()[0]
        assert "    do " in err


def test_a_defect_names_its_place_and_with_v_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> Report:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    assert run_command("enable", Manners(Output.text, verbose=True), work) == 1
    err = capsys.readouterr().err
    assert "ValueError: outer   (wiring.py:" in err
    assert "cause     KeyError: 'inner'" in err
