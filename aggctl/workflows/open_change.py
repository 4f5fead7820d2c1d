"""A change that an earlier run left open: closed as applied where its gate holds by now, else refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from aggctl.errors import Refused
from aggctl.workflows.gates import GateFailed, wait_for

if TYPE_CHECKING:
    from aggctl.core.plan import Gate, Step
    from aggctl.system.journal import Entry
    from aggctl.system.ports import Ports


def close_or_refuse(ports: Ports, *, change_it: bool) -> tuple[str, ...]:
    """Nothing open: (). All of it in force: closed as applied, and said so. Else Refused, to `rollback`."""
    entry = ports.journal.open_entry()
    if entry is None:
        return ()
    if not change_it:
        raise _refusal(entry, "how it ended was never recorded")
    with ports.journal.locked():
        entry = ports.journal.open_entry()  # the run that held the lock until now may have gone on with it
        if entry is None:
            return ()
        missing = _not_in_force(entry, ports)
        if missing:
            raise _refusal(entry, missing)
        _close(entry, ports)
    return (
        f"The change of {entry.started} ({entry.plan.title}) was interrupted; it is in force and closed now.",
    )


def _close(entry: Entry, ports: Ports) -> None:
    try:
        for step in entry.plan.steps:
            ports.files.sweep(step.change, entry.identity)
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


def _not_in_force(entry: Entry, ports: Ports) -> str:
    """What of the change is not as it should be; empty where all of it is in force and its gate holds."""
    if entry.undoing:
        return "putting it back had begun"
    for step in entry.plan.steps:
        if not _is_made(step, ports):
            return f"{step.change.path} is not as the change wanted it"
        if step.gate:
            try:
                _wait(step.gate, entry, ports)
            except GateFailed as failed:
                return failed.finding.message
    return ""


def _is_made(step: Step, ports: Ports) -> bool:
    try:
        return ports.files.holds(step.change) == "after"
    except OSError:
        return False


def _wait(gate: Gate, entry: Entry, ports: Ports) -> None:
    """Wait as long as the interrupted run would have."""
    spent = (ports.clock.now() - datetime.fromisoformat(entry.started)).total_seconds()
    remaining = min(gate.deadline, max(0.0, gate.deadline - spent))
    ports.progress.begin("an interrupted change waits for kube-apiserver", remaining)
    wait_for(replace(gate, deadline=remaining), ports)
    ports.progress.done()


def _refusal(entry: Entry, why: str) -> Refused:
    return Refused(
        "open-journal",
        f"the change of {entry.started} ({entry.plan.title}) was interrupted and is open: {why}",
        do="put it back: aggctl rollback",
    )
