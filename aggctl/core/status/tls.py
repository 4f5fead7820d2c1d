"""TLS as status shows it: what doctor finds, in the few words of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.doctor.backend import of_api_service
from aggctl.core.doctor.tls import handshakes, of_tls
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.questions import Handshake, PodHandshake
    from aggctl.core.snapshot import Snapshot

VERIFIED, INSECURE = "verified", "insecure"
_OF_BUNDLE = {
    "tls-not-verified": INSECURE,
    "ca-bundle-empty": "no caBundle",
    "ca-bundle-not-readable": "caBundle unreadable",
    "certificate-expired": "CA expired",
}
_OF_SERVER = {
    "serving-certificate-expired": "expired",
    "serving-certificate-not-yet-valid": "not yet valid",
    "serving-certificate-wrong-name": "wrong name",
    "serving-certificate-common-name-only": "CN only",
    "serving-certificate-wrong-usage": "wrong usage",
    "serving-certificate-sha1": "SHA-1",
    "serving-certificate-of-another-ca": "other CA",
    "another-server-answers": "other server",
    "plain-http": "plain HTTP",
    "tls-too-old": "TLS too old",
    "handshake-timeout": "says nothing",
    "no-tls-handshake": "no handshake",
}
"""What doctor's codes are in the few words of a column."""


@dataclass(frozen=True, slots=True)
class TlsSeen:
    """TLS as it is served: `words` for all of it, "" where it cannot be seen from here.

    They hold of `of` endpoints among `asked`; `leaves` is when the certificate of each expires.
    """

    words: str = ""
    of: int = 0
    asked: int = 0
    leaves: tuple[tuple[str, datetime], ...] = ()


def see_tls(
    snapshot: Snapshot,
    place: Place,
    subject: Subject,
    backend: Backend | None,
    ways: Ways,
    pods: Pods | None = None,
) -> TlsSeen:
    """The fault that doctor finds in a few words; what the APIService itself says comes first."""
    of_bundle = [
        _OF_BUNDLE[each.code] for each in of_api_service(subject, place, ways)[1] if each.code in _OF_BUNDLE
    ]
    own = of_bundle[0] if of_bundle else ""
    if backend is None:
        return TlsSeen(own)
    dialled = handshakes(subject, backend, place, pods)
    try:
        faulty = [
            each
            for each in of_tls(snapshot, subject, backend, place, ways, pods)[1]
            if each.severity == "error"
        ]
        leaves = tuple(_leaves(snapshot, dialled))
    except pki.PkiError:
        return TlsSeen(own or "certificate unreadable")
    except NotKnown:  # no endpoint could be asked
        return TlsSeen(own)
    if own and own != INSECURE:
        return TlsSeen(own, leaves=leaves)
    if faulty:
        words, count = _OF_SERVER.get(faulty[0].code, faulty[0].code), len({each.subject for each in faulty})
        return TlsSeen(words, count, len(dialled), leaves)
    verified = VERIFIED if leaves else ""
    return TlsSeen(own or verified, len(leaves), len(dialled), leaves)


def _leaves(
    snapshot: Snapshot, dialled: Mapping[str, Handshake | PodHandshake]
) -> Iterator[tuple[str, datetime]]:
    for address, each in dialled.items():
        if snapshot.unknown(each):
            continue
        served = snapshot.served_by(each)
        if served.certificate:
            yield address, pki.read_certificates(served.certificate)[0].not_after


def ca_until(bundle: str) -> datetime | None:
    """When the last CA of a caBundle expires."""
    try:
        return max(each.not_after for each in pki.read_certificates(bundle.encode()))
    except pki.PkiError:
        return None
