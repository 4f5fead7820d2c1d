"""A kubelet's port forwarding played by a test: WebSocket v4 channels to a port of this machine (RFC 6455).

As k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go: channel 0 is data, channel 1 errors, and each
begins with the port in two bytes, little endian. Only one port, no extension, messages below 64 KiB.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

PROTOCOL = "v4.channel.k8s.io"
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE = 2, 8


def forward(request: BaseHTTPRequestHandler, address: str) -> None:
    """Take over a connection that asks to be upgraded, and forward it to `address`."""
    port = int(parse_qs(urlsplit(request.path).query)["port"][0])
    accept = base64.b64encode(
        hashlib.sha1((request.headers["Sec-WebSocket-Key"] + _MAGIC).encode()).digest()  # noqa: S324 -- the RFC's own
    ).decode()
    request.wfile.write(
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
        ).encode()
    )
    for channel in (0, 1):
        _send(request, bytes([channel]) + struct.pack("<H", port))
    try:
        target = socket.create_connection((address, port), timeout=10)
    except OSError as error:
        _send(request, b"\x01" + f"error forwarding port {port}: {error}".encode())
        _send(request, b"", CLOSE)
        return
    with target:
        back = threading.Thread(target=_back, args=(target, request))
        back.start()
        with suppress(OSError):
            while (message := _receive(request)) is not None:
                target.sendall(message[1:])
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        back.join()
    request.close_connection = True


def _back(target: socket.socket, request: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        while data := target.recv(16 * 1024):
            _send(request, b"\x00" + data)
        _send(request, b"", CLOSE)


def _send(request: BaseHTTPRequestHandler, payload: bytes, kind: int = BINARY) -> None:
    head = bytes([0x80 | kind])
    size = len(payload)
    head += bytes([size]) if size < 126 else bytes([126]) + struct.pack(">H", size)
    request.wfile.write(head + payload)


def _receive(request: BaseHTTPRequestHandler) -> bytes | None:
    """The next message of the client, unmasked; None at the end."""
    head = request.rfile.read(2)
    if len(head) < 2 or head[0] & 0x0F == CLOSE:
        return None
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", request.rfile.read(2))
    mask = request.rfile.read(4)
    return bytes(byte ^ mask[number % 4] for number, byte in enumerate(request.rfile.read(size)))
