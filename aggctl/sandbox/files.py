"""Files of the sandbox: whole or not at all, and one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a file in place by rename, its folder made where absent. The draft's name begins with a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
    draft.replace(path)


@contextlib.contextmanager
def exclusive(path: Path, when_busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file (made where absent) or folder; `when_busy` is called before waiting for it.

    It is an flock, so it ends with its holder, however that ends. A lock whose file was removed while we
    waited guards nothing, so it is taken again on the new file.
    """
    while True:
        descriptor = _open(path)
        try:
            _take(descriptor, when_busy)
            if _still_there(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _take(descriptor: int, when_busy: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        when_busy()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
