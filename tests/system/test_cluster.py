"""Requests to a kube-apiserver: what it answers, what it refuses, and what is no answer at all."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.https import Https, authority, https, leaf

from aggctl.core.snapshot import AskAs, ClockSkew, ObjectAt, ReadyAt, Unknown, WhoSeen
from aggctl.system import cluster as cluster_module
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.kubeconfig import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from aggctl.core.pki import KeyPair

PATH = "/api/v1/namespaces/kube-system/configmaps/x"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture
def server() -> Iterator[Https]:
    with https() as running:
        yield running


def ask(server: Https, root: Path, *, timeout: float = 5.0, **more: Any) -> Cluster:
    options = {"authority": authority("kubernetes").certificate, **more}
    return Cluster(lambda: Credentials("the test", server.address, **options), Files(str(root)), timeout)


def reason(answer: Any, code: str) -> str:
    assert isinstance(answer, Unknown), answer
    assert answer.code == code
    return answer.reason


def test_an_object_is_its_json(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 200, {"kind": "ConfigMap", "data": {"a": "b"}})
    found = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert found == {"kind": "ConfigMap", "data": {"a": "b"}}


def test_a_token_is_shown_to_the_server_and_to_nobody_else(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 401, {"message": "Unauthorized"})
    cluster = ask(server, tmp_path, token="very-secret")  # noqa: S106 -- a test's
    said = reason(cluster.look(ObjectAt(PATH, server.address)), "kubeconfig-not-accepted")
    assert server.asked[0][2]["Authorization"] == "Bearer very-secret"
    assert "very-secret" not in said
    assert "very-secret" not in repr(cluster.credentials)


def test_404_is_no_object(server: Https, tmp_path: Path) -> None:
    assert ask(server, tmp_path).look(ObjectAt(PATH, server.address)) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "kubeconfig-not-accepted"),
        (403, "no-rights-in-cluster"),
        (500, "apiserver-not-ready"),
        (503, "apiserver-not-ready"),
        (302, "apiserver-not-ready"),
    ],
)
def test_a_refusal_is_unknown_with_its_cause_and_the_servers_words(
    server: Https, tmp_path: Path, status: int, code: str
) -> None:
    server.says(PATH, status, {"kind": "Status", "message": "the words of the server"})
    answer = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert "the words of the server" in reason(answer, code)


@pytest.mark.parametrize("body", [b'{"kind": "Status", "status": "Failure"}', b"[]", b'"text"', b"3"])
def test_200_with_something_else_than_an_object_is_unknown(
    server: Https, tmp_path: Path, body: bytes
) -> None:
    server.says(PATH, 200, body)
    reason(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), "answer-not-understood")


@pytest.mark.parametrize("body", [b'{"kind": "ConfigMap", "da', b"", b"<html>", b"\xff\xfe"])
def test_half_a_body_is_unknown(server: Https, tmp_path: Path, body: bytes) -> None:
    server.says(PATH, 200, body)
    assert isinstance(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), Unknown)


def test_a_body_without_end_is_cut_off(
    server: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "BODY_LIMIT", 1000)
    server.says(PATH, 200, {"kind": "ConfigMap", "data": {"a": "b" * 1000}})
    answer = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert isinstance(answer, Unknown)
    assert "longer than" in answer.reason


def test_escape_sequences_of_a_server_never_reach_a_terminal(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 403, {"message": "\x1b]0;owned\x07red \x1b[31malert\x1b[0m\r\n\x9b2J\u202e"})
    said = reason(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), "no-rights-in-cluster")
    assert said.endswith("red alert 2J")
    assert said.isprintable()


def test_a_server_that_hangs_is_given_up(server: Https, tmp_path: Path) -> None:
    server.hang = threading.Event()
    answer = ask(server, tmp_path, timeout=0.3).look(ObjectAt(PATH, server.address))
    assert "does not answer" in reason(answer, "apiserver-not-reachable")


def test_a_closed_port_is_unknown_with_the_systems_words(tmp_path: Path) -> None:
    with https() as gone:
        pass
    answer = ask(gone, tmp_path).look(ReadyAt(gone.address))
    assert "refused" in reason(answer, "apiserver-not-reachable")


# --- who the server is ------------------------------------------------------------------------------------


def test_a_server_of_another_ca_is_not_trusted(server: Https, tmp_path: Path) -> None:
    cluster = ask(server, tmp_path, authority=authority("another").certificate)
    reason(cluster.look(ObjectAt(PATH, server.address)), "apiserver-not-trusted")
    assert server.asked == []


def test_a_server_under_another_name_is_not_trusted(tmp_path: Path) -> None:
    with https("10.96.0.1", "kubernetes") as server:
        reason(ask(server, tmp_path).look(ReadyAt(server.address)), "apiserver-not-trusted")
        assert server.asked == []


def test_a_tls_server_name_of_the_kubeconfig_is_the_name_that_counts(tmp_path: Path) -> None:
    with https("kubernetes") as server:
        server.says("/readyz", 200, b"ok")
        assert ask(server, tmp_path, server_name="kubernetes").look(ReadyAt(server.address)) == "ok"
        wrong = ask(server, tmp_path, server_name="other").look(ReadyAt(server.address))
        reason(wrong, "apiserver-not-trusted")


def test_a_server_that_is_not_to_be_verified_is_not(server: Https, tmp_path: Path) -> None:
    server.says("/readyz", 200, b"ok")
    cluster = ask(server, tmp_path, authority=authority("another").certificate, insecure=True)
    assert cluster.look(ReadyAt(server.address)) == "ok"


# --- health, clock ----------------------------------------------------------------------------------------


def test_ready_is_ok_and_anything_else_is_quoted(server: Https, tmp_path: Path) -> None:
    cluster = ask(server, tmp_path)
    server.says("/readyz", 200, b"ok")
    assert cluster.look(ReadyAt(server.address)) == "ok"
    server.says("/readyz", 500, b"[+]ping ok\n[-]etcd failed\nreadyz check failed")
    said = cluster.look(ReadyAt(server.address))
    assert said.startswith("HTTP 500")
    assert "etcd" in said


def test_the_clock_skew_is_that_of_the_date_header(server: Https, tmp_path: Path) -> None:
    server.says("/version", 200, {})
    skew = ask(server, tmp_path).look(ClockSkew(server.address))
    assert abs(skew) < 60


# --- identities -------------------------------------------------------------------------------------------


def give(root: Path, pair: KeyPair) -> AskAs:
    (root / "pki").mkdir(exist_ok=True)
    (root / "pki/leaf.crt").write_bytes(pair.certificate)
    (root / "pki/leaf.key").write_bytes(pair.key)
    return AskAs("", "/pki/leaf.crt", "/pki/leaf.key")


def who(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """As kube-apiserver: the name of the header where the certificate is trusted, else 401."""
    if not handler.connection.getpeercert():  # it is an SSLSocket
        return 401, b'{"kind": "Status"}'
    name = handler.headers["X-Remote-User"]
    return 201, b'{"status": {"userInfo": {"username": "%s"}}}' % name.encode()


def test_an_identity_of_the_front_proxy_ca_is_accepted_and_another_is_not(tmp_path: Path) -> None:
    proxy = authority("front-proxy-ca")
    with https(clients=proxy) as server:
        server.answers[REVIEW] = who
        cluster = ask(server, tmp_path)
        question = give(tmp_path, leaf(proxy, "front-proxy-client"))
        question = AskAs(server.address, question.certificate, question.key)
        assert cluster.look(question) == WhoSeen(201, "aggctl-probe")
        assert server.asked[0][2]["X-Remote-Group"] == "system:authenticated"
        give(tmp_path, leaf(authority("another"), "front-proxy-client"))
        answer = cluster.look(question)
        assert isinstance(answer, Unknown) or answer == WhoSeen(401, "")


def test_an_old_server_is_asked_by_an_access_review(tmp_path: Path) -> None:
    proxy = authority("front-proxy-ca")
    with https(clients=proxy) as server:
        server.says(ACCESS, 201, {"status": {"allowed": True}})
        question = give(tmp_path, leaf(proxy, "front-proxy-client"))
        answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
        assert answer.status == 201
        assert [path for _, path, _ in server.asked] == [REVIEW, ACCESS]


@pytest.mark.parametrize("body", [b"[]", b"half {", b'{"status": 3}', b'{"status": {"userInfo": []}}'])
def test_an_odd_answer_names_nobody(server: Https, tmp_path: Path, body: bytes) -> None:
    server.says(REVIEW, 201, body)
    question = give(tmp_path, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
    assert answer == WhoSeen(201, "")


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_pair_that_is_missing_or_damaged_is_unknown(
    server: Https, tmp_path: Path, content: bytes | None
) -> None:
    question = give(tmp_path, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    key = tmp_path / "pki/leaf.key"
    key.unlink() if content is None else key.write_bytes(content)
    answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
    assert isinstance(answer, Unknown)
    assert errno.errorcode[errno.ENOENT] not in answer.reason
    assert server.asked == []


def test_a_key_is_read_below_the_root_only(server: Https, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    give(outside, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    (root / "pki").symlink_to(outside / "pki")
    answer = ask(server, root).look(AskAs(server.address, "/pki/leaf.crt", "/pki/leaf.key"))
    assert isinstance(answer, Unknown)
    assert server.asked == []
