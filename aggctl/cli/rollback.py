"""`aggctl rollback`, `aggctl history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aggctl.cli import options as o

if TYPE_CHECKING:
    from aggctl.core.report import Report


def rollback_command(
    root: o.Root = "/",
    force: Annotated[
        bool, typer.Option("--force", help="Also where registered APIs would stop answering.")
    ] = False,
    no_lock: o.NoLock = False,
    dry_run: o.DryRun = False,
    yes: o.Yes = False,
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Undo the last change, or one that was interrupted; works with the API down.

    Every file comes back byte for byte with its mode and owner, unless somebody else changed it since.

    \b
    Examples:
      sudo aggctl rollback --dry-run
      sudo aggctl rollback --yes
    """
    from aggctl.cli.wiring import Access, Manners, asker, cluster_ports, run_command
    from aggctl.workflows.rollback import rollback

    manners = Manners(output, yes, quiet, verbose, no_color)

    def work() -> Report:
        patience = o.some_seconds(request_timeout, "--request-timeout")
        ports = cluster_ports(Access(root, kubeconfig, context, patience), manners)
        return rollback(ports, asker(manners), dry_run=dry_run, force=force, lock=not no_lock)

    raise typer.Exit(run_command("rollback", manners, work))


def history_command(
    root: o.Root = "/",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """List the changes that aggctl made on this node, newest first.

    \b
    Example:
      sudo aggctl history
    """
    from aggctl.cli.wiring import Access, Manners, cluster_ports, run_command
    from aggctl.workflows.rollback import history

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> Report:
        return history(cluster_ports(Access(root), manners))

    raise typer.Exit(run_command("history", manners, work))
