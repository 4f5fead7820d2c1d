"""`aggctl sandbox`: a real control plane on loopback, to try aggctl and to develop extension servers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aggctl.cli import options as o

sandbox_app = typer.Typer(
    help="A real etcd and kube-apiserver on loopback, run by a stand-in kubelet; no root, no containers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Aggregation(StrEnum):
    """Whether the new sandbox has the layer."""

    off = "off"
    on = "on"


Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="Where it lies; default: a folder of the user's state."),
]


@sandbox_app.command("up")
def up_command(
    directory: Directory = None,
    aggregation: Annotated[
        Aggregation, typer.Option("--aggregation", help="With the layer off, or on as kubeadm sets it up.")
    ] = Aggregation.off,
    linger: Annotated[
        str,
        typer.Option(
            "--linger", metavar="DURATION", help="How long an ended kube-apiserver stays a process."
        ),
    ] = "0s",
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    """Start a sandbox, or start again what died of one.

    \b
    Examples:
      aggctl sandbox up
      aggctl sandbox up --dir /tmp/demo --aggregation on
    """
    from aggctl.cli import sandbox_work as work

    manners = work.Manners(output, quiet=quiet, no_color=no_color)
    raise typer.Exit(work.up(directory, aggregation.value, linger, manners))


@sandbox_app.command("down")
def down_command(
    directory: Directory = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the files, for the next up.")] = False,
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    """End exactly the processes of a sandbox, and remove its folder.

    \b
    Example:
      aggctl sandbox down --dir /tmp/demo
    """
    from aggctl.cli import sandbox_work as work

    manners = work.Manners(output, quiet=quiet, no_color=no_color)
    raise typer.Exit(work.down(directory, manners, keep=keep))


@sandbox_app.command("build")
def build_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROGRAM", help="Which, as kubelet; default: what a sandbox needs."),
    ] = None,
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    """Build what a sandbox needs, once, into the cache: for a machine that will have no network.

    \b
    Examples:
      aggctl sandbox build
      aggctl sandbox build kubeadm kubelet
    """
    from aggctl.cli import sandbox_work as work

    manners = work.Manners(output, quiet=quiet, no_color=no_color)
    raise typer.Exit(work.build(names or [], manners))


@sandbox_app.command("status")
def status_command(
    directory: Directory = None,
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    """Say how a sandbox does: each process, whether the API answers, whether the layer is on.

    \b
    Example:
      aggctl sandbox status
    """
    from aggctl.cli import sandbox_work as work

    raise typer.Exit(work.show_status(directory, work.Manners(output, quiet=quiet, no_color=no_color)))


@sandbox_app.command("demo")
def demo_command(no_color: o.NoColor = False) -> None:
    """Show what aggctl does, on a sandbox of its own that is gone afterwards.

    \b
    Example:
      aggctl sandbox demo
    """
    from aggctl.cli import sandbox_work as work

    raise typer.Exit(work.demo(work.Manners(o.Output.text, no_color=no_color)))
