"""`aggctl audit enable` and `audit show`: have requests to the aggregated APIs recorded, and read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aggctl.core.audit.events import Collector, lines
from aggctl.core.audit.plan import live_conditions, plan_audit, shown_changes
from aggctl.core.audit.see import COMMAND, see
from aggctl.core.audit.settings import LOG_FLAG, STDOUT, read_settings
from aggctl.core.findings import Finding
from aggctl.core.node import see_node
from aggctl.core.plan import Gate
from aggctl.core.report import Report
from aggctl.errors import Refused
from aggctl.system.auditlog import files_of, lines_of
from aggctl.workflows.execute import execute, report_of
from aggctl.workflows.gates import as_finding, first_unmet
from aggctl.workflows.in_turn import Agreed, in_turn, refused, why_not_kept
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_refuse
from aggctl.workflows.persist import told_kubeadm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.audit.events import Filter
    from aggctl.core.audit.see import Sight
    from aggctl.core.audit.settings import Wanted
    from aggctl.core.node import Node
    from aggctl.core.plan import Plan
    from aggctl.system.ports import Ports
    from aggctl.workflows.in_turn import Manner

ON = "aggctl audit enable"


def enable(ports: Ports, wanted: Wanted, manner: Manner) -> Report:
    """Have requests recorded, or say that they are; a refusing report, or Refused, where that is unsafe."""
    closed = close_or_refuse(ports, change_it=not manner.dry_run)
    sight, _ = settle(lambda snapshot: see(snapshot, wanted), ports.look)
    if sight.problems:
        return Report(COMMAND, "refused", _situation(sight), findings=(*sight.problems, *sight.notes))
    if sight.need.nothing and (said := _nothing_to_do(sight, ports, closed)):
        return said
    plan = plan_audit(sight, wanted.deadline)
    planned = Report(
        COMMAND,
        "planned",
        summary=(*closed, *_situation(sight), *_price(sight)),
        changes=shown_changes(sight, plan),
        findings=sight.notes,
        next=(f"{ON}     (without --dry-run, to apply)",) if manner.dry_run else (),
    )
    if manner.dry_run:
        return planned
    if not manner.confirm(planned):
        return refused(planned)
    agreed = Agreed(COMMAND, sight.node.server, plan, planned, wanted.deadline, restarts=sight.restarts)
    return in_turn(
        ports, agreed, manner, partial(_again, ports, wanted), partial(_apply, ports, sight, planned)
    )


def _again(ports: Ports, wanted: Wanted) -> Plan | None:
    sight, _ = settle(lambda snapshot: see(snapshot, wanted), ports.look)
    return None if sight.problems else plan_audit(sight, wanted.deadline)


def _apply(ports: Ports, sight: Sight, planned: Report, plan: Plan) -> Report:
    ended = execute(plan, ports)
    if ended.outcome != "applied":
        return report_of(
            COMMAND,
            ended,
            changes=planned.changes,
            summary=why_not_kept(ended),
            next=(f"the record of this try: {ended.record}",),
        )
    return report_of(
        COMMAND,
        ended,
        summary=(*_in_force(sight), *told_kubeadm(sight.persist), *_on_other_nodes(sight)),
        changes=planned.changes,
        next=(
            *(("aggctl audit show     (who did what)",) if sight.need.log else ()),
            "aggctl rollback     (undoes this change; records stay)",
        ),
    )


def _nothing_to_do(sight: Sight, ports: Ports, closed: tuple[str, ...]) -> Report | None:
    """The files are right: say so only if records are written; None where kubeadm is to be told."""
    unmet = first_unmet(Gate(live_conditions(sight), 0.0), ports)
    if unmet is not None:
        return Report(
            COMMAND,
            "problems",
            summary=("Manifest and policy say that requests are recorded, but they are not in force:",),
            findings=(as_finding(unmet), *sight.notes),
        )
    if not sight.persist.nothing:
        return None
    summary = (*closed, "Nothing to do: requests to the aggregated APIs are recorded.", *_in_force(sight)[1:])
    return Report(COMMAND, "unchanged", summary=summary, findings=sight.notes)


# --- reading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which records are wanted, and how many of the newest at most."""

    filter: Filter
    most: int
    manifest: str = ""


def show(ports: Ports, wishes: Wishes) -> tuple[Report, tuple[str, ...]]:
    """The records of this node, from old to new, and their lines; Refused where there is no log to read."""
    node, _ = settle(lambda snapshot: see_node(snapshot, wishes.manifest), ports.look)
    path = _log_of(node)
    collector = Collector(wishes.filter, wishes.most)
    if not _read(ports.files.root, path, wishes.filter.since / 1e9, collector):
        raise _no_log(
            f"{path} is not there yet", f"{ON}     (says whether it is in force)", "a log with records"
        )
    events = collector.events()
    report = Report(
        "audit show",
        "unchanged",
        findings=tuple(_left_out(path, collector)),
        items=tuple(each.item() for each in events),
    )
    return report, lines(events)


def _read(root: str, path: str, since: float, collector: Collector) -> bool:
    """Feed every file that may hold something since then; one that is rotated meanwhile is met again."""
    seen: set[str] = set()
    while new := [each for each in files_of(root, path) if each.path not in seen]:
        for file in new:
            seen.add(file.path)
            if not file.until or file.until >= since:
                for line in lines_of(root, file):
                    collector.feed(line)
    return bool(seen)


def _log_of(node: Node) -> str:
    """The host's path of the log that the manifest names."""
    settings = read_settings(node.manifest)
    if not settings.records:
        raise Refused(
            "audit-off",
            f"kube-apiserver records no requests: {node.manifest.path} names "
            f"{'no log' if settings.policy else 'no audit policy'}",
            expected="--audit-policy-file, and --audit-log-path",
            do=f"sudo {ON}",
        )
    if settings.log in ("", STDOUT):
        where = "the standard output of kube-apiserver" if settings.log else f"a webhook ({settings.webhook})"
        way = (
            "crictl logs $(crictl ps --name kube-apiserver -q | head -n 1)"
            if settings.log
            else f"sudo {ON} --log-path FILE     (writes a log as well)"
        )
        raise _no_log(f"records go to {where}, and none to a file of this node", way, f"--{LOG_FLAG}=FILE")
    path = node.manifest.host_path(settings.log)
    if path is None:
        raise _no_log(
            f"{settings.log} lies in no folder that the Pod mounts from this node: its records end with it",
            f"mount its folder in {node.manifest.path}",
            "a volume that shows it",
        )
    return path


def _no_log(found: str, do: str, expected: str) -> Refused:
    return Refused("audit-log-not-here", f"there is no audit log to read: {found}", expected=expected, do=do)


def _left_out(path: str, collector: Collector) -> Iterator[Finding]:
    if collector.broken:
        yield Finding(
            code="audit-lines-not-read",
            severity="warning",
            subject=path,
            message=f"{collector.broken} lines are no audit record, or too long, and are left out",
            fix=f"tail -n 3 {path}     (records are one JSON object a line: --audit-log-format=json)",
        )
    if collector.passed_over:
        yield Finding(
            code="audit-lines-left-out",
            severity="info",
            subject=path,
            message=f"{collector.passed_over} older requests are left out",
            fix="aggctl audit show --limit N     (or a shorter --since, --user, --verb)",
        )


# --- words ------------------------------------------------------------------------------------------------


def _situation(sight: Sight) -> tuple[str, ...]:
    """One line for the node, one for its records."""
    node, settings = sight.node, sight.settings
    version = f"{sight.cluster.version} " if sight.cluster else ""
    if not settings.records:
        state = "Requests are not recorded."
    elif settings.log:
        state = f"Requests are recorded by {settings.policy} to {settings.log}."
    else:
        state = f"Requests are recorded by {settings.policy} for a webhook."
    return f"kube-apiserver {version}at {node.server}", state


def _price(sight: Sight) -> tuple[str, ...]:
    if not sight.restarts:
        return ("No restart: records are written, and kubeadm is told of it for its next upgrade.",)
    peers = sight.cluster.peers if sight.cluster else ()
    away = "the others keep answering" if peers else "the API is away meanwhile, as this is the only one"
    return (f"kube-apiserver restarts once on this node, about 45 s; {away}.",)


def _in_force(sight: Sight) -> tuple[str, ...]:
    """What is recorded, and where to."""
    levels = sight.need.levels
    bodies = sorted(group for group, level in levels.items() if level != "Metadata")
    rest = sorted(levels.keys() - set(bodies))
    log = sight.need.log
    proof = f"proven by a request of now in {log.host}" if log else "no file of this node shows them"
    return (
        f"Requests to the aggregated APIs are recorded on this node, {proof}.",
        f"  Metadata         {', '.join(rest)}",
        *((f"  RequestResponse  {', '.join(bodies)}",) if bodies else ()),
        f"  policy           {sight.need.policy_at.host}",
        "An API that is registered later is recorded once this is run again.",
    )


def _on_other_nodes(sight: Sight) -> tuple[str, ...]:
    peers = sight.cluster.peers if sight.cluster else ()
    if not peers:
        return ()
    return (f"Each kube-apiserver records what it is asked itself: run it on {', '.join(peers)}, too.",)
