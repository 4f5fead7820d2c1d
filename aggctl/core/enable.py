"""Decide how to switch the layer on: from a Snapshot to a Sight of the node, and from that to a Plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.cluster_view import ClusterView, broken_by_routing
from aggctl.core.findings import Finding
from aggctl.core.layer_files import LayerFiles, see_files
from aggctl.core.need import Need, Wanted, find_need
from aggctl.core.node import Node, see_node
from aggctl.core.node_change import (
    cluster_or_silence,
    folder_steps,
    folders_above,
    in_force,
    linked,
    manifest_step,
    new_manifest,
    not_writable,
    refused_flags,
    shown_text,
    silent,
    undo_gate,
)
from aggctl.core.persist.decide import NOTHING, Persist, see_persist
from aggctl.core.persist.patch import FILE
from aggctl.core.persist.steps import Told, persist_steps, shown_persist
from aggctl.core.plan import Condition, FileChange, FolderChange, Gate, ObjectChange, Plan, Step, stamp
from aggctl.core.report import ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from aggctl.core.pki import KeyPair
    from aggctl.core.plan import Change
    from aggctl.core.questions import FolderSeen, Stamp, Unknown
    from aggctl.core.snapshot import Snapshot

MINIMUM_MINOR = 7
"""The aggregation layer came with Kubernetes 1.7."""

_SILENT_SERVER = frozenset({"apiserver-not-reachable", "apiserver-not-ready", "apiserver-tls-failed"})
"""A kube-apiserver that is down: --repair may bring it back. Wrong credentials are another matter."""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that `enable` goes by. `cluster` is None where the API does not answer, `silence` says why.

    `folders` are those that certificates will be written to, and those above the ones that are missing.
    """

    node: Node
    files: LayerFiles
    folders: Mapping[str, FolderSeen | None]
    cluster: ClusterView | None
    silence: Unknown | None
    need: Need
    problems: tuple[Finding, ...]
    persist: Persist = NOTHING

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth saying, whatever is done."""
        return (*self.need.notes, *self.persist.notes)

    @property
    def restarts(self) -> bool:
        """Whether the manifest changes, and so kube-apiserver restarts."""
        return bool(self.need.flags or self.need.mounts)

    @property
    def only_silent(self) -> bool:
        """Whether the cluster's silence is all that stands in the way, so that a plan can be shown.

        A published CA that cannot be read is no silence: the plan might show a second one.
        """
        code = self.silence.code if self.silence else ""
        speechless = code in _SILENT_SERVER or code.startswith("kubeconfig-")
        return speechless and [each.code for each in self.problems] == [code]


@dataclass(frozen=True, slots=True)
class Minted:
    """Certificates made or brought for this plan; None where the present ones stay."""

    ca: KeyPair | None = None
    client: KeyPair | None = None


def see(snapshot: Snapshot, wanted: Wanted, now: datetime) -> Sight:
    """Look at node, files and cluster, and decide what is needed; Refused where there is no way on."""
    try:
        return _see(snapshot, wanted, now)
    except NotKnown as not_known:
        unknown = not_known.unknown
        way = "sudo aggctl enable" if unknown.code == "no-rights" else f"aggctl explain {unknown.code}"
        raise Refused(unknown.code, unknown.reason, do=way) from not_known


def _see(snapshot: Snapshot, wanted: Wanted, now: datetime) -> Sight:
    node = see_node(snapshot, wanted.manifest)
    files = see_files(snapshot, node, wanted.pki_dir.rstrip("/"))
    cluster, silence = cluster_or_silence(snapshot, node.server)
    need = find_need(node, files, cluster, wanted, now)
    persist = NOTHING if need.problems else see_persist(snapshot, node, need, cluster or silence, wanted)
    folders = folders_above(snapshot, (*_homes(files, need), *persist.folders))
    problems = [*need.problems, *_version_problems(node, cluster), *persist.problems]
    if silence and not (wanted.repair and silence.code in _SILENT_SERVER):
        said = {silence.code, "apiserver-not-reachable"}
        problems = [silent(silence, "enable"), *(each for each in problems if each.code not in said)]
    if not problems:
        problems += _late_problems(snapshot, Sight(node, files, folders, cluster, silence, need, ()))
    return Sight(node, files, folders, cluster, silence, need, tuple(problems), persist)


def plan_enable(sight: Sight, minted: Minted, wanted: Wanted, told: Told | None = None) -> Plan:
    """The steps: certificates first, each after its key, then the manifest, with the gate.

    What `kubeadm upgrade` is told comes behind the gate: of a change that failed it never hears.
    """
    blobs: dict[str, bytes] = {}
    steps = [
        *folder_steps(sight.folders, {}),
        *_certificate_steps(sight, minted, blobs),
        *_manifest_step(sight, blobs),
    ]
    if steps:
        gate = Gate(live_conditions(sight), wanted.deadline)
        undone = undo_gate(sight.node, wanted.deadline, answers=sight.cluster is not None)
        steps[-1] = replace(steps[-1], gate=gate, undo_gate=undone)
    steps += persist_steps(sight.persist, told, (sight.node.folder.uid, sight.node.folder.gid), blobs)
    keep = (sight.files.ca_at.host, sight.files.ca_key_at) if sight.need.ca_source else ()
    return Plan("enable", "switch the aggregation layer on", tuple(steps), blobs, keep)


def live_conditions(sight: Sight) -> tuple[Condition, ...]:
    """What is true where the layer is on: the gate of `enable`, and the proof of "nothing to do"."""
    node, files = sight.node, sight.files
    return (
        in_force(node, sight.need.flags, sight.need.mounts),
        Condition("apiserver-ready", (("server", node.server), ("manifest", node.manifest.path))),
        Condition(
            "layer-published",
            (("server", node.server), ("ca", files.ca_at.host), ("names", ",".join(sight.need.names))),
        ),
        Condition(
            "identity-accepted",
            (
                ("server", node.server),
                ("certificate", files.certificate_at.host),
                ("key", files.key_at.host),
            ),
        ),
    )


def shown_changes(sight: Sight, plan: Plan) -> tuple[ShownChange, ...]:
    """The plan for people; a key shows as its name alone, the manifest as a diff."""
    return tuple(_shown(sight, step.change, plan) for step in plan.steps)


def _homes(files: LayerFiles, need: Need) -> tuple[str, ...]:
    """The folders that certificates will be written to."""
    written = [files.ca_at.host, files.ca_key_at] if need.ca_source else []
    if need.client_name:
        written += [files.certificate_at.host, files.key_at.host]
    return tuple(dict.fromkeys(path.rpartition("/")[0] for path in written))


# --- what stands in the way -------------------------------------------------------------------------------


def _version_problems(node: Node, cluster: ClusterView | None) -> Iterator[Finding]:
    version = cluster.version if cluster else node.manifest.image.rpartition(":")[2]
    parts = version.lstrip("v").split(".")
    if len(parts) > 1 and parts[0] == "1" and parts[1].isdigit() and int(parts[1]) < MINIMUM_MINOR:
        yield Finding(
            code="version-too-old",
            severity="error",
            subject="kube-apiserver",
            message=f"kube-apiserver {version} has no aggregation layer",
            expected="v1.7 or later",
            fix="upgrade the cluster first",
        )


def _late_problems(snapshot: Snapshot, sight: Sight) -> Iterator[Finding]:
    """Preconditions that are worth a look only where the rest is in order."""
    node, need = sight.node, sight.need
    way = "aggctl enable --pki-dir {}     (it must be mounted into the Pod)"
    yield from linked(sight.folders, "pki-is-a-link", way)
    yield from not_writable(node, sight.folders, "enable", restarts=sight.restarts)
    if sight.restarts:
        yield from refused_flags(snapshot, node, need.flags)
    if need.flags.get(f.ROUTING) == "true" and sight.cluster:
        yield from _routing_problems(snapshot, node.server, sight.cluster)


def _routing_problems(snapshot: Snapshot, server: str, cluster: ClusterView) -> Iterator[Finding]:
    for api, reason in broken_by_routing(snapshot, server, cluster.aggregated):
        yield Finding(
            code="routing-breaks-service",
            severity="error",
            subject=api,
            message=f"{api} would stop answering with --{f.ROUTING}=true: {reason}",
            expected="Services with endpoints that this node reaches",
            fix="aggctl enable --routing keep",
        )


# --- the plan ---------------------------------------------------------------------------------------------


def _certificate_steps(sight: Sight, minted: Minted, blobs: dict[str, bytes]) -> Iterator[Step]:
    files = sight.files
    wanted = [
        (files.ca_key_at, minted.ca.key if minted.ca else b"", 0o600),
        (files.ca_at.host, minted.ca.certificate if minted.ca else b"", 0o644),
        (files.key_at.host, minted.client.key if minted.client else b"", 0o600),
        (files.certificate_at.host, minted.client.certificate if minted.client else b"", 0o644),
    ]
    for path, content, mode in wanted:
        if content:
            before = _before(sight, path)
            owner = sight.folders[path.rpartition("/")[0]] or sight.node.folder
            after = stamp(
                content, mode, before.uid if before else owner.uid, before.gid if before else owner.gid
            )
            blobs[after.digest] = content
            yield Step(path, FileChange(path, before, after))


def _before(sight: Sight, path: str) -> Stamp | None:
    files = sight.files
    present = {
        files.ca_at.host: files.ca,
        files.ca_key_at: files.ca_key,
        files.key_at.host: files.key,
        files.certificate_at.host: files.certificate_file,
    }[path]
    return present.stamp if present else None


def _manifest_step(sight: Sight, blobs: dict[str, bytes]) -> Iterator[Step]:
    if sight.restarts:
        need = sight.need
        yield manifest_step(sight.node, new_manifest(sight.node, need.flags, need.mounts, blobs))


def _shown(sight: Sight, change: Change, plan: Plan) -> ShownChange:
    if isinstance(change, ObjectChange) or change.path == FILE:
        return shown_persist(sight.persist, change)
    if isinstance(change, FolderChange):
        return ShownChange("create", change.path, "0755   folder")
    if change.path == sight.node.manifest.path:
        return shown_text(change, plan)
    action = "change" if change.before else "create"
    mode = f"{change.after.mode:04o}" if change.after else ""
    return ShownChange(action, change.path, f"{mode}   {_purpose(sight, change.path)}".rstrip())


def _purpose(sight: Sight, path: str) -> str:
    source = {"mint": "a new CA, 10 y", "given": "the given CA", "kept": "the CA of an earlier try"}
    if path == sight.files.ca_at.host:
        return source.get(sight.need.ca_source, "")
    if path == sight.files.certificate_at.host:
        return f"CN {sight.need.client_name or 'as given'}, 1 y"
    owner = sight.files.ca_at.host if path == sight.files.ca_key_at else sight.files.certificate_at.host
    return f"key of {owner}"
