"""Requests to the sandbox's own kube-apiserver with a kubeconfig of its own, over verified TLS.

The standard library only: it is asked every few milliseconds while one waits for a start.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer; status 0 where there was none, and `text` says why."""

    status: int
    text: str


class Client:
    """Asks one server as one identity."""

    def __init__(self, kubeconfig: Path) -> None:
        document = YAML(typ="safe", pure=True).load(kubeconfig)
        cluster = document["clusters"][0]["cluster"]
        self._address = urlsplit(cluster["server"])
        self._context = _context(cluster["certificate-authority-data"], document["users"][0]["user"])

    def ask(self, path: str, body: Any = None) -> Answer:
        """GET a path, or POST a body there as JSON. No answer is an answer, too."""
        connection = http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT, context=self._context
        )
        try:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, str(error) or type(error).__name__)
        finally:
            connection.close()


def _context(authority: str, user: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    pem = base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
    with _memory_file(pem) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path for what must not touch a disk: ssl loads a key from files only."""
    descriptor = os.memfd_create("aggctl")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
