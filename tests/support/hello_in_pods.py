"""hello-api as the server of a Deployment's Pods, registered by the real console script.

The Pods, their Secret, Service and endpoints are the cluster's own. The test plays scheduler and kubelet: the
one container is a process at an address of this machine that is not loopback's, as endpoints have to be, and
its volume is a folder into which the Secret's files come when the Pod is made or annotated.
"""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.controllers import ADMISSION, NAMESPACES, WORKLOADS, controllers
from support.hello import hello_api
from support.kube import API_SERVICES, Kube
from support.nodes import Node
from support.played_kubelet import INTERVAL, own_address, played_kubelet, running
from support.sandboxes import sandbox_in

from aggctl.core import pki
from aggctl.sandbox import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hello import HelloApi

API, NAMESPACE, SERVICE = "v1alpha1.hello.example.com", "hello", "hello-api"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SERVICE}-tls"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
IMAGE = "registry.example/hello-api:1"


@dataclass
class HelloInPods:
    """The cluster, its node, and the process behind the Pods.

    While `brings` is False no file gets to it. With `by_itself` a changed Secret does without a change of the
    Pod, as it does on a node within a minute.
    """

    node: Node
    kube: Kube
    hello: HelloApi
    brings: bool = True
    by_itself: bool = False
    _brought: object = None

    def bring(self) -> None:
        """Once as a kubelet does: where a Pod is new or was annotated, it gets the Secret's files."""
        pods = (self.kube.get(PODS) or {}).get("items", [])
        secret = self.kube.get(SECRET) if self.brings and pods else None
        if secret is None:
            return
        version = secret["metadata"]["resourceVersion"] if self.by_itself else ""
        seen = [version, *((each["metadata"]["uid"], each["metadata"].get("annotations")) for each in pods)]
        if seen != self._brought:
            data = {name: base64.b64decode(value) for name, value in secret["data"].items()}
            self.hello.replace_pair(pki.KeyPair(data["tls.crt"], data["tls.key"]))
            self._brought = seen

    def bundle(self) -> bytes:
        """The CAs that the API is verified by."""
        return base64.b64decode(self.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"])

    def secret(self, name: str = "tls.crt") -> bytes:
        return base64.b64decode(self.kube.get(SECRET)["data"][name])

    def served(self) -> bytes:
        """The file that the server reads."""
        return (self.hello.folder / "tls.crt").read_bytes()


@contextmanager
def hello_in_pods(folder: Path, *, registered: bool = True) -> Iterator[HelloInPods]:
    """A sandbox with the API, which answers; or with all that it takes, and nobody has registered it yet."""
    address = own_address()
    with pytest.MonkeyPatch.context() as patch:
        # kube-apiserver dials endpoints here, and so this machine, never a Service's address
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", "true")
        with sandbox_in(folder / "sandbox", aggregation="on") as made:
            kubeconfig = made.sandbox.kubeconfig
            with (
                controllers(made, *NAMESPACES, *WORKLOADS, *ADMISSION),
                hello_api(
                    folder / "hello", kubeconfig, (f"{SERVICE}.{NAMESPACE}.svc",), bind=address
                ) as hello,
                played_kubelet(kubeconfig) as kubelet,
            ):
                kubelet.status = running(address)
                place = HelloInPods(Node(made), Kube(kubeconfig), hello)
                with _bringing(place):
                    if registered:
                        _register(place)
                    yield place


def _register(place: HelloInPods) -> None:
    server = ("--image", IMAGE, "--port", str(place.hello.port), "--replicas", "1")
    done = place.node.aggctl("register", API, *server, "-n", NAMESPACE, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _bringing(place: HelloInPods) -> Iterator[None]:
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(INTERVAL):
            place.bring()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
