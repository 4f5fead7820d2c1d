"""A sandbox in a test's hands: what runs in it, what its parts say."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.waiting import eventually

from aggctl.sandbox import container, control_plane, layout, processes, report, state
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.sandbox.container import Record
    from aggctl.sandbox.processes import Process

PROGRAMS = ("etcd", "kube-apiserver")


@contextmanager
def sandbox_in(directory: Path, aggregation: Any = "off", **options: Any) -> Iterator[Running]:
    """A sandbox that is ready; it is taken down at the end, whatever happens."""
    made = control_plane.up(directory, aggregation, say=print, **options)
    try:
        yield Running(made)
    finally:
        if directory.exists():
            control_plane.down(directory, say=print)


@dataclass(frozen=True)
class Running:
    """One sandbox and the questions that tests have."""

    sandbox: control_plane.Sandbox

    @property
    def directory(self) -> Path:
        return self.sandbox.directory

    @property
    def manifest(self) -> Path:
        return self.sandbox.root / layout.MANIFEST

    @property
    def admin(self) -> Client:
        return Client(self.sandbox.kubeconfig)

    def status(self) -> report.Status:
        return report.status(self.directory)

    def process(self, name: str) -> Process:
        """etcd or the stand-in kubelet, as `up` recorded it."""
        settings = state.load(self.directory)
        assert settings is not None
        return settings.processes[name]

    def containers(self, pod: str = "kube-apiserver") -> list[Record]:
        """What runs of a Pod."""
        records = container.recorded(self.directory)
        return [record for record in records if record.pod == pod and processes.alive(record.process)]

    def apiserver(self) -> Record:
        (record,) = self.containers()
        return record

    def everything(self) -> list[Process]:
        return [self.process("etcd"), self.process("kubelet"), self.apiserver().process]

    def kubelet_log(self) -> str:
        return (self.directory / "kubelet.log").read_text()

    def apiserver_log(self, record: Record | None = None) -> str:
        """All logs of the Pod, or that of one container."""
        uid, number = (record.uid, record.restarts) if record else ("*", "*")
        logs = self.sandbox.root.glob(f"var/log/pods/*_{uid}/kube-apiserver/{number}.log")
        return "".join(log.read_text() for log in sorted(logs))

    def change_manifest(self, before: str, after: str) -> None:
        """Replace text of the manifest the way an editor of care does: by rename."""
        text = self.manifest.read_text()
        assert before in text
        draft = self.manifest.with_name(".draft")
        draft.write_text(text.replace(before, after, 1))
        draft.replace(self.manifest)

    def add_flag(self, flag: str) -> None:
        self.change_manifest("    image:", f"    - {flag}\n    image:")

    @contextmanager
    def kubelet_stopped(self) -> Iterator[None]:
        """The stand-in kubelet sees and does nothing meanwhile."""
        processes.send(self.process("kubelet"), signal.SIGSTOP)
        try:
            yield
        finally:
            processes.send(self.process("kubelet"), signal.SIGCONT)

    def kill_apiserver(self) -> None:
        """End kube-apiserver the hard way."""
        kill(self.apiserver().process)

    def await_log(self, text: str) -> None:
        eventually(lambda: text in self.kubelet_log(), f"the stand-in kubelet says {text!r}")

    def await_other(self, before: Record) -> Record:
        """The kube-apiserver that follows on `before`, ready."""

        def other() -> Record | None:
            others = [record for record in self.containers() if record.process != before.process]
            return others[0] if others and self.admin.ask("/readyz").status == 200 else None

        return eventually(other, "another kube-apiserver is ready")


def kill(process: Process) -> None:
    processes.send(process, signal.SIGKILL)
    await_end(process)


def await_end(process: Process) -> None:
    eventually(lambda: processes.wait(process, 0.1), f"pid {process.pid} is gone")


def arguments(process: Process) -> list[str]:
    """The arguments of a process as its manifest wrote them."""
    rootfs = str(Path(f"/proc/{process.pid}/cwd").readlink())
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return [os.fsdecode(word).replace(rootfs, "") for word in words]
