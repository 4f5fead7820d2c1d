"""The running plan, on disk before it is in force; and the history of those that ended.

/var/lib/aggctl/             0700, below the root
├── lock                     held with flock(2) by the aggctl that changes something
├── open/ID/                 the plan that is running or was interrupted: at most one
├── history/ID/              those that ended, closed by one rename from open/
│   ├── plan.json            steps, stamps and gates; no content of any file
│   ├── log.jsonl            what was begun and undone, one line each, fsynced
│   ├── outcome.json         how it ended, with findings and evidence
│   └── blobs/SHA256         contents before and after, 0600: the backup
├── kept/                    a front-proxy CA that may be published though its plan was undone
└── rotation/                the new CA until the switch to it, and an old leaf to prove its refusal by
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggctl.core.plan import Plan, digest, digests_of, plan_from_json, plan_to_json
from aggctl.core.typed import hold, read_json
from aggctl.errors import Refused
from aggctl.system import shred
from aggctl.system.files import naming

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = "/var/lib/aggctl"
KEPT = f"{HOME}/kept"
ROTATION = f"{HOME}/rotation"
RETAINED = 10
"""Ended changes whose backups are kept; they hold private keys, so not for ever."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change in the journal: `begun` are indices of steps, `undone` those of them that are put back.

    `outcome` is "open" until it ended.
    """

    identity: str
    started: str
    plan: Plan
    begun: tuple[int, ...]
    undone: frozenset[int]
    undoing: bool
    outcome: str
    details: dict[str, Any]


class Journal:
    """The journal below `root`, or in `home`; `calls` makes the system calls, as in `Files`."""

    def __init__(self, root: str = "/", calls: Any = os, *, home: Path | None = None) -> None:
        self._home = home or Path(os.path.realpath(root)) / HOME.lstrip("/")
        self._calls = calls

    # --- reading -----------------------------------------------------------------------------------------

    def open_entry(self) -> Entry | None:
        """The change that is running or was interrupted, or None."""
        found = self._entries("open")
        return found[0] if found else None

    def history(self) -> tuple[Entry, ...]:
        """Ended changes, newest first."""
        return tuple(reversed(self._entries("history")))

    def last_applied(self) -> Entry | None:
        """The newest change in force that can be undone, past those that a later rollback undid."""
        undone: set[str] = set()
        for entry in self.history():
            if entry.identity in undone or entry.outcome != "applied" or entry.plan.lasting:
                continue
            if not entry.plan.undoes:
                return entry
            undone.add(entry.plan.undoes)
        return None

    def place(self, identity: str) -> str:
        """Where the record of a change lies, for people."""
        for part in ("open", "history"):
            if (self._home / part / identity).is_dir():
                return str(self._home / part / identity)
        return ""

    def _entries(self, part: str) -> list[Entry]:
        try:
            names = self._names(part)
        except OSError as error:
            raise Refused(
                "no-rights",
                f"the journal {self._home} cannot be read: {error.strerror}",
                do="run as the user who made the change, normally root: sudo aggctl …",
            ) from error
        return [self._entry(part, name) for name in names]

    def _names(self, part: str) -> list[str]:
        """The records of one folder, oldest first; a leading dot marks what is being made or removed."""
        try:
            found = [path.name for path in (self._home / part).iterdir()]
        except FileNotFoundError:
            return []
        return sorted((name for name in found if not name.startswith(".")), key=_age)

    def _entry(self, part: str, name: str) -> Entry:
        folder = self._home / part / name
        try:
            data = read_json((folder / "plan.json").read_bytes())
            lines = _lines(folder / "log.jsonl")
            undoing = any("undo" in line for line in lines)
            details = _json_or_nothing(folder / "outcome.json")
            return Entry(
                identity=folder.name,
                started=datetime.fromisoformat(data["started"]).isoformat(),
                plan=plan_from_json(data["plan"], _Blobs(folder / "blobs")),
                begun=tuple(dict.fromkeys(line["begin"] for line in lines if "begin" in line)),
                undone=frozenset(line["undone"] for line in lines if "undone" in line),
                undoing=undoing,
                outcome=_outcome(part, details, undoing=undoing),
                details=details,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                "journal-not-readable",
                f"the record {folder} cannot be read ({error})",
                do="look at it: its folder blobs holds the backups; move it away to go on without it",
            ) from error

    # --- writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of this node; Refused where another aggctl holds it or nothing can be written."""
        with _refused_when_unwritable(self._home):
            self._folder(self._home)
            descriptor = self._calls.open(
                self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Refused(
                    "another-aggctl-running",
                    f"another aggctl (pid {holder}) is changing this node",
                    do="wait for it to end, then run again",
                ) from None
            with contextlib.suppress(
                OSError
            ):  # on a full disk others learn no pid; the lock holds all the same
                self._calls.ftruncate(descriptor, 0)
                self._calls.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def begin(self, plan: Plan, now: datetime) -> Running:
        """Write `plan` with its blobs, whole or not at all, before anything is changed."""
        identity = self._free_identity(now)
        draft = self._home / "open" / f".{identity}"
        with _refused_when_unwritable(self._home):
            self._folder(self._home)
            for part in ("open", "history"):
                self._folder(self._home / part)
                self._sweep(part)
            try:
                self._write_entry(draft, plan, now)
                self._calls.rename(draft, self._home / "open" / identity)
                self._sync(self._home / "open")
            except BaseException:
                self._discard(self._home / "open" / identity)
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return self.running(identity)

    def running(self, identity: str) -> Running:
        """The open change `identity`, to go on with it."""
        return Running(self, identity)

    def close(self, identity: str, details: dict[str, Any]) -> None:
        """End an open change by one rename, and let go of backups past `RETAINED`."""
        folder = self._home / "open" / identity
        with contextlib.suppress(OSError):  # a full disk must not leave it open; the log tells enough
            self._write(folder / "outcome.json", json.dumps(details, indent=1).encode())
        self._calls.rename(folder, self._home / "history" / identity)
        with contextlib.suppress(OSError):  # closed is closed; the rest is tidiness
            self._sync(self._home / "history")
        with contextlib.suppress(OSError, Refused):
            self._let_go()

    def _let_go(self) -> None:
        """Remove old records; never that of the change in force, which `rollback` needs."""
        names = self._names("history")[:-RETAINED]
        in_force = self.last_applied() if names else None
        for name in names:
            if not in_force or name != in_force.identity:
                self._discard(self._home / "history" / name)

    def _discard(self, folder: Path) -> None:
        """Remove a record by first renaming it, so that half of it is never taken for a whole one."""
        with contextlib.suppress(OSError):
            gone = folder.with_name(f".{folder.name}")
            self._calls.rename(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self, part: str) -> None:
        """Remove what a crash left half made or half removed; it may hold keys."""
        for path in (self._home / part).glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, name: str, content: bytes, part: str = "kept") -> None:
        """Put a file, root-only, where the next try looks for it; whole or not at all."""
        folder = self._home / part
        for each in (self._home, folder):
            self._folder(each)
        self._write(folder / f".{name}", content)
        self._calls.rename(folder / f".{name}", folder / name)
        self._sync(folder)

    def forget_kept(self, part: str = "kept") -> None:
        """Remove what `keep` put away, once the files in force hold it; keys are overwritten first."""
        shred.keys_below(self._home / part, frozenset())
        shutil.rmtree(self._home / part, ignore_errors=True)

    def shred_keys(self, in_force: list[bytes]) -> int:
        """Overwrite and remove private keys from all backups but those `in_force`; how many went."""
        return shred.keys_below(self._home, frozenset(in_force))

    def _free_identity(self, now: datetime) -> str:
        """A name by the clock that sorts after all others, even where the clock was set back."""
        base = now.strftime("%Y%m%dT%H%M%S")
        newest = max(
            [_age(name) for part in ("open", "history") for name in self._names(part)], default=("", 0)
        )
        return base if base > newest[0] else f"{newest[0]}-{newest[1] + 1}"

    def _write_entry(self, folder: Path, plan: Plan, now: datetime) -> None:
        self._folder(folder)
        self._folder(folder / "blobs")
        for name in _digests(plan):
            content = plan.blobs[name]
            if name != digest(content):
                raise ValueError(f"blob {name} is not what it is named after")
            self._write(folder / "blobs" / name, content)
        record = {"started": now.isoformat(timespec="seconds"), "plan": plan_to_json(plan)}
        self._write(folder / "plan.json", json.dumps(record, indent=1).encode())
        self._write(folder / "log.jsonl", b"")
        self._sync(folder / "blobs")
        self._sync(folder)

    def _folder(self, path: Path) -> None:
        """Make a folder 0700, or take the one that is there if it is really ours."""
        try:
            self._calls.mkdir(path, 0o700)
        except FileExistsError:
            info = os.lstat(path)
            if not path.is_dir() or path.is_symlink() or info.st_uid != os.geteuid() or info.st_mode & 0o022:
                raise PermissionError(0, "it is not a folder of this user alone", str(path)) from None
        except FileNotFoundError:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._calls.mkdir(path, 0o700)

    def _write(self, path: Path, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with naming(str(path)):
            descriptor = self._calls.open(path, flags, 0o600)
            try:
                self._pour(descriptor, content)
            finally:
                self._calls.close(descriptor)

    def _pour(self, descriptor: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._calls.write(descriptor, view) :]
        self._calls.fsync(descriptor)

    def append(self, identity: str, line: dict[str, Any]) -> None:
        """Add a line to the log of an open change, on disk before this returns."""
        path = self._home / "open" / identity / "log.jsonl"
        with naming(str(path)):
            descriptor = self._calls.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # A blank line first: half a line that a full disk left behind must not swallow this one.
                self._pour(descriptor, b"\n" + json.dumps(line).encode() + b"\n")
            finally:
                self._calls.close(descriptor)

    def _sync(self, folder: Path) -> None:
        with naming(str(folder)):
            descriptor = self._calls.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._calls.fsync(descriptor)
            finally:
                self._calls.close(descriptor)


@dataclass(frozen=True, slots=True)
class Running:
    """An open change: what is begun is written down before it is done."""

    journal: Journal
    identity: str

    def begin(self, step: int) -> None:
        """Note, on disk, that the change of `step` may be made from now on."""
        self.journal.append(self.identity, {"begin": step})

    def undo(self) -> None:
        """Note that undoing has begun; on a full disk undoing goes on without the note."""
        with contextlib.suppress(OSError):
            self.journal.append(self.identity, {"undo": True})

    def undone(self, step: int) -> None:
        """Note that `step` is put back: what becomes of it from now on is not this change's."""
        with contextlib.suppress(OSError):
            self.journal.append(self.identity, {"undone": step})

    def close(self, details: dict[str, Any]) -> None:
        """End it."""
        self.journal.close(self.identity, details)


class _Blobs(dict[str, bytes]):
    """Contents by digest, read when asked for and compared with their name."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> bytes:
        content = (self._folder / name).read_bytes()
        if digest(content) != name:
            raise OSError(0, "the backup is damaged", str(self._folder / name))
        self[name] = content
        return content


@contextlib.contextmanager
def _refused_when_unwritable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            "journal-not-writable",
            f"the journal below {home} cannot be written: {error.strerror or error}",
            do="run as root, on a file system that can be written and has room; nothing was changed",
        ) from error


def _age(identity: str) -> tuple[str, int]:
    """What records are sorted by: the second, then the number within it."""
    base, _, number = identity.partition("-")
    return base, int(number) if number.isdigit() else 1


def _digests(plan: Plan) -> tuple[str, ...]:
    """Every content that doing or undoing `plan` needs."""
    return tuple(dict.fromkeys(each for step in plan.steps for each in digests_of(step.change)))


def _outcome(part: str, details: dict[str, Any], *, undoing: bool) -> str:
    """How a change ended; where a full disk kept that from being written the log tells enough."""
    if part == "open":
        return "open"
    return str(details.get("outcome") or ("rolled-back" if undoing else "applied"))


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a crash or a full disk cut short never came into force."""
    complete = path.read_bytes().split(b"\n")[:-1]
    return [found for line in complete if (found := _line(line))]


def _line(line: bytes) -> dict[str, Any]:
    try:
        found = read_json(line)
    except ValueError:
        return {}
    hold(found, {"begin": int, "undone": int})
    return dict(found)


def _json_or_nothing(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = read_json(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}
