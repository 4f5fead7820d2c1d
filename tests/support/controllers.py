"""Real controllers beside a sandbox: kube-controller-manager as a process, with those that a test needs."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.waiting import eventually

from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kube import Kube
    from support.sandboxes import Running

NAME = "kube-controller-manager"
NAMESPACES = ("namespace-controller", "garbage-collector-controller")
"""What ends namespaces, and objects whose owner is gone."""

WORKLOADS = ("deployment-controller", "replicaset-controller", "endpointslice-controller")
"""From a Deployment to Pods (which no scheduler places and no kubelet runs), and to a Service's endpoints."""

ADMISSION = ("serviceaccount-controller", "resourcequota-controller")
"""What the admission of Pods goes by: each namespace's ServiceAccount `default`, the use of a quota."""

GRACE = 10.0
_SYNCED = '"Caches are synced"'


@dataclass(frozen=True)
class Controllers:
    """The process with the controllers."""

    process: subprocess.Popen[bytes]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """They see and do nothing meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def controllers(running: Running, *names: str) -> Iterator[Controllers]:
    """These controllers at a sandbox's kube-apiserver, each of them at work; ended by its own pid."""
    program = components.find(components.COMPONENTS[NAME])
    if program is None:
        pytest.skip(f"{NAME} not built yet: run `aggctl sandbox build {NAME}` once, or `make test`")
    log = running.directory / f"{NAME}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(program.path),
                f"--kubeconfig={running.sandbox.kubeconfig}",
                f"--controllers={','.join(names)}",
                "--leader-elect=false",
                "--secure-port=0",
            ],
            cwd=running.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(
            lambda: process.poll() is not None or log.read_text().count(_SYNCED) >= len(names),
            f"{NAME} works",
        )
        assert process.poll() is None, log.read_text()
        yield Controllers(process)
    finally:
        _end(process)


def standing(kube: Kube) -> dict[str, str]:
    """Every object of a cluster, but for namespaces that are being deleted and what is in them."""
    items = kube.get("/api/v1/namespaces")["items"]
    going = {each["metadata"]["name"] for each in items if each["metadata"].get("deletionTimestamp")}
    objects = ((*key.partition(" ")[2].split("/", 1), key, at) for key, at in kube.everything().items())
    return {key: at for namespace, name, key, at in objects if (namespace or name) not in going}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
