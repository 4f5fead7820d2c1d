"""The stand-in kubelet's parts, each on real files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aggctl.sandbox import container, crilog, kubelet, layout, pods
from aggctl.sandbox.container import CannotStart
from aggctl.sandbox.pods import Mount
from aggctl.sandbox.state import State

if TYPE_CHECKING:
    from pathlib import Path

POD = """
kind: Pod
metadata: {name: %s}
spec:
  containers:
  - name: main
    env: [{name: PORT, value: "443"}]
    command: [kube-apiserver]
    args: ["--secure-port=$(PORT)", "--a=$(UNKNOWN)", "--b=$$(PORT)"]
"""


def test_variables_are_expanded_as_kubernetes_does_it() -> None:
    (main,) = pods.parse((POD % "one").encode()).containers

    assert main.arguments == ("kube-apiserver", "--secure-port=443", "--a=$(UNKNOWN)", "--b=$(PORT)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api",
        "kind: Deployment",
        "kind: Pod",
        "kind: Pod\nspec: [",
        "\x00\x01",
        "kind: Pod\nmetadata: 3\nspec: {}",
    ],
)
def test_what_is_no_pod_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(pods.NotAPod):
        pods.parse(text.encode())


def test_a_manifest_beyond_the_kubelets_limit_is_refused() -> None:
    with pytest.raises(pods.NotAPod, match="larger"):
        pods.parse((POD % "one").encode() + b"#" * pods.SIZE_LIMIT)


def test_a_broken_file_keeps_its_pod_until_the_next_full_listing(tmp_path: Path) -> None:
    folder, file = kubelet.ManifestFolder(tmp_path), tmp_path / "one.yaml"
    file.write_text(POD % "one")
    folder.look(0.0)

    file.write_text("kind: P")
    folder.look(1.0)
    assert list(folder.pods) == ["default/one"]

    folder.look(kubelet.RELIST)
    assert list(folder.pods) == []


def test_removing_a_second_file_of_a_pod_ends_it_until_the_next_full_listing(tmp_path: Path) -> None:
    folder = kubelet.ManifestFolder(tmp_path)
    (tmp_path / "one.yaml").write_text(POD % "one")
    (tmp_path / "one.yaml.bak").write_text(POD % "one")
    folder.look(0.0)

    (tmp_path / "one.yaml.bak").unlink()
    folder.look(1.0)
    assert list(folder.pods) == []

    folder.look(kubelet.RELIST)
    assert list(folder.pods) == ["default/one"]


def test_symbolic_links_are_followed_and_folders_and_dot_files_are_not_pods(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    (manifests / "folder").mkdir(parents=True)
    (manifests / ".hidden").write_text(POD % "hidden")
    (tmp_path / "elsewhere").write_text(POD % "linked")
    (manifests / "link").symlink_to(tmp_path / "elsewhere")
    (manifests / "dangling").symlink_to(tmp_path / "nowhere")

    folder = kubelet.ManifestFolder(manifests)
    folder.look(0.0)

    assert list(folder.pods) == ["default/linked"]


def test_a_missing_manifest_folder_has_no_pods(tmp_path: Path) -> None:
    folder = kubelet.ManifestFolder(tmp_path / "missing")

    folder.look(0.0)

    assert folder.pods == {}


def test_the_waits_of_a_crashing_pod_double_up_to_a_limit() -> None:
    back_off = kubelet.BackOff()

    assert [back_off.wait(0.0) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("argument", "below"),
    [
        ("--client-ca-file=/pki/ca.crt", "--client-ca-file=/R/pki/ca.crt"),
        ("--tls-sni-cert-key=/a.crt,/a.key", "--tls-sni-cert-key=/R/a.crt,/R/a.key"),
        ("/etc/config", "/R/etc/config"),
        ("--etcd-prefix=/registry", "--etcd-prefix=/registry"),
        ("--service-cluster-ip-range=10.96.0.0/12", "--service-cluster-ip-range=10.96.0.0/12"),
        ("--service-account-issuer=https://k/x", "--service-account-issuer=https://k/x"),
        ("--allow-privileged", "--allow-privileged"),
    ],
)
def test_only_paths_are_put_below_the_containers_root(argument: str, below: str) -> None:
    assert container._below("/R", argument) == below


@pytest.mark.parametrize("kind", ["Directory", "File"])
def test_a_host_path_of_another_type_keeps_the_container_from_starting(kind: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="hostPath type check failed: /missing"):
        container._make_mount(tmp_path, tmp_path / "rootfs", Mount("/missing", "/inside", kind))


def test_a_missing_folder_is_made_where_its_type_allows(tmp_path: Path) -> None:
    container._make_mount(tmp_path, tmp_path / "rootfs", Mount("/new", "/inside", "DirectoryOrCreate"))

    assert (tmp_path / "new").is_dir()
    assert (tmp_path / "rootfs/inside").samefile(tmp_path / "new")


def test_a_log_goes_on_where_a_killed_stand_in_left_it(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"")
    raw, log = tmp_path / "stderr", tmp_path / "0.log"
    raw.write_bytes(b"one stderr F\n\ntwo\nhalf")
    crilog.CriLog(tmp_path, log).copy()
    assert _texts(log) == ["one stderr F", "", "two"]

    with raw.open("ab") as file:
        file.write(b" whole\nlast")
    after = crilog.CriLog(tmp_path, log)
    after.copy()
    after.copy(rest=True)

    assert _texts(log) == ["one stderr F", "", "two", "half whole", "last"]


def test_kubeadms_flags_are_sorted_and_extra_arguments_follow() -> None:
    (server,) = pods.parse(layout.manifest(_state(), aggregation=True).encode()).containers
    names = [argument.partition("=")[0] for argument in server.arguments[1:]]

    assert names[:-2] == sorted(names[:-2])
    assert names[-2:] == ["--bind-address", "--endpoint-reconciler-type"]
    assert sum(name.startswith(("--requestheader", "--proxy-client")) for name in names) == 7


def _state() -> State:
    return State("node", 2379, 2380, 6443, {"etcd": os.devnull}, linger=0.0, grace=5.0)


def _texts(log: Path) -> list[str]:
    return [line.split(" ", 3)[3] for line in log.read_text().removesuffix("\n").split("\n")]
