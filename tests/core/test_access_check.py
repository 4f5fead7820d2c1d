"""Which side says no: what kube-apiserver's review and a real request add up to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.granted import API, ask, with_api
from support.snapshots import SERVER

from aggctl.core.access.check import Asked, Checked, finding_of, items_of, lines_of, see_check
from aggctl.core.access.offer import CUSTOM, EXTERNAL
from aggctl.core.extension import Api
from aggctl.core.findings import Finding
from aggctl.core.questions import AnswerSeen, MayDo, RawAt, Unknown

FORBIDDEN = Unknown("you may not ask", "no-rights-in-cluster")
SILENT = Unknown("no answer within 5 s", "apiserver-not-reachable")
NOT_LET = AnswerSeen(403, 'users "bob" is forbidden: User "me" cannot impersonate resource "users"')
WELL, DENIED = AnswerSeen(200), AnswerSeen(403, "things is forbidden")
PATH = "/apis/things.example/v1"


def seen(scene: Any = None, review: Any = True, answer: Any = WELL, **asked: Any) -> Checked | Finding:
    question = Asked(asked.pop("api", API), asked.pop("user", "bob"), **asked)
    return ask(
        scene or with_api(),
        lambda snapshot: see_check(snapshot, question, SERVER),
        may=lambda _: review,
        request=lambda _: answer,
    )


def checked(**more: Any) -> Checked:
    found = seen(**more)
    assert isinstance(found, Checked)
    return found


def refused(**more: Any) -> str:
    found = seen(**more)
    assert isinstance(found, Finding)
    return found.code


def code(**more: Any) -> str:
    found = finding_of(checked(**more))
    return found.code if found else ""


# --- what is asked ---------------------------------------------------------------------------------------


def test_by_default_the_first_resource_that_can_be_listed_is() -> None:
    assert checked().path == f"{PATH}/things?limit=1"
    only_get = with_api(
        {"name": "a", "verbs": ["create"]}, {"name": "b", "namespaced": True, "verbs": ["get"]}
    )
    assert checked(scene=only_get).path == f"{PATH}/b/aggctl-probe"


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"namespace": "shop"}, f"{PATH}/namespaces/shop/things?limit=1"),
        ({"verb": "get", "namespace": "shop"}, f"{PATH}/namespaces/shop/things/aggctl-probe"),
        ({"name": "a b", "namespace": "shop"}, f"{PATH}/namespaces/shop/things/a%20b"),
        ({"resource": "things/status", "name": "x"}, f"{PATH}/things/x/status"),
        ({"resource": "shelves"}, f"{PATH}/shelves?limit=1"),
    ],
)
def test_a_request_goes_where_the_resource_is(asked: dict[str, str], path: str) -> None:
    assert checked(**asked).path == path


@pytest.mark.parametrize(
    ("group", "listed", "resource", "path"),
    [
        (CUSTOM, "pods/load", "pods/load", "namespaces/shop/pods/aggctl-probe/load"),
        (CUSTOM, "namespaces/load", "namespaces/load", "namespaces/shop/metrics/aggctl-probe"),
        (CUSTOM, "/custommetrics", "pods/load", "namespaces/shop/pods/aggctl-probe/load"),
        (EXTERNAL, "externalmetrics", "queue", "namespaces/shop/queue?limit=1"),
    ],
)
def test_metrics_are_asked_for_as_they_are_served(group: str, listed: str, resource: str, path: str) -> None:
    api = Api("v1beta1", group)
    scene = with_api({"name": listed, "namespaced": True, "verbs": ["get"]}, api=api)
    assert (
        checked(scene=scene, api=api, resource=resource, namespace="shop").path
        == f"/apis/{group}/v1beta1/{path}"
    )


def test_the_review_has_the_groups_that_kube_apiserver_adds_and_the_request_those_that_were_typed() -> None:
    asked: list[Any] = []

    def note(question: Any) -> Any:
        asked.append(question)
        return True if isinstance(question, MayDo) else WELL

    question = Asked(API, "bob", ("devs",), namespace="shop", resource="things/status", verb="get", name="x")
    ask(with_api(), lambda snapshot: see_check(snapshot, question, SERVER), may=note, request=note)
    assert set(asked) == {
        MayDo(
            "bob", ("devs", "system:authenticated"), "get", API.group, "things", "shop", "x", SERVER, "status"
        ),
        RawAt(f"{PATH}/namespaces/shop/things/x/status", SERVER, "bob", ("devs",)),
    }


def test_a_question_that_makes_no_sense_is_refused() -> None:
    assert refused(scene=with_api().object(API.path, None)) == "api-not-registered"
    assert refused(resource="nothing") == "resource-not-offered"
    assert refused(resource="shelves", namespace="shop") == "resource-cluster-scoped"
    assert refused(resource="shelves", verb="create") == "verb-not-offered"
    assert refused(scene=with_api({"name": "a", "verbs": ["create"]})) == "resource-not-offered"


# --- what comes of it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("review", "answer", "expected"),
    [
        (True, WELL, ""),
        (True, AnswerSeen(404, "not found"), ""),
        (True, AnswerSeen(405), ""),
        (FORBIDDEN, WELL, ""),
        (False, DENIED, "access-denied-by-apiserver"),
        (False, NOT_LET, "access-denied-by-apiserver"),
        (False, SILENT, "access-denied-by-apiserver"),
        (True, DENIED, "access-denied-by-extension-server"),
        (True, AnswerSeen(401), "access-denied-by-extension-server"),
        (True, NOT_LET, "impersonation-forbidden"),
        (FORBIDDEN, NOT_LET, "impersonation-forbidden"),
        (FORBIDDEN, DENIED, "no-rights-in-cluster"),
        (True, SILENT, "apiserver-not-reachable"),
        (True, AnswerSeen(503, "service unavailable"), "api-not-available"),
        (True, AnswerSeen(429), "api-not-available"),
        (True, AnswerSeen(0), "api-not-available"),
    ],
)
def test_the_two_answers_add_up_to_who_says_no(review: Any, answer: Any, expected: str) -> None:
    assert code(review=review, answer=answer) == expected


def test_what_might_change_something_is_not_tried_for_real() -> None:
    found = checked(verb="create", resource="orders")
    assert found.answer is None
    assert lines_of(found)[-1].endswith("was not asked: only get and list are tried for real")
    assert code(verb="create", resource="orders") == ""
    assert code(verb="create", resource="orders", review=FORBIDDEN) == "no-rights-in-cluster"


def test_the_way_to_let_him_in_can_be_pasted() -> None:
    for asked, words in (
        ({}, "--to user:bob"),
        ({"user": "the boss"}, "--to 'user:the boss'"),
        ({"user": "system:serviceaccount:shop:web"}, "--to serviceaccount:shop/web"),
        ({"verb": "create", "resource": "orders"}, "--to user:bob --verbs create --resources orders"),
        ({"namespace": "shop"}, "--to user:bob -n shop"),
    ):
        found = finding_of(checked(review=False, answer=DENIED, **asked))
        assert found is not None
        assert found.fix == f"aggctl access grant v1.things.example {words}"


def test_a_server_that_takes_everybody_for_nobody_is_a_case_for_doctor() -> None:
    nobody = AnswerSeen(403, 'forbidden: User "system:anonymous" cannot use this API')
    found = finding_of(checked(answer=nobody))
    assert found is not None
    assert found.fix.endswith("aggctl doctor v1.things.example")
    other = finding_of(checked(answer=DENIED))
    assert other is not None
    assert other.evidence == ("403 things is forbidden",)
    assert "doctor" not in other.fix
    anonymous = finding_of(checked(answer=nobody, user="system:anonymous"))
    assert anonymous is not None
    assert "doctor" not in anonymous.fix


def test_what_stops_at_impersonation_says_what_is_known_of_kube_apiserver() -> None:
    for review, begins in (
        (True, "kube-apiserver would let bob list things"),
        (FORBIDDEN, "the extension server"),
    ):
        found = finding_of(checked(review=review, answer=NOT_LET))
        assert found is not None
        assert found.message.startswith(begins)


@pytest.mark.parametrize(
    ("review", "answer", "lines"),
    [
        (True, WELL, ("says yes", "says yes (GET")),
        (False, DENIED, ("says no", "was not asked: GET")),
        (False, WELL, ("says no", "says yes (GET")),
        (True, DENIED, ("says yes", "says no (GET")),
        (True, NOT_LET, ("says yes", "was not asked: GET")),
        (True, AnswerSeen(503), ("says yes", "does not answer (GET")),
        (FORBIDDEN, SILENT, ("was not asked: you may not ask", "was not asked: no answer within 5 s")),
    ],
)
def test_each_side_has_a_line(review: Any, answer: Any, lines: tuple[str, str]) -> None:
    found = checked(review=review, answer=answer, namespace="shop", name="x")
    first, apiserver, extension = lines_of(found)
    assert first == "bob: get things x of things.example in namespace shop"
    assert apiserver.removeprefix("kube-apiserver").strip().startswith(lines[0])
    assert extension.removeprefix("extension server").strip().startswith(lines[1])


@pytest.mark.parametrize(
    ("review", "answer", "allowed"),
    [
        (True, WELL, (True, True)),
        (False, DENIED, (False, None)),
        (True, DENIED, (True, False)),
        (True, NOT_LET, (True, None)),
        (FORBIDDEN, WELL, (None, True)),
        (True, SILENT, (True, None)),
    ],
)
def test_scripts_get_both_sides_and_null_where_one_was_not_asked(
    review: Any, answer: Any, allowed: Any
) -> None:
    assert tuple(each["allowed"] for each in items_of(checked(review=review, answer=answer))) == allowed


def test_words_of_others_are_cut() -> None:
    found = checked(review=False, answer=AnswerSeen(403))
    no = finding_of(found)
    assert no is not None
    assert no.evidence == ()
    long = replace(found, asked=replace(found.asked, user="x" * 2000))
    assert len(lines_of(long)[0]) <= 400
