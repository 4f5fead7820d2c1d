"""The renewal of the client certificate: what refuses it, and the plan that takes it into use."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import (
    CA,
    MANIFEST,
    NOW,
    ON,
    OTHER_CA,
    PKI,
    SERVER,
    Scene,
    codes,
    leaf,
    slices,
)

from aggctl.core.certs.client import client_problems, plan_client, trials
from aggctl.core.certs.layer import see_layer
from aggctl.core.certs.restart import restarting
from aggctl.core.checks import CHECKS
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.plan import FileChange, digest, inverse_plan, plan_to_json, stamp
from aggctl.core.questions import (
    PROBE_USER,
    AskApi,
    AskWith,
    ClockSkew,
    QueueSeen,
    UnavailableApis,
    Unknown,
    WhoSeen,
)

if TYPE_CHECKING:
    from aggctl.core.certs.layer import Layer
    from aggctl.core.findings import Finding
    from aggctl.core.plan import Gate, Plan

NAME, FINGERPRINT = "v1.things.example", "f" * 64
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
ADDRESSES = ("10.1.1.1:6443", "10.1.1.2:6443")
CERTIFICATE, KEY, CA_FILE = (
    f"{PKI}/{each}" for each in ("front-proxy-client.crt", "front-proxy-client.key", "front-proxy-ca.crt")
)
TAKEN = {AskWith(SERVER, FINGERPRINT): WhoSeen(201, PROBE_USER)}
NEW = leaf(CA, days=0)
BEFORE = QueueSeen(41.0, 0.0)


def scene(base: Scene = ON, *, apis: int = 1) -> Scene:
    """A node with the layer on, and one API with two endpoints, or none."""
    shown = cluster(service(clusterIP="10.96.0.9"), scene=base)
    shown = shown.object(API_SERVICES, {"items": [api_service()] * apis})
    shown = shown.object(SLICES, slices("10.1.1.1", "10.1.1.2", https=6443))
    return shown.answering({UnavailableApis(SERVER): {NAME: False}})


def see(shown: Scene) -> Layer:
    return shown.ask(lambda snapshot: see_layer(snapshot, NOW))


def problems(shown: Scene) -> tuple[Finding, ...]:
    return client_problems(see(shown))


def asked(address: str) -> AskApi:
    """As kube-apiserver asks an endpoint."""
    return AskApi(address, "things.shop.svc", "", "/apis/things.example/v1", FINGERPRINT)


def tried(answers: dict[Any, Any], **more: Any) -> tuple[Finding, ...]:
    """What came of trying the certificate, everybody taking it but for these answers."""
    layer = see(scene())
    well: dict[Any, Any] = {**TAKEN, **{asked(each): 200 for each in ADDRESSES}}
    shown = scene().answering({**well, **answers})
    return shown.ask(lambda snapshot: trials(snapshot, layer, FINGERPRINT, **more))


def plan(shown: Scene | None = None, **more: Any) -> Plan:
    return plan_client(see(shown or scene(**more)), NEW, BEFORE, 120.0)


def gate(of: Plan, step: int = -1) -> Gate:
    found = of.steps[step].gate
    assert found
    return found


# --- why a node cannot renew ------------------------------------------------------------------------------


def test_a_node_with_pair_and_ca_key_can_renew() -> None:
    assert problems(scene()) == ()


@pytest.mark.parametrize(
    ("base", "code", "subject"),
    [
        (ON.file(CERTIFICATE, None), "client-certificate-missing", CERTIFICATE),
        (ON.file(KEY, None), "client-certificate-missing", KEY),
        (ON.file("front-proxy-ca.key", None), "front-proxy-ca-external", CA_FILE),
        (ON.file("front-proxy-ca.key", OTHER_CA.key), "front-proxy-ca-external", CA_FILE),
        (ON.file("front-proxy-ca.crt", None), "front-proxy-ca-external", CA_FILE),
    ],
    ids=["no certificate", "no key", "no CA key", "key of another CA", "no CA"],
)
def test_what_is_missing_to_renew_is_named(base: Scene, code: str, subject: str) -> None:
    (found,) = problems(scene(base))
    assert (found.code, found.severity, found.subject) == (code, "error", subject)


@pytest.mark.parametrize(
    ("base", "also"),
    [
        (ON, []),
        (ON.file(KEY, None), ["client-certificate-missing"]),
        (ON.file("front-proxy-ca.key", None), ["front-proxy-ca-external"]),
    ],
    ids=["nothing else", "no key", "no CA key"],
)
def test_what_is_wrong_with_the_layer_is_told_first(base: Scene, also: list[str]) -> None:
    wrong = base.answering({ClockSkew(SERVER): 900.0})
    assert codes(problems(scene(wrong))) == ["clock-wrong", *also]


# --- tried everywhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 403, 404, 503], ids=str)
def test_an_endpoint_that_answers_anything_but_401_knows_who_asks(status: int) -> None:
    assert tried({asked(ADDRESSES[1]): status}) == ()


@pytest.mark.parametrize(
    ("who", "told"),
    [
        (WhoSeen(401, ""), "HTTP 401"),
        (WhoSeen(403, ""), "HTTP 403"),
        (WhoSeen(201, "front-proxy-client"), "HTTP 201"),
    ],
    ids=["refused", "anonymous", "taken for a user's certificate"],
)
def test_a_certificate_that_kube_apiserver_does_not_take_is_refused(who: WhoSeen, told: str) -> None:
    (found,) = tried({AskWith(SERVER, FINGERPRINT): who})
    assert (found.code, found.subject) == ("client-certificate-not-accepted", SERVER)
    assert told in found.message


def test_an_access_review_that_is_answered_200_is_taken() -> None:
    assert tried({AskWith(SERVER, FINGERPRINT): WhoSeen(200, PROBE_USER)}) == ()


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (401, "endpoint-refuses-identity", "HTTP 401"),
        (0, "endpoint-refuses-identity", "handshake"),
        (Unknown("no route to host"), "endpoint-not-asked", "no route to host"),
    ],
    ids=["401", "ended handshake", "not reached"],
)
def test_one_endpoint_of_several_is_enough_to_refuse_and_is_named(answer: Any, code: str, told: str) -> None:
    (found,) = tried({asked(ADDRESSES[1]): answer})
    assert (found.code, found.subject) == (code, f"{ADDRESSES[1]} of APIService {NAME}")
    assert told in found.message


def test_everybody_who_refuses_is_told_in_one_run() -> None:
    found = tried(
        {
            AskWith(SERVER, FINGERPRINT): WhoSeen(401, ""),
            asked(ADDRESSES[0]): 0,
            asked(ADDRESSES[1]): Unknown("timed out"),
        }
    )
    assert codes(found) == [
        "client-certificate-not-accepted",
        "endpoint-refuses-identity",
        "endpoint-not-asked",
    ]


def test_the_finding_says_which_certificate_it_is_about() -> None:
    refusals = {
        AskWith(SERVER, FINGERPRINT): WhoSeen(401, ""),
        asked(ADDRESSES[0]): 401,
        asked(ADDRESSES[1]): Unknown("timed out"),
    }
    for found in tried(refusals, what="the certificate in use"):
        assert "the certificate in use" in found.message


# --- the plan ---------------------------------------------------------------------------------------------


def test_the_key_goes_first_and_each_keeps_its_mode_and_owner() -> None:
    key, certificate = (each.change for each in plan().steps)
    old = leaf(CA)
    assert key == FileChange(KEY, stamp(old.key, 0o600, 0, 0), stamp(NEW.key, 0o600, 0, 0))
    assert certificate == FileChange(
        CERTIFICATE, stamp(old.certificate, 0o600, 0, 0), stamp(NEW.certificate, 0o600, 0, 0)
    )


def test_an_owner_and_a_mode_of_somebody_else_stay() -> None:
    layer = see(scene())
    assert layer.files.key
    odd = type(layer.files.key)(layer.files.key.public_key, stamp(leaf(CA).key, 0o640, 5, 7))
    made = plan_client(replace(layer, files=replace(layer.files, key=odd)), NEW, BEFORE, 120.0)
    change = made.steps[0].change
    assert isinstance(change, FileChange)
    assert change.after == stamp(NEW.key, 0o640, 5, 7)


def test_the_journal_holds_no_key() -> None:
    made = plan()
    text = json.dumps(plan_to_json(made))
    assert digest(NEW.key) in text
    assert "PRIVATE KEY" not in text + repr(made)
    assert NEW.key.decode().splitlines()[1] not in text + repr(made)


def test_all_that_is_written_is_at_hand_and_so_is_the_old_certificate() -> None:
    assert set(plan().blobs) == {digest(NEW.key), digest(NEW.certificate), digest(leaf(CA).certificate)}


def test_the_gate_asks_for_use_before_it_asks_for_answers() -> None:
    found = gate(plan())
    assert [each.check for each in found.conditions] == [
        "identity-accepted",
        "client-certificate-loaded",
        "api-answers",
        "api-available-here",
    ]
    assert (found.deadline, dict(found.conditions[1].arguments)) == (
        120.0,
        {"server": SERVER, "adds": 41.0, "apis": 1},
    )


def test_without_any_api_kube_apiserver_still_has_to_take_it() -> None:
    found = gate(plan(apis=0))
    (loaded,) = (each for each in found.conditions if each.check == "client-certificate-loaded")
    assert dict(loaded.arguments)["apis"] == 1


def test_only_the_last_step_of_the_plan_and_of_its_undo_waits() -> None:
    """In between, key and certificate on disk are not of one pair, and nothing could be accepted."""
    made = plan()
    undo = inverse_plan(made, "1", "undo")
    assert [each.change.target for each in undo.steps] == [CERTIFICATE, KEY]
    assert [bool(each.gate) for each in made.steps] == [False, True]
    assert [bool(each.gate) for each in undo.steps] == [False, True]
    assert [each.check for each in gate(undo).conditions] == ["identity-accepted"]


@pytest.mark.parametrize("with_restart", [False, True], ids=["no restart", "restart"])
def test_every_check_of_the_plan_is_one_that_there_is(with_restart: bool) -> None:
    made = restarting(plan(), see(scene())) if with_restart else plan()
    gates = [each for step in made.steps for each in (step.gate, step.undo_gate) if each]
    assert {each.check for one in gates for each in one.conditions} <= set(CHECKS)


# --- with a restart, for old versions ---------------------------------------------------------------------


def restarted() -> Plan:
    return restarting(plan(), see(scene()))


def test_a_restart_takes_the_manifest_away_first_and_brings_it_back_last() -> None:
    changes = [each.change for each in restarted().steps]
    assert [each.target for each in changes] == [MANIFEST, KEY, CERTIFICATE, MANIFEST]
    away, back = changes[0], changes[-1]
    assert isinstance(away, FileChange)
    assert isinstance(back, FileChange)
    assert (away.before, away.after) == (back.after, back.before)
    assert back.before is None
    assert restarted().blobs[digest(scene().text.encode())] == scene().text.encode()


def test_while_kube_apiserver_is_away_nothing_is_asked_of_it() -> None:
    gone, key, certificate, back = restarted().steps
    assert [each.check for each in gate(restarted(), 0).conditions] == ["apiserver-stopped"]
    assert (key.gate, key.undo_gate, certificate.gate, certificate.undo_gate) == (None,) * 4
    assert gone.undo_gate
    assert [each.check for each in gone.undo_gate.conditions] == ["manifest-in-force", "apiserver-ready"]
    assert back.undo_gate == gone.gate


def test_what_was_to_be_proven_is_proven_after_the_restart_but_not_by_a_counter_of_the_old_process() -> None:
    assert [each.check for each in gate(restarted()).conditions] == [
        "manifest-in-force",
        "apiserver-ready",
        "identity-accepted",
        "api-answers",
        "api-available-here",
    ]


def test_a_plan_without_a_gate_still_waits_for_kube_apiserver() -> None:
    bare = plan()
    bare = replace(bare, steps=tuple(replace(each, gate=None) for each in bare.steps))
    found = gate(restarting(bare, see(scene())))
    assert [each.check for each in found.conditions] == ["manifest-in-force", "apiserver-ready"]
