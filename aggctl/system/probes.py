"""What can be seen from this machine: processes, arguments that a binary takes, sockets, container logs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from aggctl.core.questions import (
    ArgumentsAccepted,
    ContainerLogs,
    Dial,
    Handshake,
    LogSeen,
    Processes,
    ProcessSeen,
    Question,
    SecurityLabels,
    Unknown,
)
from aggctl.core.text import clean
from aggctl.system.handshake import DIAL_SECONDS, served, shown_at

VERSION_SECONDS = 20.0
LOG_TAIL = 64 * 1024
LOG_LINES = 40
DEFAULT_PORT = "6443"
_BINARIES = ("kube-apiserver", "apiserver", "hyperkube")


class Probes:
    """Probes of the node whose files lie below `root`. /proc is the machine's own, whatever the root."""

    def __init__(self, root: str = "/") -> None:
        self._root = os.path.realpath(root)

    def look(self, question: Question) -> Any:
        """Answer a question about this node; what cannot be seen is Unknown with the reason."""
        match question:
            case Processes(port):
                return self._processes(port)
            case ArgumentsAccepted(pid, flags):
                return _accepted(pid, flags)
            case Dial(address):
                return _dial(address)
            case Handshake(address, name, authority):
                return served(partial(shown_at, address, name), address, authority)
            case ContainerLogs(namespace, pod, container):
                return self._logs(namespace, pod, container)
            case SecurityLabels(paths):
                return self._labels(paths)
        raise TypeError(question)

    def _processes(self, port: int) -> tuple[ProcessSeen, ...]:
        own = _link("/proc/self/ns/net")
        entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
        found = [
            seen for entry in entries if (seen := self._process(entry, own)) and _port(seen.argv) == port
        ]
        return tuple(sorted(found, key=lambda process: process.started))

    def _process(self, entry: Path, network: str) -> ProcessSeen | None:
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
            if not words or not words[0].decode("utf-8", "replace").rpartition("/")[2].startswith(_BINARIES):
                return None
            if _link(str(entry / "ns/net")) != network:
                return None
            started = float((entry / "stat").read_bytes().rpartition(b")")[2].split()[19])
            container_root = _link(str(entry / "cwd"))
        except (OSError, IndexError, ValueError):
            return None  # it ended meanwhile, or is somebody else's
        argv = tuple(word.decode("utf-8", "replace") for word in words)
        if self._root != "/" and container_root.startswith(self._root.rpartition("/")[0] + "/"):
            argv = tuple(word.replace(container_root, "") for word in argv)
        return ProcessSeen(int(entry.name), started, argv)

    def _labels(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Where SELinux only warns, or is not there, labels decide nothing."""
        try:
            enforces = Path("/sys/fs/selinux/enforce").read_text("ascii").strip() == "1"
        except OSError:
            enforces = False
        return tuple(_label(self._root + path) if enforces else "" for path in paths)

    def _logs(self, namespace: str, pod: str, container: str) -> tuple[LogSeen, ...] | Unknown:
        """The kubelet writes /var/log/pods/NAMESPACE_POD-NODE_UID/CONTAINER/RUN.log in the CRI's format."""
        folder = Path(self._root) / "var/log/pods"
        try:
            found = folder.glob(f"{namespace}_{pod}*/{container}/*.log")
            runs = [self._inside(_run(path)) for path in found if path.stem.isdigit() and path.is_file()]
        except OSError as error:
            return Unknown(f"the container logs in {folder} cannot be read: {error.strerror}", "no-rights")
        return tuple(sorted(runs, key=lambda run: run.began))

    def _inside(self, run: LogSeen) -> LogSeen:
        """Paths in a log as the container sees them: in a sandbox a container is a folder beside the root."""
        if self._root == "/":
            return run
        folder = re.escape(self._root.rpartition("/")[0])
        rootfs = re.compile(rf"{folder}/run/containers/[^/\s]+/rootfs(?=/)")
        return replace(run, lines=tuple(rootfs.sub("", line) for line in run.lines))


def _accepted(pid: int, flags: tuple[str, ...]) -> str | Unknown:
    """Ask the running binary itself: with --version it parses every flag, then prints and ends (60 ms)."""
    try:
        running = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        words = [word.decode("utf-8", "replace") for word in running[1:]]
        subcommand = words[:1] if words and not words[0].startswith("-") else []
        done = subprocess.run(
            [f"/proc/{pid}/exe", *subcommand, *flags, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unknown(
            f"the binary of process {pid} could not be asked: {clean(str(error))}", "binary-not-asked"
        )
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in said if line.lower().startswith("error")]
    return clean((errors or said or [f"exit status {done.returncode}"])[-1].removeprefix("Error: "))


def _flag_name(word: str) -> str:
    return word.lstrip("-").partition("=")[0].replace("_", "-") if word.startswith("--") else ""


def _port(argv: tuple[str, ...]) -> int:
    values = [word.partition("=")[2] for word in argv if _flag_name(word) == "secure-port"]
    return int(values[-1]) if values and values[-1].isdigit() else int(DEFAULT_PORT)


def _dial(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_SECONDS).close()
    except OSError as error:
        return clean(error.strerror or str(error))
    except (ValueError, OverflowError) as error:  # no name that can be looked up, or no port
        return clean(str(error))
    return ""


_CRI = re.compile(r"^(?P<time>\S+) (?:stdout|stderr) [FP] ")


def _run(path: Path) -> LogSeen:
    """The last lines without the CRI's prefix, and the moment of the first one."""
    with path.open("rb") as file:
        first = file.readline(4096).decode("utf-8", "replace")
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
        lines = file.read(LOG_TAIL).decode("utf-8", "replace").splitlines()
    shown = tuple(clean(_CRI.sub("", line), 500) for line in lines[-LOG_LINES:])
    return LogSeen(int(path.stem), _moment(first) or path.stat().st_mtime, shown)


def _moment(line: str) -> float:
    """The time of a CRI log line in seconds of the epoch, 0 where there is none."""
    found = _CRI.match(line)
    if not found:
        return 0.0
    text = re.sub(r"(\.\d{6})\d*", r"\1", found["time"])  # nanoseconds are more than datetime reads
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _label(path: str) -> str:
    """user:role:type:level; the type is what decides."""
    try:
        return clean(os.getxattr(path, "security.selinux").rstrip(b"\0"), 200)
    except OSError:
        return ""


def _link(path: str) -> str:
    return str(Path(path).readlink())
