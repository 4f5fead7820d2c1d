"""The files of an audit log: found with the rotated ones, read line by line whatever is in them."""

from __future__ import annotations

import gzip
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
from support.https import Https, authority, https

from aggctl.core.questions import Recorded, Unknown
from aggctl.system import auditlog
from aggctl.system.auditlog import LINE_BYTES, TAIL_BYTES, LogFile, files_of, is_recorded, lines_of
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.kubeconfig import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOG = "/var/log/kubernetes/audit/audit.log"
MARK = "0f6f7af5-f3f5-4068-92f2-e95626a3ba71"
ROTATED = "audit-2026-11-28T13-59-22.123.log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "var/log/kubernetes/audit"
    made.mkdir(parents=True)
    return made


def found(root: Path, path: str = LOG) -> list[str]:
    return [each.path.rpartition("/")[2] for each in files_of(str(root), path)]


def lines(root: Path, name: str = "audit.log") -> list[bytes | None]:
    return list(lines_of(str(root), LogFile(f"{LOG.rpartition('/')[0]}/{name}", 0.0)))


def test_rotated_files_come_first_from_old_to_new_and_the_one_in_use_last(
    tmp_path: Path, folder: Path
) -> None:
    names = [
        "audit.log",
        ROTATED,
        "audit-2026-11-27T00-00-00.000.log.gz",
        "audit-2026-11-28T13-59-22.124.log",
    ]
    for name in names:
        (folder / name).touch()
    assert found(tmp_path) == [names[2], names[1], names[3], names[0]]


def test_a_rotated_file_says_until_when_it_was_written(tmp_path: Path, folder: Path) -> None:
    (folder / ROTATED).touch()
    (file,) = files_of(str(tmp_path), LOG)
    assert (file.until, file.packed) == (1795874362.123, False)


def test_files_of_others_are_none_of_the_log(tmp_path: Path, folder: Path) -> None:
    others = ["audit2.log", "audit-.log", "audit-2026-99-28T13-59-22.123.log", "audit.log.1", "xaudit.log"]
    for name in [*others, f"{ROTATED}.bak"]:
        (folder / name).touch()
    assert found(tmp_path) == []


def test_a_log_without_an_ending_has_its_rotated_files_too(tmp_path: Path, folder: Path) -> None:
    for name in ("audit", "audit-2026-11-28T13-59-22.123"):
        (folder / name).touch()
    assert found(tmp_path, LOG.removesuffix(".log")) == ["audit-2026-11-28T13-59-22.123", "audit"]


def test_without_the_folder_there_are_no_files(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_lines_come_one_by_one_also_a_last_one_without_an_end(tmp_path: Path, folder: Path) -> None:
    (folder / "audit.log").write_bytes(b"one\ntwo\n\nthree")
    assert lines(tmp_path) == [b"one\n", b"two\n", b"\n", b"three"]


def test_a_line_that_is_too_long_is_said_to_be_one_and_the_next_one_is_read(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "audit.log").write_bytes(b"x" * (3 * LINE_BYTES + 1) + b"\nnext\n" + b"y" * LINE_BYTES)
    assert lines(tmp_path) == [None, b"next\n", None]


def test_a_line_just_short_enough_is_read(tmp_path: Path, folder: Path) -> None:
    (folder / "audit.log").write_bytes(b"x" * (LINE_BYTES - 1) + b"\nnext\n")
    assert [len(each or b"") for each in lines(tmp_path)] == [LINE_BYTES, 5]


def test_a_packed_file_is_read_as_if_it_were_not(tmp_path: Path, folder: Path) -> None:
    (folder / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert lines(tmp_path, "a.gz") == [b"one\n", b"two\n"]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-9], lambda data: b"junk" + data, lambda data: data[:12] + b"\0\0" + data[14:]],
)
def test_a_damaged_packed_file_ends_where_it_is_damaged(tmp_path: Path, folder: Path, spoil: Any) -> None:
    (folder / "a.gz").write_bytes(spoil(gzip.compress(b"one\ntwo\n")))
    assert lines(tmp_path, "a.gz")[-1] is None


def test_a_file_that_was_rotated_away_has_no_lines(tmp_path: Path, folder: Path) -> None:
    assert folder.is_dir()
    assert lines(tmp_path) == []


def test_a_folder_in_the_files_place_is_an_error_and_not_waited_for(tmp_path: Path, folder: Path) -> None:
    (folder / "audit.log").mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        lines(tmp_path)


def test_a_link_that_leads_out_of_the_root_stays_within(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"of the node\n")
    (folder / "audit.log").symlink_to("/etc/passwd")
    assert lines(tmp_path) == [b"of the node\n"]


# --- whether a request is in it ----------------------------------------------------------------------------


ASKED = "/apis/apiregistration.k8s.io/v1/apiservices"


@pytest.fixture
def server() -> Iterator[Https]:
    with https() as running:
        yield running


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there yet is not waited for."""
    monkeypatch.setattr(auditlog, "PATIENCE", 0.0)


def whether(server: Https, root: Path, write: Callable[[], object] = lambda: None, mark: str = MARK) -> Any:
    """Whether a request is recorded that the server marks so; `write` is what it does before it answers."""

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        write()
        if mark:
            setattr(handler, "end_headers", partial(_end_headers, handler, mark))  # noqa: B010 -- one header more
        return 200, b"{}"

    server.answers[ASKED] = answer
    credentials = Credentials("the test", server.address, authority("kubernetes").certificate)
    cluster = Cluster(lambda: credentials, Files(str(root)))
    return is_recorded(Recorded(ASKED, server.address, LOG), cluster, str(root))


def _end_headers(handler: BaseHTTPRequestHandler, mark: str) -> None:
    handler.send_header("Audit-Id", mark)
    BaseHTTPRequestHandler.end_headers(handler)


def test_a_request_is_recorded_where_its_audit_id_is_in_the_log(
    server: Https, tmp_path: Path, folder: Path
) -> None:
    record = f'{{"kind":"Event","auditID":"{MARK}"}}\n'
    assert whether(server, tmp_path, lambda: (folder / "audit.log").write_text(record)) is True


def test_a_record_that_comes_a_little_later_is_waited_for(
    server: Https, tmp_path: Path, folder: Path
) -> None:
    """As in --audit-log-mode=batch."""
    pipe = folder / "written.log"
    pipe.write_text(MARK)
    later = threading.Timer(0.2, lambda: pipe.replace(folder / "audit.log"))
    assert whether(server, tmp_path, later.start) is True
    later.join()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("mark", ["another", ""])
def test_a_request_of_which_the_log_says_nothing_is_not_recorded(
    server: Https, tmp_path: Path, folder: Path, mark: str
) -> None:
    (folder / "audit.log").write_text(MARK)
    assert whether(server, tmp_path, mark=mark) is False


@pytest.mark.usefixtures("hasty")
def test_without_a_log_nothing_is_recorded(server: Https, tmp_path: Path) -> None:
    assert whether(server, tmp_path) is False


@pytest.mark.usefixtures("hasty")
def test_a_record_far_before_the_end_of_a_large_log_is_not_searched_for(
    server: Https, tmp_path: Path, folder: Path
) -> None:
    with (folder / "audit.log").open("wb") as log:
        log.write(MARK.encode())
        log.truncate(2 * TAIL_BYTES)
    assert whether(server, tmp_path) is False


def test_a_log_that_cannot_be_read_is_not_known(server: Https, tmp_path: Path, folder: Path) -> None:
    (folder / "audit.log").mkdir()
    answer = whether(server, tmp_path)
    assert isinstance(answer, Unknown)
    assert LOG in answer.reason


def test_a_kube_apiserver_that_does_not_answer_is_not_known(tmp_path: Path) -> None:
    cluster = Cluster(lambda: Credentials("the test", "https://127.0.0.1:9", b""), Files(str(tmp_path)))
    answer = is_recorded(Recorded(ASKED, "https://127.0.0.1:9", LOG), cluster, str(tmp_path))
    assert isinstance(answer, Unknown)
