"""The check that a running kube-apiserver writes records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.findings import Finding, Passed
from aggctl.core.questions import Recorded

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot

ASKED = "/apis/apiregistration.k8s.io/v1/apiservices?limit=1"
"""A request that every policy of ours records, and that costs next to nothing."""


def recorded(snapshot: Snapshot, *, server: str, log: str) -> Passed | Finding:
    """A request made just now is in the log file, by the Audit-Id that its answer names."""
    if snapshot.recorded(Recorded(ASKED, server, log)):
        return Passed(f"{server} writes records to {log}")
    return Finding(
        code="audit-not-recorded",
        severity="error",
        subject=log,
        message=f"a request to {server} left no record in {log}",
        expected="a record with the Audit-Id of the answer",
        fix="see the container's log: crictl logs $(crictl ps -a --name kube-apiserver -q | head -n 1)",
    )
