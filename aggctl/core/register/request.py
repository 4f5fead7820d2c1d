"""From what was typed to what is wanted: objects, and where each server reads its serving pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.extension import service_of
from aggctl.core.delegation import rbac_missing
from aggctl.core.extension import External, Image, PairPlace
from aggctl.core.findings import Finding
from aggctl.core.manifestset.checks import check_set, service_for
from aggctl.core.manifestset.model import Item
from aggctl.core.manifestset.order import apply_order
from aggctl.core.podspec import WhyNot, pod_spec, service_account
from aggctl.core.register.certificates import default_mode
from aggctl.core.register.objects import ANYWHERE, certificate_for, objects_of
from aggctl.core.serving import (
    ServingSecret,
    container_for,
    image_arguments_lost,
    serving_secret,
    tls_names,
    with_serving_secret,
    workload_for,
)
from aggctl.core.shapes import is_api_service, title, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggctl.core.extension import Extension, ServiceAt, Tls
    from aggctl.core.register.objects import Surroundings

Object = dict[str, Any]

WITH_PAIR = ("self", "secret", "cert-manager")
"""The ways by which a server gets its pair from a Secret that we know of."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: objects in the order to apply them, places of pairs, what is to be said of it."""

    objects: tuple[Object, ...] = field(repr=False)
    places: Mapping[ServiceAt, PairPlace]
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stands in the way already."""
        return tuple(each for each in self.findings if each.severity == "error")


def of_flags(extension: Extension, tls: Tls, around: Surroundings = ANYWHERE) -> Request:
    """The objects of an API by flags, and the place of its server's pair."""
    service = extension.service
    secret = tls.name if tls.mode == "secret" else f"{service.name}-tls"
    objects = [*objects_of(extension, secret, around)]
    if tls.mode == "cert-manager":
        objects.append(_certificate(service, secret, tls))
    places = {}
    if isinstance(extension.server, Image):
        places = {service: PairPlace(secret)}
    elif isinstance(extension.server, External):
        places = {service: PairPlace("")}
    items = tuple(Item(each, "by flags") for each in objects)
    return Request(_ordered(objects), places, check_set(items))


def of_files(items: tuple[Item, ...], tls: Tls, *, with_rbac: bool) -> Request:
    """The user's own manifests, completed as far as asked."""
    objects = {id(item): item.object for item in items}
    places: dict[ServiceAt, PairPlace] = {}
    findings = [*check_set(items), *_changed_in_reading(items)]
    if any(each.severity == "error" for each in findings):  # of a shape that the rest need not understand
        return Request(_ordered([*objects.values()]), places, tuple(findings))
    more: list[Object] = []
    for api in (item for item in items if is_api_service(item.object)):
        at = service_of(api.object)
        service = service_for(items, api.object)
        with_pair = (tls.mode or default_mode(api.object)) in WITH_PAIR
        if with_pair and api.object["spec"].get("insecureSkipTLSVerify"):
            findings.append(_verified(api))
        if at is None or service is None or at in places:
            continue
        workload = workload_for(items, service.object)
        if isinstance(workload, WhyNot):
            continue
        pod = pod_spec(workload.object)
        if with_rbac:
            more += rbac_missing(items, at.namespace, service_account(pod))
        container = container_for(pod, service.object, at.port)
        if isinstance(container, WhyNot) or not with_pair:
            continue
        place, changed, said = _pair_of(workload, container, at, tls)
        places[at] = place
        objects[id(workload)] = changed
        findings += said
        if tls.mode == "cert-manager":
            more.append(_certificate(at, place.secret, tls))
    return Request(_ordered([*objects.values(), *more]), places, tuple(findings))


def _pair_of(
    workload: Item, container: Object, at: ServiceAt, tls: Tls
) -> tuple[PairPlace, Object, tuple[Finding, ...]]:
    """Where the server reads its pair; a workload that reads none from a Secret is made to."""
    name = word(container, "name")
    found = serving_secret(pod_spec(workload.object), at.namespace, name)
    wanted = tls.name if tls.mode == "secret" else f"{at.name}-tls"
    if isinstance(found, ServingSecret):
        place = PairPlace(found.secret, found.cert_entry, found.key_entry)
        if tls.mode == "secret" and found.secret != wanted:
            return place, workload.object, (_not_mounted(workload, found.secret, wanted),)
        return place, workload.object, ()
    changed = with_serving_secret(workload.object, name, wanted)
    said = [_made_to_serve(workload, wanted, found.reason)]
    if image_arguments_lost(container):
        said.append(_arguments_lost(workload))
    return PairPlace(wanted), changed, tuple(said)


def _certificate(service: ServiceAt, secret: str, tls: Tls) -> Object:
    return certificate_for(service, secret, tls, tls_names(service.name, service.namespace))


def _ordered(objects: list[Object]) -> tuple[Object, ...]:
    seen: dict[tuple[Any, ...], Object] = {}
    for each in objects:
        metadata = each["metadata"]
        seen.setdefault((each["apiVersion"], each["kind"], metadata.get("namespace"), metadata["name"]), each)
    return apply_order(seen.values())


def _changed_in_reading(items: tuple[Item, ...]) -> list[Finding]:
    return [
        Finding("manifest-read-as", "info", f"{title(item.object)} ({item.place})", note, "")
        for item in items
        for note in item.notes
    ]


def _verified(api: Item) -> Finding:
    return Finding(
        code="insecure-switched-off",
        severity="info",
        subject=f"{title(api.object)} ({api.place})",
        message="insecureSkipTLSVerify is left out; its certificate is verified",
        fix="to keep it: --tls insecure",
    )


def _not_mounted(workload: Item, found: str, wanted: str) -> Finding:
    return Finding(
        code="secret-not-mounted",
        severity="error",
        subject=f"{title(workload.object)} ({workload.place})",
        message=f"its server reads its certificate from Secret {found}, not from {wanted}",
        expected=f"--tls secret={found}, or a volume with Secret {wanted}",
        fix=f"name that one: --tls secret={found}",
    )


def _made_to_serve(workload: Item, secret: str, why: str) -> Finding:
    return Finding(
        code="workload-made-to-serve",
        severity="info",
        subject=f"{title(workload.object)} ({workload.place})",
        message=f"it gets Secret {secret} as a volume, and flags to serve with it: {why}",
        fix="to leave it as it is: --tls insecure",
    )


def _arguments_lost(workload: Item) -> Finding:
    return Finding(
        code="image-arguments-replaced",
        severity="warning",
        subject=f"{title(workload.object)} ({workload.place})",
        message="it has neither command nor args, so that the flags to serve with replace those of its image",
        fix="write the image's own arguments as args, then run again",
    )
