"""Clusters of real nodes for the files of this folder: each has its own, of one node or three."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.kubeadm.cluster import Cluster, KubeadmNode, cluster_in, make_images, missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A restart takes 45 s and a failed change about a minute; a cluster comes up within one."""
    for item in items:
        if "tests/e2e/node/" in str(item.path) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images of all nodes; without root, Debian's packages or the programs the test is skipped."""
    if what := missing():
        pytest.skip(what)
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def three(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three control-plane nodes, as kubeadm leaves them."""
    with cluster_in(tmp_path_factory.mktemp("three") / "cluster", images, 3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def one(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeadmNode]:
    """The only control-plane node of its cluster, as kubeadm leaves it."""
    with cluster_in(tmp_path_factory.mktemp("one") / "cluster", images, 1) as cluster:
        yield cluster.first
