"""`aggctl access`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aggctl.cli import options as o


class View(StrEnum):
    """How a list is written."""

    text = "text"
    wide = "wide"
    json = "json"


class BuiltIn(StrEnum):
    """The roles of Kubernetes that take others in."""

    view = "view"
    edit = "edit"
    admin = "admin"


ApiName = Annotated[
    str, typer.Argument(metavar="API", help="VERSION.GROUP, as v1beta1.custom.metrics.k8s.io.")
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to", metavar="WHO", help="group:NAME, user:NAME, serviceaccount:NS/NAME; may be repeated."
    ),
]
Aggregate = Annotated[
    BuiltIn | None,
    typer.Option("--aggregate", help="The built-in role that takes it in, for all who have that."),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Only there.")]

access_app = typer.Typer(
    help="Who may use a registered API: let in, take back, list, and find out which side says no.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@access_app.command("grant")
def grant_command(
    api: ApiName,
    to: To = None,
    verbs: Annotated[
        list[str] | None,
        typer.Option("--verbs", metavar="VERB,...", help="Default: get, list and watch, as far as offered."),
    ] = None,
    resources: Annotated[
        list[str] | None,
        typer.Option("--resources", metavar="NAME,...", help="Default: what the API's discovery names."),
    ] = None,
    namespace: Namespace = "",
    aggregate: Aggregate = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long it may take until it counts.")
    ] = "30s",
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that other field managers own.")
    ] = False,
    field_manager: Annotated[
        str, typer.Option("--field-manager", metavar="NAME", help="In whose name objects are applied.")
    ] = "aggctl",
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
    """Let somebody use an API: a role from what the API offers, and a binding; in a namespace or everywhere.

    No wildcard is granted that is not typed. It ends when kube-apiserver itself says yes. RBAC knows groups,
    not versions: what is granted of one version counts for the others of its group.

    \b
    Examples:
      aggctl access grant v1beta1.custom.metrics.k8s.io --to group:devs
      aggctl access grant v1.hello.example.com --to serviceaccount:shop/web --verbs get,list -n shop
      aggctl access grant v1.hello.example.com --aggregate view --dry-run
    """
    from aggctl.cli import access_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    typed = work.Typed(
        api,
        tuple(to or ()),
        namespace,
        aggregate.value if aggregate else "",
        tuple(verbs or ()),
        tuple(resources or ()),
    )
    access = o.TypedAccess(root, kubeconfig, context, request_timeout, field_manager)
    raise typer.Exit(
        work.grant(typed, access, manners, timeout=timeout, force_conflicts=force_conflicts, dry_run=dry_run)
    )


@access_app.command("revoke")
def revoke_command(
    api: ApiName,
    to: To = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that aggctl granted of this API, to whomever.")
    ] = False,
    namespace: Namespace = "",
    aggregate: Aggregate = None,
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
    """Take back what `access grant` gave, in every namespace unless one is named.

    A role goes with its last binding. Through what others made somebody may still get in: that is said.

    \b
    Examples:
      aggctl access revoke v1beta1.custom.metrics.k8s.io --to group:devs
      aggctl access revoke v1.hello.example.com --all --dry-run
    """
    from aggctl.cli import access_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    typed = work.Typed(api, tuple(to or ()), namespace, aggregate.value if aggregate else "")
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.revoke(typed, access, manners, everything=everything, dry_run=dry_run))


@access_app.command("list")
def list_command(
    api: ApiName,
    namespace: Namespace = "",
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: Annotated[
        View, typer.Option("--output", "-o", help="text, wide (more columns), or one JSON document.")
    ] = View.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """List who reaches an API, what each may do there, and through which binding and role of RBAC.

    Whole populations and wildcards that others granted are warned of. RBAC is read, no other authorizer.

    \b
    Examples:
      aggctl access list v1beta1.custom.metrics.k8s.io
      aggctl access list v1.hello.example.com -n shop -o json
    """
    from aggctl.cli import access_work as work
    from aggctl.cli.wiring import Manners

    as_json = output is View.json
    manners = Manners(
        o.Output.json if as_json else o.Output.text, quiet=quiet, verbose=verbose, no_color=no_color
    )
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.show_list(api, access, manners, namespace=namespace, wide=output is View.wide))


@access_app.command("check")
def check_command(
    api: ApiName,
    user: Annotated[
        str, typer.Option("--as", metavar="USER", help="Who; system:serviceaccount:NS:NAME as well.")
    ],
    group: Annotated[
        list[str] | None, typer.Option("--as-group", metavar="GROUP", help="In which group; may be repeated.")
    ] = None,
    verb: Annotated[str, typer.Option("--verb", metavar="VERB", help="Default: list, else get.")] = "",
    resource: Annotated[
        str, typer.Option("--resource", metavar="NAME", help="Default: the first that can be listed.")
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of one object, by its name.")] = "",
    namespace: Namespace = "",
    root: o.Root = "/",
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Find out whether somebody may use an API, and which of the two sides says no.

    kube-apiserver is asked by an access review; then the request itself is made as that user, which needs the
    right to impersonate. Only get and list are tried for real. Exit status 3 where one says no.

    \b
    Examples:
      aggctl access check v1.hello.example.com --as alice --as-group devs
      aggctl access check v1beta1.custom.metrics.k8s.io --as alice --resource pods/requests --verb get -n shop
    """
    from aggctl.cli import access_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, quiet=quiet, verbose=verbose, no_color=no_color)
    asked = work.TypedQuestion(api, user, tuple(group or ()), verb, resource, name, namespace)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    raise typer.Exit(work.check(asked, access, manners))
