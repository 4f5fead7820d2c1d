"""aggctl in the hands of an operator with the wrong node: run it, and hold what it says and leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

AGGCTL = (sys.executable, "-m", "aggctl")
ENABLE = ("enable", "--routing", "off", "--yes")
KEYS = {"apiVersion", "command", "outcome", "summary", "items", "changes", "findings", "next"}
FINDING_KEYS = {"code", "severity", "subject", "message", "fix", "expected", "evidence", "hopeless"}
JOURNAL = "var/lib/aggctl"
SECONDS = 120
NOBODY = 65534

Tree = dict[str, tuple[int, int, int, str]]


@dataclass(frozen=True)
class Said:
    """What one run of aggctl said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def document(self) -> Any:
        """The one document of `-o json`; JSONDecodeError where there is anything beside it."""
        return json.loads(self.out)

    @property
    def codes(self) -> list[str]:
        return [finding["code"] for finding in self.document["findings"]]


def aggctl(
    *words: str,
    before: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    **more: Any,
) -> Said:
    """Run the console script without a terminal; `before` are words of a program that runs it."""
    done = subprocess.run(
        [*before, *AGGCTL, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env=clean_environment() | (environment or {}),
        **more,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """The environment without what steers aggctl or Python's output."""
    steering = (
        "KUBE",
        "NO_COLOR",
        "FORCE_COLOR",
        "PYTHONIOENCODING",
        "PYTHONUTF8",
        "PYTHONUNBUFFERED",
        "COLUMNS",
        "LC_",
        "LANG",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)} | {
        "LANG": "C.UTF-8"
    }


@dataclass
class BadNode:
    """A copy of a sandbox's node, to be spoilt; its kube-apiserver runs, its kubelet knows nothing of it."""

    root: Path
    before: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    seen_at: Path | None = None
    """Where this process sees the root, if aggctl runs among other mounts."""

    @property
    def manifest(self) -> Path:
        return self.root / "etc/kubernetes/manifests/kube-apiserver.yaml"

    @property
    def pki(self) -> Path:
        return self.root / "etc/kubernetes/pki"

    @property
    def admin(self) -> Path:
        return self.root / "etc/kubernetes/admin.conf"

    def edit(self, old: str, new: str) -> None:
        """Replace a text of the manifest."""
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))

    def write(self, path: str, content: str = "") -> None:
        """Put a file below the root."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def run(self, *words: str) -> Said:
        """Run aggctl on this node."""
        command, *options = words
        return aggctl(
            command,
            "--root",
            str(self.root),
            *options,
            before=self.before,
            environment=self.environment,
        )

    def tree(self) -> Tree:
        return tree(self.seen_at or self.root)


def tree(root: Path) -> Tree:
    """Everything below a folder: mode, owner, and what is in it."""
    return {
        str(path.relative_to(root)): (*_stamp(path), _content(path))
        for path in [root, *sorted(root.rglob("*"))]
    }


def _stamp(path: Path) -> tuple[int, int, int]:
    info = path.lstat()
    return info.st_mode, info.st_uid, info.st_gid


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if not stat.S_ISREG(path.lstat().st_mode) or str(path).endswith(f"{JOURNAL}/lock"):
        return ""  # the lock names who held it last
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_decent(said: Said) -> None:
    """No traceback, no key, no escape sequence, and not a word that only a programmer understands."""
    for banned in ("Traceback", "PRIVATE KEY", "\x1b", "NoneType", "object at 0x", "Errno", "ERROR:root"):
        assert banned not in said.text, said.text


def assert_document(said: Said) -> None:
    """One JSON document with the keys of the contract; nothing else on stdout."""
    assert set(said.document) == KEYS
    for finding in said.document["findings"]:
        assert set(finding) == FINDING_KEYS
        assert finding["message"]
        assert finding["fix"]


def assert_refused(node: BadNode, code: str, *words: str, status: int = 3) -> Said:
    """Refused twice, in text and in JSON, by this code first; the whole tree is as it was. Gives the text."""
    words = words or ENABLE
    before = node.tree()
    with ThreadPoolExecutor() as side_by_side:
        text = side_by_side.submit(node.run, *words)
        as_json = node.run(*words, "-o", "json")
        said = text.result()
    assert node.tree() == before
    for each in (said, as_json):
        assert each.status == status, each.text
        assert_decent(each)
    assert f"({code})" in said.text, said.text
    assert_document(as_json)
    assert as_json.err == ""
    assert as_json.document["outcome"] == "refused"
    assert as_json.codes[0] == code
    return said


@contextmanager
def own_mounts(folder: Path, what: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Path]]:
    """A mount namespace in which `what` (words for mount(8)) is done.

    Gives the words that run a program in there, and where this process sees `folder` of it.
    """
    holder = subprocess.Popen(
        [
            shutil.which("unshare") or "unshare",
            "--mount",
            "sh",
            "-c",
            '"$@" && echo ready && exec cat',
            "sh",
            "mount",
            *what,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        enter = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wdns={Path.cwd()}")
        yield enter, Path(f"/proc/{holder.pid}/root{folder}")
    finally:
        holder.communicate("")


def can_mount() -> str:
    """Why this user cannot make mounts of its own, or the empty string."""
    unshare = shutil.which("unshare")
    if not (unshare and shutil.which("nsenter")):
        return "unshare and nsenter (package util-linux) are missing"
    done = subprocess.run(
        [unshare, "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "mounts need root: " + done.stderr.decode(errors="replace").strip()


AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
"""The words that make root nobody, who may not do what others may not."""


def nobody_may_run() -> str:
    """Why nobody cannot run this checkout's aggctl, or the empty string."""
    done = subprocess.run([*AS_NOBODY, sys.executable, "-c", "import aggctl.cli.app"], check=False)
    return "" if done.returncode == 0 else "nobody may run this checkout's Python"
