"""Checks: pure functions of a Snapshot, used as preconditions, as gates and by doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core import namespaces
from aggctl.core.audit import check as audit
from aggctl.core.checks import access, apiserver, extension, rotation, workload
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.core.questions import Unknown
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggctl.core.findings import Verdict
    from aggctl.core.plan import Condition
    from aggctl.core.snapshot import Snapshot

CHECKS: Mapping[str, Callable[..., Passed | Finding]] = {
    "manifest-in-force": apiserver.runs_manifest,
    "apiserver-ready": apiserver.ready,
    "apiserver-stopped": apiserver.stopped,
    "layer-published": apiserver.publishes,
    "identity-accepted": apiserver.accepts_identity,
    "workload-available": workload.available,
    "endpoints-ready": workload.endpoints_ready,
    "serving-certificate-verified": extension.served,
    "api-available": extension.available,
    "api-answers": extension.answers,
    "api-available-here": extension.not_unavailable,
    "api-gone": extension.gone,
    "serves-certificate": extension.shows,
    "serves-other-certificate": extension.shows_no_more,
    "api-services-read-again": extension.read_again,
    "client-certificate-loaded": rotation.leaf_loaded,
    "authority-published": rotation.published,
    "authority-not-published": rotation.not_published,
    "identity-taken": rotation.identity_taken,
    "identity-refused": rotation.identity_refused,
    "endpoint-takes-identity": rotation.endpoint_takes,
    "endpoint-refuses-identity": rotation.endpoint_refuses,
    "rotation-nodes-at": rotation.nodes_at,
    "namespace-ended": namespaces.ended,
    "namespace-goes-on": namespaces.goes_on,
    "access-allowed": access.allowed,
    "role-taken-in": access.taken_in,
    "audit-recorded": audit.recorded,
}
"""What a condition may name. Journals outlive versions: a name, once released, keeps its meaning."""


def evaluate(condition: Condition, snapshot: Snapshot) -> Verdict:
    """Evaluate one condition; an answer that could not be had is NotChecked, never a pass."""
    if condition.check not in CHECKS:
        return NotChecked(Unknown(f"this version of aggctl has no check {condition.check}"))
    try:
        return CHECKS[condition.check](snapshot, **dict(condition.arguments))
    except NotKnown as not_known:
        return NotChecked(not_known.unknown)
    except AggctlError as error:  # a file that is no manifest any more
        return Finding(error.code, "error", condition.check, error.message, error.do)
