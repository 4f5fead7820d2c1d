"""`make bench`: what aggctl costs, each figure beside a peer measured in the same run, alternating.

A figure is the median of the runs with its least and most. Ratios hold where the machine's speed drifts; the
targets are those of the project. Nothing here fails a build: the numbers are for reading.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from many import MANY, Many

from aggctl.core import pki
from aggctl.core.extension import Api, Extension, External, ServiceAt, Tls
from aggctl.core.register.request import of_flags
from aggctl.sandbox import control_plane
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.sandbox.control_plane import Sandbox

RUNS = 5
AGGCTL = [str(Path(sys.executable).parent / "aggctl")]
HELLO = Path(__file__).parents[1] / "examples/hello-api/hello_api.py"
API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
PATH = "/apis/hello.example.com/v1alpha1"
MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"


@dataclass
class Figure:
    """One row: seconds of each run, those of its peer, peak memory in MiB.

    The target is in seconds, or with `of_peer` a multiple of what the peer takes.
    """

    name: str
    target: float
    peer: str
    of_peer: bool = False
    seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def row(self) -> str:
        """The row as text."""
        median, low, high = statistics.median(self.seconds), min(self.seconds), max(self.seconds)
        ratio = median / statistics.median(self.peer_seconds)
        met = "met" if (ratio if self.of_peer else median) <= self.target else "MISSED"
        return (
            f"{self.name:<34} {median:6.3f} s  {low:6.3f} to {high:6.3f}   "
            f"target {self.target:5.2f} {'x' if self.of_peer else 's'} {met:<6}   "
            f"{ratio:6.2f} x {self.peer:<34} {max(self.memory):4.0f} MiB"
        )


def timed(command: list[str], status: int = 0) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB) of a process, which ends with `status`."""
    measured = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *command], capture_output=True, text=True, check=False
    )
    if measured.returncode != status:
        raise SystemExit(f"{' '.join(command)} failed: {measured.stderr}")
    seconds, kib = measured.stdout.split()
    return float(seconds), int(kib) / 1024


# A process inherits its parent's peak memory through fork and exec, so a small parent measures.
_MEASURE = """
import os, sys, time
null = os.devnull
quiet = [(os.POSIX_SPAWN_OPEN, 0, null, 0, 0), (os.POSIX_SPAWN_OPEN, 1, null, 1, 0)]
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure(figure: Figure, run: Callable[[], tuple[float, float]], peer: list[str]) -> None:
    """One run of each, in turn."""
    seconds, memory = run()
    figure.seconds.append(seconds)
    figure.memory.append(memory)
    figure.peer_seconds.append(timed(peer)[0])


def own_share(sandbox: Sandbox, command: list[str]) -> tuple[float, float]:
    """Wall time of an `enable` less that from the manifest's rename to the new kube-apiserver being ready."""
    watch = _Restart(sandbox)
    watch.start()
    wall, memory = timed(command)
    watch.join()
    return wall - (watch.ready - watch.renamed), memory


class _Restart(threading.Thread):
    """Notes when the manifest is renamed and when the kube-apiserver that follows is ready."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(daemon=True)
        self._manifest = sandbox.root / MANIFEST
        self._client = Client(sandbox.kubeconfig)
        self.renamed = self.ready = 0.0

    def run(self) -> None:
        before = self._manifest.stat().st_ino
        while self._manifest.stat().st_ino == before:
            time.sleep(0.002)
        self.renamed = time.perf_counter()
        while self._answers():
            time.sleep(0.005)
        while not self._answers():
            time.sleep(0.005)
        self.ready = time.perf_counter()

    def _answers(self) -> bool:
        return self._client.ask("/readyz").status == 200  # noqa: PLR2004 -- HTTP's OK


class Registration:
    """An API served beside a sandbox, registered by aggctl and by kubectl in turn, each time from nothing."""

    def __init__(self, sandbox: Sandbox, folder: Path, kubectl: str) -> None:
        self._sandbox, self._folder, self._kubectl = sandbox, folder, kubectl
        self._root = ["--root", str(sandbox.root)]
        self._port = _free_port()
        self.command = [*AGGCTL, "register", API, *self._root, "--external", f"localhost:{self._port}"]
        self.command += ["--name", "hello", "--tls", "secret=hello", "--yes"]

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """The server runs, with a certificate in a Secret; so both register the same objects."""
        now = datetime.now(UTC)
        ca = pki.new_ca("bench", now, algorithm="ECDSA-P256")
        pair = pki.issue(ca, SERVICE, now, usage="server", sans=(SERVICE,), algorithm="ECDSA-P256")
        for name, content in (
            ("ca.crt", ca.certificate),
            ("tls.crt", pair.certificate),
            ("tls.key", pair.key),
        ):
            (self._folder / name).write_bytes(content)
        files = [f"--from-file={self._folder / name}" for name in ("ca.crt", "tls.crt", "tls.key")]
        subprocess.run(
            [*self._kube, "create", "secret", "generic", "hello", *files], check=True, stdout=DEVNULL
        )
        (self._folder / "objects.json").write_text(json.dumps(self._objects(ca.certificate)))
        pair_files = [
            "--tls-cert-file",
            "tls.crt",
            "--tls-private-key-file",
            "tls.key",
            "--port",
            str(self._port),
        ]
        process = subprocess.Popen(
            [sys.executable, str(HELLO), *pair_files, "--kubeconfig", str(self._sandbox.kubeconfig)],
            cwd=self._folder,
            stdin=DEVNULL,
            stdout=subprocess.PIPE,
            stderr=DEVNULL,
        )
        try:
            if process.stdout:
                process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait()

    def by_aggctl(self) -> tuple[float, float]:
        """Register by aggctl, and take it away (not timed)."""
        measured = timed(self.command)
        timed([*AGGCTL, "unregister", API, *self._root, "--yes"])
        return measured

    def by_kubectl(self) -> float:
        """The three commands of the same effect, and take it away (not timed)."""
        kube = shlex.join(self._kube)
        apply = f"{kube} apply --server-side -f {self._folder}/objects.json"
        wait = f"{kube} wait --for=condition=Available apiservice/{API}"
        seconds, _ = timed(["/bin/sh", "-ec", f"{apply}; {wait}; {kube} get --raw {PATH}"])
        subprocess.run(
            [*self._kube, "delete", "-f", f"{self._folder}/objects.json"], check=True, stdout=DEVNULL
        )
        return seconds

    @property
    def _kube(self) -> list[str]:
        return [self._kubectl, "--kubeconfig", str(self._sandbox.kubeconfig)]

    def _objects(self, authority: bytes) -> dict[str, Any]:
        """What aggctl itself prints for Git, with the CA that it fills in."""
        group, port = API.partition(".")[2], self._port
        extension = Extension(
            (Api("v1alpha1", group),), ServiceAt("default", "hello", port), External("localhost", port)
        )
        items = [
            each
            for each in of_flags(extension, Tls("secret", "hello")).objects
            if each["kind"] != "Namespace"
        ]
        items[-1]["spec"]["caBundle"] = base64.b64encode(authority).decode()
        return {"apiVersion": "v1", "kind": "List", "items": items}


def main() -> None:
    """Measure, and print the table."""
    kubectl = shutil.which("kubectl")
    python = [sys.executable, "-c", "pass"]
    peer = [kubectl, "version", "--client"] if kubectl else python
    peer_name = "kubectl version --client" if kubectl else "python -c pass"
    version = Figure("aggctl --version", 0.15, peer_name)
    help_ = Figure("aggctl --help", 0.25, peer_name)
    own = Figure("enable, own share", 1.5, peer_name)
    again = Figure("enable, nothing to do", 0.8, peer_name)
    back = Figure("rollback --dry-run", 0.8, peer_name)
    register = Figure("register", 1.3, "kubectl apply, wait, get --raw", of_peer=True)
    unchanged = Figure("register, nothing to do", 1.2, peer_name)
    rotations = {
        "client": Figure("certs rotate client", 3.0, peer_name),
        "serving": Figure("certs rotate serving", 10.0, peer_name),
        "ca": Figure("certs rotate ca", 15.0, peer_name),
    }
    with tempfile.TemporaryDirectory(prefix="aggctl-bench-") as folder:
        sandbox = control_plane.up(Path(folder) / "sandbox", "off", say=_say)
        try:
            root = ["--root", str(sandbox.root)]
            enable = [*AGGCTL, "enable", *root, "--yes", "--routing", "off"]
            for number in range(RUNS):
                _say(f"run {number + 1} of {RUNS}")
                measure(version, lambda: timed([*AGGCTL, "--version"]), peer)
                measure(help_, lambda: timed([*AGGCTL, "--help"]), peer)
                measure(own, lambda: own_share(sandbox, enable), peer)
                measure(again, lambda: timed(enable), peer)
                measure(back, lambda: timed([*AGGCTL, "rollback", *root, "--dry-run"]), peer)
                timed([*AGGCTL, "rollback", *root, "--yes"])
            timed(enable)
            _rotations(sandbox, Path(folder), rotations, peer)
            if kubectl:
                _registrations(Registration(sandbox, Path(folder), kubectl), register, unchanged, peer)
        finally:
            control_plane.down(sandbox.directory, say=_say)
        examined = list(_many(Path(folder), peer, peer_name))
    _head(peer)
    registered = (register, unchanged) if kubectl else ()
    for figure in (version, help_, own, again, back, *registered, *rotations.values(), *examined):
        sys.stdout.write(f"{figure.row()}\n")


def _many(folder: Path, peer: list[str], peer_name: str) -> Iterator[Figure]:
    """Doctor and status: one API, a hundred, and a hundred with one that is black-holed."""
    cluster = Many(folder, _say)
    root = ["--root", str(cluster.sandbox.root)]
    doctor, status = [*AGGCTL, "doctor", *root], [*AGGCTL, "status", *root]
    try:
        with cluster.served():
            cluster.make(1)
            yield _several(Figure("doctor, one API", 1.5, peer_name), doctor, peer)
            cluster.make(MANY)
            yield _several(Figure(f"doctor, {MANY} APIs", 5.0, peer_name), doctor, peer)
            yield _several(Figure(f"status, {MANY} APIs", 1.5, peer_name), status, peer)
            with cluster.hole():
                name = f"doctor, {MANY} APIs and a black hole"
                yield _several(
                    Figure(name, 10.0, peer_name), [*doctor, "--fail-on", "error"], peer, problems=3
                )
    finally:
        control_plane.down(cluster.sandbox.directory, say=_say)


def _several(figure: Figure, command: list[str], peer: list[str], problems: int = 0) -> Figure:
    _say(figure.name)
    for _ in range(RUNS):
        measure(figure, lambda: timed(command, problems), peer)
    return figure


def _rotations(sandbox: Sandbox, folder: Path, figures: dict[str, Figure], peer: list[str]) -> None:
    """Renew each kind of certificate in turn, with one API of a server beside the cluster."""
    root, pair, port = ["--root", str(sandbox.root)], folder / "rotated", _free_port()
    more = {"client": [], "serving": [API, "--cert-out", str(pair)], "ca": ["--again"]}
    files = ["--tls-cert-file", str(pair / "tls.crt"), "--tls-private-key-file", str(pair / "tls.key")]
    words = [*files, "--port", str(port), "--kubeconfig", str(sandbox.kubeconfig)]
    once_there = ["/bin/sh", "-c", 'until [ -s "$0" ]; do sleep 0.1; done; exec "$@"', files[1]]
    server = subprocess.Popen(
        [*once_there, sys.executable, str(HELLO), *words], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        place = ["--external", f"localhost:{port}", "--name", "hello", "--cert-out", str(pair)]
        timed([*AGGCTL, "register", API, *root, *place, "--yes"])
        for number in range(RUNS):
            _say(f"rotation {number + 1} of {RUNS}")
            for kind, figure in figures.items():
                command = [*AGGCTL, "certs", "rotate", kind, *more[kind], *root, "--yes"]
                measure(figure, partial(timed, command), peer)
        timed([*AGGCTL, "unregister", API, *root, "--yes"])
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def _registrations(of: Registration, register: Figure, unchanged: Figure, peer: list[str]) -> None:
    with of.served():
        for number in range(RUNS):
            _say(f"registration {number + 1} of {RUNS}")
            seconds, memory = of.by_aggctl()
            register.seconds.append(seconds)
            register.memory.append(memory)
            register.peer_seconds.append(of.by_kubectl())
        timed(of.command)
        for _ in range(RUNS):
            measure(unchanged, lambda: timed(of.command), peer)


def _head(peer: list[str]) -> None:
    done = subprocess.run([*AGGCTL, "--version"], capture_output=True, text=True, check=True)
    sys.stdout.write(
        f"{done.stdout.strip()}, Python {sys.version.split()[0]}, {os.cpu_count()} cores; median of {RUNS} "
        f"alternating runs, least and most; peer: {' '.join(peer)}\n"
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
