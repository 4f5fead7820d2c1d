"""Who: the subjects of RBAC as they are typed, as they stand in a binding, and as whom a review asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.questions import PROBE_USER
from aggctl.core.shapes import tables
from aggctl.core.text import clean
from aggctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
ANONYMOUS, AUTHENTICATED = "system:anonymous", "system:authenticated"
UNAUTHENTICATED, SERVICE_ACCOUNTS = "system:unauthenticated", "system:serviceaccounts"
_KINDS = {"user": "User", "group": "Group", "serviceaccount": "ServiceAccount"}
_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ACCOUNT_USER = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")
LONGEST = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """A user, a group, or a ServiceAccount of a namespace; `kind` is RBAC's word for it."""

    kind: str
    name: str
    namespace: str = ""

    @property
    def words(self) -> str:
        """As it is typed."""
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.lower()}:{where}{self.name}"

    @property
    def user(self) -> str:
        """As whom a review asks: of a group, a user who is in nothing else."""
        if self.kind == "ServiceAccount":
            return f"system:serviceaccount:{self.namespace}:{self.name}"
        return PROBE_USER if self.kind == "Group" else self.name

    @property
    def is_everybody(self) -> bool:
        """Whether all who have an identity, all who have none, or all ServiceAccounts are meant."""
        names = (AUTHENTICATED, UNAUTHENTICATED, SERVICE_ACCOUNTS, ANONYMOUS)
        return self.kind != "ServiceAccount" and self.name in names

    def as_rbac(self) -> Object:
        """As it stands in a binding, with what the server would fill in."""
        if self.kind == "ServiceAccount":
            return {"kind": self.kind, "name": self.name, "namespace": self.namespace}
        return {"apiGroup": RBAC, "kind": self.kind, "name": self.name}


def parse_subject(text: str, option: str = "--to") -> Subject:
    """group:NAME, user:NAME or serviceaccount:NAMESPACE/NAME; UsageError for anything else."""
    kind, _, name = text.partition(":")
    if kind not in _KINDS or not is_name(name):
        raise _not_understood(text, option)
    if kind != "serviceaccount":
        return Subject(_KINDS[kind], name)
    if not _ACCOUNT.fullmatch(name):
        raise _not_understood(text, option)
    namespace, _, name = name.partition("/")
    return Subject(_KINDS[kind], name, namespace)


def is_name(text: str) -> bool:
    """Whether it may name a user or a group: it goes into a header."""
    return text.isprintable() and 0 < len(text) <= LONGEST and text.strip() == text


def subjects_of(binding: Object) -> Iterator[Subject]:
    """The subjects of a binding; what is of no kind that RBAC knows is passed over."""
    for each in tables(binding, "subjects"):
        kind, name = str(each.get("kind")), str(each.get("name"))
        if kind in _KINDS.values():
            yield Subject(kind, name, str(each.get("namespace") or "") if kind == "ServiceAccount" else "")


def of_user(user: str) -> Subject:
    """Whom a user's name means: a ServiceAccount has one, too."""
    account = _ACCOUNT_USER.fullmatch(user)
    return Subject("ServiceAccount", account[2], account[1]) if account else Subject("User", user)


def identity(user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that kube-apiserver adds when somebody acts as `user` with `groups`.

    As k8s.io/apiserver does, pkg/endpoints/filters/impersonation.
    """
    account = _ACCOUNT_USER.fullmatch(user)
    if account and not groups:
        groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{account[1]}")
    if user == ANONYMOUS:
        return tuple(dict.fromkeys((*groups, UNAUTHENTICATED)))
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)


def _not_understood(text: str, option: str) -> UsageError:
    return UsageError(
        "subject-not-understood",
        f"{option} {clean(text, 120)} names nobody",
        expected="user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME",
        do=f"for example: {option} group:devs",
    )
