"""`aggctl certs rotate due`: renew whatever expires soon, each by its own command."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aggctl.core.certs.due import see_due, unseen
from aggctl.core.certs.inventory import expires
from aggctl.core.certs.words import not_checked
from aggctl.core.report import Report
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError
from aggctl.workflows.certs_list import certs_list
from aggctl.workflows.execute import finding_of
from aggctl.workflows.rotate_ca import rotate_ca
from aggctl.workflows.rotate_client import rotate_client
from aggctl.workflows.rotate_serving import rotate_serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from aggctl.core.certs.due import Due
    from aggctl.core.findings import Finding
    from aggctl.system.pairs import PairFolder
    from aggctl.system.ports import Ports
    from aggctl.workflows.ca_stages import Wishes

COMMAND = "certs rotate due"
_BEST_FIRST = (
    "unchanged",
    "planned",
    "applied",
    "refused",
    "problems",
    "rolled-back",
    "rollback-incomplete",
)


def rotate_due(
    ports: Ports,
    within: timedelta,
    wishes: Wishes,
    confirm: Callable[[Report], bool],
    *,
    pairs: PairFolder | None,
    dry_run: bool,
) -> Report:
    """Renew what expires `within` so long: what others renew is named, and a problem."""
    inventory = certs_list(ports, None)[1]
    due, blind = see_due(inventory, within, ports.clock.now()), unseen(inventory)
    if due.nothing:
        said = "Nothing is due." if not blind else "Nothing is due of what can be seen."
        outcome = "problems" if blind else "unchanged"
        return Report(COMMAND, outcome, summary=(said, *not_checked(inventory)), findings=blind)

    def layer() -> Report:
        if due.authority:
            return rotate_ca(ports, replace(wishes, upload=False), confirm, dry_run=dry_run)
        algorithm, deadline = wishes.algorithm, wishes.deadline
        return rotate_client(
            ports, confirm, dry_run=dry_run, deadline=deadline, algorithm=algorithm, lock=wishes.lock
        )

    def serving(name: str) -> Report:
        deadline, lock = wishes.deadline, wishes.lock
        return rotate_serving(
            ports, (name,), confirm, pairs=pairs, dry_run=dry_run, deadline=deadline, lock=lock
        )

    ended = [_tried(layer)] if due.authority or due.client else []
    ended += _each_service(ports, within, due.apis, serving)
    together = _together(ended, (*blind, *(expires(each, ports.clock.now()) for each in due.elsewhere)))
    return replace(together, summary=(*together.summary, *not_checked(inventory)))


def _due(ports: Ports, within: timedelta) -> Due:
    return see_due(certs_list(ports, None)[1], within, ports.clock.now())


def _each_service(
    ports: Ports, within: timedelta, names: tuple[str, ...], renew: Callable[[str], Report]
) -> Iterator[Report]:
    """One API after the other; those of one Service are renewed with the first of them."""
    left = names
    while left:
        ended = _tried(partial(renew, left[0]))
        yield ended
        left = left[1:]
        if left and ended.outcome == "applied":
            still = _due(ports, within).apis
            left = tuple(each for each in left if each in still)


def _tried(renew: Callable[[], Report]) -> Report:
    """What fails must not keep the rest from being renewed."""
    try:
        return renew()
    except (AggctlError, NotKnown) as error:
        return Report(COMMAND, "problems", findings=(finding_of(error),))


def _together(ended: list[Report], others: tuple[Finding, ...]) -> Report:
    outcomes = [each.outcome for each in ended] + (["problems"] if others else [])
    return Report(
        COMMAND,
        max(outcomes, key=_BEST_FIRST.index),
        summary=tuple(line for each in ended for line in each.summary),
        changes=tuple(change for each in ended for change in each.changes),
        findings=(*(found for each in ended for found in each.findings), *others),
        next=tuple(dict.fromkeys(line for each in ended for line in each.next)),
        interrupted=any(each.interrupted for each in ended),
    )
