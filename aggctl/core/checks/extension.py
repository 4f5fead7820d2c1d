"""Checks of a registered API: ours, available, verified, and answering through each kube-apiserver."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.checks.workload import endpoints_of
from aggctl.core.extension import Api, ServiceAt
from aggctl.core.findings import Finding, Passed
from aggctl.core.questions import Handshake, ObjectAt
from aggctl.core.resources import path_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from aggctl.core.questions import ServedSeen
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

API_SERVICES = "apiregistration.k8s.io/v1"
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
_NO_ANSWER = "apiserver-not-ready"
"""What a 503 is called wherever it comes from; for an aggregated API the way behind kube-apiserver fails."""


def api_service_path(name: str) -> str:
    """Where an APIService is."""
    return path_of(API_SERVICES, "apiservices", "", name)


def service_of(api_service: Object) -> ServiceAt | None:
    """The Service that an APIService names; None where kube-apiserver serves it itself."""
    service = (api_service.get("spec") or {}).get("service")
    if not isinstance(service, dict):
        return None
    return ServiceAt(
        str(service.get("namespace", "")), str(service.get("name", "")), int(service.get("port") or 443)
    )


def api_of(api_service: Object) -> Api:
    """The version and group of an APIService; that of the core has no group."""
    spec = api_service.get("spec") or {}
    return Api(str(spec.get("version") or ""), str(spec.get("group") or ""))


def ca_bundle_of(api_service: Object) -> str:
    """The PEM text of spec.caBundle; empty where there is none that can be read."""
    try:
        return base64.b64decode(str((api_service.get("spec") or {}).get("caBundle") or "")).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def available(
    snapshot: Snapshot, *, name: str, namespace: str, service: str, server: str
) -> Passed | Finding:
    """The APIService still names our Service, and reason `Passed` says that the Service was asked."""
    found = snapshot.object(api_service_path(name), server)
    if found is None:
        return _finding("api-not-available", name, "the APIService is not there", "register it again")
    at = service_of(found)
    if at is None or (at.namespace, at.name) != (namespace, service):
        return Finding(
            code="api-taken-over",
            severity="error",
            subject=f"APIService {name}",
            message=f"it names {f'Service {at.namespace}/{at.name}' if at else 'no Service'} now",
            expected=f"Service {namespace}/{service}",
            fix=f"see who changes it: kubectl get apiservice {name} -o yaml --show-managed-fields",
            hopeless=True,
        )
    condition = condition_of(found)
    reason, said = str(condition.get("reason")), clean(str(condition.get("message") or ""), 400)
    if condition.get("status") == "True" and reason == "Passed":
        return Passed("Available, reason Passed")
    if "unsupported service type" in said:
        return _finding(
            "externalname-with-routing",
            name,
            "kube-apiserver dials endpoints (--enable-aggregator-routing), and an ExternalName has none",
            "register the address instead: --external IP:PORT",
            said,
        )
    what = f"not Available, {reason}: {said}" if condition else "no kube-apiserver has looked at it yet"
    return _finding(
        "api-not-available",
        name,
        what,
        f"aggctl explain api-not-available     (then: kubectl get apiservice {name} -o yaml)",
    )


def served(snapshot: Snapshot, *, name: str, server: str) -> Passed | Finding:
    """Each endpoint that can be dialled from here serves what the caBundle verifies, by name."""
    found = snapshot.object(api_service_path(name), server) or {}
    at = service_of(found)
    if at is None:
        return _finding("api-not-available", name, "the APIService is not there", "register it again")
    if (found.get("spec") or {}).get("insecureSkipTLSVerify"):
        return Passed("not verified, as the APIService asks")
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server)
    addresses = endpoints_of(snapshot, service, at.port, server) if service else ()
    authority = ca_bundle_of(found)
    snapshot.expect(*(Handshake(address, at.dns, authority) for address in addresses))
    seen = [each for each in addresses if not snapshot.unknown(Handshake(each, at.dns, authority))]
    for address in seen:
        if problem := snapshot.served(address, at.dns, authority).problem:
            return Finding(
                code="serving-certificate-not-verified",
                severity="error",
                subject=f"{address} of APIService {name}",
                message=f"what {address} serves does not verify as {at.dns}: {problem}",
                expected=f"a certificate for {at.dns}, signed by a CA of the caBundle",
                fix="see that the server uses the certificate that was made for it",
                evidence=(problem,),
            )
    return Passed(f"{len(seen)} of {len(addresses)} endpoints verified from here")


def shows(snapshot: Snapshot, *, name: str, fingerprint: str, server: str) -> Passed | Finding:
    """Each ready endpoint of an API serves this very certificate; NotKnown where one cannot be dialled."""
    at = service_of(snapshot.object(api_service_path(name), server) or {})
    if at is None:
        return _finding("api-not-available", name, "the APIService is not there", "register it again")
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server)
    addresses = endpoints_of(snapshot, service, at.port, server) if service else ()
    snapshot.expect(*(Handshake(address, at.dns, "") for address in addresses))
    if not addresses:
        return _not_shown(name, "no endpoint is ready")
    for address in addresses:
        seen = snapshot.served(address, at.dns, "")
        if not seen.certificate:
            return _not_shown(name, f"{address} shows no certificate ({seen.problem})")
        if _fingerprint(seen) != fingerprint:
            return _not_shown(name, f"{address} still serves the old certificate")
    return Passed(f"{len(addresses)} endpoints serve the new certificate")


def shows_no_more(snapshot: Snapshot, *, name: str, fingerprint: str, server: str) -> Passed | Finding:
    """No endpoint of an API that can be dialled serves this certificate any more."""
    at = service_of(snapshot.object(api_service_path(name), server) or {})
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), server) if at else None
    if at is None or service is None:
        return Passed("nothing is there to serve it")
    asked = [Handshake(each, at.dns, "") for each in endpoints_of(snapshot, service, at.port, server)]
    snapshot.expect(*asked)
    for each in asked:
        if (
            not snapshot.unknown(each)
            and _fingerprint(snapshot.served(each.address, at.dns, "")) == fingerprint
        ):
            return _finding(
                "serving-certificate-stays",
                name,
                f"{each.address} still serves the certificate that was taken back",
                "see whether the server reads its files again when they change; else restart it",
            )
    return Passed(f"{len(asked)} endpoints serve another certificate")


def read_again(snapshot: Snapshot, *, server: str, adds: float, apis: int) -> Passed | Finding:
    """This kube-apiserver has read so many APIServices since its counter stood at `adds`."""
    queue = snapshot.queue(server)
    if queue.adds - adds >= apis and not queue.depth:
        return Passed(f"{server} has read them")
    return Finding(
        code="ca-bundle-not-read",
        severity="error",
        subject=server,
        message=f"it has not read the changed caBundle yet ({queue.adds - adds:.0f} of {apis} APIs)",
        fix=f"kubectl --server {server} get --raw /metrics | grep APIServiceRegistrationController",
    )


def answers(snapshot: Snapshot, *, group: str, version: str, server: str) -> Passed | Finding:
    """A GET of the version's discovery through this kube-apiserver is answered by that very version."""
    api = Api(version, group)
    unknown = snapshot.unknown(ObjectAt(api.path, server))
    if unknown and unknown.code == _NO_ANSWER:
        return _finding(
            "api-not-available-everywhere", api.name, unknown.reason, "on that node: sudo aggctl doctor"
        )
    found = snapshot.object(api.path, server)
    if found is None:
        return _finding(
            "api-not-answering",
            api.name,
            f"GET {api.path} through {server} answers 404",
            "see that the server serves this version",
        )
    said = clean(str(found.get("groupVersion") or "no group and version"), 100)
    if said != f"{group}/{version}":
        return _finding(
            "api-answers-other-group",
            api.name,
            f"GET {api.path} through {server} answers for {said}",
            "see that the server serves this group and version",
            said,
        )
    return Passed(f"GET {api.path} through {server}")


def gone(snapshot: Snapshot, *, group: str, version: str, server: str) -> Passed | Finding:
    """This kube-apiserver does not serve the version any more."""
    api = Api(version, group)
    if snapshot.object(api.path, server) is None:
        return Passed(f"{api.path} is gone from {server}")
    return _finding("api-still-there", api.name, f"{server} still serves {api.path}", "wait, then look again")


def not_unavailable(snapshot: Snapshot, *, name: str, server: str) -> Passed | Finding:
    """This kube-apiserver itself finds the API available; the condition is one that all of them write."""
    if snapshot.unavailable_apis(server).get(name) is False:
        return Passed(f"available to {server}")
    return _finding(
        "api-not-available-everywhere",
        name,
        f"{server} does not find it available",
        f"kubectl --server {server} get --raw /metrics | grep aggregator_unavailable_apiservice",
    )


def condition_of(api_service: Object) -> Object:
    """The condition Available; empty before it was looked at."""
    conditions = (api_service.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == "Available"), {})


def _finding(code: str, name: str, message: str, fix: str, evidence: str | None = None) -> Finding:
    return Finding(
        code=code,
        severity="error",
        subject=f"APIService {name}",
        message=message,
        fix=fix,
        evidence=(evidence,) if evidence else (),
        hopeless=evidence is not None,
    )


def _not_shown(name: str, message: str) -> Finding:
    return _finding(
        "serving-certificate-old",
        name,
        message,
        "see whether the server reads its files again when they change; else restart its Pods",
    )


def _fingerprint(seen: ServedSeen) -> str:
    try:
        return pki.read_certificates(seen.certificate)[0].fingerprint
    except pki.PkiError:
        return ""
