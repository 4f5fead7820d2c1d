"""Puts text into a manifest in the style of what stands around it: indent, quotes, line ends, brackets.

Everything here works out splices, i.e. what to put where. Nothing of the text is written anew, and whether
the result means what was wanted is proven elsewhere (`proof`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aggctl.core.manifest.yamltext import Items, Node, Scalar, Table, bad_shape, is_string

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Fields = dict[str, "str | bool | dict[str, str]"]
"""An entry of a list, as the keys and values of a mapping."""

_DASH = re.compile(r" *-[ \t]+")
_PLAIN = re.compile(r"-{0,2}[A-Za-z/_][^\n]*")
_NOT_PLAIN = re.compile(r": | #|[:\s]$")
_BARE = re.compile(r'"([A-Za-z/_][A-Za-z0-9_./-]*)"')


class Source(Protocol):
    """A text that is edited, and what messages call it."""

    @property
    def text(self) -> str:
        """All of it."""

    @property
    def path(self) -> str:
        """Its name."""


@dataclass(frozen=True, slots=True)
class Splice:
    """`text` in place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


def apply(text: str, splices: Iterable[Splice]) -> str:
    """The text with all splices made; those at the same place stay in their order."""
    parts, at = [], 0
    for splice in sorted(splices, key=lambda each: each.start):
        parts += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*parts, text[at:]])


def quote(value: str, style: str, *, flow: bool) -> str:
    """The value as YAML, in the wanted quotes; in double quotes (JSON's) where those would change it."""
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if not style and _is_plain(value, flow=flow):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(value: str, *, flow: bool) -> bool:
    signs = set(",[]{}") if flow else set()
    fits = _PLAIN.fullmatch(value) and not _NOT_PLAIN.search(value) and value.isprintable()
    return bool(fits) and is_string(value) and not signs & set(value)


def usual_style(scalars: Sequence[Scalar]) -> str:
    """The quotes that most of the scalars stand in."""
    return Counter(scalar.style for scalar in scalars).most_common(1)[0][0]


def replacement(source: Source, scalar: Scalar, value: str, *, flow: bool) -> Splice:
    """Another value for one scalar, in its own quotes."""
    refuse_block_scalar(source, scalar)
    return Splice(scalar.start, scalar.end, quote(value, scalar.style, flow=flow))


def refuse_block_scalar(source: Source, scalar: Scalar) -> None:
    """What `|` and `>` begin has no end that can be told from the comments behind it."""
    if scalar.style in {"|", ">"}:
        raise bad_shape(source.path, scalar.line, f"a block scalar ({scalar.style}) stands where lines go in")


# --- lists -----------------------------------------------------------------------------------------------


def after_item(source: Source, items: Items, index: int, entries: Sequence[str]) -> Splice:
    """Entries (YAML text, one or more lines each) behind the item with this index; -1 puts them first."""
    if items.flow:
        return _in_brackets(source, items, index, entries)
    prefix = dash_prefix(source, items.items[max(index, 0)])
    lines = [prefix + entry for entry in entries]
    if index < 0:
        return _lines_before(source.text, items.items[0].start, lines)
    return lines_after(source, items.items[index], lines)


def dash_prefix(source: Source, item: Node) -> str:
    """The indent and dash in front of an item of a block list."""
    prefix = source.text[_line_start(source.text, item.start) : item.start]
    if not _DASH.fullmatch(prefix):
        raise bad_shape(source.path, item.line, "the list item does not begin with a dash on its own line")
    return prefix


def lines_after(source: Source, node: Node, lines: Sequence[str]) -> Splice:
    """Whole lines behind the last line of a node, and behind the comment on that line."""
    last = _last(node)
    if isinstance(last, Scalar):
        refuse_block_scalar(source, last)
    text = source.text
    end = _line_end(text, _past_comment(text, last.end))
    newline = newline_at(text, end)
    if end == len(text):  # a last line without an end stays one
        return Splice(end, end, "".join(newline + line for line in lines))
    return Splice(end + 1, end + 1, "".join(line + newline for line in lines))


def _lines_before(text: str, offset: int, lines: Sequence[str]) -> Splice:
    """Whole lines before an item and before the comments that belong to it, right behind the list's key."""
    start = _line_start(text, offset)
    above = _line_start(text, start - 1)
    while not text[above:start].strip() or text[above:start].lstrip().startswith("#"):
        start, above = above, _line_start(text, above - 1)
    newline = newline_at(text, start - 1)
    return Splice(start, start, "".join(line + newline for line in lines))


def _last(node: Node) -> Node:
    """The node that ends a node's text; marks of block collections lie behind the comments that follow."""
    while not isinstance(node, Scalar) and not node.flow:
        node = node.items[-1] if isinstance(node, Items) else node.entries[-1][1]
    return node


def _past_comment(text: str, offset: int) -> int:
    """`offset`, or the last line of the comment behind it where that goes on in the same column."""
    end = _line_end(text, offset)
    sign = text.find("#", offset, end)
    if sign < 0:
        return offset
    comment = " " * (sign - _line_start(text, offset)) + "#"
    while text.startswith(comment, end + 1):
        end = _line_end(text, end + 1)
    return end


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, max(offset, 0)) + 1


def _line_end(text: str, offset: int) -> int:
    """The index of the next line feed, or the end of the text."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def newline_at(text: str, end: int) -> str:
    """The line end used at this line feed; at the end of the text, that of the line before."""
    feed = end if end < len(text) else text.rfind("\n")
    return "\r\n" if feed > 0 and text[feed - 1] == "\r" else "\n"


def _in_brackets(source: Source, items: Items, index: int, entries: Sequence[str]) -> Splice:
    text, nodes = source.text, items.items
    borders = [items.start + 1, *(at for node in nodes for at in (node.start, node.end)), items.end - 1]
    gaps = [text[start:end] for start, end in zip(borders[::2], borders[1::2], strict=True)]
    if "#" in gaps[index + 1]:
        raise bad_shape(source.path, items.line, "a comment stands between brackets where flags or mounts go")
    if not nodes:
        return Splice(items.start + 1, items.start + 1, ", ".join(entries))
    between = _separator(text[items.start : items.end], gaps, index)
    if index < 0:
        return Splice(nodes[0].start, nodes[0].start, "".join(entry + between for entry in entries))
    return Splice(nodes[index].end, nodes[index].end, "".join(between + entry for entry in entries))


def _separator(source: str, gaps: Sequence[str], index: int) -> str:
    """The comma and the blanks or line break that part the items near this place."""
    candidates = [gaps[index + 1], *gaps[1:-1]]
    if "\n" in gaps[0]:
        candidates.append("," + gaps[0])
    usual = "," if '":' in source and '": ' not in source else ", "
    return next((gap for gap in candidates if gap.strip() == ","), usual)


# --- entries of volumeMounts and volumes -----------------------------------------------------------------


def new_entries(source: Source, parent: Table, key: str, entries: Sequence[Fields]) -> Splice:
    """Mappings at the end of the list under `key`, which is made where it is missing."""
    items = parent.get(key)
    if isinstance(items, Items) and items.items:
        like = items.items[-1]
        rendered = [_render(source, like, in_name_order(like, fields)) for fields in entries]
        return after_item(source, items, len(items.items) - 1, rendered)
    if isinstance(items, Items):
        return after_item(source, items, -1, [json.dumps(fields) for fields in entries])
    if parent.flow or parent.key(key):
        raise bad_shape(
            source.path, parent.line, f"there is no list under {key}, and none can be added safely"
        )
    return _new_list(source, parent, key, entries)


def _new_list(source: Source, parent: Table, key: str, entries: Sequence[Fields]) -> Splice:
    """A key with its list behind the parent's last line, indented as the parent's own keys."""
    newline = newline_at(source.text, _line_end(source.text, parent.start))
    indent = " " * column_of(source.text, parent.entries[0][0])
    lines = [f"{indent}{key}:"]
    for fields in entries:
        lines += (indent + "- " + _block_entry(fields, len(indent) + 2, 2, newline)).split(newline)
    return lines_after(source, parent, lines)


def in_name_order(like: Node, fields: Fields) -> Fields:
    """The fields with the name first where the neighbour has it first."""
    if isinstance(like, Table) and like.entries and like.entries[0][0].value == "name":
        return {"name": fields["name"], **fields}
    return fields


def _render(source: Source, like: Node, fields: Fields) -> str:
    text = source.text
    newline = newline_at(text, _line_end(text, like.start))
    if isinstance(like, Table) and like.flow:
        return _flow_entry(text, like, fields, newline)
    return _block_entry(fields, column_of(text, like), _step(text, like), newline)


def _step(text: str, like: Node) -> int:
    """How much deeper a nested mapping stands in the neighbour."""
    nested = like.get("hostPath") if isinstance(like, Table) else None
    if isinstance(nested, Table) and not nested.flow:
        return column_of(text, nested) - column_of(text, like)
    return 2


def _block_entry(fields: Fields, column: int, step: int, newline: str) -> str:
    """A mapping in lines; the first one has its indent already, from the dash."""
    lines = []
    for key, value in fields.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"{' ' * step}{name}: {quote(text, '', flow=False)}" for name, text in value.items()]
        else:
            lines.append(f"{key}: {'true' if value is True else quote(str(value), '', flow=False)}")
    return (newline + " " * column).join(lines)


def _flow_entry(text: str, like: Table, fields: Fields, newline: str) -> str:
    """A mapping in braces, on as many lines and with the same quotes and blanks as its neighbour."""
    source = text[like.start : like.end]
    base, inner = (_indent(text, at) for at in (like.start, like.entries[0][0].start))
    if newline in source:
        return json.dumps(fields, indent=inner.removeprefix(base) or None).replace("\n", newline + base)
    spaced = not like.entries[0][0].style or '": ' in source  # YAML wants the blank behind a bare key
    dumped = json.dumps(fields, separators=(", ", ": ") if spaced else (",", ":"))
    if not like.entries[0][0].style:
        dumped = _BARE.sub(lambda found: found[1] if is_string(found[1]) else found[0], dumped)
    return "{ " + dumped[1:-1] + " }" if source.startswith("{ ") else dumped


def column_of(text: str, node: Node) -> int:
    """How far in its line a node stands."""
    return node.start - _line_start(text, node.start)


def _indent(text: str, offset: int) -> str:
    """The blanks at the beginning of a line."""
    line = text[_line_start(text, offset) : offset]
    return line[: len(line) - len(line.lstrip(" \t"))]
