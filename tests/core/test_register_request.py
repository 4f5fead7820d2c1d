"""From flags, or the user's own manifests, to the objects to apply and where a server reads its pair."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import SERVING_CA, api_service, namespace, service
from support.snapshots import codes

from aggctl.core.extension import Api, Extension, External, Image, PairPlace, ServiceAt, Tls
from aggctl.core.manifestset import Item
from aggctl.core.podspec import pod_spec
from aggctl.core.register.certificates import encoded
from aggctl.core.register.objects import Surroundings
from aggctl.core.register.request import Request, of_files, of_flags
from aggctl.core.serving import ServingSecret, serving_secret
from aggctl.core.shapes import title

if TYPE_CHECKING:
    from collections.abc import Iterable

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
SELF, MINE = Tls("self"), Tls("secret", "mine")
ISSUER = Tls("cert-manager", "ca")


def titles(objects: Iterable[Object]) -> list[str]:
    return [title(each) for each in objects]


# --- by flags --------------------------------------------------------------------------------------------

IMAGE = Image("things:1")
LAPTOP = External("laptop.example", 443)
EXTENSION = Extension((Api("v1", "things.example"),), AT, IMAGE)


@pytest.mark.parametrize(
    ("server", "tls", "places"),
    [
        (IMAGE, SELF, {AT: PairPlace("things-tls")}),
        (IMAGE, MINE, {AT: PairPlace("mine")}),
        (IMAGE, ISSUER, {AT: PairPlace("things-tls")}),
        (LAPTOP, SELF, {AT: PairPlace("")}),
        (None, SELF, {}),
    ],
    ids=[
        "a Secret",
        "the user's Secret",
        "cert-manager's Secret",
        "files outside",
        "the running Pods say it",
    ],
)
def test_by_flags_a_server_reads_its_pair_from(
    server: Image | External | None, tls: Tls, places: dict[ServiceAt, PairPlace]
) -> None:
    assert of_flags(replace(EXTENSION, server=server), tls).places == places


def test_by_flags_the_pods_mount_the_secret_that_the_pair_is_in() -> None:
    request = of_flags(EXTENSION, MINE)
    (deployment,) = (each for each in request.objects if each["kind"] == "Deployment")
    found = serving_secret(pod_spec(deployment), "shop", "things")
    assert isinstance(found, ServingSecret)
    assert PairPlace(found.secret, found.cert_entry, found.key_entry) == request.places[AT]


def test_by_flags_objects_come_in_a_safe_order_and_have_no_problem() -> None:
    request = of_flags(EXTENSION, SELF)
    assert (titles(request.objects)[0], titles(request.objects)[-1]) == (
        "Namespace shop",
        "APIService v1.things.example",
    )
    assert request.findings == ()


def test_cert_manager_is_asked_for_the_names_of_the_service() -> None:
    request = of_flags(EXTENSION, ISSUER)
    (certificate,) = (each for each in request.objects if each["kind"] == "Certificate")
    names = ["things.shop.svc", "things.shop", "things.shop.svc.cluster.local"]
    assert (certificate["spec"]["secretName"], certificate["spec"]["dnsNames"]) == ("things-tls", names)
    assert titles(request.objects)[-1] == "APIService v1.things.example"


def test_by_flags_a_network_policy_admits_the_control_plane() -> None:
    image = replace(IMAGE, network_policy=True)
    request = of_flags(replace(EXTENSION, server=image), SELF, Surroundings(("10.0.0.11",)))
    (policy,) = (each for each in request.objects if each["kind"] == "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.0.0.11/32"}}]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"group_priority": 20001}, "apiservice-priority"),
        ({"version_priority": 0}, "apiservice-priority"),
        ({"apis": (Api("v1", "rbac.authorization.k8s.io"),)}, "group-built-in"),
    ],
    ids=["a group's priority out of range", "a version's priority out of range", "a group of Kubernetes"],
)
def test_by_flags_what_cannot_work_stands_in_the_way(more: dict[str, Any], code: str) -> None:
    assert codes(of_flags(replace(EXTENSION, **more), SELF).errors) == [code]


# --- the user's own manifests ----------------------------------------------------------------------------

FLAGS = ["--tls-cert-file=/certs/my.crt", "--tls-private-key-file=/certs/my.key"]
BY_POD: dict[str, Any] = {"selector": {"app": "things"}}


def deployment(*flags: str, mounts: str = "given", **pod: Any) -> Object:
    """A Deployment whose container serves with a Secret if it has the flags for it."""
    container = {
        "name": "server",
        "args": list(flags),
        "ports": [{"name": "https", "containerPort": 6443}],
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }
    volumes = [{"name": "certs", "secret": {"secretName": mounts}}]
    spec = {"containers": [container], "volumes": volumes, **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "things", "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": {"app": "things"}}, "spec": spec}},
    }


def ask(*objects: Object, tls: Tls = SELF, with_rbac: bool = False) -> Request:
    items = tuple(Item(each, f"x.yaml, line {number}") for number, each in enumerate(objects))
    return of_files(items, tls, with_rbac=with_rbac)


SERVICE, SERVES, BARE = service(**BY_POD), deployment(*FLAGS), deployment("--v=2")


def test_objects_of_files_come_in_a_safe_order_and_are_what_was_given() -> None:
    given = (api_service(), SERVES, SERVICE, namespace())
    request = ask(*given)
    assert request.objects == tuple(reversed(given))
    assert request.findings == ()


def test_a_server_that_serves_with_a_secret_goes_on_with_it_and_its_entries() -> None:
    assert ask(api_service(), SERVICE, SERVES).places == {AT: PairPlace("given", "my.crt", "my.key")}


@pytest.mark.parametrize(("tls", "secret"), [(SELF, "things-tls"), (MINE, "mine"), (ISSUER, "things-tls")])
def test_a_server_that_serves_with_none_is_made_to(tls: Tls, secret: str) -> None:
    before = copy.deepcopy(BARE)
    request = ask(api_service(), SERVICE, BARE, tls=tls)
    changed = next(each for each in request.objects if each["kind"] == "Deployment")
    found = serving_secret(pod_spec(changed), "shop", "server")
    assert isinstance(found, ServingSecret)
    assert (found.secret, request.places) == (secret, {AT: PairPlace(secret)})
    assert before == BARE


def test_what_is_changed_in_the_users_workload_is_said_with_the_reason() -> None:
    (said,) = ask(api_service(), SERVICE, BARE).findings
    assert (said.code, said.severity) == ("workload-made-to-serve", "info")
    assert said.subject == "Deployment shop/things (x.yaml, line 2)"
    assert said.message.endswith("it is started without --tls-cert-file and --tls-private-key-file")


def test_flags_that_take_the_place_of_the_images_own_are_warned_of() -> None:
    findings = ask(api_service(), SERVICE, deployment()).findings
    assert [(each.code, each.severity) for each in findings] == [
        ("workload-made-to-serve", "info"),
        ("image-arguments-replaced", "warning"),
    ]


def test_the_users_secret_has_to_be_the_one_that_the_server_reads() -> None:
    assert ask(api_service(), SERVICE, deployment(*FLAGS, mounts="mine"), tls=MINE).errors == ()
    (error,) = ask(api_service(), SERVICE, SERVES, tls=MINE).errors
    assert (error.code, error.fix) == ("secret-not-mounted", "name that one: --tls secret=given")


def test_cert_manager_fills_the_secret_that_the_server_reads() -> None:
    request = ask(api_service(), SERVICE, SERVES, tls=ISSUER)
    (certificate,) = (each for each in request.objects if each["kind"] == "Certificate")
    assert certificate["spec"]["secretName"] == "given"


BUNDLE: dict[str, Any] = {"caBundle": encoded(SERVING_CA.certificate)}
INJECTED = api_service() | {
    "metadata": {
        "name": "v1.things.example",
        "annotations": {"cert-manager.io/inject-ca-from": "shop/things"},
    }
}


@pytest.mark.parametrize(
    ("api", "tls"),
    [
        (api_service(**BUNDLE), Tls()),
        (INJECTED, Tls()),
        (api_service(insecureSkipTLSVerify=True), Tls("insecure")),
    ],
    ids=["its file has a caBundle", "its caBundle is filled by others", "insecure"],
)
def test_a_server_that_needs_no_pair_of_us_stays_as_it_is(api: Object, tls: Tls) -> None:
    request = ask(api, SERVICE, BARE, tls=tls)
    assert (request.places, request.findings) == ({}, ())
    assert BARE in request.objects


def test_a_way_that_is_said_goes_before_what_the_file_says() -> None:
    assert ask(api_service(**BUNDLE), SERVICE, SERVES, tls=SELF).places


def test_that_verification_is_switched_on_is_said() -> None:
    api = api_service(insecureSkipTLSVerify=True)
    (said,) = ask(api, SERVICE, SERVES).findings
    assert (said.code, said.severity) == ("insecure-switched-off", "info")


SIDECAR = [{"name": "server"}, {"name": "sidecar"}]


@pytest.mark.parametrize(
    "objects",
    [
        (),
        (SERVES,),
        (service(),),
        (service(), SERVES),
        (service("other", **BY_POD), SERVES),
        (service("things", "other", **BY_POD), SERVES),
        (
            service(ports=[{"port": 443, "targetPort": 6443}], **BY_POD),
            deployment(containers=SIDECAR),
        ),
    ],
    ids=[
        "nothing but the APIService",
        "no Service",
        "no server",
        "a Service without a selector",
        "another Service",
        "a Service of another namespace",
        "several containers, none of which tells its port",
    ],
)
def test_where_the_set_does_not_tell_the_running_pods_have_to(objects: tuple[Object, ...]) -> None:
    request = ask(api_service(), *objects)
    assert (request.places, request.errors) == ({}, ())


def test_a_container_without_a_name_is_the_servers_to_refuse() -> None:
    nameless = deployment(containers=[{"ports": [{"name": "https", "containerPort": 6443}]}])
    assert ask(api_service(), SERVICE, nameless).places == {AT: PairPlace("things-tls")}


def test_versions_of_one_group_share_the_server() -> None:
    apis = (api_service(), api_service("v1beta1.things.example"))
    request = ask(*apis, SERVICE, BARE, tls=ISSUER, with_rbac=True)
    assert request.places == {AT: PairPlace("things-tls")}
    assert codes(request.findings) == ["workload-made-to-serve"]
    assert titles(request.objects) == [
        "ClusterRoleBinding shop:default:auth-delegator",
        "RoleBinding kube-system/shop:default:auth-reader",
        "Service shop/things",
        "Deployment shop/things",
        "Certificate shop/things",
        "APIService v1.things.example",
        "APIService v1beta1.things.example",
    ]


def test_two_services_before_one_server_need_its_rights_once() -> None:
    other = api_service("v2.things.example", "shop/more")
    request = ask(api_service(), other, SERVICE, service("more", **BY_POD), SERVES, with_rbac=True)
    assert len([each for each in request.objects if each["kind"].endswith("Binding")]) == 2


def test_the_rights_are_those_of_the_servers_account_and_made_only_when_asked_for() -> None:
    objects = (api_service(), SERVICE, deployment(*FLAGS, serviceAccountName="sa"))
    added = set(titles(ask(*objects, with_rbac=True).objects)) - set(titles(ask(*objects).objects))
    assert added == {
        "ClusterRoleBinding shop:sa:auth-delegator",
        "RoleBinding kube-system/shop:sa:auth-reader",
    }


def test_rights_are_made_whatever_way_the_certificate_comes() -> None:
    insecure = ask(api_service(), SERVICE, BARE, tls=Tls("insecure"), with_rbac=True)
    assert len(insecure.objects) == 5


def test_what_reading_changed_is_said() -> None:
    item = Item(api_service(), "x.yaml, line 1", ("read as apiregistration.k8s.io/v1",))
    (said,) = of_files((item,), SELF, with_rbac=False).findings
    assert (said.code, said.severity) == ("manifest-read-as", "info")
    assert (said.subject, said.message) == (
        "APIService v1.things.example (x.yaml, line 1)",
        "read as apiregistration.k8s.io/v1",
    )


ODD = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": "v1.things.example"},
}


@pytest.mark.parametrize(
    "api",
    [
        ODD,
        ODD | {"spec": None},
        ODD | {"spec": ["x"]},
        api_service()
        | {"spec": api_service()["spec"] | {"service": {"namespace": "shop", "name": "x", "port": "y"}}},
        api_service() | {"spec": api_service()["spec"] | {"service": "x"}},
    ],
    ids=["no spec", "an empty spec", "a list", "a port that is none", "a Service that is none"],
)
def test_an_api_service_of_a_wrong_shape_is_a_finding_and_the_set_is_not_touched(api: Object) -> None:
    request = ask(api, SERVICE, BARE, with_rbac=True)
    assert "apiservice-wrong-type" in codes(request.errors)
    assert (request.objects, request.places) == ((SERVICE, BARE, api), {})


def test_a_port_that_the_service_lacks_stands_in_the_way() -> None:
    assert codes(ask(api_service(port=8443), SERVICE, SERVES).errors) == ["service-port-missing"]


def test_a_request_shows_no_object() -> None:
    assert "Deployment" not in repr(ask(api_service(), SERVICE, SERVES))
