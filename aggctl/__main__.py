"""The console script. `--version` answers before Typer, Rich and pydantic are loaded (130 ms saved)."""

from __future__ import annotations

import os
import sys

from aggctl import __version__


def main() -> None:
    """Run aggctl; the exit status is that of the command."""
    if sys.argv[1:] == ["--version"] and _said_version():
        return
    try:
        from aggctl.cli.app import run  # noqa: PLC0415 -- see above

        status = run()
    except KeyboardInterrupt:  # before a command began, or after it ended
        status = 130
    sys.exit(status)


def _said_version() -> bool:
    """False where standard output is not as usual; the long way deals with that.

    Past the stream's buffer, in which what could not be written would stay.
    """
    if sys.stdout is None:
        return False
    try:
        os.write(sys.stdout.fileno(), f"aggctl {__version__}\n".encode())
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
