"""Proves that an edited manifest differs from the original in what was wanted, and in nothing else.

It knows nothing of how the edit was made: it reads the new text as if it were any file, and compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.manifest.edit import mount_fields, volume_fields
from aggctl.core.manifest.yamltext import Items, Node, Scalar, items_of
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggctl.core.manifest.model import Manifest, NewMount
    from aggctl.core.manifest.splice import Fields, Splice

Outline = str | tuple["Outline", ...]


def prove(
    before: Manifest,
    after: Manifest,
    flags: Mapping[str, str],
    mounts: Sequence[NewMount],
    splices: Sequence[Splice],
) -> None:
    """Return where all is as wanted; Refused (`manifest-edit-unproven`) where it is not."""
    for name, value in flags.items():
        if after.values(name) != (value,):
            raise unproven(before, f"--{name} did not come out as wanted")
    new = _new_entries(after, mounts)
    if len(new) != 2 * len(mounts):
        raise unproven(before, "the mounts did not come out as wanted")
    if _outline(before.site.pod, _flag_nodes(before, flags)) != _outline(
        after.site.pod, _flag_nodes(after, flags) | new
    ):
        raise unproven(before, "something else would change its meaning")
    if not keeps_lines(before.text, after.text, splices):
        raise unproven(before, "a line that nobody asked for would change")


def unproven(before: Manifest, reason: str) -> Refused:
    """The refusal of an edit that would not be exactly what was wanted."""
    return Refused(
        "manifest-edit-unproven",
        f"{before.path} was not edited: {reason}.",
        do="set the flags by hand, and please report this manifest as a defect of aggctl",
    )


def _flag_nodes(manifest: Manifest, flags: Mapping[str, str]) -> frozenset[int]:
    """The identities of the items that set one of the flags."""
    placed = [each for each in manifest.site.placed if each.flag.name in flags]
    return frozenset(id(scalar) for each in placed for scalar in each.scalars)


def _new_entries(after: Manifest, mounts: Sequence[NewMount]) -> frozenset[int]:
    """The identities of the entries that are exactly the wanted ones."""
    site = after.site
    return frozenset(
        id(item)
        for parent, key, fields in (
            (site.container, "volumeMounts", mount_fields),
            (site.spec, "volumes", volume_fields),
        )
        for item in items_of(parent, key)
        if plain(item) in [_read_back(fields(mount)) for mount in mounts]
    )


def plain(node: Node) -> object:
    """A node as Python's values, all scalars strings."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key.value: plain(value) for key, value in node.entries}


def _read_back(fields: Fields) -> object:
    return {key: "true" if value is True else value for key, value in fields.items()}


def _outline(node: Node, without: frozenset[int]) -> Outline:
    """A node with the quotes of its values, without some items and without lists in which nothing is left."""
    if isinstance(node, Scalar):
        return node.value, node.style
    if isinstance(node, Items):
        return tuple(_outline(item, without) for item in node.items if id(item) not in without)
    return tuple(
        (key.value, _outline(value, without))
        for key, value in node.entries
        if not _is_used_up(value, without)
    )


def _is_used_up(node: Node, without: frozenset[int]) -> bool:
    return isinstance(node, Items) and all(id(item) in without for item in node.items)


def keeps_lines(before: str, after: str, splices: Sequence[Splice]) -> bool:
    """Whether every line in which nothing was spliced is still there, in the same order."""
    touched: set[int] = set()
    for splice in splices:
        if splice.start < splice.end or before[: splice.start][-1:] not in {"", "\n"}:
            touched |= set(range(before.count("\n", 0, splice.start), before.count("\n", 0, splice.end) + 1))
    lines = iter(after.split("\n"))
    return all(line in lines for number, line in enumerate(before.split("\n")) if number not in touched)
