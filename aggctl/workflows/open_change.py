"""A change that an earlier run left open: closed as applied where its gate holds by now, else refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from aggctl.core.plan import standing
from aggctl.errors import AggctlError, Refused, RollbackIncomplete
from aggctl.workflows.execute import close_record, put_back_begun, to_mend
from aggctl.workflows.gates import GateFailed, wait_for

if TYPE_CHECKING:
    from aggctl.core.findings import Finding
    from aggctl.core.plan import Gate, Step
    from aggctl.system.journal import Entry
    from aggctl.system.ports import Ports


def close_or_refuse(ports: Ports, *, change_it: bool) -> tuple[str, ...]:
    """Nothing open: (). All of it in force: closed as applied, and said so. Else Refused, to `rollback`."""
    return close_or_mend(ports, "", change_it=change_it)


def close_or_mend(
    ports: Ports, command: str, *, change_it: bool, proves_itself: bool = True
) -> tuple[str, ...]:
    """The same for a `command` that begins anew where it was interrupted; what is half made is put back.

    What was made in full is closed without waiting for its gate by one that proves the result itself; else
    it is put back where its gate does not open.
    """
    entry = ports.journal.open_entry()
    if entry is None:
        return ()
    if not change_it:
        raise _refusal(entry, "how it ended was never recorded")
    with ports.journal.locked():
        entry = ports.journal.open_entry()  # the run that held the lock until now may have gone on with it
        if entry is None:
            return ()
        what = f"The change of {entry.started} ({entry.plan.title}) was interrupted"
        ours = entry.plan.command == command
        if ours and (_not_made(entry, ports) or not (proves_itself or _is_proven(entry, ports))):
            left = _put_back(entry, ports)
            said = (f"{each.subject}: {each.message}" for each in left)
            return (f"{what} half-way; it was put back first.", *said)
        if not ours and (missing := _not_in_force(entry, ports)):
            raise _refusal(entry, missing)
        _close(entry, ports)
    return (f"{what}; it is in force and closed now.",)


def _put_back(entry: Entry, ports: Ports) -> tuple[Finding, ...]:
    """Undo what it began; what stays on purpose comes back."""
    running = ports.journal.running(entry.identity)
    running.undo()
    left = put_back_begun(entry.plan, entry.begun, ports, entry.identity, entry.undone)
    if broken := to_mend(left):
        raise RollbackIncomplete(
            "open-journal",
            f"the interrupted change of {entry.started} ({entry.plan.title}) cannot be put back",
            found=broken[0].message,
            do=f"{broken[0].fix}; then run again",
            evidence=tuple(finding.message for finding in broken[1:]),
        )
    close_record(running, {"outcome": "rolled-back"})
    return left


def _close(entry: Entry, ports: Ports) -> None:
    try:
        for step in entry.plan.steps:
            ports.of(step.change).sweep(step.change, entry.identity)
        ports.journal.close(entry.identity, {"outcome": "applied", "note": "found in force by a later run"})
        if entry.plan.keep:
            ports.journal.forget_kept()  # the CA is in force now; no copy of its key need lie about
    except OSError as error:
        raise Refused(
            "journal-not-writable",
            f"the interrupted change of {entry.started} is in force and cannot be closed: "
            f"{error.filename or 'its record'}: {error.strerror or error}",
            do="make room, or the file system writable, then run again",
        ) from error


def _not_made(entry: Entry, ports: Ports) -> str:
    """What of the change is not as it should be."""
    if entry.undoing:
        return "putting it back had begun"
    unmade = (step for step in standing(entry.plan) if not _is_made(step, ports))
    return next((f"{step.change.target} is not as the change wanted it" for step in unmade), "")


def _not_in_force(entry: Entry, ports: Ports) -> str:
    """The same, and what its gates still wait for; empty where all of it is in force."""
    if missing := _not_made(entry, ports):
        return missing
    for gate in (step.gate for step in standing(entry.plan) if step.gate):
        try:
            _wait(gate, entry, ports)
        except GateFailed as failed:
            return failed.finding.message
    return ""


def _is_proven(entry: Entry, ports: Ports) -> bool:
    """Whether its gates open, but for those that name an identity which only the interrupted run held."""
    gates = (step.gate for step in standing(entry.plan) if step.gate)
    try:
        for gate in gates:
            if not any("identity" in dict(each.arguments) for each in gate.conditions):
                _wait(gate, entry, ports)
    except GateFailed:
        return False
    return True


def _is_made(step: Step, ports: Ports) -> bool:
    try:
        return ports.of(step.change).holds(step.change) == "after"
    except (OSError, AggctlError):
        return False


def _wait(gate: Gate, entry: Entry, ports: Ports) -> None:
    """Wait as long as the interrupted run would have."""
    spent = (ports.clock.now() - datetime.fromisoformat(entry.started)).total_seconds()
    remaining = min(gate.deadline, max(0.0, gate.deadline - spent))
    ports.progress.begin(f"an interrupted change waits for {gate.waits_for}", remaining)
    wait_for(replace(gate, deadline=remaining), ports)
    ports.progress.done()


def _refusal(entry: Entry, why: str) -> Refused:
    return Refused(
        "open-journal",
        f"the change of {entry.started} ({entry.plan.title}) was interrupted and is open: {why}",
        do="put it back: aggctl rollback",
    )
