"""What is in a namespace, and what keeps one from ending."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggctl.core.fields import created_stamp
from aggctl.core.findings import Finding, Passed
from aggctl.core.plan import Condition, Gate
from aggctl.core.questions import MetadataIn, ObjectAt
from aggctl.core.resources import discovery_path, path_of, resources_of, target_of
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

NAMESPACES = "/api/v1/namespaces"
STUCK = "NamespaceDeletionDiscoveryFailure"
_BY_ITSELF = frozenset(
    {
        ("ServiceAccount", "default"),
        ("ConfigMap", "kube-root-ca.crt"),
        ("ConfigMap", "openshift-service-ca.crt"),
    }
)
"""What every namespace has without anybody's doing."""

_PASSING = frozenset({"events", "endpoints"})
"""Traces of what goes: endpoints have no owner reference, and their slices are looked at."""


def foreign_objects(
    snapshot: Snapshot, server: str, namespace: Object, leaving: list[Object], apis: list[Api]
) -> str:
    """What a namespace holds beside what goes and what belongs to that, in words; empty: nothing.

    Deleting a namespace takes all of it along, so what could not be looked at counts as something; but for
    what `apis` serve, which go themselves.
    """
    name = namespace["metadata"]["name"]
    ours = {str(each["metadata"]["uid"]) for each in leaving}
    try:
        found = list(_everything(snapshot, server, name, {_group_version(api) for api in apis}))
    except NotKnown as unknown:
        return f"not everything in it could be looked at: {unknown}"
    names = [clean(f"{each['kind']} {each['metadata']['name']}", 100) for each in _strangers(found, ours)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 -- as many as a line takes
    return f"it holds {', '.join(names[:3])}{more}" if names else ""


def not_empty(namespace: Object, said: str) -> Finding:
    """A namespace of ours stays, for what `foreign_objects` says of it."""
    return Finding(
        code="namespace-not-empty",
        severity="info",
        subject=target_of(namespace),
        message=f"it stays: {said}",
        fix=f"kubectl delete namespace {namespace['metadata']['name']}     (takes all of that with it)",
    )


def ours_and_ending(snapshot: Snapshot, server: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the namespaces that aggctl made and that are being deleted."""
    paths = {name: path_of("v1", "namespaces", "", name) for name in names}
    snapshot.expect(*(ObjectAt(path, server) for path in paths.values()))
    lives = {name: snapshot.object(path, server) or {"metadata": {}} for name, path in paths.items()}
    return tuple(
        name
        for name, live in lives.items()
        if created_stamp(live) and live["metadata"].get("deletionTimestamp")
    )


def end_of(names: Iterable[str], server: str, deadline: float) -> Gate:
    """What must hold before these namespaces can be made again."""
    found = tuple(names)
    return Gate(
        tuple(Condition("namespace-ended", (("name", each), ("server", server))) for each in found),
        deadline,
        waits_for=f"namespace {' and '.join(found)} to be gone",
        server=server,
        watch=(NAMESPACES,),
    )


def ended(snapshot: Snapshot, *, name: str, server: str) -> Passed | Finding:
    """The namespace is not being deleted any more: it is gone, or there is a new one."""
    namespace = snapshot.object(path_of("v1", "namespaces", "", name), server) or {"metadata": {}}
    if not namespace["metadata"].get("deletionTimestamp"):
        return Passed(f"namespace {name} is not being deleted")
    return Finding(
        code="namespace-terminating",
        severity="error",
        subject=f"Namespace {name}",
        message=f"namespace {name} is being deleted",
        fix=f"kubectl get namespace {name} -o jsonpath='{{.status.conditions}}'",
    )


def stuck_by(snapshot: Snapshot, server: str, apis: list[Api]) -> tuple[tuple[str, str], ...]:
    """Namespaces that cannot end because the discovery of one of these APIs fails, each with the API."""
    try:
        found = snapshot.object(NAMESPACES, server) or {}
    except NotKnown:
        return ()
    return tuple(
        (str(each["metadata"]["name"]), _group_version(api))
        for each in found.get("items") or []
        for api in apis
        if _waits_for(each, _group_version(api))
    )


def goes_on(snapshot: Snapshot, *, name: str, api: str, server: str) -> Passed | Finding:
    """The namespace is gone, or this API is not what it waits for."""
    namespace = snapshot.object(path_of("v1", "namespaces", "", name), server)
    if namespace is None:
        return Passed(f"namespace {name} is gone")
    if not _waits_for(namespace, api):
        return Passed(f"namespace {name} goes on")
    return Finding(
        code="namespace-stuck",
        severity="warning",
        subject=f"Namespace {name}",
        message=f"namespace {name} still waits for the discovery of {api}",
        fix=f"kubectl get namespace {name} -o jsonpath='{{.status.conditions}}'",
    )


def _waits_for(namespace: Object, api: str) -> bool:
    """Whether the namespace controller says that the discovery of this very group and version failed.

    Its message names custom.metrics.k8s.io/v1beta1 too, which is neither metrics.k8s.io/v1beta1 nor /v1.
    """
    conditions = (namespace.get("status") or {}).get("conditions") or []
    said = [
        str(each.get("message"))
        for each in conditions
        if (each.get("type"), each.get("status")) == (STUCK, "True")
    ]
    return any(re.search(rf"(?<![a-z0-9.-]){re.escape(api)}(?![a-z0-9])", each) for each in said)


def _group_version(api: Api) -> str:
    return f"{api.group}/{api.version}"


def _everything(snapshot: Snapshot, server: str, namespace: str, without: set[str]) -> Iterator[Object]:
    """The metadata of all that can be listed in a namespace, each kind in one version of its group."""
    groups = (snapshot.object("/apis", server) or {}).get("groups") or []
    versions = ("v1", *filter(None, (_version_of(group, without) for group in groups)))
    snapshot.expect(*(ObjectAt(discovery_path(version), server) for version in versions))
    kinds = {
        path_of(version, str(each["name"]), namespace): str(each["kind"])
        for version in versions
        for each in resources_of(snapshot, server, version)
        if each.get("namespaced") and "list" in (each.get("verbs") or []) and each["name"] not in _PASSING
    }
    snapshot.expect(*(MetadataIn(path, server) for path in kinds))
    for path, kind in kinds.items():
        found = snapshot.metadata_in(path, server) or {}
        yield from ({"kind": kind, "metadata": each["metadata"]} for each in found.get("items") or [])


def _version_of(group: Object, without: set[str]) -> str:
    """The preferred version of a group, or the first one that does not go; empty where all go."""
    versions = (group["preferredVersion"], *(group.get("versions") or []))
    names = (str(each["groupVersion"]) for each in versions)
    return next((name for name in names if name not in without), "")


def _strangers(found: list[Object], ours: set[str]) -> Iterator[Object]:
    """What does not go, nor comes by itself, nor belongs, also over others, to what goes.

    What has no UID is stored nowhere, such as the metrics of a Pod: it is made up when asked for.
    """
    stored = [each for each in found if each["metadata"].get("uid")]
    known, more = set[str](), ours
    while more:
        known |= more
        more = {_uid(each) for each in stored if _owners(each) & known} - known
    for each in stored:
        by_itself = (each["kind"], each["metadata"]["name"]) in _BY_ITSELF
        if _uid(each) not in known and not by_itself:
            yield each


def _uid(item: Object) -> str:
    return str(item["metadata"]["uid"])


def _owners(item: Object) -> set[str]:
    return {str(each.get("uid")) for each in item["metadata"].get("ownerReferences") or []}
