"""A control-plane node without its programs: real files, and a model of what lives by them.

Files and journal are the real ones below a temporary root. Beyond the port `look` stands a model of the
kubelet, kube-apiserver and etcd: the Pod runs by the manifest that is on disk, and what it once published is
remembered beside the root. Time passes only in `Clock.pause`. Faults are set before a command is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from aggctl.core import pki
from aggctl.core.cluster_view import API_SERVICES, KUBERNETES_SLICES
from aggctl.core.lease import PATH as LEASE
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    ArgumentsAccepted,
    AskAs,
    ClockSkew,
    ContainerLogs,
    Dial,
    Existing,
    FileAt,
    FolderAt,
    KeyAt,
    LogSeen,
    ObjectAt,
    Processes,
    ProcessSeen,
    Question,
    ReadyAt,
    Unknown,
    WhoSeen,
)
from aggctl.errors import Failed
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.journal import Journal
from aggctl.system.kubeconfig import Credentials
from aggctl.system.logs import Logs
from aggctl.system.objects import Objects
from aggctl.system.ports import Ports
from aggctl.system.signals import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
PKI = "/etc/kubernetes/pki"
SERVER = "https://192.0.2.10:6443"
LEASES = LEASE.rpartition("/")[0]
NAMES = ("front-proxy-ca.key", "front-proxy-ca.crt", "front-proxy-client.key", "front-proxy-client.crt")

STOPS, STARTS, READY, PUBLISHES = 0.2, 0.6, 1.0, 1.4
"""Seconds from a changed manifest until the old process is gone, and the new one gets that far."""

_LAYER = """\
    - --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt
    - --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key
    - --requestheader-allowed-names=front-proxy-client
    - --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt
    - --requestheader-extra-headers-prefix=X-Remote-Extra-
    - --requestheader-group-headers=X-Remote-Group
    - --requestheader-username-headers=X-Remote-User
"""
_ROUTING = "    - --enable-aggregator-routing=true\n"
_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver   # by hand
    - --advertise-address=192.0.2.10
    - --client-ca-file=/etc/kubernetes/pki/ca.crt
    - --secure-port=6443
{flags}    image: registry.k8s.io/kube-apiserver:v1.34.1
    name: kube-apiserver
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: k8s-certs
"""

Calls = Any
Tree = dict[str, tuple[str, int, int, int, bytes]]


class Clock:
    """Time that passes only when somebody waits, and then three times as fast as asked for."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.on_pause: list[Callable[[], None]] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.passed += 3 * seconds
        for call in self.on_pause:
            call()


class Silent:
    """Progress that nobody watches."""

    def begin(self, title: str, deadline: float | None = None) -> None:
        """Nobody watches."""

    def waiting(self, why: str) -> None:
        """Nobody watches."""

    def done(self, detail: str = "") -> None:
        """Nobody watches."""

    def failed(self, detail: str = "") -> None:
        """Nobody watches."""

    def say(self, line: str) -> None:
        """Nobody watches."""


@dataclass
class Faults:
    """What goes wrong outside. `gate` names it; with `for_good` the old manifest does not help either."""

    gate: str = ""
    for_good: bool = False
    served: tuple[str, ...] = ()
    unreadable: str = ""


class Api(Cluster):
    """Requests to this node's kube-apiserver: it answers while it is ready, and has one Lease."""

    def __init__(self, folder: Path, answers: Callable[[], bool]) -> None:
        credentials = Credentials("admin.conf", SERVER, b"")
        super().__init__(lambda: credentials, Files(str(folder / "root")))
        self._kept, self._is_up = folder / "lease.json", answers

    def send(
        self, method: str, url: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        assert url.startswith(f"{SERVER}{LEASES}"), (method, url, content_type)
        if not self._is_up():
            raise Failed("apiserver-not-reachable", f"{SERVER} does not answer", do="start it")
        status, found = self._answered(method, json.loads(body or b"{}"))
        return status, json.dumps(found).encode()

    def _answered(self, method: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        live = json.loads(self._kept.read_bytes()) if self._kept.exists() else {}
        version = live.get("metadata", {}).get("resourceVersion")
        asked = body.get("preconditions") or body.get("metadata") or {}
        if method == "GET":
            return (200, live) if live else (404, {})
        if asked.get("resourceVersion") != version:
            return 409, {}
        if method == "DELETE":
            self._kept.unlink()
            return 200, {}
        stamp = {"resourceVersion": str(int(version or "0") + 1), "uid": "one"}
        written = body | {"metadata": body["metadata"] | stamp}
        self._kept.write_text(json.dumps(written))
        return (200 if live else 201), written


@dataclass
class World:
    """One node below `folder`/root; what etcd holds is `folder`/etcd.json."""

    folder: Path
    calls: Calls = os
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)
    stop: Stop = field(default_factory=Stop)
    on_look: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._seeing = Files(str(self.root))
        self._text = self._found = self._on_disk()
        self._since = -10.0
        self._generation = 1
        self._advance()

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def ports(self) -> Ports:
        cluster = Api(self.folder, self.answers)
        return Ports(
            look=self.look,
            files=Files(str(self.root), self.calls),
            objects=Objects(cluster),
            journal=Journal(str(self.root), self.calls),
            clock=self.clock,
            progress=Silent(),
            stop=self.stop,
            watch=lambda _server, _paths: contextlib.nullcontext(self.clock.pause),
            hold=cluster.hold,
            logs=lambda: Logs(cluster, str(self.root)),
        )

    def look(self, question: Question) -> Any:
        with self._lock:
            for call in self.on_look:
                call()
            if isinstance(question, FileAt | KeyAt | FolderAt | Existing):
                if self.faults.unreadable and getattr(question, "path", "") == self.faults.unreadable:
                    return Unknown(f"{self.faults.unreadable}: Input/output error", "file-not-readable")
                return self._seeing.look(question)
            self._advance()
            return self._answer(question)

    def answers(self) -> bool:
        """Whether kube-apiserver takes requests now."""
        with self._lock:
            self._advance()
            return self._ready or self._fault == "kubelet-stopped"

    # --- what was seen by others -------------------------------------------------------------------------

    @property
    def etcd(self) -> dict[str, list[str]]:
        """The front-proxy CAs and names that the cluster publishes: all that were ever in force."""
        path = self.folder / "etcd.json"
        found: dict[str, list[str]] = {"authorities": [], "names": []}
        return json.loads(path.read_bytes()) if path.exists() else found

    def tree(self) -> Tree:
        """Every folder and file below etc/kubernetes: kind, mode, owner, bytes."""
        return tree(self.root / "etc/kubernetes")

    # --- the model ---------------------------------------------------------------------------------------

    def _on_disk(self) -> bytes:
        return self.path(MANIFEST).read_bytes()

    def _advance(self) -> None:
        """The kubelet looks at the folder; what has been ready for long enough publishes."""
        text = self._on_disk()
        if text != self._text:
            self._text, self._since = text, self.clock.monotonic()
            self._generation += 1
        if self._age >= PUBLISHES and self._ready and self._fault != "never-publishes":
            self._publish()

    @property
    def _age(self) -> float:
        return self.clock.monotonic() - self._since

    @property
    def _fault(self) -> str:
        """The fault at the gate, if it has set in: from the first change on, or while changed."""
        changed = self._text != self._found or (self.faults.for_good and self._generation > 1)
        return self.faults.gate if changed else ""

    @property
    def _running(self) -> bool:
        dead = ("never-comes-back", "flag-refused", "crash-loop")
        return self._age >= STARTS and self._fault not in dead and not _missing(self._text, self.root)

    @property
    def _ready(self) -> bool:
        return self._age >= READY and self._running and self._fault not in ("silent", "kubelet-stopped")

    def _publish(self) -> None:
        known, flags = self.etcd, _flags(self._text)
        path = _host(self._text, flags.get("requestheader-client-ca-file", ""), self.root)
        pem = path.read_text() if path and path.exists() else ""
        if pem and pem not in known["authorities"]:
            names = flags["requestheader-allowed-names"].split(",")
            known = {"authorities": [*known["authorities"], pem], "names": [*known["names"], *names]}
            (self.folder / "etcd.json").write_text(json.dumps(known))

    def _answer(self, question: Question) -> Any:
        match question:
            case Processes():
                return self._processes()
            case ArgumentsAccepted() | Dial():
                return ""
            case ContainerLogs():
                return self._logs()
        if not self._ready and self._fault != "kubelet-stopped":
            return Unknown(f"{SERVER} does not answer: Connection refused", "apiserver-not-reachable")
        match question:
            case ReadyAt():
                return "ok"
            case ClockSkew():
                return 0.0
            case ObjectAt(path):
                return self._object(path)
            case AskAs(_, certificate, key):
                return self._who(certificate, key)
        raise TypeError(question)

    def _processes(self) -> tuple[ProcessSeen, ...]:
        if self._fault == "kubelet-stopped":
            return (self._process(self._found, 1),)
        if self._running:
            return (self._process(self._text, self._generation),)
        return (self._process(self._found, 1),) if self._age < STOPS else ()

    def _process(self, text: bytes, generation: int) -> ProcessSeen:
        return ProcessSeen(1000 + generation, float(generation), _argv(text))

    def _logs(self) -> tuple[LogSeen, ...]:
        written = self.path(MANIFEST).stat().st_ctime + 1
        lines = {
            "flag-refused": ('Error: invalid argument "maybe" for "--enable-aggregator-routing" flag',),
            "crash-loop": ("panic: out of luck",),
        }.get(self._fault)
        missing = _missing(self._text, self.root)
        if missing:
            lines = (f'E0301 1 run.go:72] "command failed" err="open {missing}: no such file or directory"',)
        if not lines or self._age < STARTS:
            return ()
        return tuple(LogSeen(run, written, lines) for run in range(4))

    def _object(self, path: str) -> dict[str, Any] | None:
        known = self.etcd
        data = {
            "requestheader-client-ca-file": "".join(known["authorities"]),
            "requestheader-allowed-names": json.dumps(known["names"]),
        }
        spec = {"service": {"namespace": "default", "name": "api"}}
        services = [{"metadata": {"name": name}, "spec": spec} for name in self.faults.served]
        objects: dict[str, dict[str, Any]] = {
            "/version": {"gitVersion": "v1.34.1"},
            CONFIG_MAP: {"data": data if known["authorities"] else {}},
            KUBERNETES_SLICES: {"items": [{"endpoints": [{"addresses": ["192.0.2.10"]}]}]},
            API_SERVICES: {"items": services},
        }
        return objects.get(path)

    def _who(self, certificate: str, key: str) -> WhoSeen | Unknown:
        flags = _flags(self._text)
        authority = _host(self._text, flags.get("requestheader-client-ca-file", ""), self.root)
        try:
            leaf = pki.read_certificates(self.path(certificate).read_bytes())[0]
            matches = pki.public_key_of(self.path(key).read_bytes()) == leaf.public_key
            roots = pki.read_certificates(authority.read_bytes()) if authority else ()
        except (OSError, pki.PkiError) as error:
            return Unknown(f"{certificate}: {error}", "file-not-readable")
        allowed = leaf.common_name in flags.get("requestheader-allowed-names", "").split(",")
        trusted = any(_signed(leaf, each) for each in roots)
        if matches and allowed and trusted and self._fault not in ("identity-refused", "kubelet-stopped"):
            return WhoSeen(201, "aggctl-probe")
        return WhoSeen(401, "")


# --- a manifest as the kubelet takes it -------------------------------------------------------------------


@lru_cache(maxsize=64)
def _pod(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)  # the safe loader, in C
    return found


def _argv(text: bytes) -> tuple[str, ...]:
    return tuple(_pod(text)["spec"]["containers"][0]["command"])


def _flags(text: bytes) -> dict[str, str]:
    words = (word.removeprefix("--").partition("=") for word in _argv(text) if word.startswith("--"))
    return {name: value for name, _, value in words}


def _host(text: bytes, path: str, root: Path) -> Path | None:
    """Where a path of the container lies on the node, or None where no volume covers it."""
    spec = _pod(text)["spec"]
    volumes: dict[str, str] = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"]}
    for mount in spec["containers"][0]["volumeMounts"]:
        inside = str(mount["mountPath"]).rstrip("/") + "/"
        if path.startswith(inside):
            return root / volumes[mount["name"]].lstrip("/") / path.removeprefix(inside)
    return None


def _missing(text: bytes, root: Path) -> str:
    """The first file that a flag names and the container has not."""
    for name, value in _flags(text).items():
        if name.endswith(("-ca-file", "-cert-file", "-key-file")):
            host = _host(text, value, root)
            if host is None or not host.exists():
                return value
    return ""


@lru_cache(maxsize=256)
def _signed(leaf: pki.Certificate, authority: pki.Certificate) -> bool:
    return pki.signed_by(leaf, authority)


# --- making one -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def authorities() -> tuple[pki.KeyPair, pki.KeyPair]:
    """The CA of clients, and a front-proxy CA."""
    ca, proxy = (pki.new_ca(name, NOW, algorithm="ECDSA-P256") for name in ("kubernetes", "front-proxy-ca"))
    return ca, proxy


def make_world(folder: Path, kind: str = "off", **more: Any) -> World:
    """A node with the layer `off`, `on`, on with an `expired` client certificate, or `leafless`."""
    root = folder / "root"
    for each in ("etc/kubernetes/manifests", "etc/kubernetes/pki/etcd", "var/lib/kubelet"):
        (root / each).mkdir(parents=True)
    for each in ("etc", "etc/kubernetes", "etc/kubernetes/manifests", "etc/kubernetes/pki", "var", "var/lib"):
        (root / each).chmod(0o755)
    client_ca, proxy = authorities()
    off = kind in ("off", "unmounted")
    _put(root, MANIFEST, _POD.format(flags="" if off else _LAYER + _ROUTING).encode(), 0o600)
    _put(root, "/var/lib/kubelet/config.yaml", b"staticPodPath: /etc/kubernetes/manifests\n", 0o644)
    _put(root, f"{PKI}/ca.crt", client_ca.certificate, 0o640)
    _put(root, f"{PKI}/etcd/ca.crt", client_ca.certificate, 0o444)
    if os.geteuid() == 0:
        os.chown(root / MANIFEST[1:], 0, 12)  # an owner that must come back
    if not off:
        _put(root, f"{PKI}/front-proxy-ca.key", proxy.key, 0o600)
        _put(root, f"{PKI}/front-proxy-ca.crt", proxy.certificate, 0o644)
    if kind in ("on", "expired"):
        lifetime, issued = {"on": (300, 1), "expired": (30, 60)}[kind]
        leaf = pki.issue(
            proxy,
            "front-proxy-client",
            NOW - timedelta(days=issued),
            usage="client",
            algorithm="ECDSA-P256",
            lifetime=timedelta(days=lifetime),
        )
        _put(root, f"{PKI}/front-proxy-client.key", leaf.key, 0o640)
        _put(root, f"{PKI}/front-proxy-client.crt", leaf.certificate, 0o444)
    if kind == "leafless":  # so that kube-apiserver, which has read the pair before, is taken to run on
        (root / MANIFEST[1:]).write_bytes(_POD.format(flags=_ROUTING).encode())
    return World(folder, **more)


def copy_world(template: Path, folder: Path, **more: Any) -> World:
    """A copy of a node that a command may ruin."""
    shutil.copytree(template, folder)
    for path, (_, _, uid, gid, _) in tree(template).items():
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.chown(folder / path, uid, gid)
    return World(folder, **more)


def tree(top: Path) -> Tree:
    """Everything below a folder: kind, permission bits, owner, bytes (of a link its target)."""
    found: Tree = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        content = b""
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.fsencode(path.readlink())
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}[stat.S_IFMT(info.st_mode)]
        found[str(path.relative_to(top))] = (
            kind,
            stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            content,
        )
    return found


def _put(root: Path, path: str, content: bytes, mode: int) -> None:
    target = root / path.lstrip("/")
    target.write_bytes(content)
    target.chmod(mode)


# --- system calls that fail -------------------------------------------------------------------------------

CHANGING = frozenset(
    {"write", "pwrite", "ftruncate", "rename", "link", "unlink", "mkdir", "rmdir", "chmod", "fchmod"}
    | {"fchown", "fsync"}
)
TAKING_ROOM = frozenset({"open", "write", "pwrite", "link", "mkdir", "rename"})


@dataclass
class FaultyCalls:
    """The module `os`, counting; `at` is asked before each call and may raise, or end this process."""

    at: Callable[[str, int, int], None] = lambda _name, _number, _changes: None
    number: int = 0
    changes: int = 0
    names: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.number += 1
            self.changes += is_change(name, arguments)
            self.names.append(name)
            if name == "close":
                real(*arguments)  # as in Linux, where a failing close(2) has closed
                self.at("", self.number, self.changes)
                return None
            self.at(name if is_change(name, arguments) else "", self.number, self.changes)
            return real(*arguments, **options)

        return call


def is_change(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a system call may change the disk."""
    return name in CHANGING or (name == "open" and bool(arguments[1] & os.O_CREAT))


def failing(code: int, at: int, *, changes_only: bool, persistent: bool) -> Callable[[str, int, int], None]:
    """Fail the call number `at`; persistent, every later one that such a disk would refuse."""
    hits = TAKING_ROOM if os.strerror(code) in _FULL else CHANGING | {"open"}

    def fail(name: str, number: int, changes: int) -> None:
        count = changes if changes_only else number
        if persistent and count >= at and name in hits:
            raise OSError(code, os.strerror(code))
        if not persistent and count == at and (name or not changes_only):
            raise OSError(code, os.strerror(code))

    return fail


_FULL = frozenset({"No space left on device", "Disk quota exceeded"})


def killing(at: int) -> Callable[[str, int, int], None]:
    """SIGKILL this very process just before the change number `at`."""

    def kill(name: str, _number: int, changes: int) -> None:
        if name and changes == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def in_child(work: Callable[[], object]) -> bool:
    """Run `work` in a fork; whether it was killed. Nothing of the child comes back but what is on disk."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
