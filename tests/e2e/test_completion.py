"""Completion with the names that a real cluster has; and what `aggctl version` says of a real server."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from support.kube import API_SERVICES, Kube, api_service
from support.refusals import aggctl, assert_document
from support.sandboxes import sandbox_in
from support.shells import bash_in, environment, fish_offers, zsh_in

from aggctl.cli.app import app
from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sandboxes import Running

pytestmark = pytest.mark.controlplane

APIS = ["v1.hello.example.com", "v1beta1.other.example.com"]
FAR = "AGGCTL_COMPLETION_TIMEOUT"


def takes_apis(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command whose help says that an API belongs there."""
    for name, each in getattr(command, "commands", {}).items():
        yield from takes_apis(each, (*path, name))
    if any(re.search("API|VERSION.GROUP", each.metavar or "") for each in command.params):
        yield path


PLACES = list(takes_apis(typer.main.get_command(app)))


@dataclass(frozen=True)
class Place:
    """A cluster with two APIs that servers beside it answer, and a user whose kubeconfig is for it."""

    running: Running
    home: Path

    def offered(self, *words: str, **more: str) -> list[str]:
        said = aggctl("__complete", *words, environment={"HOME": str(self.home), FAR: "30s"} | more)
        assert (said.status, said.err) == (0, "")
        *lines, directive = said.out.splitlines()
        assert directive == ":4"
        return [line.partition("\t")[0] for line in lines]


@pytest.fixture(scope="module", name="place")
def _place(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("completion")
    with sandbox_in(folder / "sandbox") as running:
        kube = Kube(running.sandbox.kubeconfig)
        for name in APIS:
            status, found = kube.ask("POST", API_SERVICES, api_service(name, "hello"))
            assert status == 201, found
        home = folder / "home"
        (home / ".kube").mkdir(parents=True)
        (home / ".kube/config").write_bytes(running.sandbox.kubeconfig.read_bytes())
        yield Place(running, home)


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", PLACES, ids=" ".join)
def test_the_apis_of_the_cluster_are_offered_where_one_belongs(
    place: Place, command: tuple[str, ...]
) -> None:
    assert place.offered(*command, "") == APIS


def test_there_are_commands_that_take_apis() -> None:
    named = {("status",), ("doctor",), ("logs",), ("unregister",), ("certs", "rotate", "serving")}
    assert named <= set(PLACES)


def test_an_api_that_stands_in_the_line_is_not_offered_again(place: Place) -> None:
    assert place.offered("status", APIS[0], "") == APIS[1:]


def test_namespaces_are_offered(place: Place) -> None:
    assert "default" in place.offered("register", "-n", "")
    assert place.offered("register", "-n", "kube-s") == ["kube-system"]


def test_the_cluster_is_that_of_the_options_in_the_line(place: Place, tmp_path: Path) -> None:
    kubeconfig, root = str(place.running.sandbox.kubeconfig), str(place.running.sandbox.root)
    none = {"HOME": str(tmp_path)}
    assert place.offered("status", "", **none) == []
    assert place.offered("status", "--kubeconfig", kubeconfig, "", **none) == APIS
    assert place.offered("status", f"--root={root}", "", **none) == APIS
    assert place.offered("status", "", KUBECONFIG=kubeconfig, **none) == APIS


def test_the_context_of_the_line_counts(place: Place, tmp_path: Path) -> None:
    content = yaml.safe_load(place.running.sandbox.kubeconfig.read_text())
    good = content["contexts"][0]
    content["contexts"] = [
        good | {"name": "good"},
        {"name": "gone", "context": {"cluster": "x", "user": "x"}},
    ]
    content["current-context"] = "gone"
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    words = ("status", "--kubeconfig", str(tmp_path / "config"))
    assert place.offered(*words, "") == []
    assert place.offered(*words, "--context", "good", "") == APIS


def test_who_may_not_list_is_offered_nothing_and_told_nothing(place: Place, tmp_path: Path) -> None:
    content = yaml.safe_load(place.running.sandbox.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": "of nobody"}
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    assert place.offered("status", "--kubeconfig", str(tmp_path / "config"), "") == []


def test_who_does_not_trust_the_server_is_offered_nothing(place: Place, tmp_path: Path) -> None:
    content = yaml.safe_load(place.running.sandbox.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["tls-server-name"] = "another.example"
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    assert place.offered("status", "--kubeconfig", str(tmp_path / "config"), "") == []


# --- in shells ----------------------------------------------------------------------------------------------


def test_bash_completes_an_api(place: Place) -> None:
    with bash_in(place.home, "source <(aggctl completion bash)") as shell:
        assert shell.line_after("aggctl unregister v1.\t") == f"aggctl unregister {APIS[0]} "


def test_zsh_completes_an_api(place: Place) -> None:
    with zsh_in(place.home, "source <(aggctl completion zsh)") as shell:
        assert shell.line_after("aggctl unregister v1.\t") == f"aggctl unregister {APIS[0]} "


def test_fish_completes_an_api(place: Place) -> None:
    start = "aggctl completion fish | source"
    assert fish_offers(place.home, start, "aggctl unregister v") == APIS


def test_kubectl_completes_an_api(place: Place) -> None:
    program = components.find(components.COMPONENTS["kubectl"])
    if program is None:
        pytest.skip("kubectl is not built yet: run `aggctl sandbox build` once, or `make test`")
    words = [str(program.path), "__complete", "aggctl", "certs", "rotate", "serving", "v"]
    told = subprocess.run(
        words,
        env=environment(HOME=str(place.home)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.partition("\t")[0] for line in told.stdout.splitlines()] == [*APIS, ":4"]


# --- the version of the server ------------------------------------------------------------------------------


def test_the_server_says_its_version_too(place: Place) -> None:
    said = aggctl("version", environment={"HOME": str(place.home)})
    assert (said.status, said.err) == (0, "")
    version = components.COMPONENTS["kube-apiserver"].version
    assert said.out.splitlines()[-1] == f"Server Version: v{version}"


def test_scripts_get_the_server_as_an_item(place: Place) -> None:
    said = aggctl("version", "-o", "json", environment={"HOME": str(place.home)})
    assert_document(said)
    server = said.document["items"][-1]
    assert server["component"] == "kube-apiserver"
    assert server["server"] == place.running.sandbox.url
    assert server["platform"].startswith("linux/")
    assert said.document["findings"] == []
