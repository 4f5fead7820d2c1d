"""`aggctl certs list`: observe, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.certs.inventory import Inventory, expiring, take_inventory
from aggctl.core.certs.words import items, table
from aggctl.core.report import Report
from aggctl.workflows.observe import server_of, settle

if TYPE_CHECKING:
    from datetime import timedelta

    from aggctl.system.ports import Ports


def certs_list(ports: Ports, within: timedelta | None) -> tuple[Report, Inventory]:
    """Every certificate that can be seen; with `within`, problems where one expires within so long."""
    server, now = server_of(ports), ports.clock.now()
    inventory, _ = settle(lambda snapshot: take_inventory(snapshot, server), ports.look)
    found = expiring(inventory, within, now) if within is not None else ()
    outcome = "problems" if found else "unchanged"
    listed = Report("certs list", outcome, table(inventory, now), findings=found, items=items(inventory, now))
    return listed, inventory
