"""`aggctl register`, `aggctl unregister`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aggctl.cli import options as o


class Output(StrEnum):
    """How the result is written."""

    text = "text"
    json = "json"
    yaml = "yaml"


Apis = Annotated[
    list[str] | None,
    typer.Argument(metavar="VERSION.GROUP", help="Versions of one group, served by one server."),
]
Filename = Annotated[
    list[str] | None,
    typer.Option(
        "--filename", "-f", metavar="FILE|DIR|-", help="Your own manifests: files, folders, standard input."
    ),
]


def register_command(
    apis: Apis = None,
    filename: Filename = None,
    image: Annotated[
        str, typer.Option("--image", metavar="IMAGE", help="Run this server in the cluster.")
    ] = "",
    service: Annotated[
        str,
        typer.Option(
            "--service", metavar="NS/NAME[:PORT]", help="A server that runs already, by its Service."
        ),
    ] = "",
    external: Annotated[
        str, typer.Option("--external", metavar="HOST:PORT", help="A server outside the cluster.")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Where the objects go; made if missing."),
    ] = "default",
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="What the objects are called; default: from the image or group."
        ),
    ] = "",
    port: Annotated[
        str, typer.Option("--port", metavar="PORT", help="Where the server listens in its Pod.")
    ] = "6443",
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", min=1, help="How many Pods.")] = 2,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="ARG", help="An argument of the server; may be repeated."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="K=V", help="A variable of its environment; may be repeated."),
    ] = None,
    network_policy: Annotated[
        bool, typer.Option("--network-policy", help="Admit only the control plane to the server.")
    ] = False,
    tls: Annotated[
        str,
        typer.Option(
            "--tls",
            metavar="HOW",
            help="self (default), secret=NAME, cert-manager=ISSUER[/KIND], insecure.",
        ),
    ] = "",
    cert_out: Annotated[
        str, typer.Option("--cert-out", metavar="DIR", help="Where an external server reads its certificate.")
    ] = "",
    with_rbac: Annotated[
        bool, typer.Option("--with-rbac", help="Add the two bindings that every extension server needs.")
    ] = False,
    group_priority: Annotated[
        int, typer.Option("--group-priority", metavar="N", help="groupPriorityMinimum, 1 to 20000.")
    ] = 1000,
    version_priority: Annotated[
        int, typer.Option("--version-priority", metavar="N", help="versionPriority, 1 to 1000.")
    ] = 15,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Also an API that belongs to another product.")
    ] = False,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that other field managers own.")
    ] = False,
    field_manager: Annotated[
        str, typer.Option("--field-manager", metavar="NAME", help="In whose name objects are applied.")
    ] = "aggctl",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the API answers.")] = True,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long that may take; 0 looks once.")
    ] = "5m",
    root: o.Root = "/",
    dry_run: o.DryRun = False,
    yes: o.Yes = False,
    kubeconfig: o.Kubeconfig = "",
    context: o.Context = "",
    request_timeout: o.RequestTimeout = "5s",
    output: Annotated[
        Output,
        typer.Option(
            "--output", "-o", help="text, one JSON document, or with --dry-run the objects as yaml."
        ),
    ] = Output.text,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    no_color: o.NoColor = False,
) -> None:
    """Publish an API that an extension server answers, and prove that it does.

    Makes the objects or takes yours, issues the serving certificate, applies the APIService last, waits until
    every kube-apiserver gets an answer over verified TLS, and puts everything back when none comes.

    \b
    Examples:
      aggctl register v1beta1.custom.metrics.k8s.io --image registry.example/adapter:1.4 -n custom-metrics
      aggctl register v1.hello.example.com --external localhost:6444 --cert-out ./tls
      aggctl register v1beta1.metrics.k8s.io --service kube-system/metrics-server --tls secret=ms-tls
      aggctl register -f components.yaml --dry-run
      aggctl register v1.hello.example.com --image registry.example/hello:1 --dry-run -o yaml > hello.yaml
    """
    from aggctl.cli import register_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(
        o.Output.json if output is Output.json else o.Output.text, yes, quiet, verbose, no_color
    )
    typed = work.Typed(
        apis=tuple(apis or ()),
        filenames=tuple(filename or ()),
        image=image,
        service=service,
        external=external,
        namespace=namespace,
        name=name,
        port=port,
        replicas=replicas,
        arguments=tuple(arg or ()),
        environment=tuple(env or ()),
        network_policy=network_policy,
        tls=tls,
        cert_out=cert_out,
        with_rbac=with_rbac,
        group_priority=group_priority,
        version_priority=version_priority,
        take_over=take_over,
        force_conflicts=force_conflicts,
        timeout=timeout,
    )
    access = o.TypedAccess(root, kubeconfig, context, request_timeout, field_manager)
    if output is Output.yaml:
        raise typer.Exit(work.print_objects(typed, access, manners, dry_run=dry_run))
    raise typer.Exit(work.register(typed, access, manners, dry_run=dry_run, wait=wait))


def unregister_command(
    apis: Apis = None,
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Those of them, or of all APIs, whose Service or namespace is gone."),
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long it may take until the API is gone.")
    ] = "1m",
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
    """Take an API away: its APIService first, then what aggctl made for it and nothing else uses.

    A namespace goes only where aggctl made it and nothing of others is in it.

    \b
    Examples:
      aggctl unregister v1beta1.custom.metrics.k8s.io
      aggctl unregister --stale --dry-run
    """
    from aggctl.cli import register_work as work
    from aggctl.cli.wiring import Manners

    manners = Manners(output, yes, quiet, verbose, no_color)
    access = o.TypedAccess(root, kubeconfig, context, request_timeout)
    names = tuple(apis or ())
    raise typer.Exit(work.unregister(names, access, manners, stale=stale, timeout=timeout, dry_run=dry_run))
