"""Decide how to register an API: from a Snapshot to a Sight of the cluster, and to the objects to apply."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core.apiservers import LEASES, Roster, roster
from aggctl.core.checks.extension import (
    api_service_path,
    service_of,
)
from aggctl.core.checks.workload import newest, pods_path
from aggctl.core.cluster_view import KUBERNETES_SLICES
from aggctl.core.extension import PairPlace
from aggctl.core.fields import CREATED, MANAGER, created_stamp, owned_fields
from aggctl.core.findings import Finding
from aggctl.core.podspec import WhyNot
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import MayGet, ObjectAt
from aggctl.core.register.certificates import (
    Serving,
    bundle_of,
    default_mode,
    encoded,
    secret_of,
    serving_of,
    still_trusted,
)
from aggctl.core.register.preconditions import (
    finding,
    layer_findings,
    namespace_findings,
    no_cert_manager,
    owner_findings,
    serves,
    service_findings,
)
from aggctl.core.resources import Located, discovery_path, locate, path_of
from aggctl.core.serving import container_for, serving_secret
from aggctl.core.snapshot import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from aggctl.core.extension import ServiceAt, Tls
    from aggctl.core.pki import KeyPair
    from aggctl.core.register.certificates import Minted
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

INVENTORY = "aggctl/objects"
"""Annotation on an APIService: what aggctl created for it, for `unregister`."""

INJECT = "cert-manager.io/inject-ca-from"
CERT_MANAGER = "/apis/cert-manager.io/v1"


_BEFORE_SECRETS = ("Namespace", "CustomResourceDefinition")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be registered, and how far aggctl may go.

    `objects` are all but certificates. `places` says for a Service where its server reads its pair; where it
    does not, the running Pods do. `outside` is the pair of a server outside the cluster, if it has one, and
    `folder` whether it is known where it reads that.
    """

    objects: tuple[Object, ...] = field(repr=False)
    tls: Tls
    namespace: str
    places: Mapping[ServiceAt, PairPlace]
    outside: KeyPair | None = None
    folder: bool = False
    notes: tuple[Finding, ...] = ()
    take_over: bool = False
    force_conflicts: bool = False
    deadline: float = 300.0
    manager: str = MANAGER


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen before anything is made: places of objects, certificates, what stands in the way.

    `metered` are the kube-apiservers whose /metrics this user may read.
    """

    server: str
    objects: tuple[Located, ...] = field(repr=False)
    apis: Mapping[str, Object | None] = field(repr=False)
    servings: tuple[Serving, ...]
    roster: Roster
    metered: tuple[str, ...]
    problems: tuple[Finding, ...]

    def serving(self, service: ServiceAt | None) -> Serving | None:
        """The certificate of a Service, whichever of its ports an APIService names."""
        name = service.dns if service else ""
        return next((each for each in self.servings if each.service.dns == name), None)


def see(snapshot: Snapshot, wanted: Wanted, server: str, now: datetime) -> Sight:
    """Look at the cluster; NotKnown where something has to be seen and may not be."""
    snapshot.expect(*_surely_read(wanted, server))
    located, problems = locate(snapshot, server, wanted.objects, wanted.namespace)
    located = tuple(_with_service(each, located, wanted.namespace) for each in located)
    declared = [
        (each, at) for each in located if each.kind == "APIService" and (at := service_of(each.object))
    ]
    names = [each.object["metadata"]["name"] for each, _ in declared]
    lives = {name: snapshot.object(api_service_path(name), server) for name in names}
    found = [*problems, *layer_findings(snapshot, server), *namespace_findings(snapshot, server, located)]
    for each, at in declared:
        found += owner_findings(each, at, lives[each.object["metadata"]["name"]], take_over=wanted.take_over)
        found += service_findings(snapshot, server, each, at, located)
    looks: list[Callable[[], Any]] = [lambda: roster(snapshot, server)]
    looks += [
        partial(_serving, snapshot, server, each, at, lives, wanted, now)
        for each, at in (() if found else declared)
    ]
    known, *servings = side_by_side(looks)
    found += dict.fromkeys(each for each in servings if isinstance(each, Finding))
    if wanted.tls.mode == "cert-manager" and snapshot.object(CERT_MANAGER, server) is None:
        found.insert(0, no_cert_manager())  # that its kind is unknown follows from it
    metered = _metered(snapshot, known)
    return Sight(server, located, lives, _each_once(servings), known, metered, tuple(found))


def _surely_read(wanted: Wanted, server: str) -> Iterator[ObjectAt]:
    """What is read whatever comes, so that it is looked at with the first questions."""
    for each in wanted.objects:
        metadata = each["metadata"]
        if each["kind"] == "APIService":
            yield ObjectAt(api_service_path(metadata["name"]), server)
        elif each["kind"] != "Namespace":
            home = str(metadata.get("namespace") or wanted.namespace)
            yield ObjectAt(path_of("v1", "namespaces", "", home), server)
        yield ObjectAt(discovery_path(str(each["apiVersion"])), server)
    yield from (ObjectAt(path, server) for path in (CONFIG_MAP, KUBERNETES_SLICES, LEASES))


def _each_once(servings: list[Serving | Finding]) -> tuple[Serving, ...]:
    """One for each Service, the first that was seen."""
    found: dict[str, Serving] = {}
    for each in servings:
        if isinstance(each, Serving):
            found.setdefault(each.service.dns, each)
    return tuple(found.values())


def _metered(snapshot: Snapshot, known: Roster) -> tuple[str, ...]:
    if known.alone:
        return ()
    snapshot.expect(*(MayGet("/metrics", each) for each in known.servers))
    return tuple(each for each in known.servers if snapshot.may_get("/metrics", each))


def with_certificates(
    sight: Sight, wanted: Wanted, minted: Mapping[ServiceAt, Minted], now: datetime
) -> tuple[Located, ...]:
    """All objects to apply: new pairs as Secrets ahead of what mounts them, APIServices with their CA."""
    made = [
        secret_of(serving.service, serving.place, minted[serving.service])
        for serving in sight.servings
        if serving.writes_secret
    ]
    others = [each for each in sight.objects if each.path not in {one.path for one in made}]
    first = [each for each in others if each.kind in _BEFORE_SECRETS]
    rest = [
        _verified(each, sight, wanted, minted, now) for each in others if each.kind not in _BEFORE_SECRETS
    ]
    return (*first, *made, *rest)


def _verified(
    each: Located, sight: Sight, wanted: Wanted, minted: Mapping[ServiceAt, Minted], now: datetime
) -> Located:
    """An APIService with what its Service's certificate is verified by; any other object as it is."""
    serving = sight.serving(service_of(each.object)) if each.kind == "APIService" else None
    if serving is None:
        return each
    bundle = serving.bundle
    if serving.how == "mint":  # what is published already goes on being trusted
        authority = minted[serving.service].authority.decode()
        bundle = bundle_of([*still_trusted(authority, now), *still_trusted(bundle, now)])
    live = sight.apis[each.object["metadata"]["name"]]
    return Located(_with_tls(each.object, serving, bundle, live, wanted), each.path, each.target)


def prepared(
    located: Located, live: Object | None, token: str, inventory: tuple[str, ...], *, manager: str
) -> Object:
    """What is applied: with the mark of the plan that created it, and on an APIService the list of those."""
    metadata = dict(located.object["metadata"])
    annotations = dict(metadata.pop("annotations", None) or {})
    for ours in (CREATED, INVENTORY):  # in a file that was read from a cluster they speak of another object
        annotations.pop(ours, None)
    mark = token if live is None else created_stamp(live).partition(":")[2]
    owned = owned_fields(live, manager) if live else {}
    if mark and (live is None or owned):
        annotations[CREATED] = mark
    if located.kind == "APIService" and (listed := tuple(dict.fromkeys((*inventory_of(live), *inventory)))):
        annotations[INVENTORY] = json.dumps(listed, separators=(",", ":"))
    metadata |= {"annotations": annotations} if annotations else {}
    return located.object | {"metadata": metadata}


def inventory_of(api_service: Object | None) -> tuple[str, ...]:
    """The paths of what aggctl created for an APIService."""
    try:
        annotations = ((api_service or {}).get("metadata") or {}).get("annotations") or {}
        found = json.loads(annotations.get(INVENTORY, "[]"))
    except (ValueError, TypeError):
        return ()
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def is_ours(live: Object | None) -> bool:
    """Whether an object is, or is about to be, one that aggctl created."""
    return live is None or bool(created_stamp(live))


def says_nothing(each: Located, live: Object | None) -> bool:
    """A Namespace that is wanted by its name alone, and is there: there is nothing to apply."""
    bare = each.kind == "Namespace" and set(each.object) <= {"apiVersion", "kind", "metadata"}
    return bare and set(each.object["metadata"]) == {"name"} and not is_ours(live)


def _with_tls(object_: Object, serving: Serving, bundle: str, live: Object | None, wanted: Wanted) -> Object:
    spec = {
        name: value
        for name, value in object_["spec"].items()
        if name not in ("caBundle", "insecureSkipTLSVerify")
    }
    metadata = dict(object_["metadata"])
    if serving.how == "insecure":
        spec["insecureSkipTLSVerify"] = True
    elif serving.how != "injected":
        spec["caBundle"] = encoded(bundle.encode())
    if serving.how != "insecure" and live and _says_insecure(live, wanted.manager):
        spec["insecureSkipTLSVerify"] = False  # left out it would stay as it is, and our caBundle is refused
    if wanted.tls.mode == "cert-manager":
        name = f"{serving.service.namespace}/{serving.service.name}"
        metadata["annotations"] = dict(metadata.get("annotations") or {}) | {INJECT: name}
    return object_ | {"metadata": metadata, "spec": spec}


def _says_insecure(live: Object, manager: str) -> bool:
    """Whether it is insecure now, or was until we said no, which must be said again to stay said."""
    said = owned_fields(live, manager).get("f:spec", {})
    return bool((live.get("spec") or {}).get("insecureSkipTLSVerify")) or "f:insecureSkipTLSVerify" in said


def _with_service(each: Located, located: tuple[Located, ...], namespace: str) -> Located:
    """An APIService whose Service says no namespace gets that of the set's Service, else ours."""
    service = (each.object.get("spec") or {}).get("service") if each.kind == "APIService" else None
    if not isinstance(service, dict) or service.get("namespace"):
        return each
    homes = [
        one.namespace
        for one in located
        if one.kind == "Service" and one.object["metadata"]["name"] == service.get("name")
    ]
    spec = each.object["spec"] | {"service": service | {"namespace": homes[0] if homes else namespace}}
    return Located(each.object | {"spec": spec}, each.path, each.target)


def _serving(
    snapshot: Snapshot,
    server: str,
    declared: Located,
    at: ServiceAt,
    lives: Mapping[str, Object | None],
    wanted: Wanted,
    now: datetime,
) -> Serving | Finding:
    """The certificate of a Service; the caBundle that is published for it may be that of another version."""
    place = wanted.places.get(at) or _asked(snapshot, server, at, wanted.tls, declared.object)
    if isinstance(place, Finding):
        return place
    return serving_of(
        snapshot,
        server,
        at,
        wanted.tls,
        declared=declared.object,
        live=next((live for live in lives.values() if serves(at, live)), None),
        place=place,
        outside=wanted.outside,
        folder=wanted.folder,
        now=now,
    )


def _asked(snapshot: Snapshot, server: str, at: ServiceAt, tls: Tls, declared: Object) -> PairPlace | Finding:
    """Where a server that runs already reads its pair; asked only where that matters."""
    if (tls.mode or default_mode(declared)) not in ("self", "secret", "cert-manager"):
        return PairPlace("")
    found = place_of_running(snapshot, server, at)
    if isinstance(found, str) and tls.mode == "secret":
        return PairPlace(tls.name)  # the user says so, and what is served will be looked at
    if isinstance(found, str):
        return finding(
            "serving-secret-unknown",
            f"Service {at.namespace}/{at.name}",
            f"nobody knows where its server reads its certificate: {found}",
            "mount a Secret for --tls-cert-file and --tls-private-key-file in its Pods; or --tls insecure",
        )
    return found


def place_of_running(snapshot: Snapshot, server: str, at: ServiceAt) -> PairPlace | str:
    """The Secret that the Pods behind a Service serve with, or why that cannot be told."""
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server) or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        return "the Service selects no Pods"
    pods = newest((snapshot.object(pods_path(at.namespace, selector), server) or {}).get("items") or [])
    if not pods:
        return "it has no Pods"
    container = container_for(pods[0]["spec"], service, at.port)
    if isinstance(container, WhyNot):
        return container.reason
    found = serving_secret(pods[0]["spec"], at.namespace, str(container["name"]))
    return (
        found.reason
        if isinstance(found, WhyNot)
        else PairPlace(found.secret, found.cert_entry, found.key_entry)
    )
