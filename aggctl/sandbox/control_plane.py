"""A sandbox: a real etcd and kube-apiserver in one folder, for any user, on loopback only."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aggctl.errors import Failed, Refused
from aggctl.sandbox import components, container, layout, processes, state
from aggctl.sandbox.files import exclusive
from aggctl.sandbox.readiness import PortTaken, await_ready
from aggctl.sandbox.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Did = Literal["made", "restarted", "already"]

PROCESSES = ("etcd", "kubelet")
"""What `up` starts itself; the stand-in kubelet starts the rest."""

ATTEMPTS = 3
"""A free port may be taken between choosing and using it."""

GRACE = 5.0
"""Seconds a kube-apiserver gets to end by itself. A node gives 30, which it uses up where clients stay."""

STOP_MARGIN = 3.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that runs; `did` says what `up` had to do for it."""

    directory: Path
    root: Path
    kubeconfig: Path
    url: str
    did: Did


def default_directory() -> Path:
    """$XDG_STATE_HOME/aggctl/sandbox, or ~/.local/state/aggctl/sandbox."""
    named = os.environ.get("XDG_STATE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".local/state") / "aggctl" / "sandbox"


def up(
    directory: Path,
    aggregation: Literal["off", "on"],
    *,
    say: Callable[[str], None],
    linger: float = 0.0,
    grace: float = GRACE,
) -> Sandbox:
    """Make a sandbox, or restart one whose processes died with its data kept, and wait until it is ready.

    A running one is left as it is. Where making one fails nothing is left of it. `linger` makes an ended
    kube-apiserver stay a process for so long after its port is closed, as on a node with clients attached
    (60 s at most). A sandbox that is there already keeps its own aggregation, linger and grace.
    """
    existed = directory.exists()
    with _file_trouble(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _held(directory, say) as folder:
        settings = state.load(folder)
        if settings is not None:
            return _again(folder, settings, say)
        if any(folder.iterdir()):
            raise _not_ours(folder)
        try:
            programs = _programs(("etcd", "kube-apiserver"), say)
            return _make(folder, programs, (linger, grace), aggregation=aggregation == "on")
        except BaseException:
            _clear(folder)
            if not existed:
                folder.rmdir()
            raise


def down(directory: Path, *, say: Callable[[str], None], keep: bool = False) -> list[str]:
    """End exactly the processes that `up` started, and remove the sandbox's folder; the names of what ran.

    With `keep` the files stay, for `up` to start from. A folder that is no sandbox is refused and left alone.
    """
    if not directory.exists():
        return []
    with _held(directory, say) as folder:
        settings = state.load(folder)
        if settings is None:
            raise _not_ours(folder)
        ended = _stop(folder, settings)
        if not keep:
            shutil.rmtree(folder)
    return ended


@contextmanager
def _held(directory: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Have a sandbox's folder for oneself; gives its path without symbolic links."""
    folder = directory.resolve()
    busy = f"another aggctl works on {folder}: waiting for it"
    with _file_trouble(folder), exclusive(folder, lambda: say(busy)):
        yield folder


@contextmanager
def _file_trouble(directory: Path) -> Iterator[None]:
    """No rights, no room: said in a sentence."""
    try:
        yield
    except OSError as error:
        raise Failed(
            "sandbox-file-trouble",
            f"a file of the sandbox in {directory} cannot be used",
            found=str(error),
            do="make the folder writable, with 300 MB free, or choose another: --dir",
        ) from error


def _make(
    directory: Path, programs: dict[str, str], patience: tuple[float, float], *, aggregation: bool
) -> Sandbox:
    """Make a new sandbox on free ports; when one was taken meanwhile, on others."""
    for tries_left in reversed(range(ATTEMPTS)):
        settings = State(socket.gethostname().lower(), *_free_ports(), programs, *patience)
        try:
            layout.write(directory, settings, aggregation=aggregation)
            return _start(directory, settings, "made")
        except BaseException as error:
            _stop(directory, state.load(directory) or settings)
            if not tries_left or not isinstance(error, PortTaken):
                raise
            _clear(directory)
    raise AssertionError  # the last try returned or raised


def _again(directory: Path, settings: State, say: Callable[[str], None]) -> Sandbox:
    """`up` on what is there: start what does not run, on the old data.

    One that does not get ready is left running, so that its manifest can be mended (`aggctl rollback`).
    """
    dead = [name for name in PROCESSES if not _runs(settings, name)]
    if not dead:
        return _sandbox(directory, settings, "already")
    say(f"{' and '.join(dead)} of the sandbox in {directory} ended: starting again, with the data as it was")
    gone = [name for name, path in settings.programs.items() if not Path(path).exists()]
    settings = replace(settings, programs=settings.programs | _programs(gone, say))
    return _start(directory, settings, "restarted")


def _start(directory: Path, settings: State, did: Did) -> Sandbox:
    """Start what does not run of etcd and the stand-in kubelet, and wait until kube-apiserver is ready."""
    since = time.time()
    state.save(directory, settings)
    commands = {
        "etcd": [settings.programs["etcd"], *_etcd_arguments(directory, settings)],
        "kubelet": [sys.executable, "-m", "aggctl.sandbox.kubelet", str(directory)],
    }
    for name in PROCESSES:
        if not _runs(settings, name):
            settings = _launch(directory, settings, name, commands[name])
    await_ready(directory, settings, since)
    return _sandbox(directory, settings, did)


def _runs(settings: State, name: str) -> bool:
    return name in settings.processes and processes.alive(settings.processes[name])


def _launch(directory: Path, settings: State, name: str, command: list[str]) -> State:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
    process = processes.launch(
        command[0], command, folder=directory, environment=environment, stdout=directory / f"{name}.log"
    )
    settings = replace(settings, processes=settings.processes | {name: process})
    state.save(directory, settings)
    return settings


def _etcd_arguments(directory: Path, settings: State) -> list[str]:
    client, peer = f"http://127.0.0.1:{settings.etcd_port}", f"http://127.0.0.1:{settings.peer_port}"
    return [
        f"--data-dir={directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--heartbeat-interval=10",  # a member alone elects itself; this saves 0.6 s of waiting for others
        "--election-timeout=100",
    ]


def _stop(directory: Path, settings: State) -> list[str]:
    """End the stand-in kubelet, which ends its containers, then what it may have left behind, then etcd."""
    ours = settings.processes
    running = {
        f"{name} (pid {process.pid})": process
        for name, process in (*ours.items(), *_container_processes(directory))
        if processes.alive(process)
    }
    if "kubelet" in ours:
        processes.end(ours["kubelet"], settings.grace + STOP_MARGIN)
    for _, process in _container_processes(directory):
        processes.end(process, settings.grace)
    for process in (*ours.values(), *running.values()):
        processes.end(process, STOP_MARGIN)
    return list(running)


def _container_processes(directory: Path) -> list[tuple[str, processes.Process]]:
    return [(record.pod, record.process) for record in container.recorded(directory)]


def _programs(names: Iterable[str], say: Callable[[str], None]) -> dict[str, str]:
    return {name: str(path) for name, path in components.provide(names, say).items()}


def _free_ports() -> tuple[int, int, int]:
    """Three ports that nobody listens on; held all at once, so that they differ."""
    with ExitStack() as held:
        return _free_port(held), _free_port(held), _free_port(held)


def _free_port(held: ExitStack) -> int:
    holder = held.enter_context(socket.socket())
    holder.bind(("127.0.0.1", 0))
    return int(holder.getsockname()[1])


def _sandbox(directory: Path, settings: State, did: Did) -> Sandbox:
    root = state.root(directory)
    return Sandbox(directory, root, root / layout.ADMIN, layout.url(settings), did)


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _not_ours(directory: Path) -> Refused:
    return Refused(
        "not-a-sandbox",
        f"{directory} holds files and no sandbox.json: it is not a sandbox, and is left alone",
        do="choose another folder: --dir",
    )
