"""Every kube-apiserver is known by its own address, and which of them do not answer."""

from __future__ import annotations

from typing import Any

import pytest
from support.snapshots import ON, PEER, SERVER, Scene, slices

from aggctl.core.apiservers import (
    LEASES,
    NODES,
    PEER_ADDRESS,
    Roster,
    addresses,
    away,
    peers_not_ready,
    ready_servers,
    roster,
)
from aggctl.core.cluster_view import KUBERNETES_SLICES
from aggctl.core.questions import ObjectAt, Question, ReadyAt, Unknown
from aggctl.core.snapshot import NotKnown, Snapshot, Unasked

OTHER = f"https://{PEER}:6443"
DOWN, FORBIDDEN = Unknown("refused"), Unknown("forbidden", "no-rights-in-cluster")


def leases(*found: str | None) -> dict[str, Any]:
    """The Leases of kube-apiservers with these addresses; None: one before 1.29, without the annotation."""
    return {
        "items": [
            {"metadata": {"name": "apiserver-x", **({"annotations": {PEER_ADDRESS: each}} if each else {})}}
            for each in found
        ]
    }


def telling(of_slices: Any, of_leases: Any) -> Scene:
    answers = {ObjectAt(KUBERNETES_SLICES, SERVER): of_slices, ObjectAt(LEASES, SERVER): of_leases}
    return ON.answering(answers)


def seen(scene: Scene) -> Roster:
    return scene.ask(lambda snapshot: roster(snapshot, SERVER))


TWO = slices("10.0.0.11", PEER, https=6443)


@pytest.mark.parametrize(
    ("of_slices", "of_leases", "servers"),
    [
        (TWO, None, (SERVER, OTHER)),
        (None, leases("10.0.0.11:6443", f"{PEER}:6443"), (SERVER, OTHER)),
        (slices("10.0.0.11", https=6443), leases(f"{PEER}:6443", "10.0.0.11:6443"), (SERVER, OTHER)),
        (slices("fd00::12", https=6443), leases("[fd00::11]:6443"), ("https://[fd00::12]:6443", "https://[fd00::11]:6443")),
        (slices(PEER, https=6443), FORBIDDEN, (OTHER,)),
        (FORBIDDEN, leases(f"{PEER}:6443"), (OTHER,)),
        (slices(PEER, ready=False, https=6443), leases(None), (SERVER,)),
        (slices(PEER, metrics=9090), {"items": [{"metadata": {"annotations": None}}]}, (SERVER,)),
        (FORBIDDEN, FORBIDDEN, (SERVER,)),
        (None, {"items": None}, (SERVER,)),
    ],
    ids=[
        "by the EndpointSlice",
        "by the Leases: a sandbox registers no loopback address",
        "by both, each once",
        "IPv6",
        "no right to list Leases",
        "no right to list EndpointSlices",
        "none is ready, no Lease tells",
        "no port https, no annotation",
        "no right to either: the kubeconfig's own",
        "none at all: the kubeconfig's own",
    ],
)  # fmt: skip
def test_kube_apiservers_are_known(of_slices: Any, of_leases: Any, servers: tuple[str, ...]) -> None:
    assert seen(telling(of_slices, of_leases)) == Roster(servers)


ONE = slices("10.0.0.11", https=6443)


@pytest.mark.parametrize(
    ("of_slices", "of_leases", "alone"),
    [
        (ONE, leases("10.0.0.11:6443"), True),
        (ONE, leases(None), True),
        (ONE, leases(None, None), False),
        (ONE, FORBIDDEN, False),
        (ONE, None, False),
        (TWO, leases("10.0.0.11:6443", f"{PEER}:6443"), False),
        (None, leases(None), False),
    ],
    ids=[
        "one Lease, of the one that is known",
        "one Lease, without an address",
        "another Lease tells no address: there may be another one",
        "Leases may not be seen",
        "no Lease tells that all are known",
        "two",
        "none is known: the kubeconfig's address may be that of a load balancer",
    ],
)
def test_a_kube_apiserver_is_alone_where_the_cluster_tells_of_no_other(
    of_slices: Any, of_leases: Any, alone: bool
) -> None:
    assert seen(telling(of_slices, of_leases)).alone is alone


def test_one_that_is_silent_is_not_alone_with_the_one_that_answers() -> None:
    assert not Roster((SERVER,), ((OTHER, "refused"),)).alone


def test_one_that_does_not_answer_from_here_is_named_with_the_reason() -> None:
    scene = telling(TWO, None).answering({ReadyAt(OTHER): DOWN})
    assert seen(scene) == Roster((SERVER,), ((OTHER, "refused"),))


def test_one_that_answers_that_it_is_not_ready_answers() -> None:
    scene = telling(TWO, None).answering({ReadyAt(OTHER): "[-]etcd failed"})
    assert seen(scene) == Roster((SERVER, OTHER))


def test_behind_a_load_balancer_its_address_counts_where_none_can_be_reached() -> None:
    balancer = "https://lb.example:443"
    answers = {ObjectAt(KUBERNETES_SLICES, balancer): TWO, ObjectAt(LEASES, balancer): None}
    scene = ON.answering({**answers, ReadyAt(SERVER): DOWN, ReadyAt(OTHER): DOWN})
    found = scene.ask(lambda snapshot: roster(snapshot, balancer))
    assert found == Roster((balancer,), ((SERVER, "refused"), (OTHER, "refused")))


def test_both_sources_are_asked_at_once_then_all_servers() -> None:
    first: dict[Question, Any] = {ObjectAt(KUBERNETES_SLICES, SERVER): TWO, ObjectAt(LEASES, SERVER): None}
    with pytest.raises(Unasked) as caught:
        roster(Snapshot(), SERVER)
    assert caught.value.questions == set(first)
    with pytest.raises(Unasked) as caught:
        roster(Snapshot(first), SERVER)
    assert caught.value.questions == {ReadyAt(SERVER), ReadyAt(OTHER)}


@pytest.mark.parametrize(
    ("of_slices", "of_leases", "found"),
    [
        (TWO, leases(f"{PEER}:6443", "10.0.0.13:6443"), ("10.0.0.11", PEER, "10.0.0.13")),
        (slices("fd00::11", https=6443), None, ("fd00::11",)),
        (None, leases(":6443"), ()),
        (FORBIDDEN, FORBIDDEN, ()),
    ],
    ids=["both sources, each once", "IPv6 without brackets", "no host", "no rights"],
)
def test_addresses_of_the_control_plane(of_slices: Any, of_leases: Any, found: tuple[str, ...]) -> None:
    assert telling(of_slices, of_leases).ask(lambda snapshot: addresses(snapshot, SERVER)) == found


def test_addresses_are_told_whether_or_not_they_answer() -> None:
    scene = telling(TWO, None).answering({ReadyAt(SERVER): DOWN, ReadyAt(OTHER): DOWN})
    assert scene.ask(lambda snapshot: addresses(snapshot, SERVER)) == ("10.0.0.11", PEER)


# --- before a restart -------------------------------------------------------------------------------------


def not_ready(scene: Scene) -> list[tuple[str, str]]:
    found = scene.ask(lambda snapshot: peers_not_ready(snapshot, SERVER))
    assert all((each.code, each.severity) == ("peer-not-ready", "error") for each in found)
    return [(each.subject, each.message.rpartition(": ")[2]) for each in found]


@pytest.mark.parametrize(
    ("said", "found"),
    [("ok", []), ("HTTP 500 etcd", [(OTHER, "HTTP 500 etcd")]), (DOWN, [(OTHER, "refused")])],
    ids=["ready", "not ready", "silent"],
)
def test_the_others_have_to_be_ready_before_this_one_restarts(
    said: Any, found: list[tuple[str, str]]
) -> None:
    assert not_ready(telling(TWO, None).answering({ReadyAt(OTHER): said})) == found


@pytest.mark.parametrize("said", ["HTTP 500 etcd", DOWN], ids=["not ready", "silent"])
def test_one_that_is_not_ready_itself_may_restart_as_that_takes_nothing_away(said: Any) -> None:
    scene = telling(TWO, None).answering({ReadyAt(OTHER): DOWN})
    assert not_ready(scene.answering({ReadyAt(SERVER): said})) == []


def test_the_only_one_may_restart() -> None:
    assert not_ready(telling(slices("10.0.0.11", https=6443), None)) == []


def test_the_ready_ones_are_known_and_the_one_that_may_restart_comes_last() -> None:
    def found(scene: Scene) -> tuple[str, ...]:
        return scene.ask(lambda snapshot: ready_servers(snapshot, SERVER))

    scene = telling(TWO, None)
    assert found(scene) == (OTHER, SERVER)
    assert found(scene.answering({ReadyAt(OTHER): DOWN})) == (SERVER,)
    assert found(scene.answering({ReadyAt(SERVER): "HTTP 500 etcd"})) == (OTHER,)
    assert found(scene.answering({ReadyAt(SERVER): DOWN, ReadyAt(OTHER): DOWN})) == ()


# --- nodes that are away ----------------------------------------------------------------------------------


def node(name: str, *addresses: str, ready: str | None) -> dict[str, Any]:
    """A control-plane node whose condition Ready is this, or that has none."""
    conditions = [{"type": "MemoryPressure", "status": "True"}]
    conditions += [{"type": "Ready", "status": ready}] if ready else []
    found = [{"type": "InternalIP", "address": each} for each in addresses]
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "addresses": found}}


BOTH = Roster((SERVER, OTHER))


@pytest.mark.parametrize(
    ("nodes", "known", "found"),
    [
        ([node("a", "10.0.0.11", ready="True"), node("b", PEER, ready="True")], BOTH, ()),
        ([node("a", "10.0.0.11", ready="True"), node("b", PEER, ready="False")], Roster((SERVER,)), ("b",)),
        ([node("b", "fd00::12", ready="Unknown")], BOTH, ("b",)),
        ([node("b", PEER, ready=None)], Roster((SERVER,)), ("b",)),
        ([node("b", ready="False")], BOTH, ("b",)),
        ([{"metadata": {"name": "b"}}, {"metadata": {"name": "c"}, "status": {}}], BOTH, ("b", "c")),
        ([node("b", "192.168.0.2", PEER, ready="False")], BOTH, ()),
        ([node("b", PEER, ready="False")], Roster((SERVER,), ((OTHER, "refused"),)), ()),
        ([node("b", "fd00::12", ready="False")], Roster(("https://[fd00::12]:6443",)), ()),
        ([node("b", PEER, ready="True")], Roster((SERVER,)), ()),
        ([], BOTH, ()),
    ],
    ids=[
        "all are ready",
        "not ready, and forgotten",
        "its kubelet is silent",
        "no condition Ready",
        "no address",
        "no status",
        "not ready, but its kube-apiserver answers",
        "its kube-apiserver is named as silent already",
        "IPv6",
        "ready, and its kube-apiserver is known by another address",
        "no nodes: a control plane without kubelets",
    ],
)  # fmt: skip
def test_control_plane_nodes_that_are_away_are_named(
    nodes: list[dict[str, Any]], known: Roster, found: tuple[str, ...]
) -> None:
    scene = ON.object(NODES, {"items": nodes})
    assert scene.ask(lambda snapshot: away(snapshot, SERVER, known)) == found


@pytest.mark.parametrize("answer", [None, {"items": None}], ids=["none", "null"])
def test_where_there_are_no_nodes_none_is_away(answer: Any) -> None:
    assert ON.object(NODES, answer).ask(lambda snapshot: away(snapshot, SERVER, BOTH)) == ()


def test_where_nodes_may_not_be_listed_nobody_knows_who_is_away() -> None:
    scene = ON.answering({ObjectAt(NODES, SERVER): FORBIDDEN})
    with pytest.raises(NotKnown, match="forbidden"):
        scene.ask(lambda snapshot: away(snapshot, SERVER, BOTH))
