"""Plain objects out of YAML events, bounded, and without a constructor that runs anything.

No file can expand in memory: what an alias stands for is weighed before it is copied. Scalars are kubectl's.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.manifestset import scalars
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEPTH = 100
NODES = 200_000
"""Keys and values of one file, what aliases stand for included; 2 MiB of usual YAML hold about 130 000."""

_CHARACTERS = 256
"""So much text weighs as much as a value: a long string has many aliases as cheaply as a large mapping."""

_MERGE = object()
"""Stands in for the key `<<`, whose value is merged into the mapping."""

_STRING = frozenset({"!", "tag:yaml.org,2002:str"})


class Slip(Exception):  # noqa: N818 -- no failure of the program: a reason to refuse that lacks the file's name
    """What is wrong in a file, and in which line; 0 where that is not known."""

    def __init__(self, code: str, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for: its value, how many nodes it has and how many levels."""

    value: Any
    weight: int
    height: int


@dataclass(slots=True)
class _Open:
    """A collection whose end was not met yet; `key` is a mapping's key that waits for its value."""

    event: Any
    value: Any
    count: int
    height: int = 1
    key: Any = None
    merged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def wants_key(self) -> bool:
        """Whether the next node is a key."""
        return isinstance(self.value, dict) and self.key is None


class Builder:
    """Makes documents of events; with a stack of its own, depth is a number and not Python's recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Anchored] = {}
        self.count = 0

    def build(self, events: Iterable[Any]) -> Iterator[tuple[Any, int]]:
        """Each document and its line; Slip where it is more than it says."""
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                self.anchors = {}
            elif kind == "ScalarEvent":
                yield from self.scalar(event)
            elif kind in {"SequenceStartEvent", "MappingStartEvent"}:
                self.open(event, [] if kind == "SequenceStartEvent" else {})
            elif kind in {"SequenceEndEvent", "MappingEndEvent"}:
                yield from self.close()
            elif kind == "AliasEvent":
                self.alias(event)

    def scalar(self, event: Any) -> Iterator[tuple[Any, int]]:
        """A key, a value, or all of a document."""
        weight = 1 + len(event.value) // _CHARACTERS
        self.weigh(event, weight)
        text = event.tag in _STRING or bool(event.style)
        if event.tag and event.tag not in _STRING:
            raise _slip(event, "a YAML tag stands here, and Kubernetes knows none")
        if self.stack and self.stack[-1].wants_key:
            self.stack[-1].key = self.key(event, text=text)
            return
        value = event.value if text else scalars.resolve(event.value)
        yield from self.done(event, _Anchored(value, weight, 0))

    def key(self, event: Any, *, text: bool) -> Any:
        """A mapping's next key; Slip where it stands there already."""
        if event.value == "<<" and not text:
            return _MERGE
        key = event.value if text else scalars.key(event.value)
        if key is None:
            raise _slip(event, "a key is missing or null")
        if key in self.stack[-1].value:
            raise _slip(event, f"the key {clean(key, 60)} stands here again", "objects-duplicate-key")
        self.stack[-1].value[key] = None  # holds the place in the order
        return key

    def open(self, event: Any, value: Any) -> None:
        """A list or a mapping begins."""
        self.weigh(event, 1)
        if event.tag and event.tag != "!":
            raise _slip(event, "a YAML tag stands here, and Kubernetes knows none")
        if len(self.stack) >= DEPTH:
            raise _slip(event, f"it is nested in more than {DEPTH} levels", "objects-too-large")
        if self.stack and self.stack[-1].wants_key:
            at = event.start_mark.index
            if (
                "{{" in self.text[max(at - 1, 0) : at + 2]
            ):  # `{{ name }}` is a mapping with a mapping as its key
                raise _slip(event, "{{", "objects-template")
            raise _slip(event, "a list or a mapping stands where a key is expected")
        self.stack.append(_Open(event, value, self.count - 1))

    def close(self) -> Iterator[tuple[Any, int]]:
        """The collection that was opened last is complete."""
        opened = self.stack.pop()
        for merged in opened.merged:
            opened.value = merged | opened.value  # what stands in the mapping itself wins
        weight = self.count - opened.count
        yield from self.done(opened.event, _Anchored(opened.value, weight, opened.height))

    def done(self, event: Any, node: _Anchored) -> Iterator[tuple[Any, int]]:
        """A node is complete; outside of all collections it is a document."""
        if event.anchor:
            self.anchors[event.anchor] = node
        if self.stack:
            self.put(event, node)
        else:
            yield node.value, _line(event)

    def put(self, event: Any, node: _Anchored) -> None:
        """Put a value into the collection that is open."""
        parent = self.stack[-1]
        parent.height = max(parent.height, node.height + 1)
        if isinstance(parent.value, list):
            parent.value.append(node.value)
        elif parent.key is _MERGE:
            parent.merged.extend(_mergeable(event, node.value))
        else:
            parent.value[parent.key] = node.value
        parent.key = None

    def alias(self, event: Any) -> None:
        """A copy of what the anchor holds; the name is never quoted: it may be a password without quotes."""
        node = self.anchors.get(event.anchor)
        if node is None:
            raise _slip(event, "an alias (*) stands here for nothing above it")
        self.weigh(event, node.weight, "objects-alias-bomb")
        if len(self.stack) + node.height > DEPTH:
            raise _slip(event, f"aliases nest it in more than {DEPTH} levels", "objects-alias-bomb")
        if self.stack[-1].wants_key:  # an anchor is of the same document, so that something is open
            raise _slip(event, "an alias (*) stands where a key is expected")
        self.put(event, _Anchored(copy.deepcopy(node.value), node.weight, node.height))

    def weigh(self, event: Any, weight: int, code: str = "objects-too-large") -> None:
        """Slip where this makes too much of it."""
        self.count += weight
        if self.count > NODES:
            raise _slip(event, f"it has more than {NODES} keys and values", code)


def _mergeable(event: Any, value: Any) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    if all(isinstance(each, dict) for each in found):
        return found
    raise _slip(event, "`<<` merges a mapping, or a list of mappings")


def _slip(event: Any, reason: str, code: str = "objects-not-yaml") -> Slip:
    return Slip(code, reason, _line(event))


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
