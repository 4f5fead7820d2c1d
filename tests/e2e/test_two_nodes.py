"""The ground of the tests with two nodes: two kube-apiservers that are different, and of one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.kube import Kube
from support.two_nodes import two_nodes_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.core.apiservers import LEASES, roster
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.nodes import Node
    from support.two_nodes import TwoNodes

pytestmark = pytest.mark.controlplane

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def nodes(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:  # noqa: ARG001 -- asked for to be skipped without them
    with two_nodes_in(tmp_path_factory.mktemp("two-nodes")) as both:
        yield both


def kube(node: Node) -> Kube:
    return Kube(node.running.sandbox.kubeconfig)


def servers(node: Node) -> set[str]:
    """All kube-apiservers that aggctl finds from this node."""
    ports = node.ports()
    return set(settle(lambda snapshot: roster(snapshot, node.url), ports.look)[0].servers)


def test_each_node_runs_a_kube_apiserver_of_its_own(nodes: TwoNodes) -> None:
    first, second = nodes.both
    assert first.ready()
    assert second.ready()
    assert first.pid() != second.pid()


def test_aggctl_sees_both_from_either(nodes: TwoNodes) -> None:
    both = {nodes.first.url, nodes.second.url}
    eventually(lambda: servers(nodes.first) == both, "both are in the roster of the first")
    assert servers(nodes.second) == both


def test_each_has_a_lease_of_its_own(nodes: TwoNodes) -> None:
    eventually(lambda: len(kube(nodes.first).get(LEASES)["items"]) == 2, "there are two Leases")


def test_what_is_made_through_one_is_seen_through_the_other(nodes: TwoNodes) -> None:
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing"}, "data": {"by": "first"}}
    kube(nodes.first).apply(f"{CONFIG_MAPS}/thing", thing)
    eventually(lambda: kube(nodes.second).get(f"{CONFIG_MAPS}/thing"), "the second one has it")


def test_they_share_a_front_proxy_ca_and_have_leaves_of_their_own(nodes: TwoNodes) -> None:
    def held(name: str) -> list[pki.Certificate]:
        paths = (node.root / "etc/kubernetes/pki" / name for node in nodes.both)
        return [pki.read_certificates(path.read_bytes())[0] for path in paths]

    (ca, same), leaves = held("front-proxy-ca.crt"), held("front-proxy-client.crt")
    assert ca == same
    assert leaves[0] != leaves[1]
    assert all(pki.signed_by(leaf, ca) for leaf in leaves)
    assert nodes.first.published()["requestheader-client-ca-file"].encode() == ca.pem
