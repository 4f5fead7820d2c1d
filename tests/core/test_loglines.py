"""Lines of logs: read in every format that a node has, chosen, in order, few."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.loglines import (
    JOINED_LIMIT,
    LINE_LIMIT,
    NANO,
    PART_LIMIT,
    Choice,
    Interests,
    Joiner,
    Line,
    merged,
    moment,
    parse_moment,
    read_text,
    services_named,
    shown,
    time_of,
)

AT = 1_795_850_275 * NANO + 42_975_110
TIME = "2026-11-28T07:17:55.042975110Z"
UNFIT = ("Cc", "Cf", "Cs", "Zl", "Zp")
API, GROUP = "v1alpha1.hello.example.com", "hello.example.com"
KLOG = "E1128 07:17:55.009508   17306 remote_available_controller.go:471] "


def entries(*raw: str, cri: bool = True) -> list[Line]:
    joiner = Joiner("a", 5, cri=cri)
    return [line for each in raw for line in joiner.feed(each)] + list(joiner.rest())


def texts(*raw: str, cri: bool = True) -> list[str]:
    return [line.text for line in entries(*raw, cri=cri)]


def cri(text: str, tag: str = "F", time: str = TIME, stream: str = "stderr") -> str:
    return f"{time} {stream} {tag} {text}"


# --- times -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (TIME, AT),
        ("2026-11-28T08:17:55.04297511+01:00", AT),
        ("2026-11-28T07:17:55Z", AT - 42_975_110),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("2026-11-28T07:17:55.0429751109999Z", AT),
        ("2026-13-28T07:17:55Z", None),
        ("2026-11-28 07:17:55", None),
        ("", None),
    ],
)
def test_a_time_is_read_to_the_nanosecond_in_any_zone(text: str, at: int | None) -> None:
    assert parse_moment(text) == at


def test_a_time_is_shown_in_utc_with_milliseconds() -> None:
    assert moment(AT) == "2026-11-28T07:17:55.042Z"


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_what_is_shown_is_read_as_the_same_millisecond(milliseconds: int) -> None:
    at = milliseconds * 1_000_000
    assert parse_moment(moment(at)) == at


def test_the_time_of_a_line_is_found_in_each_format() -> None:
    docker = json.dumps({"log": "x\n", "stream": "stderr", "time": TIME})
    assert [time_of(each) for each in (cri("x"), f"{TIME} x", docker, "x", "{}")] == [AT, AT, AT, None, None]


# --- formats ---------------------------------------------------------------------------------------------


def test_a_line_of_the_cri_has_its_time_and_its_text() -> None:
    assert entries(cri("hello")) == [Line(AT, "a", "", "hello")]


def test_a_line_of_the_api_has_its_time_and_its_text() -> None:
    assert entries(f"{TIME} hello stdout F x", cri=False) == [Line(AT, "a", "", "hello stdout F x")]


def test_a_line_of_docker_has_its_time_and_its_text() -> None:
    part = json.dumps({"log": "hel", "stream": "stderr", "time": TIME})
    rest = json.dumps({"log": "lo\n", "stream": "stderr", "time": TIME})
    assert entries(part, rest) == [Line(AT, "a", "", "hello")]


def test_parts_of_a_line_become_one_line_for_each_stream() -> None:
    raw = (cri("one ", "P"), cri("other ", "P", stream="stdout"), cri("two"), cri("three", stream="stdout"))
    assert texts(*raw) == ["one two", "other three"]


def test_parts_without_an_end_are_bounded() -> None:
    joiner = Joiner("a", 5, cri=True)
    for _ in range(20):
        assert not list(joiner.feed(cri("x" * 16_384, "P")))
    assert sum(map(len, joiner._parts.values())) == PART_LIMIT


def test_a_line_without_a_time_has_that_of_the_one_before() -> None:
    assert [line.at for line in entries("lost", cri("x"), "words", cri=True)] == [5, AT, AT]
    assert [line.at for line in entries("unable to retrieve container logs", cri=False)] == [5]


def test_indented_lines_belong_to_the_one_above() -> None:
    raw = (
        cri(f'{KLOG}"Unhandled Error" err=<'),
        cri("\tError updating APIService"),
        cri(""),
        cri(' > logger="x"'),
        cri("next"),
    )
    first, second = texts(*raw)
    assert first.endswith('"Unhandled Error" err=< Error updating APIService > logger="x"')
    assert second == "next"


def test_what_belongs_to_a_line_is_bounded() -> None:
    joiner = Joiner("a", 5, cri=True)
    for each in (cri("x"), *[cri(" y" * 1000)] * 50):
        assert not list(joiner.feed(each))
    assert joiner._entry is not None
    assert len(joiner._entry[1]) < JOINED_LIMIT + 2100


def test_a_line_without_words_is_none() -> None:
    assert entries(cri(""), cri("\x1b[0m")) == []
    assert list(Joiner("a", 5, cri=True).rest()) == []


# --- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        (f'{KLOG}"x"', "E", 'remote_available_controller.go:471] "x"'),
        ("I1128 07:17:55.009508       1 a.go:1] x", "I", "a.go:1] x"),
        ('{"ts":1.5,"caller":"a.go:1","msg":"x","v":2,"n":1}', "I", "a.go:1] x v=2 n=1"),
        ('{"ts":1.5,"caller":"a.go:1","msg":"x","err":"é"}', "E", 'a.go:1] x err="é"'),
        ('{"ts":1.5,"msg":"x","v":0,"err":"told calmly"}', "I", 'x v=0 err="told calmly"'),
        ('{"level":"warn","time":"t","message":"x"}', "W", "x"),
        ('{"severity":"FATAL","msg":"x"}', "F", "x"),
        ('{"level":"strange","msg":"x"}', "I", "x"),
        ('{"not json', "", '{"not json'),
        ("[1]", "", "[1]"),
        ("{}", "", "{}"),
        ("2026-11-28T07:17:55.328048Z connection failed", "", "connection failed"),
        ("2026-11-28 07:17:55,328 ERROR it broke", "E", "ERROR it broke"),
        ("[2026/11/28 07:17:55] it broke", "", "it broke"),
        ("12 monkeys", "", "12 monkeys"),
        ("time=now level=error msg=x", "E", "time=now level=error msg=x"),
        ("WARNING: old", "W", "WARNING: old"),
        ("INFO then an ERROR", "I", "INFO then an ERROR"),
        ("An error that is prose", "", "An error that is prose"),
        ("level=odd", "", "level=odd"),
        ("\x1b[31mred\x1b[0m \u202eab", "", "red ab"),
        ("Authorization: Bearer abcdef123456", "", "Authorization: Bearer …"),
        ('{"msg":"x","token":"abc"}', "I", 'x token="…"'),
    ],
)
def test_level_and_words_are_read_from_what_servers_write(text: str, level: str, words: str) -> None:
    assert read_text(text) == (level, words)


def test_a_deep_object_is_no_trouble() -> None:
    assert read_text("{" + '"a":{' * 100_000)[0] == ""


@given(st.text(max_size=200))
def test_whatever_a_container_says_is_one_line_that_cannot_act(said: str) -> None:
    for line in entries(cri(said)):
        assert len(line.text) <= LINE_LIMIT
        assert not [each for each in line.text if unicodedata.category(each) in UNFIT]


# --- choosing --------------------------------------------------------------------------------------------

OURS = Interests((API,), (("default", "hello"),), ("10.0.0.5:8443",), ("v1beta1.custom.metrics.k8s.io",))

OF_APISERVER = {
    'remote_available_controller.go:471] "x"': True,
    "cache.go:39] Caches are synced for RemoteAvailability controller": True,
    f"handler.go:309] Adding GroupVersion {GROUP} v1alpha1 to ResourceManager": True,
    f'controller.go:113] loading OpenAPI spec for "{API}" failed': True,
    f"controller.go:113] {API}": True,
    "dial https://hello.default.svc:443/apis: refused": True,
    "dial https://hello.default.svc.cluster.local:443/apis: refused": True,
    "error resolving default/hello: service not found": True,
    "dial tcp 10.0.0.5:8443: refused": True,
    "handler_proxy.go:100] no RequestInfo found in the context": True,
    "authentication.go:70] x509: certificate has expired": True,
    "x509: subject with cn=x is not in the allowed list": True,
    'dynamic_cafile_content.go:161] "Starting controller"': True,
    "writing updated authentication info to kube-system configmaps/extension-apiserver-authentication": True,
    "error trying to reach service: x": True,
    "alloc.go:329] allocated clusterIPs": False,
    f"an{API} other": False,
    f"other.{GROUP}": False,
    "shello.default.svc": False,
    "110.0.0.5:8443": False,
    "10.0.0.5:84430": False,
    "v1beta1.custom.metrics.k8s.io failed with: x509: unknown authority (available_controller)": False,
    f"v1beta1.custom.metrics.k8s.io and {API}": True,
}

OF_EXTENSION = {
    ("W", "x"): True,
    ("E", "x"): True,
    ("F", "x"): True,
    ("I", "x"): False,
    ("", "x"): False,
    ("I", "an error that is told calmly"): False,
    ("", "connection failed"): True,
    ("", "ValueError: x"): True,
    ("I", "Unable to authenticate the request"): True,
    ("I", "http: TLS handshake error from 10.0.0.1:1: EOF"): True,
    ("", "panic: runtime error"): True,
    ("I", "failed to list *v1.ConfigMap"): True,
    ("I", "x is forbidden"): True,
    ("I", "requestheader-client-ca-file"): True,
}


@pytest.mark.parametrize(("text", "matters"), OF_APISERVER.items())
def test_of_kube_apiserver_counts_what_is_about_the_layer_or_the_api(text: str, matters: bool) -> None:
    assert Choice(OURS).matters(Line(1, "a", "I", text), of_apiserver=True) is matters


@pytest.mark.parametrize(("said", "matters"), OF_EXTENSION.items())
def test_of_an_extension_server_counts_what_tells_of_trouble(said: tuple[str, str], matters: bool) -> None:
    assert Choice(OURS).matters(Line(1, "a", *said), of_apiserver=False) is matters


def test_without_any_name_the_layer_alone_counts() -> None:
    choice = Choice(Interests())
    assert choice.matters(Line(1, "a", "", "APIService x"), of_apiserver=True)
    assert not choice.matters(Line(1, "a", "", API), of_apiserver=True)


def test_the_services_that_were_dialled_are_found_once() -> None:
    lines = [
        Line(1, "a", "", 'Get "https://hello.shop.svc:443/apis" and https://x.y.svc/'),
        Line(
            2,
            "a",
            "",
            "valid for a, not hello.shop.svc.cluster.local https://not.svc https://a.b.svcs x.a.b.svc",
        ),
    ]
    assert services_named(lines) == (("shop", "hello"), ("y", "x"))


# --- order and number ------------------------------------------------------------------------------------


def test_lines_of_all_sources_are_in_order_of_time() -> None:
    lines = [Line(3, "a", "", "3"), Line(1, "a", "", "1"), Line(2, "b", "", "2"), Line(1, "b", "", "1")]
    assert [(line.at, line.source) for line in merged(lines)] == [(1, "a"), (1, "b"), (2, "b"), (3, "a")]


def test_what_one_source_says_again_in_a_row_stands_once_whatever_others_say_between() -> None:
    lines = [
        Line(1, "a", "", "x"),
        Line(2, "b", "", "x"),
        Line(3, "a", "", "x"),
        Line(4, "a", "", "y"),
        Line(5, "a", "", "x"),
    ]
    assert merged(lines) == (
        Line(1, "a", "", "x", 2, 3),
        Line(2, "b", "", "x"),
        Line(4, "a", "", "y"),
        Line(5, "a", "", "x"),
    )


def test_lines_of_one_moment_stay_in_their_order() -> None:
    lines = [Line(1, "a", "", text) for text in "zyxw"]
    assert [line.text for line in merged(lines)] == list("zyxw")


@given(
    st.lists(st.builds(Line, st.integers(0, 9), st.sampled_from("ab"), st.just(""), st.sampled_from("xy")))
)
def test_no_line_is_lost_when_they_are_put_together(lines: list[Line]) -> None:
    together = merged(lines)
    assert sum(line.times for line in together) == len(lines)
    assert [line.at for line in together] == sorted(line.at for line in together)
    assert merged(together) == together


def test_people_see_time_source_level_words_and_how_often() -> None:
    assert shown(Line(AT, "a", "E", "x"), 3) == "2026-11-28T07:17:55.042Z a   E x"
    assert shown(Line(AT, "a", "", "x")) == "2026-11-28T07:17:55.042Z a x"
    assert shown(Line(AT, "a", "", "x", 7, AT + NANO)).endswith(" x   (7 times, until 07:17:56.042Z)")


def test_scripts_get_time_source_line_and_number() -> None:
    assert Line(AT, "a", "E", "x", 2, AT).item() == {
        "time": "2026-11-28T07:17:55.042Z",
        "source": "a",
        "line": "x",
        "times": 2,
    }
