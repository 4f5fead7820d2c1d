"""A machine of its own inside this one: network, mounts, host name, processes and cgroups apart.

Its first process ends with the test run, however that ends, and everything on the machine ends with it: that
is what a PID namespace gives, also for containers, whose processes are in namespaces of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CGROUPS = Path("/sys/fs/cgroup")

FIRST_PROCESS = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
print("here", flush=True)
while True:  # what loses its parent becomes a child of this one, and is taken note of when it ends
    try:
        os.wait()
    except ChildProcessError:
        signal.sigwait({signal.SIGCHLD})
"""

LAYERED = ("/etc", "/usr/libexec", "/var/lib", "/var/log")
"""What a machine sees of this one, and changes for itself alone."""

OWN = (
    "/etc/cni/net.d",
    "/etc/kubernetes",
    "/run",
    "/srv",
    "/usr/libexec/kubernetes",
    "/var/lib/aggctl",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/pods",
)
"""Folders that a machine has for itself alone, from empty; a test sees them below the machine's folder."""

HOME = "/srv"
WATCHERS = 1024

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Service:
    """A program that runs on a machine until it is stopped."""

    def __init__(self, entering: subprocess.Popen[bytes], log: Path) -> None:
        """`entering` is nsenter, whose only child is the program."""
        self._entering, self.log = entering, log

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._entering.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        for pid in _children(self._entering.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait for that."""
        self.send(number)
        try:
            self._entering.wait(10)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._entering.wait(10)


@dataclass
class Machine:
    """One machine; its files lie below `folder`, its processes see it as `name`."""

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    _first: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Bring it up, or up again: its files are as they were, nothing of its processes is left.

        Only the main thread may: the kernel takes the end of a thread for that of its process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._first = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *(sys.executable, "-S", "-c", FIRST_PROCESS),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # unshare 2.38 complains of itself when its child was killed
        )
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"here\n"
        self._prepare()

    @property
    def pid(self) -> int:
        """Its first process, as the world outside calls it."""
        assert self._first is not None
        (first,) = _children(self._first.pid)
        return first

    def run(self, *command: str | Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program on it, to the end; AssertionError with all that it said where it fails."""
        more.setdefault("stdin", subprocess.DEVNULL if "input" not in more else None)
        done = subprocess.run(
            self.entered(*command),
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(more.pop("env", {})),
            **more,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def serve(self, name: str, *command: str | Path, env: Mapping[str, str] | None = None) -> Service:
        """Start a program that goes on; what it says is in its log, below the machine's folder."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            entering = subprocess.Popen(
                self.entered(*command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(env or {}),
                process_group=0,
            )
        self.services[name] = Service(entering, log)
        return self.services[name]

    def entered(self, *command: str | Path) -> list[str]:
        """The command, as this machine runs it on the other one."""
        return [
            *("nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", "--wdns=/", "--"),
            *map(str, command),
        ]

    def path(self, path: str) -> Path:
        """One of the files that are its own, as the test sees it, also while it is off."""
        return self.folder / "root" / path.lstrip("/")

    def power_off(self) -> None:
        """End all of its processes at once, as a power cut does."""
        assert self._first is not None
        pid = self._first.pid
        for inner in _children(pid):
            os.kill(inner, signal.SIGKILL)  # the first process of a PID namespace takes all others along
        self._first.wait(30)
        if self._first.stdout:
            self._first.stdout.close()
        for service in self.services.values():
            service.stop()
        self.services.clear()
        self._first = None

    def end(self) -> None:
        """Power off, and take away what is left of it in the kernel."""
        if self._first is not None:
            self.power_off()
        remove_cgroups(self.cgroup)

    @property
    def cgroup(self) -> str:
        """The cgroup of its Pods, below the root of every hierarchy, and of no other machine."""
        return f"aggctl-{zlib.crc32(os.fsencode(self.folder)):08x}-{self.name}"

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in {"LANG", "PYTHONDONTWRITEBYTECODE"} or name.startswith("COVERAGE")
        }
        return {"HOME": HOME, "PATH": SYSTEM, **kept, **self.environment, **more}

    def _prepare(self) -> None:
        """Its own folders and host name; mounts that the kubelet makes are to be seen by its Pods."""
        layers = [(path, self.folder / "layers" / path.strip("/").replace("/", "-")) for path in LAYERED]
        for folder in (
            *(layer / kind for _, layer in layers for kind in ("upper", "work")),
            *(self.path(path) for path in OWN),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        lines = [
            "set -e",
            f"hostname {self.name}",
            *(
                f"mount -t overlay -o lowerdir={path},upperdir={layer}/upper,workdir={layer}/work none {path}"
                for path, layer in layers
            ),
            *(f"mkdir -p {path} && mount --bind {self.path(path)} {path}" for path in OWN),
            f"echo 127.0.0.1 localhost {self.name} > /etc/hosts",
            f"echo {self.name} | md5sum | cut -c-32 > /etc/machine-id",
            "cat /proc/sys/kernel/random/uuid > /run/boot-id",
            "mount --bind /run/boot-id /proc/sys/kernel/random/boot_id",
            "mount --make-rshared /",
            "ip link set lo up",
            "cd /proc/sys/net/ipv4 && echo 1 > ip_forward && echo 0 > conf/all/rp_filter",
        ]
        self.run("sh", "-c", "\n".join(lines))
        make_cgroups(self.cgroup)


def connect(machine: Machine, switch: Machine, address: str) -> None:
    """A cable from a machine to the bridge of another one, and the address there."""
    port = f"to-{machine.name}"
    cable = f"ip link add name eth0 netns {machine.pid} type veth peer name {port} netns {switch.pid}"
    subprocess.run(cable.split(), check=True)
    switch.run("ip", "link", "set", port, "master", "bridge0", "up")
    machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    machine.run("ip", "link", "set", "eth0", "up")
    machine.run("ip", "route", "add", "default", "dev", "eth0")


def allow_watches() -> None:
    """Let root have the watchers that several kubelets need; the kernel allows 128 by default."""
    setting = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(setting.read_text()) < WATCHERS:
        setting.write_text(str(WATCHERS))


def make_cgroups(name: str) -> None:
    """A cgroup below the root of every hierarchy; a cpuset without processors would take no process."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            with suppress(FileNotFoundError):
                if not (group / setting).read_text().strip():
                    (group / setting).write_text((hierarchy / setting).read_text())


def remove_cgroups(name: str) -> None:
    """Take the cgroup away in every hierarchy, with all below it."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            eventually(partial(_removed, Path(folder)), f"{folder} can be removed", within=10)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _hierarchies() -> Iterable[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [each for each in CGROUPS.iterdir() if each.is_dir() and (each / "cgroup.procs").exists()]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
