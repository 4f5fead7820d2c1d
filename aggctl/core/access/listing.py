"""Who reaches an API, as people and scripts read it; and whom one would not expect there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.access.grant import everybody
from aggctl.core.access.offer import Offer, offer_of
from aggctl.core.access.rbac import reaches, see_rbac
from aggctl.core.checks.access import ANY
from aggctl.core.findings import Finding
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.access.rbac import Reach
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

_HEAD = ("SUBJECT", "NAMESPACE", "VERBS", "RESOURCES", "BINDING", "ROLE")
_WIDE = ("NAMES", "BY")
_ORDER = ("others", "aggctl", "kubernetes")
EVERYWHERE, NOTHING = "*", "-"
FEW = 3
"""Resources in a column; -o wide and -o json have all."""

OWN = "kubernetes"
"""Whom Kubernetes itself let in: one line but for -o wide."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Who reaches the API, and by which way; and what was not seen."""

    api: Api
    reaches: tuple[Reach, ...]
    not_checked: tuple[str, ...]


def see_listing(snapshot: Snapshot, api: Api, namespace: str, server: str) -> Listing | Finding:
    """Read roles and bindings; NotKnown where they may not be read, a finding where there is no such API."""
    offer = offer_of(snapshot, server, api)
    not_checked: list[str] = []
    if isinstance(offer, Finding):
        if offer.code != "api-not-available":
            return offer
        not_checked.append(f"which resources it has: {offer.message}")
        offer = Offer(api, (), unnamed=(ANY,))
    rbac = see_rbac(snapshot, server, namespace)
    rbac.refuse_unseen(server, namespace)
    not_checked += [f"{kind}s: {unknown.reason}" for kind, unknown in rbac.unseen]
    found = sorted(set(reaches(rbac, offer)), key=_order)
    return Listing(api, tuple(found), tuple(not_checked))


def findings_of(listing: Listing) -> Iterator[Finding]:
    """What deserves a second look; Kubernetes' own controllers and administrators do not."""
    populations = dict.fromkeys(
        (one.subject, one.binding) for one in listing.reaches if one.subject.is_everybody
    )
    for subject, binding in populations:
        message = f"a whole population reaches {listing.api.name}: {subject.words}, through {binding}"
        yield everybody(clean(subject.words, 100), clean(message, 400))
    seen = dict.fromkeys(
        (one.subject, one.binding, one.role)
        for one in listing.reaches
        if one.wildcard and one.origin == "others"
    )
    for subject, binding, role in seen:
        yield Finding(
            code="access-by-wildcard",
            severity="warning",
            subject=clean(subject.words, 100),
            message=clean(f"{subject.words} reaches it by a wildcard, through {binding} ({role})", 400),
            fix="name the groups, resources and verbs in that role; for this API: aggctl access grant",
        )


def lines_of(listing: Listing, *, wide: bool = False) -> tuple[str, ...]:
    """The table, and what could not be looked at."""
    said = tuple(f"not checked: {clean(each, 400)}" for each in listing.not_checked)
    if not listing.reaches:
        return (f"No role that RBAC has opens {listing.api.name} to anybody.", *said)
    shown = [each for each in listing.reaches if wide or each.origin != OWN]
    rows = [(*_HEAD, *(_WIDE if wide else ())), *(_cells(each, wide=wide) for each in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = (
        "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    own = () if wide else dict.fromkeys(each.subject.words for each in listing.reaches if each.origin == OWN)
    names = clean(", ".join(own), 1000)
    return (
        *(table if shown else ("Nobody but Kubernetes' own.",)),
        *((f"Kubernetes' own, by what comes with it (-o wide shows how): {names}",) if own else ()),
        *said,
    )


def items_of(listing: Listing) -> tuple[dict[str, Any], ...]:
    """The same for scripts."""
    return tuple(
        {
            "subject": {
                "kind": each.subject.kind,
                "name": each.subject.name,
                "namespace": each.subject.namespace,
            },
            "namespace": each.namespace,
            "verbs": list(each.verbs),
            "resources": list(each.resources),
            "resourceNames": list(each.names),
            "binding": each.binding,
            "role": each.role,
            "by": each.origin,
            "wildcard": each.wildcard,
        }
        for each in listing.reaches
    )


def _order(each: Reach) -> tuple[Any, ...]:
    """Whom somebody let in comes first, Kubernetes' own last."""
    return (
        _ORDER.index(each.origin),
        each.subject.words,
        each.namespace,
        each.binding,
        each.verbs,
        each.resources,
    )


def _cells(each: Reach, *, wide: bool) -> tuple[str, ...]:
    resources = each.resources if wide or len(each.resources) <= FEW else (*each.resources[:FEW], "…")
    more = (",".join(each.names) or NOTHING, each.origin) if wide else ()
    binding, role = (name if wide else name.partition(" ")[2] for name in (each.binding, each.role))
    cells = (
        each.subject.words,
        each.namespace or EVERYWHERE,
        ",".join(each.verbs),
        ",".join(resources),
        binding,
        role,
        *more,
    )
    return tuple(clean(cell, 2000 if wide else 100) for cell in cells)
