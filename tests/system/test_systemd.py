"""systemctl is run as it is on PATH: what it prints, how it fails, and when it is not asked at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aggctl.errors import Failed
from aggctl.system import systemd
from aggctl.system.systemd import is_running, systemctl

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def script(folder: Path, text: str, mode: int = 0o755) -> None:
    """A program called systemctl."""
    path = folder / "systemctl"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


def test_what_it_prints_comes_back(programs: Path) -> None:
    script(programs, 'printf "%s|" "$@"; echo noise >&2')
    assert systemctl("show", "aggctl-certs.timer", "--property=Result") == (
        "show|aggctl-certs.timer|--property=Result|"
    )


@pytest.mark.parametrize("status", [1, 4, 127])
def test_another_status_than_0_is_a_failure_with_its_words(programs: Path, status: int) -> None:
    script(programs, f'printf "Unit \\033[31mx\\033[0m not loaded.\\n" >&2; exit {status}')
    with pytest.raises(Failed) as error:
        systemctl("enable", "--now", "x.timer")
    assert error.value.code == "systemctl-failed"
    assert error.value.message.startswith("systemctl enable --now x.timer failed: Unit ")
    assert "not loaded." in error.value.message
    assert "\x1b" not in error.value.message
    assert "systemctl status x.timer" in error.value.do


def test_one_that_is_not_there_is_a_failure(programs: Path) -> None:
    assert list(programs.iterdir()) == []
    with pytest.raises(Failed, match="No such file or directory") as error:
        systemctl("daemon-reload")
    assert isinstance(error.value.__cause__, FileNotFoundError)


def test_one_that_cannot_be_started_is_a_failure(programs: Path) -> None:
    script(programs, "", mode=0o644)
    with pytest.raises(Failed, match="Permission denied"):
        systemctl("daemon-reload")


def test_one_that_does_not_come_back_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "SECONDS", 0.1)
    script(programs, "exec /bin/sleep 60")
    with pytest.raises(Failed, match="timed out"):
        systemctl("daemon-reload")


def test_it_runs_where_the_root_is_this_machine_and_systemd_its_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "link"
    here.symlink_to("/")
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path))
    assert [is_running(root) for root in ("/", "//", str(here))] == [True, True, True]
    assert not is_running(str(tmp_path))
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path / "missing"))
    assert not is_running("/")


def test_a_file_of_that_name_is_no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path / "file"))
    assert not is_running("/")
