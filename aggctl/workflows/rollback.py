"""`aggctl rollback` and `aggctl history`: undo the last change, also with the API down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.cluster_view import ServiceOf, aggregated_apis
from aggctl.core.enable import unified_diff
from aggctl.core.node import cached_manifest, secure_port, server_url
from aggctl.core.plan import Change, FileChange, inverse, inverse_plan
from aggctl.core.report import Report, ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError, Refused
from aggctl.workflows.execute import execute, keep_published_ca, report_of, undo
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.plan import Plan
    from aggctl.core.snapshot import Snapshot, Stamp
    from aggctl.system.journal import Entry
    from aggctl.system.ports import Ports


def rollback(ports: Ports, confirm: Callable[[Report], bool], *, dry_run: bool, force: bool) -> Report:
    """Undo an interrupted change, else the last one that was applied."""
    entry = ports.journal.open_entry()
    if entry:
        return _finish_undoing(entry, ports, confirm, dry_run=dry_run)
    entry = _last_applied(ports)
    if entry is None:
        return Report("rollback", "unchanged", summary=("Nothing to undo: no change of aggctl is in force.",))
    _refuse_third_states(entry, ports)
    if not force:
        _refuse_breaking(entry, ports)
    plan = inverse_plan(entry.plan, entry.identity, f"undo: {entry.plan.title}")
    planned = _planned(entry, plan, tuple(step.change for step in plan.steps))
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    with ports.journal.locked():
        if ports.journal.open_entry():
            raise Refused("open-journal", "another change was begun meanwhile", do="run again")
        keep_published_ca(entry.plan, entry.begun, ports)
        ended = execute(plan, ports)
    summary = ("The change is undone.",) if ended.outcome == "applied" else (ended.findings[0].message,)
    return report_of("rollback", ended, summary=summary, changes=planned.changes)


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
    changes = tuple(inverse(entry.plan.steps[number].change) for number in reversed(entry.begun))
    planned = _planned(entry, entry.plan, changes)
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    with ports.journal.locked(), ports.stop.handling():
        running = ports.journal.running(entry.identity)
        running.undo()
        keep_published_ca(entry.plan, entry.begun, ports)
        left = undo(entry.plan, entry.begun, ports, entry.identity)
        if left:
            return Report(
                "rollback",
                "rollback-incomplete",
                summary=("Not everything could be put back; mend what is named, then run again.",),
                findings=tuple(left),
            )
        running.close({"outcome": "rolled-back"})
    return Report(
        "rollback", "applied", summary=("The interrupted change is undone.",), changes=planned.changes
    )


def _last_applied(ports: Ports) -> Entry | None:
    """The newest change in force; those that a later rollback undid are passed over."""
    undone: set[str] = set()
    for entry in ports.journal.history():
        if entry.identity in undone or entry.outcome != "applied":
            continue
        if not entry.plan.undoes:
            return entry
        undone.add(entry.plan.undoes)
    return None


def _refuse_third_states(entry: Entry, ports: Ports) -> None:
    for step in entry.plan.steps:
        if ports.files.holds(step.change) == "other":
            raise Refused(
                "changed-since",
                f"{step.change.path} was changed by somebody else since {entry.started}",
                expected="the file as aggctl left it",
                do=f"put it right by hand; the backup is in {ports.journal.place(entry.identity)}",
            )


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


def _planned(entry: Entry, plan: Plan, changes: tuple[Change, ...]) -> Report:
    return Report(
        "rollback",
        "planned",
        summary=(f"Undo of {entry.identity}: {entry.plan.title}",),
        changes=tuple(_shown(change, plan) for change in changes),
    )


def _shown(change: Change, plan: Plan) -> ShownChange:
    if not isinstance(change, FileChange):
        return ShownChange("create" if change.create else "remove", change.path, "folder")
    if change.after is None:
        return ShownChange("remove", change.path)
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
