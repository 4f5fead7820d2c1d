"""An audit policy: read as kube-apiserver reads it, and extended in its text by rules ahead of its own.

The first rule that matches a request decides (apiserver pkg/audit/policy/checker.go), so that a rule ahead of
others counts. What kube-apiserver would not start with is refused here (pkg/apis/audit/validation): a restart
would bring it into force.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.manifest.proof import keeps_lines, plain
from aggctl.core.manifest.splice import after_item, apply, column_of, quote
from aggctl.core.manifest.yamltext import Items, Scalar, Table, decode, excerpt, is_string, parse
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggctl.core.manifest.yamltext import Node

VERSION, KIND = "audit.k8s.io/v1", "Policy"
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
OMITTED = STAGES[0]
"""Of each request the record of its end is enough; that of its beginning says less."""

_GROUP = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NARROWING = ("users", "userGroups", "verbs", "namespaces")
_WORDS = (*_NARROWING, "nonResourceURLs", "omitStages")


@dataclass(frozen=True, slots=True)
class Resources:
    """Which resources of a group a rule is for; with neither `resources` nor `names`, all of them."""

    group: str
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every resource of the group is meant, subresources included."""
        return not self.names and (not self.resources or "*" in self.resources)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `narrowed` to some users, verbs or namespaces; `urls` where it is for no resource at all."""

    level: str
    narrowed: bool
    urls: bool
    resources: tuple[Resources, ...]

    def touches(self, group: str) -> bool:
        """Whether it may match a request for a resource of the group."""
        return not self.urls and (
            not self.resources or any(each.group in (group, "*") for each in self.resources)
        )

    def decides(self, group: str) -> bool:
        """Whether it matches every request for a resource of the group."""
        named = any(each.group == group and each.whole for each in self.resources)
        return not self.urls and not self.narrowed and (named or not self.resources)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in its text; `path` is used in messages only."""

    path: str
    text: str = field(repr=False)
    rules: tuple[Rule, ...]
    root: Table = field(repr=False, compare=False)

    def records(self, group: str, level: str) -> bool:
        """Whether every request for the group's resources is recorded at this level, or with more."""
        for rule in self.rules:
            enough = LEVELS.index(rule.level) >= LEVELS.index(level)
            if rule.touches(group) and not enough:
                return False
            if rule.decides(group):
                return True
        return False


def read_policy(data: bytes, path: str) -> Policy:
    """The policy in a file's bytes; Refused with line and reason where it is none, or cannot be edited."""
    try:
        text = decode(data, path)
        root = parse(text, path)
        if not isinstance(root, Table):
            raise _not_a_policy(path, root.line, "it is no mapping")
        return Policy(path, text, tuple(_Reader(path).rules(root)), root)
    except Refused as error:
        if error.code == "audit-policy-not-readable":
            raise
        raise _refusal(path, error.message) from error


def new_policy(wanted: Mapping[str, str]) -> str:
    """A policy that records these groups at these levels, and nothing else."""
    rules = [_block(level, groups, 2, "\n", omit=False) for level, groups in _by_level(wanted)]
    return (
        "# Written by aggctl audit enable: records of the aggregated APIs, and of their registration.\n"
        "# The first rule that matches a request decides. A change needs a restart of kube-apiserver.\n"
        f"apiVersion: {VERSION}\n"
        f"kind: {KIND}\n"
        "omitStages:\n"
        f"- {OMITTED}\n"
        "rules:\n" + "".join(f"- {rule}\n" for rule in rules) + "- level: None\n"
    )


def edit_policy(policy: Policy, wanted: Mapping[str, str]) -> str:
    """The text with rules for what is not recorded yet ahead of its own; Refused where that is not safe.

    What is already so stays as it is: an edit made twice is the edit made once.
    """
    missing = {group: level for group, level in wanted.items() if not policy.records(group, level)}
    if not missing:
        return policy.text
    items = policy.root.get("rules")
    assert isinstance(items, Items)  # noqa: S101 -- for the type checker; read_policy looked
    try:
        splices = [after_item(policy, items, -1, _entries(policy, items, missing))]
        text = apply(policy.text, splices)
        after = read_policy(text.encode("utf-8", "replace"), policy.path)
    except Refused as error:
        raise _refusal(policy.path, f"rules cannot be added safely: {error.message}") from error
    whole: Any = plain(policy.root)
    new = [_rule(level, groups) for level, groups in _by_level(missing)]
    if plain(after.root) != whole | {"rules": [*new, *whole["rules"]]}:
        raise _refusal(policy.path, "something else would change its meaning")
    if not keeps_lines(policy.text, text, splices):
        raise _refusal(policy.path, "a line that nobody asked for would change")
    return text


def _entries(policy: Policy, items: Items, missing: Mapping[str, str]) -> list[str]:
    rules = list(_by_level(missing))
    if items.flow:
        return [json.dumps(_rule(level, groups)) for level, groups in rules]
    column = column_of(policy.text, items.items[0])
    newline = "\r\n" if "\r\n" in policy.text else "\n"
    return [_block(level, groups, column, newline, omit=True) for level, groups in rules]


def _by_level(wanted: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The groups of each level in the order of their names; the highest level first."""
    for level in reversed(LEVELS):
        if groups := sorted(group for group, each in wanted.items() if each == level):
            yield level, groups


def _rule(level: str, groups: Sequence[str]) -> dict[str, Any]:
    return {"level": level, "omitStages": [OMITTED], "resources": [{"group": each} for each in groups]}


def _block(level: str, groups: Sequence[str], column: int, newline: str, *, omit: bool) -> str:
    """The same in lines; the first one has its indent already, from the dash."""
    stages = ["omitStages:", f"- {OMITTED}"] if omit else []
    named = [f"- group: {quote(each, '', flow=False)}" for each in groups]
    return (newline + " " * column).join([f"level: {level}", *stages, "resources:", *named])


class _Reader:
    """Reads the rules, and refuses at the first thing that kube-apiserver would refuse."""

    def __init__(self, path: str) -> None:
        self.path = path

    def rules(self, root: Table) -> Iterator[Rule]:
        for key, expected in (("apiVersion", VERSION), ("kind", KIND)):
            found = root.get(key)
            if not isinstance(found, Scalar) or found.value != expected:
                line = found.line if found else root.line
                raise _not_a_policy(self.path, line, f"{key} is not {expected}")
        self.stages(root)
        rules = root.get("rules")
        if not isinstance(rules, Items) or not rules.items:
            raise _not_a_policy(self.path, (rules or root).line, "it has no rules")
        for item in rules.items:
            yield self.rule(item)

    def rule(self, item: Node) -> Rule:
        table = self.table(item, "a rule")
        level = table.get("level")
        if not isinstance(level, Scalar) or level.value not in LEVELS:
            line = level.line if level else table.line
            raise _not_a_policy(self.path, line, f"a rule's level is none of {', '.join(LEVELS)}")
        words = {key: self.words(table, key) for key in _WORDS}
        self.stages(table)
        resources = tuple(self.resources(table))
        urls = words["nonResourceURLs"]
        if urls and (resources or words["namespaces"]):
            raise _not_a_policy(self.path, table.line, "a rule is for resources and for nonResourceURLs")
        if bad := next((each for each in urls if each != "*" and not _is_url(each)), None):
            raise _not_a_policy(self.path, table.line, f"{excerpt(bad)} is no path, with * as its last sign")
        return Rule(level.value, any(words[key] for key in _NARROWING), bool(urls), resources)

    def resources(self, rule: Table) -> Iterator[Resources]:
        for item in self.items(rule, "resources"):
            table = self.table(item, "an entry of resources")
            group = table.get("group")
            name = group.value if isinstance(group, Scalar) else ""
            if (group is not None and not isinstance(group, Scalar)) or not _is_group(name):
                raise _not_a_policy(self.path, table.line, f"{excerpt(name)} is no API group")
            found = Resources(name, self.words(table, "resources"), self.words(table, "resourceNames"))
            if found.names and not found.resources:
                raise _not_a_policy(self.path, table.line, "resourceNames need resources beside them")
            yield found

    def stages(self, table: Table) -> None:
        if bad := next((each for each in self.words(table, "omitStages") if each not in STAGES), None):
            raise _not_a_policy(self.path, table.line, f"{excerpt(bad)} is none of {', '.join(STAGES)}")

    def words(self, table: Table, key: str) -> tuple[str, ...]:
        found = []
        for item in self.items(table, key):
            if not isinstance(item, Scalar) or (not item.style and not is_string(item.value)):
                raise _not_a_policy(self.path, item.line, f"{key} holds something that is no text")
            found.append(item.value)
        return tuple(found)

    def items(self, table: Table, key: str) -> tuple[Node, ...]:
        node = table.get(key)
        if node is not None and not isinstance(node, Items):
            raise _not_a_policy(self.path, node.line, f"{key} is no list")
        return node.items if node else ()

    def table(self, node: Node, what: str) -> Table:
        if not isinstance(node, Table):
            raise _not_a_policy(self.path, node.line, f"{what} is no mapping")
        return node


def _is_group(name: str) -> bool:
    """As kube-apiserver has it: empty for the core group, * for every group, else a DNS name."""
    return name in ("", "*") or _GROUP.fullmatch(name) is not None


def _is_url(text: str) -> bool:
    return text.startswith("/") and "*" not in text[:-1]


def _not_a_policy(path: str, line: int, reason: str) -> Refused:
    return _refusal(path, f"{path}, line {line}: {reason}")


def _refusal(path: str, message: str) -> Refused:
    return Refused(
        "audit-policy-not-readable",
        f"the audit policy cannot be used: {message.removesuffix('.')}",
        expected=f"a {KIND} of {VERSION} as kube-apiserver starts with it",
        do=f"correct {path}, then run again",
    )
