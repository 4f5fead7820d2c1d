"""`aggctl status` and `doctor` before a server that plays a kube-apiserver in bad faith: a sentence, in time.

That a command ends at all is what most of these show: the server goes on until the test is over.
"""

from __future__ import annotations

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.hostile import MEASURED, SHOWN, Connection, Hostile, hostile, kubeconfig, quiet
from support.refusals import Said, aggctl, assert_decent, assert_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1024 * 1024
MOST_MIB = 200
SILENT, ODD, NOT_READY = "apiserver-not-reachable", "answer-not-understood", "apiserver-not-ready"
APIS = "/apis/apiregistration.k8s.io/v1/apiservices?limit=500"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def server() -> Iterator[Hostile]:
    with hostile() as found:
        yield found


def ask(server: Hostile, folder: Path, *words: str, timeout: str = "700ms") -> tuple[Said, int]:
    """What a command says of it on a machine with a kubeconfig and nothing else, and how many MiB it took."""
    (folder / "root").mkdir(exist_ok=True)
    said = aggctl(
        *words,
        *("--root", str(folder / "root"), "--kubeconfig", str(kubeconfig(server, folder))),
        *("--request-timeout", timeout),
        before=MEASURED,
    )
    *err, mebibytes = said.err.splitlines()
    return Said(said.status, said.out, "\n".join(err)), int(mebibytes)


def cut(connection: Connection, data: bytes) -> None:
    connection.send(data)
    connection.end()


def half_way(connection: Connection) -> None:
    connection.send(HEAD + b"Content-Length: 100\r\n\r\n{")
    connection.hang()


def drop_by_drop(connection: Connection) -> None:
    connection.send(HEAD + b"\r\n")
    connection.dribble(b" ")


def flood(connection: Connection, data: bytes) -> None:
    while not connection.over.is_set():
        connection.send(data)


def packed(body: bytes, times: int) -> bytes:
    """So many times the same, compressed as it goes."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(body) for _ in range(times)) + packer.flush()


def page_upon_page(connection: Connection, number: int) -> None:
    """Of a list a page with so many objects, and never the last one; of anything else nothing."""
    metadata = (
        {"name": f"{each}.example.org"} for each in range(number if "limit=" in connection.path else 0)
    )
    items = [{"metadata": each, "spec": {"group": "example.org", "version": "v1"}} for each in metadata]
    page = json.dumps({"metadata": {"continue": "more"}, "items": items}).encode()
    connection.answer(page if "limit=" in connection.path else b"")


BOMB = packed(b"{}," * MIB, 20)
REFUSED = {"kind": "Status", "message": "\x1b[31mboom\x1b]0;owned\x07"}
BEHAVIOURS: dict[str, tuple[str, Callable[[Connection], None]]] = {
    "it hangs after the handshake": (SILENT, lambda it: it.hang()),
    "it hangs after the headers": (SILENT, half_way),
    "it cuts the answer": (SILENT, lambda it: cut(it, HEAD + b'Content-Length: 100\r\n\r\n{"kind":')),
    "it cuts the headers": (ODD, lambda it: cut(it, b"HTTP/1.1 200 OK\r\nContent-Le")),
    "it ends the connection": (SILENT, lambda it: it.end()),
    "it sends no HTTP": (SILENT, lambda it: cut(it, bytes(range(256)) * 400)),
    "it sends half of the JSON": (ODD, lambda it: it.answer(b'{"kind": "ConfigMap", "da')),
    "it sends HTML": (ODD, lambda it: it.answer(b"<html>\x1b[31m</html>", kind="text/html")),
    "it sends nothing": (ODD, lambda it: it.answer(b"")),
    "it sends fields of other types": (ODD, lambda it: it.says({"items": "x", "metadata": 7, "groups": 3})),
    "it nests without end": (ODD, lambda it: it.answer(b'{"items":' * 50_000 + b"1" + b"}" * 50_000)),
    "it sends a hundred megabytes": (
        ODD,
        lambda it: it.endless(b'{"items":[', b'{"metadata":{"name":"x"}},' * 4000, 100 * MIB),
    ),
    "it never stops": (ODD, lambda it: it.endless(b'{"items":[', b'{"metadata":{"name":"x"}},' * 4000)),
    "it sends five million lists": (ODD, lambda it: it.answer(b"[" + b"[]," * (5 * MIB) + b"1]")),
    "it sends page upon page": (ODD, lambda it: page_upon_page(it, 20_000)),
    "it sends empty pages without end": (ODD, lambda it: page_upon_page(it, 0)),
    "it packs a bomb": (ODD, lambda it: it.answer(BOMB, Content_Encoding="gzip")),
    "it sends byte by byte": (SILENT, drop_by_drop),
    "it sends headers byte by byte": (SILENT, lambda it: it.dribble(HEAD + b"X: y\r\n" * 90)),
    "it floods with 100 Continue": (SILENT, lambda it: flood(it, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)),
    "it sends a giant header": (SILENT, lambda it: it.send(HEAD + b"X: " + b"y" * 10 * MIB)),
    "it sends many headers": (SILENT, lambda it: it.send(HEAD + b"X: y\r\n" * 100_000)),
    "it answers 500": (NOT_READY, lambda it: it.says(REFUSED, "500 Oops")),
    "it answers 503 without words": (NOT_READY, lambda it: it.answer(b"", "503 No")),
    "it is busy for an hour": (
        NOT_READY,
        lambda it: it.says(REFUSED, "429 Too Many Requests", Retry_After="3600"),
    ),
    "it is busy always": (NOT_READY, lambda it: it.says(REFUSED, "429 Too Many Requests", Retry_After="0")),
}  # fmt: skip


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_status_and_doctor_say_it_in_a_sentence(server: Hostile, tmp_path: Path, name: str) -> None:
    code, server.behave = BEHAVIOURS[name]
    with ThreadPoolExecutor() as side_by_side:
        doctor = side_by_side.submit(ask, server, tmp_path, "doctor", "-o", "json")
        status, of_status = ask(server, tmp_path, "status")
        examined, of_doctor = doctor.result()

    assert (status.status, examined.status) == (3, 3), status.text + examined.text
    for said in (status, examined):
        assert_decent(said)
        assert "defect" not in said.text
    assert_document(examined)
    assert status.out == ""
    assert f"({code})" in status.err.splitlines()[0]
    assert SILENT in examined.codes
    assert max(of_status, of_doctor) < MOST_MIB


def test_a_server_that_never_begins_tls_is_given_up(server: Hostile, tmp_path: Path) -> None:
    server.accept = lambda connection: connection.hang()
    said, _ = ask(server, tmp_path, "status")
    assert said.status == 3
    assert_decent(said)
    assert "timed out" in said.err


@pytest.mark.parametrize(
    "words",
    [
        "certs list",
        "logs v1.things.example",
        "register v1.things.example --service shop/things --dry-run",
        "unregister v1.things.example --dry-run",
    ],
)
def test_whoever_asks_it_keeps_within_bounds(server: Hostile, tmp_path: Path, words: str) -> None:
    _, server.behave = BEHAVIOURS["it never stops"]
    said, mebibytes = ask(server, tmp_path, *words.split(), timeout="5s")
    assert said.status == 3, said.text
    assert "longer than" in said.text
    assert_decent(said)
    assert mebibytes < MOST_MIB


# --- it is busy -------------------------------------------------------------------------------------------


def test_a_server_that_is_busy_for_a_second_is_asked_again(server: Hostile, tmp_path: Path) -> None:
    turned_away: set[str] = set()

    def behave(connection: Connection) -> None:
        if connection.path in turned_away:
            quiet(connection)
            return
        turned_away.add(connection.path)
        connection.says(REFUSED, "429 Too Many Requests", Retry_After="1")

    server.behave = behave
    said, _ = ask(server, tmp_path, "status", timeout="20s")
    assert said.status == 0, said.text
    assert "No API is registered" in said.out
    assert [each.path for each in server.asked].count(APIS) == 2


def test_a_server_that_is_busy_for_an_hour_is_not_waited_for(server: Hostile, tmp_path: Path) -> None:
    server.behave = BEHAVIOURS["it is busy for an hour"][1]
    said, _ = ask(server, tmp_path, "status")
    assert "429: boom" in said.err
    assert [each.path for each in server.asked].count(APIS) == 1


# --- what we show is for this server alone ----------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    server: Hostile, tmp_path: Path, status: str
) -> None:
    with hostile() as elsewhere:
        elsewhere.behave = quiet
        server.behave = lambda it: it.answer(b"", status, Location=f"{elsewhere.address}{it.path}")
        said, _ = ask(server, tmp_path, "status")
        assert elsewhere.asked == []
    assert said.status == 3
    assert f"answered {status[:3]}" in said.err
    assert {each.headers["authorization"] for each in server.asked} == {f"Bearer {SHOWN}"}
    assert SHOWN not in said.text


# --- words of a server ------------------------------------------------------------------------------------

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x1b[31m\u202eevil\r\n\x9b1m\u2028 words"


def of_many_words(connection: Connection) -> None:
    """A kube-apiserver one of whose APIs is broken, in words for a terminal."""
    condition = {"type": "Available", "status": "False", "reason": ESCAPES, "message": ESCAPES}
    service = {"name": "things", "namespace": "shop", "port": 443}
    api = {
        "metadata": {"name": "v1.things.example", "annotations": {ESCAPES: ESCAPES}},
        "spec": {"group": "things.example", "version": "v1", "service": service},
        "status": {"conditions": [condition]},
    }
    if connection.path == APIS:
        connection.says({"items": [api]})
    elif connection.path.startswith("/apis/things.example"):
        connection.says({"kind": "Status", "message": ESCAPES}, "503 No")
    else:
        quiet(connection)


@pytest.mark.parametrize("words", ["status", "status -o wide", "doctor", "doctor -v", "doctor -o json"])
def test_no_escape_sequence_of_a_server_reaches_the_terminal(
    server: Hostile, tmp_path: Path, words: str
) -> None:
    server.behave = of_many_words
    said, _ = ask(server, tmp_path, *words.split())
    assert "v1.things.example" in said.out
    for line in said.text.splitlines():
        assert line.isprintable(), line
    assert_decent(said)


def test_a_name_that_no_object_can_have_is_no_answer(server: Hostile, tmp_path: Path) -> None:
    found: dict[str, Any] = {"items": [{"metadata": {"name": f"v1.{ESCAPES}"}, "spec": {}}]}
    server.behave = lambda it: it.says(found) if it.path == APIS else quiet(it)
    said, _ = ask(server, tmp_path, "status")
    assert "and not a name" in said.text
    assert_decent(said)
