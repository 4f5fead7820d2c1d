"""Where objects live: their paths, from what the cluster says of its kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Located:
    """An object, its path at a kube-apiserver, and what people call it."""

    object: Object = field(repr=False)
    path: str
    target: str

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.object["kind"])

    @property
    def namespace(self) -> str:
        """Its namespace, "" where it has none."""
        return str(self.object["metadata"].get("namespace") or "")


def discovery_path(api_version: str) -> str:
    """Where a group's version says which kinds it has."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def resources_of(snapshot: Snapshot, server: str, api_version: str) -> Iterator[Object]:
    """The resources of a group's version; none where it is not served."""
    found = (snapshot.object(discovery_path(api_version), server) or {}).get("resources")
    yield from (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))


def locate(
    snapshot: Snapshot, server: str, objects: Iterable[Object], namespace: str
) -> tuple[tuple[Located, ...], tuple[Finding, ...]]:
    """Each object with its path, in `namespace` where it says none; a kind that is lacking is a finding."""
    wanted = tuple(objects)
    snapshot.expect(*(ObjectAt(discovery_path(str(each["apiVersion"])), server) for each in wanted))
    found: list[Located] = []
    problems: list[Finding] = []
    for each in wanted:
        resource = next(
            (
                one
                for one in resources_of(snapshot, server, each["apiVersion"])
                if one.get("kind") == each["kind"] and "/" not in str(one.get("name"))
            ),
            None,
        )
        if resource is None:
            problems.append(_unknown_kind(each))
        else:
            found.append(_located(each, resource, namespace))
    return tuple(found), tuple(problems)


def path_of(api_version: str, resource: str, namespace: str, name: str = "") -> str:
    """The path of an object, or with no name of the collection."""
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    what = f"/{quote(name, safe='')}" if name else ""
    return f"{discovery_path(api_version)}{where}/{resource}{what}"


def target_of(object_: Object) -> str:
    """What people call an object: its kind, and its name with the namespace."""
    metadata = object_["metadata"]
    where = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return clean(f"{object_['kind']} {where}{metadata['name']}", 200)


def _located(object_: Object, resource: Object, namespace: str) -> Located:
    metadata = dict(object_["metadata"])
    if resource.get("namespaced"):
        metadata["namespace"] = metadata.get("namespace") or namespace
    else:
        metadata.pop("namespace", None)
    placed = object_ | {"metadata": metadata}
    path = path_of(
        object_["apiVersion"], str(resource["name"]), metadata.get("namespace", ""), metadata["name"]
    )
    return Located(placed, path, target_of(placed))


def _unknown_kind(object_: Object) -> Finding:
    kind, version = clean(str(object_["kind"]), 80), clean(str(object_["apiVersion"]), 80)
    return Finding(
        code="kind-unknown",
        severity="error",
        subject=target_of(object_),
        message=f"this cluster has no kind {kind} in {version}",
        fix="install what brings it (its CustomResourceDefinition) first, or take the object out",
    )
