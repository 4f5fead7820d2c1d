"""Waiting for a sandbox to get ready, and saying why it does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aggctl.errors import Failed
from aggctl.sandbox import layout, processes, state
from aggctl.sandbox.probe import Answer, Client
from aggctl.sandbox.report import evidence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggctl.sandbox.state import State

READY_WITHIN = 60.0
POLL = 0.02
GOOD = {200, 201, 409}
"""409: the object was there already."""

ADMINS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "kubeadm:cluster-admins"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "kubeadm:cluster-admins"}
    ],
}
"""What gives admin.conf its rights, as kubeadm makes it with super-admin.conf."""


class NotReady(Failed):
    """Everything runs, and the API does not get ready."""


class PortTaken(Failed):
    """Somebody else has a port of the sandbox."""


def await_ready(directory: Path, settings: State, since: float) -> None:
    """Wait until kube-apiserver is ready and admin.conf has its rights; a process that dies ends the wait.

    `since` (time of day) is when the processes were started: what their logs held before does not count.
    """
    root = state.root(directory)
    admin, super_admin = Client(root / layout.ADMIN), Client(root / layout.SUPER_ADMIN)
    wanted: tuple[tuple[str, Callable[[], Answer]], ...] = (
        ("kube-apiserver is not ready", lambda: admin.ask("/readyz")),
        ("admin.conf cannot be given its rights", lambda: _give_rights(super_admin)),
        ("admin.conf has no rights yet", lambda: admin.ask("/api/v1/namespaces/kube-system")),
    )
    deadline = time.monotonic() + READY_WITHIN
    for lacking, ask in wanted:
        while (answer := ask()).status not in GOOD:
            _check_processes(directory, settings, since)
            if time.monotonic() > deadline:
                raise _not_ready(directory, settings, lacking, answer)
            time.sleep(POLL)


def _give_rights(super_admin: Client) -> Answer:
    return super_admin.ask("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", ADMINS)


def _check_processes(directory: Path, settings: State, since: float) -> None:
    for name, process in settings.processes.items():
        if not processes.alive(process):
            raise _died(directory, name, evidence(directory, settings, name, since=since))
    lines = evidence(directory, settings, "kube-apiserver", since=since)
    if any("address already in use" in line for line in lines):
        raise _died(directory, "kube-apiserver", lines)


def _died(directory: Path, name: str, lines: tuple[str, ...]) -> Failed:
    taken = [line for line in lines if "address already in use" in line]
    if taken:
        return PortTaken(
            "sandbox-port-taken",
            f"another process took a port that {name} of the sandbox in {directory} wants",
            found=taken[-1],
            do="end that process, or make the sandbox anew: aggctl sandbox down, then up",
        )
    return Failed(
        "sandbox-process-died",
        f"{name} ended while the sandbox in {directory} started",
        do="mend what it says below, then run again",
        evidence=lines,
    )


def _not_ready(directory: Path, settings: State, lacking: str, answer: Answer) -> NotReady:
    return NotReady(
        "sandbox-not-ready",
        f"{lacking} after {READY_WITHIN:g} s, in the sandbox {directory}",
        found=answer.text.strip() or f"status {answer.status}",
        do="see what kube-apiserver says, or make the sandbox anew: aggctl sandbox down, then up",
        evidence=evidence(directory, settings, "kube-apiserver"),
    )
