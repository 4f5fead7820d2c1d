"""ServiceAccounts in a test's hands: what they may do, and a kubeconfig of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube import Kube

RBAC = "rbac.authorization.k8s.io/v1"


def new_account(kube: Kube, name: str, rights: dict[str, Any]) -> None:
    """A ServiceAccount of the namespace default that is bound to this ClusterRole, which is made as well."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    role = rights["metadata"]["name"]
    binding = {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }
    kube.apply(path_of("v1", "serviceaccounts", "default", name), account)
    kube.apply(path_of(RBAC, "clusterroles", "", role), rights)
    kube.apply(path_of(RBAC, "clusterrolebindings", "", role), binding)


def kubeconfig_of(kube: Kube, name: str, at: Path, namespace: str = "default") -> Path:
    """The credentials of a ServiceAccount, as a file that is its user's alone."""
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = path_of("v1", "serviceaccounts", namespace, name)
    status, made = kube.ask("POST", f"{path}/token", wanted)
    assert status == 201, made
    config = yaml.safe_load(kube.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": made["status"]["token"]}
    at.touch(0o600)
    at.write_text(yaml.safe_dump(config))
    return at
