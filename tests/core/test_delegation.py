"""The bindings that an extension API server needs: made where the set has none for its ServiceAccount."""

from __future__ import annotations

from typing import Any

import pytest

from aggctl.core.delegation import rbac_missing
from aggctl.core.manifestset import Item

ACCOUNT = {"kind": "ServiceAccount", "name": "sa", "namespace": "shop"}


def bindings() -> list[dict[str, Any]]:
    return list(rbac_missing([], "shop", "sa"))


def test_the_two_bindings_are_made() -> None:
    assert bindings() == [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "shop:sa:auth-reader", "namespace": "kube-system"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
            "subjects": [ACCOUNT],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "shop:sa:auth-delegator"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:auth-delegator",
            },
            "subjects": [ACCOUNT],
        },
    ]


@pytest.mark.parametrize(
    ("subject", "enough"),
    [
        (ACCOUNT, True),
        ({"kind": "Group", "name": "system:serviceaccounts:shop"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts"}, True),
        ({"kind": "User", "name": "system:serviceaccount:shop:sa"}, True),
        (ACCOUNT | {"namespace": "z"}, False),
        (ACCOUNT | {"name": "z"}, False),
        ({"kind": "Group", "name": "system:serviceaccounts:z"}, False),
        ({"kind": "User", "name": "sa"}, False),
    ],
)
def test_a_binding_counts_where_it_reaches_the_account(subject: dict[str, Any], enough: bool) -> None:
    items = [Item(each | {"subjects": [subject]}, "") for each in bindings()]

    assert len(rbac_missing(items, "shop", "sa")) == (0 if enough else 2)


def test_a_binding_counts_for_its_own_role_and_place_only() -> None:
    reader, delegator = bindings()
    elsewhere = reader | {"metadata": {"name": "x", "namespace": "shop"}}
    other = delegator | {"roleRef": {"kind": "ClusterRole", "name": "view"}}
    items = [Item(each, "") for each in (elsewhere, other)]

    assert rbac_missing(items, "shop", "sa") == (reader, delegator)
    assert rbac_missing([*items, Item(reader, "")], "shop", "sa") == (delegator,)
