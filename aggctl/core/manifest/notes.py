"""What an operator may want to know of a manifest, though nothing is wrong enough to refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.manifest.model import mount_of
from aggctl.core.manifest.program import strays
from aggctl.core.manifest.yamltext import Table, excerpt, items_of
from aggctl.core.paths import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aggctl.core.manifest.model import Mount
    from aggctl.core.manifest.program import Flag, Placed
    from aggctl.core.manifest.yamltext import Scalar

_FILE_FLAGS = ("-file", "-cafile", "-certfile", "-keyfile", "-certificate", "-key")


def notes_of(
    arguments: Sequence[Scalar], placed: Sequence[Placed], mounts: Sequence[Mount], spec: Table
) -> tuple[str, ...]:
    """One sentence for each oddity, in the order of the topics below."""
    return (
        *_stray_notes(arguments, placed),
        *_twice_notes(placed),
        *_file_notes([each.flag for each in placed], mounts),
        *_mount_notes([each.flag for each in placed], mounts),
        *_volume_notes(spec),
    )


def _stray_notes(arguments: Sequence[Scalar], placed: Sequence[Placed]) -> Iterator[str]:
    for stray in strays(arguments, placed):
        yield f"line {stray.line}: {excerpt(stray.value)} is no flag of kube-apiserver"


def _twice_notes(placed: Sequence[Placed]) -> Iterator[str]:
    lines: dict[str, list[int]] = {}
    for each in placed:
        lines.setdefault(each.flag.name, []).append(each.flag.line)
    for name, where in lines.items():
        if len(where) > 1:
            yield f"--{excerpt(name)} stands {len(where)} times, in lines {', '.join(map(str, where))}"


def _names_file(flag: Flag) -> bool:
    return flag.name.endswith(_FILE_FLAGS) and bool(flag.value)


def _file_notes(flags: Sequence[Flag], mounts: Sequence[Mount]) -> Iterator[str]:
    """Flags whose file the container cannot see."""
    for flag in filter(_names_file, flags):
        path = clean(flag.value or "")
        if path is None:
            yield f"line {flag.line}: --{flag.name} is a relative path"
        elif mount_of(path, mounts) is None:
            yield f"line {flag.line}: --{flag.name} lies under no hostPath mount"


def _mount_notes(flags: Sequence[Flag], mounts: Sequence[Mount]) -> Iterator[str]:
    """Mounts that hold files named by flags, where they are writable or single files."""
    paths = [path for flag in flags if _names_file(flag) and (path := clean(flag.value or ""))]
    for mount in {mount_of(path, mounts): None for path in paths}:
        if mount is None:
            continue
        if mount.kind in {"File", "FileOrCreate"} or mount.mount_path in paths:
            yield f"{excerpt(mount.mount_path)} is mounted as a single file: a replaced file is not seen"
        elif not mount.read_only:
            yield f"{excerpt(mount.mount_path)} holds files that flags name, and is mounted writable"


def _volume_notes(spec: Table) -> Iterator[str]:
    for volume in items_of(spec, "volumes"):
        if isinstance(volume, Table) and volume.get("name") is None:
            yield f"line {volume.line}: this volume has no name"
