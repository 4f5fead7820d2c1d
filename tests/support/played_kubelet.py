"""A scheduler and a kubelet played by the test: no container ever runs, a Pod's status is what the test says.

Everything else about the Pods is real: who makes them, who lets them in, what their endpoints are.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support.https import https
from support.kube import MERGE, Kube
from support.played_portforward import forward

from aggctl.system.cluster import LOG_BYTES, LOG_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.https import Https

Status = dict[str, Any]

NODE = "played"
INTERVAL = 0.05
UNROUTED = "192.0.2.1"
"""An address of TEST-NET-1 (RFC 5737), which nobody has."""


@dataclass
class PlayedKubelet:
    """What Pods get as their status (None: they stay as they are), and what their logs say.

    Ports are forwarded to `address`.
    """

    kube: Kube
    server: Https
    status: Status | None = None
    log: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    _written: dict[str, Status] = field(default_factory=dict)

    def play(self) -> None:
        """Once over all Pods: place them, write their status, and let go of those that are to end."""
        for pod in (self.kube.get("/api/v1/pods") or {}).get("items", []):
            metadata, status = pod["metadata"], self.status
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            if metadata.get("deletionTimestamp"):
                self.kube.ask("DELETE", path, {"gracePeriodSeconds": 0})
            elif not pod["spec"].get("nodeName"):
                self._place(path, metadata)
            elif status is not None and self._written.get(metadata["uid"]) is not status:
                self._keep_log(pod)
                done, _ = self.kube.ask("PATCH", f"{path}/status", {"status": _named(status, pod)}, MERGE)
                self._written |= {metadata["uid"]: status} if done == 200 else {}

    def _place(self, path: str, metadata: dict[str, Any]) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"]}}
        self.kube.ask("POST", f"{path}/binding", binding | {"target": target})

    def _keep_log(self, pod: dict[str, Any]) -> None:
        """Answer as a kubelet does that is asked by kube-apiserver for the run before this one."""
        metadata = pod["metadata"]
        for container in pod["spec"]["containers"]:
            where = f"/containerLogs/{metadata['namespace']}/{metadata['name']}/{container['name']}"
            query = f"limitBytes={LOG_BYTES}&previous=true&tailLines={LOG_LINES}"
            self.server.answers[f"{where}?{query}"] = (200, "\n".join(self.log).encode())


@contextmanager
def played_kubelet(kubeconfig: Path) -> Iterator[PlayedKubelet]:
    """The player, at work in a thread, on a Node of its own that has only the loopback address."""
    with https("127.0.0.1") as server:
        played = PlayedKubelet(Kube(kubeconfig), server)
        server.upgraded = lambda request: forward(request, played.address)
        _join(played.kube, urlsplit(server.address).port or 0)
        stop = threading.Event()
        thread = threading.Thread(target=_go_on, args=(played, stop))
        thread.start()
        try:
            yield played
        finally:
            stop.set()
            thread.join()


def running(address: str) -> Status:
    """Every container runs and is ready, at this address."""
    conditions = [{"type": each, "status": "True"} for each in ("Ready", "ContainersReady", "PodScheduled")]
    state = {"ready": True, "state": {"running": {}}}
    return {
        "phase": "Running",
        "conditions": conditions,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "containerStatuses": [state],
    }


def waiting(reason: str, message: str, **more: Any) -> Status:
    """The container waits, and why."""
    state = {"ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"phase": "Pending", "containerStatuses": [state]}


def own_address() -> str:
    """An address of this machine that an endpoint may have; what goes there never leaves the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((UNROUTED, 9))  # nothing is sent; the kernel says which address it would send from
        except OSError:
            pytest.skip("this machine has no address but loopback's, which no endpoint may have")
        return str(asking.getsockname()[0])


@contextmanager
def deaf_place() -> Iterator[tuple[str, int]]:
    """An address of this machine other than loopback's, and a port of it where every connection is refused.

    What goes there never leaves the machine. Without such an address there is no way out of it either.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, socket.socket() as held:
        try:
            asking.connect((UNROUTED, 9))  # nothing is sent; the kernel says which address it would send from
            held.bind((asking.getsockname()[0], 0))
        except OSError:
            yield UNROUTED, 9
            return
        yield held.getsockname()


def _join(kube: Kube, port: int) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    assert kube.ask("POST", "/api/v1/nodes", node)[0] == 201
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    assert kube.ask("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, MERGE)[0] == 200


def _go_on(played: PlayedKubelet, stop: threading.Event) -> None:
    while not stop.wait(INTERVAL):
        played.play()


def _named(status: Status, pod: dict[str, Any]) -> Status:
    """The status with the names and images of the Pod's containers."""
    images = {"imageID": "", "restartCount": 0}
    states = [
        images | {"name": each["name"], "image": each["image"]} | status["containerStatuses"][0]
        for each in pod["spec"]["containers"]
    ]
    return status | {"containerStatuses": states}
