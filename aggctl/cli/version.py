"""`aggctl version`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aggctl.cli import options as o

if TYPE_CHECKING:
    from aggctl.core.report import Report


def version_command(
    client: Annotated[bool, typer.Option("--client", help="This program alone; no server is asked.")] = False,
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Say the versions of aggctl, of its Python, and of the kube-apiserver where one answers.

    That none answers is said, and is no failure.

    \b
    Examples:
      aggctl version
      aggctl version --client -o json
    """
    from aggctl.cli.wiring import Access, Manners, cluster_ports, run_command
    from aggctl.workflows.version import version

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)

    def work() -> Report:
        checked = Access(*access.checked())
        return version(None if client else cluster_ports(checked, manners))

    raise typer.Exit(run_command("version", manners, work))
