"""`aggctl enable`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from aggctl.cli import options as o

if TYPE_CHECKING:
    from aggctl.core.report import Report


class Routing(StrEnum):
    """What to do about --enable-aggregator-routing."""

    on = "on"
    off = "off"
    keep = "keep"


class Persist(StrEnum):
    """Where `kubeadm upgrade` is told of the change."""

    auto = "auto"
    kubeadm = "kubeadm"
    none = "none"


def enable_command(
    root: o.Root = "/",
    manifest: Annotated[
        str,
        typer.Option(
            "--manifest", metavar="FILE", help="The static Pod; default: found where the kubelet reads."
        ),
    ] = "",
    pki_dir: Annotated[
        str, typer.Option("--pki-dir", "--cert-dir", metavar="DIR", help="Where new certificates go.")
    ] = "",
    ca_from: Annotated[
        str,
        typer.Option(
            "--ca-from", metavar="DIR", help="Take front-proxy-ca.crt and .key from there; not below --root."
        ),
    ] = "",
    certificate_key: o.CertificateKey = "",
    routing: Annotated[
        Routing | None,
        typer.Option(
            "--routing", help="Let the aggregator dial endpoints; default on, unless set off on purpose."
        ),
    ] = None,
    key_algorithm: Annotated[
        str,
        typer.Option(
            "--key-algorithm", metavar="NAME", help="As kubeadm's encryptionAlgorithm: RSA-2048, ECDSA-P256 …"
        ),
    ] = "RSA-2048",
    persist: Annotated[
        Persist,
        typer.Option(
            "--persist",
            help="Keep it through kubeadm upgrade, by kubeadm-config; auto: where there is one to be read.",
        ),
    ] = Persist.auto,
    repair: Annotated[bool, typer.Option("--repair", help="Replace what is wrong, too.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until kube-apiserver is back.")] = True,
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
    """Switch the aggregation layer on, on this control-plane node, and prove it.

    Adds the flags and certificates that are missing, restarts kube-apiserver, waits until it is back and
    accepts the front-proxy certificate, and puts everything back when it does not. Then kubeadm-config is
    told what is not kubeadm's own, so that kubeadm upgrade keeps it.

    \b
    Examples:
      sudo aggctl enable --dry-run
      sudo aggctl enable --yes
      sudo aggctl enable --ca-from /root/front-proxy     (a further control-plane node)
      sudo aggctl enable --persist kubeadm               (refuse where kubeadm upgrade would drop it)
      sudo aggctl enable --certificate-key -             (by a key of: aggctl certs export --upload)
    """
    from aggctl.cli.given_ca import ca_in, ca_of
    from aggctl.cli.wiring import Access, Manners, asker, node_ports, run_command
    from aggctl.core.need import Wanted
    from aggctl.workflows.enable import enable
    from aggctl.workflows.in_turn import Manner

    manners = Manners(output, yes, quiet, verbose, no_color)

    def work() -> Report:
        patience = o.some_seconds(request_timeout, "--request-timeout")
        ports = node_ports(Access(root, kubeconfig, context, patience), manners)
        wanted = Wanted(
            routing=routing or Routing.on,
            routing_asked=routing is not None,
            repair=repair,
            key_algorithm=o.known_algorithm(key_algorithm),
            manifest=manifest,
            pki_dir=pki_dir,
            deadline=o.some_seconds(timeout, "--timeout"),
            persist=persist,
            ca=ca_in(ca_from) if ca_from else ca_of(ports, certificate_key),
        )
        return enable(ports, wanted, Manner(dry_run, asker(manners), wait, lock=not no_lock))

    raise typer.Exit(run_command("enable", manners, work))
