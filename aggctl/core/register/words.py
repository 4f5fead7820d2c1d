"""What `register` says: the situation, the notes beside the plan, what the API serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.checks.extension import api_of
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt
from aggctl.core.resources import path_of, resources_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.extension import Api, ServiceAt
    from aggctl.core.register.certificates import Minted
    from aggctl.core.register.plan import Rehearsed
    from aggctl.core.register.sight import Sight, Wanted
    from aggctl.core.snapshot import Snapshot

_HOW = {
    "mint": "with a new certificate",
    "keep": "with the certificate that is there",
    "given": "verified by the caBundle of the file",
    "injected": "verified by a caBundle that somebody else fills in",
    "insecure": "without verifying its certificate",
}


def apis_of(sight: Sight) -> tuple[Api, ...]:
    """The APIs that are registered."""
    return tuple(api_of(each.object) for each in sight.objects if each.kind == "APIService")


def situation(sight: Sight) -> tuple[str, ...]:
    """One line for each Service: which APIs it serves, and how kube-apiserver verifies it."""
    names = ", ".join(api.name for api in apis_of(sight))
    return tuple(
        f"{names} by Service {each.service.namespace}/{each.service.name}, {_HOW[each.how]}"
        + (f" ({each.because})" if each.because else "")
        for each in sight.servings
    )


def unchanged_reasons(sight: Sight) -> tuple[str, ...]:
    """Why there is nothing to do."""
    asked = len(sight.roster.servers)
    of = f"{asked} of {asked + len(sight.roster.silent)} kube-apiservers"
    return (f"Nothing to do: every object is as wanted, {of} get an answer.", *situation(sight))


def details(sight: Sight, minted: Mapping[ServiceAt, Minted]) -> dict[str, str]:
    """What is worth saying beside a change, by path."""
    found = {}
    for each in sight.servings:
        if each.writes_secret:
            until = pki.read_certificates(minted[each.service].pair.certificate)[0].not_after
            path = path_of("v1", "secrets", each.service.namespace, each.place.secret)
            found[path] = f"serving certificate for {each.service.dns}, until {until:%Y-%m-%d}"
    return found


def notes(sight: Sight, wanted: Wanted, rehearsed: tuple[Rehearsed, ...]) -> Iterator[Finding]:
    """What the user should know though nothing stands in the way."""
    yield from wanted.notes
    for serving in sight.servings:
        if serving.how == "insecure":
            yield _note(
                "insecure-as-asked",
                "warning",
                f"Service {serving.service.namespace}/{serving.service.name}",
                "kube-apiserver sends users' requests to whoever answers there, unverified",
                "let its certificate be verified: --tls self",
            )
    for each in rehearsed:
        if each.only_insecure:
            yield _note(
                "insecure-taken-over",
                "warning",
                each.located.target,
                f"insecureSkipTLSVerify is switched off; that field belonged to {each.conflicts[0][1]}",
                "tell its owner, or the next apply there meets a conflict",
            )
    for server, why in sight.roster.silent:
        yield _note(
            "apiserver-not-asked",
            "warning",
            server,
            f"this kube-apiserver was not asked: {clean(why)}",
            "run aggctl where it can be reached, as on a control-plane node",
        )
    for server in sight.roster.servers:
        if server not in sight.metered and not sight.roster.alone:
            yield _note(
                "metrics-not-readable",
                "info",
                server,
                "its own view of the API was not read: no right to GET /metrics",
                "a ClusterRole with nonResourceURLs [/metrics] gives it",
            )


SHOWN_RESOURCES = 100


def served_resources(snapshot: Snapshot, sight: Sight) -> tuple[str, ...]:
    """The table of what each API serves, as `kubectl api-resources` has it; what they say is not trusted."""
    apis = apis_of(sight)
    snapshot.expect(*(ObjectAt(api.path, sight.server) for api in apis))
    rows = [("NAME", "KIND", "NAMESPACED", "VERBS")]
    for api in apis:
        for each in resources_of(snapshot, sight.server, f"{api.group}/{api.version}"):
            verbs = each.get("verbs")
            said = ",".join(map(str, verbs[:20])) if isinstance(verbs, list) else ""
            namespaced = "true" if each.get("namespaced") else "false"
            name, kind = (clean(str(each.get(part)), 80) for part in ("name", "kind"))
            rows.append((name, kind, namespaced, clean(said, 80)))
    more = len(rows) - 1 - SHOWN_RESOURCES
    rows = rows[: SHOWN_RESOURCES + 1]
    count = len(sight.roster.servers)
    names = ", ".join(api.name for api in apis)
    asked = f"{names} answers through {count} kube-apiserver{'s' if count > 1 else ''}."
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = (
        "   ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return (asked, *table, *((f"… and {more} more",) if more > 0 else ()))


def tries(sight: Sight) -> tuple[str, ...]:
    """What to type next."""
    return tuple(f"Try: kubectl get --raw {api.path}" for api in apis_of(sight))


def _note(code: str, severity: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code, severity, subject, message, fix)
