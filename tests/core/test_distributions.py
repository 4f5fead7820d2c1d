"""Nodes whose kube-apiserver is not aggctl's to patch: refused, each with its own recipe."""

from __future__ import annotations

import pytest
from support.snapshots import ON, Scene

from aggctl.core.distributions import refuse_foreign, refuse_unit
from aggctl.errors import Refused


def refusal(scene: Scene) -> Refused:
    with pytest.raises(Refused) as caught:
        scene.ask(refuse_foreign)
    return caught.value


@pytest.mark.parametrize(
    ("sign", "name", "recipe"),
    [
        ("/etc/rancher/rke2", "RKE2", "/etc/rancher/rke2/config.yaml"),
        ("/var/lib/rancher/rke2", "RKE2", "systemctl restart rke2-server"),
        ("/etc/rancher/k3s", "k3s", "/etc/rancher/k3s/config.yaml"),
        ("/var/lib/rancher/k3s", "k3s", "systemctl restart k3s"),
        ("/etc/k0s", "k0s", "systemctl restart k0scontroller"),
        ("/var/lib/k0s", "k0s", "k0s.yaml"),
        ("/var/snap/microk8s", "microk8s", "snap restart microk8s.daemon-kubelite"),
        ("/system/state", "Talos", "talosctl patch machineconfig"),
        ("/usr/share/talos", "Talos", "talosctl"),
        ("/etc/kubernetes/static-pod-resources", "OpenShift", "oc get kubeapiserver"),
        ("/etc/kubernetes/static-pod-certs", "OpenShift", "operator"),
        ("/.bottlerocket", "Bottlerocket", "apiclient set"),
        ("/usr/share/bottlerocket", "Bottlerocket", "apiclient"),
    ],
)
def test_a_distribution_is_known_by_its_folders_and_answered_with_its_own_way(
    sign: str, name: str, recipe: str
) -> None:
    refused = refusal(ON.file(f"{sign}/anything", b""))
    assert f"this node runs {name}," in refused.message
    assert recipe in refused.do
    assert refused.found == sign


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("NAME=Talos\nID=talos\n", "Talos"),
        ('ID="rhcos"\nVERSION_ID="4.1"\n', "OpenShift"),
        ("ID=bottlerocket", "Bottlerocket"),
    ],
)
def test_a_distribution_is_known_by_its_operating_system(release: str, name: str) -> None:
    refused = refusal(ON.file("/etc/os-release", release.encode()))
    assert name in refused.message
    assert "/etc/os-release" in refused.found


@pytest.mark.parametrize("release", ["ID=debian\n", "VERSION_ID=talos\n", "", "\xff\n"])
def test_a_plain_node_is_not_refused(release: str) -> None:
    ON.file("/etc/os-release", release.encode()).ask(refuse_foreign)


@pytest.mark.parametrize("folder", ["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"])
def test_a_systemd_unit_is_refused_with_the_commands_that_follow_an_edit(folder: str) -> None:
    with pytest.raises(Refused) as caught:
        ON.file(f"{folder}/kube-apiserver.service", b"").ask(refuse_unit)
    assert caught.value.code == "systemd-unit"
    assert "systemctl restart kube-apiserver.service" in caught.value.do


def test_a_node_without_such_a_unit_is_not_refused() -> None:
    ON.file("/etc/systemd/system/kubelet.service", b"").ask(refuse_unit)
