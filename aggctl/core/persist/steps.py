"""The steps that tell `kubeadm upgrade` of a change, and how they are shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggctl.core.flags import AGGREGATION_FLAGS
from aggctl.core.persist.configuration import KEY, TARGET
from aggctl.core.persist.patch import MODE
from aggctl.core.plan import FileChange, ObjectChange, Step, stamp
from aggctl.core.report import ShownChange
from aggctl.core.text import unified_diff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.persist.decide import Persist
    from aggctl.core.plan import Change
    from aggctl.core.questions import Stamp

Told = tuple[ObjectChange, "Mapping[str, bytes]"]
"""The change of kubeadm-config, as a dry run on the server showed it, and its blobs."""

_BRACES = re.compile(r"\{[^{}]*\}")
_PAIR = re.compile(
    r"""(?P<quote>["']?)(?P<key>[\w.-]+)(?P=quote)\s*:\s*(?P<value>"[^"]*"|'[^']*'|[^,{}\[\]\n]+)"""
)


def configuration_object(persist: Persist) -> dict[str, Any]:
    """What is applied: the one field of kubeadm-config."""
    metadata = {"name": "kubeadm-config", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: persist.text}}


def persist_steps(
    persist: Persist, told: Told | None, owner: tuple[int, int], blobs: dict[str, bytes]
) -> Iterator[Step]:
    """The patch file first: kubeadm-config is there for all nodes."""
    if persist.patches:
        before = persist.patched.stamp if persist.patched else None
        after: Stamp | None = stamp(persist.patch, MODE, *owner) if persist.patch else None
        if persist.patched:
            blobs[persist.patched.stamp.digest] = persist.patched.content
        if after:
            blobs[after.digest] = persist.patch
        yield Step(persist.file, FileChange(persist.file, before, after))
    if told:
        change, contents = told
        blobs |= contents
        yield Step(TARGET, change)


def shown_persist(persist: Persist, change: Change) -> ShownChange:
    """One of these changes for people, as a diff."""
    if isinstance(change, ObjectChange):
        before = persist.live["data"][KEY] if persist.live else ""
        diff = unified_diff(_without_others(before), _without_others(persist.text), TARGET)
        return ShownChange("change", TARGET, "", diff)
    old = persist.patched.content if persist.patched else b""
    action = "remove" if not persist.patch else "change" if old else "create"
    diff = unified_diff(old.decode(), persist.patch.decode(), persist.file)
    return ShownChange(action, persist.file, "for kubeadm upgrade … --patches", diff)


def _without_others(text: str) -> str:
    """The text without values of others in braces: such a line changes as a whole, and they may be secret."""
    return _BRACES.sub(_of_the_layer, text)


def _of_the_layer(braces: re.Match[str]) -> str:
    ours = {"name", *AGGREGATION_FLAGS}
    if any(name in braces[0] for name in AGGREGATION_FLAGS):
        ours.add("value")

    def pair(found: re.Match[str]) -> str:
        return found[0] if found["key"] in ours else found[0].removesuffix(found["value"]) + "…"

    return _PAIR.sub(pair, braces[0])
