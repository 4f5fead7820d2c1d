"""What `doctor --fix` may do: one of aggctl's own plans, or one object that nobody could want otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.certs.serving import with_bundle
from aggctl.core.checks.extension import api_service_path, service_of
from aggctl.core.checks.workload import endpoints_of
from aggctl.core.delegation import bindings_of
from aggctl.core.extension import PairPlace
from aggctl.core.plan import Plan, Step
from aggctl.core.questions import Handshake
from aggctl.core.register.plan import change_of
from aggctl.core.register.sight import place_of_running
from aggctl.core.resources import Located, path_of

if TYPE_CHECKING:
    from aggctl.core.doctor.examine import Diagnosis
    from aggctl.core.doctor.model import Exam
    from aggctl.core.findings import Finding
    from aggctl.core.register.plan import Rehearsed
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]
COMMAND = "doctor --fix"
RBAC = "rbac.authorization.k8s.io/v1"

ENABLE, UNREGISTER, ROTATE, BIND, BUNDLE = "enable", "unregister", "rotate serving", "bind", "caBundle"

_BY_CODE = {
    **dict.fromkeys(("layer-off", "layer-partly-on", "client-name-not-allowed"), ENABLE),
    **dict.fromkeys(("client-certificate-expired", "client-certificate-of-another-ca"), ENABLE),
    **dict.fromkeys(("client-certificate-without-client-auth", "client-key-mismatch"), ENABLE),
    **dict.fromkeys(("client-key-missing", "client-key-not-readable"), ENABLE),
    "api-service-stale": UNREGISTER,
    **dict.fromkeys(("serving-certificate-expired", "serving-certificate-wrong-name"), ROTATE),
    **dict.fromkeys(("serving-certificate-common-name-only", "serving-certificate-wrong-usage"), ROTATE),
    "serving-certificate-sha1": ROTATE,
    "auth-reader-missing": BIND,
    "auth-delegator-missing": BIND,
    "serving-certificate-of-another-ca": BUNDLE,
    "ca-bundle-empty": BUNDLE,
    "ca-bundle-not-readable": BUNDLE,
}


@dataclass(frozen=True, slots=True)
class Mend:
    """One thing to do, for which API, and the finding that it mends."""

    kind: str
    api: str
    finding: Finding


def choose(diagnosis: Diagnosis) -> tuple[Mend, ...]:
    """What may be mended, the layer first, each thing once."""
    of_layer = [finding for hop in diagnosis.layer for finding in hop.findings]
    here = diagnosis.place.node is not None
    to_enable = [
        each for each in of_layer if each.severity == "error" and _BY_CODE.get(each.code) == ENABLE and here
    ]
    found = {(ENABLE, ""): Mend(ENABLE, "", to_enable[0])} if to_enable else {}
    for exam in diagnosis.exams:
        for each in exam.findings:
            kind = _BY_CODE.get(each.code, ENABLE)
            if each.severity == "error" and each not in of_layer and kind != ENABLE:
                found.setdefault((kind, _what(kind, exam, each)), Mend(kind, exam.name, each))
    return tuple(found.values())


def _what(kind: str, exam: Exam, finding: Finding) -> str:
    return f"{finding.code} {finding.subject}" if kind == BIND else exam.name


def binding_for(finding: Finding) -> Located:
    """The binding that a ServiceAccount lacks."""
    namespace, _, name = finding.subject.removeprefix("ServiceAccount ").partition("/")
    reader, delegator = bindings_of(namespace, name)
    if finding.code == "auth-reader-missing":
        called = str(reader["metadata"]["name"])
        return Located(
            reader, path_of(RBAC, "rolebindings", "kube-system", called), f"RoleBinding kube-system/{called}"
        )
    called = str(delegator["metadata"]["name"])
    return Located(
        delegator, path_of(RBAC, "clusterrolebindings", "", called), f"ClusterRoleBinding {called}"
    )


def bundle_for(snapshot: Snapshot, diagnosis: Diagnosis, api: str) -> tuple[Object, Located] | str:
    """The APIService as it is and with the CA that its server's Secret holds; or why that cannot be told.

    Only a CA by which every endpoint really verifies counts: nothing is taken on trust.
    """
    server = diagnosis.place.server
    live = snapshot.object(api_service_path(api), server)
    at = service_of(live) if live else None
    if live is None or at is None:
        return "the APIService is gone"
    place = place_of_running(snapshot, server, at)
    if not isinstance(place, PairPlace):
        return place
    pair = snapshot.pair(at.namespace, place.secret, server)
    authority = pair.authority.decode("ascii", "replace") if pair else ""
    try:
        pki.read_certificates(authority.encode())
    except pki.PkiError:
        return f"Secret {at.namespace}/{place.secret} holds no CA (ca.crt)"
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server)
    endpoints = endpoints_of(snapshot, service, at.port, server) if service else ()
    asked = [Handshake(each, at.dns, authority) for each in endpoints]
    snapshot.expect(*asked)
    if not asked or any(snapshot.unknown(each) for each in asked):
        return "not every endpoint can be dialled from here"
    problems = [snapshot.served(each.address, at.dns, authority).problem for each in asked]
    if problem := next(filter(None, problems), ""):
        return f"the CA in Secret {at.namespace}/{place.secret} does not verify what is served: {problem}"
    return live, with_bundle(live, authority)


def plan_mend(server: str, manager: str, rehearsed: Rehearsed) -> Plan:
    """Apply the one object."""
    change, blobs = change_of(server, manager, rehearsed)
    return Plan(COMMAND, rehearsed.located.target, (Step(rehearsed.located.target, change),), blobs)
