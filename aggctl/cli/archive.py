"""The file of a bundle: a small tar.gz with what people read and what doctor reads."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.core.text import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

SNAPSHOT = "aggctl-bundle/snapshot.json"
LIMIT = 16 * 1024 * 1024
"""Bytes of a bundle once it is unpacked; that of a hundred APIs has 0.7 MB."""


def pack(texts: Mapping[str, str], moment: float) -> bytes:
    """The archive, each file readable by its owner alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in texts.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o600, int(moment)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def unpack(file: str) -> str:
    """The snapshot in a bundle; nothing is written anywhere. Refused where it is none."""
    try:
        with gzip.open(Path(file)) as packed:  # tarfile would read a header of any size, and skip gigabytes
            content = packed.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise _not_readable(file, f"it holds more than {LIMIT // 1024**2} MiB")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            member = archive.getmember(SNAPSHOT)
            found = archive.extractfile(member) if member.isreg() and not member.issparse() else None
            if found is None:
                raise _not_readable(file, f"its {SNAPSHOT} is no file")
            return found.read(LIMIT).decode()
    except KeyError as error:
        raise _not_readable(file, f"there is no {SNAPSHOT} in it") from error
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError) as error:
        raise _not_readable(file, clean(getattr(error, "strerror", "") or str(error))) from error


def _not_readable(file: str, found: str) -> Refused:
    return Refused(
        "bundle-not-readable",
        f"{clean(file)} is no bundle that this version of aggctl can read",
        found=found,
        expected="a file that `aggctl doctor --bundle` wrote",
        do="make a new one: aggctl doctor --bundle FILE.tar.gz",
    )
