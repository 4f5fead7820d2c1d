"""The Debian package: the one file as /usr/bin/aggctl, with its manual page and completions."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from release import preamble

MACHINES = {"x86_64": "amd64"}
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/aggctl",
    "zsh": "usr/share/zsh/vendor-completions/_aggctl",
    "fish": "usr/share/fish/vendor_completions.d/aggctl.fish",
}
PLUGINS = ("kubectl-aggctl", "kubectl_complete-aggctl")
CONTROL = """\
Package: aggctl
Version: {version}
Architecture: {architecture}
Maintainer: The aggctl authors <aggctl@localhost>
Installed-Size: {kibibytes}
Depends: python3 (>= 3.{oldest}), python3 (<< 3.{beyond}), libc6 (>= {glibc})
Section: admin
Priority: optional
Description: switch on, prove, and mend the Kubernetes aggregation layer
 One program for a node of the control plane: it shows its plan first, proves
 the result by a real request, and puts everything back when that fails.
 .
 What it needs of Python lies inside; at its first start it is unpacked to
 {cache}, which is removed with the package.
"""
REMOVED = f"""\
#!/bin/sh
# What the last version unpacked; a new one unpacks itself anew.
set -e
rm -rf {preamble.FOLDER_OF_ROOT}
"""


def make_package(onefile: Path, bill: Path, version: str, folder: Path) -> Path:
    """The package in `folder`; reproducible where SOURCE_DATE_EPOCH is set, as dpkg-deb goes by it."""
    architecture = MACHINES[preamble.MACHINE]
    output = folder.absolute() / f"aggctl_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="aggctl-deb-") as place:
        tree = Path(place, "aggctl")
        _lay(tree, onefile, bill)
        sizes = {path.stat().st_ino: path.stat().st_size for path in tree.rglob("*") if path.is_file()}
        _write(tree / "DEBIAN/control", _control(version, architecture, sum(sizes.values()) // 1024))
        _write(tree / "DEBIAN/postrm", REMOVED, 0o755)
        for path in (tree, *tree.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)  # whatever the umask
        # uncompressed: the one file is compressed already
        command = ("dpkg-deb", "--root-owner-group", "--threads-max=1", "-Znone", "--build", tree, output)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    output.chmod(0o644)
    return output


def _lay(tree: Path, onefile: Path, bill: Path) -> None:
    """All files of the package below `tree`."""
    program = tree / "usr/bin/aggctl"
    program.parent.mkdir(parents=True)
    shutil.copyfile(onefile, program)
    program.chmod(0o755)
    for name in PLUGINS:
        (program.parent / name).hardlink_to(program)  # pex follows a symbolic link, and the name is lost
    for shell, path in COMPLETIONS.items():
        _write(tree / path, _said("completion", shell))
    _pack(tree / "usr/share/man/man1/aggctl.1.gz", _said("man").encode())
    documents = tree / "usr/share/doc/aggctl"
    _write(documents / "copyright", Path("LICENSE").read_text(encoding="utf-8"))
    _write(documents / "aggctl.cdx.json", bill.read_text(encoding="utf-8"))
    _pack(documents / "changelog.gz", Path("CHANGELOG.md").read_bytes())


def _control(version: str, architecture: str, kibibytes: int) -> str:
    return CONTROL.format(
        version=version,
        architecture=architecture,
        kibibytes=kibibytes,
        oldest=preamble.OLDEST,
        beyond=preamble.NEWEST + 1,
        glibc=".".join(map(str, preamble.GLIBC)),
        cache=preamble.FOLDER_OF_ROOT,
    )


def _said(*words: str) -> str:
    """What the command says, run from this checkout."""
    told = subprocess.run(
        [sys.executable, "-m", "aggctl", *words],
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _pack(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))
    path.chmod(0o644)
