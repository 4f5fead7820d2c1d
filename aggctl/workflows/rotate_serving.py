"""`aggctl certs rotate serving`: trust both CAs, serve the new pair, trust the new CA alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.apiservers import roster
from aggctl.core.certs import serving as c
from aggctl.core.checks.extension import api_service_path
from aggctl.core.plan import Plan, inverse_plan
from aggctl.core.questions import ObjectAt
from aggctl.core.register.certificates import new_pair, secret_of
from aggctl.core.register.plan import problems_of
from aggctl.core.report import Report, ShownChange
from aggctl.core.resources import path_of
from aggctl.errors import AggctlError, Failed, UsageError
from aggctl.system.signals import Stopped
from aggctl.workflows.execute import Ended, execute, finding_of, report_of
from aggctl.workflows.gates import wait_for
from aggctl.workflows.lock import Locking, control_plane
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.rehearse import rehearse_in_place
from aggctl.workflows.rotation import queue_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggctl.core.apiservers import Roster
    from aggctl.core.certs.serving import Served
    from aggctl.core.findings import Finding
    from aggctl.core.plan import Gate
    from aggctl.core.questions import QueueSeen
    from aggctl.core.register.certificates import Minted
    from aggctl.core.register.plan import Rehearsed
    from aggctl.core.resources import Located
    from aggctl.system.pairs import PairFolder
    from aggctl.system.ports import Ports

NUDGE = "aggctl/serving"
"""Annotation on Pods: a change makes the kubelet bring a Secret's new files at once, not within a minute."""

Object = dict[str, Any]


def rotate_serving(
    ports: Ports,
    names: tuple[str, ...],
    confirm: Callable[[Report], bool],
    *,
    pairs: PairFolder | None,
    dry_run: bool,
    deadline: float,
    lock: bool = True,
) -> Report:
    """Renew the serving certificates of the named APIs, or of all that aggctl renews."""
    closed = close_or_mend(ports, c.COMMAND, change_it=not dry_run)
    server = ports.objects.server
    served, findings = _see(ports, names)
    if errors := _errors(findings):
        return Report(c.COMMAND, "refused", findings=errors)
    if not served:
        return Report(c.COMMAND, "unchanged", summary=(*closed, "Nothing to renew."), findings=findings)
    _refuse_without_folder(served, pairs)
    if pairs:
        pairs.read()  # refuses a folder that others can write
    planned = Report(
        c.COMMAND,
        "planned",
        summary=(*closed, *(c.in_words(each) for each in served)),
        changes=tuple(change for each in served for change in _shown(each, pairs)),
        findings=findings,
        next=("run it again without --dry-run, to apply",) if dry_run else (),
    )
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    locking = Locking(c.COMMAND, server, deadline, lock=lock)
    with ports.stop.handling(), ports.journal.locked(), control_plane(ports, locking) as held:
        close_or_mend(ports, c.COMMAND, change_it=False)
        done = _renew(_Wanted(ports, names, pairs, deadline), served)
    return held.told(done)


def _renew(job: _Wanted, planned: tuple[Served, ...]) -> Report:
    """One Service after the other, but those that somebody renewed before the lock was ours."""
    ports, pairs = job.ports, job.pairs
    seen, findings = _see(ports, job.names)
    if errors := _errors(findings):
        return Report(c.COMMAND, "refused", findings=errors)
    due = _still_due(planned, seen)
    if not due:
        said = "Nothing to renew any more: somebody else did it meanwhile."
        return Report(c.COMMAND, "unchanged", summary=(said,), findings=findings)
    changes = tuple(change for each in due for change in _shown(each, pairs))
    known, _ = settle(lambda snapshot: roster(snapshot, ports.objects.server), ports.look)
    for number, each in enumerate(due):
        new = new_pair(each.service, ports.clock.now())
        ended = _rotate(_Job(ports, each, known, pairs, new, job.deadline))
        if ended.outcome != "applied":
            kept = f"{each.service.dns} keeps its certificate; {number} of {len(due)} are renewed"
            return report_of(c.COMMAND, ended, summary=(kept,), changes=changes)
    renewed = ", ".join(each.service.dns for each in due)
    done = report_of(c.COMMAND, ended, summary=(f"Renewed, and served: {renewed}",), changes=changes)
    return replace(done, findings=(*ended.findings, *findings))


def _still_due(planned: tuple[Served, ...], seen: tuple[Served, ...]) -> tuple[Served, ...]:
    before = {each.service.dns: each for each in planned}
    known = tuple(each for each in seen if each.service.dns in before)
    return tuple(each for each in known if not c.renewed_since(before[each.service.dns], each))


def _see(ports: Ports, names: tuple[str, ...]) -> tuple[tuple[Served, ...], tuple[Finding, ...]]:
    server = ports.objects.server
    return settle(lambda snapshot: c.see_serving(snapshot, server, names), ports.look)[0]


def _errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(each for each in findings if each.severity == "error")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for; no names mean all."""

    ports: Ports
    names: tuple[str, ...]
    pairs: PairFolder | None
    deadline: float


@dataclass(frozen=True, slots=True)
class _Job:
    """One Service, and the pair that it is to serve with."""

    ports: Ports
    served: Served
    known: Roster
    pairs: PairFolder | None
    new: Minted
    deadline: float

    @property
    def fingerprint(self) -> str:
        """That of the new certificate."""
        return pki.read_certificates(self.new.pair.certificate)[0].fingerprint


def _rotate(job: _Job) -> Ended:
    """Three plans and what lies between them; where one does not come to pass, those before are undone."""
    done: list[tuple[Plan, str]] = []
    try:
        for plan in (_trust_both, _serve_new, _trust_new):
            ended = _carry_out(plan(job), job.ports, done)
            if ended.outcome != "applied":
                return _put_back(job, done, ended)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the old certificate comes back
        return _put_back(
            job, done, Ended("rolled-back", (finding_of(error),), "", isinstance(error, Stopped))
        )
    return ended


def _carry_out(plan: Plan, ports: Ports, done: list[tuple[Plan, str]]) -> Ended:
    ended = execute(plan, ports)
    if ended.outcome == "applied":
        done.append((plan, ended.identity))
    return ended


def _put_back(job: _Job, done: list[tuple[Plan, str]], ended: Ended) -> Ended:
    """Undo what earlier plans did, the newest first; the first cause is what is reported.

    The new CA goes last: both stay trusted for as long as an endpoint serves the new certificate.
    """
    with job.ports.stop.put_off():
        left = tuple(map(finding_of, job.pairs.undo() if job.pairs and not job.served.place.secret else ()))
        for plan, identity in reversed(done):
            if not left and plan is done[0][0]:
                left = _until_old_is_served(job)
            if not left:
                undone = execute(inverse_plan(plan, identity, f"undo: {plan.title}"), job.ports)
                left = undone.findings if undone.outcome != "applied" else ()
    if left:
        return replace(ended, outcome="rollback-incomplete", findings=(*ended.findings, *left))
    return ended


def _until_old_is_served(job: _Job) -> tuple[Finding, ...]:
    _nudge(job)
    try:
        _wait(c.serves_old(job.served, job.fingerprint, job.ports.objects.server, job.deadline), job.ports)
    except Exception as error:  # noqa: BLE001 -- whatever it is, both CAs stay and it is said
        return (finding_of(error),)
    return ()


# --- the three plans --------------------------------------------------------------------------------------


def _trust_both(job: _Job) -> Plan:
    now = job.ports.clock.now()
    lives = _lives(job)
    wanted = [(each, c.with_bundle(each, c.both(each, job.new.authority, now))) for each in lives]
    gate = c.trusts_both(job.served, _queues(job), job.deadline)
    return c.plan_of(_rehearsed(job, wanted), job.ports.objects.server, "trust both serving CAs", gate)


def _serve_new(job: _Job) -> Plan:
    """The Secret; a server outside the cluster gets its files right here, ahead of an empty plan."""
    if not job.served.place.secret:
        assert job.pairs  # noqa: S101 -- for the type checker: _refuse_without_folder saw to it
        job.ports.progress.say(job.pairs.write(job.new.authority, job.new.pair))
        return Plan(c.COMMAND, "serve the new certificate", (), lasting=True)
    secret = secret_of(job.served.service, job.served.place, job.new)
    live = job.ports.objects.read(secret.path)
    wanted = [(live, c.as_it_is(secret, live))]
    return c.plan_of(_rehearsed(job, wanted), job.ports.objects.server, "serve the new certificate", None)


def _trust_new(job: _Job) -> Plan:
    """Once every endpoint serves it the old CA goes."""
    _nudge(job)
    _wait(c.serves_new(job.served, job.fingerprint, job.ports.objects.server, job.deadline), job.ports)
    wanted = [(each, c.with_bundle(each, job.new.authority.decode())) for each in _lives(job)]
    proof = c.proven(job.served, job.known, _queues(job), job.ports.objects.server, job.deadline)
    return c.plan_of(
        _rehearsed(job, wanted), job.ports.objects.server, "trust the new serving CA alone", proof
    )


def _lives(job: _Job) -> list[Object]:
    """The APIServices as they are now; who may not get each of them learns it before any is changed."""
    return [job.ports.objects.read(api_service_path(c.name_of(each))) or each for each in job.served.apis]


def _wait(gate: Gate, ports: Ports) -> None:
    ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
    wait_for(gate, ports, check_stop=ports.stop.check)
    ports.progress.done()


def _nudge(job: _Job) -> None:
    """Annotate the Pods; one that may not be seen or written gets its files within a minute all the same."""
    if not job.served.pods:
        return
    found = job.ports.look(ObjectAt(job.served.pods, job.ports.objects.server))
    for pod in (found or {}).get("items", []) if isinstance(found, dict) else []:
        path = path_of("v1", "pods", job.served.service.namespace, str(pod["metadata"]["name"]))
        with contextlib.suppress(AggctlError):
            job.ports.objects.annotate(path, NUDGE, job.ports.clock.now().isoformat())


def _rehearsed(job: _Job, wanted: Sequence[tuple[Object | None, Located]]) -> tuple[Rehearsed, ...]:
    found = tuple(rehearse_in_place(each, each.object, live, job.ports) for live, each in wanted)
    if problem := next(problems_of(found), None):
        raise Failed(problem.code, problem.message, do=problem.fix, evidence=problem.evidence)
    return found


def _queues(job: _Job) -> dict[str, QueueSeen]:
    return {server: queue_of(job.ports, server) for server in job.known.servers}


# --- words ------------------------------------------------------------------------------------------------


def _shown(served: Served, pairs: PairFolder | None) -> tuple[ShownChange, ...]:
    apis = tuple(ShownChange("change", f"APIService {c.name_of(each)}", "caBundle") for each in served.apis)
    where = f"Secret {served.service.namespace}/{served.place.secret}"
    if not served.place.secret:
        where = str(pairs.folder) if pairs else ""
    return (ShownChange("change", where, f"a new pair for {served.service.dns}"), *apis)


def _refuse_without_folder(served: tuple[Served, ...], pairs: PairFolder | None) -> None:
    outside = [each for each in served if not each.place.secret]
    if outside and (pairs is None or len(outside) > 1):
        raise UsageError(
            "cert-out-missing",
            f"the server of {outside[0].service.dns} is outside the cluster and reads its pair from files",
            expected="that one API, and --cert-out DIR, the folder that the server reads",
            do="aggctl certs rotate serving VERSION.GROUP --cert-out DIR",
        )
