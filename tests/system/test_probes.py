"""What a node shows of itself: real processes, real sockets, logs as the kubelet writes them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.rights import as_nobody, public_folder

from aggctl.core.snapshot import ArgumentsAccepted, ContainerLogs, Dial, LogSeen, Processes, Unknown
from aggctl.system.probes import LOG_LINES, Probes

if TYPE_CHECKING:
    from collections.abc import Iterator
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
