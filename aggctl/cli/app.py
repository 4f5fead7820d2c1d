"""The command tree."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from aggctl import __version__
from aggctl.cli.access import access_app
from aggctl.cli.audit import audit_app
from aggctl.cli.certs import certs_app
from aggctl.cli.completion import completion_command
from aggctl.cli.doctor import doctor_command
from aggctl.cli.enable import enable_command
from aggctl.cli.explain import explain_command
from aggctl.cli.logs import logs_command
from aggctl.cli.register import register_command, unregister_command
from aggctl.cli.rollback import history_command, rollback_command
from aggctl.cli.sandbox import sandbox_app
from aggctl.cli.startup import narrowed, spare_pydantic
from aggctl.cli.status import status_command
from aggctl.cli.trouble import mend_streams, result_written
from aggctl.cli.version import version_command
from aggctl.core.doctor.rights import LEAST

if TYPE_CHECKING:
    from types import FrameType

RIGHTS = f"From elsewhere than a node it needs these rights:\n\n\b\n{LEAST}"

app = typer.Typer(
    name="aggctl",
    help="Switch on, prove, and mend the Kubernetes aggregation layer.",
    no_args_is_help=True,
    add_completion=False,  # `aggctl completion` prints the scripts, as kubectl does
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("enable")(enable_command)
app.command("register")(register_command)
app.command("unregister")(unregister_command)
app.command("status", epilog=RIGHTS)(status_command)
app.command("doctor", epilog=RIGHTS)(doctor_command)
app.command("rollback")(rollback_command)
app.command("history")(history_command)
app.command("logs")(logs_command)
app.command("explain")(explain_command)
app.command("version")(version_command)
app.command("completion")(completion_command)
app.add_typer(access_app, name="access")
app.add_typer(audit_app, name="audit")
app.add_typer(certs_app, name="certs")
app.add_typer(sandbox_app, name="sandbox")


INTERRUPTED = 130
PLUGIN = "kubectl-aggctl"
"""Called so, it is kubectl that runs it: `kubectl aggctl …`."""


def _say_version(wanted: bool) -> None:
    if wanted:
        with result_written():
            sys.stdout.write(f"aggctl {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and stop."),
    ] = False,
) -> None:
    pass


@app.command("man")
def _man() -> None:
    """Print the manual page aggctl(1), made from the help of each command.

    `aggctl man | man -l -` shows it; its place for all users is /usr/local/share/man/man1/aggctl.1.

    \b
    Example:
      aggctl man
    """
    from aggctl.cli.roff import manual  # noqa: PLC0415 -- what no other command needs

    with result_written():
        sys.stdout.write(manual(typer.main.get_command(app)))


def _called() -> str | None:
    """What the usage line says; None leaves it to Typer."""
    return "kubectl aggctl" if Path(sys.argv[0]).name == PLUGIN else None


def run() -> int:
    """Run the command line; the exit status. SIGTERM ends it as Ctrl-C does: nothing is left running."""
    mend_streams()
    spare_pydantic()
    interrupts: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        interrupts.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and shells without job control mean it
            signal.signal(number, interrupt)
    try:
        narrowed(app, sys.argv[1:])(prog_name=_called())
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
        return INTERRUPTED if interrupts and status == 1 else status  # Typer's own "Aborted." has status 1
    return 0
