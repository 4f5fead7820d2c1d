"""Words of kube-apiservers and servers: what they stand for, and that no words at all are too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.doctor.codes import HOPS
from aggctl.core.doctor.pods import _ERRORS_BY_LOG
from aggctl.core.doctor.reach import _FIXES as REACH_FIXES
from aggctl.core.doctor.reach import _MESSAGES as REACH_MESSAGES
from aggctl.core.doctor.signs import (
    _LOG_SIGNS,
    _SIGNS,
    DISCOVERY,
    IDENTITY,
    REACH,
    TLS,
    address_in,
    read_log,
    read_sign,
    sign_of_status,
)
from aggctl.core.doctor.tls import _FIXES as TLS_FIXES
from aggctl.core.doctor.tls import _MESSAGES as TLS_MESSAGES

URL = "https://10.96.0.44:443/apis/things.example/v1"


def meant(words: str) -> tuple[str, str] | None:
    sign = read_sign(words)
    return (sign.hop, sign.code) if sign else None


@pytest.mark.parametrize(
    ("words", "hop", "code"),
    [
        ("error trying to reach service: EOF", REACH, "connection-reset"),
        ("error trying to reach service: unexpected EOF", REACH, "connection-reset"),
        ("write tcp 10.0.0.11:1->10.1.0.5:8443: write: broken pipe", REACH, "connection-reset"),
        ("dial tcp 10.1.0.5:8443: connect: host is unreachable", REACH, "no-route"),
        ("http2: client connection force closed via ClientConn.Close", REACH, "connection-lost"),
        ("Temporary failure in name resolution", REACH, "name-not-resolved"),
        ("No address associated with hostname", REACH, "name-not-resolved"),
        (f'Get "{URL}": Proxy Authentication Required', REACH, "proxy-environment"),
        ("error trying to reach service: Bad Gateway", REACH, "proxy-environment"),
        (f"Get {URL}: Service Unavailable", REACH, "proxy-environment"),
        ("tls: oversized record received with length 20527", TLS, "plain-http"),
        ("tls: no supported versions satisfy MinVersion and MaxVersion", TLS, "tls-too-old"),
        ("x509: cannot verify signature: insecure algorithm MD5-RSA", TLS, "serving-certificate-sha1"),
        ("x509: cannot validate certificate for 10.1.0.5 because it doesn't contain any IP SANs", TLS,
         "serving-certificate-wrong-name"),
        ("remote error: tls: unrecognized name", TLS, "no-tls-handshake"),
        ("remote error: tls: expired certificate", IDENTITY, "identity-refused"),
        ("remote error: tls: revoked certificate", IDENTITY, "identity-refused"),
        ("remote error: tls: access denied", IDENTITY, "identity-refused"),
        ("http: TLS handshake error from 10.0.0.11:1: tls: bad certificate", IDENTITY, "identity-refused"),
        ("", None, None),
        ("all checks passed", None, None),
        ("the request is Forbidden", None, None),
    ],
)  # fmt: skip
def test_words_of_go_stand_for_a_cause(words: str, hop: str | None, code: str | None) -> None:
    assert meant(words) == ((hop, code) if hop else None)


def test_a_refusal_of_the_proxy_is_none_of_the_server() -> None:
    assert meant(f"bad status from {URL}: 403") == (IDENTITY, "identity-refused")
    assert meant(f'Get "{URL}": Forbidden') == (REACH, "proxy-environment")


@pytest.mark.parametrize("upper", [str.upper, str.lower])
def test_capitals_make_no_difference(upper: object) -> None:
    assert callable(upper)
    assert meant(upper("dial tcp 10.1.0.5:8443: connect: Connection Refused")) == (
        REACH,
        "connection-refused",
    )


@pytest.mark.parametrize(
    ("status", "words", "hop", "code"),
    [
        (401, "Unauthorized", IDENTITY, "identity-refused"),
        (401, 'User "system:anonymous"', IDENTITY, "identity-not-taken"),
        (403, "", IDENTITY, "identity-refused"),
        (403, 'User "system:anonymous" cannot get', IDENTITY, "identity-not-taken"),
        (403, 'User "system:kube-aggregator" cannot get', IDENTITY, "identity-refused"),
        (403, 'User "aggctl-probe" cannot get', IDENTITY, "identity-refused"),
        (403, 'User "front-proxy-client" cannot get', IDENTITY, "taken-for-ordinary-client"),
        (404, "404 page not found", DISCOVERY, "version-not-served"),
        (429, "", DISCOVERY, "server-throttles"),
        (400, "", DISCOVERY, "server-fails"),
        (502, "", DISCOVERY, "server-fails"),
    ],
)
def test_a_status_stands_for_a_cause(status: int, words: str, hop: str, code: str) -> None:
    sign = sign_of_status(status, words)
    assert (sign.hop, sign.code, sign.status, sign.words) == (hop, code, status, words)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (f'Get "{URL}": dial tcp 10.1.0.5:8443: i/o timeout', "10.1.0.5:8443"),
        (f"timed out waiting for {URL}", "10.96.0.44:443"),
        ("dial tcp [fd00::5]:8443: connect: network is unreachable", "[fd00::5]:8443"),
        ("dial tcp things.example.com:443: connect: refused", "things.example.com:443"),
        ("dial tcp: lookup things.example.com on 10.0.0.2:53: no such host", ""),
        ("nothing", ""),
    ],
)
def test_the_address_is_the_one_that_was_dialled(words: str, address: str) -> None:
    assert address_in(words) == address


def test_of_a_log_the_newest_line_that_says_something_counts() -> None:
    old, new = "bind: address already in use", "listen tcp :443: bind: permission denied"
    assert read_log([old, new, "bye"]) == ("privileged-port", new)
    assert read_log([new, old]) == ("port-taken", old)


def test_a_log_without_a_known_line_says_nothing() -> None:
    assert read_log(["started", "serving on [::]:8443"]) is None
    assert read_log([]) is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("cluster doesn't provide client-ca-file in configmap/extension-apiserver-authentication",
         "client-ca-not-published"),
        ('missing content for CA bundle "client-ca::kube-system::requestheader-client-ca-file"',
         "layer-off"),
        ("tokenreviews.authentication.k8s.io is forbidden: User", "auth-delegator-missing"),
        ("failed to list *v1alpha1.PriorityLevelConfiguration: the server could not find",
         "flow-schema-version-gone"),
        ("[-]informer-sync failed: reason withheld", "informers-not-synced"),
        ("[-]etcd failed: reason withheld", "backing-store-down"),
        ('dial: failed to dial "10.0.0.9:2379"', "backing-store-down"),
    ],
)  # fmt: skip
def test_a_line_of_a_server_leads_to_a_cause(line: str, code: str) -> None:
    assert read_log([line]) == (code, line)


# --- what holds of all words -----------------------------------------------------------------------------

PIECES = st.sampled_from([
    "dial tcp ", "https://", "10.1.0.5:8443", "[fd00::5]:443", ": connect: ", "EOF", "remote error: tls: ",
    "bad status from ", ": 503", ": 999999", 'Get "https://', '": Forbidden', "x509: ", "certificate",
    'User "', '"', "listen", ":1: bind: permission denied", "\n", "\x00", "\u202e", "…", "[", "]", "(", "\\",
])  # fmt: skip
WORDS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))


@given(WORDS)
def test_any_words_stand_for_something_known_or_for_nothing(words: str) -> None:
    sign = read_sign(words)
    if sign is not None:
        assert sign.words == words
        assert sign.address in words
        assert 0 <= sign.status <= 999


@given(WORDS, st.integers(min_value=400, max_value=599))
def test_any_words_beside_a_status_leave_it_a_cause(words: str, status: int) -> None:
    sign = sign_of_status(status, words)
    assert sign.code in HOPS[sign.hop]
    assert sign.status == status


@given(st.lists(WORDS))
def test_any_log_leads_to_one_of_its_own_lines_or_nowhere(lines: list[str]) -> None:
    found = read_log(lines)
    assert found is None or found[1] in lines


@pytest.mark.parametrize(
    "words", ["dial tcp " * 5000, "https://a:1" * 3000, "remote error: tls: a " * 3000, 'User "' * 5000]
)
def test_long_words_of_an_enemy_are_read_like_others(words: str) -> None:
    read_sign(words)
    sign_of_status(403, words)


# --- every sign has its words ----------------------------------------------------------------------------


def test_every_cause_on_the_way_has_its_message_and_its_fix() -> None:
    sharper = {
        "no-route": {"no-route-to-service", "no-route-to-endpoint", "address-family-mismatch"},
        "endpoint-timeout": {"endpoint-timeout", "service-address-timeout"},
    }
    known = {one for hop, code, _ in _SIGNS if hop == REACH for one in sharper.get(code, {code})}
    assert known == set(REACH_MESSAGES) == set(REACH_FIXES)


def test_every_cause_in_tls_has_its_message_and_its_fix() -> None:
    known = {code for hop, code, _ in _SIGNS if hop == TLS}
    assert known <= set(TLS_MESSAGES)
    assert set(TLS_MESSAGES) == set(TLS_FIXES)


def test_every_cause_that_a_log_tells_has_its_message_and_its_fix() -> None:
    assert {code for code, _ in _LOG_SIGNS} == set(_ERRORS_BY_LOG)
