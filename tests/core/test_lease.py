"""The Lease of the control plane: who holds it, when it may be taken, and what is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.lease import (
    SECONDS,
    Holder,
    Lease,
    Watched,
    busy,
    held,
    in_words,
    left,
    lost,
    not_asked,
    not_permitted,
    read,
    restarted,
    watched,
)
from aggctl.core.plan import Condition, FileChange, Gate, ObjectChange, Plan, Step, stamp

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=40)
OURS = Holder("node-1", "certs rotate client", "boot-1.42.7")
THEIRS = Holder("node-2", "enable", "boot-2.99.8")
SERVER, MANIFEST = "https://10.0.0.11:6443", "/etc/kubernetes/manifests/kube-apiserver.yaml"

Object = dict[str, Any]


def of(holder: Holder, now: datetime = NOW, live: Object | None = None) -> Object:
    """The Lease as the server has it once a holder wrote it."""
    return held(live, holder, now)


# --- what is read and written -----------------------------------------------------------------------------


def test_what_is_written_is_a_lease_of_coordination_v1_with_micro_times() -> None:
    assert of(OURS) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "aggctl-control-plane",
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/managed-by": "aggctl"},
        },
        "spec": {
            "holderIdentity": "node-1_certs-rotate-client_boot-1.42.7",
            "leaseDurationSeconds": SECONDS,
            "acquireTime": "2026-03-01T12:00:00.000005Z",
            "renewTime": "2026-03-01T12:00:00.000005Z",
            "leaseTransitions": 0,
        },
    }


def test_what_was_written_is_read_with_the_mark_of_its_process() -> None:
    found = read(of(OURS))
    moment = "2026-03-01T12:00:00.000005Z"
    assert found == Lease(OURS.identity, SECONDS, moment, moment)
    assert found.mark == OURS.mark


def test_to_renew_moves_the_renew_time_alone() -> None:
    before = of(OURS)
    after = of(OURS, LATER, before)
    assert after["spec"] == before["spec"] | {"renewTime": "2026-03-01T12:00:40.000005Z"}


def test_to_take_it_from_another_is_a_transition_with_a_new_acquire_time() -> None:
    spec = of(OURS, LATER, of(THEIRS))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == (OURS.identity, 1)
    assert spec["acquireTime"] == spec["renewTime"] == "2026-03-01T12:00:40.000005Z"


@pytest.mark.parametrize("live", [{}, {"spec": None}, {"spec": {}}], ids=str)
def test_one_that_somebody_made_by_hand_without_anything_in_it_may_be_taken(live: Object) -> None:
    assert read(live) == Lease("", SECONDS, "", "")
    assert Watched(read(live), 0.0).is_free(0.0)
    assert of(OURS, NOW, live)["spec"]["leaseTransitions"] == 1


def test_renewing_one_without_an_acquire_time_gives_it_one() -> None:
    spec = of(OURS, NOW, {"spec": {"holderIdentity": OURS.identity}})["spec"]
    assert spec["acquireTime"] == "2026-03-01T12:00:00.000005Z"


# --- who may take it --------------------------------------------------------------------------------------


def test_where_there_is_none_it_is_free() -> None:
    assert watched(None, None, 5.0) == Watched(None, 5.0)
    assert watched(None, None, 5.0).is_free(5.0)


def test_a_holder_that_is_seen_for_the_first_time_is_alive_however_old_its_renew_time_is() -> None:
    seen = watched(None, of(THEIRS, NOW - timedelta(days=400)), 5.0)
    assert not seen.is_free(5.0)


def test_one_that_does_not_renew_for_the_whole_duration_is_dead() -> None:
    seen = watched(watched(None, of(THEIRS), 5.0), of(THEIRS), 5.0 + SECONDS)
    assert seen.since == 5.0
    assert not seen.is_free(5.0 + SECONDS)
    assert seen.is_free(5.1 + SECONDS)


def test_its_own_duration_counts() -> None:
    live = of(THEIRS)
    live["spec"]["leaseDurationSeconds"] = 2
    assert watched(None, live, 5.0).is_free(7.5)


@given(st.lists(st.integers(1, SECONDS), min_size=1, max_size=30))
def test_one_that_renews_in_time_is_never_taken_for_dead(pauses: list[int]) -> None:
    """Whatever its clock says, and whatever ours said when it began."""
    clock, live = 0.0, of(THEIRS)
    seen = watched(None, live, clock)
    for number, pause in enumerate(pauses):
        clock += pause
        assert not seen.is_free(clock)
        live = of(THEIRS, NOW - timedelta(seconds=number + 1), live)
        seen = watched(seen, live, clock)
        assert seen.since == clock


# --- which plans restart ----------------------------------------------------------------------------------


def plan(*steps: Step) -> Plan:
    return Plan("enable", "switch it on", steps)


def change(path: str) -> FileChange:
    return FileChange(path, None, stamp(b"x", 0o600, 0, 0))


IN_FORCE = Condition("manifest-in-force", (("manifest", MANIFEST),))
READY = Condition("apiserver-ready", (("server", SERVER), ("manifest", MANIFEST)))


@pytest.mark.parametrize(
    ("steps", "server"),
    [
        ((), ""),
        ((Step("", change(MANIFEST)),), ""),
        ((Step("", change(MANIFEST), gate=Gate((IN_FORCE, READY), 1.0)),), SERVER),
        ((Step("", change(MANIFEST), undo_gate=Gate((IN_FORCE, READY), 1.0)),), SERVER),
        ((Step("", change(MANIFEST), gate=Gate((IN_FORCE,), 1.0)),), ""),
        ((Step("", change("/pki/x.crt"), gate=Gate((IN_FORCE, READY), 1.0)),), ""),
        ((Step("", ObjectChange(SERVER, MANIFEST, "", None, None), gate=Gate((READY,), 1.0)),), ""),
    ],
    ids=[
        "no step",
        "nothing waits for it",
        "waits for the manifest",
        "its undo does",
        "no server named",
        "another file",
        "an object",
    ],
)
def test_a_plan_restarts_the_server_whose_manifest_it_changes_and_waits_for(
    steps: tuple[Step, ...], server: str
) -> None:
    assert restarted(plan(*steps)) == server


# --- words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        (read(of(OURS)), "aggctl certs rotate client on node-1 since 2026-03-01T12:00:00.000005Z"),
        (Lease("a_b_enable_mark", 1.0, "", ""), "aggctl enable on a_b"),
        (Lease("somebody", 1.0, "", ""), "somebody"),
        (Lease("\x1b[31mred", 1.0, "\x1b[0mnow", ""), "red since now"),
        (Lease("", 1.0, "now", ""), "somebody else"),
        (None, "somebody else"),
    ],
    ids=["ours", "a host with underscores", "by hand", "escape sequences", "nobody", "none"],
)
def test_who_holds_it_is_said_by_command_and_host(lease: Lease | None, words: str) -> None:
    assert in_words(lease) == words


def test_who_does_not_end_is_named_with_the_time_that_a_dead_one_is_waited_for() -> None:
    lease = read(of(THEIRS))
    assert lease
    refused = busy(replace(lease, seconds=30.0), 240.4)
    assert (refused.code, refused.exit_status) == ("control-plane-busy", 3)
    assert "aggctl enable on node-2" in refused.message
    assert "4 min" in refused.found
    assert "30 s" in refused.do
    assert "3 min" in busy(None, 1.0).do


def test_without_the_rights_the_rights_are_named_and_the_way_without() -> None:
    refused = not_permitted("leases is forbidden")
    assert (refused.code, refused.exit_status) == ("no-rights-in-cluster", 3)
    assert "create leases in kube-system" in refused.expected
    assert "--no-lock" in refused.do


def test_where_the_api_is_silent_its_own_code_stays() -> None:
    refused = not_asked("apiserver-not-reachable", "it does not answer")
    assert (refused.code, refused.exit_status) == ("apiserver-not-reachable", 3)
    assert "--no-lock" in refused.do


def test_what_went_wrong_with_the_lock_alone_is_a_warning() -> None:
    found = [lost(read(of(THEIRS))), lost(None), left("it is away")]
    assert [(each.code, each.severity) for each in found] == [
        ("control-plane-lock-lost", "warning"),
        ("control-plane-lock-lost", "warning"),
        ("control-plane-lock-left", "warning"),
    ]
    assert "taken by aggctl enable on node-2" in found[0].message
    assert "deleted" in found[1].message
    assert "kubectl -n kube-system delete lease aggctl-control-plane" in found[2].fix
