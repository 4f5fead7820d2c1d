"""An audit policy: what is read, what is refused as kube-apiserver would, and rules put ahead of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aggctl.core.audit.policy import LEVELS, edit_policy, new_policy, read_policy
from aggctl.core.manifest.splice import apply
from aggctl.core.manifest.yamltext import EXCERPT
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/etc/kubernetes/audit-policy.yaml"
GROUP = "hello.example.com"
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
MIXED = """\
apiVersion: audit.k8s.io/v1 # the only version left
kind: Policy
# once for each request is enough
omitStages:
  - "RequestReceived"
rules:
  # who changed which Pod
  - level: RequestResponse
    resources:
    - group: ""
      # subresources are not meant
      resources: ["pods"]
  # kube-proxy watches all day
  - level: None
    users: ["system:kube-proxy"]
    verbs: ["watch"]
    resources:
    - group: "" # the group without a name
      resources: ["endpoints", "services"]

  - level: None
    userGroups: ["system:authenticated"]
    nonResourceURLs:
    - "/api*" # and all below
    - "/version"
  # whatever is left
  - level: Metadata
    omitStages:
      - "RequestReceived"
"""
"""Both indentations of lists, comments everywhere, all kinds of rules."""

RULE_FOR_A_NAME = (
    "[{level: Metadata, resources: [{group: hello.example.com, resources: ['*'], resourceNames: [b]}]}]"
)
NOTHING = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}


def records(text: str, group: str = GROUP, level: str = "Metadata") -> bool:
    return read_policy(text.encode(), PATH).records(group, level)


def edited(text: str, **wanted: str) -> str:
    levels = wanted or {GROUP: "Metadata"}
    return edit_policy(read_policy(text.encode(), PATH), levels)


def load(text: str) -> dict[str, list[dict[str, object]]]:
    return dict(YAML(typ="safe").load(text))


def refusal(text: str) -> str:
    with pytest.raises(Refused) as refused:
        read_policy(text.encode(), PATH)
    assert refused.value.code == "audit-policy-not-readable"
    assert PATH in refused.value.do
    return refused.value.message


# --- what is recorded --------------------------------------------------------------------------------------


def test_the_policy_of_the_documentation_records_every_group_by_its_last_rule() -> None:
    assert records(MIXED)
    assert not records(MIXED, level="Request")
    assert not records(MIXED, group="")  # for pods and endpoints other rules come first


@pytest.mark.parametrize(
    ("rules", "enough"),
    [
        ("[{level: Metadata}]", True),
        ("[{level: RequestResponse}]", True),
        ("[{level: None}, {level: Metadata}]", False),
        ("[{level: Metadata, users: [jane]}]", False),
        ("[{level: Metadata, verbs: [get]}, {level: Metadata}]", True),
        ("[{level: None, verbs: [get]}, {level: Metadata}]", False),
        ("[{level: None, namespaces: [shop]}, {level: Metadata}]", False),
        ("[{level: None, userGroups: [g]}, {level: Metadata}]", False),
        ("[{level: None, nonResourceURLs: ['/healthz*']}, {level: Metadata}]", True),
        ("[{level: Metadata, nonResourceURLs: ['*']}]", False),
        ("[{level: None, resources: [{group: apps}]}, {level: Metadata}]", True),
        ("[{level: None, resources: [{group: '*'}]}, {level: Metadata}]", False),
        ("[{level: Metadata, resources: [{group: '*'}]}]", False),
        ("[{level: Metadata, resources: [{group: hello.example.com}]}]", True),
        ("[{level: Metadata, resources: [{group: apps}, {group: hello.example.com}]}]", True),
        ("[{level: Metadata, resources: [{group: hello.example.com, resources: ['*']}]}]", True),
        ("[{level: Metadata, resources: [{group: hello.example.com, resources: [greetings]}]}]", False),
        (RULE_FOR_A_NAME, False),
    ],
)  # fmt: skip
def test_a_group_is_recorded_where_no_request_for_it_meets_a_lesser_rule_first(
    rules: str, *, enough: bool
) -> None:
    assert records(f"{HEAD}rules: {rules}\n") is enough


# --- a new one, and rules ahead of others ------------------------------------------------------------------


def test_a_new_policy_has_the_groups_by_level_and_nothing_else() -> None:
    text = new_policy({"b.io": "Metadata", GROUP: "RequestResponse", "a.io": "Metadata"})
    assert load(text) == {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "RequestResponse", "resources": [{"group": GROUP}]},
            {"level": "Metadata", "resources": [{"group": "a.io"}, {"group": "b.io"}]},
            {"level": "None"},
        ],
    }


def test_a_new_policy_records_what_it_is_for_and_is_not_edited_again() -> None:
    wanted = {GROUP: "RequestResponse", "a.io": "Metadata"}
    text = new_policy(wanted)
    assert records(text, level="RequestResponse")
    assert not records(text, group="other.io")
    assert edited(text, **wanted) == text


def test_new_rules_come_first_and_every_other_line_stays_as_it_is() -> None:
    after = edited(MIXED, **{GROUP: "RequestResponse"})
    new = """\
  - level: RequestResponse
    omitStages:
    - RequestReceived
    resources:
    - group: hello.example.com
"""
    assert after == MIXED.replace("rules:\n", f"rules:\n{new}")


def test_an_edit_made_twice_is_the_edit_made_once() -> None:
    after = edited(MIXED, **{GROUP: "RequestResponse"})
    assert edited(after, **{GROUP: "RequestResponse"}) == after


def test_what_is_recorded_already_is_not_touched() -> None:
    assert edited(MIXED) == MIXED


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(NOTHING),
        json.dumps(NOTHING, indent=1),
        f"{HEAD}rules: [{{level: None}}]  # nothing\n",
        f"{HEAD}rules:\n-   level: None\n",
        f"{HEAD}rules:\n# none\n- level: None\n".replace("\n", "\r\n"),
        "rules:\n  - level: None\nkind: Policy\napiVersion: audit.k8s.io/v1",
    ],
    ids=["json", "json in lines", "flow", "a wide dash", "crlf", "no end of line"],
)  # fmt: skip
def test_whatever_its_style_only_the_new_rule_is_added(text: str) -> None:
    before, after = load(text), load(edited(text))
    added = {"level": "Metadata", "omitStages": ["RequestReceived"], "resources": [{"group": GROUP}]}
    assert after == before | {"rules": [added, *before["rules"]]}
    assert records(edited(text))


def test_crlf_stays_crlf() -> None:
    after = edited(f"{HEAD}rules:\n- level: None\n".replace("\n", "\r\n"))
    assert after.count("\n") == after.count("\r\n") == 9


GROUPS = st.from_regex(r"[a-z]{1,5}(\.[a-z0-9]{1,4}){1,2}", fullmatch=True)
BOUNDED = settings(deadline=None, max_examples=25)


@BOUNDED
@given(wanted=st.dictionaries(GROUPS, st.sampled_from(LEVELS[1:]), min_size=1, max_size=4))
def test_after_an_edit_every_wanted_group_is_recorded_at_its_level(wanted: dict[str, str]) -> None:
    after = edited(MIXED, **wanted)
    policy = read_policy(after.encode(), PATH)
    assert all(policy.records(group, level) for group, level in wanted.items())
    assert after.endswith(MIXED.partition("rules:\n")[2])


def some(*words: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), max_size=1)


RULES = st.fixed_dictionaries(
    {"level": st.sampled_from(LEVELS)},
    optional={
        "verbs": some("get", "list"),
        "users": some("jane", "joe"),
        "namespaces": some("shop", ""),
        "resources": st.lists(
            st.fixed_dictionaries(
                {"group": st.sampled_from([GROUP, "apps"])},
                optional={"resources": some("a", "a/b", "*", "a/*")},
            ),
            max_size=2,
        ),
    },
)
REQUESTS = [
    (user, verb, namespace, resource)
    for user in ("jane", "joe")
    for verb in ("get", "list")
    for namespace in ("shop", "")
    for resource in ("a", "a/b", "c")
]


def level_of(rules: list[dict[str, Any]], request: tuple[str, str, str, str]) -> str:
    """What kube-apiserver makes of a request for GROUP (pkg/audit/policy/checker.go)."""
    user, verb, namespace, resource = request
    for rule in rules:
        narrowed = (("users", user), ("verbs", verb), ("namespaces", namespace))
        if any(rule.get(key) and value not in rule[key] for key, value in narrowed):
            continue
        about = rule.get("resources")
        if not about or any(
            each["group"] == GROUP
            and (
                not each.get("resources")
                or {resource, "*", resource.partition("/")[0] + "/*"} & {*each["resources"]}
            )
            for each in about
        ):
            return str(rule["level"])
    return "None"


@BOUNDED
@given(rules=st.lists(RULES, min_size=1, max_size=4), level=st.sampled_from(LEVELS[1:]))
def test_what_is_said_to_be_recorded_is_recorded_whoever_asks_for_whatever(
    rules: list[dict[str, Any]], level: str
) -> None:
    policy = read_policy(json.dumps(NOTHING | {"rules": rules}).encode(), PATH)
    for text in (policy.text, edit_policy(policy, {GROUP: level})):
        if records(text, level=level):
            found = [level_of(json.loads(text)["rules"], request) for request in REQUESTS]
            assert all(LEVELS.index(each) >= LEVELS.index(level) for each in found)


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("- a\n", 1, "no mapping"),
        ("kind: Policy\nrules: [{level: None}]\n", 1, "apiVersion is not audit.k8s.io/v1"),
        ("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: []\n", 1, "apiVersion is not"),
        ("apiVersion: audit.k8s.io/v1\nkind: Pod\nrules: []\n", 2, "kind is not Policy"),
        ("apiVersion: audit.k8s.io/v1\nkind: [Policy]\nrules: []\n", 2, "kind is not Policy"),
        (HEAD, 1, "it has no rules"),
        (f"{HEAD}rules: []\n", 3, "it has no rules"),
        (f"{HEAD}rules: {{level: None}}\n", 3, "it has no rules"),
        (f"{HEAD}rules:\n- None\n", 4, "a rule is no mapping"),
        (f"{HEAD}rules:\n- users: [a]\n", 4, "level is none of None, Metadata"),
        (f"{HEAD}rules:\n- users: [a]\n  level: metadata\n", 5, "level is none of None, Metadata"),
        (f"{HEAD}rules:\n- level: [None]\n", 4, "level is none of"),
        (f"{HEAD}omitStages: [Begun]\nrules: [{{level: None}}]\n", 1, "Begun is none of RequestReceived"),
        (f"{HEAD}rules:\n- level: None\n  omitStages: [Begun]\n", 4, "Begun is none of"),
        (f"{HEAD}rules:\n- level: None\n  users: jane\n", 5, "users is no list"),
        (f"{HEAD}rules:\n- level: None\n  users: [yes]\n", 5, "users holds something that is no text"),
        (f"{HEAD}rules:\n- level: None\n  verbs:\n  - [get]\n", 6, "verbs holds something that is no text"),
        (f"{HEAD}rules:\n- level: None\n  resources: [pods]\n", 5, "an entry of resources is no mapping"),
        (f"{HEAD}rules:\n- level: None\n  resources: [{{group: Apps}}]\n", 5, "Apps is no API group"),
        (f"{HEAD}rules:\n- level: None\n  resources: [{{group: [a]}}]\n", 5, " is no API group"),
        (f"{HEAD}rules:\n- level: None\n  resources: [{{group: apps/v1}}]\n", 5, "apps/v1 is no API group"),
        (f"{HEAD}rules:\n- level: None\n  resources: [{{resourceNames: [a]}}]\n", 5, "resourceNames need"),
        (f"{HEAD}rules:\n- level: None\n  nonResourceURLs: [/a]\n  namespaces: [b]\n", 4, "for resources"),
        (f"{HEAD}rules:\n- level: None\n  nonResourceURLs: [/a]\n  resources: [{{}}]\n", 4, "for resources"),
        (f"{HEAD}rules:\n- level: None\n  nonResourceURLs: [healthz]\n", 4, "healthz is no path"),
        (f"{HEAD}rules:\n- level: None\n  nonResourceURLs: ['/a*b']\n", 4, "/a*b is no path"),
        (f"{HEAD}rules: &r [{{level: None}}]\n", 3, "the anchor &r"),
        (f"{HEAD}rules: [\n", 4, "no valid YAML"),
        (f"{HEAD}kind: Policy\nrules: [{{level: None}}]\n", 3, "the key kind stands here a second time"),
    ],
)  # fmt: skip
def test_what_kube_apiserver_would_not_start_with_is_refused_with_its_line(
    text: str, line: int, reason: str
) -> None:
    message = refusal(text)
    assert f"line {line}: " in message
    assert reason in message


def test_an_empty_file_is_refused() -> None:
    assert "is empty" in refusal("")


def test_a_long_word_is_cut_in_the_refusal() -> None:
    message = refusal(f"{HEAD}rules:\n- level: None\n  resources: [{{group: {'A' * 500}}}]\n")
    assert "A" * EXCERPT not in message


def test_a_list_whose_dash_shares_its_line_cannot_be_edited_safely() -> None:
    text = f"{HEAD}rules: !!seq\n- level: None\n"
    assert "a tag" in refusal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD}rules: [ # all\n  {{level: None}}]\n", "rules cannot be added safely"),
        (f"{HEAD}? rules\n: - level: None\n", "rules cannot be added safely"),
    ],
    ids=["a comment in brackets", "a dash behind a colon"],
)
def test_where_rules_cannot_be_added_safely_nothing_is(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        edited(text)
    assert refused.value.code == "audit-policy-not-readable"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text.replace("verbs", "verb"), "something else would change its meaning"),
        (
            lambda text: text.replace("# the group without a name", "# core"),
            "a line that nobody asked for would change",
        ),
    ],
    ids=["another meaning", "another comment"],
)
def test_an_edit_that_would_change_more_is_not_made(
    spoil: Callable[[str], str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggctl.core.audit.policy.apply", lambda text, splices: spoil(apply(text, splices)))
    with pytest.raises(Refused, match=reason):
        edited(MIXED, **{GROUP: "RequestResponse"})
