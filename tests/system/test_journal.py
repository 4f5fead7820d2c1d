"""The journal: what is going to be done is on disk before it is, and what ended is closed by one rename."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.rights import as_nobody, public_folder
from support.world import FaultyCalls, failing, tree

from aggctl.core.plan import FileChange, Plan, Step, digest, stamp
from aggctl.errors import Refused
from aggctl.system.journal import HOME, RETAINED, Journal

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = b"-----BEGIN EC PRIVATE KEY-----\nvery secret\n"


def plan(undoes: str = "", *contents: bytes) -> Plan:
    found = contents or (b"one", SECRET)
    steps = tuple(
        Step(f"step {number}", FileChange(f"/etc/{number}", None, stamp(content, 0o600, 0, 0)))
        for number, content in enumerate(found)
    )
    return Plan("enable", "a title", steps, {digest(each): each for each in found}, undoes=undoes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "var/lib").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def home(root: Path) -> Path:
    return root / "var/lib/aggctl"


def begin(journal: Journal, at: datetime = NOW, **more: Any) -> str:
    with journal.locked():
        return journal.begin(plan(**more), at).identity


def apply(journal: Journal, at: datetime = NOW, outcome: str = "applied", **more: Any) -> str:
    identity = begin(journal, at, **more)
    journal.close(identity, {"outcome": outcome})
    return identity


# --- what is written --------------------------------------------------------------------------------------


def test_what_was_begun_is_read_back(root: Path) -> None:
    journal = Journal(str(root))
    identity = begin(journal)
    journal.running(identity).begin(0)
    entry = journal.open_entry()
    assert entry is not None
    assert (entry.identity, entry.begun, entry.outcome, entry.undoing) == (identity, (0,), "open", False)
    assert entry.plan.steps == plan().steps
    assert entry.plan.blobs[digest(SECRET)] == SECRET


def test_everything_is_for_its_owner_alone(root: Path, home: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal(str(root))
        journal.keep("ca.key", SECRET)
        apply(journal)
        begin(journal)
    finally:
        os.umask(before)
    assert {entry[:2] for entry in tree(home).values()} == {("folder", 0o700), ("file", 0o600)}
    assert home.stat().st_mode & 0o7777 == 0o700


def test_the_plan_and_the_log_hold_no_content(root: Path, home: Path) -> None:
    journal = Journal(str(root))
    identity = begin(journal)
    journal.running(identity).begin(1)
    for name in ("plan.json", "log.jsonl"):
        assert b"secret" not in (home / "open" / identity / name).read_bytes()


def test_a_note_is_synced_before_it_counts(root: Path) -> None:
    calls = FaultyCalls()
    journal = Journal(str(root), calls)
    identity = begin(journal)
    calls.names.clear()
    journal.running(identity).begin(0)
    assert calls.names == ["open", "write", "fsync", "close"]


def test_blobs_and_plan_are_synced_before_the_record_has_its_name(root: Path) -> None:
    calls = FaultyCalls()
    begin(Journal(str(root), calls))
    changes = [name for name in calls.names if name in ("write", "fsync", "rename")]
    renamed = changes.index("rename")
    assert changes[:renamed].count("fsync") >= changes[:renamed].count("write") + 2
    assert changes[renamed + 1 :] == ["fsync"]


# --- what went wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [b'{"beg', b'\n{"undo"', b'\n{"begin": 1', b"\n\xff\x00"])
def test_half_a_line_never_came_into_force_and_swallows_no_other(root: Path, home: Path, torn: bytes) -> None:
    journal = Journal(str(root))
    identity = begin(journal)
    journal.running(identity).begin(0)
    with (home / "open" / identity / "log.jsonl").open("ab") as log:
        log.write(torn)
    entry = journal.open_entry()
    assert entry is not None
    assert (entry.begun, entry.undoing) == ((0,), False)
    journal.running(identity).begin(1)
    journal.running(identity).undo()
    entry = journal.open_entry()
    assert entry is not None
    assert (entry.begun, entry.undoing) == ((0, 1), True)


def test_a_step_that_is_put_back_stays_begun_and_is_noted_as_undone(root: Path) -> None:
    journal = Journal(str(root))
    running = journal.running(begin(journal))
    for step in (0, 1):
        running.begin(step)
    running.undone(1)
    entry = journal.open_entry()
    assert entry is not None
    assert (entry.begun, entry.undone) == ((0, 1), frozenset({1}))


def test_a_short_write_of_a_note_is_gone_on_with(root: Path) -> None:
    class Short(FaultyCalls):
        def __getattr__(self, name: str) -> Any:
            if name == "write":
                return lambda descriptor, view: os.write(descriptor, bytes(view[:3]))
            return super().__getattr__(name)

    journal = Journal(str(root), Short())
    identity = begin(journal)
    journal.running(identity).begin(1)
    entry = journal.open_entry()
    assert entry is not None
    assert entry.begun == (1,)


def test_a_damaged_backup_is_not_handed_out(root: Path, home: Path) -> None:
    identity = begin(Journal(str(root)))
    (home / "open" / identity / "blobs" / digest(b"one")).write_bytes(b"rot")
    entry = Journal(str(root)).open_entry()
    assert entry is not None
    with pytest.raises(OSError, match="the backup is damaged"):
        entry.plan.blobs[digest(b"one")]
    assert entry.plan.blobs[digest(SECRET)] == SECRET


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"started": "x", "plan": {}}', b"\xff"])
def test_a_record_that_cannot_be_read_is_refused_by_name(root: Path, home: Path, content: bytes) -> None:
    identity = begin(Journal(str(root)))
    (home / "open" / identity / "plan.json").write_bytes(content)
    with pytest.raises(Refused) as refused:
        Journal(str(root)).open_entry()
    assert refused.value.code == "journal-not-readable"
    assert identity in refused.value.message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_a_plan_is_written_whole_or_not_at_all(root: Path, home: Path, code: int) -> None:
    begin(Journal(str(root)))
    calls = FaultyCalls()
    trial = Journal(str(root), calls)
    trial.begin(plan(), NOW)
    for at in range(1, calls.changes + 1):
        before = set(home.rglob("*"))
        with pytest.raises(Refused, match="cannot be written"):
            Journal(str(root), FaultyCalls(failing(code, at, changes_only=True, persistent=False))).begin(
                plan(), NOW
            )
        assert set(home.rglob("*")) - before == set()


def test_a_full_disk_at_the_end_still_closes_and_the_log_tells_how_it_ended(root: Path) -> None:
    for undone, outcome in ((False, "applied"), (True, "rolled-back")):
        identity = begin(Journal(str(root)))
        if undone:
            Journal(str(root)).running(identity).undo()

        def full(name: str, _number: int, _changes: int) -> None:
            if name == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        Journal(str(root), FaultyCalls(full)).close(identity, {"outcome": outcome})
        assert Journal(str(root)).open_entry() is None
        assert Journal(str(root)).history()[0].outcome == outcome


def test_what_a_crash_left_half_written_is_swept_by_the_next_change(root: Path, home: Path) -> None:
    apply(Journal(str(root)))
    for part in ("open", "history"):
        (home / part / ".20260301T115959/blobs").mkdir(parents=True)
        (home / part / ".20260301T115959/blobs/x").write_bytes(SECRET)
    assert Journal(str(root)).open_entry() is None
    assert len(Journal(str(root)).history()) == 1
    begin(Journal(str(root)))
    assert list(home.rglob(".*")) == []


@pytest.mark.parametrize("kind", ["file", "link", "open to the group"])
def test_a_home_that_is_not_ours_alone_is_refused(root: Path, home: Path, kind: str) -> None:
    if kind == "file":
        home.write_bytes(b"")
    elif kind == "link":
        (root / "elsewhere").mkdir()
        home.symlink_to(root / "elsewhere")
    else:
        home.mkdir()
        home.chmod(0o770)
    before = tree(root)
    with pytest.raises(Refused, match="not a folder of this user alone"), Journal(str(root)).locked():
        pytest.fail("it was locked")
    assert tree(root) == before


def test_a_journal_of_root_is_no_business_of_others() -> None:
    with public_folder() as root:
        journal = Journal(str(root))
        begin(journal)
        home = root / HOME.lstrip("/")
        home.chmod(0)
        try:
            with as_nobody(), pytest.raises(Refused) as refused:
                journal.open_entry()
        finally:
            home.chmod(0o700)
    assert refused.value.code == "no-rights"


# --- the lock ---------------------------------------------------------------------------------------------


def test_the_lock_is_for_one_and_names_its_holder(root: Path, home: Path) -> None:
    with Journal(str(root)).locked():
        assert (home / "lock").read_text() == str(os.getpid())
        with (
            pytest.raises(Refused, match=f"pid {os.getpid()}") as refused,
            Journal(str(root)).locked(),
        ):
            pytest.fail("it was locked twice")
        assert refused.value.code == "another-aggctl-running"
    with Journal(str(root)).locked():
        pass


def test_a_full_disk_does_not_keep_the_lock_from_being_held(root: Path, home: Path) -> None:
    def full(name: str, _number: int, _changes: int) -> None:
        if name in ("pwrite", "ftruncate"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        Journal(str(root), FaultyCalls(full)).locked(),
        (home / "lock").open() as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_link_in_place_of_the_lock_is_not_followed(root: Path, home: Path) -> None:
    home.mkdir(mode=0o700)
    (root / "victim").write_text("precious")
    (home / "lock").symlink_to(root / "victim")
    with pytest.raises(Refused), Journal(str(root)).locked():
        pytest.fail("it was locked")
    assert (root / "victim").read_text() == "precious"


# --- history ----------------------------------------------------------------------------------------------


def test_history_is_newest_first_also_within_a_second_and_with_the_clock_set_back(root: Path) -> None:
    journal = Journal(str(root))
    moments = [NOW, *[NOW + timedelta(seconds=1)] * 12, NOW - timedelta(days=400)]
    made = [apply(journal, at) for at in moments]
    assert len(set(made)) == len(made)
    assert [entry.identity for entry in journal.history()] == list(reversed(made))[:RETAINED]


def test_ten_changes_are_kept_and_the_one_in_force_besides(root: Path) -> None:
    journal = Journal(str(root))
    in_force = apply(journal)
    for number in range(RETAINED + 3):
        apply(journal, NOW + timedelta(minutes=number), "rolled-back")
    kept = [entry.identity for entry in journal.history()]
    assert len(kept) == RETAINED + 1
    assert kept[-1] == in_force
    last = journal.last_applied()
    assert last is not None
    assert last.identity == in_force


def test_what_a_rollback_undid_is_no_longer_in_force(root: Path) -> None:
    journal = Journal(str(root))
    first = apply(journal)
    second = apply(journal)
    apply(journal, undoes=second)
    last = journal.last_applied()
    assert last is not None
    assert last.identity == first
    apply(journal, undoes=first)
    assert journal.last_applied() is None


def test_a_record_says_where_it_lies(root: Path, home: Path) -> None:
    journal = Journal(str(root))
    identity = begin(journal)
    assert journal.place(identity) == str(home / "open" / identity)
    journal.close(identity, {"outcome": "applied"})
    assert journal.place(identity) == str(home / "history" / identity)
    assert journal.place("none") == ""
    assert json.loads((home / "history" / identity / "outcome.json").read_text()) == {"outcome": "applied"}


# --- kept -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_whole_or_as_before_and_can_be_forgotten(root: Path, home: Path) -> None:
    journal = Journal(str(root))
    journal.keep("ca.key", b"first")
    calls = FaultyCalls()
    Journal(str(root), calls).keep("ca.key", b"second")
    for at in range(1, calls.changes + 1):
        torn = Journal(str(root), FaultyCalls(failing(errno.ENOSPC, at, changes_only=True, persistent=False)))
        with pytest.raises(OSError, match="No space"):
            torn.keep("ca.key", b"third")
        assert (home / "kept/ca.key").read_bytes() in (b"second", b"third")
        journal.keep("ca.key", b"second")
    journal.forget_kept()
    assert not (home / "kept").exists()
