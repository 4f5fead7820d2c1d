"""The record of a CA rotation in the cluster: which CA is new, and how far each node is.

From the files of a node alone "both trusted" looks the same before and after the switch, and finished looks
like not begun; so a rotation is named by the fingerprint of its new CA before any file changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aggctl.core.fields import MANAGED_BY
from aggctl.core.resources import path_of

NAME = "aggctl-front-proxy-rotation"
PATH = path_of("v1", "configmaps", "kube-system", NAME)
STAGES = ("old", "trusted", "switched", "retired")
"""What a node's files are: the old CA alone, both with the old leaf, both with the new leaf, the new CA."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A rotation; `nodes` are stages by the address of a kube-apiserver, `finished` is when it ended.

    `switched` is when a node last said that its leaf is of the new CA: until then an old leaf was shown.
    """

    ca: str
    old: tuple[str, ...]
    started: datetime
    nodes: tuple[tuple[str, str], ...] = ()
    finished: datetime | None = None
    switched: datetime | None = None

    def stage(self, server: str) -> str:
        """How far a node said it is."""
        return dict(self.nodes).get(server, "old")

    def with_stage(self, server: str, stage: str, now: datetime) -> Record:
        """The record once a node is so far."""
        nodes = tuple(sorted({**dict(self.nodes), server: stage}.items()))
        return replace(self, nodes=nodes, switched=now if stage == "switched" else self.switched)


def is_past(stage: str, wanted: str) -> bool:
    """Whether a node at `stage` is as far as `wanted`."""
    return STAGES.index(stage) >= STAGES.index(wanted)


def behind(record: Record, servers: tuple[str, ...], stage: str) -> tuple[str, ...]:
    """The nodes that are not as far as `stage`, of those that answer and those that took part."""
    every = dict.fromkeys((*servers, *(server for server, _ in record.nodes)))
    return tuple(each for each in every if not is_past(record.stage(each), stage))


def joined(ours: Record, theirs: Record | None) -> Record:
    """What to write where others noted their stages in the same record meanwhile."""
    if theirs is None or theirs.ca != ours.ca:
        return ours
    nodes = tuple(sorted((dict(theirs.nodes) | dict(ours.nodes)).items()))
    switched = max(filter(None, (ours.switched, theirs.switched)), default=None)
    return replace(ours, nodes=nodes, finished=ours.finished or theirs.finished, switched=switched)


def to_object(record: Record) -> Object:
    """The ConfigMap."""
    data = {
        "ca": record.ca,
        "old": ",".join(record.old),
        "started": record.started.isoformat(),
        "nodes": json.dumps(dict(record.nodes), sort_keys=True),
        "finished": record.finished.isoformat() if record.finished else "",
        "switched": record.switched.isoformat() if record.switched else "",
    }
    metadata = {
        "name": NAME,
        "namespace": "kube-system",
        "labels": {MANAGED_BY: "aggctl"},
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def from_object(found: Object | None) -> Record | None:
    """The record in a ConfigMap; None where there is none. ValueError where it is not of this shape."""
    if found is None:
        return None
    try:
        data = found["data"]
        nodes = json.loads(data["nodes"])
        if not set(nodes.values()) <= set(STAGES):
            raise ValueError(f"it names a stage that there is not: {data['nodes'][:80]}")
        return Record(
            ca=data["ca"],
            old=tuple(filter(None, data["old"].split(","))),
            started=_moment(data["started"]),
            nodes=tuple(sorted(nodes.items())),
            finished=_moment(data["finished"]) if data["finished"] else None,
            switched=_moment(data["switched"]) if data["switched"] else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks what a rotation notes ({error})") from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"it names a time without a zone: {text[:40]}")
    return moment
