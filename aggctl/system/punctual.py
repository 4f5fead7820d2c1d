"""A TLS socket that ends in time and takes no more than was agreed, whatever its other side sends.

The timeout of a socket is about silence alone: a server that sends a byte now and then is read for ever.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

PATIENCE = 3
"""A whole answer may take so many times what silence may last."""


class PunctualSocket(ssl.SSLSocket):
    """Reads until a moment and up to so many bytes, once `bound` said so; then TimeoutError or OSError."""

    _until = float("inf")
    _left = float("inf")

    def bound(self, seconds: float, most: float) -> None:
        """From now on read for so many seconds and bytes."""
        self._until, self._left = time.monotonic() + seconds, most

    def unbound(self) -> None:
        """Read for as long as the other side sends."""
        self._until = self._left = float("inf")

    def read(self, *words: Any, **more: Any) -> Any:
        """Read as SSLSocket does, into a buffer or not; both recv and recv_into come to this."""
        if time.monotonic() > self._until:
            raise TimeoutError("it sends too slowly")
        if self._left <= 0:
            raise OSError("it sends without end")
        found: Any = super().read(*words, **more)
        self._left -= found if isinstance(found, int) else len(found)
        return found


def bound(connection: object, seconds: float, most: float) -> None:
    """Bound a socket that can be."""
    if isinstance(connection, PunctualSocket):
        connection.bound(seconds, most)


def unbound(connection: object) -> None:
    """The contrary."""
    if isinstance(connection, PunctualSocket):
        connection.unbound()
