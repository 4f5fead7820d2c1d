"""Carry out a plan: write down, do, wait for the gate; and on any failure put everything back.

A change is made only where the disk still holds its *before*. Undo goes by the same rule: a third state is
somebody else's work, is left alone and reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from aggctl.core.findings import Finding, NotChecked
from aggctl.core.plan import FileChange, FolderChange, ObjectChange, digests_of, inverse
from aggctl.core.report import Report
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError, Refused
from aggctl.system.files import Changed
from aggctl.system.signals import Stopped
from aggctl.workflows.gates import GateFailed, as_finding, wait_for
from aggctl.workflows.inhabited import deletes_namespace, inhabited

if TYPE_CHECKING:
    from aggctl.core.plan import Change, Gate, Plan, Step
    from aggctl.core.questions import Stamp
    from aggctl.system.journal import Running
    from aggctl.system.ports import Ports

KEPT_NAMES = ("front-proxy-ca.crt", "front-proxy-ca.key")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a plan ended, and where its record is; `identity` is its name in the journal."""

    outcome: str
    findings: tuple[Finding, ...]
    record: str
    interrupted: bool = False
    identity: str = ""

    @property
    def why_not_kept(self) -> str:
        """Of a plan that was not applied: the first failure, and whether everything was put back."""
        put = "everything was put back"
        if self.outcome == "rollback-incomplete":
            put = "not everything could be put back. Run: aggctl rollback"
        return f"{self.findings[0].message}; {put}"


def execute(plan: Plan, ports: Ports, *, wait: bool = True) -> Ended:
    """Carry out `plan`; the caller holds the lock. Without `wait` the journal stays open for the next run."""
    plan = with_backups(plan, ports)
    left_open: tuple[Finding, ...] = ()
    begun: list[int] = []
    with ports.stop.handling():
        running = ports.journal.begin(plan, ports.clock.now())
        try:
            for number, step in enumerate(plan.steps):
                ports.stop.check()
                if step.needs and wait:
                    _wait(step.needs, ports)
                running.begin(number)
                begun.append(number)
                _do(step, plan, ports, begun, running)
                if step.gate and wait:
                    _wait(step.gate, ports)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is undone and reported
            return _put_back(plan, begun, ports, running, finding_of(error), interrupted=_is_stop(error))
        except BaseException as error:
            _put_back(plan, begun, ports, running, finding_of(error))
            raise
        if wait or not any(step.gate for step in plan.steps):
            left_open = close_record(running, {"outcome": "applied"})
    where = ports.journal.place(running.identity)
    return Ended("applied", left_open, where, identity=running.identity)


def with_backups(plan: Plan, ports: Ports) -> Plan:
    """The plan with every content that doing and undoing it needs; Refused where one cannot be had.

    What is to be replaced comes from the disk, keys included: no snapshot holds those.
    """
    blobs: dict[str, bytes] = {}
    for step in plan.steps:
        if isinstance(step.change, FileChange):
            for stamp in (step.change.after, step.change.before):
                if stamp and stamp.digest not in blobs:
                    blobs[stamp.digest] = _blob(stamp, step.change, plan, ports)
        else:
            blobs |= {each: plan.blobs[each] for each in digests_of(step.change)}
    return replace(plan, blobs=blobs)


def _blob(stamp: Stamp, change: FileChange, plan: Plan, ports: Ports) -> bytes:
    try:
        return plan.blobs[stamp.digest]
    except KeyError:
        lost = f"there is no copy of what belongs into {change.path}"
    except OSError as error:
        lost = f"the copy of what belongs into {change.path} cannot be used: {error.strerror or error}"
    try:
        seen = ports.files.read(change.path)
    except OSError as error:
        seen, lost = None, f"{change.path} cannot be read: {error.strerror or error}"
    if seen and seen.stamp.digest == stamp.digest:
        return seen.content
    if stamp == change.before:
        lost = str(Changed(change.path)) if seen else lost
    raise Refused("backup-not-usable", lost, do=f"look at {change.path}, then run again; nothing was changed")


def undo(plan: Plan, begun: tuple[int, ...], ports: Ports, identity: str) -> list[Finding]:
    """Put back the begun steps, newest first, as far as possible; what is left comes back as findings.

    One that is no error says why something stays on purpose: there is nothing to mend.
    """
    left: list[Finding] = []
    running, numbers = ports.journal.running(identity), sorted(begun, reverse=True)
    steps = [plan.steps[number] for number in numbers]
    stays = _inhabited(steps, ports)
    for at, step in enumerate(steps):
        if note := stays.get(step.change.path):
            left.append(note)
            continue
        ports.progress.begin(f"put back {step.change.target}")
        problem = _undo_one(step, plan, ports, identity)
        if problem is None or _only_answer_lost(step, ports):
            running.undone(numbers[at])
            ports.progress.done()
            continue
        left.append(problem)
        ports.progress.failed(problem.message)
        others_work = problem.code == "changed-meanwhile" and not step.gate
        if not others_work and not _is_beside(step, steps[at + 1 :]) and not _is_back(step, ports):
            # What kube-apiserver lives by goes before what that needs, in both directions: go no further.
            return [*left, *(_still_needed(each, step) for each in steps[at + 1 :])]
    return left


def to_mend(left: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What could not be put back, of all that was left."""
    return tuple(each for each in left if each.severity == "error")


def close_record(running: Running, details: dict[str, Any]) -> tuple[Finding, ...]:
    """Close the record; where the disk does not let us, say so: the files are as reported all the same."""
    try:
        running.close(details)
    except OSError as error:
        return (
            Finding(
                code="journal-not-closed",
                severity="warning",
                subject=running.identity,
                message=f"the record of this change stays open: {error.strerror or error}",
                fix="make room, or the file system writable, then run the same command again",
            ),
        )
    return ()


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


def _do(step: Step, plan: Plan, ports: Ports, begun: list[int], running: Running) -> None:
    ports.progress.begin(step.title)
    try:
        ports.of(step.change).apply(step.change, _content(step.change, plan), running.identity)
    except Changed:
        running.undone(begun.pop())  # it is not ours, so there is nothing of ours to put back
        raise
    ports.progress.done()


def _wait(gate: Gate, ports: Ports) -> None:
    ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
    wait_for(gate, ports, check_stop=ports.stop.check)
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
    cause = replace(cause, evidence=tuple(dict.fromkeys((*cause.evidence, *_evidence(plan, ports)))))
    running.undo()
    left = put_back_begun(plan, tuple(begun), ports, running.identity)
    outcome = "rollback-incomplete" if to_mend(left) else "rolled-back"
    findings = (cause, *left)
    if not to_mend(left):
        findings += close_record(
            running, {"outcome": outcome, "findings": [asdict(each) for each in findings]}
        )
    return Ended(outcome, findings, ports.journal.place(running.identity), interrupted)


def put_back_begun(
    plan: Plan,
    begun: tuple[int, ...],
    ports: Ports,
    identity: str,
    undone: frozenset[int] = frozenset(),
) -> tuple[Finding, ...]:
    """Keep a CA that a begun step may have published, undo those not `undone`; what is left are findings."""
    kept: tuple[Finding, ...] = ()
    try:
        keep_published_ca(plan, begun, ports)
    except OSError as error:
        kept = (finding_of(error),)
    steps = tuple(number for number in begun if number not in undone)
    return (*undo(plan, steps, ports, identity), *kept)


def _evidence(plan: Plan, ports: Ports) -> tuple[str, ...]:
    from aggctl.workflows.evidence import collect  # noqa: PLC0415 -- 10 ms that only a failure need pay

    try:
        return collect(plan, ports)
    except Exception as error:  # noqa: BLE001 -- undoing is never held up, least of all by curiosity
        return (f"no evidence could be gathered: {error}",)


def _inhabited(steps: list[Step], ports: Ports) -> dict[str, Finding]:
    """Namespaces that stay; also one of which it cannot be told what it holds."""
    changes = [inverse(step.change) for step in steps]
    try:
        return inhabited(changes, ports)
    except Exception as error:  # noqa: BLE001 -- the other steps are undone all the same
        return {each.path: finding_of(error) for each in changes if deletes_namespace(each)}


def _undo_one(step: Step, plan: Plan, ports: Ports, identity: str) -> Finding | None:
    change = inverse(step.change)
    try:
        maker = ports.of(change)
        maker.sweep(step.change, identity)
        maker.apply(change, _content(change, plan), identity)
        if step.undo_gate:
            wait_for(step.undo_gate, ports)
    except Exception as error:  # noqa: BLE001 -- one step that cannot be undone does not stop the others
        return finding_of(error)
    return None


def _only_answer_lost(step: Step, ports: Ports) -> bool:
    """Whether an object was put back though no answer came to say so."""
    return isinstance(step.change, ObjectChange) and not step.undo_gate and _is_back(step, ports)


def _is_beside(step: Step, rest: list[Step]) -> bool:
    """Whether it is an object and the rest are files: these go back with the API down, too."""
    return isinstance(step.change, ObjectChange) and not any(
        isinstance(each.change, ObjectChange) for each in rest
    )


def _is_back(step: Step, ports: Ports) -> bool:
    try:
        return ports.of(step.change).holds(step.change) == "before"
    except (OSError, AggctlError):
        return False


def _still_needed(step: Step, by: Step) -> Finding:
    return Finding(
        code="left-in-place",
        severity="error",
        subject=step.change.target,
        message=f"{step.change.target} stays: {by.change.target} could not be put back and may need it",
        fix=f"mend {by.change.target}, then: aggctl rollback",
    )


def _content(change: Change, plan: Plan) -> bytes | None:
    if isinstance(change, FolderChange) or change.after is None:
        return None
    return plan.blobs[change.after.digest if isinstance(change, FileChange) else change.after.blob]


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, Stopped)


def finding_of(error: BaseException) -> Finding:
    """What went wrong, as a finding."""
    match error:
        case GateFailed():
            late = "" if error.finding.hopeless else f"not within {error.seconds:.0f} s: "
            return replace(error.finding, message=f"{late}{error.finding.message}")
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
        case AggctlError():
            return Finding(error.code, "error", "aggctl", error.message, error.do, evidence=error.evidence)
        case NotKnown():
            return as_finding(NotChecked(error.unknown))
    return Finding("defect", "error", "aggctl", f"{type(error).__name__}: {error}", "please report this")


def report_of(command: str, ended: Ended, **more: Any) -> Report:
    """The report of an executed plan."""
    return Report(
        command=command, outcome=ended.outcome, findings=ended.findings, interrupted=ended.interrupted, **more
    )
