"""The kube-apiserver static Pod: read its flags and mounts, edit its text, prove the edit.

`read_manifest` refuses, with line and reason, whatever is no plain static Pod. `edit_manifest` splices text
in the style of its neighbours and returns only what it has proven. `is_apiserver_pod` looks at other files of
the folder: with two Pods of one name it is undefined which one runs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aggctl.core.manifest.edit import flag_splices, missing_mounts, mount_splices
from aggctl.core.manifest.model import Manifest, Mount, NewMount
from aggctl.core.manifest.program import Flag, is_apiserver_image, is_program, shell_with_apiserver
from aggctl.core.manifest.proof import prove, unproven
from aggctl.core.manifest.reader import Reader
from aggctl.core.manifest.splice import apply
from aggctl.core.manifest.yamltext import Scalar, Table, decode, excerpt, items_of, parse, read_documents
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggctl.core.manifest.yamltext import Node

__all__ = ["Flag", "Manifest", "Mount", "NewMount", "edit_manifest", "is_apiserver_pod", "read_manifest"]

_LOOKS_LIKE_ONE = re.compile(rb"""["']?kind["']?\s*:\s*["']?Pod\b""")


_NO_POD_EITHER = frozenset({"manifest-empty", "manifest-not-yaml", "manifest-is-template"})
"""Refusals of what the kubelet cannot read either."""


@lru_cache(maxsize=8)
def read_manifest(data: bytes, path: str) -> Manifest:
    """The manifest in a file's bytes; Refused with line and reason where it is no plain kube-apiserver Pod.

    A gate reads the same bytes again and again, so the last few answers are kept.
    """
    text = decode(data, path)
    return Reader(path, text).read(parse(text, path))


def edit_manifest(manifest: Manifest, flags: Mapping[str, str], mounts: Sequence[NewMount] = ()) -> str:
    """The text with each flag set to its value and the mounts added; Refused where that is not safe.

    What is already so stays as it is: an edit made twice is the edit made once.
    """
    wanted = missing_mounts(manifest, mounts)
    splices = [*flag_splices(manifest, flags), *mount_splices(manifest, wanted)]
    text = apply(manifest.text, splices)
    try:
        after = read_manifest(text.encode("utf-8"), manifest.path)
    except (Refused, UnicodeEncodeError) as error:
        raise unproven(manifest, "the result would be no valid manifest") from error
    prove(manifest, after, flags, wanted, splices)
    return text


def is_apiserver_pod(data: bytes) -> str | None:
    """Why the kubelet would take this file for an API server's Pod; None where it would not. Never raises."""
    try:
        first = next(read_documents(decode(data, ""), ""), None)  # the kubelet reads no other document
    except Refused as error:
        return None if error.code in _NO_POD_EITHER else _by_its_words(data)
    if not isinstance(first, Table) or _word(first, "kind") != "Pod":
        return None
    return _by_name(first) or _by_containers(first)


def _by_its_words(data: bytes) -> str | None:
    """The answer for a file that aggctl cannot read and the kubelet perhaps can."""
    if b"kube-apiserver" in data and _LOOKS_LIKE_ONE.search(data):
        return "it names kube-apiserver and kind Pod, though it cannot be read"
    return None


def _by_name(pod: Table) -> str | None:
    metadata = pod.get("metadata")
    name = _word(metadata, "name") if isinstance(metadata, Table) else ""
    return "the Pod is called kube-apiserver" if name == "kube-apiserver" else None


def _by_containers(pod: Table) -> str | None:
    spec = pod.get("spec")
    for container in items_of(spec, "containers") if isinstance(spec, Table) else ():
        if isinstance(container, Table) and _runs_apiserver(container):
            return f"its container {excerpt(_word(container, 'name'))} runs kube-apiserver"
    return None


def _runs_apiserver(container: Table) -> bool:
    words = [
        item.value
        for key in ("command", "args")
        for item in items_of(container, key)
        if isinstance(item, Scalar)
    ]
    return (
        is_apiserver_image(_word(container, "image"))
        or any(is_program(words, at) for at in range(len(words)))
        or shell_with_apiserver(words) is not None
    )


def _word(table: Table, key: str) -> str:
    node: Node | None = table.get(key)
    return node.value if isinstance(node, Scalar) else ""
