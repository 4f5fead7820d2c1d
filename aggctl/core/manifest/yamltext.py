"""A YAML or JSON file as a tree whose nodes know where they stand in the text.

The tree is built from the parser's events, so nothing is constructed or expanded: no alias bomb, no tag that
runs code. Size, depth and number of nodes are bounded. Nothing here is written back: the text is what counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.text import has_long_tag
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT = 1024 * 1024
DEPTH = 50
NODES = 20_000
"""A kubeadm manifest has about 4 KiB, 9 levels and 250 nodes."""

EXCERPT = 60

_NOT_A_STRING = re.compile(
    r"~|null|true|false|yes|no|on|off|y|n"
    r"|[-+]?(?:\d[\d_]*(?:\.\d*)?(?:e[-+]?\d+)?|0x[\da-f]+|0o[0-7]+|0b[01]+|\.inf|\.nan)?",
    re.IGNORECASE,
)
_ODD_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")

TEMPLATE = re.compile(
    r"\{\{[^}\n]*\}{0,2}|\{%|<%|__[A-Z][A-Z0-9_]*__|(?<!\$)\{[A-Z][A-Z0-9_]*\}|^<[^<>\n]+>$"
)
"""What no Kubernetes object contains: Jinja, Go, ERB, __DUNDER__, {UPPERCASE}, a lone <placeholder>."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `style` is '' for plain, else the quote or block sign; `start` and `end` delimit it."""

    value: str
    style: str
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence; `flow` for brackets."""

    items: tuple[Node, ...]
    flow: bool
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `flow` for braces."""

    entries: tuple[tuple[Scalar, Node], ...]
    flow: bool
    start: int
    end: int
    line: int

    def get(self, key: str) -> Node | None:
        """The value under `key`; None where it is absent or null."""
        node = next((value for name, value in self.entries if name.value == key), None)
        return None if node is None or is_null(node) else node

    def key(self, key: str) -> Scalar | None:
        """The key itself, which may stand there without a value."""
        return next((name for name, _ in self.entries if name.value == key), None)


Node = Scalar | Items | Table


def is_null(node: Node) -> bool:
    """Whether YAML reads nothing here."""
    return isinstance(node, Scalar) and not node.style and node.value in {"", "~", "null", "Null", "NULL"}


def is_string(plain: str) -> bool:
    """Whether a plain scalar is text for every YAML reader; the kubelet's knows `yes` and `on` as well."""
    return _NOT_A_STRING.fullmatch(plain) is None


def is_true(node: Node | None) -> bool:
    """Whether YAML reads a true boolean here."""
    return isinstance(node, Scalar) and not node.style and node.value in {"true", "True", "TRUE"}


def excerpt(value: str) -> str:
    """Foreign text made fit for a message: one line, printable, at most 60 characters."""
    printable = "".join(char if char.isprintable() else "?" for char in value)
    return printable if len(printable) <= EXCERPT else printable[: EXCERPT - 1] + "…"


def decode(data: bytes, path: str) -> str:
    """The text of a file; Refused where it is empty, too large or no text."""
    if len(data) > LIMIT:
        raise Refused(
            "manifest-too-large",
            f"{path} is larger than any static Pod.",
            expected=f"at most {LIMIT} bytes",
            do=f"look at what the file is: head -c 300 {path}",
        )
    if has_long_tag(data):
        raise _not_text(path, 1, "holds a YAML tag of a thousand characters", "!…")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_text(path, line, "is not UTF-8 text", data[error.start : error.start + 1].hex()) from error
    if not text.strip("\ufeff \t\r\n"):
        raise Refused(
            "manifest-empty",
            f"{path} is empty.",
            do="put the kube-apiserver manifest back from a backup, or let kubeadm write it: "
            "kubeadm init phase control-plane apiserver",
        )
    if odd := _NOT_TEXT.search(text):
        raise _not_text(path, text.count("\n", 0, odd.start()) + 1, "holds a control character", repr(odd[0]))
    if odd := _ODD_BREAK.search(text):
        # YAML counts these as ends of lines and editors do not: a line number would mislead.
        raise _not_text(path, text.count("\n", 0, odd.start()) + 1, "holds an odd line break", repr(odd[0]))
    return text


def _not_text(path: str, line: int, reason: str, found: str) -> Refused:
    return Refused(
        "manifest-not-text",
        f"{path}, line {line}: the file {reason}, so it is no manifest that can be edited.",
        found=found,
        expected="UTF-8 text with lines that end in LF or CRLF",
        do=f"look at what the file is: head -c 300 {path} | od -c",
    )


def parse(text: str, path: str) -> Node:
    """The only document of the text; Refused where there is none or several, or where it is no plain YAML."""
    documents = tuple(read_documents(text, path))
    real = [document for document in documents if not is_null(document)]
    if not real:
        raise Refused(
            "manifest-no-document",
            f"{path} holds no Kubernetes object: all of it is comments or blank.",
            do="take the comment signs away, or put the manifest back from a backup",
        )
    if len(real) > 1 or real[0] is not documents[0]:
        second = real[-1] if len(real) == 1 else real[1]
        raise Refused(
            "manifest-several-documents",
            f"{path}, line {second.line}: a second YAML document begins; the kubelet reads only the first.",
            do="leave one Pod in the file, without another `---` document",
        )
    return real[0]


def read_documents(text: str, path: str) -> Iterator[Node]:
    """The documents of the text one after the other, the empty ones included."""
    from ruamel.yaml import YAML  # noqa: PLC0415 -- 35 ms that only commands with a manifest pay
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 -- the same

    # JSON may be indented with tabs and YAML may not; no position moves, and JSON strings hold no raw tab.
    readable = text.replace("\t", " ") if text.lstrip("\ufeff \t\r\n").startswith("{") else text
    try:
        yield from _Builder(text, path).build(YAML(typ="safe", pure=True).parse(readable))
    # Beside its own errors ruamel lets some of Python's through: "\UFFFFFFFF", %YAML 1.9.
    except (
        YAMLError,
        ValueError,
        OverflowError,
        AssertionError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise _not_yaml(text, path, error) from error


def _not_yaml(text: str, path: str, error: Exception) -> Refused:
    """The refusal of what does not parse: a template that still has to be rendered, or a slip."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := TEMPLATE.search(_COMMENT.sub("", line)):
            return is_template(path, number, found[0])
    mark = getattr(error, "problem_mark", None)
    at = f", line {mark.line + 1}" if mark else ""
    reason = str(getattr(error, "problem", None) or type(error).__name__)
    if "<document start>" in reason:  # the parser's words for an env file or a systemd unit
        reason = "this belongs to nothing above it"
    return Refused(
        "manifest-not-yaml",
        f"{path}{at}: the file is no valid YAML ({excerpt(reason)}).",
        do="mend that line, or put the manifest back from a backup; a systemd unit or env file is none",
    )


def is_template(path: str, line: int, found: str) -> Refused:
    """The refusal of a file that somebody still has to render."""
    return Refused(
        "manifest-is-template",
        f"{path}, line {line}: {excerpt(found)} is a placeholder, so the file is a template.",
        do="render it first, or add the flags to the template itself",
    )


@dataclass(slots=True)
class _Open:
    """A collection whose end was not met yet; `key` is a mapping's key that waits for its value."""

    event: Any
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    key: Scalar | None = None


class _Builder:
    """Makes nodes of events, on a stack of its own, so that depth is a number and not Python's recursion."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.stack: list[_Open] = []
        self.count = 0

    def build(self, events: Iterable[Any]) -> Iterator[Node]:
        for event in events:
            kind = type(event).__name__
            if kind == "ScalarEvent":
                yield from self.add(self.scalar(event))
            elif kind in {"SequenceStartEvent", "MappingStartEvent"}:
                self.open(event)
            elif kind in {"SequenceEndEvent", "MappingEndEvent"}:
                yield from self.add(self.close(event))
            elif kind == "AliasEvent":
                raise self.unsupported(event, f"the alias *{excerpt(event.anchor)}")

    def scalar(self, event: Any) -> Scalar:
        self.bound(event)
        start, end = event.start_mark.index, event.end_mark.index
        return Scalar(event.value, event.style or "", start, end, event.start_mark.line + 1)

    def open(self, event: Any) -> None:
        self.bound(event)
        if len(self.stack) >= DEPTH:
            raise self.too_large(event, f"more than {DEPTH} levels")
        self.stack.append(_Open(event))

    def bound(self, event: Any) -> None:
        self.count += 1
        if self.count > NODES:
            raise self.too_large(event, f"more than {NODES} values")
        if event.anchor or event.tag:
            raise self.unsupported(event, f"the anchor &{excerpt(event.anchor)}" if event.anchor else "a tag")

    def close(self, event: Any) -> Node:
        opened = self.stack.pop()
        start, end = opened.event.start_mark, event.end_mark.index
        flow = bool(opened.event.flow_style)
        if type(event).__name__ == "SequenceEndEvent":
            return Items(tuple(opened.items), flow, start.index, end, start.line + 1)
        return Table(tuple(opened.entries), flow, start.index, end, start.line + 1)

    def add(self, node: Node) -> Iterator[Node]:
        """Put a finished node where it belongs; outside of all collections it is a document."""
        if not self.stack:
            yield node
            return
        parent = self.stack[-1]
        if type(parent.event).__name__ == "SequenceStartEvent":
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self.as_key(parent, node)
        else:
            parent.entries.append((parent.key, self.behind(parent.key, node)))
            parent.key = None

    def behind(self, key: Scalar, node: Node) -> Node:
        """A null that nobody wrote stands behind its key's colon; ruamel's mark is the next token's."""
        if node.start < node.end:
            return node
        colon = self.text.find(":", key.end, node.start)
        return node if colon < 0 else Scalar("", "", colon + 1, colon + 1, key.line)

    def as_key(self, parent: _Open, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            inside = self.text[node.start : node.end]
            if parent.event.flow_style and node.flow:  # `{{ name }}` is a mapping with a mapping as its key
                raise is_template(self.path, node.line, "{" + inside + "}")
            raise bad_shape(self.path, node.line, "a key is a list or a mapping", expected="a plain key")
        if node.value in parent.keys:
            raise Refused(
                "manifest-duplicate-key",
                f"{self.path}, line {node.line}: the key {excerpt(node.value)} stands here a second time.",
                do="remove one of the two; which one is in force depends on the reader",
            )
        parent.keys.add(node.value)
        return node

    def too_large(self, event: Any, found: str) -> Refused:
        return Refused(
            "manifest-too-large",
            f"{self.path}, line {event.start_mark.line + 1}: the file has {found}, so it is no static Pod.",
            do=f"look at what the file is: head -c 300 {self.path}",
        )

    def unsupported(self, event: Any, found: str) -> Refused:
        return Refused(
            "manifest-has-anchors",
            f"{self.path}, line {event.start_mark.line + 1}: {found} makes the text mean more than it says,"
            " so that it cannot be edited safely.",
            do="write the manifest without YAML anchors, aliases and tags",
        )


def bad_shape(path: str, line: int, reason: str, *, expected: str = "", found: str = "") -> Refused:
    """The refusal of a manifest whose parts have the wrong types or an unusual layout."""
    return Refused(
        "manifest-bad-shape",
        f"{path}, line {line}: {reason}.",
        expected=expected,
        found=excerpt(found),
        do="mend the manifest by hand; the kubelet's log says whether it takes it: journalctl -u kubelet",
    )


def walk(node: Node) -> Iterator[Node]:
    """The node and everything in it, keys included, in the order of the text."""
    yield node
    if isinstance(node, Items):
        for item in node.items:
            yield from walk(item)
    elif isinstance(node, Table):
        for key, value in node.entries:
            yield key
            yield from walk(value)


def items_of(table: Table, key: str) -> tuple[Node, ...]:
    """The items of the list under `key`; none where there is no list."""
    node = table.get(key)
    return node.items if isinstance(node, Items) else ()
