"""`aggctl register`: observe, rehearse on the server, plan, execute, report."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.core.namespaces import end_of, ours_and_ending
from aggctl.core.register.certificates import new_pair
from aggctl.core.register.plan import (
    Rehearsed,
    final_gate,
    plan_register,
    problems_of,
    shown_changes,
)
from aggctl.core.register.sight import is_ours, prepared, says_nothing, see, with_certificates
from aggctl.core.register.words import (
    details,
    notes,
    served_resources,
    situation,
    tries,
    unchanged_reasons,
)
from aggctl.core.report import Report
from aggctl.core.snapshot import NotKnown
from aggctl.errors import Refused, UsageError
from aggctl.workflows.execute import execute, finding_of, report_of
from aggctl.workflows.gates import GateFailed, wait_for
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.rehearse import rehearse_in_place, rehearse_in_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from aggctl.core.extension import ServiceAt
    from aggctl.core.plan import Plan
    from aggctl.core.register.certificates import Minted
    from aggctl.core.register.sight import Object, Sight, Wanted
    from aggctl.core.resources import Located
    from aggctl.system.pairs import PairFolder
    from aggctl.system.ports import Ports

AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it: only show the plan, ask first, wait for the result.

    `yes` says that everything was answered beforehand; `pairs` is where a server outside the cluster reads
    its serving pair, None where the user named no place.
    """

    dry_run: bool
    confirm: Callable[[Report], bool]
    yes: bool = False
    wait: bool = True
    pairs: PairFolder | None = None


def register(ports: Ports, wanted: Wanted, manner: Manner) -> Report:
    """Publish APIs, or learn that they are; a refusing report where that is unsafe or not possible."""
    closed = close_or_mend(ports, "register", change_it=not manner.dry_run)
    now = ports.clock.now()
    sight = _see(ports, wanted, manner, now)
    if sight.problems:
        return Report("register", "refused", findings=sight.problems)
    minted = _mint(sight, ports, manner)
    rehearsed = _rehearse(with_certificates(sight, wanted, minted, now), wanted, ports)
    if problems := tuple(problems_of(rehearsed)):
        return Report("register", "refused", findings=problems)
    plan = plan_register(sight, wanted, rehearsed)
    if not plan.steps:
        return _unchanged(sight, wanted, rehearsed, ports, closed)
    planned = Report(
        "register",
        "planned",
        summary=(*closed, *situation(sight)),
        changes=shown_changes(rehearsed, details(sight, minted)),
        findings=tuple(notes(sight, wanted, rehearsed)),
        next=("run it again without --dry-run, to apply",) if manner.dry_run else (),
    )
    if manner.dry_run:
        return planned
    _refuse_without_consent(rehearsed, wanted, manner)
    if not manner.confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    done = _apply(ports, plan, sight, planned, manner, minted)
    return replace(done, summary=(*closed, *done.summary))


def _see(ports: Ports, wanted: Wanted, manner: Manner, now: datetime) -> Sight:
    """Look at the cluster, once the namespaces have ended that aggctl made and, undoing that, deleted."""
    server = ports.objects.server
    sight, snapshot = settle(lambda snapshot: see(snapshot, wanted, server, now), ports.look)
    names = dict.fromkeys(each.namespace for each in sight.objects if each.namespace)
    ending, _ = settle(lambda snapshot: ours_and_ending(snapshot, server, names), ports.look, snapshot)
    if not ending or manner.dry_run:
        return sight
    gate = end_of(ending, server, wanted.deadline)
    ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
    try:
        wait_for(gate, ports)
    except GateFailed as failed:
        ports.progress.failed(failed.finding.message)
        return sight
    ports.progress.done()
    return settle(lambda snapshot: see(snapshot, wanted, server, now), ports.look)[0]


def _apply(
    ports: Ports,
    plan: Plan,
    sight: Sight,
    planned: Report,
    manner: Manner,
    minted: Mapping[ServiceAt, Minted],
) -> Report:
    with ports.stop.handling(), ports.journal.locked():
        close_or_mend(ports, "register", change_it=False)
        for serving in sight.servings:
            if serving.writes_files and manner.pairs:
                new = minted[serving.service]
                ports.progress.say(manner.pairs.write(new.authority, new.pair))
        ended = execute(plan, ports, wait=manner.wait)
        if ended.outcome != "applied" and manner.pairs and (left := manner.pairs.undo()):
            findings = (*ended.findings, *map(finding_of, left))
            ended = replace(ended, outcome="rollback-incomplete", findings=findings)
    if ended.outcome != "applied":
        return report_of(
            "register",
            ended,
            changes=planned.changes,
            summary=(ended.why_not_kept,),
            next=(f"the record of this try: {ended.record}",),
        )
    summary: tuple[str, ...] = ("Applied, and not waited for. Run again to see how it ended.",)
    if manner.wait:
        summary = _served(sight, ports)
    return replace(
        report_of("register", ended, changes=planned.changes, summary=summary, next=tries(sight)),
        findings=(*ended.findings, *planned.findings),
    )


def _unchanged(
    sight: Sight, wanted: Wanted, rehearsed: tuple[Rehearsed, ...], ports: Ports, closed: tuple[str, ...]
) -> Report:
    """Everything is as wanted; say so only if it answers."""
    gate = final_gate(sight, wanted, rehearsed)
    try:
        ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
        wait_for(gate, ports)
        ports.progress.done()
    except GateFailed as failed:
        ports.progress.failed(failed.finding.message)
        return Report(
            "register",
            "problems",
            summary=("Every object is as wanted, and the API does not answer as it should:",),
            findings=(failed.finding, *notes(sight, wanted, rehearsed)),
        )
    return Report(
        "register",
        "unchanged",
        summary=(*closed, *unchanged_reasons(sight), *_served(sight, ports)),
        findings=tuple(notes(sight, wanted, rehearsed)),
        next=tries(sight),
    )


def _served(sight: Sight, ports: Ports) -> tuple[str, ...]:
    """What it serves; that it answered is known, so what goes wrong here takes nothing back."""
    try:
        lines, _ = settle(lambda snapshot: served_resources(snapshot, sight), ports.look)
    except NotKnown as error:
        return (f"It answered, but not when asked for its resources: {error.unknown.reason}",)
    return lines


def _mint(sight: Sight, ports: Ports, manner: Manner) -> dict[ServiceAt, Minted]:
    """A CA for one Service and its pair; the CA's key ends here, nothing else is ever signed by it."""
    made = {}
    for serving in sight.servings:
        if serving.how != "mint":
            continue
        if serving.writes_files and manner.pairs is None:
            raise _no_place(serving.service)
        made[serving.service] = new_pair(serving.service, ports.clock.now())
    return made


def _rehearse(objects: tuple[Located, ...], wanted: Wanted, ports: Ports) -> tuple[Rehearsed, ...]:
    """Have the server try every object, side by side; nothing is written."""
    token = secrets.token_hex(6)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        seen = list(zip(objects, pool.map(lambda each: ports.objects.read(each.path), objects), strict=True))
        seen = [(each, live) for each, live in seen if not says_nothing(each, live)]
        inventory = tuple(each.path for each, live in seen if each.kind != "APIService" and is_ours(live))
        absent = {
            each.object["metadata"]["name"] for each, live in seen if each.kind == "Namespace" and not live
        }

        def rehearse(one: tuple[Located, Object | None]) -> Rehearsed:
            each, live = one
            config = prepared(each, live, token, inventory, manager=wanted.manager)
            if each.namespace in absent:
                return rehearse_in_stand_in(each, config, token, ports)
            force = wanted.force_conflicts or (wanted.take_over and each.kind == "APIService")
            return rehearse_in_place(each, config, live, ports, force=force)

        return tuple(pool.map(rehearse, seen))


def _refuse_without_consent(rehearsed: tuple[Rehearsed, ...], wanted: Wanted, manner: Manner) -> None:
    """--yes alone does not say that a field of somebody else may be taken."""
    for each in rehearsed:
        if each.only_insecure and manner.yes and not wanted.force_conflicts:
            manager = each.conflicts[0][1]
            raise Refused(
                "consent-needed",
                f"{each.located.target} says insecureSkipTLSVerify, and that field belongs to {manager}",
                expected="your consent to take it over, as a caBundle and that cannot be together",
                do="run again with --force-conflicts, or without --yes to be asked",
            )


def _no_place(service: ServiceAt) -> UsageError:
    return UsageError(
        "cert-out-missing",
        f"a server outside the cluster reads its certificate from files: for {service.dns} none are named",
        expected="--cert-out DIR, where tls.crt, tls.key and ca.crt are written",
        do="aggctl register … --external HOST:PORT --cert-out DIR     (or: --tls insecure)",
    )
