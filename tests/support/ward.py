"""A cluster with one API that answers, for tests that break it: objects, server, layer."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.hello import hello_api
from support.https import authority
from support.kube import API_SERVICES, MERGE, Kube, api_service
from support.nodes import AGGCTL, Node
from support.played_kubelet import own_address
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.cli.archive import unpack
from aggctl.core import pki
from aggctl.core.doctor.bundle import read_bundle
from aggctl.sandbox import components, layout
from aggctl.workflows.doctor import examine_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.hello import HelloApi

API, GROUP, SERVICE = "v1alpha1.hello.example.com", "hello.example.com", "hello"
NAME = f"{SERVICE}.default.svc"
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
PATH = f"/apis/{GROUP}/v1alpha1"
TURN = 60.0

Object = dict[str, Any]


@dataclass(frozen=True)
class Ward:
    """The cluster, its node, and the server behind the API; `address` is where endpoints may be."""

    node: Node
    kube: Kube
    hello: HelloApi
    address: str
    elsewhere: Path

    # --- what doctor says -----------------------------------------------------------------------------------

    def doctor(self, *words: str) -> Object:
        """The document of a run on the node; the bundle that it writes gives the same, elsewhere."""
        bundle = str(self.elsewhere / "bundle.tar.gz")
        told = _document(self.node.aggctl("doctor", "-o", "json", "--bundle", bundle, *words))
        again = examine_bundle(read_bundle(unpack(bundle), bundle), ())
        assert [each.code for each in again.findings] == [each["code"] for each in told["findings"]]
        return told

    def doctor_from_anywhere(self, kubeconfig: Path | None = None) -> Object:
        """The document of a run that has a kubeconfig and nothing else."""
        at = str(kubeconfig or self.kube.kubeconfig)
        words = [*AGGCTL, "doctor", API, "-o", "json", "--root", str(self.elsewhere), "--kubeconfig", at]
        return _document(subprocess.run(words, capture_output=True, text=True, check=False))

    def told(self, code: str, look: Callable[[], Object] | None = None) -> Object:
        """The finding of this code, once it is the verdict; kube-apiserver may need a moment to notice."""
        last: list[Object] = []

        def verdict() -> Object | None:
            last[:] = [(look or self.doctor)()]
            if code not in verdicts(last[0]):
                return None
            found: Object = next(each for each in last[0]["findings"] if each["code"] == code)
            return found

        try:
            return eventually(verdict, f"doctor says {code}", TURN)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{json.dumps(last, indent=1)}") from late

    def well(self) -> None:
        """Doctor finds nothing wrong any more, from the node and from elsewhere."""
        for look in (self.doctor, self.doctor_from_anywhere):
            seen: list[Object] = []

            def healthy(look: Callable[[], Object] = look, seen: list[Object] = seen) -> bool:
                seen[:] = [look()]
                errors = [each for each in seen[0]["findings"] if each["severity"] == "error"]
                return seen[0]["outcome"] == "healthy" and not errors and not any(verdicts(seen[0]))

            try:
                eventually(healthy, "doctor finds all well", TURN)
            except AssertionError as late:
                raise AssertionError(f"{late}\n{json.dumps(seen, indent=1)}") from late

    def well_of(self, api: str) -> None:
        """Doctor finds nothing wrong with this API any more, whatever is wrong with others."""
        eventually(lambda: not any(verdicts(self.doctor(api))), f"doctor finds {api} well", TURN)

    def obey(self, fix: str) -> None:
        """Run the command that a finding prints, as an operator would paste it."""
        words = shlex.split(fix.partition("     (")[0].partition("; ")[0].removeprefix("sudo "))
        assert words[0] in ("kubectl", "aggctl"), fix
        if words[0] == "kubectl":
            program = components.find(components.COMPONENTS["kubectl"])
            assert program is not None
            words = [str(program.path), "--kubeconfig", str(self.kube.kubeconfig), *words[1:]]
        else:
            words = [*AGGCTL, *words[1:], "--root", str(self.node.root), "--yes"]
        run = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{words}\n{run.stdout}{run.stderr}"

    # --- what a test changes --------------------------------------------------------------------------------

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.hello.ca.certificate).decode()

    def set_up(self) -> None:
        """Objects as they are when all is well."""
        ports = [{"name": "https", "port": 443, "targetPort": self.hello.port}]
        self.kube.ask("POST", SERVICES, _object("v1", "Service", SERVICE, spec={"ports": ports}))
        self.point_at(self.hello.port)
        self.kube.ask("POST", API_SERVICES, api_service(API, SERVICE, caBundle=self.bundle))

    def point_at(
        self,
        port: int,
        *,
        addresses: tuple[str, ...] = (),
        name: str = "https",
        ready: bool = True,
    ) -> None:
        """Put the endpoints there."""
        endpoints = [
            {"addresses": [each], "conditions": {"ready": ready}} for each in addresses or (self.address,)
        ]
        self.put_slice(endpoints if addresses != ("",) else [], [{"name": name, "port": port}])

    def put_slice(self, endpoints: list[Object], ports: list[Object]) -> None:
        slice_ = _object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            SERVICE,
            labels={"kubernetes.io/service-name": SERVICE},
            addressType="IPv4",
            endpoints=endpoints,
            ports=ports,
        )
        self.kube.ask("DELETE", f"{SLICES}/{SERVICE}")
        status, found = self.kube.ask("POST", SLICES, slice_)
        assert status == 201, found

    def patch_api(self, **spec: Any) -> None:
        status, found = self.kube.ask("PATCH", f"{API_SERVICES}/{API}", {"spec": spec}, MERGE)
        assert status == 200, found

    def remake_api(self, **spec: Any) -> None:
        self.kube.delete(f"{API_SERVICES}/{API}")
        status, found = self.kube.ask("POST", API_SERVICES, api_service(API, SERVICE, **spec))
        assert status == 201, found

    @contextmanager
    def another_server(
        self,
        pair: pki.KeyPair | None,
        answer: Callable[[BaseHTTPRequestHandler], tuple[int, Any]] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Iterator[None]:
        """The endpoints lead to another server; without a pair it speaks plain HTTP."""
        with server_at(self.address, pair, answer or (lambda _: (200, RESOURCES)), context) as port:
            self.point_at(port)
            try:
                yield
            finally:
                self.point_at(self.hello.port)

    def pair(self, *, ca: pki.KeyPair | None = None, name: str = NAME, **more: Any) -> pki.KeyPair:
        """A serving pair, of the API's own CA and for its own name unless a test says otherwise."""
        sans = more.pop("sans", (name,))
        begins = more.pop("begins", datetime.now(UTC))
        return pki.issue(
            ca or self.hello.ca, name, begins, usage="server", sans=sans, algorithm="ECDSA-P256", **more
        )

    @contextmanager
    def files_kept(self, *names: str) -> Iterator[Path]:
        """The folder of certificates; those named come back, whatever becomes of them."""
        folder = self.node.root / layout.PKI.lstrip("/")
        before = {name: (folder / name).read_bytes() for name in names}
        try:
            yield folder
        finally:
            for name, content in before.items():
                if (folder / name).read_bytes() != content:
                    replace(folder / name, content)

    @contextmanager
    def manifest_kept(self) -> Iterator[Path]:
        """kube-apiserver's manifest; it comes back, and with it the process."""
        before = self.node.manifest.read_bytes()
        try:
            yield self.node.manifest
        finally:
            now = self.node.manifest.read_bytes()
            if sorted(now.splitlines()) != sorted(before.splitlines()):  # a repaired one may stay
                self.manifest_is(before.decode())
            eventually(self.node.ready, "kube-apiserver is ready again", TURN)

    def manifest_is(self, text: str, *, comes_up: bool = True) -> None:
        """Replace the manifest by rename, and see the process that follows."""
        old = [each.pid for each in self.node.processes()]
        replace(self.node.manifest, text.encode())
        if comes_up:
            eventually(
                lambda: [each for each in self.node.processes() if each.pid not in old] and self.node.ready(),
                "the new kube-apiserver is ready",
                TURN,
            )


RESOURCES: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1alpha1",
    "resources": [
        {"name": "greetings", "singularName": "", "namespaced": True, "kind": "Greeting", "verbs": ["list"]}
    ],
}  # fmt: skip


@contextmanager
def ward_in(folder: Path, *, routing: bool = True) -> Iterator[Ward]:
    """A sandbox with the API, which answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", str(routing).lower())
        with sandbox_in(folder / "sandbox", aggregation="on") as made:
            address = own_address()
            (folder / "elsewhere").mkdir()
            with hello_api(folder / "hello", made.sandbox.kubeconfig, (NAME,), bind=address) as hello:
                ward = Ward(Node(made), Kube(made.sandbox.kubeconfig), hello, address, folder / "elsewhere")
                ward.set_up()
                yield ward


def verdicts(document: Object) -> list[str]:
    """The verdict on the layer and on each API."""
    return [each["verdict"] for each in document["items"] if "verdict" in each]


def replace(path: Path, content: bytes) -> None:
    """Replace a file by rename."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.chmod(path.stat().st_mode & 0o777)
    draft.replace(path)


@contextmanager
def server_at(
    address: str,
    pair: pki.KeyPair | None,
    answer: Callable[[BaseHTTPRequestHandler], tuple[int, Any]],
    context: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """A server that answers each GET so; over TLS with `pair`. Its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """The test looks at what doctor says."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            connection, peer = super().get_request()
            if tls is None:
                return connection, peer
            return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A refused handshake is what some tests are about."""

    tls = serving_context(pair, context) if pair else None
    with Listener((address, 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield listener.server_address[1]
        finally:
            listener.shutdown()
            thread.join()


def serving_context(pair: pki.KeyPair, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """A context that serves the pair."""
    import os  # noqa: PLC0415 -- for this one file in memory

    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with os.fdopen(os.memfd_create("serving"), "wb", 0) as memory:
        memory.write(pair.certificate + pair.key)
        context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
    return context


@contextmanager
def black_hole(address: str) -> Iterator[int]:
    """A port whose queue is full: the kernel drops what knocks, as a firewall does."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        held = []
        try:
            for _ in range(4):
                knocking = socket.socket()
                knocking.setblocking(False)
                knocking.connect_ex((address, port))
                held.append(knocking)
            yield port
        finally:
            for each in held:
                each.close()


def ended(days: int) -> dict[str, Any]:
    """A validity that is over since so many days, or begins in as many."""
    now = datetime.now(UTC)
    return {"begins": now - timedelta(days=days + 1), "lifetime": timedelta(days=1)}


OTHER_CA = authority("somebody-else")


def _object(version: str, kind: str, name: str, labels: Object | None = None, **more: Any) -> Object:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata} | more


def _document(run: subprocess.CompletedProcess[str]) -> Object:
    assert run.returncode in (0, 3), run.stdout + run.stderr
    found: Object = json.loads(run.stdout)
    return found
