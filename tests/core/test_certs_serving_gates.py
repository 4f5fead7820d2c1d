"""What each step of renewing a serving certificate waits for, at each kube-apiserver and endpoint."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import OTHER_SERVING_CA, SERVING_CA, api_service, cluster, path, service, serving
from support.snapshots import SERVER, Scene, certificate, slices

from aggctl.core import pki
from aggctl.core.apiservers import Roster
from aggctl.core.certs import serving as c
from aggctl.core.checks import evaluate
from aggctl.core.extension import NO_SECRET, ServiceAt
from aggctl.core.findings import Finding, NotChecked
from aggctl.core.questions import (
    AggregatorQueue,
    Handshake,
    ObjectAt,
    QueueSeen,
    ServedSeen,
    UnavailableApis,
    Unknown,
)
from aggctl.core.register.certificates import encoded

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict
    from aggctl.core.plan import Gate

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
NAME, NEXT = "v1.things.example", "v1beta1.things.example"
PEER = "https://10.0.0.12:6443"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
ENDPOINT = "10.1.0.5:6443"
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
OLD, NEW = serving(), serving(ca=OTHER_SERVING_CA)
NEW_CERTIFICATE = certificate(NEW).fingerprint
BUNDLE = SERVING_CA.certificate
DEADLINE = 60.0

BEFORE = {SERVER: QueueSeen(7.0, 0.0), PEER: QueueSeen(3.0, 1.0)}
READ = {AggregatorQueue(SERVER): QueueSeen(9.0, 0.0), AggregatorQueue(PEER): QueueSeen(5.0, 0.0)}


def api(name: str) -> Object:
    return api_service(name, caBundle=encoded(BUNDLE))


def available(status: str, name: str = NAME) -> Object:
    return api(name) | {"status": {"conditions": [{"type": "Available", "status": status}]}}


def served_of(*apis: Object) -> c.Served:
    return c.Served(AT, apis, NO_SECRET, "")


BOTH_WELL = served_of(available("True"), available("True", NEXT))
AVAILABLE_HERE = {UnavailableApis(each): {NAME: False, NEXT: False} for each in (SERVER, PEER)}


def unmet(gate: Gate, scene: Scene) -> str:
    """The code of the first condition that is not met, or of why it is not known; empty where all are."""
    for condition in gate.conditions:
        found: Verdict = scene.ask(partial(evaluate, condition))
        if isinstance(found, Finding):
            return found.code
        if isinstance(found, NotChecked):
            return found.why.code
    return ""


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({}, ""),
        ({AggregatorQueue(PEER): QueueSeen(4.0, 0.0)}, "ca-bundle-not-read"),
        ({AggregatorQueue(PEER): QueueSeen(5.0, 1.0)}, "ca-bundle-not-read"),
        ({AggregatorQueue(PEER): FORBIDDEN}, FORBIDDEN.code),
        ({UnavailableApis(PEER): {NAME: False, NEXT: True}}, "api-not-available-everywhere"),
    ],
    ids=["so it is", "one of two APIs read", "one still waits", "counters hidden", "one API fell out"],
)
def test_both_are_trusted_once_each_kube_apiserver_has_read_all_versions(
    answers: dict[Any, Any], code: str
) -> None:
    gate = c.trusts_both(BOTH_WELL, BEFORE, DEADLINE)
    assert unmet(gate, cluster().answering({**READ, **AVAILABLE_HERE, **answers})) == code


def test_an_api_that_was_not_available_before_is_not_waited_for_to_trust_both() -> None:
    gate = c.trusts_both(served_of(available("False"), api(NEXT)), BEFORE, DEADLINE)
    assert unmet(gate, cluster().answering(READ)) == ""


def showing(*pairs: pki.KeyPair | Unknown) -> Scene:
    """Two versions of a server whose endpoints show these certificates."""
    addresses = [f"10.1.0.{5 + number}" for number, _ in enumerate(pairs)]
    scene = cluster(service(), api(NAME), api(NEXT)).object(SLICES, slices(*addresses, https=6443))
    seen = {
        Handshake(f"{address}:6443", AT.dns, ""): each
        if isinstance(each, Unknown)
        else ServedSeen(each.certificate)
        for address, each in zip(addresses, pairs, strict=True)
    }
    return scene.answering(seen)


GARBAGE, NOTHING = pki.KeyPair(b"no PEM", b""), pki.KeyPair(b"", b"")
GONE = showing(NEW).object(path(service()), None)
API_GONE = showing(NEW).object(path(api(NAME)), None)


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (showing(NEW, NEW), ""),
        (showing(NEW, OLD), "serving-certificate-old"),
        (showing(NEW, GARBAGE), "serving-certificate-old"),
        (showing(NEW, NOTHING), "serving-certificate-old"),
        (showing(NEW, FORBIDDEN), FORBIDDEN.code),
        (showing(), "serving-certificate-old"),
        (GONE, "serving-certificate-old"),
        (API_GONE, "api-not-available"),
    ],
    ids=[
        "all",
        "one shows the old",
        "one shows garbage",
        "one shows nothing",
        "one is silent",
        "none",
        "no Service",
        "no APIService",
    ],
)
def test_the_old_ca_goes_when_every_endpoint_shows_the_new_certificate(scene: Scene, code: str) -> None:
    gate = c.serves_new(BOTH_WELL, NEW_CERTIFICATE, SERVER, DEADLINE)
    assert unmet(gate, scene) == code


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (showing(OLD, OLD), ""),
        (showing(OLD, NEW), "serving-certificate-stays"),
        (showing(GARBAGE), ""),
        (showing(OLD, FORBIDDEN), ""),
        (showing(FORBIDDEN, NEW), "serving-certificate-stays"),
        (showing(), ""),
        (GONE, ""),
        (API_GONE, ""),
    ],
    ids=[
        "none",
        "one",
        "garbage",
        "one is silent",
        "behind a silent one",
        "none ready",
        "no Service",
        "no APIService",
    ],
)
def test_undone_the_new_ca_goes_when_no_endpoint_shows_the_new_certificate(scene: Scene, code: str) -> None:
    gate = c.serves_old(served_of(api(NAME)), NEW_CERTIFICATE, SERVER, DEADLINE)
    assert unmet(gate, scene) == code


def answering(**also: Any) -> Scene:
    """Everything that proves the new CA, at two kube-apiservers."""
    answers = {
        ObjectAt(f"/apis/things.example/{version}", each): {"groupVersion": f"things.example/{version}"}
        for version in ("v1", "v1beta1")
        for each in (SERVER, PEER)
    }
    bundle = BUNDLE.decode()
    verified = {Handshake(ENDPOINT, AT.dns, bundle): ServedSeen(OLD.certificate)}
    return showing(OLD).answering({**READ, **AVAILABLE_HERE, **verified, **answers, **also})


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({}, ""),
        ({AggregatorQueue(PEER): QueueSeen(3.0, 0.0)}, "ca-bundle-not-read"),
        ({UnavailableApis(SERVER): {NAME: False, NEXT: True}}, "api-not-available-everywhere"),
        (
            {Handshake(ENDPOINT, AT.dns, BUNDLE.decode()): ServedSeen(b"", "another CA")},
            "serving-certificate-not-verified",
        ),
        ({ObjectAt("/apis/things.example/v1beta1", PEER): None}, "api-not-answering"),
    ],
    ids=["so it is", "bundle not read", "not available", "not verified", "one server does not answer"],
)
def test_it_is_proven_when_every_kube_apiserver_answers_for_each_version(
    answers: dict[Any, Any], code: str
) -> None:
    gate = c.proven(BOTH_WELL, Roster((SERVER, PEER)), BEFORE, SERVER, DEADLINE)
    scene = answering()
    assert unmet(gate, scene.answering(answers)) == code


def test_the_proof_asks_for_an_api_too_that_was_not_available_before() -> None:
    gate = c.proven(
        served_of(available("False")), Roster((SERVER,)), {SERVER: BEFORE[SERVER]}, SERVER, DEADLINE
    )
    down = {UnavailableApis(SERVER): {NAME: True}}
    assert unmet(gate, answering().answering(down)) == "api-not-available-everywhere"


def test_every_version_is_looked_at_behind_its_own_port() -> None:
    """The second is behind another port of the Service, where the old certificate is shown."""
    ports = [{"name": "https", "port": 443}, {"name": "next", "port": 8443}]
    other = api_service(NEXT, port=8443, caBundle=encoded(BUNDLE))
    scene = cluster(service(ports=ports), api(NAME), other)
    scene = scene.object(SLICES, slices("10.1.0.5", https=6443, next=9443))
    shown = {Handshake(ENDPOINT, AT.dns, ""): ServedSeen(NEW.certificate)}
    shown |= {Handshake("10.1.0.5:9443", AT.dns, ""): ServedSeen(OLD.certificate)}
    gate = c.serves_new(served_of(api(NAME), other), NEW_CERTIFICATE, SERVER, DEADLINE)
    assert unmet(gate, scene.answering(shown)) == "serving-certificate-old"


def test_an_endpoint_that_shows_nothing_is_not_said_to_show_the_old_certificate() -> None:
    gate = c.serves_new(served_of(api(NAME)), NEW_CERTIFICATE, SERVER, DEADLINE)
    found = showing(NOTHING).ask(partial(evaluate, gate.conditions[0]))
    assert isinstance(found, Finding)
    assert "shows no certificate" in found.message
