"""Decide how to switch the layer on: from a Snapshot to a Sight of the node, and from that to a Plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.cluster_view import ClusterView, broken_by_routing, see_cluster
from aggctl.core.findings import Finding
from aggctl.core.layer_files import LayerFiles, see_files
from aggctl.core.manifest import edit_manifest
from aggctl.core.need import Need, Wanted, find_need
from aggctl.core.node import Node, see_node
from aggctl.core.persist.decide import NOTHING, Persist, see_persist
from aggctl.core.persist.patch import FILE
from aggctl.core.persist.steps import Told, persist_steps, shown_persist
from aggctl.core.plan import Condition, FileChange, FolderChange, Gate, ObjectChange, Plan, Step, stamp
from aggctl.core.questions import FolderAt
from aggctl.core.report import ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import unified_diff
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from aggctl.core.pki import KeyPair
    from aggctl.core.plan import Change
    from aggctl.core.questions import FolderSeen, ProcessSeen, Stamp, Unknown
    from aggctl.core.snapshot import Snapshot

MINIMUM_MINOR = 7
"""The aggregation layer came with Kubernetes 1.7."""

_WAYS_TO_AN_ANSWER = {
    "clock-wrong": "set the clock: chronyc makestep     (or: timedatectl set-ntp true)",
    "apiserver-not-trusted": "date -u, then: aggctl enable --kubeconfig /etc/kubernetes/admin.conf",
    "kubeconfig-not-accepted": "kubeadm certs check-expiration; kubeadm certs renew admin.conf",
    "no-rights-in-cluster": "aggctl enable --kubeconfig /etc/kubernetes/admin.conf",
    "apiserver-not-reachable": "crictl ps -a --name kube-apiserver",
}

_SILENT_SERVER = frozenset({"apiserver-not-reachable", "apiserver-not-ready", "apiserver-tls-failed"})
"""A kube-apiserver that is down: --repair may bring it back. Wrong credentials are another matter."""

UNDO_SECONDS = 240.0
"""Putting back is given its time, however short the deadline of what failed."""

STEADY_SECONDS = 3.0
"""After an undo the old kube-apiserver must stay this long: the kubelet may still be about to stop it."""


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
    cluster, silence = _cluster(snapshot, node.server)
    need = find_need(node, files, cluster, wanted, now)
    persist = NOTHING if need.problems else see_persist(snapshot, node, need, cluster or silence, wanted)
    folders = _folders(snapshot, (*_homes(files, need), *persist.folders))
    problems = [*need.problems, *_version_problems(node, cluster), *persist.problems]
    if silence and not (wanted.repair and silence.code in _SILENT_SERVER):
        said = {silence.code, "apiserver-not-reachable"}
        problems = [_silent(silence), *(each for each in problems if each.code not in said)]
    if not problems:
        problems += _late_problems(snapshot, Sight(node, files, folders, cluster, silence, need, ()))
    return Sight(node, files, folders, cluster, silence, need, tuple(problems), persist)


def plan_enable(sight: Sight, minted: Minted, wanted: Wanted, told: Told | None = None) -> Plan:
    """The steps: certificates first, each after its key, then the manifest, with the gate.

    What `kubeadm upgrade` is told comes behind the gate: of a change that failed it never hears.
    """
    blobs: dict[str, bytes] = {}
    steps = [*_folder_steps(sight), *_certificate_steps(sight, minted, blobs), *_manifest_step(sight, blobs)]
    if steps:
        gate = Gate(live_conditions(sight), wanted.deadline)
        steps[-1] = replace(steps[-1], gate=gate, undo_gate=_undo_gate(sight, wanted))
    steps += persist_steps(sight.persist, told, (sight.node.folder.uid, sight.node.folder.gid), blobs)
    keep = (sight.files.ca_at.host, sight.files.ca_key_at) if sight.need.ca_source else ()
    return Plan("enable", "switch the aggregation layer on", tuple(steps), blobs, keep)


def live_conditions(sight: Sight) -> tuple[Condition, ...]:
    """What is true where the layer is on: the gate of `enable`, and the proof of "nothing to do"."""
    node, files = sight.node, sight.files
    return (
        _runs(node, sight.need),
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


def _folders(snapshot: Snapshot, homes: tuple[str, ...]) -> dict[str, FolderSeen | None]:
    snapshot.expect(*(FolderAt(home) for home in homes))
    found: dict[str, FolderSeen | None] = {}
    for home in homes:
        path = home
        while path and path not in found:
            found[path] = snapshot.folder(path)
            path = "" if found[path] else path.rpartition("/")[0]
    return found


# --- what stands in the way -------------------------------------------------------------------------------


def _cluster(snapshot: Snapshot, server: str) -> tuple[ClusterView | None, Unknown | None]:
    try:
        return see_cluster(snapshot, server), None
    except NotKnown as not_known:
        return None, not_known.unknown


def _silent(silence: Unknown) -> Finding:
    return Finding(
        code=silence.code,
        severity="error",
        subject="kube-apiserver",
        message=silence.reason,
        expected="an answer, to see which front-proxy CA the cluster publishes and which nodes it has",
        fix=_WAYS_TO_AN_ANSWER.get(silence.code, f"aggctl explain {silence.code}"),
    )


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
    yield from (_linked(path, seen.link) for path, seen in sight.folders.items() if seen and seen.link)
    writes = {node.manifest.path.rpartition("/")[0]: node.folder} if sight.restarts else {}
    for path, folder in {**writes, **sight.folders}.items():
        if folder and not folder.writable:
            yield _not_writable(path)
    process = node.process or (node.processes[-1] if node.processes else None)
    if sight.restarts and process:
        yield from _refused_flags(snapshot, node, process, need)
    if need.flags.get(f.ROUTING) == "true" and sight.cluster:
        yield from _routing_problems(snapshot, node.server, sight.cluster)


def _refused_flags(snapshot: Snapshot, node: Node, process: ProcessSeen, need: Need) -> Iterator[Finding]:
    """Ask the running binary about the whole new command line: the restart brings all of it into force."""
    try:
        complaint = snapshot.complaint(process.pid, _new_flags(node, process, need))
    except NotKnown:
        return  # the gate will tell; a binary that cannot be asked is no fault of the flags
    if complaint:
        yield Finding(
            code="flag-refused",
            severity="error",
            subject=node.manifest.path,
            message=f"the running kube-apiserver refuses what {node.manifest.path} would say: {complaint}",
            expected="flags that this version takes",
            fix=f"correct {node.manifest.path}, then run again",
        )


def _new_flags(node: Node, process: ProcessSeen, need: Need) -> tuple[str, ...]:
    """The flags after the change; of those with $(VAR) the running process knows the value."""
    kept = [flag for flag in node.manifest.flags if flag.name not in need.flags]
    running = {word[2:].partition("=")[0]: word for word in _joined(process.argv)}
    words = [f"--{flag.name}" if flag.value is None else f"--{flag.name}={flag.value}" for flag in kept]
    return (
        *(running.get(word[2:].partition("=")[0], word) if "$(" in word else word for word in words),
        *(f"--{name}={value}" for name, value in need.flags.items()),
    )


def _joined(argv: tuple[str, ...]) -> Iterator[str]:
    """The flags of a process as `--name=value`, also where the value is a word of its own."""
    for word, following in zip(argv, (*argv[1:], "-"), strict=True):
        if word.startswith("--"):
            yield word if "=" in word or following.startswith("-") else f"{word}={following}"


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


def _linked(path: str, target: str) -> Finding:
    return Finding(
        code="pki-is-a-link",
        severity="error",
        subject=path,
        message=f"{path} is reached through a symbolic link to {target}; nothing is written through it",
        expected="a folder",
        fix=f"name the folder itself: aggctl enable --pki-dir {target}     (it must be mounted into the Pod)",
    )


def _not_writable(path: str) -> Finding:
    return Finding(
        code="folder-not-writable",
        severity="error",
        subject=path,
        message=f"{path} cannot be written",
        expected="a file system that is mounted writable, and the rights of root",
        fix="sudo aggctl enable     (on an immutable system its own configuration is the way)",
    )


# --- the plan ---------------------------------------------------------------------------------------------


def _folder_steps(sight: Sight) -> Iterator[Step]:
    for path in sorted(path for path, seen in sight.folders.items() if seen is None):
        yield Step(f"folder {path}", FolderChange(path, 0o755))


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
    if not sight.restarts:
        return
    node = sight.node
    content = edit_manifest(node.manifest, sight.need.flags, sight.need.mounts).encode()
    before = node.file.stamp
    after = stamp(content, before.mode, before.uid, before.gid)
    blobs[before.digest], blobs[after.digest] = node.file.content, content
    yield Step(node.manifest.path, FileChange(node.manifest.path, before, after))


def _undo_gate(sight: Sight, wanted: Wanted) -> Gate | None:
    """Healthy again, where it was healthy before; where the API was down its files are all that is owed."""
    if sight.cluster is None or sight.node.process is None:
        return None
    return Gate(
        (
            Condition("manifest-in-force", (("manifest", sight.node.manifest.path),)),
            Condition("apiserver-ready", (("server", sight.node.server),)),
        ),
        max(wanted.deadline, UNDO_SECONDS),
        steady=STEADY_SECONDS,
    )


def _runs(node: Node, need: Need) -> Condition:
    """The new process by its arguments; by being another one, where a mount is all that changes."""
    process = node.process
    same_arguments = need.mounts and not need.flags and process is not None
    unlike = f"{process.pid}:{process.started:.0f}" if same_arguments and process else ""
    return Condition("manifest-in-force", (("manifest", node.manifest.path), ("unlike", unlike), ("logs", 1)))


def _shown(sight: Sight, change: Change, plan: Plan) -> ShownChange:
    if isinstance(change, ObjectChange) or change.path == FILE:
        return shown_persist(sight.persist, change)
    if isinstance(change, FolderChange):
        return ShownChange("create", change.path, "0755   folder")
    action = "change" if change.before else "create"
    if change.path == sight.node.manifest.path and change.before and change.after:
        old, new = (plan.blobs[each.digest].decode() for each in (change.before, change.after))
        return ShownChange(action, change.path, "", unified_diff(old, new, change.path))
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
