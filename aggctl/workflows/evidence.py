"""What a failed change leaves to see, gathered before it is undone and gone with the new Pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.node import cached_manifest
from aggctl.core.snapshot import ContainerLogs, FileAt, FileSeen, Unknown
from aggctl.errors import AggctlError

if TYPE_CHECKING:
    from aggctl.core.plan import Plan
    from aggctl.system.ports import Ports

LINES = 8


def collect(plan: Plan, ports: Ports) -> tuple[str, ...]:
    """The last lines of the container that the plan's manifest made; nothing where there is none."""
    paths = {
        str(value)
        for step in plan.steps
        if step.gate
        for condition in step.gate.conditions
        for name, value in condition.arguments
        if name == "manifest"
    }
    return tuple(line for path in sorted(paths) for line in _last_lines(path, ports))


def _last_lines(path: str, ports: Ports) -> tuple[str, ...]:
    file = ports.look(FileAt(path))
    if not isinstance(file, FileSeen):
        return ()
    try:
        manifest = cached_manifest(file.content, path)
    except AggctlError:
        return ()
    logs = ports.look(ContainerLogs(manifest.namespace, manifest.pod_name, manifest.container))
    if isinstance(logs, Unknown):
        return ()
    recent = [run for run in logs if run.began >= file.changed]
    return tuple(recent[-1].lines[-LINES:]) if recent else ()
