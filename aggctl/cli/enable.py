"""`aggctl enable`."""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggctl.cli import options as o
from aggctl.errors import Refused, UsageError

if TYPE_CHECKING:
    from aggctl.core.pki import KeyPair
    from aggctl.core.report import Report


CA_NAMES = ("front-proxy-ca.crt", "front-proxy-ca.key")


class Routing(StrEnum):
    """What to do about --enable-aggregator-routing."""

    on = "on"
    off = "off"
    keep = "keep"


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
    repair: Annotated[bool, typer.Option("--repair", help="Replace what is wrong, too.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until kube-apiserver is back.")] = True,
    timeout: o.Timeout = "4m",
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
    accepts the front-proxy certificate, and puts everything back when it does not.

    \b
    Examples:
      sudo aggctl enable --dry-run
      sudo aggctl enable --yes
      sudo aggctl enable --ca-from /root/front-proxy     (a further control-plane node)
    """
    from aggctl.cli.wiring import Access, Manners, asker, node_ports, run_command
    from aggctl.core.need import Wanted
    from aggctl.core.pki import KEY_ALGORITHMS
    from aggctl.workflows.enable import Manner, enable

    manners = Manners(output, yes, quiet, verbose, no_color)

    def work() -> Report:
        if key_algorithm not in KEY_ALGORITHMS:
            raise UsageError(
                "key-algorithm-unknown",
                f"there is no key algorithm {key_algorithm!r}",
                expected=", ".join(KEY_ALGORITHMS),
                do="for example: --key-algorithm ECDSA-P256",
            )
        wanted = Wanted(
            routing=routing or Routing.on,
            routing_asked=routing is not None,
            repair=repair,
            key_algorithm=key_algorithm,
            manifest=manifest,
            pki_dir=pki_dir,
            deadline=o.some_seconds(timeout, "--timeout"),
            ca=_given_ca(ca_from),
        )
        patience = o.some_seconds(request_timeout, "--request-timeout")
        ports = node_ports(Access(root, kubeconfig, context, patience), manners)
        return enable(ports, wanted, Manner(dry_run, asker(manners), wait))

    raise typer.Exit(run_command("enable", manners, work))


def _given_ca(folder: str) -> KeyPair | None:
    from aggctl.core import pki

    if not folder:
        return None
    certificate, key = (Path(folder) / name for name in CA_NAMES)
    try:
        pair = pki.KeyPair(_content(certificate), _content(key) if key.exists() else b"")
    except OSError as error:
        raise _bad_ca(folder, f"{error.filename}: {error.strerror}") from error
    try:
        first = pki.read_certificates(pair.certificate)[0]
    except pki.PkiError as error:
        raise _bad_ca(folder, f"{certificate}: {error}") from error
    try:
        matches = not pair.key or pki.public_key_of(pair.key) == first.public_key
    except pki.PkiError as error:
        raise _bad_ca(folder, f"{key}: {error}") from error
    if not first.is_ca:
        raise _bad_ca(folder, f"{certificate} ({first.subject}) is no CA")
    if not matches:
        raise _bad_ca(folder, f"{key} is not the key of {certificate}")
    return pair


def _content(path: Path) -> bytes:
    """A file of ordinary size; a pipe would be waited for, and a device read without an end."""
    from aggctl.system.files import READ_LIMIT

    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        content = file.read(READ_LIMIT + 1)
    if len(content) > READ_LIMIT:
        raise OSError(errno.EFBIG, "larger than 2 MiB", str(path))
    return content


def _bad_ca(folder: str, found: str) -> Refused:
    return Refused(
        "given-ca-not-usable",
        f"the CA in {folder} cannot be used",
        found=found,
        expected=f"{CA_NAMES[0]}, and {CA_NAMES[1]} where certificates are to be issued",
        do="copy both from a node where the layer is on",
    )
