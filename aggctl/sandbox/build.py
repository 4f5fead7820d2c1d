"""One `go build`: its progress told, its children ended with it, its result there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.errors import AggctlError, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TELL_EVERY = 5.0
"""Seconds between two lines of progress."""

END_WAIT = 5.0
OFFLINE = ("dial tcp", "no such host", "i/o timeout", "TLS handshake", "connection refused", "proxyconnect")


@dataclass(frozen=True, slots=True)
class Component:
    """A program: the module (a folder with go.mod and go.sum) that pins it, and its package in there."""

    name: str
    module: Path
    package: str
    version: str
    stamps: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Its folder in the cache; another version is another folder."""
        return f"{self.module.name}-{self.version}"


def build(component: Component, target: Path, go: Path, say: Callable[[str], None]) -> None:
    """Build a program and rename it to `target`. The caller holds its lock, so drafts of others are dead."""
    draft_name = f".{component.name}-build-"
    for left_over in target.parent.glob(f"{draft_name}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    start = time.monotonic()
    say(f"building {component.name} {component.version} with {go}, once; this takes minutes")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=draft_name) as draft:
        _run(component, Path(draft), go, say)
        (Path(draft) / component.name).rename(target)
    say(f"built {component.name} in {time.monotonic() - start:.0f} s: {target}")


def _run(component: Component, draft: Path, go: Path, say: Callable[[str], None]) -> None:
    process = subprocess.Popen(
        _command(component, draft, go),
        cwd=component.module,
        env=_environment(draft),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
    )
    with _ended(process):
        last = _follow(component, process, say)
        if process.wait():
            raise _failure(component, tuple(last))


def _command(component: Component, draft: Path, go: Path) -> list[str]:
    flags = " ".join(("-s -w", *(f"-X {name}={value}" for name, value in component.stamps.items())))
    output = str(draft / component.name)
    return [
        str(go),
        "build",
        "-v",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        flags,
        "-o",
        output,
        component.package,
    ]


def _environment(draft: Path) -> dict[str, str]:
    """The user's settings of proxy and caches, and none that would change what is built."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH", "GOEXPERIMENT"}
    }
    return kept | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOTMPDIR": str(draft),
        "GOWORK": "off",
    }


def _follow(component: Component, process: subprocess.Popen[str], say: Callable[[str], None]) -> deque[str]:
    """Tell the progress until go closes its output; the last lines of it that are no progress."""
    start = told = time.monotonic()
    compiled, last = 0, deque[str](maxlen=8)
    for line in _lines(process):
        if line and not _is_package(line):
            last.append(line)
        compiled += bool(line) and _is_package(line)
        now = time.monotonic()
        if now - told >= TELL_EVERY:
            told = now
            say(f"building {component.name}: {compiled} packages compiled, {now - start:.0f} s")
    return last


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Lines of go's output, and an empty one whenever a second passes without any."""
    lines = queue.SimpleQueue[str | None]()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            line = ""
        if line is None:
            return
        yield line


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    with process.stderr or contextlib.nullcontext(()) as output:
        for line in output:
            lines.put(line.rstrip())
    lines.put(None)


def _is_package(line: str) -> bool:
    """`go build -v` prints a package's path and nothing else when it starts to compile it."""
    return not line.startswith(("go:", "#")) and " " not in line


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """See that go and its compilers are gone, however the block is left."""
    try:
        yield
    finally:
        if process.poll() is None:  # so its pid, and with it the group's, is still its own
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(END_WAIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _failure(component: Component, last: tuple[str, ...]) -> AggctlError:
    if any(sign in line for line in last for sign in OFFLINE):
        return Failed(
            "component-download-failed",
            f"the source of {component.name} {component.version} cannot be fetched from the Go module proxy",
            do="see that the network (or GOPROXY) works and run again, or name a folder with the programs: "
            "export KUBEBUILDER_ASSETS=/path/to/folder",
            evidence=last,
        )
    return Failed(
        "component-build-failed",
        f"building {component.name} {component.version} failed",
        do="correct what go says, or name a folder with the programs: "
        "export KUBEBUILDER_ASSETS=/path/to/folder",
        evidence=last,
    )
