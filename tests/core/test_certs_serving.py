"""Whose serving certificates are renewed and whose are left alone, and the objects that change for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import (
    OTHER_SERVING_CA,
    SERVING_CA,
    api_service,
    cluster,
    pair_seen,
    path,
    service,
    serving,
)
from support.snapshots import NOW, OFF, SERVER, Scene, authority, certificate, codes, slices

from aggctl.core import pki
from aggctl.core.certs import serving as c
from aggctl.core.checks.workload import pods_path
from aggctl.core.cluster_view import API_SERVICES, KUBERNETES_SLICES
from aggctl.core.extension import NO_SECRET, PairPlace, ServiceAt
from aggctl.core.fields import CREATED, created_stamp
from aggctl.core.plan import Gate
from aggctl.core.questions import (
    AggregatorQueue,
    Handshake,
    ObjectAt,
    PairAt,
    QueueSeen,
    ServedSeen,
    Unknown,
)
from aggctl.core.register.certificates import INJECTORS, encoded
from aggctl.core.register.plan import Rehearsed
from aggctl.core.resources import Located, path_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.findings import Finding

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
NAME, NEXT, OTHER = "v1.things.example", "v1beta1.things.example", "v1.others.example"
PEER = "https://10.0.0.12:6443"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name="
SERVICE, PODS = path_of("v1", "services", "shop", "things"), pods_path("shop", {"app": "things"})
ENDPOINT, SECOND = "10.1.0.5:6443", "10.1.0.6:6443"
SHOWN = Handshake(ENDPOINT, AT.dns, "")
SECRET = PairAt("shop", "things-tls", SERVER)
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
OLD = serving()
DEAD = authority("dead-ca", days=-400, lifetime=300)
DEADLINE = 60.0

APPLIED: Object = {
    "f:spec": {name: {} for name in ("f:group", "f:version", "f:caBundle", "f:service")},
    "f:metadata": {"f:annotations": {"f:note": {}}},
}
"""What aggctl owns of an APIService that it registered."""


def api(name: str = NAME, *, fields: Object | None = APPLIED, at: str = "shop/things", **spec: Any) -> Object:
    """An APIService as the cluster holds it; `fields` are those that aggctl applied (None: it did not)."""
    made = api_service(name, at, **{"caBundle": encoded(SERVING_CA.certificate), **spec})
    ours = {"manager": "aggctl", "operation": "Apply", "fieldsV1": fields}
    theirs = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:caBundle": {}}}}
    made["metadata"] |= {
        "annotations": {"note": "ours", "seen": "theirs"},
        "managedFields": [theirs] if fields is None else [ours, theirs],
    }
    return made


def annotated(mark: str, **how: Any) -> Object:
    found = api(**how)
    found["metadata"]["annotations"][mark] = "x"
    return found


def insecure(name: str = NAME) -> Object:
    return api(name, insecureSkipTLSVerify=True, caBundle="")


def without_metadata_of_its_own(of: Object) -> Object:
    return of | {"metadata": {name: of["metadata"][name] for name in ("name", "managedFields")}}


def scene_of(*apis: Object, base: Scene | None = None, found: Object | None = None) -> Scene:
    """These APIServices, whose Service has one endpoint outside the cluster."""
    items = [{name: each[name] for name in ("metadata", "spec")} for each in apis]
    scene = cluster(scene=base or cluster()).object(API_SERVICES, {"items": items})
    scene = scene.object(SERVICE, found or service())
    for each in apis:
        scene = scene.object(path(each), each)
    scene = scene.object(f"{SLICES}things", slices("10.1.0.5", https=6443))
    seen = {SHOWN: ServedSeen(OLD.certificate), AggregatorQueue(SERVER): QueueSeen(7.0, 0.0)}
    return scene.answering(seen)


def in_pods(*pods: Object, secret: Any = None, apis: tuple[Object, ...] | None = None) -> Scene:
    """The same, where Pods serve it by the Secret things-tls."""
    scene = scene_of(*(apis or (api(),)), found=service(selector={"app": "things"}))
    return scene.object(PODS, {"items": list(pods)}).answering({SECRET: secret or pair_seen(OLD)})


def pod(*args: str) -> Object:
    container = {
        "name": "server",
        "args": list(args) or ["--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"],
        "ports": [{"name": "https", "containerPort": 6443}],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }
    volumes = [{"name": "tls", "secret": {"secretName": "things-tls"}}]
    return {"metadata": {"name": "things-0"}, "spec": {"containers": [container], "volumes": volumes}}


def see(scene: Scene, *names: str) -> tuple[tuple[c.Served, ...], tuple[Finding, ...]]:
    return scene.ask(lambda snapshot: c.see_serving(snapshot, SERVER, names))


def names_of(found: c.Served) -> list[str]:
    return [c.name_of(each) for each in found.apis]


def left_alone(scene: Scene, *names: str) -> dict[str, str]:
    """What is said of each API that is not renewed, where nothing is."""
    served, findings = see(scene, *names)
    assert not served
    assert {(each.code, each.severity) for each in findings} == {("serving-certificate-left-alone", "info")}
    return {each.subject.removeprefix("APIService "): each.message for each in findings}


# --- whose -----------------------------------------------------------------------------------------------


def test_a_server_outside_the_cluster_is_renewed_by_files() -> None:
    (found,), findings = see(scene_of(api()))
    assert (found.service, found.place, found.pods, findings) == (AT, NO_SECRET, "", ())
    assert found.apis == (api(),)  # whole, with the kind that items of a list lack


def test_a_server_in_pods_is_renewed_by_the_secret_that_they_mount() -> None:
    (found,), findings = see(in_pods(pod()))
    assert (found.place, found.pods) == (PairPlace("things-tls", "tls.crt", "tls.key"), PODS)
    assert findings == ()


@pytest.mark.parametrize("asked", [(), (NAME,), (NEXT,), (NEXT, NAME)])
def test_all_versions_of_a_server_are_renewed_together_whichever_is_named(asked: tuple[str, ...]) -> None:
    (found,), findings = see(scene_of(api(), api(NEXT)), *asked)
    assert (names_of(found), findings) == ([NAME, NEXT], ())


def test_a_hundred_servers_are_looked_at_side_by_side() -> None:
    """The rounds in which is looked do not grow with their number."""
    names = [f"things{number}" for number in range(100)]
    every = [api(f"v1.{each}.example", at=f"shop/{each}") for each in names]
    scene = scene_of(*every)
    for each in names:
        shown = {Handshake(ENDPOINT, ServiceAt("shop", each).dns, ""): ServedSeen(OLD.certificate)}
        scene = scene.object(path_of("v1", "services", "shop", each), service(each)).answering(shown)
        scene = scene.object(f"{SLICES}{each}", slices("10.1.0.5", https=6443))
    served, findings = see(scene)
    assert (len(served), findings) == (100, ())


def test_versions_behind_two_ports_of_a_service_are_one_server() -> None:
    (found,), _ = see(scene_of(api(), api(NEXT, port=8443)))
    assert (names_of(found), found.service) == ([NAME, NEXT], AT)


@pytest.mark.parametrize(("asked", "services"), [((), ["things", "others"]), ((NAME,), ["things"])])
def test_all_servers_are_renewed_or_those_that_are_named(asked: tuple[str, ...], services: list[str]) -> None:
    others = Handshake(SECOND, "others.shop.svc", "")
    scene = scene_of(api(), api(OTHER, at="shop/others")).object(path(service("others")), service("others"))
    scene = scene.object(f"{SLICES}others", slices("10.1.0.6", https=6443))
    served, findings = see(scene.answering({others: ServedSeen(OLD.certificate)}), *asked)
    assert ([each.service.name for each in served], findings) == (services, ())


@pytest.mark.parametrize("found", [None, {"items": None}, {"items": [api_service(at=None)]}])
def test_where_no_api_has_a_server_there_is_nothing_to_renew(found: Object | None) -> None:
    assert see(cluster().object(API_SERVICES, found)) == ((), ())


# --- left alone, and said so -----------------------------------------------------------------------------

ELSEWHERE = "somebody else fills its caBundle"
UNKNOWN_PLACE = "nobody knows where its server reads its certificate"


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (scene_of(annotated("cert-manager.io/inject-ca-from")), "cert-manager renews it"),
        (scene_of(annotated(INJECTORS[-1])), "the cluster renews it"),
        (scene_of(api(fields=None)), ELSEWHERE),
        (scene_of(api(fields={"f:spec": {"f:group": {}}})), ELSEWHERE),
        (scene_of(api(fields={})), ELSEWHERE),
        (scene_of(without_metadata_of_its_own(api(fields=None))), ELSEWHERE),
        (scene_of(insecure()), "it is not verified (insecureSkipTLSVerify)"),
        (in_pods(), f"{UNKNOWN_PLACE}: it has no Pods"),
        (
            in_pods(pod("--port=6443")),
            f"{UNKNOWN_PLACE}: it is started without --tls-cert-file and --tls-private-key-file",
        ),
        (
            in_pods(pod(), secret=pair_seen(OLD, created=False)),
            "Secret shop/things-tls was not made by aggctl",
        ),
        (
            in_pods(pod()).answering({SECRET: None}),
            "Secret shop/things-tls was not made by aggctl",
        ),
    ],
    ids=[
        "cert-manager's",
        "injected",
        "never applied by us",
        "caBundle not ours",
        "no field ours",
        "no annotations at all",
        "insecure",
        "no Pods",
        "no flags",
        "the Secret of others",
        "no Secret",
    ],
)
def test_what_others_renew_or_nobody_verifies_is_left_alone_with_the_reason(scene: Scene, said: str) -> None:
    assert left_alone(scene) == {NAME: said}


@pytest.mark.parametrize("asked", [(), (NAME, NEXT)], ids=["all", "both by name"])
def test_one_version_that_others_renew_keeps_the_whole_server_from_being_renewed(
    asked: tuple[str, ...],
) -> None:
    both = scene_of(api(), annotated(INJECTORS[0], name=NEXT))
    assert left_alone(both, *asked) == dict.fromkeys((NAME, NEXT), "cert-manager renews it")


def test_only_of_those_that_are_named_it_is_said() -> None:
    assert list(left_alone(scene_of(api(), annotated(INJECTORS[0], name=NEXT)), NAME)) == [NAME]


def test_an_insecure_version_beside_a_verified_one_is_said_and_the_other_renewed() -> None:
    (found,), (finding,) = see(scene_of(api(), insecure(NEXT)))
    assert names_of(found) == [NAME]
    assert (finding.code, finding.subject) == ("serving-certificate-left-alone", f"APIService {NEXT}")


# --- in the way ------------------------------------------------------------------------------------------


def test_a_name_that_nobody_registered_is_an_error() -> None:
    _, (finding,) = see(scene_of(api()), "v9.things.example")
    assert (finding.code, finding.severity) == ("api-not-registered", "error")
    assert finding.subject == "APIService v9.things.example"


def test_with_the_layer_off_nothing_can_be_proven() -> None:
    _, findings = see(scene_of(api(), base=OFF))
    assert codes(findings) == ["layer-off"]


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (scene_of(api()).object(SERVICE, None), "service-not-found"),
        (
            scene_of(api()).object(f"{SLICES}things", slices("10.1.0.5", ready=False, https=6443)),
            "no-ready-endpoint",
        ),
    ],
)
def test_a_server_that_is_not_there_is_an_error(scene: Scene, code: str) -> None:
    _, (finding,) = see(scene)
    assert (finding.code, finding.severity) == (code, "error")


@pytest.mark.parametrize(
    "question",
    [
        ObjectAt(API_SERVICES, SERVER),
        ObjectAt(SERVICE, SERVER),
        ObjectAt(PODS, SERVER),
        SECRET,
        ObjectAt(f"{SLICES}things", SERVER),
        SHOWN,
        AggregatorQueue(SERVER),
    ],
    ids=[
        "APIServices",
        "Service",
        "Pods",
        "Secret",
        "endpoints",
        "an endpoint",
        "a kube-apiserver's counters",
    ],
)
def test_what_has_to_be_seen_and_cannot_be_is_no_pass(question: Any) -> None:
    with pytest.raises(NotKnown):
        see(in_pods(pod()).answering({question: FORBIDDEN}))


def test_an_endpoint_that_shows_no_certificate_is_an_error() -> None:
    """It takes the connection and says nothing: nobody could tell when it shows the new one."""
    _, (finding,) = see(scene_of(api()).answering({SHOWN: ServedSeen(b"", "no TLS handshake")}))
    assert (finding.code, finding.severity) == ("endpoint-shows-no-certificate", "error")
    assert finding.subject == f"{ENDPOINT} of things.shop.svc"
    assert "no TLS handshake" in finding.message


def test_what_an_endpoint_shows_need_not_be_good_any_more_to_be_renewed() -> None:
    expired = ServedSeen(serving(days=-60, lifetime=30).certificate, "certificate has expired")
    assert see(scene_of(api()).answering({SHOWN: expired}))[1] == ()


def test_the_counters_of_each_kube_apiserver_have_to_be_readable() -> None:
    scene = scene_of(api()).object(KUBERNETES_SLICES, slices("10.0.0.11", "10.0.0.12", https=6443))
    assert see(scene.answering({AggregatorQueue(PEER): QueueSeen(0.0, 0.0)}))[0]
    with pytest.raises(NotKnown):
        see(scene.answering({AggregatorQueue(PEER): FORBIDDEN}))


def test_where_nothing_is_renewed_nobody_is_dialled() -> None:
    scene = scene_of(annotated(INJECTORS[0])).answering(
        {SHOWN: FORBIDDEN, AggregatorQueue(SERVER): FORBIDDEN}
    )
    assert left_alone(scene) == {NAME: "cert-manager renews it"}


# --- the objects -----------------------------------------------------------------------------------------


def test_the_api_service_gets_another_bundle_and_keeps_all_else_that_is_ours_and_nothing_of_others() -> None:
    wanted = c.with_bundle(api(), "PEM")
    assert (wanted.path, wanted.target) == (path(api()), f"APIService {NAME}")
    spec = {name: api()["spec"][name] for name in ("group", "version", "service")}
    assert wanted.object == {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": NAME, "annotations": {"note": "ours"}},
        "spec": spec | {"caBundle": encoded(b"PEM")},
    }


def test_an_api_service_of_which_no_more_than_the_bundle_is_ours_gets_that_alone() -> None:
    found = c.with_bundle(api(fields={"f:spec": {"f:caBundle": {}}}), "PEM").object
    assert (found["metadata"], found["spec"]) == ({"name": NAME}, {"caBundle": encoded(b"PEM")})


@pytest.mark.parametrize(
    ("published", "kept"),
    [
        (SERVING_CA.certificate, [SERVING_CA]),
        (SERVING_CA.certificate + OTHER_SERVING_CA.certificate, [SERVING_CA]),
        (DEAD.certificate + SERVING_CA.certificate, [SERVING_CA]),
        (b"no PEM", []),
        (b"", []),
    ],
    ids=["one", "the new one is there already", "an expired one", "not readable", "none"],
)
def test_while_both_are_trusted_the_new_ca_comes_first_and_what_has_expired_goes(
    published: bytes, kept: list[pki.KeyPair]
) -> None:
    bundle = c.both(api(caBundle=encoded(published)), OTHER_SERVING_CA.certificate, NOW)
    wanted = [certificate(each).fingerprint for each in (OTHER_SERVING_CA, *kept)]
    assert [each.fingerprint for each in pki.read_certificates(bundle.encode())] == wanted


SECRET_WANTED = Located({"kind": "Secret", "metadata": {"name": "things-tls"}}, "/secret", "Secret")


def test_the_mark_of_what_aggctl_created_stays() -> None:
    live = {"metadata": {"annotations": {CREATED: "token", "seen": "theirs"}}}
    found = c.as_it_is(SECRET_WANTED, live)
    assert found.object["metadata"] == {"name": "things-tls", "annotations": {CREATED: "token"}}
    assert created_stamp(found.object) == created_stamp(live)


@pytest.mark.parametrize("live", [None, {"metadata": {"annotations": {"seen": "theirs"}}}, {"metadata": {}}])
def test_what_aggctl_did_not_create_gets_no_such_mark(live: Object | None) -> None:
    assert c.as_it_is(SECRET_WANTED, live) == SECRET_WANTED


def test_each_object_is_a_step_the_last_one_waits_and_a_later_rollback_passes_it_over() -> None:
    gate = Gate((), DEADLINE)
    lives = (api(), api(NEXT))
    rehearsed = tuple(
        Rehearsed(c.with_bundle(each, "PEM"), c.with_bundle(each, "PEM").object, each, 200, each)
        for each in lives
    )
    plan = c.plan_of(rehearsed, SERVER, "trust both", gate)
    assert [(each.title, each.gate) for each in plan.steps] == [
        (f"APIService {NAME}", None),
        (f"APIService {NEXT}", gate),
    ]
    assert (plan.command, plan.title, plan.lasting) == (c.COMMAND, "trust both", True)
    assert len(plan.blobs) == 4  # before and after, of each


def test_what_is_renewed_is_said_in_a_line() -> None:
    (found,), _ = see(scene_of(api(), api(NEXT)))
    assert c.in_words(found) == (
        f"things.shop.svc gets a new CA and certificate; {NAME}, {NEXT} trust both until it is served"
    )


# --- renewed by somebody else -----------------------------------------------------------------------------


def trusting(*authorities: bytes) -> c.Served:
    """A Service whose API is verified by these CAs."""
    bundle = encoded(b"".join(authorities))
    return c.Served(AT, (api(caBundle=bundle),), NO_SECRET, "")


OLDER, YOUNGER = (authority("things-ca", days=days).certificate for days in (-20, -1))


@pytest.mark.parametrize(
    ("before", "now", "renewed"),
    [
        ((OLDER,), (YOUNGER,), True),
        ((OLDER, YOUNGER), (YOUNGER,), True),
        ((OLDER,), (OLDER,), False),
        ((OLDER, YOUNGER), (OLDER,), False),
        ((OLDER,), (YOUNGER, OLDER), False),
        ((YOUNGER,), (OLDER,), False),
        ((), (YOUNGER,), False),
        ((b"no PEM",), (YOUNGER,), False),
    ],
    ids=[
        "from the old CA to the new one",
        "seen in the middle, and it ended",
        "nobody did anything",
        "seen in the middle, and it was put back",
        "left half-way",
        "put back",
        "verified by nothing",
        "by what cannot be read",
    ],
)
def test_what_somebody_else_renewed_is_told_by_the_oldest_ca(
    before: tuple[bytes, ...], now: tuple[bytes, ...], *, renewed: bool
) -> None:
    assert c.renewed_since(trusting(*before), trusting(*now)) is renewed
