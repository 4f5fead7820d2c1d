"""aggctl.pyz: aggctl and all that it needs as one file, by pex, for several versions of Python at once."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging import tags

from release import preamble

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY = "aggctl.__main__:main"
ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""What wheels called a glibc 2.n before PEP 600."""

Lock = str
"""The text of a pylock.toml (PEP 751), with the hash of each file."""


def make_onefile(wheel: Path, lock: Lock, version: str, output: Path) -> None:
    """The file; its bytes depend on the wheel, on the lock and on pex alone."""
    with tempfile.TemporaryDirectory(prefix="aggctl-onefile-") as place:
        shutil.copy(wheel, place)
        Path(place, "pylock.toml").write_text(lock + _entry(wheel, version), encoding="utf-8")
        command = [*_pex(), "--output-file", str(output.absolute())]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)  # it says the name


def carried(onefile: Path) -> dict[str, str]:
    """The wheels inside, as their file names, with pex's own hash of what it unpacked of each."""
    with zipfile.ZipFile(onefile) as archive:
        found: dict[str, str] = json.loads(archive.read("PEX-INFO"))["distributions"]
    return found


def platforms() -> Iterator[dict[str, Any]]:
    """Each Python that the file is for, as pex describes one that is not at hand."""
    for minor in range(preamble.OLDEST, preamble.NEWEST + 1):
        version, interpreter = (3, minor), f"cp3{minor}"
        systems = list(_systems())
        fitting = (
            *tags.cpython_tags(version, [interpreter], systems),
            *tags.compatible_tags(version, interpreter, systems),
        )
        yield {"marker_environment": _markers(minor), "compatible_tags": [str(tag) for tag in fitting]}


def _pex() -> list[str]:
    """--venv: 80 ms more a start, once it is unpacked; 700 without."""
    described = (word for each in platforms() for word in ("--complete-platform", json.dumps(each)))
    return [
        *(sys.executable, "-m", "pex", "--pylock", "pylock.toml", "--entry-point", ENTRY, "--venv"),
        *("--preamble-file", preamble.__file__, "--python-shebang", "#!/usr/bin/env python3"),
        *described,
    ]


def _entry(wheel: Path, version: str) -> str:
    """Our own wheel, as the lock would name it."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return (
        f'\n[[packages]]\nname = "aggctl"\nversion = "{version}"\n'
        f'wheels = [{{ path = "{wheel.name}", hashes = {{ sha256 = "{digest}" }} }}]\n'
    )


def _systems() -> Iterator[str]:
    """What a glibc of the preamble's age runs, the newest first."""
    for minor in range(preamble.GLIBC[1], 4, -1):
        yield f"manylinux_2_{minor}_{preamble.MACHINE}"
        if minor in ALIASES:
            yield f"{ALIASES[minor]}_{preamble.MACHINE}"
    yield f"linux_{preamble.MACHINE}"


def _markers(minor: int) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "implementation_version": f"3.{minor}.0",
        "os_name": "posix",
        "platform_machine": preamble.MACHINE,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"3.{minor}.0",
        "python_version": f"3.{minor}",
        "sys_platform": "linux",
    }
