"""Which certificate each Service of a registration serves with, and whether a new one is needed."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.checks.extension import ca_bundle_of
from aggctl.core.extension import NO_SECRET, PairPlace
from aggctl.core.findings import Finding
from aggctl.core.register.objects import secret_with
from aggctl.core.resources import Located, path_of, target_of
from aggctl.core.serving import tls_names

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.extension import ServiceAt, Tls
    from aggctl.core.pki import Certificate, KeyPair
    from aggctl.core.questions import PairSeen
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

INJECTORS = (
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
    "service.beta.openshift.io/inject-cabundle",
)
"""Annotations by which somebody else fills caBundle."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A CA's certificate, whose key is thrown away, and the serving pair that it signed."""

    authority: bytes
    pair: KeyPair


@dataclass(frozen=True, slots=True)
class Serving:
    """The certificate of one Service.

    `how`: mint (a new CA and pair), keep (they are there and good), given (caBundle of the user's file),
    injected (somebody else fills caBundle), insecure. `bundle` is the PEM to verify by, where it is known
    now; with mint it holds what is published already, which goes on being trusted.
    """

    service: ServiceAt
    how: str
    place: PairPlace = NO_SECRET
    bundle: str = field(default="", repr=False)
    because: str = ""

    @property
    def writes_secret(self) -> bool:
        """Whether a Secret with a new pair belongs to it."""
        return self.how == "mint" and bool(self.place.secret)

    @property
    def writes_files(self) -> bool:
        """Whether a new pair has to get to a server outside the cluster."""
        return self.how == "mint" and not self.place.secret


def new_pair(service: ServiceAt, now: datetime) -> Minted:
    """A CA for one Service and its pair; the CA's key ends here, nothing else is ever signed by it."""
    authority = pki.new_ca(f"{service.dns} CA", now, algorithm="ECDSA-P256", lifetime=pki.LEAF_LIFETIME)
    names = tls_names(service.name, service.namespace)
    pair = pki.issue(authority, names[0], now, usage="server", sans=names, algorithm="ECDSA-P256")
    return Minted(authority.certificate, pair)


def secret_of(service: ServiceAt, place: PairPlace, minted: Minted) -> Located:
    """The Secret that holds a new pair, under the names that the server reads."""
    pair = minted.pair
    data = {"ca.crt": minted.authority, "tls.crt": pair.certificate, "tls.key": pair.key}
    data |= {place.certificate: pair.certificate, place.key: pair.key}
    secret = secret_with(service, place.secret, {name: encoded(each) for name, each in data.items()})
    return Located(secret, path_of("v1", "secrets", service.namespace, place.secret), target_of(secret))


def default_mode(api_service: Object) -> str:
    """What a user's own APIService asks for where --tls says nothing."""
    annotations = api_service["metadata"].get("annotations") or {}
    if any(each in annotations for each in INJECTORS):
        return "injected"
    return "given" if (api_service.get("spec") or {}).get("caBundle") else "self"


def serving_of(
    snapshot: Snapshot,
    server: str,
    service: ServiceAt,
    tls: Tls,
    *,
    declared: Object,
    live: Object | None,
    place: PairPlace,
    outside: KeyPair | None,
    folder: bool,
    now: datetime,
) -> Serving | Finding:
    """Decide for one Service; `declared` and `live` are one of its APIServices as asked for and as it is.

    `place` is where the server reads its pair; one outside the cluster may have `outside` already, and with
    `folder` can be given another.
    """
    published = ca_bundle_of(live) if live else ""
    mode = tls.mode or default_mode(declared)
    match mode:
        case "insecure":
            return Serving(service, "insecure")
        case "injected" | "cert-manager":
            return Serving(service, "injected", place)
        case "given":
            return Serving(service, "given", bundle=ca_bundle_of(declared))
        case "secret":
            return _by_secret(service, tls.name, snapshot.pair(service.namespace, tls.name, server), now)
    if not place.secret:
        return _outside(service, outside, published, now, folder=folder)
    pair = snapshot.pair(service.namespace, place.secret, server)
    return _self_made(service, place, pair, published, now)


def pair_problem(pair: PairSeen, bundle: str, service: ServiceAt, now: datetime) -> str:
    """What is wrong with a pair for this Service, verified by `bundle`; empty: nothing."""
    if pair.lacks:
        return f"it has no {' and no '.join(pair.lacks)}"
    try:
        chain = pki.read_certificates(pair.certificate)
    except pki.PkiError:
        return "no PEM certificate can be read from its tls.crt"
    try:
        authorities = pki.read_certificates(bundle.encode()) if bundle.strip() else ()
    except pki.PkiError:
        return "no PEM certificate can be read from the CA to verify it by"
    if pair.public_key != chain[0].public_key:
        return "tls.key is not the key of tls.crt"
    return pki.serving_problem(chain, authorities, service.dns, now)


def bundle_of(authorities: list[Certificate]) -> str:
    """PEM of each CA once, in this order."""
    return "".join(dict.fromkeys(each.pem.decode() for each in authorities))


def still_trusted(bundle: str, now: datetime) -> list[Certificate]:
    """The CAs of a bundle that have not expired; none where it cannot be read."""
    try:
        return [each for each in pki.read_certificates(bundle.encode()) if each.not_after > now]
    except pki.PkiError:
        return []


def encoded(content: bytes) -> str:
    """Base64, as Kubernetes carries bytes."""
    return base64.b64encode(content).decode()


def _self_made(
    service: ServiceAt, place: PairPlace, pair: PairSeen | None, published: str, now: datetime
) -> Serving | Finding:
    if pair is None:
        return Serving(service, "mint", place, published, "there is none yet")
    authority = pair.authority.decode("ascii", "replace")
    problem = pair_problem(pair, published or authority, service, now)
    if not problem:
        return Serving(service, "keep", place, published or authority)
    if not pair_problem(pair, authority, service, now):  # somebody dropped its CA from the caBundle
        both = [*still_trusted(published, now), *still_trusted(authority, now)]
        return Serving(service, "keep", place, bundle_of(both))
    if pair.created:
        return Serving(service, "mint", place, published, problem)
    where = f"Secret {service.namespace}/{place.secret}"
    return _not_usable(service, place.secret, f"{where} was not made by aggctl, and {problem}")


def _by_secret(service: ServiceAt, secret: str, pair: PairSeen | None, now: datetime) -> Serving | Finding:
    """The user's own Secret: all of it is verified before it is used."""
    where = f"Secret {service.namespace}/{secret}"
    if pair is None:
        return _not_usable(service, secret, f"{where} does not exist")
    bundle = pair.authority.decode("ascii", "replace") or _top_of(pair.certificate)
    if problem := pair_problem(pair, bundle, service, now):
        return _not_usable(service, secret, f"{where} cannot be used: {problem}")
    return Serving(service, "keep", PairPlace(secret), bundle)


def _top_of(chain: bytes) -> str:
    """The last certificate of a chain, where it is a CA or signed by itself; a Secret may have no ca.crt."""
    try:
        last = pki.read_certificates(chain)[-1]
    except pki.PkiError:
        return ""
    return last.pem.decode() if last.is_ca or last.issuer == last.subject else ""


def _outside(
    service: ServiceAt, pair: KeyPair | None, published: str, now: datetime, *, folder: bool
) -> Serving:
    """A server outside the cluster: its pair lies in --cert-out, if it lies anywhere that we can see."""
    problem = "there is none yet"
    if pair is not None and published:
        chain = pki.read_certificates(pair.certificate)
        problem = pki.serving_problem(chain, tuple(still_trusted(published, now)), service.dns, now)
    if published and (not problem or not folder):
        return Serving(service, "keep", bundle=published)
    return Serving(service, "mint", bundle=published, because=problem)


def _not_usable(service: ServiceAt, secret: str, message: str) -> Finding:
    return Finding(
        code="secret-not-usable",
        severity="error",
        subject=f"Secret {service.namespace}/{secret}",
        message=message,
        expected=f"tls.crt for {service.dns} that is valid now, its tls.key, and its CA in ca.crt",
        fix=f"mend that Secret, or name another one: --tls secret=NAME     (for {service.dns})",
    )
