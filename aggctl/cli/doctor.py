"""`aggctl doctor`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aggctl.cli import options as o


class FailOn(StrEnum):
    """From which severity on doctor exits with 3."""

    error = "error"
    warning = "warning"


def doctor_command(
    apis: Annotated[
        list[str] | None, typer.Argument(metavar="API", help="VERSION.GROUP; without one, all of them.")
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit 3 where there is an error, or a warning, too.")
    ] = FailOn.error,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Mend what one of aggctl's own plans or one object mends; asks before each."
        ),
    ] = False,
    yes: o.Yes = False,
    bundle: Annotated[
        str,
        typer.Option(
            "--bundle",
            metavar="FILE.tar.gz",
            help="Write all that was seen, without secrets, for somebody else.",
        ),
    ] = "",
    from_bundle: Annotated[
        str, typer.Option("--from-bundle", metavar="FILE", help="Examine what somebody else saw.")
    ] = "",
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "6s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Find the broken hop of each API, its cause, and what mends it; nothing is changed without --fix.

    On a control-plane node it looks at files, processes and sockets as well, and works with the API down.
    From elsewhere it asks the kube-apiservers, each by its own address, and says what could not be checked.

    \b
    Examples:
      sudo aggctl doctor
      aggctl doctor v1beta1.metrics.k8s.io --kubeconfig admin.conf
      aggctl doctor -o json --fail-on warning
      sudo aggctl doctor --bundle for-a-colleague.tar.gz
      aggctl doctor v1beta1.metrics.k8s.io --fix
    """
    from aggctl.cli.doctor_work import TypedExam, diagnose
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes=yes, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    exam = TypedExam(tuple(apis or ()), fail_on.value, bundle, from_bundle, fix)
    raise typer.Exit(diagnose(exam, access, manners))
