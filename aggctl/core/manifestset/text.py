"""A file's bytes as the documents in it, JSON or YAML, or the line and the reason for which it is refused."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.manifestset.builder import DEPTH, NODES, Builder, Slip
from aggctl.core.manifestset.templates import in_text, is_template
from aggctl.core.text import clean, has_long_tag
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT = 2 * 1024 * 1024
"""Bytes of one file: several times the largest set that upstream projects ship, CRDs included."""

_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BYTE_ORDER_MARK = re.compile("^\ufeff", re.MULTILINE)
_NOT_BLANK = re.compile(r"[^ \t\r\n]|\Z")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_WAYS = {
    "objects-too-large": "name the files of the API alone: aggctl register -f FILE",
    "objects-not-text": "write that character as it is, or leave it out",
    "objects-duplicate-key": "remove one of the two; which one is in force depends on the reader",
    "objects-alias-bomb": "write the objects out in full, without aliases",
    "objects-not-yaml": "mend that line, then run again",
}


@dataclass(frozen=True, slots=True)
class Document:
    """The value of one document and the line, from 1, in which it begins."""

    value: Any
    line: int


def documents(name: str, data: bytes) -> tuple[Document, ...]:
    """The documents of a file but the empty ones; Refused, with line and reason, where it cannot be read."""
    text = _decode(name, data)
    try:
        found = [each for each in _json(text) or _yaml(name, text) if each.value is not None]
        for each in found:
            _refuse_unfit(each)
    except Slip as slip:
        where = f"{name}, line {slip.line}" if slip.line else name
        if slip.code == "objects-template":
            raise is_template(where, slip.reason) from slip
        raise Refused(slip.code, f"{where}: {slip.reason}.", do=_WAYS[slip.code]) from slip
    return tuple(found)


def _decode(name: str, data: bytes) -> str:
    if len(data) > LIMIT:
        raise Refused(
            "objects-too-large",
            f"{name} is larger than any set of manifests that aggctl reads.",
            found=f"{len(data)} bytes",
            expected=f"at most {LIMIT} bytes in one file",
            do=_WAYS["objects-too-large"],
        )
    if has_long_tag(data):
        raise _not_text(name, "has a YAML tag of a thousand characters")
    if data.startswith(_UTF16):
        raise _not_text(name, "is UTF-16, as PowerShell's `>` writes it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_text(name, f"is no UTF-8 in line {line}") from error
    if odd := _NOT_TEXT.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise _not_text(name, f"has the control character {odd[0]!r} in line {line}")
    return _BYTE_ORDER_MARK.sub("", text)  # files put together by cat keep theirs


def _not_text(name: str, reason: str) -> Refused:
    return Refused(
        "objects-not-text",
        f"{name} {reason}, so it is no manifest.",
        expected="UTF-8 text: YAML or JSON",
        do=f"look at what it is: head -c 300 {name} | od -c",
    )


# --- JSON ------------------------------------------------------------------------------------------------


def _json(text: str) -> list[Document]:
    """The objects of a JSON stream; none where it is no such, and YAML may read it or know the reason."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    found: list[Document] = []
    at = _next(text, 0)
    if not text.startswith("{", at):
        return []
    try:
        while at < len(text):
            value, end = decoder.raw_decode(text, at)
            found.append(Document(value, text.count("\n", 0, at) + 1))
            at = _next(text, end)
    except (ValueError, RecursionError):
        return []
    return found


def _next(text: str, at: int) -> int:
    """The index of the next character that is none of JSON's blanks, or of the end."""
    found = _NOT_BLANK.search(text, at)
    return found.start() if found else len(text)


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Slip("objects-duplicate-key", f"the key {clean(key, 60)} stands twice in one object")
        found[key] = value
    return found


# --- YAML ------------------------------------------------------------------------------------------------


def _yaml(name: str, text: str) -> list[Document]:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- 35 ms that only commands with a manifest pay
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 -- the same

    try:
        events = YAML(typ="safe", pure=True).parse(text)
        return [Document(value, line) for value, line in Builder(text).build(events)]
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
        raise _not_yaml(name, text, error) from error


def _not_yaml(name: str, text: str, error: Exception) -> Refused:
    """The refusal of what does not parse: a template that still has to be rendered, or a slip."""
    mark = getattr(error, "problem_mark", None)
    at = f", line {mark.line + 1}" if mark else ""
    reason = str(getattr(error, "problem", None) or type(error).__name__)
    if "<document start>" in reason:  # the parser's words for an env file or plain prose
        reason = "this belongs to nothing above it"
    if "tag" in reason:  # the parser quotes it, and `password: !x!y` is one
        reason = "a YAML tag stands here"
    said = f"no valid YAML ({clean(reason, 100)})"
    if template := in_text(text):
        line, sign = template
        return is_template(f"{name}, line {line}", sign, found=f"{said}{at}")
    return Refused(
        "objects-not-yaml",
        f"{name}{at}: the file is {said}.",
        expected="Kubernetes objects as YAML or JSON",
        do=_WAYS["objects-not-yaml"],
    )


# --- both ------------------------------------------------------------------------------------------------


def _refuse_unfit(document: Document) -> None:
    """Slip where a document is too deep, too much, or has text that cannot be sent to a server."""
    for count, (depth, value) in enumerate(_walk(document.value), start=1):
        if depth > DEPTH or count > NODES:
            raise Slip("objects-too-large", "it holds more than any set of manifests", document.line)
        if isinstance(value, str) and not _can_be_sent(value):
            raise Slip("objects-not-text", "it has half a character (a lone surrogate)", document.line)


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Every key and value, and how many collections it stands in; on a stack of its own."""
    stack = [(0, value)]
    while stack:
        depth, each = stack.pop()
        yield depth, each
        if isinstance(each, dict):
            stack.extend((depth + 1, part) for pair in each.items() for part in pair)
        elif isinstance(each, list):
            stack.extend((depth + 1, part) for part in each)


def _can_be_sent(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
