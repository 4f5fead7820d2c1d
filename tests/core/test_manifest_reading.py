"""The kube-apiserver static Pod: what is read of it, and which other files are one."""

from __future__ import annotations

import pytest
from support.manifests import FILES, MOUNTS, command, pod, read

from aggctl.core.manifest import Flag, Manifest, Mount, is_apiserver_pod, read_manifest

# --- what is read ----------------------------------------------------------------------------------------


def kubeadm() -> Manifest:
    return read_manifest((FILES / "kubeadm.yaml").read_bytes(), "kube-apiserver.yaml")


def test_a_kubeadm_manifest_is_read_whole() -> None:
    manifest = kubeadm()

    assert manifest.pod_name == manifest.container == "kube-apiserver"
    assert manifest.namespace == "kube-system"
    assert manifest.image == "registry.k8s.io/kube-apiserver:v1.34.1"
    assert manifest.argv[:2] == ("kube-apiserver", "--advertise-address=192.0.2.10")
    assert manifest.flags[0] == Flag("advertise-address", "192.0.2.10", 16)
    assert manifest.flags[-3] == Flag("secure-port", "6443", 31)
    assert manifest.mounts[1] == Mount(
        "k8s-certs", "/etc/kubernetes/pki", "/etc/kubernetes/pki", "DirectoryOrCreate", read_only=True
    )
    assert manifest.env == (("NO_PROXY", "10.96.0.0/12"),)
    assert manifest.host_network
    assert manifest.notes == ()


def test_values_are_those_of_the_command_line() -> None:
    manifest = read(command("--a_b=1", "--a-b", "--allow-privileged", "stray", "--a-b=", "--v", "4x", "-w"))

    assert manifest.values("a-b") == ("1", "true", "")
    assert manifest.values("allow-privileged") == ("true",)
    assert manifest.values("v") == ("4x",)
    assert manifest.values("w") == ("true",)
    assert manifest.values("none") == ()


def test_a_pod_without_a_namespace_is_in_default() -> None:
    assert read(command("--a=1").replace("  namespace: kube-system\n", "")).namespace == "default"


def test_oddities_are_noted() -> None:
    text = command(
        "--a=1",
        "cl",
        "--a=2",
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--tls-cert-file=relative.crt",
        "--proxy-client-cert-file=/elsewhere/x.crt",
        "--audit-policy-file=/policy.yaml",
    ).replace("      readOnly: true", "      readOlny: true\n    - {mountPath: /policy.yaml, name: policy}")
    text += "  - hostPath: {path: /policy.yaml, type: File}\n    name: policy\n  - hostPath: {path: /x}\n"

    assert read(text).notes == (
        "line 13: cl is no flag of kube-apiserver",
        "--a stands 2 times, in lines 12, 14",
        "line 16: --tls-cert-file is a relative path",
        "line 17: --proxy-client-cert-file lies under no hostPath mount",
        "/etc/kubernetes/pki holds files that flags name, and is mounted writable",
        "/policy.yaml is mounted as a single file: a replaced file is not seen",
        "line 32: this volume has no name",
    )


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/etc/kubernetes/a.conf", "/srv/a/a.conf"),
        ("/etc/kubernetes", "/srv/a"),
        ("/etc//kubernetes/x/../b/", "/srv/a/b"),
        ("/etc/kubernetes/pki/ca.crt", "/data/pki/sub/ca.crt"),
        ("/etc/kubernetes/pki2/ca.crt", "/srv/a/pki2/ca.crt"),
        ("/etc/kubernetes/pki/empty/x", None),
        ("/etc/kubernetes/pki/expr/x", None),
        ("/file.crt", "/data/one.crt"),
        ("/elsewhere/x", None),
        ("relative", None),
    ],
)
def test_a_path_of_the_container_lies_on_the_host(inside: str, outside: str | None) -> None:
    manifest = read(pod("command: [kube-apiserver, --a=1]", tail=MOUNTS))

    assert manifest.host_path(inside) == outside
    if outside:
        assert manifest.host_path(manifest.container_path(outside) or "") == outside


@pytest.mark.parametrize("path", ["/srv/a/pki/hidden", "/data/pki", "/nowhere", "relative"])
def test_what_no_mount_shows_has_no_path_in_the_container(path: str) -> None:
    assert read(pod("command: [kube-apiserver, --a=1]", tail=MOUNTS)).container_path(path) is None


# --- other files of the folder ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (command("--a=1"), "the Pod is called kube-apiserver"),
        (
            command("--a=1").replace("name: kube-apiserver\n  names", "name: copy\n  names"),
            "its container kube-apiserver runs kube-apiserver",
        ),
        (
            "kind: Pod\nspec: {containers: [7, {name: a, image: i, command: [/x, kube-apiserver]}]}",
            "its container a runs kube-apiserver",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: a, command: [sh, -c, 'kube-apiserver --a']}]}",
            "its container a runs kube-apiserver",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: a, image: 'x/kube-apiserver@sha256:0'}]}",
            "its container a runs kube-apiserver",
        ),
        (command("--a=1") + "---\n{{\n", "the Pod is called kube-apiserver"),
        (
            "kind: Pod\nmetadata: {name: &x kube-apiserver}",
            "it names kube-apiserver and kind Pod, though it cannot be read",
        ),
        ("kind: Pod\nmetadata: {name: &x etcd}", None),
        ("kind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{image: etcd, command: [etcd]}]}", None),
        ("kind: Pod\nmetadata: []\nspec: {containers: {}}", None),
        ("kind: Pod\nspec: []", None),
        (command("--a=1").replace("kind: Pod", "kind: DaemonSet"), None),
        ("hello", None),
        ("# nothing", None),
        ("", None),
        ("kind: Pod # kube-apiserver\n  {{ x", None),
        ("[", None),
    ],
)
def test_another_file_is_an_api_server_where_the_kubelet_would_start_one(
    data: str, reason: str | None
) -> None:
    assert is_apiserver_pod(data.encode()) == reason
