"""How a sandbox does: each process, whether the API answers, and the words of what died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aggctl.errors import Refused
from aggctl.sandbox import container, layout, pods, processes, state
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from pathlib import Path

    from aggctl.sandbox.state import State


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the sandbox; `last_lines` of its log where it does not run."""

    name: str
    running: bool
    pid: int | None
    log: Path
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A sandbox as it is now. `aggregation` goes by the flags of the manifest in force."""

    directory: Path
    processes: tuple[ProcessStatus, ...]
    ready: bool
    answer: str
    url: str
    kubeconfig: Path
    aggregation: Literal["on", "off", "partly", "unknown"]

    @property
    def healthy(self) -> bool:
        """Whether everything runs and the API says that it is ready."""
        return self.ready and all(process.running for process in self.processes)


def status(directory: Path) -> Status:
    """Look at a sandbox; Refused where the folder holds none."""
    directory = directory.resolve()
    settings = state.load(directory)
    if settings is None:
        raise Refused("no-sandbox", f"there is no sandbox in {directory}", do="aggctl sandbox up")
    root = state.root(directory)
    answer = Client(root / layout.ADMIN).ask("/readyz")
    names = ("etcd", "kubelet", "kube-apiserver")
    return Status(
        directory=directory,
        processes=tuple(_process(directory, settings, name) for name in names),
        ready=answer.status == 200,  # noqa: PLR2004 -- HTTP's OK
        answer=answer.text.strip(),
        url=layout.url(settings),
        kubeconfig=root / layout.ADMIN,
        aggregation=_aggregation(root / layout.MANIFEST),
    )


def evidence(directory: Path, settings: State, name: str, *, since: float = 0.0) -> tuple[str, ...]:
    """The last lines that a process of the sandbox wrote, if it wrote any after `since` (time of day)."""
    log = _log(directory, settings, name)
    return processes.last_lines(log) if log.exists() and log.stat().st_mtime >= since else ()


def _process(directory: Path, settings: State, name: str) -> ProcessStatus:
    known = settings.processes | {record.pod: record.process for record in container.recorded(directory)}
    process = known.get(name)
    running = process is not None and processes.alive(process)
    return ProcessStatus(
        name=name,
        running=running,
        pid=process.pid if process and running else None,
        log=_log(directory, settings, name),
        last_lines=() if running else evidence(directory, settings, name),
    )


def _log(directory: Path, settings: State, name: str) -> Path:
    """Where a process of ours, or the newest container of a Pod, writes."""
    if name in {"etcd", "kubelet"}:
        return directory / f"{name}.log"
    pods_folder = state.root(directory) / "var/log/pods"
    logs = pods_folder.glob(f"kube-system_{name}-{settings.node}_*/{name}/*.log")
    return max(logs, key=lambda log: log.stat().st_mtime_ns, default=pods_folder / "none")


def _aggregation(manifest: Path) -> Literal["on", "off", "partly", "unknown"]:
    try:
        pod = pods.parse(manifest.read_bytes())
    except (OSError, pods.NotAPod):
        return "unknown"
    flags = [bool(pod.containers[0].flag(name)) for name in layout.AGGREGATION]
    if all(flags):
        return "on"
    return "partly" if any(flags) else "off"
