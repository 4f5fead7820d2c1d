"""Decide how to take APIs away: APIServices first, then what aggctl made for them and nobody else uses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.extension import AUTOMANAGED, api_of, api_service_path, service_of
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.fields import content_stamp, created_stamp, kept, managers
from aggctl.core.findings import Finding
from aggctl.core.namespaces import NAMESPACES, foreign_objects, not_empty, stuck_by
from aggctl.core.plan import Condition, Gate, ObjectChange, ObjectState, Plan, Step, canonical, digest
from aggctl.core.questions import ObjectAt
from aggctl.core.register.preconditions import layer_findings
from aggctl.core.register.sight import inventory_of
from aggctl.core.report import ShownChange
from aggctl.core.resources import path_of, target_of
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggctl.core.apiservers import Roster
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

_OBJECT_PATH = re.compile(r"/apis?(/[A-Za-z0-9.:%_-]+){2,8}")
"""An inventory is an annotation that others may write: what is no path of an object is passed over."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What goes: APIServices, then objects, as they are; `stuck` are namespaces that wait because of them."""

    server: str
    apis: tuple[Object, ...] = field(repr=False)
    objects: tuple[tuple[str, Object], ...] = field(repr=False)
    stuck: tuple[tuple[str, str], ...]
    notes: tuple[Finding, ...]
    problems: tuple[Finding, ...]


def see_leaving(snapshot: Snapshot, names: tuple[str, ...], server: str, *, stale: bool) -> Leaving:
    """What is to go with the named APIs; with `stale` those of them, or of all, whose Service is gone."""
    found = (snapshot.object(API_SERVICES, server) or {}).get("items") or []
    every = {str(each["metadata"]["name"]): _typed(each) for each in found}
    chosen = [every[name] for name in (names or every) if name in every]
    if stale:
        snapshot.expect(*(ObjectAt(path, server) for each in chosen for path in _stands_on(each)))
        chosen = [each for each in chosen if is_stale(snapshot, server, each)]
    problems = [*layer_findings(snapshot, server), *_not_removable(chosen)]
    gone = {each["metadata"]["name"] for each in chosen}
    staying = [each for name, each in every.items() if name not in gone]
    objects, notes = _objects(snapshot, server, chosen, staying)
    stuck = stuck_by(snapshot, server, [api_of(each) for each in chosen])
    return Leaving(server, tuple(chosen), objects, stuck, (*_of_others(chosen), *notes), tuple(problems))


def is_stale(snapshot: Snapshot, server: str, api_service: Object) -> bool:
    """Whether its Service, or the namespace of that, is gone or going."""
    lives = [snapshot.object(path, server) for path in _stands_on(api_service)]
    return any(live is None or live["metadata"].get("deletionTimestamp") for live in lives)


def plan_leaving(leaving: Leaving, roster: Roster, deadline: float) -> Plan:
    """Delete the APIServices, see them gone everywhere, then delete the rest, a Namespace last."""
    blobs: dict[str, bytes] = {}
    steps: list[Step] = []
    for each in leaving.apis:
        path = api_service_path(each["metadata"]["name"])
        steps.append(deletion(leaving.server, path, each, content_stamp(each), blobs))
    if steps:
        steps[-1] = Step(steps[-1].title, steps[-1].change, gate=_gone(leaving, roster, deadline))
    for path, live in leaving.objects:
        steps.append(deletion(leaving.server, path, live, created_stamp(live), blobs))
    names = ", ".join(each["metadata"]["name"] for each in leaving.apis)
    return Plan("unregister", f"unregister {names}", tuple(steps), blobs)


def shown(leaving: Leaving) -> tuple[ShownChange, ...]:
    """What goes, for people."""
    details = {each["metadata"]["name"]: _service_words(each) for each in leaving.apis}
    return (
        *(ShownChange("delete", target_of(each), details[each["metadata"]["name"]]) for each in leaving.apis),
        *(ShownChange("delete", target_of(live)) for _, live in leaving.objects),
    )


def went_on(leaving: Leaving, deadline: float) -> Gate:
    """Each namespace that was stuck is gone, or waits for something else now."""
    conditions = tuple(
        Condition("namespace-goes-on", (("name", name), ("api", api), ("server", leaving.server)))
        for name, api in leaving.stuck
    )
    return Gate(
        conditions,
        deadline,
        waits_for="the namespaces that were stuck",
        server=leaving.server,
        watch=(NAMESPACES,),
    )


def _objects(
    snapshot: Snapshot, server: str, chosen: list[Object], staying: list[Object]
) -> tuple[tuple[tuple[str, Object], ...], list[Finding]]:
    """What aggctl made for the APIs that go, in the order in which it goes; and why some of it stays."""
    paths = tuple(dict.fromkeys(path for each in chosen for path in _inventory(each)))
    serving = {_stands_on(each) for each in staying}
    users = [*staying, *(each for each in chosen if _stands_on(each) in serving)]
    used = {path for each in users for path in _inventory(each)}
    snapshot.expect(*(ObjectAt(path, server) for path in paths))
    lives = {path: live for path in paths if (live := _ours(snapshot, path, server))}
    stays = {path for path in lives if path in used}
    notes = [_still_used(lives[path]) for path in sorted(stays)]
    goes = {path: live for path, live in lives.items() if path not in stays}
    kept_namespaces = [
        (path, said)
        for path, live in goes.items()
        if live["kind"] == "Namespace"
        and (said := foreign_objects(snapshot, server, live, list(goes.values()), list(map(api_of, chosen))))
    ]
    for path, said in kept_namespaces:
        notes.append(not_empty(goes.pop(path), said))
    backwards = list(reversed(goes.items()))
    namespaces = [each for each in backwards if each[1]["kind"] == "Namespace"]
    return (*(each for each in backwards if each not in namespaces), *namespaces), notes


def _ours(snapshot: Snapshot, path: str, server: str) -> Object | None:
    """The object at a path, where aggctl created it; one that may not be seen is none of ours to delete."""
    try:
        live = snapshot.object(path, server)
    except NotKnown:
        return None
    if not live or not created_stamp(live) or live["kind"] == "APIService":  # these go by their names alone
        return None
    return None if live["metadata"].get("deletionTimestamp") else live


def _stands_on(api_service: Object) -> tuple[str, ...]:
    """The paths of its Service and of the namespace of that; none where kube-apiserver serves it itself."""
    at = service_of(api_service)
    if at is None:
        return ()
    return path_of("v1", "namespaces", "", at.namespace), path_of("v1", "services", at.namespace, at.name)


def _inventory(api_service: Object) -> tuple[str, ...]:
    return tuple(path for path in inventory_of(api_service) if _OBJECT_PATH.fullmatch(path))


def deletion(server: str, path: str, live: Object, holds: str, blobs: dict[str, bytes]) -> Step:
    """Delete an object that still `holds` this stamp; all of it goes to the blobs, for an undo."""
    backup = canonical(kept(live))
    blobs[digest(backup)] = backup
    before = ObjectState(digest(backup), holds, whole=True)
    return Step(f"delete {target_of(live)}", ObjectChange(server, path, target_of(live), before, None))


def _gone(leaving: Leaving, roster: Roster, deadline: float) -> Gate:
    conditions = tuple(
        Condition("api-gone", (("group", api.group), ("version", api.version), ("server", server)))
        for api in map(api_of, leaving.apis)
        for server in roster.servers
    )
    return Gate(conditions, deadline, waits_for="the API to be gone")


def _typed(item: Object) -> Object:
    """The items of a list name no kind themselves."""
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"} | item


def _service_words(api_service: Object) -> str:
    at = service_of(api_service)
    return f"served by Service {at.namespace}/{at.name}" if at else ""


def _not_removable(chosen: Iterable[Object]) -> Iterator[Finding]:
    for each in chosen:
        labels = each["metadata"].get("labels") or {}
        if service_of(each) is None or labels.get(AUTOMANAGED):
            yield Finding(
                code="api-served-by-cluster",
                severity="error",
                subject=target_of(each),
                message="kube-apiserver serves it itself, and would make this APIService again",
                fix="a CustomResourceDefinition is what to delete; built-in APIs cannot be taken away",
            )


def _of_others(chosen: Iterable[Object]) -> Iterator[Finding]:
    for each in chosen:
        if not created_stamp(each):
            release = (each["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name")
            who = f"Helm release {release}" if release else ", ".join(managers(each)) or "unknown"
            yield Finding(
                code="not-made-by-aggctl",
                severity="warning",
                subject=target_of(each),
                message=f"aggctl did not make it (owner: {clean(who, 120)}); it goes, nothing around it",
                fix="take the rest away with what made it, or it may come back",
            )


def _still_used(live: Object) -> Finding:
    return Finding(
        code="still-used",
        severity="info",
        subject=target_of(live),
        message="it stays: another registered API uses it",
        fix="it goes with the last API that uses it",
    )
