"""examples/ansible on three real nodes: real ansible-core on the first one, over real SSH to each."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import ssh

from aggctl.core import pki

if TYPE_CHECKING:
    from support.kubeadm.cluster import Cluster, KubeadmNode

pytestmark = pytest.mark.timeout(1200)  # a test restarts three nodes, one after the other, and runs playbooks

EXAMPLE = Path(__file__).parents[3] / "examples/ansible"
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
PYTHON = Path(sys.executable).resolve()
PKI = "/etc/kubernetes/pki"
RECORD = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
UPLOADED = "/api/v1/namespaces/kube-system/secrets/aggctl-front-proxy-ca"
LEFTOVER = f"{PKI}/front-proxy-client.key"
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)
KEY = re.compile(r"\b[0-9a-f]{64}\b")

WATCHED = """\
import contextlib, json, pathlib, subprocess, sys, time
begun, seen = time.time_ns(), []
for path in pathlib.Path("/proc").glob("[0-9]*/*"):
    if path.name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):  # a process may end meanwhile
            seen.append(path.read_text(errors="replace"))
done = subprocess.run(["/srv/aggctl/venv/bin/aggctl", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
record = {"words": sys.argv[1:], "seen": seen, "out": done.stdout}
pathlib.Path("/srv/calls").mkdir(exist_ok=True)
pathlib.Path(f"/srv/calls/{begun}.json").write_text(json.dumps(record))
sys.stdout.write(done.stdout)
sys.exit(done.returncode)
"""
"""As a zipapp: the installed aggctl, and a note of what `ps` shows on that node meanwhile."""


@dataclass(frozen=True)
class Played:
    """What a playbook did."""

    status: int
    text: str

    @property
    def changed(self) -> dict[str, int]:
        return {host: int(changed) for host, changed, *_ in RECAP.findall(self.text)}

    @property
    def failed(self) -> dict[str, int]:
        return {host: int(away) + int(failed) for host, _, away, failed in RECAP.findall(self.text)}


@dataclass(frozen=True)
class Place:
    """Three nodes that let Ansible in, and Ansible on the first of them."""

    cluster: Cluster
    folder: Path

    @property
    def nodes(self) -> list[KubeadmNode]:
        return self.cluster.nodes

    def play(self, playbook: str, *words: str) -> Played:
        """Run a playbook with what its README says, on the first node, in its network."""
        done = self.cluster.first.run(
            ANSIBLE,
            *("--inventory", self.folder / "inventory.yml"),
            *("--extra-vars", f"aggctl_package={self.folder}/aggctl-wheels.tar"),
            EXAMPLE / playbook,
            *words,
            check=False,
            env={
                "ANSIBLE_CONFIG": str(EXAMPLE / "ansible.cfg"),
                "ANSIBLE_HOME": "/srv/ansible",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": "/run/ansible",
                "ANSIBLE_NOCOLOR": "1",
                "LANG": "C.UTF-8",
            },
        )
        return Played(done.returncode, done.stdout + done.stderr)

    def watched(self, playbook: str, *words: str) -> tuple[Played, list[dict[str, Any]]]:
        """The same, with a note of each call of aggctl, in their order."""
        script = self.folder / "watched.pyz"
        script.write_text(WATCHED)
        played = self.play(playbook, "--extra-vars", f"aggctl_package={script}", *words)
        files = sorted(
            (path for node in self.nodes for path in node.path("/srv/calls").glob("*")), key=lambda p: p.name
        )
        calls = [json.loads(path.read_text()) for path in files]
        for path in files:
            path.unlink()
        return played, calls

    def files(self, node: KubeadmNode) -> dict[str, bytes]:
        """What a node has of a control plane, and of aggctl's records."""
        folders = (node.path("/etc/kubernetes"), node.path("/var/lib/aggctl"))
        found = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path): path.read_bytes() for path in found}

    def authorities(self) -> list[list[str]]:
        """The front-proxy CAs of each node, and those that the cluster publishes."""
        published = self.cluster.first.get(RECORD)["data"]["requestheader-client-ca-file"].encode()
        files = [node.path(f"{PKI}/front-proxy-ca.crt").read_bytes() for node in self.nodes]
        return [[each.fingerprint for each in pki.read_certificates(pem)] for pem in (*files, published)]


@pytest.fixture(scope="module")
def place(three: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three nodes with the layer off, and aggctl on each: the README's commands, and `--tags install`."""
    if what := ssh.missing():
        pytest.skip(what)
    folder = tmp_path_factory.mktemp("ansible")
    keys = ssh.new_keys(folder / "keys")
    for node in three.nodes:
        ssh.serve_ssh(node.machine, node.address, keys)
    (folder / "inventory.yml").write_text(inventory(three, keys))
    pack(folder)
    place = Place(three, folder)
    three.strip_layer()
    before = [place.files(node) for node in three.nodes]
    played = place.play("enable.yml", "--tags", "install")
    assert played.status == 0, played.text
    assert [place.files(node) for node in three.nodes] == before
    return place


def inventory(cluster: Cluster, keys: ssh.Keys) -> str:
    variables = {
        "ansible_user": "root",
        "ansible_ssh_common_args": keys.options,
        "ansible_remote_tmp": "/srv/ansible-tmp",
        "ansible_python_interpreter": str(PYTHON),
        "aggctl_python": str(PYTHON),
        "aggctl_dir": "/srv/aggctl",
    }
    hosts = {node.name: {"ansible_host": node.address} for node in cluster.nodes}
    return str(yaml.safe_dump({"kube_control_plane": {"hosts": hosts, "vars": variables}}))


def pack(folder: Path) -> None:
    """The commands of the README by which the wheels are packed."""
    _, _, text = (EXAMPLE / "README.md").read_text().partition("\n## Pack it\n")
    commands = re.findall(r"^\$ (.*)$", text.partition("\n## ")[0], re.MULTILINE)
    assert len(commands) == 2, commands
    for command in commands:
        there = command.replace("/tmp/wheels", str(folder / "wheels"))  # noqa: S108 -- the README's own example
        words = shlex.split(there.replace("examples/ansible/", f"{folder}/"))
        words[0] = sys.executable if words[0] == "python3" else words[0]
        subprocess.run(words, check=True, cwd=EXAMPLE.parents[1])


def test_check_mode_changes_nothing_and_says_what_it_would(place: Place) -> None:
    before = [place.files(node) for node in place.nodes]

    played = place.play("enable.yml", "--check", "--diff")

    assert played.status == 0, played.text
    assert [place.files(node) for node in place.nodes] == before
    assert all(played.changed.values()), played.text
    assert played.text.count("+    - --requestheader-client-ca-file=") == 3
    assert played.text.count("create /etc/kubernetes/pki/front-proxy-ca.key") == 3


def test_where_one_node_fails_the_next_is_left_alone_and_the_next_run_goes_on(place: Place) -> None:
    """The second node is refused for a key that an earlier try of somebody left there."""
    first, second, third = place.nodes
    second.write(LEFTOVER, "left over", 0o600)
    before = place.files(third)

    played = place.play("enable.yml")

    assert played.status == 2, played.text
    assert played.failed == {first.name: 0, second.name: 1, third.name: 0}
    assert "(client-key-without-certificate)" in played.text
    assert "aggctl enable --repair" in played.text
    assert "--requestheader-client-ca-file" in first.manifest.read_text()
    assert place.files(third) == before

    second.path(LEFTOVER).unlink()
    played, calls = place.watched("enable.yml", "-vvv")

    assert played.status == 0, played.text
    assert authority_is_the_same_everywhere(place)
    assert [call["words"][0] for call in calls if "--certificate-key" in call["words"]] == ["enable"] * 2
    assert_no_key_was_seen(calls, played)

    again = place.play("enable.yml")

    assert (again.status, set(again.changed.values())) == (0, {0}), again.text


def test_the_ca_is_replaced_stage_by_stage_on_every_node(place: Place) -> None:
    assert place.play("enable.yml").status == 0
    (old,), *_ = place.authorities()
    pids = [node.apiserver_pid() for node in place.nodes]

    planned = place.play("rotate-ca.yml", "--check")

    assert planned.status == 0, planned.text
    assert all(planned.changed.values()), planned.text
    assert place.authorities() == [[old]] * 4

    played, calls = place.watched("rotate-ca.yml", "-vvv")

    assert played.status == 0, played.text
    assert authority_is_the_same_everywhere(place)
    assert place.authorities()[0] != [old]
    assert [node.apiserver_pid() for node in place.nodes] == pids
    assert place.cluster.first.get(UPLOADED) is None
    assert not [node.name for node in place.nodes if node.path("/var/lib/aggctl/rotation").exists()]
    stages = [call["words"][4] for call in calls if "--stage" in call["words"]]
    assert [*dict.fromkeys(stages)] == ["trust", "switch", "retire"]
    assert stages == sorted(stages, key=["trust", "switch", "retire"].index)
    assert_no_key_was_seen(calls, played)

    again = place.play("rotate-ca.yml")

    assert (again.status, set(again.changed.values())) == (0, {0}), again.text


def test_a_replacement_that_somebody_began_by_hand_is_finished(place: Place) -> None:
    assert place.play("enable.yml").status == 0
    (old,), *_ = place.authorities()
    begun = place.cluster.first.aggctl("certs", "rotate", "ca", "--again", "--stage", "trust", "--yes")
    assert begun.returncode == 0, begun.stderr
    (new,) = set(place.authorities()[0]) - {old}

    played = place.play("rotate-ca.yml")

    assert played.status == 0, played.text
    assert place.authorities() == [[new]] * 4


def authority_is_the_same_everywhere(place: Place) -> bool:
    found = place.authorities()
    return len(found[0]) == 1 and all(each == found[0] for each in found)


def assert_no_key_was_seen(calls: list[dict[str, Any]], played: Played) -> None:
    """Neither by `ps` on the nodes nor in what Ansible says, however much of it."""
    keys = {key for call in calls if "--upload" in call["words"] for key in KEY.findall(call["out"])}
    assert keys
    seen = {key for call in calls for words in call["seen"] for key in KEY.findall(words)}
    assert not keys & seen
    assert not [key for key in keys if key in played.text]
