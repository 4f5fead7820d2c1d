"""Files in bad faith: bundles that are bombs or lead out of themselves, links where aggctl is to write.

Nothing of a bundle is ever written anywhere; memory is looked at where a bomb would take it.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from typing import TYPE_CHECKING

import pytest
from support.hostile import MEASURED, hostile, kubeconfig, quiet
from support.refusals import Said, aggctl, assert_decent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SNAPSHOT = "aggctl-bundle/snapshot.json"
MIB = 1024 * 1024
MOST_MIB = 200
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202eevil"


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def member(name: str = SNAPSHOT, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, to
    return found


def compressed(head: bytes, body: bytes, times: int) -> bytes:
    """Gzip of `head` and so many times `body`, made as it goes."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(head), *(packer.compress(body) for _ in range(times)), packer.flush()])


def of_size(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that says it has so many bytes."""
    found = member(kind=kind)
    found.size = size
    return found.tobuf(tarfile.GNU_FORMAT)


BUNDLES: dict[str, Callable[[], bytes]] = {
    "a file of zeros": lambda: compressed(of_size(1024 * MIB), b"\0" * MIB, 300),
    "a header of zeros": lambda: compressed(of_size(1024 * MIB, tarfile.XHDTYPE), b"\0" * MIB, 300),
    "a name of zeros": lambda: compressed(of_size(1024 * MIB, tarfile.GNUTYPE_LONGNAME), b"a" * MIB, 300),
    "many members": lambda: compressed(b"", member("x").tobuf() * 2000, 300),
    "many values": lambda: packed((member(), b"[" + b"[]," * (4 * MIB) + b"1]")),
    "a deep document": lambda: packed((member(), b"[" * MIB)),
    "a link": lambda: packed((member(kind=tarfile.SYMTYPE, to="/etc/passwd"), b"")),
    "a hard link": lambda: packed((member(kind=tarfile.LNKTYPE, to="/etc/passwd"), b"")),
    "a device": lambda: packed((member(kind=tarfile.CHRTYPE), b"")),
    "a pipe": lambda: packed((member(kind=tarfile.FIFOTYPE), b"")),
    "a folder": lambda: packed((member(kind=tarfile.DIRTYPE), b"")),
    "a way out": lambda: packed((member(f"../{SNAPSHOT}"), b"{}"), (member("../../evil"), b"x")),
    "an absolute name": lambda: packed((member(f"/{SNAPSHOT}"), b"{}")),
    "half of it": lambda: packed((member(), os.urandom(MIB)))[: MIB // 2],
    "damaged data": lambda: packed((member(), b"{}"))[:20] + b"\xff" * 40,
    "no archive": lambda: compressed(b"", b"no archive", 100),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_in_bad_faith_is_refused_and_nothing_of_it_written(tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "in" / "bundle.tar.gz"
    bundle.parent.mkdir()
    bundle.write_bytes(BUNDLES[name]())
    said = aggctl("doctor", "--from-bundle", str(bundle), before=MEASURED, cwd=bundle.parent)

    *lines, mebibytes = said.err.splitlines()
    assert said.status == 3, said.text
    assert "(bundle-not-readable)" in lines[0]
    assert_decent(Said(said.status, said.out, "\n".join(lines)))
    assert sorted(tmp_path.rglob("*")) == [bundle.parent, bundle]
    assert int(mebibytes) < MOST_MIB


# --- where aggctl is to write -----------------------------------------------------------------------------

WRITERS = {
    "--prometheus": ("status", "prometheus-file-not-usable"),
    "--bundle": ("doctor", "bundle-not-writable"),
}


@pytest.mark.parametrize("option", WRITERS)
@pytest.mark.parametrize("leads_to", ["a file", "nothing"])
def test_a_link_where_a_file_is_to_be_written_is_not_followed(
    tmp_path: Path, option: str, leads_to: str
) -> None:
    victim = tmp_path / "victim"
    if leads_to == "a file":
        victim.write_text("precious")
    place = tmp_path / "out" / "file"
    place.parent.mkdir()
    place.symlink_to(victim)
    (tmp_path / "root").mkdir()
    command, code = WRITERS[option]
    with hostile() as server:
        server.behave = quiet
        where = ("--root", str(tmp_path / "root"), "--kubeconfig", str(kubeconfig(server, tmp_path)))
        said = aggctl(command, *where, option, str(place))

    assert_decent(said)
    assert f"({code})" in said.text
    assert said.status == 3, said.text
    assert victim.read_text() == "precious" if leads_to == "a file" else not victim.exists()
    assert [each.name for each in place.parent.iterdir()] == ["file"]


# --- names in a kubeconfig --------------------------------------------------------------------------------


def config(name: str, server: str) -> object:
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": "t"}}],
    }


@pytest.mark.parametrize(
    "server", ["https://127.0.0.1:1", f"https://{ESCAPES}:1", f"{ESCAPES}://x", "https://[::"]
)
@pytest.mark.parametrize(
    "words", [("status",), ("status", "--context", f"other{ESCAPES}")], ids=["its own", "another"]
)
def test_no_escape_sequence_of_a_kubeconfig_reaches_the_terminal(
    tmp_path: Path, server: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "root").mkdir()
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config(ESCAPES, server)))
    said = aggctl(*words, "--root", str(tmp_path / "root"), "--kubeconfig", str(path))
    assert said.status == 3, said.text
    assert_decent(said)
    assert all(line.isprintable() for line in said.text.splitlines())
    assert "defect" not in said.text
