"""Look at the layer and at aggregated APIs in few rounds, by the same eyes as doctor's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.checks.extension import api_of, condition_of, service_of
from aggctl.core.checks.workload import slices_path
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.doctor.backend import backend_of
from aggctl.core.doctor.model import subject_of
from aggctl.core.doctor.place import see_place
from aggctl.core.doctor.pods import see_pods as pods_behind
from aggctl.core.doctor.tls import handshakes
from aggctl.core.doctor.ways import ALL_OF_IT, see_ways
from aggctl.core.extension import parse_api
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import ObjectAt, RawAt, ReadyAt, UnavailableApis
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown, side_by_side
from aggctl.core.status.layer import NOT_KNOWN, LayerSeen, label_of, see_layer, see_pods
from aggctl.core.status.tls import TlsSeen, ca_until, see_tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.extension import ServiceAt
    from aggctl.core.questions import Question, Unknown
    from aggctl.core.snapshot import Snapshot
    from aggctl.errors import AggctlError

Object = dict[str, Any]

SERVICES = path_of("v1", "services", "")
SLICES = path_of("discovery.k8s.io/v1", "endpointslices", "")
SERVICE_LABEL = "kubernetes.io/service-name"
MANY = 10
"""Behind more Services than these, one list of all costs less than a GET of each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One API; what could not be seen of it is None, and `unseen` says why."""

    name: str
    live: Object | None = field(repr=False)
    at: ServiceAt | None
    ways: Ways
    since: datetime | None = None
    backend: Backend | None = None
    endpoints: int | None = None
    tls: TlsSeen = field(default_factory=TlsSeen)
    ca_until: datetime | None = None
    listed: bool = True
    unseen: str = ""
    not_dialled: tuple[str, ...] = ()

    @property
    def answer(self) -> float | None:
        """Seconds of the slowest answer through the aggregator; None where none came."""
        good = [each.answer for each in self.ways.every if each.answer and each.answer.status == ALL_OF_IT]
        return max((each.seconds for each in good), default=None)


@dataclass(frozen=True, slots=True)
class Status:
    """What was seen, the name of each kube-apiserver, and what could not be looked at, with the reason.

    `listed` says whether the APIServices were seen, `why_nothing` why nothing of the cluster was.
    """

    place: Place
    layer: LayerSeen
    rows: tuple[Row, ...]
    labels: tuple[tuple[str, str], ...]
    not_checked: tuple[str, ...]
    listed: bool = True
    why_nothing: Unknown | AggctlError | None = None


def see_status(
    snapshot: Snapshot, server: str | AggctlError, names: tuple[str, ...], now: datetime
) -> Status:
    """Look at the layer and at the named APIs, or at all that a Service answers for.

    `server` may be the reason why there is none: then it is this node's files that tell.
    """
    place = see_place(snapshot, server, now)
    if not place.servers:
        why = snapshot.unknown(ReadyAt(place.server)) if isinstance(server, str) else server
        return Status(place, see_layer(snapshot, place, ()), (), (), (), listed=False, why_nothing=why)
    snapshot.expect(
        *(ObjectAt(path, place.server) for path in (API_SERVICES, APISERVER_PODS, CONFIG_MAP)),
        *(UnavailableApis(each) for each in place.servers),
    )
    pods = see_pods(snapshot, place)
    place = replace(place, servers=tuple(sorted(place.servers, key=lambda each: label_of(each, place, pods))))
    layer = see_layer(snapshot, place, pods)
    unlisted = snapshot.unknown(ObjectAt(API_SERVICES, place.server))
    rows = _unlisted(snapshot, place, names) if unlisted else _rows(snapshot, place, names)
    labels = tuple((each, label_of(each, place, pods)) for each in place.servers)
    not_checked = tuple(dict.fromkeys(_unseen(snapshot, place, layer, rows, unlisted)))
    nothing = None if rows or layer.state != NOT_KNOWN else unlisted
    return Status(place, layer, rows, labels, not_checked, listed=not unlisted, why_nothing=nothing)


def _items(snapshot: Snapshot, path: str, place: Place) -> list[Object]:
    return (snapshot.object(path, place.server) or {}).get("items") or []


# --- APIs --------------------------------------------------------------------------------------------------


def _rows(snapshot: Snapshot, place: Place, names: tuple[str, ...]) -> tuple[Row, ...]:
    found = {str(each["metadata"]["name"]): each for each in _items(snapshot, API_SERVICES, place)}
    chosen = names or tuple(name for name, each in found.items() if service_of(each))
    services = {at for name in chosen if (at := service_of(found.get(name) or {}))}
    seen = _from_lists(snapshot, place, services) if len(services) > MANY else snapshot
    return tuple(side_by_side(partial(_row, seen, place, name, found.get(name)) for name in sorted(chosen)))


def _unlisted(snapshot: Snapshot, place: Place, names: tuple[str, ...]) -> tuple[Row, ...]:
    """APIs whose APIServices the caller may not read: what they answer to the caller is left."""
    looks = [partial(see_ways, snapshot, place, parse_api(name), None) for name in sorted(names)]
    ways = side_by_side(looks)
    return tuple(
        Row(name, None, None, each, listed=False) for name, each in zip(sorted(names), ways, strict=True)
    )


def _from_lists(snapshot: Snapshot, place: Place, services: set[ServiceAt]) -> Snapshot:
    """The snapshot with an answer for each Service, from a list of all; as it was where that is refused."""
    lists = [ObjectAt(path, place.server) for path in (SERVICES, SLICES)]
    snapshot.expect(*lists)
    if any(snapshot.unknown(each) for each in lists):
        return snapshot
    found = {_key(each, "name"): each for each in _items(snapshot, SERVICES, place)}
    slices: dict[tuple[str, str], list[Object]] = {}
    for each in _items(snapshot, SLICES, place):
        slices.setdefault(_key(each, "service"), []).append(each)
    answers: dict[Question, Object | None] = {}
    for at in services:
        service, of_slices = _questions(at, place.server)
        answers[service] = found.get((at.namespace, at.name))
        answers[of_slices] = {"items": slices.get((at.namespace, at.name), [])}
    return snapshot.with_answers(answers)


def _key(item: Object, by: str) -> tuple[str, str]:
    metadata = item["metadata"]
    labels = metadata.get("labels") or {}
    name = metadata.get("name") if by == "name" else labels.get(SERVICE_LABEL)
    return str(metadata.get("namespace")), str(name)


def _questions(at: ServiceAt, server: str) -> tuple[ObjectAt, ObjectAt]:
    """A Service and its EndpointSlices."""
    of_slices = slices_path({"metadata": {"namespace": at.namespace, "name": at.name}})
    service = path_of("v1", "services", at.namespace, at.name)
    return ObjectAt(service, server), ObjectAt(str(of_slices), server)


def _row(snapshot: Snapshot, place: Place, name: str, live: Object | None) -> Row:
    api = parse_api(name) if live is None else api_of(live)
    at = service_of(live) if live else None
    if live is None or at is None:
        return Row(name, live, at, see_ways(snapshot, place, api, live), _since(live))
    subject = subject_of(live, at)
    backend, endpoints, unseen = _backend(snapshot, place, subject)
    pods = _pods(snapshot, place, subject, backend)
    dialled = list(handshakes(subject, backend, place, pods).values()) if backend else []
    snapshot.expect(*dialled, *(RawAt(api.path, each) for each in place.servers))
    ways = see_ways(snapshot, place, api, live)
    return Row(
        name,
        live,
        at,
        ways,
        since=_since(live),
        backend=backend,
        endpoints=endpoints,
        tls=see_tls(snapshot, place, subject, backend, ways, pods),
        ca_until=ca_until(subject.bundle),
        unseen=unseen,
        not_dialled=tuple(why.reason for each in dialled if (why := snapshot.unknown(each))),
    )


def _pods(snapshot: Snapshot, place: Place, subject: Subject, backend: Backend | None) -> Pods | None:
    """From elsewhere than a node: the Pods through which TLS can be seen, where these may be."""
    if place.node or backend is None or backend.outside:
        return None
    try:
        return pods_behind(snapshot, subject, backend, place)
    except NotKnown:
        return None


def _since(live: Object | None) -> datetime | None:
    """When Available became what it is."""
    try:
        since = datetime.fromisoformat(str(condition_of(live or {}).get("lastTransitionTime")))
    except ValueError:
        return None
    return since if since.tzinfo else since.replace(tzinfo=UTC)


def _backend(snapshot: Snapshot, place: Place, subject: Subject) -> tuple[Backend | None, int | None, str]:
    """What stands behind it, how many endpoints there are in all, and why that cannot be seen.

    An ExternalName has endpoints that nobody counts.
    """
    service_at, slices_at = _questions(subject.at, place.server)
    snapshot.expect(service_at, slices_at)
    try:
        service = snapshot.object(service_at.path, place.server)
        if service is None:
            return None, None, ""
        backend = backend_of(snapshot, subject, place, service)
        if slices_path(service) is None:
            return backend, None, ""
        slices = _items(snapshot, slices_at.path, place)
    except NotKnown as unknown:
        return None, None, unknown.unknown.reason
    return backend, sum(len(each.get("endpoints") or []) for each in slices), ""


# --- what could not be seen --------------------------------------------------------------------------------


def _unseen(
    snapshot: Snapshot, place: Place, layer: LayerSeen, rows: tuple[Row, ...], unlisted: Unknown | None
) -> Iterator[str]:
    """What could not be looked at, with the reason; many of a kind are one line."""
    if unlisted:
        yield f"APIServices: {unlisted.reason}"
    if layer.state == NOT_KNOWN and (unknown := snapshot.unknown(ObjectAt(CONFIG_MAP, place.server))):
        yield f"the layer: {unknown.reason}"
    yield from (f"{server}: {why}" for server, why in place.silent)
    gauges = [UnavailableApis(each) for each in place.servers] if rows else []
    yield from (f"/metrics: {unknown.reason}" for each in gauges if (unknown := snapshot.unknown(each)))
    yield from _one_line("endpoints of {} APIs", "endpoints", [each.unseen for each in rows if each.unseen])
    yield from _one_line("TLS of {} endpoints", "TLS", [each for row in rows for each in row.not_dialled])
    if place.why_no_node:
        where = "" if place.problems else " (run on a control-plane node as root)"
        yield f"{place.why_no_node}{where}"


def _one_line(several: str, one: str, reasons: list[str]) -> Iterator[str]:
    if reasons:
        yield f"{one if len(reasons) == 1 else several.format(len(reasons))}: {reasons[0]}"
