"""The one kube-apiserver of a node: its manifest among the files, its address, its process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.snapshots import MANIFEST, MANIFESTS, OFF, ON, PKI, Scene, file, manifest_text

from aggctl.core.manifest import Manifest, read_manifest
from aggctl.core.node import Node, runs, secure_port, see_node, server_url
from aggctl.core.questions import FileAt, FolderAt, FolderSeen, Processes, ProcessSeen
from aggctl.errors import Refused

TEXT = ON.text.encode()
OTHER_POD = (
    b"apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{name: etcd, image: etcd}]}\n"
)
KUBELET = "/var/lib/kubelet/config.yaml"


def without_manifest(scene: Scene = ON) -> Scene:
    """The node without kube-apiserver.yaml."""
    names = [each.rpartition("/")[2] for each in scene.files if each.startswith(f"{MANIFESTS}/")]
    folder = FolderSeen(tuple(sorted(names)), writable=True, uid=0, gid=0)
    return scene.answering({FileAt(MANIFEST): None, FolderAt(MANIFESTS): folder})


def see(scene: Scene, manifest: str = "") -> Node:
    return scene.ask(lambda snapshot: see_node(snapshot, manifest))


def refusal(scene: Scene, manifest: str = "") -> Refused:
    with pytest.raises(Refused) as caught:
        see(scene, manifest)
    return caught.value


def parsed(
    *flags: str, command: tuple[str, ...] = ("kube-apiserver",), env: dict[str, str] | None = None
) -> Manifest:
    return read_manifest(manifest_text(flags, command=command, env=env).encode(), "m.yaml")


# --- which file ------------------------------------------------------------------------------------------


def test_kubeadms_node_shows_its_manifest_flags_address_and_process() -> None:
    node = see(ON)
    assert (node.manifest.path, node.server) == (MANIFEST, "https://10.0.0.11:6443")
    assert node.layer.missing == ()
    assert node.process is not None
    assert node.process.pid == 100


@pytest.mark.parametrize(
    "name", ["kube-apiserver.yml", "kube-apiserver.json", "apiserver.manifest", "00-api"]
)
def test_a_manifest_is_found_under_another_name(name: str) -> None:
    scene = without_manifest(ON.file(f"{MANIFESTS}/{name}", TEXT).file(f"{MANIFESTS}/etcd.yaml", OTHER_POD))
    assert see(scene).manifest.path == f"{MANIFESTS}/{name}"


def test_a_hidden_file_is_no_manifest() -> None:
    assert refusal(without_manifest(ON.file(f"{MANIFESTS}/.kube-apiserver", TEXT))).code == "no-manifest"


def test_a_folder_of_a_hundred_other_pods_is_read_to_the_end() -> None:
    scene = ON
    for number in range(100):
        scene = scene.file(f"{MANIFESTS}/a-pod-{number}.yaml", OTHER_POD)
    assert (
        see(without_manifest(scene.file(f"{MANIFESTS}/z.yaml", TEXT))).manifest.path == f"{MANIFESTS}/z.yaml"
    )


def test_a_manifest_of_the_usual_name_that_is_no_pod_is_refused_for_what_it_is() -> None:
    broken = without_manifest(ON.file(f"{MANIFESTS}/kube-apiserver.yml", b"kind: List\n"))
    assert refusal(broken).code == "not-a-static-pod"


@pytest.mark.parametrize(
    ("other", "content"),
    [
        ("kube-apiserver.yaml.bak", TEXT),
        ("kube-apiserver.yaml~", TEXT),
        ("old", TEXT),
        ("kube-apiserver.yaml.bak", TEXT + b"kind: Pod\n"),
    ],
    ids=[
        "a backup",
        "an editor's copy",
        "any name at all",
        "a copy that the kubelet can read and aggctl cannot",
    ],
)
def test_a_second_apiserver_pod_is_refused_with_the_command_that_moves_it_away(
    other: str, content: bytes
) -> None:
    refused = refusal(ON.file(f"{MANIFESTS}/{other}", content))
    assert refused.code == "second-apiserver-manifest"
    assert refused.do == f"move it away: mv {MANIFESTS}/{other} /root/"


@pytest.mark.parametrize(
    ("other", "content"),
    [
        ("etcd.yaml", OTHER_POD),
        (".kube-apiserver.yaml.swp", TEXT),
        ("half-written", TEXT[:-200] + b"\t:"),
        ("notes.txt", b"kube-apiserver: see wiki"),
    ],
    ids=["another Pod", "a hidden copy", "what the kubelet cannot read either", "notes"],
)
def test_another_file_beside_the_manifest_does_no_harm(other: str, content: bytes) -> None:
    assert see(ON.file(f"{MANIFESTS}/{other}", content)).manifest.path == MANIFEST


def test_of_two_under_unusual_names_the_one_that_is_named_like_a_backup_is_to_be_moved_away() -> None:
    two = ON.file(f"{MANIFESTS}/kube-apiserver-old", TEXT).file(f"{MANIFESTS}/kube-apiserver.json", TEXT)
    assert refusal(without_manifest(two)).do == f"move it away: mv {MANIFESTS}/kube-apiserver-old /root/"


def test_a_file_that_went_away_between_two_looks_is_no_second_manifest() -> None:
    folder = FolderSeen(("gone.yaml", "kube-apiserver.yaml"), writable=True, uid=0, gid=0)
    assert see(ON.answering({FolderAt(MANIFESTS): folder})).manifest.path == MANIFEST


def test_the_folder_is_the_one_that_the_kubelet_reads() -> None:
    scene = without_manifest(ON.file(KUBELET, b"staticPodPath: /srv/pods\n"))
    assert (
        see(scene.file("/srv/pods/kube-apiserver.yaml", TEXT)).manifest.path
        == "/srv/pods/kube-apiserver.yaml"
    )


def test_a_file_that_the_kubelet_does_not_read_is_refused_with_both_folders() -> None:
    refused = refusal(ON.file("/root/kube-apiserver.yaml", TEXT), "/root/kube-apiserver.yaml")
    assert refused.code == "manifest-not-read-by-kubelet"
    assert MANIFESTS in refused.found
    assert refused.expected == "/root"


def test_a_named_file_in_the_kubelets_folder_is_taken_under_any_name() -> None:
    scene = without_manifest(ON.file(f"{MANIFESTS}/mine", TEXT))
    assert see(scene, f"{MANIFESTS}/mine").manifest.path == f"{MANIFESTS}/mine"


def test_naming_the_file_goes_past_the_signs_of_another_distribution() -> None:
    left_behind = ON.file("/etc/rancher/k3s/config.yaml", b"")
    assert see(left_behind, MANIFEST).manifest.path == MANIFEST
    assert refusal(left_behind).code == "distribution-manages-kube-apiserver"


@pytest.mark.parametrize(
    ("scene", "manifest", "found"),
    [
        (without_manifest(), "", "no file in it is a Pod"),
        (without_manifest().answering({FolderAt(MANIFESTS): None}), "", "there is no such folder"),
        (without_manifest(), f"{MANIFESTS}/other.yaml", "there is no such file"),
        (ON.answering({FolderAt(MANIFESTS): None}), MANIFEST, "there is no such folder"),
    ],
    ids=["an empty folder", "no folder", "a named file that is not there", "a folder that went away"],
)
def test_where_there_is_no_manifest_it_says_what_was_found_instead(
    scene: Scene, manifest: str, found: str
) -> None:
    refused = refusal(scene, manifest)
    assert refused.code == "no-manifest"
    assert refused.found.startswith(found)


@pytest.mark.parametrize("folder", [FolderSeen(("etcd.yaml",), writable=True, uid=0, gid=0), None])
def test_a_systemd_unit_instead_of_a_manifest_is_named_as_such(folder: FolderSeen | None) -> None:
    scene = without_manifest(ON.file("/etc/systemd/system/kube-apiserver.service", b""))
    assert refusal(scene.answering({FolderAt(MANIFESTS): folder})).code == "systemd-unit"


def test_a_manifest_that_is_a_link_is_refused_with_the_copy_that_mends_it() -> None:
    refused = refusal(ON.answering({FileAt(MANIFEST): file(TEXT, link="/srv/api.yaml")}))
    assert refused.code == "manifest-is-a-link"
    assert f"cp --remove-destination /srv/api.yaml {MANIFEST}" in refused.do


def test_a_folder_that_is_a_link_is_refused_with_the_folder_itself_not_with_a_copy_onto_itself() -> None:
    folder = FolderSeen(("kube-apiserver.yaml",), writable=True, uid=0, gid=0, link="/data/manifests")
    linked = file(TEXT, link="/data/manifests/kube-apiserver.yaml")
    refused = refusal(ON.answering({FileAt(MANIFEST): linked, FolderAt(MANIFESTS): folder}))
    assert "/data/manifests" in refused.do
    assert "cp " not in refused.do


# --- address ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "env", "url"),
    [
        ((), {}, "https://127.0.0.1:6443"),
        (("--advertise-address=10.0.0.11",), {}, "https://10.0.0.11:6443"),
        (("--advertise-address=10.0.0.11", "--bind-address=0.0.0.0"), {}, "https://10.0.0.11:6443"),
        (("--advertise-address=10.0.0.11", "--bind-address=10.9.9.9"), {}, "https://10.9.9.9:6443"),
        (("--advertise-address=fd00::11", "'--bind-address=::'"), {}, "https://[fd00::11]:6443"),
        (("--bind-address=::1", "--secure-port=8443"), {}, "https://[::1]:8443"),
        (("--advertise-address=$(HOST_IP)",), {}, "https://127.0.0.1:6443"),
        (("--bind-address=$(HOST_IP)",), {}, "https://127.0.0.1:6443"),
        (("--bind-address=$(HOST_IP)",), {"HOST_IP": "10.0.0.11"}, "https://10.0.0.11:6443"),
    ],
    ids=[
        "nothing said",
        "advertised",
        "bound to any",
        "bound to one",
        "IPv6",
        "IPv6 loopback, own port",
        "advertised by an unknown variable",
        "bound by an unknown variable",
        "bound by a variable of the manifest",
    ],
)
def test_the_address_is_this_apiservers_own(flags: tuple[str, ...], env: dict[str, str], url: str) -> None:
    manifest = parsed("--v=2", *flags, env=env)
    assert server_url(manifest, secure_port(manifest)) == url


@pytest.mark.parametrize(
    ("flags", "port"),
    [
        ((), 6443),
        (("--secure-port=443",), 443),
        (("--secure-port=1", "--secure-port=2"), 2),
        (("--secure-port=x",), 6443),
    ],
    ids=["default", "set", "the last counts", "no number"],
)
def test_the_port_is_the_manifests(flags: tuple[str, ...], port: int) -> None:
    assert secure_port(parsed("--v=2", *flags)) == port


# --- process ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "argv", "same"),
    [
        (parsed("--a=1", "--b=2"), ("kube-apiserver", "--a=1", "--b=2"), True),
        (parsed("--a=1", "--b=2"), ("/usr/local/bin/kube-apiserver", "--a=1", "--b=2"), True),
        (parsed("--a=1", "--b=2"), ("kube-apiserver", "--a=1"), False),
        (parsed("--a=1"), ("kube-apiserver", "--a=1", "--b=2"), False),
        (parsed("--a=1"), ("kube-apiserver", "--a=2"), False),
        (parsed("--a", "one"), ("kube-apiserver", "--a", "two"), False),
        (parsed("--a=$(IP)", "--b=2"), ("kube-apiserver", "--a=10.0.0.1", "--b=2"), True),
        (parsed("--a", "$(IP)"), ("kube-apiserver", "--a", "10.0.0.1"), True),
        (parsed("--a=$(IP)", "--b=2"), ("kube-apiserver", "--c=10.0.0.1", "--b=2"), False),
        (parsed("--a=x$$y"), ("kube-apiserver", "--a=x$y"), True),
        (parsed("--a=1", command=("/hyperkube", "apiserver")), ("/hyperkube", "apiserver", "--a=1"), True),
        (parsed("--a=1", command=("/hyperkube", "apiserver")), ("/hyperkube", "apiserver", "--a=2"), False),
        (
            parsed("--a=1", command=("/go-runner", "--log-file=/l", "/kube-apiserver")),
            ("/kube-apiserver", "--a=1"),
            True,
        ),
        (parsed("--a=1", command=("/bin/kube-apiserver",)), ("apiserver", "--a=1"), True),
        (parsed("--a=1"), (), False),
    ],
    ids=[
        "the same",
        "another way to the binary",
        "one flag less",
        "one flag more",
        "another value",
        "another value in a word of its own",
        "a variable",
        "a variable in a word of its own",
        "a variable of another flag",
        "an escaped dollar",
        "hyperkube",
        "hyperkube, another value",
        "go-runner, which starts another process",
        "a renamed binary",
        "a process that is ending",
    ],
)
def test_a_process_runs_the_manifest_if_it_has_its_arguments(
    manifest: Manifest, argv: tuple[str, ...], same: bool
) -> None:
    assert runs(ProcessSeen(1, 1.0, argv), manifest) is same


def test_arguments_without_a_program_are_compared_as_they_are() -> None:
    manifest = parsed("--a=1")
    bare = replace(manifest, argv=("--a=1",))  # args alone; the image's entry point is the program
    assert runs(ProcessSeen(1, 1.0, ("kube-apiserver", "--a=1")), bare)
    assert not runs(ProcessSeen(1, 1.0, ("kube-apiserver", "--a=2")), bare)


def test_of_several_processes_the_one_with_the_manifests_arguments_counts() -> None:
    processes = (ProcessSeen(1, 1.0, ("kube-apiserver", "--old=1")), ProcessSeen(2, 2.0, ("x", *ON.words)))
    node = see(ON.answering({Processes(6443): processes}))
    assert node.process is not None
    assert node.process.pid == 2


def test_without_a_process_of_these_arguments_there_is_none() -> None:
    assert (
        see(ON.answering({Processes(6443): (ProcessSeen(1, 1.0, ("kube-apiserver", "--old=1")),)})).process
        is None
    )


def test_a_sandbox_below_a_root_is_a_node_like_any_other() -> None:
    scene = replace(
        OFF, flags={"bind-address": "127.0.0.1", "secure-port": "40123", "client-ca-file": f"{PKI}/ca.crt"}
    )
    node = see(scene)
    assert node.server == "https://127.0.0.1:40123"
    assert node.processes == scene.look(Processes(40123))
