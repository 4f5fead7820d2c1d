"""`aggctl enable`: observe, plan, execute, report."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core import flags as f
from aggctl.core import pki
from aggctl.core.enable import Minted, Sight, live_conditions, plan_enable, see, shown_changes
from aggctl.core.plan import Gate
from aggctl.core.questions import Unknown
from aggctl.core.report import Report, ShownChange
from aggctl.errors import Refused
from aggctl.system.journal import KEPT
from aggctl.workflows.execute import KEPT_NAMES, execute, report_of
from aggctl.workflows.gates import as_finding, first_unmet
from aggctl.workflows.in_turn import Agreed, in_turn, refused, why_not_kept
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_refuse
from aggctl.workflows.persist import plan_with_persist, told_kubeadm

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.need import Wanted
    from aggctl.core.pki import KeyPair
    from aggctl.core.plan import Plan
    from aggctl.core.questions import FileSeen, Question
    from aggctl.system.ports import Ports
    from aggctl.workflows.in_turn import Manner


def enable(ports: Ports, wanted: Wanted, manner: Manner) -> Report:
    """Switch the layer on, or say that it is on; Refused or a refusing report where that is unsafe."""
    closed = close_or_refuse(ports, change_it=not manner.dry_run)
    wanted = replace(wanted, kept=_kept(ports), awaited=manner.wait)
    now = ports.clock.now()
    look = _as_silence(ports.look) if manner.dry_run else ports.look
    sight, _ = settle(lambda snapshot: see(snapshot, wanted, now), look)
    if sight.problems:
        return _refusal(sight, wanted, ports, with_plan=manner.dry_run and sight.only_silent)
    if sight.need.nothing and (said := _nothing_to_do(sight, ports, closed)):
        return said
    minted = _mint(sight, wanted, ports)
    plan = plan_with_persist(sight, minted, wanted, ports)
    planned = Report(
        "enable",
        "planned",
        summary=(*closed, *_situation(sight), *_price(sight)),
        changes=shown_changes(sight, plan),
        findings=sight.notes,
        next=("aggctl enable     (without --dry-run, to apply)",) if manner.dry_run else (),
    )
    if manner.dry_run:
        return planned
    if not manner.confirm(planned):
        return refused(planned)
    agreed = Agreed(
        "enable",
        sight.node.server,
        plan,
        planned,
        wanted.deadline,
        restarts=sight.restarts,
        silence_ok=sight.silence is not None,
    )
    again = partial(_planned_again, ports, wanted, minted)
    return in_turn(ports, agreed, manner, again, lambda plan: _apply(ports, plan, sight, planned, manner))


def _as_silence(look: Callable[[Question], Any]) -> Callable[[Question], Any]:
    """For a dry run: without credentials the cluster is silent, and the plan can be shown all the same."""

    def ask(question: Question) -> Any:
        try:
            return look(question)
        except Refused as refused:
            return Unknown(f"{refused.message}; {refused.do}", refused.code)

    return ask


def _refusal(sight: Sight, wanted: Wanted, ports: Ports, *, with_plan: bool) -> Report:
    """Why not; and, where only the cluster's word is missing, what would be done."""
    changes: tuple[ShownChange, ...] = ()
    if with_plan:
        changes = shown_changes(sight, plan_enable(sight, _mint(sight, wanted, ports), wanted))
    return Report(
        "enable",
        "refused",
        summary=_situation(sight),
        changes=changes,
        findings=(*sight.problems, *sight.notes),
    )


def _planned_again(ports: Ports, wanted: Wanted, minted: Minted) -> Plan | None:
    """The plan after a wait for the lock."""
    now = ports.clock.now()
    sight, _ = settle(lambda snapshot: see(snapshot, wanted, now), ports.look)
    return None if sight.problems else plan_with_persist(sight, minted, wanted, ports)


def _apply(ports: Ports, plan: Plan, sight: Sight, planned: Report, manner: Manner) -> Report:
    ended = execute(plan, ports, wait=manner.wait)
    if ended.outcome != "applied":
        return report_of(
            "enable",
            ended,
            changes=planned.changes,
            summary=why_not_kept(ended),
            next=(f"the record of this try: {ended.record}",),
        )
    if manner.wait:
        ports.journal.forget_kept()
    summary: tuple[str, ...]
    if not manner.wait:
        summary = ("The change is made; it was not waited for. Run again to see how it ended: aggctl enable",)
    else:
        summary = (
            "The aggregation layer is on, on this node.",
            *told_kubeadm(sight.persist),
            *_on_other_nodes(sight),
        )
    return report_of(
        "enable",
        ended,
        summary=summary,
        changes=planned.changes,
        next=("aggctl rollback     (undoes this change)",),
    )


def _nothing_to_do(sight: Sight, ports: Ports, closed: tuple[str, ...]) -> Report | None:
    """The files are right: say so only if kube-apiserver lives by them; None where kubeadm is to be told."""
    unmet = first_unmet(Gate(live_conditions(sight), 0.0), ports)
    if unmet is not None:
        return Report(
            "enable",
            "problems",
            summary=("All flags are set in the manifest, but they are not in force:",),
            findings=(as_finding(unmet), *sight.notes),
        )
    if not sight.persist.nothing:
        return None
    return Report("enable", "unchanged", summary=(*closed, *_reasons(sight, ports)), findings=sight.notes)


def _mint(sight: Sight, wanted: Wanted, ports: Ports) -> Minted:
    """Make the certificates that are missing; keys stay in memory until the plan writes them."""
    need, now = sight.need, ports.clock.now()
    ca = {"given": wanted.ca, "kept": wanted.kept}.get(need.ca_source)
    if need.ca_source == "mint":
        ca = pki.new_ca("front-proxy-ca", now, algorithm=wanted.key_algorithm)
    if not need.client_name:
        return Minted(ca=ca)
    client = pki.issue(
        ca or _ca_on_node(sight, ports), need.client_name, now, usage="client", algorithm=wanted.key_algorithm
    )
    return Minted(ca=ca, client=client)


def _ca_on_node(sight: Sight, ports: Ports) -> KeyPair:
    key = _read(ports, sight.files.ca_key_at)
    if key is None or sight.files.ca is None:
        raise Refused(
            "changed-meanwhile",
            f"{sight.files.ca_key_at} is gone",
            do="look what else works here, then run again",
        )
    return pki.KeyPair(sight.files.authorities[0].pem, key.content)


def _kept(ports: Ports) -> KeyPair | None:
    """The CA of an earlier try; None where there is none, or its two files are no pair."""
    certificate, key = (_read(ports, f"{KEPT}/{name}") for name in KEPT_NAMES)
    if not certificate or not key:
        return None
    try:
        authority = pki.read_certificates(certificate.content)[0]
        matches = pki.public_key_of(key.content) == authority.public_key
    except pki.PkiError:
        return None
    return pki.KeyPair(certificate.content, key.content) if matches else None


def _read(ports: Ports, path: str) -> FileSeen | None:
    try:
        return ports.files.read(path)
    except OSError as error:
        raise Refused(
            "file-not-readable",
            f"{path} cannot be read: {error.strerror or error}",
            do="run as root: sudo aggctl enable     (and look at the disk: dmesg | tail)",
        ) from error


# --- words ------------------------------------------------------------------------------------------------


def _situation(sight: Sight) -> tuple[str, ...]:
    """One line for the node, one for the layer."""
    node, cluster = sight.node, sight.cluster
    if cluster is None:
        where = f"kube-apiserver at {node.server}"  # why nothing is known of it is the first finding
    elif cluster.peers:
        total = len(cluster.peers) + 1
        where = (
            f"kube-apiserver {cluster.version} at {node.server}, one of {total} "
            f"(the others: {', '.join(cluster.peers)})"
        )
    else:
        where = f"kube-apiserver {cluster.version} at {node.server}, the only one"
    missing = node.layer.missing
    if not missing:
        state = "All 8 flags of the aggregation layer are set."
    elif missing == (f.ROUTING,):
        state = "The aggregation layer is on; only routing to endpoints is not set."
    elif len(missing) == len(f.AGGREGATION_FLAGS):
        state = "The aggregation layer is off: 8 of 8 flags missing."
    else:
        state = f"The aggregation layer is incomplete, missing: {', '.join('--' + name for name in missing)}"
    return where, state


def _price(sight: Sight) -> tuple[str, ...]:
    if sight.need.nothing:
        return ("No restart: the manifest is right, and kubeadm is told of it for its next upgrade.",)
    if not sight.restarts:
        return ("No restart: kube-apiserver reads these files again by itself.",)
    peers = sight.cluster.peers if sight.cluster else ()
    away = (
        "the others keep answering"
        if peers
        else "the API is away meanwhile, as this is the only control-plane node"
    )
    price = [f"kube-apiserver restarts once on this node, about 45 s; {away}."]
    if peers and f.CA in sight.need.flags:
        price.append("Until all nodes have the layer, requests to aggregated APIs fail now and then.")
    if set(sight.need.flags) == {f.ROUTING}:
        price.append(
            "Routing is all that is missing; without a need for it, avoid the restart by: --routing keep"
        )
    return tuple(price)


def _reasons(sight: Sight, ports: Ports) -> tuple[str, ...]:
    """Why there is nothing to do, flag by flag."""
    layer, process, leaf = sight.node.layer, sight.node.process, sight.files.certificate
    lines = [
        f"Nothing to do: the aggregation layer is on, live in pid {process.pid if process else 'unknown'}."
    ]
    for name in f.AGGREGATION_FLAGS:
        value = layer.value(name)
        lines.append(f"  --{name}={value}" if value is not None else f"  --{name} not set, as asked")
    if leaf:
        days = (leaf.not_after - ports.clock.now()).days
        lines.append(
            f"CN {leaf.common_name} is allowed, its certificate is valid until "
            f"{leaf.not_after:%Y-%m-%d} ({days} d), the CA is published."
        )
    return tuple(lines)


def _on_other_nodes(sight: Sight) -> tuple[str, ...]:
    if not sight.cluster or not sight.cluster.peers:
        return ()
    peers = ", ".join(sight.cluster.peers)
    if not sight.need.ca_source:  # it was here before, as it is on all nodes of kubeadm's
        return (f"The other control-plane nodes ({peers}) are as they were: run there  aggctl enable",)
    return (
        f"The other control-plane nodes ({peers}) need the same CA. Here:",
        "aggctl certs export --upload     (prints a key), then on each: aggctl enable --certificate-key KEY",
    )
