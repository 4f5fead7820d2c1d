"""Decide how to grant an API: from what it offers to the objects, the server's refusals, and the plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.access.objects import is_ours, objects_of
from aggctl.core.access.offer import Offer, offer_of
from aggctl.core.access.rules import choose, shortened
from aggctl.core.checks.access import ANY, may
from aggctl.core.findings import Finding
from aggctl.core.plan import Condition, Gate, Plan, Step
from aggctl.core.questions import ObjectAt
from aggctl.core.register.plan import FORBIDDEN, change_of, problems_of
from aggctl.core.register.preconditions import namespace_findings
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.access.rules import Wanted
    from aggctl.core.access.subjects import Subject
    from aggctl.core.register.plan import Rehearsed
    from aggctl.core.resources import Located
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

_ESCALATION = "attempting to grant RBAC permissions not currently held"
_SOMETHING = "anything"
"""A resource that stands for all, where a wildcard is granted."""


@dataclass(frozen=True, slots=True)
class Granting:
    """What is to be there, and what stands in the way; `provable`: an access review may be asked for."""

    server: str
    objects: tuple[Located, ...] = field(repr=False, default=())
    rules: tuple[Object, ...] = ()
    notes: tuple[Finding, ...] = ()
    problems: tuple[Finding, ...] = ()
    situation: tuple[str, ...] = ()
    provable: bool = True


def see_grant(snapshot: Snapshot, wanted: Wanted, server: str) -> Granting:
    """Look at what the API offers and what is there already."""
    offer = offer_of(snapshot, server, wanted.api)
    if isinstance(offer, Finding):
        return Granting(server, problems=(offer,))
    choice = choose(offer, wanted)
    objects = tuple(objects_of(wanted, choice.rules)) if choice.rules else ()
    review = may("", (), "create", "authorization.k8s.io", "subjectaccessreviews", "", "", server)
    accounts = _accounts(wanted)
    snapshot.expect(review, *(ObjectAt(each, server) for each in (*(one.path for one in objects), *accounts)))
    provable = not snapshot.unknown(review) and snapshot.may(review)
    problems = (
        *choice.problems,
        *_namespace(snapshot, server, wanted, objects),
        *(_taken(each) for each in objects if _is_of_others(snapshot, server, each)),
    )
    notes = (
        *_notes(wanted, choice.rules),
        *_lacking(snapshot, server, accounts),
        *((_not_proven(wanted),) if wanted.subjects and not provable else ()),
    )
    return Granting(
        server, objects, choice.rules, notes, problems, _situation(offer, wanted, choice.left_out), provable
    )


def escalations(rehearsed: tuple[Rehearsed, ...]) -> Iterator[Finding]:
    """What the server refuses."""
    raised = {
        each.located.target: each
        for each in rehearsed
        if each.status == FORBIDDEN and _ESCALATION in each.message
    }
    for problem in problems_of(rehearsed):
        yield _escalation(raised[problem.subject]) if problem.subject in raised else problem


def plan_grant(granting: Granting, wanted: Wanted, rehearsed: tuple[Rehearsed, ...]) -> Plan:
    """Write what differs, roles first, and see that it counts; no step: nothing differs."""
    steps: list[Step] = []
    blobs: dict[str, bytes] = {}
    for each in rehearsed:
        if each.changes:
            change, contents = change_of(granting.server, wanted.manager, each)
            blobs |= contents
            steps.append(Step(each.located.target, change))
    if steps:
        steps[-1] = Step(steps[-1].title, steps[-1].change, gate=proof(granting, wanted))
    return Plan("access grant", f"grant {wanted.api.name} to {_whom(wanted)}", tuple(steps), blobs)


def proof(granting: Granting, wanted: Wanted) -> Gate | None:
    """An access review for each subject; and the built-in role has the new one's rule."""
    rule = granting.rules[0]
    asked = {
        "verb": _first(rule["verbs"], "get"),
        "group": wanted.api.group,
        "resource": _first(rule["resources"], _SOMETHING),
        "server": granting.server,
    }
    conditions = [
        _condition("access-allowed", **asked, **_as_whom(each), namespace=wanted.namespace, name="")
        for each in (wanted.subjects if granting.provable else ())
    ]
    if wanted.aggregate:
        conditions.append(_condition("role-taken-in", role=wanted.aggregate, **asked))
    if not conditions:
        return None
    who = f"ClusterRole {wanted.aggregate} to take it in" if wanted.aggregate else "kube-apiserver to say yes"
    return Gate(tuple(conditions), wanted.deadline, waits_for=who)


def _condition(check: str, **arguments: str) -> Condition:
    return Condition(check, tuple(arguments.items()))


def _as_whom(subject: Subject) -> dict[str, str]:
    return {"user": subject.user, "member": subject.name if subject.kind == "Group" else ""}


def _first(names: list[str], instead: str) -> str:
    return instead if names[0] == ANY else names[0]


def _whom(wanted: Wanted) -> str:
    names = [each.words for each in wanted.subjects]
    return shortened([*names, *((f"ClusterRole {wanted.aggregate}",) if wanted.aggregate else ())])


def _situation(offer: Offer, wanted: Wanted, left_out: tuple[str, ...]) -> tuple[str, ...]:
    where = f"in namespace {wanted.namespace}" if wanted.namespace else "in the whole cluster"
    lines = [f"{wanted.api.name} for {_whom(wanted)}, {where}"]
    if left_out:
        lines.append(f"Left out: {shortened(left_out)}")
    if offer.others:
        lines.append(f"RBAC knows groups, not versions: this counts for {', '.join(offer.others)} as well.")
    return tuple(lines)


def _namespace(
    snapshot: Snapshot, server: str, wanted: Wanted, objects: tuple[Located, ...]
) -> tuple[Finding, ...]:
    """It is missing, or about to go; who may not look learns that from the server's own refusal."""
    path = path_of("v1", "namespaces", "", wanted.namespace)
    if not wanted.namespace or snapshot.unknown(ObjectAt(path, server)):
        return ()
    return tuple(namespace_findings(snapshot, server, objects))


def _accounts(wanted: Wanted) -> dict[str, Subject]:
    """The ServiceAccounts by path: the one kind of subject that the cluster knows."""
    return {
        path_of("v1", "serviceaccounts", each.namespace, each.name): each
        for each in wanted.subjects
        if each.kind == "ServiceAccount"
    }


def _lacking(snapshot: Snapshot, server: str, accounts: dict[str, Subject]) -> Iterator[Finding]:
    for path, each in accounts.items():
        if not snapshot.unknown(ObjectAt(path, server)) and snapshot.object(path, server) is None:
            yield Finding(
                code="service-account-missing",
                severity="warning",
                subject=each.words,
                message=f"there is no ServiceAccount {each.namespace}/{each.name} yet",
                fix=f"kubectl -n {each.namespace} create serviceaccount {each.name}",
            )


def _notes(wanted: Wanted, rules: tuple[Object, ...]) -> Iterator[Finding]:
    """What is granted more widely than one may think; it was typed, so it is done."""
    for each in wanted.subjects:
        if each.is_everybody:
            yield everybody(each.words, f"{wanted.api.name} is opened to a whole population: {each.words}")
    if any(ANY in (*each["verbs"], *each["resources"]) for each in rules):
        yield Finding(
            code="access-by-wildcard",
            severity="warning",
            subject=wanted.api.name,
            message="* also covers what the API will offer one day",
            fix="name verbs and resources",
        )


def everybody(subject: str, message: str) -> Finding:
    """Whole populations are in such a group."""
    return Finding(
        code="access-open-to-all",
        severity="warning",
        subject=subject,
        message=message,
        fix="grant it to a group of your own, and take this away",
    )


def _is_of_others(snapshot: Snapshot, server: str, each: Located) -> bool:
    live = snapshot.object(each.path, server)
    return live is not None and not is_ours(live)


def _taken(each: Located) -> Finding:
    return Finding(
        code="name-taken",
        severity="error",
        subject=each.target,
        message=f"{each.target} is there, and aggctl did not make it",
        fix="see whose it is: kubectl get -o yaml --show-managed-fields; then rename or delete it",
    )


def _not_proven(wanted: Wanted) -> Finding:
    return Finding(
        code="access-not-proven",
        severity="warning",
        subject=wanted.api.name,
        message="that it counts cannot be asked for: no right to create subjectaccessreviews",
        fix="try it as one of those who may now: kubectl auth can-i, or aggctl access check",
    )


def _escalation(each: Rehearsed) -> Finding:
    lacking = each.message.partition(_ESCALATION)[2].lstrip(": \n")
    return Finding(
        code="rbac-escalation",
        severity="error",
        subject=each.located.target,
        message=f"{each.located.target}: nobody may grant what he has not got himself",
        fix="let somebody grant it who has these rights, or the verbs escalate and bind on roles",
        expected=f"these rights for the user of the kubeconfig: {lacking}",
        evidence=(each.message,),
    )
