"""A change of kube-apiserver's manifest, whoever makes it: what stands in its way, its steps and gates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.cluster_view import ClusterView, see_cluster
from aggctl.core.findings import Finding
from aggctl.core.manifest import edit_manifest
from aggctl.core.node import secure_port
from aggctl.core.plan import Argument, Condition, FileChange, FolderChange, Gate, Step, stamp
from aggctl.core.questions import FolderAt
from aggctl.core.report import ShownChange
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import unified_diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aggctl.core.manifest import NewMount
    from aggctl.core.node import Node
    from aggctl.core.plan import Plan
    from aggctl.core.questions import FileSeen, FolderSeen, ProcessSeen, Stamp, Unknown
    from aggctl.core.snapshot import Snapshot

UNDO_SECONDS = 240.0
"""Putting back is given its time, however short the deadline of what failed."""

STEADY_SECONDS = 3.0
"""After an undo the old kube-apiserver must stay this long: the kubelet may still be about to stop it."""

UNSAFE_MOUNTS = frozenset(
    {"", "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin"}
    | {"/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/sbin", "/var"}  # noqa: S108 -- compared with, never written to
    | {"/etc/kubernetes/manifests", "/etc/ssl", "/var/lib", "/var/run"}
)
"""What the image has in these places (its binary, its roots of trust) a mount would hide."""

Folders = dict[str, "FolderSeen | None"]


# --- seeing -----------------------------------------------------------------------------------------------


def cluster_or_silence(snapshot: Snapshot, server: str) -> tuple[ClusterView | None, Unknown | None]:
    """What this node's kube-apiserver tells, or why it tells nothing."""
    try:
        return see_cluster(snapshot, server), None
    except NotKnown as not_known:
        return None, not_known.unknown


def folders_above(snapshot: Snapshot, homes: tuple[str, ...]) -> Folders:
    """The folders that are written to, and those above the ones that are missing."""
    snapshot.expect(*(FolderAt(home) for home in homes))
    found: Folders = {}
    for home in homes:
        path = home
        while path and path not in found:
            found[path] = snapshot.folder(path)
            path = "" if found[path] else path.rpartition("/")[0]
    return found


# --- what stands in the way -------------------------------------------------------------------------------


def silent(silence: Unknown, command: str) -> Finding:
    """The cluster tells nothing, and what is known of it is needed."""
    elsewhere = f"aggctl {command} --kubeconfig /etc/kubernetes/admin.conf"
    ways = {
        "clock-wrong": "set the clock: chronyc makestep     (or: timedatectl set-ntp true)",
        "apiserver-not-trusted": f"date -u, then: {elsewhere}",
        "kubeconfig-not-accepted": "kubeadm certs check-expiration; kubeadm certs renew admin.conf",
        "no-rights-in-cluster": elsewhere,
        "apiserver-not-reachable": "crictl ps -a --name kube-apiserver",
    }
    return Finding(
        code=silence.code,
        severity="error",
        subject="kube-apiserver",
        message=silence.reason,
        expected="an answer, to see what the cluster publishes and which nodes it has",
        fix=ways.get(silence.code, f"aggctl explain {silence.code}"),
    )


def linked(places: Mapping[str, FolderSeen | FileSeen | None], code: str, way: str) -> Iterator[Finding]:
    """What is reached through a link; `way` names another one, with {} for where the link leads."""
    for path, seen in places.items():
        if seen and seen.link:
            yield Finding(
                code=code,
                severity="error",
                subject=path,
                message=f"{path} is reached through a symbolic link to {seen.link}; "
                "nothing is written through it",
                expected="no link on the way",
                fix=f"name the place itself: {way.format(seen.link)}",
            )


def not_writable(
    node: Node, folders: Mapping[str, FolderSeen | None], command: str, *, restarts: bool
) -> Iterator[Finding]:
    """Folders that are to be written and cannot be; the manifest's own where it changes."""
    writes = {node.manifest.path.rpartition("/")[0]: node.folder} if restarts else {}
    for path, folder in {**writes, **folders}.items():
        if folder and not folder.writable:
            yield Finding(
                code="folder-not-writable",
                severity="error",
                subject=path,
                message=f"{path} cannot be written",
                expected="a file system that is mounted writable, and the rights of root",
                fix=f"sudo aggctl {command}     (on an immutable system its own configuration is the way)",
            )


def refused_flags(snapshot: Snapshot, node: Node, flags: Mapping[str, str]) -> Iterator[Finding]:
    """Ask the running binary about the whole new command line: the restart brings all of it into force."""
    process = node.process or (node.processes[-1] if node.processes else None)
    if process is None:
        return
    try:
        complaint = snapshot.complaint(process.pid, _new_flags(node, process, flags))
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


def _new_flags(node: Node, process: ProcessSeen, flags: Mapping[str, str]) -> tuple[str, ...]:
    """The flags after the change; of those with $(VAR) the running process knows the value."""
    kept = [flag for flag in node.manifest.flags if flag.name not in flags]
    running = {word[2:].partition("=")[0]: word for word in _joined(process.argv)}
    words = [f"--{flag.name}" if flag.value is None else f"--{flag.name}={flag.value}" for flag in kept]
    return (
        *(running.get(word[2:].partition("=")[0], word) if "$(" in word else word for word in words),
        *(f"--{name}={value}" for name, value in flags.items()),
    )


def _joined(argv: tuple[str, ...]) -> Iterator[str]:
    """The flags of a process as `--name=value`, also where the value is a word of its own."""
    for word, following in zip(argv, (*argv[1:], "-"), strict=True):
        if word.startswith("--"):
            yield word if "=" in word or following.startswith("-") else f"{word}={following}"


# --- steps and gates --------------------------------------------------------------------------------------


def folder_steps(folders: Mapping[str, FolderSeen | None], modes: Mapping[str, int]) -> Iterator[Step]:
    """The folders that are missing, from the top, each with its mode (0755 where none is named)."""
    for path in sorted(path for path, seen in folders.items() if seen is None):
        yield Step(f"folder {path}", FolderChange(path, modes.get(path, 0o755)))


def new_manifest(
    node: Node, flags: Mapping[str, str], mounts: Sequence[NewMount], blobs: dict[str, bytes]
) -> Stamp:
    """The stamp of the manifest as it is going to be; its text and today's go to the blobs."""
    content = edit_manifest(node.manifest, flags, mounts).encode()
    before = node.file.stamp
    after = stamp(content, before.mode, before.uid, before.gid)
    blobs[before.digest], blobs[after.digest] = node.file.content, content
    return after


def manifest_step(node: Node, after: Stamp) -> Step:
    """The manifest in its new form, which the kubelet restarts kube-apiserver for."""
    return Step(node.manifest.path, FileChange(node.manifest.path, node.file.stamp, after))


def while_stopped(
    node: Node, steps: Iterable[Step], after: Stamp, gates: tuple[Gate, Gate | None], seconds: float
) -> tuple[Step, ...]:
    """The steps with kube-apiserver away meanwhile: its manifest goes first, and comes back last as `after`.

    So the kubelet's own documentation has a static Pod restarted. `gates` are what is waited for once it is
    back, and once it is back after an undo; `seconds` is how long it may take to end.
    """
    manifest, (back, undone) = node.manifest.path, gates
    gone = Gate(
        (condition("apiserver-stopped", port=secure_port(node.manifest)),),
        seconds,
        waits_for="kube-apiserver to end",
    )
    return (
        Step(
            "kube-apiserver ends",
            FileChange(manifest, node.file.stamp, None),
            gate=gone,
            undo_gate=undone,
        ),
        *(replace(each, gate=None, undo_gate=None) for each in steps),
        Step("kube-apiserver starts", FileChange(manifest, None, after), gate=back, undo_gate=gone),
    )


def in_force(node: Node, flags: Mapping[str, str], mounts: Sequence[NewMount]) -> Condition:
    """The new process by its arguments; by being another one, where a mount is all that changes."""
    process = node.process
    same_arguments = mounts and not flags and process is not None
    unlike = f"{process.pid}:{process.started:.0f}" if same_arguments and process else ""
    return condition("manifest-in-force", manifest=node.manifest.path, unlike=unlike, logs=1)


def undo_gate(node: Node, deadline: float, *, answers: bool) -> Gate | None:
    """Healthy again, where it was healthy before; where the API was down its files are all that is owed."""
    if not answers or node.process is None:
        return None
    return Gate(
        (
            condition("manifest-in-force", manifest=node.manifest.path),
            condition("apiserver-ready", server=node.server),
        ),
        max(deadline, UNDO_SECONDS),
        steady=STEADY_SECONDS,
    )


def condition(check: str, **arguments: Argument) -> Condition:
    """A condition with its arguments by name."""
    return Condition(check, tuple(arguments.items()))


def shown_text(change: FileChange, plan: Plan) -> ShownChange:
    """A text file's change for people, as a diff."""
    old, new = (plan.blobs[each.digest].decode() if each else "" for each in (change.before, change.after))
    return ShownChange(
        "change" if change.before else "create", change.path, "", unified_diff(old, new, change.path)
    )
