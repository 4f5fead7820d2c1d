"""What stands in the way of an API, whose it is, its certificate, and the objects that are applied."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import CERT_MANAGER, api_service, cluster, discovery, namespace, path, service
from support.snapshots import CA, NOW, OFF, OTHER_CA, SERVER, Scene, authority, codes, slices

from aggctl.core import pki
from aggctl.core.apiservers import LEASES, Roster
from aggctl.core.checks.extension import AUTOMANAGED, api_of, ca_bundle_of
from aggctl.core.checks.workload import pods_path
from aggctl.core.cluster_view import KUBERNETES_SLICES
from aggctl.core.extension import NO_SECRET, Api, PairPlace, ServiceAt, Tls
from aggctl.core.fields import CREATED
from aggctl.core.questions import MayGet, ObjectAt, PairAt, PairSeen, ReadyAt, Unknown
from aggctl.core.register.certificates import Minted, Serving, encoded
from aggctl.core.register.sight import (
    INJECT,
    INVENTORY,
    Sight,
    Wanted,
    inventory_of,
    is_ours,
    place_of_running,
    prepared,
    says_nothing,
    see,
    with_certificates,
)
from aggctl.core.resources import Located, target_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.findings import Finding
    from aggctl.core.pki import KeyPair

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
PLACE = PairPlace("things-tls")
NAME, NEXT = "v1.things.example", "v1beta1.things.example"
PEER = "https://10.0.0.12:6443"
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
SET = (namespace(), service(), api_service())
LIKE_AN_API: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "things", "namespace": "shop"},
    "spec": {"service": {"name": "things"}},
}
ENDING = {"deletionTimestamp": "2026-06-01T11:00:00Z"}
EXPIRED = authority("expired CA", days=-400, lifetime=30)


@cache
def pair(ca: KeyPair = CA) -> KeyPair:
    """A serving pair for the Service; the same one each time."""
    return pki.issue(ca, AT.dns, NOW, usage="server", sans=(AT.dns,), algorithm="ECDSA-P256")


def seen(ca: KeyPair = CA, *, created: bool = True) -> PairSeen:
    """The pair as it is in a Secret."""
    of = pair(ca)
    return PairSeen(of.certificate, ca.certificate, pki.public_key_of(of.key), (), created)


def wanted(*objects: Object, tls: str = "self", **more: Any) -> Wanted:
    settled = {"namespace": "shop", "places": {AT: PLACE}, **more}
    return Wanted(objects or SET, Tls(tls), **settled)


def ready(*objects: Object, **how: Any) -> Scene:
    """A cluster with these objects where nothing was registered yet, and /metrics may be read."""
    scene = cluster(*objects, **how)
    return scene.answering({MayGet("/metrics", SERVER): True, PairAt("shop", "things-tls", SERVER): None})


def sight(scene: Scene, asked: Wanted | None = None) -> Sight:
    return scene.ask(lambda snapshot: see(snapshot, asked or wanted(), SERVER, NOW))


def problem(scene: Scene, asked: Wanted | None = None) -> Finding:
    (found,) = sight(scene, asked).problems
    return found


# --- nothing in the way ----------------------------------------------------------------------------------


def test_a_set_that_can_be_registered_is_placed_and_needs_a_certificate() -> None:
    found = sight(ready())
    assert found.problems == ()
    assert [each.path for each in found.objects] == [path(each) for each in SET]
    assert found.servings == (Serving(AT, "mint", PLACE, because="there is none yet"),)
    assert (found.apis, found.roster) == ({NAME: None}, Roster((SERVER,)))


def test_versions_of_one_server_share_its_certificate() -> None:
    found = sight(ready(), wanted(*SET, api_service(NEXT)))
    assert [each.service for each in found.servings] == [AT]


def test_only_kube_apiservers_whose_metrics_may_be_read_are_metered() -> None:
    scene = ready().object(KUBERNETES_SLICES, slices("10.0.0.11", "10.0.0.12", https=6443))
    found = sight(scene.answering({MayGet("/metrics", PEER): False}))
    assert (found.roster.servers, found.metered) == ((SERVER, PEER), (SERVER,))


def test_the_metrics_of_a_single_kube_apiserver_are_not_read() -> None:
    alone = {ObjectAt(LEASES, SERVER): {"items": [{"metadata": {}}]}, MayGet("/metrics", SERVER): FORBIDDEN}
    assert sight(ready().answering(alone)).metered == ()


def test_a_kube_apiserver_that_does_not_answer_is_not_asked_for_more() -> None:
    scene = ready().object(KUBERNETES_SLICES, slices("10.0.0.11", "10.0.0.12", https=6443))
    found = sight(scene.answering({ReadyAt(PEER): Unknown("timed out")}))
    assert found.roster == Roster((SERVER,), ((PEER, "timed out"),))


@pytest.mark.parametrize(
    "question",
    [MayGet("/metrics", PEER), ObjectAt(path(api_service()), SERVER)],
    ids=["rights", "APIService"],
)
def test_what_has_to_be_seen_and_may_not_be_is_no_pass(question: Any) -> None:
    scene = ready().object(KUBERNETES_SLICES, slices("10.0.0.11", "10.0.0.12", https=6443))
    with pytest.raises(NotKnown):
        sight(scene.answering({question: FORBIDDEN}))


@pytest.mark.parametrize(
    ("objects", "home"),
    [
        ((namespace("mall"), service(namespace="mall")), "mall"),
        ((service("other", "mall"), service()), "shop"),
        ((LIKE_AN_API | {"metadata": {"name": "things", "namespace": "mall"}},), "shop"),
        ((), "shop"),
    ],
    ids=[
        "that of the Service among the objects",
        "never that of another Service",
        "never that of another kind",
        "else the wanted one",
    ],
)
def test_a_service_that_is_named_without_a_namespace_gets_one(objects: tuple[Object, ...], home: str) -> None:
    bare = api_service(service={"name": "things"})
    found = sight(ready(namespace(), namespace("mall"), service()), wanted(*objects, bare))
    assert found.objects[-1].object["spec"]["service"] == {"name": "things", "namespace": home}


def test_any_number_of_versions_namespaces_and_kube_apiservers_is_looked_at_side_by_side() -> None:
    addresses = [f"10.0.0.{each}" for each in range(60)]
    accounts: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": f"n{each}"}}
        for each in range(60)
    ]
    spaces = [namespace(each["metadata"]["namespace"]) for each in accounts]
    versions = [api_service(f"v{each}.things.example") for each in range(1, 61)]
    scene = ready().object(KUBERNETES_SLICES, slices(*addresses, https=6443))
    scene = scene.answering({MayGet("/metrics", f"https://{each}:6443"): True for each in addresses})
    found = sight(scene, wanted(*SET, *spaces, *accounts, *versions))  # gives up after 50 rounds
    assert (len(found.apis), len(found.metered), found.problems) == (60, 60, ())


def test_an_object_of_another_kind_with_a_service_is_no_api() -> None:
    found = sight(ready(), wanted(*SET, LIKE_AN_API))
    assert found.objects[-1].object == LIKE_AN_API
    assert set(found.apis) == {NAME}


def test_an_apiservice_that_names_no_service_is_left_as_it_is() -> None:
    found = sight(ready(), wanted(api_service(at=None)))
    assert (found.servings, found.problems) == ((), ())


# --- what stands in the way of any API -------------------------------------------------------------------


def test_a_kind_that_the_cluster_has_not_stands_in_the_way() -> None:
    odd = {"apiVersion": "things.example/v1", "kind": "Thing", "metadata": {"name": "red"}}
    assert problem(ready(), wanted(*SET, odd)).code == "kind-unknown"


def test_with_the_layer_off_it_points_to_enable() -> None:
    found = problem(ready(scene=OFF))
    assert (found.code, found.fix) == ("layer-off", "on each control-plane node: sudo aggctl enable")


@pytest.mark.parametrize(
    ("scene", "objects", "code", "subject"),
    [
        (ready(service()), (api_service(), service()), "namespace-missing", "Namespace shop"),
        (
            ready(service()),
            (api_service(), service(), service("shop")),
            "namespace-missing",
            "Namespace shop",
        ),
        (ready(namespace(**ENDING)), SET, "namespace-terminating", "Namespace shop"),
        (
            ready(namespace(**ENDING), service()),
            (api_service(), service()),
            "namespace-terminating",
            "Namespace shop",
        ),
    ],
    ids=["missing", "missing, whatever is called so", "terminating, and to be made", "terminating, and used"],
)
def test_a_namespace_that_is_missing_or_going_stands_in_the_way(
    scene: Scene, objects: tuple[Object, ...], code: str, subject: str
) -> None:
    found = problem(scene, wanted(*objects))
    assert (found.code, found.subject) == (code, subject)


@pytest.mark.parametrize(
    ("scene", "objects"), [(ready(), SET), (ready(namespace()), SET[1:]), (ready(namespace()), SET)]
)
def test_a_namespace_that_is_there_or_made_does_not(scene: Scene, objects: tuple[Object, ...]) -> None:
    assert sight(scene, wanted(*objects)).problems == ()


def test_problems_are_told_together_before_certificates_are_looked_at() -> None:
    scene = ready(scene=OFF).answering({PairAt("shop", "things-tls", SERVER): FORBIDDEN})
    found = sight(scene, wanted(service(), api_service(port=8443)))
    assert codes(found.problems) == ["layer-off", "namespace-missing", "service-port-missing"]
    assert found.servings == ()


def test_a_certificate_that_cannot_be_used_stands_in_the_way() -> None:
    scene = ready().answering({PairAt("shop", "things-tls", SERVER): seen(EXPIRED, created=False)})
    found = problem(scene, wanted(*SET, api_service(NEXT)))  # once, for all versions of the server
    assert found.code == "secret-not-usable"


@pytest.mark.parametrize("there", [True, False])
def test_cert_manager_has_to_be_there_where_it_is_to_issue(there: bool) -> None:
    scene = ready()
    if there:
        scene = scene.object(f"/apis/{CERT_MANAGER}", discovery(CERT_MANAGER))
    found = sight(scene, wanted(tls="cert-manager"))
    assert codes(found.problems) == ([] if there else ["cert-manager-missing"])
    assert found.servings == (Serving(AT, "injected", PLACE),)


# --- whose the API is ------------------------------------------------------------------------------------

HELM = {"meta.helm.sh/release-name": "keda"}
MANAGED = [{"manager": "helm", "operation": "Apply"}, {"manager": "kubectl", "operation": "Update"}]


def live(
    at: str | None = "shop/things", *, port: int = 443, bundle: KeyPair | None = None, **metadata: Any
) -> Object:
    more = {"caBundle": encoded(bundle.certificate)} if bundle else {}
    found = api_service(at=at, port=port, **more)
    found["metadata"] |= metadata
    return found


@pytest.mark.parametrize("take_over", [False, True])
@pytest.mark.parametrize(
    "found",
    [live(), live(port=8443), live(managedFields=MANAGED)],
    ids=["ours", "by another port", "by kubectl"],
)
def test_an_api_of_the_same_service_is_registered_again(found: Object, take_over: bool) -> None:
    assert sight(ready(found), wanted(take_over=take_over)).problems == ()


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        (live("keda/metrics"), "Service keda/metrics (field managers: unknown)"),
        (live("mall/things", managedFields=MANAGED), "Service mall/things (field managers: helm, kubectl)"),
        (live(annotations=HELM, managedFields=MANAGED), "Helm release keda (field managers: helm, kubectl)"),
        (live("keda/metrics", annotations=HELM), "Helm release keda (field managers: unknown)"),
    ],
    ids=["another Service", "its namesake elsewhere", "Helm, of the same Service", "Helm"],
)
def test_an_api_of_another_product_is_refused_with_its_owner_and_can_be_taken_over(
    found: Object, owner: str
) -> None:
    refused = problem(ready(found))
    assert (refused.code, refused.subject) == ("api-owned-by-another", "APIService v1.things.example")
    assert refused.message == f"it belongs to {owner}"
    assert "--take-over" in refused.fix
    assert sight(ready(found), wanted(take_over=True)).problems == ()


@pytest.mark.parametrize("take_over", [False, True])
@pytest.mark.parametrize(
    "found",
    [live(None), live(labels={AUTOMANAGED: "true"}), live(None, labels={AUTOMANAGED: "onstart"})],
    ids=["built in", "a CRD's, which would get its Service back to null", "a CRD's"],
)
def test_an_api_that_the_cluster_serves_itself_is_refused_whoever_wants_to_take_it(
    found: Object, take_over: bool
) -> None:
    refused = problem(ready(found), wanted(take_over=take_over))
    assert refused.code == "api-served-by-cluster"
    assert "--take-over" not in refused.fix


# --- its Service -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "objects"),
    [
        (ready(), SET),
        (ready(namespace(), service()), (api_service(),)),
        (ready(namespace(), service(port=8443)), (api_service(port=8443),)),
        (ready(namespace(), service(type="ExternalName", ports=None)), (api_service(),)),
    ],
    ids=["among the objects", "in the cluster", "with the port", "an ExternalName, whose ports mean nothing"],
)
def test_a_service_with_the_port_is_found(scene: Scene, objects: tuple[Object, ...]) -> None:
    assert (
        sight(scene, wanted(*objects, places={AT: PLACE, ServiceAt("shop", "things", 8443): PLACE})).problems
        == ()
    )


def test_a_service_that_is_nowhere_is_named() -> None:
    found = problem(ready(namespace()), wanted(service("other"), api_service()))
    assert found.code == "service-not-found"
    assert found.message == "its Service shop/things is neither among the objects nor in the cluster"


@pytest.mark.parametrize(
    ("there", "has"),
    [
        (service(port=8443), "it has 8443"),
        (service(ports=[{"port": 80}, {"port": 8443}]), "it has 80, 8443"),
        (service(ports=None), "it has none"),
        (service() | {"spec": None}, "it has none"),
    ],
    ids=["another", "others", "none", "no spec"],
)
@pytest.mark.parametrize("among", [True, False], ids=["among the objects", "in the cluster"])
def test_a_port_that_the_service_has_not_is_named_with_those_that_it_has(
    there: Object, has: str, among: bool
) -> None:
    scene, objects = (ready(namespace()), (there,)) if among else (ready(namespace(), there), ())
    found = problem(scene, wanted(*objects, api_service()))
    assert (found.code, found.message) == (
        "service-port-missing",
        f"Service shop/things has no port 443 ({has})",
    )


# --- where a running server reads its pair ---------------------------------------------------------------

SELECTING = service(selector={"app": "things"})
FLAGS = ["--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/server.key"]


def pod(
    args: list[str] | None = None, *, port: str = "https", template: str = "b", minute: int = 5
) -> Object:
    """A Pod that serves with the Secret `mounted`."""
    server = {
        "name": "server",
        "args": FLAGS if args is None else args,
        "ports": [{"name": port, "containerPort": 6443}],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }
    metadata = {
        "labels": {"pod-template-hash": template},
        "creationTimestamp": f"2026-06-01T11:0{minute}:00Z",
    }
    volumes = [{"name": "tls", "secret": {"secretName": "mounted"}}]
    return {"metadata": metadata, "spec": {"containers": [server], "volumes": volumes}}


def behind(*pods: Object, found: Object | None = SELECTING) -> Scene:
    scene = ready(namespace()).object(pods_path("shop", {"app": "things"}), {"items": list(pods)})
    return scene.object(path(SELECTING), found)


MOUNTED = PairPlace("mounted", "tls.crt", "server.key")


@pytest.mark.parametrize(
    ("scene", "place"),
    [
        (behind(pod()), MOUNTED),
        (behind(pod([], template="a", minute=1), pod()), MOUNTED),
        (behind(pod([])), "it is started without --tls-cert-file and --tls-private-key-file"),
        (behind(pod(port="other")), "no container has a port named https"),
        (behind(), "it has no Pods"),
        (behind().object(pods_path("shop", {"app": "things"}), None), "it has no Pods"),
        (behind(found=service()), "the Service selects no Pods"),
        (behind(found=None), "the Service selects no Pods"),
    ],
    ids=[
        "mounted",
        "mounted by the newest Pods",
        "no flags",
        "another port",
        "no Pods",
        "no Pods at all",
        "no selector",
        "no Service",
    ],
)
def test_the_pods_behind_a_service_tell_where_it_reads_its_pair(scene: Scene, place: PairPlace | str) -> None:
    assert scene.ask(lambda snapshot: place_of_running(snapshot, SERVER, AT)) == place


RUNS = wanted(api_service(), places={})


def test_a_server_that_runs_gets_its_pair_where_it_reads_it() -> None:
    scene = behind(pod()).answering({PairAt("shop", "mounted", SERVER): None})
    assert sight(scene, RUNS).servings == (Serving(AT, "mint", MOUNTED, because="there is none yet"),)


@pytest.mark.parametrize("tls", ["self", ""], ids=["as asked", "where nothing is said"])
def test_where_nobody_knows_that_place_it_is_refused_with_the_reason(tls: str) -> None:
    found = problem(behind(), replace(RUNS, tls=Tls(tls)))
    assert (found.code, found.subject) == ("serving-secret-unknown", "Service shop/things")
    assert found.message == "nobody knows where its server reads its certificate: it has no Pods"


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        (replace(RUNS, tls=Tls("insecure")), "insecure"),
        (replace(RUNS, tls=Tls(), objects=(api_service(caBundle=encoded(CA.certificate)),)), "given"),
        (
            replace(
                RUNS,
                tls=Tls(),
                objects=(
                    api_service() | {"metadata": {"name": NAME, "annotations": {INJECT: "shop/things"}}},
                ),
            ),
            "injected",
        ),
    ],
    ids=["insecure", "the file's own caBundle", "somebody else's"],
)
def test_where_it_does_not_matter_nobody_asks(asked: Wanted, how: str) -> None:
    found = sight(behind(), asked)
    assert (found.problems, [(each.how, each.place) for each in found.servings]) == ((), [(how, NO_SECRET)])


def test_a_secret_that_the_user_names_needs_no_place_that_the_pods_tell() -> None:
    named = behind().answering({PairAt("shop", "theirs", SERVER): seen(created=False)})
    (found,) = sight(named, replace(RUNS, tls=Tls("secret", "theirs"))).servings
    assert (found.how, found.place) == ("keep", PairPlace("theirs"))


def test_ports_of_one_service_share_a_certificate() -> None:
    other = ServiceAt("shop", "things", 8443)
    scene = ready(namespace(), service(ports=[{"port": 443}, {"port": 8443}]))
    asked = wanted(api_service(), api_service(NEXT, port=8443), places={AT: PLACE, other: PLACE})
    found = sight(scene, asked)
    assert [each.service for each in found.servings] == [AT]
    assert found.serving(other) == found.serving(AT)


def test_a_place_that_may_not_be_seen_is_not_known() -> None:
    hidden = behind().answering({ObjectAt(pods_path("shop", {"app": "things"}), SERVER): FORBIDDEN})
    with pytest.raises(NotKnown):
        sight(hidden, RUNS)


# --- what is published goes on being trusted -------------------------------------------------------------


@pytest.mark.parametrize(
    "objects",
    [(api_service(),), (api_service(), api_service(NEXT)), (api_service(NEXT), api_service())],
    ids=["the only version", "the first of two", "the second of two"],
)
def test_the_bundle_that_is_published_for_the_service_is_carried_forward(objects: tuple[Object, ...]) -> None:
    scene = ready(namespace(), service(), live(bundle=OTHER_CA))
    (serving,) = sight(scene, wanted(*objects)).servings
    assert (serving.how, serving.bundle) == ("mint", OTHER_CA.certificate.decode())


def test_the_bundle_of_an_owner_that_is_replaced_is_not() -> None:
    scene = ready(namespace(), service(), live("keda/metrics", bundle=OTHER_CA))
    (serving,) = sight(scene, wanted(api_service(), take_over=True)).servings
    assert (serving.how, serving.bundle) == ("mint", "")


def test_a_second_registration_keeps_pair_and_bundle() -> None:
    scene = ready(namespace(), service(), live(bundle=CA))
    again = scene.answering({PairAt("shop", "things-tls", SERVER): seen()})
    (serving,) = sight(again, wanted(api_service())).servings
    assert (serving.how, serving.bundle) == ("keep", CA.certificate.decode())


def test_the_pair_of_a_server_outside_is_kept_where_what_is_published_verifies_it() -> None:
    asked = wanted(*SET, places={AT: NO_SECRET}, outside=pair(), folder=True)
    (kept,) = sight(ready(live(bundle=CA)), asked).servings
    (other,) = sight(ready(live(bundle=OTHER_CA)), asked).servings
    assert (kept.how, other.how) == ("keep", "mint")


# --- objects with their certificates ---------------------------------------------------------------------

MINTED = {AT: Minted(CA.certificate, pair())}
MINT, KEEP = Serving(AT, "mint", PLACE), Serving(AT, "keep", PLACE, CA.certificate.decode())


def located(found: Object) -> Located:
    return Located(found, f"/at/{target_of(found)}", target_of(found))


def seen_so(*objects: Object, servings: tuple[Serving, ...] = (MINT,), apis: Any = None) -> Sight:
    places = tuple(map(located, objects))
    return Sight(SERVER, places, apis or {NAME: None}, servings, Roster((SERVER,)), (), ())


def complete(of: Sight, tls: str = "self", **more: Any) -> list[Object]:
    return [each.object for each in with_certificates(of, wanted(tls=tls, **more), MINTED, NOW)]


def bundle_in(found: Object) -> list[str]:
    return [each.common_name for each in pki.read_certificates(ca_bundle_of(found).encode())]


def test_a_new_pair_comes_after_namespaces_and_kinds_and_before_what_mounts_it() -> None:
    kind = {"kind": "CustomResourceDefinition", "metadata": {"name": "things"}}
    deployment = {"kind": "Deployment", "metadata": {"name": "things", "namespace": "shop"}}
    found = complete(seen_so(kind, namespace(), deployment, api_service()))
    assert [each["kind"] for each in found] == [
        "CustomResourceDefinition",
        "Namespace",
        "Secret",
        "Deployment",
        "APIService",
    ]
    assert found[3] is deployment


def test_the_secret_holds_the_pair_and_its_ca_under_the_usual_names_and_those_of_the_server() -> None:
    place = PairPlace("things-tls", "server.crt", "server.key")
    (secret, _) = complete(seen_so(api_service(), servings=(replace(MINT, place=place),)))
    held = {name: base64.b64decode(each) for name, each in secret["data"].items()}
    new = pair()
    assert held == {
        "ca.crt": CA.certificate,
        "tls.crt": new.certificate,
        "tls.key": new.key,
        "server.crt": new.certificate,
        "server.key": new.key,
    }
    assert (secret["metadata"]["namespace"], secret["metadata"]["name"]) == ("shop", "things-tls")


def test_a_new_pair_takes_the_place_of_the_files_own_secret() -> None:
    own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "things-tls", "namespace": "shop"}}
    scene = replace(
        seen_so(api_service()), objects=(Located(own, path(own), target_of(own)), located(api_service()))
    )
    found = with_certificates(scene, wanted(), MINTED, NOW)
    assert [(each.kind, "data" in each.object) for each in found] == [("Secret", True), ("APIService", False)]


def test_a_pair_for_files_outside_the_cluster_makes_no_secret() -> None:
    (only,) = complete(seen_so(api_service(), servings=(replace(MINT, place=NO_SECRET),)))
    assert bundle_in(only) == ["front-proxy-ca"]


@pytest.mark.parametrize(
    ("serving", "trusted"),
    [
        (MINT, ["front-proxy-ca"]),
        (replace(MINT, bundle=OTHER_CA.certificate.decode()), ["front-proxy-ca", "other-front-proxy-ca"]),
        (replace(MINT, bundle=CA.certificate.decode()), ["front-proxy-ca"]),
        (replace(MINT, bundle=EXPIRED.certificate.decode()), ["front-proxy-ca"]),
        (replace(MINT, bundle="garbage"), ["front-proxy-ca"]),
        (KEEP, ["front-proxy-ca"]),
        (Serving(AT, "given", bundle=OTHER_CA.certificate.decode()), ["other-front-proxy-ca"]),
    ],
    ids=[
        "a new CA",
        "the new and the old",
        "each once",
        "none that expired",
        "none that cannot be read",
        "what is kept",
        "what the file gave",
    ],
)
def test_the_cabundle_is_what_the_certificate_is_verified_by(serving: Serving, trusted: list[str]) -> None:
    found = complete(seen_so(api_service(caBundle="b2xk"), servings=(serving,)))[-1]
    assert bundle_in(found) == trusted


@pytest.mark.parametrize(
    ("how", "tls"), [("injected", ""), ("injected", "cert-manager"), ("insecure", "insecure")]
)
def test_where_others_fill_it_or_nobody_verifies_no_cabundle_is_applied(how: str, tls: str) -> None:
    spoken = api_service(caBundle="b2xk", insecureSkipTLSVerify=how != "insecure")
    (found,) = complete(seen_so(spoken, servings=(Serving(AT, how),)), tls)
    assert "caBundle" not in found["spec"]
    assert found["spec"].get("insecureSkipTLSVerify") is (True if how == "insecure" else None)


@pytest.mark.parametrize(
    ("tls", "annotations"), [("cert-manager", {"a": "b", INJECT: "shop/things"}), ("", {"a": "b"})]
)
def test_cert_manager_is_told_where_the_ca_comes_from(tls: str, annotations: Object) -> None:
    spoken = api_service()
    spoken["metadata"]["annotations"] = {"a": "b"}
    (found,) = complete(seen_so(spoken, servings=(Serving(AT, "injected"),)), tls)
    assert found["metadata"]["annotations"] == annotations
    assert spoken["metadata"]["annotations"] == {"a": "b"}


def says(insecure: bool | None, *owners: str) -> Object:
    """A live APIService that says insecureSkipTLSVerify so, in the name of these field managers."""
    found = api_service() if insecure is None else api_service(insecureSkipTLSVerify=insecure)
    fields: Object = {"f:spec": {"f:insecureSkipTLSVerify": {}}}
    found["metadata"]["managedFields"] = [
        {"manager": each, "operation": "Apply", "fieldsV1": fields} for each in owners
    ]
    return found


@pytest.mark.parametrize(
    ("before", "serving", "expected"),
    [
        (None, KEEP, None),
        (says(None), KEEP, None),
        (says(False, "helm"), KEEP, None),
        (says(True), KEEP, False),
        (says(True, "helm"), KEEP, False),
        (says(True, "aggctl"), MINT, False),
        (says(None, "aggctl"), KEEP, False),
        (says(True, "helm"), Serving(AT, "injected"), False),
        (says(True, "helm"), Serving(AT, "insecure"), True),
        (None, Serving(AT, "insecure"), True),
    ],
    ids=[
        "a new API",
        "never insecure",
        "another's no",
        "insecure by nobody known",
        "insecure by another",
        "insecure by us",
        "our own no, which is said again",
        "insecure by another, and the caBundle is injected",
        "insecure, and to stay so",
        "insecure from the beginning",
    ],
)
def test_insecure_is_said_false_exactly_where_it_would_stay_true(
    before: Object | None, serving: Serving, expected: bool | None
) -> None:
    found = complete(seen_so(api_service(), servings=(serving,), apis={NAME: before}))[-1]
    assert found["spec"].get("insecureSkipTLSVerify") is expected


def test_another_field_manager_s_own_no_is_not_ours() -> None:
    of = seen_so(api_service(), servings=(KEEP,), apis={NAME: says(None, "aggctl")})
    assert "insecureSkipTLSVerify" not in complete(of, manager="pipeline")[-1]["spec"]


def test_an_object_of_another_kind_with_a_service_gets_no_certificate() -> None:
    odd = LIKE_AN_API | {"spec": {"service": {"name": "things", "namespace": "shop"}}}
    assert complete(seen_so(odd, servings=(KEEP,))) == [odd]


def test_an_api_whose_certificate_is_not_ours_to_settle_is_left_as_it_is() -> None:
    other = api_service("v1.other.example", "mall/other", caBundle="b2xk")
    assert complete(seen_so(other, servings=(KEEP,))) == [other]


def test_no_service_has_no_certificate() -> None:
    assert seen_so(servings=(KEEP,)).serving(None) is None


def test_neither_what_is_wanted_nor_what_was_seen_shows_the_users_secrets() -> None:
    hidden = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "c2VjcmV0"}}
    assert "c2VjcmV0" not in f"{wanted(hidden)!r} {seen_so(hidden, apis={NAME: hidden})!r}"


# --- what is applied -------------------------------------------------------------------------------------

OWNED = [{"manager": "aggctl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]


def apply(found: Object, before: Object | None = None, *inventory: str, **who: str) -> Object:
    made = prepared(located(found), before, "new", inventory, manager=who.get("manager", "aggctl"))
    annotations: Object = made["metadata"].get("annotations", {})
    return annotations


def there(mark: str | None = None, *, owned: bool = True, inventory: str = "") -> Object:
    """A live object with aggctl's mark."""
    annotations = {CREATED: mark} if mark else {}
    annotations |= {INVENTORY: inventory} if inventory else {}
    return {"metadata": {"annotations": annotations, "managedFields": OWNED if owned else []}}


@pytest.mark.parametrize(
    ("before", "mark"),
    [
        (None, "new"),
        (there("old"), "old"),
        (there("old", owned=False), None),
        (there(), None),
        ({"metadata": {}}, None),
    ],
    ids=[
        "created by this plan",
        "by an earlier one",
        "given up since",
        "by others, changed by us",
        "by others",
    ],
)
def test_what_aggctl_created_carries_the_mark_of_the_plan_that_did(
    before: Object | None, mark: str | None
) -> None:
    assert apply(service(), before).get(CREATED) == mark


def test_a_mark_is_kept_by_the_field_manager_that_made_it_alone() -> None:
    assert CREATED not in apply(service(), there("old"), manager="pipeline")


@pytest.mark.parametrize("own", [{CREATED: "forged", INVENTORY: "[]"}, {CREATED: "forged", "a": "b"}])
def test_a_mark_in_the_users_file_makes_no_object_ours(own: Object) -> None:
    spoken = service()
    spoken["metadata"]["annotations"] = own
    made = prepared(located(spoken), {"metadata": {}}, "new", (), manager="aggctl")
    assert made["metadata"].get("annotations") == ({"a": "b"} if "a" in own else None)
    assert made["spec"] == spoken["spec"]


def test_an_apiservice_lists_what_was_created_for_it_now_and_before_each_once() -> None:
    before = there("old", inventory='["/a","/b"]')
    assert json.loads(apply(api_service(), before, "/b", "/c")[INVENTORY]) == ["/a", "/b", "/c"]
    assert apply(api_service(), None, "/c")[INVENTORY] == '["/c"]'


def test_nothing_created_makes_no_list_nor_does_any_other_kind() -> None:
    assert INVENTORY not in apply(api_service())
    assert INVENTORY not in apply(service(), None, "/c")


def test_annotations_of_the_user_stay() -> None:
    spoken = api_service()
    spoken["metadata"]["annotations"] = {"a": "b"}
    assert apply(spoken, None, "/c") == {"a": "b", CREATED: "new", INVENTORY: '["/c"]'}
    assert spoken["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("found", "listed"),
    [
        (there(inventory='["/a", 1]'), ("/a", "1")),
        (there(inventory="{"), ()),
        (there(inventory='{"/a": 1}'), ()),
        ({"metadata": {"annotations": {INVENTORY: None}}}, ()),
        ({"metadata": {"annotations": None}}, ()),
        ({"metadata": None}, ()),
        (None, ()),
    ],
    ids=["a list", "no JSON", "no list", "null", "no annotations", "no metadata", "no object"],
)
def test_an_inventory_that_is_no_list_is_empty(found: Any, listed: tuple[str, ...]) -> None:
    assert inventory_of(found) == listed


@pytest.mark.parametrize(("found", "ours"), [(None, True), (there("old"), True), (there(), False)])
def test_an_object_is_ours_where_aggctl_makes_or_made_it(found: Object | None, ours: bool) -> None:
    assert is_ours(found) is ours


@pytest.mark.parametrize(
    ("found", "before", "nothing"),
    [
        (namespace(), there(), True),
        (namespace(), there("old"), False),
        (namespace(), None, False),
        (namespace(labels={"a": "b"}), there(), False),
        (namespace() | {"spec": {}}, there(), False),
        (namespace() | {"kind": "ClusterRole"}, there(), False),
    ],
    ids=["another's", "ours", "not there", "with labels", "with a spec", "no Namespace"],
)
def test_a_namespace_that_is_wanted_by_name_and_is_there_has_nothing_to_apply(
    found: Object, before: Object | None, nothing: bool
) -> None:
    assert says_nothing(located(found), before) is nothing


def test_the_api_of_an_apiservice_is_its_version_and_group() -> None:
    assert api_of(api_service()) == Api("v1", "things.example")
