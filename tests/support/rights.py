"""Tests of what an ordinary user may not do, also where the tests run as root."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root becomes nobody meanwhile; others stay who they are."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that nobody can reach; pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="aggctl-public-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
