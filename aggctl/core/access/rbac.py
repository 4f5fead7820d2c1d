"""Roles and bindings as the cluster has them, and what of an API each subject reaches through them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aggctl.core.access.objects import VERSION, collection, is_ours
from aggctl.core.access.subjects import Subject, subjects_of
from aggctl.core.checks.access import ANY, matches
from aggctl.core.questions import ObjectAt
from aggctl.core.shapes import namespace_of, rows, table, tables, word
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.access.offer import Offer
    from aggctl.core.questions import Unknown
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]
Place = tuple[str, str, str]

BOOTSTRAP = "kubernetes.io/bootstrapping"
"""Label of the roles and bindings that kube-apiserver itself makes."""

CLUSTER_KINDS = ("ClusterRole", "ClusterRoleBinding")
NAMESPACE_KINDS = ("Role", "RoleBinding")
_ADMIN = "cluster-admin"
_ADMINS = frozenset({"system:masters", "kubeadm:cluster-admins"})
"""Groups that may do everything wherever kubeadm made the cluster."""


@dataclass(frozen=True, slots=True)
class Rbac:
    """Roles and bindings; `unseen` says of which kind they could not be read, and why."""

    roles: Mapping[Place, Object] = field(repr=False)
    bindings: tuple[Object, ...] = field(repr=False)
    unseen: tuple[tuple[str, Unknown], ...] = ()

    def role_of(self, binding: Object) -> Object | None:
        """The role that a binding names; None where there is none, or it could not be seen."""
        return self.roles.get(role_place(binding))

    def refuse_unseen(self, server: str, namespace: str) -> None:
        """NotKnown where something is not seen that counts: in a `namespace`, what is in that."""
        for kind, unknown in self.unseen:
            if kind in NAMESPACE_KINDS or not namespace:
                raise NotKnown(ObjectAt(collection(kind, namespace), server), unknown)

    def without(self, bindings: tuple[Object, ...]) -> Rbac:
        """The same without some bindings."""
        gone = set(map(place_of, bindings))
        return replace(self, bindings=tuple(each for each in self.bindings if place_of(each) not in gone))


@dataclass(frozen=True, slots=True)
class Reach:
    """What a subject reaches of an API by one rule: through which binding and role, and who made these.

    `namespace` is "" for the whole cluster; `origin` is aggctl, kubernetes or others.
    """

    subject: Subject
    namespace: str
    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...]
    binding: str
    role: str
    origin: str
    wildcard: bool


def see_rbac(snapshot: Snapshot, server: str, namespace: str = "") -> Rbac:
    """Roles and bindings of the cluster, or of one namespace and the whole cluster."""
    kinds = {kind: ObjectAt(collection(kind), server) for kind in CLUSTER_KINDS}
    kinds |= {kind: ObjectAt(collection(kind, namespace), server) for kind in NAMESPACE_KINDS}
    snapshot.expect(*kinds.values())
    found: dict[str, list[Object]] = {}
    unseen: list[tuple[str, Unknown]] = []
    for kind, question in kinds.items():
        if unknown := snapshot.unknown(question):
            unseen.append((kind, unknown))
            continue
        items = tables(snapshot.object(question.path, server), "items")
        found[kind] = [{"apiVersion": VERSION, "kind": kind} | each for each in items]
    roles = {place_of(each): each for kind in ("ClusterRole", "Role") for each in found.get(kind, ())}
    bindings = (*found.get("ClusterRoleBinding", ()), *found.get("RoleBinding", ()))
    return Rbac(roles, bindings, tuple(unseen))


def reaches(rbac: Rbac, offer: Offer) -> Iterator[Reach]:
    """Everything of the API that anybody reaches, rule by rule."""
    for binding in rbac.bindings:
        role = rbac.role_of(binding)
        for rule in tables(role, "rules"):
            if role and _is_about(rule, offer, namespace_of(binding)):
                yield from (_reach(binding, role, rule, each) for each in subjects_of(binding))


def place_of(object_: Object) -> Place:
    """Kind, namespace and name."""
    return str(object_["kind"]), namespace_of(object_), str(object_["metadata"]["name"])


def role_place(binding: Object) -> Place:
    """The same of the role that a binding names."""
    kind = word(binding, "roleRef", "kind")
    return kind, namespace_of(binding) if kind == "Role" else "", word(binding, "roleRef", "name")


def _is_about(rule: Object, offer: Offer, namespace: str) -> bool:
    """Whether it opens a resource that the API has; of an open one, that it is about its group."""
    if not rows(rule, "verbs"):
        return False
    if offer.open and rows(rule, "resources") and {ANY, offer.api.group} & set(rows(rule, "apiGroups")):
        return True
    return any(
        matches(rule, offer.api.group, each.name)
        for each in offer.resources
        if each.namespaced or not namespace
    )


def _reach(binding: Object, role: Object, rule: Object, subject: Subject) -> Reach:
    verbs, resources, names = (
        tuple(map(str, rows(rule, key))) for key in ("verbs", "resources", "resourceNames")
    )
    bound, named = (f"{each['kind']} {each['metadata']['name']}" for each in (binding, role))
    wildcard = ANY in (*verbs, *resources, *rows(rule, "apiGroups"))
    return Reach(
        subject,
        namespace_of(binding),
        verbs,
        resources,
        names,
        bound,
        named,
        _origin(binding, subject),
        wildcard,
    )


def _origin(binding: Object, subject: Subject) -> str:
    if is_ours(binding):
        return "aggctl"
    if subject.kind == "Group" and subject.name in _ADMINS:
        return "kubernetes"
    made_by_it = BOOTSTRAP in table(binding, "metadata", "labels")
    return "kubernetes" if made_by_it and binding["metadata"]["name"] != _ADMIN else "others"
