"""The plan for audit records: folders, the policy, the manifest, and what proves that records are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.audit.see import COMMAND
from aggctl.core.node_change import (
    condition,
    folder_steps,
    in_force,
    manifest_step,
    new_manifest,
    shown_text,
    undo_gate,
    while_stopped,
)
from aggctl.core.persist.steps import persist_steps, shown_persist
from aggctl.core.plan import FileChange, FolderChange, Gate, Plan, Step, stamp
from aggctl.core.report import ShownChange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.audit.see import Sight
    from aggctl.core.plan import Change, Condition

POLICY_MODE = 0o644
LOG_FOLDER_MODE = 0o700
"""Records tell who did what; kube-apiserver makes the file itself with 0600."""


def plan_audit(sight: Sight, deadline: float) -> Plan:
    """The steps; kube-apiserver is stopped while a policy that it runs with changes.

    It reads the policy at its start only: put back behind the manifest the old one would not be in force.
    """
    node, need = sight.node, sight.need
    blobs: dict[str, bytes] = {}
    steps = [*folder_steps(sight.folders, _modes(sight)), *_policy_step(sight, blobs)]
    if sight.restarts:
        gate = Gate(live_conditions(sight), deadline)
        undone = undo_gate(node, deadline, answers=sight.cluster is not None)
        after = new_manifest(node, need.flags, need.mounts, blobs)
        if need.edits and sight.settings.policy:
            steps = list(while_stopped(node, steps, after, (gate, undone), deadline))
        else:
            last = manifest_step(node, after)
            steps.append(Step(last.title, last.change, gate=gate, undo_gate=undone))
    steps += persist_steps(sight.persist, None, (node.folder.uid, node.folder.gid), blobs)
    return Plan(COMMAND, "record requests to the aggregated APIs", tuple(steps), blobs)


def live_conditions(sight: Sight) -> tuple[Condition, ...]:
    """What is true where records are written: the gate, and the proof of "nothing to do"."""
    node, need = sight.node, sight.need
    path, server = node.manifest.path, node.server
    proof = [condition("audit-recorded", server=server, log=need.log.host)] if need.log else []
    return (
        in_force(node, need.flags, need.mounts),
        condition("apiserver-ready", server=server, manifest=path),
        *proof,
    )


def shown_changes(sight: Sight, plan: Plan) -> tuple[ShownChange, ...]:
    """The plan for people: texts as diffs; the manifest once, though a restart takes it away meanwhile."""
    return tuple(_shown(sight, change, plan) for change in _changes(sight, plan))


def _changes(sight: Sight, plan: Plan) -> Iterator[Change]:
    path, there = sight.node.manifest.path, sight.node.file.stamp
    for step in plan.steps:
        change = step.change
        if change.path != path or not isinstance(change, FileChange):
            yield change
        elif change.after and change.after != there:
            yield FileChange(path, there, change.after)


def _shown(sight: Sight, change: Change, plan: Plan) -> ShownChange:
    if isinstance(change, FolderChange):
        return ShownChange("create", change.path, f"{change.mode:04o}   folder")
    if change.path == sight.persist.file or not isinstance(change, FileChange):
        return shown_persist(sight.persist, change)
    return shown_text(change, plan)


def _modes(sight: Sight) -> dict[str, int]:
    log = sight.need.log
    return {log.host.rpartition("/")[0]: LOG_FOLDER_MODE} if log else {}


def _policy_step(sight: Sight, blobs: dict[str, bytes]) -> Iterator[Step]:
    need, owner = sight.need, sight.node.folder
    if not need.edits:
        return
    content, there = need.policy.encode(), need.file
    before = there.stamp if there else None
    after = (
        stamp(content, before.mode, before.uid, before.gid)
        if before
        else stamp(content, POLICY_MODE, owner.uid, owner.gid)
    )
    blobs[after.digest] = content
    if there:
        blobs[there.stamp.digest] = there.content
    yield Step(need.policy_at.host, FileChange(need.policy_at.host, before, after))
