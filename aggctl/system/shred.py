"""Remove private keys from backups: overwritten, on disk, then unlinked.

A file system that copies on write, or a disk that remaps blocks, may keep the old ones all the same.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARK = b"PRIVATE KEY-----"
_LARGEST = 1 << 20


def keys_below(folder: Path, spared: frozenset[bytes]) -> int:
    """Shred every file below `folder` that holds a private key and is none of the `spared`; how many went."""
    number = 0
    for path in _files(folder):
        content = path.read_bytes()
        if _MARK in content and content not in spared:
            _shred(path, len(content))
            number += 1
    return number


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        if stat.S_ISREG(info.st_mode) and info.st_size <= _LARGEST:
            yield path


def _shred(path: Path, length: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(descriptor, os.urandom(length))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
