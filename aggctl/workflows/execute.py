"""Carry out a plan: write down, do, wait for the gate; and on any failure put everything back.

A change is made only where the disk still holds its *before*. Undo goes by the same rule: a third state is
somebody else's work, is left alone and reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from aggctl.core.findings import Finding
from aggctl.core.plan import FileChange, inverse
from aggctl.core.report import Report
from aggctl.system.files import Changed
from aggctl.system.signals import Stopped
from aggctl.workflows.evidence import collect
from aggctl.workflows.gates import GateFailed, wait_for

if TYPE_CHECKING:
    from aggctl.core.plan import Change, Plan, Step
    from aggctl.system.journal import Running
    from aggctl.system.ports import Ports

KEPT_NAMES = ("front-proxy-ca.crt", "front-proxy-ca.key")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a plan ended, and where its record is."""

    outcome: str
    findings: tuple[Finding, ...]
    record: str
    interrupted: bool = False


def execute(plan: Plan, ports: Ports, *, wait: bool = True) -> Ended:
    """Carry out `plan`; the caller holds the lock. Without `wait` the journal stays open for the next run."""
    running = ports.journal.begin(plan, ports.clock.now())
    begun: list[int] = []
    with ports.stop.handling():
        try:
            for number, step in enumerate(plan.steps):
                ports.stop.check()
                running.begin(number)
                begun.append(number)
                _do(step, plan, ports, running.identity)
                if step.gate and wait:
                    _wait(step, ports)
        except (OSError, Changed, GateFailed, Stopped) as error:
            return _put_back(plan, begun, ports, running, _finding_of(error), interrupted=_is_stop(error))
        except BaseException as error:
            _put_back(plan, begun, ports, running, _finding_of(error))
            raise
        if wait or not any(step.gate for step in plan.steps):
            running.close({"outcome": "applied"})
    return Ended("applied", (), ports.journal.place(running.identity))


def undo(plan: Plan, begun: tuple[int, ...], ports: Ports, identity: str) -> list[Finding]:
    """Put back the begun steps, newest first, as far as possible; what is left comes back as findings."""
    left: list[Finding] = []
    for step in (plan.steps[number] for number in sorted(begun, reverse=True)):
        ports.progress.begin(f"put back {step.change.path}")
        problem = _undo_one(step, plan, ports, identity)
        if problem:
            left.append(problem)
            ports.progress.failed(problem.message)
        else:
            ports.progress.done()
    return left


def keep_published_ca(plan: Plan, begun: tuple[int, ...], ports: Ports) -> None:
    """Keep a CA that kube-apiserver may have published: the next try must not meet it as "another CA"."""
    if not any(plan.steps[number].gate for number in begun):
        return
    after = {
        step.change.path: step.change.after for step in plan.steps if isinstance(step.change, FileChange)
    }
    for path, name in zip(plan.keep, KEPT_NAMES, strict=False):
        stamp = after.get(path)
        if stamp:
            ports.journal.keep(name, plan.blobs[stamp.digest])


def _do(step: Step, plan: Plan, ports: Ports, identity: str) -> None:
    ports.progress.begin(step.title)
    ports.files.apply(step.change, _content(step.change, plan), identity)
    ports.progress.done()


def _wait(step: Step, ports: Ports) -> None:
    assert step.gate  # noqa: S101 -- for the type checker; the caller looked
    ports.progress.begin("waiting for kube-apiserver", step.gate.deadline)
    wait_for(step.gate, ports, check_stop=ports.stop.check)
    ports.progress.done()


def _put_back(
    plan: Plan,
    begun: list[int],
    ports: Ports,
    running: Running,
    cause: Finding,
    *,
    interrupted: bool = False,
) -> Ended:
    ports.progress.failed(cause.message)
    cause = replace(cause, evidence=(*cause.evidence, *collect(plan, ports)))
    running.undo()
    left: list[Finding] = []
    try:
        keep_published_ca(plan, tuple(begun), ports)
    except OSError as error:
        left.append(_finding_of(error))
    left = [*undo(plan, tuple(begun), ports, running.identity), *left]
    outcome = "rollback-incomplete" if left else "rolled-back"
    findings = (cause, *left)
    if not left:
        running.close({"outcome": outcome, "findings": [asdict(each) for each in findings]})
    return Ended(outcome, findings, ports.journal.place(running.identity), interrupted)


def _undo_one(step: Step, plan: Plan, ports: Ports, identity: str) -> Finding | None:
    change = inverse(step.change)
    try:
        ports.files.sweep(step.change, identity)
        ports.files.apply(change, _content(change, plan), identity)
        if step.undo_gate:
            wait_for(step.undo_gate, ports)
    except (OSError, Changed, GateFailed) as error:
        return _finding_of(error)
    return None


def _content(change: Change, plan: Plan) -> bytes | None:
    if isinstance(change, FileChange) and change.after:
        return plan.blobs[change.after.digest]
    return None


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, Stopped)


def _finding_of(error: BaseException) -> Finding:
    match error:
        case GateFailed():
            late = "" if error.finding.hopeless else f" (waited {error.seconds:.0f} s)"
            return replace(error.finding, message=f"{error.finding.message}{late}")
        case Stopped():
            return Finding("interrupted", "error", "aggctl", f"interrupted by {error}", "run it again")
        case Changed():
            return Finding(
                "changed-meanwhile", "error", error.path, str(error), f"look at {error.path}, then run again"
            )
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            return Finding(
                "write-failed",
                "error",
                str(error.filename or "a file"),
                f"{what}{error.strerror or error}",
                "make room, or the file system writable, then run again",
            )
    return Finding("defect", "error", "aggctl", f"{type(error).__name__}: {error}", "please report this")


def report_of(command: str, ended: Ended, **more: Any) -> Report:
    """The report of an executed plan."""
    return Report(
        command=command, outcome=ended.outcome, findings=ended.findings, interrupted=ended.interrupted, **more
    )
