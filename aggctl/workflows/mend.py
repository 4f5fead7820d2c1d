"""`aggctl doctor --fix`: show each plan, ask, carry it out; the caller looks again afterwards."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aggctl.core.doctor import mends as m
from aggctl.core.findings import Finding
from aggctl.core.need import Wanted
from aggctl.core.register.plan import problems_of, shown_changes
from aggctl.core.register.sight import prepared
from aggctl.core.report import Report
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError
from aggctl.workflows.enable import enable
from aggctl.workflows.execute import execute, finding_of, report_of
from aggctl.workflows.in_turn import Manner
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.register import Manner as RegisterManner
from aggctl.workflows.rehearse import rehearse_in_place
from aggctl.workflows.rotate_serving import rotate_serving
from aggctl.workflows.unregister import unregister

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.doctor.examine import Diagnosis
    from aggctl.core.resources import Located
    from aggctl.system.ports import Ports

    Confirm = Callable[[Report], bool]

DEADLINE = 240.0


def mend_all(ports: Ports, diagnosis: Diagnosis, confirm: Confirm) -> tuple[Report, ...]:
    """Mend what may be mended; each thing has its own plan, question and undo."""
    done: list[Report] = []
    for each in m.choose(diagnosis):
        try:
            done.append(_mend(ports, diagnosis, each, confirm))
        except (AggctlError, NotKnown) as error:
            if not any(one.outcome == "applied" for one in done):
                raise
            done.append(Report(m.COMMAND, "refused", findings=(finding_of(error),)))
            break  # what was done before is told
        if done[-1].outcome not in ("applied", "unchanged", "refused") or each.kind == m.ENABLE:
            break  # what comes after was found before this was changed
    return tuple(done)


def _mend(ports: Ports, diagnosis: Diagnosis, mend: m.Mend, confirm: Confirm) -> Report:
    if mend.kind == m.ENABLE:
        return enable(ports, Wanted(routing="keep", repair=True), Manner(False, confirm))
    if mend.kind == m.UNREGISTER:
        manner = RegisterManner(dry_run=False, confirm=confirm)
        return unregister(ports, (mend.api,), manner, stale=True, deadline=DEADLINE)
    if mend.kind == m.ROTATE:
        return rotate_serving(ports, (mend.api,), confirm, pairs=None, dry_run=False, deadline=DEADLINE)
    return _mend_object(ports, diagnosis, mend, confirm)


def _mend_object(ports: Ports, diagnosis: Diagnosis, mend: m.Mend, confirm: Confirm) -> Report:
    """One object: rehearsed by the server, shown, applied; nothing of anybody else's is forced."""
    close_or_mend(ports, m.COMMAND, change_it=True)
    wanted: Located
    live = None
    if mend.kind == m.BIND:
        wanted = m.binding_for(mend.finding)
        live = ports.objects.read(wanted.path)
    else:
        found, _ = settle(lambda snapshot: m.bundle_for(snapshot, diagnosis, mend.api), ports.look)
        if isinstance(found, str):
            return Report(m.COMMAND, "refused", findings=(_not_clear(mend, found),))
        live, wanted = found
    config = prepared(wanted, live, secrets.token_hex(8), (), manager=ports.objects.manager)
    rehearsed = rehearse_in_place(wanted, config, live, ports)
    if problems := tuple(problems_of((rehearsed,))):
        return Report(m.COMMAND, "refused", findings=problems)
    changes = shown_changes((rehearsed,), {})
    summary = (f"{mend.finding.message}   ({mend.finding.code})",)
    if not confirm(Report(m.COMMAND, "planned", summary=summary, changes=changes)):
        return Report(m.COMMAND, "refused", summary=("Nothing was changed.",))
    with ports.stop.handling(), ports.journal.locked():
        ended = execute(m.plan_mend(ports.objects.server, ports.objects.manager, rehearsed), ports)
    return report_of(m.COMMAND, ended, summary=(f"applied: {wanted.target}",), changes=changes)


def _not_clear(mend: m.Mend, why: str) -> Finding:
    return Finding(
        "fix-not-clear",
        "warning",
        f"APIService {mend.api}",
        f"what its caBundle should be cannot be told: {why}",
        mend.finding.fix,
    )
