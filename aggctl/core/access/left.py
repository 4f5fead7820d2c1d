"""What stays granted of APIs that are taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from aggctl.core.access.objects import OF_API, collection, is_of
from aggctl.core.access.rbac import CLUSTER_KINDS, NAMESPACE_KINDS
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt
from aggctl.core.shapes import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

MARKED = f"?labelSelector={quote(OF_API, safe='')}"
"""Of a collection: what has the label, whatever its value."""


def grants_left(snapshot: Snapshot, server: str, apis: Iterable[Api]) -> Iterator[Finding]:
    """Of each API that `access grant` made roles or bindings for; nothing where these may not be read.

    RBAC names groups, not servers: whoever registers the group again inherits them.
    """
    lists = [ObjectAt(f"{collection(kind)}{MARKED}", server) for kind in (*CLUSTER_KINDS, *NAMESPACE_KINDS)]
    snapshot.expect(*lists)
    found = [
        each
        for one in lists
        if not snapshot.unknown(one)
        for each in tables(snapshot.object(one.path, server), "items")
    ]
    for api in apis:
        if count := sum(is_of(api, each) for each in found):
            yield Finding(
                code="grants-stay",
                severity="info",
                subject=f"APIService {api.name}",
                message=f"{count} roles and bindings of `aggctl access grant` stay; they count for whoever"
                " registers the group again",
                fix=f"aggctl access revoke {api.name} --all",
            )
