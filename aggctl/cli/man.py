"""`aggctl man`."""

from __future__ import annotations

import sys

import typer


def man_command() -> None:
    """Print the manual page aggctl(1), made from the help of each command.

    `aggctl man | man -l -` shows it; its place for all users is /usr/local/share/man/man1/aggctl.1.

    \b
    Example:
      aggctl man
    """
    from aggctl.cli.app import app
    from aggctl.cli.roff import manual
    from aggctl.cli.trouble import result_written

    with result_written():
        sys.stdout.write(manual(typer.main.get_command(app)))
