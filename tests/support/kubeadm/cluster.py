"""A real control plane of one node or three: kubeadm, kubelet, containerd, kube-proxy, each node a machine.

The nodes hang on one switch, where etcd runs; nothing of it can be reached from the world outside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.kubeadm import load, settings
from support.kubeadm.images import busybox_image, image
from support.kubeadm.machine import SYSTEM, Machine, allow_watches, connect
from support.waiting import eventually

from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "kubectl",
    "test-adapter",
    "metrics-server",
)
DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ip": "iproute2",
    "pgrep": "procps",
    "setpriv": "util-linux",
    "/bin/busybox": "busybox-static",
}
"""Debian's packages by the program of theirs that is needed."""

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
CONTROLLER_MANAGER = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
SHARED_KEYS = ("ca", "sa", "front-proxy-ca")
AGGCTL = Path(sys.executable).with_name("aggctl")
CERTIFICATE_KEY = re.compile("--certificate-key ([0-9a-f]{64})")
"""As aggctl shows it, in what it says."""

ADAPTER_IMAGE = "registry.example/test-adapter:1.37.0"
METRICS_IMAGE = "registry.example/metrics-server:0.9.0"
TOOLS_IMAGE = "registry.example/tools:1"


@dataclass
class KubeadmNode:
    """One control-plane node."""

    number: int
    machine: Machine
    kit: Kit

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        return f"10.10.0.{10 + self.number}"

    @property
    def manifest(self) -> Path:
        """Its kube-apiserver's manifest, as the test sees it."""
        return self.path(MANIFEST)

    def path(self, path: str) -> Path:
        """One of the files that are the node's own, as the test sees it, also while the node is off."""
        return self.machine.path(path)

    def run(self, *command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program on the node as root."""
        return self.machine.run(*command, **more)

    def aggctl(self, *words: str, check: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the real console script on the node as root."""
        return self.machine.run(AGGCTL, *words, check=check, **more)

    def kubectl(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run kubectl on the node, against this node's kube-apiserver."""
        where = ("--kubeconfig", "/etc/kubernetes/admin.conf", "--server", f"https://{self.address}:6443")
        return self.machine.run("kubectl", *where, *words, **more)

    def get(self, path: str) -> Any:
        """The JSON at a path of this node's kube-apiserver; None where it gives none."""
        done = self.kubectl("get", "--raw", path, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    @property
    def ready(self) -> bool:
        """Whether its kube-apiserver says so."""
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Every file below /etc/kubernetes with its mode and content."""
        folder = self.path("/etc/kubernetes")
        return {
            str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def without_flags(self, manifest: str, *beginnings: str) -> None:
        """Take flags out of a manifest, by rename, as an editor of care does."""
        path = self.path(manifest)
        kept = [
            line
            for line in path.read_text().splitlines(keepends=True)
            if not line.strip().removeprefix("- ").startswith(beginnings)
        ]
        draft = path.with_name(f".{path.name}")
        draft.write_text("".join(kept))
        draft.chmod(0o600)
        draft.replace(path)

    def await_manifest(self, within: float = 180.0) -> None:
        """Wait until the kube-apiserver that runs is the manifest's, and ready."""
        wanted = {
            line.strip().removeprefix("- ")
            for line in self.manifest.read_text().splitlines()
            if line.strip().startswith("- --")
        }
        eventually(lambda: self.flags() == wanted, f"{self.name} runs by its manifest", within=within)
        self.await_ready(within)

    def flags(self) -> set[str]:
        """The arguments of the kube-apiserver that runs."""
        said = self.run("sh", "-c", f"cat /proc/{self.apiserver_pid()}/cmdline", check=False).stdout
        return {word for word in said.split("\0") if word.startswith("--")}

    def await_ready(self, within: float = 180.0) -> None:
        eventually(lambda: self.ready, f"{self.name} is ready", within=within)

    def apiserver_pid(self) -> int:
        """The process of its kube-apiserver, as the node calls it; 0 where there is none."""
        found = self.run("pgrep", "-x", "kube-apiserver", check=False).stdout.split()
        return int(found[-1]) if found else 0

    def start(self) -> None:
        """Switch it on: containerd, kubelet and, where it was joined, kube-proxy."""
        self.machine.start()
        connect(self.machine, self.kit.switch, self.address)
        for other in range(1, 6):
            if other != self.number:
                via = f"10.10.0.{10 + other}"
                self.run("ip", "route", "add", f"10.88.{other}.0/24", "via", via)
        self.start_containerd()
        self.start_kubelet()
        if self.path("/etc/kubernetes/admin.conf").exists():
            self.start_proxy()

    def start_containerd(self) -> None:
        self.machine.serve("containerd", "containerd", "--config", "/srv/containerd.toml")
        eventually(
            lambda: self.run("ctr", "version", check=False).returncode == 0, f"containerd of {self.name}"
        )

    def start_kubelet(self) -> None:
        self.machine.serve("kubelet", "sh", "-c", settings.KUBELET)

    def start_proxy(self) -> None:
        self.machine.serve("kube-proxy", "kube-proxy", "--config", "/srv/kube-proxy.yaml")

    def service(self, name: str) -> Any:
        """containerd, kubelet or kube-proxy."""
        return self.machine.services[name]

    def install(self) -> None:
        """What a node has before kubeadm comes: settings, the network's, images."""
        self.write("/srv/containerd.toml", settings.CONTAINERD)
        self.write("/srv/kube-proxy.yaml", settings.proxy(self.name))
        self.write("/etc/cni/net.d/10-pods.conflist", settings.network(self.number))

    def import_images(self) -> None:
        """Put the images in, where a kubelet looks for them."""
        for archive in self.kit.images:
            self.run("ctr", "-n", "k8s.io", "images", "import", archive)

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write one of its files, whether it is on or off."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)


@dataclass
class Kit:
    """What all nodes of a cluster share: programs, images, the switch that they hang on, and etcd there."""

    folder: Path
    switch: Machine
    images: list[Path]
    bin: Path

    @property
    def etcd(self) -> str:
        return "http://10.10.0.1:2379"


@dataclass
class Cluster:
    """Nodes that were joined, ready."""

    kit: Kit
    nodes: list[KubeadmNode] = field(default_factory=list)

    @property
    def first(self) -> KubeadmNode:
        return self.nodes[0]

    def add(self, number: int) -> KubeadmNode:
        """A machine more, before kubeadm comes to it."""
        machine = Machine(f"node-{number}", self.kit.folder / f"node-{number}")
        machine.environment["PATH"] = f"{self.kit.bin}:{SYSTEM}"
        node = KubeadmNode(number, machine, self.kit)
        self.nodes.append(node)
        node.install()
        node.start()
        return node

    def init(self) -> None:
        """`kubeadm init` on the first node."""
        node = self.first
        node.write(
            "/srv/init.yaml", settings.init(node.name, node.address, self.kit.etcd, node.machine.cgroup)
        )
        skipped = "--skip-phases=addon,show-join-command"
        node.run("kubeadm", "init", "--config", "/srv/init.yaml", skipped, "--ignore-preflight-errors=all")
        node.start_proxy()

    def join(self, node: KubeadmNode) -> None:
        """`kubeadm join --control-plane`, with the CAs of the first node."""
        for name in SHARED_KEYS:
            for ending in ("pub", "key") if name == "sa" else ("crt", "key"):
                path = f"/etc/kubernetes/pki/{name}.{ending}"
                source = self.first.path(path)
                if source.exists():
                    node.write(path, source.read_text(), source.stat().st_mode & 0o777)
        node.write("/srv/discovery.conf", self.first.path("/etc/kubernetes/admin.conf").read_text())
        node.write("/srv/join.yaml", settings.join(node.name, node.address, node.machine.cgroup))
        node.run("kubeadm", "join", "--config", "/srv/join.yaml", "--ignore-preflight-errors=all")
        node.start_proxy()

    @contextmanager
    def load(self, path: str, nodes: Sequence[KubeadmNode] = ()) -> Iterator[dict[str, Counter[str]]]:
        """GET `path` all the time through the kube-apiserver of each node; what came of it, afterwards."""
        found: dict[str, Counter[str]] = {}
        with ExitStack() as stack:
            runs = {node.name: stack.enter_context(self._asking(node, path)) for node in nodes or self.nodes}
            for run in runs.values():
                assert run.stdout is not None
                assert run.stdout.readline() == "begun\n"
            yield found
            for name, run in runs.items():
                said, _ = run.communicate("", timeout=60)
                found[name] = Counter(json.loads(said))

    def _asking(self, node: KubeadmNode, path: str) -> subprocess.Popen[str]:
        kubeconfig = node.path("/etc/kubernetes/admin.conf")
        words = (sys.executable, load.__file__, str(kubeconfig), f"https://{node.address}:6443", path)
        return subprocess.Popen(
            self.kit.switch.entered(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def strip_layer(self) -> None:
        """Take the aggregation layer off all nodes, without a trace, as if kubeadm had never made it."""
        for node in self.nodes:
            node.without_flags(MANIFEST, "--requestheader-", "--proxy-client-")
            node.without_flags(CONTROLLER_MANAGER, "--requestheader-")
            for path in node.path("/etc/kubernetes/pki").glob("front-proxy-*"):
                path.unlink()
        for node in self.nodes:
            node.await_manifest()
        self.first.kubectl("-n", "kube-system", "delete", "configmap", "extension-apiserver-authentication")

    def end(self) -> None:
        for node in self.nodes:
            node.machine.end()
        self.kit.switch.end()


def missing() -> str:
    """What this machine lacks for real nodes, in words; empty where nothing is missing."""
    if os.geteuid() != 0:
        return "real nodes need root"
    packages = sorted({package for program, package in DEBIAN.items() if not shutil.which(program)})
    if packages:
        return f"real nodes need Debian's packages: apt-get install {' '.join(packages)}"
    unbuilt = [name for name in PROGRAMS if not components.find(components.COMPONENTS[name])]
    return f"not built: aggctl sandbox build {' '.join(unbuilt)}" if unbuilt else ""


def make_images(folder: Path) -> list[Path]:
    """The images of a node, as archives."""
    programs = components.provide(PROGRAMS, print)
    control_plane = [
        image(folder / f"{name}.tar", f"registry.k8s.io/{name}:{settings.VERSION}", programs[name])
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ]
    return [
        *control_plane,
        busybox_image(folder / "pause.tar", settings.PAUSE, ["sleep", "2147483647"]),
        busybox_image(folder / "tools.tar", TOOLS_IMAGE, ["sleep", "2147483647"]),
        image(folder / "test-adapter.tar", ADAPTER_IMAGE, programs["test-adapter"]),
        image(folder / "metrics-server.tar", METRICS_IMAGE, programs["metrics-server"]),
    ]


@contextmanager
def cluster_in(folder: Path, images: Sequence[Path], count: int) -> Iterator[Cluster]:
    """A cluster of `count` control-plane nodes; it ends with the block, whatever happens."""
    folder.mkdir(exist_ok=True)
    allow_watches()
    with ExitStack() as stack:
        cluster = Cluster(_kit(folder, images))
        stack.callback(cluster.end)
        _start_switch(cluster.kit)
        for number in range(count):
            cluster.add(number + 1)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(KubeadmNode.import_images, cluster.nodes))
        cluster.init()
        for node in cluster.nodes[1:]:
            cluster.join(node)
        for node in cluster.nodes:
            node.await_ready()
            proxy = node.service("kube-proxy")
            assert proxy.alive, proxy.log.read_text()  # it has no fs.inotify.max_user_instances to spare
        yield cluster


def _kit(folder: Path, images: Sequence[Path]) -> Kit:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, path in components.provide(PROGRAMS, print).items():
        link = programs / name
        if not link.is_symlink():
            link.symlink_to(path)
    switch = Machine("switch", folder / "switch")
    return Kit(folder, switch, list(images), programs)


def _start_switch(kit: Kit) -> None:
    switch = kit.switch
    switch.folder.mkdir(exist_ok=True)
    switch.start()
    for command in (
        "ip link add bridge0 type bridge",
        "ip address add 10.10.0.1/24 dev bridge0",
        "ip link set bridge0 up",
    ):
        switch.run(*command.split())
    peers = "http://10.10.0.1:2380"
    switch.serve(
        "etcd",
        kit.bin / "etcd",
        *(f"--{kind}-client-urls={kit.etcd}" for kind in ("listen", "advertise")),
        *(f"--{kind}-peer-urls={peers}" for kind in ("listen", "initial-advertise")),
        f"--initial-cluster=default={peers}",
        f"--data-dir={kit.folder}/etcd",
        "--unsafe-no-fsync",
    )
