"""`aggctl certs timer` by the real console script: units below a root of the test that systemd takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.refusals import (
    AS_NOBODY,
    Said,
    Tree,
    assert_decent,
    assert_document,
    clean_environment,
    nobody_may_run,
    tree,
)
from support.rights import public_folder

SCRIPT = Path(sys.executable).with_name("aggctl")
UNITS = "etc/systemd/system"
SERVICE, TIMER = "aggctl-certs.service", "aggctl-certs.timer"


def run(root: Path, *words: str, program: Path = SCRIPT, before: tuple[str, ...] = ()) -> Said:
    """`aggctl certs timer` on a root."""
    done = subprocess.run(
        [*before, str(program), "certs", "timer", *words, "--root", str(root)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with systemd's folder."""
    (tmp_path / "root" / UNITS).mkdir(parents=True)
    return tmp_path / "root"


def unit(root: Path, name: str) -> str:
    return (root / UNITS / name).read_text()


def problems(root: Path) -> str:
    """What systemd has against both units, on a machine that has it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze (package systemd) is missing")
    paths = [str(root / UNITS / name) for name in (TIMER, SERVICE)]
    done = subprocess.run(
        [program, "verify", "--man=no", *paths],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | {"SYSTEMD_UNIT_PATH": "/usr/lib/systemd/system:"},
    )
    said = done.stdout + done.stderr
    return said or f"status {done.returncode}" * bool(done.returncode)


def refused(root: Path, code: str, *words: str, status: int = 3) -> Said:
    """In text and in JSON, with nothing written."""
    before = tree(root)
    said, as_json = run(root, *words), run(root, *words, "-o", "json")
    assert (said.status, as_json.status) == (status, status), said.text
    assert f"({code})" in said.text
    assert_decent(said)
    assert_document(as_json)
    assert (as_json.codes, as_json.err) == ([code], "")
    assert tree(root) == before
    return said


# --- install ----------------------------------------------------------------------------------------------


def test_the_units_run_this_very_program_by_the_calendar(root: Path) -> None:
    said = run(root, "install", "--within", "60d", "--calendar", "Mon *-*-* 03:00", "--random-delay", "10m")
    assert said.status == 0, said.text
    assert_decent(said)
    assert f"ExecStart={SCRIPT} certs rotate due --within 60d --yes\n" in unit(root, SERVICE)
    for line in ("OnCalendar=Mon *-*-* 03:00", "RandomizedDelaySec=600s", "Persistent=true"):
        assert f"{line}\n" in unit(root, TIMER)
    assert {path.name: path.stat().st_mode & 0o777 for path in (root / UNITS).iterdir()} == {
        SERVICE: 0o644,
        TIMER: 0o644,
    }


def test_what_the_service_runs_is_a_command_that_there_is(root: Path) -> None:
    assert run(root, "install").status == 0
    found = re.search(r"^ExecStart=(.*)$", unit(root, SERVICE), re.MULTILINE)
    assert found
    done = subprocess.run([*found[1].split(), "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, "certs rotate due" in done.stdout) == (0, True)


@pytest.mark.parametrize("calendar", ["daily", "*-*-01 00/6:30:00 UTC"])
def test_systemd_has_nothing_against_them(root: Path, calendar: str) -> None:
    assert run(root, "install", "--calendar", calendar).status == 0
    assert problems(root) == ""


def test_systemd_would_say_so_where_something_is_wrong(root: Path) -> None:
    """The proof that the test above can fail."""
    assert run(root, "install", "--calendar", "whenever").status == 0
    assert "Failed to parse calendar specification" in problems(root)


@pytest.mark.parametrize(
    "name", ["with blank", "100%", "$HOME", "a;b"], ids=["a blank", "a percent sign", "a dollar", "semicolon"]
)
def test_wherever_the_program_lies_systemd_finds_it(root: Path, tmp_path: Path, name: str) -> None:
    program = tmp_path / name / "aggctl"
    program.parent.mkdir()
    shutil.copy2(SCRIPT, program)
    said = run(root, "install", program=program)
    assert said.status == 0, said.text
    assert problems(root) == ""
    program.unlink()
    assert f"Command {program} is not executable" in problems(root)


@pytest.mark.parametrize("sign", ["'", "\\"], ids=["a quote", "a backslash"])
def test_a_program_that_systemd_takes_by_no_quoting_is_refused(root: Path, tmp_path: Path, sign: str) -> None:
    program = tmp_path / f"a{sign}b" / "aggctl"
    program.parent.mkdir()
    shutil.copy2(SCRIPT, program)
    before = tree(root)
    said = run(root, "install", "-o", "json", program=program)
    assert (said.status, said.codes) == (3, ["program-not-found"])
    assert tree(root) == before


def test_a_module_that_is_no_program_is_refused(root: Path) -> None:
    words = ("-m", "aggctl", "certs", "timer", "install", "--root", str(root), "-o", "json")
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    said = Said(done.returncode, done.stdout, done.stderr)
    assert (said.status, said.codes) == (3, ["program-not-found"])


def test_again_it_is_unchanged_and_another_calendar_is_a_change(root: Path) -> None:
    outcomes = [
        run(root, "install", *words, "-o", "json").document["outcome"]
        for words in ((), (), ("--calendar", "weekly"), ("--calendar", "weekly"))
    ]
    assert outcomes == ["applied", "unchanged", "applied", "unchanged"]
    assert "OnCalendar=weekly\n" in unit(root, TIMER)


def test_a_change_is_named_file_by_file_and_what_comes_next(root: Path) -> None:
    said = run(root, "install", "-o", "json")
    assert_document(said)
    assert [each["target"] for each in said.document["changes"]] == [
        f"/etc/systemd/system/{name}" for name in (SERVICE, TIMER)
    ]
    assert "systemctl enable --now aggctl-certs.timer" in said.document["summary"][-1]
    assert said.document["next"] == ["aggctl certs timer status", "aggctl certs timer remove"]


@pytest.mark.parametrize(
    ("command", "name"), [("install", SERVICE), ("install", TIMER), ("remove", SERVICE), ("status", TIMER)]
)
def test_a_unit_of_somebody_else_is_left_alone(root: Path, command: str, name: str) -> None:
    (root / UNITS / name).write_text("[Unit]\nDescription=mine\n")
    said = refused(root, "unit-not-ours", command)
    assert f"/etc/systemd/system/{name}" in said.text


def test_a_unit_that_is_a_link_is_not_written_through(root: Path) -> None:
    """As `systemctl mask` leaves it: a link to /dev/null."""
    (root / UNITS / TIMER).symlink_to("/dev/null")
    before = tree(root)
    said = run(root, "install", "-o", "json")
    assert said.status == 3, said.text
    assert_document(said)
    assert tree(root) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--calendar", "daily\nOnBootSec=1"), "calendar-not-understood"),
        (("--calendar", "  "), "calendar-not-understood"),
        (("--within", "soon"), "duration-not-understood"),
        (("--within", "30d --emergency"), "duration-not-understood"),
        (("--random-delay", "6h\nUser=x"), "duration-not-understood"),
    ],
    ids=[
        "a line break",
        "blanks",
        "no duration",
        "another option",
        "a line break in the delay",
    ],
)
def test_what_would_make_another_unit_is_wrong_usage(root: Path, words: tuple[str, ...], code: str) -> None:
    refused(root, code, "install", *words, status=2)


@pytest.mark.parametrize("command", ["install", "remove", "status"])
def test_a_root_that_is_not_there_is_refused(tmp_path: Path, command: str) -> None:
    said = run(tmp_path / "nowhere", command, "-o", "json")
    assert (said.status, said.codes) == (3, ["no-root"])
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_systemds_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "timer-not-writable", "install")


def test_without_rights_to_write_nothing_is_written_and_it_says_sudo() -> None:
    if os.geteuid() == 0 and (why := nobody_may_run()):
        pytest.skip(why)
    with public_folder() as folder:
        (folder / UNITS).mkdir(parents=True)
        (folder / UNITS).chmod(0o555)
        said = run(folder, "install", before=AS_NOBODY if os.geteuid() == 0 else ())
        assert (said.status, "(timer-not-writable)" in said.err) == (3, True), said.text
        assert "sudo aggctl certs timer install" in said.err
        assert_decent(said)
        assert list((folder / UNITS).iterdir()) == []


def test_a_folder_in_the_place_of_a_unit_is_named_and_nothing_is_written(root: Path) -> None:
    (root / UNITS / TIMER).mkdir()
    before = tree(root)
    said = run(root, "install", "-o", "json")
    assert (said.status, said.codes) == (1, ["file-not-readable"])
    assert f"/etc/systemd/system/{TIMER}: not a regular file" in said.text
    assert_document(said)
    assert tree(root) == before


# --- status and remove ------------------------------------------------------------------------------------


def test_the_status_tells_by_its_exit_whether_there_is_a_timer(root: Path) -> None:
    said = refused(root, "timer-not-installed", "status")
    assert "sudo aggctl certs timer install" in said.text
    assert run(root, "install").status == 0
    installed = run(root, "status")
    assert (installed.status, "The timer is installed." in installed.out) == (0, True)
    (root / UNITS / SERVICE).unlink()
    assert run(root, "status").status == 3


def test_removed_it_is_as_if_it_had_never_been(root: Path) -> None:
    (root / UNITS / "mine.timer").write_text("[Unit]\n")
    before: Tree = tree(root)
    assert run(root, "install").status == 0
    said = run(root, "remove", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "applied")
    assert {each["action"] for each in said.document["changes"]} == {"delete"}
    assert tree(root) == before
    again = run(root, "remove", "-o", "json")
    assert (again.status, again.document["outcome"]) == (0, "unchanged")


def test_half_of_it_is_removed_too(root: Path) -> None:
    assert run(root, "install").status == 0
    (root / UNITS / TIMER).unlink()
    assert run(root, "remove").status == 0
    assert list((root / UNITS).iterdir()) == []
