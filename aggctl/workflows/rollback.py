"""`aggctl rollback` and `aggctl history`: undo the last change, also with the API down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.cluster_view import ServiceOf, aggregated_apis
from aggctl.core.lease import restarted
from aggctl.core.namespaces import NAMESPACES, end_of
from aggctl.core.node import cached_manifest, secure_port, server_url
from aggctl.core.plan import Change, FileChange, FolderChange, ObjectChange, inverse, inverse_plan, standing
from aggctl.core.report import Report, ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import unified_diff
from aggctl.errors import AggctlError, Refused
from aggctl.workflows.execute import (
    close_record,
    execute,
    keep_published_ca,
    put_back_begun,
    report_of,
    to_mend,
)
from aggctl.workflows.gates import GateFailed, as_finding, first_unmet, wait_for
from aggctl.workflows.inhabited import inhabited
from aggctl.workflows.lock import Locking, control_plane, others_not_ready
from aggctl.workflows.observe import settle
from aggctl.workflows.persist import out_of_reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.findings import Finding
    from aggctl.core.plan import Gate, Plan
    from aggctl.core.questions import Stamp
    from aggctl.core.snapshot import Snapshot
    from aggctl.system.journal import Entry
    from aggctl.system.ports import Ports

NAMESPACE_SECONDS = 60.0
"""A namespace ends within some seconds, where nothing holds it."""


def rollback(
    ports: Ports, confirm: Callable[[Report], bool], *, dry_run: bool, force: bool, lock: bool = True
) -> Report:
    """Undo an interrupted change, else the last one that was applied."""
    entry = ports.journal.open_entry()
    if entry:
        return _finish_undoing(entry, ports, confirm, dry_run=dry_run)
    entry = ports.journal.last_applied()
    if entry is None:
        return Report("rollback", "unchanged", summary=("Nothing to undo: no change of aggctl is in force.",))
    _refuse_unsafe(entry, ports, force=force)
    plan, silence = _without_vain_gates(
        inverse_plan(entry.plan, entry.identity, f"undo: {entry.plan.title}"), ports
    )
    plan, staying = _without_inhabited(plan, ports)
    planned = _planned(entry, plan, tuple(step.change for step in plan.steps), silence)
    planned = replace(planned, findings=staying)
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    _await_namespaces(plan, ports)
    server = restarted(entry.plan)
    locking = Locking("rollback", server, lock=lock and bool(server), silence_ok=True)
    with ports.stop.handling(), ports.journal.locked(), control_plane(ports, locking) as held:
        newest = ports.journal.last_applied()
        if ports.journal.open_entry() or newest is None or newest.identity != entry.identity:
            raise Refused("changed-meanwhile", "another aggctl changed this node meanwhile", do="run again")
        if held.waited:
            _refuse_unsafe(entry, ports, force=force)
        if server and (waits := others_not_ready(ports, server)):
            return replace(planned, outcome="refused", summary=("Nothing was changed.",), findings=waits)
        _keep(entry, ports)
        plan, since = _without_inhabited(plan, ports)
        ended = execute(plan, ports)
    applied = ended.outcome == "applied"
    summary = ("The change is undone.", *silence) if applied else (ended.findings[0].message,)
    done = report_of("rollback", ended, summary=summary, changes=planned.changes)
    return held.told(replace(done, findings=(*ended.findings, *staying, *since)))


def history(ports: Ports) -> Report:
    """Every change on record, newest first."""
    open_entry = ports.journal.open_entry()
    entries = [*([open_entry] if open_entry else []), *ports.journal.history()]
    return Report(
        "history",
        "unchanged",
        summary=() if entries else ("No changes on record.",),
        changes=tuple(
            ShownChange(entry.outcome, entry.identity, f"{entry.plan.command}   {entry.plan.title}")
            for entry in entries
        ),
    )


def _finish_undoing(
    entry: Entry, ports: Ports, confirm: Callable[[Report], bool], *, dry_run: bool
) -> Report:
    """Put back what an interrupted run began; the plan's own record says what that was."""
    steps = (number for number in reversed(entry.begun) if number not in entry.undone)
    changes = tuple(inverse(entry.plan.steps[number].change) for number in steps)
    planned = _planned(entry, entry.plan, changes)
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    with ports.journal.locked(), ports.stop.handling():
        now_open = ports.journal.open_entry()
        if now_open is None or now_open.identity != entry.identity:
            raise Refused("changed-meanwhile", "another aggctl ended that change meanwhile", do="run again")
        running = ports.journal.running(entry.identity)
        running.undo()
        left = put_back_begun(now_open.plan, now_open.begun, ports, entry.identity, now_open.undone)
        if to_mend(left):
            return Report(
                "rollback",
                "rollback-incomplete",
                summary=("Not everything could be put back; mend what is named, then run again.",),
                findings=left,
            )
        left_open = close_record(running, {"outcome": "rolled-back"})
    return Report(
        "rollback",
        "applied",
        summary=("The interrupted change is undone.",),
        changes=planned.changes,
        findings=(*left, *left_open),
    )


def _refuse_unsafe(entry: Entry, ports: Ports, *, force: bool) -> None:
    _refuse_third_states(entry, ports)
    if not force:
        _refuse_breaking(entry, ports)


def _keep(entry: Entry, ports: Ports) -> None:
    try:
        keep_published_ca(entry.plan, entry.begun, ports)
    except OSError as error:
        raise Refused(
            "journal-not-writable",
            f"the CA that this cluster has published cannot be put away: {error.strerror or error}",
            do="make room, or the file system writable, then run again; nothing was changed",
        ) from error


def _without_vain_gates(plan: Plan, ports: Ports) -> tuple[Plan, tuple[str, ...]]:
    """Where kube-apiserver does not answer now, its files are all that is owed: nothing is waited for."""
    for step in plan.steps:
        asked = step.gate if step.gate and not _is_end(step.gate) else None
        unmet = first_unmet(asked, ports) if asked else None
        if unmet is not None:
            bare = tuple(replace(each, gate=None, undo_gate=None) for each in plan.steps)
            why = as_finding(unmet).message
            return replace(plan, steps=bare), (f"kube-apiserver was not waited for: {why}",)
    return plan, ()


def _is_end(gate: Gate) -> bool:
    """Whether it waits for kube-apiserver to end, within a restart: now it runs."""
    return all(each.check == "apiserver-stopped" for each in gate.conditions)


def _without_inhabited(plan: Plan, ports: Ports) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan without the namespaces that others use since, and what the API is too silent for; and why."""
    stays = inhabited((step.change for step in plan.steps), ports) | out_of_reach(plan, ports)
    steps = tuple(step for step in plan.steps if step.change.path not in stays)
    return replace(plan, steps=steps), tuple(stays.values())


def _await_namespaces(plan: Plan, ports: Ports) -> None:
    """One that is still being deleted cannot be made again; Refused where it does not end."""
    made = [
        step.change.path
        for step in plan.steps
        if isinstance(step.change, ObjectChange) and step.change.before is None
    ]
    names = [name for place, _, name in (path.rpartition("/") for path in made) if place == NAMESPACES]
    if not names:
        return
    gate = end_of(names, ports.objects.server, NAMESPACE_SECONDS)
    ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
    try:
        wait_for(gate, ports)
    except GateFailed as failed:
        ports.progress.failed(failed.finding.message)
        found = failed.finding
        raise Refused(
            found.code,
            f"{found.message} and cannot be made again yet; nothing was changed",
            do=f"see what it waits for: {found.fix}",
        ) from failed
    ports.progress.done()


def _refuse_third_states(entry: Entry, ports: Ports) -> None:
    silent = out_of_reach(entry.plan, ports)
    for step in standing(entry.plan):
        if step.change.path not in silent and _holds(step.change, ports) == "other":
            raise Refused(
                "changed-since",
                f"{step.change.target} was changed by somebody else since {entry.started}",
                expected="it as aggctl left it",
                do=f"put it right by hand; the backup is in {ports.journal.place(entry.identity)}",
            )


def _holds(change: Change, ports: Ports) -> str:
    try:
        return ports.of(change).holds(change)
    except OSError as error:
        raise Refused(
            "file-not-readable",
            f"{change.target} cannot be read: {error.strerror or error}",
            do=f"look at it: ls -l {change.target}",
        ) from error


def _refuse_breaking(entry: Entry, ports: Ports) -> None:
    """Switching the layer off under APIs that it serves is no way back to health."""
    apis, _ = settle(lambda snapshot: _served(snapshot, entry), ports.look)
    if apis:
        names = ", ".join(api.name for api in apis)
        raise Refused(
            "rollback-breaks-apis",
            f"these APIs are served through the layer and would stop answering: {names}",
            do="take them away first, or go on all the same: aggctl rollback --force",
        )


def _served(snapshot: Snapshot, entry: Entry) -> tuple[ServiceOf, ...]:
    """Aggregated APIs in use, where undoing takes the layer's flags away; nothing where the API is silent."""
    for step in entry.plan.steps:
        change = step.change
        if not (isinstance(change, FileChange) and change.before and change.after and step.gate):
            continue
        try:
            before = cached_manifest(entry.plan.blobs[change.before.digest], change.path)
        except (AggctlError, OSError, KeyError):
            return ()
        if before.values("requestheader-client-ca-file"):
            return ()
        try:
            return aggregated_apis(snapshot, server_url(before, secure_port(before)))
        except NotKnown:
            return ()
    return ()


def _planned(entry: Entry, plan: Plan, changes: tuple[Change, ...], more: tuple[str, ...] = ()) -> Report:
    return Report(
        "rollback",
        "planned",
        summary=(f"Undo of {entry.identity}: {entry.plan.title}", *more),
        changes=tuple(_shown(change, plan) for change in changes),
    )


def _shown(change: Change, plan: Plan) -> ShownChange:
    if isinstance(change, FolderChange):
        return ShownChange("create" if change.create else "remove", change.path, "folder")
    if change.after is None:
        return ShownChange("remove", change.target)
    if isinstance(change, ObjectChange):
        return ShownChange("restore", change.target)
    if change.before is None:
        return ShownChange("restore", change.path, f"{change.after.mode:04o}")
    return ShownChange("restore", change.path, "", _diff(change.path, change.before, change.after, plan))


def _diff(path: str, before: Stamp, after: Stamp, plan: Plan) -> str:
    """The diff of text; of keys, and of what cannot be read, there is none to show."""
    try:
        old, new = plan.blobs[before.digest], plan.blobs[after.digest]
    except (OSError, KeyError):
        return ""
    if b"PRIVATE KEY" in old + new:
        return ""
    return unified_diff(old.decode("utf-8", "replace"), new.decode("utf-8", "replace"), path)
