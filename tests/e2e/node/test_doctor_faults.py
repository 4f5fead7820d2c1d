"""`aggctl doctor` on three real nodes: faults of network, kubelet and containers, each made for real.

The server's one Pod runs on node-1, and kube-apiservers dial its ClusterIP: what is broken on another node is
broken for that node's kube-apiserver alone. Elsewhere is a machine on the nodes' network that has a
kubeconfig and nothing else.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority
from support.kubeadm.clinic import API, ELSEWHERE, NAMESPACE, NOTICED, SERVER, Clinic, clinic_in
from support.waiting import eventually

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.kubeadm.cluster import Cluster, KubeadmNode

PKI = "/etc/kubernetes/pki"
NOT_EVERYWHERE = ("", "api-not-available-everywhere")

Object = dict[str, Any]


@pytest.fixture(scope="module", name="clinic")
def _clinic(three: Cluster) -> Iterator[Clinic]:
    clinic = clinic_in(three)
    clinic.well(*clinic.places)
    yield clinic
    clinic.well(*clinic.places)


@dataclass(frozen=True)
class Fault:
    """How to break it and to mend it; the verdicts on layer and API by place, and what the cause is about.

    The first place is the node that the others send to.
    """

    breaks: Callable[[Clinic], None]
    mends: Callable[[Clinic], None]
    found: Mapping[str, tuple[str, ...]]
    subject: str


# --- the network ------------------------------------------------------------------------------------------


def _run(node: str, *commands: str) -> Callable[[Clinic], None]:
    """Commands on a node."""

    def run(clinic: Clinic) -> None:
        for command in commands:
            clinic.node(node).run("sh", "-c", command)

    return run


def _policy(clinic: Clinic) -> None:
    """What a CNI makes of a NetworkPolicy on the Pod's node: others' packets end there, without a word."""
    rules = """\
        table ip policies {
          chain forward {
            type filter hook forward priority 0
            ip daddr 10.88.1.0/24 tcp dport 6443 drop
          }
        }
        """
    clinic.cluster.first.run("nft", "-f", "-", input=rules)


def _no_proxy(clinic: Clinic) -> None:
    """kube-proxy is dead since before its node was switched on: no rules, and no connections by them."""
    node = clinic.node("node-2")
    node.service("kube-proxy").stop()
    node.run("kube-proxy", "--cleanup", check=False)  # it complains of what else it could clean, and cannot
    node.run("conntrack", "-F")


NETWORK = {
    "a NetworkPolicy drops what comes from other nodes": Fault(
        _policy,
        _run("node-1", "nft delete table ip policies"),
        {"node-2": ("", "endpoint-timeout"), "node-1": NOT_EVERYWHERE, ELSEWHERE: NOT_EVERYWHERE},
        f"APIService {API}",
    ),
    "a node has no route to the Pods of another": Fault(
        _run("node-2", "ip route del 10.88.1.0/24"),
        _run("node-2", "ip route add 10.88.1.0/24 via 10.10.0.11"),
        {"node-2": ("", "no-route-to-endpoint"), ELSEWHERE: NOT_EVERYWHERE},
        f"APIService {API}",
    ),
    "a node has no default route, and so none to Services": Fault(
        _run("node-3", "ip route del default"),
        _run("node-3", "ip route add default dev eth0"),
        {"node-3": ("", "no-route-to-service")},
        f"APIService {API}",
    ),
    "kube-proxy is dead on a node": Fault(
        _no_proxy,
        lambda clinic: clinic.node("node-2").start_proxy(),
        {"node-2": ("", "service-address-timeout"), ELSEWHERE: NOT_EVERYWHERE},
        f"APIService {API}",
    ),
}  # fmt: skip


# --- Pods -------------------------------------------------------------------------------------------------


def _pods(change: Callable[[Object], object]) -> Callable[[Clinic], None]:
    """Pods of a template that is changed in one thing."""

    def breaks(clinic: Clinic) -> None:
        template = json.loads(json.dumps(clinic.template))
        change(template["spec"])
        clinic.pods_are(template)

    return breaks


def _mended(clinic: Clinic) -> None:
    clinic.pods_are(clinic.template)
    clinic.rolled_out()


def _no_image(spec: Object) -> None:
    spec["containers"][0] |= {"image": "registry.example/nothing:1", "imagePullPolicy": "Never"}


def _no_registry(spec: Object) -> None:
    spec["containers"][0] |= {"image": "registry.example/nothing:1", "imagePullPolicy": "IfNotPresent"}


def _crashes(spec: Object) -> None:
    spec["containers"][0]["args"].append("--no-such-flag")


def _on_the_kubelets_port(spec: Object) -> None:
    """The port that metrics-server and others like, on the network of the node."""
    server = spec["containers"][0]
    server["args"] = [*(each for each in server["args"] if "secure-port" not in each), "--secure-port=10250"]
    server["ports"][0]["containerPort"] = 10250
    spec["hostNetwork"] = True


def _never_ready(spec: Object) -> None:
    server = spec["containers"][0]
    server["readinessProbe"]["httpGet"]["path"] = "/nothing"
    del server["startupProbe"]


def _pod_fault(code: str, change: Callable[[Object], object]) -> Fault:
    found = {"node-2": ("", code), ELSEWHERE: ("", code)}
    return Fault(_pods(change), _mended, found, f"Pod {NAMESPACE}/{SERVER}-")


PODS = {
    "the image is on no node, and may not be pulled": _pod_fault("image-not-pulled", _no_image),
    "the registry of the image cannot be reached": _pod_fault("image-not-pulled", _no_registry),
    "the server ends as soon as it began": _pod_fault("container-crash-loop", _crashes),
    "another process of the node has the server's port": _pod_fault("port-taken", _on_the_kubelets_port),
    "the server runs and never gets ready": _pod_fault("pod-not-ready", _never_ready),
}


# --- certificates -----------------------------------------------------------------------------------------


def _another_pair(clinic: Clinic) -> None:
    """As where `kubeadm init` ran on each node: a leaf of a CA that nobody else knows."""
    node, now = clinic.node("node-2"), datetime.now(UTC)
    node.run("cp", "-a", f"{PKI}/front-proxy-client.crt", f"{PKI}/front-proxy-client.key", "/srv/")
    pair = pki.issue(authority("front-proxy-ca"), "front-proxy-client", now, usage="client")
    for name, content in (("key", pair.key), ("crt", pair.certificate)):
        node.write(f"/srv/new/front-proxy-client.{name}", content.decode(), 0o600)
    node.run("sh", "-c", f"mv /srv/new/*.key {PKI} && mv /srv/new/*.crt {PKI}")


def _another_bundle(clinic: Clinic) -> None:
    bundle = base64.b64encode(authority("of-last-year").certificate).decode()
    value = {"op": "replace", "path": "/spec/caBundle", "value": bundle}
    clinic.cluster.first.write("/srv/bundle", clinic.object("apiservice", API)["spec"]["caBundle"])
    clinic.patch("apiservice", API, value)


def _the_bundle(clinic: Clinic) -> None:
    bundle = clinic.cluster.first.path("/srv/bundle").read_text()
    clinic.patch("apiservice", API, {"op": "replace", "path": "/spec/caBundle", "value": bundle})


OTHER_CA = "client-certificate-of-another-ca"
OTHER_SERVING_CA = ("", "serving-certificate-of-another-ca")

CERTIFICATES = {
    "one node of three has a front-proxy certificate of another CA": Fault(
        _another_pair,
        _run("node-2", f"mv /srv/front-proxy-client.key {PKI} && mv /srv/front-proxy-client.crt {PKI}"),
        {"node-2": (OTHER_CA, OTHER_CA), "node-1": NOT_EVERYWHERE, ELSEWHERE: NOT_EVERYWHERE},
        f"{PKI}/front-proxy-client.crt",
    ),
    "the certificate that is served, seen through the Pod, is of no CA of the bundle": Fault(
        _another_bundle,
        _the_bundle,
        {ELSEWHERE: OTHER_SERVING_CA, "node-2": OTHER_SERVING_CA},
        f":6443 of APIService {API}",  # what kube-apiserver says would name the APIService alone
    ),
}  # fmt: skip


# --- the kubelet and kube-apiserver -----------------------------------------------------------------------


def _copy(clinic: Clinic) -> None:
    manifest = clinic.node("node-2").manifest
    manifest.with_name("kube-apiserver.yaml.bak").write_bytes(manifest.read_bytes())


def _both_down(clinic: Clinic) -> None:
    node = clinic.node("node-3")
    node.service("kubelet").stop()
    node.run("kill", "-KILL", str(node.apiserver_pid()))
    eventually(lambda: not node.apiserver_pid(), "kube-apiserver has ended")


def _up_again(clinic: Clinic) -> None:
    node = clinic.node("node-3")
    node.start_kubelet()
    node.await_ready()


PROXY = r"""\1    env:
    - name: HTTPS_PROXY
      value: http://127.0.0.1:9
    - name: NO_PROXY
      value: 10.10.0.0/24
"""


def _restarts(clinic: Clinic) -> None:
    """Two nodes at once, for a restart takes most of a minute: a proxy here, a file out of reach there."""
    proxied, blind = clinic.node("node-2"), clinic.node("node-3")
    for node in (proxied, blind):
        node.run("cp", "-a", "/etc/kubernetes/manifests/kube-apiserver.yaml", "/srv/")
    _edit(proxied, r"^( *image: .*\n)", PROXY)
    blind.write("/srv/ca/front-proxy-ca.crt", blind.path(f"{PKI}/front-proxy-ca.crt").read_text())
    old = {node.name: node.apiserver_pid() for node in (proxied, blind)}
    _edit(blind, rf"={PKI}/front-proxy-ca\.crt", "=/srv/ca/front-proxy-ca.crt")
    eventually(lambda: blind.apiserver_pid() != old[blind.name], "the kubelet took the file", NOTICED)
    eventually(lambda: proxied.apiserver_pid() not in (0, old[proxied.name]), "it restarted", NOTICED)
    proxied.await_ready()


def _edit(node: KubeadmNode, pattern: str, by: str) -> None:
    """Change kube-apiserver's manifest, by rename."""
    text, count = re.subn(pattern, by, node.manifest.read_text(), flags=re.MULTILINE)
    assert count == 1, pattern
    node.write("/etc/kubernetes/manifests/.kube-apiserver.yaml", text, 0o600)
    node.manifest.with_name(".kube-apiserver.yaml").replace(node.manifest)


def _restored(clinic: Clinic) -> None:
    nodes = [clinic.node("node-2"), clinic.node("node-3")]
    old = nodes[0].apiserver_pid()
    for node in nodes:
        node.run("mv", "/srv/kube-apiserver.yaml", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    eventually(lambda: nodes[0].apiserver_pid() not in (0, old), "it restarted", NOTICED)
    for node in nodes:
        node.await_manifest()


KUBELET = {
    "a copy of the manifest lies beside it": Fault(
        _copy,
        _run("node-2", "mv /etc/kubernetes/manifests/kube-apiserver.yaml.bak /srv/"),
        {"node-2": ("second-apiserver-manifest", "second-apiserver-manifest"), "node-1": ("", "")},
        "this node",
    ),
    "kube-apiserver and the kubelet of a node are dead": Fault(
        _both_down,
        _up_again,
        {"node-3": ("apiserver-down",), "node-1": ("", ""), ELSEWHERE: ("", "")},
        "https://10.10.0.13:6443",
    ),
    "a proxy in the environment of one node, a file outside the mounts of another": Fault(
        _restarts,
        _restored,
        {
            "node-2": ("proxy-environment", "proxy-environment"),
            "node-3": ("file-not-mounted",),
            ELSEWHERE: NOT_EVERYWHERE,
        },
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ),
}

FAULTS = NETWORK | PODS | CERTIFICATES | KUBELET


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_names_the_cause_where_it_is_and_finds_all_well_after_the_mend(
    clinic: Clinic, name: str
) -> None:
    fault = FAULTS[name]
    try:
        fault.breaks(clinic)
        documents = {place: clinic.told(place, wanted) for place, wanted in fault.found.items()}
    finally:
        fault.mends(clinic)
    first = next(iter(fault.found))
    for place, wanted in fault.found.items():
        if wanted == NOT_EVERYWHERE:
            assert _sends_to(documents[place], first)
        elif any(wanted):
            cause = next(each for each in documents[place]["findings"] if each["code"] == wanted[-1])
            assert fault.subject in cause["subject"]
            assert cause["fix"]
    clinic.well(*fault.found)


def _sends_to(document: Object, node: str) -> bool:
    """Whether the node is named whose kube-apiserver gets no answer."""
    (found,) = [each for each in document["findings"] if each["code"] == NOT_EVERYWHERE[-1]]
    return f"https://10.10.0.1{node[-1]}:6443" in found["message"]


def test_from_elsewhere_a_certificate_is_verified_through_the_pod(clinic: Clinic) -> None:
    """By pods/portforward of a real kubelet and containerd; the Pods' network is not routed there."""
    api = next(each for each in clinic.doctor(ELSEWHERE)["items"] if each["name"] == API)
    tls = next(each for each in api["hops"] if each["name"] == "TLS")
    assert (tls["state"], tls["said"]) == ("ok", "1/1 verified")
