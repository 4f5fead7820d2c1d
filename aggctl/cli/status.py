"""`aggctl status`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aggctl.cli import options as o


class View(StrEnum):
    """How the status is written."""

    text = "text"
    wide = "wide"
    json = "json"
    yaml = "yaml"


def status_command(
    apis: Annotated[
        list[str] | None, typer.Argument(metavar="API", help="VERSION.GROUP; without one, all of them.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever something changes, until Ctrl-C.")
    ] = False,
    prometheus: Annotated[
        str | None,
        typer.Option(
            "--prometheus", metavar="FILE", help="Write gauges for node_exporter's textfile collector."
        ),
    ] = None,
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "6s",
    output: Annotated[
        View, typer.Option("--output", "-o", help="text, wide (more columns), or one document.")
    ] = View.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Show the layer, and of each API whether it is available, how it is served, and how fast it answers.

    With several kube-apiservers each has a column: ✓ where the API answers through it. TLS is that of a
    handshake with each endpoint, on a control-plane node; elsewhere only what the APIService says is seen.

    \b
    Examples:
      aggctl status
      aggctl status v1beta1.metrics.k8s.io -o wide
      aggctl status --watch
      sudo aggctl status -q --prometheus /var/lib/node_exporter/aggctl-status.prom
    """
    from aggctl.cli import status_work as work

    asked = work.Typed(tuple(apis or ()), output.value, prometheus, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.watch(asked, access) if watch else work.show(asked, access))
