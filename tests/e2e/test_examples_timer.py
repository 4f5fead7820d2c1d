"""examples/systemd-timer: units that systemd takes, and whose commands write what Prometheus reads."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.examples import BIN, EXAMPLES, commands, copied, run
from support.refusals import clean_environment
from support.sandboxes import sandbox_in

from aggctl.core.certs.timer import SERVICE_NAME, TIMER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.refusals import Said

EXAMPLE = EXAMPLES / "systemd-timer"
UNITS = sorted(path.name for path in EXAMPLE.glob("aggctl-*"))
PROGRAM = "/usr/local/bin/aggctl"
FOLDER, TEXTFILES = "etc/systemd/system", "var/lib/prometheus/node-exporter"

PLAYED = {
    "sudo": 'exec "$@"',
    "aggctl": f'exec {BIN}/aggctl "$@" --root "$NODE"',
    "systemctl": """
verb=$1; shift; [ "$1" != --now ] || shift
case "$verb" in
  enable | disable) exec "$SYSTEMCTL" --root="$NODE" "$verb" "$@" ;;
  start) sed -n 's/^ExecStart=-\\{0,1\\}//p' "$NODE/etc/systemd/system/$1" | sh -e ;;
  daemon-reload) ;;
  *) echo "no $verb here" >&2; exit 1 ;;
esac""",
}
"""The node is a sandbox, where no systemd runs: links are systemctl's own, services are run as they say."""


def needed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} (package systemd) is missing")
    return path


def verified(folder: Path) -> str:
    """What systemd has against the units, the program being where it is here."""
    paths = [str(folder / name) for name in UNITS]
    done = subprocess.run(
        [needed("systemd-analyze"), "verify", "--man=no", *paths],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | {"SYSTEMD_UNIT_PATH": "/usr/lib/systemd/system:"},
    )
    return done.stdout + done.stderr or f"status {done.returncode}" * bool(done.returncode)


def test_systemd_has_nothing_against_the_units(tmp_path: Path) -> None:
    assert verified(copied("systemd-timer", tmp_path, {PROGRAM: str(BIN / "aggctl")})) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ProtectSystem=strict", "ProtectSystem=sternly"),
        ("OnCalendar=*:0/5", "OnCalendar=now and then"),
        (PROGRAM, "/nowhere/aggctl"),
    ],
    ids=["a wrong value", "a wrong calendar", "a program that is not there"],
)
def test_systemd_would_say_what_is_wrong_with_them(tmp_path: Path, before: str, after: str) -> None:
    """The proof that the test above can fail."""
    changes = {before: after} | {PROGRAM: str(BIN / "aggctl")}
    assert after.partition("=")[2] in verified(copied("systemd-timer", tmp_path, changes))


def test_the_units_that_renew_are_those_that_aggctl_writes(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    said = run(f"aggctl certs timer install --root {tmp_path}", tmp_path)
    assert said.status == 0, said.text
    for name in (SERVICE_NAME, TIMER_NAME):
        written = (tmp_path / FOLDER / name).read_text().replace(str(BIN / "aggctl"), PROGRAM)
        assert (EXAMPLE / name).read_text() == written


@dataclass(frozen=True)
class Played:
    """What the commands of the README said, and the files of the node after each of its two parts."""

    install: Said
    installed: dict[str, str]
    remove: Said
    removed: dict[str, str]


@pytest.fixture(scope="module")
def played(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:  # noqa: ARG001 -- asked for to be skipped without them
    place = tmp_path_factory.mktemp("timer")
    (place / "bin").mkdir()
    for name, text in PLAYED.items():
        (place / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / "bin" / name).chmod(0o755)
    with sandbox_in(place / "sandbox", aggregation="on") as running:
        root = running.sandbox.root
        changes = {f"/{each}": f"{root}/{each}" for each in (FOLDER, TEXTFILES)}
        folder = copied("systemd-timer", place, changes | {PROGRAM: str(place / "bin/aggctl")})
        for each in (FOLDER, TEXTFILES):
            (root / each).mkdir(parents=True)

        def part(number: int) -> tuple[Said, dict[str, str]]:
            script = commands(folder, blocks=slice(number, number + 1))
            where = {"NODE": str(root), "SYSTEMCTL": needed("systemctl")}
            said = run(script, folder, place / "bin", environment=where)
            return said, dict(files(root))

        yield Played(*part(0), *part(1))


def files(root: Path) -> Iterator[tuple[str, str]]:
    for folder in (FOLDER, TEXTFILES):
        for path in sorted((root / folder).rglob("*")):
            if not path.is_dir():
                yield str(path.relative_to(root)), path.read_text() if path.is_file() else ""


@pytest.mark.controlplane
def test_installed_as_the_readme_says_both_timers_start_with_the_machine(played: Played) -> None:
    assert played.install.status == 0, played.install.text
    assert "The timer is installed." in played.install.out
    links = {name for name in played.installed if "timers.target.wants" in name}
    assert links == {f"{FOLDER}/timers.target.wants/aggctl-{each}.timer" for each in ("certs", "textfile")}


@pytest.mark.controlplane
@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("certs", "aggctl_certificate_expiration_timestamp_seconds{"),
        ("status", "# TYPE aggctl_apiservice_available gauge"),
    ],
)
def test_the_service_writes_what_node_exporter_reads(played: Played, name: str, metric: str) -> None:
    assert metric in played.installed[f"{TEXTFILES}/aggctl-{name}.prom"]


@pytest.mark.controlplane
def test_taken_away_as_the_readme_says_nothing_is_left(played: Played) -> None:
    assert played.remove.status == 0, played.remove.text
    assert played.removed == {}
