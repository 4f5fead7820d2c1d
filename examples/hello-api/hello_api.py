#!/usr/bin/env python3
"""An extension API server in one file: `greetings`, which say hello to whoever asks. Made to be copied.

kube-apiserver forwards /apis/GROUP to it and names the user in headers. These are true only on a connection
that shows a client certificate of the front-proxy CA, which the cluster publishes in a ConfigMap. What is not
about greetings here is what every such server owes its cluster: believe nobody without that certificate,
follow the ConfigMap, use renewed certificates without a restart, describe itself, answer errors as `Status`,
and send each answer in one write.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socketserver
import ssl
import sys
import threading
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509

from aggctl.core import pki
from aggctl.core.text import clean
from aggctl.errors import AggctlError
from aggctl.system.clock import Clock
from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from email.message import Message

NAMED = "fieldSelector=metadata.name%3Dextension-apiserver-authentication"
CONFIG_MAPS = f"/api/v1/namespaces/kube-system/configmaps?{NAMED}"
WATCH_SECONDS = 20  # then all is read anew
DEAD_SECONDS = 30  # a connection silent for so long is no longer one
ROUND_SECONDS = 1.0  # kube-apiserver is not asked more often, whatever goes wrong
HANDSHAKE_SECONDS = 10
IDLE_SECONDS = 120  # kube-apiserver ends what was idle for 90 s; the server should not be quicker

ANONYMOUS = "system:anonymous"
WORDS = {"hello": "Hello", "welcome": "Welcome"}
"""The greetings of every namespace. The list across namespaces shows those of `default`."""
NAMES = {"name": "greetings", "singularName": "greeting", "kind": "Greeting", "shortNames": ["hi"]}
RESOURCES = {"resources": [NAMES | {"namespaced": True, "verbs": ["get", "list"]}]}


class Log:
    """Lines on stderr, each written whole, and past Python's buffers: a thread may hold these at the end."""

    def __init__(self) -> None:
        self._last = ""

    def line(self, text: str) -> None:
        """Write `text` with the time before it."""
        with contextlib.suppress(OSError):
            os.write(2, f"{Clock().now():%Y-%m-%dT%H:%M:%S.%fZ} {text}\n".encode())

    def state(self, text: str) -> None:
        """Write `text` unless it was the last state: what lasts is worth one line."""
        if text != self._last:
            self._last = text
            self.line(text)


@dataclass(frozen=True, slots=True)
class Trust:
    """What the cluster publishes of its front proxies; no allowed name means that any name will do."""

    authorities: tuple[pki.Certificate, ...]
    allowed_names: tuple[str, ...]
    user_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]


def read_trust(config_map: dict[str, Any] | None) -> Trust | None:
    """Read the ConfigMap; None where the layer is off, an error where there is nonsense in it."""
    data = (config_map or {}).get("data") or {}
    keys = ("allowed-names", "username-headers", "group-headers", "extra-headers-prefix")
    lists = [json.loads(data.get(f"requestheader-{key}") or "[]") for key in keys]
    bundle = data.get("requestheader-client-ca-file", "").strip()
    if not bundle or not lists[1]:
        return None
    return Trust(pki.read_certificates(bundle.encode()), *(tuple(map(str, names)) for names in lists))


class Published:
    """Follows the ConfigMap: `trust` is what counts now; `looked` is set once the cluster was asked."""

    def __init__(self, kubeconfig: str) -> None:
        self.trust: Trust | None = None
        self.looked = threading.Event()
        self._kubeconfig, self._log = kubeconfig, Log()

    def follow(self) -> NoReturn:
        """List, watch, begin anew, for ever. In trouble what was known stays in force, as in Go's library."""
        clock = Clock()
        while True:
            began = clock.monotonic()
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 -- a server that stops following goes wrong in silence
                self._log.state(f"cannot follow what the cluster publishes: {clean(str(error))}")
            self.looked.set()
            clock.pause(max(0.0, began + ROUND_SECONDS - clock.monotonic()))

    def _round(self) -> None:
        """A list, which also tells that there is no ConfigMap; then a watch of what comes after it."""
        with self._get() as response:
            found = json.load(response)
        self._take(next(iter(found["items"]), None))
        since = found["metadata"]["resourceVersion"]
        with self._get(f"&watch=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={since}") as events:
            for event in map(json.loads, events):
                if event["type"] == "ERROR":  # what came after `since` is forgotten already: list again
                    return
                self._take(None if event["type"] == "DELETED" else event["object"])

    def _take(self, config_map: dict[str, Any] | None) -> None:
        trust = read_trust(config_map)
        self._log.state("following what the cluster publishes")
        if not self.looked.is_set() or trust != self.trust:
            known = [f"{each.subject} {each.fingerprint[:16]}" for each in trust.authorities] if trust else []
            off = "the cluster publishes no front-proxy CA: API requests get 403 until it does"
            self._log.line(f"trusting the front-proxy CA {clean(', '.join(known), 1000)}" if known else off)
        self.trust = trust
        self.looked.set()

    def _get(self, query: str = "") -> http.client.HTTPResponse:
        """Ask for the ConfigMap, with credentials read anew: they may have been renewed on disk."""
        who = find_credentials(self._kubeconfig, "", "")
        server = urlsplit(who.server)
        connection = http.client.HTTPSConnection(server.netloc, timeout=DEAD_SECONDS, context=who.context())
        headers = {"Connection": "close"} | ({"Authorization": f"Bearer {who.token}"} if who.token else {})
        connection.request("GET", server.path + CONFIG_MAPS + query, headers=headers)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise ValueError(f"kube-apiserver answered {response.status}: {clean(response.read(2048))}")
        return response


class Tls:
    """The TLS context for the next connection; those that are open keep the one they began with."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files, self._log, self._lock = (certificate, key), Log(), threading.Lock()
        self._stamps: list[tuple[int, int, int]] = []
        self._pem = b""
        self._trust: Trust | None = None
        self._load()

    def context(self, trust: Trust | None) -> ssl.SSLContext:
        """Serve with the newest pair of files that belong together, and ask for certificates of `trust`."""
        with self._lock:
            try:
                self._load()
            except ValueError as error:  # between two renames they are no pair: the old one goes on
                self._log.state(f"the serving certificate stays as it was: {error}")
            if trust != self._trust:
                self._context, self._trust = server_context(self._pem, trust), trust
            return self._context

    def _load(self) -> None:
        """Read the files again where they changed; ValueError where they are no pair."""
        try:
            stamps = [(seen.st_ino, seen.st_mtime_ns, seen.st_size) for seen in map(Path.stat, self._files)]
            if stamps == self._stamps:
                return
            pem = b"\n".join(file.read_bytes() for file in self._files)
            self._context = server_context(pem, self._trust)
        except ssl.SSLError as error:
            names = " and ".join(map(str, self._files))
            raise ValueError(f"{names} are not a certificate and its key ({error.reason})") from error
        except OSError as error:
            raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from error
        self._pem, self._stamps = pem, stamps
        self._log.state(f"serving with the certificate {pki.read_certificates(pem)[0].fingerprint[:16]}")


def server_context(pem: bytes, trust: Trust | None) -> ssl.SSLContext:
    """A context that shows the pair in `pem`, and asks for a client certificate that `trust` signed.

    Python's ssl asks for a certificate only where it verifies it, too: one of another CA ends in a TLS alert,
    where servers in Go let it in and answer 401. No certificate at all comes through, for the sake of /livez.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # ssl wants a file: one in memory holds what was read, whatever the disk says by now. It asks no terminal.
    with os.fdopen(os.memfd_create("serving"), "wb", 0) as memory:
        memory.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}", password="")
    if trust:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go: what is published may be no root
        context.load_verify_locations(cadata="".join(each.pem.decode() for each in trust.authorities))
    return context


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def status(self) -> dict[str, Any]:
        """The `Status` that clients understand; its reason is HTTP's phrase in one word, as in NotFound."""
        reason = HTTPStatus(self.code).phrase.replace(" ", "")
        failure = {"status": "Failure", "message": str(self), "reason": reason, "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}} | failure


@dataclass(frozen=True, slots=True)
class User:
    """For whom kube-apiserver asks."""

    name: str
    groups: tuple[str, ...]
    extra: dict[str, list[str]]


def identify(trust: Trust | None, leaf: pki.Certificate | None, headers: Message) -> User:
    """The user in the headers; ApiError where this connection may not speak for anybody.

    The certificate is judged at each request: a connection may outlive the CA that let it in.
    """
    if trust is None or leaf is None:
        raise ApiError(403, f'forbidden: User "{ANONYMOUS}" cannot use this API')
    if not leaf.valid_at(Clock().now()) or not any(pki.signed_by(leaf, each) for each in trust.authorities):
        raise ApiError(401, "Unauthorized: the client certificate is expired, or of no front-proxy CA")
    if trust.allowed_names and leaf.common_name not in trust.allowed_names:
        raise ApiError(401, f"Unauthorized: {leaf.common_name!r} is not an allowed name of a front proxy")
    name = next(_values(headers, trust.user_headers), "")
    if not name:
        raise ApiError(401, f"Unauthorized: no user in the header {' or '.join(trust.user_headers)}")
    return User(name, tuple(_values(headers, trust.group_headers)), _extra(headers, trust.extra_prefixes))


def _values(headers: Message, names: Iterable[str]) -> Iterator[str]:
    """All values of these headers that say something. http.server reads Latin-1, Kubernetes writes UTF-8."""
    values = (value for name in names for value in headers.get_all(name, []) if value)
    return (value.encode("latin-1").decode("utf-8", "replace") for value in values)


def _extra(headers: Message, prefixes: Iterable[str]) -> dict[str, list[str]]:
    names = dict.fromkeys(map(str.lower, headers))
    return {
        unquote(name.removeprefix(prefix)): list(_values(headers, [name]))
        for prefix in map(str.lower, prefixes)
        for name in names
        if name.startswith(prefix)
    }


@dataclass(frozen=True, slots=True)
class Api:
    """What is served: a group in one or more versions, the preferred one first."""

    group: str
    versions: tuple[str, ...]

    def answer(self, path: str, user: User) -> dict[str, Any]:
        """The object at `path`; ApiError where there is none."""
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["apis"]:  # not aggregated discovery: kube-apiserver then asks for the lists below
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group()]}
            case ["apis", self.group]:
                return {"kind": "APIGroup", "apiVersion": "v1"} | self._group()
            case ["apis", self.group, version, *rest] if version in self.versions:
                return _in_version(f"{self.group}/{version}", rest, user)
        raise ApiError(404, "the server could not find the requested resource")

    def _group(self) -> dict[str, Any]:
        versions = [{"groupVersion": f"{self.group}/{each}", "version": each} for each in self.versions]
        return {"name": self.group, "versions": versions, "preferredVersion": versions[0]}


def _in_version(version: str, rest: list[str], user: User) -> dict[str, Any]:
    match rest:
        case []:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version} | RESOURCES
        case ["greetings"] | ["namespaces", _, "greetings"]:
            namespace = rest[1] if len(rest) > 1 else "default"
            items = [_greeting(version, namespace, name, user) for name in WORDS]
            return {"kind": "GreetingList", "apiVersion": version, "metadata": {}, "items": items}
        case ["namespaces", namespace, "greetings", name] if name in WORDS:
            return _greeting(version, namespace, name, user)
    raise ApiError(404, f"{version} has nothing at {'/'.join(rest)!r}")


def _greeting(version: str, namespace: str, name: str, user: User) -> dict[str, Any]:
    status = {"message": f"{WORDS[name]}, {user.name}!", "user": asdict(user)}
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Greeting", "apiVersion": version, "metadata": metadata, "status": status}


def as_table(found: dict[str, Any]) -> dict[str, Any]:
    """Greetings as `kubectl get` prints them."""
    columns = [{"name": name, "type": "string", "format": "", "description": ""} for name in ("Name", "Says")]
    said = (
        (each, each["metadata"]["name"], each["status"]["message"]) for each in found.get("items", [found])
    )
    rows = [{"cells": [name, says], "object": each} for each, name, says in said]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": columns, "rows": rows}


class Handler(BaseHTTPRequestHandler):
    """One connection, request after request."""

    server: Server
    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = 1 << 16  # headers and body leave in one write: in two, a request takes 40 ms longer

    def setup(self) -> None:
        """Look at the client certificate, once for all requests."""
        super().setup()
        der = self.connection.getpeercert(binary_form=True)
        self.leaf = pki.read_certificates(ssl.DER_cert_to_PEM_cert(der).encode())[0] if der else None
        self.serial = f"{x509.load_der_x509_certificate(der).serial_number:x}" if der else "none"

    def do_GET(self) -> None:
        """Answer who may ask. Every other method ends in `send_error`."""
        self.user = ANONYMOUS
        if self.leaf is None or self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # it cannot show a certificate later; bodies are not read
        path, _, query = self.path.partition("?")
        if path in {"/livez", "/readyz", "/healthz"}:
            self._send(200, b"ok", "text/plain")
            return
        try:
            user = identify(self.server.published.trust, self.leaf, self.headers)
            self.user = user.name
            self._answer(path, query, user)
        except ApiError as error:
            self._refuse(error)

    def _answer(self, path: str, query: str, user: User) -> None:
        # No SubjectAccessReview here: kube-apiserver authorizes before it proxies, and nobody else comes this
        # far. A server that must not rely on that posts one now (user, verb, resource; its own right to do so
        # is the ClusterRole system:auth-delegator) and raises ApiError(403, ...) unless it is `allowed`.
        if "watch=" in query:
            raise ApiError(405, "greetings can be read, but not watched")
        found = self.server.api.answer(path, user)
        table = found["kind"].startswith("Greeting") and "as=Table" in self.headers.get("Accept", "")
        self._send(200, json.dumps(as_table(found) if table else found).encode())
        self._log(200)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 -- http.server's own
        """What http.server itself refuses: another method, lines too long, no HTTP at all."""
        self.close_connection, self.user = True, ANONYMOUS
        unknown = code == HTTPStatus.NOT_IMPLEMENTED
        self._refuse(ApiError(405 if unknown else code, clean(message or "the request cannot be read")))

    def log_message(self, *_: Any) -> None:
        """Say nothing: the end of an idle connection is no news, and `_log` tells of requests."""

    def _refuse(self, error: ApiError) -> None:
        self._send(error.code, json.dumps(error.status()).encode())
        self._log(error.code, f" refused={clean(str(error))!r}")

    def _send(self, code: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response_only(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _log(self, code: int, refused: str = "") -> None:
        """A line per API request, without the query, which may hold what is nobody's business."""
        method, target = (*self.requestline.split(), "-", "-")[:2]
        path = quote(target.partition("?")[0][:200], safe="/%:")
        issuer = clean(self.leaf.issuer, 100) if self.leaf else "none"
        who = f"user={clean(self.user, 200)!r} client-serial={self.serial} client-issuer={issuer!r}"
        self.server.log.line(f"{quote(method[:20])} {path} {code} {who}{refused}")


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection; http.server's own kind would look up this machine's name in the DNS."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: Api, published: Published, tls: Tls) -> None:
        self.api, self.published, self.tls, self.log = api, published, tls, Log()
        super().__init__(address, Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, so that a slow client holds up nobody else."""
        request.settimeout(HANDSHAKE_SECONDS)
        with self.tls.context(self.published.trust).wrap_socket(request, server_side=True) as secured:
            Handler(secured, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's own
        """A connection that failed, mostly by its handshake, is one line."""
        self.log.line(f"connection from {client_address[0]} failed: {clean(repr(sys.exception()))}")


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; bad input is one sentence and status 1."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    options = _options()
    try:
        server = _server(options)
    except (AggctlError, OSError, ValueError) as error:
        sys.stderr.write(f"hello_api: {clean(str(error))}\n")
        return 1
    with server:
        threading.Thread(target=server.published.follow, daemon=True).start()
        server.published.looked.wait(DEAD_SECONDS)
        sys.stdout.write(f"serving on https://{options.bind}:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


def _server(options: argparse.Namespace) -> Server:
    find_credentials(options.kubeconfig, "", "").context()  # to say now what is wrong with it
    tls = Tls(options.tls_cert_file, options.tls_private_key_file)
    api = Api(options.group, tuple(options.version))
    try:
        return Server((options.bind, options.port), api, Published(options.kubeconfig), tls)
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen on {options.bind}, port {options.port}: {error}") from error


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An extension API server that says hello.")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, required=True, help="0: any that is free")
    parser.add_argument("--tls-cert-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--tls-private-key-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--kubeconfig", required=True, metavar="FILE")
    parser.add_argument("--group", default="hello.example.com")
    parser.add_argument("--version", nargs="+", default=["v1alpha1"], help="the preferred one first")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
