"""The roles and bindings that a grant stands for; what was typed names them, so a second one is the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggctl.core.access.subjects import RBAC
from aggctl.core.fields import MANAGED_BY, created_stamp
from aggctl.core.plan import canonical, digest
from aggctl.core.resources import Located, path_of, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.access.rules import Wanted
    from aggctl.core.access.subjects import Subject
    from aggctl.core.extension import Api

Object = dict[str, Any]

VERSION = f"{RBAC}/v1"
OF_API = "aggctl/api"
"""Label: the API that a role or binding was made for."""

AGGREGATE = f"{RBAC}/aggregate-to-"
LONGEST_LABEL, LONGEST_NAME = 63, 120
_UNFIT = re.compile(r"[^A-Za-z0-9._:@-]+")
_PLURALS = {
    "Role": "roles",
    "ClusterRole": "clusterroles",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
}


def objects_of(wanted: Wanted, rules: tuple[Object, ...]) -> Iterator[Located]:
    """The role, one binding for each subject, and the role that a built-in one takes in; roles come first."""
    name = _role_name(wanted)
    if wanted.aggregate:
        labels = {f"{AGGREGATE}{wanted.aggregate}": "true"}
        yield _located(_role(wanted, f"{name}:to-{wanted.aggregate}", rules, labels))
    if wanted.subjects:
        yield _located(_role(wanted, name, rules, {}))
    for each in wanted.subjects:
        yield _located(_binding(wanted, name, each))


def path(object_: Object) -> str:
    """Where a role or a binding is."""
    metadata = object_["metadata"]
    return path_of(VERSION, _PLURALS[object_["kind"]], metadata.get("namespace", ""), metadata["name"])


def collection(kind: str, namespace: str = "") -> str:
    """Where roles or bindings of a kind are."""
    return path_of(VERSION, _PLURALS[kind], namespace)


def is_of(api: Api, live: Object) -> bool:
    """Whether aggctl made a role or binding for this API."""
    labels = live["metadata"].get("labels") or {}
    return is_ours(live) and labels.get(OF_API) == _label(api)


def is_ours(live: Object) -> bool:
    """Whether aggctl made it: its mark alone may have been copied."""
    labels = live["metadata"].get("labels") or {}
    return bool(created_stamp(live)) and labels.get(MANAGED_BY) == "aggctl"


def aggregates_to(role: Object) -> tuple[str, ...]:
    """The built-in roles that take it in."""
    labels = role["metadata"].get("labels") or {}
    return tuple(
        key.removeprefix(AGGREGATE) for key, value in labels.items() if key.startswith(AGGREGATE) and value
    )


def _located(object_: Object) -> Located:
    return Located(object_, path(object_), target_of(object_))


def _role(wanted: Wanted, name: str, rules: tuple[Object, ...], labels: dict[str, str]) -> Object:
    kind = "Role" if wanted.namespace else "ClusterRole"
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": _metadata(wanted, name, labels),
        "rules": list(rules),
    }


def _binding(wanted: Wanted, role: str, subject: Subject) -> Object:
    kind = "Role" if wanted.namespace else "ClusterRole"
    whose = subject.words
    if subject.kind == "ServiceAccount":  # its slash may not stand in a name, and its parts hold no colon
        whose = whose.replace("/", ":")
    return {
        "apiVersion": VERSION,
        "kind": f"{kind}Binding",
        "metadata": _metadata(wanted, _fit(f"{role}:{whose}"), {}),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [subject.as_rbac()],
    }


def _metadata(wanted: Wanted, name: str, labels: dict[str, str]) -> Object:
    where = {"namespace": wanted.namespace} if wanted.namespace else {}
    return {"name": name, **where, "labels": {MANAGED_BY: "aggctl", OF_API: _label(wanted.api), **labels}}


def _role_name(wanted: Wanted) -> str:
    """By the verbs and resources that were typed, not by what came of them: the role may follow the API."""
    verbs = "-".join(sorted(set(wanted.verbs))) or "read"
    resources = "".join(f":{each}" for each in sorted(set(wanted.resources)))
    return _fit(f"aggctl:{wanted.api.name}:{verbs}{resources}")


def _fit(name: str) -> str:
    """A name that may stand in a path, and is told from others that look alike then."""
    fit = _UNFIT.sub(".", name.replace("*", "all"))
    if fit == name and len(name) <= LONGEST_NAME:
        return name
    return f"{fit[:LONGEST_NAME]}-{digest(canonical(name))[:8]}"


def _label(api: Api) -> str:
    """A label's value takes 63 characters, the name of an API 253."""
    return api.name if len(api.name) <= LONGEST_LABEL else digest(canonical(api.name))[:LONGEST_LABEL]
