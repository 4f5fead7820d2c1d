"""What a node shows of itself: real processes, real sockets, logs as the kubelet writes them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority
from support.rights import as_nobody, public_folder

from aggctl.core import pki
from aggctl.core.questions import (
    ArgumentsAccepted,
    ContainerLogs,
    Dial,
    Handshake,
    LogSeen,
    Processes,
    ServedSeen,
    Unknown,
)
from aggctl.system import handshake
from aggctl.system.probes import LOG_LINES, Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
PORT = 58431


@contextlib.contextmanager
def process(*flags: str, name: str = "kube-apiserver", **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that calls itself kube-apiserver; its binary is Python's."""
    with subprocess.Popen(
        [name, "-c", WAIT, *flags],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        try:
            yield running
        finally:
            running.communicate()


def test_a_process_is_found_by_its_port_with_its_arguments() -> None:
    with process(f"--secure-port={PORT}", "--odd=ä b") as running:
        (seen,) = Probes().look(Processes(PORT))
        assert seen.pid == running.pid
        assert seen.argv[-2:] == (f"--secure-port={PORT}", "--odd=ä b")
        assert Probes().look(Processes(PORT + 1)) == ()
    assert Probes().look(Processes(PORT)) == ()


def test_a_process_of_another_name_is_none() -> None:
    with process(f"--secure-port={PORT}", name="something-else"):
        assert Probes().look(Processes(PORT)) == ()


def test_the_older_process_comes_first() -> None:
    with process(f"--secure-port={PORT}") as first, process(f"--secure-port={PORT}") as second:
        found = Probes().look(Processes(PORT))
        assert {each.pid for each in found} == {first.pid, second.pid}
        assert [each.started for each in found] == sorted(each.started for each in found)


def test_paths_of_a_process_in_a_sandbox_are_those_of_its_container(tmp_path: Path) -> None:
    root, container = tmp_path / "root", tmp_path / "container"
    root.mkdir()
    container.mkdir()
    with process(f"--secure-port={PORT}", f"--ca={container}/etc/ca.crt", cwd=container):
        (seen,) = Probes(str(root)).look(Processes(PORT))
    assert seen.argv[-1] == "--ca=/etc/ca.crt"


# --- arguments --------------------------------------------------------------------------------------------


def test_a_running_binary_accepts_what_it_knows_and_complains_of_the_rest() -> None:
    with process(f"--secure-port={PORT}", name="kube-apiserver") as running:
        accepted = Probes().look(ArgumentsAccepted(running.pid, ("-B",)))
        refused = Probes().look(ArgumentsAccepted(running.pid, ("--no-such-flag=1",)))
    assert accepted == ""
    assert refused


def test_a_process_that_is_gone_could_not_be_asked() -> None:
    with process() as running:
        pass
    answer = Probes().look(ArgumentsAccepted(running.pid, ()))
    assert isinstance(answer, Unknown)
    assert answer.code == "binary-not-asked"


# --- sockets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)])
def test_a_port_that_listens_can_be_dialled_and_a_closed_one_says_why(
    host: str, family: socket.AddressFamily
) -> None:
    try:
        listener = socket.create_server((host.strip("[]"), 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listener:
        address = f"{host}:{listener.getsockname()[1]}"
        assert Probes().look(Dial(address)) == ""
    assert "refused" in Probes().look(Dial(address))


# --- TLS --------------------------------------------------------------------------------------------------

NAME = "hello.default.svc"
WRONG_NAME = f"Hostname mismatch, certificate is not valid for '{NAME}'"
CA, OTHER = authority("extension"), authority("other")


def serving(name: str = NAME, *, ca: pki.KeyPair = CA, days: int = 0, **more: Any) -> pki.KeyPair:
    """A serving pair that is valid for one day, from `days` days hence."""
    options: dict[str, Any] = {"usage": "server", "sans": (name,), "algorithm": "ECDSA-P256"} | more
    begin, day = datetime.now(UTC) + timedelta(days=days), timedelta(days=1)
    return pki.issue(ca, name, begin, lifetime=day, **options)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A port of the loopback; each connection is served, then closed."""

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def tls_server(pair: pki.KeyPair, folder: Path, clients: pki.KeyPair | None = None) -> Iterator[str]:
    """A server that shows this pair, and with `clients` demands certificates of that CA."""
    (folder / "tls.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate.decode())

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    with listening(serve) as address:
        yield address


def shaken(address: str, *, name: str = NAME, ca: bytes = CA.certificate) -> ServedSeen:
    seen = Probes().look(Handshake(address, name, ca.decode()))
    assert isinstance(seen, ServedSeen), seen
    return seen


@pytest.mark.parametrize(
    ("pair", "ca", "problem"),
    [
        (serving(), CA.certificate, ""),
        (serving(), OTHER.certificate + CA.certificate, ""),
        (serving(), OTHER.certificate, "unable to get local issuer certificate"),
        (serving(ca=OTHER), CA.certificate, "unable to get local issuer certificate"),
        (serving("other.default.svc"), CA.certificate, WRONG_NAME),
        (serving(sans=()), CA.certificate, WRONG_NAME),
        (serving(sans=("*.default.svc",)), CA.certificate, ""),
        (serving(days=-2), CA.certificate, "certificate has expired"),
        (serving(days=2), CA.certificate, "certificate is not yet valid"),
        (serving(usage="client"), CA.certificate, "unsuitable certificate purpose"),
        (serving(), b"", "there is no CA to verify it by"),
        (serving(), b"no PEM", "cadata does not contain a certificate"),
    ],
    ids=[
        "verified",
        "verified by one CA of two",
        "another CA",
        "signed by another CA",
        "another name",
        "its name as common name only",
        "a wildcard",
        "expired",
        "of the future",
        "for clients",
        "no CA",
        "a CA that is none",
    ],
)  # fmt: skip
def test_a_serving_certificate_is_seen_and_judged(
    pair: pki.KeyPair, ca: bytes, problem: str, tmp_path: Path
) -> None:
    with tls_server(pair, tmp_path) as address:
        seen = shaken(address, ca=ca)
    assert (seen.certificate, problem in seen.problem, bool(seen.problem)) == (
        pair.certificate,
        True,
        bool(problem),
    ), seen.problem


def test_a_server_that_demands_a_client_certificate_is_judged_all_the_same(tmp_path: Path) -> None:
    with tls_server(serving(), tmp_path, clients=OTHER) as address:
        assert shaken(address).problem == ""
        assert shaken(address, ca=OTHER.certificate).problem != ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS handshake: "),
        (b"\x15\x03\x03\x00\x02\x02\x28", "no TLS handshake: "),
        (b"", "no TLS handshake: "),
    ],
    ids=["plain HTTP", "an alert", "nothing"],
)
def test_what_is_no_tls_is_said(answer: bytes, problem: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with listening(serve) as address:
        seen = shaken(address)
    assert seen.certificate == b""
    assert seen.problem.startswith(problem)
    assert len(seen.problem) > len(problem)


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "DIAL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = shaken(f"127.0.0.1:{listener.getsockname()[1]}")
    assert seen == ServedSeen(b"", "no TLS handshake: it takes the connection and says nothing")


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_an_endpoint_that_cannot_be_dialled_is_unknown(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    seen = Probes().look(Handshake(f"{host}:{port}", NAME, CA.certificate.decode()))
    assert isinstance(seen, Unknown)
    assert seen.reason.startswith(f"{host}:{port} cannot be dialled from here: ")


# --- logs -------------------------------------------------------------------------------------------------


def log(root: Path, run: int, *lines: str, pod: str = "kube-apiserver-node", content: bytes = b"") -> Path:
    path = root / f"var/log/pods/kube-system_{pod}_uid/kube-apiserver/{run}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"2026-03-01T12:00:{run:02}.123456789Z stderr F {line}\n" for line in lines)
    path.write_bytes(content or text.encode())
    return path


QUESTION = ContainerLogs("kube-system", "kube-apiserver", "kube-apiserver")


def test_runs_come_newest_last_without_the_prefix_of_the_format(tmp_path: Path) -> None:
    log(tmp_path, 10, "last")
    log(tmp_path, 9, "first", "Error: second")
    log(tmp_path, 3, "other", pod="etcd-node")
    found = Probes(str(tmp_path)).look(QUESTION)
    assert [(run.run, run.lines) for run in found] == [(9, ("first", "Error: second")), (10, ("last",))]


def test_without_logs_there_are_none(tmp_path: Path) -> None:
    assert Probes(str(tmp_path)).look(QUESTION) == ()


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log(tmp_path, 0, *(f"line {number}" for number in range(20000)))
    (run,) = Probes(str(tmp_path)).look(QUESTION)
    assert len(run.lines) == LOG_LINES
    assert run.lines[-1] == "line 19999"


def test_escape_sequences_in_a_log_never_reach_a_terminal(tmp_path: Path) -> None:
    log(tmp_path, 0, content=b"2026-03-01T12:00:00Z stderr F \x1b]0;owned\x07\x1b[31mred\x1b[0m\x00\xff\n")
    (run,) = Probes(str(tmp_path)).look(QUESTION)
    assert isinstance(run, LogSeen)
    assert run.lines == ("red �",)


def test_logs_without_rights_are_unknown() -> None:
    with public_folder() as root:
        log(root, 0, "x").chmod(0)
        with as_nobody():
            assert isinstance(Probes(str(root)).look(QUESTION), Unknown)
