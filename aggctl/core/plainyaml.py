"""The YAML that kubeadm and kubectl write, read in a millisecond; all other YAML is left to a real reader.

That is block mappings, block sequences of them, and words that are the same text in every version of YAML.
Loading a real reader, and reading a kubeconfig with it, takes 25 ms of every start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(
    r"(?P<indent> *)(?P<dash>- )?(?P<key>[A-Za-z][A-Za-z0-9-]*):"
    r"(?: (?P<value>\{\}|[A-Za-z/][A-Za-z0-9+/=@:._-]*))?",
    re.ASCII,
)
_NO_TEXT = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
"""Words that some version of YAML takes for something else than text."""


class _NotPlain(Exception):  # noqa: N818 -- no error, another reader's work
    """Something that this reader leaves to a real one."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One key: the columns of its dash, if it has one, and of itself; no value: it is below."""

    dash: int | None
    column: int
    key: str
    value: str | None


def read_plain(text: str) -> dict[str, Any] | None:
    """The document, or None where it is not of this plain kind."""
    try:
        lines = [_line(each) for each in text.removesuffix("\n").split("\n")]
        found, after = _mapping(lines, 0, 0)
    except _NotPlain:
        return None
    return found if found and after == len(lines) else None


def _line(text: str) -> _Line:
    match = _LINE.fullmatch(text)
    if match is None or {match["key"].lower(), (match["value"] or "").lower()} & _NO_TEXT:
        raise _NotPlain
    if (match["value"] or "").endswith(":"):
        raise _NotPlain
    indent = len(match["indent"])
    dash = indent if match["dash"] else None
    return _Line(dash, indent + (2 if match["dash"] else 0), match["key"], match["value"])


def _mapping(lines: list[_Line], at: int, column: int) -> tuple[dict[str, Any], int]:
    """The mapping whose first key is line `at`, and the line after it; only the first may have a dash."""
    found: dict[str, Any] = {}
    first = at
    while at < len(lines) and lines[at].column == column and (at == first or lines[at].dash is None):
        line = lines[at]
        if line.key in found:
            raise _NotPlain
        if line.value is None:
            found[line.key], at = _below(lines, at + 1, column)
        else:
            found[line.key], at = ({} if line.value == "{}" else line.value), at + 1
    return found, at


def _below(lines: list[_Line], at: int, column: int) -> tuple[Any, int]:
    """What a key at `column` without a value holds; an empty one is null, and not for us."""
    if at == len(lines):
        raise _NotPlain
    line = lines[at]
    if line.dash is not None and line.dash >= column:
        return _sequence(lines, at, line.dash)
    if line.dash is None and line.column > column:
        return _mapping(lines, at, line.column)
    raise _NotPlain


def _sequence(lines: list[_Line], at: int, dash: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(lines) and lines[at].dash == dash:
        item, at = _mapping(lines, at, lines[at].column)
        found.append(item)
    return found, at
