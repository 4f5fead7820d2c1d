"""The audit log of this node's kube-apiserver: whether a request is in it; its lines, the rotated ones too.

kube-apiserver rotates by lumberjack: NAME-2026-11-28T13-59-22.123.EXT is what was written until that moment
(UTC), with .gz behind it where --audit-log-compress is set (gopkg.in/natefinch/lumberjack.v2).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import re
import stat
import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from aggctl.core.questions import Unknown
from aggctl.system.answers import no_answer
from aggctl.system.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.questions import Recorded
    from aggctl.system.cluster import Cluster

LINE_BYTES = 1024 * 1024
"""A longer line is passed over: a record of level Metadata has about 1 KiB."""

TAIL_BYTES = 8 * 1024 * 1024
PATIENCE, INTERVAL = 1.0, 0.05
"""Seconds. By default a record is written before the answer ends; in batch mode it follows soon after."""

_ROTATED = re.compile(r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})")


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log; `until` is when it was rotated, in seconds of the epoch, 0 for the one in use."""

    path: str
    until: float

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return self.path.endswith(".gz")


def is_recorded(asked: Recorded, cluster: Cluster, root: str) -> bool | Unknown:
    """Make the request, and look for the Audit-Id of its answer at the end of the log."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 -- 80 ms that --help need not pay

    try:
        with cluster.stream(asked.server + asked.path, cluster.timeout, endless=False) as response:
            response.read(LINE_BYTES)
            mark = str(response.headers.get("Audit-Id", ""))
    except (HTTPError, OSError) as error:
        return no_answer(asked.server, error)
    if not mark:
        return False
    last = time.monotonic() + PATIENCE
    try:
        while not (found := mark.encode() in _tail(root, asked.log)):
            if time.monotonic() >= last:
                break
            time.sleep(INTERVAL)
    except OSError as error:
        return Unknown(f"{asked.log} cannot be read: {error.strerror or error}", "no-rights")
    return found


def files_of(root: str, path: str) -> tuple[LogFile, ...]:
    """The files of the log, from old to new, the one in use last; OSError where they may not be seen."""
    folder, _, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    found = []
    for each in _names(root, folder):
        middle = each.removesuffix(".gz").removeprefix(stem).removesuffix(ending)
        if each.startswith(stem) and (match := _ROTATED.fullmatch(middle)):
            with contextlib.suppress(ValueError):
                at = datetime.strptime(match[1], "%Y-%m-%dT%H-%M-%S.%f").replace(tzinfo=UTC)
                found.append(LogFile(f"{folder}/{each}", at.timestamp()))
        elif each == name:
            found.append(LogFile(path, 0.0))
    return tuple(sorted(found, key=lambda file: (file.until or float("inf"), file.path)))


def lines_of(root: str, file: LogFile) -> Iterator[bytes | None]:
    """The lines of one file, None in place of one that is too long; what is damaged ends it.

    A file that was rotated away meanwhile has none: it comes with its new name at the next look.
    """
    try:
        with _opened(root, file.path) as plain:
            yield from _lines(gzip.GzipFile(fileobj=plain) if file.packed else plain)
    except FileNotFoundError:
        return
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield None


def _lines(source: IO[bytes] | gzip.GzipFile) -> Iterator[bytes | None]:
    while line := source.readline(LINE_BYTES):
        whole = line.endswith(b"\n")
        yield line if whole or len(line) < LINE_BYTES else None
        while not whole and (line := source.readline(LINE_BYTES)):
            whole = line.endswith(b"\n")


def _tail(root: str, path: str) -> bytes:
    """The last bytes of a file; none where it is not there yet."""
    try:
        with _opened(root, path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""


def _opened(root: str, path: str) -> IO[bytes]:
    """A regular file below the root; links on the way stay below it."""
    with contextlib.closing(Walk(os.path.realpath(root), path, os, write=False)) as walk:
        descriptor = os.open(
            walk.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=walk.folders[-1]
        )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return os.fdopen(descriptor, "rb")


def _names(root: str, folder: str) -> list[str]:
    try:
        with contextlib.closing(Walk(os.path.realpath(root), f"{folder}/.", os, write=False)) as walk:
            return [each.name for each in os.scandir(walk.folders[-1])]
    except (FileNotFoundError, NotADirectoryError):
        return []
