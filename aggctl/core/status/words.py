"""A status as people, scripts and Prometheus read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.core.certs.words import escaped
from aggctl.core.checks.extension import condition_of
from aggctl.core.extension import IN_CLUSTER_PORT
from aggctl.core.status.tls import INSECURE, VERIFIED
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from aggctl.core.doctor.ways import Way
    from aggctl.core.status.see import Row, Status
    from aggctl.core.status.tls import TlsSeen

WORKS, BROKEN, NOTHING = "✓", "✗", "-"
_HEAD = ("NAME", "SERVICE", "AVAILABLE", "SINCE", "TLS", "ENDPOINTS", "ANSWER")
_WIDE = ("CABUNDLE", "PRIORITY", "DIALLED", "MESSAGE")
A_YEAR = 366
FEW = 4
"""Addresses in a column; -o json has all."""

_METRICS = (
    (
        "aggctl_apiservice_available",
        "Whether an API answers through a kube-apiserver that does not hold it for unavailable.",
    ),
    ("aggctl_apiservice_answer_seconds", "How long an API takes to answer through a kube-apiserver."),
    ("aggctl_apiservice_endpoints_ready", "Ready endpoints of the Service behind an API."),
    (
        "aggctl_serving_certificate_expiration_timestamp_seconds",
        "When the certificate expires that an endpoint of an API serves.",
    ),
)


# --- for people --------------------------------------------------------------------------------------------


def lines_of(status: Status, now: datetime, *, wide: bool = False) -> tuple[str, ...]:
    """The layer, the table, and what could not be looked at."""
    return (
        layer_line(status, now),
        *_table(status, now, wide=wide),
        *(f"not checked: {clean(each, 400)}" for each in status.not_checked),
    )


def layer_line(status: Status, now: datetime) -> str:
    """The layer in one line: the state, of each node where they differ, and what expires on this one."""
    layer, place = status.layer, status.place
    how = ", as the cluster publishes" if layer.published else ""
    if len({state for _, state in layer.nodes}) > 1:
        how = f" ({', '.join(f'{clean(name, 60)} {state}' for name, state in layer.nodes)})"
    routing = {True: "on", False: "off", None: "not known"}[_routing(status)]
    total = len(place.servers) + len(place.silent)
    answering = (
        f", {len(place.servers)} of {total} kube-apiserver{'s' * (total != 1)}" if place.server else ""
    )
    until = [
        f"{what} until {_until(at, now)}"
        for what, at in (("Front-proxy client", layer.client_until), ("CA", layer.ca_until))
        if at
    ]
    line = f"Layer {layer.state}{how}, routing {routing}{answering}."
    return f"{line}    {', '.join(until)}".rstrip()


def _routing(status: Status) -> bool | None:
    """--enable-aggregator-routing; with the API down by this node's manifest."""
    node = status.place.node
    return node.layer.routes if node else status.place.routed


def _until(at: datetime, now: datetime) -> str:
    """A date, with the days left where they are few enough to matter."""
    days = (at - now).days
    left = "" if days > A_YEAR else f" ({days} d)" if days >= 0 else " (expired)"
    return f"{at:%Y-%m-%d}{left}"


def _table(status: Status, now: datetime, *, wide: bool) -> Iterator[str]:
    if not status.rows:
        if status.listed:
            yield "No API is registered that a Service answers for."
        return
    labels = tuple(label for _, label in status.labels) if len(status.labels) > 1 else ()
    rows = [(*_HEAD, *labels, *(_WIDE if wide else ()))]
    for each in status.rows:
        marks = tuple(WORKS if way.works else BROKEN for way in each.ways.every) if labels else ()
        rows.append((*_cells(each, now), *marks, *(_more(each, now) if wide else ())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip()


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    since = _span((now - row.since).total_seconds()) if row.since else NOTHING
    answer = NOTHING if row.answer is None else f"{row.answer * 1000:.0f} ms"
    return (
        clean(row.name, 100),
        _service(row),
        _available(row),
        since,
        tls_cell(row.tls, now),
        _endpoints(row),
        answer,
    )


def _service(row: Row) -> str:
    if row.at is None:
        return "kube-apiserver itself" if row.live else NOTHING
    port = "" if row.at.port == IN_CLUSTER_PORT else f":{row.at.port}"
    return clean(f"{row.at.namespace}/{row.at.name}{port}", 130)


def _available(row: Row) -> str:
    if row.live is None:
        return "not registered" if row.listed else NOTHING
    state = _state(row)
    return "True" if state == "True" else f"{state} ({row.ways.reason})"


def _state(row: Row) -> str:
    return clean(str(condition_of(row.live or {}).get("status") or "Unknown"), 20)


def _span(seconds: float) -> str:
    """A span as kubectl writes ages: 45s, 3m, 5h, 12d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def tls_cell(tls: TlsSeen, now: datetime) -> str:
    """`verified, 290 d`; a fault with how many endpoints have it, where others have not."""
    if not tls.words or tls.words == INSECURE:
        return tls.words or NOTHING
    some = f"{tls.of}/{tls.asked} " if 0 < tls.of < tls.asked else ""
    if tls.words != VERIFIED:
        return f"{some}{tls.words}"
    return f"{some}{VERIFIED}, {(min(at for _, at in tls.leaves) - now).days} d"


def _endpoints(row: Row) -> str:
    if row.backend is None:
        return NOTHING if row.unseen or row.at is None else "no Service"
    return row.backend.kind if row.endpoints is None else f"{len(row.backend.endpoints)}/{row.endpoints}"


def _more(row: Row, now: datetime) -> tuple[str, ...]:
    spec = (row.live or {}).get("spec") or {}
    priority = f"{spec.get('groupPriorityMinimum', NOTHING)}/{spec.get('versionPriority', NOTHING)}"
    dialled = row.backend.dialled if row.backend else ()
    shown = ",".join(dialled[:FEW]) + (f",+{len(dialled) - FEW}" if len(dialled) > FEW else "")
    return (
        _until(row.ca_until, now) if row.ca_until else NOTHING,
        clean(priority, 30) if spec else NOTHING,
        clean(shown, 300) or NOTHING,
        clean(row.ways.message, 200) if not row.ways.available and row.ways.message else NOTHING,
    )


# --- for scripts -------------------------------------------------------------------------------------------


def items_of(status: Status) -> tuple[dict[str, Any], ...]:
    """One entry for the layer, then one for each API."""
    layer, labels = status.layer, dict(status.labels)
    of_layer = {
        "kind": "layer",
        "name": "layer",
        "state": layer.state,
        "routing": _routing(status),
        "nodes": dict(layer.nodes),
        "clientNotAfter": _moment(layer.client_until),
        "caNotAfter": _moment(layer.ca_until),
        "apiservers": [each for each, _ in status.labels],
        "silent": [server for server, _ in status.place.silent],
    }
    return (of_layer, *(_item(each, labels) for each in status.rows))


def _item(row: Row, labels: dict[str, str]) -> dict[str, Any]:
    spec = (row.live or {}).get("spec") or {}
    return {
        "kind": "api",
        "name": row.name,
        "registered": bool(row.live) if row.listed else None,
        "service": f"{row.at.namespace}/{row.at.name}" if row.at else None,
        "port": row.at.port if row.at else None,
        "available": _state(row) if row.live else None,
        "reason": row.ways.reason if row.live else "",
        "message": row.ways.message,
        "since": _moment(row.since),
        "tls": row.tls.words or None,
        "tlsNotAfter": _moment(min((at for _, at in row.tls.leaves), default=None)),
        "certificates": [{"endpoint": each, "notAfter": at.isoformat()} for each, at in row.tls.leaves],
        "caBundleNotAfter": _moment(row.ca_until),
        "endpointsReady": _ready(row),
        "endpoints": row.endpoints,
        "dialled": list(row.backend.dialled) if row.backend else [],
        "answerSeconds": row.answer,
        "apiservers": [_way(each, labels) for each in row.ways.every],
        "groupPriorityMinimum": spec.get("groupPriorityMinimum"),
        "versionPriority": spec.get("versionPriority"),
    }


def _way(way: Way, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiserver": way.server,
        "node": labels[way.server],
        "works": way.works,
        "status": way.answer.status if way.answer else None,
        "seconds": way.answer.seconds if way.answer else None,
        "unavailable": way.unavailable,
        "said": way.answer.said if way.answer else way.why,
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _ready(row: Row) -> int | None:
    """Ready endpoints; None where they cannot be seen, or where there is nothing to count."""
    if row.backend is None:
        return None if row.unseen or row.at is None else 0
    return None if row.endpoints is None else len(row.backend.endpoints)


# --- for Prometheus ----------------------------------------------------------------------------------------


def metrics(status: Status) -> str:
    """The gauges in the text format of Prometheus; what is not known has no sample."""
    samples = (_available_of(status), _seconds_of(status), _ready_of(status), _expiry_of(status))
    return "".join(
        f"# HELP {name} {help_}\n# TYPE {name} gauge\n" + "".join(f"{name}{each}\n" for each in found)
        for (name, help_), found in zip(_METRICS, samples, strict=True)
    )


def _sample(labels: Iterable[tuple[str, str]], value: str) -> str:
    shown = ",".join(f'{name}="{escaped(text)}"' for name, text in labels)
    return f"{{{shown}}} {value}"


def _of(row: Row, way: Way) -> tuple[tuple[str, str], ...]:
    return ("name", row.name), ("apiserver", urlsplit(way.server).netloc)


def _available_of(status: Status) -> list[str]:
    ways = [(row, way) for row in status.rows for way in row.ways.every]
    return [_sample(_of(row, way), str(int(way.works))) for row, way in ways]


def _seconds_of(status: Status) -> list[str]:
    ways = [(row, way) for row in status.rows for way in row.ways.every]
    return [
        _sample(_of(row, way), f"{way.answer.seconds:.6f}") for row, way in ways if way.works and way.answer
    ]


def _ready_of(status: Status) -> list[str]:
    known = [(row.name, ready) for row in status.rows if (ready := _ready(row)) is not None]
    return [_sample((("name", name),), str(ready)) for name, ready in known]


def _expiry_of(status: Status) -> list[str]:
    leaves = [(row.name, address, at) for row in status.rows for address, at in row.tls.leaves]
    return [
        _sample((("name", name), ("endpoint", address)), f"{at.timestamp():.0f}")
        for name, address, at in leaves
    ]
