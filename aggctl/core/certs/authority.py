"""Replace the front-proxy CA: trust both, switch leaf and signing order, retire the old one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.certs.client import loaded_gate, pair_missing
from aggctl.core.findings import Finding
from aggctl.core.plan import Condition, FileChange, Gate, Plan, Step, stamp

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.certs.layer import Layer
    from aggctl.core.certs.record import Record
    from aggctl.core.pki import Certificate, KeyPair
    from aggctl.core.questions import QueueSeen, Stamp

COMMAND = "certs rotate ca"
UNDO_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Identities:
    """Short-lived leaves in memory, by fingerprint, that stand for the new CA and for the old one."""

    new: str
    old: str


@dataclass(frozen=True, slots=True)
class NextCa:
    """The new CA with its key."""

    pair: KeyPair = field(repr=False)
    certificate: Certificate


def next_name(authorities: tuple[Certificate, ...], now: datetime) -> str:
    """A common name that no CA here has: the acceptable CAs of an extension server tell them apart."""
    taken = {each.common_name for each in authorities}
    plain = f"front-proxy-ca-{now:%Y%m%d}"
    return plain if plain not in taken else f"front-proxy-ca-{now:%Y%m%d%H%M%S}"


def stage_of(layer: Layer, ca: str) -> str:
    """How far this node is with the CA of that fingerprint, by its files."""
    files = layer.files
    held = [each.fingerprint for each in files.authorities]
    if ca not in held:
        return "old"
    new = files.authorities[held.index(ca)]
    if not files.certificate or not pki.signed_by(files.certificate, new):
        return "trusted"
    return "retired" if held == [ca] else "switched"


def ca_problems(layer: Layer, record: Record | None) -> tuple[Finding, ...]:
    """Why the CA cannot be replaced now, beside what is wrong with the layer."""
    files = layer.files
    found = [*layer.problems, *pair_missing(layer)]
    if not files.signs:
        found.append(
            _problem(
                "front-proxy-ca-external",
                files.ca_at.host,
                "the key of the front-proxy CA is not here: the CA is managed externally",
                "replace it where its key is, by the same stages: trust both, switch, retire",
            )
        )
    here = {each.fingerprint for each in files.authorities}
    known = here | ({record.ca, *record.old} if record else set())
    found += [
        _problem(
            "another-ca-published",
            files.ca_at.host,
            f"the cluster publishes a CA that this node lacks ({each.common_name}, {each.fingerprint[:12]})",
            "see which node has it: aggctl certs list; one CA has to be left before it is replaced",
        )
        for each in layer.cluster.published.authorities
        if each.fingerprint not in known
    ]
    return tuple(found)


# --- one plan a stage -------------------------------------------------------------------------------------


def plan_trust(layer: Layer, new: NextCa, identities: Identities, deadline: float) -> Plan:
    """The old CA first, as its key is the one that signs; then the new one."""
    server = layer.node.server
    gate = Gate(
        (
            _condition("authority-published", server=server, fingerprint=new.certificate.fingerprint),
            _condition("identity-taken", server=server, identity=identities.new),
        ),
        deadline,
        waits_for="the new CA to be published",
    )
    content = b"".join((*(each.pem for each in layer.files.authorities), new.certificate.pem))
    return _plan("trust both CAs", layer, {layer.files.ca_at.host: content}, gate)


def plan_switch(layer: Layer, new: NextCa, leaf: KeyPair, before: QueueSeen, deadline: float) -> Plan:
    """Signing order, signing key and leaf together: kubeadm signs with the first CA of the file."""
    files = layer.files
    others = [each.pem for each in files.authorities if each.fingerprint != new.certificate.fingerprint]
    contents = {
        files.ca_at.host: b"".join((new.certificate.pem, *others)),
        files.ca_key_at: new.pair.key,
        files.key_at.host: leaf.key,
        files.certificate_at.host: leaf.certificate,
    }
    return _plan("switch to the new CA", layer, contents, loaded_gate(layer, before, deadline))


def plan_retire(layer: Layer, new: NextCa, identities: Identities, deadline: float) -> Plan:
    """The new CA alone."""
    server = layer.node.server
    gate = Gate(
        (
            _condition("identity-refused", server=server, identity=identities.old),
            _condition("identity-taken", server=server, identity=identities.new),
        ),
        deadline,
        waits_for="kube-apiserver to refuse the old CA",
    )
    return _plan("retire the old CA", layer, {layer.files.ca_at.host: new.certificate.pem}, gate)


def pruned(published: tuple[Certificate, ...], record: Record) -> str:
    """What is to be published: everything but the old CAs."""
    return "".join(each.pem.decode() for each in published if each.fingerprint not in record.old)


def _plan(title: str, layer: Layer, contents: dict[str, bytes], gate: Gate) -> Plan:
    steps: list[Step] = []
    blobs: dict[str, bytes] = {}
    stamps = _stamps(layer)
    for path, content in contents.items():
        before = stamps[path]
        after = stamp(content, before.mode, before.uid, before.gid)
        blobs[after.digest] = content
        steps.append(Step(path, FileChange(path, before, after)))
    files = layer.files
    back = _condition(
        "identity-accepted",
        server=layer.node.server,
        certificate=files.certificate_at.host,
        key=files.key_at.host,
    )
    steps[0] = replace(steps[0], undo_gate=Gate((back,), UNDO_SECONDS))  # the last to be undone
    steps[-1] = replace(steps[-1], gate=gate)
    return Plan(COMMAND, title, tuple(steps), blobs, lasting=True)


def _stamps(layer: Layer) -> dict[str, Stamp]:
    """What is on disk; ca_problems saw to it that all four are there."""
    files = layer.files
    seen = (
        (files.ca_at.host, files.ca),
        (files.ca_key_at, files.ca_key),
        (files.key_at.host, files.key),
        (files.certificate_at.host, files.certificate_file),
    )
    return {path: found.stamp for path, found in seen if found}


def _condition(check: str, **arguments: str | float) -> Condition:
    return Condition(check, tuple(arguments.items()))


def _problem(code: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code, "error", subject, message, fix)
