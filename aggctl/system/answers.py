"""What an answer that is none means: no right, no connection, a certificate that is not to be trusted."""

from __future__ import annotations

import re
import ssl
import time
from typing import TYPE_CHECKING, Any

from aggctl.core.questions import Unknown
from aggctl.core.text import clean
from aggctl.core.typed import read_json

if TYPE_CHECKING:
    from aggctl.system.kubeconfig import Credentials

_LINE_OF_C = re.compile(r"^_ssl\.c:\d+: ")
UNAUTHORIZED, FORBIDDEN = 401, 403
TOLD = 256 * 1024
"""Bytes of a refusal that are read."""

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def refusal(server: str, path: str, status: int, body: bytes, credentials: Credentials) -> Unknown:
    """Why a status is no answer: credentials, rights, or a server that is not ready."""
    said = clean(message(body))
    if status == UNAUTHORIZED:
        return Unknown(
            f"{server} does not accept the credentials of {credentials.source} (401 {said})",
            "kubeconfig-not-accepted",
        )
    if status == FORBIDDEN:
        return Unknown(f"GET {path} is forbidden to {credentials.source}: {said}", "no-rights-in-cluster")
    return Unknown(f"{server}{path} answered {status}: {said}", "apiserver-not-ready")


def waits_for(status: int, body: bytes) -> str:
    """What /readyz complains of: its failed checks by name, else its words."""
    failed = re.findall(r"\[-\](\S{1,80})", body[:TOLD].decode("utf-8", "replace"))
    return f"HTTP {status}: {clean(', '.join(failed) or message(body))}"


def message(body: bytes) -> str:
    """The message of a `Status`, else the words as they are."""
    try:
        return str(read_json(body[:TOLD])["message"])
    except (ValueError, KeyError, TypeError):
        return clean(body)


def username(review: dict[str, Any]) -> str:
    """The name in a SelfSubjectReview; a refusal is a Status, whose `status` is a word."""
    try:
        return str(review["status"]["userInfo"]["username"])
    except (KeyError, TypeError):
        return ""


def no_answer(server: str, error: Exception) -> Unknown:
    """Why no answer came at all."""
    cause = _root_cause(error)
    said = _words_of(cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _not_trusted(server, cause, said)
    if isinstance(cause, ssl.SSLError):
        return Unknown(f"TLS with {server} failed: {said}", "apiserver-tls-failed")
    return Unknown(f"{server} does not answer: {said}", "apiserver-not-reachable")


def _words_of(cause: BaseException) -> str:
    """The system's words, without what only a programmer understands."""
    if type(cause).__name__ == "IncompleteRead":  # of http.client, or of urllib3
        return "its answer broke off in the middle"
    said = clean(str(getattr(cause, "strerror", "") or cause))
    return _LINE_OF_C.sub("", said) or "what it sends is no HTTP"


def _not_trusted(server: str, error: ssl.SSLCertVerificationError, said: str) -> Unknown:
    """OpenSSL's numbers tell a wrong time from a wrong CA; a certificate from the future is a wrong clock."""
    said = clean(error.verify_message) or said
    if error.verify_code not in (_NOT_YET_VALID, _EXPIRED):
        said = f"the CA of the kubeconfig did not sign it, or it lacks this name: {said}"
        return Unknown(
            f"{server} shows a certificate that is not to be trusted; {said}", "apiserver-not-trusted"
        )
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    code = "clock-wrong" if error.verify_code == _NOT_YET_VALID else "apiserver-not-trusted"
    return Unknown(
        f"{server} shows a certificate that is not valid at {clock}, this machine's clock: {said}", code
    )


def _root_cause(error: BaseException) -> BaseException:
    """urllib3 wraps; the operating system's own error is the one that tells."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner
