"""Works out where flags and mounts go in a kube-apiserver manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.manifest.splice import Splice, after_item, new_entries, quote, replacement, usual_style
from aggctl.core.manifest.yamltext import Items, Scalar, Table, items_of
from aggctl.core.paths import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggctl.core.manifest.model import Manifest, NewMount
    from aggctl.core.manifest.program import Placed
from aggctl.core.manifest.splice import Fields

_ENOUGH_TO_BE_SORTED = 3


def standing(manifest: Manifest, name: str) -> Placed | None:
    """The one place where a flag is set; Refused where there are several."""
    found = [each for each in manifest.site.placed if each.flag.name == name]
    if len(found) > 1:
        lines = ", ".join(str(each.flag.line) for each in found)
        raise Refused(
            "flag-set-twice",
            f"{manifest.path}, lines {lines}: --{name} is set {len(found)} times, not once.",
            do=f"leave one --{name} in the manifest",
        )
    return found[0] if found else None


def flag_splices(manifest: Manifest, flags: Mapping[str, str]) -> Iterator[Splice]:
    """What sets each flag to its value: the value in place, or a new item."""
    missing = {}
    for name, value in flags.items():
        placed = standing(manifest, name)
        if placed is None:
            missing[name] = value
        elif (value,) != manifest.values(name):
            yield _other_value(manifest, placed, value)
    if missing:
        yield from _insertions(manifest, missing)


def _other_value(manifest: Manifest, placed: Placed, value: str) -> Splice:
    scalar = placed.scalars[-1]
    if len(placed.scalars) == 1:
        value = f"{scalar.value.partition('=')[0]}={value}"
    return replacement(manifest, scalar, value, flow=_list_of(manifest, scalar).flow)


def _lists(manifest: Manifest) -> list[Items]:
    nodes = [manifest.site.container.get(key) for key in ("args", "command")]
    return [node for node in nodes if isinstance(node, Items)]


def _list_of(manifest: Manifest, scalar: Scalar) -> Items:
    return next(items for items in _lists(manifest) if items.start <= scalar.start < items.end)


def _insertions(manifest: Manifest, missing: Mapping[str, str]) -> Iterator[Splice]:
    """New items in the list in which most flags live, each behind its best neighbour."""
    placed = manifest.site.placed
    items = max(_lists(manifest), key=lambda each: sum(_holds(each, flag) for flag in placed))
    own = [each for each in placed if _holds(items, each)]
    style = usual_style([each.scalars[0] for each in own])
    behind: dict[int, list[str]] = {}
    for name in sorted(missing) if _is_sorted(own) else missing:
        index = _index_before(items, own, name)
        behind.setdefault(index, []).append(quote(f"--{name}={missing[name]}", style, flow=items.flow))
    for index, entries in behind.items():
        yield after_item(manifest, items, index, entries)


def _holds(items: Items, placed: Placed) -> bool:
    return items.start <= placed.scalars[0].start < items.end


def _is_sorted(own: Sequence[Placed]) -> bool:
    names = [each.flag.name for each in own]
    return len(names) >= _ENOUGH_TO_BE_SORTED and names == sorted(names)


def _index_before(items: Items, own: Sequence[Placed], name: str) -> int:
    """The index of the item that a new flag follows; -1 where it comes first.

    That is its sorted place in a sorted list, else the last flag of the aggregation layer, else the last one.
    What stands ahead of the first flag (the binary, a subcommand) stays ahead.
    """
    starts = [item.start for item in items.items]
    if _is_sorted(own):
        smaller = [each for each in own if each.flag.name < name]
        return (
            starts.index(smaller[-1].scalars[-1].start)
            if smaller
            else starts.index(own[0].scalars[0].start) - 1
        )
    related = [each for each in own if _is_related(each.flag.name)]
    return starts.index((related or own)[-1].scalars[-1].start)


def _is_related(name: str) -> bool:
    return name.startswith(("requestheader-", "proxy-client-")) or name == "enable-aggregator-routing"


# --- mounts ----------------------------------------------------------------------------------------------


def mount_fields(mount: NewMount) -> Fields:
    """The entry of volumeMounts."""
    read_only: Fields = {} if mount.writable else {"readOnly": True}
    return {"mountPath": mount.path, "name": mount.name, **read_only}


def volume_fields(mount: NewMount) -> Fields:
    """The entry of volumes."""
    return {"hostPath": {"path": mount.path, "type": "DirectoryOrCreate"}, "name": mount.name}


def missing_mounts(manifest: Manifest, mounts: Sequence[NewMount]) -> list[NewMount]:
    """The mounts that are not there yet; Refused where the name or the path is taken."""
    missing = [mount for mount in mounts if not _is_mounted(manifest, mount)]
    for mount in missing:
        if taken := next(
            (node for node in _volume_names(manifest.site.spec) if node.value == mount.name), None
        ):
            raise Refused(
                "mount-name-taken",
                f"{manifest.path}, line {taken.line}: another volume is already called {mount.name}.",
                do="rename that volume and its volumeMounts in the manifest",
            )
    return missing


def _is_mounted(manifest: Manifest, mount: NewMount) -> bool:
    """Whether the folder is mounted under its own path, by whatever name; Refused where something else is."""
    path = clean(mount.path)
    here = [each for each in manifest.mounts if each.mount_path == path]
    if any(each.host_path != path or each.sub_path for each in here) or path in manifest.site.shadows:
        raise Refused(
            "mount-path-taken",
            f"{manifest.path}, line {manifest.site.container.line}: {mount.path} is mounted from elsewhere,"
            " or from a volume that is not defined.",
            do="mount that at another path; where `volumes` ends early, put the file back from a backup",
        )
    return bool(here)


def _volume_names(spec: Table) -> Iterator[Scalar]:
    for volume in items_of(spec, "volumes"):
        name = volume.get("name") if isinstance(volume, Table) else None
        if isinstance(name, Scalar):
            yield name


def mount_splices(manifest: Manifest, mounts: Sequence[NewMount]) -> Iterator[Splice]:
    """What adds the mounts to the container and their volumes to the Pod."""
    if mounts:
        site = manifest.site
        yield new_entries(manifest, site.container, "volumeMounts", [mount_fields(each) for each in mounts])
        yield new_entries(manifest, site.spec, "volumes", [volume_fields(each) for each in mounts])
