"""`aggctl sandbox`: a real control plane on loopback, to try aggctl and to develop extension servers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aggctl.cli import options as o
from aggctl.cli.demo import run_demo
from aggctl.cli.progress import ConsoleProgress
from aggctl.cli.wiring import Manners, run_command
from aggctl.core.findings import Finding
from aggctl.core.report import Report, ShownChange
from aggctl.sandbox import control_plane
from aggctl.sandbox.report import Status, status

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
    r"""Start a sandbox, or start again what died of one.

    \b
    Examples:
      aggctl sandbox up
      aggctl sandbox up --dir /tmp/demo --aggregation on
    """
    manners = Manners(output, quiet=quiet, no_color=no_color)

    def work() -> Report:
        place = directory or control_plane.default_directory()
        say = _progress(manners)
        say.begin("etcd and kube-apiserver start")
        made = control_plane.up(place, aggregation.value, linger=o.seconds(linger), say=say.say)
        say.done()
        did = {"made": "runs", "restarted": "runs again", "already": "runs already"}[made.did]
        return Report(
            "sandbox up",
            "unchanged" if made.did == "already" else "applied",
            summary=(f"The sandbox {did}: kube-apiserver at {made.url}",),
            changes=() if made.did == "already" else (ShownChange("create", str(made.directory)),),
            next=(
                f"export KUBECONFIG={made.kubeconfig}",
                f"aggctl enable --root {made.root} --routing off",
                f"aggctl sandbox down --dir {made.directory}",
            ),
        )

    raise typer.Exit(run_command("sandbox up", manners, work))


@sandbox_app.command("down")
def down_command(
    directory: Directory = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the files, for the next up.")] = False,
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    r"""End exactly the processes of a sandbox, and remove its folder.

    \b
    Example:
      aggctl sandbox down --dir /tmp/demo
    """
    manners = Manners(output, quiet=quiet, no_color=no_color)

    def work() -> Report:
        place = directory or control_plane.default_directory()
        there = place.exists()
        ended = control_plane.down(place, say=_progress(manners).say, keep=keep)
        if not there:
            return Report("sandbox down", "unchanged", summary=(f"There is no sandbox in {place}.",))
        what = ", ".join(ended) or "nothing was running"
        return Report("sandbox down", "applied", summary=(f"The sandbox in {place} is down: {what}",))

    raise typer.Exit(run_command("sandbox down", manners, work))


@sandbox_app.command("status")
def status_command(
    directory: Directory = None,
    output: o.OutputOption = o.Output.text,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
) -> None:
    r"""Say how a sandbox does: each process, whether the API answers, whether the layer is on.

    \b
    Example:
      aggctl sandbox status
    """
    manners = Manners(output, quiet=quiet, no_color=no_color)
    raise typer.Exit(
        run_command(
            "sandbox status",
            manners,
            lambda: _status_report(status(directory or control_plane.default_directory())),
        )
    )


@sandbox_app.command("demo")
def demo_command(no_color: o.NoColor = False) -> None:
    r"""Show what aggctl does, on a sandbox of its own that is gone afterwards.

    \b
    Example:
      aggctl sandbox demo
    """
    manners = Manners(o.Output.text, no_color=no_color)
    raise typer.Exit(run_command("sandbox demo", manners, lambda: run_demo(_progress(manners).say)))


def _progress(manners: Manners) -> ConsoleProgress:
    return ConsoleProgress(
        manners.console(stderr=True), quiet=manners.quiet or manners.output is o.Output.json
    )


def _status_report(seen: Status) -> Report:
    lines = [f"Sandbox {seen.directory}: kube-apiserver at {seen.url}, aggregation {seen.aggregation}"]
    for process in seen.processes:
        state = f"running, pid {process.pid}" if process.running else "died"
        lines.append(f"  {process.name:<15} {state}")
    lines.append(f"  {'API':<15} {'ready' if seen.ready else seen.answer}")
    dead = [process for process in seen.processes if not process.running]
    return Report(
        "sandbox status",
        "healthy" if seen.healthy else "problems",
        summary=tuple(lines),
        findings=tuple(
            Finding(
                code="sandbox-process-died",
                severity="error",
                subject=process.name,
                message=f"{process.name} of the sandbox died",
                fix=f"aggctl sandbox up --dir {seen.directory}",
                evidence=(*process.last_lines, f"log: {process.log}"),
            )
            for process in dead
        ),
        next=(f"export KUBECONFIG={seen.kubeconfig}",) if seen.healthy else (),
    )
