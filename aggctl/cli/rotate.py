"""`aggctl certs rotate`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aggctl.cli import options as o

rotate_app = typer.Typer(
    help="Renew certificates of the layer: each new one is tried everywhere before it is used.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@rotate_app.command("client")
def rotate_client_command(
    restart: o.Restart = False,
    key_algorithm: o.KeyAlgorithm = "RSA-2048",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long until kube-apiserver must use it.")
    ] = "2m",
    no_lock: o.NoLock = False,
    root: o.Root = "/",
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
    """Renew this node's front-proxy client certificate with no restart and no failed request.

    The new certificate has the old one's name and a new key. It is tried against this kube-apiserver and
    every endpoint of every API before it is installed; the old pair comes back when it is not used.

    \b
    Examples:
      sudo aggctl certs rotate client --dry-run
      sudo aggctl certs rotate client --yes
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    wishes = work.TypedWishes(key_algorithm, timeout, restart=restart, lock=not no_lock)
    raise typer.Exit(work.rotate_client(access, manners, wishes, dry_run=dry_run))


@rotate_app.command("serving")
def rotate_serving_command(
    apis: Annotated[
        list[str] | None, typer.Argument(metavar="VERSION.GROUP", help="Which APIs; default: all.")
    ] = None,
    cert_out: o.CertOut = "",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long each step may take.")
    ] = "2m",
    no_lock: o.NoLock = False,
    root: o.Root = "/",
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
    """Renew serving certificates with no failed request: trust both CAs, serve the new pair, drop the old CA.

    What cert-manager or somebody else renews is left alone.

    \b
    Examples:
      aggctl certs rotate serving --dry-run
      aggctl certs rotate serving v1beta1.custom.metrics.k8s.io --yes
      aggctl certs rotate serving v1.hello.example.com --cert-out ./tls
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    names = tuple(apis or ())
    options = work.TypedServing(cert_out, timeout, lock=not no_lock)
    raise typer.Exit(work.rotate_serving(names, access, manners, options, dry_run=dry_run))


class Stage(StrEnum):
    """How far a rotation is to go now."""

    trust = "trust"
    switch = "switch"
    retire = "retire"


@rotate_app.command("ca")
def rotate_ca_command(
    stage: Annotated[
        Stage, typer.Option("--stage", help="How far to go now; default: as far as is safe, to the end.")
    ] = Stage.retire,
    certificate_key: o.CertificateKey = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the other nodes, each time as long as --timeout.")
    ] = False,
    soak: Annotated[
        str, typer.Option("--soak", metavar="DURATION", help="Trust the old CA so long after the switch.")
    ] = "0s",
    preflight_only: Annotated[
        bool, typer.Option("--preflight-only", help="Name who would hold it, and why; write nothing.")
    ] = False,
    emergency: Annotated[
        bool,
        typer.Option("--emergency", help="The old key leaked: no soak; shred it in the backups, too."),
    ] = False,
    restart: o.Restart = False,
    again: Annotated[bool, typer.Option("--again", help="Also where it was replaced within a day.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on past who does not follow: there requests fail from then on."),
    ] = False,
    key_algorithm: o.KeyAlgorithm = "RSA-2048",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long each stage may take.")
    ] = "2m",
    no_lock: o.NoLock = False,
    root: o.Root = "/",
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
    """Replace the front-proxy CA with no restart and no failed request: trust both, switch, retire the old.

    Each stage is safe to stop at; run again after anything, and it goes on from there. On several
    control-plane nodes run it on each, in any order: it does what is safe, and says what it waits for.

    \b
    Examples:
      sudo aggctl certs rotate ca --preflight-only
      sudo aggctl certs rotate ca --yes
      sudo aggctl certs rotate ca --certificate-key - --wait --yes     (on each further node)
      sudo aggctl certs rotate ca --stage trust
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    until = {"trust": "trusted", "switch": "switched", "retire": "retired"}[stage.value]
    wishes = work.TypedWishes(
        key_algorithm, timeout, until, again, force, wait, soak, emergency, restart, lock=not no_lock
    )
    if preflight_only:
        raise typer.Exit(work.preflight_ca(access, manners))
    raise typer.Exit(work.rotate_ca(access, manners, wishes, certificate_key, dry_run=dry_run))


@rotate_app.command("due")
def rotate_due_command(
    within: Annotated[
        str, typer.Option("--within", metavar="DURATION", help="What expires within so long is due.")
    ] = "30d",
    cert_out: o.CertOut = "",
    key_algorithm: o.KeyAlgorithm = "RSA-2048",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long each step may take.")
    ] = "2m",
    no_lock: o.NoLock = False,
    root: o.Root = "/",
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
    """Renew whatever expires soon, each by its own command; for timers: nothing due is success.

    \b
    Examples:
      sudo aggctl certs rotate due --yes
      aggctl certs rotate due --within 60d --dry-run
    """
    from aggctl.cli import certs_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    wishes = work.TypedWishes(key_algorithm, timeout, lock=not no_lock)
    raise typer.Exit(
        work.rotate_due(access, manners, wishes, within=within, cert_out=cert_out, dry_run=dry_run)
    )
