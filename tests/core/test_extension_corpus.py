"""Real sets of manifests out of the folder named by AGGCTL_CORPUS: each is judged, or refused rightly.

The files themselves have other licences and are no part of this repository; what shall happen to each is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from aggctl.core.delegation import rbac_missing
from aggctl.core.manifestset import (
    Item,
    apply_order,
    check_set,
    in_namespace,
    port_of,
    read_set,
    service_for,
)
from aggctl.core.podspec import WhyNot, pod_spec
from aggctl.core.serving import (
    ServingSecret,
    container_for,
    serving_secret,
    with_serving_secret,
    workload_for,
)
from aggctl.core.shapes import identity, is_api_service, name_of
from aggctl.errors import Refused

CORPUS = os.environ.get("AGGCTL_CORPUS", "")

pytestmark = pytest.mark.skipif(not CORPUS, reason="AGGCTL_CORPUS names no folder of real manifests")


@dataclass(frozen=True)
class Real:
    """What is read of a file: how many objects, which APIs at which Service, which findings and notes."""

    objects: int
    apis: tuple[str, ...]
    service: str
    findings: tuple[str, ...] = ()
    notes: int = 0


READ = {
    "as-001.yaml": Real(
        3, ("v1alpha1.wardle.k8s.io", "v1beta1.wardle.k8s.io", "v1.wardle.k8s.io"), "wardle/api:443"
    ),
    "as-005.yaml": Real(
        1, ("v1beta1.metrics.k8s.io",), "/metrics-server:443", ("error apiservice-service-incomplete",)
    ),
    "as-007.yaml": Real(1, ("v1beta1.metrics.k8s.io",), "monitoring/prometheus-adapter:443"),
    "as-009.yaml": Real(
        13,
        ("v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"),
        "custom-metrics/custom-metrics-stackdriver-adapter:443",
        notes=1,
    ),
    "as-012.yaml": Real(
        1, ("v1alpha1.pedia.clusterpedia.io",), "clusterpedia-system/clusterpedia-apiserver:443"
    ),
    "as-019.yaml": Real(1, ("v1.custom.metrics.k8s.io",), "kube-system/kube-metrics-adapter:443"),
    "as-022.yaml": Real(1, ("v1beta1.visibility.kueue.x-k8s.io",), "kueue-system/visibility-server:443"),
    "as-027.yaml": Real(
        1,
        ("v1.backup.extend-k8s.io",),
        "kube-extensions/extension-server:443",
        ("error apiservice-unknown-field", "error ca-bundle-not-readable"),
    ),
}

REFUSED = {
    # file: the code, and what the refusal says
    "as-003.yaml": ("no-apiservice", "ReplicationController wardle/wardle-server"),
    "as-014.yaml": ("no-apiservice", "Deployment keda/keda-metrics-apiserver"),
    "as-016.yaml": ("no-apiservice", "APIService harvester of management.cattle.io/v3"),
    "as-024.yaml": ("objects-template", "as-024.yaml, line 1: {{ .Release.Namespace }}/cozystack-api is"),
    "as-030.yaml": ("objects-template", "as-030.yaml, line 1: {{ is"),
}

FRONT = """
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.x.example.com}}
spec:
  group: x.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {{name: front, namespace: {0}}}
---
apiVersion: v1
kind: Service
metadata: {{name: front, namespace: {0}}}
spec: {{ports: [{{port: 443, targetPort: {1}}}], selector: {2}}}
"""


def read(*names: str, more: str = "") -> tuple[Item, ...]:
    data = [(name, (Path(CORPUS) / "extension-apis" / name).read_bytes()) for name in names]
    return read_set([*data, ("more.yaml", more.encode())])


def apis(items: tuple[Item, ...]) -> list[Item]:
    return [item for item in items if is_api_service(item.object)]


@pytest.mark.parametrize(("name", "real"), READ.items())
def test_a_set_is_read_and_judged(name: str, real: Real) -> None:
    items = read(name)

    found = apis(items)
    services = [each.object["spec"]["service"] | {"port": port_of(each.object)} for each in found]
    assert (len(items), tuple(name_of(each.object) for each in found)) == (real.objects, real.apis)
    assert {f"{each.get('namespace', '')}/{each['name']}:{each['port']}" for each in services} == {
        real.service
    }
    assert tuple(f"{each.severity} {each.code}" for each in check_set(items)) == real.findings
    assert sum(len(item.notes) for item in items) == real.notes


@pytest.mark.parametrize(("name", "refusal"), REFUSED.items())
def test_what_is_no_set_is_refused(name: str, refusal: tuple[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        read(name)

    code, words = refusal
    assert caught.value.code == code, caught.value.message
    assert words in f"{caught.value.message} {caught.value.found}"


def test_every_file_has_an_expected_result() -> None:
    assert {path.name for path in (Path(CORPUS) / "extension-apis").iterdir()} == {*READ, *REFUSED}


def test_a_set_without_namespaces_is_whole_once_one_is_named() -> None:
    assert check_set(in_namespace(read("as-005.yaml"), "kube-system")) == ()


def test_the_stackdriver_adapter_is_put_in_order_and_needs_a_certificate() -> None:
    """It names neither a port nor a certificate, and brings its own RBAC."""
    items = read("as-009.yaml")
    service = service_for(items, apis(items)[0].object)
    assert service
    workload = workload_for(items, service.object)
    assert isinstance(workload, Item)
    container = container_for(pod_spec(workload.object), service.object, 443)
    assert isinstance(container, dict)
    before = serving_secret(pod_spec(workload.object), "custom-metrics", container["name"])

    after = with_serving_secret(workload.object, container["name"], "adapter-tls")

    assert isinstance(before, WhyNot)
    assert isinstance(serving_secret(pod_spec(after), "custom-metrics", container["name"]), ServingSecret)
    assert pod_spec(after)["containers"][0]["command"][-2:] == [
        "--tls-cert-file=/aggctl-tls/tls.crt",
        "--tls-private-key-file=/aggctl-tls/tls.key",
    ]
    assert rbac_missing(items, "custom-metrics", "custom-metrics-stackdriver-adapter") == ()
    assert [each["kind"] for each in apply_order(item.object for item in items)] == [
        "Namespace", "ServiceAccount", "ClusterRole", "ClusterRole", "ClusterRoleBinding",
        "ClusterRoleBinding", "ClusterRoleBinding", "RoleBinding", "Service", "Deployment", "APIService",
        "APIService", "APIService",
    ]  # fmt: skip


def test_the_server_of_keda_serves_with_its_own_secret() -> None:
    items = read("as-014.yaml", more=FRONT.format("keda", "https", "{app: keda-metrics-apiserver}"))
    workload = workload_for(items, items[-1].object)
    assert isinstance(workload, Item)
    container = container_for(pod_spec(workload.object), items[-1].object, 443)
    assert isinstance(container, dict)

    found = serving_secret(pod_spec(workload.object), "keda", container["name"])

    assert check_set(items) == ()
    assert isinstance(found, ServingSecret)
    assert (found.secret, found.cert_entry, found.key_entry) == ("kedaorg-certs", "tls.crt", "tls.key")
    assert (found.container, found.cert_path, found.given) == (
        "keda-metrics-apiserver",
        "/certs/tls.crt",
        True,
    )
    assert with_serving_secret(workload.object, container["name"], "other") == workload.object


def test_the_sample_server_says_nothing_of_its_port_and_its_certificate() -> None:
    items = read("as-003.yaml", more=FRONT.format("wardle", "443", "{apiserver: 'true'}"))
    workload = workload_for(items, items[-1].object)
    assert isinstance(workload, Item)
    spec = pod_spec(workload.object)

    assert check_set(items) == ()
    assert container_for(spec, items[-1].object, 443) == WhyNot(
        "none of 2 containers says that it listens on 443"
    )
    assert isinstance(serving_secret(spec, "wardle", "wardle-server"), WhyNot)
    assert len(rbac_missing(items, "wardle", "apiserver")) == 2


def test_two_products_cannot_have_one_name() -> None:
    with pytest.raises(Refused, match=r"v1beta1\.metrics\.k8s\.io stands twice") as caught:
        read("as-005.yaml", "as-007.yaml")

    assert caught.value.code == "object-twice"


def test_all_sets_that_can_be_read_are_disjoint_but_for_that() -> None:
    items = read(*(name for name in READ if name != "as-005.yaml"))

    assert len({identity(item.object) for item in items}) == len(items)
