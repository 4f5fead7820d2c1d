"""What `check_set` finds: an APIService by itself, and the objects of a set among each other."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aggctl.core import pki
from aggctl.core.manifestset import (
    Item,
    check_api_service,
    check_group_version,
    check_set,
    port_of,
    service_for,
)

if TYPE_CHECKING:
    from aggctl.core.findings import Finding

CA = base64.b64encode(
    pki.new_ca("ca", datetime(2026, 1, 1, tzinfo=UTC), algorithm="ECDSA-P256").certificate
).decode()
GONE = object()


def api(name: str = "v1.things.example.com", **spec: Any) -> dict[str, Any]:
    """An APIService that is right, but for what is given; GONE leaves a field out."""
    version, _, group = name.partition(".")
    right = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "service": {"name": "things", "namespace": "shop"},
    }
    fields = {key: value for key, value in (right | spec).items() if value is not GONE}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": fields,
    }


def found(thing: dict[str, Any]) -> list[str]:
    return [finding.code for finding in check_api_service(thing, "x.yaml, line 1")]


@pytest.mark.parametrize(
    "thing",
    [
        api(),
        api(caBundle=CA),
        api(caBundle=f" {CA}\n "),
        api(insecureSkipTLSVerify=True),
        api(insecureSkipTLSVerify=False, caBundle=CA),
        api(service={"name": "a", "namespace": "b", "port": 65535}),
        api(service={"name": "a", "namespace": "b", "port": None}, groupPriorityMinimum=1, versionPriority=1),
        api("v2alpha11.x-y.metrics.k8s.io", groupPriorityMinimum=20000, versionPriority=1000),
        api("v1beta1.custom.metrics.k8s.io"),
    ],
)
def test_a_right_apiservice_has_no_problem(thing: dict[str, Any]) -> None:
    assert found(thing) == []


PROBLEMS: list[tuple[dict[str, Any], list[str], str]] = [
    (
        api(version="v2"),
        ["apiservice-name"],
        "its name is not spec.version.spec.group, v2.things.example.com",
    ),
    (api(group="other.example.com"), ["apiservice-name"], "v1.other.example.com"),
    (api("1.things.example.com"), ["apiservice-version"], "its version is 1, which is no version of an API"),
    (api("V1.things.example.com"), ["apiservice-version"], "its version is V1,"),
    (api(version=GONE), ["apiservice-version", "apiservice-name"], "its version is empty"),
    (api("v1.things"), ["apiservice-group"], "its group is things, which is no name of a group"),
    (api("v1.Things.example.com"), ["apiservice-group"], "its group is Things.example.com"),
    (api("v1." + ".".join(["a" * 63] * 4)), ["apiservice-group"], "which is no name of a group"),
    (api("v2."), ["apiservice-group"], "its group is empty, which is no name"),
    (api("v1."), ["group-built-in"], "its group is empty, which kube-apiserver serves itself"),
    (api("v1.apps"), ["group-built-in"], "its group is apps,"),
    (api("v1.rbac.authorization.k8s.io"), ["group-built-in"], "rbac.authorization.k8s.io"),
    (api("v1.apiregistration.k8s.io"), ["group-built-in"], "apiregistration.k8s.io"),
    (api(groupPriorityMinimum=0), ["apiservice-priority"], "spec.groupPriorityMinimum is 0"),
    (api(groupPriorityMinimum=20001), ["apiservice-priority"], "spec.groupPriorityMinimum is 20001"),
    (api(versionPriority=1001), ["apiservice-priority"], "spec.versionPriority is 1001"),
    (api(versionPriority=-1), ["apiservice-priority"], "spec.versionPriority is -1"),
    (api(versionPriority=GONE), ["apiservice-priority"], "spec.versionPriority is missing"),
    (api(versionPriority=None), ["apiservice-priority"], "spec.versionPriority is missing"),
    (api(versionPriority="15"), ["apiservice-wrong-type"], "spec.versionPriority is not an integer"),
    (api(versionPriority=True), ["apiservice-wrong-type"], "spec.versionPriority is not an integer"),
    (api(versionPriority=1.5), ["apiservice-wrong-type"], "spec.versionPriority is not an integer"),
    (api(service=GONE), ["apiservice-without-service"], "it names no Service"),
    (api(service={}), ["apiservice-without-service"], "it names no Service"),
    (
        api(service=[]),
        ["apiservice-wrong-type", "apiservice-without-service"],
        "spec.service is not a mapping",
    ),
    (api(service={"name": "a"}), ["apiservice-service-incomplete"], "spec.service has no namespace"),
    (api(service={"port": 443}), ["apiservice-service-incomplete"], "has no name and no namespace"),
    (api(service={"name": "a", "namespace": "b", "port": 0}), ["apiservice-port"], "spec.service.port is 0"),
    (api(service={"name": "a", "namespace": "b", "port": 65536}), ["apiservice-port"], "port is 65536"),
    (
        api(service={"name": "a", "namespace": "b", "port": "https"}),
        ["apiservice-wrong-type"],
        "spec.service.port",
    ),
    (
        api(service={"name": "a", "namespace": "b", "prot": 1}),
        ["apiservice-unknown-field"],
        "spec.service.prot",
    ),
    (
        api(caBundle=CA, insecureSkipTLSVerify=True),
        ["apiservice-bundle-and-insecure"],
        "a caBundle and insecure",
    ),
    (api(insecureSkipTLSVerify="true"), ["apiservice-wrong-type"], "is not true or false"),
    (api(caBundle=5), ["apiservice-wrong-type"], "spec.caBundle is not a string"),
    (api(caBundle="%"), ["ca-bundle-not-readable"], "its caBundle is no base64"),
    (api(caBundle="é"), ["ca-bundle-not-readable"], "its caBundle is no base64"),
    (api(caBundle="cert"), ["ca-bundle-not-readable"], "is base64 of something that is no PEM certificate"),
    (api(caBundle="-----BEGIN CERTIFICATE-----\n"), ["ca-bundle-not-readable"], "is PEM itself"),
    (api(colour="red"), ["apiservice-unknown-field"], "spec.colour does not exist"),
    ({**api(), "spec": []}, ["apiservice-wrong-type"], "it has no spec"),
]


@pytest.mark.parametrize(
    ("thing", "codes", "words"), PROBLEMS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_each_problem_of_an_apiservice_is_found(thing: dict[str, Any], codes: list[str], words: str) -> None:
    findings = check_api_service(thing, "x.yaml, line 1")

    assert [each.code for each in findings] == codes
    assert words in findings[0].message
    assert {each.severity for each in findings} == {"error"}
    assert all(each.fix and each.expected for each in findings)
    assert findings[0].subject.startswith(f"APIService {thing['metadata']['name'][:99]}")
    assert findings[0].subject.endswith(" (x.yaml, line 1)")


def test_a_typo_is_reported_once_with_the_field_that_was_meant() -> None:
    (finding,) = check_api_service(api(versionPriority=GONE, versionsPriority=10), "x")

    assert (finding.code, finding.fix) == ("apiservice-unknown-field", "write versionPriority")


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("cabundle", "write caBundle"),
        ("insecureSkipTlsVerify", "write insecureSkipTLSVerify"),
        ("x", "remove x"),
    ],
)
def test_the_nearest_field_is_named(field: str, fix: str) -> None:
    assert check_api_service(api(**{field: "a"}), "x")[0].fix == fix


def test_an_unusual_version_is_a_warning() -> None:
    (finding,) = check_group_version("v1.x", "version1", "things.example.com")

    assert (finding.code, finding.severity) == ("apiservice-version", "warning")


def test_the_bundle_is_never_quoted() -> None:
    assert "hunter2" not in str(check_api_service(api(caBundle="hunter2hunter2=="), "x"))


def test_the_port_is_443_where_none_is_named() -> None:
    assert (port_of(api()), port_of(api(service={"port": 8443}))) == (443, 8443)


# --- the set ---------------------------------------------------------------------------------------------


def service(port: int = 443, target: int | str = 6443, **spec: Any) -> dict[str, Any]:
    ports = [{"port": port, "targetPort": target}]
    fields = {"selector": {"app": "things"}, "ports": ports} | spec
    metadata = {"name": "things", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": fields}


def deployment(*containers: dict[str, Any], **pod: Any) -> dict[str, Any]:
    default = {"name": "server", "ports": [{"containerPort": 6443, "name": "https"}]}
    template = {
        "metadata": {"labels": {"app": "things", "tier": "x"}},
        "spec": {"containers": list(containers) or [default], **pod},
    }
    metadata = {"name": "server", "namespace": "shop"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": template},
    }


def checked(*objects: dict[str, Any]) -> tuple[Finding, ...]:
    return check_set(Item(each, f"x.yaml, line {line}") for line, each in enumerate(objects, start=1))


@dataclass(frozen=True)
class Case:
    """A set and the findings in it, as `severity code`."""

    says: str
    objects: list[dict[str, Any]]
    findings: list[str] = field(default_factory=list)


CASES = [
    Case("all agree", [api(), service(), deployment()]),
    Case("all agree by the name of the port", [api(), service(target="https"), deployment()]),
    Case("a NodePort", [api(), service(type="NodePort"), deployment()]),
    Case(
        "a LoadBalancer with an address",
        [api(), service(type="LoadBalancer", clusterIP="10.0.0.1"), deployment()],
    ),
    Case("the Service is not among them", [api(), deployment()]),
    Case(
        "a Service of that name elsewhere",
        [api(service={"name": "things", "namespace": "z"}), service(port=1)],
    ),
    Case(
        "a Service that nobody names", [api(), service() | {"metadata": {"name": "z", "namespace": "shop"}}]
    ),
    Case("a name outside of the cluster", [api(), service(type="ExternalName", ports=[])]),
    Case("no selector, endpoints by hand", [api(), service(selector=None)]),
    Case("no such port", [api(), service(port=8443), deployment()], ["error service-port-missing"]),
    Case("no port at all", [api(), service(ports=[]), deployment()], ["error service-port-missing"]),
    Case(
        "two APIs, one of them on another port",
        [
            api(),
            api("v2.things.example.com", service={"name": "things", "namespace": "shop", "port": 444}),
            service(),
            deployment(),
        ],
        ["error service-port-missing"],
    ),
    Case("headless", [api(), service(clusterIP="None"), deployment()], ["warning service-headless"]),
    Case(
        "other labels",
        [api(), service(selector={"app": "z"}), deployment()],
        ["warning service-selects-nothing"],
    ),
    Case("no workload", [api(), service()], ["warning service-selects-nothing"]),
    Case("two workloads behind it", [api(), service(), deployment(), deployment()]),
    Case(
        "no such port name",
        [api(), service(target="web"), deployment()],
        ["error service-target-port-missing"],
    ),
    Case("an APIService that is wrong", [api(versionPriority=0)], ["error apiservice-priority"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_set(case: Case) -> None:
    findings = checked(*case.objects)

    assert [f"{each.severity} {each.code}" for each in findings] == case.findings
    assert all(each.fix and each.expected for each in findings)


def test_a_missing_port_is_reported_with_those_that_there_are() -> None:
    (one,) = checked(api(), service(port=8443), deployment())
    (two,) = checked(api(), service(ports=[{"port": 1}, {"port": 2}]), deployment())

    assert one.subject == "Service shop/things (x.yaml, line 2)"
    assert one.message == "it has no port 443, which an APIService asks for"
    assert one.fix == "set spec.service.port: 8443 in the APIService, or add 443 to the Service"
    assert (two.expected, two.fix) == (
        "one of its ports: 1, 2",
        "name one of its ports, or add 443 to the Service",
    )


def test_the_service_of_an_api_is_found_by_name_and_namespace() -> None:
    items = [Item(service(), "a"), Item(service() | {"apiVersion": "serving.knative.dev/v1"}, "b")]

    assert service_for(items, api()) is items[0]
    assert service_for(items[1:], api()) is None


LOW = {"name": "server", "ports": [{"containerPort": 443}]}
NOT_ROOT = {"runAsNonRoot": True}


@pytest.mark.parametrize(
    ("container", "pod", "warned"),
    [
        (LOW, {}, False),
        (LOW, {"securityContext": NOT_ROOT}, True),
        (LOW | {"securityContext": NOT_ROOT}, {}, True),
        (LOW | {"securityContext": {"runAsUser": 1000}}, {}, True),
        (LOW | {"securityContext": {"runAsUser": 0}}, {"securityContext": {"runAsUser": 1000}}, False),
        (LOW | {"securityContext": {"runAsNonRoot": False}}, {"securityContext": NOT_ROOT}, False),
        (LOW | {"securityContext": NOT_ROOT | {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}, {}, False),
        (LOW | {"securityContext": NOT_ROOT | {"capabilities": {"drop": ["ALL"]}}}, {}, True),
        ({"name": "s", "args": ["--secure-port=443"], "securityContext": NOT_ROOT}, {}, True),
        ({"name": "s", "args": ["--secure-port=6443"], "securityContext": NOT_ROOT}, {}, False),
        (
            LOW,
            {
                "securityContext": NOT_ROOT
                | {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}
            },
            False,
        ),
    ],
)
def test_a_low_port_without_root_is_a_warning(
    container: dict[str, Any], pod: dict[str, Any], warned: bool
) -> None:
    findings = checked(api(), deployment(container, **pod))

    assert [each.code for each in findings] == ["privileged-port"] * warned
    assert all("listens on 443 and is not root" in each.message for each in findings)
