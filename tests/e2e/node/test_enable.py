"""`aggctl enable` on real nodes: a restart that the kubelet makes, alone and beside others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.kubeadm.cluster import CERTIFICATE_KEY, MANIFEST

if TYPE_CHECKING:
    from support.kubeadm.cluster import Cluster, KubeadmNode

NODES_OF_API = "/api/v1/nodes"


def test_a_fresh_node_gets_the_one_missing_flag_and_is_unchanged_afterwards(one: KubeadmNode) -> None:
    before, pid = one.manifest.read_text(), one.apiserver_pid()

    enabled = one.aggctl("enable", "--yes", "-o", "json")

    assert enabled.returncode == 0, enabled.stderr
    assert json.loads(enabled.stdout)["outcome"] == "applied"
    added = set(one.manifest.read_text().splitlines()) - set(before.splitlines())
    assert added == {"    - --enable-aggregator-routing=true"}
    assert one.apiserver_pid() != pid
    assert "--enable-aggregator-routing=true" in one.flags()

    again = one.aggctl("enable", "--yes", "-o", "json")

    assert json.loads(again.stdout)["outcome"] == "unchanged", again.stdout

    undone = one.aggctl("rollback", "--yes", "-o", "json")

    assert json.loads(undone.stdout)["outcome"] == "applied", undone.stdout
    assert one.manifest.read_text() == before
    assert "--enable-aggregator-routing=true" not in one.flags()


def test_a_layer_that_is_off_comes_back_node_by_node_and_the_other_nodes_never_fail(three: Cluster) -> None:
    three.strip_layer()
    first, *others = three.nodes

    for node in three.nodes:
        key = "" if node is first else _uploaded_key(first)
        with three.load(NODES_OF_API, [each for each in three.nodes if each is not node]) as answers:
            enabled = node.aggctl("enable", "--yes", env={"AGGCTL_CERTIFICATE_KEY": key} if key else {})
        assert enabled.returncode == 0, enabled.stdout + enabled.stderr
        assert {each: counted for each, counted in answers.items() if set(counted) != {"200"}} == {}

    authority = first.path("/etc/kubernetes/pki/front-proxy-ca.crt").read_bytes()
    assert all(
        each.path("/etc/kubernetes/pki/front-proxy-ca.crt").read_bytes() == authority for each in others
    )
    for node in three.nodes:
        again = node.aggctl("enable", "--yes", "-o", "json")
        assert json.loads(again.stdout)["outcome"] == "unchanged", again.stdout
        assert node.path(MANIFEST).stat().st_mode & 0o777 == 0o600


def _uploaded_key(node: KubeadmNode) -> str:
    uploaded = node.aggctl("certs", "export", "--upload", "-o", "json", check=True)
    (key,) = set(CERTIFICATE_KEY.findall(uploaded.stdout))
    return str(key)
