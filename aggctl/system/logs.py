"""Container logs as they are: from the files that kubelet keeps on this node, or through a kube-apiserver.

Files are found by /var/log/pods/NAMESPACE_POD_UID/CONTAINER/RUN.log; kubelet renames a long one to
RUN.log.TIME, and compresses those that are older still (kubernetes pkg/kubelet/logs).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import math
import os
import re
import stat
import time
import zlib
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import urlencode

from aggctl.core.loglines import NANO, time_of
from aggctl.core.logsources import Container, PodFolder
from aggctl.core.questions import Unknown
from aggctl.core.text import clean
from aggctl.system.answers import no_answer, refusal
from aggctl.system.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.system.cluster import Cluster

PODS = "/var/log/pods"
LINE_BYTES = 64 * 1024
MOST_BYTES = 32 * 1024 * 1024
BLOCK = 256 * 1024
AT_ONCE = 1024 * 1024
"""What is taken of a file, or of the text of an error, in one go."""

SILENCE = 30.0
"""Seconds after which a stream that says nothing is opened anew: its other end may be gone without a word."""

BAD_REQUEST, NOT_FOUND = 400, 404
_NAME = re.compile(r"(?P<run>\d+)\.log(?P<rotated>\.\d{8}-\d{6})?(?P<packed>\.gz)?")


class NotReadable(Exception):  # noqa: N818 -- an answer that is no answer
    """A log cannot be read now; `gone` where it will never be again."""

    def __init__(self, unknown: Unknown, *, gone: bool = False) -> None:
        super().__init__(unknown.reason)
        self.unknown = unknown
        self.gone = gone


class Logs:
    """The logs of one node, whose files lie below `root`, and of one cluster."""

    def __init__(self, cluster: Cluster, root: str = "/") -> None:
        self._cluster = cluster
        self._root = os.path.realpath(root)

    def folders(self) -> tuple[PodFolder, ...]:
        """The Pods whose logs lie on this node; none where that may not be seen."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for name in self._listed(PODS):
            namespace, _, rest = name.partition("_")
            pod, _, uid = rest.partition("_")
            if uid:
                found.setdefault((namespace, pod), {}).update(dict.fromkeys(self._listed(f"{PODS}/{name}")))
        return tuple(PodFolder(*pod, tuple(containers)) for pod, containers in found.items() if containers)

    def _listed(self, path: str) -> list[str]:
        try:
            return [each.name for each in _entries(self._root, path)]
        except OSError:
            return []

    def begins_with(self, container: Container, words: tuple[bytes, ...]) -> bool:
        """Whether any of the words stands at the beginning of a log on this node, as far as it is kept."""
        try:
            beginning = FileLog(self._root, container, 0).beginning()
        except NotReadable:
            return False
        return any(each in beginning for each in words)

    def open(self, container: Container, since: int) -> FileLog | ApiLog:
        """The log of a container, from `since` (nanoseconds of the epoch) on."""
        if container.on_node:
            return FileLog(self._root, container, since)
        return ApiLog(self._cluster, container, since)


@dataclass(frozen=True, slots=True)
class _LogFile:
    """A file of a log: its path below the root, what identifies it, how much there is of it."""

    path: str
    order: tuple[float, int, str]
    inode: int
    size: int
    changed: float
    packed: bool


class FileLog:
    """The log of a container in this node's files; what was read once is not read again."""

    def __init__(self, root: str, container: Container, since: int) -> None:
        self.container = container
        self.cut = False
        self._root = root
        self._since = since
        self._read: dict[int, int] = {}

    def lines(self, tail: int) -> Iterator[str]:
        """At most the last `tail` lines, oldest first; `cut` tells whether there were more."""
        starts: deque[tuple[_LogFile, int]] = deque()
        left = tail
        with self._named():
            files = self._files()
            for file in reversed(files):
                self._read[file.inode] = file.size
                if left <= 0 or file.changed * NANO < self._since:
                    self.cut = self.cut or (left <= 0 and file.changed * NANO >= self._since)
                    continue
                start, count = self._start(file, left)
                starts.appendleft((file, start))
                left -= count
            for file, start in starts:
                yield from self._from(file, start)

    def beginning(self) -> bytes:
        """The first bytes of the oldest file."""
        with self._named():
            for file in self._files():
                with self._opened(file) as content:
                    return content.read(BLOCK)
        return b""

    def more(self) -> Iterator[str]:
        """What came since, also in files that are new; what was renamed is known by its inode."""
        with self._named():
            files = [file for file in self._files() if not file.packed]
            for file in files:
                known = self._read.get(file.inode, 0)
                if known != file.size:
                    yield from self._from(file, known if known < file.size else 0, AT_ONCE)
            self._read = {file.inode: self._read.get(file.inode, 0) for file in files}

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn an error of the system into the reason why the log cannot be read."""
        try:
            yield
        except PermissionError as error:
            raise NotReadable(Unknown(f"{PODS}: {error.strerror}", "no-rights")) from error
        except (OSError, EOFError, zlib.error) as error:
            said = getattr(error, "strerror", "") or str(error)
            raise NotReadable(Unknown(f"{PODS}: {clean(said)}", "file-not-readable")) from error

    def _files(self) -> list[_LogFile]:
        """Every file of the container, oldest first: of all Pods of this name, and all runs."""
        start = f"{self.container.namespace}_{self.container.pod}_"
        folders = [each.name for each in _entries(self._root, PODS) if each.name.startswith(start)]
        found: list[_LogFile] = []
        for name in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found += _log_files(self._root, f"{PODS}/{name}/{self.container.name}")
        return sorted(found, key=lambda file: file.order)

    def _start(self, file: _LogFile, lines: int) -> tuple[int, int]:
        """Where the last lines of a file begin, and how many they are; a packed one is read through."""
        if file.packed:
            with self._opened(file) as content:
                count = sum(1 for _ in _lines(content, MOST_BYTES))
            self.cut = self.cut or count > lines
            return max(0, count - lines), min(count, lines)
        with self._opened(file) as content:
            return self._back(content, file.size, lines)

    def _back(self, content: IO[bytes], size: int, lines: int) -> tuple[int, int]:
        """Block by block from the end, until there are enough lines or they are too old."""
        end, count = size, 0
        while end > 0 and size - end < MOST_BYTES:
            begin = max(0, end - BLOCK)
            content.seek(begin)
            block = content.read(end - begin)
            breaks = [each.start() for each in re.finditer(b"\n", block) if begin + each.end() < size]
            if count + len(breaks) >= lines:
                self.cut = True
                return begin + breaks[len(breaks) - (lines - count)] + 1, lines
            count += len(breaks)
            first = block[breaks[0] + 1 : breaks[0] + 200] if breaks else b""
            at = time_of(first.decode("utf-8", "replace"))
            if at is not None and at < self._since:
                return begin + breaks[0] + 1, count
            end = begin
        self.cut = self.cut or end > 0
        return end, count + bool(size)

    def _from(self, file: _LogFile, start: int, limit: int = MOST_BYTES) -> Iterator[str]:
        """The whole lines from a place on; in a packed file the place is a number of lines."""
        with self._opened(file) as content:
            lines: Iterator[bytes]
            if file.packed:
                lines = itertools.islice(_lines(content, limit), start, None)
            else:
                content.seek(start)
                lines = _lines(content, limit)
            at = start
            for line in lines:
                if line.endswith(b"\n") or len(line) >= LINE_BYTES:
                    at += len(line)
                    yield line.decode("utf-8", "replace").rstrip("\n")
        if not file.packed:
            self._read[file.inode] = at

    @contextlib.contextmanager
    def _opened(self, file: _LogFile) -> Iterator[IO[bytes]]:
        """A regular file, unpacked; whatever else has its name is none."""
        walk = Walk(self._root, file.path, os, write=False)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(walk.name, flags, dir_fd=walk.folders[-1])
        finally:
            walk.close()
        with os.fdopen(descriptor, "rb") as content:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file", file.path)
            if file.packed:
                with gzip.GzipFile(fileobj=content) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield content


def _entries(root: str, path: str) -> list[os.DirEntry[str]]:
    """What is in a folder, in the order of the names."""
    walk = Walk(root, f"{path}/.", os, write=False)
    try:
        with os.scandir(walk.folders[-1]) as entries:
            return sorted(entries, key=lambda each: each.name)
    finally:
        walk.close()


def _log_files(root: str, folder: str) -> list[_LogFile]:
    """The files in a container's folder; one that goes away meanwhile is none."""
    found = []
    for name in [each.name for each in _entries(root, folder)]:
        parts = _NAME.fullmatch(name)
        if parts is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            info = _stat(root, f"{folder}/{name}")
            order = (int(parts["run"]), parts["rotated"] or "~")
            found.append((name, order, info, bool(parts["packed"])))
    newest = max((info.st_mtime for _, _, info, _ in found), default=0.0)
    return [
        _LogFile(f"{folder}/{name}", (newest, *order), info.st_ino, info.st_size, info.st_mtime, packed)
        for name, order, info, packed in found
    ]


def _stat(root: str, path: str) -> os.stat_result:
    walk = Walk(root, path, os, write=False)
    try:
        return os.stat(walk.name, dir_fd=walk.folders[-1], follow_symlinks=False)
    finally:
        walk.close()


def _lines(content: IO[bytes], limit: int) -> Iterator[bytes]:
    """Lines, none of them longer than LINE_BYTES, `limit` bytes at most."""
    read = 0
    while read < limit and (line := content.readline(LINE_BYTES)):
        read += len(line)
        yield line


class ApiLog:
    """The log of a container as a kube-apiserver gets it from the kubelet."""

    def __init__(self, cluster: Cluster, container: Container, since: int) -> None:
        self.container = container
        self.cut = False
        self._cluster = cluster
        self._last = since
        self._said: set[str] = set()

    def lines(self, tail: int) -> Iterator[str]:
        """At most the last `tail` lines of the run before this one, where there is one, and of this one."""
        seconds = max(1, math.ceil(time.time() - self._last / NANO))
        bounds = {"sinceSeconds": str(seconds), "tailLines": str(tail), "limitBytes": str(MOST_BYTES)}
        if self.container.restarts:
            with contextlib.suppress(NotReadable):  # kubelet keeps the last run only for a while
                yield from self._counted(bounds | {"previous": "true"}, tail)
        yield from self._counted(bounds, tail)

    def follow(self) -> Iterator[str]:
        """What comes from now on, until the stream ends: when the container does, or after a silence."""
        since = datetime.fromtimestamp(self._last // NANO, UTC)
        for line in self._stream({"follow": "true", "sinceTime": f"{since:%Y-%m-%dT%H:%M:%SZ}"}):
            if self._is_new(line):
                yield line

    def _counted(self, bounds: dict[str, str], tail: int) -> Iterator[str]:
        count = 0
        for line in self._stream(bounds):
            count += 1
            self._is_new(line)
            yield line
        self.cut = self.cut or count >= tail

    def _is_new(self, line: str) -> bool:
        """Whether it was not given out before; a stream can be asked for from a second on, no finer."""
        at = time_of(line)
        if at is None:
            return True
        if at < self._last or (at == self._last and line in self._said):
            return False
        if at > self._last:
            self._said.clear()
        self._last = at
        self._said.add(line)
        return True

    def _stream(self, query: dict[str, str]) -> Iterator[str]:
        from urllib3.exceptions import HTTPError, ReadTimeoutError  # noqa: PLC0415 -- 80 ms that --help need not pay

        server, of = self._cluster.credentials.server, self.container
        path = f"/api/v1/namespaces/{of.namespace}/pods/{of.pod}/log"
        asked = urlencode({"container": of.name, "timestamps": "true", **query})
        silence = SILENCE if "follow" in query else self._cluster.timeout
        try:
            with self._cluster.stream(
                f"{server}{path}?{asked}", silence, endless="follow" in query
            ) as response:
                if response.status != 200:  # noqa: PLR2004 -- HTTP's own number
                    body = response.read(AT_ONCE)
                    unknown = refusal(server, path, response.status, body, self._cluster.credentials)
                    raise _not_readable(response.status, unknown)
                parts = response.stream(BLOCK, decode_content=True)
                yield from _split(
                    parts if "follow" in query else itertools.islice(parts, MOST_BYTES // BLOCK)
                )
        except ReadTimeoutError as error:
            if "follow" not in query:
                raise NotReadable(no_answer(server, error)) from error
        except (HTTPError, OSError) as error:
            raise NotReadable(no_answer(server, error)) from error


def _not_readable(status: int, unknown: Unknown) -> NotReadable:
    """Pods come and go: that one is not there any more, or has not begun, is no fault of kube-apiserver."""
    if status in (BAD_REQUEST, NOT_FOUND):
        return NotReadable(Unknown(unknown.reason, "log-not-read"), gone=status == NOT_FOUND)
    return NotReadable(unknown)


def _split(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines of what comes in pieces; one that has no end yet is waited for, within bounds."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line[:LINE_BYTES].decode("utf-8", "replace") for line in whole)
        rest = rest[:LINE_BYTES]
    if rest:
        yield rest.decode("utf-8", "replace")
