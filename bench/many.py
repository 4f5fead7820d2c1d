"""A cluster with many APIs for `make bench`: one server beside it answers for all, one may be black-holed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import urllib3

from aggctl.core import pki
from aggctl.sandbox import control_plane
from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANY = 100
SERVICES, API_SERVICES = "/api/v1/namespaces/default/services", "/apis/apiregistration.k8s.io/v1/apiservices"


class Many:
    """The cluster: `make(n)` registers as many APIs; `with hole` one of them leads nowhere."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.sandbox = control_plane.up(folder / "many", "on", say=say)
        self._folder = folder
        found = find_credentials(str(self.sandbox.kubeconfig), "", "")
        self._pool = urllib3.PoolManager(ssl_context=found.context(), retries=False)
        self._ca = pki.new_ca("many", datetime.now(UTC), algorithm="ECDSA-P256")
        self._port = 0

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """The server runs, as a process of its own."""
        names = ("*.default.svc",)
        pair = pki.issue(
            self._ca, names[0], datetime.now(UTC), usage="server", sans=names, algorithm="ECDSA-P256"
        )
        file = self._folder / "many.pem"
        file.touch(0o600)
        file.write_bytes(pair.certificate + pair.key)
        server = subprocess.Popen([sys.executable, __file__, str(file)], stdout=subprocess.PIPE, text=True)
        try:
            self._port = int(server.stdout.readline()) if server.stdout else 0
            yield
        finally:
            server.terminate()
            server.wait()

    @contextlib.contextmanager
    def hole(self) -> Iterator[None]:
        """The last API leads to a port whose queue is full: what knocks there is dropped."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port, held = listener.getsockname()[1], [socket.socket() for _ in range(4)]
            for each in held:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            self._register(MANY, port)
            try:
                yield
            finally:
                for each in held:
                    each.close()

    def make(self, count: int) -> None:
        """Register APIs until there are so many, and wait until each answers: Available comes long before."""
        for number in range(count):
            self._register(number, self._port)
        wanted = threading.Event()
        while not all(self._answers(number) for number in range(count)):
            wanted.wait(0.1)

    def _answers(self, number: int) -> bool:
        found = json.loads(self._send("GET", f"{API_SERVICES}/v1.g{number}.example.com", None))
        conditions = (found.get("status") or {}).get("conditions") or []
        available = any((each["type"], each["status"]) == ("Available", "True") for each in conditions)
        return available and b"groupVersion" in self._send("GET", f"/apis/g{number}.example.com/v1", None)

    def _register(self, number: int, port: int) -> None:
        name = f"s{number}"
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        self._send("POST", SERVICES, {"metadata": {"name": name}, "spec": spec})
        group = f"g{number}.example.com"
        api = {
            "metadata": {"name": f"v1.{group}"},
            "spec": {
                "group": group,
                "version": "v1",
                "groupPriorityMinimum": 100,
                "versionPriority": 10,
                "service": {"name": name, "namespace": "default", "port": port},
                "caBundle": base64.b64encode(self._ca.certificate).decode(),
            },
        }
        self._send("POST", API_SERVICES, api)

    def _send(self, method: str, path: str, body: Any) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._pool.request(method, self.sandbox.url + path, body=content, headers=headers).data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer any group and version with one resource, in one write."""
        version = "/".join(self.path.strip("/").split("/")[1:3])
        resource = {
            "name": "things",
            "singularName": "",
            "namespaced": True,
            "kind": "Thing",
            "verbs": ["get"],
        }
        body = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": [resource],
        }
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, file: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(file)
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Shake hands in the connection's own thread."""
        connection, peer = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer


if __name__ == "__main__":
    with _Server(sys.argv[1]) as server:
        os.write(1, f"{server.server_address[1]}\n".encode())
        server.serve_forever()
