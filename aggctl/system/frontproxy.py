"""Ask an extension server directly, with a front-proxy identity, as kube-apiserver would."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING

from aggctl.core.questions import PROBE_USER, AnswerSeen, Unknown
from aggctl.core.text import clean
from aggctl.core.typed import NotTyped, read_json
from aggctl.system.kubeconfig import tls_context
from aggctl.system.punctual import PATIENCE, PunctualSocket, bound

if TYPE_CHECKING:
    from aggctl.core.pki import KeyPair
    from aggctl.core.questions import AskApi

HEADERS = {
    "X-Remote-User": PROBE_USER,
    "X-Remote-Group": "system:authenticated",
    "Accept": "application/json",
}
REFUSED = 0
ANSWER_LIMIT, SAID_LIMIT, RESOURCES_LIMIT = 4 * 1024 * 1024, 600, 200
ANSWER_WEIGHT = 16 * 1024 * 1024
"""What is read of an answer, of which little is kept: the largest discovery documents have 200 KB."""

NO_COMMON_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNSUPPORTED_PROTOCOL", "HTTP_REQUEST")
"""What OpenSSL says of a server that speaks something else: it never saw the certificate."""


def ask_api(asked: AskApi, pair: KeyPair | None, timeout: float) -> AnswerSeen | Unknown:
    """The answer, of status REFUSED where the server ended the connection because of the certificate shown.

    Under TLS 1.3 a refusal may come as an alert, or a closed connection, at the first read (RFC 8446, 4.4.2).
    """
    host, _, port = asked.address.rpartition(":")
    context = tls_context(
        asked.authority.encode(),
        *((pair.certificate, pair.key) if pair else ()),
        insecure=not asked.authority,
    )
    context.hostname_checks_common_name = False
    context.sslsocket_class = PunctualSocket
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)
    except OSError as error:
        return Unknown(f"{asked.address} cannot be dialled from here: {clean(error.strerror or str(error))}")
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=asked.name) as connection:
                return _answer(connection, asked, timeout)
        except ssl.SSLCertVerificationError as error:
            return Unknown(f"{asked.address} does not verify as {asked.name}: {clean(error.verify_message)}")
        except TimeoutError:
            return Unknown(f"{asked.address} does not answer within {timeout:g} s")
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "reason", "") in NO_COMMON_TLS:
                return Unknown(f"{asked.address} does not speak TLS: {clean(str(error))}")
            return AnswerSeen(REFUSED, clean(str(error)))


def _answer(connection: ssl.SSLSocket, asked: AskApi, timeout: float) -> AnswerSeen:
    request = http.client.HTTPConnection(asked.name)
    request.sock = connection
    bound(connection, PATIENCE * timeout, 2 * ANSWER_LIMIT)
    began = time.monotonic()
    request.request("GET", asked.path, headers=HEADERS)
    response = request.getresponse()
    return answer_seen(response.status, response.read(ANSWER_LIMIT), time.monotonic() - began)


def answer_seen(status: int, body: bytes, seconds: float) -> AnswerSeen:
    """An answer without its body: what a `Status` or plain text says, or what a discovery document names."""
    try:
        found = read_json(body, ANSWER_WEIGHT)
    except NotTyped:
        found = None
    if not isinstance(found, dict):
        return AnswerSeen(status, clean(body, SAID_LIMIT), seconds)
    resources = found.get("resources")
    return AnswerSeen(
        status,
        clean(str(found.get("message") or ""), SAID_LIMIT),
        seconds,
        clean(str(found.get("groupVersion") or ""), SAID_LIMIT),
        tuple(
            clean(str(each.get("name")), 100)
            for each in (resources if isinstance(resources, list) else [])[:RESOURCES_LIMIT]
            if isinstance(each, dict)
        ),
    )
