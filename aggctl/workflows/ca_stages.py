"""The stages of a replacement of the front-proxy CA, each a plan or a gate of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.certs import authority as a
from aggctl.core.certs.restart import restarting
from aggctl.core.plan import Condition, Gate
from aggctl.core.published import CONFIG_MAP, read_published
from aggctl.workflows.gates import GateFailed, wait_for
from aggctl.workflows.observe import settle
from aggctl.workflows.rotation import OLD_NAMES, PART, content_of, layer_of, queue_of

if TYPE_CHECKING:
    from aggctl.core.apiservers import Roster
    from aggctl.core.certs.layer import Layer
    from aggctl.core.certs.record import Record
    from aggctl.core.findings import Finding
    from aggctl.core.plan import Plan
    from aggctl.system.ports import Ports


@dataclass(frozen=True, slots=True)
class Wishes:
    """How far to go (`until` names a stage), how long each may take, and what to do where something holds it.

    `soak` is how long every node shows its new leaf before the old CA goes, in seconds. With `upload` the new
    CA is put into the cluster for further nodes, under a key that is said: not where output goes into a log.
    """

    deadline: float
    until: str = "retired"
    again: bool = False
    algorithm: str = "RSA-2048"
    force: bool = False
    wait: bool = False
    soak: float = 0.0
    emergency: bool = False
    restart: bool = False
    upload: bool = True
    lock: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """What every stage needs; `key` is set where the new CA was put into the cluster just now, under it.

    `warnings` are gathered on the way.
    """

    ports: Ports
    wishes: Wishes
    server: str
    known: Roster
    new: a.NextCa
    identities: a.Identities
    key: str = ""
    warnings: list[Finding] = field(default_factory=list)


def held_by(run: Run, gate: Gate) -> tuple[Finding, ...]:
    """Wait for a gate; what holds it, or nothing, also where the user goes on past it."""
    run.ports.progress.begin(f"waiting for {gate.waits_for}", gate.deadline)
    try:
        wait_for(gate, run.ports, check_stop=run.ports.stop.check)
    except GateFailed as failed:
        run.ports.progress.failed(failed.finding.message)
        return () if run.wishes.force else (failed.finding,)
    run.ports.progress.done()
    return ()


def endpoints(layer: Layer, check: str, identity: str) -> tuple[Condition, ...]:
    """A condition for every endpoint of every API."""
    return tuple(
        Condition(
            check,
            (
                ("name", each.api.name),
                ("address", address),
                ("dns", each.service.dns),
                ("bundle", each.bundle),
                ("path", each.api.path),
                ("identity", identity),
            ),
        )
        for each in layer.targets
        for address in each.endpoints
    )


def _trust(run: Run, layer: Layer) -> Plan:
    return a.plan_trust(layer, run.new, run.identities, run.wishes.deadline)


def _switch(run: Run, layer: Layer) -> Plan:
    """A leaf of the new CA with the old name; the old pair is put away, to prove later that it is refused."""
    leaf = layer.files.certificate
    assert leaf  # noqa: S101 -- for the type checker: stage_of saw it
    for name, path in zip(OLD_NAMES, (layer.files.certificate_at.host, layer.files.key_at.host), strict=True):
        run.ports.journal.keep(name, content_of(run.ports, path), PART)
    pair = pki.issue(
        run.new.pair,
        leaf.common_name,
        run.ports.clock.now(),
        usage="client",
        organizations=leaf.organizations,
        algorithm=run.wishes.algorithm,
    )
    plan = a.plan_switch(layer, run.new, pair, queue_of(run.ports, run.server), run.wishes.deadline)
    return restarting(plan, layer) if run.wishes.restart else plan


def _retire(run: Run, layer: Layer) -> Plan:
    return a.plan_retire(layer, run.new, run.identities, run.wishes.deadline)


STAGE_PLANS = {"old": _trust, "trusted": _switch, "switched": _retire}
DONE = {
    "old": "trust     the new CA is published, and accepted here",
    "trusted": "switch    leaf and signing key are of the new CA, in use",
    "switched": "retire    the old CA is not trusted here any more",
}


def trusted_everywhere(run: Run, layer: Layer) -> Gate:
    """Every kube-apiserver and every endpoint takes the new CA; endpoints get the time to follow."""
    servers = tuple(
        Condition("identity-taken", (("server", server), ("identity", run.identities.new)))
        for server in run.known.servers
    )
    every = (*servers, *endpoints(layer, "endpoint-takes-identity", run.identities.new))
    return Gate(every, run.wishes.deadline, waits_for="every kube-apiserver and endpoint to trust the new CA")


def refused_by_servers(run: Run) -> Gate:
    """Every kube-apiserver refuses the old CA."""
    servers = tuple(
        Condition("identity-refused", (("server", server), ("identity", run.identities.old)))
        for server in run.known.servers
    )
    return Gate(servers, run.wishes.deadline, waits_for="every kube-apiserver to refuse the old CA")


def refused_everywhere(run: Run, record: Record) -> Gate:
    """The old CA is not published, and every endpoint refuses it.

    Not so where it is the CA of ordinary clients, too: there its leaves go on being answered, as clients.
    """
    layer = layer_of(run.ports)
    shared = {each.fingerprint for each in layer.files.client_authorities} & set(record.old)
    asked = () if shared else endpoints(layer, "endpoint-refuses-identity", run.identities.old)
    gone = tuple(
        Condition("authority-not-published", (("server", run.server), ("fingerprint", each)))
        for each in record.old
    )
    return Gate(
        (*gone, *asked), run.wishes.deadline, steady=1.0, waits_for="every endpoint to refuse the old CA"
    )


def prune(run: Run, record: Record) -> None:
    """By a patch that compares: never by deleting the ConfigMap, which would take the others' CAs along."""
    for _ in range(5):
        live = run.ports.objects.read(CONFIG_MAP)
        published, _ = settle(lambda snapshot: read_published(snapshot, run.server), run.ports.look)
        if live is None or not {each.fingerprint for each in published.authorities} & set(record.old):
            return
        body = {
            "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
            "data": {"requestheader-client-ca-file": a.pruned(published.authorities, record)},
        }
        if run.ports.objects.patch(CONFIG_MAP, body):
            return
