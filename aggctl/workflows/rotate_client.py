"""`aggctl certs rotate client`: observe, mint, try everywhere, plan, execute, report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.certs.client import COMMAND, client_problems, plan_client, trials
from aggctl.core.certs.layer import RESTART, Layer
from aggctl.core.certs.restart import restarting
from aggctl.core.report import Report, ShownChange
from aggctl.workflows.execute import execute, report_of
from aggctl.workflows.lock import Locking, control_plane, others_not_ready
from aggctl.workflows.observe import settle
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.rotation import content_of, layer_of, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.findings import Finding
    from aggctl.core.pki import KeyPair
    from aggctl.system.ports import Ports


def rotate_client(
    ports: Ports,
    confirm: Callable[[Report], bool],
    *,
    dry_run: bool,
    deadline: float,
    algorithm: str,
    restart: bool = False,
    lock: bool = True,
) -> Report:
    """Renew this node's leaf with no restart, unless asked, and no failed request; refused where unsafe."""
    closed = close_or_mend(ports, COMMAND, change_it=not dry_run)
    layer = layer_of(ports)
    if problems := _problems(layer, restart=restart):
        return Report(COMMAND, "refused", findings=problems)
    pair = _mint(layer, ports, algorithm)
    identity = ports.hold(pair)
    if refusals := _tried(layer, ports, identity):
        return Report(COMMAND, "refused", findings=refusals)
    planned = Report(
        COMMAND,
        "planned",
        summary=(*closed, *_situation(layer, restart=restart)),
        changes=_shown(layer, pair),
        next=("run it again without --dry-run, to apply",) if dry_run else (),
    )
    if dry_run:
        return planned
    if not confirm(planned):
        return replace(planned, outcome="refused", summary=("Nothing was changed.",), changes=())
    locking = Locking(COMMAND, layer.node.server, deadline, lock=lock)
    with ports.stop.handling(), ports.journal.locked(), control_plane(ports, locking) as held:
        close_or_mend(ports, COMMAND, change_it=False)
        if held.waited:  # what was tried before may not be so any more
            layer = layer_of(ports)
            problems = _problems(layer, restart=restart) or _tried(layer, ports, identity)
        if problems := problems or (others_not_ready(ports, layer.node.server) if restart else ()):
            return Report(COMMAND, "refused", findings=problems)
        plan = plan_client(layer, pair, queue_of(ports, layer.node.server), deadline)
        ended = execute(restarting(plan, layer) if restart else plan, ports)
    summary = _result(layer, pair, ended.outcome)
    return held.told(report_of(COMMAND, ended, summary=summary, changes=planned.changes))


def _problems(layer: Layer, *, restart: bool) -> tuple[Finding, ...]:
    return tuple(each for each in client_problems(layer) if not (restart and each.code == RESTART))


def _tried(layer: Layer, ports: Ports, identity: str) -> tuple[Finding, ...]:
    """Who does not take the new leaf."""
    return settle(lambda snapshot: trials(snapshot, layer, identity), ports.look)[0]


def _mint(layer: Layer, ports: Ports, algorithm: str) -> KeyPair:
    """The same name, organizations included, and a new key."""
    files, leaf = layer.files, layer.files.certificate
    assert leaf  # noqa: S101 -- for the type checker: client_problems saw to it
    authority = pki.KeyPair(files.authorities[0].pem, content_of(ports, files.ca_key_at))
    return pki.issue(
        authority,
        leaf.common_name,
        ports.clock.now(),
        usage="client",
        organizations=leaf.organizations,
        algorithm=algorithm,
    )


def _situation(layer: Layer, *, restart: bool) -> tuple[str, ...]:
    endpoints = sum(len(each.endpoints) for each in layer.targets)
    leaf = layer.files.certificate
    name = leaf.common_name if leaf else ""
    return (
        f"CN {name} gets a new key and certificate; {_price(restart=restart)}.",
        f"Tried: accepted by {layer.node.server} and by {endpoints} endpoints of {len(layer.targets)} APIs.",
    )


def _price(*, restart: bool) -> str:
    return "kube-apiserver restarts, and is away meanwhile" if restart else "kube-apiserver does not restart"


def _shown(layer: Layer, pair: KeyPair) -> tuple[ShownChange, ...]:
    until = pki.read_certificates(pair.certificate)[0].not_after
    files = layer.files
    return (
        ShownChange("change", files.key_at.host, "a new key"),
        ShownChange("change", files.certificate_at.host, f"until {until:%Y-%m-%d}"),
    )


def _result(layer: Layer, pair: KeyPair, outcome: str) -> tuple[str, ...]:
    if outcome == "applied":
        leaf = pki.read_certificates(pair.certificate)[0]
        return (
            f"The front-proxy client certificate is renewed until {leaf.not_after:%Y-%m-%d}, and in use.",
        )
    if outcome == "rolled-back":
        return ("The old pair is back in use.",)
    return (f"Not everything could be put back on {layer.node.server}. Run: aggctl rollback",)
