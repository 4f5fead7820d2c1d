"""`aggctl logs`: observe whose logs there are, read them side by side, report what matters; go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from aggctl.core.findings import Finding
from aggctl.core.loglines import NANO, Choice, Joiner, Line, merged, moment, services_named, time_of
from aggctl.core.logsources import MARKS, NotRead, Sources, possible_servers, see_sources, with_pods_of
from aggctl.core.questions import Unknown
from aggctl.core.report import Report
from aggctl.errors import Refused
from aggctl.system.follow import Feed
from aggctl.system.logs import ApiLog, FileLog, NotReadable
from aggctl.workflows.observe import AT_A_TIME, server_of, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aggctl.core.extension import Api
    from aggctl.core.logsources import Container, PodFolder
    from aggctl.system.ports import Ports

LOOK_EVERY = 0.2
"""Seconds between looks at the files, where no stream says anything."""

NEW_PODS_AFTER, NEW_PODS_EVERY = 5.0, 30.0
"""Seconds until the Pods are listed again: after one of them went away, and anyhow."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted: of one API or of all, how far back in seconds, how many lines read of each source."""

    api: Api | None
    since: float
    tail: int
    everything: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of one container: what matters of it, or why nothing; whether there was more."""

    log: FileLog | ApiLog
    lines: tuple[Line, ...] = ()
    count: int = 0
    why_not: NotRead | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """Everything that was read, and the moment from which on."""

    since: int
    sources: Sources
    read: tuple[_Read, ...]

    @property
    def not_read(self) -> tuple[NotRead, ...]:
        return (*self.sources.not_read, *(each.why_not for each in self.read if each.why_not))


def logs(ports: Ports, wishes: Wishes) -> tuple[Report, tuple[Line, ...]]:
    """The lines that matter, of all sources by time; what could not be read is a finding."""
    return _report(_see(ports, wishes), wishes)


def follow(
    ports: Ports,
    wishes: Wishes,
    begun: Callable[[Report, tuple[Line, ...]], None],
    come: Callable[[tuple[Line, ...], tuple[NotRead, ...]], None],
    gone: Callable[[], bool],
) -> None:
    """Hand out what there is by `begun`, then what comes by `come`, until who listens is gone."""
    seen = _see(ports, wishes)
    begun(*_report(seen, wishes))
    following = _Following(ports, wishes, seen)
    try:
        while not gone():
            lines, troubles = following.round()
            if lines or troubles:
                come(lines, troubles)
    finally:
        following.feed.close()


@dataclass(slots=True)
class _Following:
    """What is known while logs are followed."""

    ports: Ports
    wishes: Wishes
    seen: _Seen
    feed: Feed = field(default_factory=Feed)
    choice: Choice = field(init=False)
    joiners: dict[Container, Joiner] = field(default_factory=dict)
    troubles: dict[Container, str] = field(default_factory=dict)
    listed: float = field(init=False)
    lost: bool = False

    def __post_init__(self) -> None:
        self.choice = Choice(self.seen.sources.interests)
        self.listed = self.ports.clock.monotonic()
        for each in self.seen.read:
            self._add(each.log)
            if each.why_not:
                self.troubles[each.log.container] = each.why_not.reason

    def _add(self, log: FileLog | ApiLog) -> None:
        self.joiners[log.container] = _joiner(log.container, self.seen.since)
        self.feed.add(log)

    def round(self) -> tuple[tuple[Line, ...], tuple[NotRead, ...]]:
        """What matters of what has come since, and what cannot be read any more."""
        lines: list[Line] = []
        troubles: list[NotRead] = []
        spoke: set[Container] = set()
        for container, said in self.feed.take(LOOK_EVERY):
            if isinstance(said, str):
                spoke.add(container)
                self.troubles.pop(container, None)
                lines += self._chosen(container, self.joiners[container].feed(said))
                continue
            if trouble := self._trouble(container, said):
                troubles.append(trouble)
            if said is None:
                lines += self._chosen(container, self.joiners.pop(container).rest())
        for container, joiner in self.joiners.items():
            if container not in spoke:  # nothing more belongs to its last line
                lines += self._chosen(container, joiner.rest())
        self._list_again()
        return merged(lines), tuple(troubles)

    def _chosen(self, container: Container, lines: Iterable[Line]) -> Iterator[Line]:
        return (line for line in lines if _matters(self.choice, container, line, self.wishes))

    def _trouble(self, container: Container, why: Unknown | None) -> NotRead | None:
        """What was not said before."""
        self.lost = self.lost or why is None
        why = why or Unknown("the Pod is gone", "log-not-read")
        if self.troubles.get(container) == why.reason:
            return None
        self.troubles[container] = why.reason
        return NotRead(container.source, why.reason, why.code)

    def _list_again(self) -> None:
        """Follow Pods that are new; a cluster that does not answer changes nothing."""
        now = self.ports.clock.monotonic()
        if now - self.listed < (NEW_PODS_AFTER if self.lost else NEW_PODS_EVERY):
            return
        self.listed, self.lost = now, False
        sources = _sources(self.ports, self.wishes)
        if sources is None or not sources.asked:
            return
        self.choice = Choice(sources.interests)
        known = {_place(each) for each in self.joiners}
        for each in sources.containers:
            if _place(each) not in known:
                self._add(self.ports.logs().open(each, self.seen.since))


def _place(container: Container) -> tuple[str, str, str]:
    return container.namespace, container.pod, container.name


def _sources(ports: Ports, wishes: Wishes) -> Sources | None:
    """The sources as they are now; None where the API is not registered any more."""
    try:
        return _look(ports, wishes)
    except Refused:
        return None


def _look(ports: Ports, wishes: Wishes) -> Sources:
    folders = ports.logs().folders()
    server = server_of(ports)
    sources, _ = settle(lambda snapshot: see_sources(snapshot, server, wishes.api, folders), ports.look)
    return sources


def _see(ports: Ports, wishes: Wishes) -> _Seen:
    """Read all sources; without the API, what kube-apiserver said tells which Pods of this node count."""
    since = int((ports.clock.now().timestamp() - wishes.since) * NANO)
    sources = _look(ports, wishes)
    read = _read_all(ports, wishes, sources, since)
    if not sources.asked:
        named = services_named(line for each in read for line in each.lines if _is_meant(line, wishes))
        more = with_pods_of(sources, named, *_on_node(ports))
        behind = replace(more, containers=more.containers[len(sources.containers) :])
        read = (*read, *_read_all(ports, wishes, behind, since))
        sources = more
    seen = _Seen(since, sources, read)
    if all(each.why_not for each in read):
        raise _nothing(seen)
    return seen


def _on_node(ports: Ports) -> tuple[tuple[PodFolder, ...], tuple[Container, ...]]:
    """The Pods of this node, and those of their containers that say that they are extension servers."""
    folders = ports.logs().folders()
    return folders, tuple(each for each in possible_servers(folders) if ports.logs().begins_with(each, MARKS))


def _is_meant(line: Line, wishes: Wishes) -> bool:
    return wishes.api is None or wishes.api.name in line.text or wishes.api.path in line.text


def _read_all(ports: Ports, wishes: Wishes, sources: Sources, since: int) -> tuple[_Read, ...]:
    choice = Choice(sources.interests)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return tuple(pool.map(partial(_read, ports, wishes, choice, since, sources), sources.containers))


def _read(
    ports: Ports, wishes: Wishes, choice: Choice, since: int, sources: Sources, container: Container
) -> _Read:
    """One log: from this node's files where they may be read, else through the API."""
    found = _read_one(ports, wishes, choice, since, container)
    if not (found.why_not and container.on_node and sources.asked):
        return found
    other = _read_one(ports, wishes, choice, since, replace(container, on_node=False))
    return found if other.why_not else other


def _read_one(ports: Ports, wishes: Wishes, choice: Choice, since: int, container: Container) -> _Read:
    log = ports.logs().open(container, since)
    joiner = _joiner(container, since)
    lines: list[Line] = []
    count, first = 0, None
    try:
        for raw in log.lines(wishes.tail):
            at = time_of(raw)
            first = at if first is None else first
            if container.on_node and at is not None and at < since:
                continue
            count += 1
            lines += (line for line in joiner.feed(raw) if _matters(choice, container, line, wishes))
        lines += (line for line in joiner.rest() if _matters(choice, container, line, wishes))
    except NotReadable as error:
        why_not = NotRead(container.source, error.unknown.reason, error.unknown.code)
        return _Read(log, tuple(lines), count, why_not)
    return _Read(log, tuple(lines), count, cut=log.cut and (first is None or first >= since))


def _joiner(container: Container, since: int) -> Joiner:
    return Joiner(container.source, since, cri=container.on_node)


def _matters(choice: Choice, container: Container, line: Line, wishes: Wishes) -> bool:
    return wishes.everything or choice.matters(line, of_apiserver=container.of_apiserver)


def _report(seen: _Seen, wishes: Wishes) -> tuple[Report, tuple[Line, ...]]:
    lines = merged(line for each in seen.read for line in each.lines)
    missing = tuple(_finding(each) for each in seen.not_read)
    findings = (*missing, *_notes(seen, wishes, found=bool(lines)))
    words, items = tuple(each.message for each in findings), tuple(line.item() for line in lines)
    return Report("logs", "unchanged", words, findings=findings, items=items), lines


def _notes(seen: _Seen, wishes: Wishes, *, found: bool) -> Iterator[Finding]:
    """What a reader should know: that there was more, or that there is nothing."""
    for each in seen.read:
        if each.cut:
            yield Finding(
                "log-cut",
                "info",
                each.log.container.source,
                f"{each.log.container.source}: only its last {wishes.tail} lines were read",
                f"read more by --tail {wishes.tail * 10}, or less far back by --since",
            )
    if not found:
        count = sum(each.count for each in seen.read)
        yield Finding(
            "log-empty",
            "info",
            "logs",
            f"no line that matters since {moment(seen.since)} ({count} read)",
            "read all of them by --all, or further back by --since 24h",
        )


def _finding(each: NotRead) -> Finding:
    return Finding("log-not-read", "warning", each.source, each.words, f"aggctl explain {each.code}")


def _nothing(seen: _Seen) -> Refused:
    """Nothing at all could be read: the first reason is the sentence."""
    first, *others = seen.not_read
    return Refused(
        first.code,
        f"no log could be read; {first.source}: {first.reason}",
        do=f"aggctl explain {first.code}",
        evidence=tuple(each.words for each in others),
    )
