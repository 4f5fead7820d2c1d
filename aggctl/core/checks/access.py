"""Checks of who may do what: kube-apiserver itself says yes, and a built-in role has taken another in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.findings import Finding, Passed
from aggctl.core.questions import MayDo
from aggctl.core.resources import path_of
from aggctl.core.shapes import rows, tables

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

ANY = "*"


def allowed(
    snapshot: Snapshot,
    *,
    user: str,
    member: str,
    verb: str,
    group: str,
    resource: str,
    namespace: str,
    name: str,
    server: str,
) -> Passed | Finding:
    """An access review says that `user`, in the group `member` ("" for none), may do this."""
    asked = may(user, (member,) if member else (), verb, group, resource, namespace, name, server)
    who = member or user
    if snapshot.may(asked):
        return Passed(f"kube-apiserver lets {who} {verb} {resource}")
    return Finding(
        code="access-not-in-force",
        severity="error",
        subject=who,
        message=f"kube-apiserver does not let {who} {verb} {resource}.{group} yet",
        fix="see which authorizers it has (--authorization-mode): a role counts only where RBAC is one",
    )


def taken_in(
    snapshot: Snapshot, *, role: str, verb: str, group: str, resource: str, server: str
) -> Passed | Finding:
    """The built-in ClusterRole `role` has the rule."""
    found = snapshot.object(path_of("rbac.authorization.k8s.io/v1", "clusterroles", "", role), server)
    if any(
        {ANY, verb} & set(rows(each, "verbs")) and matches(each, group, resource)
        for each in tables(found, "rules")
    ):
        return Passed(f"ClusterRole {role} has it")
    return Finding(
        code="role-not-taken-in",
        severity="error",
        subject=f"ClusterRole {role}",
        message=f"ClusterRole {role} has not taken in {verb} of {resource}.{group} yet",
        fix="see that kube-controller-manager runs: its clusterrole-aggregation-controller does that",
    )


def may(
    user: str,
    groups: tuple[str, ...],
    verb: str,
    group: str,
    resource: str,
    namespace: str,
    name: str,
    server: str,
) -> MayDo:
    """The question for a resource as RBAC writes it, with its subresource behind a slash."""
    whole, _, subresource = resource.partition("/")
    return MayDo(user, groups, verb, group, whole, namespace, name, server, subresource)


def matches(rule: Object, group: str, resource: str) -> bool:
    """Whether a rule is about a resource, as RBAC decides it (kubernetes pkg/apis/rbac/v1)."""
    groups, resources = rows(rule, "apiGroups"), rows(rule, "resources")
    subresource = resource.partition("/")[2]
    wanted = {ANY, resource, *((f"{ANY}/{subresource}",) if subresource else ())}
    return bool({ANY, group} & set(map(str, groups)) and wanted & set(map(str, resources)))
