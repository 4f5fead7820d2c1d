"""Objects that aggctl writes whole or in part: a swap really compares, at a real kube-apiserver."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import Kube
from support.nodes import Node
from support.sandboxes import sandbox_in

from aggctl.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aggctl.system.objects import Objects

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    with sandbox_in(tmp_path_factory.mktemp("swaps") / "sandbox") as running:
        yield Node(running)


@pytest.fixture
def objects(node: Node) -> Objects:
    return node.ports().objects


@pytest.fixture
def kube(node: Node) -> Kube:
    """Everybody else."""
    return Kube(node.running.sandbox.kubeconfig)


@pytest.fixture
def path() -> str:
    """Of an object that is not there yet."""
    return f"{CONFIG_MAPS}/x-{next(_NUMBERS)}"


def config_map(path: str, **data: str) -> Object:
    metadata = {"name": path.rpartition("/")[2], "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def data(kube: Kube, path: str) -> dict[str, str]:
    found = kube.get(path)
    return dict(found.get("data") or {}) if found else {}


# --- put ---------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_made_and_what_is_there_replaced(
    objects: Objects, kube: Kube, path: str
) -> None:
    assert objects.put(path, config_map(path, a="1"), None)
    assert objects.put(path, config_map(path, b="2"), objects.read(path))
    assert data(kube, path) == {"b": "2"}


def test_what_somebody_made_meanwhile_is_not_replaced(objects: Objects, kube: Kube, path: str) -> None:
    kube.apply(path, config_map(path, theirs="1"))
    assert not objects.put(path, config_map(path, ours="1"), None)
    assert data(kube, path) == {"theirs": "1"}


def test_what_somebody_wrote_meanwhile_is_not_replaced(objects: Objects, kube: Kube, path: str) -> None:
    assert objects.put(path, config_map(path, a="1"), None)
    live = objects.read(path)
    kube.apply(path, config_map(path, theirs="1"))
    assert not objects.put(path, config_map(path, ours="1"), live)
    assert data(kube, path) == {"a": "1", "theirs": "1"}


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made anew"])
def test_what_somebody_deleted_meanwhile_is_not_written(
    objects: Objects, kube: Kube, path: str, again: bool
) -> None:
    assert objects.put(path, config_map(path, a="1"), None)
    live = objects.read(path)
    kube.delete(path)
    if again:
        kube.apply(path, config_map(path, theirs="1"))
    assert not objects.put(path, config_map(path, ours="1"), live)
    assert data(kube, path) == ({"theirs": "1"} if again else {})


def test_an_object_that_the_server_does_not_take_is_no_lost_race(objects: Objects, path: str) -> None:
    wrong = config_map(path) | {"data": {"not a key": "1"}}
    with pytest.raises(Failed) as caught:
        objects.put(path, wrong, None)
    assert caught.value.code == "object-not-valid"


# --- patch -------------------------------------------------------------------------------------------------


def test_a_patch_changes_what_it_names_and_nothing_else(objects: Objects, kube: Kube, path: str) -> None:
    kube.apply(path, config_map(path, theirs="1", old="1"))
    version = kube.get(path)["metadata"]["resourceVersion"]
    body = {"metadata": {"resourceVersion": version}, "data": {"old": None, "new": "1"}}
    assert objects.patch(path, body)
    assert data(kube, path) == {"theirs": "1", "new": "1"}


def test_a_patch_of_what_somebody_wrote_meanwhile_changes_nothing(
    objects: Objects, kube: Kube, path: str
) -> None:
    version = kube.apply(path, config_map(path, theirs="1"))["metadata"]["resourceVersion"]
    kube.apply(path, config_map(path, theirs="2"))
    assert not objects.patch(path, {"metadata": {"resourceVersion": version}, "data": {"theirs": "0"}})
    assert data(kube, path) == {"theirs": "2"}


def test_a_patch_of_what_is_not_there_fails_by_name(objects: Objects, path: str) -> None:
    with pytest.raises(Failed) as caught:
        objects.patch(path, {"data": {"a": "1"}})
    assert path in str(caught.value)


# --- annotate, drop ----------------------------------------------------------------------------------------


def test_an_annotation_is_set_beside_those_of_others(objects: Objects, kube: Kube, path: str) -> None:
    made = config_map(path, theirs="1")
    made["metadata"]["annotations"] = {"theirs": "1"}
    kube.apply(path, made)
    for value in ("1", "2"):
        objects.annotate(path, "ours", value)
    assert kube.get(path)["metadata"]["annotations"] == {"theirs": "1", "ours": "2"}
    assert data(kube, path) == {"theirs": "1"}


def test_what_is_not_there_is_neither_annotated_nor_made(objects: Objects, kube: Kube, path: str) -> None:
    objects.annotate(path, "ours", "1")
    assert kube.get(path) is None


def test_what_is_dropped_is_gone_and_dropping_it_again_no_fault(
    objects: Objects, kube: Kube, path: str
) -> None:
    kube.apply(path, config_map(path))
    for _ in range(2):
        objects.drop(path)
        assert kube.get(path) is None
