"""The examples as a reader uses them: the commands of a README, run by a shell in a copy of the folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.refusals import Said, clean_environment

from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
SECONDS = 240.0


def copied(name: str, folder: Path, changes: Mapping[str, str] | None = None) -> Path:
    """A copy of an example; each text of `changes` stands for the other in all of its files."""
    copy = shutil.copytree(EXAMPLES / name, folder / name)
    for path in filter(Path.is_file, copy.rglob("*")):
        text = path.read_text(encoding="utf-8")
        for before, after in (changes or {}).items():
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
    return copy


def commands(folder: Path, *, blocks: slice = slice(None)) -> str:
    """The `sh` blocks of its README, or some of them, as one script."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)[blocks]
    assert found, f"{folder.name}/README.md has no commands"
    return "".join(found)


def built(*names: str) -> tuple[Path, ...]:
    """The folders of these programs; without one the test is skipped, or fails where tiers are required."""
    found = {name: components.find(components.COMPONENTS[name]) for name in names}
    missing = [name for name, program in found.items() if program is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not built yet: run `aggctl sandbox build`, or `make test`")
    return tuple(dict.fromkeys(program.path.parent for program in found.values() if program))


def run(
    script: str,
    folder: Path,
    *programs: Path,
    before: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Said:
    """Run it up to the first command that fails; what it leaves in the background is ended with it.

    `before` are words of a program that runs the shell.
    """
    there = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join((*(str(each) for each in programs if str(each) not in there), str(BIN), *there))
    out, err = (folder.with_name(f"{folder.name}.{name}") for name in ("out", "err"))
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*before, "/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=clean_environment() | {"PATH": path, **(environment or {})},
            start_new_session=True,
        )
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it goes on and on: {out.read_text()}{err.read_text()}")
        finally:
            _end_all_of(process.pid)
            process.wait()
    return Said(process.returncode, out.read_text(), err.read_text())


def _end_all_of(session: int) -> None:
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return
