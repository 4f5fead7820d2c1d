"""Real controllers beside a sandbox: kube-controller-manager as a process, with those that a test needs."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.waiting import eventually

from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def controllers(running: Running, *names: str) -> Iterator[None]:
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
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
