"""What every object of Kubernetes has: an apiVersion, a kind and a name, in letters that fit into a path."""

from __future__ import annotations

import re
from typing import Any

from aggctl.core.shapes import word
from aggctl.core.text import clean
from aggctl.errors import Refused

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_API_VERSION = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_LABEL}")
_KIND = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,62}")
_NAME = re.compile(r"(?!\.\.?$)[^/%?#\s]{1,253}")
"""apimachinery's IsPathSegmentName, and nothing that would end a path."""

_NAMESPACE = re.compile(_LABEL)
_TYPES = {bool: "a boolean", str: "text", list: "a list", dict: "a mapping", type(None): "nothing"}


def mapping(value: Any, place: str) -> dict[str, Any]:
    """The value itself; Refused where it is no mapping and so no object."""
    if not isinstance(value, dict):
        raise _malformed(place, f"this is {_type(value)} and no object of Kubernetes")
    return value


def refuse_malformed(thing: dict[str, Any], place: str) -> None:
    """Refused where an object lacks what the server and aggctl know it by."""
    _refuse_unfit(thing, "apiVersion", _API_VERSION, place)
    _refuse_unfit(thing, "kind", _KIND, place)
    metadata = thing.get("metadata")
    if not isinstance(metadata, dict):
        raise _malformed(place, f"its metadata is {_type(metadata)}, not a mapping")
    _refuse_unfit(metadata, "name", _NAME, place)
    if metadata.get("namespace") is not None:
        _refuse_unfit(metadata, "namespace", _NAMESPACE, place)
    for field in ("labels", "annotations"):
        _refuse_no_strings(metadata.get(field), f"metadata.{field}", place)


def _refuse_unfit(table: dict[str, Any], key: str, pattern: re.Pattern[str], place: str) -> None:
    if pattern.fullmatch(word(table, key)):
        return
    if not table.get(key):
        raise _malformed(place, f"this has no {key}")
    value = table[key]
    found = clean(value, 80) if isinstance(value, str) else _type(value)
    raise _malformed(place, f"its {key} cannot be one", found=found, do="correct it; a number needs quotes")


def _refuse_no_strings(value: Any, field: str, place: str) -> None:
    """Labels and annotations are text; a null is read as an empty one."""
    if not isinstance(value, dict | None):
        raise _malformed(place, f"its {field} is {_type(value)}, not a mapping")
    for key, each in (value or {}).items():
        if not isinstance(each, str | None):
            reason = f"the value of {clean(key, 80)} in {field} is {_type(each)}, not text"
            raise _malformed(place, reason, do="put quotes around it")


def _malformed(
    place: str, reason: str, *, found: str = "", do: str = "complete it, or leave it out"
) -> Refused:
    return Refused(
        "object-malformed",
        f"{place}: {reason}.",
        found=found,
        expected="apiVersion, kind and metadata.name of an object of Kubernetes",
        do=do,
    )


def _type(value: Any) -> str:
    return _TYPES.get(type(value), "a number")
