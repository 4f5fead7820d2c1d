"""What a sandbox knows of itself: sandbox.json, and where things lie below its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.errors import Refused
from aggctl.sandbox.files import write_file
from aggctl.sandbox.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """Ports, programs and processes of one sandbox; `linger` and `grace` in seconds."""

    node: str
    etcd_port: int
    peer_port: int
    secure_port: int
    programs: dict[str, str]
    linger: float
    grace: float
    processes: dict[str, Process] = field(default_factory=dict)


def load(directory: Path) -> State | None:
    """The state of a sandbox; None where the folder holds none, Refused where it cannot be read."""
    try:
        return _state(json.loads((directory / "sandbox.json").read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise Refused(
            "sandbox-unreadable",
            f"{directory}/sandbox.json cannot be read: {error}",
            do=f"end its processes and remove {directory}, or choose another folder: --dir",
        ) from error


def save(directory: Path, state: State) -> None:
    """Write the state, whole, for its owner only."""
    document = {"format": FORMAT} | asdict(state)
    write_file(directory / "sandbox.json", json.dumps(document, indent=2).encode() + b"\n")


def root(directory: Path) -> Path:
    """The node's file system: what `aggctl --root` wants."""
    return directory / "root"


def containers(directory: Path) -> Path:
    """Folder with one folder per container that the stand-in kubelet runs."""
    return directory / "run" / "containers"


def _state(document: dict[str, Any]) -> State:
    try:
        if document.pop("format") != FORMAT:
            raise ValueError("it was written by another version of aggctl")
        processes = {name: Process(**process) for name, process in document.pop("processes").items()}
        return State(processes=processes, **document)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it does not hold what a sandbox writes ({error})") from error
