"""What the documents say is true: their tables are those of the code, and a test runs each command."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.readme import CHECKOUT, DOCUMENTS, ELSEWHERE, SCENES, blocks, commands
from support.readme_tables import CHINESE, ENGLISH, TABLES, TEXTS, current, written

from aggctl.cli.app import app
from aggctl.core.doctor.codes import HOPS
from aggctl.core.report import EXIT_STATUS, MEANINGS
from aggctl.errors import AggctlError, Failed, Interrupted, Refused, RollbackIncomplete, UsageError

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
KINDS = (AggctlError, Failed, Interrupted, Refused, RollbackIncomplete, UsageError)


@pytest.mark.parametrize("document", TABLES, ids=lambda path: path.name)
def test_the_tables_are_those_of_the_code(document: Path) -> None:
    assert current(document) == document.read_text(encoding="utf-8"), "run: make readme"


def test_a_document_without_a_place_for_its_table_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"README\.md has no place between .*commands"):
        written(ENGLISH, "commands", "a text")


def test_each_exit_status_that_there_is_has_a_meaning() -> None:
    assert {*EXIT_STATUS.values(), *(kind.exit_status for kind in KINDS)} == set(MEANINGS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_hop_is_described_in_both_languages(language: str) -> None:
    assert set(TEXTS[language]["hops"]) == set(HOPS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_is_run_by_a_test(document: Path) -> None:
    known = {*ELSEWHERE, *chain.from_iterable(scene.commands for scene in SCENES)}
    assert [command for command in commands(document) if command not in known] == []


def test_no_test_runs_a_command_that_no_document_has() -> None:
    written_down = set(chain.from_iterable(commands(document) for document in DOCUMENTS))
    known = {*ELSEWHERE, *chain.from_iterable(scene.commands for scene in SCENES)}
    assert known - written_down == set()


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_runs_the_others_is_there(place: str) -> None:
    file, _, words = place.partition("::")
    assert words in (CHECKOUT / file).read_text(encoding="utf-8")


def test_a_scene_changes_no_word_but_names_of_what_a_reader_has() -> None:
    """What is run is what is written: the command, its verbs and its options stay."""
    for scene in SCENES:
        for name in scene.names:
            assert not name.startswith("-")
            assert re.search(r"[./=-]", name), f"{name} may be a word of aggctl"


def test_every_command_line_is_one_that_aggctl_takes() -> None:
    tree = typer.main.get_command(app)
    for command in set(chain.from_iterable(commands(document) for document in DOCUMENTS)):
        words = shlex.split(command.removeprefix("sudo "))
        if words[0] == "aggctl":
            _take(tree, words[1:])


def _take(command: Any, words: list[str]) -> None:
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("aggctl", words)


def test_both_readmes_show_the_same_blocks() -> None:
    assert blocks(CHINESE) == blocks(ENGLISH)


def test_both_readmes_lead_to_the_same_places() -> None:
    links = [Counter(LINK.findall(path.read_text(encoding="utf-8"))) for path in (ENGLISH, CHINESE)]
    english, chinese = (each - Counter(("README.md", "README.zh-CN.md")) for each in links)
    assert english == chinese


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    there = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in there if not (document.parent / link).exists()] == []
