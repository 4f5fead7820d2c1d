"""One container of the stand-in kubelet: a process that sees only its mounts.

There are no namespaces, as those would want rights. Each container gets a folder `rootfs` with a link for
every mount, works there, and every absolute path in its arguments is put below it. So a file under no
mount does not exist for it, as in a real Pod, and `readlink /proc/PID/cwd` is the prefix to strip.
Unlike in a real Pod, an absolute symbolic link inside a mounted folder leads to the machine's own files,
and a mounted folder that is itself replaced by rename is seen anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.sandbox import crilog, processes, state
from aggctl.sandbox.files import write_file
from aggctl.sandbox.processes import Process

if TYPE_CHECKING:
    from aggctl.sandbox.pods import Container, Mount, StaticPod

NO_PATHS = {"--etcd-prefix", "--authorization-always-allow-paths"}
"""Flags whose values begin with a slash and are no files."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotStart(Exception):  # noqa: N818 -- reads as what the kubelet says of the container
    """The container cannot be made or its program not be started; the message says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where containers run: the sandbox's folder (no symbolic link in it), its programs and its patience."""

    directory: Path
    name: str
    programs: dict[str, str]
    linger: float
    grace: float


@dataclass(frozen=True, slots=True)
class Record:
    """What state.json keeps of a running container, so that it can be adopted or ended by others."""

    namespace: str
    pod: str
    uid: str
    name: str
    restarts: int
    secure_port: str | None
    process: Process

    @property
    def pod_key(self) -> str:
        """The name that only one Pod of a node can have."""
        return f"{self.namespace}/{self.pod}"


class Running:
    """A started container: its log, and its end in three steps (asked, deadline, killed)."""

    def __init__(self, node: Node, record: Record) -> None:
        self.record = record
        self.folder = _folder(node, record.pod, record.uid)
        self._node = node
        log = log_folder(node, record.namespace, record.pod, record.uid, record.name)
        self._log = crilog.CriLog(self.folder, log / f"{record.restarts}.log")
        self._deadline: float | None = None
        self._anchor: socket.socket | None = None

    @property
    def stopping(self) -> bool:
        """Whether its end was asked for."""
        return self._deadline is not None

    def ended(self) -> bool:
        """Whether its process is gone."""
        return not processes.alive(self.record.process)

    def copy_log(self, *, rest: bool = False) -> None:
        """Bring its log up to date; with `rest` also a last line that has no end."""
        with contextlib.suppress(FileNotFoundError):  # the sandbox was removed below us
            self._log.copy(rest=rest)

    def stop(self, now: float, *, linger: float) -> None:
        """Ask its process to end; `now` is monotonic. With `linger` it is kept from ending before that."""
        if linger and self.record.secure_port:
            self._anchor = _anchor(int(self.record.secure_port))
        self._deadline = now + (linger or self._node.grace)
        processes.send(self.record.process, signal.SIGTERM)

    def kill_when_late(self, now: float) -> None:
        """End its process for good once its time is over."""
        if self._deadline is not None and now >= self._deadline:
            processes.send(self.record.process, signal.SIGKILL)

    def bury(self) -> str:
        """Finish its log, remove its folder, and say how it ended."""
        status = processes.reap(self.record.process)
        self.copy_log(rest=True)
        if self._anchor is not None:
            self._anchor.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return "unknown exit status" if status is None else f"exit status {status}"


def start(node: Node, pod: StaticPod) -> Running:
    """Make the container's view of the node and start its program; CannotStart says what is in the way."""
    container = _known(node, pod)
    folder = _folder(node, pod.name, pod.uid)
    logs = log_folder(node, pod.namespace, pod.name, pod.uid, container.name)
    try:
        _make_view(node, container, folder)
        logs.mkdir(parents=True, exist_ok=True)
        restarts = crilog.newest(logs) + 1
        (logs / f"{restarts}.log").touch()
        process = _launch(node, container, folder)
    except OSError as error:
        raise CannotStart(str(error)) from error
    port = container.flag("secure-port")
    record = Record(pod.namespace, pod.name, pod.uid, container.name, restarts, port, process)
    write_file(folder / "state.json", json.dumps(asdict(record)).encode())
    return Running(node, record)


def recorded(directory: Path) -> list[Record]:
    """All containers that a sandbox has on record, running or not."""
    return [
        record
        for file in sorted(state.containers(directory).glob("*/state.json"))
        if (record := _read_record(file)) is not None
    ]


def log_folder(node: Node, namespace: str, pod: str, uid: str, container: str) -> Path:
    """Where the node keeps a container's logs; kubelet gives a static Pod's mirror the node's name."""
    return state.root(node.directory) / "var/log/pods" / f"{namespace}_{pod}-{node.name}_{uid}" / container


def _folder(node: Node, pod: str, uid: str) -> Path:
    return state.containers(node.directory) / f"{pod}-{uid}"


def _read_record(file: Path) -> Record | None:
    try:
        document = json.loads(file.read_bytes())
        return Record(**document | {"process": Process(**document["process"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _known(node: Node, pod: StaticPod) -> Container:
    """The first container whose program the sandbox has: it knows no images."""
    for container in pod.containers:
        if container.arguments and Path(container.arguments[0]).name in node.programs:
            return container
    names = ", ".join(" ".join(container.arguments[:1]) or "(no command)" for container in pod.containers)
    raise CannotStart(f"no program for {names}; the sandbox has {', '.join(sorted(node.programs))}")


def _make_view(node: Node, container: Container, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "rootfs").mkdir(parents=True)
    for mount in sorted(container.mounts, key=lambda mount: mount.mount_path):
        _make_mount(state.root(node.directory), folder / "rootfs", mount)


def _make_mount(root: Path, rootfs: Path, mount: Mount) -> None:
    inside = rootfs / mount.mount_path.lstrip("/")
    if not mount.host_path:
        inside.mkdir(parents=True, exist_ok=True)
        return
    host = root / mount.host_path.lstrip("/")
    _check_type(host, mount)
    if inside.exists():
        if inside.samefile(host):
            return
        raise CannotStart(f"mount {mount.mount_path} lies inside another mount; the sandbox has no such view")
    inside.parent.mkdir(parents=True, exist_ok=True)
    if host.is_dir():
        inside.symlink_to(host)
    else:
        os.link(
            host.resolve(), inside
        )  # the inode of this moment: a later rename is not seen, as in a bind mount


def _check_type(host: Path, mount: Mount) -> None:
    """As the kubelet's hostPath types; without a type the container runtime makes a missing folder."""
    if mount.kind in {"", "DirectoryOrCreate"} and not host.exists():
        host.mkdir(parents=True)
    if mount.kind == "FileOrCreate" and not host.exists():
        host.touch()
    wrong = not host.is_dir() if mount.kind.startswith("Directory") else not host.is_file()
    if mount.kind and wrong:
        kind = mount.kind.removesuffix("OrCreate").lower()
        raise CannotStart(f"hostPath type check failed: {mount.host_path} is not a {kind}")


def _launch(node: Node, container: Container, folder: Path) -> Process:
    rootfs = folder / "rootfs"
    name, *arguments = container.arguments
    return processes.launch(
        node.programs[Path(name).name],
        [name, *(_below(str(rootfs), argument) for argument in arguments)],
        folder=rootfs,
        environment={"PATH": PATH, "HOSTNAME": node.name} | container.environment,
        stdout=folder / "stdout",
        stderr=folder / "stderr",
    )


def _below(rootfs: str, argument: str) -> str:
    """An argument with its absolute paths (also in `--flag=/a,/b`) put below the container's root."""
    flag, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    if flag in NO_PATHS:
        return argument
    paths = (rootfs + part if part.startswith("/") else part for part in value.split(","))
    return f"{flag}{equals}{','.join(paths)}"


def _anchor(port: int) -> socket.socket | None:
    """An unfinished request that keeps a kube-apiserver from ending (60 s at most) after its port is closed.

    Nothing of it needs rights: the server waits for the body whatever it will answer.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=2)
        connection = context.wrap_socket(plain)
        connection.sendall(b"POST /version HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    except OSError:
        return None
    return connection
