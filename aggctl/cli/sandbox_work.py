"""What the `aggctl sandbox` commands do; apart from their declarations, which --help loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.cli.demo import run_demo
from aggctl.cli.options import Output, seconds
from aggctl.cli.progress import ConsoleProgress
from aggctl.cli.wiring import Manners, run_command
from aggctl.core.findings import Finding
from aggctl.core.report import Report, ShownChange
from aggctl.sandbox import components, control_plane
from aggctl.sandbox.report import Status, status

__all__ = ["Manners", "build", "demo", "down", "show_status", "up"]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Literal


def up(directory: Path | None, aggregation: Literal["off", "on"], linger: str, manners: Manners) -> int:
    """Start a sandbox, or what died of one."""

    def work() -> Report:
        place = directory or control_plane.default_directory()
        progress = _progress(manners)
        progress.begin("etcd and kube-apiserver start")
        made = control_plane.up(place, aggregation, linger=seconds(linger), say=progress.say)
        progress.done()
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

    return run_command("sandbox up", manners, work)


def down(directory: Path | None, manners: Manners, *, keep: bool) -> int:
    """End a sandbox."""

    def work() -> Report:
        place = directory or control_plane.default_directory()
        there = place.exists()
        ended = control_plane.down(place, say=_progress(manners).say, keep=keep)
        if not there:
            return Report("sandbox down", "unchanged", summary=(f"There is no sandbox in {place}.",))
        what = ", ".join(ended) or "nothing was running"
        return Report("sandbox down", "applied", summary=(f"The sandbox in {place} is down: {what}",))

    return run_command("sandbox down", manners, work)


def build(names: Sequence[str], manners: Manners) -> int:
    """Have components found or built; without names those that a sandbox needs."""

    def work() -> Report:
        found = components.provide(names or components.USUAL, _progress(manners).say)
        width = max(map(len, found))
        lines = tuple(f"{name:<{width}}  {path}" for name, path in found.items())
        return Report("sandbox build", "applied", summary=lines)

    return run_command("sandbox build", manners, work)


def show_status(directory: Path | None, manners: Manners) -> int:
    """Say how a sandbox does."""

    def work() -> Report:
        return _status_report(status(directory or control_plane.default_directory()))

    return run_command("sandbox status", manners, work)


def demo(manners: Manners) -> int:
    """Run the demo."""
    return run_command("sandbox demo", manners, lambda: run_demo(_progress(manners).say))


def _progress(manners: Manners) -> ConsoleProgress:
    quiet = manners.quiet or manners.output is Output.json
    return ConsoleProgress(manners.console(stderr=True), quiet=quiet)


def _status_report(seen: Status) -> Report:
    lines = [f"Sandbox {seen.directory}: kube-apiserver at {seen.url}, aggregation {seen.aggregation}"]
    for process in seen.processes:
        state = f"running, pid {process.pid}" if process.running else "died"
        lines.append(f"  {process.name:<15} {state}")
    lines.append(f"  {'API':<15} {'ready' if seen.ready else seen.answer}")
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
            for process in seen.processes
            if not process.running
        ),
        next=(f"export KUBECONFIG={seen.kubeconfig}",) if seen.healthy else (),
    )
