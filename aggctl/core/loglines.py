"""Lines of container logs: read them as kubelet writes or sends them, choose, put in order, make them few.

Formats: the CRI's (`TIME stream F text`, P for a part; k8s.io/cri-client/pkg/logs), Docker's JSON behind
cri-dockerd, and `TIME text` as the API sends it with timestamps=true. The text is klog's, klog's JSON, or
whatever an extension server writes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from aggctl.core.secrets_out import without_secrets
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINE_LIMIT = 2000
JOINED_LIMIT = 2 * LINE_LIMIT
PART_LIMIT = 64 * 1024
NANO = 1_000_000_000

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")
_CRI = re.compile(
    r"(?P<time>\S+) (?P<stream>stdout|stderr) (?P<tag>[FP])(?::\S*)?(?: |$)(?P<text>.*)", re.DOTALL
)
_KLOG = re.compile(
    r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6}\s+\d+ (?P<text>[^\s\]]+:\d+\].*)", re.DOTALL
)
_OWN_TIME = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|\s?[+-]\d\d:?\d\d)?\]?[:\s]\s*"
)
_LEVEL = re.compile(
    r"""\b(?:level|lvl|severity)["']?[=:]\s?["']?(?P<set>[a-z]+)|^.{0,60}?\b(?P<word>[A-Z]{4,8})\b""",
    re.IGNORECASE,
)
_LEVELS = {
    "trace": "I",
    "debug": "I",
    "info": "I",
    "notice": "I",
    "warn": "W",
    "warning": "W",
    "err": "E",
    "error": "E",
    "critical": "F",
    "fatal": "F",
    "panic": "F",
    "dpanic": "F",
}
_LEVEL_KEYS = ("level", "severity", "lvl")
_TIME_KEYS = frozenset({"ts", "time", "timestamp", "@timestamp"})
_MESSAGE_KEYS = ("msg", "message")
_CALLER_KEYS = ("caller", "source")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a log: when (nanoseconds of the epoch), whose, how grave (I, W, E, F or ""), its words.

    The words are fit to show: no escapes, no secrets, no time of their own. The same words `times` in a row
    are one line, the last of them at `until`.
    """

    at: int
    source: str
    level: str
    text: str
    times: int = 1
    until: int = 0

    def item(self) -> dict[str, Any]:
        """The line for scripts."""
        return {"time": moment(self.at), "source": self.source, "line": self.text, "times": self.times}


def moment(at: int) -> str:
    """Nanoseconds of the epoch as RFC 3339 in UTC, with milliseconds."""
    seconds, rest = divmod(at, NANO)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def parse_moment(text: str) -> int | None:
    """RFC 3339 in any zone as nanoseconds of the epoch; None for anything else."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    seconds, fraction, zone = found.groups()
    try:
        whole = datetime.fromisoformat(seconds + zone).timestamp()
    except ValueError:
        return None
    return int(whole) * NANO + int((fraction or "0").ljust(9, "0"))


def time_of(raw: str) -> int | None:
    """When a line was written, in whichever format it comes."""
    if raw.startswith('{"'):
        return _docker(raw)[0]
    return parse_moment(raw.partition(" ")[0])


class Joiner:
    """Makes entries of the lines of one container: parts become whole, indented lines join the one above.

    klog writes a value of many lines so (`err=<`), and a trace of Python or Go looks so. An entry is given
    out when the next one begins, or by `rest`.
    """

    def __init__(self, source: str, began: int, *, cri: bool) -> None:
        self._source = source
        self._cri = cri
        self._at = began
        self._entry: tuple[int, str] | None = None
        self._parts: dict[str, str] = {}

    def feed(self, raw: str) -> Iterator[Line]:
        """Take one line as it was read."""
        found = self._whole(raw)
        if found is None:
            return
        at, text = found
        if self._entry and (not text or text[0] in " \t"):
            if len(self._entry[1]) < JOINED_LIMIT:
                self._entry = self._entry[0], f"{self._entry[1]} {text}"
            return
        yield from self.rest()
        self._entry = at, text

    def rest(self) -> Iterator[Line]:
        """Give out the last entry, as nothing more belongs to it."""
        if self._entry:
            at, text = self._entry
            self._entry = None
            level, words = read_text(text)
            if words:
                yield Line(at, self._source, level, words)

    def _whole(self, raw: str) -> tuple[int, str] | None:
        """Time and text of a line, None while parts are missing; without a time that of the one above."""
        at, stream, text = _stamped(raw, cri=self._cri)
        self._at = self._at if at is None else at
        part = self._parts.pop(stream.rstrip("P"), "")
        if not stream.endswith("P"):
            return self._at, part + text
        self._parts[stream.rstrip("P")] = (part + text)[:PART_LIMIT]
        return None


def _stamped(raw: str, *, cri: bool) -> tuple[int | None, str, str]:
    """Time, stream (ending in P for a part) and text."""
    if not cri:
        time, _, text = raw.partition(" ")
        at = parse_moment(time)
        return (None, "", raw) if at is None else (at, "", text)
    found = _CRI.fullmatch(raw)
    if found:
        return parse_moment(found["time"]), found["stream"] + found["tag"].replace("F", ""), found["text"]
    at, text = _docker(raw)
    return (None, "", raw) if at is None else (at, "" if text.endswith("\n") else "P", text.rstrip("\n"))


def _docker(raw: str) -> tuple[int | None, str]:
    record = _record(raw)
    return parse_moment(str(record.get("time"))), str(record.get("log") or "")


def _record(text: str) -> dict[str, Any]:
    """A line that is a JSON object; empty for any other."""
    if not text.startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_text(text: str) -> tuple[str, str]:
    """Level and words of an entry, fit to show; its own time goes, as kubelet's stands before it."""
    found = _KLOG.fullmatch(text)
    if found:
        return found["level"], _fit(found["text"])
    if record := _record(text):
        return _level_of_record(record), _fit(_words_of_record(record))
    return _level_of_text(text[:LINE_LIMIT]), _fit(
        text[own.end() :] if (own := _OWN_TIME.match(text)) else text
    )


def _fit(text: str) -> str:
    plain = text.isprintable() and len(text) <= LINE_LIMIT  # most are, and need no look at each character
    return without_secrets(" ".join(text.split()) if plain else clean(text, LINE_LIMIT))


def _level_of_record(record: dict[str, Any]) -> str:
    """Level of a JSON line; klog's no level, but `v` in information (component-base logs/json)."""
    named = next((str(record[key]).lower() for key in _LEVEL_KEYS if key in record), "")
    return _LEVELS.get(named) or ("E" if "err" in record and "v" not in record else "I")


def _words_of_record(record: dict[str, Any]) -> str:
    caller = next((f"{record[key]}] " for key in _CALLER_KEYS if key in record), "")
    message = next((str(record[key]) for key in _MESSAGE_KEYS if key in record), "")
    told = {*_LEVEL_KEYS, *_TIME_KEYS, *_MESSAGE_KEYS, *_CALLER_KEYS}
    rest = (
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in record.items() if key not in told
    )
    return f"{caller}{message} {' '.join(rest)}".strip()


def _level_of_text(text: str) -> str:
    for found in _LEVEL.finditer(text):
        word = found["set"] or (found["word"] if found["word"].isupper() else "")
        if level := _LEVELS.get(word.lower(), ""):
            return level
    return ""


# --- choosing --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interests:
    """What the lines are to be about: APIServices, what answers for them; `others` are not meant."""

    apis: tuple[str, ...] = ()
    services: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


_OF_THE_LAYER = re.compile(
    r"aggregator|AggregationController|available_?controller|AvailableConditionController"
    r"|Availability controller|APIService|handler_(?:proxy|discovery)\.go|proxy error"
    r"|error trying to reach service|x509|requestheader|request header|front-proxy|proxy-client|client-ca"
    r"|client CA|CA bundle|dynamic_(?:cafile|serving)|configmap_cafile"
    r"|cluster_?authentication_?trust|extension-apiserver-authentication|is not in the allowed list",
    re.IGNORECASE,
)
"""What kube-apiserver says of the layer: k8s.io/kube-aggregator/pkg, k8s.io/apiserver/pkg/{authentication/
request,server/dynamiccertificates,util/proxy}, pkg/controlplane/controller/clusterauthenticationtrust."""

_OF_TROUBLE = re.compile(
    r"x509|request-?header|authenticat|authoriz|unauthorized|forbidden|\bpanic|handshake error|failed to list"
    r"|bad certificate|unknown authority|permission denied|cannot list",
    re.IGNORECASE,
)
_OF_FAILURE = re.compile(
    r"\b(?:error|failed|failure|fatal|exception|traceback|refused|denied)\b|Error\b", re.IGNORECASE
)
"""What tells in a line that has no level."""


class Choice:
    """Which lines matter; those of kube-apiserver by what they are about, others by what they tell."""

    def __init__(self, interests: Interests) -> None:
        groups = {api.partition(".")[2] for api in interests.apis}
        named = [*(f"{name}.{where}.svc" for where, name in interests.services), *interests.addresses]
        named += [f"{where}/{name}" for where, name in interests.services]
        self._ours = _any_of([*interests.apis, *groups, *named])
        self._others = _any_of([*interests.others])

    def matters(self, line: Line, *, of_apiserver: bool) -> bool:
        """Whether somebody who looks for the cause wants to see it."""
        if not of_apiserver:
            tells = line.level in ("W", "E", "F") or _OF_TROUBLE.search(line.text)
            return bool(tells or (not line.level and _OF_FAILURE.search(line.text)))
        if self._ours.search(line.text):
            return True
        return bool(_OF_THE_LAYER.search(line.text) and not self._others.search(line.text))


def _any_of(names: list[str]) -> re.Pattern[str]:
    """Any of the names, whole: metrics.k8s.io is not in custom.metrics.k8s.io."""
    if not names:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, sorted(names)))})(?![\w-])")


_SERVICE = re.compile(r"(?<![\w.-])(?P<name>[a-z0-9-]{1,63})\.(?P<namespace>[a-z0-9-]{1,63})\.svc(?![\w-])")


def services_named(lines: Iterable[Line]) -> tuple[tuple[str, str], ...]:
    """The Services (namespace, name) whose names stand in lines, as what was dialled or verified."""
    found = (each for line in lines for each in _SERVICE.finditer(line.text))
    return tuple(dict.fromkeys((each["namespace"], each["name"]) for each in found))


def merged(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines of all sources by time; what one source says again and again, in a row, stands once."""
    by_source = sorted(lines, key=lambda line: (line.source, line.at))
    alike = (list(group) for _, group in groupby(by_source, key=lambda line: (line.source, line.text)))
    return tuple(sorted((_once(group) for group in alike), key=lambda line: line.at))


def _once(group: list[Line]) -> Line:
    times = sum(line.times for line in group)
    until = group[-1].until or group[-1].at
    return replace(group[0], times=times, until=until) if times > 1 else group[0]


def shown(line: Line, width: int = 0) -> str:
    """The line for people: time, source, words, and how often they were said."""
    level = f"{line.level} " if line.level else ""
    again = f"   ({line.times} times, until {moment(line.until)[11:]})" if line.times > 1 else ""
    return f"{moment(line.at)} {line.source:<{width}} {level}{line.text}{again}"
