"""Installing the timer where systemd runs: it is told, and where it refuses everything comes back.

systemd is a program of the test called systemctl; files are below a root of the test, never this machine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aggctl.core.certs.timer import SERVICE_NAME, TIMER_NAME, service, timer
from aggctl.errors import AggctlError
from aggctl.system import systemd
from aggctl.system.files import Files
from aggctl.workflows.timer import install, remove, status

if TYPE_CHECKING:
    from pathlib import Path

    from aggctl.core.report import Report

UNITS = {SERVICE_NAME: service(("/usr/bin/aggctl", "certs")), TIMER_NAME: timer("daily", "6h")}
OTHERS = {SERVICE_NAME: service(("/usr/bin/aggctl", "certs")), TIMER_NAME: timer("weekly", "6h")}
ENABLE = f"enable --now {TIMER_NAME}"
WELL = "ActiveState=active\\nNextElapseUSecRealtime=Mon 03:00\\nLastTriggerUSec={}\\nResult=success\\n\\n"


class Machine:
    """A machine that systemd runs; its systemctl notes what it is asked, and prints what a test says."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.log = folder / "root", folder / "bin", folder / "log"
        self.folder = self.root / "etc/systemd/system"
        self.folder.mkdir(parents=True)
        self.bin.mkdir()
        self.answers("")

    def answers(self, printed: str, failing: str = "nothing") -> None:
        """Print this; end badly where the first word is `failing`."""
        program = self.bin / "systemctl"
        lines = (
            "#!/bin/sh",
            f'echo "$@" >> {self.log}',
            f'if [ "$1" = {failing} ]; then echo "not today" >&2; exit 1; fi',
            f"printf '{printed}'",
        )
        program.write_text("\n".join(lines))
        program.chmod(0o755)

    def asked(self) -> list[str]:
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def install(self, units: dict[str, bytes] | None = None) -> Report:
        return install(Files(str(self.root)), "/", units or UNITS)

    def remove(self) -> Report:
        return remove(Files(str(self.root)), "/")

    def status(self) -> Report:
        return status(Files(str(self.root)), "/")

    def units(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path))
    monkeypatch.setenv("PATH", str(made.bin))
    return made


def test_systemd_reads_the_units_again_and_starts_the_timer(machine: Machine) -> None:
    assert machine.install().outcome == "applied"
    assert machine.asked() == ["daemon-reload", ENABLE]
    assert machine.units() == UNITS


@pytest.mark.parametrize("failing", ["daemon-reload", "enable"])
@pytest.mark.parametrize("before", [{}, OTHERS], ids=["first", "a change"])
def test_where_systemd_refuses_the_units_are_as_they_were(
    machine: Machine, before: dict[str, bytes], failing: str
) -> None:
    if before:
        machine.install(before)
    machine.answers("", failing=failing)
    with pytest.raises(AggctlError, match="not today") as error:
        machine.install()
    assert (error.value.code, error.value.exit_status) == ("systemctl-failed", 1)
    assert machine.units() == before
    assert machine.asked()[-1] == "daemon-reload"


def test_a_timer_that_somebody_stopped_is_started_by_installing_it_again(machine: Machine) -> None:
    machine.install()
    machine.asked()
    machine.install()
    assert ENABLE in machine.asked()


def test_a_timer_that_is_active_is_left_as_it_is(machine: Machine) -> None:
    machine.install()
    machine.asked()
    machine.answers("ActiveState=active")
    assert machine.install().outcome == "unchanged"
    assert not {"daemon-reload", ENABLE} & set(machine.asked())


def test_the_timer_is_stopped_before_its_units_go(machine: Machine) -> None:
    machine.install()
    machine.asked()
    assert machine.remove().outcome == "applied"
    assert machine.asked() == [f"disable --now {TIMER_NAME}", "daemon-reload"]
    assert machine.units() == {}


def test_one_that_cannot_be_stopped_goes_all_the_same(machine: Machine) -> None:
    machine.install()
    machine.answers("", failing="disable")
    assert machine.remove().outcome == "applied"
    assert machine.units() == {}


@pytest.mark.parametrize(
    ("printed", "outcome", "code"),
    [
        (WELL.format("Sun 03:00") + "ActiveState=inactive\\nResult=success\\n", "healthy", ""),
        (WELL.format("") + "ActiveState=inactive\\nResult=success\\n", "healthy", ""),
        (
            WELL.format("x").replace("=active", "=inactive") + "Result=success\\n",
            "problems",
            "timer-not-active",
        ),
        (WELL.format("x") + "ActiveState=failed\\nResult=exit-code\\n", "problems", "timer-run-failed"),
        ("", "problems", "timer-not-active"),
    ],
    ids=["well", "never ran yet", "stopped", "its last run failed", "nothing printed"],
)
def test_the_status_is_what_systemd_says(machine: Machine, printed: str, outcome: str, code: str) -> None:
    machine.install()
    machine.answers(printed)
    report = machine.status()
    assert report.outcome == outcome
    assert [finding.code for finding in report.findings] == ([code] if code else [])


def test_the_status_says_when_it_runs_next_and_ran_last(machine: Machine) -> None:
    machine.install()
    machine.answers(WELL.format("") + "Result=success\\n")
    assert machine.status().summary == ("The timer is active; next run Mon 03:00, last run never yet.",)


def test_where_nothing_is_installed_systemd_is_not_asked(machine: Machine) -> None:
    assert [machine.status().outcome, machine.remove().outcome] == ["problems", "unchanged"]
    assert machine.asked() == []
