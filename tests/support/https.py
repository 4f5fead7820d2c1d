"""A real HTTPS server on the loopback that answers as a test says, with certificates made by aggctl."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggctl.core import pki

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

Answer = tuple[int, bytes]


@lru_cache(maxsize=8)
def authority(name: str) -> pki.KeyPair:
    """A CA of this name, the same each time."""
    return pki.new_ca(name, datetime.now(UTC), algorithm="ECDSA-P256")


def leaf(ca: pki.KeyPair, name: str, usage: str = "client", *sans: str) -> pki.KeyPair:
    return pki.issue(ca, name, datetime.now(UTC), usage=usage, sans=sans, algorithm="ECDSA-P256")


@dataclass
class Https:
    """The server: `answers` by path, what was `asked`; an answer may be a function of the request."""

    address: str = ""
    answers: dict[str, Answer | Callable[[BaseHTTPRequestHandler], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    hang: threading.Event | None = None
    upgraded: Callable[[BaseHTTPRequestHandler], None] | None = None

    def says(self, path: str, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = (status, content)


@contextlib.contextmanager
def https(
    *sans: str,
    clients: pki.KeyPair | None = None,
    pair: pki.KeyPair | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> Iterator[Https]:
    """A server for these names (127.0.0.1 by default), or one that serves `pair`.

    With `clients` it asks for their certificates; `version` is the newest TLS that it speaks.
    """
    pair = pair or leaf(authority("kubernetes"), "kube-apiserver", "server", *(sans or ("127.0.0.1",)))
    server = Https()
    with (
        tempfile.TemporaryDirectory() as folder,
        _Listener(server, _context(Path(folder), pair, clients, version)) as listener,
    ):
        server.address = f"https://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            if server.hang:
                server.hang.set()
            listener.shutdown()
            thread.join()


class _Listener(ThreadingHTTPServer):
    def __init__(self, shared: Https, context: ssl.SSLContext) -> None:
        self.shared, self.context = shared, context
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A refused handshake is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_GET(self) -> None:
        shared = self.server.shared
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        shared.asked.append((self.command, self.path, {**dict(self.headers.items()), "body": body}))
        if shared.hang:
            shared.hang.wait()
            return
        if shared.upgraded and self.headers.get("Upgrade"):
            shared.upgraded(self)
            return
        unpaged = self.path.removesuffix("limit=500").rstrip("?&")  # a list may be given without pages
        answer = shared.answers.get(self.path) or shared.answers.get(unpaged, (404, b"{}"))
        status, content = answer(self) if callable(answer) else answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Tests look at `asked`."""


def _context(
    folder: Path, pair: pki.KeyPair, clients: pki.KeyPair | None, version: ssl.TLSVersion
) -> ssl.SSLContext:
    (folder / "tls.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    context.maximum_version = version
    if clients:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=clients.certificate.decode())
    return context
