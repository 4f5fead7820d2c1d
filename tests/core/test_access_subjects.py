"""Who is meant: as it is typed, as it stands in a binding, and as whom kube-apiserver is asked."""

from __future__ import annotations

import pytest

from aggctl.core.access.subjects import Subject, identity, is_name, of_user, parse_subject, subjects_of
from aggctl.core.questions import PROBE_USER
from aggctl.errors import UsageError

RBAC = "rbac.authorization.k8s.io"
WEB = Subject("ServiceAccount", "web", "shop")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("group:devs", Subject("Group", "devs")),
        ("group:system:authenticated", Subject("Group", "system:authenticated")),
        ("user:alice@example.com", Subject("User", "alice@example.com")),
        ("user:https://issuer.example#bob", Subject("User", "https://issuer.example#bob")),
        ("serviceaccount:shop/web", WEB),
    ],
)
def test_a_subject_is_read_and_written_alike(typed: str, meant: Subject) -> None:
    assert parse_subject(typed) == meant
    assert meant.words == typed


@pytest.mark.parametrize(
    "typed",
    [
        "devs",
        "group:",
        "sa:shop/web",
        "serviceaccount:web",
        "serviceaccount:Shop/web",
        "user: x",
        "user:a\nb",
        "user:" + "x" * 300,
    ],
)
def test_what_names_nobody_is_wrong_usage(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_subject(typed)
    assert caught.value.code == "subject-not-understood"


def test_a_subject_stands_in_a_binding_as_the_server_would_complete_it() -> None:
    assert WEB.as_rbac() == {"kind": "ServiceAccount", "name": "web", "namespace": "shop"}
    assert Subject("Group", "devs").as_rbac() == {"apiGroup": RBAC, "kind": "Group", "name": "devs"}


def test_a_binding_of_others_is_read_but_for_what_rbac_does_not_know() -> None:
    found = [
        {"kind": "Group", "name": "devs", "namespace": "no"},
        WEB.as_rbac(),
        {"kind": "Robot", "name": "r2"},
    ]
    assert list(subjects_of({"subjects": found})) == [Subject("Group", "devs"), WEB]
    assert list(subjects_of({"subjects": None})) == []


def test_a_review_asks_as_the_user_as_the_account_or_as_a_mere_member() -> None:
    subjects = (Subject("User", "alice"), WEB, Subject("Group", "devs"))
    assert [each.user for each in subjects] == ["alice", "system:serviceaccount:shop:web", PROBE_USER]


@pytest.mark.parametrize(
    ("subject", "everybody"),
    [
        (Subject("Group", "system:authenticated"), True),
        (Subject("Group", "system:unauthenticated"), True),
        (Subject("Group", "system:serviceaccounts"), True),
        (Subject("User", "system:anonymous"), True),
        (Subject("Group", "system:serviceaccounts:shop"), False),
        (Subject("ServiceAccount", "system:anonymous", "shop"), False),
    ],
)
def test_whole_populations_are_known_by_name(subject: Subject, everybody: bool) -> None:
    assert subject.is_everybody is everybody


def test_a_users_name_may_be_that_of_a_service_account() -> None:
    assert of_user("system:serviceaccount:shop:web") == WEB
    assert of_user("alice") == Subject("User", "alice")


@pytest.mark.parametrize(
    ("user", "groups", "complete"),
    [
        ("alice", (), ("system:authenticated",)),
        ("alice", ("devs",), ("devs", "system:authenticated")),
        ("alice", ("system:unauthenticated",), ("system:unauthenticated",)),
        ("alice", ("system:authenticated", "devs"), ("system:authenticated", "devs")),
        ("system:anonymous", (), ("system:unauthenticated",)),
        ("system:anonymous", ("system:unauthenticated",), ("system:unauthenticated",)),
        (
            "system:serviceaccount:shop:web",
            (),
            ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"),
        ),
        ("system:serviceaccount:shop:web", ("devs",), ("devs", "system:authenticated")),
    ],
)
def test_groups_are_completed_as_kube_apiserver_completes_them(
    user: str, groups: tuple[str, ...], complete: tuple[str, ...]
) -> None:
    assert identity(user, groups) == complete


@pytest.mark.parametrize(
    ("text", "fits"), [("alice", True), ("a b", True), ("", False), (" a", False), ("a\x1b", False)]
)
def test_a_name_that_may_go_into_a_header(text: str, fits: bool) -> None:
    assert is_name(text) is fits
