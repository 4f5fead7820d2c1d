"""What is to be renewed now, of all that was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core.certs.inventory import APIS, BUNDLE, CA, CLIENT, EXTERNALLY, SERVING, expiring_of
from aggctl.core.findings import Finding
from aggctl.core.text import clean

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from aggctl.core.certs.inventory import Held, Inventory


@dataclass(frozen=True, slots=True)
class Due:
    """What expires: the CA of this node (and its leaf with it), the leaf alone, APIs, what others renew."""

    authority: bool
    client: bool
    apis: tuple[str, ...]
    elsewhere: tuple[Held, ...]

    @property
    def nothing(self) -> bool:
        """Whether all of it lasts."""
        return not (self.authority or self.client or self.apis or self.elsewhere)


def see_due(inventory: Inventory, within: timedelta, now: datetime) -> Due:
    """What expires `within` so long; a CA that is published and not on this node ends by itself."""
    found = expiring_of(inventory, within, now)
    ours = {each.kind for each in found if each.managed != EXTERNALLY}
    served = (each.api for each in found if each.kind in (BUNDLE, SERVING))
    return Due(
        authority=CA in ours,
        client=CLIENT in ours and CA not in ours,
        apis=tuple(dict.fromkeys(served)),
        elsewhere=tuple(each for each in found if each.managed == EXTERNALLY),
    )


def unseen(inventory: Inventory) -> tuple[Finding, ...]:
    """The APIs, where nobody knows which there are: then nobody knows what of theirs is due."""
    return tuple(
        Finding(
            "apis-not-checked",
            "error",
            "APIServices",
            f"{what} were not checked: {clean(why)}",
            "grant the right, or run again when kube-apiserver answers; see: aggctl certs list",
        )
        for what, why in inventory.not_checked
        if what == APIS
    )
