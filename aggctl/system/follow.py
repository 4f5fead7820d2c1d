"""Logs that go on: the files of this node are looked at, streams of Pods are read each by a thread."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from aggctl.system.logs import ApiLog, FileLog, NotReadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.logsources import Container
    from aggctl.core.questions import Unknown

WAITING = 2000
"""Lines that may wait to be taken; a stream that brings more waits itself, so memory stays bounded."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds until a stream that ended is opened again: a container that starts again, a kube-apiserver too."""

Come = tuple["Container", "str | Unknown | None"]
"""A line of a container, why there is none now, or None where there will be no more."""


class Feed:
    """What containers say from now on. Their logs were read before, and know how far."""

    def __init__(self) -> None:
        self._come: queue.Queue[Come] = queue.Queue(WAITING)
        self._over = threading.Event()
        self._files: list[FileLog] = []

    def add(self, log: FileLog | ApiLog) -> None:
        """Follow this log as well."""
        if isinstance(log, FileLog):
            self._files.append(log)
            return
        threading.Thread(target=self._read, args=(log,), daemon=True).start()

    def take(self, seconds: float) -> list[Come]:
        """What has come; without anything there after so many seconds, nothing."""
        come = list(self._of_files())
        try:
            come.append(self._come.get(timeout=0 if come else seconds))
            while len(come) < WAITING:
                come.append(self._come.get_nowait())
        except queue.Empty:
            pass
        return come

    def close(self) -> None:
        """Open no stream any more."""
        self._over.set()

    def _of_files(self) -> Iterator[Come]:
        for log in self._files:
            try:
                for line in log.more():
                    yield log.container, line
            except NotReadable as error:
                yield log.container, error.unknown

    def _read(self, log: ApiLog) -> None:
        """Read a stream, and open it again when it ends, each time later while nothing comes."""
        pause = 0.0
        while not self._over.wait(pause):
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            try:
                for line in log.follow():
                    pause = FIRST_PAUSE
                    self._put(log.container, line)
            except NotReadable as error:
                self._put(log.container, None if error.gone else error.unknown)
                if error.gone:
                    return

    def _put(self, container: Container, said: str | Unknown | None) -> None:
        """Wait for room; once it is over, nobody takes anything."""
        while not self._over.is_set():
            try:
                self._come.put((container, said), timeout=FIRST_PAUSE)
            except queue.Full:
                continue
            return
