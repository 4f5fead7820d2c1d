"""`make dist`: sdist, wheel, the one file, what is in it, the Debian package, and the sums, into dist/.

The same sources make the same bytes, wherever and whenever: SOURCE_DATE_EPOCH is the time of the last commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from aggctl import __version__
from release.bill import make_bill
from release.debian import make_package
from release.onefile import carried, make_onefile

UV = Path(sys.executable).with_name("uv")
LOCKED = ("--frozen", "--quiet", "--no-dev")


def main() -> None:
    """Make all, or stop after the one file."""
    parser = argparse.ArgumentParser(prog="python -m release", description="Make what is handed out.")
    parser.add_argument("what", choices=["zipapp", "dist"])
    parser.add_argument("--output", type=Path, default=Path("dist"), metavar="FOLDER")
    wanted = parser.parse_args()
    if wanted.what == "dist" and not shutil.which("dpkg-deb"):
        sys.exit("the Debian package needs dpkg-deb (Debian: dpkg; Fedora: dpkg). `make zipapp` does without")
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    folder: Path = wanted.output
    folder.mkdir(parents=True, exist_ok=True)
    sdist, wheel = make_wheel(folder)
    onefile, bill = make_pair(wheel, folder)
    made = [sdist, wheel, onefile, bill]
    if wanted.what == "dist":
        made.append(make_package(onefile, bill, __version__, folder))
    made.append(_sum(folder / "SHA256SUMS", made))
    for path in made:
        print(f"{path.stat().st_size:>12,}  {folder / path.name}")  # noqa: T201 -- this is a script


def epoch() -> int:
    """The time that files are given: that of the last commit; in an unpacked sdist, that of the sdist."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    if not Path(".git").exists():
        sdist = Path("PKG-INFO")
        if not sdist.exists():
            sys.exit("neither .git nor PKG-INFO is here: set SOURCE_DATE_EPOCH to the time of these sources")
        return int(sdist.stat().st_mtime)
    said = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True)  # noqa: S607 -- whichever git there is
    return int(said.stdout)


def make_wheel(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it, by the hatchling of the lock."""
    by = ("--no-build-isolation", "--python", sys.executable)
    subprocess.run([UV, "build", "--quiet", "--no-create-gitignore", *by, "--out-dir", folder], check=True)
    return folder / f"aggctl-{__version__}.tar.gz", folder / f"aggctl-{__version__}-py3-none-any.whl"


def make_pair(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """The one file, and what is in it."""
    onefile, bill = folder / "aggctl.pyz", folder / "aggctl.cdx.json"
    make_onefile(wheel, _export("pylock.toml", "--no-emit-project"), __version__, onefile)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    exported = json.loads(_export("cyclonedx1.5"))
    bill.write_text(make_bill(exported, carried(onefile), __version__, digest, epoch()), encoding="utf-8")
    return onefile, bill


def _export(form: str, *more: str) -> str:
    """The lock, of what runs, in another form."""
    said = subprocess.run(
        [UV, "export", *LOCKED, "--format", form, *more], capture_output=True, text=True, check=True
    )
    return said.stdout


def _sum(path: Path, files: list[Path]) -> Path:
    """As `sha256sum --check` reads it."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    path.write_text("".join(lines), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
