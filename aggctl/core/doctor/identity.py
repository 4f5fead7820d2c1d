"""Whether the server takes kube-apiserver for the front proxy, and may look up what it needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.certs.preflight import PIN, pins_ca
from aggctl.core.delegation import DELEGATOR, READER, names_of
from aggctl.core.doctor.signs import IDENTITY, Sign, sign_of_status
from aggctl.core.findings import Finding
from aggctl.core.questions import PROBE_USER, AskApi, MayDo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.pods import Pods
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.questions import AnswerSeen
    from aggctl.core.snapshot import Snapshot

_MESSAGES = {
    "identity-refused": "the server refuses kube-apiserver's front-proxy certificate",
    "identity-not-taken": "the server takes kube-apiserver for nobody (system:anonymous)",
    "taken-for-ordinary-client": (
        "the server takes the front-proxy certificate for that of an ordinary client"
    ),
}
_FIXES = {
    "identity-refused": "restart the server's Pods, so that it reads the published CA anew: "
    "kubectl -n {namespace} rollout restart deployment; see its log: aggctl logs {api}",
    "identity-not-taken": "restart the server's Pods once the layer is on; see that it does not run with "
    "--authentication-skip-lookup: aggctl logs {api}",
    "taken-for-ordinary-client": (
        "let the server read the published ConfigMap (RoleBinding auth-reader), and keep "
        "the front-proxy CA out of its --client-ca-file"
    ),
}
_CANDIDATES = {
    "identity-refused": (
        (
            "candidates: it does not follow the published CA (library older than v0.18, or pinned files); "
            "its ServiceAccount is of another cluster; its clock is wrong"
        ),
        "decides: its log (x509, requestheader), and whether a restart mends it",
    ),
    "identity-not-taken": (
        (
            "candidates: kube-apiserver shows no client certificate; the server knew no "
            "front-proxy CA when it began"
        ),
        "decides: aggctl doctor on a control-plane node; the server's log at its start",
    ),
    "taken-for-ordinary-client": (),
}


def of_identity(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place, ways: Ways, pods: Pods | None
) -> tuple[str, list[Finding]]:
    """By its answers through kube-apiservers; where these refuse, by asking it as kube-apiserver would."""
    if ways.works:
        return "taken", []
    answers = direct_answers(snapshot, subject, backend, place)
    refused = [
        (address, sign)
        for address, answer in answers.items()
        if PROBE_USER not in answer.said and (sign := _sign(answer)) and sign.hop == IDENTITY
    ]
    signs = ways.signs(IDENTITY)
    if refused:
        (address, sign), *_ = refused
        said = f"refused by {len(refused)} of {len(answers)}"
        return said, [*_pinned(subject, pods), _finding(sign, subject, ways, address)]
    if signs:
        return "refused", [*_pinned(subject, pods), _finding(signs[0], subject, ways, "")]
    return ("taken" if answers else "not refused"), []


def _pinned(subject: Subject, pods: Pods | None) -> Iterator[Finding]:
    """A server that reads the CA from a file of its own does not follow what is published."""
    if any(map(pins_ca, pods.items[:1] if pods else ())):
        yield Finding(
            "endpoint-pins-ca",
            "error",
            subject.name,
            f"its server reads the front-proxy CA from a file of its own ({PIN}), not from what is published",
            "take the flag away, or put the published CA into its file",
        )


def _sign(answer: AnswerSeen) -> Sign | None:
    if not answer.status:
        return Sign(IDENTITY, "identity-refused", answer.said or "the handshake was ended")
    return sign_of_status(answer.status, answer.said) if answer.status >= 400 else None  # noqa: PLR2004 -- HTTP's own number


def direct_answers(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place
) -> dict[str, AnswerSeen]:
    """What each endpoint answers to this node's front-proxy leaf; nothing without one."""
    if not place.identity or not place.dials or subject.insecure or not subject.bundle:
        return {}
    asked = {
        each: AskApi(each, subject.at.dns, subject.bundle, subject.api.path, place.identity)
        for each in backend.endpoints
    }
    snapshot.expect(*asked.values())
    return {
        address: snapshot.direct(question)
        for address, question in asked.items()
        if not snapshot.unknown(question)
    }


def _finding(sign: Sign, subject: Subject, ways: Ways, address: str) -> Finding:
    words = {"namespace": subject.at.namespace, "api": subject.api.name}
    return Finding(
        sign.code,
        "error",
        f"{address} of {subject.name}" if address else subject.name,
        _MESSAGES[sign.code] + (f" (HTTP {sign.status})" if sign.status else ""),
        _FIXES[sign.code].format(**words),
        evidence=tuple(
            dict.fromkeys(each for each in (sign.words, *ways.evidence, *_CANDIDATES[sign.code]) if each)
        ),
    )


# --- what its ServiceAccount may do ------------------------------------------------------------------------


def of_access(
    snapshot: Snapshot, subject: Subject, place: Place, pods: Pods, *, refused: bool
) -> tuple[str, list[Finding]]:
    """The two bindings that extension servers need; only where one refuses kube-apiserver they are why."""
    namespace, name = pods.account
    user = f"system:serviceaccount:{namespace}:{name}"
    reads = _question(user, namespace, "get", "", "configmaps", place.server)
    reviews = [
        _question(user, namespace, "create", group, resource, place.server)
        for group, resource in (
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        )
    ]
    snapshot.expect(reads, *reviews)
    return user, list(_missing(snapshot, subject, reads, reviews, "error" if refused else "warning"))


def _question(user: str, namespace: str, verb: str, group: str, resource: str, server: str) -> MayDo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    is_map = resource == "configmaps"
    return MayDo(
        user,
        groups,
        verb,
        group,
        resource,
        "kube-system" if is_map else "",
        "extension-apiserver-authentication" if is_map else "",
        server,
    )


def _missing(
    snapshot: Snapshot, subject: Subject, reads: MayDo, reviews: list[MayDo], severity: str
) -> Iterator[Finding]:
    namespace, name = reads.user.split(":")[2:]
    reader, delegator = names_of(namespace, name)
    if not snapshot.may(reads):
        yield Finding(
            "auth-reader-missing",
            severity,
            f"ServiceAccount {namespace}/{name}",
            (
                "it may not read what the cluster publishes of its front proxies, so that "
                "its server trusts nobody"
            ),
            f"kubectl -n kube-system create rolebinding {reader} --role={READER} "
            f"--serviceaccount={namespace}:{name}; then restart the server",
            expected=f"a RoleBinding in kube-system to Role {READER}",
            evidence=(f"{subject.api.name}: get configmaps extension-apiserver-authentication: no",),
        )
    denied = [each.resource for each in reviews if not snapshot.may(each)]
    if denied:
        yield Finding(
            "auth-delegator-missing",
            severity,
            f"ServiceAccount {namespace}/{name}",
            f"it may not create {' and '.join(denied)}, by which a server asks who may do what",
            f"kubectl create clusterrolebinding {delegator} --clusterrole={DELEGATOR} "
            f"--serviceaccount={namespace}:{name}",
            expected=f"a ClusterRoleBinding to ClusterRole {DELEGATOR}",
            evidence=(f"{subject.api.name}: create {', '.join(denied)}: no",),
        )
