"""The order in which a set is applied, and the namespace for what names none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aggctl.core.manifestset.reader import refuse_twice
from aggctl.core.shapes import (
    BUILT_IN_GROUPS,
    CLUSTER_SCOPED,
    group_kind,
    group_of,
    is_api_service,
    namespace_of,
    rows,
    table,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.manifestset.model import Item

_RBAC = "rbac.authorization.k8s.io"
_ORDER: tuple[tuple[tuple[str, str], ...], ...] = (
    (("", "Namespace"),),
    (("apiextensions.k8s.io", "CustomResourceDefinition"),),
    (("scheduling.k8s.io", "PriorityClass"),),
    (("", "ServiceAccount"),),
    ((_RBAC, "ClusterRole"),),
    ((_RBAC, "Role"),),
    ((_RBAC, "ClusterRoleBinding"),),
    ((_RBAC, "RoleBinding"),),
    (("", "ConfigMap"),),
    (("", "Secret"),),
    (("", "PersistentVolumeClaim"),),
    (("networking.k8s.io", "NetworkPolicy"),),
    (("", "Service"),),
    (("policy", "PodDisruptionBudget"),),
    (
        ("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"),
        ("", "ReplicationController"), ("", "Pod"), ("batch", "Job"), ("batch", "CronJob"),
    ),
)  # fmt: skip
_RANK = {kind: rank for rank, kinds in enumerate(_ORDER) for kind in kinds}
_ELSE = len(_ORDER)
_LAST = _ELSE + 1
"""One APIService that does not answer hurts the whole cluster, so that its server comes first."""


def apply_order(objects: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """What others need first, the APIServices last; otherwise as they came."""
    return tuple(sorted(objects, key=_rank))


def _rank(thing: dict[str, Any]) -> int:
    return _LAST if is_api_service(thing) else _RANK.get(group_kind(thing), _ELSE)


def in_namespace(items: Iterable[Item], namespace: str) -> tuple[Item, ...]:
    """The set with `namespace` where an object, a subject or an APIService's Service names none.

    Whether a custom resource is in a namespace is not known here: those stay as they are.
    """
    placed = tuple(replace(item, object=_placed(item.object, namespace)) for item in items)
    refuse_twice(placed)
    return placed


def _placed(thing: dict[str, Any], namespace: str) -> dict[str, Any]:
    if is_api_service(thing):
        service = table(thing, "spec", "service")
        if not service or service.get("namespace"):
            return thing
        return thing | {"spec": thing["spec"] | {"service": service | {"namespace": namespace}}}
    if group_of(thing) == _RBAC and rows(thing, "subjects"):
        thing = thing | {"subjects": [_subject(each, namespace) for each in thing["subjects"]]}
    if group_kind(thing) in CLUSTER_SCOPED or namespace_of(thing) or group_of(thing) not in BUILT_IN_GROUPS:
        return thing
    return thing | {"metadata": thing["metadata"] | {"namespace": namespace}}


def _subject(subject: Any, namespace: str) -> Any:
    if word(subject, "kind") != "ServiceAccount" or subject.get("namespace"):
        return subject
    return subject | {"namespace": namespace}
