"""Lines of an audit log: one JSON object each (audit.k8s.io/v1 Event), in the order of their stages.

A request has a record of its end (ResponseComplete), one that goes on for long also one of its start. As seen
of kube-apiserver 1.37: a request for an aggregated API is recorded by the kube-apiserver that hands it on,
with the status that the extension server gave, and without bodies at any level; its record is in the file
before the answer ends; discovery is no request for a resource; a caller's own Audit-ID is the record's, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.loglines import moment, parse_moment
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTED = "ResponseStarted"
_ENDS = ("ResponseComplete", "Panic")
_TIME = b'"requestReceivedTimestamp":"'
_TIME_LENGTH = len("2026-11-28T13:59:22.444004Z")
FIELD, LONG_FIELD = 120, 300
"""Characters of a foreign word; names of Kubernetes have 253 at most."""


class NoRecord(Exception):  # noqa: N818 -- a line that is none
    """A line is no audit record."""


@dataclass(frozen=True, slots=True)
class Event:
    """One request: when it came (nanoseconds of the epoch), whose it was, what it asked, how it ended.

    `acting` is whom it was made as, by impersonation; `resource` has the subresource behind it; `path` is set
    for what is no resource. All words are fit to show.
    """

    at: int
    identity: str
    stage: str
    level: str
    user: str
    acting: str
    verb: str
    group: str
    version: str
    resource: str
    namespace: str
    name: str
    path: str
    status: int
    sources: tuple[str, ...]

    @property
    def who(self) -> str:
        """The user, and as whom."""
        return f"{self.user} as {self.acting}" if self.acting else self.user

    @property
    def what(self) -> str:
        """The resource as kubectl names it, or the path."""
        resource, slash, sub = self.resource.partition("/")
        return f"{resource}.{self.group}".removesuffix(".") + slash + sub if resource else self.path

    @property
    def where(self) -> str:
        """Namespace and name."""
        return "/".join(filter(None, (self.namespace, self.name))) or "-"

    @property
    def source(self) -> str:
        """Where the connection came from, and for whom as it claims: proxies and callers set that at will."""
        last, claimed = self.sources[-1:], self.sources[:-1]
        return " for ".join(filter(None, (*last, ",".join(claimed)))) or "-"

    @property
    def end(self) -> str:
        """The status; of what has not ended yet, so."""
        return f"{self.status or '-'}{' goes on' if self.stage == STARTED else ''}"

    def item(self) -> dict[str, Any]:
        """The request for scripts."""
        return {
            "time": moment(self.at),
            "user": self.user,
            "impersonatedUser": self.acting,
            "verb": self.verb,
            "apiGroup": self.group,
            "apiVersion": self.version,
            "resource": self.resource,
            "namespace": self.namespace,
            "name": self.name,
            "path": self.path,
            "status": self.status,
            "stage": self.stage,
            "level": self.level,
            "sourceIPs": list(self.sources),
            "auditID": self.identity,
        }


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are wanted: since when (nanoseconds of the epoch), of which API, user and verb."""

    since: int
    group: str = ""
    version: str = ""
    user: str = ""
    verb: str = ""

    def may_hold(self, line: bytes) -> bool:
        """Whether a line is worth reading, by its bytes alone: most of a large log is not."""
        at = line.rfind(_TIME)
        written = line[at + len(_TIME) : at + len(_TIME) + _TIME_LENGTH] if at >= 0 else b""
        if len(written) == _TIME_LENGTH and written.endswith(b"Z") and written < self._since:
            return False
        return self.group.encode() in line

    @property
    def _since(self) -> bytes:
        return f"{moment(self.since)[:-4]}000000Z".encode()

    def takes(self, event: Event) -> bool:
        """Whether the request is wanted."""
        return (
            event.at >= self.since
            and self.group in ("", event.group)
            and self.version in ("", event.version)
            and self.user in ("", event.user, event.acting)
            and self.verb in ("", event.verb)
        )


class Collector:
    """The newest requests of a log that is fed line by line, at most `most` of them; and what was no record.

    Of the records of one request the last one counts. An auditID alone tells no request: callers may choose
    it, and hide one request behind another.
    """

    def __init__(self, wanted: Filter, most: int) -> None:
        self.broken = 0
        self.passed_over = 0
        self._wanted = wanted
        self._most = most
        self._found: dict[tuple[Any, ...], Event] = {}

    def feed(self, line: bytes | None) -> None:
        """Take one line; None is one that was too long."""
        if line is None:
            self.broken += 1
            return
        if not line.strip() or not self._wanted.may_hold(line):
            return
        try:
            event = read_event(line)
        except NoRecord:
            self.broken += 1
            return
        if event and self._wanted.takes(event):
            self._keep(event)

    def events(self) -> tuple[Event, ...]:
        """What was found, from old to new."""
        return tuple(sorted(self._found.values(), key=lambda event: (event.at, event.identity)))

    def _keep(self, event: Event) -> None:
        key = (event.at, event.identity, event.who, event.verb, event.what, event.where)
        there = self._found.pop(key, None)
        self._found[key] = there if there and event.stage == STARTED else event
        if len(self._found) > self._most:
            del self._found[next(iter(self._found))]
            self.passed_over += 1


def read_event(line: bytes) -> Event | None:
    """The request of a line; None for the record of a stage that is not shown. NoRecord where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoRecord from error
    if not isinstance(found, dict) or found.get("kind") != "Event":
        raise NoRecord
    stage, at = _word(found, "stage"), parse_moment(_word(found, "requestReceivedTimestamp"))
    if at is None:
        raise NoRecord
    if stage not in (STARTED, *_ENDS):
        return None
    about, status = _table(found, "objectRef"), _table(found, "responseStatus").get("code")
    sources = found.get("sourceIPs")
    resource = "/".join(filter(None, (_word(about, "resource"), _word(about, "subresource"))))
    return Event(
        at=at,
        identity=_word(found, "auditID"),
        stage=stage,
        level=_word(found, "level"),
        user=_word(_table(found, "user"), "username", LONG_FIELD),
        acting=_word(_table(found, "impersonatedUser"), "username", LONG_FIELD),
        verb=_word(found, "verb"),
        group=_word(about, "apiGroup", LONG_FIELD),
        version=_word(about, "apiVersion"),
        resource=resource,
        namespace=_word(about, "namespace", LONG_FIELD),
        name=_word(about, "name", LONG_FIELD),
        path="" if resource else clean(_word(found, "requestURI", LONG_FIELD).partition("?")[0], LONG_FIELD),
        status=status if isinstance(status, int) and not isinstance(status, bool) else 0,
        sources=tuple(clean(str(each), FIELD) for each in sources[:8]) if isinstance(sources, list) else (),
    )


def lines(events: tuple[Event, ...]) -> tuple[str, ...]:
    """One line for each request, in columns as wide as most of what stands in them."""
    rows = [
        (moment(each.at), each.who, each.verb, each.what, each.where, each.end, each.source)
        for each in events
    ]
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    return tuple(
        "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


WIDEST = 48
"""Columns that a word may take before what stands behind it moves."""


def _table(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _word(found: Mapping[str, Any], key: str, most: int = FIELD) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        return ""
    # Most words are fit as they are, and a log has a hundred thousand lines.
    plain = value.isascii() and value.isprintable() and " " not in value and len(value) <= most
    return value if plain else clean(value, most)
