"""What a server sent, held against the types of Kubernetes' API before anybody reads it.

kube-apiserver itself never sends anything else. What a broken proxy, another program or an attacker sends
becomes a sentence here, and not a fault in the midst of a check.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from aggctl.core.kinds import (
    ADDRESS,
    DNS,
    FIELDS,
    GROUPS,
    KINDS,
    LIST,
    OBJECT,
    PARTIAL,
    PORT,
    PORT_OR_NAME,
    RESOURCES,
    VERSION,
    Map,
    Shape,
    Word,
)
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

_CALLED = {str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "a mapping"}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DISCOVERY = re.compile(r"/api/[^/]+|/apis/[^/]+/[^/]+")
_NAMED = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/[^/]+(?=/))?/(?P<resource>[^/]+)(?P<name>/[^/]+)?"
)
MOST = 48 * 1024 * 1024
"""What one document may come to in memory, in bytes."""

A_VALUE = 70
"""Bytes that a value takes in Python, at most and in the mean: `{}` 64 and its place in a list 8."""

HIGHEST_PORT = 65535
DEEPEST = 100
"""What is nested more deeply than any object of Kubernetes would end Python's own recursion later."""

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class NotTyped(ValueError):  # noqa: N818 -- what it is
    """A document is not of the type that it should be; the message says where and how."""


def weight_of(body: bytes) -> int:
    """What a document will come to in memory once it is read, in bytes; never less."""
    values = sum(body.count(sign) for sign in (b",", b"{", b"[", b":"))
    return len(body) * (1 if body.isascii() else 4) + A_VALUE * values


def read_json(body: bytes, most: int = MOST) -> Any:
    """A JSON document; NotTyped for what is none, is too large to hold, or is nested too deeply to read."""
    if weight_of(body) > most:
        raise NotTyped("it is too large to be read")
    try:
        found = json.loads(body, parse_constant=_no_number, parse_float=_number)
    except RecursionError as error:
        raise NotTyped("it is nested too deeply to be read") from error
    except UnicodeDecodeError as error:
        raise NotTyped("it is no JSON: it is no UTF-8 text") from error
    except ValueError as error:
        raise NotTyped(f"it is no JSON: {clean(str(error), 120)}") from error
    if _nests(body) and _is_deep(found):
        raise NotTyped("it is nested too deeply to be read")
    if _SURROGATE.search(body):  # half a character cannot be sent or printed; Go replaces it as well
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def typed(path: str, found: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """The object or list of a path of the API; NotTyped where a field has another type than in the API."""
    path = path.partition("?")[0]
    if named := _NAMED.fullmatch(path):
        shape = PARTIAL if partial else KINDS.get((named["group"] or "", named["resource"]), OBJECT)
        hold(found, shape if named["name"] else {**LIST, "items": [shape]})
    elif path == "/apis":
        hold(found, GROUPS)
    elif path == "/version":
        hold(found, VERSION)
    elif _DISCOVERY.fullmatch(path):
        hold(found, RESOURCES)
    return found


def is_list(path: str) -> bool:
    """Whether it is the path of all objects of a kind, and not of one."""
    named = _NAMED.fullmatch(path.partition("?")[0])
    return bool(named and not named["name"])


def hold(value: Any, shape: Shape, where: str = "") -> None:
    """NotTyped where a value is not of a shape."""
    if isinstance(shape, Mapping):
        _hold_fields(value, shape, where)
    elif isinstance(shape, list):
        for number, each in enumerate(_is(value, list, where)):
            hold(each, shape[0], f"{where}[{number}]")
    elif isinstance(shape, Map):
        for name, each in _is(value, dict, where).items():
            hold(each, shape.of, f"{where}.{name}")
    else:
        _hold_scalar(value, shape, where)


def _hold_fields(value: Any, shape: Mapping[str, Shape], where: str) -> None:
    found = _is(value, dict, where)
    for field, inner in shape.items():
        name = field.removesuffix("!")
        place = f"{where}.{name}" if where else name
        if found.get(name) is not None:
            hold(found[name], inner, place)
        elif field != name:
            raise NotTyped(f"{place} is missing")


def _hold_scalar(value: Any, shape: Shape, where: str) -> None:
    if shape == FIELDS:
        _hold_managed(value, where)
    elif shape in (PORT, PORT_OR_NAME):
        _hold_port(value, where, named=shape == PORT_OR_NAME)
    elif shape == ADDRESS:
        _hold_address(_is(value, str, where), where)
    elif not isinstance(shape, Word):
        _is(value, shape, where)
    elif not re.fullmatch(shape.pattern, _is(value, str, where)):
        raise NotTyped(f"{where} is {clean(value, 80)!r}, and not {shape.called}")


def _hold_port(value: Any, where: str, *, named: bool) -> None:
    if named and isinstance(value, str):
        return
    if not 0 <= _is(value, int, where) <= HIGHEST_PORT:
        raise NotTyped(f"{where} is a number that no port has")


def _hold_address(value: str, where: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError as error:
        if not re.fullmatch(DNS.pattern, value.removesuffix(".")):
            raise NotTyped(f"{where} is {clean(value, 80)!r}, and not an address") from error


def _hold_managed(value: Any, where: str) -> None:
    """FieldsV1: each key says how to find what it is about."""
    for key, inner in _is(value, dict, where).items():
        if not _is_path_element(key):
            raise NotTyped(f"{where} holds {clean(key, 80)!r}, which is no path element")
        _hold_managed(inner, where)


def _is_path_element(key: str) -> bool:
    kind, sign, text = key.partition(":")
    if kind in ("k", "v"):
        try:
            return isinstance(json.loads(text), dict) or kind == "v"
        except (ValueError, RecursionError):
            return False
    return key == "." or (bool(sign) and (kind == "f" or (kind == "i" and text.isascii() and text.isdigit())))


def _is(value: Any, wanted: type, where: str) -> Any:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise NotTyped(f"{where or 'it'} is {_said(value)}, and not {_CALLED[wanted]}")
    return value


def _said(value: Any) -> str:
    """What a value of JSON is, in words."""
    return next((words for kind, words in _CALLED.items() if type(value) is kind), "null or a fraction")


def _nests(body: bytes) -> bool:
    """Whether it may be nested deeply: brackets are left once pairs are taken away so many times."""
    left = body.translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST):
        if not left:
            return False
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return bool(left)


def _is_deep(found: Any) -> bool:
    """Whether it is; a bracket in a string has no partner, either."""
    level = [found]
    for _ in range(DEEPEST):
        level = [each for value in level for each in _inside(value)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _number(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
