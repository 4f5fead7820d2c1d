"""Walk a path below a root by descriptors, so that nobody can swap a folder for a link meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from typing import Any

MAXIMUM_LINKS = 40
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Walk:
    """The way from `root` to the folder that holds `path`; absolute links begin again at the root.

    A link is followed only where root or this user made it. With `write` the last name may not be a link, and
    every folder on the way must belong to root or this user and not be writable by everybody.
    PermissionError says which rule was broken; FileNotFoundError where a folder is missing.
    """

    __slots__ = ("_calls", "_links", "_names", "_path", "_todo", "_write", "folders", "name")

    def __init__(self, root: str, path: str, calls: Any, *, write: bool) -> None:
        self.name = ""
        self.folders: list[int] = [calls.open(root, FOLDER)]
        self._names: list[str] = []
        self._todo = deque(part for part in path.split("/") if part)
        self._links = 0
        self._path, self._calls, self._write = path, calls, write
        try:
            while not self.name:
                self._step()
        except BaseException:
            self.close()
            raise

    @property
    def resolved(self) -> str:
        """The path below the root that this is, without links."""
        return "/" + "/".join([*self._names, self.name])

    def close(self) -> None:
        """Close every descriptor of the way."""
        while self.folders:
            with contextlib.suppress(OSError):  # Linux has closed it all the same; the others wait
                self._calls.close(self.folders.pop())

    def _step(self) -> None:
        part = self._todo.popleft() if self._todo else "."
        if part == "..":
            self._up()
            return
        target = None if part == "." else self._link(part)
        if target is not None and (self._todo or not self._write):
            self._follow(target)
        elif self._todo:
            self._enter(part)
        else:
            self.name = part

    def _up(self) -> None:
        if self._names:
            self._names.pop()
            self._calls.close(self.folders.pop())

    def _enter(self, part: str) -> None:
        if part == ".":
            return
        self.folders.append(self._calls.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=self.folders[-1]))
        self._names.append(part)
        if self._write:
            self._check_folder()

    def _link(self, part: str) -> str | None:
        try:
            info = self._calls.stat(part, dir_fd=self.folders[-1], follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISLNK(info.st_mode):
            return None
        if info.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"a symbolic link of uid {info.st_uid}", self._path)
        return str(self._calls.readlink(part, dir_fd=self.folders[-1]))

    def _follow(self, target: str) -> None:
        self._links += 1
        if self._links > MAXIMUM_LINKS:
            raise OSError(errno.ELOOP, "too many symbolic links", self._path)
        if target.startswith("/"):
            while self._names:
                self._up()
        self._todo.extendleft(reversed([part for part in target.split("/") if part]))

    def _check_folder(self) -> None:
        info = self._calls.fstat(self.folders[-1])
        place = "/" + "/".join(self._names)
        if info.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"the folder belongs to uid {info.st_uid}", place)
        if info.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "the folder is writable by everybody", place)
