"""Container logs in the format of the CRI, as a node has them below /var/log/pods.

The container writes to plain files and the stand-in kubelet copies what is new, so that neither needs the
other to live: a pipe would kill a kube-apiserver (SIGPIPE) whose stand-in was killed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = ("stdout", "stderr")


class CriLog:
    """Copies the two output files of a container into one CRI log, line by line."""

    def __init__(self, raw: Path, log: Path) -> None:
        self._raw = raw
        self._log = log
        self._offsets = {stream: _copied(log, stream) for stream in STREAMS}

    def copy(self, *, rest: bool = False) -> None:
        """Copy the whole lines that are new; with `rest` also a last one without its end."""
        for stream in STREAMS:
            lines = self._fresh(stream, rest=rest)
            if lines:
                self._append(stream, lines)

    def _fresh(self, stream: str, *, rest: bool) -> list[bytes]:
        path = self._raw / stream
        if path.stat().st_size == self._offsets[stream]:
            return []
        with path.open("rb") as file:
            file.seek(self._offsets[stream])
            data = file.read()
        if not rest:
            data = data[: data.rfind(b"\n") + 1]
        self._offsets[stream] += len(data)
        return data.removesuffix(b"\n").split(b"\n") if data else []

    def _append(self, stream: str, lines: list[bytes]) -> None:
        start = f"{_now()} {stream} F ".encode()
        with self._log.open("ab") as file:
            file.writelines(start + line + b"\n" for line in lines)


def newest(folder: Path) -> int:
    """The highest N of the N.log in a container's log folder; -1 where there is none."""
    return max((int(path.stem) for path in folder.glob("*.log") if path.stem.isdecimal()), default=-1)


def _copied(log: Path, stream: str) -> int:
    """How many bytes of a stream the log holds already, so that an adopted container's log goes on."""
    if not log.exists():
        return 0
    mark = f" {stream} F ".encode()
    with log.open("rb") as file:
        return sum(
            len(line.partition(mark)[2]) for line in file if line.split(b" ", 2)[1:2] == [stream.encode()]
        )


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
