"""`aggctl certs timer`."""

from __future__ import annotations

from typing import Annotated

import typer

from aggctl.cli import options as o

timer_app = typer.Typer(
    help="Renew by a systemd timer what expires soon.", no_args_is_help=True, rich_markup_mode=None
)


@timer_app.command("install")
def install_command(
    within: Annotated[
        str, typer.Option("--within", metavar="DURATION", help="What expires within so long is renewed.")
    ] = "30d",
    calendar: Annotated[
        str, typer.Option("--calendar", metavar="EVENT", help="When, as systemd's OnCalendar=.")
    ] = "daily",
    random_delay: Annotated[
        str, typer.Option("--random-delay", metavar="DURATION", help="Each node at another moment.")
    ] = "6h",
    root: o.Root = "/",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Write a systemd service and timer that run `aggctl certs rotate due`, and start the timer.

    \b
    Examples:
      sudo aggctl certs timer install
      sudo aggctl certs timer install --within 60d --calendar "Mon *-*-* 03:00"
    """
    from aggctl.cli import timer_work as work

    manners = work.manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    typed = work.TypedTimer(within, calendar, random_delay)
    raise typer.Exit(work.install_timer(root, manners, typed))


@timer_app.command("remove")
def remove_command(
    root: o.Root = "/",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Stop the timer and remove its units.

    \b
    Examples:
      sudo aggctl certs timer remove
    """
    from aggctl.cli import timer_work as work

    manners = work.manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    raise typer.Exit(work.remove_timer(root, manners))


@timer_app.command("status")
def status_command(
    root: o.Root = "/",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Say whether the timer is active, when it runs next, and how it ended last; exit 3 where it is not well.

    \b
    Examples:
      aggctl certs timer status
    """
    from aggctl.cli import timer_work as work

    manners = work.manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    raise typer.Exit(work.show_timer(root, manners))
