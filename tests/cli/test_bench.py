"""The table of `make bench`: its arithmetic, and the file that it leaves."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """bench/report.py, which is a script's part and no package's."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("report")
    del sys.modules["report"]


def row(report: Any, *runs: tuple[float, float], **more: Any) -> Any:
    found = report.Row("register", "kubectl", **more)
    for own, peer in runs:
        found.measure(lambda own=own: report.Cost(own, 44, 0.3), lambda peer=peer: report.Cost(peer, 75, 0.2))
    return found


def test_ratios_are_taken_run_by_run_so_that_the_machine_may_grow_slower(report: Any) -> None:
    assert row(report, (1, 2), (2, 4), (10, 20)).cells()[4] == "0.50 x (0.50 to 0.50)"


def test_a_median_comes_with_the_least_and_the_most(report: Any) -> None:
    assert row(report, (0.3, 1), (0.1, 1), (9, 1)).cells()[1] == "0.30 s (0.10 to 9.00)"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"target": 0.5}, "0.5 s met"),
        ({"target": 0.4}, "0.4 s MISSED"),
        ({"target": 1.3, "of_peer": True}, "1.3 x met"),
        ({"target": 1.2, "of_peer": True}, "1.2 x MISSED"),
        ({}, ""),
    ],
    ids=["seconds", "too many seconds", "a multiple", "too high a multiple", "none"],
)
def test_a_target_is_met_by_the_median(report: Any, target: dict[str, Any], said: str) -> None:
    assert row(report, (0.5, 0.4), (0.5, 0.4), (9, 0.1), **target).cells()[5] == said


def test_cpu_and_memory_are_shown_of_both_sides(report: Any) -> None:
    assert row(report, (1, 1)).cells()[6:8] == ("0.30 and 0.20 s", "44 and 75 MiB")


def test_the_table_is_markdown_with_columns_that_line_up(report: Any) -> None:
    lines = report.table([row(report, (1, 1)), row(report, (100, 1))]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == set("| -")


def test_the_file_tells_when_and_on_what_and_what_the_peers_did(report: Any, tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    rows = [row(report, (1, 1))]
    report.write_results(file, rows, {"machine": "two cores"}, {"Peer of register": "kubectl apply\n"})
    text = file.read_text()
    assert report.table(rows) in text
    assert "\n- machine: two cores\n" in text
    assert "\nPeer of register:\n\n```sh\nkubectl apply\n```\n" in text


def test_memory_and_time_are_those_of_the_command_and_not_of_who_measures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    measure = importlib.import_module("measure")
    try:
        held = bytearray(200 * 2**20)
        assert measure.script("true").memory < len(held) / 2**20 / 2
        with pytest.raises(SystemExit, match="ended with 3"):
            measure.script("exit 3")
    finally:
        del sys.modules["measure"], sys.modules["report"]
