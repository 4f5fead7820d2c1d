"""Checks of a rotation: kube-apiserver lives by the new certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.certs.record import PATH as RECORD
from aggctl.core.certs.record import behind, from_object
from aggctl.core.findings import Finding, Passed
from aggctl.core.published import read_published
from aggctl.core.questions import PROBE_USER, AskApi

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot


def leaf_loaded(snapshot: Snapshot, *, server: str, adds: float, apis: int) -> Passed | Finding:
    """kube-apiserver took its new client certificate: it has looked at every APIService again since.

    It says so nowhere; but the controller aggregator-proxy-cert puts all APIServices into the aggregator's
    queue (kube-aggregator, apiserver.go), which its own counter shows. `adds` is that counter just before.
    """
    queue = snapshot.queue(server)
    if queue.adds - adds >= apis and not queue.depth:
        return Passed(f"{server} has loaded it")
    return Finding(
        code="client-certificate-not-loaded",
        severity="error",
        subject=server,
        message=f"it has not loaded the new client certificate yet ({queue.adds - adds:.0f} of {apis} APIs)",
        fix="compare key and certificate on disk; see whether the folder is mounted into its Pod",
    )


TAKEN = (200, 201)
REFUSED = 401


def published(snapshot: Snapshot, *, server: str, fingerprint: str) -> Passed | Finding:
    """The cluster publishes a CA."""
    if fingerprint in {each.fingerprint for each in read_published(snapshot, server).authorities}:
        return Passed(f"{fingerprint[:12]} is published")
    return _finding("new-ca-not-published", server, f"the new CA {fingerprint[:12]} is not published yet")


def not_published(snapshot: Snapshot, *, server: str, fingerprint: str) -> Passed | Finding:
    """The cluster does not publish a CA any more."""
    if fingerprint not in {each.fingerprint for each in read_published(snapshot, server).authorities}:
        return Passed(f"{fingerprint[:12]} is not published")
    return _finding(
        "old-ca-still-published",
        server,
        f"the old CA {fingerprint[:12]} is published: a kube-apiserver still has it",
    )


def identity_taken(snapshot: Snapshot, *, server: str, identity: str) -> Passed | Finding:
    """A kube-apiserver takes a leaf in memory for a request-header identity: it trusts the CA behind it."""
    who = snapshot.who_with(server, identity)
    if who.status in TAKEN and who.username == PROBE_USER:
        return Passed(f"{server} trusts it")
    return _finding(
        "new-ca-not-trusted", server, f"{server} does not trust the new CA yet (HTTP {who.status})"
    )


def identity_refused(snapshot: Snapshot, *, server: str, identity: str) -> Passed | Finding:
    """A kube-apiserver refuses a leaf in memory: it does not trust the CA behind it any more.

    Where that CA is the one of ordinary clients, too, the leaf is from then on taken for one of those.
    """
    who = snapshot.who_with(server, identity)
    if who.status == REFUSED or (who.status in TAKEN and who.username not in ("", PROBE_USER)):
        return Passed(f"{server} refuses it")
    return _finding("old-ca-still-trusted", server, f"{server} still trusts the old CA (HTTP {who.status})")


def endpoint_takes(
    snapshot: Snapshot, *, name: str, address: str, dns: str, bundle: str, path: str, identity: str
) -> Passed | Finding:
    """An extension server takes a leaf in memory, as far as authentication goes."""
    status = snapshot.direct(AskApi(address, dns, bundle, path, identity)).status
    if status not in (0, REFUSED):
        return Passed(f"{address} takes it")
    how = "ends the handshake" if not status else f"answers {status}"
    return Finding(
        "endpoint-refuses-identity",
        "error",
        f"{address} of APIService {name}",
        f"{address} of {name} does not trust the new CA ({how})",
        "it may not follow the published CA by itself: restart or upgrade it, then run again",
    )


def endpoint_refuses(
    snapshot: Snapshot, *, name: str, address: str, dns: str, bundle: str, path: str, identity: str
) -> Passed | Finding:
    """An extension server refuses a leaf in memory."""
    status = snapshot.direct(AskApi(address, dns, bundle, path, identity)).status
    if status in (0, REFUSED):
        return Passed(f"{address} refuses it")
    return Finding(
        "endpoint-trusts-old-ca",
        "error",
        f"{address} of APIService {name}",
        f"{address} of {name} still takes a certificate of the old CA (HTTP {status})",
        "it may not follow the published CA by itself: restart or upgrade it, then run again",
    )


def nodes_at(snapshot: Snapshot, *, server: str, servers: str, stage: str) -> Passed | Finding:
    """Every node noted in the cluster that it is as far as `stage`; `servers` are separated by commas."""
    try:
        record = from_object(snapshot.object(RECORD, server))
    except ValueError as error:
        return Finding(
            "rotation-record-not-readable",
            "error",
            RECORD,
            f"it is no record of a rotation: {error}",
            "look at it; where no rotation is under way delete it, then run again",
            hopeless=True,
        )
    late = behind(record, tuple(filter(None, servers.split(","))), stage) if record else ()
    if not late:
        return Passed(f"every node is {stage}")
    return Finding(
        "nodes-behind",
        "error",
        ", ".join(late),
        f"not as far yet: {', '.join(late)}",
        "run there: aggctl certs rotate ca",
    )


def _finding(code: str, subject: str, message: str) -> Finding:
    return Finding(
        code, "error", subject, message, "on that node: aggctl certs list; then aggctl certs rotate ca"
    )
