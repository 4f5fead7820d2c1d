"""Laws of the user's manifests: no bytes crash the reader, JSON stays as it is, the order is stable."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggctl.core.manifestset import apply_order, read_set
from aggctl.core.shapes import group_kind, identity, is_api_service
from aggctl.errors import Refused

API = """\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.things.example.com}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
KINDS = [
    ("v1", "Namespace"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "CronJob"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("management.cattle.io/v3", "APIService"),
    ("apiregistration.k8s.io/v1", "APIService"),
]
THINGS = st.builds(
    lambda kind, name: {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": name}},
    st.sampled_from(KINDS),
    st.sampled_from("abc"),
)


@given(st.lists(THINGS, max_size=12))
def test_the_order_is_a_stable_permutation(objects: list[dict[str, Any]]) -> None:
    ordered = apply_order(objects)

    assert sorted(map(id, ordered)) == sorted(map(id, objects))
    assert apply_order(ordered) == ordered
    for kind in {group_kind(each) for each in objects}:
        assert [id(each) for each in ordered if group_kind(each) == kind] == [
            id(each) for each in objects if group_kind(each) == kind
        ]
    last = [is_api_service(each) for each in ordered]
    assert last == sorted(last)


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
SNIPPETS = [
    "\t", "\r", "- ", ": ", "#", "{", "}", "[", "]", "&a ", "*a", "<<: ", "|", ">", "'", '"', "\\U",
    "\\ud800", "%YAML 1.9\n", "---\n", "\n", "\x85", "!!x ", "!x!y", "?", ",", "é", "{{", "kind: ",
    "List", "items:", API, CONFIG, "metadata:", "  name: x\n", "9", "0x", "~", "a",
]  # fmt: skip


@patient
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
        st.lists(st.sampled_from(SNIPPETS), max_size=15).map(lambda parts: "".join(parts).encode()),
    )
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        items = read_set([("x.yaml", data), ("api.yaml", API.encode())])
    except Refused as error:
        assert (error.message.startswith(("x.yaml", "APIService")), bool(error.do)) == (True, True)  # noqa: PT017 -- a refusal is as good as a result; anything else escapes
    else:
        assert items[-1].place == "api.yaml, line 1"


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@patient
@given(JSON)
def test_what_is_written_as_json_is_read_as_it_is(payload: Any) -> None:
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "x": payload}

    items = read_set([("0", json.dumps(wanted).encode()), ("1", API.encode())])

    assert items[0].object == wanted
    assert identity(items[0].object) == ("", "ConfigMap", "", "c")
