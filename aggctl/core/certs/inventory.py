"""Every certificate of the layer that can be seen from here: on this node, published, really served."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aggctl.core import pki
from aggctl.core.checks.extension import ca_bundle_of, service_of
from aggctl.core.checks.workload import endpoints_of
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.findings import Finding
from aggctl.core.layer_files import see_files
from aggctl.core.node import see_node
from aggctl.core.published import read_published
from aggctl.core.questions import Handshake
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown, side_by_side
from aggctl.core.text import clean
from aggctl.errors import AggctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime, timedelta

    from aggctl.core.extension import ServiceAt
    from aggctl.core.layer_files import LayerFiles
    from aggctl.core.pki import Certificate
    from aggctl.core.snapshot import Snapshot

Seen = TypeVar("Seen")

CONFIG_MAP_NAME = "ConfigMap kube-system/extension-apiserver-authentication"
APIS = "the registered APIs"
"""What was not looked at, where not even their names are known."""

CA, CLIENT, PUBLISHED, BUNDLE, SERVING = (
    "front-proxy-ca",
    "front-proxy-client",
    "published-ca",
    "ca-bundle",
    "serving",
)
EXTERNALLY = "externally"
"""Managed so: the key of the CA is elsewhere, and so is who renews."""


@dataclass(frozen=True, slots=True)
class Held:
    """One certificate: what it is for, where it was seen, and what is to be said of it.

    `issuer` is the fingerprint of the CA that signed it, where that was seen. `managed` says who renews it:
    aggctl, or externally, as the CA's key is not here.
    """

    kind: str
    where: str
    certificate: Certificate
    api: str = ""
    issuer: str = ""
    managed: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was seen, the names that the cluster allows, and what could not be looked at, with the reason."""

    held: tuple[Held, ...]
    names: tuple[str, ...]
    not_checked: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Api:
    """A registered API that a Service answers for; `bundle` is its caBundle as PEM."""

    name: str
    service: ServiceAt
    bundle: str


def take_inventory(snapshot: Snapshot, server: str | AggctlError) -> Inventory:
    """Look at this node, if it is one, and at the cluster behind `server`, as far as each can be seen.

    `server` may be the reason why there is none. That, or NotKnown, where nothing at all can be seen.
    """
    looked = _Looked()
    files = looked.at("this node's certificates", lambda: see_files(snapshot, see_node(snapshot), ""))
    published = looked.at("what the cluster publishes", lambda: read_published(snapshot, _given(server)))
    apis = looked.at(APIS, lambda: _apis(snapshot, _given(server)))
    if files is None and published is None and apis is None:
        raise looked.errors[-1]
    for unreadable in files.unreadable if files else ():
        why = unreadable.message.removeprefix(f"{unreadable.subject}: ")
        looked.failures.append((unreadable.subject, why))
    held = [*(_on_node(files) if files else ()), *(_published(published.authorities) if published else ())]
    for of_one in side_by_side(
        partial(_of_api, snapshot, _given(server), each, looked) for each in apis or ()
    ):
        held += of_one
    names = published.names if published else ()
    return Inventory(tuple(_marked(held)), names, tuple(looked.failures))


def expiring(inventory: Inventory, within: timedelta, now: datetime) -> tuple[Finding, ...]:
    """What has expired, or will within so long."""
    return tuple(expires(each, now) for each in expiring_of(inventory, within, now))


def expiring_of(inventory: Inventory, within: timedelta, now: datetime) -> tuple[Held, ...]:
    """The certificates behind `expiring`."""
    return tuple(each for each in inventory.held if each.certificate.not_after <= now + within)


@dataclass(frozen=True, slots=True)
class _Looked:
    """Parts that were looked at, and why some could not be."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    errors: list[NotKnown | AggctlError] = field(default_factory=list)

    def at(self, what: str, look: Callable[[], Seen]) -> Seen | None:
        """What is there; None, with the reason noted, where it cannot be seen."""
        try:
            return look()
        except NotKnown as unknown:
            self.failures.append((what, unknown.unknown.reason))
            self.errors.append(unknown)
        except AggctlError as error:
            self.failures.append((what, error.message))
            self.errors.append(error)
        except pki.PkiError as error:
            self.failures.append((what, str(error)))
        return None


def _given(server: str | AggctlError) -> str:
    if isinstance(server, AggctlError):
        raise server
    return server


def _on_node(files: LayerFiles) -> Iterator[Held]:
    managed = "aggctl" if files.signs else EXTERNALLY
    for each in files.authorities:
        yield Held(CA, files.ca_at.host, each, managed=managed)
    if files.certificate:
        yield Held(CLIENT, files.certificate_at.host, files.certificate, managed=managed)


def _published(authorities: tuple[Certificate, ...]) -> Iterator[Held]:
    return (Held(PUBLISHED, CONFIG_MAP_NAME, each) for each in authorities)


def _apis(snapshot: Snapshot, server: str) -> tuple[_Api, ...]:
    found = (snapshot.object(API_SERVICES, server) or {}).get("items") or []
    named = [(str(each["metadata"]["name"]), service_of(each), ca_bundle_of(each)) for each in found]
    return tuple(_Api(name, at, bundle) for name, at, bundle in named if at)


def _of_api(snapshot: Snapshot, server: str, api: _Api, looked: _Looked) -> tuple[Held, ...]:
    """The caBundle of one API, and what each ready endpoint of its Service serves."""
    addresses = looked.at(f"what serves {api.name}", partial(_endpoints, snapshot, server, api, looked)) or ()
    snapshot.expect(*(Handshake(address, api.service.dns, api.bundle) for address in addresses))
    looks = [
        (f"the caBundle of {api.name}", partial(_bundle, api)),
        *((f"{each} of {api.name}", partial(_served, snapshot, api, each, looked)) for each in addresses),
    ]
    return tuple(held for what, look in looks for held in looked.at(what, look) or ())


def _bundle(api: _Api) -> tuple[Held, ...]:
    authorities = pki.read_certificates(api.bundle.encode()) if api.bundle else ()
    return tuple(Held(BUNDLE, f"APIService {api.name}", each, api.name) for each in authorities)


def _endpoints(snapshot: Snapshot, server: str, api: _Api, looked: _Looked) -> tuple[str, ...]:
    """HOST:PORT of each ready endpoint; why there is none is noted."""
    at = api.service
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server)
    addresses = endpoints_of(snapshot, service, at.port, server) if service else ()
    if not addresses:
        why = f"Service {at.namespace}/{at.name} {'has no ready endpoint' if service else 'is not there'}"
        looked.failures.append((f"what serves {api.name}", why))
    return addresses


def _served(snapshot: Snapshot, api: _Api, address: str, looked: _Looked) -> tuple[Held, ...]:
    seen = snapshot.served(address, api.service.dns, api.bundle)
    if not seen.certificate:
        looked.failures.append((f"{address} of {api.name}", seen.problem))
        return ()
    certificate = pki.read_certificates(seen.certificate)[0]
    return (Held(SERVING, address, certificate, api.name, note=seen.problem),)


def _marked(held: list[Held]) -> Iterator[Held]:
    """Each with the CA that signed it, where that was seen; published CAs that this node lacks are marked."""
    found = {each.certificate.fingerprint: each.certificate for each in held if each.certificate.is_ca}
    authorities: dict[str, list[Certificate]] = {}
    for authority in found.values():
        authorities.setdefault(authority.subject, []).append(authority)
    on_node = {each.certificate.fingerprint for each in held if each.kind == CA}
    for each in held:
        called = authorities.get(each.certificate.issuer, [])
        itself_first = sorted(called, key=lambda one: one.fingerprint != each.certificate.fingerprint)
        signers = (one.fingerprint for one in itself_first if pki.signed_by(each.certificate, one))
        stale = each.kind == PUBLISHED and on_node and each.certificate.fingerprint not in on_node
        yield replace(each, issuer=next(signers, ""), note="not on this node" if stale else each.note)


def expires(held: Held, now: datetime) -> Finding:
    """When it expires, as a finding."""
    until, called = held.certificate.not_after, held.certificate.common_name or held.certificate.subject
    gone = until < now
    when = f"expired on {until:%Y-%m-%d}" if gone else f"expires on {until:%Y-%m-%d} ({(until - now).days} d)"
    return Finding(
        code="certificate-expired" if gone else "certificate-expires-soon",
        severity="error" if gone else "warning",
        subject=clean(f"{held.kind} at {held.where}"),
        message=f"{clean(called, 60)}: {when}",
        fix=_ELSEWHERE if held.managed == EXTERNALLY else _RENEWED_BY[held.kind],
    )


_ELSEWHERE = "aggctl explain front-proxy-ca-key-missing"
_RENEWED_BY = {
    CA: "aggctl certs rotate ca",
    PUBLISHED: "aggctl certs rotate ca",
    CLIENT: "aggctl certs rotate client",
    BUNDLE: "aggctl certs rotate serving",
    SERVING: "aggctl certs rotate serving",
}
