"""The plan of `aggctl enable` with what `kubeadm upgrade` is told, and the words for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.enable import plan_enable
from aggctl.core.findings import Finding
from aggctl.core.persist.configuration import PATH, TARGET
from aggctl.core.persist.patch import FOLDER
from aggctl.core.persist.steps import configuration_object
from aggctl.core.plan import FileChange, ObjectChange
from aggctl.core.register.plan import change_of, problems_of
from aggctl.core.resources import Located
from aggctl.errors import AggctlError, Refused
from aggctl.workflows.rehearse import rehearse_in_place

if TYPE_CHECKING:
    from aggctl.core.enable import Minted, Sight
    from aggctl.core.need import Wanted
    from aggctl.core.persist.decide import Persist
    from aggctl.core.persist.steps import Told
    from aggctl.core.plan import Plan
    from aggctl.system.ports import Ports


def plan_with_persist(sight: Sight, minted: Minted, wanted: Wanted, ports: Ports) -> Plan:
    """The plan; Refused where the server would not take kubeadm-config, before anything is changed."""
    return plan_enable(
        sight, minted, wanted, _rehearsed(sight.persist, ports) if sight.persist.edits else None
    )


def _rehearsed(persist: Persist, ports: Ports) -> Told:
    config = configuration_object(persist)
    rehearsed = rehearse_in_place(Located(config, PATH, TARGET), config, persist.live, ports, force=True)
    for problem in problems_of((rehearsed,)):
        raise Refused(problem.code, problem.message, do=f"{problem.fix}; or: aggctl enable --persist none")
    return change_of(ports.objects.server, ports.objects.manager, rehearsed)


def told_kubeadm(persist: Persist) -> tuple[str, ...]:
    """What was done for the next upgrade, and what is to be done at it."""
    lines = []
    if persist.edits:
        lines.append(f"{TARGET} says so, too: the next kubeadm upgrade keeps it.")
    if persist.patch and persist.patches:
        lines.append(f"At each upgrade of this node name its patch: kubeadm upgrade … --patches {FOLDER}")
    return tuple(lines)


def out_of_reach(plan: Plan, ports: Ports) -> dict[str, Finding]:
    """Objects beside a plan's files that cannot be asked for, by path: with the API down files go back."""
    changes = [step.change for step in plan.steps]
    if not any(isinstance(each, FileChange) for each in changes):
        return {}
    silent = ((each, _silence(each, ports)) for each in changes if isinstance(each, ObjectChange))
    return {each.path: _stays(each, why) for each, why in silent if why}


def _silence(change: ObjectChange, ports: Ports) -> str:
    try:
        ports.objects.holds(change)
    except AggctlError as error:
        return error.message
    return ""


def _stays(change: ObjectChange, why: str) -> Finding:
    return Finding(
        code="object-out-of-reach",
        severity="warning",
        subject=change.target,
        message=f"it stays as aggctl made it: {why}",
        fix="once the API answers, see what differs by: aggctl doctor; take it back by: kubectl edit",
    )
