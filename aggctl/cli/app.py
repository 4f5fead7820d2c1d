"""The command tree."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from aggctl import __version__
from aggctl.cli.enable import enable_command
from aggctl.cli.explain import explain_command
from aggctl.cli.rollback import history_command, rollback_command
from aggctl.cli.sandbox import sandbox_app
from aggctl.cli.trouble import mend_streams

if TYPE_CHECKING:
    from types import FrameType

app = typer.Typer(
    name="aggctl",
    help="Switch on, prove, and mend the Kubernetes aggregation layer.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("enable")(enable_command)
app.command("rollback")(rollback_command)
app.command("history")(history_command)
app.command("explain")(explain_command)
app.add_typer(sandbox_app, name="sandbox")


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"aggctl {__version__}\n")
        raise typer.Exit


def run() -> int:
    """Run the command line; the exit status. SIGTERM ends it as Ctrl-C does: nothing is left running."""
    mend_streams()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
