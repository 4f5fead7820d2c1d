"""What aggctl did outlives kubeadm: an upgrade, a renewal of certificates, a node that joins later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.kubeadm.adapter import PATH, register_adapter
from support.kubeadm.cluster import Cluster, KubeadmNode, cluster_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.core.audit.settings import LOG_FILE
from aggctl.core.persist.patch import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTING = "--enable-aggregator-routing=true"
CLIENT = "/etc/kubernetes/pki/front-proxy-client.crt"


@pytest.fixture(scope="module")
def cluster(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Of one node, with an API of Pods; another node may join."""
    with cluster_in(tmp_path_factory.mktemp("growing") / "cluster", images, 1) as made:
        register_adapter(made.first)
        yield made


def upgrade(node: KubeadmNode, *words: str) -> None:
    """What `kubeadm upgrade` does with kube-apiserver on every node, from what the cluster holds.

    It waits for another hash in the mirror Pod, which shows the Pod before last for seconds after a restart:
    begun in these, an upgrade that leads back there would wait in vain, and be put back after 5 minutes.
    """
    eventually(lambda: mirrored(node) == node.flags(), "the mirror Pod is of the kube-apiserver that runs")
    node.run("kubeadm", "upgrade", "node", "phase", "control-plane", "--certificate-renewal=false", *words)
    node.await_manifest()


def mirrored(node: KubeadmNode) -> set[str]:
    """The flags of the Pod that the cluster shows for the static one."""
    pod = node.get(f"/api/v1/namespaces/kube-system/pods/kube-apiserver-{node.name}")
    return (
        {word for word in pod["spec"]["containers"][0]["command"] if word.startswith("--")} if pod else set()
    )


def outcome(node: KubeadmNode, *words: str) -> str:
    done = node.aggctl(*words, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["outcome"])


def await_answer(node: KubeadmNode) -> None:
    """After a restart Pods reach the kube-apiserver again once kube-proxy has seen it."""
    eventually(lambda: node.get(PATH), "the API answers")


def test_an_upgrade_drops_what_only_the_manifest_knows_and_doctor_says_so_before(cluster: Cluster) -> None:
    node = cluster.first
    assert outcome(node, "enable", "--persist", "none", "--yes") == "applied"
    findings = json.loads(node.aggctl("doctor", "-o", "json").stdout)["findings"]
    assert "kubeadm-config-differs" in {each["code"] for each in findings}

    upgrade(node)

    assert ROUTING not in node.flags()


def test_what_enable_wrote_into_kubeadms_configuration_outlives_an_upgrade(cluster: Cluster) -> None:
    node = cluster.first
    assert outcome(node, "enable", "--yes") == "applied"
    await_answer(node)
    assert outcome(node, "doctor") == "healthy"
    before = node.manifest.read_text()

    upgrade(node)

    assert ROUTING in node.flags()
    assert set(node.manifest.read_text().splitlines()) == set(before.splitlines())
    assert outcome(node, "enable", "--yes") == "unchanged"


def test_kubeadm_renews_a_client_certificate_that_is_accepted_after_a_rotation(cluster: Cluster) -> None:
    node = cluster.first
    assert outcome(node, "certs", "rotate", "ca", "--yes") == "applied"
    before = node.path(CLIENT).read_bytes()

    node.run("kubeadm", "certs", "renew", "front-proxy-client")

    assert node.path(CLIENT).read_bytes() != before
    (authority,) = pki.read_certificates(node.path("/etc/kubernetes/pki/front-proxy-ca.crt").read_bytes())
    (leaf,) = pki.read_certificates(node.path(CLIENT).read_bytes())
    assert pki.signed_by(leaf, authority)
    assert outcome(node, "enable", "--yes") == "unchanged"
    assert outcome(node, "doctor") == "healthy"
    assert node.get(PATH)


def asked_is_recorded(node: KubeadmNode, namespace: str) -> bool:
    """Ask for a metric that nobody set, and look for a record of that."""
    node.get(f"{PATH}/namespaces/{namespace}/pods/web-1/load")
    done = node.aggctl("audit", "show", "custom.metrics.k8s.io", "-o", "json", check=True)
    items = json.loads(done.stdout)["items"]
    return any((each["user"], each["namespace"]) == ("kubernetes-admin", namespace) for each in items)


def test_audit_records_begin_and_go_on_after_an_upgrade_with_the_patch_that_was_written(
    cluster: Cluster,
) -> None:
    node = cluster.first
    assert outcome(node, "audit", "enable", "--yes") == "applied"
    flags = {flag for flag in node.flags() if flag.startswith("--audit")}
    await_answer(node)
    eventually(lambda: asked_is_recorded(node, "first"), "the request is recorded")
    assert node.run("stat", "--format", "%a", LOG_FILE).stdout == "600\n"

    upgrade(node, "--patches", FOLDER)

    assert {flag for flag in node.flags() if flag.startswith("--audit")} == flags
    await_answer(node)
    eventually(lambda: asked_is_recorded(node, "upgraded"), "the request is recorded")
    assert outcome(node, "audit", "enable", "--yes") == "unchanged"


def test_a_node_that_joins_later_has_the_layer_and_answers(cluster: Cluster) -> None:
    joined = cluster.add(2)
    joined.import_images()
    cluster.join(joined)
    joined.await_ready()

    assert ROUTING in joined.flags()
    assert outcome(joined, "enable", "--yes") == "unchanged"
    assert outcome(joined, "doctor") == "healthy"
    assert joined.get(PATH)
