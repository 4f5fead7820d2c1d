"""Namespaces that must not go though aggctl made them: others have put something into them since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.checks.extension import api_of
from aggctl.core.fields import stamps
from aggctl.core.namespaces import NAMESPACES, foreign_objects, not_empty
from aggctl.core.plan import ObjectChange
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.findings import Finding
    from aggctl.core.plan import Change
    from aggctl.core.register.sight import Object
    from aggctl.system.ports import Ports


def inhabited(changes: Iterable[Change], ports: Ports) -> dict[str, Finding]:
    """Those of the namespaces that `changes` delete in which others have objects, by path, and what that is.

    Ask before any of the changes is made: what belongs to what goes is told by its owner, while there is one.
    """
    deletions = [each for each in changes if isinstance(each, ObjectChange) and each.after is None]
    if not any(deletes_namespace(each) for each in deletions):
        return {}
    going = {each.path: live for each in deletions if (live := _going(each, ports))}
    return {
        each.path: not_empty(going[each.path], said)
        for each in deletions
        if deletes_namespace(each)
        and each.path in going
        and (said := _strangers(going[each.path], list(going.values()), ports))
    }


def deletes_namespace(change: Change) -> bool:
    """Whether a change deletes a Namespace."""
    return (
        isinstance(change, ObjectChange)
        and change.after is None
        and change.path.rpartition("/")[0] == NAMESPACES
    )


def _going(change: ObjectChange, ports: Ports) -> Object | None:
    """The object that a change deletes; None where it is gone, or somebody else's work by now."""
    live = ports.objects.read(change.path)
    if live is None or change.before is None:
        return None
    return live if change.before.holds in stamps(live, change.manager) else None


def _strangers(namespace: Object, going: list[Object], ports: Ports) -> str:
    apis = [api_of(each) for each in going if each["kind"] == "APIService"]
    server = ports.objects.server
    said, _ = settle(lambda snapshot: foreign_objects(snapshot, server, namespace, going, apis), ports.look)
    return said
