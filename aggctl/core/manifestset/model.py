"""One object of the user's manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """An object and where it stands (`components.yaml, line 12`); `notes` say what reading it changed."""

    object: dict[str, Any]
    place: str
    notes: tuple[str, ...] = ()
