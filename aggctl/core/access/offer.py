"""What an API offers, by its own discovery: resources and verbs, as kube-apiserver asks for them in RBAC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.access import ANY
from aggctl.core.checks.extension import api_service_path, service_of
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt
from aggctl.core.resources import resources_of
from aggctl.core.shapes import rows

if TYPE_CHECKING:
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

MOST = 2000
"""Resources; a discovery document of more is cut."""

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
_ANY_METRIC = frozenset({(CUSTOM, "/custommetrics"), (EXTERNAL, "externalmetrics")})
"""What stands in a discovery document for whatever metrics there are (custom-metrics-apiserver, defaults)."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:/-]{0,251}[A-Za-z0-9])?")
_VERB = re.compile(r"[a-z]{1,40}")
_NOT_READY = "apiserver-not-ready"


@dataclass(frozen=True, slots=True)
class Offered:
    """A resource, by the `name` that RBAC knows it by; `said` is that of the discovery document."""

    name: str
    namespaced: bool
    verbs: tuple[str, ...]
    said: str

    @property
    def parts(self) -> tuple[str, str]:
        """The resource and its subresource, "" where it is none."""
        resource, _, subresource = self.name.partition("/")
        return resource, subresource


@dataclass(frozen=True, slots=True)
class Offer:
    """An API's resources, and the other versions of its group.

    `unnamed` are the verbs of resources that its discovery tells of and does not name.
    """

    api: Api
    resources: tuple[Offered, ...]
    unnamed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether there may be resources that nobody names."""
        return bool(self.unnamed)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys(each.name for each in self.resources))

    @property
    def verbs(self) -> tuple[str, ...]:
        """What any of them offers."""
        named = (verb for each in self.resources for verb in each.verbs)
        return tuple(dict.fromkeys((*named, *self.unnamed)))

    def named(self, name: str) -> tuple[Offered, ...]:
        """The resources of this name; an open API may have any."""
        found = tuple(each for each in self.resources if name in (each.name, each.said))
        if found or not self.open:
            return found
        return (Offered(name, namespaced=True, verbs=self.unnamed, said=name),)


def offer_of(snapshot: Snapshot, server: str, api: Api) -> Offer | Finding:
    """What the API offers; or why that cannot be told."""
    declared, document = ObjectAt(api_service_path(api.name), server), ObjectAt(api.path, server)
    group = ObjectAt(f"/apis/{api.group}", server)
    snapshot.expect(declared, document, group)
    live = None if snapshot.unknown(declared) else snapshot.object(declared.path, server)
    if live and service_of(live) is None:
        return _served_by_cluster(api)
    unknown = snapshot.unknown(document)
    if unknown and unknown.code == _NOT_READY:
        return no_answer(api, unknown.reason)
    if snapshot.object(document.path, server) is None:
        return _not_registered(api)
    found = list(resources_of(snapshot, server, f"{api.group}/{api.version}"))[:MOST]
    others = () if snapshot.unknown(group) else _versions(snapshot.object(group.path, server), api)
    resources = tuple(each for one in found if (each := _offered(one, api.group)))
    unnamed = (verb for one in found if _stands_for_any(one, api.group) for verb in _verbs(one, api.group))
    return Offer(api, resources, tuple(dict.fromkeys(unnamed)), others)


def no_answer(api: Api, reason: str) -> Finding:
    """Nothing can be said of an API that does not answer."""
    return Finding(
        code="api-not-available",
        severity="error",
        subject=f"APIService {api.name}",
        message=f"{api.name} does not answer: {reason}",
        fix=f"aggctl doctor {api.name}",
    )


def _offered(resource: Object, group: str) -> Offered | None:
    """A resource as RBAC knows it; a wildcard is never one, whoever says it.

    The metrics APIs are asked for under other names than they tell (seen with custom-metrics-apiserver 1.37):
    the metric of a namespace itself is listed as namespaces/METRIC and asked for as the resource `metrics`;
    an external metric offers `get`, and a request without a name is authorized as `list`.
    """
    said = str(resource.get("name"))
    verbs = _verbs(resource, group)
    if not _NAME.fullmatch(said) or not verbs or _stands_for_any(resource, group):
        return None
    name = "metrics" if group == CUSTOM and said.startswith("namespaces/") else said
    namespaced = bool(resource.get("namespaced")) or name != said
    return Offered(name, namespaced, verbs, said)


def _verbs(resource: Object, group: str) -> tuple[str, ...]:
    verbs = tuple(str(each) for each in rows(resource, "verbs") if _VERB.fullmatch(str(each)))
    return (*verbs, "list") if group == EXTERNAL and "get" in verbs and "list" not in verbs else verbs


def _stands_for_any(resource: Object, group: str) -> bool:
    name = str(resource.get("name"))
    return ANY in name or (group, name) in _ANY_METRIC


def _versions(group: Object | None, api: Api) -> tuple[str, ...]:
    versions = (str(each.get("version")) for each in rows(group, "versions") if isinstance(each, dict))
    return tuple(sorted({each for each in versions if each != api.version and _NAME.fullmatch(each)}))


def _served_by_cluster(api: Api) -> Finding:
    return Finding(
        code="api-served-by-cluster",
        severity="error",
        subject=f"APIService {api.name}",
        message="kube-apiserver serves this version itself: it is built in, or a CustomResourceDefinition",
        expected="an API that an extension server answers for",
        fix="name one of: kubectl get apiservices",
    )


def _not_registered(api: Api) -> Finding:
    return Finding(
        code="api-not-registered",
        severity="error",
        subject=f"APIService {api.name}",
        message=f"GET {api.path} is answered 404: it is not registered, or its server has no such version",
        fix="see what is registered: aggctl status",
    )
