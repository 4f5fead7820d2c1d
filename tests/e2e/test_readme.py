"""What the documents tell their readers to type does what it says: on real kube-apiservers, in sandboxes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hello import hello_api
from support.hello_in_pods import hello_in_pods
from support.nodes import AGGCTL, Node
from support.readme import CHECKOUT, NODE, PODS, TWO_NODES, WALK, blocks
from support.refusals import Said, clean_environment
from support.sandboxes import sandbox_in
from support.two_nodes import two_nodes_in
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.readme import Scene
    from support.sandboxes import Running

pytestmark = pytest.mark.controlplane

KEY = re.compile(r"--certificate-key ([0-9a-f]{64})")
ROW = re.compile(r"^\| (`/[^|]+) \| (0[0-7]{3}) \|", re.MULTILINE)
MOST_OF_THEM = 8
SCRIPT = Path(sys.executable).with_name("aggctl")


@dataclass
class Reader:
    """Somebody who types the commands of a scene, one after the other."""

    scene: Scene
    values: dict[str, str]
    said: Said = field(default_factory=lambda: Said(0, "", ""))

    def types(self, command: str) -> Said:
        """Run it; what was said before is at hand, for a command that reads a key."""
        key = KEY.search(self.said.out)
        done = subprocess.run(
            [SCRIPT, *self.scene.words(command, **self.values)[1:]],
            input=f"{key[1]}\n" if key else "",
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )
        self.said = Said(done.returncode, done.stdout, done.stderr)
        return self.said


# --- a sandbox of the reader's own -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walker(programs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:  # noqa: ARG001 -- asked for to be skipped without them
    place = tmp_path_factory.mktemp("walk") / "sandbox"
    yield Reader(WALK, {"place": str(place)})
    if place.exists():
        subprocess.run([*AGGCTL, "sandbox", "down", "--dir", place], check=True)


@pytest.mark.parametrize("command", WALK.commands)
def test_the_walk_through_a_sandbox_goes_well(walker: Reader, command: str) -> None:
    assert walker.types(command).status == 0, walker.said.text


# --- a control-plane node ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def administrator(programs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("node")
    with sandbox_in(folder / "sandbox") as running:
        (running.sandbox.root / "etc/systemd/system").mkdir(parents=True)
        with hello_api(folder / "tls", running.sandbox.kubeconfig, versions=("v1",)) as hello:
            values = {"root": running.sandbox.root, "folder": folder, "port": hello.port}
            yield Reader(NODE, {name: str(value) for name, value in values.items()})


@pytest.mark.parametrize("command", NODE.commands)
def test_on_a_control_plane_node_it_goes_well(administrator: Reader, command: str) -> None:
    assert administrator.types(command).status == 0, administrator.said.text


def test_files_have_the_modes_that_security_md_says(administrator: Reader) -> None:
    """After all of the commands above; what only other nodes have is not there."""
    root = Path(administrator.values["root"])
    seen = {
        path: oct(info.st_mode & 0o7777).removeprefix("0o")
        for path, _ in modes()
        if (info := stat_of(root / path.lstrip("/")))
    }
    assert {path: mode.lstrip("0") for path, mode in modes() if path in seen} == seen
    assert len(seen) > MOST_OF_THEM


def modes() -> Iterator[tuple[str, str]]:
    """Absolute paths and modes of the table in SECURITY.md; a name alone lies beside the one before it."""
    for names, mode in ROW.findall((CHECKOUT / "SECURITY.md").read_text(encoding="utf-8")):
        folder = Path("/")
        for name in re.findall(r"`([^`]+)`", names):
            path = folder / name if not name.startswith(".") else folder / f"aggctl-certs{name}"
            folder = path.parent
            yield str(path), mode


def stat_of(path: Path) -> os.stat_result | None:
    return path.stat() if path.exists() else None


# --- a further node ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(programs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:  # noqa: ARG001 -- asked for to be skipped without them
    with two_nodes_in(tmp_path_factory.mktemp("two"), aggregation="off") as nodes:
        yield Reader(TWO_NODES, {"root": str(nodes.first.root), "second": str(nodes.second.root)})


@pytest.mark.parametrize("command", TWO_NODES.commands)
def test_a_further_node_takes_the_ca_of_the_first(pair: Reader, command: str) -> None:
    assert pair.types(command).status == 0, pair.said.text


# --- by hand -----------------------------------------------------------------------------------------------


@pytest.fixture
def enabled(sandbox: Running) -> Running:
    done = Node(sandbox).aggctl("enable", "--routing", "off", "--yes")
    assert done.returncode == 0, done.stderr
    return sandbox


def test_what_enable_changed_is_undone_by_hand_as_it_is_written(enabled: Running) -> None:
    node, after = Node(enabled), enabled.apiserver()
    (script,) = (text for kind, text in blocks(CHECKOUT / "README.md") if kind == "sh")
    here = re.sub(r"(?<![\w*])/(etc|var)/", rf"{node.root}/\1/", script)

    subprocess.run(["/bin/sh", "-euc", here], check=True, env={"PATH": os.environ["PATH"]})

    enabled.await_other(after)
    eventually(node.ready, "kube-apiserver is ready")
    assert "requestheader" not in node.manifest.read_text()
    assert [path.name for path in node.manifest.parent.iterdir()] == [node.manifest.name]


# --- an API of Pods: the last, as its sandbox has a flag more, and so would those that come after it --------


@pytest.fixture(scope="module")
def owner(programs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("pods")
    (folder / "elsewhere").mkdir()
    with hello_in_pods(folder) as place:
        values = {
            "root": place.node.root,
            "elsewhere": folder / "elsewhere",
            "folder": folder,
            "kubeconfig": place.kube.kubeconfig,
            "port": place.hello.port,
        }
        yield Reader(PODS, {name: str(value) for name, value in values.items()})


@pytest.mark.parametrize("command", PODS.commands)
def test_with_an_api_of_pods_it_goes_well(owner: Reader, command: str) -> None:
    assert owner.types(command).status == 0, owner.said.text
    if command.endswith("-o yaml"):
        Path(PODS.names["components.yaml"].format(**owner.values)).write_text(owner.said.out)
