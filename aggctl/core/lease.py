"""The Lease by which control-plane nodes take turns: who holds it, how long it counts, what to write next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.fields import MANAGED_BY
from aggctl.core.findings import Finding
from aggctl.core.plan import FileChange
from aggctl.core.resources import path_of
from aggctl.core.text import ago, clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from datetime import datetime

    from aggctl.core.plan import Plan

NAME = "aggctl-control-plane"
PATH = path_of("coordination.k8s.io/v1", "leases", "kube-system", NAME)
SECONDS = 180
"""Longer than a restart of kube-apiserver: where there is no other one, nobody can renew meanwhile."""

RENEW_SECONDS = 10.0
BY_HAND = f"kubectl -n kube-system delete lease {NAME}"
_MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds it: a command on a host; `mark` tells its process from any other on any machine."""

    host: str
    command: str
    mark: str

    @property
    def identity(self) -> str:
        """As it stands in holderIdentity."""
        return "_".join((self.host, self.command.replace(" ", "-"), self.mark))


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease as it is in the cluster; `holder` is empty where it was given back.

    `seconds` is how long it counts after a sign of life; the times are the holder's own words.
    """

    holder: str
    seconds: float
    acquired: str
    renewed: str

    @property
    def mark(self) -> str:
        """Which process holds it."""
        return self.holder.rpartition("_")[2]


@dataclass(frozen=True, slots=True)
class Watched:
    """A Lease, None for none, and since when it has not moved, by the clock of who looks at it.

    As in client-go (tools/leaderelection): nodes' clocks differ, so nobody compares a renewTime with his own.
    A holder that was not seen to renew for the Lease's whole duration is dead, however its clock is set.
    """

    lease: Lease | None
    since: float

    def is_free(self, now: float) -> bool:
        """Whether it may be taken: nobody holds it, or its holder gave no sign of life for too long."""
        lease = self.lease
        return lease is None or not lease.holder or now - self.since > lease.seconds


def read(live: Object | None) -> Lease | None:
    """The Lease in what a server answered; what somebody wrote by hand counts as far as it goes."""
    if live is None:
        return None
    spec = live.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds") or SECONDS
    words = (str(spec.get(name) or "") for name in ("acquireTime", "renewTime"))
    return Lease(str(spec.get("holderIdentity") or ""), float(seconds), *words)


def watched(before: Watched | None, live: Object | None, now: float) -> Watched:
    """What is seen at `now`: since then, or since before where nothing of it has moved."""
    lease = read(live)
    return before if before and before.lease == lease else Watched(lease, now)


def held(live: Object | None, holder: Holder, now: datetime) -> Object:
    """What to write to take it, or to renew it where it is the holder's own already."""
    moment, old = now.strftime(_MICRO_TIME), (live or {}).get("spec") or {}
    ours = old.get("holderIdentity") == holder.identity
    transitions = int(old.get("leaseTransitions") or 0)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": NAME,
            "namespace": "kube-system",
            "labels": {MANAGED_BY: "aggctl"},
        },
        "spec": {
            "holderIdentity": holder.identity,
            "leaseDurationSeconds": SECONDS,
            "acquireTime": old.get("acquireTime") or moment if ours else moment,
            "renewTime": moment,
            "leaseTransitions": transitions if ours or live is None else transitions + 1,
        },
    }


def in_words(lease: Lease | None) -> str:
    """Who holds it, and since when."""
    if lease is None or not lease.holder:
        return "somebody else"
    who, parts = clean(lease.holder, 120), lease.holder.rsplit("_", 2)
    if len(parts) == 3:  # noqa: PLR2004 -- host, command and mark, as Holder writes them
        who = f"aggctl {clean(parts[1], 40).replace('-', ' ')} on {clean(parts[0], 80)}"
    return f"{who} since {clean(lease.acquired, 40)}" if lease.acquired else who


def restarted(plan: Plan) -> str:
    """The kube-apiserver that a plan restarts by changing the manifest that its gates wait for, or ""."""
    gates = (gate for step in plan.steps for gate in (step.gate, step.undo_gate) if gate)
    waited_for = [dict(each.arguments) for gate in gates for each in gate.conditions]
    manifests = {each.get("manifest") for each in waited_for}
    if not any(isinstance(step.change, FileChange) and step.change.path in manifests for step in plan.steps):
        return ""
    return next((str(each["server"]) for each in waited_for if "server" in each), "")


# --- words ------------------------------------------------------------------------------------------------


def busy(lease: Lease | None, seconds: float) -> Refused:
    """Another one did not end in time."""
    return Refused(
        "control-plane-busy",
        f"the control plane is being changed by {in_words(lease)}",
        found=f"it still holds the Lease kube-system/{NAME} after {ago(round(seconds))}",
        expected="one change of the control plane at a time, so that never two kube-apiservers are away",
        do="wait for it to end, then run again; one that died is passed over once it was not renewed for "
        f"{ago(lease.seconds if lease else SECONDS)}",
    )


def not_permitted(said: str) -> Refused:
    """The user may not take it."""
    return Refused(
        "no-rights-in-cluster",
        f"the control-plane lock, the Lease kube-system/{NAME}, cannot be taken: {said}",
        expected="the rights to create leases in kube-system, and to get, update and delete this one",
        do="ask for them; or, where nobody else changes the control plane meanwhile: --no-lock",
    )


def not_asked(code: str, said: str) -> Refused:
    """No kube-apiserver takes it."""
    return Refused(
        code,
        f"the control-plane lock, the Lease kube-system/{NAME}, cannot be taken: {said}",
        do=f"aggctl explain {code}; or, where nobody else changes the control plane meanwhile: --no-lock",
    )


def lost(lease: Lease | None) -> Finding:
    """Somebody else took it, or deleted it, before the work was done."""
    what = f"it was taken by {in_words(lease)}" if lease else "it was deleted"
    return Finding(
        "control-plane-lock-lost",
        "warning",
        f"Lease kube-system/{NAME}",
        f"the control-plane lock was lost while it was held: {what}",
        "see that both changes ended well: aggctl doctor, on both nodes",
    )


def left(said: str) -> Finding:
    """It could not be given back."""
    return Finding(
        "control-plane-lock-left",
        "warning",
        f"Lease kube-system/{NAME}",
        f"the control-plane lock could not be given back: {said}; others pass over it within {SECONDS} s",
        f"where that is too long: {BY_HAND}",
    )
