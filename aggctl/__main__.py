"""The console scripts. `--version` answers before Typer, Rich and pydantic are loaded (130 ms saved).

kubectl looks for `kubectl-aggctl` and, to complete a line, `kubectl_complete-aggctl`: links to this will do.
"""

from __future__ import annotations

import gc
import os
import sys

from aggctl import __version__

FEW_COLLECTIONS = 50_000, 20, 50
"""For `gc.set_threshold`: with Python's own, collections take 8 % of a start, and what is loaded stays."""

COMPLETER = "kubectl_complete-aggctl"


def main() -> None:
    """Run aggctl; the exit status is that of the command."""
    if sys.argv[1:] == ["--version"] and _said_version():
        return
    gc.set_threshold(*FEW_COLLECTIONS)
    try:
        words = _to_complete(sys.argv)
        if words is not None:
            from aggctl.cli.complete import speak  # noqa: PLC0415 -- see above

            speak(words)
        from aggctl.cli.app import run  # noqa: PLC0415 -- see above

        status = run()
    except KeyboardInterrupt:  # before a command began, or after it ended
        status = 130
    sys.exit(status)


def _to_complete(argv: list[str]) -> list[str] | None:
    """The words that a shell, or kubectl for one, asks to complete; None where something else is asked."""
    if os.path.basename(argv[0]) == COMPLETER:  # noqa: PTH119 -- pathlib is not loaded for --version
        return argv[1:]
    return argv[2:] if argv[1:2] == ["__complete"] else None


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
