"""aggctl(1): made from the help, taken by the real man and groff, with every command and option in it."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.refusals import aggctl
from support.shells import environment, found

from aggctl import __version__
from aggctl.cli.app import app
from aggctl.cli.roff import manual
from aggctl.core.report import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE: Any = typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield path, command


LEAVES = dict(leaves(TREE))


@pytest.fixture(scope="module", name="page")
def _page() -> str:
    said = aggctl("man")
    assert (said.status, said.err) == (0, "")
    return said.out


@pytest.fixture(scope="module", name="shown")
def _shown(page: str) -> str:
    """The page as man shows it on a wide terminal."""
    return read(page, found("man"), "--warnings=w", "-l", "-", MANWIDTH="400")


def read(page: str, *words: str, **more: str) -> str:
    done = subprocess.run(
        words, input=page, capture_output=True, text=True, check=False, env=environment(**more)
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def section(shown: str, name: str, level: str = "") -> str:
    """The text of a section, or with a level of blanks of a part of one."""
    _, _, after = shown.partition(f"\n{level}{name}\n")
    assert after, f"{name} is no section"
    return re.split(rf"\n{level}\S", after, maxsplit=1)[0]


@pytest.mark.parametrize("width", ["60n", "80n", "200n"])
def test_groff_has_no_warning(page: str, width: str) -> None:
    read(page, found("groff"), "-man", "-Tutf8", "-ww", f"-rLL={width}")


def test_it_is_ascii_so_that_no_locale_is_needed(page: str) -> None:
    assert page.isascii()


def test_it_is_the_same_each_time(page: str) -> None:
    assert manual(TREE) == page


def test_whatis_finds_its_name(page: str) -> None:
    assert read(page, found("lexgrog"), "-") == (
        '-: "aggctl - switch on, prove, and mend the Kubernetes aggregation layer"\n'
    )


def test_it_names_the_version(shown: str) -> None:
    assert f"aggctl {__version__}" in shown.splitlines()[-1]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_has_its_text_and_all_its_options(shown: str, path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    part = section(shown, " ".join(("aggctl", *path)), "   ")
    common = section(shown, "COMMON OPTIONS")
    assert command.help.split("\n")[0].replace("`", "") in part
    assert "Examples:" in part or "Example:" in part
    for each in command.params:
        if each.param_type_name == "option":
            term = next((text for text in (part, common) if is_term(each, text)), "")
            assert term, each.opts
            assert " ".join(each.help.split()).replace("`", "") in term
            assert term is part or max(each.opts, key=len) in part
        else:
            assert each.help.replace("`", "") in part


def is_term(option: Any, text: str) -> bool:
    names = ", ".join((*option.opts, *option.secondary_opts))
    return bool(re.search(rf"^ +{re.escape(names)}( |$)", text, re.MULTILINE))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_examples_are_lines_of_their_own(shown: str, path: tuple[str, ...]) -> None:
    part = section(shown, " ".join(("aggctl", *path)), "   ")
    examples = re.findall(r"^  (\S.*)$", LEAVES[path].help.partition("\b")[2], re.MULTILINE)
    assert examples
    assert [line for line in examples if not re.search(rf"^ +{re.escape(line)}$", part, re.MULTILINE)] == []


def test_every_exit_status_is_there(shown: str) -> None:
    told = re.findall(r"^ +(\d+) +(.*)\.$", section(shown, "EXIT STATUS"), re.MULTILINE)
    assert {int(status): meaning for status, meaning in told} == MEANINGS


@pytest.mark.parametrize("name", ["ENVIRONMENT", "FILES", "SEE ALSO", "DESCRIPTION", "SYNOPSIS"])
def test_the_usual_sections_are_there(shown: str, name: str) -> None:
    assert section(shown, name).strip()
