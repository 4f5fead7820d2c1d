"""Pairs in folders of the user: a server's three files, a CA's two, written or not written as one."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority, leaf
from support.rights import NOBODY

from aggctl.core import pki
from aggctl.errors import Refused
from aggctl.system.files import Changed
from aggctl.system.pairs import CA_NAMES, CaFolder, PairFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CA = authority("extension")
OLD, NEW = (leaf(CA, "old.default.svc", "server"), leaf(CA, "new.default.svc", "server"))
NAMES = ("tls.key", "tls.crt", "ca.crt")
NEW_FILES = {
    "tls.key": (0o600, NEW.key),
    "tls.crt": (0o644, NEW.certificate),
    "ca.crt": (0o644, CA.certificate),
}

Files = dict[str, tuple[int, bytes]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def files(folder: Path) -> Files:
    """Every file with its permission bits, drafts included."""
    return {
        each.name: (stat.S_IMODE(each.stat().st_mode), each.read_bytes()) for each in sorted(folder.iterdir())
    }


def put(folder: Path, contents: Files) -> None:
    for name, (mode, content) in contents.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the server's owner keeps it: its own modes, an empty CA file, something else."""
    made = tmp_path / "tls"
    made.mkdir()
    contents = {"tls.key": (0o640, OLD.key), "tls.crt": (0o600, OLD.certificate), "ca.crt": (0o664, b"")}
    put(made, {**contents, "notes": (0o644, b"mine")})
    return made


# --- writing -----------------------------------------------------------------------------------------------


def test_the_three_files_have_the_modes_that_their_content_wants(tmp_path: Path) -> None:
    pairs = PairFolder(str(tmp_path / "new/tls"))
    said = pairs.write(CA.certificate, NEW)
    assert files(tmp_path / "new/tls") == NEW_FILES
    assert stat.S_IMODE((tmp_path / "new/tls").stat().st_mode) == 0o700
    assert str(tmp_path / "new/tls") in said
    assert pairs.read() == NEW


def test_a_pair_that_is_there_is_replaced_and_nothing_else(folder: Path) -> None:
    PairFolder(str(folder)).write(CA.certificate, NEW)
    assert files(folder) == {**NEW_FILES, "notes": (0o644, b"mine")}


def test_the_key_goes_before_the_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[str] = []
    real = os.rename

    def rename(source: str, target: str, **more: Any) -> None:
        renamed.append(target)
        real(source, target, **more)

    monkeypatch.setattr(os, "rename", rename)
    PairFolder(str(folder)).write(CA.certificate, NEW)
    assert renamed == list(NAMES)


def test_a_relative_folder_is_that_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = PairFolder("tls")
    monkeypatch.chdir("/")
    pairs.write(CA.certificate, NEW)
    assert files(tmp_path / "tls") == NEW_FILES


# --- undo --------------------------------------------------------------------------------------------------


def test_an_undo_puts_back_bytes_and_modes(folder: Path) -> None:
    before, pairs = files(folder), PairFolder(str(folder))
    pairs.write(CA.certificate, NEW)
    assert pairs.undo() == ()
    assert files(folder) == before
    assert pairs.undo() == ()
    assert files(folder) == before


def test_an_undo_removes_what_was_made(tmp_path: Path) -> None:
    pairs = PairFolder(str(tmp_path / "new/tls"))
    pairs.write(CA.certificate, NEW)
    assert pairs.undo() == ()
    assert files(tmp_path) == {}


def test_an_undo_leaves_what_others_put_there_meanwhile(tmp_path: Path) -> None:
    pairs = PairFolder(str(tmp_path / "tls"))
    pairs.write(CA.certificate, NEW)
    put(tmp_path / "tls", {"notes": (0o644, b"mine")})
    assert pairs.undo() == ()
    assert files(tmp_path / "tls") == {"notes": (0o644, b"mine")}


def test_an_undo_leaves_a_file_that_somebody_changed_and_names_it(folder: Path) -> None:
    before, pairs = files(folder), PairFolder(str(folder))
    pairs.write(CA.certificate, NEW)
    put(folder, {"tls.crt": (0o644, b"theirs")})
    (left,) = pairs.undo()
    assert isinstance(left, Changed)
    assert left.path == str(folder / "tls.crt")
    assert files(folder) == {**before, "tls.crt": (0o644, b"theirs")}


def failing(call: str, number: int) -> Callable[..., Any]:
    """The system call, whose n-th time fails as on a full disk."""
    real, times = getattr(os, call), iter(range(1, 1000))

    def once(*words: Any, **named: Any) -> Any:
        if next(times) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*words, **named)

    return once


@pytest.mark.parametrize(
    ("call", "number"),
    [
        *(("write", each) for each in (1, 2, 3)),
        *(("rename", each) for each in (1, 2, 3)),
        *(("fsync", each) for each in (1, 2, 3, 4, 5, 6)),
    ],
)
def test_a_write_that_fails_at_any_file_leaves_everything_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    before, pairs = files(folder), PairFolder(str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(call, number))
        with pytest.raises(Refused, match="No space left on device") as error:
            pairs.write(CA.certificate, NEW)
    assert error.value.code == "cert-out-not-usable"
    assert files(folder) == before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_write_that_fails_leaves_no_folder_that_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", failing("link", number))
        with pytest.raises(Refused):
            PairFolder(str(tmp_path / "new/tls")).write(CA.certificate, NEW)
    assert files(tmp_path) == {}


# --- reading -----------------------------------------------------------------------------------------------


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        without("tls.key"),
        without("tls.crt"),
        holding("tls.key", NEW.key),
        holding("tls.crt", NEW.certificate),
        holding("tls.crt", CA.certificate + OLD.certificate),
        holding("tls.key", b""),
        holding("tls.crt", b""),
        holding("tls.key", OLD.certificate),
        holding("tls.crt", OLD.certificate[:80]),
        lambda folder: [each.unlink() for each in folder.iterdir()],
    ],
    ids=[
        "no key",
        "no certificate",
        "another key",
        "another certificate",
        "the chain in the wrong order",
        "an empty key",
        "an empty certificate",
        "a certificate in place of the key",
        "half a certificate",
        "nothing",
    ],
)
def test_files_that_are_no_pair_are_none(folder: Path, spoil: Callable[[Path], object]) -> None:
    assert PairFolder(str(folder)).read() == OLD
    spoil(folder)
    assert PairFolder(str(folder)).read() is None


def test_a_folder_that_is_not_there_holds_none_and_is_not_made_by_reading(tmp_path: Path) -> None:
    assert PairFolder(str(tmp_path / "new/tls")).read() is None
    assert files(tmp_path) == {}


def test_a_chain_whose_leaf_comes_first_is_a_pair(folder: Path) -> None:
    holding("tls.crt", OLD.certificate + CA.certificate)(folder)
    assert PairFolder(str(folder)).read() == pki.KeyPair(OLD.certificate + CA.certificate, OLD.key)


# --- places that are not safe ------------------------------------------------------------------------------


def as_link(path: Path, *, owner: int = -1) -> None:
    """Put what is at `path` elsewhere, and a symbolic link in its place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    os.lchown(path, owner, -1)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_a_link_of_ones_own_to_the_folder_is_followed(folder: Path) -> None:
    as_link(folder)
    pairs = PairFolder(str(folder))
    assert pairs.read() == OLD
    pairs.write(CA.certificate, NEW)
    assert files(folder.with_name("elsewhere")) == {**NEW_FILES, "notes": (0o644, b"mine")}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(
            lambda folder: as_link(folder, owner=NOBODY), "symbolic link of uid 65534", marks=as_root
        ),
        pytest.param(lambda folder: os.chown(folder, NOBODY, -1), "folder of uid 65534", marks=as_root),
        (lambda folder: folder.chmod(0o777), "writable by everybody"),
        (lambda folder: folder.rename(folder.with_name("x")) and folder.write_bytes(b""), "is no folder"),
        (lambda folder: as_link(folder / "tls.key"), "tls.key is no regular file"),
        (lambda folder: as_link(folder / "ca.crt"), "ca.crt is no regular file"),
        (lambda folder: as_pipe(folder / "tls.crt"), "tls.crt is no regular file"),
    ],
    ids=[
        "a link of somebody else",
        "a folder of somebody else",
        "a folder for everybody",
        "a file",
        "a link in place of the key",
        "a link in place of the CA",
        "a pipe in place of the certificate",
    ],
)
def test_an_unsafe_place_is_refused(folder: Path, spoil: Callable[[Path], object], why: str) -> None:
    spoil(folder)
    with pytest.raises(Refused, match=why) as error:
        PairFolder(str(folder)).read()
    assert (error.value.code, str(folder) in error.value.message) == ("cert-out-not-usable", True)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_that_appeared_since_is_not_written_through(folder: Path, name: str) -> None:
    as_link(folder / name)
    target = (folder / "elsewhere").read_bytes()
    others = files(folder)
    with pytest.raises(Refused):
        PairFolder(str(folder)).write(CA.certificate, NEW)
    assert (folder / "elsewhere").read_bytes() == target
    assert files(folder) == others


def test_a_key_is_in_no_words(folder: Path) -> None:
    pairs = PairFolder(str(folder))
    said = pairs.write(CA.certificate, NEW) + repr(pairs.read())
    assert NEW.key.decode().splitlines()[1] not in said


# --- a CA on its way to another node ------------------------------------------------------------------------

CA_FILES = {"front-proxy-ca.crt": (0o644, CA.certificate), "front-proxy-ca.key": (0o600, CA.key)}
NEXT = authority("next")


def test_a_ca_is_written_under_kubeadms_names_its_key_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        said = CaFolder(str(tmp_path / "carried")).write(CA)
    finally:
        os.umask(before)
    assert files(tmp_path / "carried") == CA_FILES
    assert stat.S_IMODE((tmp_path / "carried").stat().st_mode) == 0o700
    assert said == f"The CA is in {tmp_path}/carried: {', '.join(CA_NAMES)}."


def test_the_same_ca_is_written_again_and_modes_that_were_loose_are_not_any_more(tmp_path: Path) -> None:
    CaFolder(str(tmp_path / "carried")).write(CA)
    (tmp_path / "carried/front-proxy-ca.key").chmod(0o644)
    CaFolder(str(tmp_path / "carried")).write(CA)
    assert files(tmp_path / "carried") == CA_FILES


@pytest.mark.parametrize("keyless", [False, True], ids=["with its key", "without its key"])
def test_a_folder_where_another_ca_lies_is_refused_and_stays(tmp_path: Path, *, keyless: bool) -> None:
    folder = tmp_path / "carried"
    CaFolder(str(folder)).write(CA)
    if keyless:
        (folder / CA_NAMES[1]).unlink()
    before = files(folder)
    with pytest.raises(Refused, match="another CA lies there") as error:
        CaFolder(str(folder)).write(NEXT)
    assert error.value.code == "export-folder-not-usable"
    assert files(folder) == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: folder.chmod(0o777), "writable by everybody"),
        (lambda folder: as_link(folder / CA_NAMES[1]), "front-proxy-ca.key is no regular file"),
        pytest.param(lambda folder: os.chown(folder, NOBODY, -1), "folder of uid 65534", marks=as_root),
    ],
    ids=["a folder for everybody", "a link in place of the key", "a folder of somebody else"],
)
def test_an_unsafe_place_for_a_ca_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    folder = tmp_path / "carried"
    CaFolder(str(folder)).write(CA)
    spoil(folder)
    before = [path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    with pytest.raises(Refused, match=why) as error:
        CaFolder(str(folder)).write(CA)
    assert error.value.code == "export-folder-not-usable"
    assert "certs export" in error.value.do
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == before


def test_an_undo_removes_the_ca_and_the_folder_that_was_made_for_it(tmp_path: Path) -> None:
    folder = CaFolder(str(tmp_path / "new/carried"))
    folder.write(CA)
    assert folder.undo() == ()
    assert files(tmp_path) == {}


@pytest.mark.parametrize("number", [1, 2])
def test_a_ca_that_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing("write", number))
        with pytest.raises(Refused, match="No space left on device") as error:
            CaFolder(str(tmp_path / "carried")).write(CA)
    assert error.value.code == "export-folder-not-usable"
    assert files(tmp_path) == {}
