"""A plan: steps, each a change that holds its own undo, and the gate that it waits for.

Plans are data. They are shown before they run, written to disk before they are in force, and inverted to undo
them. Contents of files are blobs by SHA-256 beside the plan and never part of its JSON, so that a journal
holds no key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aggctl.core.snapshot import Stamp

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


@dataclass(frozen=True, slots=True)
class FolderChange:
    """One folder that does not exist yet, made with `mode`; or, as undo, removed where it is empty."""

    path: str
    mode: int
    create: bool = True


Change = FileChange | FolderChange


@dataclass(frozen=True, slots=True)
class Condition:
    """A check by its code, and its arguments by name."""

    check: str
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold, in this order, within `deadline` seconds, and go on holding for `steady` seconds."""

    conditions: tuple[Condition, ...]
    deadline: float
    steady: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One change with the gate after it, and the gate after its undo."""

    title: str
    change: Change
    gate: Gate | None = None
    undo_gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is going to do. `keep` names files whose `after` content outlives an undo, root-only."""

    command: str
    title: str
    steps: tuple[Step, ...]
    blobs: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    keep: tuple[str, ...] = ()
    undoes: str = ""


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def stamp(content: bytes, mode: int, uid: int, gid: int) -> Stamp:
    """The stamp of a file that is to be written."""
    return Stamp(digest(content), mode, uid, gid)


def inverse(change: Change) -> Change:
    """The change that undoes `change`."""
    if isinstance(change, FolderChange):
        return replace(change, create=not change.create)
    return FileChange(change.path, before=change.after, after=change.before)


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


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON without contents."""
    return {
        "command": plan.command,
        "title": plan.title,
        "undoes": plan.undoes,
        "keep": list(plan.keep),
        "steps": [
            {
                "title": step.title,
                "change": _change_to_json(step.change),
                "gate": _gate_to_json(step.gate),
                "undoGate": _gate_to_json(step.undo_gate),
            }
            for step in plan.steps
        ],
    }


def plan_from_json(data: dict[str, Any], blobs: Mapping[str, bytes]) -> Plan:
    """The plan from its JSON; KeyError, TypeError or ValueError where it is not of this shape."""
    return Plan(
        command=data["command"],
        title=data["title"],
        undoes=data["undoes"],
        keep=tuple(data["keep"]),
        steps=tuple(
            Step(
                step["title"],
                _change_from_json(step["change"]),
                _gate_from_json(step["gate"]),
                _gate_from_json(step["undoGate"]),
            )
            for step in data["steps"]
        ),
        blobs=blobs,
    )


def _change_to_json(change: Change) -> dict[str, Any]:
    if isinstance(change, FolderChange):
        return {"folder": change.path, "mode": change.mode, "create": change.create}
    return {
        "file": change.path,
        "before": _stamp_to_json(change.before),
        "after": _stamp_to_json(change.after),
    }


def _change_from_json(data: dict[str, Any]) -> Change:
    if "folder" in data:
        return FolderChange(data["folder"], data["mode"], data["create"])
    return FileChange(data["file"], _stamp_from_json(data["before"]), _stamp_from_json(data["after"]))


def _stamp_to_json(stamp: Stamp | None) -> dict[str, Any] | None:
    if stamp is None:
        return None
    return {"digest": stamp.digest, "mode": stamp.mode, "uid": stamp.uid, "gid": stamp.gid}


def _stamp_from_json(data: dict[str, Any] | None) -> Stamp | None:
    return None if data is None else Stamp(data["digest"], data["mode"], data["uid"], data["gid"])


def _gate_to_json(gate: Gate | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    return {
        "deadline": gate.deadline,
        "steady": gate.steady,
        "conditions": [{"check": each.check, "arguments": dict(each.arguments)} for each in gate.conditions],
    }


def _gate_from_json(data: dict[str, Any] | None) -> Gate | None:
    if data is None:
        return None
    return Gate(
        tuple(Condition(each["check"], tuple(each["arguments"].items())) for each in data["conditions"]),
        data["deadline"],
        data["steady"],
    )
