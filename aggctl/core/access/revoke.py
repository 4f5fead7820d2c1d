"""Decide what to take away of an API: the bindings that aggctl made, and the roles that nobody uses then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.access.objects import aggregates_to, is_of, path
from aggctl.core.access.offer import Offer
from aggctl.core.access.rbac import place_of, reaches, role_place, see_rbac
from aggctl.core.access.subjects import subjects_of
from aggctl.core.checks.access import ANY
from aggctl.core.fields import created_stamp
from aggctl.core.findings import Finding
from aggctl.core.plan import Plan
from aggctl.core.register.leaving import deletion
from aggctl.core.report import ShownChange
from aggctl.core.resources import target_of
from aggctl.core.shapes import namespace_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.access.rbac import Rbac
    from aggctl.core.access.subjects import Subject
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unwanted:
    """What is to be taken away: of whom, or of `everybody`; in one namespace, or wherever it was granted."""

    api: Api
    subjects: tuple[Subject, ...] = ()
    namespace: str = ""
    aggregate: str = ""
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Revoking:
    """What goes, bindings first; and what is worth saying of what stays."""

    server: str
    api: Api
    objects: tuple[Object, ...] = field(repr=False)
    notes: tuple[Finding, ...]


def see_revoke(snapshot: Snapshot, unwanted: Unwanted, server: str) -> Revoking:
    """What aggctl granted and nobody else needs; NotKnown where roles and bindings may not be read."""
    rbac = see_rbac(snapshot, server, unwanted.namespace)
    rbac.refuse_unseen(server, unwanted.namespace)
    bindings = tuple(each for each in rbac.bindings if _goes(each, unwanted))
    rest = rbac.without(bindings)
    roles, stays = _roles(rest, rbac, bindings, unwanted)
    return Revoking(
        server, unwanted.api, (*bindings, *roles), (*map(_still_used, stays), *_remains(rest, unwanted))
    )


def plan_revoke(revoking: Revoking) -> Plan:
    """Delete them, bindings first."""
    blobs: dict[str, bytes] = {}
    steps = tuple(
        deletion(revoking.server, path(live), live, created_stamp(live), blobs) for live in revoking.objects
    )
    return Plan("access revoke", f"revoke {revoking.api.name}", steps, blobs)


def shown(revoking: Revoking) -> tuple[ShownChange, ...]:
    """What goes, for people: of a binding, whose it is."""
    return tuple(ShownChange("delete", target_of(each), _detail(each)) for each in revoking.objects)


def _goes(binding: Object, unwanted: Unwanted) -> bool:
    if not is_of(unwanted.api, binding) or unwanted.namespace not in ("", namespace_of(binding)):
        return False
    return unwanted.everybody or any(each in unwanted.subjects for each in subjects_of(binding))


def _roles(
    rest: Rbac, rbac: Rbac, bindings: tuple[Object, ...], unwanted: Unwanted
) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """The roles that go, and those that another binding needs."""
    used = set(map(role_place, rest.bindings))
    left = set(map(role_place, bindings))
    ours = [
        each
        for each in rbac.roles.values()
        if is_of(unwanted.api, each) and unwanted.namespace in ("", namespace_of(each))
    ]
    meant = [
        each
        for each in ours
        if unwanted.everybody
        or place_of(each) in left
        or (unwanted.aggregate and unwanted.aggregate in aggregates_to(each))
    ]
    goes = tuple(each for each in meant if place_of(each) not in used)
    return goes, tuple(each for each in meant if place_of(each) in used)


def _remains(rest: Rbac, unwanted: Unwanted) -> Iterator[Finding]:
    """What the same subjects still reach, through what is not ours or is for another API of the group."""
    offer = Offer(unwanted.api, (), unnamed=(ANY,))
    for each in reaches(rest, offer):
        if each.subject in unwanted.subjects and unwanted.namespace in ("", each.namespace):
            yield Finding(
                code="still-has-access",
                severity="warning",
                subject=each.subject.words,
                message=clean(
                    f"{each.subject.words} still reaches it through {each.binding} ({each.role})", 400
                ),
                fix=f"aggctl access list {unwanted.api.name}",
            )


def _still_used(role: Object) -> Finding:
    return Finding(
        code="role-still-used",
        severity="info",
        subject=target_of(role),
        message="it stays: another binding uses it",
        fix="it goes with the last binding that uses it",
    )


def _detail(each: Object) -> str:
    return clean(", ".join(one.words for one in subjects_of(each)), 200)
