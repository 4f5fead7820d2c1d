"""systemctl, where systemd runs this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

from aggctl.core.text import clean
from aggctl.errors import Failed

RUNS = "/run/systemd/system"
"""sd_booted(3): there while systemd is the init of this machine."""
SECONDS = 30


def is_running(root: str) -> bool:
    """Whether units below `root` are those of the systemd that runs here."""
    return Path(root).resolve() == Path("/") and Path(RUNS).is_dir()


def systemctl(*words: str) -> str:
    """What it prints; Failed where it ends with another status than 0."""
    try:
        ended = subprocess.run(
            ("systemctl", *words),  # noqa: S607 -- where the machine has it
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(words, str(error)) from error
    if ended.returncode:
        raise _failed(words, ended.stderr.strip())
    return ended.stdout


def _failed(words: tuple[str, ...], said: str) -> Failed:
    command = " ".join(words)
    return Failed(
        "systemctl-failed",
        f"systemctl {command} failed: {clean(said, 300)}",
        do=f"see why: systemctl status {words[-1]}",
    )
