"""The gate that waits for other nodes: by what they noted in the cluster, not by what this one thinks."""

from __future__ import annotations

from typing import Any

import pytest
from support.snapshots import NOW, ON, SERVER, Scene

from aggctl.core.certs.record import PATH, Record, to_object
from aggctl.core.checks.rotation import nodes_at
from aggctl.core.findings import Finding, Passed
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.snapshot import NotKnown

OTHER, THIRD = "https://10.0.0.12:6443", "https://10.0.0.13:6443"


def noted(**stages: str) -> Scene:
    """A cluster with a record of these stages, by the last part of an address."""
    nodes = tuple((f"https://10.0.0.{name[1:]}:6443", stage) for name, stage in stages.items())
    return ON.object(PATH, to_object(Record("new", ("old",), NOW, nodes)))


def seen(scene: Scene, stage: str = "trusted", *servers: str) -> Passed | Finding:
    names = ",".join(servers or (SERVER, OTHER))
    return scene.ask(lambda snapshot: nodes_at(snapshot, server=SERVER, servers=names, stage=stage))


@pytest.mark.parametrize(
    ("stage", "stages"),
    [
        ("old", {}),
        ("trusted", {"n11": "trusted", "n12": "trusted"}),
        ("trusted", {"n11": "trusted", "n12": "retired"}),
        ("switched", {"n11": "switched", "n12": "retired"}),
        ("retired", {"n11": "retired", "n12": "retired"}),
    ],
    ids=["nobody began", "all are there", "one is further", "all switched", "all at the end"],
)
def test_where_every_node_is_so_far_it_passes(stage: str, stages: dict[str, str]) -> None:
    assert isinstance(seen(noted(**stages), stage), Passed)


@pytest.mark.parametrize(
    ("stage", "stages", "late"),
    [
        ("trusted", {"n11": "trusted", "n12": "old"}, OTHER),
        ("trusted", {"n11": "trusted"}, OTHER),
        ("switched", {"n11": "trusted", "n12": "trusted"}, f"{SERVER}, {OTHER}"),
        ("retired", {"n11": "retired", "n12": "switched"}, OTHER),
        ("trusted", {"n11": "trusted", "n12": "trusted", "n13": "old"}, THIRD),
    ],
    ids=["one is not", "one never noted", "none is", "one short of the end", "one that does not answer now"],
)
def test_nodes_that_are_behind_are_named(stage: str, stages: dict[str, str], late: str) -> None:
    finding = seen(noted(**stages), stage)
    assert isinstance(finding, Finding)
    assert (finding.code, finding.severity, finding.subject) == ("nodes-behind", "error", late)
    assert "aggctl certs rotate ca" in finding.fix


def test_without_a_record_there_is_nobody_to_wait_for() -> None:
    """Another node ended the rotation, and the record was taken away since."""
    assert isinstance(seen(ON.object(PATH, None), "retired"), Passed)


def test_where_no_other_address_is_known_those_that_took_part_count() -> None:
    scene = noted(n11="trusted", n12="old")
    found = scene.ask(lambda snapshot: nodes_at(snapshot, server=SERVER, servers="", stage="trusted"))
    assert isinstance(found, Finding)
    assert found.subject == OTHER


def test_a_record_that_cannot_be_seen_never_passes() -> None:
    hidden = {ObjectAt(PATH, SERVER): Unknown("refused")}
    with pytest.raises(NotKnown, match="refused"):
        seen(ON.answering(hidden))


@pytest.mark.parametrize(
    "found", [{"data": {}}, {"data": {"nodes": '{"x": "sideways"}'}}], ids=["empty", "an unknown stage"]
)
def test_a_record_that_is_none_is_waited_for_in_vain(found: dict[str, Any]) -> None:
    finding = seen(ON.object(PATH, found))
    assert isinstance(finding, Finding)
    assert (finding.code, finding.subject, finding.hopeless) == ("rotation-record-not-readable", PATH, True)
