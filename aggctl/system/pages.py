"""Objects and lists; these in pages, as kubectl reads them: a huge cluster's are not refused, nor heavy."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.fields import MANAGED_BY
from aggctl.core.typed import is_list, weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.core.questions import Unknown

    Answer = dict[str, Any] | Unknown | None

PAGE, PATIENCE = 500, 6
"""Objects of one page, as kubectl has it; all pages may take so many times what one may be waited for."""


def read_whole(
    path: str, read: Callable[[str], tuple[Answer, int]], keep: Callable[[int], None], timeout: float
) -> Answer:
    """An object, or a list to its last page, by `read`, which says as well what it comes to in memory.

    `keep` counts what is kept. A list of one page stays as it is; of a longer one nothing is kept that nobody
    reads: the managed fields of what aggctl never writes to. ValueError where the pages have no end.
    """
    until = time.monotonic() + PATIENCE * timeout
    listed = is_list(path)
    first = f"{path}{'&' if '?' in path else '?'}limit={PAGE}" if listed else path
    page, weight = read(first)
    keep(weight)
    if not (listed and isinstance(page, dict) and _next(page)):
        return page
    whole, weight = page | {"items": []}, 0
    while True:
        items = page.get("items") or []
        weight += _lighten(path, items)
        keep(weight)
        whole["items"] += items
        token = _next(page)
        if not token:
            return whole | {"metadata": page.get("metadata") or {}}
        if time.monotonic() > until:
            raise ValueError("its pages have no end")
        page, _ = read(f"{first}&continue={quote(token, safe='')}")
        if not isinstance(page, dict):
            return page


def _next(page: dict[str, Any]) -> str:
    return str((page.get("metadata") or {}).get("continue") or "")


def _lighten(path: str, items: list[dict[str, Any]]) -> int:
    """Leave out what nobody reads; what is left comes to so many bytes in memory."""
    for metadata in _of_others(path, items):
        metadata.pop("managedFields", None)
    return weight_of(json.dumps(items).encode())


def _of_others(path: str, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The metadata of what aggctl neither made nor deletes; APIServices of others it may delete."""
    if not path.startswith(API_SERVICES):
        for metadata in (each.get("metadata") or {} for each in items):
            if (metadata.get("labels") or {}).get(MANAGED_BY) != "aggctl":
                yield metadata
