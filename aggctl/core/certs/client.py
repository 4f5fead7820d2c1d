"""Renew the front-proxy client certificate: same name, new key, tried everywhere before it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.findings import Finding
from aggctl.core.plan import Condition, FileChange, Gate, Plan, Step, stamp
from aggctl.core.questions import PROBE_USER, AskApi, AskWith

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.certs.layer import Layer
    from aggctl.core.pki import KeyPair
    from aggctl.core.questions import QueueSeen
    from aggctl.core.snapshot import Snapshot

COMMAND = "certs rotate client"
CREATED = (200, 201)
REFUSED = (0, 401)
UNDO_SECONDS = 120.0


def client_problems(layer: Layer) -> tuple[Finding, ...]:
    """Why this node cannot renew its leaf."""
    files = layer.files
    if lacking := pair_missing(layer):
        return (*layer.problems, *lacking)
    if not files.signs:
        return (
            *layer.problems,
            _problem(
                "front-proxy-ca-external",
                files.ca_at.host,
                "the key of the front-proxy CA is not here: the certificate is managed externally",
                "renew it where the CA's key is; it is taken into use by replacing the two files",
            ),
        )
    return layer.problems


def pair_missing(layer: Layer) -> tuple[Finding, ...]:
    """That this node lacks its leaf, or the key of that."""
    files = layer.files
    if files.certificate and files.key:
        return ()
    lacking = files.key_at if files.certificate else files.certificate_at
    return (
        _problem(
            "client-certificate-missing",
            lacking.host,
            "there is no pair of certificate and key to renew",
            "sudo aggctl enable",
        ),
    )


def trials(
    snapshot: Snapshot, layer: Layer, identity: str, what: str = "the new certificate"
) -> tuple[Finding, ...]:
    """What refuses a leaf, or cannot be asked: this kube-apiserver, and every endpoint of every API."""
    server = layer.node.server
    asked = [
        (each, address, question_for(each.service.dns, address, each.bundle, each.api.path, identity))
        for each in layer.targets
        for address in each.endpoints
    ]
    snapshot.expect(AskWith(server, identity), *(question for _, _, question in asked))
    return tuple(
        _refusals(
            snapshot,
            server,
            identity,
            what,
            [(each.api.name, address, question) for each, address, question in asked],
        )
    )


def question_for(name: str, address: str, bundle: str, path: str, identity: str) -> AskApi:
    """A GET of discovery at one endpoint, as kube-apiserver would."""
    return AskApi(address, name, bundle, path, identity)


def plan_client(layer: Layer, pair: KeyPair, before: QueueSeen, deadline: float) -> Plan:
    """The key, then the certificate: kube-apiserver keeps the old pair until the two match.

    Undone the other way round, so that the old pair is whole once the key is back.
    """
    files = layer.files
    assert files.key  # noqa: S101 -- for the type checker: client_problems saw to it
    assert files.certificate_file  # noqa: S101 -- as above
    old_key, old = files.key.stamp, files.certificate_file.stamp
    new_key = stamp(pair.key, old_key.mode, old_key.uid, old_key.gid)
    new = stamp(pair.certificate, old.mode, old.uid, old.gid)
    back = Gate((_accepted(layer),), UNDO_SECONDS)
    return Plan(
        COMMAND,
        "renew the front-proxy client certificate",
        (
            Step(files.key_at.host, FileChange(files.key_at.host, old_key, new_key), undo_gate=back),
            Step(
                files.certificate_at.host,
                FileChange(files.certificate_at.host, old, new),
                gate=loaded_gate(layer, before, deadline),
            ),
        ),
        {new_key.digest: pair.key, new.digest: pair.certificate, old.digest: files.certificate_file.content},
    )


def loaded_gate(layer: Layer, before: QueueSeen, deadline: float) -> Gate:
    """The new pair is in use, and every API answers with it.

    kube-apiserver's own groups are queued as well, so that there is something to count without any API.
    """
    server, apis = layer.node.server, max(1, len(layer.targets))
    return Gate(
        (
            _accepted(layer),
            _condition("client-certificate-loaded", server=server, adds=before.adds, apis=apis),
            *(
                _condition("api-answers", group=each.api.group, version=each.api.version, server=server)
                for each in layer.targets
            ),
            *(_condition("api-available-here", name=each.api.name, server=server) for each in layer.targets),
        ),
        deadline,
        waits_for="kube-apiserver to use it",
    )


def _accepted(layer: Layer) -> Condition:
    files = layer.files
    return _condition(
        "identity-accepted",
        server=layer.node.server,
        certificate=files.certificate_at.host,
        key=files.key_at.host,
    )


def _refusals(
    snapshot: Snapshot, server: str, identity: str, what: str, asked: list[tuple[str, str, AskApi]]
) -> Iterator[Finding]:
    who = snapshot.who_with(server, identity)
    if who.status not in CREATED or who.username != PROBE_USER:
        yield _problem(
            "client-certificate-not-accepted",
            server,
            f"{server} does not take {what} for a request-header identity (HTTP {who.status})",
            "compare the CA and the allowed names: aggctl certs list",
        )
    for name, address, question in asked:
        if unknown := snapshot.unknown(question):
            yield _problem(
                "endpoint-not-asked",
                f"{address} of APIService {name}",
                f"it cannot be asked whether it takes {what}: {unknown.reason}",
                "mend the way there first, or leave that API out: aggctl unregister",
            )
        elif (status := snapshot.direct(question).status) in REFUSED:
            yield _problem(
                "endpoint-refuses-identity",
                f"{address} of APIService {name}",
                f"it refuses {what} ({'handshake' if not status else f'HTTP {status}'})",
                "it may not follow the published CA: restart or upgrade it",
            )


def _condition(check: str, **arguments: str | float) -> Condition:
    return Condition(check, tuple(arguments.items()))


def _problem(code: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code, "error", subject, message, fix)
