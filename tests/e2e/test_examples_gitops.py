"""examples/gitops: objects from Git, the certificate from aggctl, and neither undoes the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.examples import EXAMPLES, built, commands, copied, run
from support.hello_in_pods import API, GREETINGS, PODS, HelloInPods, hello_in_pods
from support.kube import API_SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.refusals import Said

WRITE, CHECK = slice(0, 1), slice(1, 2)
"""The first blocks of its README."""

ON_THE_NODE = 'aggctl() { command aggctl "$@" --root "$NODE"; }\n'
"""What aggctl writes about its changes belongs to the sandbox, not to the machine of the test."""


def test_the_file_in_git_is_what_the_command_of_the_readme_writes(tmp_path: Path) -> None:
    folder = copied("gitops", tmp_path)
    said = run(commands(folder, blocks=WRITE), folder)
    assert said.status == 0, said.text
    written = (folder / "hello-api.yaml").read_bytes()
    assert written == (EXAMPLES / "gitops/hello-api.yaml").read_bytes()


def test_a_file_that_was_edited_by_hand_is_told(tmp_path: Path) -> None:
    folder = copied("gitops", tmp_path, {"replicas: 2": "replicas: 3"})
    said = run(commands(folder, blocks=CHECK), folder)
    assert (said.status, "replicas: 3" in said.out) == (1, True), said.text


@pytest.fixture(scope="module")
def kubectl() -> Path:
    (folder,) = built("kubectl")
    return folder


def test_the_kustomization_builds_all_objects_of_the_file(kubectl: Path, tmp_path: Path) -> None:
    folder = copied("gitops", tmp_path)
    said = run("kubectl kustomize .", folder, kubectl)
    assert said.status == 0, said.text
    written = (folder / "hello-api.yaml").read_text()
    assert kinds(said.out) == kinds(written)


def kinds(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.startswith("kind: "))


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HelloInPods]:  # noqa: ARG001 -- asked for to be skipped without them
    with hello_in_pods(tmp_path_factory.mktemp("gitops"), registered=False) as unregistered:
        yield unregistered


@dataclass(frozen=True)
class Git:
    """The example in a folder of its own, but for the port of the test's server, and who applies it."""

    folder: Path
    kubectl: Path
    place: HelloInPods

    def run(self, script: str) -> Said:
        where = {"NODE": str(self.place.node.root), "KUBECONFIG": str(self.place.kube.kubeconfig)}
        return run(ON_THE_NODE + script, self.folder, self.kubectl, environment=where)


@pytest.fixture(scope="module")
def git(place: HelloInPods, kubectl: Path, tmp_path_factory: pytest.TempPathFactory) -> Git:
    port = {"6443": str(place.hello.port), "register v1": f"register --port {place.hello.port} v1"}
    return Git(copied("gitops", tmp_path_factory.mktemp("gitops"), port), kubectl, place)


@pytest.fixture(scope="module")
def applied(git: Git) -> Said:
    """What the README's commands said, from the objects in Git to a renewed certificate and another image."""
    return git.run(commands(git.folder, blocks=slice(CHECK.start, None)))


@pytest.mark.controlplane
def test_git_and_aggctl_apply_in_turn_without_a_conflict_until_the_api_answers(
    applied: Said, place: HelloInPods
) -> None:
    assert applied.status == 0, applied.text
    assert place.kube.get(GREETINGS)["kind"] == "GreetingList"


@pytest.mark.controlplane
@pytest.mark.usefixtures("applied")
def test_who_applies_them_only_after_aggctl_meets_no_conflict_either(git: Git) -> None:
    said = git.run("kubectl apply --server-side --field-manager newcomer -k .")
    assert said.status == 0, said.text


@pytest.mark.controlplane
def test_a_change_in_git_gets_to_the_pods(applied: Said, place: HelloInPods) -> None:
    assert 'deployment "hello-api" successfully rolled out' in applied.out
    pods = place.kube.get(PODS)["items"]
    images = {each["spec"]["containers"][0]["image"] for each in pods if not gone(each)}
    assert images == {"registry.example/hello-api:2"}


def gone(pod: Any) -> bool:
    return "deletionTimestamp" in pod["metadata"]


@pytest.mark.controlplane
def test_applied_again_the_renewed_ca_bundle_stays_and_is_aggctls_alone(
    applied: Said, place: HelloInPods
) -> None:
    assert "Renewed" in applied.text
    assert place.bundle() == place.secret("ca.crt")
    fields = place.kube.get(f"{API_SERVICES}/{API}")["metadata"]["managedFields"]
    owners = {each["manager"] for each in fields if "f:caBundle" in json.dumps(each)}
    assert owners == {"aggctl"}
