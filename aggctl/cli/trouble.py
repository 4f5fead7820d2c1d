"""What escapes a workflow, as the sentence that an operator gets instead of a traceback; and lost streams."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aggctl.core.text import clean
from aggctl.errors import AggctlError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.snapshot import NotKnown

_NO_RIGHTS = frozenset({errno.EACCES, errno.EPERM})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_WAYS = {
    "no-rights": "run it as root: sudo aggctl …",
    "file-not-readable": "ls -ld on the path that is named, and each folder above it",
}


def not_known(error: NotKnown) -> Refused:
    """Something that has to be seen first could not be: the reason is the sentence."""
    code = error.unknown.code
    refused = Refused(
        code,
        error.unknown.reason,
        found="it could not be looked at, and is not taken for right",
        do=_WAYS.get(code, f"aggctl explain {code}"),
    )
    refused.__cause__ = error.__cause__
    return refused


def of_the_system(error: OSError) -> AggctlError:
    """An error of the operating system in a place where nothing of the node was being changed."""
    path = str(error.filename) if error.filename else ""
    said = error.strerror or clean(str(error)) or type(error).__name__
    if error.errno in _NO_RIGHTS:
        code, do = "no-rights", _WAYS["no-rights"]
    elif error.errno in _NO_ROOM:
        code, do = "write-failed", "df -h and df -i; make room, then run again"
    else:
        code, do = "file-not-readable", _WAYS["file-not-readable"]
    found = AggctlError(
        code,
        f"{path}: {said}" if path else f"the system refused: {said}",
        do=f"{do}     (whether a change is open: aggctl history)",
    )
    found.__cause__ = error
    return found


def defect(error: Exception) -> AggctlError:
    """A defect of aggctl: what and where, in one sentence that can be reported."""
    found = AggctlError(
        "defect",
        "aggctl met something that it was not written for; this is a defect of aggctl",
        found=f"{type(error).__name__}: {clean(str(error))}   ({_place(error)})",
        do="aggctl history     (whether a change is open; then report the line above)",
    )
    found.__cause__ = error
    return found


def silence(stream: IO[str]) -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not complain when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def result_written() -> Iterator[None]:
    """Write to the end; a reader that went away is no error, a full disk is told, the status stays."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"the result could not be written to standard output: {error.strerror}\n")


def mend_streams() -> None:
    """A stream that is closed goes nowhere; a character that the terminal lacks shows as its code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _place(error: Exception) -> str:
    """The last line of our own that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "aggctl" in Path(frame.filename).parts] or list(frames)
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}" if own else "no place"
