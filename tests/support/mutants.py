"""Real documents, damaged: what fuzzing feeds to readers of what others wrote."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 7.5, 1e400, 10**40, "", "x", "\x1b[31m\u202e", "9" * 5000, "\ud800", [],
    ["x"], [None], [[]], {}, {"x": None}, {"name": 1}, [{}],
)  # fmt: skip
"""Values of every type that JSON has, and of sizes that nobody means."""

SCRAPS = (
    b"", b"\0", b"\xff", b"\xc3", b"\n", b"\r", b"\t", b" ", b":", b"- ", b"{", b"}", b"[", b"]", b'"', b"'",
    b"|", b"&a ", b"*a", b"!!binary x", b"<<: *a", b"---\n", b"%", b"#", b"9" * 30, b"=", b"~",
    b"-----BEGIN CERTIFICATE-----\n", "\u2028".encode(), "\u202e".encode(), b"\x1b]0;x\x07",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, originals: Sequence[bytes], most: int = 4) -> bytes:
    """A document with a few places cut, doubled, flipped or overwritten."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from((0, 1, 2, 9, 60, 10**6))))
        part = content[start:end]
        scrap = draw(st.sampled_from((*SCRAPS, part * 2, bytes(each ^ 1 for each in part), part[::-1])))
        content = content[:start] + scrap + content[end:]
    return content


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document, from the top down."""
    yield path
    found = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in found:
        yield from places(each, (*path, key))


@st.composite
def mistyped(draw: st.DrawFn, original: Any, most: int = 3) -> Any:
    """A JSON document in which a few places hold something else, twice the same, or nothing."""
    found = original
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(list(places(found))))
        found = _with(found, path, draw(st.sampled_from((*WRONG, "gone", "twice"))))
    return found


def _with(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    if not path:
        return copy.deepcopy(wrong)
    changed = copy.deepcopy(value)
    *way, last = path
    inner = changed
    for key in way:
        inner = inner[key]
    if wrong == "gone":
        del inner[last]
    elif wrong == "twice" and isinstance(inner, list):
        inner.append(copy.deepcopy(inner[last]))
    else:
        inner[last] = copy.deepcopy(wrong)
    return changed


def as_json(value: Any) -> bytes:
    """The document as a server would send it; what JSON cannot say comes as Python says it."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
