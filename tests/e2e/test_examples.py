"""The index of the examples names each of them, and what their READMEs point to is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.examples import EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

READMES = sorted(EXAMPLES.glob("**/README.md"))


def test_the_index_names_each_example() -> None:
    named = re.findall(
        r"^\|.*\| \[([\w-]+)\]\(\1/README\.md\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(named) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_what_a_readme_points_to_is_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
