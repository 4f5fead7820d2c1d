"""Two control-plane nodes of one cluster: two kube-apiservers on one etcd, each with a root of its own.

The first is a sandbox. The second is a sandbox's folder without an etcd: its kube-apiserver listens on
another loopback address, under a host name of its own, as kube-apiservers of one host name share a Lease.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.nodes import Node
from support.sandboxes import Running, sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.sandbox import control_plane, layout, processes, state
from aggctl.sandbox.files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = "127.0.0.2"
NAME = "second-node"

OWN_HOST_NAME = ("unshare", "--user", "--map-root-user", "--uts")
"""Runs a program in a UTS namespace, for any user where the kernel lets users have namespaces."""

AS_KUBELET = """\
import runpy, socket, sys
socket.sethostname(sys.argv[1])
del sys.argv[1]
runpy.run_module("aggctl.sandbox.kubelet", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class TwoNodes:
    """Both nodes, ready."""

    first: Node
    second: Node

    @property
    def both(self) -> tuple[Node, Node]:
        return self.first, self.second


@contextmanager
def two_nodes_in(directory: Path, aggregation: Any = "on", **options: Any) -> Iterator[TwoNodes]:
    """Two nodes below `directory`, with one CA of each kind; skipped where no process may have a host name.

    With aggregation off the second one has no front-proxy CA either, like one that joined such a cluster.
    """
    _skip_without_namespaces()
    with sandbox_in(directory / "first", aggregation=aggregation, **options) as first:
        other = directory / "second"
        try:
            second = _second(first, other, aggregation=aggregation == "on")
            yield TwoNodes(Node(first), Node(second))
        finally:
            if (other / "sandbox.json").exists():
                control_plane.down(other, say=print)


def _skip_without_namespaces() -> None:
    try:
        run = subprocess.run([*OWN_HOST_NAME, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("two nodes need the program `unshare` of util-linux")
    if run.returncode:
        pytest.skip(f"two nodes need host names of their own, so a UTS namespace: {run.stderr.strip()}")


def _second(first: Running, directory: Path, *, aggregation: bool) -> Running:
    known = state.load(first.directory)
    assert known is not None
    settings = replace(known, node=NAME, secure_port=_free_port(), processes={})
    root = state.root(directory)
    directory.mkdir(mode=0o700)
    _write_files(first.sandbox.root, root, settings, aggregation=aggregation)
    state.save(directory, settings)
    kubelet = processes.launch(
        shutil.which(OWN_HOST_NAME[0]) or "",
        [*OWN_HOST_NAME, sys.executable, "-c", AS_KUBELET, NAME, str(directory)],
        folder=directory,
        environment=dict(os.environ),
        stdout=directory / "kubelet.log",
    )
    state.save(directory, replace(settings, processes={"kubelet": kubelet}))
    url = f"https://{ADDRESS}:{settings.secure_port}"
    running = Running(control_plane.Sandbox(directory, root, root / layout.ADMIN, url, "made"))
    eventually(lambda: running.admin.ask("/readyz").status == 200, f"{url} is ready")
    return running


def _write_files(first: Path, root: Path, settings: state.State, *, aggregation: bool) -> None:
    """What `kubeadm join --control-plane` leaves: the first one's CAs and keys, and leaves of its own."""
    for copied in ("etc/ssl", "etc/kubernetes/pki", "var/lib/kubelet"):
        shutil.copytree(first / copied, root / copied)
    (root / "var/log/pods").mkdir(parents=True)
    own = f'KUBELET_KUBEADM_ARGS="--hostname-override={NAME}"\n'
    write_file(root / "var/lib/kubelet/kubeadm-flags.env", own.encode(), 0o644)
    folder = root / layout.PKI.lstrip("/")
    sans = (*layout.SERVING_NAMES, NAME, "localhost", "10.96.0.1", ADDRESS)
    _issue(folder, "ca", "apiserver", "kube-apiserver", usage="server", sans=sans)
    if aggregation:
        _issue(folder, "front-proxy-ca", "front-proxy-client", "front-proxy-client", usage="client")
    server = f"server: https://{ADDRESS}:{settings.secure_port}"
    for name in (layout.ADMIN, layout.SUPER_ADMIN):
        write_file(root / name, re.sub("server: .*", server, (first / name).read_text()).encode())
    manifest = layout.manifest(settings, aggregation=aggregation)
    write_file(root / layout.MANIFEST, re.sub(r"(?<!//)127\.0\.0\.1", ADDRESS, manifest).encode())


def _issue(folder: Path, authority: str, name: str, common_name: str, **kind: Any) -> None:
    ca = pki.KeyPair(*((folder / f"{authority}.{ending}").read_bytes() for ending in ("crt", "key")))
    pair = pki.issue(ca, common_name, datetime.now(UTC), **kind)
    write_file(folder / f"{name}.key", pair.key)
    write_file(folder / f"{name}.crt", pair.certificate, 0o644)


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind((ADDRESS, 0))
        return int(holder.getsockname()[1])
