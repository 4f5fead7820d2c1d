"""`aggctl access`: grant and revoke (observe, rehearse, plan, execute, report), list and check."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.access import check as c
from aggctl.core.access.grant import escalations, plan_grant, proof, see_grant
from aggctl.core.access.listing import findings_of, items_of, lines_of, see_listing
from aggctl.core.access.revoke import plan_revoke, see_revoke, shown
from aggctl.core.findings import Finding
from aggctl.core.register.plan import shown_changes
from aggctl.core.register.sight import prepared
from aggctl.core.report import Report
from aggctl.errors import Refused
from aggctl.workflows.execute import execute, report_of
from aggctl.workflows.gates import GateFailed, wait_for
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.rehearse import rehearse_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.access.grant import Granting
    from aggctl.core.access.revoke import Revoking, Unwanted
    from aggctl.core.access.rules import Wanted
    from aggctl.core.extension import Api
    from aggctl.core.plan import Plan
    from aggctl.core.register.plan import Rehearsed
    from aggctl.system.ports import Ports

GRANT, REVOKE = "access grant", "access revoke"


def grant(ports: Ports, wanted: Wanted, confirm: Callable[[Report], bool], *, dry_run: bool) -> Report:
    """Let somebody use an API, or learn that he may."""
    closed = close_or_mend(ports, GRANT, change_it=not dry_run)
    server = ports.objects.server
    granting, _ = settle(lambda snapshot: see_grant(snapshot, wanted, server), ports.look)
    if granting.problems:
        return Report(GRANT, "refused", findings=granting.problems)
    rehearsed = _rehearse(granting, wanted, ports)
    if problems := tuple(escalations(rehearsed)):
        return Report(GRANT, "refused", findings=problems)
    plan = plan_grant(granting, wanted, rehearsed)
    if not plan.steps:
        return _unchanged(granting, wanted, ports, closed)
    planned = _planned(GRANT, (*closed, *granting.situation), dry_run=dry_run)
    planned = replace(planned, changes=shown_changes(rehearsed, _rules(granting)), findings=granting.notes)
    tries = (f"aggctl access list {wanted.api.name}",)
    done = "Granted, and seen to count." if plan.steps[-1].gate else "Granted."
    return _carry_out(ports, plan, planned, confirm, done, tries, dry_run=dry_run)


def revoke(ports: Ports, unwanted: Unwanted, confirm: Callable[[Report], bool], *, dry_run: bool) -> Report:
    """Take back what `grant` gave."""
    closed = close_or_mend(ports, REVOKE, change_it=not dry_run)
    revoking = _look(ports, unwanted)
    if not revoking.objects:
        nothing = f"Nothing to do: aggctl granted none of this for {unwanted.api.name}."
        return Report(REVOKE, "unchanged", summary=(*closed, nothing), findings=revoking.notes)
    planned = replace(
        _planned(REVOKE, closed, dry_run=dry_run), changes=shown(revoking), findings=revoking.notes
    )

    def still() -> None:
        if shown(_look(ports, unwanted)) != shown(revoking):
            raise Refused(
                "changed-meanwhile",
                "what would go is not any more what was shown",
                do="look at the plan again: run it again",
            )

    return _carry_out(ports, plan_revoke(revoking), planned, confirm, "Revoked.", (), still, dry_run=dry_run)


def list_access(ports: Ports, api: Api, namespace: str, *, wide: bool) -> Report:
    """Who reaches the API, and through what."""
    server = ports.objects.server
    found, _ = settle(lambda snapshot: see_listing(snapshot, api, namespace, server), ports.look)
    if isinstance(found, Finding):
        return Report("access list", "refused", findings=(found,))
    return Report(
        "access list",
        "unchanged",
        summary=lines_of(found, wide=wide),
        findings=tuple(findings_of(found)),
        items=items_of(found),
    )


def check(ports: Ports, asked: c.Asked) -> Report:
    """Whether somebody may use the API, and which side says no."""
    server = ports.objects.server
    checked, _ = settle(lambda snapshot: c.see_check(snapshot, asked, server), ports.look)
    if isinstance(checked, Finding):
        return Report("access check", "refused", findings=(checked,))
    finding = c.finding_of(checked)
    return Report(
        "access check",
        "problems" if finding else "healthy",
        summary=c.lines_of(checked),
        findings=(finding,) if finding else (),
        items=c.items_of(checked),
    )


def _look(ports: Ports, unwanted: Unwanted) -> Revoking:
    server = ports.objects.server
    return settle(lambda snapshot: see_revoke(snapshot, unwanted, server), ports.look)[0]


def _rehearse(granting: Granting, wanted: Wanted, ports: Ports) -> tuple[Rehearsed, ...]:
    """Have the server try every object; nothing is written."""
    token = secrets.token_hex(6)
    found = []
    for each in granting.objects:
        live = ports.objects.read(each.path)
        config = prepared(each, live, token, (), manager=wanted.manager)
        found.append(rehearse_in_place(each, config, live, ports, force=wanted.force_conflicts))
    return tuple(found)


def _rules(granting: Granting) -> dict[str, str]:
    """What a role allows, beside the role."""
    said = "; ".join(
        f"{', '.join(each['verbs'])} of {', '.join(each['resources'])}" for each in granting.rules
    )
    return {each.path: said for each in granting.objects if "rules" in each.object}


def _planned(command: str, summary: tuple[str, ...], *, dry_run: bool) -> Report:
    again = ("run it again without --dry-run, to apply",) if dry_run else ()
    return Report(command, "planned", summary=summary, next=again)


def _carry_out(
    ports: Ports,
    plan: Plan,
    planned: Report,
    confirm: Callable[[Report], bool],
    done: str,
    tries: tuple[str, ...],
    still: Callable[[], None] = lambda: None,
    *,
    dry_run: bool,
) -> Report:
    """Show it, ask, and do it; `still` refuses where what was shown does not hold any more."""
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    with ports.stop.handling(), ports.journal.locked():
        close_or_mend(ports, plan.command, change_it=False)
        still()
        ended = execute(plan, ports)
    if ended.outcome == "applied":
        report = report_of(plan.command, ended, summary=(done,), changes=planned.changes, next=tries)
        return replace(report, findings=(*ended.findings, *planned.findings))
    return report_of(plan.command, ended, summary=(ended.why_not_kept,), changes=planned.changes)


def _unchanged(granting: Granting, wanted: Wanted, ports: Ports, closed: tuple[str, ...]) -> Report:
    """Everything is there; say so only if it counts."""
    gate = proof(granting, wanted)
    try:
        if gate:
            wait_for(gate, ports)
    except GateFailed as failed:
        summary = ("Every role and binding is there, and does not count:",)
        return Report(GRANT, "problems", summary=summary, findings=(failed.finding, *granting.notes))
    said = (*closed, "Nothing to do: it is granted already.", *granting.situation)
    return Report(GRANT, "unchanged", summary=said, findings=granting.notes)
