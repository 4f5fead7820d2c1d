"""Decide how to register an API: from a Snapshot to a Sight of the cluster, and to the objects to apply."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.apiservers import Roster, roster
from aggctl.core.checks.extension import (
    AUTOMANAGED,
    api_service_path,
    service_of,
)
from aggctl.core.checks.workload import newest, pods_path
from aggctl.core.extension import Api, PairPlace
from aggctl.core.fields import CREATED, MANAGER, created_stamp, managers, owned_fields
from aggctl.core.findings import Finding
from aggctl.core.objects import secret_with
from aggctl.core.podspec import WhyNot
from aggctl.core.published import read_published
from aggctl.core.resources import Located, locate, path_of, target_of
from aggctl.core.serving import container_for, serving_secret
from aggctl.core.serving_need import Serving, bundle_of, default_mode, encoded, serving_of, still_trusted
from aggctl.core.snapshot import MayGet, ObjectAt
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from aggctl.core.extension import ServiceAt, Tls
    from aggctl.core.pki import KeyPair
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

INVENTORY = "aggctl/objects"
"""Annotation on an APIService: what aggctl created for it, for `unregister`."""

INJECT = "cert-manager.io/inject-ca-from"
CERT_MANAGER = "/apis/cert-manager.io/v1"


_BEFORE_SECRETS = ("Namespace", "CustomResourceDefinition")


@dataclass(frozen=True, slots=True)
class Minted:
    """A CA's certificate, whose key is thrown away, and the serving pair that it signed."""

    authority: bytes
    pair: KeyPair


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
    located, problems = locate(snapshot, server, wanted.objects, wanted.namespace)
    located = tuple(_with_service(each, located, wanted.namespace) for each in located)
    declared = [
        (each, at) for each in located if each.kind == "APIService" and (at := service_of(each.object))
    ]
    names = [each.object["metadata"]["name"] for each, _ in declared]
    snapshot.expect(*(ObjectAt(api_service_path(name), server) for name in names))
    lives = {name: snapshot.object(api_service_path(name), server) for name in names}
    found = [*problems, *layer_findings(snapshot, server), *_namespaces(snapshot, server, located)]
    for each, at in declared:
        found += _owner(each, at, lives[each.object["metadata"]["name"]], wanted)
        found += _service(snapshot, server, each, at, located)
    servings: list[Serving] = []
    for each, at in declared if not found else ():
        one = _serving(snapshot, server, each, at, lives, wanted, now)
        if isinstance(one, Finding):
            found += [one] if one not in found else []
        elif one.service.dns not in [known.service.dns for known in servings]:
            servings.append(one)
    if wanted.tls.mode == "cert-manager" and snapshot.object(CERT_MANAGER, server) is None:
        found.insert(0, _no_cert_manager())  # that its kind is unknown follows from it
    known = roster(snapshot, server)
    snapshot.expect(*(MayGet("/metrics", each) for each in known.servers))
    metered = tuple(each for each in known.servers if snapshot.may_get("/metrics", each))
    return Sight(server, located, lives, tuple(servings), known, metered, tuple(found))


def with_certificates(
    sight: Sight, wanted: Wanted, minted: Mapping[ServiceAt, Minted], now: datetime
) -> tuple[Located, ...]:
    """All objects to apply: new pairs as Secrets ahead of what mounts them, APIServices with their CA."""
    made = [_secret(serving, minted[serving.service]) for serving in sight.servings if serving.writes_secret]
    others = [each for each in sight.objects if each.path not in {one.path for one in made}]
    first = [each for each in others if each.kind in _BEFORE_SECRETS]
    rest = [
        _verified(each, sight, wanted, minted, now) for each in others if each.kind not in _BEFORE_SECRETS
    ]
    return (*first, *made, *rest)


def _secret(serving: Serving, minted: Minted) -> Located:
    place, pair = serving.place, minted.pair
    data = {"ca.crt": minted.authority, "tls.crt": pair.certificate, "tls.key": pair.key}
    data |= {place.certificate: pair.certificate, place.key: pair.key}
    secret = secret_with(serving.service, place.secret, {name: encoded(each) for name, each in data.items()})
    path = path_of("v1", "secrets", serving.service.namespace, place.secret)
    return Located(secret, path, target_of(secret))


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


def api_of(api_service: Object) -> Api:
    """The version and group of an APIService."""
    spec = api_service["spec"]
    return Api(str(spec["version"]), str(spec["group"]))


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


def layer_findings(snapshot: Snapshot, server: str) -> Iterator[Finding]:
    """The layer is off: no API can be registered, and none answers."""
    if not read_published(snapshot, server).authorities:
        yield Finding(
            code="layer-off",
            severity="error",
            subject="ConfigMap kube-system/extension-apiserver-authentication",
            message="the aggregation layer is off: the cluster publishes no front-proxy CA",
            expected="requestheader-client-ca-file in it",
            fix="on each control-plane node: sudo aggctl enable",
        )


def _namespaces(snapshot: Snapshot, server: str, located: tuple[Located, ...]) -> Iterator[Finding]:
    used = dict.fromkeys(each.namespace for each in located if each.namespace)
    made = {each.object["metadata"]["name"] for each in located if each.kind == "Namespace"}
    paths = {name: path_of("v1", "namespaces", "", name) for name in (*used, *made)}
    snapshot.expect(*(ObjectAt(path, server) for path in paths.values()))
    for name, path in paths.items():
        live = snapshot.object(path, server)
        if live is None and name not in made:
            yield _finding(
                "namespace-missing",
                f"Namespace {name}",
                f"there is no namespace {name}",
                f"kubectl create namespace {name}",
            )
        if live and live["metadata"].get("deletionTimestamp"):
            yield _finding(
                "namespace-terminating",
                f"Namespace {name}",
                f"namespace {name} is being deleted",
                f"wait until it is gone: kubectl wait --for=delete namespace/{name}, then run again",
            )


def _owner(declared: Located, ours: ServiceAt, live: Object | None, wanted: Wanted) -> Iterator[Finding]:
    """An API that is served already, by the cluster itself or by another product."""
    if live is None:
        return
    metadata = live["metadata"]
    at = service_of(live)
    if at is None or (metadata.get("labels") or {}).get(AUTOMANAGED):
        yield _finding(
            "api-served-by-cluster",
            declared.target,
            "kube-apiserver serves this group and version itself: built in, or a CustomResourceDefinition",
            "choose another group or version; or remove the CRD that serves it",
        )
        return
    release = (metadata.get("annotations") or {}).get("meta.helm.sh/release-name")
    helm = f"Helm release {clean(str(release), 80)}" if release else ""
    if wanted.take_over or (_serves(ours, live) and not helm):
        return
    who = ", ".join(clean(each, 60) for each in managers(live)) or "unknown"
    yield _finding(
        "api-owned-by-another",
        declared.target,
        f"it belongs to {helm or f'Service {at.namespace}/{at.name}'} (field managers: {who})",
        "leave it to its owner, or take it over by --take-over",
    )


def _serves(at: ServiceAt, live: Object | None) -> bool:
    """Whether an APIService as it is names this Service, by whichever port."""
    there = service_of(live) if live else None
    return there is not None and (there.namespace, there.name) == (at.namespace, at.name)


def _service(
    snapshot: Snapshot, server: str, declared: Located, at: ServiceAt, located: tuple[Located, ...]
) -> Iterator[Finding]:
    """The Service that an APIService names: in the set, or else in the cluster, with the port."""
    path = path_of("v1", "services", at.namespace, at.name)
    of_set = next((each.object for each in located if each.path == path), None)
    found = of_set or snapshot.object(path, server)
    if found is None:
        yield _finding(
            "service-not-found",
            declared.target,
            f"its Service {at.namespace}/{at.name} is neither among the objects nor in the cluster",
            "add the Service, or name the right one: --service NS/NAME, or -n NAMESPACE",
        )
        return
    ports = [each.get("port") for each in (found.get("spec") or {}).get("ports") or []]
    if at.port not in ports and (found.get("spec") or {}).get("type") != "ExternalName":
        said = ", ".join(str(each) for each in ports) or "none"
        yield _finding(
            "service-port-missing",
            declared.target,
            f"Service {at.namespace}/{at.name} has no port {at.port} (it has {said})",
            f"name its port: --service {at.namespace}/{at.name}:PORT, or spec.service.port",
        )


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
        live=next((live for live in lives.values() if _serves(at, live)), None),
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
        return _finding(
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


def _no_cert_manager() -> Finding:
    return _finding(
        "cert-manager-missing",
        "cert-manager.io/v1",
        "this cluster has no cert-manager: its kind Certificate is unknown",
        "install cert-manager, or let aggctl make the certificate: --tls self",
    )


def _finding(code: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code=code, severity="error", subject=subject, message=message, fix=fix)
