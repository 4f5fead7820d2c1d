"""Sets extraArgs in the text of a ClusterConfiguration, in the style of what stands there, and proves it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aggctl.core.manifest.proof import keeps_lines, plain
from aggctl.core.manifest.splice import (
    Splice,
    apply,
    column_of,
    lines_after,
    new_entries,
    quote,
    replacement,
    usual_style,
)
from aggctl.core.manifest.yamltext import Scalar, Table, is_string
from aggctl.core.persist.configuration import agree, not_editable, read_configuration
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggctl.core.manifest.splice import Fields
    from aggctl.core.manifest.yamltext import Node
    from aggctl.core.persist.configuration import Configuration, Extra

SERVER, ARGS = "apiServer", "extraArgs"


def edit_configuration(configuration: Configuration, wanted: Mapping[str, str]) -> str:
    """The text by which kubeadm sets each flag to its value; Refused where that is not safe.

    What is already so stays as it is: an edit made twice is the edit made once.
    """
    changed = {
        name: value for name, value in wanted.items() if not agree(name, configuration.value(name), value)
    }
    try:
        splices = list(_splices(configuration, changed))
        text = apply(configuration.text, splices)
        after = read_configuration(text)
    except Refused as error:
        raise error if error.code == "kubeadm-config-not-editable" else not_editable(error.message) from error
    prove(configuration, after, changed, splices)
    return text


def _splices(configuration: Configuration, changed: Mapping[str, str]) -> Iterator[Splice]:
    missing = {}
    for name, value in changed.items():
        extra = _standing(configuration, name)
        if extra is None:
            missing[name] = value
        else:
            yield _other_value(configuration, extra, value)
    if missing:
        yield from _additions(configuration, missing)


def _standing(configuration: Configuration, name: str) -> Extra | None:
    found = [each for each in configuration.extras if each.name == name]
    if len(found) > 1:
        raise not_editable(f"{name} stands {len(found)} times in {SERVER}.{ARGS}, not once")
    return found[0] if found else None


def _other_value(configuration: Configuration, extra: Extra, value: str) -> Splice:
    scalar = extra.scalar
    if scalar is None:
        raise not_editable(f"{extra.name} has no value in {SERVER}.{ARGS}")
    if scalar.start == scalar.end:  # `name:` and nothing behind it
        return Splice(scalar.start, scalar.end, " " + quote(value, "", flow=extra.flow))
    return replacement(configuration, scalar, value, flow=extra.flow)


def _additions(configuration: Configuration, missing: Mapping[str, str]) -> Iterator[Splice]:
    """New extraArgs behind those that are there, in the deepest collection that is."""
    root, entries = configuration.root, _entries(missing)
    value: Any = entries if configuration.listed else dict(missing)
    server = root.get(SERVER)
    if not isinstance(server, Table) or not server.entries:
        yield from _fill(configuration, root, SERVER, {ARGS: value})
        return
    args = server.get(ARGS)
    if args is None or not plain(args):
        yield from _fill(configuration, server, ARGS, value)
    elif isinstance(args, Table):
        yield _behind_the_last(configuration, args, missing)
    else:
        yield new_entries(configuration, server, ARGS, entries)


def _entries(missing: Mapping[str, str]) -> list[Fields]:
    return [{"name": name, "value": value} for name, value in missing.items()]


def _behind_the_last(configuration: Configuration, args: Table, missing: Mapping[str, str]) -> Splice:
    """More keys for a mapping that has some, with the quotes of these."""
    key = usual_style([each for each, _ in args.entries])
    value = usual_style([each.scalar for each in configuration.extras if each.scalar])
    pairs = [
        f"{quote(name, key, flow=args.flow)}: {quote(text, value, flow=args.flow)}"
        for name, text in missing.items()
    ]
    if args.flow:
        return _in_braces(args, pairs)
    indent = " " * column_of(configuration.text, args.entries[0][0])
    return lines_after(configuration, args, [indent + pair for pair in pairs])


def _in_braces(table: Table, pairs: Sequence[str]) -> Splice:
    """More of them in a mapping that is not empty."""
    end = table.entries[-1][1].end
    return Splice(end, end, "".join(f", {pair}" for pair in pairs))


def _fill(configuration: Configuration, parent: Table, key: str, value: Any) -> Iterator[Splice]:
    """Put `value` under a key of `parent` that is missing, null or empty."""
    text = configuration.text
    name, old = next(((name, old) for name, old in parent.entries if name.value == key), (None, None))
    if name is None or old is None:
        if parent.flow:
            yield _in_braces(parent, [f"{json.dumps(key)}: {json.dumps(value)}"])
        else:
            yield lines_after(
                configuration, parent, _block({key: value}, column_of(text, parent.entries[0][0]))
            )
        return
    colon = text.find(":", name.end) + 1
    if parent.flow or "\n" in text[colon : old.end]:
        yield _in_place(old, value)
        return
    yield Splice(colon, old.end, "")
    yield lines_after(configuration, name, _block({key: value}, column_of(text, name))[1:])


def _in_place(old: Node, value: Any) -> Splice:
    """The value as JSON, within the brackets that are there or instead of a null."""
    if isinstance(old, Scalar):
        return Splice(old.start, old.end, (" " if old.start == old.end else "") + json.dumps(value))
    return Splice(old.start + 1, old.start + 1, json.dumps(value)[1:-1])


def _block(value: Mapping[str, Any], indent: int) -> list[str]:
    """A mapping in lines; lists stand in the column of their key, as kubeadm writes them."""
    pad = " " * indent
    lines = []
    for key, inner in value.items():
        if isinstance(inner, str):
            lines.append(f"{pad}{key}: {quote(inner, '', flow=False)}")
        elif isinstance(inner, dict):
            lines += [f"{pad}{key}:", *_block(inner, indent + 2)]
        else:
            lines.append(f"{pad}{key}:")
            for each in inner:
                first, *others = _block(each, indent + 2)
                lines += [f"{pad}- {first.lstrip()}", *others]
    return lines


def prove(
    before: Configuration, after: Configuration, changed: Mapping[str, str], splices: Sequence[Splice]
) -> None:
    """Return where the text says what was wanted and all else as before; Refused where it does not."""
    new = [each for each in after.extras if each.name in changed]
    if not all(each.scalar and (each.scalar.style or is_string(each.value)) for each in new):
        raise not_editable("a value would not come out as text")
    if plain(after.root) != _wanted(before, changed):
        raise not_editable("something else would change its meaning")
    if not keeps_lines(before.text, after.text, splices):
        raise not_editable("a line that nobody asked for would change")


def _wanted(before: Configuration, changed: Mapping[str, str]) -> Any:
    """The configuration as Python's values, with other extraArgs."""
    whole: Any = plain(before.root)
    if not changed:
        return whole
    server = whole[SERVER] if isinstance(whole.get(SERVER), dict) else {}
    args = server.get(ARGS)
    if before.listed:
        items = args if isinstance(args, list) else []
        known = {each.get("name") for each in items}
        old = [
            each | {"value": changed[each["name"]]} if each.get("name") in changed else each for each in items
        ]
        new = [each for each in _entries(changed) if each["name"] not in known]
        return {**whole, SERVER: {**server, ARGS: [*old, *new]}}
    return {**whole, SERVER: {**server, ARGS: {**(args if isinstance(args, dict) else {}), **changed}}}
