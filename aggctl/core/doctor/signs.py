"""What kube-apiservers and extension servers say of themselves, and what it means.

The words are those of Go's net, crypto/tls and crypto/x509, of kube-aggregator's availability check
(pkg/controllers/status) and of the generic API server, as of Kubernetes 1.20 to 1.37. The check verifies TLS
from 1.36 on; before, x509 words come from requests only ("error trying to reach service: …").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REACH, TLS, IDENTITY, DISCOVERY, ENDPOINTS, SERVICE = (
    "reach",
    "TLS",
    "identity",
    "discovery",
    "endpoints",
    "Service",
)


@dataclass(frozen=True, slots=True)
class Sign:
    """What words stand for: the hop that they come from, the code of the cause, and the words themselves.

    `status` is the HTTP status that they tell of, 0 for none; `address` is HOST:PORT where they name one.
    """

    hop: str
    code: str
    words: str
    status: int = 0
    address: str = ""


_SIGNS = tuple(
    (hop, code, re.compile(pattern, re.IGNORECASE))
    for hop, code, pattern in (
        (  # what the server says of its own requests to kube-apiserver, in the words of any other connection
            DISCOVERY,
            "server-fails",
            (
                r'Post "?https://\S+/(?:subjectaccessreviews|tokenreviews)\S*: '
                r"(?:dial|read|net/http|http2|context|EOF|unexpected)"
            ),
        ),
        (REACH, "proxy-environment", r"proxyconnect|Gateway Time-?out|Proxy Authentication Required"),
        (  # net/http gives a proxy's answer to CONNECT by its words alone
            REACH,
            "proxy-environment",
            (
                r'(?:Get "?https://[^ "]+"?|trying to reach service): '
                r"(?:Forbidden|Bad Gateway|Bad Request|Method Not Allowed|Not Found|Service Unavailable)$"
            ),
        ),
        (
            REACH,
            "egress-tunnel-broken",
            r"No agent available|proxy error from \S+ while dialing",
        ),
        (SERVICE, "externalname-with-routing", r"unsupported service type"),
        (SERVICE, "service-headless", r'cannot route to service with ClusterIP "None"'),
        (SERVICE, "service-port-missing", r"no service port \d+ found|is not listening on port"),
        (ENDPOINTS, "no-ready-endpoint", r"no endpoints available for service|cannot find endpoint"),
        (ENDPOINTS, "service-port-name-mismatch", r"have no addresses with port name"),
        (REACH, "connection-refused", r"connection refused"),
        (REACH, "no-route", r"network is unreachable|no route to host|host is unreachable"),
        (REACH, "connection-failed", r"operation not permitted|permission denied|assign requested address"),
        (
            REACH,
            "name-not-resolved",
            (
                r"no such host|server misbehaving|failure in name resolution|service not "
                r"known|No address associated"
            ),
        ),
        (REACH, "connection-lost", r"http2: client connection (lost|force closed)|GOAWAY"),
        (
            TLS,
            "plain-http",
            (
                r"server gave HTTP response to HTTPS client|first record does not look "
                r"like|tls: oversized record"
            ),
        ),
        (TLS, "tls-too-old", r"protocol version not supported|unsupported protocol|no supported versions"),
        (TLS, "serving-certificate-sha1", r"insecure algorithm (SHA1|MD5)|SHA1-RSA"),
        (TLS, "serving-certificate-not-yet-valid", r"not yet valid: current time \S+ is before"),
        (TLS, "serving-certificate-expired", r"certificate has expired"),
        (TLS, "serving-certificate-common-name-only", r"legacy Common Name field|not valid for any names"),
        (TLS, "serving-certificate-wrong-name", r"certificate is valid for |contain any IP SANs"),
        (TLS, "serving-certificate-wrong-usage", r"certificate specifies an incompatible key usage"),
        (TLS, "serving-certificate-of-another-ca", r"signed by unknown authority|not trusted"),
        (TLS, "serving-certificate-not-verified", r"x509: "),
        (TLS, "handshake-timeout", r"TLS handshake timeout"),
        (
            IDENTITY,
            "identity-refused",
            r"tls: (?:[a-z]+ certificate\b|certificate required|access denied|error decrypting message)",
        ),
        (TLS, "no-tls-handshake", r"remote error: tls: "),
        (REACH, "connection-reset", r"connection reset by peer|broken pipe|(?:^|[: ])(unexpected )?EOF$"),
        (
            REACH,
            "endpoint-timeout",
            (
                r"context deadline exceeded|Client\.Timeout|i/o timeout|timed out|request "
                r"canceled|deadline exceeded"
            ),
        ),
    )
)
_STATUS = re.compile(r"bad status from \S+: (?P<status>\d{3})")
_ADDRESS = re.compile(r"(?:dial tcp |https://)(?P<address>\[[0-9a-fA-F:]+\]:\d+|[\w.-]+:\d+)")

IDENTITY_STATUSES = frozenset({401, 403})


def read_sign(words: str) -> Sign | None:
    """What the words stand for; None where they are nothing known."""
    if status := _STATUS.search(words):
        return sign_of_status(int(status["status"]), words)
    for hop, code, pattern in _SIGNS:
        if pattern.search(words):
            return Sign(hop, code, words, address=address_in(words))
    return None


def sign_of_status(status: int, words: str) -> Sign:
    """What an HTTP status of an extension server stands for."""
    if status in IDENTITY_STATUSES:
        return Sign(IDENTITY, _of_refusal(status, words), words, status, address_in(words))
    codes = {404: "version-not-served", 429: "server-throttles"}
    return Sign(DISCOVERY, codes.get(status, "server-fails"), words, status, address_in(words))


def _of_refusal(status: int, words: str) -> str:
    """401 is a refusal; with 403 the name in it tells whom the server took kube-apiserver for."""
    if "system:anonymous" in words:
        return "identity-not-taken"
    if status == 403 and re.search(r'User "(?!system:kube-aggregator|aggctl-probe)[^"]+"', words):  # noqa: PLR2004 -- HTTP's own number
        return "taken-for-ordinary-client"
    return "identity-refused"


def address_in(words: str) -> str:
    """The first HOST:PORT that the words name; for `dial tcp A: …` the one that was dialled."""
    dialled = [match["address"] for match in _ADDRESS.finditer(words)]
    return dialled[-1] if dialled else ""


_LOG_SIGNS = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        (
            "auth-reader-missing",
            r'configmaps? "?extension-apiserver-authentication"? is forbidden',
        ),
        (
            "auth-reader-missing",
            r"configmap-based request-header.*forbidden",
        ),
        ("layer-off", r"doesn't provide requestheader-client-ca-file(?!.*won't work)"),
        ("layer-off", r"missing content for CA bundle .*requestheader"),
        ("client-ca-not-published", r"doesn't provide client-ca-file(?!.*won't work)"),
        ("auth-delegator-missing", r"(tokenreviews|subjectaccessreviews)\S* is forbidden"),
        (
            "flow-schema-version-gone",
            r"failed to list \*v1\w*\.(FlowSchema|PriorityLevelConfiguration): .*could not find",
        ),
        ("kubelet-certificate-not-verified", r"cannot validate certificate for .* contain any IP SANs"),
        ("kubelet-certificate-not-verified", r"unable to fully scrape metrics.*x509"),
        ("privileged-port", r"(listen|bind).*:\d{1,3}: bind: permission denied"),
        ("backing-store-down", r"etcd failed|failed to (dial|connect).*:2379|etcdserver: request timed out"),
        ("informers-not-synced", r"\[-\]informer-sync|failed to list \*?\S+: .*is forbidden"),
        ("port-taken", r"bind: address already in use"),
    )
)  # fmt: skip


def read_log(lines: Iterable[str]) -> tuple[str, str] | None:
    """The code that a server's last lines lead to, and the line; the newest that says something counts."""
    for line in reversed(tuple(lines)):
        for code, pattern in _LOG_SIGNS:
            if pattern.search(line):
                return code, line
    return None
