"""The inventory as people, scripts and Prometheus read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.text import clean

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.certs.inventory import Held, Inventory

SHORT = 12
"""Characters of a fingerprint that tell certificates apart for people."""

_HEAD = ("KIND", "SUBJECT", "EXPIRES", "ISSUER", "WHERE", "NOTE")
METRIC = "aggctl_certificate_expiration_timestamp_seconds"


def table(inventory: Inventory, now: datetime) -> tuple[str, ...]:
    """One line for each certificate; then the allowed names, and what could not be looked at."""
    rows = [_HEAD, *(_row(each, now) for each in inventory.held)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ("   ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)) for row in rows)
    names = ", ".join(inventory.names)
    return (
        *(line.rstrip() for line in lines),
        *((f"allowed names: {clean(names)}",) if names else ()),
        *not_checked(inventory),
    )


def not_checked(inventory: Inventory) -> tuple[str, ...]:
    """What could not be looked at, and why."""
    return tuple(f"not checked: {clean(what)}, because {clean(why)}" for what, why in inventory.not_checked)


def items(inventory: Inventory, now: datetime) -> tuple[dict[str, Any], ...]:
    """The same for scripts."""
    return tuple(
        {
            "kind": each.kind,
            "api": each.api,
            "where": each.where,
            "subject": each.certificate.subject,
            "fingerprint": each.certificate.fingerprint,
            "issuer": each.certificate.issuer,
            "issuerFingerprint": each.issuer,
            "notAfter": each.certificate.not_after.isoformat(),
            "residualSeconds": int((each.certificate.not_after - now).total_seconds()),
            "managed": each.managed,
            "note": each.note,
        }
        for each in inventory.held
    )


def metrics(inventory: Inventory) -> str:
    """One gauge for each certificate, in the text format of Prometheus."""
    lines = [
        f"# HELP {METRIC} When a certificate of the aggregation layer expires.",
        f"# TYPE {METRIC} gauge",
        *sorted({_metric(each) for each in inventory.held}),
    ]
    return "".join(f"{line}\n" for line in lines)


def _metric(held: Held) -> str:
    labels = {
        "kind": held.kind,
        "api": held.api,
        "where": held.where,
        "fingerprint": held.certificate.fingerprint[:SHORT],
    }
    shown = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{METRIC}{{{shown}}} {held.certificate.not_after.timestamp():.0f}"


def escaped(value: str) -> str:
    """A label's value in the text format of Prometheus."""
    return clean(value).replace("\\", "\\\\").replace('"', '\\"')


def _row(held: Held, now: datetime) -> tuple[str, ...]:
    certificate = held.certificate
    days = (certificate.not_after - now).days
    expires = (
        f"{certificate.not_after:%Y-%m-%d} ({days} d)"
        if days >= 0
        else f"{certificate.not_after:%Y-%m-%d} (expired)"
    )
    what = clean(certificate.common_name or certificate.subject, 60)
    issuer = (
        "itself"
        if held.issuer == certificate.fingerprint
        else held.issuer[:SHORT] or clean(certificate.issuer, 40)
    )
    note = "; ".join(
        part for part in (held.api, held.managed and f"renewed {_by(held.managed)}", held.note) if part
    )
    return held.kind, what, expires, issuer, clean(held.where, 80), clean(note, 160)


def _by(managed: str) -> str:
    return "by aggctl" if managed == "aggctl" else managed
