"""What aggctl knows of a kube-apiserver static Pod, and the way between its paths and the host's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aggctl.core.paths import below, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggctl.core.manifest.program import Flag, Placed
    from aggctl.core.manifest.yamltext import Scalar, Table


@dataclass(frozen=True, slots=True)
class Mount:
    """A hostPath volume as the container sees it; `kind` is the hostPath's type, '' where there is none."""

    name: str
    mount_path: str
    host_path: str
    kind: str
    read_only: bool
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class NewMount:
    """A folder that the container shall see under the path that it has on the host; read-only, as a rule."""

    name: str
    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where things stand in the text; what an edit needs and nobody else."""

    pod: Table
    spec: Table
    container: Table
    words: tuple[Scalar, ...]
    placed: tuple[Placed, ...]
    shadows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A kube-apiserver static Pod.

    `text` is the file exactly, `argv` command then args, `env` what has a literal value, `notes` what is odd
    and yet no reason to refuse. `path` is used in messages only.
    """

    path: str
    text: str = field(repr=False)
    pod_name: str
    namespace: str
    container: str
    image: str
    argv: tuple[str, ...]
    flags: tuple[Flag, ...]
    mounts: tuple[Mount, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    host_network: bool
    notes: tuple[str, ...]
    site: Site = field(repr=False, compare=False)

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a flag in the order of the command line; a bare flag counts as 'true'."""
        return tuple("true" if flag.value is None else flag.value for flag in self.flags if flag.name == name)

    def host_path(self, container_path: str) -> str | None:
        """Where a file of the container lies on the host; None where it is in no hostPath, or relative."""
        path = clean(container_path)
        if path is None:
            return None
        mount = mount_of(path, self.mounts)
        if mount is None or any(_hides(shadow, mount, path) for shadow in self.site.shadows):
            return None
        return _join(_source(mount), below(path, mount.mount_path) or "")

    def container_path(self, host_path: str) -> str | None:
        """Where the container sees a file of the host; None where no mount shows it, or it is relative."""
        path = clean(host_path)
        if path is None:
            return None
        for mount in sorted(self.mounts, key=lambda each: len(_source(each)), reverse=True):
            rest = below(path, _source(mount))
            if rest is not None and self.host_path(seen := _join(mount.mount_path, rest)) == path:
                return seen
        return None


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a path of the container lies in: the deepest of those above it."""
    above = [mount for mount in mounts if below(path, mount.mount_path) is not None]
    return max(above, key=lambda mount: len(mount.mount_path), default=None)


def _join(folder: str, rest: str) -> str:
    return f"{folder.rstrip('/')}/{rest}" if rest else folder


def _source(mount: Mount) -> str:
    return _join(mount.host_path, mount.sub_path)


def _hides(shadow: str, mount: Mount, path: str) -> bool:
    """Whether something that is no hostPath is mounted deeper on the way to `path`."""
    return below(path, shadow) is not None and len(shadow) >= len(mount.mount_path)
