"""Decide what has to be written for `kubeadm upgrade` to keep a manifest: in kubeadm-config, or on the node.

kubeadm-config reaches every node at its next upgrade. So a flag goes there only where no other kube-apiserver
runs with another value, and one that names a file only where all run with it; else it is this node's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.cluster_view import ClusterView
from aggctl.core.findings import Finding
from aggctl.core.manifest import edit_manifest, read_manifest
from aggctl.core.persist.configuration import (
    FILES,
    KEY,
    PATH,
    TARGET,
    agree,
    not_editable,
    read_configuration,
)
from aggctl.core.persist.edit import edit_configuration
from aggctl.core.persist.patch import FILE, FOLDER, is_ours, mounts_for, patch_file
from aggctl.core.persist.servers import flags_of, goes_with, other_servers, shared_flags
from aggctl.core.questions import FileAt, ObjectAt
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.manifest import Manifest
    from aggctl.core.need import Need, Wanted
    from aggctl.core.node import Node
    from aggctl.core.persist.servers import Server
    from aggctl.core.questions import FileSeen, Unknown
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Persist:
    """What `kubeadm upgrade` has to be told. `live` is kubeadm-config as it is, None where it is not touched.

    `patch` is what the patch `file` is to hold, empty for no file; `patched` is that file as it is.
    """

    live: Object | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    patch: bytes = field(default=b"", repr=False)
    patched: FileSeen | None = None
    notes: tuple[Finding, ...] = ()
    problems: tuple[Finding, ...] = ()
    file: str = FILE

    @property
    def edits(self) -> bool:
        """Whether kubeadm-config changes."""
        return self.live is not None and self.text != self.live["data"][KEY]

    @property
    def patches(self) -> bool:
        """Whether the patch file changes."""
        return self.patch != (self.patched.content if self.patched else b"")

    @property
    def nothing(self) -> bool:
        """Whether all is as it is to be."""
        return not (self.edits or self.patches)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that are written to."""
        return (FOLDER,) if self.patches else ()


NOTHING = Persist()


def see_persist(
    snapshot: Snapshot, node: Node, need: Need, cluster: ClusterView | Unknown | None, wanted: Wanted
) -> Persist:
    """What to write, for the manifest as it is going to be; `cluster` may be why nothing is known of it."""
    mode = wanted.persist
    if mode == "none":
        return Persist(notes=(_left_alone("aggctl enable     (without --persist none; no restart)"),))
    if not wanted.awaited and not need.nothing:
        return Persist(notes=(_left_alone("once the change is in force: aggctl enable     (no restart)"),))
    if not isinstance(cluster, ClusterView):
        return _without(mode, _not_readable(cluster.reason if cluster else "the API is silent"))
    server = node.server
    try:
        snapshot.expect(ObjectAt(PATH, server), ObjectAt(APISERVER_PODS, server), FileAt(FILE))
        live = snapshot.object(PATH, server)
        if live is None or KEY not in (live.get("data") or {}):
            return _without(mode, _not_found()) if mode == "kubeadm" else NOTHING
        others = other_servers(snapshot, node)
        patched = snapshot.file(FILE)
    except NotKnown as not_known:
        return _without(mode, _not_readable(not_known.unknown.reason))
    if unseen := [each for each in cluster.peers if not any(each in other.addresses for other in others)]:
        return _without(mode, _not_readable(f"no Pod shows the flags of the kube-apiserver at {unseen[0]}"))
    text = edit_manifest(node.manifest, need.flags, need.mounts)
    return _decide(live, read_manifest(text.encode(), node.manifest.path), others, patched)


def _decide(live: Object, after: Manifest, others: tuple[Server, ...], patched: FileSeen | None) -> Persist:
    configuration = read_configuration(live["data"][KEY])
    wanted = flags_of(after)
    if variable := next((name for name, value in wanted.items() if "$(" in value), ""):
        raise not_editable(f"--{variable}={wanted[variable]} names a variable that kubeadm does not set")
    shared = shared_flags(configuration, wanted, others)
    text = edit_configuration(configuration, {name: wanted[name] for name in shared})
    own = {
        name: value
        for name, value in wanted.items()
        if name not in shared and not agree(name, configuration.value(name), value)
    }
    flags = {name: value for name, value in own.items() if name not in f.LISTS}
    unseen = (value for name, value in flags.items() if name in FILES and not configuration.mounts(value))
    foreign = patched.content if patched and not is_ours(patched.content) else b""
    patch = patch_file(flags, mounts_for(after, unseen)) or foreign
    return Persist(
        live=live,
        text=text,
        patch=patch,
        patched=patched,
        notes=tuple(_differs_elsewhere(name, own[name], others) for name in own if name in f.LISTS),
        problems=(taken(),) if foreign not in (b"", patch) else (),
    )


# --- words ------------------------------------------------------------------------------------------------


def _without(mode: str, finding: Finding) -> Persist:
    """Nothing is written: a reason to refuse where it was asked for, else worth a line."""
    return Persist(problems=(finding,)) if mode == "kubeadm" else Persist(notes=(_as_note(finding),))


def _as_note(finding: Finding) -> Finding:
    return Finding(finding.code, "info", finding.subject, finding.message, finding.fix)


def _not_found() -> Finding:
    return Finding(
        code="kubeadm-config-not-found",
        severity="error",
        subject=TARGET,
        message="it is not there, so that this cluster was not made by kubeadm, or is not upgraded by it",
        expected=f"a ConfigMap with data.{KEY}",
        fix="aggctl enable --persist none     (and keep the flags where the manifest comes from)",
    )


def _not_readable(reason: str) -> Finding:
    return Finding(
        code="kubeadm-config-not-readable",
        severity="error",
        subject=TARGET,
        message=f"the next kubeadm upgrade may drop what is changed: {reason}",
        expected=f"{TARGET}, and the Pod of every kube-apiserver, because it reaches all of them",
        fix="run again once that is mended: aggctl enable",
    )


def _left_alone(fix: str) -> Finding:
    return Finding(
        code="kubeadm-config-left-alone",
        severity="info",
        subject=TARGET,
        message="the next kubeadm upgrade writes the manifest from it, and drops what it does not say",
        fix=fix,
    )


def _differs_elsewhere(name: str, ours: str, others: tuple[Server, ...]) -> Finding:
    other = next(each for each in others if not goes_with(name, each.flags[name], ours))
    return Finding(
        code="kubeadm-config-differs",
        severity="warning",
        subject=TARGET,
        message=f"--{name}={ours} is not written there, as {other.name} runs with {other.flags[name]}",
        expected="one value on every node: the next kubeadm upgrade sets it on all of them",
        fix="make them one, in the manifests or by: aggctl enable --repair     (then here: aggctl enable)",
    )


def taken(file: str = FILE) -> Finding:
    """Somebody else's file is where a patch has to go."""
    return Finding(
        code="kubeadm-patch-taken",
        severity="error",
        subject=file,
        message="a patch for kubeadm is to be written there, and the file is somebody else's",
        expected="no file, or one that aggctl wrote",
        fix=f"mv {file} {FOLDER}/kube-apiserver-mine+json.yaml     (then run again)",
    )
