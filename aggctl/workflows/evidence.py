"""What a failed change leaves to see, gathered before it is undone and gone with the new Pod."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.workload import last_lines
from aggctl.core.node import cached_manifest
from aggctl.core.questions import ContainerLogs, FileAt, FileSeen, Unknown
from aggctl.errors import AggctlError
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from aggctl.core.plan import Plan
    from aggctl.system.ports import Ports

LINES = 8


def collect(plan: Plan, ports: Ports) -> tuple[str, ...]:
    """The last lines of the containers that the plan waited for; nothing where there are none."""
    gates = (gate for step in plan.steps for gate in (step.needs, step.gate) if gate)
    conditions = dict.fromkeys(condition for gate in gates for condition in gate.conditions)
    manifests = {str(value) for each in conditions for name, value in each.arguments if name == "manifest"}
    workloads: list[dict[str, Any]] = [
        dict(each.arguments) for each in conditions if each.check == "workload-available"
    ]
    return (
        *(line for path in sorted(manifests) for line in _last_lines(path, ports)),
        *(line for each in workloads for line in settle(partial(last_lines, **each), ports.look)[0][-LINES:]),
    )


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
