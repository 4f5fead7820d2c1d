"""Words of others are shown bounded, and never act on the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.text import ago, clean, unified_diff


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("plain words", "plain words", id="plain words stay"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colours go"),
        pytest.param("\x1b]0;title\x07after", "after", id="a window title goes"),
        pytest.param("\x1b]8;;http://x\x1b\\link", "link", id="a hyperlink goes, its words stay"),
        pytest.param("a\r\nb\tc\x00d", "a b c d", id="control characters become one blank"),
        pytest.param("a\u202eb", "a b", id="a change of direction becomes a blank"),
        pytest.param("a\udc80b", "a b", id="a lone surrogate, which no terminal takes, becomes a blank"),
        pytest.param("Größe ✓", "Größe ✓", id="letters of all languages stay"),
        pytest.param(b"caf\xc3\xa9 \xff", "café \ufffd", id="bytes are decoded, broken ones marked"),
    ],
)
def test_only_words_are_left_of_what_others_say(said: str | bytes, shown: str) -> None:
    assert clean(said) == shown


def test_a_text_at_the_limit_stays_whole() -> None:
    assert clean("x" * 10, limit=10) == "x" * 10


def test_a_text_over_the_limit_ends_in_an_ellipsis_at_the_limit() -> None:
    assert clean("x" * 11, limit=10) == "x" * 9 + "…"


@given(st.one_of(st.text(), st.binary()), st.integers(min_value=1, max_value=50))
def test_whatever_is_said_fits_one_line_of_the_limit_and_can_be_written(
    said: str | bytes, limit: int
) -> None:
    shown = clean(said, limit)
    assert len(shown) <= limit
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.25, "0.2 s"),
        (3, "3 s"),
        (9.5, "9.5 s"),
        (42.4, "42 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86399, "23 h"),
        (86400, "1 d"),
        (86400 * 12.9, "12 d"),
    ],
)
def test_a_span_of_time_reads_as_people_write_it(seconds: float, shown: str) -> None:
    assert ago(seconds) == shown


def test_a_diff_shows_what_changes_with_a_line_around_it_under_the_path() -> None:
    old, new = "a\nb\nc\nd\n", "a\nb\nC\nd\n"
    assert unified_diff(old, new, "/x").splitlines() == [
        "--- /x", "+++ /x", "@@ -2,3 +2,3 @@", " b", "-c", "+C", " d"
    ]  # fmt: skip


def test_nothing_that_changes_is_no_diff() -> None:
    assert unified_diff("a\n", "a\n", "/x") == ""


@pytest.mark.parametrize(
    ("neighbour", "shown"),
    [
        ("      value: hunter2", "      value: …"),
        ("    - value: hunter2", "    - value: …"),
        (' "value": "hunter2",', ' "value": …'),
        ("    - --oidc-client-secret=hunter2", "    - --oidc-client-secret=…"),
        ("    - --some-password-thing=hunter2", "    - --some-password-thing=…"),
        ("    - --token-auth-file=/etc/tokens", "    - --token-auth-file=/etc/tokens"),
        ("    - --service-account-extend-token=true", "    - --service-account-extend-token=true"),
        ("    - --admin-password=/dev/fd/3", "    - --admin-password=/dev/fd/3"),
        ("x" * 159, "x" * 159),
        ("x" * 160, "x" * 59 + "…"),
    ],
    ids=[
        "a variable's value",
        "a list's value",
        "a value in JSON",
        "a flag's secret",
        "a flag's password",
        "a flag that is none",
        "a flag's boolean",
        "a flag's path",
        "a line that fits",
        "a long line",
    ],
)
def test_a_neighbour_of_a_change_is_shown_without_what_may_be_secret(neighbour: str, shown: str) -> None:
    diff = unified_diff(f"{neighbour}\nold\n", f"{neighbour}\nnew\n", "/x").splitlines()
    assert diff[3:] == [f" {shown}", "-old", "+new"]
