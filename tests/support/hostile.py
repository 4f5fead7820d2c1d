"""A server that plays a kube-apiserver in bad faith: real TLS on the loopback, and then whatever hurts.

It speaks HTTP by hand, as no library would send what it sends.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.https import authority, leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


MEASURED = (
    sys.executable,
    "-S",
    "-c",
    """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(status)
""",
)
"""Runs a command and says last what it took at most, in MiB; a child of pytest's own would count pytest."""


@dataclass
class Connection:
    """One connection: what was asked, and how to answer; `over` is set when the test is."""

    stream: Any
    over: threading.Event
    path: str = ""
    method: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def answer(
        self, body: bytes, status: str = "200 OK", kind: str = "application/json", **more: str
    ) -> None:
        """A whole answer; header names with `_` for `-`."""
        given = {"Content-Type": kind, "Content-Length": str(len(body))}
        given |= {name.replace("_", "-"): value for name, value in more.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    def says(self, document: Any, status: str = "200 OK", **more: str) -> None:
        self.answer(json.dumps(document).encode(), status, **more)

    def endless(self, begin: bytes, part: bytes, most: int = 2**40) -> None:
        """200, and a body that goes on and on."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + begin)
        while most > 0 and not self.over.is_set():
            self.send(part)
            most -= len(part)

    def dribble(self, data: bytes, every: float = 0.05) -> None:
        """Byte by byte for ever: never silent, never done."""
        while True:
            for each in data:
                self.send(bytes([each]))
                if self.over.wait(every):
                    return

    def hang(self) -> None:
        self.over.wait()

    def end(self) -> None:
        """End the connection without a word."""
        self.stream.close()


@dataclass
class Hostile:
    """The server: `behave` answers what was read, `accept` goes before TLS; `asked` is what came."""

    address: str = ""
    behave: Callable[[Connection], None] = lambda connection: connection.hang()
    accept: Callable[[Connection], None] | None = None
    asked: list[Connection] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def hostile() -> Iterator[Hostile]:
    """The server, until the test is over; it waits for nobody then."""
    server = Hostile()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=64) as door:
        server.address = f"https://127.0.0.1:{door.getsockname()[1]}"
        context = _context(Path(folder))
        threads = [threading.Thread(target=_doorman, args=(door, server, context))]
        threads[0].start()
        try:
            yield server
        finally:
            server.over.set()
            door.shutdown(socket.SHUT_RDWR)
            threads[0].join()


SHOWN = "a-token-of-the-kubeconfig"


def kubeconfig(server: Hostile, folder: Path) -> Path:
    """Credentials for it: its CA, and a token that nobody else may see."""
    path = folder / "hostile.kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [
                    {
                        "name": "it",
                        "cluster": {
                            "server": server.address,
                            "certificate-authority-data": _encoded(authority("kubernetes").certificate),
                        },
                    }
                ],
                "users": [{"name": "it", "user": {"token": SHOWN}}],
            }
        )
    )
    return path


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _doorman(door: socket.socket, server: Hostile, context: ssl.SSLContext) -> None:
    workers: list[threading.Thread] = []
    while True:
        try:
            plain, _ = door.accept()
        except OSError:
            break
        worker = threading.Thread(target=_serve, args=(plain, server, context))
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join()


def _serve(plain: socket.socket, server: Hostile, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError, ValueError), plain:
        plain.settimeout(30)
        if server.accept:
            server.accept(Connection(plain, server.over))
            return
        with context.wrap_socket(plain, server_side=True) as stream:
            while asked := _request(stream, server.over):
                server.asked.append(asked)
                server.behave(asked)


def _request(stream: ssl.SSLSocket, over: threading.Event) -> Connection | None:
    """The next request of a connection, its body left out of account; None at its end."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = stream.recv(65536)
        if not part:
            return None
        head += part
    text, _, body = head.partition(b"\r\n\r\n")
    first, *lines = text.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
    }
    left = int(headers.get("content-length", "0")) - len(body)
    while left > 0:
        left -= len(stream.recv(left))
    return Connection(stream, over, path, method, headers)


def _context(folder: Path) -> ssl.SSLContext:
    pair = leaf(authority("kubernetes"), "kube-apiserver", "server", "127.0.0.1")
    (folder / "tls.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


def quiet(connection: Connection) -> None:
    """A kube-apiserver without any API or Pod."""
    if connection.path == "/readyz":
        connection.answer(b"ok")
    elif connection.path == "/version":
        connection.says({"major": "1", "minor": "37", "gitVersion": "v1.37.2"})
    else:
        connection.says({"items": []})
