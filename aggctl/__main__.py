"""The console script. `--version` answers before Typer, Rich and pydantic are loaded (130 ms saved)."""

from __future__ import annotations

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
    """False where standard output is not as usual; the long way deals with that."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(f"aggctl {__version__}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
