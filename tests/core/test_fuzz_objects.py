"""Answers of a server with anything anywhere: each is held against the API first, and no check meets another.

Worlds of doctor's cases are damaged at random; what the border lets through, doctor and status must bear.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doctor_cases import CASES, seen_by
from support.mutants import as_json, mistyped
from support.snapshots import NOW, SERVER

from aggctl.core.doctor.bundle import Bundle, read_bundle, write_bundle
from aggctl.core.doctor.examine import diagnose
from aggctl.core.doctor.words import items_of, lines_of
from aggctl.core.kinds import AGGREGATED, FIELDS, PORT_OR_NAME, REVIEW, STATUS
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.snapshot import Snapshot
from aggctl.core.status import words as status_words
from aggctl.core.status.see import see_status
from aggctl.core.typed import NotTyped, hold, is_list, read_json, typed, weight_of
from aggctl.errors import Refused
from aggctl.workflows.doctor import examine_bundle
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from support.doctor_cases import Case
    from support.doctoring import Patient

    from aggctl.core.questions import Question

patient_settings = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
APIS = "/apis/apiregistration.k8s.io/v1/apiservices"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/n"
POD = "/api/v1/namespaces/shop/pods/things-1"


# --- the border ------------------------------------------------------------------------------------------


def whole(found: dict[str, Any]) -> dict[str, Any]:
    """An object as a server sends it: cases leave out what nobody reads there."""
    found = copy.deepcopy(found)
    for each in [found, *(found.get("items") or [])]:
        if "items" not in each:
            each.setdefault("metadata", {})
            each["metadata"] = {"name": "n", "namespace": "shop"} | each["metadata"]
    return found


def let_in(asked: Question, answer: Any) -> Any:
    """What the border makes of an answer, which comes as bytes."""
    if not isinstance(asked, ObjectAt) or answer is None or isinstance(answer, Unknown):
        return answer
    try:
        found = read_json(as_json(answer))
        return typed(asked.path, found) if isinstance(found, dict) else Unknown("no object")
    except NotTyped as error:
        return Unknown(str(error), "answer-not-understood")


@st.composite
def damaged_worlds(draw: st.DrawFn) -> tuple[Case, Patient, dict[Any, Any]]:
    """A case in which one object, or two, came back damaged."""
    case = draw(st.sampled_from(CASES))
    patient, _, seen = seen_by(case)
    answers = dict(seen.answers)
    objects = sorted(
        (each for each, answer in answers.items() if isinstance(each, ObjectAt) and isinstance(answer, dict)),
        key=lambda each: each.path,
    )
    for _ in range(draw(st.integers(1, 2)) if objects else 0):
        asked = draw(st.sampled_from(objects))
        answers[asked] = let_in(asked, draw(mistyped(whole(seen.answers[asked]))))
    return case, patient, answers


@patient_settings
@given(damaged_worlds())
def test_doctor_and_status_bear_whatever_the_border_lets_through(
    world: tuple[Case, Patient, dict[Any, Any]],
) -> None:
    _, patient, answers = world
    snapshot = Snapshot(answers)

    def look(asked: Question) -> Any:
        return let_in(asked, patient.look(asked))

    diagnosis, seen = settle(
        lambda seen: diagnose(seen, patient.server, (), NOW, patient.held), look, snapshot
    )
    status, _ = settle(lambda seen: see_status(seen, patient.server, (), NOW), look, snapshot)
    bundle = read_bundle(write_bundle(Bundle(SERVER, ("", ""), (), NOW, "", seen)), "it")

    json.dumps([items_of(diagnosis), status_words.items_of(status)], allow_nan=False).encode()
    assert all(line.isprintable() for line in lines_of(diagnosis, verbose=True))
    assert all(line.isprintable() for line in status_words.lines_of(status, NOW, wide=True))
    assert set(bundle.snapshot.answers) == set(seen.answers)


SENT = [
    ("/version", {"major": "1", "minor": "37", "gitVersion": "v1.37.2"}),
    ("/apis", {"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}]}),
    (
        "/apis/apps/v1",
        {"groupVersion": "apps/v1", "resources": [{"name": "deployments/scale", "kind": "Scale"}]},
    ),
    (APIS, {"items": [{"metadata": {"name": "v1.a.example"}, "spec": {"service": None}}]}),
    (
        POD,
        {
            "metadata": {
                "name": "things-1",
                "namespace": "shop",
                "labels": {"a": "b"},
                "managedFields": [
                    {"manager": "m", "fieldsV1": {'k:{"name":"a"}': {".": {}}, 'v:"x"': {}, "i:0": {}}}
                ],
            },
            "spec": {"containers": [{"name": "server", "ports": [{"containerPort": 443}]}]},
        },
    ),
    (SLICE, {"metadata": {"name": "n", "namespace": "shop"}, "endpoints": [{"addresses": ["::1", "a.b."]}]}),
    ("/api/v1/namespaces/kube-system", {"metadata": {"name": "kube-system"}}),
    ("/apis/example.com/v1/things?limit=5", {"items": [{"metadata": {"name": "x"}, "spec": 7}]}),
    ("/livez", {"anything": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "found"), SENT, ids=[each for each, _ in SENT])
def test_what_a_kube_apiserver_sends_is_let_in_as_it_is(path: str, found: dict[str, Any]) -> None:
    assert typed(path, copy.deepcopy(found)) == found


@patient_settings
@given(st.sampled_from(SENT).flatmap(lambda sent: st.tuples(st.just(sent[0]), mistyped(sent[1]))))
def test_anything_else_is_let_in_or_named(sent: tuple[str, Any]) -> None:
    path, found = sent
    try:
        typed(path, read_json(as_json(found)))
    except NotTyped as error:
        assert str(error).isprintable()  # noqa: PT017 -- a refusal is as good as a result; anything else escapes


NODE = "/api/v1/nodes/n"


def named(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "n"} | metadata}


def ends(**endpoint: Any) -> dict[str, Any]:
    return named(namespace="shop") | {"endpoints": [endpoint]}


WRONG = [
    (APIS, {"items": "x"}, "items is a string, and not a list"),
    (APIS, {"items": [None]}, "items[0] is null or a fraction, and not a mapping"),
    (APIS, {"items": [{"metadata": {"name": "n"}}]}, "items[0].spec is missing"),
    (POD, {"metadata": {"name": "n"}}, "metadata.namespace is missing"),
    (POD, named(namespace="../x"), "metadata.namespace is '../x', and not a DNS name"),
    (NODE, named(name=".."), "metadata.name is '..', and not a name"),
    (NODE, named(generation=True), "metadata.generation is true or false, and not a whole number"),
    (NODE, named(labels={"a": 1}), "metadata.labels.a is a whole number, and not a string"),
    (NODE, named(labels=[]), "metadata.labels is a list, and not a mapping"),
    (SLICE, ends(addresses=["[::"]), "endpoints[0].addresses[0] is '[::', and not an address"),
    (SLICE, ends(addresses=["a" * 64]), f"endpoints[0].addresses[0] is '{'a' * 64}', and not an address"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "found", "said"), WRONG, ids=[each for _, _, each in WRONG])
def test_what_is_wrong_is_named_with_its_place(path: str, found: dict[str, Any], said: str) -> None:
    with pytest.raises(NotTyped) as caught:
        typed(path, found)
    assert str(caught.value) == said


@pytest.mark.parametrize("key", ["x", "f", "i:a", "i:²", "k:[1]", "k:{", "v:{", "v:" + "[" * 5000, "q:1"])
def test_a_managed_field_without_a_path_element_is_named(key: str) -> None:
    with pytest.raises(NotTyped, match="no path element"):
        hold({key: {}}, FIELDS, "fieldsV1")


@pytest.mark.parametrize(
    ("value", "fits"), [(443, True), ("https", True), (True, False), ([], False), (65536, False), (-1, False)]
)
def test_a_target_port_is_a_number_or_a_name(value: Any, fits: bool) -> None:
    try:
        hold(value, PORT_OR_NAME, "targetPort")
    except NotTyped:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize("shape", [AGGREGATED, REVIEW, STATUS], ids=["discovery", "a review", "a Status"])
def test_what_is_no_mapping_at_all_is_named(shape: Any) -> None:
    with pytest.raises(NotTyped, match="it is a list, and not a mapping"):
        hold([], shape)


def test_of_metadata_alone_nothing_else_is_wanted() -> None:
    assert typed(APIS, {"items": [{"metadata": {"name": "n"}}]}, partial=True)


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        (APIS, True),
        ("/api/v1/namespaces", True),
        ("/api/v1/namespaces/shop/pods?labelSelector=a%3Db", True),
        ("/api/v1/namespaces/shop", False),
        ("/api/v1/namespaces/shop/pods/web-1", False),
        ("/apis/metrics.k8s.io/v1beta1", False),
        ("/apis", False),
        ("/version", False),
    ],
)
def test_a_list_is_told_from_an_object_by_its_path(path: str, listed: bool) -> None:
    assert is_list(path) is listed


# --- JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"a": NaN}', "no JSON"),
        (b'{"a": -Infinity}', "no JSON"),
        (b'{"a": 1e999}', "no JSON"),
        (b"9" * 5000, "no JSON"),
        (b"[" * 100_000, "too deeply"),
        (b"[" * 200 + b"]" * 200, "too deeply"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "too deeply"),
        (b"[" + b"[]," * 1_000_000 + b"1]", "too large"),
    ],
    ids=range(10),
)
def test_what_is_no_json_that_can_be_held_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(NotTyped, match=said):
        read_json(body)


@pytest.mark.parametrize("found", [7, 7.5, "[" * 500, ["[{"], {"a": {"b": [1, "é"]}}, "{}[]"])
def test_json_is_read_as_it_is(found: Any) -> None:
    assert read_json(json.dumps(found).encode()) == found


def test_half_a_character_becomes_a_question_mark() -> None:
    assert read_json(b'{"a": "\\ud800x", "b": "\\ud83d\\ude00"}') == {"a": "?x", "b": "😀"}


@given(
    st.recursive(st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner))
)
def test_what_takes_more_values_weighs_more(found: Any) -> None:
    assert weight_of(json.dumps([found, found]).encode()) >= weight_of(json.dumps(found).encode())


# --- a list that cannot be read is no empty list ---------------------------------------------------------


@pytest.mark.parametrize("code", ["answer-not-understood", "apiserver-not-ready"])
def test_where_the_list_of_apis_cannot_be_read_none_is_said_to_be_missing(code: str) -> None:
    patient, _, seen = seen_by(CASES[0])
    answers = dict(seen.answers) | {
        ObjectAt(APIS, server): Unknown("it is HTML", code) for server in _asked(seen)
    }
    found, _ = settle(
        lambda snapshot: diagnose(snapshot, patient.server, (), NOW, patient.held),
        patient.look,
        Snapshot(answers),
    )
    said = lines_of(found, verbose=False)
    assert not [line for line in said if line.startswith("No API")]
    assert [each.message for each in found.findings if each.severity == "error"] == ["it is HTML"]


def test_who_may_not_list_apis_finds_no_fault_with_the_server() -> None:
    patient, _, seen = seen_by(CASES[0])
    unknown = Unknown("forbidden", "no-rights-in-cluster")
    answers = dict(seen.answers) | {ObjectAt(APIS, server): unknown for server in _asked(seen)}
    found, _ = settle(
        lambda snapshot: diagnose(snapshot, patient.server, (), NOW, patient.held),
        patient.look,
        Snapshot(answers),
    )
    assert "APIServices: forbidden" in found.not_checked
    assert not [each for each in found.findings if each.severity == "error"]


def _asked(seen: Snapshot) -> set[str]:
    return {each.server for each in seen.answers if isinstance(each, ObjectAt) and each.path == APIS}


BUNDLES = [
    json.loads(write_bundle(Bundle(SERVER, ("", ""), (), NOW, "", seen_by(case)[2]))) for case in CASES[:40:4]
]


@settings(patient_settings, max_examples=40)
@given(st.sampled_from(BUNDLES).flatmap(mistyped))
def test_a_damaged_bundle_gives_a_diagnosis_or_is_refused(document: Any) -> None:
    try:
        found = examine_bundle(read_bundle(json.dumps(document), "it"), ())
    except Refused as error:
        assert error.code == "bundle-not-readable"  # noqa: PT017 -- as good as a diagnosis
    else:
        assert all(line.isprintable() for line in lines_of(found, verbose=True))


def test_in_a_bundle_an_answer_of_another_kind_is_not_known() -> None:
    asked = ObjectAt(APIS, SERVER)
    text = write_bundle(Bundle(SERVER, ("", ""), (), NOW, "", Snapshot({asked: {"items": [None]}})))
    answer = read_bundle(text, "it").snapshot.answers[asked]
    assert isinstance(answer, Unknown)
    assert "items[0]" in answer.reason
