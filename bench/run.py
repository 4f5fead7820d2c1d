"""`make bench`: what aggctl costs, each figure beside a peer measured in the same run, alternating.

A figure is the median of the runs with its least and most. Ratios hold where the machine's speed drifts; the
targets are those of the project. Nothing here fails a build: the numbers are for reading.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.sandbox import control_plane
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.sandbox.control_plane import Sandbox

RUNS = 5
AGGCTL = [str(Path(sys.executable).parent / "aggctl")]
MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"


@dataclass
class Figure:
    """One row: seconds of each run, those of its peer, peak memory in MiB, and the target in seconds."""

    name: str
    target: float
    peer: str
    seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def row(self) -> str:
        """The row as text."""
        median, low, high = statistics.median(self.seconds), min(self.seconds), max(self.seconds)
        ratio = median / statistics.median(self.peer_seconds)
        return (
            f"{self.name:<34} {median:6.3f} s  {low:6.3f} to {high:6.3f}   "
            f"target {self.target:5.2f} s {'met' if median <= self.target else 'MISSED':<6}   "
            f"{ratio:6.1f} x {self.peer:<22} {max(self.memory):4.0f} MiB"
        )


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB) of a process."""
    measured = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *command], capture_output=True, text=True, check=False
    )
    if measured.returncode:
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
        finally:
            control_plane.down(sandbox.directory, say=_say)
    _head(peer)
    for figure in (version, help_, own, again, back):
        sys.stdout.write(f"{figure.row()}\n")


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
