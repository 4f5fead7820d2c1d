"""Requests to the sandbox's own kube-apiserver with a kubeconfig of its own, over verified TLS.

Requests go by the standard library: it is asked every few milliseconds while one waits for a start.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
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
        credentials = find_credentials(str(kubeconfig), "", "")
        self._address = urlsplit(credentials.server)
        self._context = credentials.context()

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
