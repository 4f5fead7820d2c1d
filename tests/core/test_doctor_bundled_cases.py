"""What doctor saw, written down and read again: the same verdict, the same bytes, and no secret in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doctor_cases import CASES, Case, seen_by
from support.doctoring import well
from support.snapshots import MANIFEST, NOW, PKI, SERVER, file

from aggctl.core.doctor.bundle import VERSION, Bundle, read_bundle, write_bundle
from aggctl.core.doctor.words import items_of
from aggctl.core.questions import (
    AnswerSeen,
    ContainerLogs,
    Existing,
    FileAt,
    LogSeen,
    ObjectAt,
    PairAt,
    PairSeen,
    PodLog,
    Processes,
    ProcessSeen,
    RawAt,
    Unknown,
)
from aggctl.core.snapshot import Snapshot
from aggctl.errors import Refused
from aggctl.workflows.doctor import Asked, bundle_of, examine_bundle

if TYPE_CHECKING:
    from support.doctoring import Patient

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def written(patient: Patient, seen: Snapshot) -> str:
    names = tuple(patient.case.get("named") or ())
    return write_bundle(bundle_of(Asked(patient.server, names, NOW, patient.held), seen))


def of(answers: dict[Any, Any]) -> str:
    return write_bundle(Bundle(SERVER, ("", ""), (), NOW, "", Snapshot(answers)))


def again(answers: dict[Any, Any]) -> dict[Any, Any]:
    """The answers as they come back."""
    return dict(read_bundle(of(answers), "it").snapshot.answers)


# --- every case ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bundle_leads_to_the_same_diagnosis_elsewhere(case: Case) -> None:
    patient, found, seen = seen_by(case)
    bundle = read_bundle(written(patient, seen), "it")
    assert items_of(examine_bundle(bundle, ())) == items_of(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bundle_holds_no_key_and_is_the_same_each_time(case: Case) -> None:
    patient, _, seen = seen_by(case)
    text = written(patient, seen)
    assert "PRIVATE KEY" not in text
    assert written(patient, Snapshot(dict(reversed(list(seen.answers.items()))))) == text


def test_another_api_can_be_asked_for_and_what_was_not_looked_at_is_not_checked() -> None:
    patient = well()
    bundle = read_bundle(written(patient, patient.examined()[1]), "it")
    found = examine_bundle(bundle, ("v9.other.example",))
    assert [each.name for each in found.exams] == ["v9.other.example"]
    gone = Bundle(bundle.server, bundle.problem, (), bundle.now, "", Snapshot())
    assert [each for each in examine_bundle(gone, ()).not_checked if "it is not in the bundle" in each]


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ObjectAt("/a", SERVER), None),
        (ObjectAt("/a", SERVER), {"a": [1, 2.5, None, True, {"b": []}]}),
        (ObjectAt("/a", SERVER), Unknown("refused", "no-rights-in-cluster")),
        (Existing(("/a", "/b")), ("/b",)),
        (FileAt("/a"), None),
        (PairAt("n", "s", SERVER), PairSeen(b"PEM", b"\xff\x00", "f", ("tls.key",), created=False)),
        (PodLog("n", "p", "c", True, SERVER), ("line",)),
        (ContainerLogs("n", "p", "c"), (LogSeen(1, 2.5, ("line",)),)),
        (ContainerLogs("n", "p", "c"), Unknown("no rights")),
    ],
)  # fmt: skip
def test_answers_come_back_as_they_were(asked: Any, answer: Any) -> None:
    assert again({asked: answer}) == {asked: answer}


FRACTIONS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | FRACTIONS | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda drawn: {"spec": drawn})
)
def test_an_object_without_secrets_comes_back_as_it_was(found: dict[str, Any]) -> None:
    asked = ObjectAt("/a", SERVER)
    assert again({asked: found}) == {asked: found}


# --- what must not leave ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (FileAt("/a"), file(KEY.encode())),
        (FileAt("/a"), file(f"token: {JWT}".encode())),
        (ObjectAt("/a", SERVER), {"data": {"x": JWT}}),
        (ObjectAt("/a", SERVER), {"list": [KEY]}),
        (PodLog("n", "p", "c", False, SERVER), (f"Authorization: Bearer {JWT}",)),
        (ContainerLogs("n", "p", "c"), (LogSeen(1, 2.0, (f"--token={JWT}",)),)),
        (Processes(6443), (ProcessSeen(1, 2.0, ("kube-apiserver", f"--x-token={JWT}")),)),
        (RawAt("/a", SERVER), AnswerSeen(500, f"token {JWT} is bad")),
        (ObjectAt("/a", SERVER), Unknown(f"{SERVER} answered: Bearer {JWT}")),
    ],
    ids=[
        "key in a file",
        "token in a file",
        "token",
        "key",
        "log of a Pod",
        "log of a node",
        "arguments",
        "an answer",
        "why there is none",
    ],
)
def test_secrets_in_answers_are_left_out(asked: Any, answer: Any) -> None:
    text = of({asked: answer})
    assert JWT not in text
    assert "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" not in text


def test_the_digest_of_a_file_does_not_leave_by_which_a_guess_could_be_tried() -> None:
    seen = again({FileAt("/a"): file(b"password: guess")})[FileAt("/a")]
    assert seen.stamp.digest == ""


def test_of_a_file_of_certificates_only_these_leave() -> None:
    patient = well()
    path = FileAt(f"{PKI}/front-proxy-ca.crt")
    pem = patient.scene.look(path).content
    seen = again({path: file(b"bought at a shop\n" + pem + KEY.encode())})[path]
    assert seen.content == pem


def test_values_of_variables_do_not_leave_and_proxies_stay() -> None:
    env = [{"name": "DB_PASSWORD", "value": "s3cret"}, {"name": "HTTPS_PROXY", "value": "http://p:3128"}]
    pod = {"spec": {"containers": [{"name": "a", "env": env, "envFrom": [{"secretRef": {"name": "s"}}]}]}}
    (container,) = again({ObjectAt("/a", SERVER): pod})[ObjectAt("/a", SERVER)]["spec"]["containers"]
    assert container == {
        "name": "a",
        "env": [
            {"name": "DB_PASSWORD", "value": "removed"},
            {"name": "HTTPS_PROXY", "value": "http://p:3128"},
        ],
    }


@pytest.mark.parametrize(
    "args",
    [["--db-password", "hunter2"], ["--secret-key", "hunter2"], ["-token", "hunter2"]],
    ids=lambda each: each[0],
)
def test_the_word_behind_a_secret_flag_does_not_leave(args: list[str]) -> None:
    assert "hunter2" not in of({ObjectAt("/a", SERVER): {"args": args}})
    assert "hunter2" not in of({Processes(6443): (ProcessSeen(1, 2.0, ("kube-apiserver", *args)),)})


def test_a_path_behind_such_a_flag_stays_as_it_is_what_may_be_wrong() -> None:
    assert "/etc/tls.key" in of({ObjectAt("/a", SERVER): {"args": ["--tls-private-key", "/etc/tls.key"]}})


@pytest.mark.parametrize("key", ["token", "example.com/token", "DB_PASS", "api-key", "dsn"])
def test_what_a_key_calls_a_secret_does_not_leave(key: str) -> None:
    assert "hunter2" not in of({ObjectAt("/a", SERVER): {"annotations": {key: "hunter2"}}})


@pytest.mark.parametrize("words", ["DB_PASS=hunter2", "pwd=hunter2", "--admin-pass=hunter2", "dsn=hunter2"])
def test_what_a_word_calls_a_secret_does_not_leave(words: str) -> None:
    assert "hunter2" not in of({PodLog("n", "p", "c", False, SERVER): (words,)})


@pytest.mark.parametrize(
    "text",
    [
        "    - name: TOKEN\n      value: hunter2\n",
        "    - value: hunter2\n      name: TOKEN\n",
        "    env: [{name: TOKEN, value: hunter2}, {name: HTTPS_PROXY, value: kept}]\n",
        "    - name: TOKEN\n      value: |\n        hunter2\n        hunter2\n",
        "    - name: X-Header\n      value: 'hunter2'\n",
    ],
    ids=["name first", "value first", "flow style", "a block", "a header of a probe"],
)
def test_values_in_a_manifest_do_not_leave_in_whatever_style(text: str) -> None:
    told = of({FileAt("/a"): file(text.encode())})
    assert "hunter2" not in told
    assert ("kept" in told) is ("kept" in text)


def test_no_variables_at_all_stay_none() -> None:
    assert again({ObjectAt("/a", SERVER): {"env": None, "x": 1}})[ObjectAt("/a", SERVER)] == {
        "env": [],
        "x": 1,
    }


@pytest.mark.parametrize("env", [None, [], ["no variable"], [{"name": "A", "valueFrom": {"fieldRef": {}}}]])
def test_variables_of_any_shape_lose_their_values(env: Any) -> None:
    found = again({ObjectAt("/a", SERVER): {"env": env}})[ObjectAt("/a", SERVER)]["env"]
    assert [each["value"] for each in found] == ["removed"] * len(env or [])


def test_in_a_manifest_only_proxies_keep_their_values() -> None:
    env = {"DB_PASSWORD": "s3cret", "no_proxy": ".svc,10.0.0.0/8"}
    text = well(env=env).scene.text
    seen = again({FileAt(MANIFEST): file(text.encode())})[FileAt(MANIFEST)].content.decode()
    assert "s3cret" not in seen
    assert "value: .svc,10.0.0.0/8" in seen


def test_what_was_applied_last_and_by_whom_does_not_leave() -> None:
    metadata = {
        "name": "a",
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "other": "stays"},
    }
    asked = ObjectAt("/a", SERVER)
    assert again({asked: {"metadata": metadata}})[asked] == {
        "metadata": {"name": "a", "annotations": {"other": "stays"}}
    }


# --- a stranger's file -----------------------------------------------------------------------------------

WHOLE = json.loads(of({FileAt("/a"): None}))
BROKEN = {
    "no JSON": "x",
    "no object": "[]",
    "nested too deeply": "[" * 100_000,
    "no version": "{}",
    "another version": json.dumps(WHOLE | {"apiVersion": "aggctl/bundle/v2"}),
    "no answers": json.dumps({"apiVersion": VERSION}),
    "a record of Python": json.dumps(
        WHOLE | {"answers": [{"question": {"is": "dataclass", "fields": {}}, "answer": 1}]}
    ),
    "a record of another module": json.dumps(
        WHOLE | {"answers": [{"question": {"is": "Bundle", "fields": {}}, "answer": 1}]}
    ),
    "a record with other fields": json.dumps(
        WHOLE | {"answers": [{"question": {"is": "FileAt", "fields": {"x": 1}}, "answer": 1}]}
    ),
    "bytes that are none": json.dumps(
        WHOLE
        | {"answers": [{"question": {"is": "FileAt", "fields": {"path": "/a"}}, "answer": {"bytes": "%"}}]}
    ),
    "an object of no kind": json.dumps(WHOLE | {"answers": [{"question": {}, "answer": 1}]}),
    "a question that is none": json.dumps(WHOLE | {"answers": [{"question": {"json": []}, "answer": 1}]}),
    "a problem of three parts": json.dumps(WHOLE | {"problem": ["a", "b", "c"]}),
    "a time that is none": json.dumps(WHOLE | {"now": "yesterday"}),
    "a time before time": json.dumps(WHOLE | {"now": "0001-01-01T00:00:00+23:00"}),
    "a time that is a number": json.dumps(WHOLE | {"now": 5}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_bundle_is_refused_by_name(text: str) -> None:
    with pytest.raises(Refused) as caught:
        read_bundle(text, "it.tar.gz")
    assert caught.value.code == "bundle-not-readable"
    assert caught.value.message.startswith("it.tar.gz is no bundle")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["apiVersion", "answers", "question", "answer", "is", "fields", "tuple", "bytes", "json", "now"]
    ), inner, max_size=4)
)).map(lambda drawn: json.dumps(drawn | WHOLE if isinstance(drawn, dict) else drawn)))  # fmt: skip
def test_any_text_is_a_bundle_or_refused(text: str) -> None:
    try:
        assert isinstance(read_bundle(text, "it"), Bundle)
    except Refused:
        return
