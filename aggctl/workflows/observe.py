"""Look at what a pure function asks for, until it comes through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from aggctl.core.snapshot import Snapshot, Unasked
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.questions import Question
    from aggctl.system.ports import Ports

Result = TypeVar("Result")

AT_A_TIME = 8
MOST_ROUNDS = 50


def settle(
    function: Callable[[Snapshot], Result],
    look: Callable[[Question], Any],
    snapshot: Snapshot | None = None,
) -> tuple[Result, Snapshot]:
    """Run `function`, looking at all it asks for side by side, until it asks for nothing new."""
    seen = snapshot or Snapshot()
    for _ in range(MOST_ROUNDS):
        try:
            return function(seen), seen
        except Unasked as unasked:
            questions = tuple(unasked.questions)
        seen = seen.with_answers(dict(zip(questions, _answers(questions, look), strict=True)))
    raise RuntimeError(f"a function went on asking after {MOST_ROUNDS} rounds")


def server_of(ports: Ports) -> str | Refused:
    """The kube-apiserver to ask; without credentials the reason: a node has files and logs all the same."""
    try:
        return ports.objects.server
    except Refused as why_not:
        return why_not


def _answers(questions: tuple[Question, ...], look: Callable[[Question], Any]) -> list[Any]:
    if len(questions) == 1:
        return [look(questions[0])]
    with ThreadPoolExecutor(min(AT_A_TIME, len(questions))) as pool:
        return list(pool.map(look, questions))
