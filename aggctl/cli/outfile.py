"""Files that a command writes where the user says: whole or not at all, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

from aggctl.core.plan import FileChange, stamp
from aggctl.core.text import clean
from aggctl.errors import Refused
from aggctl.system.files import Changed, Files

READABLE, PRIVATE = 0o644, 0o600


def write_gauges(file: str, gauges: str) -> None:
    """Write gauges for node_exporter's textfile collector, which never reads half of them."""
    put_in_place(file, gauges.encode(), READABLE, "--prometheus", "prometheus-file-not-usable")


def put_in_place(file: str, content: bytes, mode: int, option: str, code: str) -> None:
    """Put a file in place by rename; Refused, by `code`, where that fails."""
    path = Path(file).absolute()
    files, name = Files(str(path.parent)), f"/{path.name}"
    try:
        seen = files.read(name)
        after = stamp(content, mode, os.geteuid(), os.getegid())
        files.apply(FileChange(name, seen.stamp if seen else None, after), content, "aggctl")
        os.utime(path, follow_symlinks=False)  # node_exporter tells by it how old an equal content is
    except (OSError, Changed) as error:
        example = "./aggctl.prom" if option == "--prometheus" else "./aggctl-bundle.tar.gz"
        raise Refused(
            code,
            f"{option} {clean(str(path))} cannot be written: {_words(error)}",
            expected="a file, or a name for a new one, in a folder that is there and that you can write",
            do=f"name another one: {option} {example}",
        ) from error


def _words(error: OSError | Changed) -> str:
    if isinstance(error, Changed):
        return "somebody else changed it meanwhile"
    return error.strerror or str(error)
