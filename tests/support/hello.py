"""examples/hello-api as a process in a test's hands: a real extension API server that says who asked."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.https import authority, leaf
from support.waiting import eventually

from aggctl.system.kubeconfig import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggctl.core.pki import KeyPair

PROGRAM = Path(__file__).parents[2] / "examples/hello-api/hello_api.py"
NAMES = ("hello.default.svc", "localhost", "127.0.0.1")
GROUP = "hello.example.com"
TIMEOUT = 10.0


@dataclass(frozen=True)
class Reply:
    """What the server said, and the serving certificate (DER) of the connection that it came on."""

    status: int
    body: Any
    certificate: bytes


@dataclass(frozen=True)
class HelloApi:
    """The running server; `ca` signs its serving certificates, `names` stand in them."""

    folder: Path
    process: subprocess.Popen[bytes]
    ca: KeyPair
    names: tuple[str, ...]

    @property
    def port(self) -> int:
        """The port in the line that it prints when it is ready."""
        return int((self.folder / "hello.out").read_text().rpartition(":")[2])

    @property
    def log(self) -> str:
        return (self.folder / "hello.log").read_text()

    def new_pair(self) -> KeyPair:
        """A serving pair of the same CA for the same names, not yet in use."""
        return leaf(self.ca, self.names[0], "server", *self.names)

    def replace_pair(self, pair: KeyPair | None = None) -> KeyPair:
        """Put a serving pair in place as aggctl does: each file by rename, the key first."""
        pair = pair or self.new_pair()
        self.replace("tls.key", pair.key)
        self.replace("tls.crt", pair.certificate)
        return pair

    def replace(self, name: str, content: bytes) -> None:
        """Replace one file, `tls.key` or `tls.crt`, by rename."""
        draft = self.folder / f".{name}"
        draft.write_bytes(content)
        draft.replace(self.folder / name)

    def connect(self, client: KeyPair | None = None) -> http.client.HTTPSConnection:
        """A connection that shows `client`; it dials at its first request, and stays open."""
        shown = (client.certificate, client.key) if client else ()
        context = tls_context(self.ca.certificate, *shown)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT, context=context)

    def ask(
        self, path: str, client: KeyPair | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET on a connection of its own."""
        with closing(self.connect(client)) as connection:
            return ask(connection, path, headers or {})


def ask(
    connection: http.client.HTTPSConnection, path: str, headers: Mapping[str, str], method: str = "GET"
) -> Reply:
    """One request on an open connection."""
    connection.request(method, path, headers=dict(headers))
    shown = connection.sock.getpeercert(binary_form=True)
    response = connection.getresponse()
    content, kind = response.read(), response.getheader("Content-Type", "")
    return Reply(response.status, json.loads(content) if "json" in kind else content.decode(), shown or b"")


def command(
    folder: Path,
    kubeconfig: Path,
    port: int = 0,
    versions: Sequence[str] = ("v1alpha1",),
    bind: str = "127.0.0.1",
) -> list[str]:
    """The command line; the serving pair lies in `folder`."""
    words = [sys.executable, str(PROGRAM), "--kubeconfig", str(kubeconfig), "--port", str(port)]
    words += ["--bind", bind]
    files = ["--tls-cert-file", str(folder / "tls.crt"), "--tls-private-key-file", str(folder / "tls.key")]
    return [*words, *files, "--group", GROUP, "--version", *versions]


@contextmanager
def hello_api(
    folder: Path,
    kubeconfig: Path,
    names: Sequence[str] = NAMES,
    versions: Sequence[str] = ("v1alpha1",),
    port: int = 0,
    bind: str = "127.0.0.1",
) -> Iterator[HelloApi]:
    """The server, ready; its files and its log lie in `folder`. It is ended by its own pid."""
    folder.mkdir(parents=True, exist_ok=True)
    ca = authority("hello-api-ca")
    pair = leaf(ca, names[0], "server", *names)
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    out = folder / "hello.out"
    with out.open("wb") as stdout, (folder / "hello.log").open("wb") as stderr:
        process = subprocess.Popen(
            command(folder, kubeconfig, port, versions, bind),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    hello = HelloApi(folder, process, ca, tuple(names))
    try:
        eventually(lambda: "\n" in out.read_text() or process.poll() is not None, "hello_api is ready")
        assert process.poll() is None, hello.log
        yield hello
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
