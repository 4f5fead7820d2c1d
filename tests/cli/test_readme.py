"""What README.md says is true: its commands run, its tables are those of the code."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.doctor_table import table, table_in

from aggctl.core.report import EXIT_STATUS
from aggctl.errors import AggctlError, Failed, Interrupted, Refused, RollbackIncomplete, UsageError

README = Path(__file__).parents[2] / "README.md"
PLACE = "/tmp/aggctl-sandbox"  # noqa: S108 -- the README's own example, replaced below by a folder of the test


def commands(section: str) -> list[str]:
    """The commands of a section's console blocks."""
    _, _, after = README.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    text, _, _ = after.partition("\n## ")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.controlplane
def test_the_walk_through_a_sandbox_runs_as_it_is_written(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> None:
    for command in commands("In a sandbox"):
        words = shlex.split(command.replace(PLACE, str(tmp_path / "sandbox")))
        done = subprocess.run(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert not (tmp_path / "sandbox").exists()


@pytest.mark.parametrize(
    "command",
    [*commands("On a control-plane node"), *commands("Publish an API"), *commands("Certificates")],
)
def test_every_command_has_options_that_exist(command: str) -> None:
    words = shlex.split(command.removeprefix("sudo "))
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert all(word in done.stdout for word in words if word.startswith("--"))


def test_the_table_of_exit_statuses_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    kinds = (AggctlError, Failed, Interrupted, Refused, RollbackIncomplete, UsageError)
    assert {int(row) for row in rows} == {*EXIT_STATUS.values(), *(kind.exit_status for kind in kinds)}


def test_the_table_of_commands_names_those_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aggctl", "--help"], capture_output=True, text=True, check=True
    )
    _, _, listed = done.stdout.partition("Commands:\n")
    there = {line.split()[0] for line in listed.splitlines() if re.match(r"  \w", line)}
    named = set(re.findall(r"^\| `aggctl (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == there


def test_the_table_of_what_doctor_recognises_is_that_of_the_code() -> None:
    assert table_in(README.read_text(encoding="utf-8")) == table(), "run: make readme"
