"""Requests to kube-apiservers, each addressed by itself: never a load balancer that picks one."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aggctl.core import pki
from aggctl.core.fields import created_stamp
from aggctl.core.kinds import AGGREGATED, REVIEW
from aggctl.core.questions import (
    PROBE_USER,
    AggregatorQueue,
    AnswerSeen,
    AskApi,
    AskAs,
    AskWith,
    ClockSkew,
    MayDo,
    MayGet,
    MetadataIn,
    ObjectAt,
    PairAt,
    PairSeen,
    PodHandshake,
    PodLog,
    Question,
    RawAt,
    ReadyAt,
    ServedSeen,
    StaleApis,
    UnavailableApis,
    Unknown,
    WhoSeen,
)
from aggctl.core.text import clean
from aggctl.core.typed import hold, read_json, typed, weight_of
from aggctl.errors import Failed, Refused
from aggctl.system.access import access_review, named
from aggctl.system.answers import TOLD, no_answer, refusal, username, waits_for
from aggctl.system.frontproxy import ANSWER_LIMIT, answer_seen, ask_api
from aggctl.system.handshake import served, shown_in_pod
from aggctl.system.kubeconfig import tls_context
from aggctl.system.metrics import aggregator_queue, unavailable_apis
from aggctl.system.pages import read_whole
from aggctl.system.room import Purse, Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

    from aggctl.core.pki import KeyPair
    from aggctl.system.files import Files
    from aggctl.system.kubeconfig import Credentials

BODY_LIMIT, METRICS_LIMIT = 16 * 1024 * 1024, 32 * 1024 * 1024
"""Bytes that are read of an answer; the metrics of a busy kube-apiserver have 4 MB and more."""

NOT_FOUND = 404
JSON = "application/json"
DISCOVERY = ",".join(
    (
        *(
            f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            for version in ("v2", "v2beta1")
        ),
        JSON,
    )
)
METADATA = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
LOG_LINES, LOG_BYTES = 12, 16 * 1024
Read = TypeVar("Read")
_OF_ONESELF = "SelfSubjectAccessReview"


class Cluster:
    """The kube-apiservers, asked with the user's credentials; these are read on the first question."""

    def __init__(self, credentials: Callable[[], Credentials], files: Files, timeout: float = 5.0) -> None:
        self._find = credentials
        self._files = files
        self._timeout = timeout
        self._lock = threading.Lock()
        self._found: tuple[Credentials, PoolManager] | None = None
        self._held: dict[str, KeyPair] = {}
        self._room, self._purse = Room(), Purse()
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
            MayGet: lambda asked: self._may(
                asked.server, {"nonResourceAttributes": {"path": asked.path, "verb": "get"}}
            ),
            MayDo: lambda asked: self._may(asked.server, access_review(asked)),
            PodHandshake: self._pod_handshake,
            RawAt: self._raw,
            StaleApis: lambda asked: self._stale(asked.server),
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
            return no_answer(getattr(question, "server", ""), error)
        except (ValueError, RecursionError) as error:
            where = f"{getattr(question, 'server', '')}{getattr(question, 'path', '')}"
            return Unknown(
                f"{where} answered what cannot be read: {clean(str(error))}", "answer-not-understood"
            )
        finally:
            self._room.leave()

    def _object(self, path: str, server: str, accept: str = JSON) -> dict[str, Any] | Unknown | None:
        read = partial(self._document, server, accept)
        return read_whole(path, read, partial(self._purse.keep, server + path), self._timeout)

    def _document(self, server: str, accept: str, path: str) -> tuple[dict[str, Any] | Unknown | None, int]:
        """What a path answers, and what it comes to in memory."""
        response, body = self._request("GET", server + path, accept=accept)
        path = path.partition("?")[0]
        if response.status == NOT_FOUND:
            return None, 0
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return refusal(server, path, response.status, body, self.credentials), 0
        found = read_json(body)
        if not isinstance(found, dict) or found.get("kind") == "Status":
            return Unknown(f"{server}{path} answered no object: {clean(body)}", "answer-not-understood"), 0
        return typed(path, found, partial=accept == METADATA), weight_of(body)

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
        response, body = self._request("GET", f"{server}/readyz", most=TOLD)
        ready = response.status == 200 and body.strip() == b"ok"  # noqa: PLR2004 -- as above
        return "ok" if ready else waits_for(response.status, body)

    def _skew(self, server: str) -> float | Unknown:
        response, _ = self._request("GET", f"{server}/version", most=TOLD)
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

    def _ask_api(self, asked: AskApi) -> AnswerSeen | Unknown:
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
        return WhoSeen(status, clean(username(body), 100))

    def _read(self, path: str) -> bytes:
        """A file of the node; links on the way stay below its root."""
        seen = self._files.read(path)
        if seen is None:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return seen.content

    def _review(
        self, server: str, context: ssl.SSLContext, group: str, kind: str, spec: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        from aggctl.system.pool import new_pool  # noqa: PLC0415 -- it loads urllib3

        url = f"{server}/apis/{group}/{kind.lower()}s"
        review = json.dumps({"apiVersion": group, "kind": kind, "spec": spec}).encode()
        headers = {
            "Content-Type": JSON,
            "X-Remote-User": PROBE_USER,
            "X-Remote-Group": "system:authenticated",
        }
        with new_pool(context, self._timeout) as pool:
            response, answer = self._fetch(pool, "POST", url, review, headers, ANSWER_LIMIT)
        try:
            body = read_json(answer)
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
            unknown = no_answer(url.partition("/api")[0], error)
            raise Failed(unknown.code, unknown.reason, do=f"aggctl explain {unknown.code}") from error
        finally:
            self._room.leave()
        return response.status, answer

    def _pod_handshake(self, asked: PodHandshake) -> ServedSeen | Unknown:
        show = partial(shown_in_pod, asked, self.credentials, self._timeout)
        return served(show, f"Pod {asked.namespace}/{asked.pod}", asked.authority)

    def _may(self, server: str, spec: dict[str, Any]) -> bool | Unknown:
        """An access review of oneself, or of the user in it: kube-apiserver makes it and keeps it nowhere."""
        group, kind = "authorization.k8s.io/v1", "SubjectAccessReview" if "user" in spec else _OF_ONESELF
        url = f"{server}/apis/{group}/{kind.lower()}s"
        review = {"apiVersion": group, "kind": kind, "spec": spec}
        response, body = self._request("POST", url, json.dumps(review).encode())
        if response.status not in (200, 201):
            return refusal(server, url.removeprefix(server), response.status, body, self.credentials)
        found = read_json(body)
        hold(found, REVIEW)
        return bool((found.get("status") or {}).get("allowed"))

    def _raw(self, asked: RawAt) -> AnswerSeen:
        began = time.monotonic()
        response, body = self._request("GET", asked.server + asked.path, who=asked, most=ANSWER_LIMIT)
        return answer_seen(response.status, body, time.monotonic() - began)

    def _stale(self, server: str) -> tuple[str, ...] | Unknown:
        """Aggregated discovery says of each version whether it could be read; before 1.27 there is none."""
        response, body = self._request("GET", f"{server}/apis", accept=DISCOVERY)
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return refusal(server, "/apis", response.status, body, self.credentials)
        found = read_json(body)
        hold(found, AGGREGATED)
        if found.get("kind") != "APIGroupDiscoveryList":
            return Unknown(f"{server} has no aggregated discovery", "answer-not-understood")
        return tuple(
            f"{each['metadata']['name']}/{one['version']}"
            for each in found.get("items") or []
            for one in each.get("versions") or []
            if one.get("freshness") == "Stale"
        )

    def _metrics(self, server: str, read: Callable[[bytes], Read]) -> Read | Unknown:
        response, body = self._request("GET", f"{server}/metrics", most=METRICS_LIMIT)
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return refusal(server, "/metrics", response.status, body, self.credentials)
        return read(body)

    def _log(self, question: PodLog) -> tuple[str, ...] | Unknown:
        path = (
            f"/api/v1/namespaces/{question.namespace}/pods/{question.pod}/log?container={question.container}"
            f"&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}&previous={str(question.previous).lower()}"
        )
        response, body = self._request("GET", question.server + path, most=LOG_BYTES)
        if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
            return refusal(question.server, path, response.status, body, self.credentials)
        return tuple(clean(line, 500) for line in body.splitlines() if line.strip())

    @contextlib.contextmanager
    def stream(self, url: str, silence: float, *, endless: bool) -> Iterator[BaseHTTPResponse]:
        """The answer to a GET as it comes; `silence` in seconds ends it, else nothing where it is endless."""
        from urllib3 import Timeout  # noqa: PLC0415 -- 80 ms that --help need not pay

        from aggctl.system.pool import open_stream  # noqa: PLC0415 -- as above

        credentials, pool = self._opened()
        headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
        patience = Timeout(connect=self._timeout, read=silence)
        response = open_stream(pool, url, headers, patience, endless=endless)
        try:
            yield response
        finally:
            response.close()

    def _request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        content_type: str = JSON,
        *,
        accept: str = JSON,
        who: RawAt | None = None,
        most: int = 0,
    ) -> tuple[BaseHTTPResponse, bytes]:
        credentials, pool = self._opened()
        headers = named(who, accept)
        if body is not None:
            headers["Content-Type"] = content_type
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        return self._fetch(pool, method, url, body, headers, most or BODY_LIMIT)

    def _fetch(
        self,
        pool: PoolManager,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        most: int,
    ) -> tuple[BaseHTTPResponse, bytes]:
        from aggctl.system.pool import fetch  # noqa: PLC0415 -- it loads urllib3

        response, answer = fetch(
            pool, method, url, body, headers, timeout=self._timeout, most=most, room=self._room
        )
        if len(answer) > most and response.status < 300:  # noqa: PLR2004 -- of a refusal the beginning will do
            raise ValueError(f"the answer is longer than {most // 1024} KiB")
        return response, answer

    def _opened(self) -> tuple[Credentials, PoolManager]:
        from aggctl.system.pool import new_pool  # noqa: PLC0415 -- it loads urllib3

        with self._lock:
            if self._found is None:
                credentials = self._find()
                pool = new_pool(_context(credentials), self._timeout, credentials.server_name)
                self._found = credentials, pool
            return self._found


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
