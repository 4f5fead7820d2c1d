"""A real extension API server in Pods: custom-metrics-apiserver's test-adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.kubeadm.cluster import ADAPTER_IMAGE

if TYPE_CHECKING:
    from support.kubeadm.cluster import KubeadmNode

API = "v1beta2.custom.metrics.k8s.io"
PATH = "/apis/custom.metrics.k8s.io/v1beta2"
NAMESPACE = "custom-metrics"


def register_adapter(node: KubeadmNode, *words: str) -> None:
    """`aggctl register --image`: it runs on two nodes and answers through every kube-apiserver afterwards."""
    server = ("--image", ADAPTER_IMAGE, "-n", NAMESPACE, "--name", "test-adapter")
    done = node.aggctl("register", API, *server, *words, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
