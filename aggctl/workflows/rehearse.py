"""A dry run of one object on the server: what it would become, and who is in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.register.plan import Rehearsed

if TYPE_CHECKING:
    from aggctl.core.register.sight import Object
    from aggctl.core.resources import Located
    from aggctl.system.ports import Ports

STAND_IN = "default"
"""Where objects of a namespace that does not exist yet are rehearsed."""


def rehearse_in_place(
    each: Located, config: Object, live: Object | None, ports: Ports, *, force: bool = False
) -> Rehearsed:
    """Try it where it belongs; where insecureSkipTLSVerify alone is in the way, with force as well."""
    answer = ports.objects.rehearse(each.path, config, force=force)
    conflicts = tuple((one.field, one.manager) for one in answer.conflicts)
    found = Rehearsed(each, config, live, answer.status, answer.body, answer.message, conflicts, force)
    if not found.only_insecure:
        return found
    forced = ports.objects.rehearse(each.path, config, force=True)
    return replace(found, status=forced.status, result=forced.body, message=forced.message, force=True)


def rehearse_in_stand_in(each: Located, config: Object, token: str, ports: Ports) -> Rehearsed:
    """Its namespace does not exist yet: tried in another one, under a name that nobody has."""
    name = f"aggctl-{token}"
    metadata = config["metadata"] | {"namespace": STAND_IN, "name": name}
    path = each.path.replace(f"/namespaces/{each.namespace}/", f"/namespaces/{STAND_IN}/")
    answer = ports.objects.rehearse(
        f"{path.rpartition('/')[0]}/{name}", config | {"metadata": metadata}, force=False
    )
    return Rehearsed(each, config, None, answer.status, answer.body, answer.message, stand_in=True)
