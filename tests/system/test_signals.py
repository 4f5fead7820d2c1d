"""Signals are noted while something is changed, and handled as before afterwards."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from aggctl.system.signals import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_is_noted_and_raised_where_stopping_is_safe(number: signal.Signals) -> None:
    stop = Stop()
    with stop.handling():
        os.kill(os.getpid(), number)
        assert stop.requested == number.name
        with pytest.raises(Stopped, match=number.name):
            stop.check()


def test_a_lost_terminal_does_not_stop_the_work() -> None:
    stop = Stop()
    with stop.handling():
        os.kill(os.getpid(), signal.SIGHUP)
        stop.check()
    assert stop.requested == ""


def test_without_a_wish_nothing_is_raised() -> None:
    Stop().check()


def test_the_handlers_of_before_come_back_also_after_an_error() -> None:
    before = [signal.getsignal(each) for each in ALL]

    def fail() -> None:
        with Stop().handling():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [signal.getsignal(each) for each in ALL] == before


def test_handling_inside_handling_notes_for_the_same_stop_and_comes_back() -> None:
    before = [signal.getsignal(each) for each in ALL]
    stop = Stop()
    with stop.handling():
        with stop.handling():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested == "SIGTERM"
    assert [signal.getsignal(each) for each in ALL] == before
