"""The two bindings that every extension API server needs to know who is asking, and whether they may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.shapes import is_kind, namespace_of, tables, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.manifestset.model import Item

GROUP = "rbac.authorization.k8s.io"
READER = "extension-apiserver-authentication-reader"
"""The Role in kube-system that reads the ConfigMap with the front-proxy CA and the allowed names."""

DELEGATOR = "system:auth-delegator"
"""The ClusterRole that creates TokenReviews and SubjectAccessReviews."""


def rbac_missing(items: Iterable[Item], namespace: str, service_account: str) -> tuple[dict[str, Any], ...]:
    """The bindings that the set lacks for a ServiceAccount."""
    objects = [item.object for item in items]
    wanted = bindings_of(namespace, service_account)
    return tuple(each for each in wanted if not any(_does(found, each) for found in objects))


def names_of(namespace: str, name: str) -> tuple[str, str]:
    """What the two bindings of a ServiceAccount are called: no other account leads to the same names."""
    return f"{namespace}:{name}:auth-reader", f"{namespace}:{name}:auth-delegator"


def bindings_of(namespace: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two bindings of a ServiceAccount: to the reader in kube-system, and to the delegator."""
    return _reader(namespace, name), _delegator(namespace, name)


def _reader(namespace: str, name: str) -> dict[str, Any]:
    return _binding(
        "RoleBinding", names_of(namespace, name)[0], "Role", READER, namespace, name, "kube-system"
    )


def _delegator(namespace: str, name: str) -> dict[str, Any]:
    return _binding(
        "ClusterRoleBinding", names_of(namespace, name)[1], "ClusterRole", DELEGATOR, namespace, name
    )


def _binding(
    kind: str, name: str, role_kind: str, role: str, namespace: str, account: str, place: str = ""
) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": place} if place else {}),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _does(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a binding of the set does what a wanted one would do."""
    same_role = all(word(found, "roleRef", key) == wanted["roleRef"][key] for key in ("kind", "name"))
    return (
        is_kind(found, GROUP, wanted["kind"])
        and namespace_of(found) == namespace_of(wanted)
        and same_role
        and any(_is_subject(each, wanted["subjects"][0]) for each in tables(found, "subjects"))
    )


def _is_subject(subject: dict[str, Any], account: dict[str, Any]) -> bool:
    """The ServiceAccount itself, or a group that it is in."""
    name, namespace = account["name"], account["namespace"]
    if word(subject, "kind") == "Group":
        return word(subject, "name") in {
            "system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}",
        }  # fmt: skip
    is_account = (word(subject, "name"), word(subject, "namespace")) == (name, namespace)
    user = f"system:serviceaccount:{namespace}:{name}"
    return is_account if word(subject, "kind") == "ServiceAccount" else word(subject, "name") == user
