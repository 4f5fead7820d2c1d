"""What can be seen from this machine: processes, arguments that a binary takes, sockets, container logs."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggctl.core.questions import (
    ArgumentsAccepted,
    ContainerLogs,
    Dial,
    Handshake,
    LogSeen,
    Processes,
    ProcessSeen,
    Question,
    ServedSeen,
    Unknown,
)
from aggctl.core.text import clean
from aggctl.system.kubeconfig import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator

DIAL_SECONDS = 2.0
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
                return _handshake(address, name, authority)
            case ContainerLogs(namespace, pod, container):
                return self._logs(namespace, pod, container)
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

    def _logs(self, namespace: str, pod: str, container: str) -> tuple[LogSeen, ...] | Unknown:
        """The kubelet writes /var/log/pods/NAMESPACE_POD-NODE_UID/CONTAINER/RUN.log in the CRI's format."""
        folder = Path(self._root) / "var/log/pods"
        try:
            found = folder.glob(f"{namespace}_{pod}*/{container}/*.log")
            runs = [_run(path) for path in found if path.stem.isdigit() and path.is_file()]
        except OSError as error:
            return Unknown(f"the container logs in {folder} cannot be read: {error.strerror}", "no-rights")
        return tuple(sorted(runs, key=lambda run: run.began))


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
    return ""


def _handshake(address: str, name: str, authority: str) -> ServedSeen | Unknown:
    """Look first, then verify as kube-apiserver does: by SAN only, never by the common name."""
    try:
        with _tls(address, name, tls_context(b"", insecure=True)) as connection:
            certificate = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").encode()
    except ssl.SSLError as error:
        return ServedSeen(b"", f"no TLS handshake: {clean(error.reason or str(error))}")
    except OSError as error:
        silent = "it takes the connection and says nothing" if isinstance(error, TimeoutError) else ""
        said = silent or clean(error.strerror or str(error))
        if refused := _dial(address):
            return Unknown(f"{address} cannot be dialled from here: {refused}")
        return ServedSeen(b"", f"no TLS handshake: {said}")
    if not authority:
        return ServedSeen(certificate, "there is no CA to verify it by")
    try:
        context = tls_context(authority.encode())
        context.hostname_checks_common_name = False
        with _tls(address, name, context):
            return ServedSeen(certificate)
    except ssl.SSLCertVerificationError as error:
        return ServedSeen(certificate, clean(error.verify_message or str(error)))
    except OSError as error:  # as before a moment ago, so it is what is served that is not understood
        return ServedSeen(certificate, clean(error.strerror or str(error)))


@contextlib.contextmanager
def _tls(address: str, name: str, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        yield connection


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


def _link(path: str) -> str:
    return str(Path(path).readlink())
