"""Wait for a gate: look, evaluate, and again, until it holds, is hopeless, or its time is up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aggctl.core.checks import evaluate
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.findings import Verdict
    from aggctl.core.plan import Gate
    from aggctl.system.ports import Ports

INTERVAL = 0.2


class GateFailed(Exception):  # noqa: N818 -- a gate that did not open
    """The gate did not open; `finding` is its first unmet condition."""

    def __init__(self, finding: Finding, seconds: float) -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.seconds = seconds


def first_unmet(gate: Gate, ports: Ports) -> Verdict | None:
    """The verdict of the first condition that does not hold now, or None where all hold."""
    for condition in gate.conditions:
        verdict, _ = settle(partial(evaluate, condition), ports.look)
        if not isinstance(verdict, Passed):
            return verdict
    return None


def wait_for(gate: Gate, ports: Ports, *, check_stop: Callable[[], None] = lambda: None) -> None:
    """Return once the gate has held for its `steady` time; GateFailed when hopeless or too late."""
    began = ports.clock.monotonic()
    held_since: float | None = None
    with ports.watch(gate.server, gate.watch) as pause:
        while True:
            check_stop()
            unmet = first_unmet(gate, ports)
            now = ports.clock.monotonic()
            if unmet is None:
                held_since = now if held_since is None else held_since
                if now - held_since >= gate.steady:
                    return
            else:
                held_since = None
                finding = as_finding(unmet)
                if finding.hopeless or now - began >= gate.deadline:
                    raise GateFailed(finding, now - began)
                ports.progress.waiting(finding.message)
            pause(INTERVAL)


def as_finding(verdict: Verdict) -> Finding:
    """An unmet verdict as a finding."""
    if isinstance(verdict, Finding):
        return verdict
    if isinstance(verdict, NotChecked):
        why = verdict.why
        return Finding(why.code, "error", "kube-apiserver", why.reason, f"aggctl explain {why.code}")
    raise TypeError(verdict)
