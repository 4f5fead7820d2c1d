"""An object as it can be applied: without what only a server writes, and in the version that is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.manifestset.templates import LAST_APPLIED
from aggctl.core.shapes import (
    CLUSTER_SCOPED,
    group_kind,
    is_api_service,
    is_service,
    table,
    title,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_V1 = "apiregistration.k8s.io/v1"
_OF_THE_SERVER = (
    "creationTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""ownerReferences name a UID: in another cluster the garbage collector deletes the object for it."""

_ADDRESSES = ("clusterIP", "clusterIPs", "healthCheckNodePort")


def normal(thing: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A copy that can be applied, and a note for each thing that people should know of."""
    notes: list[str] = []
    for step in (_version, _export, _scope, _bundle):
        thing = step(thing, notes.append)
    return thing, tuple(notes)


def _version(thing: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """apiregistration.k8s.io/v1beta1, removed in 1.22, has the fields of v1."""
    if not is_api_service(thing) or thing["apiVersion"] == _V1:
        return thing
    note(f"{title(thing)} is read as {_V1}: kube-apiserver does not know {thing['apiVersion']} since 1.22")
    return thing | {"apiVersion": _V1}


def _export(thing: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """Drop what a live object carries; where it says nothing (`status: {}`) without a word."""
    metadata = dict(thing["metadata"])
    dropped = [key for key in _OF_THE_SERVER if metadata.pop(key, None)]
    annotations = dict(table(metadata, "annotations"))
    if annotations.pop(LAST_APPLIED, None) is not None:
        dropped.append(LAST_APPLIED)
        metadata["annotations"] = annotations
    rest = {key: value for key, value in thing.items() if key != "status"} | {"metadata": metadata}
    spec = table(rest, "spec")
    if dropped and is_service(thing) and word(spec, "clusterIP") not in {"", "None"}:
        dropped += [key for key in _ADDRESSES if key in spec]
        rest["spec"] = {key: value for key, value in spec.items() if key not in _ADDRESSES}
    dropped += ["status"] if thing.get("status") else []
    if dropped:
        note(f"{title(thing)} was exported from a cluster; left out: {', '.join(dropped)}")
    return rest


def _scope(thing: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """A namespace on what has none (a ClusterRole) means nothing to the server."""
    if group_kind(thing) not in CLUSTER_SCOPED or "namespace" not in thing["metadata"]:
        return thing
    note(f"{title(thing)}: its kind is in no namespace, and the one that it names was left out")
    return thing | {
        "metadata": {key: value for key, value in thing["metadata"].items() if key != "namespace"}
    }


def _bundle(thing: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """Blanks in caBundle (a folded block, a blank behind it) are no base64; an empty one means none."""
    spec = table(thing, "spec")
    if not is_api_service(thing) or "caBundle" not in spec:
        return thing
    given = spec["caBundle"]
    wanted = "".join(given.split()) if isinstance(given, str) and "-----" not in given else given
    if not wanted:
        return thing | {"spec": {key: value for key, value in spec.items() if key != "caBundle"}}
    if wanted != given:
        note(f"{title(thing)}: blanks in caBundle were left out")
    return thing | {"spec": spec | {"caBundle": wanted}}
