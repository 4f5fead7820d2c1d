"""What stays granted of an API that is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.granted import API, ask, binding, group, having, role, rule, with_api
from support.snapshots import SERVER

from aggctl.core.access.left import MARKED, grants_left
from aggctl.core.access.objects import collection
from aggctl.core.extension import Api
from aggctl.core.questions import ObjectAt, Unknown

if TYPE_CHECKING:
    from aggctl.core.findings import Finding

OURS = role("read", rule("get", "things"), ours=True)
INSIDE = binding("read:devs", OURS, group("devs"), namespace="shop", ours=True)
THEIRS = binding("theirs", OURS, group("ops"))
OTHER = Api("v2", "things.example")


def left(*objects: dict[str, Any], unseen: str = "") -> list[Finding]:
    scene = having(with_api(), *objects)
    if unseen:
        scene = scene.answering({ObjectAt(collection(unseen) + MARKED, SERVER): Unknown("forbidden")})
    return ask(scene, lambda snapshot: list(grants_left(snapshot, SERVER, (API, OTHER))))


def test_what_was_granted_of_the_api_itself_is_counted_and_how_it_is_taken_back() -> None:
    (finding,) = left(OURS, INSIDE, THEIRS)
    assert (finding.code, finding.subject) == ("grants-stay", f"APIService {API.name}")
    assert finding.message.startswith("2 roles and bindings")
    assert finding.fix == f"aggctl access revoke {API.name} --all"


def test_nothing_is_said_where_nothing_was_granted() -> None:
    assert left(THEIRS) == []


def test_what_may_not_be_read_is_passed_over() -> None:
    (finding,) = left(OURS, INSIDE, unseen="ClusterRole")
    assert finding.message.startswith("1 roles")
