"""`aggctl audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from aggctl.cli import options as o
from aggctl.cli.enable import Persist

MOST = 20_000

audit_app = typer.Typer(
    help="Record who does what with aggregated APIs, and read it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Apis = Annotated[
    list[str] | None,
    typer.Argument(metavar="API|GROUP", help="VERSION.GROUP or GROUP; without it, all that are registered."),
]

Manifest = Annotated[
    str,
    typer.Option(
        "--manifest", metavar="FILE", help="The static Pod; default: found where the kubelet reads."
    ),
]


@audit_app.command("enable")
def audit_enable_command(
    apis: Apis = None,
    request_response: Annotated[
        list[str] | None,
        typer.Option(
            "--request-response", metavar="API", help="Record it at level RequestResponse; repeatable."
        ),
    ] = None,
    log_path: Annotated[
        str,
        typer.Option(
            "--log-path",
            metavar="FILE",
            help="Where records go; default: as it is set, else /var/log/kubernetes/audit/audit.log.",
        ),
    ] = "",
    max_age: Annotated[
        int | None, typer.Option("--max-age", metavar="DAYS", min=0, help="Keep rotated files so long; 30.")
    ] = None,
    max_backup: Annotated[
        int | None, typer.Option("--max-backup", metavar="N", min=0, help="Keep so many rotated files; 10.")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option("--max-size", metavar="MB", min=0, help="Rotate a file of this size; 100.")
    ] = None,
    root: o.Root = "/",
    manifest: Manifest = "",
    persist: Annotated[
        Persist,
        typer.Option(
            "--persist",
            help="Keep it through kubeadm upgrade, by a patch file; auto: where there is a kubeadm-config.",
        ),
    ] = Persist.auto,
    timeout: o.Timeout = "4m",
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
    """Have this node's kube-apiserver record the requests to aggregated APIs, and prove that it does.

    Writes an audit policy, or adds rules ahead of those that are there; sets the flags and mounts that are
    missing, restarts kube-apiserver, finds the record of a request of its own, and puts everything back where
    there is none. What is set already stays: another policy, another log, a webhook.

    \b
    Examples:
      sudo aggctl audit enable --dry-run
      sudo aggctl audit enable --yes
      sudo aggctl audit enable v1beta1.custom.metrics.k8s.io --max-age 90 --yes
      sudo aggctl audit enable --request-response hello.example.com --yes
    """
    from aggctl.cli import audit_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    wishes = work.TypedWishes(
        apis=tuple(apis or ()),
        bodies=tuple(request_response or ()),
        log_path=log_path,
        limits=(max_age, max_backup, max_size),
        manifest=manifest,
        persist=persist,
        timeout=timeout,
    )
    raise typer.Exit(work.enable(access, manners, wishes, dry_run=dry_run, lock=not no_lock))


@audit_app.command("show")
def audit_show_command(
    api: Annotated[
        str, typer.Argument(metavar="API|GROUP", help="VERSION.GROUP or GROUP; without it, every record.")
    ] = "",
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 10m, 24h.")] = "1h",
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Only what this user did, or was done in this name.")
    ] = "",
    verb: Annotated[
        str, typer.Option("--verb", metavar="VERB", help="Only this verb: get, list, create.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=MOST, help="The newest so many requests.")
    ] = 500,
    root: o.Root = "/",
    manifest: Manifest = "",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Show who did what, from this node's audit log, one request a line, the newest last.

    It needs no API. Time, user, verb, resource, namespace and name, status, addresses; "a as b" is a in the
    name of b. On several control-plane nodes each one has the requests that it was asked itself.

    \b
    Examples:
      sudo aggctl audit show
      sudo aggctl audit show v1beta1.custom.metrics.k8s.io --since 24h
      sudo aggctl audit show hello.example.com --user jane --verb delete -o json
    """
    from aggctl.cli import audit_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    sought = work.Sought(api, since, user, verb, limit, manifest)
    raise typer.Exit(work.show(o.TypedAccess(root), manners, sought))
