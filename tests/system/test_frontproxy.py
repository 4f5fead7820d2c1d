"""An extension server is asked as kube-apiserver would: real TLS, and nothing but a refusal is a refusal."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
from support.https import Https, authority, https, leaf

from aggctl.core.questions import PROBE_USER, AnswerSeen, AskApi, Unknown
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.frontproxy import REFUSED, ask_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from aggctl.core.pki import KeyPair

NAME, PATH = "things.shop.svc", "/apis/things.example/v1"
CA, OTHER_CA = authority("things-ca"), authority("other-things-ca")
PROXY_CA, FOREIGN_CA = authority("front-proxy-ca"), authority("another-front-proxy-ca")
TRUSTED, FOREIGN = (leaf(each, "front-proxy-client") for each in (PROXY_CA, FOREIGN_CA))
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
LONG, SHORT = 10.0, 0.3


def question(server: Https, *, name: str = NAME, ca: KeyPair | None = CA, identity: str = "") -> AskApi:
    address = server.address.removeprefix("https://")
    return AskApi(address, name, ca.certificate.decode() if ca else "", PATH, identity)


def ask(server: Https, pair: KeyPair | None = TRUSTED, timeout: float = LONG) -> int | Unknown:
    return status_of(ask_api(question(server), pair, timeout))


def status_of(answer: AnswerSeen | Unknown) -> int | Unknown:
    return answer if isinstance(answer, Unknown) else answer.status


@pytest.fixture(params=VERSIONS)
def things(request: pytest.FixtureRequest) -> Iterator[Https]:
    """The extension server, by either version of TLS; it knows the front-proxy CA."""
    serving = leaf(CA, "things", "server", NAME)
    with https(clients=PROXY_CA, pair=serving, version=VERSIONS[request.param]) as server:
        server.says(PATH, 200, {})
        yield server


# --- taken or refused -------------------------------------------------------------------------------------


def test_a_trusted_certificate_gets_the_status_of_the_answer(things: Https) -> None:
    assert ask(things) == 200


def test_a_certificate_of_another_ca_is_refused_however_the_server_says_so(things: Https) -> None:
    """In the handshake under TLS 1.2; by an alert or a closed connection at the first read under 1.3."""
    assert ask(things, FOREIGN) == REFUSED
    assert ask(things, TRUSTED) == 200


@pytest.mark.parametrize("status", [401, 403, 503], ids=str)
def test_any_status_is_passed_on(things: Https, status: int) -> None:
    things.says(PATH, status, {"kind": "Status"})
    assert ask(things) == status


def test_without_a_pair_no_certificate_is_shown(things: Https) -> None:
    assert ask(things, None) == 200


def test_it_asks_as_the_harmless_user_and_never_as_a_master(things: Https) -> None:
    ask(things)
    (method, path, headers) = things.asked[0]
    assert (method, path) == ("GET", PATH)
    assert headers["X-Remote-User"] == PROBE_USER
    assert headers["X-Remote-Group"] == "system:authenticated"
    assert "masters" not in str(headers)


def test_each_question_dials_afresh(things: Https) -> None:
    ports: set[int] = set()

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        ports.add(request.client_address[1])
        return 200, b"{}"

    things.answers[PATH] = answer
    ask(things)
    ask(things)
    assert len(ports) == 2


# --- no answer is no refusal ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ca", "reason"),
    [
        ("other.shop.svc", CA, "does not verify as other.shop.svc"),
        (NAME, OTHER_CA, f"does not verify as {NAME}"),
    ],
    ids=["another name", "another CA"],
)
def test_a_server_that_does_not_verify_is_not_asked(
    things: Https, name: str, ca: KeyPair, reason: str
) -> None:
    found = ask_api(question(things, name=name, ca=ca), TRUSTED, LONG)
    assert isinstance(found, Unknown)
    assert reason in found.reason
    assert things.asked == []


def test_a_name_that_is_the_cn_alone_does_not_verify_as_for_kube_apiserver() -> None:
    with https(pair=leaf(CA, NAME, "server")) as server:
        found = ask(server)
    assert isinstance(found, Unknown)
    assert f"does not verify as {NAME}" in found.reason


def test_without_a_ca_the_server_is_not_verified_as_its_apiservice_says(things: Https) -> None:
    assert status_of(ask_api(question(things, name="other.shop.svc", ca=None), TRUSTED, LONG)) == 200


def test_a_server_that_is_silent_after_the_handshake_is_not_known(things: Https) -> None:
    things.hang = threading.Event()
    found = ask(things, timeout=SHORT)
    assert isinstance(found, Unknown)
    assert "does not answer within 0.3 s" in found.reason


def test_a_port_that_says_nothing_at_all_is_not_known() -> None:
    """It accepts, as the kernel does for a stopped process, and sends no byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = Https(f"https://127.0.0.1:{listening.getsockname()[1]}")
        found = ask(silent, timeout=SHORT)
    assert isinstance(found, Unknown)
    assert "does not answer within" in found.reason


def test_an_address_where_nobody_listens_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gone = Https(f"https://127.0.0.1:{listening.getsockname()[1]}")
    found = ask(gone)
    assert isinstance(found, Unknown)
    assert "cannot be dialled from here: Connection refused" in found.reason


def test_a_server_without_tls_is_not_known() -> None:
    """It refuses nothing: it has not seen a certificate."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        speaker = threading.Thread(target=_speak_plainly, args=(listening,))
        speaker.start()
        found = ask(Https(f"https://127.0.0.1:{listening.getsockname()[1]}"))
        speaker.join()
    assert isinstance(found, Unknown)
    assert "does not speak TLS" in found.reason


def _speak_plainly(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        while connection.recv(1024):
            pass


def test_an_address_in_brackets_is_dialled() -> None:
    """As IPv6 addresses are written; by one of IPv4, which every machine has."""
    with https(pair=leaf(CA, "things", "server", NAME)) as server:
        server.says(PATH, 200, {})
        server.address = server.address.replace("127.0.0.1", "[127.0.0.1]")
        assert ask(server) == 200


# --- identities in memory ---------------------------------------------------------------------------------


def cluster(tmp_path: Path) -> Cluster:
    def no_credentials() -> NoReturn:
        raise AssertionError("an extension server is not asked with the user's credentials")

    return Cluster(no_credentials, Files(str(tmp_path)))


def test_a_pair_that_is_held_is_shown_by_its_fingerprint(things: Https, tmp_path: Path) -> None:
    asking = cluster(tmp_path)
    for pair, status in ((TRUSTED, 200), (FOREIGN, REFUSED)):
        assert status_of(asking.look(question(things, identity=asking.hold(pair)))) == status


def test_in_place_of_a_pair_that_is_not_held_none_is_shown_and_nothing_is_known(
    things: Https, tmp_path: Path
) -> None:
    """A journal names that of a run that has ended; an anonymous 403 would pass for its acceptance."""
    found = cluster(tmp_path).look(question(things, identity="f" * 64))
    assert isinstance(found, Unknown)
    assert "is not held" in found.reason
    assert things.asked == []
