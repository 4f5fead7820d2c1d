"""From what is wanted of an API and what it offers to the rules of a role; no wildcard that is not typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.access.offer import CUSTOM, Offered
from aggctl.core.checks.access import ANY
from aggctl.core.findings import Finding
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.access.offer import Offer
    from aggctl.core.access.subjects import Subject
    from aggctl.core.extension import Api

Object = dict[str, Any]

READING = ("get", "list", "watch")
PLAIN_SUBRESOURCES = frozenset({"status", "scale"})
"""Subresources whose `get` only reads; that of others may open a console (subresources.kubevirt.io)."""

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be granted: to whom, which verbs and resources (none: what reads, of all), and where.

    `aggregate` names the built-in role that takes it in, `namespace` is "" for the whole cluster.
    """

    api: Api
    subjects: tuple[Subject, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    namespace: str = ""
    aggregate: str = ""
    deadline: float = 30.0
    manager: str = "aggctl"
    force_conflicts: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules, what was left out and why, and what stands in the way."""

    rules: tuple[Object, ...]
    left_out: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()


def choose(offer: Offer, wanted: Wanted) -> Choice:
    """The rules that grant what is wanted, as far as the API offers it."""
    problems = [*_not_offered(offer, wanted), *_verbs_not_offered(offer, wanted)]
    if problems:
        return Choice((), problems=tuple(problems))
    if ANY in wanted.resources:
        return Choice((_rule(offer, [ANY], _verbs_of(offer.verbs, wanted)),))
    chosen, left_out = _chosen(offer, wanted)
    by_verbs: dict[tuple[str, ...], list[str]] = {}
    for each in chosen:
        if verbs := _verbs_of(each.verbs, wanted):
            by_verbs.setdefault(verbs, []).append(each.name)
        else:
            left_out.append(f"{each.said} (offers {', '.join(each.verbs)})")
    rules = tuple(_rule(offer, sorted(set(names)), verbs) for verbs, names in sorted(by_verbs.items()))
    return Choice(rules, tuple(left_out), () if rules else (_nothing(offer, left_out),))


def _chosen(offer: Offer, wanted: Wanted) -> tuple[list[Offered], list[str]]:
    """The resources that are meant, and of those that nobody named the ones that are left out."""
    if wanted.resources:
        return [one for name in wanted.resources for one in offer.named(name)], []
    chosen: list[Offered] = []
    left_out: list[str] = []
    for each in offer.resources:
        if wanted.namespace and not each.namespaced:
            left_out.append(f"{each.said} (is in no namespace)")
        elif not _only_reads(offer, each):
            left_out.append(f"{each.said} (a subresource: name it by --resources)")
        else:
            chosen.append(each)
    return chosen, left_out


def _only_reads(offer: Offer, resource: Offered) -> bool:
    subresource = resource.parts[1]
    return not subresource or subresource in PLAIN_SUBRESOURCES or offer.api.group == CUSTOM


def _verbs_of(offered: tuple[str, ...], wanted: Wanted) -> tuple[str, ...]:
    """The verbs that are wanted of a resource, as far as it offers them; `*` covers all it ever will."""
    if ANY in wanted.verbs:
        return (ANY,)
    return tuple(verb for verb in (wanted.verbs or READING) if verb in offered)


def _not_offered(offer: Offer, wanted: Wanted) -> Iterator[Finding]:
    for name in wanted.resources:
        found = offer.named(name)
        if name == ANY:
            continue
        if not found:
            yield no_such_resource(offer, name, "--resources")
        elif wanted.namespace and not any(each.namespaced for each in found):
            yield cluster_scoped(offer, name)


def _verbs_not_offered(offer: Offer, wanted: Wanted) -> Iterator[Finding]:
    """A verb that none of the chosen resources offers is a slip of the pen."""
    chosen = _chosen(offer, wanted)[0]
    offered = tuple(dict.fromkeys(verb for each in chosen for verb in each.verbs))
    if ANY in wanted.resources:
        offered = offer.verbs
    for verb in wanted.verbs:
        if offered and verb not in (*offered, ANY):
            yield no_such_verb(offer, verb, offered, "--verbs")


def no_such_verb(offer: Offer, verb: str, offered: tuple[str, ...], option: str) -> Finding:
    """Nothing that is meant offers it."""
    return Finding(
        code="verb-not-offered",
        severity="error",
        subject=offer.api.name,
        message=f"no resource that is meant offers {clean(verb, 40)}",
        expected=", ".join(offered),
        fix=f"name one of these by {option}",
    )


def no_such_resource(offer: Offer, name: str, option: str) -> Finding:
    """The API has none of that name."""
    return Finding(
        code="resource-not-offered",
        severity="error",
        subject=offer.api.name,
        message=f"{offer.api.name} has no resource {clean(name, 80)}",
        expected=shortened(offer.names) or "its discovery lists no resource",
        fix=f"name one of these by {option}",
    )


def cluster_scoped(offer: Offer, name: str) -> Finding:
    """A role of a namespace has no power over what is in none."""
    return Finding(
        code="resource-cluster-scoped",
        severity="error",
        subject=offer.api.name,
        message=f"{clean(name, 80)} is in no namespace, so nothing of a namespace reaches it",
        fix="leave --namespace out, or this resource",
    )


def _nothing(offer: Offer, left_out: list[str]) -> Finding:
    """No rule came of it."""
    if offer.open and not offer.resources:
        message = "its discovery says that there are resources, and not which; no wildcard is granted unasked"
        fix = f"name them as they are asked for: --resources {_example(offer)}; or all: --resources '*'"
    else:
        message = f"nothing is left to grant: {shortened(left_out) or 'its discovery lists no resource'}"
        fix = "name verbs and resources: --verbs, --resources"
    return Finding("nothing-to-grant", "error", offer.api.name, f"{offer.api.name}: {message}", fix)


def _example(offer: Offer) -> str:
    return "pods/METRIC" if offer.api.group == CUSTOM else "METRIC"


def shortened(names: tuple[str, ...] | list[str]) -> str:
    """The first of many names, fit to show."""
    more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(clean(each, 100) for each in names[:SHOWN])}{more}"


def _rule(offer: Offer, resources: list[str], verbs: tuple[str, ...]) -> Object:
    return {"apiGroups": [offer.api.group], "resources": resources, "verbs": list(verbs)}
