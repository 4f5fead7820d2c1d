"""docs/terminal.svg is what the commands say today, on a real kube-apiserver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.picture import PICTURE, essence, record, screen

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.controlplane
def test_the_picture_shows_what_the_commands_say_today(programs: dict[str, Path]) -> None:  # noqa: ARG001 -- asked for to be skipped without them
    assert essence(record()) == essence(PICTURE.read_text(encoding="utf-8")), "run: make picture"


def test_of_a_spinner_only_the_line_stays_that_it_ends_with() -> None:
    spun = "Plan\r\n\x1b[?25l- waits\r\x1b[2K/ waits\r\n\x1b[?25h\r\x1b[1A\x1b[2Kdone\r\n"
    assert screen(spun) == "Plan\ndone"
