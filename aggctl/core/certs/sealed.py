"""The CA on its way to other nodes: encrypted with AES-256-GCM, for two hours, the key known to people only.

As `kubeadm init phase upload-certs` does it: a Secret of kube-system, and a key of 32 bytes in hex.
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggctl.core.fields import MANAGED_BY
from aggctl.core.resources import path_of
from aggctl.errors import Refused

if TYPE_CHECKING:
    from aggctl.core.pki import KeyPair

NAME = "aggctl-front-proxy-ca"
PATH = path_of("v1", "secrets", "kube-system", NAME)
LIFETIME = timedelta(hours=2)
ENTRIES = ("front-proxy-ca.crt", "front-proxy-ca.key")
_KEY_BYTES, _NONCE_BYTES = 32, 12

Object = dict[str, Any]


def new_key() -> str:
    """A certificate key."""
    return secrets.token_hex(_KEY_BYTES)


def seal(pair: KeyPair, key: str, now: datetime) -> Object:
    """The Secret; its expiry is bound to what is encrypted."""
    expires = (now + LIFETIME).isoformat(timespec="seconds")
    cipher = AESGCM(bytes.fromhex(key))
    data = {"expires": base64.b64encode(expires.encode()).decode()}
    for name, content in zip(ENTRIES, (pair.certificate, pair.key), strict=True):
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = cipher.encrypt(nonce, content, f"{name} {expires}".encode())
        data[name] = base64.b64encode(nonce + sealed).decode()
    labels = {MANAGED_BY: "aggctl"}
    metadata = {"name": NAME, "namespace": "kube-system", "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def unseal(found: Object | None, key: str, now: datetime) -> tuple[bytes, bytes]:
    """Certificate and key; Refused where there is none, its time is over, or the key is another one."""
    if found is None:
        raise _refused("no CA waits in the cluster for this node", f"Secret kube-system/{NAME}")
    try:
        entries = {name: base64.b64decode(value) for name, value in found["data"].items()}
        expires = entries["expires"].decode()
        if datetime.fromisoformat(expires) < now:
            raise _refused(f"the CA that waited here expired at {expires}", "one of the last two hours")
        cipher = AESGCM(_key_bytes(key))
        opened = []
        for name in ENTRIES:
            nonce, sealed = entries[name][:_NONCE_BYTES], entries[name][_NONCE_BYTES:]
            opened.append(cipher.decrypt(nonce, sealed, f"{name} {expires}".encode()))
    except InvalidTag as error:
        said = "the certificate key does not fit the CA that waits in the cluster"
        raise _refused(said, "the key that was printed last") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = "the CA that waits in the cluster cannot be read"
        raise _refused(said, f"Secret kube-system/{NAME} as aggctl wrote it") from error
    return opened[0], opened[1]


def _key_bytes(key: str) -> bytes:
    try:
        found = bytes.fromhex(key)
    except ValueError:
        found = b""
    if len(found) != _KEY_BYTES:
        raise _refused("the certificate key is none", "64 hexadecimal digits, as they were printed")
    return found


def _refused(message: str, expected: str) -> Refused:
    return Refused(
        "certificate-key-not-usable",
        message,
        expected=expected,
        do="on a node that has the CA: aggctl certs export --upload     (prints a new key)",
    )
