"""Lines of an audit log: read, chosen, few, in order, and fit to show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggctl.core.audit.events import STARTED, Collector, Event, Filter, NoRecord, lines, read_event
from aggctl.core.loglines import parse_moment

GROUP = "hello.example.com"
TIME = "2026-11-28T13:59:21.229849Z"
WRITTEN: dict[str, Any] = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "RequestResponse",
    "auditID": "0f6f7af5",
    "stage": "ResponseComplete",
    "requestURI": "/apis/hello.example.com/v1alpha1/namespaces/default/greetings/hello?pretty=true",
    "verb": "get",
    "user": {"username": "kubernetes-admin", "groups": ["kubeadm:cluster-admins"]},
    "impersonatedUser": {"username": "jane", "groups": ["system:authenticated"]},
    "sourceIPs": ["127.0.0.1"],
    "userAgent": "kubectl/v1.37.2",
    "objectRef": {
        "resource": "greetings",
        "namespace": "default",
        "name": "hello",
        "apiGroup": GROUP,
        "apiVersion": "v1alpha1",
    },
    "responseStatus": {"metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403},
    "requestReceivedTimestamp": TIME,
    "stageTimestamp": "2026-11-28T13:59:21.231504Z",
    "annotations": {"authorization.k8s.io/decision": "forbid"},
}
"""As a kube-apiserver 1.37.2 wrote it, but for its length."""


def line(**changes: Any) -> bytes:
    found = {**WRITTEN, **changes}
    return json.dumps(
        {key: value for key, value in found.items() if value is not None}, separators=(",", ":")
    ).encode()


def event(**changes: Any) -> Event:
    found = read_event(line(**changes))
    assert found
    return found


def at(text: str) -> int:
    found = parse_moment(text)
    assert found is not None
    return found


def collected(*written: bytes | None, most: int = 10, **wanted: Any) -> Collector:
    collector = Collector(Filter(**{"since": 0, **wanted}), most)
    for each in written:
        collector.feed(each)
    return collector


def names(collector: Collector) -> list[str]:
    return [each.name for each in collector.events()]


# --- one record --------------------------------------------------------------------------------------------


def test_a_record_says_who_did_what_with_what_and_how_it_ended() -> None:
    assert event().item() == {
        "time": "2026-11-28T13:59:21.229Z",
        "user": "kubernetes-admin",
        "impersonatedUser": "jane",
        "verb": "get",
        "apiGroup": GROUP,
        "apiVersion": "v1alpha1",
        "resource": "greetings",
        "namespace": "default",
        "name": "hello",
        "path": "",
        "status": 403,
        "stage": "ResponseComplete",
        "level": "RequestResponse",
        "sourceIPs": ["127.0.0.1"],
        "auditID": "0f6f7af5",
    }


def test_a_line_has_time_user_verb_resource_object_status_and_source() -> None:
    (shown,) = lines((event(),))
    assert shown == (
        "2026-11-28T13:59:21.229Z  kubernetes-admin as jane  get  greetings.hello.example.com  default/hello"
        "  403  127.0.0.1"
    )


def test_columns_are_as_wide_as_their_words_up_to_a_limit() -> None:
    first, second, third = lines(
        (event(), event(verb="deletecollection"), event(user={"username": "u" * 90}))
    )
    assert first.index("403") == second.index("403")
    assert third.index("403") > first.index("403")


def test_no_requests_make_no_lines() -> None:
    assert lines(()) == ()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"impersonatedUser": None}, {"who": "kubernetes-admin"}),
        ({"objectRef": {"resource": "pods", "subresource": "log"}}, {"what": "pods/log", "where": "-"}),
        ({"objectRef": {"resource": "a", "subresource": "s", "apiGroup": "b.io"}}, {"what": "a.b.io/s"}),
        ({"objectRef": {"resource": "nodes", "name": "n1"}}, {"what": "nodes", "where": "n1"}),
        ({"objectRef": None, "requestURI": "/readyz?verbose"}, {"what": "/readyz", "path": "/readyz"}),
        ({"stage": STARTED, "responseStatus": {"code": 200}}, {"end": "200 goes on"}),
        ({"responseStatus": None}, {"end": "-"}),
        ({"responseStatus": {"code": True}}, {"end": "-"}),
        ({"sourceIPs": ["1.2.3.4", "5.6.7.8", "127.0.0.1"]}, {"source": "127.0.0.1 for 1.2.3.4,5.6.7.8"}),
        ({"sourceIPs": []}, {"source": "-"}),
        ({"sourceIPs": "127.0.0.1"}, {"source": "-"}),
        ({"user": "kubernetes-admin"}, {"user": ""}),
        ({"verb": 7}, {"verb": ""}),
    ],
)  # fmt: skip
def test_what_is_missing_or_of_another_shape_is_shown_so(changes: Any, shown: dict[str, str]) -> None:
    found = event(**changes)
    assert {key: getattr(found, key) for key in shown} == shown


def test_escapes_of_a_terminal_are_taken_out_and_words_are_bounded() -> None:
    evil = "\x1b[2J\x1b]0;title\x07jane\n2026 \u202eadmin" + "x" * 10_000
    found = event(user={"username": evil}, objectRef={"resource": evil, "name": evil}, sourceIPs=[evil] * 99)
    (shown,) = lines((found,))
    assert shown.isprintable()
    assert "jane 2026" in shown
    assert len(shown) < 3000
    assert len(found.sources) == 8


def test_a_stage_that_says_less_is_passed_over() -> None:
    assert read_event(line(stage="RequestReceived")) is None


@pytest.mark.parametrize(
    "written",
    [
        b"not JSON\n",
        b'{"kind":"Event","stage":"ResponseComplete"',
        b"[]",
        b"7",
        b"\xff\xfe",
        b"[" * 100_000,
        line(kind="Pod"),
        line(requestReceivedTimestamp=None),
        line(requestReceivedTimestamp="yesterday"),
    ],
)
def test_what_is_no_record_is_said_to_be_none(written: bytes) -> None:
    with pytest.raises(NoRecord):
        read_event(written)


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*WRITTEN, "code", "username", "resource"]), inner, max_size=5)
        ),
        max_leaves=12,
    )
)
def test_whatever_json_a_line_holds_it_is_a_request_or_none(found: Any) -> None:
    changed = {**WRITTEN, **found} if isinstance(found, dict) else found
    try:
        read = read_event(json.dumps(changed).encode())
    except NoRecord:
        return
    assert read is None or lines((read,))[0].isprintable()


# --- many --------------------------------------------------------------------------------------------------


def test_requests_come_from_old_to_new_whatever_their_order_in_the_log() -> None:
    later, earlier = line(requestReceivedTimestamp="2026-11-28T14:00:00.000000Z", auditID="b"), line()
    assert [each.identity for each in collected(later, earlier).events()] == ["0f6f7af5", "b"]


def test_of_the_records_of_one_request_the_last_one_counts() -> None:
    begun, ended = line(stage=STARTED), line()
    for written in ((begun, ended), (ended, begun)):
        assert [each.stage for each in collected(*written).events()] == ["ResponseComplete"]


def test_a_request_cannot_be_hidden_behind_another_by_its_audit_id() -> None:
    """A caller chooses the Audit-ID himself, by a header."""
    deed = line(verb="delete", requestReceivedTimestamp="2026-11-28T13:59:21.229850Z")
    assert [each.verb for each in collected(deed, line()).events()] == ["get", "delete"]
    assert len(collected(line(verb="delete"), line()).events()) == 2


def test_of_more_than_are_wanted_the_newest_are_kept_and_the_rest_counted() -> None:
    written = [
        line(auditID=str(n), requestReceivedTimestamp=f"2026-11-28T13:59:{n:02d}.000000Z") for n in range(9)
    ]
    collector = collected(*written, most=3)
    assert [each.identity for each in collector.events()] == ["6", "7", "8"]
    assert collector.passed_over == 6


def test_lines_that_are_no_record_or_too_long_are_counted_and_blank_ones_are_not() -> None:
    collector = collected(b"{", line(), None, b"\n", b'{"kind":"Eve')
    assert (collector.broken, names(collector)) == (3, ["hello"])


def test_records_of_other_stages_are_neither_shown_nor_counted() -> None:
    collector = collected(line(stage="RequestReceived"))
    assert (collector.broken, collector.events()) == (0, ())


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"group": GROUP}, True),
        ({"group": "example.com"}, False),
        ({"group": "other.io"}, False),
        ({"group": GROUP, "version": "v1alpha1"}, True),
        ({"group": GROUP, "version": "v1"}, False),
        ({"user": "jane"}, True),
        ({"user": "kubernetes-admin"}, True),
        ({"user": "jan"}, False),
        ({"verb": "get"}, True),
        ({"verb": "list"}, False),
        ({"since": at(TIME)}, True),
        ({"since": at(TIME) + 1}, False),
        ({"since": at("2026-11-28T14:00:00Z")}, False),
    ],
)
def test_only_what_is_asked_for_is_taken(wanted: dict[str, Any], *, taken: bool) -> None:
    assert bool(collected(line(), **wanted).events()) is taken


def test_old_lines_are_passed_over_without_being_read() -> None:
    old = Filter(at("2026-11-28T14:00:00Z"))
    assert not old.may_hold(line())
    assert old.may_hold(line(requestReceivedTimestamp="2026-11-28T14:00:00.000000Z"))


@pytest.mark.parametrize("time", ["2026-11-28T13:59:21Z", "2026-11-28T13:59:21.229849+02:00", None])
def test_a_line_whose_time_is_written_otherwise_is_read(time: str | None) -> None:
    assert Filter(at("2026-11-28T14:00:00Z")).may_hold(line(requestReceivedTimestamp=time))
