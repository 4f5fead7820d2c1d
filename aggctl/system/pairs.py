"""Folders that are the user's own, and hold a pair: key before certificate, by rename."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.plan import FileChange, inverse, stamp
from aggctl.core.text import clean
from aggctl.errors import Refused
from aggctl.system.files import Changed, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_NAME, CERTIFICATE_NAME, AUTHORITY_NAME = "tls.key", "tls.crt", "ca.crt"
CA_NAMES = ("front-proxy-ca.crt", "front-proxy-ca.key")
_MODES = {".key": 0o600, ".crt": 0o644}


class _OwnFolder:
    """A folder of the user's own, made where it is missing; `asked` is what named it, `names` its files."""

    def __init__(self, folder: str, asked: str, code: str, names: tuple[str, ...]) -> None:
        self.folder = Path(folder).absolute()
        self._asked, self._code, self._names = asked, code, names
        self._written: list[tuple[FileChange, bytes]] = []
        self._made: list[Path] = []

    def _read_pair(self, certificate_name: str, key_name: str) -> pki.KeyPair | None:
        """The pair that lies there; None where there is none or its two files do not match.

        Refused where files could not be written there, or others could read the key.
        """
        try:
            self._refuse_unsafe()
            if not self.folder.is_dir():
                return None
            files = Files(str(self.folder))
            certificate, key = files.read(f"/{certificate_name}"), files.read(f"/{key_name}")
        except OSError as error:
            raise self._not_usable(_words(error)) from error
        if certificate is None or key is None:
            return None
        try:
            leaf = pki.read_certificates(certificate.content)[0]
            matches = pki.public_key_of(key.content) == leaf.public_key
        except pki.PkiError:
            return None
        return pki.KeyPair(certificate.content, key.content) if matches else None

    def _write_all(self, contents: dict[str, bytes]) -> None:
        """Write the files; `undo` puts back what was there. Refused where that fails, all being as it was."""
        try:
            self._make_folder()
            self._write(contents)
        except (OSError, Changed) as error:
            self.undo()
            raise self._not_usable(_words(error)) from error

    def undo(self) -> tuple[Exception, ...]:
        """Put back what `write` replaced, remove what it made; what went wrong with that comes back."""
        left: list[Exception] = []
        files = Files(str(self.folder))
        while self._written:
            change, before = self._written.pop()
            try:
                files.apply(inverse(change), before if change.before else None, "register")
            except Changed:
                left.append(Changed(f"{self.folder}{change.path}"))
            except OSError as error:
                left.append(error)
        while self._made:
            with contextlib.suppress(OSError):  # what others have put there meanwhile stays
                self._made.pop().rmdir()
        return tuple(left)

    def _make_folder(self) -> None:
        missing = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700 if each == self.folder else 0o777)
            self._made.append(each)

    def _write(self, contents: dict[str, bytes]) -> None:
        files = Files(str(self.folder))
        for name, content in contents.items():
            seen = files.read(f"/{name}")
            # A server of another user reads the new key, too, where it read the old one.
            owner = (
                (seen.stamp.uid, seen.stamp.gid)
                if seen and not os.geteuid()
                else (os.geteuid(), os.getegid())
            )
            after = stamp(content, _MODES[name[-4:]], *owner)
            change = FileChange(f"/{name}", seen.stamp if seen else None, after)
            self._written.append((change, seen.content if seen else b""))
            files.apply(change, content, "register")

    # --- whether it can be used ---------------------------------------------------------------------------

    def _refuse_unsafe(self) -> None:
        trusted = {0, os.geteuid(), *_who_called_sudo()}
        last = Path("/")
        with contextlib.suppress(FileNotFoundError):
            self.folder.stat()  # links in a circle end here
        for part in _way(self.folder):
            info = part.lstat()
            if info.st_uid not in trusted:
                kind = "symbolic link" if stat.S_ISLNK(info.st_mode) else "folder"
                raise self._not_usable(f"{part} is a {kind} of uid {info.st_uid}")
            if stat.S_ISLNK(info.st_mode) and part.exists():
                continue
            if not stat.S_ISDIR(info.st_mode):
                raise self._not_usable(f"{part} is no folder")
            sticky = info.st_mode & stat.S_ISVTX and part != self.folder
            if info.st_mode & stat.S_IWOTH and not sticky:
                raise self._not_usable(f"{part} is writable by everybody")
            last = part
        if not os.access(last, os.W_OK | os.X_OK):
            raise self._not_usable(f"{last} cannot be written")
        for name in self._names:
            path = self.folder / name
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                raise self._not_usable(f"{path} is no regular file")

    def _not_usable(self, why: str) -> Refused:
        return Refused(
            self._code,
            f"{self._asked} {clean(str(self.folder))} cannot be used: {clean(why)}",
            expected="a folder that you can write and nobody else can, or a name for a new one",
            do=f"name another one: {self._asked} ./tls",
        )


class PairFolder(_OwnFolder):
    """Where a server outside the cluster reads its serving pair: tls.crt, tls.key and ca.crt."""

    def __init__(self, folder: str) -> None:
        names = (KEY_NAME, CERTIFICATE_NAME, AUTHORITY_NAME)
        super().__init__(folder, "--cert-out", "cert-out-not-usable", names)

    def read(self) -> pki.KeyPair | None:
        """The pair that lies there; None where there is none or its two files do not match.

        Refused where the three files could not be written there, or others could read the key.
        """
        return self._read_pair(CERTIFICATE_NAME, KEY_NAME)

    def write(self, authority: bytes, pair: pki.KeyPair) -> str:
        """Write the three files, and say where; `undo` puts back what was there.

        Refused where that fails; all is as it was then.
        """
        self._write_all({KEY_NAME: pair.key, CERTIFICATE_NAME: pair.certificate, AUTHORITY_NAME: authority})
        names = f"{CERTIFICATE_NAME}, {KEY_NAME}, {AUTHORITY_NAME}"
        return f"The serving certificate is in {self.folder}: {names}"


class CaFolder(_OwnFolder):
    """A front-proxy CA as files with kubeadm's names, on its way to another node."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "certs export", "export-folder-not-usable", CA_NAMES)

    def write(self, pair: pki.KeyPair) -> str:
        """Write certificate and key, and say where; refused where that is unsafe or another CA lies there."""
        self._read_pair(*CA_NAMES)  # refuses a folder that is unsafe
        there = Files(str(self.folder)).read(f"/{CA_NAMES[0]}") if self.folder.is_dir() else None
        if there and there.content != pair.certificate:
            raise self._not_usable("another CA lies there")
        self._write_all(dict(zip(reversed(CA_NAMES), (pair.key, pair.certificate), strict=True)))
        return f"The CA is in {self.folder}: {', '.join(CA_NAMES)}."


def _way(folder: Path) -> Iterator[Path]:
    """Each folder and link that there is on the way to `folder`, those behind the links included."""
    for part in (*reversed(folder.parents), folder):
        if not os.path.lexists(part):
            return
        yield part
        if part.is_symlink():
            yield from _way(part.parent / part.readlink())


def _who_called_sudo() -> tuple[int, ...]:
    """Root by sudo works in the home of who called it."""
    called = os.environ.get("SUDO_UID", "")
    return (int(called),) if os.geteuid() == 0 and called.isascii() and called.isdigit() else ()


def _words(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
