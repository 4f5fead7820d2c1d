"""Examine every API: walk its hops, and stop where nothing more can be said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.extension import api_of, service_of
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.doctor.backend import Backend, of_api_service, of_endpoints, of_service
from aggctl.core.doctor.discovery import of_discovery, of_rights
from aggctl.core.doctor.effects import effects_of
from aggctl.core.doctor.identity import of_access, of_identity
from aggctl.core.doctor.layer import layer_hops
from aggctl.core.doctor.model import (
    BROKEN,
    NOT_CHECKED,
    OK,
    SKIPPED,
    Exam,
    Hop,
    hop,
    skipped,
    state_of,
    subject_of,
)
from aggctl.core.doctor.place import see_place
from aggctl.core.doctor.pods import of_pods, see_pods
from aggctl.core.doctor.reach import of_reach
from aggctl.core.doctor.signs import read_log
from aggctl.core.doctor.tls import of_tls
from aggctl.core.doctor.ways import ALL_OF_IT, see_ways
from aggctl.core.extension import Api, parse_api
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, UnavailableApis
from aggctl.core.snapshot import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.snapshot import Snapshot
    from aggctl.errors import AggctlError

Object = dict[str, Any]

_NO_ANSWER = frozenset(
    {"answer-not-understood", "apiserver-not-ready", "apiserver-not-reachable", "apiserver-tls-failed"}
)
"""Why a list is not known where the fault is not with the user's rights, and nothing else can be asked."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that doctor found: the layer's own hops, each API, and what could not be looked at.

    `listed` where it is known which APIs there are.
    """

    place: Place
    layer: tuple[Hop, ...]
    exams: tuple[Exam, ...]
    not_checked: tuple[str, ...]
    listed: bool = True

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding once: those of the layer, then those of each API, its verdict first."""
        of_layer = [finding for each in self.layer for finding in each.findings]
        of_apis = [
            finding
            for exam in self.exams
            for finding in sorted(exam.findings, key=lambda each: each is not exam.verdict)
        ]
        return tuple(dict.fromkeys((*of_layer, *of_apis)))


def diagnose(
    snapshot: Snapshot, server: str | AggctlError, names: tuple[str, ...], now: datetime, held: str = ""
) -> Diagnosis:
    """Look at the layer and at the named APIs, or at all that a Service answers for."""
    place = see_place(snapshot, server, now, held)
    layer = layer_hops(snapshot, place)
    if not place.servers:
        layer = _with_silence(layer, *place.silent[0])
        return Diagnosis(place, layer, (), _unseen(snapshot, place, layer, ()), listed=False)
    if unknown := snapshot.unknown(ObjectAt(API_SERVICES, place.server)):
        if unknown.code in _NO_ANSWER:
            layer = _with_silence(layer, place.server, unknown.reason)
        looks = [partial(_unseen_api, snapshot, place, layer, name, unknown.reason) for name in names]
        exams = tuple(side_by_side(looks))
        unseen = _unseen(snapshot, place, layer, exams)
        unseen = unseen if exams else (f"APIServices: {unknown.reason}", *unseen)
        return Diagnosis(place, layer, exams, unseen, listed=False)
    found = {str(each["metadata"]["name"]): each for each in _items(snapshot, place)}
    chosen = names or tuple(name for name, each in found.items() if service_of(each))
    exams = tuple(
        side_by_side(partial(_examine, snapshot, place, layer, name, found.get(name)) for name in chosen)
    )
    return Diagnosis(place, layer, exams, _unseen(snapshot, place, layer, exams))


def _items(snapshot: Snapshot, place: Place) -> list[Object]:
    return (snapshot.object(API_SERVICES, place.server) or {}).get("items") or []


def _explained(layer: tuple[Hop, ...]) -> bool:
    return any(each.severity == "error" for one in layer for each in one.findings)


def _with_silence(layer: tuple[Hop, ...], server: str, why: str) -> tuple[Hop, ...]:
    """The layer with its first hop broken, as no kube-apiserver answers; nothing to add where it says why."""
    silent = Finding(
        "apiserver-not-reachable",
        "error",
        server,
        why,
        "sudo aggctl doctor     (on a control-plane node it works with the API down)",
    )
    more = () if _explained(layer) else (silent,)
    return (replace(layer[0], findings=(*layer[0].findings, *more), state=BROKEN), *layer[1:])


def _unseen(
    snapshot: Snapshot, place: Place, layer: tuple[Hop, ...], exams: tuple[Exam, ...]
) -> tuple[str, ...]:
    """What could not be looked at, with the reason; each once."""
    hops = [*layer, *(each for exam in exams for each in exam.hops)]
    found = [f"{each.name}: {each.said}" for each in hops if each.state == NOT_CHECKED and each.said]
    found += [f"{server}: {why}" for server, why in place.silent]
    gauges = [UnavailableApis(each) for each in place.servers] if exams else []
    found += [f"/metrics: {unknown.reason}" for each in gauges if (unknown := snapshot.unknown(each))]
    if place.why_no_node and not place.problems:
        found = [each for each in found if place.why_no_node not in each]
        found.append(f"{place.why_no_node} (run on a control-plane node as root)")
    return tuple(dict.fromkeys(found))


# --- one API -----------------------------------------------------------------------------------------------

NOTHING = Backend({}, "", (), (), {})
"""What stands behind a Service that may not be seen."""

BEHIND_SERVICE = ("endpoints", "Pods", "reach", "TLS", "identity", "access", "discovery")


def _examine(
    snapshot: Snapshot, place: Place, layer: tuple[Hop, ...], name: str, live: Object | None
) -> Exam:
    api = parse_api(name) if live is None else api_of(live)
    at = service_of(live) if live else None
    if live is None or at is None:
        return Exam(name, layer, (_no_service(api, live),))
    subject = subject_of(live, at)
    ways = see_ways(snapshot, place, api, live)
    hops = list(_hops(snapshot, place, subject, ways))
    exam = Exam(name, layer, tuple(_with_the_rest(subject, place, ways, hops, layer)), works=ways.works)
    broken = exam.verdict is not None and exam.verdict.severity == "error"
    return replace(exam, effects=effects_of(snapshot, place, api)) if broken and not ways.works else exam


def _no_service(api: Api, live: Object | None) -> Hop:
    if live is not None:
        return Hop("APIService", OK, "kube-apiserver serves it itself")
    finding = Finding(
        "api-not-registered",
        "error",
        f"APIService {api.name}",
        "it is not registered",
        f"aggctl register {api.name} …     (which there are: kubectl get apiservices)",
    )
    return Hop("APIService", BROKEN, "not there", (finding,))


def _unseen_api(snapshot: Snapshot, place: Place, layer: tuple[Hop, ...], name: str, why: str) -> Exam:
    """An API whose APIService the caller may not read: what it answers to the caller is left."""
    api = parse_api(name)
    ways = see_ways(snapshot, place, api, None)
    through = [each for each in ways.every if each.answer and each.answer.status]
    said = ", ".join(f"{each.answer.status} through {each.server}" for each in through if each.answer)
    return Exam(
        name,
        layer,
        (
            Hop("APIService", NOT_CHECKED, why),
            Hop("discovery", OK if ways.works else NOT_CHECKED, said or "no answer"),
            hop("rights", lambda: of_rights(snapshot, api, place, ways, "warning")),
        ),
        works=ways.works,
    )


def _hops(snapshot: Snapshot, place: Place, subject: Subject, ways: Ways) -> Iterator[Hop]:
    yield hop("APIService", lambda: of_api_service(subject, place, ways))
    service, backend = _service_hop(snapshot, place, subject, ways)
    yield service
    if service.state == NOT_CHECKED:  # what kube-apiservers say is left
        yield from skipped("endpoints", "Pods")
        yield from _way_there(snapshot, place, subject, ways, NOTHING, None)
    elif backend is None or service.state == BROKEN:
        yield from skipped(*BEHIND_SERVICE)
    else:
        yield from _behind(snapshot, place, subject, ways, backend)
    yield hop("rights", lambda: of_rights(snapshot, subject.api, place, ways))


def _service_hop(
    snapshot: Snapshot, place: Place, subject: Subject, ways: Ways
) -> tuple[Hop, Backend | None]:
    found: list[Backend] = []

    def look() -> tuple[str, list[Finding]]:
        backend, said, findings = of_service(snapshot, subject, place, ways)
        found.extend([backend] if backend else [])
        return said, findings

    return hop("Service", look), (found[0] if found else None)


def _behind(
    snapshot: Snapshot, place: Place, subject: Subject, ways: Ways, backend: Backend
) -> Iterator[Hop]:
    endpoints = hop("endpoints", lambda: of_endpoints(snapshot, subject, backend, place))
    of_the_pods, pods = _pods_hop(snapshot, place, subject, backend)
    if endpoints.state == BROKEN and of_the_pods.state == BROKEN:
        endpoints = replace(endpoints, findings=())  # the Pods are why
    yield endpoints
    yield of_the_pods
    if endpoints.state == BROKEN:
        yield from skipped("reach", "TLS", "identity", "access", "discovery")
        return
    yield from _way_there(snapshot, place, subject, ways, backend, pods)


def _way_there(
    snapshot: Snapshot, place: Place, subject: Subject, ways: Ways, backend: Backend, pods: Pods | None
) -> Iterator[Hop]:
    """From a connection to the answer; each hop only where the one before is not broken."""
    reach = of_reach(snapshot, subject, backend, place, ways, pods)
    yield reach
    if reach.state == BROKEN:
        yield from skipped("TLS", "identity", "access", "discovery")
        return
    tls = hop("TLS", lambda: of_tls(snapshot, subject, backend, place, ways, pods))
    yield tls
    if tls.state == BROKEN:
        access = _access_hop(snapshot, place, subject, pods, refused=False)
        yield from (*skipped("identity"), access, *skipped("discovery"))
        return
    identity = hop("identity", lambda: of_identity(snapshot, subject, backend, place, ways, pods))
    refused = identity.state == BROKEN or read_log(ways.evidence) is not None
    access = _access_hop(snapshot, place, subject, pods, refused=refused)
    if access.state == BROKEN:
        identity = replace(identity, findings=())  # what the ServiceAccount lacks is why
    yield identity
    yield access
    if BROKEN in (identity.state, access.state):
        yield from skipped("discovery")
        return
    yield hop("discovery", lambda: of_discovery(snapshot, subject, backend, place, ways))


def _pods_hop(
    snapshot: Snapshot, place: Place, subject: Subject, backend: Backend
) -> tuple[Hop, Pods | None]:
    if backend.outside:
        return Hop("Pods", SKIPPED, "none: its server is none of this cluster's"), None
    found: list[Pods] = []

    def look() -> tuple[str, list[Finding]]:
        found.append(pods := see_pods(snapshot, subject, backend, place))
        return of_pods(snapshot, subject, backend, place, pods)

    return hop("Pods", look), (found[0] if found else None)


def _access_hop(
    snapshot: Snapshot, place: Place, subject: Subject, pods: Pods | None, *, refused: bool
) -> Hop:
    if pods is None or not pods.items:
        return Hop("access", SKIPPED, "no Pods whose ServiceAccount could be asked about")
    return hop("access", lambda: of_access(snapshot, subject, place, pods, refused=refused))


def _with_the_rest(
    subject: Subject, place: Place, ways: Ways, hops: list[Hop], layer: tuple[Hop, ...]
) -> Iterator[Hop]:
    """The hops with what only the whole tells: one kube-apiserver of several, or a cause not known.

    On the node whose kube-apiserver gets no answer the cause that was found there comes first.
    """
    errors = [each for one in (*layer, *hops) for each in one.findings if each.severity == "error"]
    more: tuple[Finding, ...] = ()
    if not ways.works and len(ways.broken) < len(ways.every) and not _before_reach(errors, hops, layer):
        more = (_not_everywhere(subject, ways),)
    elif not ways.works and not errors:
        more = (_not_available(subject, ways),)
    direct = any(each.subject != subject.name for one in hops[-6:] for each in one.findings if each in errors)
    here = bool(errors) and place.dials and ways.is_broken_through(place.server)
    at = "discovery" if direct or here else "reach"  # a bad endpoint is why only some get an answer
    for each in hops:
        if more and each.name == at:
            findings = (*each.findings, *more) if here else (*more, *each.findings)
            yield replace(each, state=state_of(findings), findings=findings)
        else:
            yield each


def _before_reach(errors: list[Finding], hops: list[Hop], layer: tuple[Hop, ...]) -> bool:
    early = ("APIService", "Service", "endpoints", "Pods")
    found = [each for one in (*layer, *hops) if one in layer or one.name in early for each in one.findings]
    return any(each in errors for each in found)


def _not_everywhere(subject: Subject, ways: Ways) -> Finding:
    broken = ", ".join(each.server for each in ways.broken)
    return Finding(
        "api-not-available-everywhere",
        "error",
        subject.name,
        f"it does not answer through {broken}, and does through the other kube-apiservers",
        "on that node: sudo aggctl doctor",
        expected="the same answer through each of them; Available is one status that all of them write",
        evidence=ways.evidence,
    )


def _not_available(subject: Subject, ways: Ways) -> Finding:
    answered = next(
        (each.server for each in ways.broken if each.answer and each.answer.status == ALL_OF_IT), ""
    )
    return Finding(
        "api-not-available",
        "error",
        subject.name,
        f"a GET is answered, maybe by an old connection, and {answered} itself holds it for unavailable"
        if answered
        else f"it does not answer, for a reason that is none of those known: {ways.reason}",
        f"aggctl logs {subject.api.name}",
        evidence=ways.evidence or (ways.message,),
    )
