"""`aggctl logs`."""

from __future__ import annotations

from typing import Annotated

import typer

from aggctl.cli import options as o

MOST_LINES = 100_000


def logs_command(
    api: Annotated[
        str, typer.Argument(metavar="API", help="VERSION.GROUP; all aggregated APIs without it.")
    ] = "",
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 10m, 24h.")] = "1h",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C; JSON is one object a line then.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every line, not those alone that matter.")] = False,
    tail: Annotated[
        int,
        typer.Option("--tail", metavar="N", min=1, max=MOST_LINES, help="Lines read of each source at most."),
    ] = 5000,
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Show the log lines that matter, of every kube-apiserver and of the Pods behind an API, by time.

    Tokens and passwords are taken out. With the API down it reads this node's files below /var/log/pods.

    \b
    Examples:
      aggctl logs v1beta1.custom.metrics.k8s.io
      aggctl logs --since 10m --follow
      sudo aggctl logs --all -o json
    """
    from aggctl.cli import logs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    wishes = work.TypedWishes(api, since, tail, everything=every)
    raise typer.Exit((work.follow if follow else work.show)(access, manners, wishes))
