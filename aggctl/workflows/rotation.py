"""What a rotation of the CA keeps: its record in the cluster, the new CA on the node, leaves to ask with."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.certs import authority as a
from aggctl.core.certs.layer import Layer, see_layer
from aggctl.core.certs.record import PATH, Record, from_object, joined, to_object
from aggctl.core.questions import AggregatorQueue, Unknown
from aggctl.core.snapshot import NotKnown
from aggctl.errors import Refused
from aggctl.system.journal import ROTATION
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from aggctl.core.questions import QueueSeen
    from aggctl.system.ports import Ports

PART = "rotation"
CA_NAMES = ("next-ca.crt", "next-ca.key")
OLD_NAMES = ("old-client.crt", "old-client.key")
MINUTES = timedelta(minutes=10)


def read_record(ports: Ports) -> Record | None:
    """The record of the rotation that is under way, or was the last one."""
    return _record_in(ports.objects.read(PATH))


def _record_in(live: dict[str, Any] | None) -> Record | None:
    try:
        return from_object(live)
    except ValueError as error:
        raise Refused(
            "rotation-record-not-readable",
            f"ConfigMap {PATH.rpartition('/')[2]} of kube-system is no record of a rotation: {error}",
            do="look at it; where no rotation is under way delete it, then run again",
        ) from error


def write_record(ports: Ports, record: Record) -> None:
    """Write it, with what other nodes noted in it meanwhile; Refused where it is of another rotation."""
    for _ in range(5):
        live = ports.objects.read(PATH)
        theirs = _record_in(live)
        if theirs and theirs.ca != record.ca:
            raise _begun_elsewhere(theirs)
        if ports.objects.put(PATH, to_object(joined(record, theirs)), live):
            return
    raise Refused(
        "changed-meanwhile", "the record of the rotation is written by others all the time", do="run again"
    )


def note_stage(ports: Ports, record: Record, server: str, stage: str) -> Record:
    """Note how far this node is, and learn how far the others are."""
    if record.stage(server) != stage:
        ours = Record(record.ca, record.old, record.started)
        write_record(ports, ours.with_stage(server, stage, ports.clock.now()))
    found = read_record(ports) or record
    if found.ca != record.ca:
        raise _begun_elsewhere(found)
    return found


def begin_record(ports: Ports, layer: Layer, new: a.NextCa, servers: tuple[str, ...]) -> Record:
    """Name a rotation by its new CA, before any file changes; every kube-apiserver takes part.

    Refused where another node begins one at the same moment: there is one new CA.
    """
    live = ports.objects.read(PATH)
    if (theirs := _record_in(live)) and not theirs.finished:
        raise _begun_elsewhere(theirs)
    old = tuple(
        each.fingerprint
        for each in layer.files.authorities
        if each.fingerprint != new.certificate.fingerprint
    )
    nodes = tuple(sorted((each, "old") for each in {*servers, layer.node.server}))
    record = Record(new.certificate.fingerprint, old, ports.clock.now(), nodes)
    if not ports.objects.put(PATH, to_object(record), live):
        raise _begun_elsewhere(read_record(ports) or record)
    return record


def _begun_elsewhere(theirs: Record) -> Refused:
    return Refused(
        "rotation-begun-elsewhere",
        f"another node began to replace the CA, too, by {theirs.ca[:12]}: there is one new CA for all",
        do="bring that one here, as the other node says, and run again: aggctl certs rotate ca",
    )


def next_ca(ports: Ports, layer: Layer, record: Record | None, algorithm: str) -> a.NextCa:
    """The new CA: kept here since it was made or brought, in force here already, or made now."""
    kept = pair_of(ports, *(f"{ROTATION}/{name}" for name in CA_NAMES))
    here = {each.fingerprint for each in layer.files.authorities}
    found = kept.certificate.fingerprint if kept else ""
    if kept and (found == record.ca if record else found not in here):
        return kept
    in_force = pair_of(ports, layer.files.ca_at.host, layer.files.ca_key_at)
    if record and in_force and in_force.certificate.fingerprint == record.ca:
        return in_force
    if record:
        raise Refused(
            "next-ca-missing",
            f"the new CA of the rotation of {record.started:%Y-%m-%d} ({record.ca[:12]}) is not on this node",
            expected="the key by which it was encrypted for the other nodes, or its files",
            do="aggctl certs rotate ca --certificate-key KEY, or: aggctl certs import DIR",
        )
    ports.journal.forget_kept(PART)  # of an earlier rotation, which another node ended
    now = ports.clock.now()
    pair = pki.new_ca(a.next_name(layer.files.authorities, now), now, algorithm=algorithm)
    keep_next(ports, pair)
    return a.NextCa(pair, pki.read_certificates(pair.certificate)[0])


def keep_next(ports: Ports, pair: pki.KeyPair) -> None:
    """Put the new CA where the next run looks for it."""
    for name, content in zip(CA_NAMES, (pair.certificate, pair.key), strict=True):
        ports.journal.keep(name, content, PART)


def leaf_of(ports: Ports, layer: Layer) -> a.NextCa | None:
    """The leaf in use, with its key."""
    return pair_of(ports, layer.files.certificate_at.host, layer.files.key_at.host)


def identities_of(ports: Ports, layer: Layer, new: a.NextCa) -> a.Identities:
    """A leaf of minutes below the new CA; the old leaf itself, or the one put away where it is gone."""
    leaf = layer.files.certificate
    assert leaf  # noqa: S101 -- for the type checker: ca_problems saw to it
    now = ports.clock.now()
    fresh = pki.issue(
        new.pair, leaf.common_name, now, usage="client", algorithm="ECDSA-P256", lifetime=MINUTES
    )
    old = pair_of(ports, *(f"{ROTATION}/{name}" for name in OLD_NAMES))
    old = old or leaf_of(ports, layer)
    return a.Identities(ports.hold(fresh), ports.hold(old.pair) if old else "")


def pair_of(ports: Ports, certificate: str, key: str) -> a.NextCa | None:
    """A pair of files; None where there is none, or they do not match."""
    files = [ports.files.read(path) for path in (certificate, key)]
    if not files[0] or not files[1]:
        return None
    try:
        first = pki.read_certificates(files[0].content)[0]
        matches = pki.public_key_of(files[1].content) == first.public_key
    except pki.PkiError:
        return None
    return a.NextCa(pki.KeyPair(first.pem, files[1].content), first) if matches else None


def layer_of(ports: Ports) -> Layer:
    """The layer on this node as it is now."""
    now = ports.clock.now()
    return settle(lambda snapshot: see_layer(snapshot, now), ports.look)[0]


def content_of(ports: Ports, path: str) -> bytes:
    """A file that has to be there."""
    seen = ports.files.read(path)
    if seen is None:
        raise Refused("changed-meanwhile", f"{path} is gone", do="look what else works here, then run again")
    return seen.content


def queue_of(ports: Ports, server: str) -> QueueSeen:
    """The aggregator's counter at a kube-apiserver, just ahead of a change."""
    found: QueueSeen | Unknown = ports.look(AggregatorQueue(server))
    if isinstance(found, Unknown):
        raise NotKnown(AggregatorQueue(server), found)
    return found
