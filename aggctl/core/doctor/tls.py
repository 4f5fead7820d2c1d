"""TLS as it is really served: a handshake with each endpoint, else what kube-apiservers say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.certs.inventory import SERVING, Held, expires
from aggctl.core.doctor.backend import service_of
from aggctl.core.doctor.layer import SOON
from aggctl.core.doctor.model import host_of
from aggctl.core.doctor.signs import TLS
from aggctl.core.findings import Finding
from aggctl.core.questions import Handshake, PodHandshake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.questions import ServedSeen
    from aggctl.core.snapshot import Snapshot

_ROTATE = (
    "aggctl certs rotate serving {api}     (one that others made: renew it there, then restart the Pods)"
)
_FIXES = {
    "serving-certificate-expired": _ROTATE,
    "serving-certificate-not-yet-valid": (
        "compare the clocks: chronyc tracking on this node and the server's; "
        "then aggctl certs rotate serving {api}"
    ),
    "serving-certificate-wrong-name": _ROTATE,
    "serving-certificate-common-name-only": _ROTATE,
    "serving-certificate-wrong-usage": _ROTATE,
    "serving-certificate-sha1": _ROTATE,
    "serving-certificate-of-another-ca": (
        "aggctl register {api} --service {service}     (or restart the Pods, "
        "where they still serve an older certificate)"
    ),
    "serving-certificate-not-verified": _ROTATE,
    "another-server-answers": "see who listens there: ss -ltnp on that node; give the server a free port",
    "plain-http": "let the server serve TLS on that port, or name its TLS port in the Service",
    "tls-too-old": "upgrade the server: kube-apiserver speaks TLS 1.2 and 1.3",
    "handshake-timeout": "see whether the server is overloaded, and the MTU between the nodes",
    "no-tls-handshake": "see the server's log: aggctl logs {api}",
}
_MESSAGES = {
    "serving-certificate-expired": "{where} serves a certificate that has expired",
    "serving-certificate-not-yet-valid": "{where} serves a certificate that is not valid yet",
    "serving-certificate-wrong-name": "{where} serves a certificate for other names",
    "serving-certificate-common-name-only": "{where} serves a certificate whose name stands in its CN only",
    "serving-certificate-wrong-usage": "{where} serves a certificate that is not for servers",
    "serving-certificate-sha1": "{where} serves a certificate that is signed by SHA-1",
    "serving-certificate-of-another-ca": "{where} serves a certificate that no CA of the caBundle signed",
    "serving-certificate-not-verified": "{where} serves a certificate that does not verify",
    "another-server-answers": (
        "{where} is another server: its certificate is neither for this name nor of this CA"
    ),
    "plain-http": "{where} speaks plain HTTP",
    "tls-too-old": "{where} speaks only TLS older than 1.2",
    "handshake-timeout": "{where} takes the connection and says nothing",
    "no-tls-handshake": "{where} ends the handshake",
}
_SILENCE = (
    ("plain-http", re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG", re.IGNORECASE)),
    ("tls-too-old", re.compile(r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|TOO_LOW|NO_PROTOCOLS", re.IGNORECASE)),
    ("handshake-timeout", re.compile(r"says nothing|timed out", re.IGNORECASE)),
)  # fmt: skip


def of_tls(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place, ways: Ways, pods: Pods | None = None
) -> tuple[str, list[Finding]]:
    """Each endpoint by itself; where none can be asked from here, what kube-apiserver found."""
    asked = handshakes(subject, backend, place, pods)
    snapshot.expect(*asked.values())
    seen = [
        (address, snapshot.served_by(each)) for address, each in asked.items() if not snapshot.unknown(each)
    ]
    findings = [
        _unsure(each) if ways.works else each
        for address, served in seen
        for each in _of_one(subject, place, address, served)
    ]
    if not findings:
        findings = [_by_words(subject, sign.code, sign.words, ways) for sign in ways.signs(TLS)]
    if asked and not seen and not findings:
        snapshot.served_by(next(iter(asked.values())))  # NotKnown, with the reason
    well = len(seen) - len({each.subject for each in findings})
    if subject.insecure:
        return "not verified", findings
    return (f"{well}/{len(asked)} verified" if seen else "as kube-apiserver says"), findings


def _unsure(finding: Finding) -> Finding:
    """What OpenSSL alone objects to, while kube-apiserver takes it, is worth a look and no alarm."""
    sure = finding.code != "serving-certificate-not-verified"
    return finding if sure else replace(finding, severity="warning")


def handshakes(
    subject: Subject, backend: Backend, place: Place, pods: Pods | None = None
) -> dict[str, Handshake | PodHandshake]:
    """How to see what each ready endpoint serves: on a node directly, from elsewhere through its Pod."""
    name, bundle = subject.at.dns, subject.bundle
    if place.dials:
        return {each: Handshake(each, name, bundle) for each in backend.endpoints}
    found: dict[str, Handshake | PodHandshake] = {}
    for each in backend.endpoints:
        if pod := pods.called_at(host_of(each)) if pods else "":
            port = int(each.rpartition(":")[2])
            found[each] = PodHandshake(subject.at.namespace, pod, port, name, bundle, place.server)
    return found


def _of_one(subject: Subject, place: Place, address: str, served: ServedSeen) -> Iterator[Finding]:
    if not served.certificate:
        code = next(
            (code for code, pattern in _SILENCE if pattern.search(served.problem)), "no-tls-handshake"
        )
        yield _finding(code, subject, address, served.problem)
        return
    leaf = pki.read_certificates(served.certificate)[0]
    if subject.insecure:
        return
    if code := _fault(leaf, subject, served.problem, place.now):
        yield _finding(code, subject, address, served.problem, leaf)
    elif leaf.not_after <= place.now + SOON:
        yield expires(Held(SERVING, address, leaf, subject.api.name), place.now)


def _fault(leaf: pki.Certificate, subject: Subject, problem: str, now: datetime) -> str:
    """What is wrong with a certificate; who signed it counts before its name, as it does for Go."""
    named = {subject.at.dns, f"*.{subject.at.dns.partition('.')[2]}"} & set(leaf.sans)
    trusted = _is_trusted(leaf, subject, problem)
    if not trusted and not named:
        return "another-server-answers"
    if now < leaf.not_before:
        return "serving-certificate-not-yet-valid"
    if now > leaf.not_after:
        return "serving-certificate-expired"
    if not trusted:
        return "serving-certificate-of-another-ca"
    if not named:
        return "serving-certificate-wrong-name" if leaf.sans else "serving-certificate-common-name-only"
    if not leaf.server_auth:
        return "serving-certificate-wrong-usage"
    if not problem or not subject.bundle or "key too weak" in problem:
        return ""  # an empty caBundle is said of the APIService; small RSA keys are none of Go's concern
    weak = "digest algorithm too weak" in problem
    return "serving-certificate-sha1" if weak else "serving-certificate-not-verified"


def _is_trusted(leaf: pki.Certificate, subject: Subject, problem: str) -> bool:
    """By the handshake, which knows the whole chain; where that failed otherwise, by the signature."""
    if not problem:
        return True
    try:
        authorities = pki.read_certificates(subject.bundle.encode())
    except pki.PkiError:
        return True  # said of the APIService already
    if any(each.fingerprint == leaf.fingerprint or pki.signed_by(leaf, each) for each in authorities):
        return True
    return not re.search(r"issuer|self.signed", problem, re.IGNORECASE)


def _finding(
    code: str, subject: Subject, address: str, problem: str, leaf: pki.Certificate | None = None
) -> Finding:
    shown = (
        f"{', '.join(leaf.sans[:5]) or f'CN {leaf.common_name}, no name as a SAN'}; issuer {leaf.issuer}; "
        f"valid {leaf.not_before:%Y-%m-%d %H:%M} to {leaf.not_after:%Y-%m-%d %H:%M} UTC"
        if leaf
        else ""
    )
    return Finding(
        code,
        "error",
        f"{address} of {subject.name}",
        _MESSAGES[code].format(where=address),
        _fix(code, subject),
        expected=f"a certificate for {subject.at.dns}, signed by a CA of the caBundle",
        evidence=tuple(each for each in (shown, problem) if each),
    )


def _by_words(subject: Subject, code: str, words: str, ways: Ways) -> Finding:
    return Finding(
        code,
        "error",
        subject.name,
        _MESSAGES[code].format(where="the server"),
        _fix(code, subject),
        expected=f"a certificate for {subject.at.dns}, signed by a CA of the caBundle",
        evidence=tuple(dict.fromkeys((words, *ways.evidence))),
    )


def _fix(code: str, subject: Subject) -> str:
    return _FIXES[code].format(api=subject.api.name, service=service_of(subject))
