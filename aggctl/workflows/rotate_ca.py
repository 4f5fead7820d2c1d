"""`aggctl certs rotate ca`: a chain of small plans, each safe to stop at; the world tells the stage."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from aggctl.core.apiservers import roster
from aggctl.core.certs import authority as a
from aggctl.core.certs.layer import RESTART
from aggctl.core.certs.preflight import blockers, silent
from aggctl.core.certs.record import behind, is_past
from aggctl.core.certs.sealed import PATH as UPLOADED
from aggctl.core.plan import Condition, Gate
from aggctl.core.report import Report, ShownChange
from aggctl.errors import Interrupted, Refused
from aggctl.system.signals import Stopped
from aggctl.workflows import ca_stages as stages
from aggctl.workflows.execute import execute, finding_of, report_of
from aggctl.workflows.gates import first_unmet
from aggctl.workflows.lock import Locking, control_plane, others_not_ready
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.rotation import (
    PART,
    begin_record,
    content_of,
    identities_of,
    layer_of,
    leaf_of,
    next_ca,
    note_stage,
    read_record,
    write_record,
)
from aggctl.workflows.transfer import import_pair, upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.apiservers import Roster
    from aggctl.core.certs.layer import Layer
    from aggctl.core.certs.record import Record
    from aggctl.core.findings import Finding
    from aggctl.core.pki import KeyPair
    from aggctl.system.ports import Ports
    from aggctl.workflows.ca_stages import Run, Wishes

RECENT = timedelta(hours=24)
PEERS_KEEP = timedelta(minutes=5)
"""How long kube-apiservers keep connections to each other, by which an old leaf is shown (--peer-ca-file)."""


def rotate_ca(
    ports: Ports,
    wishes: Wishes,
    confirm: Callable[[Report], bool],
    *,
    dry_run: bool,
    given: KeyPair | None = None,
) -> Report:
    """Do all that is safe now on this node, and say what is waited for; `given` is the new CA."""
    closed = close_or_mend(ports, a.COMMAND, change_it=not dry_run, proves_itself=False)
    layer = layer_of(ports)
    record = read_record(ports)
    if record and record.finished:
        if not wishes.again and ports.clock.now() - record.finished < RECENT:
            return _finished(ports, wishes, record, dry_run=dry_run)
        record = None
    found = a.ca_problems(layer, record)
    if problems := tuple(each for each in found if not (wishes.restart and each.code == RESTART)):
        return Report(a.COMMAND, "refused", findings=(*problems, *silent(_everyone(ports, layer))))
    known, holding = look_ahead(ports, layer)
    planned = _planned(layer, known, record, (closed, holding), wishes)
    if any(each.severity == "error" for each in holding) and not wishes.force:
        return Report(a.COMMAND, "refused", summary=planned.summary, findings=holding)
    if dry_run:
        return replace(planned, next=("run it again without --dry-run, to apply",))
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    with ports.stop.handling(), ports.journal.locked():
        close_or_mend(ports, a.COMMAND, change_it=False)
        if given:
            import_pair(ports, given)
        new = next_ca(ports, layer, record, wishes.algorithm)
        begins = record is None
        record = record or begin_record(ports, layer, new, known.servers)
        key = upload(ports, new) if begins and wishes.upload and len(known.servers) > 1 else ""
        identities = identities_of(ports, layer, new)
        run = stages.Run(ports, wishes, layer.node.server, known, new, identities, key)
        return _until_stopped(run, record)


def preflight(ports: Ports) -> Report:
    """Who would hold a replacement of the CA, and why; nothing is written."""
    layer = layer_of(ports)
    known, holding = look_ahead(ports, layer)
    findings = (*a.ca_problems(layer, read_record(ports)), *holding)
    if findings:
        return Report(a.COMMAND, "problems", findings=findings)
    endpoints = sum(len(each.endpoints) for each in layer.targets)
    said = f"Nothing would hold it: {len(known.servers)} kube-apiserver(s), {endpoints} endpoints."
    return Report(a.COMMAND, "healthy", summary=(said,), next=("sudo aggctl certs rotate ca",))


def look_ahead(ports: Ports, layer: Layer) -> tuple[Roster, tuple[Finding, ...]]:
    """Every kube-apiserver, and what would hold a replacement of the CA."""
    known = _everyone(ports, layer)
    leaf = leaf_of(ports, layer)
    identity = ports.hold(leaf.pair) if leaf else ""
    return known, settle(lambda snapshot: blockers(snapshot, layer, known, identity), ports.look)[0]


def _everyone(ports: Ports, layer: Layer) -> Roster:
    return settle(lambda snapshot: roster(snapshot, layer.node.server), ports.look)[0]


def _until_stopped(run: Run, record: Record) -> Report:
    try:
        report = _go_on(run, record)
        return replace(report, findings=(*report.findings, *run.warnings))
    except Stopped as stopped:
        raise Interrupted(
            "interrupted",
            f"interrupted by {stopped}; every stage is safe to stop at, and nothing is left half done",
            do="run it again to go on: aggctl certs rotate ca",
        ) from stopped


def _go_on(run: Run, record: Record) -> Report:
    """Stage after stage, until one has to wait or fails."""
    done: list[str] = []
    while True:
        layer = layer_of(run.ports)
        stage = a.stage_of(layer, record.ca)
        record = note_stage(run.ports, record, run.server, stage)
        if is_past(stage, run.wishes.until) and stage != "retired":
            return _stopped(run, done, (f"as far as asked: {stage}",))
        waits, findings = _waits(run, layer, record, stage)
        if waits or findings:
            return _stopped(run, done, waits, findings)
        if stage == "retired":
            return _finish(run, record, done)
        if held := _carried_out(run, stage, done):
            return held


def _still_trusted(run: Run, stage: str) -> bool:
    """Whether what was waited for ahead of the switch is still so."""
    if stage != "trusted" or run.wishes.force:
        return True
    return first_unmet(stages.trusted_everywhere(run, layer_of(run.ports)), run.ports) is None


def _carried_out(run: Run, stage: str, done: list[str]) -> Report | None:
    """One stage under the control-plane lock, which is never held while other nodes are waited for."""
    locking = Locking(a.COMMAND, run.server, run.wishes.deadline, lock=run.wishes.lock)
    with ExitStack() as stack:
        try:
            held = stack.enter_context(control_plane(run.ports, locking))
        except Refused as refused:
            return _stopped(run, done, (), (finding_of(refused),))
        if held.waited and not _still_trusted(run, stage):
            return None  # to wait for it again, without the lock
        if (
            run.wishes.restart
            and stage == "trusted"
            and (findings := others_not_ready(run.ports, run.server))
        ):
            return _stopped(run, done, (), findings)
        ended = execute(stages.STAGE_PLANS[stage](run, layer_of(run.ports)), run.ports)
    run.warnings.extend(held.findings)
    if ended.outcome != "applied":
        what = f"the stage after {stage!r} failed; this node is as it was before it"
        return report_of(a.COMMAND, ended, summary=(*done, what))
    done.append(stages.DONE[stage])
    return None


# --- what holds a stage back ------------------------------------------------------------------------------

_Held = tuple[tuple[str, ...], tuple["Finding", ...]]


def _waits(run: Run, layer: Layer, record: Record, stage: str) -> _Held:
    """Nodes and servers that are not so far: before the leaf is switched, before the old CA is retired."""
    if stage == "old":
        return (), ()
    if held := _other_nodes(run, record, stage):
        return held, ()
    if stage == "trusted":
        return (), stages.held_by(run, stages.trusted_everywhere(run, layer))
    return (_soaks(run, layer), ()) if stage == "switched" else ((), ())


def _other_nodes(run: Run, record: Record, stage: str) -> tuple[str, ...]:
    """Which nodes are not as far as this one; with --wait, once the time is up."""
    servers = run.known.servers
    late = behind(record, servers, stage)
    if not late or run.wishes.force:
        return ()
    if run.wishes.wait:
        words = (("server", run.server), ("servers", ",".join(servers)), ("stage", stage))
        gate = Gate((Condition("rotation-nodes-at", words),), run.wishes.deadline, waits_for=", ".join(late))
        if run.key:
            run.ports.progress.say(_run_there(late, run.key))
        if not stages.held_by(run, gate):
            return ()
        late = behind(read_record(run.ports) or record, servers, stage)
    return (_run_there(late, run.key),)


def _soaks(run: Run, layer: Layer) -> tuple[str, ...]:
    """How long the old CA has to stay yet, for connections on which an old leaf is still shown."""
    record = read_record(run.ports)
    soak = timedelta(seconds=run.wishes.soak)
    if layer.node.manifest.values("peer-ca-file") and not run.wishes.emergency:
        soak = max(soak, PEERS_KEEP)
    if not soak or not record or not record.switched:
        return ()
    until = record.switched + soak
    left = (until - run.ports.clock.now()).total_seconds()
    if run.wishes.wait and 0 < left <= run.wishes.deadline:
        run.ports.progress.begin(f"the old CA stays trusted until {until:%H:%M:%S} UTC", left)
        while run.ports.clock.now() < until:
            run.ports.stop.check()
            run.ports.clock.pause(min(1.0, left))
        run.ports.progress.done()
        return ()
    return (f"retire    waits until {until:%Y-%m-%d %H:%M} UTC: run again then",) if left > 0 else ()


# --- the end ----------------------------------------------------------------------------------------------


def _finish(run: Run, record: Record, done: list[str]) -> Report:
    """Prune what is published, prove that the old CA is refused everywhere, and note the end."""
    if held := stages.held_by(run, stages.refused_by_servers(run)):
        return _stopped(run, done, (), held)
    stages.prune(run, record)
    done.append("prune     the old CA is not published any more")
    if held := stages.held_by(run, stages.refused_everywhere(run, record)):
        return _stopped(run, done, (), held)
    done.append("prove     a certificate of the old CA is refused by every kube-apiserver and endpoint")
    write_record(run.ports, replace(record, finished=run.ports.clock.now()))
    run.ports.objects.drop(UPLOADED)
    done += _forget(run.ports, run.wishes)
    return Report(
        a.COMMAND,
        "applied",
        summary=(*done, f"The front-proxy CA is {run.new.certificate.common_name}, on every node."),
        next=(
            "kubeadm init phase upload-certs --upload-certs     (before another control-plane node joins)",
        ),
    )


def _forget(ports: Ports, wishes: Wishes) -> tuple[str, ...]:
    """What was put away on this node goes; after a leak the old keys in its backups go, too."""
    ports.journal.forget_kept(PART)
    if not wishes.emergency:
        return ()
    files = layer_of(ports).files
    in_force = [content_of(ports, path) for path in (files.ca_key_at, files.key_at.host)]
    number = ports.journal.shred_keys(in_force)
    return (f"shred     {number} old keys are gone from the backups of this node",)


# --- words ------------------------------------------------------------------------------------------------


def _planned(
    layer: Layer,
    known: Roster,
    record: Record | None,
    before: tuple[tuple[str, ...], tuple[Finding, ...]],
    wishes: Wishes,
) -> Report:
    endpoints = sum(len(each.endpoints) for each in layer.targets)
    what = f"Rotation {record.ca[:6]}" if record else "A new front-proxy CA"
    where = f"{len(known.servers)} kube-apiserver(s) and {len(layer.targets)} APIs ({endpoints} endpoints)"
    files, (closed, holding) = layer.files, before
    emergency = "Backups on this node lose the old keys: changes before this one cannot be rolled back."
    return Report(
        a.COMMAND,
        "planned",
        summary=(
            *closed,
            f"{what}, for {where}: trust both, switch, retire, prune, prove.",
            "kube-apiserver restarts once." if wishes.restart else "No restart.",
            *((emergency,) if wishes.emergency else ()),
        ),
        changes=(
            ShownChange("change", files.ca_at.host, "both CAs, then the new one alone"),
            ShownChange("change", files.ca_key_at, "the new CA's key"),
            ShownChange("change", files.key_at.host, "a new key"),
            ShownChange("change", files.certificate_at.host, "a certificate of the new CA, the same name"),
        ),
        findings=holding,
    )


def _stopped(run: Run, done: list[str], waits: tuple[str, ...], findings: tuple[Finding, ...] = ()) -> Report:
    """Safe to stop: what is done stays; a server that does not follow is a problem, another node is none."""
    outcome = "problems" if findings else "applied" if done else "unchanged"
    again = "Safe to stop here; run again to go on."
    if run.key:
        waits = (*waits, f"The certificate key is shown this once, and good for two hours: {run.key}")
    return Report(a.COMMAND, outcome, summary=(*done, *waits, again), findings=findings)


def _finished(ports: Ports, wishes: Wishes, record: Record, *, dry_run: bool) -> Report:
    """Another node ended it, or this one did: nothing to do but to tidy up here."""
    when = f"{record.finished:%Y-%m-%d %H:%M}" if record.finished else ""
    said = f"Nothing to do: the front-proxy CA {record.ca[:12]} is new since {when} (--again replaces it)."
    shredded: tuple[str, ...] = ()
    if not dry_run:
        with ports.journal.locked():
            shredded = _forget(ports, wishes)
    return Report(a.COMMAND, "unchanged", summary=(*shredded, said))


def _run_there(servers: tuple[str, ...], key: str) -> str:
    how = f" --certificate-key {key}" if key else ""
    return f"waits for {', '.join(servers)}: run there  aggctl certs rotate ca{how}"
