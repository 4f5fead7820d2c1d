"""`aggctl certs rotate` on three real nodes, under load through every kube-apiserver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.kubeadm.adapter import API, NAMESPACE, PATH, register_adapter
from support.kubeadm.cluster import CERTIFICATE_KEY
from support.waiting import eventually

if TYPE_CHECKING:
    from support.kubeadm.cluster import Cluster, KubeadmNode

AUTHORITY = "/etc/kubernetes/pki/front-proxy-ca.crt"
PUBLISHED = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@pytest.fixture(scope="module")
def served(three: Cluster) -> Cluster:
    """With an API of Pods on two nodes, reached by its ClusterIP."""
    register_adapter(three.first)
    return three


def rotate(node: KubeadmNode, kind: str, *words: str, key: str = "") -> Any:
    """Its one document, where it ends well."""
    given = {"AGGCTL_CERTIFICATE_KEY": key} if key else {}
    done = node.aggctl("certs", "rotate", kind, "--yes", "-o", "json", *words, env=given)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def rotate_authority(cluster: Cluster) -> None:
    """All stages: the first node begins, the others take its CA, two rounds more end it."""
    first, *others = cluster.nodes
    go_on_with(first, others, begin(first))


def begin(node: KubeadmNode) -> str:
    """Begin on one node; the key by which the others take its CA."""
    (key,) = set(CERTIFICATE_KEY.findall(json.dumps(rotate(node, "ca", "--again"))))
    return str(key)


def go_on_with(first: KubeadmNode, others: list[KubeadmNode], key: str) -> None:
    for node in others:
        rotate(node, "ca", key=key)
    for _ in range(2):
        for node in (first, *others):
            rotate(node, "ca")


def authorities(cluster: Cluster) -> set[str]:
    return {node.path(AUTHORITY).read_text() for node in cluster.nodes}


def test_every_certificate_is_replaced_with_no_failed_request_and_no_restart(served: Cluster) -> None:
    processes = [node.apiserver_pid() for node in served.nodes]
    (old,) = authorities(served)

    with served.load(PATH) as answers:
        for node in served.nodes:
            rotate(node, "client")
        rotate(served.first, "serving", API)
        rotate_authority(served)

    assert {outcome for counted in answers.values() for outcome in counted} == {"200"}
    assert all(counted["200"] > 100 for counted in answers.values())
    assert [node.apiserver_pid() for node in served.nodes] == processes
    (new,) = authorities(served)
    assert new != old
    assert served.first.get(PUBLISHED)["data"]["requestheader-client-ca-file"] == new


def test_a_node_that_dies_in_the_middle_is_waited_for_by_name(served: Cluster) -> None:
    first, second, third = served.nodes
    key = begin(first)
    rotate(second, "ca", key=key)
    third.machine.power_off()

    held = first.aggctl("certs", "rotate", "ca", "--yes", "-o", "json", "--timeout", "15s")

    assert held.returncode == 3, held.stdout
    assert third.address in held.stdout

    third.start()
    third.await_ready()
    eventually(lambda: second.get(PATH), "the API answers again", within=120)
    go_on_with(first, [third, second], key)

    (new,) = authorities(served)
    assert served.first.get(PUBLISHED)["data"]["requestheader-client-ca-file"] == new
    assert all(node.get(PATH) for node in served.nodes)


def test_a_node_whose_services_are_dead_holds_the_rotation_though_it_still_answers(served: Cluster) -> None:
    """Its requests go on over connections that are open, and its own gauge says that all is well.

    The first new leaf would end them: the node itself, which dials afresh, refuses at each stage, and the
    others wait for it.
    """
    first, second, third = served.nodes
    (old,) = authorities(served)
    with served.load(PATH) as answers:
        second.service("kube-proxy").stop()
        second.run("iptables", "-t", "nat", "-F", "KUBE-SERVICES")
        key = begin(first)
        rotate(third, "ca", key=key)
        before = second.files()
        for kind in ("client", "ca"):
            given = {"AGGCTL_CERTIFICATE_KEY": key} if kind == "ca" else {}
            held = second.aggctl("certs", "rotate", kind, "--yes", "-o", "json", env=given)
            assert held.returncode == 3, held.stdout
            (finding,) = json.loads(held.stdout)["findings"]
            assert finding["code"] == "api-not-dialled-afresh"
            assert second.address in finding["message"]
        assert second.files() == before
        assert second.address in json.dumps(rotate(first, "ca")["summary"])
        assert first.path(AUTHORITY).read_text().startswith(old)
        second.start_proxy()
        eventually(lambda: dials(second), "node 2 reaches the Service afresh")
        go_on_with(first, [second, third], key)

    assert {outcome for counted in answers.values() for outcome in counted} == {"200"}
    (new,) = authorities(served)
    assert new != old


def dials(node: KubeadmNode) -> bool:
    """Whether the API's Service takes a new connection from this node."""
    at = node.kubectl("-n", NAMESPACE, "get", "service", "test-adapter", "-o", "jsonpath={.spec.clusterIP}")
    return node.run("timeout", "1", "bash", "-c", f"</dev/tcp/{at.stdout}/443", check=False).returncode == 0
