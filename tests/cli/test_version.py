"""`aggctl version`: what runs here, and that a server which is missing is no failure."""

from __future__ import annotations

import platform
import socket
from typing import TYPE_CHECKING

import pytest
import yaml
from support.refusals import aggctl, assert_decent, assert_document

from aggctl import __version__

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = platform.python_version()


@pytest.fixture(name="nowhere")
def _nowhere(tmp_path: Path) -> tuple[str, ...]:
    """Words for a machine that knows of no cluster."""
    return ("--root", str(tmp_path))


def test_it_says_its_own_version_and_that_of_its_python() -> None:
    said = aggctl("version", "--client")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"Client Version: {__version__}\nPython Version: {PYTHON}\n"


def test_no_server_is_asked_for_its_own_version() -> None:
    said = aggctl("version", "--client", "--kubeconfig", "/nonexistent", "-o", "json")
    assert (said.status, said.document["findings"]) == (0, [])


def test_that_there_is_no_cluster_is_said_and_no_failure(nowhere: tuple[str, ...], tmp_path: Path) -> None:
    said = aggctl("version", *nowhere, environment={"HOME": str(tmp_path)})
    assert (said.status, said.err) == (0, "")
    assert "Server Version: not known; no kubeconfig was found" in said.out
    assert_decent(said)


def test_that_no_server_answers_is_said_and_no_failure(nowhere: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"https://127.0.0.1:{closed.getsockname()[1]}"
    named = {"name": "x"}
    content = {
        "current-context": "x",
        "contexts": [named | {"context": {"cluster": "x", "user": "x"}}],
        "clusters": [named | {"cluster": {"server": address}}],
        "users": [named | {"user": {"token": "secret"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    said = aggctl("version", *nowhere, "--kubeconfig", str(tmp_path / "config"), "-o", "json")
    assert (said.status, said.err) == (0, "")
    assert_document(said)
    assert said.codes == ["apiserver-not-reachable"]
    assert said.document["findings"][0]["severity"] == "warning"


def test_scripts_get_each_part_as_an_item(nowhere: tuple[str, ...]) -> None:
    said = aggctl("version", *nowhere, "-o", "json", environment={"HOME": "/nonexistent"})
    assert_document(said)
    assert said.document["items"] == [
        {"component": "aggctl", "version": __version__},
        {"component": "python", "version": PYTHON, "implementation": platform.python_implementation()},
    ]
