"""Paths as text, compared by their components."""

from __future__ import annotations

from posixpath import normpath


def clean(path: str) -> str | None:
    """An absolute path without doubled or trailing slashes and `..`; None for a relative one."""
    return "/" + normpath(path).lstrip("/") if path.startswith("/") else None


def below(path: str, folder: str) -> str | None:
    """The part of `path` below `folder`, by component; '' for the folder itself, None elsewhere."""
    if path == folder:
        return ""
    inside = folder.rstrip("/") + "/"
    return path.removeprefix(inside) if path.startswith(inside) else None
