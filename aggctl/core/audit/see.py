"""Look at a node and its cluster, and decide what is missing for records of the aggregated APIs.

What is set stays: another policy, another log with its limits, a webhook. What cannot work is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.core.audit import words
from aggctl.core.audit.persist import see_persist
from aggctl.core.audit.policy import Policy, edit_policy, new_policy, read_policy
from aggctl.core.audit.settings import (
    LIMITS,
    LOG_FILE,
    LOG_FLAG,
    POLICY_FILE,
    POLICY_FLAG,
    REGISTRATION,
    STDOUT,
    Settings,
    read_settings,
)
from aggctl.core.manifest import NewMount, edit_manifest, read_manifest
from aggctl.core.manifest.model import mount_of
from aggctl.core.node import see_node
from aggctl.core.node_change import (
    UNSAFE_MOUNTS,
    cluster_or_silence,
    folders_above,
    linked,
    not_writable,
    refused_flags,
    silent,
)
from aggctl.core.persist.decide import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.audit.settings import Wanted
    from aggctl.core.cluster_view import ClusterView, ServiceOf
    from aggctl.core.findings import Finding
    from aggctl.core.manifest import Manifest
    from aggctl.core.node import Node
    from aggctl.core.persist.decide import Persist
    from aggctl.core.questions import FileSeen, FolderSeen
    from aggctl.core.snapshot import Snapshot

COMMAND = "audit enable"


@dataclass(frozen=True, slots=True)
class Place:
    """A file: its path in the container and on the host, and the folder to mount where none shows it yet."""

    inside: str
    host: str
    mount: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What is to be done. `levels` are the groups with their levels; `policy` is the new text of its file.

    `file` is the policy as it is, None where there is none; `log` is None where no file is written.
    """

    flags: Mapping[str, str]
    mounts: tuple[NewMount, ...]
    levels: Mapping[str, str]
    policy_at: Place
    policy: str
    file: FileSeen | None
    log: Place | None
    notes: tuple[Finding, ...]
    problems: tuple[Finding, ...]

    @property
    def edits(self) -> bool:
        """Whether the policy file changes, or is made."""
        return self.file is None or self.policy.encode() != self.file.content

    @property
    def nothing(self) -> bool:
        """Whether the node has all that it needs."""
        return not (self.flags or self.mounts or self.edits)


@dataclass(frozen=True, slots=True)
class Sight:
    """All that `audit enable` goes by; `folders` are those written to, and those above missing ones."""

    node: Node
    settings: Settings
    cluster: ClusterView | None
    need: Need
    folders: Mapping[str, FolderSeen | None]
    persist: Persist
    problems: tuple[Finding, ...]

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth saying, whatever is done."""
        return (*self.need.notes, *self.persist.notes)

    @property
    def restarts(self) -> bool:
        """Whether kube-apiserver restarts: it reads its flags and its policy at the start only."""
        return not self.need.nothing


def see(snapshot: Snapshot, wanted: Wanted) -> Sight:
    """Look, and decide; Refused or NotKnown where there is no way on."""
    node = see_node(snapshot, wanted.manifest)
    cluster, silence = cluster_or_silence(snapshot, node.server)
    settings = read_settings(node.manifest)
    need = _need(snapshot, node, settings, cluster, wanted)
    persist = NOTHING
    if cluster and not need.problems:
        text = edit_manifest(node.manifest, need.flags, need.mounts)
        after = read_manifest(text.encode(), node.manifest.path)
        persist = see_persist(snapshot, node.server, after, wanted.persist)
    sight = Sight(
        node=node,
        settings=settings,
        cluster=cluster,
        need=need,
        folders=folders_above(snapshot, (*_homes(snapshot, need), *persist.folders)),
        persist=persist,
        problems=(*([silent(silence, COMMAND)] if silence else []), *need.problems, *persist.problems),
    )
    return sight if sight.problems else replace(sight, problems=tuple(_late_problems(snapshot, sight)))


def _need(
    snapshot: Snapshot, node: Node, settings: Settings, cluster: ClusterView | None, wanted: Wanted
) -> Need:
    manifest = node.manifest
    policy_at = _place(manifest, settings.policy or POLICY_FILE)
    log = settings.log or wanted.log or ("" if settings.webhook else LOG_FILE)
    log_at = _place(manifest, log) if log not in ("", STDOUT) else None
    levels = _levels(cluster, wanted)
    file = snapshot.file(policy_at.host)
    policy = read_policy(file.content, policy_at.host) if file else None
    flags, limit_notes = _flags(manifest, settings, log, wanted)
    return Need(
        flags=flags,
        mounts=tuple(_mounts(manifest, policy_at, log_at)),
        levels=levels,
        policy_at=policy_at,
        policy=edit_policy(policy, levels) if policy else new_policy(levels),
        file=file,
        log=log_at,
        notes=(*limit_notes, *_notes(settings, log, cluster, wanted, policy)),
        problems=tuple(_problems(snapshot, node, settings, wanted, (policy_at, file), log_at)),
    )


def _levels(cluster: ClusterView | None, wanted: Wanted) -> dict[str, str]:
    """The groups that are recorded, each with its level."""
    named = wanted.groups or tuple(each.name.partition(".")[2] for each in _aggregated(cluster))
    groups = {REGISTRATION: "Metadata"} | dict.fromkeys(named, "Metadata")
    return groups | dict.fromkeys(wanted.bodies, "RequestResponse")


def _aggregated(cluster: ClusterView | None) -> tuple[ServiceOf, ...]:
    return cluster.aggregated if cluster else ()


def _place(manifest: Manifest, inside: str) -> Place:
    """Where a file of the container lies; what no volume shows is mounted under its own path."""
    host = manifest.host_path(inside)
    return Place(inside, host) if host else Place(inside, inside, inside.rpartition("/")[0])


def _mounts(manifest: Manifest, policy_at: Place, log_at: Place | None) -> Iterator[NewMount]:
    taken = {mount.name for mount in manifest.mounts}
    if policy_at.mount:
        yield NewMount(
            "audit-policy" if "audit-policy" not in taken else "aggctl-audit-policy", policy_at.mount
        )
    if log_at and log_at.mount:
        yield NewMount(
            "audit-log" if "audit-log" not in taken else "aggctl-audit-log", log_at.mount, writable=True
        )


def _flags(
    manifest: Manifest, settings: Settings, log: str, wanted: Wanted
) -> tuple[dict[str, str], list[Finding]]:
    """The flags to add, and notes on those that stay though another value was asked for."""
    flags = {} if settings.policy else {POLICY_FLAG: POLICY_FILE}
    if log and not settings.log:
        flags[LOG_FLAG] = log
    notes: list[Finding] = []
    asked = dict(wanted.limits)
    for name, usual in LIMITS.items() if log not in ("", STDOUT) else ():
        there = manifest.values(name)
        if not there and (name in asked or not settings.log):
            flags[name] = str(asked.get(name, usual))
        elif there and name in asked and there[-1] != str(asked[name]):
            notes.append(words.limit_stays(manifest, name, asked[name]))
    return flags, notes


def _homes(snapshot: Snapshot, need: Need) -> tuple[str, ...]:
    """The folders that are written to: the policy's, and the log's where it has to be made."""
    homes = [need.policy_at.host.rpartition("/")[0]] if need.edits else []
    if need.log and (folder := need.log.host.rpartition("/")[0]) and snapshot.folder(folder) is None:
        homes.append(folder)
    return tuple(homes)


# --- what stands in the way, and what is worth a line -----------------------------------------------------


def _problems(
    snapshot: Snapshot,
    node: Node,
    settings: Settings,
    wanted: Wanted,
    policy: tuple[Place, FileSeen | None],
    log_at: Place | None,
) -> Iterator[Finding]:
    policy_at, file = policy
    for name, value in ((POLICY_FLAG, settings.policy), (LOG_FLAG, settings.log)):
        if value not in ("", STDOUT) and (not value.startswith("/") or "$(" in value):
            yield words.not_a_path(node, name, value)
            return
    if settings.policy and file is None:
        yield words.no_policy_file(node, policy_at.host)
    if settings.log and wanted.log and settings.log != wanted.log:
        yield words.another_log(node, settings.log)
    for place, flag in ((policy_at, POLICY_FLAG), (log_at, LOG_FLAG)):
        if place and place.mount and (place.mount in UNSAFE_MOUNTS or place.mount == "/var/log"):
            yield words.not_mounted(node, place.inside, place.mount, flag)
    if log_at:
        mount = mount_of(log_at.inside, node.manifest.mounts)
        if mount and mount.read_only and not log_at.mount:
            yield words.log_read_only(node, log_at.inside, mount.mount_path)
        if snapshot.folder(log_at.host) is not None:
            yield words.log_is_folder(log_at.host)


def _late_problems(snapshot: Snapshot, sight: Sight) -> Iterator[Finding]:
    """Preconditions that are worth a look only where the rest is in order."""
    need = sight.need
    on_the_way = {**sight.folders, **({need.policy_at.host: need.file} if need.edits else {})}
    yield from linked(on_the_way, "folder-is-a-link", "{}     (in the flag of the manifest)")
    yield from not_writable(sight.node, sight.folders, COMMAND, restarts=sight.restarts)
    if need.flags:
        yield from refused_flags(snapshot, sight.node, need.flags)


def _notes(
    settings: Settings, log: str, cluster: ClusterView | None, wanted: Wanted, policy: Policy | None
) -> Iterator[Finding]:
    if settings.webhook and not log:
        yield words.webhook_alone(settings.webhook)
    if log == STDOUT:
        yield words.log_is_stdout()
    if policy and not settings.policy:
        yield words.policy_was_there(policy.path)
    known = {each.name.partition(".")[2] for each in _aggregated(cluster)}
    if cluster:
        unknown = [each for each in (*wanted.groups, *wanted.bodies) if each not in known]
        yield from (words.not_registered(each) for each in dict.fromkeys(unknown))
    if bodies := [each for each in wanted.bodies if each in known]:
        yield words.no_bodies(bodies)
