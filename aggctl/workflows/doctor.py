"""`aggctl doctor`: observe, report. Nothing is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.doctor.bundle import Bundle, unreadable
from aggctl.core.doctor.examine import Diagnosis, diagnose
from aggctl.core.doctor.place import see_place
from aggctl.core.doctor.words import items_of, lines_of
from aggctl.core.questions import Unknown
from aggctl.core.report import Report
from aggctl.errors import Refused
from aggctl.workflows.observe import server_of, settle

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.doctor.model import Place
    from aggctl.core.findings import Finding
    from aggctl.core.snapshot import Snapshot
    from aggctl.system.ports import Ports


_OF_ANOTHER_SHAPE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What answers in a stranger's file may lead to that no server gave."""

NOTICED = 35.0
"""Seconds: kube-apiserver checks each API anew at least every 30."""


@dataclass(frozen=True, slots=True)
class Asked:
    """With what a diagnosis was made: from it and the snapshot it can be made again elsewhere."""

    server: str | Refused
    names: tuple[str, ...]
    now: datetime
    held: str = ""


def examine_all(ports: Ports, names: tuple[str, ...]) -> tuple[Diagnosis, Snapshot, Asked]:
    """Look at all that a diagnosis needs."""
    ports.progress.begin("looking at the layer and each API")
    found = _examine(ports, names)
    ports.progress.done()
    return found


def _examine(ports: Ports, names: tuple[str, ...]) -> tuple[Diagnosis, Snapshot, Asked]:
    server, now = server_of(ports), ports.clock.now()
    place, seen = settle(lambda snapshot: see_place(snapshot, server, now), ports.look)
    asked = Asked(server, names, now, _hold_leaf(ports, place))
    diagnosis, seen = settle(
        lambda snapshot: diagnose(snapshot, server, names, now, asked.held), ports.look, seen
    )
    return diagnosis, seen, asked


def look_again(ports: Ports, names: tuple[str, ...], before: Diagnosis) -> Diagnosis:
    """After something was mended: kube-apiservers need a moment to notice.

    What stays as it was is not waited for once something has gone.
    """
    known = {(each.code, each.subject) for each in before.findings if each.severity == "error"}
    until = ports.clock.monotonic() + NOTICED
    ports.progress.begin("looking again", NOTICED)
    while True:
        diagnosis = _examine(ports, names)[0]
        bad = [each for each in diagnosis.findings if each.severity == "error"]
        if len({(each.code, each.subject) for each in bad} & known) < len(known) and _settled(bad, known):
            break
        if not bad or ports.clock.monotonic() > until:
            break
        ports.progress.waiting(bad[0].message)
        ports.clock.pause(0.5)
    ports.progress.done()
    return diagnosis


def _settled(bad: list[Finding], known: set[tuple[str, str]]) -> bool:
    """Whether nothing is broken that was not before: a change in the middle shows others for a moment."""
    return all((each.code, each.subject) in known for each in bad)


def bundle_of(asked: Asked, seen: Snapshot) -> Bundle:
    """All that was seen, and with what it was asked."""
    problem = asked.server if isinstance(asked.server, Refused) else None
    return Bundle(
        "" if isinstance(asked.server, Refused) else asked.server,
        (problem.code, problem.message) if problem else ("", ""),
        asked.names,
        asked.now,
        asked.held,
        seen,
    )


def examine_bundle(bundle: Bundle, names: tuple[str, ...]) -> Diagnosis:
    """The diagnosis of a bundle, anywhere; what another version of aggctl asks for besides is not checked."""
    code, message = bundle.problem
    server = Refused(code, message, do=f"aggctl explain {code}") if code else bundle.server
    try:
        found, _ = settle(
            lambda snapshot: diagnose(snapshot, server, names or bundle.names, bundle.now, bundle.held),
            lambda _: Unknown("it is not in the bundle"),
            bundle.snapshot,
        )
    except _OF_ANOTHER_SHAPE as error:
        raise unreadable("the bundle", f"an answer of another kind ({type(error).__name__})") from error
    return found


def report_on(diagnosis: Diagnosis, fail_on: str, *, verbose: bool = False) -> Report:
    """Problems where there is a finding of the severity that is to fail, or a worse one."""
    failing = ("error", "warning") if fail_on == "warning" else ("error",)
    bad = any(each.severity in failing for each in diagnosis.findings)
    return Report(
        "doctor",
        "problems" if bad else "healthy",
        summary=lines_of(diagnosis, verbose=verbose),
        findings=diagnosis.findings,
        items=items_of(diagnosis),
        told=True,
    )


def _hold_leaf(ports: Ports, place: Place) -> str:
    """Hold the node's own front-proxy leaf, so that extension servers can be asked as kube-apiserver asks.

    Who is not root cannot read its key, and asks without.
    """
    files = place.files
    if files is None or files.certificate is None or files.key is None or files.key.problem:
        return ""
    try:
        seen = [ports.files.read(each) for each in (files.certificate_at.host, files.key_at.host)]
    except OSError:
        return ""
    certificate, key = (each.content if each else b"" for each in seen)
    try:
        if pki.public_key_of(key) != files.certificate.public_key:
            return ""
    except pki.PkiError:
        return ""
    return ports.hold(pki.KeyPair(certificate, key))
