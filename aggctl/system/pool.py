"""Requests by urllib3 that have an end: in time, in size, and in how often they are tried.

To load it takes 80 ms, which `--help` need not pay.
"""

from __future__ import annotations

import io
import ssl
import time
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from aggctl.system.punctual import PATIENCE, PunctualSocket, bound, unbound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager, Timeout

    from aggctl.system.room import Room

OF_ONE_CONNECTION = 64 * 1024 * 1024
"""Bytes of one answer with its headers; whoever wants less of its body reads less."""

LARGE, TOLD, PART = 1024 * 1024, 1024 * 1024, 256 * 1024
"""From how many bytes on answers are read one at a time; what is read of a refusal, and in one go."""

THROTTLED = 429
LEAST_PAUSE = 0.2


class _Connection(HTTPSConnection):
    """A connection each answer of which is bounded, until `go_on` says that it is a stream."""

    _bounded: object = None

    def getresponse(self) -> Any:
        """Bound the answer; http.client lets go of the socket where the server says that it will close it."""
        self._bounded = self.sock
        if self.timeout is not None:
            bound(self.sock, PATIENCE * float(self.timeout), OF_ONE_CONNECTION)
        return super().getresponse()

    def go_on(self) -> None:
        """Read the answer for as long as it goes on."""
        unbound(self._bounded)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


def new_pool(context: ssl.SSLContext, timeout: float, server_name: str = "") -> PoolManager:
    """Connections that verify by `context`, and wait for `timeout` seconds at most."""
    if context.verify_mode == ssl.CERT_NONE:  # the kubeconfig says so; kubectl does not warn either
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    names: dict[str, Any] = {"server_hostname": server_name} if server_name else {}
    # urllib3 sets ALPN for each connection, which breaks handshakes that other threads begin just then
    # with the same context (a use after free, python/cpython#141012): it is set once, here.
    context.set_alpn_protocols(["http/1.1"])
    context.set_alpn_protocols = _as_it_is  # type: ignore[method-assign]  # as said above
    context.sslsocket_class = PunctualSocket
    pool = urllib3.PoolManager(
        ssl_context=context,
        timeout=urllib3.Timeout(total=timeout),
        retries=False,  # no redirect is followed either: what we show to a server is meant for it alone
        maxsize=8,
        **names,
    )
    pool.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": _Pool}
    return pool


def fetch(
    pool: PoolManager,
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    timeout: float,
    most: int,
    room: Room,
) -> tuple[BaseHTTPResponse, bytes]:
    """One request and `most` bytes of its answer, and one more where there is more.

    429 is no answer: the server did nothing, and says when to come again. That is done within `timeout`.
    """
    until = time.monotonic() + timeout
    while True:
        # Nothing compressed was asked for (http.client says `identity`), so nothing is unpacked.
        response = pool.request(
            method, url, body=body, headers=headers, preload_content=False, decode_content=False
        )
        answer = _whole(response, most, timeout, room)
        pause = _pause(response)
        if pause is None or time.monotonic() + pause > until:
            return response, answer
        time.sleep(pause)


def open_stream(
    pool: PoolManager, url: str, headers: Mapping[str, str], patience: Timeout, *, endless: bool
) -> BaseHTTPResponse:
    """The answer to a GET as it comes, however long it goes on where it is `endless`."""
    response = pool.request("GET", url, headers=headers, preload_content=False, timeout=patience)
    connection = response.connection
    if endless and isinstance(connection, _Connection):
        connection.go_on()
    return response


def _whole(response: BaseHTTPResponse, most: int, timeout: float, room: Room) -> bytes:
    most = most if response.status < 300 else min(most, TOLD)  # noqa: PLR2004 -- HTTP's own number
    parts = io.BytesIO()
    try:
        while (left := most + 1 - parts.tell()) and (part := response.read(min(left, PART))):
            parts.write(part)
            if parts.tell() >= LARGE:
                room.take(PATIENCE * timeout)
    except BaseException:
        response.close()
        raise
    if parts.tell() > most:
        response.close()  # the rest of it would be taken for the next answer, or read to its end
    else:
        response.release_conn()
    return parts.getvalue()


def _pause(response: BaseHTTPResponse) -> float | None:
    """Seconds after which a server that takes no more requests wants to be asked again."""
    said = response.headers.get("Retry-After", "")
    if response.status != THROTTLED or not (said.isascii() and said.isdigit() and len(said) < 6):  # noqa: PLR2004 -- a day
        return None
    return max(float(said), LEAST_PAUSE)


def _as_it_is(alpn_protocols: Iterable[str]) -> None:
    """Nothing is changed."""
