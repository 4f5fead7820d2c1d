"""Units for systemd: what is written is what systemd reads back, whatever the path is called."""

from __future__ import annotations

import shlex
from configparser import ConfigParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.certs.timer import MARK, service, timer

WORDS = ("/usr/bin/aggctl", "certs", "rotate", "due", "--within", "30d", "--yes")


def read(unit: bytes) -> ConfigParser:
    """A unit, its names as they are written."""
    parser = ConfigParser(interpolation=None, strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser documents it
    parser.read_string(unit.decode())
    return parser


def started(unit: bytes) -> tuple[str, ...]:
    """The words of ExecStart= as systemd takes them: quotes, specifiers, and variables but in the program."""
    words = [_one(word, "%") for word in shlex.split(read(unit)["Service"]["ExecStart"])]
    return (words[0], *(_one(word, "$") for word in words[1:]))


def _one(word: str, sign: str) -> str:
    """One sign for each two; a single one would stand for something."""
    assert sign not in word.replace(2 * sign, "")
    return word.replace(2 * sign, sign)


def test_the_service_runs_the_command_once() -> None:
    unit = service(WORDS)
    assert started(unit) == WORDS
    assert read(unit)["Service"]["Type"] == "oneshot"
    assert f"ExecStart={' '.join(WORDS)}\n" in unit.decode()


def test_the_timer_goes_by_a_calendar_with_a_random_delay_and_makes_up_for_time_slept_away() -> None:
    found = read(timer("Mon *-*-* 03:00", "600s"))
    assert dict(found["Timer"]) == {
        "OnCalendar": "Mon *-*-* 03:00",
        "RandomizedDelaySec": "600s",
        "Persistent": "true",
    }
    assert found["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("unit", [service(WORDS), timer("daily", "6h")], ids=["service", "timer"])
def test_the_first_line_says_who_wrote_it(unit: bytes) -> None:
    assert unit.decode().splitlines()[0] == MARK
    assert read(unit)["Unit"]["Description"]


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/usr/bin/aggctl", "/usr/bin/aggctl"),
        ("/opt/my tools/aggctl", '"/opt/my tools/aggctl"'),
        ("/opt/100%/aggctl", "/opt/100%%/aggctl"),
        ("/opt/$HOME/aggctl", "/opt/$HOME/aggctl"),
        ("/opt/a;b", '"/opt/a;b"'),
    ],
    ids=["plain", "a blank", "a percent sign", "a dollar", "a semicolon"],
)
def test_a_program_is_quoted_where_systemd_would_read_something_else(path: str, written: str) -> None:
    """systemd replaces specifiers there, and no variables."""
    unit = service((path, "certs"))
    assert f"ExecStart={written} certs\n" in unit.decode()
    assert started(unit) == (path, "certs")


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("two words", '"two words"'),
        ("%h", "%%h"),
        ("$HOME", "$$HOME"),
        ('say "x"', r'"say \"x\""'),
        ("it's", '"it\'s"'),
        ("a\\b", r'"a\\b"'),
        (";", '";"'),
        ("", '""'),
    ],
    ids=[
        "a blank",
        "a percent sign",
        "a dollar",
        "quotes",
        "an apostrophe",
        "backslash",
        "semicolon",
        "empty",
    ],
)
def test_an_argument_is_quoted_where_systemd_would_read_something_else(word: str, written: str) -> None:
    unit = service(("/usr/bin/aggctl", word))
    assert f"ExecStart=/usr/bin/aggctl {written}\n" in unit.decode()
    assert started(unit) == ("/usr/bin/aggctl", word)


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(st.lists(printable, min_size=1))
def test_whatever_the_words_are_systemd_reads_them_back(words: list[str]) -> None:
    path = "/opt/aggctl"
    assert started(service((path, *words))) == (path, *words)
