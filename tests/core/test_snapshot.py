"""A Snapshot answers what was looked at, asks for what was not, and never takes "unknown" for an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import SERVER, file

from aggctl.core.plan import stamp
from aggctl.core.questions import (
    AnswerSeen,
    ArgumentsAccepted,
    AskApi,
    AskAs,
    ClockSkew,
    ContainerLogs,
    Dial,
    Existing,
    FileAt,
    FolderAt,
    FolderSeen,
    KeyAt,
    KeySeen,
    LogSeen,
    MayDo,
    ObjectAt,
    Processes,
    ProcessSeen,
    RawAt,
    ReadyAt,
    SecurityLabels,
    StaleApis,
    Unknown,
    WhoSeen,
)
from aggctl.core.snapshot import NotKnown, Snapshot, Unasked

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.questions import Question

ASKED = AskApi("h:1", "a.b.svc", "PEM", "/apis/g/v1", "f")
MAY = MayDo("u", ("g",), "get", "", "configmaps", "kube-system", "c", SERVER)
READINGS: dict[str, tuple[Question, Any, Callable[[Snapshot], Any]]] = {
    "file": (FileAt("/a"), file(b"x"), lambda seen: seen.file("/a")),
    "key": (KeyAt("/a"), KeySeen("f", stamp(b"", 0o600, 0, 0)), lambda seen: seen.key("/a")),
    "folder": (FolderAt("/a"), FolderSeen((), writable=True, uid=0, gid=0), lambda seen: seen.folder("/a")),
    "existing": (Existing(("/a", "/b")), ("/b",), lambda seen: seen.existing(("/a", "/b"))),
    "object": (ObjectAt("/version", SERVER), {"a": 1}, lambda seen: seen.object("/version", SERVER)),
    "ready": (ReadyAt(SERVER), "ok", lambda seen: seen.ready(SERVER)),
    "clock skew": (ClockSkew(SERVER), 1.5, lambda seen: seen.clock_skew(SERVER)),
    "processes": (Processes(6443), (ProcessSeen(1, 2.0, ("a",)),), lambda seen: seen.processes(6443)),
    "complaint": (ArgumentsAccepted(1, ("--a",)), "no", lambda seen: seen.complaint(1, ("--a",))),
    "who": (AskAs(SERVER, "/c", "/k"), WhoSeen(201, "x"), lambda seen: seen.who(SERVER, "/c", "/k")),
    "dial": (Dial("h:1"), "refused", lambda seen: seen.dial("h:1")),
    "direct": (ASKED, AnswerSeen(200), lambda seen: seen.direct(ASKED)),
    "raw": (RawAt("/apis", SERVER), AnswerSeen(503), lambda seen: seen.raw("/apis", SERVER)),
    "may": (MAY, True, lambda seen: seen.may(MAY)),
    "stale APIs": (StaleApis(SERVER), ("g/v1",), lambda seen: seen.stale_apis(SERVER)),
    "labels": (SecurityLabels(("/a",)), ("u:r:t:s0",), lambda seen: seen.labels(("/a",))),
    "logs": (ContainerLogs("n", "p", "c"), (LogSeen(0, 1.0, ("l",)),), lambda seen: seen.logs("n", "p", "c")),
}
EACH = pytest.mark.parametrize(("question", "answer", "read"), READINGS.values(), ids=READINGS)


@EACH
def test_an_answer_is_read_as_it_was_given(
    question: Question, answer: Any, read: Callable[[Snapshot], Any]
) -> None:
    assert read(Snapshot({question: answer})) is answer


@EACH
def test_what_nobody_looked_at_is_asked_for(
    question: Question, answer: Any, read: Callable[[Snapshot], Any]
) -> None:
    with pytest.raises(Unasked) as caught:
        read(Snapshot({FileAt("/another"): answer}))
    assert caught.value.questions == {question}


@EACH
def test_an_answer_that_could_not_be_had_is_never_taken_for_one(
    question: Question, answer: Any, read: Callable[[Snapshot], Any]
) -> None:
    with pytest.raises(NotKnown) as caught:
        read(Snapshot({question: answer}).with_answers({question: Unknown("no rights", "no-rights")}))
    assert (caught.value.question, caught.value.unknown.code) == (question, "no-rights")


def test_several_expected_questions_are_asked_for_at_once() -> None:
    with pytest.raises(Unasked) as caught:
        Snapshot({FileAt("/a"): None}).expect(FileAt("/a"), FileAt("/b"), KeyAt("/c"))
    assert caught.value.questions == {FileAt("/b"), KeyAt("/c")}


def test_what_was_expected_and_is_there_is_not_asked_for_again() -> None:
    Snapshot({FileAt("/a"): None}).expect(FileAt("/a"))


def test_a_snapshot_stays_as_it_was_when_a_larger_one_is_made_of_it() -> None:
    small = Snapshot()
    small.with_answers({FileAt("/a"): None})
    with pytest.raises(Unasked):
        small.file("/a")


def test_all_that_was_looked_at_can_be_read_off_a_snapshot() -> None:
    silent = Unknown("refused")
    assert Snapshot({FileAt("/a"): None}).with_answers({KeyAt("/b"): silent}).answers == {
        FileAt("/a"): None,
        KeyAt("/b"): silent,
    }


def test_the_reason_for_no_answer_can_be_read_without_an_exception() -> None:
    silent = Snapshot({ReadyAt(SERVER): Unknown("refused"), ContainerLogs("n", "p", "c"): ()})
    reason = silent.unknown_ready(SERVER)
    assert reason is not None
    assert reason.reason == "refused"
    assert silent.unknown_logs("n", "p", "c") is None


def test_the_content_of_a_file_does_not_show_in_a_traceback() -> None:
    assert "s3cret" not in repr(file(b"s3cret"))
