"""What follows from an API that does not answer: a consequence, and only where it does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from support.clusters import namespace
from support.doctoring import FORBIDDEN, well
from support.snapshots import NOW, SERVER, Scene

from aggctl.core.doctor.effects import AUTOSCALERS, effects_of
from aggctl.core.doctor.model import Place
from aggctl.core.extension import Api
from aggctl.core.namespaces import NAMESPACES, STUCK
from aggctl.core.questions import ObjectAt

METRICS = Api("v1beta1", "custom.metrics.k8s.io")
ALWAYS = "garbage collection and the deletion of namespaces wait for custom.metrics.k8s.io/v1beta1"


def effects(scene: Scene, api: Api = METRICS) -> tuple[str, ...]:
    place = Place(SERVER, (SERVER,), NOW)
    return scene.ask(lambda snapshot: effects_of(snapshot, place, api))


def stuck(*names: str, api: str = "custom.metrics.k8s.io/v1beta1") -> Scene:
    message = (
        f"Discovery failed for some groups, 1 failing: unable to retrieve the complete list: {api}: stale"
    )
    said = {"conditions": [{"type": STUCK, "status": "True", "message": message}]}
    return Scene().object(NAMESPACES, {"items": [namespace(each) | {"status": said} for each in names]})


def scaled(*kinds: str, scene: Scene | None = None) -> Scene:
    items = [{"spec": {"metrics": [{"type": each}]}} for each in kinds]
    return (scene or Scene()).object(AUTOSCALERS, {"items": items})


def test_garbage_collection_always_waits() -> None:
    assert effects(Scene()) == (ALWAYS,)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("a",), "a"),
        (("a", "b", "c"), "a, b, c"),
        (("a", "b", "c", "d", "e"), "a, b, c and 2 more"),
    ],
)
def test_namespaces_that_wait_for_its_discovery_are_named(names: tuple[str, ...], shown: str) -> None:
    assert effects(stuck(*names))[0] == f"namespaces that cannot end: {shown}"


def test_namespaces_that_wait_for_another_api_are_not_its_effect() -> None:
    assert effects(stuck("a", api="metrics.k8s.io/v1beta1")) == (ALWAYS,)


def test_namespaces_that_may_not_be_listed_are_left_out() -> None:
    assert effects(Scene().answering({ObjectAt(NAMESPACES, SERVER): FORBIDDEN})) == (ALWAYS,)


@pytest.mark.parametrize(
    ("group", "kinds", "shown"),
    [
        ("metrics.k8s.io", ("Resource",), "1 HorizontalPodAutoscaler reads no metrics"),
        (
            "custom.metrics.k8s.io",
            ("Pods", "Object", "Resource"),
            "2 HorizontalPodAutoscalers read no metrics",
        ),
        ("external.metrics.k8s.io", ("External", "External"), "2 HorizontalPodAutoscalers read no metrics"),
    ],
)
def test_autoscalers_that_read_its_metrics_are_counted(
    group: str, kinds: tuple[str, ...], shown: str
) -> None:
    assert effects(scaled(*kinds), Api("v1beta1", group))[0] == shown


@pytest.mark.parametrize(
    "scene",
    [
        scaled("Resource"),
        scaled(),
        Scene().object(AUTOSCALERS, {"items": [{"spec": None}, {"spec": {"metrics": None}}]}),
        Scene().answering({ObjectAt(AUTOSCALERS, SERVER): FORBIDDEN}),
    ],
    ids=["of other metrics", "none", "without metrics", "not to be seen"],
)
def test_autoscalers_that_do_not_read_its_metrics_are_no_effect(scene: Scene) -> None:
    assert effects(scene) == (ALWAYS,)


def test_for_an_api_that_is_none_of_metrics_autoscalers_are_not_asked_for() -> None:
    assert len(effects(Scene(), Api("v1", "things.example"))) == 1


# --- when there are any ----------------------------------------------------------------------------------

WAITING = {"namespaces": stuck("team-b", api="things.example/v1").objects[NAMESPACES]}


def told(**case: Any) -> tuple[str, ...]:
    return well(objects=WAITING, **case).diagnosis().exams[0].effects


def test_a_broken_api_has_effects() -> None:
    assert told(answer={"status": 500, "said": "boom"})[0] == "namespaces that cannot end: team-b"


@pytest.mark.parametrize(
    "case",
    [{}, {"may": {"caller": False}}, {"served": {"10.1.0.6:8443": "expired"}}],
    ids=["it is well", "only the caller has no rights", "one endpoint of two is broken, and it answers"],
)
def test_an_api_that_answers_has_none(case: dict[str, Any]) -> None:
    assert told(**case) == ()


def test_an_api_that_is_not_registered_has_none() -> None:
    case: dict[str, Any] = {"apiService": None, "named": ["v1.things.example"]}
    assert well(**case).diagnosis().exams[0].effects == ()
