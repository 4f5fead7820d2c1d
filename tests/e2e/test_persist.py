"""Changes that last: kubeadm-config on a real kube-apiserver, and what the real kubeadm makes of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML
from support.kube import Kube
from support.kubeadm_configs import FILES, edited
from support.nodes import MANIFEST, Node
from support.sandboxes import sandbox_in
from support.two_nodes import OWN_HOST_NAME
from support.waiting import eventually

from aggctl.core.manifest.model import Mount
from aggctl.core.need import Wanted
from aggctl.core.persist.configuration import PATH, TARGET
from aggctl.core.persist.patch import FILE, FOLDER, patch_file
from aggctl.core.questions import AskAs, WhoSeen
from aggctl.errors import Failed
from aggctl.sandbox import components
from aggctl.system.objects import Objects
from aggctl.workflows.enable import enable
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sandboxes import Running

    from aggctl.core.plan import Change
    from aggctl.core.questions import Question

pytestmark = pytest.mark.controlplane

BEFORE = """\
# made by hand
apiServer:
  extraArgs:
  - name: v   # how much is logged
    value: "2"
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
"""
AFTER = BEFORE.replace('"2"\n', '"2"\n  - name: enable-aggregator-routing\n    value: "true"\n')
ROUTING = "    - --enable-aggregator-routing=true\n"
CONFIG_MAPS = PATH.rpartition("/")[0]


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    """One node for the tests of this file, with all flags but routing."""
    with sandbox_in(tmp_path_factory.mktemp("persist") / "sandbox", aggregation="on") as running:
        yield Node(running)


@pytest.fixture
def kube(node: Node) -> Iterator[Kube]:
    """The node's cluster, with a kubeadm-config; node and cluster go back after the test."""
    files = node.files()
    found = Kube(node.running.sandbox.kubeconfig)
    create(found)
    yield found
    node.aggctl("rollback", "--yes")
    found.delete(PATH)
    assert node.files() == files


def create(kube: Kube) -> None:
    """The ConfigMap in kubeadm's name."""
    status, said = kube.ask("POST", f"{CONFIG_MAPS}?fieldManager=kubeadm", config_map(BEFORE))
    assert status == 201, said


def config_map(configuration: str) -> dict[str, Any]:
    metadata = {"name": "kubeadm-config", "namespace": "kube-system"}
    data = {"ClusterConfiguration": configuration}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def text(kube: Kube) -> str:
    """The ClusterConfiguration in the cluster."""
    return str(kube.get(PATH)["data"]["ClusterConfiguration"])


def version(kube: Kube) -> str:
    return str(kube.get(PATH)["metadata"]["resourceVersion"])


def owners(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["manager"], each["operation"]) for each in found["metadata"]["managedFields"]]


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    return str(json.loads(done.stdout)["outcome"])


def targets(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [each["target"] for each in json.loads(done.stdout)["changes"]]


def codes(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [each["code"] for each in json.loads(done.stdout)["findings"]]


def enabled(node: Node, *options: str) -> subprocess.CompletedProcess[str]:
    done = node.aggctl("enable", "--yes", "-o", "json", *options)
    assert outcome(done) == "applied", done.stdout
    return done


def set_routing(node: Node) -> None:
    """The flag by hand, in the manifest alone, and in force."""
    before = node.running.apiserver()
    node.running.add_flag("--enable-aggregator-routing=true")
    node.running.await_other(before)


def take_routing_away(node: Node) -> None:
    before = node.running.apiserver()
    node.running.change_manifest(ROUTING, "")
    node.manifest.chmod(0o600)  # an editor's draft has another mode
    node.running.await_other(before)


# --- kubeadm-config ----------------------------------------------------------------------------------------


def test_enable_tells_kubeadm_config_what_is_not_kubeadms_own_and_rollback_takes_it_back(
    node: Node, kube: Kube
) -> None:
    before = kube.get(PATH)
    done = enabled(node)
    assert "the next kubeadm upgrade keeps it" in done.stdout
    assert text(kube) == AFTER
    told = version(kube)
    assert outcome(node.aggctl("enable", "--yes", "-o", "json")) == "unchanged"
    assert version(kube) == told
    assert node.aggctl("rollback", "--yes").returncode == 0
    assert text(kube) == BEFORE
    owners = [
        {name: each[name] for name in ("manager", "operation")}
        for each in kube.get(PATH)["metadata"]["managedFields"]
    ]
    assert owners == [
        {name: each[name] for name in ("manager", "operation")}
        for each in before["metadata"]["managedFields"]
    ]


def test_a_dry_run_shows_the_lines_and_writes_nothing(node: Node, kube: Kube) -> None:
    before = version(kube)
    planned = node.aggctl("enable", "--dry-run", "-o", "json")
    shown = {each["target"]: each["diff"] for each in json.loads(planned.stdout)["changes"]}
    lines = shown[TARGET].splitlines()
    assert [line for line in lines if line.startswith(("+ ", "- "))] == [
        "+  - name: enable-aggregator-routing",
        '+    value: "true"',
    ]
    assert version(kube) == before


def test_where_the_manifest_is_right_only_kubeadm_config_changes_and_nothing_restarts(
    node: Node, kube: Kube
) -> None:
    set_routing(node)
    try:
        pid = node.pid()
        doctor = node.aggctl("doctor", "-o", "json")
        assert "kubeadm-config-differs" in codes(doctor)
        done = enabled(node)
        assert targets(done) == [TARGET]
        assert (text(kube), node.pid()) == (AFTER, pid)
        assert outcome(node.aggctl("enable", "--yes", "-o", "json")) == "unchanged"
        assert "kubeadm-config-differs" not in codes(node.aggctl("doctor", "-o", "json"))
        assert outcome(node.aggctl("rollback", "--yes", "-o", "json")) == "applied"
        assert (text(kube), node.pid()) == (BEFORE, pid)
    finally:
        take_routing_away(node)


def test_by_persist_none_it_stays_and_the_note_says_what_comes_of_it(node: Node, kube: Kube) -> None:
    done = enabled(node, "--persist", "none")
    assert "kubeadm-config-left-alone" in codes(
        node.aggctl("enable", "--persist", "none", "--yes", "-o", "json")
    )
    assert text(kube) == BEFORE
    assert (
        "drops what it does not say"
        in done.stdout + done.stderr + node.aggctl("enable", "--persist", "none").stdout
    )


def test_by_persist_kubeadm_a_cluster_without_it_is_refused(node: Node, kube: Kube) -> None:
    kube.delete(PATH)
    files = node.files()
    refused = node.aggctl("enable", "--yes", "--persist", "kubeadm", "-o", "json")
    assert (refused.returncode, codes(refused)) == (3, ["kubeadm-config-not-found"])
    assert node.files() == files


def test_what_cannot_be_edited_is_refused_in_one_sentence_and_nothing_is_written(
    node: Node, kube: Kube
) -> None:
    odd = BEFORE.replace("apiServer:", "apiServer: &server")
    kube.apply(PATH, config_map(odd))
    files = node.files()
    refused = node.aggctl("enable", "--yes", "-o", "json")
    assert (refused.returncode, codes(refused)) == (3, ["kubeadm-config-not-editable"])
    assert (node.files(), text(kube)) == (files, odd)


def test_of_a_change_that_failed_kubeadm_never_hears(node: Node, kube: Kube) -> None:
    real, before = node.ports(), version(kube)

    def distrusting(question: Question) -> Any:
        return WhoSeen(401, "") if isinstance(question, AskAs) else real.look(question)

    ports = replace(real, look=distrusting)
    failed = enable(ports, Wanted(deadline=12.0), Manner(dry_run=False, confirm=lambda _: True))
    assert failed.outcome == "rolled-back"
    assert version(kube) == before


def test_a_change_that_is_not_waited_for_is_told_by_the_next_run(node: Node, kube: Kube) -> None:
    done = enabled(node, "--no-wait")
    assert targets(done) == [f"/{MANIFEST}"]
    assert targets(enabled(node)) == [TARGET]
    assert text(kube) == AFTER
    assert (
        node.aggctl("rollback", "--yes").returncode == 0
    )  # the second change; the first goes by the fixture


def test_what_somebody_else_made_of_it_since_is_left_alone(node: Node, kube: Kube) -> None:
    enabled(node)
    theirs = {"data": {"ClusterConfiguration": AFTER + "clusterName: theirs\n"}}
    assert kube.ask("PATCH", PATH, theirs, "application/merge-patch+json")[0] == 200
    refused = node.aggctl("rollback", "--yes", "-o", "json")
    assert (refused.returncode, codes(refused)) == (3, ["changed-since"])
    assert text(kube).endswith("clusterName: theirs\n")
    kube.apply(PATH, config_map(AFTER), manager="aggctl")


# --- undoing with the API down -----------------------------------------------------------------------------


def test_with_the_api_down_the_files_go_back_and_kubeadm_config_is_named(node: Node, kube: Kube) -> None:
    before = node.files()
    enabled(node)
    with node.running.kubelet_stopped():
        node.running.kill_apiserver()
        undone = node.aggctl("rollback", "--yes", "-o", "json")
        assert (undone.returncode, codes(undone)[:1]) == (0, ["object-out-of-reach"]), undone.stdout
        assert node.files() == before
    eventually(node.ready, "kube-apiserver is back")
    assert text(kube) == AFTER


class Dying(Objects):
    """A kube-apiserver that takes one change, and is gone before it says so."""

    gone = False

    def apply(self, change: Change, content: bytes | None, draft: str = "") -> None:
        self._answer()
        super().apply(change, content, draft)
        self.gone = True
        self._answer()

    def holds(self, change: Change) -> str:
        self._answer()
        return super().holds(change)

    def _answer(self) -> None:
        if self.gone:
            raise Failed("apiserver-not-reachable", f"{self.server} does not answer", do="look at it")


def test_where_the_api_dies_after_kubeadm_was_told_the_files_go_back_and_rollback_does_the_rest(
    node: Node, kube: Kube
) -> None:
    before, real = node.files(), node.ports()
    dying = Dying(real.objects._cluster)
    ended = enable(replace(real, objects=dying), Wanted(), Manner(dry_run=False, confirm=lambda _: True))
    assert ended.outcome == "rollback-incomplete"
    assert node.files() == before
    assert text(kube) == AFTER
    assert node.aggctl("rollback", "--yes").returncode == 0
    assert text(kube) == BEFORE


# --- the patch file ----------------------------------------------------------------------------------------


def test_files_in_a_folder_of_their_own_go_to_a_patch_file_and_rollback_removes_it(sandbox: Running) -> None:
    off, found = Node(sandbox), Kube(sandbox.sandbox.kubeconfig)
    before = off.files()
    create(found)
    done = enabled(off, "--pki-dir", "/srv/front-proxy")
    assert f"--patches {FOLDER}" in done.stdout
    path = off.root / FILE.lstrip("/")
    assert path.stat().st_mode & 0o777 == 0o644
    assert "--requestheader-client-ca-file=/srv/front-proxy/front-proxy-ca.crt" in path.read_text()
    assert text(found) == AFTER
    assert outcome(off.aggctl("enable", "--yes", "-o", "json")) == "unchanged"
    assert "kubeadm-config-differs" not in codes(off.aggctl("doctor", "-o", "json"))
    assert off.aggctl("rollback", "--yes").returncode == 0
    assert off.files() == before
    assert text(found) == BEFORE


def test_of_a_flag_that_stands_twice_kube_apiserver_takes_the_last(node: Node) -> None:
    """What a patch counts on, whose flag stands behind kubeadm's own."""
    first = node.running.apiserver()
    line = "    - --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt\n"
    missing = line.replace("front-proxy-ca", "no-such-file")
    node.running.change_manifest(line, missing + line)
    node.running.await_other(first)
    assert node.published()["requestheader-client-ca-file"].count("BEGIN CERTIFICATE") == 1
    second = node.running.apiserver()
    node.running.change_manifest(missing, "")
    node.manifest.chmod(0o600)
    node.running.await_other(second)


# --- the real kubeadm --------------------------------------------------------------------------------------

INIT = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: 192.0.2.1}}
{patches}---
"""
MOUNT = Mount(
    "front-proxy-certs", "/srv/front-proxy", "/srv/front-proxy", "DirectoryOrCreate", read_only=True
)


def written_by_kubeadm(folder: Path, configuration: str, patch: bytes = b"") -> dict[str, Any]:
    """The Pod that `kubeadm init phase control-plane apiserver` writes, as `kubeadm upgrade` does."""
    found = components.find(components.COMPONENTS["kubeadm"])
    if found is None:
        pytest.skip("kubeadm is not built yet: aggctl sandbox build kubeadm")
    if subprocess.run([*OWN_HOST_NAME, "true"], capture_output=True, check=False).returncode:
        pytest.skip("kubeadm's --rootfs needs a user namespace, or root")
    (folder / "patches").mkdir()
    if patch:
        (folder / "patches" / FILE.rpartition("/")[2]).write_bytes(patch)
    patches = "patches: {directory: /patches}\n" if patch else ""
    (folder / "config.yaml").write_text(INIT.format(patches=patches) + configuration)
    phase = ("init", "phase", "control-plane", "apiserver")
    command = [*OWN_HOST_NAME, str(found.path), *phase, "--config", "/config.yaml", "--rootfs", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    manifest = folder / "etc/kubernetes/manifests/kube-apiserver.yaml"
    return dict(YAML(typ="safe").load(manifest.read_text()))


def words(pod: dict[str, Any]) -> list[str]:
    return list(pod["spec"]["containers"][0]["command"])


NEW = [path for path in FILES if "v1beta4" in path.stem]
"""kubeadm 1.37 reads no v1beta3 any more."""


@pytest.mark.parametrize("path", NEW, ids=lambda path: path.stem)
def test_kubeadm_reads_what_was_edited_and_writes_the_flags(path: Path, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = words(written_by_kubeadm(tmp_path / "before", path.read_text()))
    names = "front-proxy-client,mine"
    changed = edited(path.read_text(), enable_aggregator_routing="true", requestheader_allowed_names=names)
    after = words(written_by_kubeadm(tmp_path / "after", changed))
    assert set(after) - set(before) == {
        "--enable-aggregator-routing=true",
        f"--requestheader-allowed-names={names}",
    }
    assert set(before) - set(after) == {"--requestheader-allowed-names=front-proxy-client"}


def test_kubeadm_applies_the_patch_file_behind_its_own_flags(tmp_path: Path) -> None:
    patch = patch_file({"requestheader-client-ca-file": "/srv/front-proxy/ca.crt"}, [MOUNT])
    pod = written_by_kubeadm(tmp_path, FILES[-1].read_text(), patch)
    said = [word for word in words(pod) if word.startswith("--requestheader-client-ca-file=")]
    assert [word.partition("=")[2] for word in said] == [
        "/etc/kubernetes/pki/front-proxy-ca.crt",
        "/srv/front-proxy/ca.crt",
    ]
    (mount,) = (each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == MOUNT.name)
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == MOUNT.name)
    assert (mount["mountPath"], volume["hostPath"]["path"]) == (MOUNT.mount_path, MOUNT.host_path)
