"""`aggctl register` on real nodes: real servers in Pods, found by ClusterIP and by their endpoints.

The cluster begins as kubeadm leaves it, with routing off; the last test switches it on on one node.
"""

from __future__ import annotations

import base64
import json
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.kubeadm.cluster import ADAPTER_IMAGE
from support.waiting import eventually

if TYPE_CHECKING:
    from support.kubeadm.cluster import Cluster, KubeadmNode

HERE = Path(__file__).parent
TUTORIAL, METRICS_SERVER = HERE / "tutorial", HERE / "metrics-server"

CUSTOM, EXTERNAL, METRICS = (
    "v1beta2.custom.metrics.k8s.io",
    "v1beta1.external.metrics.k8s.io",
    "v1beta1.metrics.k8s.io",
)
BY_TUTORIAL = ("-f", str(TUTORIAL), "--tls", "self", "--with-rbac")
NAMESPACE, SERVER = "custom-metrics", "test-adapter"

KINDS = (
    "apiservices,clusterroles,clusterrolebindings,configmaps,deployments,namespaces,poddisruptionbudgets,pods,"
    "rolebindings,secrets,serviceaccounts,services"
)
IDENTITY = (
    "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name,U:.metadata.uid,G:.metadata.generation"
)

READING = ("doctor", "logs", "status")
"""Commands that ask for no consent."""

SHOWN = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))"
"""A program that prints the certificate which a server shows."""


@dataclass(frozen=True)
class Adapter:
    """The API that Pods of the first test serve, and how its registration ended."""

    cluster: Cluster
    report: dict[str, Any]

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """Its Pods by UID, without those that are on their way out."""
        items = listed(self.cluster.first, "-n", NAMESPACE, "pods")
        return {
            each["metadata"]["uid"]: each for each in items if "deletionTimestamp" not in each["metadata"]
        }

    @property
    def endpoints(self) -> set[str]:
        return {f"{each['status']['podIP']}:6443" for each in self.pods.values()}

    @property
    def cluster_ip(self) -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/services/{SERVER}"
        address: str = self.cluster.first.get(path)["spec"]["clusterIP"]
        return address


@pytest.fixture(scope="module")
def adapter(three: Cluster) -> Adapter:
    """The test-adapter of the custom metrics API, by its image alone."""
    _, report = reported(three.first, "register", *of_image(CUSTOM, NAMESPACE, SERVER))
    return Adapter(three, report)


def of_image(api: str, namespace: str, name: str) -> tuple[str, ...]:
    """The words that register the test-adapter."""
    return api, "--image", ADAPTER_IMAGE, "-n", namespace, "--name", name


def reported(node: KubeadmNode, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit status and report of one run."""
    done = node.aggctl(*words, "-o", "json", *([] if words[0] in READING else ["--yes"]))
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def codes(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


def listed(node: KubeadmNode, *words: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(node.kubectl("get", *words, "-o", "json").stdout)["items"]
    return items


def standing(node: KubeadmNode) -> set[str]:
    """Objects of the kinds that a registration may touch: which they are, and the version of their spec."""
    return set(node.kubectl("get", KINDS, "-A", "--no-headers", "-o", IDENTITY).stdout.splitlines())


def answered(node: KubeadmNode, api: str) -> bool:
    """Whether this node's kube-apiserver gets the version's own answer."""
    version, _, group = api.partition(".")
    found = node.get(f"/apis/{group}/{version}")
    return found is not None and found["groupVersion"] == f"{group}/{version}"


def dialled(node: KubeadmNode) -> set[str]:
    """Where the connections of this node's kube-apiserver lead, as it dialled them."""
    said = node.run("ss", "-Htnp", "state", "established").stdout
    return {line.split()[3] for line in said.splitlines() if '"kube-apiserver"' in line}


# --- by an image -----------------------------------------------------------------------------------------


def test_an_image_becomes_an_api_over_verified_tls_in_pods_on_two_nodes(adapter: Adapter) -> None:
    assert adapter.report["outcome"] == "applied", adapter.report
    spec = adapter.cluster.first.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{CUSTOM}")["spec"]
    assert spec["caBundle"]
    assert "insecureSkipTLSVerify" not in spec
    assert len({each["spec"]["nodeName"] for each in adapter.pods.values()}) == 2


def test_with_routing_off_each_kube_apiserver_dials_the_cluster_ip(adapter: Adapter) -> None:
    address = f"{adapter.cluster_ip}:443"
    for node in adapter.cluster.nodes:
        assert answered(node, CUSTOM), node.name
        assert address in dialled(node), node.name
        assert not adapter.endpoints & dialled(node), node.name


def test_registered_again_from_another_node_nothing_is_written(adapter: Adapter) -> None:
    before = standing(adapter.cluster.first)
    status, report = reported(adapter.cluster.nodes[2], "register", *of_image(CUSTOM, NAMESPACE, SERVER))
    assert (status, report["outcome"]) == (0, "unchanged"), report
    assert standing(adapter.cluster.first) == before


def test_logs_are_of_all_kube_apiservers_and_of_pods_on_other_nodes(adapter: Adapter) -> None:
    status, report = reported(adapter.cluster.nodes[2], "logs", CUSTOM, "--all")
    assert status == 0
    assert {each["source"] for each in report["items"]} == {
        *(f"kube-apiserver/{node.name}" for node in adapter.cluster.nodes),
        *(f"pod/{pod['metadata']['name']}" for pod in adapter.pods.values()),
    }
    assert any(
        line["source"].startswith("pod/") and "starting adapter" in line["line"] for line in report["items"]
    )


def test_a_new_serving_certificate_gets_to_the_pods_with_no_failed_request_and_no_restart(
    adapter: Adapter,
) -> None:
    cluster, pods = adapter.cluster, adapter.pods
    before = shown(adapter)
    processes = [node.apiserver_pid() for node in cluster.nodes]
    with cluster.load("/apis/custom.metrics.k8s.io/v1beta2") as answers:
        status, report = reported(cluster.first, "certs", "rotate", "serving", CUSTOM)
    assert (status, report["outcome"]) == (0, "applied"), report
    assert {name: set(counted) for name, counted in answers.items()} == {
        node.name: {"200"} for node in cluster.nodes
    }
    assert [node.apiserver_pid() for node in cluster.nodes] == processes
    assert adapter.pods.keys() == pods.keys()
    assert sum(each["status"]["containerStatuses"][0]["restartCount"] for each in adapter.pods.values()) == 0
    assert not shown(adapter) & before
    assert shown(adapter) == {in_secret(cluster.first)}


def shown(adapter: Adapter) -> set[str]:
    """The certificates that its Pods show."""
    node = adapter.cluster.first
    return {
        node.run(sys.executable, "-c", SHOWN, *each.split(":")).stdout.strip() for each in adapter.endpoints
    }


def in_secret(node: KubeadmNode) -> str:
    data = node.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{SERVER}-tls")["data"]
    return base64.b64decode(data["tls.crt"]).decode().strip()


def test_unregister_takes_all_of_it_with_the_namespace_and_leaves_the_others(adapter: Adapter) -> None:
    node = adapter.cluster.first
    before = standing(node)
    status, report = reported(node, "register", *of_image(EXTERNAL, "other-metrics", "other"))
    assert (status, report["outcome"]) == (0, "applied"), report

    status, report = reported(node, "unregister", EXTERNAL)

    assert (status, report["outcome"], report["findings"]) == (0, "applied", []), report
    assert report["changes"][-1]["target"] == "Namespace other-metrics"
    eventually(lambda: standing(node) == before, "all of it is gone")
    assert not any(answered(each, EXTERNAL) for each in adapter.cluster.nodes)
    assert all(answered(each, CUSTOM) for each in adapter.cluster.nodes)


# --- by manifests ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def latest(three: Cluster) -> None:
    """The image by the tag that tutorials use, on each node."""
    tag = ("ctr", "-n", "k8s.io", "images", "tag", ADAPTER_IMAGE, "registry.example/test-adapter:latest")
    for node in three.nodes:
        node.run(*tag)


@pytest.mark.usefixtures("latest")
def test_the_manifests_of_a_tutorial_are_made_to_work_by_tls_self(three: Cluster) -> None:
    """Its Secret is missing, the APIService insecure, the tag latest, the port 443, and nobody has rights."""
    before = standing(three.first)

    status, report = reported(three.first, "register", *BY_TUTORIAL)

    assert (status, report["outcome"]) == (0, "applied"), report
    assert codes(report) == ["insecure-switched-off"]
    assert "Secret default/my-adapter-serving-cert" in {each["target"] for each in report["changes"]}
    assert all(answered(node, EXTERNAL) for node in three.nodes)

    status, report = reported(three.first, "unregister", EXTERNAL)

    assert (status, report["outcome"]) == (0, "applied"), report
    eventually(lambda: standing(three.first) == before, "all of it is gone")


@pytest.mark.usefixtures("latest")
def test_an_image_that_no_registry_gives_is_not_waited_for_and_all_is_put_back(
    three: Cluster, tmp_path: Path
) -> None:
    """Without a policy the tag latest is pulled; the node's own copy does not count."""
    for path in TUTORIAL.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("imagePullPolicy: IfNotPresent", ""))
    before = standing(three.first)
    status, report = reported(three.first, "register", "-f", str(tmp_path), *BY_TUTORIAL[2:])
    assert (status, report["outcome"]) == (1, "rolled-back"), report
    assert codes(report) == ["image-not-pulled"]
    eventually(lambda: standing(three.first) == before, "everything is put back")


def test_metrics_server_tells_of_every_node_until_it_is_not_trusted_and_goes_all_the_same(
    three: Cluster,
) -> None:
    first = three.first
    before = standing(first)

    status, report = reported(first, "register", "-f", str(METRICS_SERVER))

    assert (status, report["outcome"]) == (0, "applied"), report
    assert codes(report) == ["insecure-switched-off", "workload-made-to-serve"]
    for node in three.nodes:
        eventually(partial(tells_of_all, node, three), f"kubectl top tells of all through {node.name}")
    status, report = reported(first, "status", METRICS)
    (api,) = (each for each in report["items"] if each["kind"] == "api")
    assert (api["available"], api["tls"], api["endpointsReady"]) == ("True", "verified", 1)
    assert [each["works"] for each in api["apiservers"]] == [True, True, True]
    assert reported(first, "doctor", METRICS)[1]["outcome"] == "healthy"

    bundle = base64.b64encode(first.path("/etc/kubernetes/pki/front-proxy-ca.crt").read_bytes()).decode()
    patch = json.dumps({"spec": {"caBundle": bundle}})
    first.kubectl("patch", "apiservice", METRICS, "--type=merge", "-p", patch)
    eventually(lambda: not any(answered(node, METRICS) for node in three.nodes), "nobody trusts it")

    status, report = reported(first, "unregister", METRICS)

    assert (status, report["outcome"]) == (0, "applied"), report
    eventually(lambda: standing(first) == before, "all of it is gone")


def tells_of_all(node: KubeadmNode, cluster: Cluster) -> bool:
    """Whether `kubectl top` tells the use of every node."""
    lines = node.kubectl("top", "nodes", "--no-headers", check=False).stdout.splitlines()
    told = {line.split()[0] for line in lines if "unknown" not in line}
    return told == {each.name for each in cluster.nodes}


# --- by endpoints ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("latest")
def test_without_kube_proxy_the_api_answers_where_routing_is_on_and_nowhere_else(adapter: Adapter) -> None:
    """New Pods: over connections that are open already a Service goes on being reached."""
    without, routed, well = nodes = adapter.cluster.nodes
    address = adapter.cluster_ip
    status, report = reported(routed, "enable")
    assert (status, report["outcome"]) == (0, "applied"), report
    assert answered(routed, CUSTOM)
    assert dialled(routed) & adapter.endpoints
    assert f"{address}:443" not in dialled(routed)

    for node in (without, routed):
        lose_service(node, address)
    try:
        well.kubectl("-n", NAMESPACE, "delete", "pods", "--all")
        well.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{SERVER}", "--timeout=60s")
        for node in (routed, well):
            eventually(partial(answered, node, CUSTOM), f"it answers through {node.name}")
        assert not answered(without, CUSTOM)
        assert_not_registered_where_one_kube_apiserver_gets_no_answer(well)
    finally:
        for node in (without, routed):
            node.start_proxy()
    for node in nodes:
        eventually(partial(answered, node, CUSTOM), f"it answers through {node.name} again")


def assert_not_registered_where_one_kube_apiserver_gets_no_answer(node: KubeadmNode) -> None:
    """Through the two others it answers, which is not enough."""
    before = standing(node)
    status, report = reported(node, "register", *BY_TUTORIAL, "--timeout", "15s")
    assert (status, report["outcome"]) == (1, "rolled-back"), report
    assert codes(report)[0] in {"api-not-available", "api-not-available-everywhere"}
    eventually(lambda: standing(node) == before, "everything is put back")


def lose_service(node: KubeadmNode, address: str) -> None:
    """kube-proxy is dead on this node, and a Service's address leads nowhere from it."""
    node.service("kube-proxy").stop()
    rules = node.run("iptables", "-t", "nat", "-S", "KUBE-SERVICES").stdout.splitlines()
    for rule in rules:
        if f"-d {address}/32" in rule:
            node.run("iptables", "-t", "nat", *shlex.split(rule.replace("-A", "-D", 1)))
