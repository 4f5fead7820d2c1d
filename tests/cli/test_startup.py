"""A quick start: a command loads what it uses, and reads its arguments as Typer does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from aggctl.cli.app import app
from aggctl.cli.startup import narrowed

if TYPE_CHECKING:
    from pathlib import Path

    import typer

HEAVY = ("pydantic", "ruamel.yaml", "kubernetes", "aggctl.core.manifest", "aggctl.core.loglines")


def loaded(*arguments: str) -> tuple[str, list[str]]:
    """What a command says, and which of the heavy packages it has loaded in the end."""
    program = (
        "import sys\nfrom aggctl.cli.app import run\nstatus = run()\n"
        f"print('loaded', *(each for each in {HEAVY!r} if each in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    said, _, found = done.stdout.rpartition("loaded")
    return said + done.stderr, found.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("explain", "serving-certificate-expired"),
        (
            "register",
            "v1.a.example.com",
            "--external",
            "a.example.com:443",
            "--dry-run",
            "--kubeconfig",
            "/no",
        ),
    ],
    ids=" ".join,
)
def test_a_command_loads_nothing_heavy_that_it_does_not_use(arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments)[1] == []


def test_a_kubeconfig_as_kubeadm_writes_it_needs_no_yaml_package(tmp_path: Path) -> None:
    (tmp_path / "admin.conf").write_text(
        "clusters:\n- cluster:\n    server: https://127.0.0.1:1\n  name: a\n"
        "contexts:\n- context:\n    cluster: a\n    user: b\n  name: b@a\ncurrent-context: b@a\n"
        "users:\n- name: b\n  user:\n    token: c\n"
    )
    said, found = loaded("status", "--kubeconfig", str(tmp_path / "admin.conf"), "--root", str(tmp_path))
    assert "127.0.0.1:1" in said
    assert "ruamel.yaml" not in found


def test_a_value_that_is_refused_is_refused_in_typers_words() -> None:
    said, _ = loaded("register", "--replicas", "many")
    assert "Invalid value for '--replicas'" in said
    assert "valid integer" in said


def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    said, _ = loaded("history", "--output", "xml")
    assert "'xml' is not one of 'text', 'json'" in said


def test_a_number_is_read_as_one() -> None:
    said, _ = loaded(
        *("register", "v1.a.example.com", "--image", "a", "--replicas", "3", "--dry-run", "-o", "yaml")
    )
    assert "replicas: 3" in said


def commands(tree: typer.Typer) -> set[str]:
    group: Any = get_command(tree)
    return set(group.commands)


@pytest.mark.parametrize("name", sorted(commands(app)))
def test_each_command_is_found_without_the_others(name: str) -> None:
    assert commands(narrowed(app, [name])) == {name}


@pytest.mark.parametrize("arguments", [(), ("--help",), ("regster",)], ids=str)
def test_where_no_command_is_named_all_are_there(arguments: tuple[str, ...]) -> None:
    assert narrowed(app, arguments) is app
