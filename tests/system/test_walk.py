"""Paths are walked below the root: no link leads out, no stranger's is followed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from aggctl.system.walk import MAXIMUM_LINKS, Walk

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def resolved(root: Path, path: str, *, write: bool = False) -> str:
    walk = Walk(str(root), path, os, write=write)
    try:
        return walk.resolved
    finally:
        walk.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    for folder in (root, root / "a", root / "a/b"):
        folder.chmod(0o755)
    (root / "a/b/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    return root


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/b/file", "/a/b/file"),
        ("a//b/./file", "/a/b/file"),
        ("/a/b/../b/file", "/a/b/file"),
        ("/../../a/b/file", "/a/b/file"),
        ("/a/b/none", "/a/b/none"),
    ],
)
def test_a_path_stays_below_the_root(root: Path, path: str, found: str) -> None:
    assert resolved(root, path) == found


def test_a_missing_folder_is_file_not_found(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        resolved(root, "/a/none/file")


def test_a_file_on_the_way_is_no_folder(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        resolved(root, "/a/b/file/more")


@pytest.mark.parametrize("target", ["/a/b", "b", "../a/b", "../../../../a/b", "/../../a/b"])
def test_a_link_is_resolved_below_the_root(root: Path, target: str) -> None:
    (root / "a/link").symlink_to(target)
    assert resolved(root, "/a/link/file") == "/a/b/file"


def test_a_link_to_what_lies_outside_ends_inside(root: Path, tmp_path: Path) -> None:
    (root / "a/link").symlink_to(tmp_path / "secret")
    with pytest.raises(FileNotFoundError):
        resolved(root, "/a/link")


def test_links_in_a_circle_are_given_up(root: Path) -> None:
    (root / "a/one").symlink_to("two")
    (root / "a/two").symlink_to("one")
    with pytest.raises(OSError, match="too many") as error:
        resolved(root, "/a/one/file")
    assert error.value.errno == errno.ELOOP


@pytest.mark.parametrize(("links", "passes"), [(MAXIMUM_LINKS, True), (MAXIMUM_LINKS + 1, False)])
def test_as_many_links_as_the_kernel_takes_are_followed(root: Path, links: int, passes: bool) -> None:
    for number in range(links):
        (root / f"l{number}").symlink_to(f"l{number + 1}" if number + 1 < links else "a/b")
    if passes:
        assert resolved(root, "/l0/file") == "/a/b/file"
        return
    with pytest.raises(OSError, match="too many"):
        resolved(root, "/l0/file")


def test_the_last_name_is_not_followed_for_writing(root: Path) -> None:
    (root / "a/link").symlink_to("b/file")
    assert resolved(root, "/a/link") == "/a/b/file"
    assert resolved(root, "/a/link", write=True) == "/a/link"


@as_root
def test_a_strangers_link_is_not_followed(root: Path) -> None:
    (root / "a/link").symlink_to("b")
    os.lchown(root / "a/link", STRANGER, -1)
    with pytest.raises(PermissionError, match=f"symbolic link of uid {STRANGER}"):
        resolved(root, "/a/link/file")
    os.lchown(root / "a/link", 0, -1)
    assert resolved(root, "/a/link/file") == "/a/b/file"


@as_root
def test_a_strangers_folder_is_read_and_not_written_in(root: Path) -> None:
    os.chown(root / "a", STRANGER, -1)
    assert resolved(root, "/a/b/file") == "/a/b/file"
    with pytest.raises(PermissionError, match=f"belongs to uid {STRANGER}"):
        resolved(root, "/a/b/file", write=True)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_folder_that_everybody_may_write_is_not_written_in(root: Path, mode: int) -> None:
    (root / "a").chmod(mode)
    assert resolved(root, "/a/b/file") == "/a/b/file"
    with pytest.raises(PermissionError, match="writable by everybody"):
        resolved(root, "/a/b/file", write=True)


def test_a_way_that_fails_leaves_no_descriptor_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names are enough
    for path in ("/a/none/file", "/a/b/file/more", "/a/b/../../a/none/x"):
        with pytest.raises(OSError, match=r"No such|Not a"):
            resolved(root, path, write=True)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- as above
