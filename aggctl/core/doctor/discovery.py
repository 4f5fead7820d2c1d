"""What the API answers: its group and version, how fast, how fresh; and what the caller may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.doctor.identity import direct_answers
from aggctl.core.doctor.signs import DISCOVERY, Sign, sign_of_status
from aggctl.core.doctor.ways import ALL_OF_IT
from aggctl.core.findings import Finding
from aggctl.core.questions import MayDo, StaleApis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

SLOW = 2.0
"""Seconds; kube-apiserver gives up after 5 (kube-aggregator, aggregatedDiscoveryTimeout)."""

_MESSAGES = {
    "version-not-served": "the server answers 404: it does not serve {version} of {group}",
    "server-throttles": "the server answers 429: it takes no more requests now",
    "server-fails": "the server itself fails{status}",
    "discovery-slow": "the server takes longer than kube-apiserver waits (5 s)",
}
_FIXES = {
    "version-not-served": (
        "see which versions it serves, and that nothing else listens on that port: aggctl logs {api}"
    ),
    "server-throttles": "give it more replicas, or its callers a FlowSchema of their own",
    "server-fails": "read its log: aggctl logs {api}",
    "discovery-slow": (
        "give it more CPU or replicas: kubectl -n {namespace} top pod; see its log: aggctl logs {api}"
    ),
}


def of_discovery(
    snapshot: Snapshot, subject: Subject, backend: Backend | None, place: Place, ways: Ways
) -> tuple[str, list[Finding]]:
    """The document through each kube-apiserver; where it does not come, what the server itself says."""
    good = [each.answer for each in ways.every if each.answer and each.answer.status == ALL_OF_IT]
    seconds = max((each.seconds for each in good), default=0.0)
    said = f"{seconds * 1000:.0f} ms" if good else "no answer"
    wrong = next((each for each in good if each.group_version != _wanted(subject.api)), None)
    if wrong:
        return said, [_other(subject, wrong.group_version)]
    if ways.works:
        return said, [*_slow(subject, seconds), *_stale(snapshot, subject, place)]
    return said, list(_of_words(snapshot, subject, backend, place, ways))


def _wanted(api: Api) -> str:
    return f"{api.group}/{api.version}"


def _other(subject: Subject, found: str) -> Finding:
    return Finding(
        "api-answers-other-group",
        "error",
        subject.name,
        f"GET {subject.api.path} is answered for {found or 'no group and version'}",
        "see that the server serves this group and version, and that nothing else listens on that port",
        expected=_wanted(subject.api),
        evidence=(found,) if found else (),
    )


def _slow(subject: Subject, seconds: float) -> Iterator[Finding]:
    if seconds > SLOW:
        yield Finding(
            "discovery-slow",
            "warning",
            subject.name,
            (
                f"its discovery takes {seconds:.1f} s; kube-apiserver gives up after 5 s, "
                "and kubectl waits for it each time"
            ),
            _FIXES["discovery-slow"].format(api=subject.api.name, namespace=subject.at.namespace),
        )


def _stale(snapshot: Snapshot, subject: Subject, place: Place) -> Iterator[Finding]:
    """Aggregated discovery may hold an old document although the API answers (1.27, 1.28)."""
    for server in place.servers:
        if snapshot.unknown(StaleApis(server)) is None and _wanted(subject.api) in snapshot.stale_apis(
            server
        ):
            yield Finding(
                "discovery-stale",
                "warning",
                subject.name,
                f"{server} holds its discovery for stale, though it answers",
                "wait a minute; on 1.27 and 1.28 upgrade kube-apiserver; else restart the server's Pods",
            )
            return


def _of_words(
    snapshot: Snapshot, subject: Subject, backend: Backend | None, place: Place, ways: Ways
) -> Iterator[Finding]:
    answers = direct_answers(snapshot, subject, backend, place) if backend else {}
    of_itself = [
        sign_of_status(each.status, each.said)
        for each in answers.values()
        if each.status >= 400  # noqa: PLR2004 -- HTTP's own number
    ]
    signs = [each for each in (*of_itself, *ways.signs(DISCOVERY)) if each.hop == DISCOVERY]
    slow = [each for each in ways.signs("reach") if each.code == "endpoint-timeout"]
    here = place.dials and ways.is_broken_through(place.server)
    if not signs and slow and here:  # it was dialled a moment ago, so that the answer is what is late
        signs = [Sign(DISCOVERY, "discovery-slow", slow[0].words)]
    for sign in signs[:1]:
        words = {
            "version": subject.api.version,
            "group": subject.api.group,
            "api": subject.api.name,
            "namespace": subject.at.namespace,
            "status": f" (HTTP {sign.status})" if sign.status else "",
        }
        yield Finding(
            sign.code,
            "error",
            subject.name,
            _MESSAGES[sign.code].format(**words),
            _FIXES[sign.code].format(**words),
            evidence=tuple(dict.fromkeys(each for each in (sign.words, *ways.evidence) if each)),
        )


# --- the caller --------------------------------------------------------------------------------------------


def of_rights(
    snapshot: Snapshot, api: Api, place: Place, ways: Ways, severity: str = "info"
) -> tuple[str, list[Finding]]:
    """Whether the user of the kubeconfig may read the API; the first of its resources stands for all."""
    names = [
        name
        for each in ways.every
        if each.answer
        for name in each.answer.resources
        if "/" not in name and "*" not in name
    ]
    resource = names[0] if names else "*"
    question = MayDo("", (), "list", api.group, resource, "", "", place.server)
    if snapshot.may(question):
        return f"may list {resource}", []
    return f"may not list {resource}", [
        Finding(
            "caller-has-no-rights",
            severity,
            f"APIService {api.name}",
            f"the user of this kubeconfig may not list {resource} of {api.group}",
            (
                f"kubectl create clusterrole {api.group}-reader --verb=get,list,watch "
                f"--resource={resource}.{api.group}, "
                "and bind it to whoever needs it"
            ),
        )
    ]
