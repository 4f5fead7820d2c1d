"""A front-proxy CA that comes from another node: as files, or encrypted in the cluster."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.errors import Refused
from aggctl.system.files import READ_LIMIT
from aggctl.system.pairs import CA_NAMES
from aggctl.workflows.transfer import download

if TYPE_CHECKING:
    from aggctl.system.ports import Ports


def ca_of(ports: Ports, key: str) -> pki.KeyPair | None:
    """The CA that waits in the cluster under a certificate key, which `-` reads from the standard input."""
    if not key:
        return None
    return download(ports, sys.stdin.readline().strip() if key == "-" else key)


def ca_in(folder: str) -> pki.KeyPair:
    """The CA in a folder that the user named, with its key where that is there; Refused where it is none."""
    certificate, key = (Path(folder) / name for name in CA_NAMES)
    try:
        pair = pki.KeyPair(_content(certificate), _content(key) if key.exists() else b"")
    except OSError as error:
        raise _bad_ca(folder, f"{error.filename}: {error.strerror}") from error
    try:
        first = pki.read_certificates(pair.certificate)[0]
    except pki.PkiError as error:
        raise _bad_ca(folder, f"{certificate}: {error}") from error
    try:
        matches = not pair.key or pki.public_key_of(pair.key) == first.public_key
    except pki.PkiError as error:
        raise _bad_ca(folder, f"{key}: {error}") from error
    if not first.is_ca:
        raise _bad_ca(folder, f"{certificate} ({first.subject}) is no CA")
    if not matches:
        raise _bad_ca(folder, f"{key} is not the key of {certificate}")
    return pair


def _content(path: Path) -> bytes:
    """A file of ordinary size; a pipe would be waited for, and a device read without an end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        content = file.read(READ_LIMIT + 1)
    if len(content) > READ_LIMIT:
        raise OSError(errno.EFBIG, "larger than 2 MiB", str(path))
    return content


def _bad_ca(folder: str, found: str) -> Refused:
    return Refused(
        "given-ca-not-usable",
        f"the CA in {folder} cannot be used",
        found=found,
        expected=f"{CA_NAMES[0]}, and {CA_NAMES[1]} where certificates are to be issued",
        do="copy both from a node where the layer is on",
    )
