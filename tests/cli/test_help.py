"""Help: every command shows an example that works, and names its options as kubectl and kubeadm do."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.refusals import aggctl, assert_decent

from aggctl.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = re.compile(r"^ +(?:sudo )?(aggctl .*?)(?: {3,}\(.*\))?$", re.MULTILINE)
NAMES = {
    "-o": "--output",
    "-q": "--quiet",
    "-v": "--verbose",
    "-y": "--yes",
}
OF_A_NODE = {"--root", "--kubeconfig", "--context", "--request-timeout", "--dry-run", "--yes", "--output"}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from commands(each, (*words, name))
    else:
        yield words, command


TREE = typer.main.get_command(app)
COMMANDS = dict(commands(TREE))


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


GROUPS = [(), ("certs",), ("certs", "rotate"), ("certs", "timer"), ("sandbox",), ("access",), ("audit",)]


@pytest.mark.parametrize("words", [*GROUPS, *COMMANDS], ids=" ".join)
def test_help_is_for_stdout_and_a_success(words: tuple[str, ...]) -> None:
    said = aggctl(*words, "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Usage: aggctl") or said.out.startswith("Usage: python -m aggctl")
    assert_decent(said)
    short = aggctl(*words, "-h")
    assert short.out == said.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_example_in_a_help_is_a_command_line_that_aggctl_takes(words: tuple[str, ...]) -> None:
    examples = EXAMPLE.findall(COMMANDS[words].help or "")
    assert examples, "a help without an example"
    for example in examples:
        said = shlex.split(example)
        assert tuple(said[1 : 1 + len(words)]) == words
        COMMANDS[words].make_context(example, said[1 + len(words) :])  # raises on what it does not know


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_example_is_shown_on_a_line_of_its_own(words: tuple[str, ...]) -> None:
    said = aggctl(*words, "--help")
    assert "\\b" not in said.out
    assert EXAMPLE.findall(said.out) == EXAMPLE.findall(COMMANDS[words].help or "")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does_and_short_names_mean_one_thing(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        assert parameter.name == "help" or getattr(parameter, "help", ""), parameter.name
        for short in NAMES.keys() & set(parameter.opts):
            assert NAMES[short] in parameter.opts


@pytest.mark.parametrize("name", ["enable", "rollback"])
def test_commands_of_a_node_have_kubectls_options(name: str) -> None:
    assert options(COMMANDS[(name,)]) >= OF_A_NODE


def test_kubeadms_name_for_the_folder_of_certificates_is_taken_too() -> None:
    assert {"--pki-dir", "--cert-dir"} <= options(COMMANDS[("enable",)])


def test_aggctl_alone_shows_what_there_is() -> None:
    said = aggctl()
    for name in ("enable", "rollback", "history", "explain", "certs", "sandbox"):
        assert re.search(rf"^ +{name} ", said.text, re.MULTILINE)


def test_the_version_is_one_line() -> None:
    said = aggctl("--version")
    assert (said.status, said.err) == (0, "")
    assert re.fullmatch(r"aggctl \d+\.\d+\.\d+\S*\n", said.out)
