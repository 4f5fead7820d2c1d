"""Files below a root: read without following foreign links, written so that a crash leaves old or new.

A control-plane node runs what lies in these folders as root, so paths are walked (system/walk.py), never
handed to open(2) whole.

Writing follows what the kubelet tolerates (failures of others: kubernetes/kubernetes#55596, #40452): a draft
with a leading dot in the same folder, mode and owner set, fsync, rename over the old name, fsync of the
folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.plan import FileChange, FolderChange, ObjectChange, digest
from aggctl.core.questions import (
    Existing,
    FileAt,
    FileSeen,
    FolderAt,
    FolderSeen,
    KeyAt,
    KeySeen,
    Question,
    Stamp,
    Unknown,
)
from aggctl.system.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.plan import Change

READ_LIMIT = 2 * 1024 * 1024
"""No file that aggctl reads is larger in earnest; etcd itself takes objects of 1.5 MiB at most."""

DRAFT_MARK = ".aggctl-draft"

_KEPT_ATTRIBUTES = frozenset({"security.selinux", "system.posix_acl_access"})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Changed(Exception):  # noqa: N818 -- a comparison that failed, no error of the program
    """What is on disk is neither what the plan saw nor what it wrote."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was changed by somebody else meanwhile")
        self.path = path


@dataclass(frozen=True, slots=True)
class _Place:
    """An open parent folder, the last name below it, and the path that this is once links are resolved."""

    folder: int
    name: str
    path: str


class Files:
    """The files below `root`. `calls` is the module that makes the system calls; tests make them fail."""

    def __init__(self, root: str = "/", calls: Any = os) -> None:
        self.root = os.path.realpath(root)
        self._calls = calls

    def look(self, question: Question) -> Any:
        """Answer a question about files; what cannot be read is Unknown with the reason."""
        try:
            match question:
                case FileAt(path):
                    return self.read(path)
                case KeyAt(path):
                    return self._key(path)
                case FolderAt(path):
                    return self._folder(path)
                case Existing(paths):
                    return tuple(path for path in paths if self._exists(path))
        except OSError as error:
            return _unreadable(question, error)
        raise TypeError(question)

    def read(self, path: str, limit: int = READ_LIMIT) -> FileSeen | None:
        """The regular file at `path`, its first `limit` bytes; None where there is none."""
        try:
            with self._place(path) as place:
                return self._read_at(place, path, limit)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def host_path(self, path: str) -> str:
        """The path that this process would give to open(2) for `path`."""
        return f"{self.root.rstrip('/')}/{path.lstrip('/')}"

    def apply(self, change: Change, content: bytes | None, draft: str) -> None:
        """Make `change`; Changed where the disk holds neither side of it, OSError where it fails.

        `content` is that of `change.after`; `draft` names the plan, so that what a crash left can be found.
        """
        assert not isinstance(change, ObjectChange)  # noqa: S101 -- for the type checker; Ports.of looked
        if isinstance(change, FolderChange):
            self._apply_folder(change)
            return
        if change.after is None and not self._has_folder(change.path):
            return  # an undo that was cut short took the folder away already
        with naming(change.path), self._place(change.path, write=True) as place:
            self._sweep(place, draft)
            now = self._stamp_at(place)
            if now == change.after:
                return
            if now != change.before:
                raise Changed(change.path)
            if change.after is None or content is None:
                self._calls.unlink(place.name, dir_fd=place.folder)
            else:
                self._write(place, change, change.after, content, draft)
            self._calls.fsync(place.folder)

    def holds(self, change: Change) -> str:
        """Which side of `change` the disk shows: `before`, `after` or `other`."""
        if isinstance(change, FolderChange):
            return "after" if self._exists(change.path) is change.create else "before"
        seen = self.read(change.path)
        now = seen.stamp if seen else None
        if now == change.after:
            return "after"
        return "before" if now == change.before else "other"

    def sweep(self, change: Change, draft: str) -> None:
        """Remove what an interrupted write of `change` left beside its file."""
        if isinstance(change, FileChange):
            with (
                contextlib.suppress(FileNotFoundError),
                naming(change.path),
                self._place(change.path, write=True) as place,
            ):
                self._sweep(place, draft)

    # --- reading -----------------------------------------------------------------------------------------

    def _key(self, path: str) -> KeySeen | None:
        seen = self.read(path)
        if seen is None:
            return None
        try:
            return KeySeen(pki.public_key_of(seen.content), seen.stamp)
        except pki.PkiError as error:
            return KeySeen("", seen.stamp, problem=str(error))

    def _folder(self, path: str) -> FolderSeen | None:
        try:
            with self._place(path.rstrip("/") + "/.") as place:
                info = self._calls.fstat(place.folder)
                entries = list(self._calls.scandir(place.folder))
                names = sorted(each.name for each in entries if self._is_file(each, path))
                link = place.path.rpartition("/")[0] or "/"
        except (FileNotFoundError, NotADirectoryError):
            return None
        writable = os.access(self.host_path(link), os.W_OK)
        moved = link if os.path.normpath(link) != os.path.normpath(path) else ""
        return FolderSeen(tuple(names), writable, info.st_uid, info.st_gid, moved)

    def _is_file(self, entry: os.DirEntry[str], folder: str) -> bool:
        """Whether it is a regular file or a link to one; an absolute link begins at the root."""
        if not entry.is_symlink():
            return entry.is_file()
        with contextlib.suppress(OSError), self._place(f"{folder}/{entry.name}") as place:
            info = self._calls.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
            return stat.S_ISREG(info.st_mode)
        return False

    def _has_folder(self, path: str) -> bool:
        return self._exists(path.rpartition("/")[0] or "/")

    def _exists(self, path: str) -> bool:
        try:
            with self._place(path) as place:
                self._calls.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _read_at(self, place: _Place, path: str, limit: int) -> FileSeen:
        descriptor = self._calls.open(
            place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.folder
        )
        try:
            info = self._calls.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            content, whole = self._slurp(descriptor, limit)
        finally:
            self._calls.close(descriptor)
        link = place.path if os.path.normpath(place.path) != os.path.normpath(path) else ""
        return FileSeen(
            content=content,
            stamp=Stamp(whole, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid),
            link=link,
            changed=max(info.st_ctime, info.st_mtime),
            complete=info.st_size <= limit,
        )

    def _slurp(self, descriptor: int, limit: int) -> tuple[bytes, str]:
        content = b""
        sum_of_all = hashlib.sha256()
        while len(content) < limit and (part := self._calls.read(descriptor, limit - len(content))):
            content += part
            sum_of_all.update(part)
        return content, sum_of_all.hexdigest()

    def _stamp_at(self, place: _Place) -> Stamp | None:
        try:
            return self._read_at(place, place.path, READ_LIMIT).stamp
        except FileNotFoundError:
            return None

    # --- writing -----------------------------------------------------------------------------------------

    def _apply_folder(self, change: FolderChange) -> None:
        with naming(change.path), self._place(change.path, write=True) as place:
            if change.create:
                with contextlib.suppress(FileExistsError):
                    self._calls.mkdir(place.name, change.mode, dir_fd=place.folder)
                    self._calls.chmod(place.name, change.mode, dir_fd=place.folder)  # whatever the umask
            else:
                with contextlib.suppress(FileNotFoundError):
                    self._remove_empty(place)
            self._calls.fsync(place.folder)

    def _remove_empty(self, place: _Place) -> None:
        try:
            self._calls.rmdir(place.name, dir_fd=place.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # a folder that others use by now is theirs

    def _write(self, place: _Place, change: FileChange, after: Stamp, content: bytes, draft: str) -> None:
        if digest(content) != after.digest:
            raise ValueError(f"the content for {change.path} is not what the plan says")
        temporary = _draft_name(place.name, draft)
        try:
            self._write_draft(place, temporary, after, content, replaced=change.before is not None)
            if change.before is None and self._linked(place, temporary):
                self._calls.unlink(temporary, dir_fd=place.folder)
                return
            if self._stamp_at(place) != change.before:
                raise Changed(change.path)
            self._calls.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        except FileExistsError as error:
            self._sweep(place, draft)
            raise Changed(change.path) from error
        except BaseException:
            with contextlib.suppress(OSError):
                self._sweep(place, draft)
            raise

    def _linked(self, place: _Place, temporary: str) -> bool:
        """Link the draft to its name: unlike a rename that fails where somebody else made the file meanwhile.

        False where the file system has no hard links; a look and a rename are the next best then.
        """
        try:
            self._calls.link(
                temporary,
                place.name,
                src_dir_fd=place.folder,
                dst_dir_fd=place.folder,
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno in _NO_HARD_LINKS:
                return False
            raise
        return True

    def _write_draft(
        self, place: _Place, temporary: str, after: Stamp, content: bytes, *, replaced: bool
    ) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = self._calls.open(temporary, flags, 0o600, dir_fd=place.folder)
        try:
            view = memoryview(content)
            while view:
                view = view[self._calls.write(descriptor, view) :]
            made = self._calls.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (after.uid, after.gid):
                self._calls.fchown(descriptor, after.uid, after.gid)
            self._calls.fchmod(descriptor, after.mode)
            if replaced:
                _copy_attributes(place, descriptor)
            self._calls.fsync(descriptor)
        finally:
            self._calls.close(descriptor)

    def _sweep(self, place: _Place, draft: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._calls.unlink(_draft_name(place.name, draft), dir_fd=place.folder)

    @contextlib.contextmanager
    def _place(self, path: str, *, write: bool = False) -> Iterator[_Place]:
        """Open the folder that holds `path`, every link resolved below the root."""
        walk = Walk(self.root, path, self._calls, write=write)
        try:
            yield _Place(walk.folders[-1], walk.name, walk.resolved)
        finally:
            walk.close()


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Give an error of the operating system the path that it is about: write(2) and its like know none."""
    try:
        yield
    except OSError as error:
        if not str(error.filename or "").startswith("/"):
            error.filename = path
        raise


def _draft_name(name: str, draft: str) -> str:
    return f".{name}{DRAFT_MARK}-{draft}"


def _copy_attributes(place: _Place, descriptor: int) -> None:
    """Give the draft the label, ACL and user attributes of the file that it replaces.

    Signatures of the content (security.ima, security.evm) are not among them: they would be wrong.
    """
    with contextlib.suppress(OSError):
        old = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder)
        try:
            for name in os.listxattr(old):
                if name in _KEPT_ATTRIBUTES or name.startswith("user."):
                    with contextlib.suppress(OSError):
                        os.setxattr(descriptor, name, os.getxattr(old, name))
        finally:
            os.close(old)


def _unreadable(question: Question, error: OSError) -> Unknown:
    told = error.filename if isinstance(error.filename, str) else ""
    path = told if told.startswith("/") else getattr(question, "path", told or "a path")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unknown(f"{path}: {error.strerror}", "no-rights")
    return Unknown(f"{path}: {error.strerror or error}", "file-not-readable")
