"""Whether somebody may use an API, and which side says no: kube-apiserver or the extension server."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aggctl.core.access.offer import Offer, Offered, no_answer, offer_of
from aggctl.core.access.rules import READING, cluster_scoped, no_such_resource, no_such_verb
from aggctl.core.access.subjects import ANONYMOUS, identity, of_user
from aggctl.core.checks.access import may
from aggctl.core.findings import Finding
from aggctl.core.questions import PROBE_USER, AnswerSeen, RawAt, Unknown
from aggctl.core.resources import path_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

ASKED_FOR_REAL = ("get", "list")
"""Verbs that are tried by a request: no other one leaves everything as it is."""

UNAUTHORIZED, FORBIDDEN, TOO_MANY, FAILS = 401, 403, 429, 500
_NOT_LET = "cannot impersonate"
"""kube-apiserver's own words where the caller may not act as somebody else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who, what, where; verb and resource "" for the first that can be listed, else got."""

    api: Api
    user: str
    groups: tuple[str, ...] = ()
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What both sides say: kube-apiserver's review, and how a request ended; None where none was made.

    `asked` is `typed` with the verb and the resource that are meant.
    """

    typed: Asked
    asked: Asked
    path: str
    review: bool | Unknown
    answer: AnswerSeen | Unknown | None

    @property
    def what(self) -> str:
        """What it is about, in words."""
        asked = self.asked
        where = f" in namespace {asked.namespace}" if asked.namespace else ""
        name = f" {asked.name}" if asked.name else ""
        return f"{asked.verb} {asked.resource}{name} of {asked.api.group}{where}"


def see_check(snapshot: Snapshot, asked: Asked, server: str) -> Checked | Finding:
    """Ask both; a finding where the question makes no sense, or the API does not answer at all."""
    offer = offer_of(snapshot, server, asked.api)
    found = offer if isinstance(offer, Finding) else _settled(offer, asked)
    if isinstance(found, Finding):
        return found
    groups = identity(found.user, found.groups)
    review = may(
        found.user, groups, found.verb, found.api.group, found.resource, found.namespace, found.name, server
    )
    path = _path(found)
    request = RawAt(path, server, found.user, found.groups)
    real = found.verb in ASKED_FOR_REAL
    snapshot.expect(review, *((request,) if real else ()))
    answer: AnswerSeen | Unknown | None = None
    if real:
        answer = snapshot.unknown(request) or snapshot.raw(path, server, found.user, found.groups)
    return Checked(asked, found, path, snapshot.unknown(review) or snapshot.may(review), answer)


def finding_of(checked: Checked) -> Finding | None:
    """Why it is no; None where both sides say yes."""
    if checked.review is False:
        return _by_apiserver(checked)
    answer = checked.answer
    if isinstance(answer, Unknown):
        return Finding(answer.code, "error", checked.path, answer.reason, f"aggctl explain {answer.code}")
    if answer is None:
        return _not_reviewed(checked, checked.review) if isinstance(checked.review, Unknown) else None
    if _lets_in(answer):
        return None
    if _is_impersonation(answer):
        return _not_let(checked, answer)
    if answer.status not in (UNAUTHORIZED, FORBIDDEN):
        return no_answer(checked.asked.api, f"GET {checked.path}: {answer.status} {answer.said}")
    if isinstance(checked.review, Unknown):
        return _not_reviewed(checked, checked.review, answer.said)
    return _by_extension_server(checked, answer)


def lines_of(checked: Checked) -> tuple[str, ...]:
    """What each side says."""
    return (
        clean(f"{checked.asked.user}: {checked.what}", 400),
        f"kube-apiserver     {_reviewed(checked.review)}",
        f"extension server   {_answered(checked)}",
    )


def items_of(checked: Checked) -> tuple[dict[str, Any], ...]:
    """The same for scripts; `allowed` is None where that side was not asked."""
    answer = checked.answer if isinstance(checked.answer, AnswerSeen) else None
    review = checked.review if isinstance(checked.review, bool) else None
    passed = review is not False and answer is not None and not _is_impersonation(answer)
    let_in = _lets_in(answer) if answer and passed else None
    said = answer.said if answer else ""
    return (
        {
            "side": "kube-apiserver",
            "asked": "SubjectAccessReview",
            "allowed": review,
            "status": None,
            "said": "",
        },
        {
            "side": "extension-server",
            "asked": f"GET {checked.path}",
            "allowed": let_in,
            "status": answer.status if answer else None,
            "said": said,
        },
    )


# --- the question -----------------------------------------------------------------------------------------


def _settled(offer: Offer, asked: Asked) -> Asked | Finding:
    """The same with the resource and the verb that are meant."""
    resource = _resource(offer, asked)
    if isinstance(resource, Finding):
        return resource
    if asked.namespace and not resource.namespaced:
        return cluster_scoped(offer, resource.said)
    if asked.verb and asked.verb not in resource.verbs:
        return no_such_verb(offer, asked.verb, resource.verbs, "--verb")
    verb = asked.verb or next((each for each in ("list", "get") if each in resource.verbs), "get")
    if asked.name and not asked.verb:
        verb = "get"
    return replace(asked, verb=verb, resource=resource.name)


def _resource(offer: Offer, asked: Asked) -> Offered | Finding:
    if not asked.resource:
        reading = (one for verb in ("list", "get") for one in offer.resources if verb in one.verbs)
        return next(reading, None) or no_such_resource(offer, "that can be read", "--resource")
    return next(iter(offer.named(asked.resource)), None) or no_such_resource(
        offer, asked.resource, "--resource"
    )


def _path(asked: Asked) -> str:
    """What is asked for; of a thing that nobody has where no name is given: its 404 is a yes as well."""
    resource, _, subresource = asked.resource.partition("/")
    version = f"{asked.api.group}/{asked.api.version}"
    if asked.verb == "list":
        return f"{path_of(version, resource, asked.namespace)}?limit=1"
    path = path_of(version, resource, asked.namespace, asked.name or PROBE_USER)
    return f"{path}/{quote(subresource, safe='')}" if subresource else path


# --- the answer -------------------------------------------------------------------------------------------


def _lets_in(answer: AnswerSeen) -> bool:
    """Whether whoever answered took the question: not found is an answer, too."""
    return 0 < answer.status < FAILS and answer.status not in (UNAUTHORIZED, FORBIDDEN, TOO_MANY)


def _is_impersonation(answer: AnswerSeen) -> bool:
    return answer.status == FORBIDDEN and _NOT_LET in answer.said


def _reviewed(review: bool | Unknown) -> str:
    if isinstance(review, Unknown):
        return f"was not asked: {clean(review.reason, 300)}"
    return "says yes (SubjectAccessReview)" if review else "says no (SubjectAccessReview)"


def _answered(checked: Checked) -> str:
    answer, request = checked.answer, f"GET {checked.path}"
    if answer is None:
        return "was not asked: only get and list are tried for real"
    if isinstance(answer, Unknown):
        return f"was not asked: {clean(answer.reason, 300)}"
    refused = answer.status in (UNAUTHORIZED, FORBIDDEN)
    if (refused and checked.review is False) or _is_impersonation(answer):
        return f"was not asked: {request} ended at kube-apiserver ({answer.status})"
    if _lets_in(answer):
        return f"says yes ({request}: {answer.status})"
    return f"{'says no' if refused else 'does not answer'} ({request}: {answer.status})"


def _by_apiserver(checked: Checked) -> Finding:
    asked = checked.asked
    said = (checked.answer.said,) if isinstance(checked.answer, AnswerSeen) and checked.answer.said else ()
    return Finding(
        code="access-denied-by-apiserver",
        severity="error",
        subject=clean(asked.user, 100),
        message=clean(f"kube-apiserver does not let {asked.user} {checked.what}", 400),
        fix=_granting(replace(asked, resource=checked.typed.resource)),
        evidence=said,
    )


def _granting(asked: Asked) -> str:
    """The command that lets him in; what it grants by default need not be said."""
    words = ["aggctl", "access", "grant", asked.api.name, "--to", of_user(asked.user).words]
    words += [] if asked.verb in READING else ["--verbs", asked.verb]
    words += ["--resources", asked.resource] if asked.resource else []
    return shlex.join([*words, *(["-n", asked.namespace] if asked.namespace else [])])


def _by_extension_server(checked: Checked, answer: AnswerSeen) -> Finding:
    """It has an authorizer of its own; or it did not learn who asks."""
    nobody = ANONYMOUS in answer.said and checked.asked.user != ANONYMOUS
    doctor = f"it takes everybody for {ANONYMOUS}: aggctl doctor {checked.asked.api.name}"
    return Finding(
        code="access-denied-by-extension-server",
        severity="error",
        subject=clean(checked.asked.user, 100),
        message=clean(
            f"kube-apiserver lets {checked.asked.user} {checked.what}, and the extension server does not", 400
        ),
        fix=doctor
        if nobody
        else f"see why: aggctl logs {checked.asked.api.name}; its own rules are what to change",
        evidence=(f"{answer.status} {answer.said}",),
    )


def _not_let(checked: Checked, answer: AnswerSeen) -> Finding:
    yes = checked.review is True
    first = f"kube-apiserver would let {checked.asked.user} {checked.what}; " if yes else ""
    return Finding(
        code="impersonation-forbidden",
        severity="error",
        subject="the user of the kubeconfig",
        message=clean(f"{first}the extension server was not asked, as you may not act as somebody else", 400),
        fix="ask for the verb impersonate on users, groups and serviceaccounts; or try it as that user",
        evidence=(answer.said,),
    )


def _not_reviewed(checked: Checked, why: Unknown, said: str = "") -> Finding:
    return Finding(
        code=why.code,
        severity="error",
        subject=clean(checked.asked.user, 100),
        message=f"which side says no cannot be told: {why.reason}" if said else why.reason,
        fix=f"aggctl explain {why.code}",
        evidence=(said,) if said else (),
    )
