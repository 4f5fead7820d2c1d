"""Requests to kube-apiservers, each addressed by itself: never a load balancer that picks one."""

from __future__ import annotations

import base64
import errno
import json
import re
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from aggctl.core import pki
from aggctl.core.fields import created_stamp
from aggctl.core.questions import (
    PROBE_USER,
    AggregatorQueue,
    AskApi,
    AskAs,
    AskWith,
    ClockSkew,
    MayGet,
    MetadataIn,
    ObjectAt,
    PairAt,
    PairSeen,
    PodLog,
    Question,
    ReadyAt,
    UnavailableApis,
    Unknown,
    WhoSeen,
)
from aggctl.core.text import clean
from aggctl.errors import Failed, Refused
from aggctl.system.frontproxy import ask_api
from aggctl.system.kubeconfig import tls_context
from aggctl.system.metrics import aggregator_queue, unavailable_apis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from urllib3 import BaseHTTPResponse, PoolManager

    from aggctl.core.pki import KeyPair
    from aggctl.system.files import Files
    from aggctl.system.kubeconfig import Credentials

BODY_LIMIT = 32 * 1024 * 1024
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
JSON = "application/json"
METADATA = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
LOG_LINES, LOG_BYTES = 12, 16 * 1024
Read = TypeVar("Read")
_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class Cluster:
    """The kube-apiservers, asked with the user's credentials; these are read on the first question."""

    def __init__(self, credentials: Callable[[], Credentials], files: Files, timeout: float = 5.0) -> None:
        self._find = credentials
        self._files = files
        self._timeout = timeout
        self._lock = threading.Lock()
        self._found: tuple[Credentials, PoolManager] | None = None
        self._held: dict[str, KeyPair] = {}
        self._answers: dict[type, Callable[[Any], Any]] = {
            ObjectAt: lambda asked: self._object(asked.path, asked.server),
            MetadataIn: lambda asked: self._object(asked.path, asked.server, METADATA),
            PairAt: self._pair,
            ReadyAt: lambda asked: self._ready(asked.server),
            ClockSkew: lambda asked: self._skew(asked.server),
            AskAs: lambda asked: self._who(
                asked.server, self._read(asked.certificate), self._read(asked.key)
            ),
            AskWith: self._who_with,
            AskApi: self._ask_api,
            AggregatorQueue: lambda asked: self._metrics(asked.server, aggregator_queue),
            MayGet: lambda asked: self._may_get(asked.path, asked.server),
            UnavailableApis: lambda asked: self._metrics(asked.server, unavailable_apis),
            PodLog: self._log,
        }

    @property
    def credentials(self) -> Credentials:
        """The credentials in use; Refused where there are none."""
        return self._opened()[0]

    @property
    def timeout(self) -> float:
        """How long one request may take, in seconds."""
        return self._timeout

    def hold(self, pair: KeyPair) -> str:
        """Hold a pair in memory, so that questions may name it by its fingerprint."""
        identity = pki.read_certificates(pair.certificate)[0].fingerprint
        self._held[identity] = pair
        return identity

    def look(self, question: Question) -> Any:
        """Answer a question by a request; no right, no answer or a body of another kind is Unknown."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 -- 80 ms that --help need not pay

        answer = self._answers[type(question)]
        try:
            return answer(question)
        except (HTTPError, OSError) as error:
            return _no_answer(getattr(question, "server", ""), error)
        except (ValueError, RecursionError) as error:
            where = f"{getattr(question, 'server', '')}{getattr(question, 'path', '')}"
            return Unknown(
                f"{where} answered what cannot be read: {clean(str(error))}", "answer-not-understood"
            )

    def _object(self, path: str, server: str, accept: str = JSON) -> dict[str, Any] | Unknown | None:
        response, body = self._request("GET", server + path, accept=accept)
        if response.status == NOT_FOUND:
            return None
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return _refusal(server, path, response.status, body, self.credentials)
        found = json.loads(body)
        if not isinstance(found, dict) or found.get("kind") == "Status":
            return Unknown(f"{server}{path} answered no object: {clean(body)}", "answer-not-understood")
        return found

    def _pair(self, asked: PairAt) -> PairSeen | Unknown | None:
        """A Secret's certificates; its key leaves this function as the fingerprint of its public half."""
        found = self._object(f"/api/v1/namespaces/{asked.namespace}/secrets/{asked.name}", asked.server)
        if found is None or isinstance(found, Unknown):
            return found
        data = {name: base64.b64decode(value) for name, value in (found.get("data") or {}).items()}
        try:
            public_key = pki.public_key_of(data.get("tls.key", b""))
        except pki.PkiError:
            public_key = ""
        lacks = tuple(name for name in ("tls.crt", "tls.key") if not data.get(name))
        return PairSeen(
            data.get("tls.crt", b""), data.get("ca.crt", b""), public_key, lacks, bool(created_stamp(found))
        )

    def _ready(self, server: str) -> str:
        response, body = self._get(f"{server}/readyz")
        return "ok" if response.status == 200 else _waits_for(response.status, body)  # noqa: PLR2004 -- as above

    def _skew(self, server: str) -> float | Unknown:
        response, _ = self._get(f"{server}/version")
        date = response.headers.get("Date", "")
        try:
            return parsedate_to_datetime(date).timestamp() - time.time()
        except (TypeError, ValueError):
            return Unknown(f"{server} sent no date", "answer-not-understood")

    def _who_with(self, asked: AskWith) -> WhoSeen | Unknown:
        pair = self._held.get(asked.identity)
        if pair is None:
            return _not_held(asked.identity)
        return self._who(asked.server, pair.certificate, pair.key)

    def _ask_api(self, asked: AskApi) -> int | Unknown:
        """Without an identity none is shown; in place of one that is not held, never none."""
        pair = self._held.get(asked.identity)
        if asked.identity and pair is None:
            return _not_held(asked.identity)
        return ask_api(asked, pair, self._timeout)

    def _who(self, server: str, certificate: bytes, key: bytes) -> WhoSeen:
        """POST a review of oneself: it answers the name, or 401 where the certificate is not trusted.

        SelfSubjectReview is v1 from 1.28; older servers answer 404 and get an access review of oneself, which
        every authenticated user may create (201) and nobody anonymous (401, 403).
        """
        context = tls_context(self.credentials.authority, certificate, key)
        status, body = self._review(server, context, "authentication.k8s.io/v1", "SelfSubjectReview", {})
        if status == NOT_FOUND:
            spec = {"nonResourceAttributes": {"path": "/version", "verb": "get"}}
            status, body = self._review(
                server, context, "authorization.k8s.io/v1", "SelfSubjectAccessReview", spec
            )
            return WhoSeen(status, PROBE_USER if status == 201 else "")  # noqa: PLR2004 -- HTTP's own number
        return WhoSeen(status, clean(_username(body), 100))

    def _read(self, path: str) -> bytes:
        """A file of the node; links on the way stay below its root."""
        seen = self._files.read(path)
        if seen is None:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return seen.content

    def _review(
        self, server: str, context: ssl.SSLContext, group: str, kind: str, spec: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        with self._pool(context) as pool:
            response = pool.request(
                "POST",
                f"{server}/apis/{group}/{kind.lower()}s",
                body=json.dumps({"apiVersion": group, "kind": kind, "spec": spec}),
                headers={
                    "Content-Type": "application/json",
                    "X-Remote-User": PROBE_USER,
                    "X-Remote-Group": "system:authenticated",
                },
            )
        try:
            body = json.loads(response.data)
        except ValueError:
            body = {}
        return response.status, body if isinstance(body, dict) else {}

    def send(
        self, method: str, url: str, body: bytes | None = None, content_type: str = JSON
    ) -> tuple[int, bytes]:
        """One request: its status and its body; Failed where no answer came back."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 -- 80 ms that --help need not pay

        try:
            response, answer = self._request(method, url, body, content_type)
        except (HTTPError, OSError, ValueError) as error:
            unknown = _no_answer(url.partition("/api")[0], error)
            raise Failed(unknown.code, unknown.reason, do=f"aggctl explain {unknown.code}") from error
        return response.status, answer

    def _may_get(self, path: str, server: str) -> bool | Unknown:
        group, kind = "authorization.k8s.io/v1", "SelfSubjectAccessReview"
        review = {
            "apiVersion": group,
            "kind": kind,
            "spec": {"nonResourceAttributes": {"path": path, "verb": "get"}},
        }
        url = f"{server}/apis/{group}/{kind.lower()}s"
        response, body = self._request("POST", url, json.dumps(review).encode())
        if response.status not in (200, 201):
            return _refusal(server, path, response.status, body, self.credentials)
        return bool((json.loads(body).get("status") or {}).get("allowed"))

    def _metrics(self, server: str, read: Callable[[bytes], Read]) -> Read | Unknown:
        response, body = self._get(f"{server}/metrics")
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return _refusal(server, "/metrics", response.status, body, self.credentials)
        return read(body)

    def _log(self, question: PodLog) -> tuple[str, ...] | Unknown:
        path = (
            f"/api/v1/namespaces/{question.namespace}/pods/{question.pod}/log?container={question.container}"
            f"&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}&previous={str(question.previous).lower()}"
        )
        response, body = self._get(question.server + path)
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return _refusal(question.server, path, response.status, body, self.credentials)
        return tuple(clean(line, 500) for line in body.splitlines() if line.strip())

    def _get(self, url: str) -> tuple[BaseHTTPResponse, bytes]:
        return self._request("GET", url)

    def _request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        content_type: str = JSON,
        *,
        accept: str = JSON,
    ) -> tuple[BaseHTTPResponse, bytes]:
        credentials, pool = self._opened()
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        response = pool.request(method, url, body=body, headers=headers, preload_content=False)
        try:
            answer = response.read(BODY_LIMIT + 1)
        finally:
            response.release_conn()
        if len(answer) > BODY_LIMIT:
            raise ValueError("the answer is longer than 32 MiB")
        return response, answer

    def _opened(self) -> tuple[Credentials, PoolManager]:
        with self._lock:
            if self._found is None:
                credentials = self._find()
                self._found = credentials, self._pool(_context(credentials), credentials.server_name)
            return self._found

    def _pool(self, context: ssl.SSLContext, server_name: str = "") -> PoolManager:
        import urllib3  # noqa: PLC0415 -- 80 ms that --help need not pay

        if context.verify_mode == ssl.CERT_NONE:  # the kubeconfig says so; kubectl does not warn either
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        names: dict[str, Any] = {"server_hostname": server_name} if server_name else {}
        # urllib3 sets ALPN for each connection, which breaks handshakes that other threads begin just then
        # with the same context (a use after free, python/cpython#141012): it is set once, here.
        context.set_alpn_protocols(["http/1.1"])
        context.set_alpn_protocols = _as_it_is  # type: ignore[method-assign]
        return urllib3.PoolManager(
            ssl_context=context,
            timeout=urllib3.Timeout(total=self._timeout),
            retries=False,
            maxsize=8,
            **names,
        )


def _not_held(identity: str) -> Unknown:
    """An identity of an earlier run, which a journal names, is not held any more."""
    return Unknown(f"the identity {identity[:12]} is not held by this run")


def _context(credentials: Credentials) -> ssl.SSLContext:
    try:
        return credentials.context()
    except (ssl.SSLError, ValueError) as error:
        raise Refused(
            "kubeconfig-not-usable",
            f"the kubeconfig {credentials.source} cannot be used: a certificate or key in it is not readable",
            found=clean(str(error), 120),
            expected="certificate-authority, client-certificate and client-key in PEM, the last two a pair",
            do="give a good one by --kubeconfig FILE (on a control-plane node: /etc/kubernetes/admin.conf)",
        ) from error


def _as_it_is(alpn_protocols: Iterable[str]) -> None:
    """Nothing is changed."""


def _username(review: dict[str, Any]) -> str:
    """The name in a SelfSubjectReview; a refusal is a Status, whose `status` is a word."""
    try:
        return str(review["status"]["userInfo"]["username"])
    except (KeyError, TypeError):
        return ""


def _refusal(server: str, path: str, status: int, body: bytes, credentials: Credentials) -> Unknown:
    said = clean(_message(body))
    if status == UNAUTHORIZED:
        return Unknown(
            f"{server} does not accept the credentials of {credentials.source} (401 {said})",
            "kubeconfig-not-accepted",
        )
    if status == FORBIDDEN:
        return Unknown(f"GET {path} is forbidden to {credentials.source}: {said}", "no-rights-in-cluster")
    return Unknown(f"{server}{path} answered {status}: {said}", "apiserver-not-ready")


def _waits_for(status: int, body: bytes) -> str:
    """What /readyz complains of: its failed checks by name, else its words."""
    failed = re.findall(r"\[-\](\S+)", body.decode("utf-8", "replace"))
    return f"HTTP {status}: {clean(', '.join(failed) or _message(body))}"


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return clean(body)


def _no_answer(server: str, error: Exception) -> Unknown:
    cause = _root_cause(error)
    said = clean(str(getattr(cause, "strerror", "") or cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _not_trusted(server, cause, said)
    if isinstance(cause, ssl.SSLError):
        return Unknown(f"TLS with {server} failed: {said}", "apiserver-tls-failed")
    return Unknown(f"{server} does not answer: {said}", "apiserver-not-reachable")


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
