"""A cluster's roles and bindings, and an API that some may use, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from support.clusters import cluster

from aggctl.core.access.left import MARKED
from aggctl.core.access.objects import OF_API, VERSION, collection, path
from aggctl.core.checks.extension import api_service_path
from aggctl.core.extension import Api
from aggctl.core.fields import CREATED, MANAGED_BY
from aggctl.core.questions import AnswerSeen, MayDo, RawAt
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.snapshots import Scene

    from aggctl.core.questions import Question, Unknown
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]
Labels = dict[str, str] | None
Result = TypeVar("Result")

API = Api("v1", "things.example")
ALL_KINDS = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
RESOURCES: tuple[Object, ...] = (
    {"name": "things", "namespaced": True, "verbs": ["create", "get", "list", "watch"]},
    {"name": "things/status", "namespaced": True, "verbs": ["get", "patch"]},
    {"name": "things/console", "namespaced": True, "verbs": ["get"]},
    {"name": "shelves", "namespaced": False, "verbs": ["get", "list"]},
    {"name": "orders", "namespaced": True, "verbs": ["create"]},
)
"""What the API offers unless a test says otherwise."""


def with_api(
    *resources: Object, api: Api = API, versions: tuple[str, ...] = ("v1",), by_service: bool = True
) -> Scene:
    """A cluster that serves an API with these resources."""
    spec = {"service": {"namespace": "shop", "name": "things"}} if by_service else {}
    api_service = {"metadata": {"name": api.name}, "spec": spec}
    group = {"versions": [{"version": each} for each in versions]}
    return (
        cluster()
        .object(api_service_path(api.name), api_service)
        .object(f"/apis/{api.group}", group)
        .object(api.path, {"resources": list(resources or RESOURCES)})
    )


def role(name: str, *rules: Object, namespace: str = "", ours: bool = False, labels: Labels = None) -> Object:
    """A role of the cluster or of a namespace."""
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": _metadata(name, namespace, ours, labels),
        "rules": list(rules),
    }


def rule(verbs: str, resources: str, groups: str = API.group, **more: Any) -> Object:
    """A rule, its lists written with commas."""
    return {
        "apiGroups": groups.split(","),
        "resources": resources.split(","),
        "verbs": verbs.split(","),
        **more,
    }


def binding(
    name: str, to: Object, *subjects: Object, namespace: str = "", ours: bool = False, labels: Labels = None
) -> Object:
    """A binding to a role."""
    return {
        "apiVersion": VERSION,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": _metadata(name, namespace, ours, labels),
        "roleRef": {"kind": to["kind"], "name": to["metadata"]["name"]},
        "subjects": list(subjects),
    }


def group(name: str) -> Object:
    return {"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def user(name: str) -> Object:
    return {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def account(namespace: str, name: str) -> Object:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def _metadata(name: str, namespace: str, ours: bool, labels: Labels) -> Object:
    own = {MANAGED_BY: "aggctl", OF_API: API.name} if ours else {}
    marks = {"annotations": {CREATED: "3f2a"}, "uid": f"uid-{name}"} if ours else {}
    where = {"namespace": namespace} if namespace else {}
    return {"name": name, **where, **marks, "labels": {**own, **(labels or {})}}


def having(scene: Scene, *objects: Object, namespace: str = "") -> Scene:
    """The scene with these roles and bindings, each by its path and in the lists of its kind."""
    for kind in ALL_KINDS:
        of_kind = [each for each in objects if each["kind"] == kind]
        bare = [
            {key: value for key, value in each.items() if key not in ("kind", "apiVersion")}
            for each in of_kind
        ]
        scene = scene.object(collection(kind), {"items": bare})
        marked = [each for each in bare if OF_API in each["metadata"].get("labels", {})]
        scene = scene.object(collection(kind) + MARKED, {"items": marked})
        if namespace and not kind.startswith("Cluster"):
            inside = [each for each in bare if each["metadata"].get("namespace") == namespace]
            scene = scene.object(collection(kind, namespace), {"items": inside})
    for each in objects:
        scene = scene.object(path(each), each)
    return scene


def ask(
    scene: Scene,
    function: Callable[[Snapshot], Result],
    may: Callable[[MayDo], bool | Unknown] = lambda _: True,
    request: Callable[[RawAt], AnswerSeen | Unknown] = lambda _: AnswerSeen(200),
) -> Result:
    """What a pure function makes of the scene, where access reviews and requests in a name end so."""

    def look(question: Question) -> Any:
        if isinstance(question, MayDo):
            return may(question)
        return request(question) if isinstance(question, RawAt) else scene.look(question)

    return settle(function, look)[0]
