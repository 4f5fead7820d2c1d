"""Which distribution runs on a node, and how its own way switches the layer on.

These manage kube-apiserver themselves: a static Pod that aggctl edits would be ignored or overwritten. All of
them but hand-made systemd units have the layer on by default; what is left to set is a flag of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.errors import Refused

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution that aggctl does not patch: signs of it on disk, and its native recipe."""

    name: str
    signs: tuple[str, ...]
    recipe: str


_RANCHER = (
    "the layer is on by default; for routing put into /etc/rancher/{0}/config.yaml on every server\n"
    "          kube-apiserver-arg:\n"
    '            - "enable-aggregator-routing=true"\n'
    "        and restart one server after the other: systemctl restart {1}"
)

DISTRIBUTIONS = (
    Distribution(
        "RKE2", ("/etc/rancher/rke2", "/var/lib/rancher/rke2"), _RANCHER.format("rke2", "rke2-server")
    ),
    Distribution("k3s", ("/etc/rancher/k3s", "/var/lib/rancher/k3s"), _RANCHER.format("k3s", "k3s")),
    Distribution(
        "k0s",
        ("/etc/k0s", "/var/lib/k0s"),
        "the layer is on by default; for routing put into k0s.yaml\n"
        '          spec: {api: {extraArgs: {enable-aggregator-routing: "true"}}}\n'
        "        and restart: systemctl restart k0scontroller",
    ),
    Distribution(
        "microk8s",
        ("/var/snap/microk8s",),
        "the layer is on by default; for routing add the line\n"
        "          --enable-aggregator-routing=true\n"
        "        to /var/snap/microk8s/current/args/kube-apiserver, then\n"
        "          snap restart microk8s.daemon-kubelite",
    ),
    Distribution(
        "Talos",
        ("/system/state", "/usr/share/talos"),
        "the layer is on by default; change the machine configuration\n"
        '          cluster: {apiServer: {extraArgs: {enable-aggregator-routing: "true"}}}\n'
        "        by: talosctl patch machineconfig -n NODE -p @patch.yaml",
    ),
    Distribution(
        "OpenShift",
        ("/etc/kubernetes/static-pod-resources", "/etc/kubernetes/static-pod-certs"),
        "the layer is on by default and its operator owns the static Pods;\n"
        "        see: oc get kubeapiserver cluster -o yaml",
    ),
    Distribution(
        "Bottlerocket",
        ("/.bottlerocket", "/usr/share/bottlerocket"),
        "static Pods are set through its API: apiclient set kubernetes.static-pods…",
    ),
)

_SYSTEM_IDS = {"talos": "Talos", "rhcos": "OpenShift", "bottlerocket": "Bottlerocket"}

_UNITS = tuple(
    f"{folder}/kube-apiserver.service"
    for folder in ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
)


def refuse_foreign(snapshot: Snapshot) -> None:
    """Refuse a node whose distribution manages kube-apiserver in its own way, with that way."""
    signs = tuple(sign for each in DISTRIBUTIONS for sign in each.signs)
    there = snapshot.existing(signs)
    system = _system_id(snapshot)
    for each in DISTRIBUTIONS:
        found = next((sign for sign in each.signs if sign in there), "")
        if found or _SYSTEM_IDS.get(system) == each.name:
            raise Refused(
                "distribution-manages-kube-apiserver",
                f"this node runs {each.name}, which writes kube-apiserver's configuration itself",
                found=found or f"ID={system} in /etc/os-release",
                expected="a static Pod as kubeadm writes it",
                do=each.recipe,
            )


def refuse_unit(snapshot: Snapshot) -> None:
    """Refuse a node whose kube-apiserver is a systemd unit, with the lines to add."""
    there = snapshot.existing(_UNITS)
    if there:
        raise Refused(
            "systemd-unit",
            f"kube-apiserver is a systemd unit here ({there[0]}), no static Pod",
            expected="a static Pod as kubeadm writes it",
            do=f"add the eight flags to ExecStart by hand (aggctl explain systemd-unit), then: "
            f"systemctl daemon-reload && systemctl restart {there[0].rpartition('/')[2]}",
        )


def _system_id(snapshot: Snapshot) -> str:
    seen = snapshot.file("/etc/os-release")
    lines = seen.content.decode("utf-8", "replace").splitlines() if seen else []
    return next((line[3:].strip().strip('"') for line in lines if line.startswith("ID=")), "")
