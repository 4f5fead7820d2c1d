"""A Debian that has Python and nothing of pip's, as a folder; a program runs there without a network."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.refusals import Said

from aggctl.sandbox import components

SUITE = "bookworm"
PACKAGES = "python3"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 120
MADE_ANEW = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")


def missing() -> str:
    """What this machine lacks for it, in words; empty where nothing is missing."""
    if os.geteuid() != 0:
        return "a Debian in a folder needs root"
    return "" if shutil.which("debootstrap") else "a Debian in a folder needs: apt-get install debootstrap"


@dataclass(frozen=True)
class Image:
    """The folder of one machine; each `run` is alone in namespaces of its own, and leaves no mount behind."""

    root: Path

    def run(self, *words: str, user: int = 0, node: Path | None = None, **environment: str) -> Said:
        """Run a program there.

        `node` is a sandbox's folder: it is there, too, then, and so are this machine's network and processes.
        """
        alone = () if node else ("--net", "--pid", "--fork", "--kill-child")
        mounts = [f"mount -t proc proc {self.root}/proc"]
        if node:
            there = f"{self.root}{node}"
            mounts += [
                f"mkdir -p {shlex.quote(there)}",
                f"mount --rbind {shlex.quote(str(node))} {shlex.quote(there)}",
            ]
        inside = [
            *("chroot", f"--userspec={user}:{user}", str(self.root)),
            *(
                "/usr/bin/env",
                "-i",
                *(f"{k}={v}" for k, v in ({"PATH": PATH, "HOME": "/root"} | environment).items()),
            ),
            *words,
        ]
        done = subprocess.run(
            [*("unshare", "--mount"), *alone, "sh", "-ec", f"{'; '.join(mounts)}; exec {shlex.join(inside)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def shell(self, script: str, **environment: str) -> Said:
        """Run a line of sh there, as root."""
        return self.run("sh", "-c", script, user=0, node=None, **environment)


def image_in(folder: Path) -> Image:
    """A machine of the test's own, from the archive in the cache; that is made where it is not there yet."""
    root = folder / "debian"
    root.mkdir()
    subprocess.run(
        [*("tar", "--extract", "--numeric-owner"), "--file", _archive(), "--directory", root], check=True
    )
    return Image(root)


def _archive() -> Path:
    """A minute the first time."""
    archive = components.cache_folder() / "images" / f"{SUITE}-{PACKAGES}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=archive.parent) as place:
                _make(Path(place, "root"), Path(place, "tar"))
                Path(place, "tar").rename(archive)
    return archive


def _make(root: Path, archive: Path) -> None:
    """In a mount namespace of its own, where what debootstrap mounts ends with it."""
    bootstrap = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root)
    made = subprocess.run([*("unshare", "--mount"), *bootstrap], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr
    left_out = [f"--exclude=./{path}/*" for path in MADE_ANEW]
    subprocess.run(
        [
            *("tar", "--create", "--numeric-owner", "--one-file-system"),
            *left_out,
            "-f",
            archive,
            "-C",
            root,
            ".",
        ],
        check=True,
    )
