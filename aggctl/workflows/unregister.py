"""`aggctl unregister`: observe, plan, execute, report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.access.left import grants_left
from aggctl.core.apiservers import roster
from aggctl.core.checks.extension import api_of
from aggctl.core.findings import Finding
from aggctl.core.register.leaving import Leaving, plan_leaving, see_leaving, shown, went_on
from aggctl.core.report import Report
from aggctl.errors import Refused
from aggctl.system.signals import Stopped
from aggctl.workflows.execute import execute, report_of
from aggctl.workflows.gates import GateFailed, wait_for
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot
    from aggctl.system.ports import Ports
    from aggctl.workflows.register import Manner


def unregister(
    ports: Ports, names: tuple[str, ...], manner: Manner, *, stale: bool, deadline: float
) -> Report:
    """Take APIs away with what aggctl made for them; with `stale` only those whose Service is gone."""
    closed = close_or_mend(ports, "unregister", change_it=not manner.dry_run)
    leaving = _look(ports, names, stale=stale)
    if leaving.problems:
        return Report("unregister", "refused", findings=leaving.problems)
    if not leaving.apis:
        what = "no APIService is stale" if stale else f"none of {', '.join(names)} is registered"
        return Report("unregister", "unchanged", summary=(*closed, f"Nothing to do: {what}."))
    planned = Report(
        "unregister",
        "planned",
        summary=(*closed, *_stuck(leaving)),
        changes=shown(leaving),
        findings=leaving.notes,
        next=("run it again without --dry-run, to apply",) if manner.dry_run else (),
    )
    if manner.dry_run:
        return planned
    if not manner.confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    done = _apply(ports, names, leaving, planned, stale=stale, deadline=deadline)
    return replace(done, summary=(*closed, *done.summary))


def _apply(
    ports: Ports, names: tuple[str, ...], leaving: Leaving, planned: Report, *, stale: bool, deadline: float
) -> Report:
    with ports.stop.handling(), ports.journal.locked():
        close_or_mend(ports, "unregister", change_it=False)
        if shown(_look(ports, names, stale=stale)) != shown(leaving):
            raise Refused(
                "changed-meanwhile",
                "what would go is not any more what was shown",
                do="look at the plan again: run it again",
            )
        known, _ = settle(lambda snapshot: roster(snapshot, leaving.server), ports.look)
        ended = execute(plan_leaving(leaving, known, deadline), ports)
        left = _wait_for_stuck(ports, leaving, deadline) if ended.outcome == "applied" else ()
    if ended.outcome != "applied":
        summary: tuple[str, ...] = (ended.why_not_kept,)
    else:
        count = len(leaving.apis)
        summary = (f"{count} API{'s are' if count > 1 else ' is'} gone: {', '.join(_names(leaving))}",)
    done = report_of("unregister", ended, changes=planned.changes, summary=summary)
    return replace(done, findings=(*ended.findings, *left, *leaving.notes))


def _wait_for_stuck(ports: Ports, leaving: Leaving, deadline: float) -> tuple[Finding, ...]:
    """See the namespaces go on that were stuck; what is done stays done where one does not."""
    if not leaving.stuck:
        return ()
    gate = went_on(leaving, deadline)
    ports.progress.begin(f"waiting for {gate.waits_for}", deadline)
    try:
        wait_for(gate, ports, check_stop=ports.stop.check)
    except GateFailed as failed:
        ports.progress.failed(failed.finding.message)
        return (failed.finding,)
    except Stopped as stopped:
        ports.progress.failed(f"interrupted by {stopped}")
        return (_not_seen(leaving, stopped),)
    ports.progress.done(", ".join(dict.fromkeys(name for name, _ in leaving.stuck)))
    return ()


def _not_seen(leaving: Leaving, stopped: Stopped) -> Finding:
    """What is done stays done; only that the namespaces go on was not seen."""
    names = ", ".join(dict.fromkeys(name for name, _ in leaving.stuck))
    return Finding(
        code="interrupted",
        severity="warning",
        subject=f"Namespace {names}",
        message=f"interrupted by {stopped}; what is done stays done, how {names} goes on was not seen",
        fix=f"kubectl get namespace {names.replace(',', '')}",
    )


def _look(ports: Ports, names: tuple[str, ...], *, stale: bool) -> Leaving:
    server = ports.objects.server

    def see(snapshot: Snapshot) -> Leaving:
        leaving = see_leaving(snapshot, names, server, stale=stale)
        left = grants_left(snapshot, server, map(api_of, leaving.apis)) if leaving.apis else ()
        return replace(leaving, notes=(*leaving.notes, *left))

    found, _ = settle(see, ports.look)
    return found


def _stuck(leaving: Leaving) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name, _ in leaving.stuck))
    return (f"Namespaces that are stuck because of it: {', '.join(names)}",) if names else ()


def _names(leaving: Leaving) -> tuple[str, ...]:
    return tuple(each["metadata"]["name"] for each in leaving.apis)
