"""APIService, Service and endpoints: whether the objects between kube-apiserver and the server agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.certs.inventory import BUNDLE, Held, expires
from aggctl.core.checks.extension import AUTOMANAGED
from aggctl.core.checks.workload import dialled_of, endpoints_of, slices_path
from aggctl.core.doctor.layer import SOON
from aggctl.core.doctor.signs import SERVICE
from aggctl.core.extension import IN_CLUSTER_PORT
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.doctor.ways import Ways
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backend:
    """What stands behind an API: Service, ready endpoints, and the addresses that kube-apiserver dials."""

    service: Object = field(repr=False)
    kind: str
    endpoints: tuple[str, ...]
    dialled: tuple[str, ...]
    selector: dict[str, str]

    @property
    def outside(self) -> bool:
        """Whether no Pod is behind it that Kubernetes knows of."""
        return not self.selector


# --- APIService --------------------------------------------------------------------------------------------


def of_api_service(subject: Subject, place: Place, ways: Ways) -> tuple[str, list[Finding]]:
    """Whether what it asks for can work."""
    at = f"Service {subject.at.namespace}/{subject.at.name}, port {subject.at.port}"
    return at, [*_hijacked(subject), *_trust(subject, place, ways)]


def _hijacked(subject: Subject) -> Iterator[Finding]:
    if subject.live["metadata"].get("labels", {}).get(AUTOMANAGED):
        yield Finding(
            "built-in-api-hijacked",
            "error",
            subject.name,
            (
                f"{subject.api.group or 'core'}/{subject.api.version} is kube-apiserver's "
                "own, and a Service is set for it"
            ),
            "restart kube-apiserver, which registers its own APIs again; or set spec.service back: "
            f"kubectl patch apiservice {subject.api.name} --type=merge "
            """-p '{"spec":{"service":null,"caBundle":null,"insecureSkipTLSVerify":null}}'""",
            evidence=(f"label {AUTOMANAGED}",),
        )


def _trust(subject: Subject, place: Place, ways: Ways) -> Iterator[Finding]:
    if subject.insecure:
        yield Finding(
            "tls-not-verified",
            "warning",
            subject.name,
            "insecureSkipTLSVerify: kube-apiserver takes anybody's answer for the server's",
            (
                f"aggctl register {subject.api.name} --service "
                f"{subject.at.namespace}/{subject.at.name} --tls self"
            ),
            expected="a caBundle",
        )
        return
    raw = subject.live["spec"].get("caBundle")
    if not raw:
        yield Finding(
            "ca-bundle-empty",
            "warning" if ways.works else "error",  # a CA of the system's may have signed it after all
            subject.name,
            (
                "it has no caBundle: the server is verified by kube-apiserver's system "
                "roots, which did not sign it"
            ),
            _bundle_fix(subject),
            expected="the CA of the server's certificate",
        )
        return
    try:
        authorities = pki.read_certificates(subject.bundle.encode())
    except pki.PkiError as error:
        yield Finding(
            "ca-bundle-not-readable",
            "error",
            subject.name,
            f"its caBundle holds no certificate: {error}",
            _bundle_fix(subject),
            expected="PEM certificates, encoded by base64 once",
        )
        return
    until = max(each.not_after for each in authorities)
    if until <= place.now + SOON:
        last = next(each for each in authorities if each.not_after == until)
        yield expires(Held(BUNDLE, subject.name, last, subject.api.name), place.now)


def _bundle_fix(subject: Subject) -> str:
    return f"aggctl register {subject.api.name} --service {service_of(subject)}"


def service_of(subject: Subject) -> str:
    """The Service as `register --service` takes it."""
    at = subject.at
    return f"{at.namespace}/{at.name}" + (f":{at.port}" if at.port != IN_CLUSTER_PORT else "")


# --- Service -----------------------------------------------------------------------------------------------


def of_service(
    snapshot: Snapshot, subject: Subject, place: Place, ways: Ways
) -> tuple[Backend | None, str, list[Finding]]:
    """The Service that it names, what kube-apiserver makes of it, and what is wrong with it."""
    at = subject.at
    service = snapshot.object(path_of("v1", "services", at.namespace, at.name), place.server)
    if service is None:
        return None, "not there", [_gone(snapshot, subject, place)]
    spec = service.get("spec") or {}
    kind = "headless" if spec.get("clusterIP") == "None" else str(spec.get("type") or "ClusterIP")
    findings = list(_of_port(subject, spec, kind)) + list(_of_kind(subject, place, kind, ways))
    said = f"{kind} {spec.get('clusterIP') or spec.get('externalName') or ''}".strip()
    return backend_of(snapshot, subject, place, service), said, findings


def backend_of(snapshot: Snapshot, subject: Subject, place: Place, service: Object) -> Backend:
    """What stands behind a Service that is there."""
    spec = service.get("spec") or {}
    kind, port = str(spec.get("type") or "ClusterIP"), subject.at.port
    endpoints = endpoints_of(snapshot, service, port, place.server)
    through = dialled_of(service, port, endpoints, routed=bool(place.routed))
    selector = {str(name): str(value) for name, value in (spec.get("selector") or {}).items()}
    return Backend(service, kind, endpoints, through, selector)


def _gone(snapshot: Snapshot, subject: Subject, place: Place) -> Finding:
    at = subject.at
    namespace = path_of("v1", "namespaces", "", at.namespace)
    elsewhere = f"/api/v1/services?fieldSelector=metadata.name%3D{at.name}"
    snapshot.expect(ObjectAt(namespace, place.server), ObjectAt(elsewhere, place.server))
    there = _namespaces_of(snapshot, elsewhere, place.server, at.port)
    if len(there) == 1:
        return Finding(
            "service-in-other-namespace",
            "error",
            subject.name,
            f"it names Service {at.namespace}/{at.name}, and one of that name and port is in {there[0]}",
            f"kubectl patch apiservice {subject.api.name} --type=merge "
            f'-p \'{{"spec":{{"service":{{"namespace":"{there[0]}"}}}}}}\'',
            expected=f"Service {at.namespace}/{at.name}",
        )
    unknown = snapshot.unknown(ObjectAt(namespace, place.server))
    if not unknown and snapshot.object(namespace, place.server) is None:
        return _stale(subject)
    return Finding(
        "service-not-found",
        "error",
        subject.name,
        (
            f"Service {at.namespace}/{at.name} is not there: the API was "
            "uninstalled and its APIService stayed, "
            "or its Service was deleted"
        ),
        f"aggctl unregister {subject.api.name}     (or put the Service back)",
        expected=f"Service {at.namespace}/{at.name}",
    )


def _stale(subject: Subject) -> Finding:
    """Nobody can put a Service back into a namespace that is gone."""
    at = subject.at
    return Finding(
        "api-service-stale",
        "error",
        subject.name,
        f"the namespace {at.namespace} of its Service is gone, and the APIService stayed",
        f"aggctl unregister {subject.api.name}",
        expected=f"Service {at.namespace}/{at.name}",
    )


def _namespaces_of(snapshot: Snapshot, path: str, server: str, port: int) -> tuple[str, ...]:
    """Where a Service of the same name has the same port; a name alone would lead to a stranger's."""
    if snapshot.unknown(ObjectAt(path, server)):
        return ()
    found = (snapshot.object(path, server) or {}).get("items") or []
    return tuple(
        str(each["metadata"].get("namespace"))
        for each in found
        if port in [one.get("port") for one in (each.get("spec") or {}).get("ports") or []]
    )


def _of_port(subject: Subject, spec: Object, kind: str) -> Iterator[Finding]:
    ports = [each.get("port") for each in spec.get("ports") or []]
    if kind != "ExternalName" and subject.at.port not in ports:
        have = ", ".join(map(str, ports)) or "none"
        yield Finding(
            "service-port-missing",
            "error",
            subject.name,
            (
                f"it names port {subject.at.port} of Service "
                f"{subject.at.namespace}/{subject.at.name}, which has {have}"
            ),
            f"kubectl patch apiservice {subject.api.name} --type=merge "
            f'-p \'{{"spec":{{"service":{{"port":{ports[0] if ports else subject.at.port}}}}}}}\'',
            expected=f"port {subject.at.port}",
        )


def _of_kind(subject: Subject, place: Place, kind: str, ways: Ways) -> Iterator[Finding]:
    """Kinds that it cannot dial; whether it dials endpoints, its words tell where flags do not."""
    name = f"{subject.at.namespace}/{subject.at.name}"
    said = {each.code for each in ways.signs(SERVICE)}
    if kind == "ExternalName" and (place.routed or "externalname-with-routing" in said):
        yield Finding(
            "externalname-with-routing",
            "error",
            subject.name,
            "kube-apiserver dials endpoints (--enable-aggregator-routing), and an ExternalName has none",
            f"aggctl register {subject.api.name} --external IP:PORT, or sudo aggctl enable --routing off",
            expected="a Service with endpoints",
        )
    if kind == "headless" and (place.routed is False or "service-headless" in said):
        yield Finding(
            "service-headless",
            "error",
            subject.name,
            f"Service {name} is headless: it has no ClusterIP that kube-apiserver could dial",
            f"make Service {name} again without clusterIP: None, or: sudo aggctl enable --routing on",
            expected="a Service with a ClusterIP",
        )


# --- endpoints ---------------------------------------------------------------------------------------------


def of_endpoints(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place
) -> tuple[str, list[Finding]]:
    """Whether something is ready behind the port."""
    path = slices_path(backend.service)
    if path is None:
        return "none needed", []
    found = snapshot.object(path, place.server)
    if found is None:
        raise NotKnown(ObjectAt(path, place.server), Unknown("before 1.21 there is no EndpointSlice of v1"))
    items = found.get("items") or []
    every = [endpoint for each in items for endpoint in each.get("endpoints") or []]
    said = f"{len(backend.endpoints)}/{len(every)}"
    if backend.endpoints:
        return said, []
    target = f"Service {subject.at.namespace}/{subject.at.name}"
    spec = backend.service.get("spec") or {}
    called = next(
        (str(each.get("name") or "") for each in spec.get("ports") or [] if each["port"] == subject.at.port),
        "",
    )
    names = {str(port.get("name") or "") for each in items for port in each.get("ports") or []}
    if any(_is_ready(each) for each in every) and not names:
        return said, [_no_target_port(subject, target, spec)]
    known = ", ".join(f'"{each}"' for each in sorted(names))
    if any(_is_ready(each) for each in every) and called not in names:
        return said, [
            Finding(
                "service-port-name-mismatch",
                "error",
                target,
                f'its port {subject.at.port} is called "{called}", and its endpoints know {known}',
                "give the port of the Service and that of the EndpointSlice one name",
                expected=f'a port called "{called}" in its EndpointSlices',
            )
        ]
    return said, [
        Finding(
            "no-ready-endpoint",
            "error",
            target,
            f"none of its {len(every)} endpoints is ready" if every else "it has no endpoints",
            f"kubectl -n {subject.at.namespace} get endpointslices,pods -o wide",
            expected="a ready endpoint",
        )
    ]


def _no_target_port(subject: Subject, target: str, spec: Object) -> Finding:
    """Pods are ready, and no container has a port of the name that targetPort gives."""
    ports = [each for each in spec.get("ports") or [] if each.get("port") == subject.at.port]
    wanted = str(ports[0].get("targetPort") or subject.at.port) if ports else "?"
    return Finding(
        "service-target-port-missing",
        "error",
        target,
        f'its targetPort is "{wanted}", and no container of its ready Pods has a port called so',
        f"kubectl -n {subject.at.namespace} get pods -o yaml | grep -A3 containerPort; correct targetPort",
        expected=f'a containerPort called "{wanted}"',
    )


def _is_ready(endpoint: Object) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False
