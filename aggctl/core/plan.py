"""A plan: steps, each a change that holds its own undo, and the gate that it waits for.

Plans are data. They are shown before they run, written to disk before they are in force, and inverted to undo
them. Contents of files are blobs by SHA-256 beside the plan and never part of its JSON, so that a journal
holds no key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aggctl.core.questions import Stamp
from aggctl.core.typed import hold

if TYPE_CHECKING:
    from collections.abc import Mapping

Argument = str | int | float | None
"""What a condition's argument may be: it goes through JSON and back."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file from `before` to `after`; None means that there is no file."""

    path: str
    before: Stamp | None
    after: Stamp | None

    @property
    def target(self) -> str:
        """What people call it."""
        return self.path


@dataclass(frozen=True, slots=True)
class FolderChange:
    """One folder that does not exist yet, made with `mode`; or, as undo, removed where it is empty."""

    path: str
    mode: int
    create: bool = True

    @property
    def target(self) -> str:
        """What people call it."""
        return self.path


@dataclass(frozen=True, slots=True)
class ObjectState:
    """How an object is to be: `blob` is the digest of what makes it so, `holds` what tells that it is.

    With `whole` the blob is an object as it was, restored field by field; else an apply configuration.
    """

    blob: str
    holds: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object of the cluster from `before` to `after`; None means that there is none.

    `path` is its path at the kube-apiserver `server`, `target` what people call it. `force` takes over the
    fields that belong to others; `manager` is the field manager in whose name it is made, and undone.
    """

    server: str
    path: str
    target: str
    before: ObjectState | None
    after: ObjectState | None
    force: bool = False
    manager: str = "aggctl"


Change = FileChange | FolderChange | ObjectChange


@dataclass(frozen=True, slots=True)
class Condition:
    """A check by its code, and its arguments by name."""

    check: str
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold, in this order, within `deadline` seconds, and go on holding for `steady` seconds.

    `watch` are paths (with their selectors) at `server` whose events wake whoever waits; `waits_for` names
    for people what is waited for.
    """

    conditions: tuple[Condition, ...]
    deadline: float
    steady: float = 0.0
    waits_for: str = "kube-apiserver"
    server: str = ""
    watch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One change with the gate before it (`needs`), the gate after it, and the gate after its undo."""

    title: str
    change: Change
    gate: Gate | None = None
    undo_gate: Gate | None = None
    needs: Gate | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is going to do. `keep` names files whose `after` content outlives an undo, root-only.

    A `lasting` one is passed over by a later rollback: others work by what it made.
    """

    command: str
    title: str
    steps: tuple[Step, ...]
    blobs: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    keep: tuple[str, ...] = ()
    undoes: str = ""
    lasting: bool = False


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def stamp(content: bytes, mode: int, uid: int, gid: int) -> Stamp:
    """The stamp of a file that is to be written."""
    return Stamp(digest(content), mode, uid, gid)


def canonical(value: Any) -> bytes:
    """The one way in which an object of Kubernetes is written as a blob."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def inverse(change: Change) -> Change:
    """The change that undoes `change`."""
    if isinstance(change, FolderChange):
        return replace(change, create=not change.create)
    if isinstance(change, ObjectChange):
        return replace(change, before=change.after, after=change.before)
    return FileChange(change.path, before=change.after, after=change.before)


def digests_of(change: Change) -> tuple[str, ...]:
    """The blobs that doing and undoing a change needs."""
    if isinstance(change, FileChange):
        return tuple(each.digest for each in (change.before, change.after) if each)
    if isinstance(change, ObjectChange):
        return tuple(each.blob for each in (change.before, change.after) if each)
    return ()


def inverse_plan(plan: Plan, identity: str, title: str) -> Plan:
    """The plan that undoes `plan`, newest step first; the gates change places."""
    return Plan(
        command="rollback",
        title=title,
        steps=tuple(
            Step(f"undo: {step.title}", inverse(step.change), gate=step.undo_gate, undo_gate=step.gate)
            for step in reversed(plan.steps)
        ),
        blobs=plan.blobs,
        undoes=identity,
    )


def standing(plan: Plan) -> tuple[Step, ...]:
    """The steps whose result is there in the end: of several with the same target the last one."""
    last = {step.change.path: step for step in plan.steps}
    return tuple(step for step in plan.steps if step is last[step.change.path])


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON without contents."""
    return {
        "command": plan.command,
        "title": plan.title,
        "undoes": plan.undoes,
        "lasting": plan.lasting,
        "keep": list(plan.keep),
        "steps": [
            {
                "title": step.title,
                "change": _change_to_json(step.change),
                "gate": _gate_to_json(step.gate),
                "undoGate": _gate_to_json(step.undo_gate),
                "needs": _gate_to_json(step.needs),
            }
            for step in plan.steps
        ],
    }


def plan_from_json(data: dict[str, Any], blobs: Mapping[str, bytes]) -> Plan:
    """The plan from its JSON; KeyError, TypeError or ValueError where it is not of this shape."""
    hold(data, _PLAN)
    return Plan(
        command=data["command"],
        title=data["title"],
        undoes=data["undoes"],
        lasting=data.get("lasting", False),
        keep=tuple(data["keep"]),
        steps=tuple(
            Step(
                step["title"],
                _change_from_json(step["change"]),
                _gate_from_json(step["gate"]),
                _gate_from_json(step["undoGate"]),
                _gate_from_json(step.get("needs")),
            )
            for step in data["steps"]
        ),
        blobs=blobs,
    )


_STATE = {"digest": str, "mode": int, "uid": int, "gid": int, "blob": str, "holds": str, "whole": bool}
_CHANGE = {
    **dict.fromkeys(("folder", "object", "file", "server", "path", "target", "manager"), str),
    "mode": int,
    "create": bool,
    "force": bool,
    "before": _STATE,
    "after": _STATE,
}
_GATE = {"waitsFor": str, "server": str, "watch": [str], "conditions!": [{"check!": str, "arguments!": {}}]}
_STEP = {"title!": str, "change!": _CHANGE, "gate": _GATE, "undoGate": _GATE, "needs": _GATE}
_PLAN = {"command!": str, "title!": str, "undoes!": str, "keep!": [str], "lasting": bool, "steps!": [_STEP]}


def _change_to_json(change: Change) -> dict[str, Any]:
    if isinstance(change, FolderChange):
        return {"folder": change.path, "mode": change.mode, "create": change.create}
    if isinstance(change, ObjectChange):
        return {"object": change.path, **asdict(change)}
    return {
        "file": change.path,
        "before": asdict(change.before) if change.before else None,
        "after": asdict(change.after) if change.after else None,
    }


def _change_from_json(data: dict[str, Any]) -> Change:
    if "folder" in data:
        return FolderChange(data["folder"], data["mode"], data["create"])
    if "object" in data:
        before, after = (ObjectState(**data[name]) if data[name] else None for name in ("before", "after"))
        where = (data["server"], data["path"], data["target"])
        return ObjectChange(*where, before, after, data["force"], data["manager"])
    stamps = (Stamp(**data[name]) if data[name] else None for name in ("before", "after"))
    return FileChange(data["file"], *stamps)


def _gate_to_json(gate: Gate | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    return {
        "deadline": gate.deadline,
        "steady": gate.steady,
        "waitsFor": gate.waits_for,
        "server": gate.server,
        "watch": list(gate.watch),
        "conditions": [{"check": each.check, "arguments": dict(each.arguments)} for each in gate.conditions],
    }


def _gate_from_json(data: dict[str, Any] | None) -> Gate | None:
    if data is None:
        return None
    return Gate(
        tuple(Condition(each["check"], tuple(each["arguments"].items())) for each in data["conditions"]),
        data["deadline"],
        data["steady"],
        data.get("waitsFor", "kube-apiserver"),
        data.get("server", ""),
        tuple(data.get("watch", ())),
    )
