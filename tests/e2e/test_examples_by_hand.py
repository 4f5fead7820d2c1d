"""examples/by-hand: its script really switches the layer on, and puts a manifest back that does not work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.examples import EXAMPLES, built, commands, copied, run
from support.nodes import Node
from support.refusals import tree

from aggctl.sandbox import control_plane

if TYPE_CHECKING:
    from pathlib import Path

    from support.refusals import Said
    from support.sandboxes import Running

pytestmark = pytest.mark.controlplane

SCRIPT = EXAMPLES / "by-hand/switch-on.sh"
TOLD = ("The aggregation layer is on.", "Nothing to do: the aggregation layer is on", "Layer off,")
DRAFT = "etc/kubernetes/manifests/.kube-apiserver.yaml.draft"


@pytest.fixture
def kubectl() -> Path:
    (folder,) = built("kubectl")
    return folder


def switch_on(root: Path, folder: Path, kubectl: Path, tries: int = 60) -> Said:
    return run(f"sh {SCRIPT}", folder, kubectl, environment={"ROOT": str(root), "TRIES": str(tries)})


def test_the_commands_of_the_readme_switch_the_layer_on_as_aggctl_has_it_and_off_again(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    kubectl: Path,
    tmp_path: Path,
) -> None:
    place = tmp_path / "sandbox"
    folder = copied("by-hand", tmp_path, {"/tmp/by-hand": str(place)})  # noqa: S108 -- the README's words
    try:
        said = run(commands(folder), folder, kubectl)
    finally:
        if place.exists():
            control_plane.down(place, say=print)
    assert said.status == 0, said.text
    assert [each for each in TOLD if each in said.out] == list(TOLD)


def test_where_the_layer_does_not_come_up_the_manifest_is_put_back(
    sandbox: Running, kubectl: Path, tmp_path: Path
) -> None:
    node = Node(sandbox)
    before = node.manifest.read_bytes(), node.manifest.stat().st_mode
    with sandbox.kubelet_stopped():  # and so nothing comes of the new manifest
        said = switch_on(node.root, tmp_path, kubectl, tries=0)
    assert said.status == 1, said.text
    assert "the old manifest is in force again" in said.err
    assert (node.manifest.read_bytes(), node.manifest.stat().st_mode) == before
    assert not (node.root / DRAFT).exists()


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("- kube-apiserver\n", '- "kube-apiserver"\n', "as kubeadm has it"),
        ("mountPath: /etc/kubernetes/pki\n", "mountPath: /elsewhere\n", "does not mount"),
        ("    - --allow", "    - --requestheader-group-headers=X\n    - --allow", "has flags of the layer"),
        ("", "", "has files of the front proxy"),
    ],
    ids=["another start", "no mount", "a flag that is there", "a file that is there"],
)
def test_what_it_does_not_know_it_leaves_alone(
    tmp_path: Path, kubectl: Path, shared_sandbox: Running, before: str, after: str, why: str
) -> None:
    """A copy of a node; its kubelet knows nothing of it."""
    root = tmp_path / "root"
    manifest = root / "etc/kubernetes/manifests/kube-apiserver.yaml"
    manifest.parent.mkdir(parents=True)
    (root / "etc/kubernetes/pki").mkdir()
    if not before:
        (root / "etc/kubernetes/pki/front-proxy-ca.crt").write_text("of somebody")
    manifest.write_text(Node(shared_sandbox).manifest.read_text().replace(before, after, 1))
    was = tree(root)
    said = switch_on(root, tmp_path, kubectl)
    assert (said.status, said.out) == (3, "")
    assert why in said.err
    assert tree(root) == was


def test_with_the_api_down_it_does_not_begin(tmp_path: Path, kubectl: Path, shared_sandbox: Running) -> None:
    root = tmp_path / "root"
    source = Node(shared_sandbox)
    for name in ("manifests/kube-apiserver.yaml", "admin.conf"):
        path = root / "etc/kubernetes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            (source.root / "etc/kubernetes" / name).read_text().replace(source.url, "https://127.0.0.1:9")
        )
    (root / "etc/kubernetes/pki").mkdir()
    was = tree(root)
    said = switch_on(root, tmp_path, kubectl)
    assert (said.status, "kube-apiserver does not answer" in said.err) == (3, True), said.text
    assert tree(root) == was
