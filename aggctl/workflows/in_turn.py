"""A change of this node's manifest, in its turn: while nobody else changes the control plane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.errors import Refused
from aggctl.workflows.lock import Locking, control_plane, others_not_ready
from aggctl.workflows.open_change import close_or_refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.plan import Plan
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports
    from aggctl.workflows.execute import Ended


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it: only show the plan, ask first, wait for the result, hold the control-plane lock."""

    dry_run: bool
    confirm: Callable[[Report], bool]
    wait: bool = True
    lock: bool = True


@dataclass(frozen=True, slots=True)
class Agreed:
    """The plan that the user agreed to, how it was shown, and whether it restarts the kube-apiserver."""

    command: str
    server: str
    plan: Plan
    shown: Report
    deadline: float
    restarts: bool
    silence_ok: bool = False


def refused(planned: Report) -> Report:
    """The report of a plan that the user said no to."""
    return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())


def in_turn(
    ports: Ports,
    agreed: Agreed,
    manner: Manner,
    again: Callable[[], Plan | None],
    apply: Callable[[Plan], Report],
) -> Report:
    """Apply it; one that restarts kube-apiserver while no other node does, and where the others are ready.

    `again` makes the plan anew after a wait, None where something stands in the way by now.
    """
    locking = Locking(
        agreed.command,
        agreed.server,
        agreed.deadline,
        lock=manner.lock and agreed.restarts,
        silence_ok=agreed.silence_ok,
    )
    with ports.stop.handling(), ports.journal.locked(), control_plane(ports, locking) as held:
        close_or_refuse(ports, change_it=False)
        plan = _still_shown(again(), agreed) if held.waited else agreed.plan
        if agreed.restarts and (waits := others_not_ready(ports, agreed.server)):
            return replace(agreed.shown, outcome="refused", summary=("Nothing was changed.",), findings=waits)
        done = apply(plan)
        held.keep = not manner.wait and done.outcome == "applied"  # the restart is yet to come
    return held.told(done)


def _still_shown(plan: Plan | None, agreed: Agreed) -> Plan:
    """The plan after a wait: Refused where it has a change that was not shown."""
    shown = [step.change for step in agreed.plan.steps]
    if plan is None or not plan.steps or any(step.change not in shown for step in plan.steps):
        raise Refused(
            "changed-meanwhile",
            "the control plane was changed meanwhile, and what is to be done here is not what was shown",
            do=f"look at the new plan: aggctl {agreed.command} --dry-run; then run again",
        )
    return plan


def why_not_kept(ended: Ended) -> tuple[str, ...]:
    """What became of a change whose gate did not open."""
    runs = ", kube-apiserver runs as before" if ended.outcome == "rolled-back" else ""
    return (f"{ended.why_not_kept}{runs}",)
