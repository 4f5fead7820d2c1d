"""`aggctl status`: observe, report; with --watch again at each event."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.findings import Finding
from aggctl.core.report import Report
from aggctl.core.status.layer import NOT_KNOWN
from aggctl.core.status.see import SLICES, see_status
from aggctl.core.status.words import items_of, layer_line, lines_of
from aggctl.errors import AggctlError, Refused
from aggctl.workflows.observe import server_of, settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from aggctl.core.questions import Unknown
    from aggctl.core.status.see import Status
    from aggctl.system.ports import Ports

EVERY, AGAIN = 30.0, 3.0
"""Seconds after which --watch looks again without an event, and where the last look failed."""

AT_ONCE, TOGETHER = 1.0, 0.3
"""What is there already comes as events: no longer than that is waited for them. Events come in flocks."""


def take_status(ports: Ports, names: tuple[str, ...]) -> tuple[Status, datetime]:
    """What can be seen now; Refused where that is nothing at all."""
    server, now = server_of(ports), ports.clock.now()
    status, _ = settle(lambda snapshot: see_status(snapshot, server, names, now), ports.look)
    if status.layer.state == NOT_KNOWN and status.why_nothing:
        raise _nothing(ports, status.why_nothing)
    return status, now


def report_on(ports: Ports, status: Status, now: datetime, *, wide: bool = False) -> Report:
    """The table; with the API down the layer as this node's files show it, and why there is no more."""
    if status.why_nothing is None:
        return Report("status", "unchanged", lines_of(status, now, wide=wide), items=items_of(status))
    why = _nothing(ports, status.why_nothing)
    finding = Finding(why.code, "error", status.place.server or "the cluster", why.message, why.do)
    layer = (layer_line(status, now),)
    return Report("status", "refused", layer, findings=(finding,), items=items_of(status))


def watch_status(ports: Ports, look: Callable[[], bool | None]) -> None:
    """Look again at each event of an APIService or an EndpointSlice, and after a while without one.

    `look` says whether the cluster could be asked; None is enough. A watch that came to its end says nothing,
    so it is opened again after a while without an event.
    """
    while True:
        with _bell(ports) as pause:
            _rang(ports, pause, AT_ONCE)
            rang = True
            while rang:
                asked = look()
                if asked is None:
                    return
                rang = _rang(ports, pause, EVERY if asked else AGAIN) and asked


def _bell(ports: Ports) -> AbstractContextManager[Callable[[float], None]]:
    """A pause that an event cuts short; without credentials one that nothing does."""
    server = server_of(ports)
    if isinstance(server, Refused):
        return nullcontext(ports.clock.pause)
    return ports.watch(server, (API_SERVICES, SLICES))


def _rang(ports: Ports, pause: Callable[[float], None], seconds: float) -> bool:
    """Whether an event came within so many seconds; those that come with it are taken together."""
    began = ports.clock.monotonic()
    pause(seconds)
    if ports.clock.monotonic() - began >= seconds:
        return False
    ports.clock.pause(TOGETHER)
    pause(0)
    return True


def _nothing(ports: Ports, why: Unknown | AggctlError) -> AggctlError:
    """Why the cluster cannot be asked, as an error."""
    if isinstance(why, AggctlError):
        return why
    down = why.code == "apiserver-not-reachable"
    return Refused(
        why.code,
        f"cannot ask the cluster: {why.reason} (from {ports.objects.source})",
        do="on the node: sudo aggctl doctor     (works with the API down)"
        if down
        else f"aggctl explain {why.code}",
    )
