"""The stand-in kubelet: `python -m aggctl.sandbox.kubelet DIR` runs the static Pods of DIR/root.

It does as the real one where that hurts (pkg/kubelet/config/file.go and file_linux.go of 1.37): every regular
file whose name has no leading dot is a Pod, whatever its ending; the store of Pods goes by name, so of two
files with one Pod the last event wins, and deleting either ends the Pod until the next full listing; a broken
file is an error in the log, and its old Pod goes on until then.
It does less where that does not matter here: no probes, no images, no API.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from aggctl.sandbox import container, pods, processes, state

if TYPE_CHECKING:
    from types import FrameType

TICK = 0.1
RELIST = 20.0
"""Seconds between full listings: the kubelet's fileCheckFrequency when it is not set."""

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 10.0

log = logging.getLogger("kubelet")


class ManifestFolder:
    """The Pods of a folder, kept as the kubelet keeps them: events of files, corrected by listings."""

    def __init__(self, folder: Path) -> None:
        self.pods: dict[str, pods.StaticPod] = {}
        self._folder = folder
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._keys: dict[Path, str] = {}
        self._next_listing = 0.0

    def look(self, now: float) -> None:
        """Take in what changed since the last look; `now` is monotonic."""
        current = self._stamps()
        for path in self._seen.keys() - current.keys():
            self._removed(path)
        changed = sorted(path for path in current if current[path] != self._seen.get(path))
        self._seen = current
        if now >= self._next_listing:
            self._next_listing = now + RELIST
            self.pods = {}
            changed = sorted(current)
        for path in changed:
            self._read(path)

    def _stamps(self) -> dict[Path, tuple[int, int, int]]:
        try:
            paths = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        stamps = {path: _stamp(path) for path in paths}
        return {path: stamp for path, stamp in stamps.items() if stamp is not None}

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                pod = pods.parse(file.read(pods.SIZE_LIMIT + 1))
        except (OSError, pods.NotAPod) as error:
            log.error("%s: cannot process the manifest: %s", path, error)  # noqa: TRY400 -- the file's fault, no trace
            return
        key = f"{pod.namespace}/{pod.name}"
        others = [str(other) for other, name in self._keys.items() if name == key and other != path]
        if others:
            log.warning("%s: Pod %s is also in %s; the last one read wins", path, key, ", ".join(others))
        self._keys[path] = key
        self.pods[key] = pod

    def _removed(self, path: Path) -> None:
        key = self._keys.pop(path, "")
        if self.pods.pop(key, None):
            log.info("%s was removed: Pod %s ends", path, key)


@dataclass(slots=True)
class BackOff:
    """How long a Pod that ended by itself has to wait."""

    until: float = 0.0
    delay: float = FIRST_BACK_OFF

    def wait(self, now: float) -> float:
        """Begin the next wait, twice as long as the one before, and say how long it is."""
        waiting, self.until = self.delay, now + self.delay
        self.delay = min(self.delay * 2, LONGEST_BACK_OFF)
        return waiting


class Kubelet:
    """Makes the running containers agree with the manifests, one small step per tick."""

    def __init__(self, node: container.Node, manifests: ManifestFolder) -> None:
        self._node = node
        self._manifests = manifests
        self._back_offs: dict[str, BackOff] = {}
        self._running = [
            container.Running(node, record)
            for record in container.recorded(node.directory)
            if processes.alive(record.process)
        ]
        for running in self._running:
            log.info("adopted pid %d of Pod %s", running.record.process.pid, running.record.pod_key)

    def tick(self, now: float) -> None:
        """Look at the manifests and at the processes, and do what is due."""
        self._manifests.look(now)
        wanted = {pod.uid for pod in self._manifests.pods.values()}
        self._back_offs = {uid: wait for uid, wait in self._back_offs.items() if uid in wanted}
        self._collect(now)
        for running in self._running:
            if running.record.uid not in wanted and not running.stopping:
                self._stop(running, now, self._node.linger)
        occupied = {running.record.pod_key for running in self._running}
        for key, pod in self._manifests.pods.items():
            if key not in occupied and now >= self._back_off(pod.uid).until:
                self._start(pod, now)

    def shut_down(self) -> None:
        """End every container, all at once, and wait for it."""
        for running in self._running:
            if not running.stopping:
                self._stop(running, time.monotonic(), 0.0)
        while self._running:
            self._collect(time.monotonic())
            time.sleep(TICK / 5)

    def _collect(self, now: float) -> None:
        for running in list(self._running):
            running.kill_when_late(now)
            if not running.ended():
                running.copy_log()
                continue
            self._running.remove(running)
            how = running.bury()
            log.info("pid %d of Pod %s ended: %s", running.record.process.pid, running.record.pod_key, how)
            if not running.stopping:
                self._wait_before_next(running.record.uid, now)

    def _stop(self, running: container.Running, now: float, linger: float) -> None:
        log.info("stopping pid %d of Pod %s", running.record.process.pid, running.record.pod_key)
        running.stop(now, linger=linger)

    def _start(self, pod: pods.StaticPod, now: float) -> None:
        try:
            running = container.start(self._node, pod)
        except container.CannotStart as error:
            log.error("cannot start Pod %s: %s", pod.name, error)  # noqa: TRY400 -- the manifest's fault, no trace
            self._wait_before_next(pod.uid, now)
            return
        self._running.append(running)
        log.info("started Pod %s (%s): pid %d", pod.name, pod.uid, running.record.process.pid)

    def _wait_before_next(self, uid: str, now: float) -> None:
        log.info("Pod %s starts again in %g s", uid, self._back_off(uid).wait(now))

    def _back_off(self, uid: str) -> BackOff:
        return self._back_offs.setdefault(uid, BackOff())


def main(directory: Path) -> int:
    """Run until SIGTERM, or until the sandbox's folder is gone; 1 where another stand-in runs there."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    directory = directory.resolve(strict=True)
    lock = os.open(directory / "kubelet.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.error("another stand-in kubelet runs for %s", directory)  # noqa: TRY400 -- says all
        return 1
    _run(directory, os.fstat(lock))
    return 0


def _run(directory: Path, lock: os.stat_result) -> None:
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    settings = _settings(directory)
    kubelet = Kubelet(_node(directory, settings), ManifestFolder(_manifest_folder(state.root(directory))))
    while not asked and _same(directory / "kubelet.lock", lock):
        try:
            kubelet.tick(time.monotonic())
        except OSError:
            log.exception("this round failed; trying again")
        time.sleep(TICK)
    log.info("stopping: %s", "asked to" if asked else f"{directory} is gone")
    kubelet.shut_down()
    if not asked and "etcd" in settings.processes:  # nobody else knows of it any more
        processes.end(settings.processes["etcd"], settings.grace)


def _settings(directory: Path) -> state.State:
    settings = state.load(directory)
    if settings is None:
        raise FileNotFoundError(f"{directory} is no sandbox: it has no sandbox.json")
    return settings


def _node(directory: Path, settings: state.State) -> container.Node:
    return container.Node(directory, settings.node, settings.programs, settings.linger, settings.grace)


def _manifest_folder(root: Path) -> Path:
    """The folder that the kubelet's own configuration names, read once as the kubelet does."""
    configuration = YAML(typ="safe", pure=True).load(root / "var/lib/kubelet/config.yaml")
    return root / str(configuration["staticPodPath"]).lstrip("/")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None for what is no regular file (links are followed)."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _same(path: Path, before: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), before)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
