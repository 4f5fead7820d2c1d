"""An API by flags stands for objects that hold every promise, the same ones each time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from aggctl.core.extension import Api, Extension, External, Image, ServiceAt, Tls
from aggctl.core.register.objects import Surroundings, certificate_for, objects_of, secret_with
from aggctl.core.shapes import at, title

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
IMAGE = Image("registry.example/things:1")
EXTENSION = Extension((Api("v1", "things.example"),), AT, IMAGE)
LABELS = {"app.kubernetes.io/name": "things", "app.kubernetes.io/managed-by": "aggctl"}


def made(
    server: Image | External | None = IMAGE, *control_plane: str, old: bool = False, **more: Any
) -> list[Object]:
    extension = replace(EXTENSION, server=server, **more)
    return list(objects_of(extension, "things-tls", Surroundings(control_plane, reads_endpoints=old)))


def of(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def deployment(**image: Any) -> Object:
    return of(made(replace(IMAGE, **image)), "Deployment")


def pod(**image: Any) -> Object:
    found: Object = deployment(**image)["spec"]["template"]["spec"]
    return found


def container(**image: Any) -> Object:
    (found,) = pod(**image)["containers"]
    return dict(found)


# --- the set ---------------------------------------------------------------------------------------------


def named(objects: list[Object]) -> list[str]:
    return [f"{each['apiVersion']} {title(each)}" for each in objects]


def test_a_server_in_the_cluster_is_this_set_and_the_api_comes_last() -> None:
    assert named(made(replace(IMAGE, network_policy=True))) == [
        "v1 Namespace shop",
        "v1 ServiceAccount shop/things",
        "rbac.authorization.k8s.io/v1 ClusterRole shop:things:reader",
        "rbac.authorization.k8s.io/v1 ClusterRoleBinding shop:things:reader",
        "rbac.authorization.k8s.io/v1 ClusterRoleBinding shop:things:auth-delegator",
        "rbac.authorization.k8s.io/v1 RoleBinding kube-system/shop:things:auth-reader",
        "networking.k8s.io/v1 NetworkPolicy shop/things",
        "v1 Service shop/things",
        "policy/v1 PodDisruptionBudget shop/things",
        "apps/v1 Deployment shop/things",
        "apiregistration.k8s.io/v1 APIService v1.things.example",
    ]


def test_the_set_is_the_same_from_call_to_call() -> None:
    image = replace(IMAGE, network_policy=True, arguments=("--v=2",), environment=(("B", "1"), ("A", "2")))
    first, second = (json.dumps(made(image, "10.0.0.11", "10.0.0.12")) for _ in range(2))
    assert first == second


def test_every_object_but_the_namespace_says_whose_it_is() -> None:
    labels = {
        title(each): at(each, "metadata", "labels") for each in made(replace(IMAGE, network_policy=True))
    }
    assert labels.pop("Namespace shop") is None
    assert set(map(json.dumps, labels.values())) == {json.dumps(LABELS)}


def test_a_service_that_is_there_needs_the_api_only() -> None:
    assert [each["kind"] for each in made(None)] == ["APIService"]


def test_several_versions_share_one_server() -> None:
    objects = made(apis=(Api("v1", "things.example"), Api("v1beta1", "things.example")))
    names = [each["metadata"]["name"] for each in objects if each["kind"] == "APIService"]
    assert names == ["v1.things.example", "v1beta1.things.example"]
    assert len(objects) == len(made()) + 1


def test_an_api_is_of_its_group_and_version_with_both_priorities_and_its_service() -> None:
    service = replace(AT, port=8443)
    objects = made(None, service=service, group_priority=2000, version_priority=20)
    assert of(objects, "APIService") == {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.things.example", "labels": LABELS},
        "spec": {
            "group": "things.example",
            "version": "v1",
            "groupPriorityMinimum": 2000,
            "versionPriority": 20,
            "service": {"namespace": "shop", "name": "things", "port": 8443},
        },
    }


def test_priorities_are_those_of_an_extension_unless_said_otherwise() -> None:
    spec = of(made(None), "APIService")["spec"]
    assert (spec["groupPriorityMinimum"], spec["versionPriority"]) == (1000, 15)


# --- rights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("shop:things:reader", ("ClusterRole", "shop:things:reader")),
        ("shop:things:auth-delegator", ("ClusterRole", "system:auth-delegator")),
        ("shop:things:auth-reader", ("Role", "extension-apiserver-authentication-reader")),
    ],
)
def test_the_server_is_bound_to(name: str, role: tuple[str, str]) -> None:
    (binding,) = (each for each in made() if at(each, "metadata", "name") == name and "subjects" in each)
    kind, name_of_role = role
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name_of_role
    }  # fmt: skip
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "shop", "name": "things"}]


def test_the_server_reads_what_the_generic_library_watches_and_may_change_none_of_it() -> None:
    rules = of(made(), "ClusterRole")["rules"]
    read = {f"{name}.{each['apiGroups'][0]}" for each in rules for name in each["resources"]}
    assert read == {
        "namespaces.",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    }
    assert {verb for each in rules for verb in each["verbs"]} == {"get", "list", "watch"}


# --- the Deployment --------------------------------------------------------------------------------------


def test_the_pods_run_as_nobody_in_particular() -> None:
    assert pod()["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_a_read_only_root_leaves_a_folder_to_write_in() -> None:
    assert {"name": "tmp", "mountPath": "/tmp"} in container()["volumeMounts"]  # noqa: S108 -- of the container
    assert {"name": "tmp", "emptyDir": {}} in pod()["volumes"]


def test_the_certificate_comes_from_the_secret_and_the_key_is_for_the_servers_group_only() -> None:
    assert {"name": "tls", "secret": {"secretName": "things-tls", "defaultMode": 0o440}} in pod()["volumes"]
    assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container()["volumeMounts"]


@pytest.mark.parametrize(("probe", "path"), [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")])
def test_the_server_is_probed_over_https(probe: str, path: str) -> None:
    assert container()[probe]["httpGet"] == {"path": path, "port": "https", "scheme": "HTTPS"}


def test_the_service_leads_to_the_pods_by_their_labels_and_the_ports_name() -> None:
    template, service = deployment(port=8443)["spec"]["template"], of(made(), "Service")["spec"]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment()["spec"]["selector"]["matchLabels"] == service["selector"]
    assert service["ports"] == [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"}]
    assert container(port=8443)["ports"] == [{"name": "https", "containerPort": 8443, "protocol": "TCP"}]


def test_the_deployment_runs_the_image_as_its_service_account_as_often_as_asked() -> None:
    assert (container()["name"], container()["image"]) == ("things", "registry.example/things:1")
    assert pod()["serviceAccountName"] == "things"
    assert deployment(replicas=3)["spec"]["replicas"] == 3


OURS = ("--secure-port=6443", "--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ((), OURS),
        (("--v=2", "serve"), (*OURS, "--v=2", "serve")),
        (("--secure-port=8443",), (*OURS[1:], "--secure-port=8443")),
        (("--secure-port", "8443"), (*OURS[1:], "--secure-port", "8443")),
        (("--tls_cert_file=/x",), (OURS[0], OURS[2], "--tls_cert_file=/x")),
        (("-tls-private-key-file=/x",), (*OURS[:2], "-tls-private-key-file=/x")),
    ],
    ids=["none", "others", "the port", "the port as two words", "spelled with _", "with one -"],
)
def test_the_users_arguments_win_over_ours(theirs: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert container(arguments=theirs)["args"] == list(words)


def test_the_port_is_where_the_server_is_told_to_listen() -> None:
    assert container(port=8443)["args"][0] == "--secure-port=8443"


def test_the_environment_keeps_its_order_and_is_left_out_where_there_is_none() -> None:
    given = container(environment=(("B", "1"), ("A", "$(B)")))["env"]
    assert given == [{"name": "B", "value": "1"}, {"name": "A", "value": "$(B)"}]
    assert "env" not in container()


@pytest.mark.parametrize(("replicas", "there"), [(0, False), (1, False), (2, True)])
def test_more_than_one_pod_is_kept_from_going_all_at_once(replicas: int, there: bool) -> None:
    objects = made(replace(IMAGE, replicas=replicas))
    budgets = [each["spec"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    selector = {"matchLabels": {"app.kubernetes.io/name": "things"}}
    assert budgets == ([{"maxUnavailable": 1, "selector": selector}] if there else [])


# --- the network -----------------------------------------------------------------------------------------


def test_the_network_policy_admits_the_control_plane_alone_to_the_servers_port() -> None:
    image = replace(IMAGE, network_policy=True, port=8443)
    assert of(made(image, "10.0.0.11", "fd00::11"), "NetworkPolicy")["spec"] == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "things"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"ipBlock": {"cidr": "10.0.0.11/32"}}, {"ipBlock": {"cidr": "fd00::11/128"}}],
                "ports": [{"port": 8443, "protocol": "TCP"}],
            }
        ],
    }


def test_there_is_no_network_policy_unless_asked_for() -> None:
    assert "NetworkPolicy" not in {each["kind"] for each in made(IMAGE, "10.0.0.11")}


# --- a server outside the cluster ------------------------------------------------------------------------


def test_a_name_outside_the_cluster_is_an_external_name() -> None:
    objects = made(External("laptop.example", 6443), service=replace(AT, port=6443))
    assert named(objects) == [
        "v1 Namespace shop",
        "v1 Service shop/things",
        "apiregistration.k8s.io/v1 APIService v1.things.example",
    ]
    spec = objects[1]["spec"]
    assert (spec["type"], spec["externalName"]) == ("ExternalName", "laptop.example")
    assert [each["port"] for each in spec["ports"]] == [6443]


@pytest.mark.parametrize(("address", "family"), [("10.0.0.5", "IPv4"), ("fd00::5", "IPv6")])
def test_an_address_outside_the_cluster_is_the_endpoint_of_a_service_without_a_selector(
    address: str, family: str
) -> None:
    objects = made(External(address, 6443))
    service, endpoints = of(objects, "Service"), of(objects, "EndpointSlice")
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
    assert service["spec"] == {"ports": ports}
    assert endpoints == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "things-external",
            "namespace": "shop",
            "labels": {
                **LABELS,
                "kubernetes.io/service-name": "things",
                "endpointslice.kubernetes.io/managed-by": "aggctl",
            },
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }


@pytest.mark.parametrize("address", ["10.0.0.5", "fd00::5"])
def test_an_older_aggregator_finds_an_address_outside_in_endpoints_that_nothing_mirrors(address: str) -> None:
    objects = made(External(address, 6443), old=True)
    assert of(objects, "EndpointSlice") == of(made(External(address, 6443)), "EndpointSlice")
    assert of(objects, "Endpoints") == {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "things",
            "namespace": "shop",
            "labels": {**LABELS, "endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {"addresses": [{"ip": address}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}
        ],
    }


def test_a_name_outside_needs_no_endpoints() -> None:
    laptop = External("laptop.example", 6443)
    assert made(laptop, old=True) == made(laptop)


# --- certificates ----------------------------------------------------------------------------------------


def test_cert_manager_is_asked_for_a_serving_certificate_by_the_issuer() -> None:
    tls = Tls("cert-manager", "ca", "ClusterIssuer")
    assert certificate_for(AT, "things-tls", tls, ("things.shop.svc", "things.shop")) == {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "things", "namespace": "shop", "labels": LABELS},
        "spec": {
            "secretName": "things-tls",
            "dnsNames": ["things.shop.svc", "things.shop"],
            "usages": ["digital signature", "key encipherment", "server auth"],
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "ca"},
        },
    }


def test_a_serving_pair_is_a_secret_of_the_type_for_it() -> None:
    assert secret_with(AT, "things-tls", {"tls.crt": "eA=="}) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "things-tls", "namespace": "shop", "labels": LABELS},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "eA=="},
    }
