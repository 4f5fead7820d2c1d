"""Durations as Go writes them, and days."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.cli.options import seconds, some_seconds
from aggctl.errors import UsageError

UNITS: dict[str, Fraction] = {
    "d": Fraction(86400),
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
}
NUMBERS = st.from_regex(r"\A([0-9]{1,4}(\.[0-9]{0,3})?|\.[0-9]{1,3})\Z")
PARTS = st.lists(st.tuples(NUMBERS, st.sampled_from(sorted(UNITS))), min_size=1, max_size=4)


@given(PARTS)
def test_the_parts_of_a_duration_add_up(parts: list[tuple[str, str]]) -> None:
    wanted = sum(Fraction(number) * UNITS[unit] for number, unit in parts)
    assert seconds("".join(number + unit for number, unit in parts)) == pytest.approx(float(wanted))


@given(st.integers(min_value=0, max_value=10**9))
def test_a_bare_number_is_seconds_as_in_kubectl(number: int) -> None:
    assert seconds(str(number)) == number


@given(st.text(max_size=12))
def test_anything_else_is_wrong_usage_and_never_another_error(text: str) -> None:
    try:
        found = seconds(text)
    except UsageError as error:
        assert error.code == "duration-not-understood"  # noqa: PT017 -- either outcome is right, no third
    else:
        assert found >= 0
        assert all(character in "0123456789.dhmsuµμn" for character in text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("30d", 2592000),
        ("1d12h", 129600),
    ],
)
def test_durations_of_every_day(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize(
    "text", ["", " ", "m", "5 m", "5M", "-5m", "+5m", "5D", "5w", "5 d", "٣s", "1e3s", "inf", "5m\n", ".s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize("text", ["9" * 400, "9999999999s", "2562048h", "106752d"])
def test_longer_than_go_can_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize("text", ["0", "0s", "0h0m"])
def test_no_time_at_all_cannot_be_waited_for(text: str) -> None:
    assert seconds(text) == 0
    with pytest.raises(UsageError, match=r"--timeout .* leaves no time"):
        some_seconds(text, "--timeout")
