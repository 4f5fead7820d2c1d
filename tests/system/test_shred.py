"""Private keys leave backups for good: their bytes are overwritten before the name goes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from support.https import authority, leaf

from aggctl.core.plan import FileChange, Plan, Step, digest, stamp
from aggctl.system.journal import Journal
from aggctl.system.shred import keys_below

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CA, OTHER = authority("old"), authority("in force")
LEAF = leaf(CA, "front-proxy-client", "client")
NONE: frozenset[bytes] = frozenset()


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_the_bytes_themselves_are_overwritten(tmp_path: Path) -> None:
    """Seen through another name of the same file, and by who has it open."""
    path = put(tmp_path, "backup/blobs/x", CA.key)
    other = tmp_path / "other name"
    other.hardlink_to(path)
    with path.open("rb") as opened:
        assert keys_below(tmp_path / "backup", NONE) == 1
        for left in (opened.read(), other.read_bytes()):
            assert len(left) == len(CA.key)
            assert not [line for line in CA.key.splitlines() if line in left]
    assert not path.exists()


def test_it_is_on_disk_before_the_name_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "x", CA.key)
    done: list[bool] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        done.append(path.exists() and path.read_bytes() != CA.key)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert keys_below(tmp_path, NONE) == 1
    assert done == [True]


def test_keys_go_wherever_they_lie_and_whatever_they_are_called(tmp_path: Path) -> None:
    names = ("a", "deep/er/b.key", ".draft", "deep/.half/c", "together")
    pairs = dict.fromkeys(names, CA.key) | {"together": LEAF.certificate + LEAF.key}
    for name, content in pairs.items():
        put(tmp_path, name, content)
    assert keys_below(tmp_path, NONE) == len(names)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_kind_of_private_key_goes(tmp_path: Path) -> None:
    kinds = ("", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH ")
    for kind in kinds:
        put(tmp_path, kind.strip() or "plain", f"-----BEGIN {kind}PRIVATE KEY-----\nx\n".encode())
    assert keys_below(tmp_path, NONE) == len(kinds)


def test_what_is_in_force_and_what_is_no_key_stays(tmp_path: Path) -> None:
    stays = {
        "in force": OTHER.key,
        "certificate": CA.certificate,
        "public": b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n",
        "plan.json": b'{"plan": "a PRIVATE KEY is meant"}',
        "empty": b"",
    }
    for name, content in stays.items():
        put(tmp_path, name, content)
    put(tmp_path, "old", CA.key)
    assert keys_below(tmp_path, frozenset({OTHER.key})) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == stays


def test_what_lies_outside_stays_whatever_links_there(tmp_path: Path) -> None:
    """Of a link to a key, of one to a folder of keys, and of a dangling one neither end is touched."""
    folder, outside = tmp_path / "backup", tmp_path / "outside"
    theirs = put(outside, "key", CA.key)
    folder.mkdir()
    for name, target in {"a": theirs, "b": outside, "c": outside / "missing"}.items():
        (folder / name).symlink_to(target)
    assert keys_below(folder, NONE) == 0
    assert theirs.read_bytes() == CA.key
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"a", "b", "c"}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path, "key", CA.key)
    assert keys_below(tmp_path, NONE) == 1
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_is_no_key_for_its_size_is_not_read(tmp_path: Path) -> None:
    large = put(tmp_path, "large", CA.key + bytes(1 << 20))
    assert keys_below(tmp_path, NONE) == 0
    assert large.exists()


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert keys_below(tmp_path / "missing", NONE) == 0


# --- in the journal ---------------------------------------------------------------------------------------


def journal_with(root: Path, *contents: bytes) -> Journal:
    """A change that put these files in place."""
    (root / "var/lib").mkdir(parents=True)
    journal = Journal(str(root))
    steps = tuple(
        Step(str(number), FileChange(f"/etc/{number}", None, stamp(content, 0o600, 0, 0)))
        for number, content in enumerate(contents)
    )
    plan = Plan("enable", "a title", steps, {digest(each): each for each in contents})
    with journal.locked():
        journal.begin(plan, datetime(2026, 3, 1, tzinfo=UTC)).close({"outcome": "applied"})
    return journal


def test_of_all_backups_only_the_keys_in_force_stay(tmp_path: Path) -> None:
    journal = journal_with(tmp_path, CA.key, LEAF.key, OTHER.key, CA.certificate)
    journal.keep("ca.key", CA.key)
    journal.keep("next-ca.key", LEAF.key, "rotation")
    assert journal.shred_keys([OTHER.key]) == 4
    (entry,) = journal.history()
    assert [step.title for step in entry.plan.steps] == ["0", "1", "2", "3"]
    for content in (OTHER.key, CA.certificate):
        assert entry.plan.blobs[digest(content)] == content
    left = [path.read_bytes() for path in (tmp_path / "var/lib/aggctl").rglob("*") if path.is_file()]
    assert [each for each in left if b"PRIVATE KEY-----" in each] == [OTHER.key]


def test_again_there_is_nothing_left_to_shred(tmp_path: Path) -> None:
    journal = journal_with(tmp_path, CA.key)
    assert [journal.shred_keys([]), journal.shred_keys([])] == [1, 0]


def test_what_was_kept_is_overwritten_and_goes_with_its_certificate(tmp_path: Path) -> None:
    journal = journal_with(tmp_path, OTHER.key)
    journal.keep("next-ca.crt", CA.certificate, "rotation")
    journal.keep("next-ca.key", CA.key, "rotation")
    journal.keep("ca.key", LEAF.key)
    home, other = tmp_path / "var/lib/aggctl", tmp_path / "other name"
    other.hardlink_to(home / "rotation/next-ca.key")
    journal.forget_kept("rotation")
    assert not (home / "rotation").exists()
    assert not [line for line in CA.key.splitlines() if line in other.read_bytes()]
    assert (home / "kept/ca.key").read_bytes() == LEAF.key
    assert journal.history()[0].plan.blobs[digest(OTHER.key)] == OTHER.key


def test_where_nothing_was_kept_there_is_nothing_to_forget(tmp_path: Path) -> None:
    journal_with(tmp_path, OTHER.key).forget_kept("rotation")
    assert not (tmp_path / "var/lib/aggctl/rotation").exists()
