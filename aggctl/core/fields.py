"""Who owns which field of an object: metadata.managedFields, read as server-side apply wrote them.

FieldsV1 is a set of paths as nested maps: `f:NAME` a key, `k:{...}` the list item with these keys, `v:VALUE`
an element of a set, `i:N` an index, `.` the thing itself (sigs.k8s.io/structured-merge-diff, fieldpath).
"""

from __future__ import annotations

import copy
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from aggctl.core.plan import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANAGER = "aggctl"
CREATED = "aggctl/created"
"""Annotation on what aggctl created; its value is the token of the plan that did."""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label whose value is `aggctl` on what aggctl made; it may have been copied."""

_OF_THE_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "selfLink")
_NOTHING = object()

Fields = dict[str, Any]
FieldPath = tuple[str, ...]


def owned_fields(live: dict[str, Any], manager: str = MANAGER) -> Fields:
    """The fields that `manager` owns by server-side apply; empty where it never applied the object."""
    for entry in live.get("metadata", {}).get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation")) == (manager, "Apply") and not entry.get(
            "subresource"
        ):
            fields: Fields = entry.get("fieldsV1") or {}
            return fields
    return {}


def managers(live: dict[str, Any]) -> tuple[str, ...]:
    """Everybody who owns a field outside status, in the order of the object."""
    entries = live.get("metadata", {}).get("managedFields") or []
    return tuple(dict.fromkeys(str(each.get("manager")) for each in entries if not each.get("subresource")))


def kept(live: dict[str, Any]) -> dict[str, Any]:
    """The object without what the server makes of itself: what a backup holds, and is compared by."""
    metadata = {name: value for name, value in live["metadata"].items() if name not in _OF_THE_SERVER}
    status, entries = _split(metadata.get("managedFields") or [])
    metadata["managedFields"] = entries
    if written := _annotations(status) - _annotations(entries):  # deployment.kubernetes.io/revision
        found = metadata.get("annotations") or {}
        rest = {name: value for name, value in found.items() if name not in written}
        metadata = {name: value for name, value in metadata.items() if name != "annotations"}
        metadata |= {"annotations": rest} if rest else {}
    return {name: value for name, value in live.items() if name != "status"} | {"metadata": metadata}


def content_stamp(live: dict[str, Any]) -> str:
    """What tells that an object is as it was: all of it, whoever made it so."""
    return digest(canonical(kept(live)))


def owned_stamp(live: dict[str, Any], manager: str = MANAGER) -> str:
    """What tells that an object is as aggctl applied it: its own fields and their values, nobody else's."""
    fields = owned_fields(live, manager)
    return digest(canonical([fields, project(live, fields)]))


def created_stamp(live: dict[str, Any]) -> str:
    """What tells that a plan of aggctl created the object; empty where none did."""
    token = (live.get("metadata", {}).get("annotations") or {}).get(CREATED, "")
    return f"created:{token}" if token else ""


def stamps(live: dict[str, Any], manager: str = MANAGER) -> frozenset[str]:
    """Every state that the object is in; `ObjectState.holds` is one of them where it is in force."""
    return frozenset({content_stamp(live), owned_stamp(live, manager), created_stamp(live)} - {""})


def project(value: Any, fields: Fields) -> Any:
    """The part of `value` that `fields` name."""
    inner = {key: sub for key, sub in fields.items() if key != "."}
    if not inner:
        return value
    if isinstance(value, list):
        items = [(key, _find(value, key), sub) for key, sub in inner.items()]
        return [project(item, sub) for _, item, sub in items if item is not _NOTHING]
    if not isinstance(value, dict):
        return value
    named = {key[2:]: sub for key, sub in inner.items()}
    return {name: project(value[name], sub) for name, sub in named.items() if name in value}


def restored(live: dict[str, Any], before: dict[str, Any], manager: str = MANAGER) -> dict[str, Any]:
    """`live` with every field that `manager` owns now, or owned before, as it was before.

    What others changed meanwhile stays. `restored_owners` are the managedFields that go with it.
    """
    result = copy.deepcopy(live)
    for fields in (owned_fields(live, manager), owned_fields(before, manager)):
        if fields:  # none at all is a leaf to `_restore`, which would put back everything
            result = _restore(result, before, fields)
    owned = _as_fields(path for each in before["metadata"].get("managedFields") or [] for path in _of(each))
    _refill(result.get("spec"), before.get("spec"), owned.get("f:spec", {}))
    return result


def restored_owners(live: dict[str, Any], before: dict[str, Any], manager: str = MANAGER) -> list[Any]:
    """The managedFields that go with `restored`: to each owner what `manager` had taken from it."""
    entries = live["metadata"].get("managedFields") or []
    ours = frozenset(path for each in entries if each.get("manager") == manager for path in _of(each))
    now = {_owner(each): each for each in entries if each.get("manager") != manager}
    given_back = [
        each if each.get("manager") == manager else _given_back(each, now.pop(_owner(each), {}), ours)
        for each in before["metadata"].get("managedFields") or []
    ]
    return [*filter(None, given_back), *now.values()]


def _given_back(old: dict[str, Any], now: dict[str, Any], ours: frozenset[FieldPath]) -> dict[str, Any]:
    """An owner's entry: the fields that it has now, and of those before the ones that are ours now."""
    was, has = _of(old), _of(now)
    fields = has | (was & ours)
    if fields == was:
        return old
    return now if fields == has else (now or old) | {"fieldsV1": _as_fields(fields)}


def _owner(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What tells owners apart: who applies is the same one in every version of the API."""
    version = "" if entry.get("operation") == "Apply" else entry.get("apiVersion")
    return entry.get("manager"), entry.get("operation"), entry.get("subresource"), version


def _of(entry: dict[str, Any]) -> frozenset[FieldPath]:
    """The paths of the fields that an entry of managedFields owns."""
    return frozenset(_paths(entry.get("fieldsV1") or {}))


def _paths(fields: Fields, above: FieldPath = ()) -> Iterator[FieldPath]:
    for key, sub in fields.items():
        if key == ".":
            yield above
        elif sub:
            yield from _paths(sub, (*above, key))
        else:
            yield (*above, key)


def _as_fields(paths: Iterable[FieldPath]) -> Fields:
    """The inverse of `_paths`."""
    fields: Fields = {}
    for path in sorted(paths, key=len, reverse=True):
        node = fields
        for key in path:
            node = node.setdefault(key, {})
        if node:  # the longer ones went first: there is something below
            node["."] = {}
    return fields


def _split(entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entries of those who write status, and all others."""
    status = [each for each in entries if each.get("subresource") == "status"]
    return status, [each for each in entries if each not in status]


def _annotations(entries: list[dict[str, Any]]) -> set[str]:
    """The annotations that these owners own."""
    found = ((each.get("fieldsV1") or {}).get("f:metadata", {}).get("f:annotations", {}) for each in entries)
    return {key[2:] for each in found for key in each if key.startswith("f:")}


def _refill(live: Any, before: Any, owned: Fields) -> None:
    """Put back what nobody owned and the server took away: the address of a Service that had another type."""
    if not isinstance(live, dict) or not isinstance(before, dict):
        return
    for name, value in before.items():
        if name in live:
            _refill(live[name], value, owned.get(f"f:{name}", {}))
        elif f"f:{name}" not in owned:
            live[name] = value


def _restore(live: Any, before: Any, fields: Fields) -> Any:
    inner = {key: sub for key, sub in fields.items() if key != "."}
    if not inner:
        return before
    if live is _NOTHING and isinstance(before, dict | list):
        live = type(before)()
    if isinstance(live, list):
        return _restore_list(live, before if isinstance(before, list) else [], inner)
    if not isinstance(live, dict):
        return before
    old = before if isinstance(before, dict) else {}
    for key, sub in inner.items():
        name = key[2:]
        value = _restore(live.get(name, _NOTHING), old.get(name, _NOTHING), sub)
        if value is _NOTHING or (value in ({}, []) and name not in old):
            live.pop(name, None)
        else:
            live[name] = value
    return live


def _restore_list(live: list[Any], before: list[Any], inner: Fields) -> list[Any]:
    for key, sub in inner.items():
        now, old = _find(live, key), _find(before, key)
        if old is _NOTHING:
            live = [item for item in live if item is not now]
        elif now is _NOTHING:
            live = [*live, old]
        else:
            live = [_restore(item, old, sub) if item is now else item for item in live]
    return _in_order(live, before, next(iter(inner)))


def _in_order(live: list[Any], before: list[Any], key: str) -> list[Any]:
    """The items in the order of before, a new one behind what it follows: a variable may name one before it.

    `key` is a path element of this list: the names in it tell its items apart.
    """
    kind, _, text = key.partition(":")
    names = sorted(json.loads(text)) if kind == "k" else []

    def identity(item: Any) -> bytes:
        return canonical([item.get(name) for name in names] if names and isinstance(item, dict) else item)

    places = {identity(item): place for place, item in enumerate(before)}
    ranks: list[int] = []
    for item in live:
        ranks.append(places.get(identity(item), ranks[-1] if ranks else -1))
    return [item for _, item in sorted(zip(ranks, live, strict=True), key=itemgetter(0))]


def _find(items: list[Any], key: str) -> Any:
    """The item of a list that a path element names."""
    kind, _, text = key.partition(":")
    if kind == "i":
        return items[int(text)] if int(text) < len(items) else _NOTHING
    wanted = json.loads(text)
    if kind == "v":
        return next((item for item in items if item == wanted), _NOTHING)
    matching = (item for item in items if isinstance(item, dict) and wanted.items() <= item.items())
    return next(matching, _NOTHING)
