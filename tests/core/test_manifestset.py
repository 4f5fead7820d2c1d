"""The user's own manifests: what is read, and what is made of it. Refusals stand in a table of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aggctl.core.manifestset import Item, apply_order, in_namespace, read_set
from aggctl.core.manifestset.builder import DEPTH
from aggctl.core.manifestset.scalars import key, resolve
from aggctl.errors import Refused

API = """\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: v1.things.example.com
spec:
  group: things.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {name: things, namespace: shop}
"""
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: things, namespace: shop}\nspec: {ports: [{port: 443}]}\n"
)
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


def read(*texts: str | bytes) -> tuple[Item, ...]:
    """The set of one file, or of several: `0.yaml`, `1.yaml` …."""
    data = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return read_set((f"{number}.yaml", each) for number, each in enumerate(data))


def kinds(items: tuple[Item, ...]) -> list[str]:
    return [item.object["kind"] for item in items]


def document(text: str) -> dict[str, Any]:
    """One more document beside an APIService, as it was read."""
    return read(API + "---\n" + text)[1].object


# --- documents -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        API + "---\n" + SERVICE,
        "---\n" + API + "---\n" + SERVICE + "---\n",
        "---\n---\n# only a comment\n---\n" + API + "---\n\n---\n" + SERVICE + "...\n---\n---\n",
        ("# c\r\n" + API + "--- # noise\r\n" + SERVICE).replace("\n", "\r\n").replace("\r\r", "\r"),
        "\ufeff" + API + "---\n" + SERVICE,
        API + "\ufeff---\n" + SERVICE,
    ],
    ids=["plain", "trailing ---", "noise", "CRLF", "BOM", "two files put together by cat, each with a BOM"],
)
def test_documents_are_read_through_any_noise(text: str) -> None:
    assert kinds(read(text)) == ["APIService", "Service"]


def test_an_object_knows_the_line_of_its_first_word() -> None:
    items = read("# a comment\n---\n\n" + API + "---\n# another\n" + SERVICE, CONFIG)

    assert [item.place for item in items] == ["0.yaml, line 4", "0.yaml, line 16", "1.yaml, line 1"]


def test_json_is_read_as_one_object_or_as_a_stream() -> None:
    api, service = (item.object for item in read(API, SERVICE))
    stream = json.dumps(api, indent=2) + "\n" + json.dumps(service)

    items = read("\n  " + stream)

    assert [item.object for item in items] == [api, service]
    assert [item.place for item in items] == ["0.yaml, line 2", "0.yaml, line 19"]


def test_json_documents_between_dashes_are_read_as_yaml() -> None:
    api, service = (json.dumps(item.object) for item in read(API, SERVICE))

    assert kinds(read(f"{api}\n---\n{service}\n")) == ["APIService", "Service"]


def test_a_list_is_flattened_and_its_items_are_counted() -> None:
    api, service = (item.object for item in read(API, SERVICE))
    items = read(json.dumps({"apiVersion": "v1", "kind": "List", "items": [api, service]}))

    assert [item.object for item in items] == [api, service]
    assert [item.place for item in items] == ["0.yaml, line 1, item 1", "0.yaml, line 1, item 2"]


def test_the_items_of_a_typed_list_have_its_kind() -> None:
    """`kubectl get --raw` leaves apiVersion and kind out of the items."""
    api = read(API)[0].object
    bare = {name: api[name] for name in ("metadata", "spec")}
    items = read(json.dumps({"apiVersion": api["apiVersion"], "kind": "APIServiceList", "items": [bare]}))

    assert [item.object for item in items] == [api]


def test_a_kind_that_only_ends_in_list_is_an_object() -> None:
    text = "apiVersion: x.example.com/v1\nkind: AllowList\nmetadata: {name: a}\nitems: [1, 2]\n"

    assert document(text)["items"] == [1, 2]


# --- values, as kubectl reads them -----------------------------------------------------------------------

PLAIN = [
    ("0440", 288), ("0o17", 15), ("-0x1F", -31), ("0b101", 5), ("1_000", 1000), ("+8", 8), ("00", 0),
    ("089", 89), ("1e3", 1000), ("1.5", 1.5), (".5", 0.5), ("5.", 5), ("._5", "._5"), ("0b2", "0b2"),
    ("18446744073709551615", 2**64 - 1), ("18446744073709551616", float(2**64)), ("1e999", "1e999"),
    ("9" * 100, "9" * 100), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("-", "-"), (".inf", ".inf"),
    ("yes", True), ("Off", False), ("y", True), ("~", None), ("", None), ("nUll", "nUll"), ("v1", "v1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_a_plain_scalar_is_what_kubectl_makes_of_it(text: str, value: object) -> None:
    """Held against sigs.k8s.io/yaml v1.6.0 with 100 000 scalars made by chance."""
    found = resolve(text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "name"),
    [("a", "a"), ("010", "8"), ("yes", "true"), ("off", "false"), ("1.10", "1.1"), ("~", None)],
)
def test_a_key_becomes_the_string_that_json_wants(text: str, name: str | None) -> None:
    assert key(text) == name


def test_quotes_blocks_and_string_tags_keep_text_as_it_is() -> None:
    data = document(
        CONFIG + "data:\n  a: '010'\n  b: |\n    yes\n  c: !!str 1\n  d: ! on\n  'off': x\n  !!str on: z\n"
    )

    assert data["data"] == {"a": "010", "b": "yes\n", "c": "1", "d": "on", "off": "x", "on": "z"}


# --- anchors and aliases ---------------------------------------------------------------------------------


def test_an_alias_is_a_copy() -> None:
    data = document(CONFIG + "p: &p {a: [1]}\nq: *p\n")

    data["p"]["a"].append(2)

    assert data["q"] == {"a": [1]}


def test_merge_keys_fill_in_what_the_mapping_lacks() -> None:
    data = document(
        CONFIG
        + "a: &a {p: 1, q: 1}\nb: &b {q: 2, r: 2}\nc: {<<: [*a, *b], p: 0}\nd: {p: 0, <<: *a}\ne: {'<<': 1}\n"
    )

    assert (data["c"], data["d"]) == ({"p": 0, "q": 1, "r": 2}, {"p": 0, "q": 1})
    assert data["e"] == {"<<": 1}


def test_anchors_end_with_their_document() -> None:
    with pytest.raises(Refused, match="for nothing above it"):
        read(API + "---\na: &a 1\n---\nb: *a\n")


def test_what_is_as_deep_as_may_be_is_read() -> None:
    deep = "[" * (DEPTH - 1) + "1" + "]" * (DEPTH - 1)

    assert document(CONFIG + f"x: {deep}\n")
    with pytest.raises(Refused, match="more than 100 levels"):
        document(CONFIG + f"x: [{deep}]\n")


# --- braces that are no template -------------------------------------------------------------------------

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, %s}]}\n"
PASSWORDS = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: '{{ .Release.Name }}'}\n"
RULE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: r}
spec: {name: '{{ $labels.x }}', text: '{{ .Values.x }}'}
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: c}
spec: {labels: {description: 'use <name> or {{ .Values.x }}'}}
"""
LAST_APPLIED = "{kubectl.kubernetes.io/last-applied-configuration: '{{ .Values.x }}'}"
VAULT = "{vault.hashicorp.com/t: '{{ with secret \"a\" }}{{ .Data }}'}"
BRACES = {
    "a comment": CONFIG + "# {{ .Values.x }}\n",
    "a ConfigMap's payload": CONFIG + "data: {a: '{{ .Values.x }} ${B}', name: '{{ x }}'}\n",
    "a Secret's payload": PASSWORDS,
    "an alert": RULE,
    "a CRD's schema": CRD,
    "an annotation for Vault": CONFIG.replace("name: c", f"name: c, annotations: {VAULT}"),
    "what kubectl applied last": CONFIG.replace("name: c", f"name: c, annotations: {LAST_APPLIED}"),
    "an argument": POD % "args: ['--template={{.Name}}', '--x=$(POD_IP)', 'echo ${A} <b>']",
    "a variable's name and value": POD % "env: [{name: '<odd>', value: '${A}'}]",
}


@pytest.mark.parametrize("text", BRACES.values(), ids=BRACES)
def test_braces_that_are_meant_are_read(text: str) -> None:
    assert document(text)


# --- what only a server writes ---------------------------------------------------------------------------


def test_an_old_apiservice_is_read_as_v1_with_a_note() -> None:
    (item,) = read(API.replace("io/v1", "io/v1beta1"))

    assert item.object == read(API)[0].object
    (note,) = item.notes
    assert "is read as apiregistration.k8s.io/v1:" in note
    assert "does not know apiregistration.k8s.io/v1beta1 since 1.22" in note


def test_a_live_export_becomes_what_was_applied() -> None:
    exported = """\
apiVersion: v1
kind: Service
metadata:
  name: things
  namespace: shop
  uid: 1-2
  resourceVersion: "5"
  creationTimestamp: "2020-01-01T00:00:00Z"
  managedFields: [{manager: x}]
  ownerReferences: [{uid: 3-4}]
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", mine: kept}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 443}]}
status: {loadBalancer: {}}
"""
    item = read(API, exported)[1]

    assert item.object["metadata"] == {"name": "things", "namespace": "shop", "annotations": {"mine": "kept"}}
    assert item.object["spec"] == {"ports": [{"port": 443}]}
    assert "status" not in item.object
    (note,) = item.notes
    assert note.startswith("Service shop/things was exported from a cluster; left out: creationTimestamp,")
    assert note.endswith("last-applied-configuration, clusterIP, clusterIPs, status")


def test_a_headless_service_stays_headless_in_an_export() -> None:
    exported = SERVICE.replace("namespace: shop", "uid: a").replace("spec: {", "spec: {clusterIP: None, ")

    assert document(exported)["spec"]["clusterIP"] == "None"


def test_an_address_that_somebody_wrote_down_stays() -> None:
    assert document(SERVICE.replace("spec: {", "spec: {clusterIP: 10.96.0.10, "))["spec"]["clusterIP"]


def test_what_generators_leave_empty_is_dropped_without_a_word() -> None:
    item = read(API + "status: {}\n", CONFIG.replace("name: c", "name: c, creationTimestamp: null"))[1]

    assert (item.object["metadata"], item.notes) == ({"name": "c"}, ())
    assert "status" not in read(API + "status: {}\n")[0].object


def test_a_namespace_on_what_has_none_is_dropped_with_a_note() -> None:
    role = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r, namespace: shop}\n"
    )
    item = read(API, role)[1]

    assert item.object["metadata"] == {"name": "r"}
    assert item.notes == (
        "ClusterRole shop/r: its kind is in no namespace, and the one that it names was left out",
    )


@pytest.mark.parametrize(
    ("written", "kept", "notes"),
    [
        ("Y2VydA== ", "Y2VydA==", 1),
        ("|\n    Y2Vy\n    dA==", "Y2VydA==", 1),
        ("Y2VydA==", "Y2VydA==", 0),
        ("''", None, 0),
        ("' '", None, 0),
        ("~", None, 0),
        ("5", 5, 0),
        ("'-----BEGIN X'", "-----BEGIN X", 0),
    ],
)
def test_blanks_in_a_ca_bundle_are_left_out_and_an_empty_one_is_none(
    written: str, kept: object, notes: int
) -> None:
    quoted = f"'{written}'" if written.endswith(" ") else written
    (item,) = read(API + f"  caBundle: {quoted}\n")

    assert (item.object["spec"].get("caBundle"), len(item.notes)) == (kept, notes)


# --- order and namespace ---------------------------------------------------------------------------------

KINDS = [
    ("v1", "Namespace"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("scheduling.k8s.io/v1", "PriorityClass"), ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"), ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "PersistentVolumeClaim"),
    ("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Service"), ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "Deployment"), ("management.cattle.io/v3", "APIService"),
    ("apiregistration.k8s.io/v1", "APIService"),
]  # fmt: skip


def test_what_others_need_is_applied_first_and_the_apiservice_last() -> None:
    objects = [{"apiVersion": version, "kind": kind} for version, kind in KINDS]

    assert list(apply_order(reversed(objects))) == objects


def test_a_namespace_is_filled_in_where_none_is_named() -> None:
    binding = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\n"
        "subjects: [{kind: ServiceAccount, name: a}, {kind: ServiceAccount, name: a, namespace: z},"
        " {kind: Group, name: g}, odd]\n"
    )
    custom = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
    items = read(API.replace(", namespace: shop", ""), SERVICE, CONFIG, binding, custom)

    api, service, config, bound, thing = (item.object for item in in_namespace(items, "here"))

    assert api["spec"]["service"] == {"name": "things", "namespace": "here"}
    assert "namespace" not in api["metadata"]
    assert service["metadata"]["namespace"] == "shop"
    assert config["metadata"]["namespace"] == "here"
    assert bound["subjects"][0]["namespace"] == "here"
    assert bound["subjects"][1:] == [
        {"kind": "ServiceAccount", "name": "a", "namespace": "z"},
        {"kind": "Group", "name": "g"},
        "odd",
    ]
    assert bound["metadata"] == {"name": "b"}
    assert thing["metadata"] == {"name": "t"}


def test_an_apiservice_with_a_namespace_or_without_a_service_stays_as_it_is() -> None:
    items = read(
        API, API.replace("v1.things", "v1.x").replace("  service: {name: things, namespace: shop}\n", "")
    )

    assert in_namespace(items, "here") == items


def test_two_objects_that_become_one_in_a_namespace_are_refused() -> None:
    items = read(API, CONFIG, CONFIG.replace("name: c", "name: c, namespace: here"))

    assert in_namespace(items, "there")
    with pytest.raises(
        Refused, match=r"ConfigMap here/c stands twice: in 1\.yaml, line 1 and in 2\.yaml, line 1"
    ):
        in_namespace(items, "here")
