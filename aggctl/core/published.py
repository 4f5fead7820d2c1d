"""What a cluster publishes of its layer: the ConfigMap extension-apiserver-authentication."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.pki import Certificate
    from aggctl.core.snapshot import Snapshot

CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@dataclass(frozen=True, slots=True)
class Published:
    """The published front-proxy CAs and allowed names; no authority: the layer is off everywhere."""

    authorities: tuple[Certificate, ...]
    names: tuple[str, ...]


def read_published(snapshot: Snapshot, server: str) -> Published:
    """The ConfigMap as a value; absent or without the keys it publishes nothing.

    NotKnown for a CA that cannot be read: whoever took that for none would make a second one.
    """
    found = snapshot.object(CONFIG_MAP, server) or {}
    data = found.get("data") or {}
    pem = str(data.get("requestheader-client-ca-file", ""))
    try:
        authorities = pki.read_certificates(pem.encode()) if pem.strip() else ()
    except pki.PkiError as error:
        raise NotKnown(
            ObjectAt(CONFIG_MAP, server),
            Unknown(f"the front-proxy CA that the cluster publishes: {error}", "published-ca-not-readable"),
        ) from error
    return Published(authorities, _names(data.get("requestheader-allowed-names")))


def _names(text: object) -> tuple[str, ...]:
    try:
        names = json.loads(text) if isinstance(text, str) and text.strip() else []
    except ValueError:
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
