"""Faults of a working API, each made for real: doctor names the cause, and what it prints mends it.

The table names a fault and the code that doctor has to give; nothing in it is known to doctor.
"""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from support.kube import API_SERVICES
from support.ward import API, NAME, OTHER_CA, RESOURCES, SERVICE, SERVICES, Ward, black_hole, ended, ward_in

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from http.server import BaseHTTPRequestHandler

pytestmark = pytest.mark.controlplane


@dataclass(frozen=True)
class Fault:
    """How to break it, and what doctor has to say: on the node, and with a kubeconfig alone.

    `printed`: the command that doctor prints mends it, and is run; else the test does what the fix says.
    """

    code: str
    breaks: Callable[[Ward], AbstractContextManager[object]]
    anywhere: str = ""
    printed: bool = False


@pytest.fixture(scope="module", name="ward")
def _ward(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    with ward_in(tmp_path_factory.mktemp("ward")) as ward:
        ward.well()
        yield ward


# --- objects ----------------------------------------------------------------------------------------------


@contextmanager
def _api(ward: Ward, **spec: Any) -> Iterator[None]:
    """Another spec of the APIService."""
    ward.patch_api(**spec)
    try:
        yield
    finally:
        ward.remake_api(caBundle=ward.bundle)


@contextmanager
def _without_service(ward: Ward) -> Iterator[None]:
    before = ward.kube.get(f"{SERVICES}/{SERVICE}")
    ward.kube.delete(f"{SERVICES}/{SERVICE}")
    try:
        yield
    finally:
        spec = {"ports": before["spec"]["ports"]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": spec}
        ward.kube.ask("POST", SERVICES, service)


@contextmanager
def _service(ward: Ward, **spec: Any) -> Iterator[None]:
    """Another Service of the same name."""
    with _without_service(ward):
        whole = {"ports": [{"name": "https", "port": 443}]} | spec
        made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": whole}
        status, found = ward.kube.ask("POST", SERVICES, made)
        assert status == 201, found
        try:
            yield
        finally:
            ward.kube.delete(f"{SERVICES}/{SERVICE}")


@contextmanager
def _endpoints(ward: Ward, port: int = 0, **more: Any) -> Iterator[None]:
    ward.point_at(port or ward.hello.port, **more)
    try:
        yield
    finally:
        ward.point_at(ward.hello.port)


@contextmanager
def _black_holed(ward: Ward) -> Iterator[None]:
    with black_hole(ward.address) as port, _endpoints(ward, port):
        yield


@contextmanager
def _closed_port(ward: Ward) -> Iterator[None]:
    with black_hole(ward.address) as port:
        pass  # it was free a moment ago, and nobody listens there now
    with _endpoints(ward, port):
        yield


@contextmanager
def _stale(ward: Ward) -> Iterator[None]:
    """The namespace went, and the APIService stayed."""
    ward.patch_api(service={"name": "gone", "namespace": "gone", "port": 443})
    try:
        yield
    finally:
        ward.remake_api(caBundle=ward.bundle)


OBJECTS = {
    "the Service is deleted": Fault("service-not-found", _without_service),
    "the APIService is left over": Fault("api-service-stale", _stale, printed=True),
    "the APIService names a port that the Service has not": Fault(
        "service-port-missing", lambda ward: _api(ward, service={"port": 444}), printed=True
    ),
    "the APIService names a namespace that the Service is not in": Fault(
        "service-in-other-namespace", lambda ward: _api(ward, service={"namespace": "kube-node-lease"}),
        printed=True,
    ),
    "the port is called otherwise in the EndpointSlice": Fault(
        "service-port-name-mismatch", lambda ward: _endpoints(ward, name="web")
    ),
    "an ExternalName, with routing": Fault(
        "externalname-with-routing",
        lambda ward: _service(ward, type="ExternalName", externalName="localhost"),
    ),
    "no endpoints": Fault("no-ready-endpoint", lambda ward: _endpoints(ward, addresses=("",))),
    "no endpoint is ready": Fault("no-ready-endpoint", lambda ward: _endpoints(ward, ready=False)),
    "nothing listens": Fault("connection-refused", _closed_port),
    "packets are dropped": Fault("endpoint-timeout", _black_holed),
    "there is no route": Fault(
        "no-route-to-endpoint", lambda ward: _endpoints(ward, addresses=("255.255.255.255",))
    ),
    "an empty caBundle": Fault("ca-bundle-empty", lambda ward: _api(ward, caBundle=None)),
    "a caBundle that is none": Fault(
        "ca-bundle-not-readable", lambda ward: _api(ward, caBundle="bm8gY2VydGlmaWNhdGU=")
    ),
    "the caBundle of another CA": Fault(
        "serving-certificate-of-another-ca",
        lambda ward: _api(ward, caBundle=_encoded(pki.new_ca("old-ca", ended(3)["begins"]).certificate)),
    ),
    "insecure": Fault(
        "tls-not-verified", lambda ward: _api(ward, caBundle=None, insecureSkipTLSVerify=True)
    ),
}  # fmt: skip


def _encoded(pem: bytes) -> str:
    import base64  # noqa: PLC0415 -- for this one value

    return base64.b64encode(pem).decode()


# --- TLS ---------------------------------------------------------------------------------------------------


def _serving(**pair: Any) -> Callable[[Ward], AbstractContextManager[None]]:
    """The server shows a certificate such as this."""
    return lambda ward: ward.another_server(ward.pair(**pair))


def _common_name_only(ward: Ward) -> AbstractContextManager[None]:
    """As many a tutorial makes it: the name in the CN, no SAN."""
    model = x509.load_pem_x509_certificate(ward.pair().certificate)
    key = ward.pair().key
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]))
        .issuer_name(x509.load_pem_x509_certificate(ward.hello.ca.certificate).subject)
        .public_key(pki.load_key(key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .sign(pki.load_key(ward.hello.ca.key), hashes.SHA256())
    )
    return ward.another_server(pki.KeyPair(made.public_bytes(serialization.Encoding.PEM), key))


def _old_tls(ward: Ward) -> AbstractContextManager[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return ward.another_server(ward.pair(), context=context)


TLS = {
    "the serving certificate expired": Fault("serving-certificate-expired", _serving(**ended(2))),
    "the serving certificate is not valid yet": Fault(
        "serving-certificate-not-yet-valid", _serving(begins=ended(-3)["begins"])
    ),
    "the serving certificate is for another name": Fault(
        "serving-certificate-wrong-name", _serving(sans=("adapter.monitoring.svc",))
    ),
    "the serving certificate has its name in the CN only": Fault(
        "serving-certificate-common-name-only", _common_name_only
    ),
    "another CA signed the serving certificate": Fault(
        "serving-certificate-of-another-ca", _serving(ca=OTHER_CA)
    ),
    "another process answers": Fault(
        "another-server-answers",
        lambda ward: ward.another_server(
            ward.pair(ca=OTHER_CA, sans=("ingress.example.com",)), lambda _: (404, {"message": "no page"})
        ),
        anywhere="serving-certificate-wrong-name",
    ),
    "plain HTTP": Fault("plain-http", lambda ward: ward.another_server(None)),
    "TLS 1.1": Fault("tls-too-old", _old_tls),
}  # fmt: skip


# --- what the server answers -------------------------------------------------------------------------------


def _answering(status: int, body: Any) -> Callable[[Ward], AbstractContextManager[None]]:
    return lambda ward: ward.another_server(ward.pair(), lambda _: (status, body))


def _status(status: int, message: str) -> Callable[[Ward], AbstractContextManager[None]]:
    return _answering(status, {"kind": "Status", "apiVersion": "v1", "message": message, "code": status})


@contextmanager
def _slow(ward: Ward) -> Iterator[None]:
    """It takes a request and does not answer before the test is over."""
    over = threading.Event()

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, Any]:
        over.wait()
        return 200, RESOURCES

    with ward.another_server(ward.pair(), answer):
        try:
            yield
        finally:
            over.set()


@contextmanager
def _says_nothing(ward: Ward) -> Iterator[None]:
    """It takes connections, and never says a word of TLS."""
    import socket  # noqa: PLC0415 -- for this one server

    with socket.socket() as listener:
        listener.bind((ward.address, 0))
        listener.listen(64)
        with _endpoints(ward, listener.getsockname()[1]):
            yield


FORBIDDEN = 'forbidden: User "{}" cannot get path "/apis/hello.example.com/v1alpha1"'

ANSWERS = {
    "401": Fault("identity-refused", _status(401, "Unauthorized")),
    "403 as anonymous": Fault(
        "identity-not-taken", _status(403, FORBIDDEN.format("system:anonymous")), anywhere="identity-refused"
    ),
    "403 as front-proxy-client": Fault(
        "taken-for-ordinary-client",
        _status(403, FORBIDDEN.format("front-proxy-client")),
        anywhere="identity-refused",
    ),
    "404": Fault("version-not-served", _status(404, "the server could not find the requested resource")),
    "429": Fault("server-throttles", _status(429, "too many requests")),
    "503 of its own": Fault("server-fails", _status(503, "my database is down")),
    "500": Fault("server-fails", _status(500, "panic")),
    "another group": Fault(
        "api-answers-other-group", _answering(200, RESOURCES | {"groupVersion": "bye.example.com/v1"})
    ),
    "slower than kube-apiserver waits": Fault("discovery-slow", _slow, anywhere="endpoint-timeout"),
    "no TLS at all comes back": Fault("handshake-timeout", _says_nothing, anywhere="endpoint-timeout"),
}

FAULTS = OBJECTS | TLS | ANSWERS


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_names_the_cause_and_what_it_prints_mends_it(ward: Ward, name: str) -> None:
    fault = FAULTS[name]
    with fault.breaks(ward):
        found = ward.told(fault.code)
        assert found["fix"]
        ward.told(fault.anywhere or fault.code, ward.doctor_from_anywhere)
        if fault.printed:
            ward.obey(found["fix"])
            if ward.kube.get(f"{API_SERVICES}/{API}"):
                ward.well()
    ward.well()


def test_there_are_many_faults() -> None:
    assert len(FAULTS) >= 30
