"""A TLS handshake, and what it showed: directly, or by way of kube-apiserver and a kubelet into a Pod."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aggctl.core.questions import ServedSeen, Unknown
from aggctl.core.text import clean
from aggctl.system.kubeconfig import tls_context
from aggctl.system.punctual import PATIENCE, PunctualSocket, bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websocket import WebSocket

    from aggctl.core.questions import PodHandshake
    from aggctl.system.kubeconfig import Credentials

    Show = Callable[[ssl.SSLContext], bytes]

DIAL_SECONDS = 2.0
PROTOCOL = "v4.channel.k8s.io"
"""The kubelet's WebSocket protocol: channel 0 is data, 1 errors; both begin with the port (cri-streaming)."""

DATA, ERROR = 0, 1
FORWARDED = 1024 * 1024
"""Bytes of a handshake; OpenSSL takes 100 KB of certificates."""


class NotDialled(OSError):  # noqa: N818 -- what happened
    """No connection came about."""


def served(show: Show, where: str, authority: str) -> ServedSeen | Unknown:
    """Verify as kube-apiserver does: by SAN, never by the common name; where that fails, look as well."""
    problem = "there is no CA to verify it by"
    try:
        if authority:
            context = tls_context(authority.encode())
            context.hostname_checks_common_name = False
            return ServedSeen(show(context))
    except ssl.SSLError as error:  # of the handshake, or of a CA that cannot be read
        problem = clean(getattr(error, "verify_message", "") or error.strerror or str(error))
    except OSError as error:
        return _no_handshake(where, error)
    try:
        return ServedSeen(show(tls_context(b"", insecure=True)), problem)
    except OSError as error:
        return _no_handshake(where, error)


def _no_handshake(where: str, error: OSError) -> ServedSeen | Unknown:
    """What ended before a certificate was shown; what cannot be dialled at all was not seen."""
    if isinstance(error, NotDialled):
        return Unknown(f"{where} cannot be dialled from here: {error}")
    said = getattr(error, "reason", "") or error.strerror or str(error)
    silent = isinstance(error, TimeoutError)
    return ServedSeen(
        b"", f"no TLS handshake: {'it takes the connection and says nothing' if silent else clean(said)}"
    )


def shown_at(address: str, name: str, context: ssl.SSLContext) -> bytes:
    """The certificate that a server at HOST:PORT shows, as PEM."""
    host, _, port = address.rpartition(":")
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_SECONDS)
    except OSError as error:
        raise NotDialled(clean(error.strerror or str(error))) from error
    with plain, context.wrap_socket(plain, server_hostname=name) as connection:
        return _pem(connection.getpeercert(binary_form=True))


def shown_in_pod(
    asked: PodHandshake, credentials: Credentials, timeout: float, context: ssl.SSLContext
) -> bytes:
    """The certificate that a Pod's port shows, through pods/portforward; TLS is ours from end to end."""
    with _forwarded(asked, credentials, timeout) as channel:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=asked.name)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                channel.send(outgoing.read())
                incoming.write(channel.receive())
            else:
                return _pem(tls.getpeercert(binary_form=True))


class _Channel:
    """The data of one forwarded port, message by message."""

    def __init__(self, connection: WebSocket) -> None:
        self._connection = connection
        self._begun: set[int] = set()

    def send(self, data: bytes) -> None:
        if data:
            self._connection.send_binary(bytes([DATA]) + data)

    def receive(self) -> bytes:
        """The next data; OSError where the kubelet reports one, or the other side is done."""
        while True:
            message = self._connection.recv()
            if not message or isinstance(message, str):
                raise ConnectionResetError("the connection was closed")
            channel, data = message[0], message[1:]
            if channel not in self._begun:  # the port, in two bytes
                self._begun.add(channel)
                data = data[2:]
            if channel == ERROR and data:
                raise NotDialled(clean(data, 200))
            if channel == DATA and data:
                return bytes(data)


@contextlib.contextmanager
def _forwarded(asked: PodHandshake, credentials: Credentials, timeout: float) -> Iterator[_Channel]:
    import websocket  # noqa: PLC0415 -- 30 ms that only a look from elsewhere needs

    place = urlsplit(asked.server)
    path = f"/api/v1/namespaces/{asked.namespace}/pods/{asked.pod}/portforward?ports={asked.port}"
    header = [f"Authorization: Bearer {credentials.token}"] if credentials.token else []
    context = credentials.context()
    context.sslsocket_class = PunctualSocket
    host, port = place.hostname or "", place.port or 443
    try:
        plain = socket.create_connection((host, port), timeout=timeout)
        secured = context.wrap_socket(plain, server_hostname=credentials.server_name or host)
        bound(secured, PATIENCE * timeout, FORWARDED)
        connection = websocket.create_connection(
            f"wss://{place.netloc}{path}",
            socket=secured,
            header=header,
            subprotocols=[PROTOCOL],
            timeout=timeout,
            suppress_origin=True,
        )
    except (OSError, websocket.WebSocketException) as error:
        raise NotDialled(clean(str(error), 200)) from error
    try:
        yield _Channel(connection)
    except websocket.WebSocketTimeoutException as error:
        raise TimeoutError("it says nothing") from error
    except websocket.WebSocketException as error:
        raise ConnectionResetError(clean(str(error), 200)) from error
    finally:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            connection.close()


def _pem(certificate: bytes | None) -> bytes:
    return ssl.DER_cert_to_PEM_cert(certificate or b"").encode()
