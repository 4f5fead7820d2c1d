"""The front-proxy CA on its way to another node: sealed in the cluster, or as files; never to a stranger."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import Kube
from support.nodes import Node
from support.refusals import (
    AGGCTL,
    BadNode,
    Said,
    aggctl,
    assert_decent,
    assert_document,
    assert_refused,
    clean_environment,
)
from support.sandboxes import sandbox_in

from aggctl.core import flags, pki
from aggctl.core.certs.sealed import ENTRIES, PATH, new_key, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.controlplane

KEY = re.compile(r"\b[0-9a-f]{64}\b")
CODE = "certificate-key-not-usable"
DRY = ("enable", "--dry-run", "--routing", "off")
NAMES = ("front-proxy-ca.crt", "front-proxy-ca.key")


@dataclass(frozen=True)
class Place:
    """A node with the layer on, and the files of another node of the same cluster, where it is off."""

    node: Node
    kube: Kube
    second: BadNode

    def export(self, *words: str) -> Said:
        return aggctl("certs", "export", *words, "--root", str(self.node.root))

    def upload(self) -> str:
        """The key that it shows."""
        said = self.export("--upload")
        assert said.status == 0, said.text
        (key,) = set(KEY.findall(said.out))
        return str(key)

    def take(self, folder: Path, *words: str) -> Said:
        """Import on the second node."""
        return aggctl("certs", "import", str(folder), "--root", str(self.second.root), *words)

    def ca(self) -> pki.KeyPair:
        folder = self.node.root / "etc/kubernetes/pki"
        return pki.KeyPair(*((folder / name).read_bytes() for name in NAMES))

    def kept(self) -> dict[str, bytes]:
        """What the second node put away for a rotation."""
        folder = self.second.root / "var/lib/aggctl/rotation"
        return {path.name: path.read_bytes() for path in folder.glob("*")}

    def put(self, secret: Any) -> None:
        """Put another Secret in the place of the one that waits."""
        self.kube.apply(PATH, secret)


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("transfer")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        second = BadNode(folder / "second")
        shutil.copytree(running.sandbox.root, second.root, symlinks=True)
        for path in second.pki.glob("front-proxy-*"):
            path.unlink()
        lines = second.manifest.read_text().splitlines(keepends=True)
        layer = re.compile(rf" *- --({'|'.join(flags.AGGREGATION_FLAGS)})=")
        second.manifest.write_text("".join(line for line in lines if not layer.match(line)))
        yield Place(Node(running), Kube(running.sandbox.kubeconfig), second)


def secrets_of(pair: pki.KeyPair) -> list[str]:
    """The lines of a private key."""
    return pair.key.decode().splitlines()[1:-1]


# --- sealed -----------------------------------------------------------------------------------------------


def test_an_upload_shows_one_key_and_the_two_commands_that_take_it(place: Place) -> None:
    said = place.export("--upload")
    assert (said.status, said.err) == (0, "")
    assert_decent(said)
    (key,) = set(KEY.findall(said.out))
    for command in ("aggctl certs rotate ca", "aggctl enable"):
        assert f"{command} --certificate-key {key}\n" in said.out
    assert place.upload() != key


def test_scripts_get_the_key_in_the_one_document_and_no_other_secret(place: Place) -> None:
    said = place.export("--upload", "-o", "json")
    assert (said.status, said.err, said.document["outcome"]) == (0, "", "applied")
    assert_document(said)
    assert_decent(said)
    assert len(set(KEY.findall(said.out))) == 1
    assert not [line for line in secrets_of(place.ca()) if line in said.out]


def test_in_the_cluster_there_is_nothing_in_clear_and_an_end(place: Place) -> None:
    key = place.upload()
    data = {name: base64.b64decode(value) for name, value in place.kube.get(PATH)["data"].items()}
    assert set(data) == {"expires", *ENTRIES}
    left = datetime.fromisoformat(data["expires"].decode()) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=50) < left <= timedelta(hours=2)
    together = b"".join(data.values())
    for secret in (b"PRIVATE KEY", b"CERTIFICATE", key.encode(), bytes.fromhex(key)):
        assert secret not in together
    assert not [line for line in secrets_of(place.ca()) if line.encode() in together]


def test_the_key_is_nowhere_on_the_node(place: Place) -> None:
    key = place.upload()
    folder = place.node.running.directory
    holders = [path for path in folder.rglob("*.log") if key in path.read_text(errors="replace")]
    holders += [
        path
        for part in ("etc", "var/lib/aggctl")
        for path in (place.node.root / part).rglob("*")
        if path.is_file() and key.encode() in path.read_bytes()
    ]
    assert holders == []


def by_option(node: BadNode, key: str) -> Said:
    return node.run(*DRY, "--certificate-key", key)


def by_environment(node: BadNode, key: str) -> Said:
    words = (*DRY, "--root", str(node.root))
    return aggctl(*words, environment={"AGGCTL_CERTIFICATE_KEY": key})


def by_standard_input(node: BadNode, key: str) -> Said:
    done = subprocess.run(
        [*AGGCTL, *DRY, "--root", str(node.root), "--certificate-key", "-"],
        input=f"{key}\n",
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("way", [by_option, by_environment, by_standard_input])
def test_enable_takes_the_ca_of_the_cluster_by_its_key(
    place: Place, way: Callable[[BadNode, str], Said]
) -> None:
    """Without it this node is refused: it may not make a second CA."""
    assert "(another-ca-published)" in place.second.run(*DRY).text
    before, key = place.second.tree(), place.upload()
    said = way(place.second, key)
    assert said.status == 0, said.text
    assert_decent(said)
    assert re.search(r"create +/etc/kubernetes/pki/front-proxy-ca\.key +0600", said.out)
    assert key not in said.text
    assert place.second.tree() == before


def altered(secret: Any, name: str) -> Any:
    """The Secret with one bit of an entry changed."""
    content = bytearray(base64.b64decode(secret["data"][name]))
    content[-1] ^= 1
    return {**secret, "data": {**secret["data"], name: base64.b64encode(content).decode()}}


def expired(place: Place, key: str) -> None:
    place.put(seal(place.ca(), key, datetime.now(UTC) - timedelta(hours=3)))


def spoilt(name: str) -> Callable[[Place, str], None]:
    return lambda place, key: place.put(altered(seal(place.ca(), key, datetime.now(UTC)), name))


def prolonged(place: Place, key: str) -> None:
    secret = seal(place.ca(), key, datetime.now(UTC))
    expires = base64.b64encode(b"2099-01-01T00:00:00+00:00").decode()
    place.put({**secret, "data": {**secret["data"], "expires": expires}})


def emptied(place: Place, key: str) -> None:  # noqa: ARG001 -- one of a table
    place.kube.ask("PATCH", PATH, {"data": None}, "application/merge-patch+json")


def deleted(place: Place, key: str) -> None:  # noqa: ARG001 -- one of a table
    place.kube.delete(PATH)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (expired, "expired at "),
        (spoilt(ENTRIES[1]), "does not fit"),
        (prolonged, "does not fit"),
        (emptied, "cannot be read"),
        (deleted, "no CA waits in the cluster"),
    ],
    ids=["expired", "another content", "a later end", "emptied", "none there"],
)
def test_what_waits_and_is_not_as_it_was_put_there_is_refused(
    place: Place, spoil: Callable[[Place, str], None], why: str
) -> None:
    key = place.upload()
    spoil(place, key)
    said = assert_refused(place.second, CODE, *DRY, "--certificate-key", key)
    assert why in said.text
    assert "aggctl certs export --upload" in said.text
    assert key not in said.text


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (new_key(), "does not fit"),
        ("hunter2", "the certificate key is none"),
        ("Ä" * 64, "the certificate key is none"),
    ],
    ids=["another key", "a password", "no hexadecimal"],
)
def test_a_key_that_does_not_fit_is_refused_and_not_repeated(place: Place, key: str, why: str) -> None:
    place.upload()
    said = assert_refused(place.second, CODE, *DRY, "--certificate-key", key)
    assert why in said.text
    assert key not in said.text


def test_a_key_that_was_replaced_is_good_no_more(place: Place) -> None:
    old = place.upload()
    assert by_option(place.second, old).status == 0
    place.upload()
    assert f"({CODE})" in by_option(place.second, old).text


@pytest.mark.parametrize("said", ["", "\n"], ids=["nothing", "an empty line"])
def test_an_empty_standard_input_is_no_key(place: Place, said: str) -> None:
    place.upload()
    found = by_standard_input(place.second, said.rstrip("\n"))
    assert (found.status, f"({CODE})" in found.err) == (3, True), found.text


def test_another_rotation_of_the_ca_takes_no_given_one(place: Place) -> None:
    """By a key that fits, where no rotation is under way."""
    key, before = place.upload(), place.node.files()
    words = ("certs", "rotate", "ca", "--yes", "--certificate-key", key, "--root", str(place.node.root))
    said = aggctl(*words, "-o", "json")
    assert (said.status, said.codes) == (3, ["no-rotation"])
    assert place.node.files() == before


# --- as files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("DIR", "--upload")], ids=["neither", "both"])
def test_an_export_goes_to_one_place(place: Place, tmp_path: Path, words: tuple[str, ...]) -> None:
    words = tuple(each.replace("DIR", str(tmp_path / "carried")) for each in words)
    said = place.export(*words, "-o", "json")
    assert (said.status, said.codes) == (2, ["export-where"])
    assert_document(said)
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_two_files_that_enable_takes(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    said = place.export(str(folder))
    assert said.status == 0, said.text
    assert_decent(said)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        NAMES[0]: 0o644,
        NAMES[1]: 0o600,
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert pki.KeyPair(*((folder / name).read_bytes() for name in NAMES)) == place.ca()
    assert not [line for line in secrets_of(place.ca()) if line in said.text]
    taken = place.second.run(*DRY, "--ca-from", str(folder))
    assert taken.status == 0, taken.text


def test_a_folder_where_another_ca_lies_is_refused(place: Place, tmp_path: Path) -> None:
    other = pki.new_ca("other", datetime.now(UTC), algorithm="ECDSA-P256")
    for name, content in zip(NAMES, (other.certificate, other.key), strict=True):
        (tmp_path / name).write_bytes(content)
    said = place.export(str(tmp_path), "-o", "json")
    assert (said.status, said.codes) == (3, ["export-folder-not-usable"])
    assert (tmp_path / NAMES[1]).read_bytes() == other.key


def test_without_the_key_of_the_ca_there_is_nothing_to_export(place: Place, tmp_path: Path) -> None:
    for words in (("--upload",), (str(tmp_path / "carried"),)):
        said = aggctl("certs", "export", *words, "--root", str(place.second.root), "-o", "json")
        assert (said.status, said.codes) == (3, ["front-proxy-ca-external"])
    assert list(tmp_path.iterdir()) == []


def test_an_import_is_refused_where_no_rotation_is_under_way(place: Place, tmp_path: Path) -> None:
    assert place.export(str(tmp_path / "carried")).status == 0
    said = place.take(tmp_path / "carried", "-o", "json")
    assert (said.status, said.codes) == (3, ["no-rotation"])
    assert place.kept() == {}


def test_during_a_rotation_the_new_ca_is_carried_and_no_other_is_taken(place: Place, tmp_path: Path) -> None:
    before, old = tmp_path / "before", place.ca()
    assert place.export(str(before)).status == 0
    begun = aggctl("certs", "rotate", "ca", "--yes", "--stage", "trust", "--root", str(place.node.root))
    assert begun.status == 0, begun.text
    refused = place.take(before, "-o", "json")
    assert (refused.status, refused.codes) == (3, ["another-next-ca"])
    assert place.kept() == {}
    assert place.export(str(tmp_path / "carried")).status == 0
    new = pki.KeyPair(*((tmp_path / "carried" / name).read_bytes() for name in NAMES))
    assert new != old
    said = place.take(tmp_path / "carried")
    assert (said.status, "aggctl certs rotate ca" in said.out) == (0, True), said.text
    assert_decent(said)
    folder = place.second.root / "var/lib/aggctl/rotation"
    assert (folder / "next-ca.key").read_bytes() == new.key
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    home = place.node.root / "var/lib/aggctl"
    records = "".join(path.read_text() for path in home.rglob("*.json*"))
    assert not [line for line in (*secrets_of(old), *secrets_of(new)) if line in records]


def test_an_import_without_the_key_is_refused(place: Place, tmp_path: Path) -> None:
    """During a rotation the certificate alone is of no use."""
    words = ("certs", "rotate", "ca", "--yes", "--stage", "trust", "--root", str(place.node.root))
    assert aggctl(*words).status == 0
    assert place.export(str(tmp_path / "carried")).status == 0
    (tmp_path / "carried" / NAMES[1]).unlink()
    before = place.kept()
    said = place.take(tmp_path / "carried", "-o", "json")
    assert (said.status, said.codes) == (3, ["given-ca-not-usable"])
    assert place.kept() == before


def a_key_of_another(folder: Path) -> None:
    (folder / NAMES[1]).write_bytes(pki.new_ca("x", datetime.now(UTC), algorithm="ECDSA-P256").key)


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        a_key_of_another,
        lambda folder: (folder / NAMES[0]).write_bytes(b"scrambled"),
        lambda folder: (folder / NAMES[1]).write_bytes(b""),
    ],
    ids=["no folder", "another key", "no certificate", "an empty key"],
)
def test_what_is_no_ca_is_not_imported(place: Place, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    assert place.export(str(tmp_path / "carried")).status == 0
    spoil(tmp_path / "carried")
    said = place.take(tmp_path / "carried", "-o", "json")
    assert (said.status, said.codes) == (3, ["given-ca-not-usable"])
    assert_document(said)
