"""What proves each step of a rotation, each with its opposite: loaded, published, trusted, served, gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service, serving
from support.snapshots import CA, ON, OTHER_CA, SERVER, Scene, certificate, slices

from aggctl.core.checks import evaluate
from aggctl.core.checks.extension import api_service_path
from aggctl.core.findings import Finding, NotChecked
from aggctl.core.plan import Condition
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    PROBE_USER,
    AggregatorQueue,
    AskApi,
    AskWith,
    Handshake,
    ObjectAt,
    Processes,
    ProcessSeen,
    QueueSeen,
    ServedSeen,
    Unknown,
    WhoSeen,
)

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict

NAME, IDENTITY = "v1.things.example", "f" * 64
ADDRESSES = ("10.1.1.1:6443", "10.1.1.2:6443")
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
SILENT = Unknown("no route to host")
OLD, NEW = serving(), serving("things.shop.svc", "things.shop")
FINGERPRINT = certificate(NEW).fingerprint


def verdict(scene: Scene, check: str, **arguments: Any) -> Verdict:
    return scene.ask(lambda snapshot: evaluate(Condition(check, tuple(arguments.items())), snapshot))


def told(found: Verdict) -> str:
    """The code of a finding, the kind of any other verdict."""
    return found.code if isinstance(found, Finding) else type(found).__name__


# --- loaded: by the aggregator's queue --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "code"),
    [
        ("client-certificate-loaded", "client-certificate-not-loaded"),
        ("api-services-read-again", "ca-bundle-not-read"),
    ],
    ids=["client certificate", "caBundle"],
)
@pytest.mark.parametrize(
    ("queue", "passes"),
    [
        (QueueSeen(103, 0), True),
        (QueueSeen(250, 0), True),
        (QueueSeen(102, 0), False),
        (QueueSeen(100, 0), False),
        (QueueSeen(103, 1), False),
        (QueueSeen(3, 0), False),
    ],
    ids=["all three", "more", "two of three", "nothing", "one still waits", "a process that began anew"],
)
def test_a_change_is_loaded_once_every_api_was_queued_and_none_waits(
    check: str, code: str, queue: QueueSeen, *, passes: bool
) -> None:
    scene = ON.answering({AggregatorQueue(SERVER): queue})
    found = verdict(scene, check, server=SERVER, adds=100.0, apis=3)
    assert told(found) == ("Passed" if passes else code)


@pytest.mark.parametrize("check", ["client-certificate-loaded", "api-services-read-again"])
def test_a_queue_that_cannot_be_read_proves_nothing(check: str) -> None:
    scene = ON.answering({AggregatorQueue(SERVER): SILENT})
    assert verdict(scene, check, server=SERVER, adds=100.0, apis=3) == NotChecked(SILENT)


@pytest.mark.parametrize("check", ["client-certificate-loaded", "api-services-read-again"])
def test_a_change_that_is_not_loaded_says_how_far_it_is(check: str) -> None:
    scene = ON.answering({AggregatorQueue(SERVER): QueueSeen(102, 0)})
    found = verdict(scene, check, server=SERVER, adds=100.0, apis=3)
    assert isinstance(found, Finding)
    assert (found.severity, found.subject) == ("error", SERVER)
    assert "2 of 3 APIs" in found.message


# --- published --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "there"),
    [
        (ON.publishing(CA), True),
        (ON.publishing(OTHER_CA, CA), True),
        (ON.publishing(OTHER_CA), False),
        (ON.publishing(), False),
        (ON.object(CONFIG_MAP, None), False),
    ],
    ids=["alone", "beside another", "another", "none", "no ConfigMap"],
)
def test_a_ca_is_published_where_the_configmap_holds_it_and_only_there(scene: Scene, *, there: bool) -> None:
    asked = {"server": SERVER, "fingerprint": certificate(CA).fingerprint}
    found = told(verdict(scene, "authority-published", **asked))
    opposite = told(verdict(scene, "authority-not-published", **asked))
    assert found == ("Passed" if there else "new-ca-not-published")
    assert opposite == ("old-ca-still-published" if there else "Passed")


@pytest.mark.parametrize("check", ["authority-published", "authority-not-published"])
@pytest.mark.parametrize(
    "answer",
    [SILENT, {"data": {"requestheader-client-ca-file": "garbage"}}],
    ids=["not readable", "garbage"],
)
def test_what_cannot_be_read_is_neither_published_nor_gone(check: str, answer: Any) -> None:
    scene = ON.answering({ObjectAt(CONFIG_MAP, SERVER): answer})
    found = verdict(scene, check, server=SERVER, fingerprint=certificate(CA).fingerprint)
    assert isinstance(found, NotChecked)


# --- a kube-apiserver that takes or refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "taken", "refused"),
    [
        (WhoSeen(201, PROBE_USER), "Passed", "old-ca-still-trusted"),
        (WhoSeen(200, PROBE_USER), "Passed", "old-ca-still-trusted"),
        (WhoSeen(201, "front-proxy-client"), "new-ca-not-trusted", "Passed"),
        (WhoSeen(401, ""), "new-ca-not-trusted", "Passed"),
        (WhoSeen(403, ""), "new-ca-not-trusted", "old-ca-still-trusted"),
        (WhoSeen(500, ""), "new-ca-not-trusted", "old-ca-still-trusted"),
        (SILENT, "NotChecked", "NotChecked"),
    ],
    ids=["201", "200", "another name", "401", "403", "500", "silent"],
)
def test_kube_apiserver_trusts_whom_it_names_and_refuses_by_401_or_the_leafs_own_name(
    who: Any, taken: str, refused: str
) -> None:
    """A leaf of the ordinary clients' CA, too, is an ordinary client once it is no front proxy any more."""
    scene, asked = ON.answering({AskWith(SERVER, IDENTITY): who}), {"server": SERVER, "identity": IDENTITY}
    assert told(verdict(scene, "identity-taken", **asked)) == taken
    assert told(verdict(scene, "identity-refused", **asked)) == refused


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ((), "Passed"),
        ((ProcessSeen(7, 5.0, ("kube-apiserver",)),), "apiserver-not-stopped"),
        (SILENT, "NotChecked"),
    ],
    ids=["none", "one runs", "not seen"],
)
def test_a_kube_apiserver_has_ended_once_no_process_of_its_port_is_left(
    processes: Any, expected: str
) -> None:
    assert (
        told(verdict(ON.answering({Processes(6443): processes}), "apiserver-stopped", port=6443)) == expected
    )


# --- an endpoint that takes or refuses --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "takes", "refuses"),
    [
        (200, "Passed", "endpoint-trusts-old-ca"),
        (403, "Passed", "endpoint-trusts-old-ca"),
        (503, "Passed", "endpoint-trusts-old-ca"),
        (401, "endpoint-refuses-identity", "Passed"),
        (0, "endpoint-refuses-identity", "Passed"),
        (SILENT, "NotChecked", "NotChecked"),
    ],
    ids=["200", "403", "503", "401", "ended handshake", "silent"],
)
def test_an_endpoint_refuses_by_401_or_by_ending_the_handshake(status: Any, takes: str, refuses: str) -> None:
    asked = AskApi(ADDRESSES[0], "things.shop.svc", "PEM", "/apis/things.example/v1", IDENTITY)
    arguments = {
        "name": NAME,
        "address": asked.address,
        "dns": asked.name,
        "bundle": asked.authority,
        "path": asked.path,
        "identity": IDENTITY,
    }
    scene = ON.answering({asked: status})
    for check, expected in (("endpoint-takes-identity", takes), ("endpoint-refuses-identity", refuses)):
        found = verdict(scene, check, **arguments)
        assert told(found) == expected
        if isinstance(found, Finding):
            assert found.subject == f"{ADDRESSES[0]} of APIService {NAME}"


# --- the certificate that an API serves -------------------------------------------------------------------


def things(*served: Any, **more: Any) -> Scene:
    """An API whose endpoints serve these certificates."""
    at = [address.partition(":")[0] for address, _ in zip(ADDRESSES, served, strict=False)]
    scene = cluster(service(**more), api_service()).object(SLICES, slices(*at, https=6443))
    answers = {
        Handshake(address, "things.shop.svc", ""): each
        for address, each in zip(ADDRESSES, served, strict=False)
    }
    return scene.answering(answers)


def shown(scene: Scene) -> tuple[str, str]:
    """Whether it serves the new certificate, and whether it serves another."""
    asked = {"name": NAME, "fingerprint": FINGERPRINT, "server": SERVER}
    checks = ("serves-certificate", "serves-other-certificate")
    first, second = (told(verdict(scene, each, **asked)) for each in checks)
    return first, second


THE_NEW, THE_OLD, GARBAGE = ServedSeen(NEW.certificate), ServedSeen(OLD.certificate), ServedSeen(b"?")


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (things(THE_NEW, THE_NEW), ("Passed", "serving-certificate-stays")),
        (things(ServedSeen(NEW.certificate, "not verified")), ("Passed", "serving-certificate-stays")),
        (things(THE_NEW, THE_OLD), ("serving-certificate-old", "serving-certificate-stays")),
        (things(THE_OLD, THE_OLD), ("serving-certificate-old", "Passed")),
        (things(GARBAGE), ("serving-certificate-old", "Passed")),
        (things(ServedSeen(b"")), ("serving-certificate-old", "Passed")),
        (things(THE_NEW, SILENT), ("NotChecked", "serving-certificate-stays")),
        (things(SILENT, SILENT), ("NotChecked", "Passed")),
        (things(SILENT, THE_OLD), ("NotChecked", "Passed")),
        (things(), ("serving-certificate-old", "Passed")),
        (cluster(api_service()), ("serving-certificate-old", "Passed")),
        (cluster(), ("api-not-available", "Passed")),
        (cluster(api_service(at=None)), ("api-not-available", "Passed")),
    ],
    ids=[
        "both new",
        "new, of a CA of its own",
        "one new",
        "both old",
        "garbage",
        "none",
        "one silent, one new",
        "both silent",
        "one silent, one old",
        "no endpoint",
        "no Service",
        "no APIService",
        "served by kube-apiserver",
    ],
)
def test_a_certificate_is_served_once_every_endpoint_shows_it_and_gone_once_none_does(
    scene: Scene, expected: tuple[str, str]
) -> None:
    assert shown(scene) == expected


def test_the_endpoint_that_is_late_is_named() -> None:
    asked = {"name": NAME, "fingerprint": FINGERPRINT, "server": SERVER}
    late = verdict(things(THE_NEW, THE_OLD), "serves-certificate", **asked)
    stays = verdict(things(THE_OLD, THE_NEW), "serves-other-certificate", **asked)
    for found in (late, stays):
        assert isinstance(found, Finding)
        assert found.message.startswith(ADDRESSES[1])


@pytest.mark.parametrize("check", ["serves-certificate", "serves-other-certificate"])
def test_an_api_that_may_not_be_looked_at_is_not_checked(check: str) -> None:
    scene = things(THE_NEW).answering({ObjectAt(api_service_path(NAME), SERVER): SILENT})
    asked = {"name": NAME, "fingerprint": FINGERPRINT, "server": SERVER}
    assert verdict(scene, check, **asked) == NotChecked(SILENT)
