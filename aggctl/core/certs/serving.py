"""Renew serving certificates: both CAs in the caBundle, then the new pair, then the new CA alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.apiservers import roster
from aggctl.core.checks.extension import API_SERVICES as GROUP_VERSION
from aggctl.core.checks.extension import api_of, api_service_path, ca_bundle_of, condition_of, service_of
from aggctl.core.checks.workload import endpoints_of, endpoints_ready, pods_path
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.extension import NO_SECRET, PairPlace
from aggctl.core.fields import CREATED, MANAGER, created_stamp, owned_fields, project
from aggctl.core.findings import Finding
from aggctl.core.plan import Condition, Gate, Plan, Step
from aggctl.core.questions import AggregatorQueue, Handshake
from aggctl.core.register.certificates import INJECTORS, bundle_of, encoded, still_trusted
from aggctl.core.register.plan import Rehearsed, change_of
from aggctl.core.register.preconditions import layer_findings
from aggctl.core.register.sight import place_of_running
from aggctl.core.resources import Located, path_of
from aggctl.core.snapshot import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aggctl.core.apiservers import Roster
    from aggctl.core.extension import ServiceAt
    from aggctl.core.questions import QueueSeen
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]
COMMAND = "certs rotate serving"
_INSECURE = "it is not verified (insecureSkipTLSVerify)"


@dataclass(frozen=True, slots=True)
class Served:
    """A Service whose certificate can be renewed: its APIServices, and where its server reads its pair.

    `pods` is where its Pods are listed, empty for a server outside the cluster. All APIServices of a Service
    are renewed together, by whichever of its ports: it serves one certificate.
    """

    service: ServiceAt
    apis: tuple[Object, ...] = field(repr=False)
    place: PairPlace
    pods: str


def see_serving(
    snapshot: Snapshot, server: str, names: tuple[str, ...]
) -> tuple[tuple[Served, ...], tuple[Finding, ...]]:
    """What is to be renewed of the named APIs, or of all; errors stand in the way, infos are left alone.

    NotKnown where something cannot be seen by which each step is proven.
    """
    found = (snapshot.object(API_SERVICES, server) or {}).get("items") or []
    kind = {"apiVersion": GROUP_VERSION, "kind": "APIService"}  # which the items of a list do not name
    every = {name_of(each): (at, kind | each) for each in found if (at := service_of(each))}
    chosen = {name: at.dns for name, (at, _) in every.items() if not names or name in names}
    services = [
        [(at, api) for at, api in every.values() if at.dns == dns] for dns in dict.fromkeys(chosen.values())
    ]
    seen = side_by_side(partial(_see_one, snapshot, server, apis, set(chosen)) for apis in services)
    served = tuple(one for one, _ in seen if one)
    if served:
        _can_be_counted(snapshot, server)
    findings = (
        *layer_findings(snapshot, server),
        *(_not_registered(each) for each in names if each not in every),
        *(found for _, of_one in seen for found in of_one),
    )
    return served, findings


def with_bundle(live: Object, bundle: str) -> Located:
    """The APIService as aggctl applied it, with another caBundle."""
    ours = project(live, owned_fields(live))
    name = str(live["metadata"]["name"])
    config = {
        "apiVersion": GROUP_VERSION,
        "kind": "APIService",
        "metadata": {**ours.get("metadata", {}), "name": name},
        "spec": {**ours.get("spec", {}), "caBundle": encoded(bundle.encode())},
    }
    return Located(config, api_service_path(name), f"APIService {name}")


def both(live: Object, authority: bytes, now: datetime) -> str:
    """The new CA, and everything that is trusted now."""
    return bundle_of([*still_trusted(authority.decode(), now), *still_trusted(ca_bundle_of(live), now)])


def renewed_since(before: Served, now: Served) -> bool:
    """Whether somebody renewed it: all that it is verified by now is younger than the oldest CA was.

    The youngest would not tell a renewal that ended from one that was under way then, and was put back.
    """
    old, new = _begun(before), _begun(now)
    return bool(old and new) and min(new) > min(old)


def as_it_is(wanted: Located, live: Object | None) -> Located:
    """With the mark of what aggctl created, where it has that: left out it would be taken away."""
    if live is None or not created_stamp(live):
        return wanted
    mark = {CREATED: live["metadata"]["annotations"][CREATED]}
    metadata = wanted.object["metadata"] | {"annotations": mark}
    return Located(wanted.object | {"metadata": metadata}, wanted.path, wanted.target)


def plan_of(rehearsed: tuple[Rehearsed, ...], server: str, title: str, gate: Gate | None) -> Plan:
    """Apply what was rehearsed, then wait for the gate."""
    steps: list[Step] = []
    blobs: dict[str, bytes] = {}
    for each in rehearsed:
        change, contents = change_of(server, MANAGER, each)
        steps.append(Step(each.located.target, change))
        blobs |= contents
    steps[-1] = Step(steps[-1].title, steps[-1].change, gate=gate)
    return Plan(COMMAND, title, tuple(steps), blobs, lasting=True)


def name_of(api_service: Object) -> str:
    """Its name."""
    return str(api_service["metadata"]["name"])


def in_words(served: Served) -> str:
    """What is renewed, in a line."""
    names = ", ".join(name_of(each) for each in served.apis)
    return f"{served.service.dns} gets a new CA and certificate; {names} trust both until it is served"


def trusts_both(served: Served, queues: Mapping[str, QueueSeen], deadline: float) -> Gate:
    """Each kube-apiserver has read the APIServices again, and still finds those available that were."""
    well = [each for each in served.apis if condition_of(each).get("status") == "True"]
    conditions = (*_read_again(served, queues), *_available(well, queues))
    return Gate(conditions, deadline, waits_for="every kube-apiserver to trust both")


def serves_new(served: Served, fingerprint: str, server: str, deadline: float) -> Gate:
    """Each endpoint shows the new certificate."""
    return _endpoints(
        "serves-certificate", served, fingerprint, server, deadline, "serve the new certificate"
    )


def serves_old(served: Served, fingerprint: str, server: str, deadline: float) -> Gate:
    """No endpoint shows the new certificate any more: now its CA can go."""
    return _endpoints(
        "serves-other-certificate", served, fingerprint, server, deadline, "serve the old certificate again"
    )


def proven(
    served: Served, known: Roster, queues: Mapping[str, QueueSeen], server: str, deadline: float
) -> Gate:
    """Every kube-apiserver answers with the new CA alone."""
    apis = [api_of(each) for each in served.apis]
    conditions = [
        *_read_again(served, queues),
        *_available(served.apis, queues),
        *(_condition("serving-certificate-verified", name=api.name, server=server) for api in apis),
        *(
            _condition("api-answers", group=api.group, version=api.version, server=each)
            for each in known.servers
            for api in apis
        ),
    ]
    return Gate(tuple(conditions), deadline, waits_for="every kube-apiserver to answer")


def _begun(served: Served) -> list[datetime]:
    """When each CA of its bundles became valid; none where a bundle cannot be read."""
    try:
        bundles = [pki.read_certificates(ca_bundle_of(each).encode()) for each in served.apis]
    except pki.PkiError:
        return []
    return [each.not_before for bundle in bundles for each in bundle]


def _endpoints(check: str, served: Served, fingerprint: str, server: str, deadline: float, what: str) -> Gate:
    names = [name_of(each) for each in served.apis]
    conditions = (_condition(check, name=name, fingerprint=fingerprint, server=server) for name in names)
    return Gate(tuple(conditions), deadline, waits_for=f"every endpoint to {what}", server=server)


def _read_again(served: Served, queues: Mapping[str, QueueSeen]) -> list[Condition]:
    apis = len(served.apis)
    return [
        _condition("api-services-read-again", server=server, adds=queue.adds, apis=apis)
        for server, queue in queues.items()
    ]


def _available(apis: Sequence[Object], servers: Iterable[str]) -> list[Condition]:
    return [
        _condition("api-available-here", name=name_of(each), server=server)
        for server in servers
        for each in apis
    ]


def _served(snapshot: Snapshot, server: str, apis: list[tuple[ServiceAt, Object]]) -> Served | str:
    """One Service with its APIServices, or why it is left alone."""
    if why := next(filter(None, (_left_alone(api) for _, api in apis)), ""):
        return why
    at = apis[0][0]
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server) or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    place, pods = NO_SECRET, pods_path(at.namespace, selector) if selector else ""
    if selector:
        found = place_of_running(snapshot, server, at)
        if isinstance(found, str):
            return f"nobody knows where its server reads its certificate: {found}"
        pair = snapshot.pair(at.namespace, found.secret, server)
        if pair is None or not pair.created:
            return f"Secret {at.namespace}/{found.secret} was not made by aggctl"
        place = found
    return Served(at, tuple(api for _, api in apis), place, pods)


def _see_one(
    snapshot: Snapshot, server: str, apis: list[tuple[ServiceAt, Object]], chosen: set[str]
) -> tuple[Served | None, list[Finding]]:
    """One Service, if its certificate is ours to renew; what is to be said of it."""
    verified = [(at, api) for at, api in apis if not _is_insecure(api)]
    one = _served(snapshot, server, verified) if verified else ""
    served = one if isinstance(one, Served) else None
    said = [(name_of(api), "" if isinstance(one, Served) else one) for _, api in verified]
    said += [(name_of(api), _INSECURE) for _, api in apis if _is_insecure(api)]
    notes = [_note(name, why) for name, why in said if why and name in chosen]
    if served:
        notes += (*_not_ready(snapshot, server, served), *_silent(snapshot, server, served))
    return served, notes


def _not_ready(snapshot: Snapshot, server: str, served: Served) -> Iterator[Finding]:
    at = served.service
    found = endpoints_ready(snapshot, namespace=at.namespace, service=at.name, port=at.port, server=server)
    if isinstance(found, Finding):
        yield found


def _silent(snapshot: Snapshot, server: str, served: Served) -> Iterator[Finding]:
    """Endpoints that show no certificate, so that nobody can tell when they show the new one.

    NotKnown where one cannot be dialled from here.
    """
    at = served.service
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server)
    addresses = endpoints_of(snapshot, service, at.port, server) if service else ()
    snapshot.expect(*(Handshake(address, at.dns, "") for address in addresses))
    for address in addresses:
        seen = snapshot.served(address, at.dns, "")
        if not seen.certificate:
            yield _shows_none(f"{address} of {at.dns}", seen.problem)


def _can_be_counted(snapshot: Snapshot, server: str) -> None:
    """NotKnown where a kube-apiserver's counters cannot be read."""
    known = roster(snapshot, server).servers
    snapshot.expect(*(AggregatorQueue(each) for each in known))
    for each in known:
        snapshot.queue(each)


def _left_alone(api_service: Object) -> str:
    """Why an API's certificate is not ours to renew; empty where it is."""
    annotations = api_service["metadata"].get("annotations") or {}
    if injector := next((each for each in INJECTORS if each in annotations), ""):
        return f"{'cert-manager' if injector.startswith('cert-manager.io/') else 'the cluster'} renews it"
    if "f:caBundle" not in owned_fields(api_service).get("f:spec", {}):
        return "somebody else fills its caBundle"
    return ""


def _is_insecure(api_service: Object) -> bool:
    return bool(api_service["spec"].get("insecureSkipTLSVerify"))


def _not_registered(name: str) -> Finding:
    return Finding(
        "api-not-registered",
        "error",
        f"APIService {name}",
        "no extension server is registered for it",
        "see: kubectl get apiservices",
    )


def _shows_none(subject: str, problem: str) -> Finding:
    return Finding(
        "endpoint-shows-no-certificate",
        "error",
        subject,
        f"it shows no certificate ({problem})",
        "mend the server first: see its log, and whether its port is the one of the Service",
    )


def _note(name: str, said: str) -> Finding:
    return Finding("serving-certificate-left-alone", "info", f"APIService {name}", said, "")


def _condition(check: str, **arguments: str | float) -> Condition:
    return Condition(check, tuple(arguments.items()))
