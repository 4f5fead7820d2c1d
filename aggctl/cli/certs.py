"""`aggctl certs`."""

from __future__ import annotations

from typing import Annotated

import typer

from aggctl.cli import options as o
from aggctl.cli.rotate import rotate_app
from aggctl.cli.timer import timer_app

certs_app = typer.Typer(
    help="See every certificate of the layer; renew it with no failed request and no restart.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
certs_app.add_typer(rotate_app, name="rotate")
certs_app.add_typer(timer_app, name="timer")


@certs_app.command("list")
def list_command(
    expiring: Annotated[
        str | None,
        typer.Option("--expiring", metavar="DURATION", help="Exit 3 where one expires within: 30d."),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(
            "--prometheus", metavar="FILE", help="Write expiries for node_exporter's textfile collector."
        ),
    ] = None,
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """List certificates: front-proxy CA and client on this node, what the cluster publishes, what APIs serve.

    From elsewhere than a control-plane node it lists what can be seen there, and names what cannot.

    \b
    Examples:
      aggctl certs list
      aggctl certs list --expiring 30d -o json
      sudo aggctl certs list --prometheus /var/lib/node_exporter/aggctl.prom
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.show_list(access, manners, expiring=expiring, prometheus=prometheus))


@certs_app.command("export")
def export_command(
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Write the CA, key included, as files there.")
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Put it into the cluster instead, encrypted, for two hours.")
    ] = False,
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Hand the front-proxy CA to other control-plane nodes: the new one while it is being replaced.

    With --upload it is encrypted with a key that is shown once, and is nowhere else.

    \b
    Examples:
      sudo aggctl certs export --upload
      sudo aggctl certs export /root/front-proxy
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.export(access, manners, folder=folder, upload=upload))


@certs_app.command("import")
def import_command(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where `certs export DIR` wrote the CA.")],
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Take the new front-proxy CA of a replacement that another node began; nothing trusts it yet.

    \b
    Examples:
      sudo aggctl certs import /root/front-proxy
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.import_ca(access, manners, folder=folder))
