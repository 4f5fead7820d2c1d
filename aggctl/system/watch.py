"""Wake up when something changes: watches of kube-apiserver as a bell, not as a source of truth.

What an event says is not read: whoever waits looks again for himself. So a watch that is refused or breaks
costs nothing but speed; the interval of the poll goes on.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aggctl.system.punctual import PunctualSocket, bound, unbound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.system.cluster import Cluster

CONNECT_SECONDS = 2.0
CHUNK, CHUNKS = 256 * 1024, 64
_FROM_CACHE = "watch=1&resourceVersion=0"
"""Without a resourceVersion a watch begins when the cache has caught up with etcd: up to 0.1 s after a write.

What the cache does not hold yet comes as an event; a bell needs no more.
"""


@contextlib.contextmanager
def watching(cluster: Cluster, server: str, paths: tuple[str, ...]) -> Iterator[Callable[[float], None]]:
    """Watch `paths` (collections with their selectors); gives a `pause(seconds)` that an event cuts short.

    The watches begin with the first pause, as often there is nothing to wait for. What is there by then comes
    as their first events, so that a change since the caller last looked ends that pause at once.
    """
    with contextlib.ExitStack() as stack:
        unwatched, bells = list(paths), list[ssl.SSLSocket]()

        def pause(seconds: float) -> None:
            while unwatched:
                if bell := _ring(cluster, server, unwatched.pop(0), stack):
                    bells.append(bell)
            waiting = {bell.fileno(): bell for bell in bells}
            ready, _, _ = select.select(list(waiting), [], [], seconds)
            for number in ready:
                if not _drain(waiting[number]):
                    bells.remove(waiting[number])

        yield pause


def _ring(cluster: Cluster, server: str, path: str, stack: contextlib.ExitStack) -> ssl.SSLSocket | None:
    """The open connection of one watch, non-blocking; None where there is no watching."""
    credentials = cluster.credentials
    address = urlsplit(server)
    if credentials.server_name or not address.hostname:
        return None  # http.client cannot ask for another name than the address
    context = credentials.context()
    context.sslsocket_class = PunctualSocket
    connection = http.client.HTTPSConnection(
        address.hostname, address.port, timeout=CONNECT_SECONDS, context=context
    )
    stack.callback(connection.close)
    headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
    try:
        connection.request("GET", f"{path}{'&' if '?' in path else '?'}{_FROM_CACHE}", headers=headers)
        bound(connection.sock, CONNECT_SECONDS, CHUNK)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    stack.callback(response.close)
    if response.status != http.HTTPStatus.OK or not isinstance(connection.sock, ssl.SSLSocket):
        return None
    unbound(connection.sock)
    connection.sock.setblocking(False)
    return connection.sock


def _drain(bell: ssl.SSLSocket) -> bool:
    """Take what has come; False where the other side is gone. What never ends is taken a part at a time."""
    for _ in range(CHUNKS):
        try:
            if not bell.recv(CHUNK):
                return False
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
    return True
