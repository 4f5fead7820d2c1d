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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.system.cluster import Cluster

CONNECT_SECONDS = 2.0
CHUNK = 256 * 1024


@contextlib.contextmanager
def watching(cluster: Cluster, server: str, paths: tuple[str, ...]) -> Iterator[Callable[[float], None]]:
    """Watch `paths` (collections with their selectors); gives a `pause(seconds)` that an event cuts short."""
    with contextlib.ExitStack() as stack:
        bells = [bell for path in paths if (bell := _ring(cluster, server, path, stack))]

        def pause(seconds: float) -> None:
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
    connection = http.client.HTTPSConnection(
        address.hostname, address.port, timeout=CONNECT_SECONDS, context=credentials.context()
    )
    stack.callback(connection.close)
    headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
    try:
        connection.request("GET", f"{path}{'&' if '?' in path else '?'}watch=1", headers=headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    stack.callback(response.close)
    if response.status != http.HTTPStatus.OK or not isinstance(connection.sock, ssl.SSLSocket):
        return None
    connection.sock.setblocking(False)
    return connection.sock


def _drain(bell: ssl.SSLSocket) -> bool:
    """Take all that has come; False where the other side is gone."""
    while True:
        try:
            if not bell.recv(CHUNK):
                return False
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
