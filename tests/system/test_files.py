"""Files are read without following strangers, and written so that a crash leaves old or new."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority
from support.world import FaultyCalls, tree

from aggctl.core.plan import FileChange, FolderChange, digest, stamp
from aggctl.core.questions import Existing, FileAt, FolderAt, KeyAt, Unknown
from aggctl.system.files import READ_LIMIT, Changed, Files

if TYPE_CHECKING:
    from pathlib import Path

UID, GID = os.geteuid(), os.getegid()
STRANGER = 12345
as_root = pytest.mark.skipif(UID != 0, reason="only root can give a file to somebody else")
OLD, NEW = b"old\n", b"new\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "pki").mkdir(parents=True)
    for folder in (root, root / "pki"):
        folder.chmod(0o755)
    put(root / "pki/old", OLD)
    return root


def put(path: Path, content: bytes, mode: int = 0o640) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def create(path: str = "/pki/new", mode: int = 0o600) -> FileChange:
    return FileChange(path, None, stamp(NEW, mode, UID, GID))


def replace(path: str = "/pki/old", mode: int = 0o640) -> FileChange:
    return FileChange(path, stamp(OLD, 0o640, UID, GID), stamp(NEW, mode, UID, GID))


def remove(path: str = "/pki/old") -> FileChange:
    return FileChange(path, stamp(OLD, 0o640, UID, GID), None)


# --- reading ----------------------------------------------------------------------------------------------


def test_a_file_is_its_content_and_its_stamp(root: Path) -> None:
    seen = Files(str(root)).look(FileAt("/pki/old"))
    assert (seen.content, seen.stamp, seen.link) == (OLD, stamp(OLD, 0o640, UID, GID), "")
    assert seen.complete


def test_a_link_says_where_it_leads(root: Path) -> None:
    (root / "pki/link").symlink_to("/pki/old")
    seen = Files(str(root)).look(FileAt("/pki/link"))
    assert (seen.content, seen.link) == (OLD, "/pki/old")


def test_a_folder_that_is_a_link_says_so_too(root: Path) -> None:
    (root / "link").symlink_to("pki")
    assert Files(str(root)).look(FileAt("/link/old")).link == "/pki/old"
    assert Files(str(root)).look(FolderAt("/link")).link == "/pki"


@pytest.mark.parametrize("path", ["/pki/none", "/none/none", "/pki/old/none"])
def test_what_is_not_there_is_none(root: Path, path: str) -> None:
    files = Files(str(root))
    assert [files.look(question(path)) for question in (FileAt, KeyAt, FolderAt)] == [None] * 3


def test_a_link_out_of_the_root_leads_nowhere(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret", b"outside")
    (root / "pki/link").symlink_to(tmp_path / "secret")
    (root / "pki/up").symlink_to("../../secret")
    assert Files(str(root)).look(FileAt("/pki/link")) is None
    assert Files(str(root)).look(FileAt("/pki/up")) is None


@as_root
def test_a_strangers_link_is_unknown_with_the_reason(root: Path) -> None:
    (root / "pki/link").symlink_to("old")
    os.lchown(root / "pki/link", STRANGER, -1)
    answer = Files(str(root)).look(FileAt("/pki/link"))
    assert isinstance(answer, Unknown)
    assert answer.code == "no-rights"
    assert f"symbolic link of uid {STRANGER}" in answer.reason


@pytest.mark.parametrize("kind", ["folder", "pipe", "circle"])
def test_what_is_no_regular_file_is_unknown_and_never_waited_for(root: Path, kind: str) -> None:
    path = root / "pki/odd"
    makers: dict[str, Any] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "circle": lambda: path.symlink_to("odd"),
    }
    makers[kind]()
    answer = Files(str(root)).look(FileAt("/pki/odd"))
    assert isinstance(answer, Unknown)
    assert "/pki/odd" in answer.reason


def test_a_huge_file_is_cut_and_says_so(root: Path) -> None:
    put(root / "pki/huge", b"x" * (READ_LIMIT + 1))
    seen = Files(str(root)).look(FileAt("/pki/huge"))
    assert (len(seen.content), seen.complete) == (READ_LIMIT, False)


def test_a_key_is_seen_by_its_public_half_only(root: Path) -> None:
    key = authority("front-proxy-ca").key
    put(root / "pki/a.key", key, 0o600)
    seen = Files(str(root)).look(KeyAt("/pki/a.key"))
    assert (len(seen.public_key), seen.problem) == (64, "")
    assert key.splitlines()[1].decode() not in repr(seen)


def test_a_file_that_is_no_key_says_why(root: Path) -> None:
    assert "no PEM private key" in Files(str(root)).look(KeyAt("/pki/old")).problem


def test_a_folder_lists_regular_files_and_links_to_such(root: Path) -> None:
    (root / "pki/folder").mkdir()
    (root / "pki/absolute").symlink_to("/pki/old")
    (root / "pki/broken").symlink_to("none")
    seen = Files(str(root)).look(FolderAt("/pki"))
    assert (seen.files, seen.writable, seen.uid) == (("absolute", "old"), True, UID)


def test_existing_tells_which_of_many_are_there(root: Path) -> None:
    (root / "pki/broken").symlink_to("none")
    paths = ("/pki", "/pki/old", "/pki/broken", "/pki/none", "/none/x")
    assert Files(str(root)).look(Existing(paths)) == ("/pki", "/pki/old")


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE])
def test_a_disk_that_fails_is_unknown_with_the_systems_words(root: Path, code: int) -> None:
    def fail(_name: str, number: int, _changes: int) -> None:
        if number == 3:
            raise OSError(code, os.strerror(code))

    answer = Files(str(root), FaultyCalls(fail)).look(FileAt("/pki/old"))
    assert isinstance(answer, Unknown)
    assert os.strerror(code) in answer.reason


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o400])
def test_a_file_is_made_with_its_mode_whatever_the_umask(root: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        Files(str(root)).apply(create(mode=mode), NEW, "ID")
    finally:
        os.umask(before)
    assert (root / "pki/new").read_bytes() == NEW
    assert (root / "pki/new").stat().st_mode & 0o7777 == mode
    assert (root / "pki/new").stat().st_nlink == 1


def test_a_file_is_replaced_and_nothing_is_left_beside_it(root: Path) -> None:
    Files(str(root)).apply(replace(mode=0o600), NEW, "ID")
    assert {path: (entry[1], entry[4]) for path, entry in tree(root / "pki").items()} == {"old": (0o600, NEW)}


def test_a_file_is_removed(root: Path) -> None:
    Files(str(root)).apply(remove(), None, "ID")
    assert tree(root / "pki") == {}


@as_root
def test_owner_and_group_are_set_before_the_file_has_its_name(root: Path) -> None:
    after = stamp(NEW, 0o640, 7, 8)
    calls = FaultyCalls()
    Files(str(root), calls).apply(FileChange("/pki/new", None, after), NEW, "ID")
    assert Files(str(root)).look(FileAt("/pki/new")).stamp == after
    assert calls.names.index("fchown") < calls.names.index("link")


@pytest.mark.parametrize("change", [create(), replace(), remove()])
def test_a_change_made_twice_is_made_once(root: Path, change: FileChange) -> None:
    files = Files(str(root))
    files.apply(change, NEW, "ID")
    once = tree(root)
    files.apply(change, NEW, "ID")
    assert tree(root) == once
    assert files.holds(change) == "after"


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (replace(), "content"),
        (replace(), "mode"),
        (replace(), "gone"),
        (remove(), "content"),
        (remove(), "mode"),
    ],
)
def test_what_is_not_as_the_plan_saw_it_is_left_alone(root: Path, change: FileChange, how: str) -> None:
    path = root / "pki/old"
    acts: dict[str, Any] = {
        "content": lambda: put(path, b"theirs"),
        "mode": lambda: path.chmod(0o600),
        "gone": path.unlink,
    }
    acts[how]()
    theirs = tree(root)
    with pytest.raises(Changed, match=re.escape("/pki/old was changed by somebody else")):
        Files(str(root)).apply(change, NEW, "ID")
    assert tree(root) == theirs
    assert Files(str(root)).holds(change) == "other"


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_somebody_made_at_the_last_moment_is_left_alone(root: Path, hard_links: bool) -> None:
    def make(name: str, _number: int, _changes: int) -> None:
        if name == "link":
            put(root / "pki/new", b"theirs")
            if not hard_links:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with pytest.raises(Changed):
        Files(str(root), FaultyCalls(make)).apply(create(), NEW, "ID")
    assert sorted(tree(root / "pki")) == ["new", "old"]
    assert (root / "pki/new").read_bytes() == b"theirs"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_a_file_is_made_by_rename(root: Path, code: int) -> None:
    def no_links(name: str, _number: int, _changes: int) -> None:
        if name == "link":
            raise OSError(code, os.strerror(code))

    Files(str(root), FaultyCalls(no_links)).apply(create(), NEW, "ID")
    assert (root / "pki/new").read_bytes() == NEW
    assert sorted(tree(root / "pki")) == ["new", "old"]


def test_a_link_at_the_target_is_somebody_elses_work(root: Path) -> None:
    put(root / "pki/target", OLD)
    (root / "pki/old").unlink()
    (root / "pki/old").symlink_to("target")
    with pytest.raises(OSError, match=r"symbolic link|Too many|levels") as error:
        Files(str(root)).apply(replace(), NEW, "ID")
    assert error.value.errno == errno.ELOOP
    assert (root / "pki/target").read_bytes() == OLD
    assert (root / "pki/old").is_symlink()


@pytest.mark.parametrize("change", [create(), replace(), remove()])
def test_a_folder_that_everybody_may_write_is_not_written_in(root: Path, change: FileChange) -> None:
    (root / "pki").chmod(0o777)
    before = tree(root)
    with pytest.raises(PermissionError, match="writable by everybody"):
        Files(str(root)).apply(change, NEW, "ID")
    assert tree(root) == before


def test_content_that_is_not_the_plans_is_not_written(root: Path) -> None:
    before = tree(root)
    with pytest.raises(ValueError, match="not what the plan says"):
        Files(str(root)).apply(create(), b"other", "ID")
    assert tree(root) == before


def test_the_draft_is_a_hidden_file_that_only_its_owner_reads_until_it_is_whole(root: Path) -> None:
    seen: list[tuple[str, int]] = []

    def look(name: str, _number: int, _changes: int) -> None:
        if name in ("write", "fchmod"):
            drafts = [(path.name, path.stat().st_mode & 0o777) for path in (root / "pki").glob(".*")]
            seen.extend(drafts)

    Files(str(root), FaultyCalls(look)).apply(create(mode=0o644), NEW, "ID")
    assert set(seen) == {(".new.aggctl-draft-ID", 0o600)}


@pytest.mark.parametrize(("change", "last"), [(create(), "unlink"), (replace(), "rename")])
def test_the_order_is_write_sync_name_sync(root: Path, change: FileChange, last: str) -> None:
    calls = FaultyCalls()
    Files(str(root), calls).apply(change, NEW, "ID")
    names = [name for name in calls.names if name in ("write", "fsync", "link", "rename", "unlink")]
    naming = ["link", "unlink"] if last == "unlink" else ["rename"]
    assert names == ["unlink", "write", "fsync", *naming, "fsync"]


def test_a_removal_is_synced(root: Path) -> None:
    calls = FaultyCalls()
    Files(str(root), calls).apply(remove(), None, "ID")
    assert [name for name in calls.names if name in ("fsync", "unlink")][-2:] == ["unlink", "fsync"]


def test_short_writes_are_gone_on_with(root: Path) -> None:
    class Short(FaultyCalls):
        def __getattr__(self, name: str) -> Any:
            if name == "write":
                return lambda descriptor, view: os.write(descriptor, bytes(view[:1]))
            return super().__getattr__(name)

    Files(str(root), Short()).apply(create(), NEW, "ID")
    assert (root / "pki/new").read_bytes() == NEW


def test_a_failed_write_leaves_the_old_file_no_draft_and_names_the_path(root: Path) -> None:
    for at in range(1, 12):

        def fail(name: str, _number: int, changes: int, at: int = at) -> None:
            if name and changes == at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        calls = FaultyCalls(fail)
        try:
            Files(str(root), calls).apply(replace(), NEW, "ID")
        except OSError as error:
            assert error.filename == "/pki/old"  # noqa: PT017 -- not every point fails
        assert sorted(tree(root / "pki")) == ["old"]
        assert (root / "pki/old").read_bytes() in (OLD, NEW)
        put(root / "pki/old", OLD)


def test_the_draft_that_a_crash_left_is_swept(root: Path) -> None:
    put(root / "pki/.old.aggctl-draft-ID", b"half")
    put(root / "pki/.old.aggctl-draft-OTHER", b"of another plan")
    Files(str(root)).sweep(replace(), "ID")
    assert sorted(tree(root / "pki")) == [".old.aggctl-draft-OTHER", "old"]
    Files(str(root)).sweep(replace("/none/old"), "ID")


def test_user_attributes_of_a_replaced_file_stay(root: Path) -> None:
    try:
        os.setxattr(root / "pki/old", "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no user attributes")
    Files(str(root)).apply(replace(), NEW, "ID")
    assert os.getxattr(root / "pki/old", "user.note") == b"kept"


def test_no_descriptor_is_left_open(root: Path) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names are enough

    before = opened()
    for at in range(1, 40):

        def fail(_name: str, number: int, _changes: int, at: int = at) -> None:
            if number == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with contextlib.suppress(OSError):
            Files(str(root), FaultyCalls(fail)).apply(create(f"/pki/new{at}"), NEW, "ID")
    assert opened() == before


# --- folders ----------------------------------------------------------------------------------------------


def test_a_folder_is_made_with_its_mode_and_removed_when_empty(root: Path) -> None:
    files = Files(str(root))
    before = os.umask(0o077)
    try:
        files.apply(FolderChange("/more", 0o755), None, "ID")
    finally:
        os.umask(before)
    assert (root / "more").stat().st_mode & 0o7777 == 0o755
    assert files.holds(FolderChange("/more", 0o755)) == "after"
    files.apply(FolderChange("/more", 0o755, create=False), None, "ID")
    assert not (root / "more").exists()
    files.apply(FolderChange("/more", 0o755, create=False), None, "ID")


def test_a_folder_that_others_use_by_now_stays(root: Path) -> None:
    Files(str(root)).apply(FolderChange("/pki", 0o755, create=False), None, "ID")
    assert (root / "pki/old").exists()


def test_a_folder_that_is_there_already_keeps_its_mode(root: Path) -> None:
    (root / "pki").chmod(0o700)
    Files(str(root)).apply(FolderChange("/pki", 0o755), None, "ID")
    assert (root / "pki").stat().st_mode & 0o7777 == 0o700


def test_a_removal_in_a_folder_that_is_gone_is_done_already(root: Path) -> None:
    Files(str(root)).apply(FileChange("/gone/x", stamp(OLD, 0o600, UID, GID), None), None, "ID")
    with pytest.raises(FileNotFoundError):
        Files(str(root)).apply(create("/gone/x"), NEW, "ID")


def test_a_digest_is_sha_256() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
