"""What follows from an API that does not answer: consequences, never causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.namespaces import stuck_by
from aggctl.core.questions import ObjectAt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.model import Place
    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

AUTOSCALERS = "/apis/autoscaling/v2/horizontalpodautoscalers"
_METRICS = {
    "metrics.k8s.io": "Resource",
    "custom.metrics.k8s.io": "Pods Object",
    "external.metrics.k8s.io": "External",
}


def effects_of(snapshot: Snapshot, place: Place, api: Api) -> tuple[str, ...]:
    """Namespaces that cannot end, autoscalers without metrics, garbage collection that waits."""
    return (*_namespaces(snapshot, place, api), *_autoscalers(snapshot, place, api), *_always(api))


def _namespaces(snapshot: Snapshot, place: Place, api: Api) -> Iterator[str]:
    names = list(dict.fromkeys(name for name, _ in stuck_by(snapshot, place.server, [api])))
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 -- as many as a line holds
        yield f"namespaces that cannot end: {', '.join(names[:3])}{more}"


def _autoscalers(snapshot: Snapshot, place: Place, api: Api) -> Iterator[str]:
    kinds = _METRICS.get(api.group, "").split()
    if not kinds or snapshot.unknown(ObjectAt(AUTOSCALERS, place.server)):
        return
    items = (snapshot.object(AUTOSCALERS, place.server) or {}).get("items") or []
    count = sum(
        any(metric.get("type") in kinds for metric in (each.get("spec") or {}).get("metrics") or [])
        for each in items
    )
    if count:
        yield f"{count} HorizontalPodAutoscaler{'s read' if count > 1 else ' reads'} no metrics"


def _always(api: Api) -> Iterator[str]:
    yield f"garbage collection and the deletion of namespaces wait for {api.group}/{api.version}"
