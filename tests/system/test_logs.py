"""Logs as a node keeps them and as a kube-apiserver sends them: all of it, the end of it, and what comes."""

from __future__ import annotations

import gzip
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.https import Https, authority, https
from support.rights import as_nobody, public_folder
from support.waiting import eventually

from aggctl.core.loglines import NANO
from aggctl.core.logsources import Container, PodFolder
from aggctl.core.questions import Unknown
from aggctl.system import follow
from aggctl.system import logs as module
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.follow import Feed
from aggctl.system.kubeconfig import Credentials
from aggctl.system.logs import ApiLog, FileLog, Logs, NotReadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALL = 1000
FILE = Container("pod/x", "shop", "x", "server", on_node=True)
STREAM = Container("pod/x", "shop", "x", "server", on_node=False)
RESTARTED = Container("pod/x", "shop", "x", "server", on_node=False, restarts=1)


def stamp(number: int) -> str:
    """A line's time, one second after the other."""
    return f"{NOW + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.000000000Z"


def cri(*numbers: int) -> str:
    return "".join(f"{stamp(number)} stderr F line {number}\n" for number in numbers)


def sent(*numbers: int) -> bytes:
    return "".join(f"{stamp(number)} line {number}\n" for number in numbers).encode()


def told(lines: Any) -> list[int]:
    """The numbers in lines."""
    return [int(line.rpartition(" ")[2]) for line in lines]


def at(number: int) -> int:
    return int((NOW + timedelta(seconds=number)).timestamp()) * NANO


# --- files -----------------------------------------------------------------------------------------------


class Folder:
    """A container's folder of logs below a root, as kubelet writes it."""

    def __init__(self, root: Path, uid: str = "uid", container: str = "server") -> None:
        self.root = root
        self.path = root / f"var/log/pods/shop_x_{uid}" / container
        self.path.mkdir(parents=True)

    def write(self, name: str, *numbers: int) -> None:
        """Write lines to the end of a file, which is as old as the last of them."""
        content = cri(*numbers).encode()
        path = self.path / name
        with gzip.open(path, "ab") if name.endswith(".gz") else path.open("ab") as file:
            file.write(content)
        moment = (NOW + timedelta(seconds=max(numbers, default=0))).timestamp()
        os.utime(path, (moment, moment))

    def log(self, since: int = 0) -> FileLog:
        found = Logs(nobody(self.root), str(self.root)).open(FILE, since)
        assert isinstance(found, FileLog)
        return found


def nobody(root: Path) -> Cluster:
    return Cluster(lambda: Credentials("the test", "https://127.0.0.1:1", b""), Files(str(root)))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_pods_of_a_node_are_known_by_their_folders(folder: Folder) -> None:
    Folder(folder.root, "other", "proxy")
    (folder.root / "var/log/pods/strange").mkdir()
    (folder.root / "var/log/pods/shop_empty_uid").mkdir()
    found = Logs(nobody(folder.root), str(folder.root)).folders()
    assert found == (PodFolder("shop", "x", ("proxy", "server")),)


def test_a_machine_without_pods_has_none(tmp_path: Path) -> None:
    assert Logs(nobody(tmp_path), str(tmp_path)).folders() == ()
    with pytest.raises(NotReadable, match="No such file"):
        list(FileLog(str(tmp_path), FILE, 0).lines(ALL))


def test_a_log_is_read_over_runs_rotated_and_packed_files(folder: Folder) -> None:
    folder.write("0.log", 1, 2)
    folder.write("1.log.20260601-120004.gz", 3, 4)
    folder.write("1.log.20260601-120006", 5, 6)
    folder.write("1.log", 7, 8)
    folder.write("1.log.20260601-120004.tmp", 99)
    folder.write("notes", 99)
    log = folder.log()
    assert told(log.lines(ALL)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not log.cut


@pytest.mark.parametrize("tail", range(1, 9))
def test_only_the_last_lines_are_read_and_that_is_told(folder: Folder, tail: int) -> None:
    folder.write("0.log", 1, 2)
    folder.write("1.log.20260601-120004.gz", 3, 4)
    folder.write("1.log", 5, 6, 7)
    log = folder.log()
    assert told(log.lines(tail)) == list(range(max(1, 8 - tail), 8))
    assert log.cut is (tail < 7)


@pytest.mark.parametrize("block", [1, 7, 50, 64, 1000])
def test_the_last_lines_are_found_whatever_the_blocks(
    folder: Folder, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    folder.write("0.log", *range(20))
    for tail in (1, 5, 19, 20, 21):
        assert told(folder.log().lines(tail)) == list(range(max(0, 20 - tail), 20))


def test_what_is_too_old_is_not_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 200)
    folder.write("0.log", 1, 2)
    folder.write("1.log", *range(3, 100))
    found = told(folder.log(at(95)).lines(ALL))
    assert found[-5:] == [95, 96, 97, 98, 99]
    assert 80 < found[0] <= 95
    assert told(folder.log(at(3)).lines(ALL))[0] == 3


def test_no_more_than_so_many_bytes_are_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)
    monkeypatch.setattr(module, "MOST_BYTES", 200)
    folder.write("0.log", *range(100))
    log = folder.log()
    lines = list(log.lines(ALL))
    assert sum(map(len, lines)) <= 200
    assert lines[-1].endswith("line 99")
    assert log.cut


def test_a_line_that_is_being_written_is_waited_for(folder: Folder) -> None:
    folder.write("0.log", 1)
    with (folder.path / "0.log").open("a") as file:
        file.write(f"{stamp(2)} stderr F li")
        file.flush()
        log = folder.log()
        assert told(log.lines(ALL)) == [1]
        assert list(log.more()) == []
        file.write("ne 2\n")
    assert told(log.more()) == [2]


def test_an_empty_log_has_no_lines(folder: Folder) -> None:
    (folder.path / "0.log").touch()
    log = folder.log()
    assert list(log.lines(ALL)) == []
    folder.write("0.log", 1)
    assert told(log.more()) == [1]


def test_what_comes_is_read_once_across_rotation_a_new_run_and_a_new_pod(folder: Folder) -> None:
    folder.write("0.log", 1)
    log = folder.log()
    assert told(log.lines(ALL)) == [1]
    assert list(log.more()) == []
    folder.write("0.log", 2)
    (folder.path / "0.log").rename(folder.path / "0.log.20260601-120002")
    folder.write("0.log.20260601-120002", 3)
    folder.write("0.log", 4)
    assert told(log.more()) == [2, 3, 4]
    with (folder.path / "0.log.20260601-120002").open("rb") as old:
        (folder.path / "0.log.20260601-120002.gz").write_bytes(gzip.compress(old.read()))
    (folder.path / "0.log.20260601-120002").unlink()
    folder.write("1.log", 5)
    assert told(log.more()) == [5]
    Folder(folder.root, "another").write("0.log", 6)
    assert told(log.more()) == [6]
    assert list(log.more()) == []


def test_a_log_that_was_cut_short_is_read_from_its_beginning(folder: Folder) -> None:
    folder.write("0.log", 1, 2)
    log = folder.log()
    list(log.lines(ALL))
    os.truncate(folder.path / "0.log", 0)
    folder.write("0.log", 3)
    assert told(log.more()) == [3]


def test_a_link_of_docker_leads_to_its_log_below_the_root(folder: Folder) -> None:
    target = folder.root / "var/lib/docker/containers/1/1-json.log"
    target.parent.mkdir(parents=True)
    target.write_text(cri(1))
    (folder.path / "0.log").symlink_to("/var/lib/docker/containers/1/1-json.log")
    log = folder.log()
    assert told(log.lines(ALL)) == [1]
    with target.open("a") as file:
        file.write(cri(2))
    assert told(log.more()) == [2]


def test_what_is_no_file_is_not_opened(folder: Folder) -> None:
    os.mkfifo(folder.path / "0.log")
    with pytest.raises(NotReadable, match="not a regular file"):
        list(folder.log().lines(ALL))


def test_a_server_is_known_by_the_words_at_the_beginning_of_its_log(folder: Folder) -> None:
    logs = Logs(nobody(folder.root), str(folder.root))
    folder.write("1.log", 2)
    assert logs.begins_with(FILE, (b"nothing", b"line 2"))
    folder.write("0.log", 1)
    assert not logs.begins_with(FILE, (b"line 2",))
    assert not Logs(nobody(folder.root), "/nowhere").begins_with(FILE, (b"line 2",))


def test_a_broken_packed_log_is_a_reason_and_no_crash(folder: Folder) -> None:
    packed = gzip.compress(cri(*range(100)).encode())
    for content in (b"nothing", packed[:-30], packed[:40] + b"\xff" * 20 + packed[60:]):
        (folder.path / "0.log.20260601-120004.gz").write_bytes(content)
        with pytest.raises(NotReadable) as broken:
            list(folder.log().lines(ALL))
        assert broken.value.unknown.code == "file-not-readable"


def test_without_rights_the_reason_is_told() -> None:
    with public_folder() as root:
        folder = Folder(root)
        folder.write("0.log", 1)
        folder.path.chmod(0o700)
        (folder.path / "0.log").chmod(0o600)
        log = folder.log()
        with as_nobody(), pytest.raises(NotReadable) as refused:
            list(log.lines(ALL))
        assert refused.value.unknown.code == "no-rights"
        assert told(folder.log().lines(ALL)) == [1]


# --- through a kube-apiserver ----------------------------------------------------------------------------


class Answers(dict[str, Any]):
    """What is answered for a path, whatever the query; one after the other, the last one for good."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.left = list(answers)

    def get(self, _path: str, _default: Any = None) -> Any:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.fixture
def server() -> Iterator[Https]:
    with https() as running:
        yield running


def stream(server: Https, root: Path, container: Container = STREAM, since: int = 0, **more: Any) -> ApiLog:
    options = {"authority": authority("kubernetes").certificate, **more}
    cluster = Cluster(lambda: Credentials("the test", server.address, **options), Files(str(root)))
    found = Logs(cluster, str(root)).open(container, since)
    assert isinstance(found, ApiLog)
    return found


def test_a_log_is_asked_for_with_times_and_bounds(server: Https, tmp_path: Path) -> None:
    server.answers = Answers((200, sent(1, 2)))
    log = stream(server, tmp_path, since=int((time.time() - 3600) * NANO), token="very-secret")  # noqa: S106 -- a test's
    assert told(log.lines(5)) == [1, 2]
    ((_, path, headers),) = server.asked
    assert path.startswith(
        "/api/v1/namespaces/shop/pods/x/log?container=server&timestamps=true&sinceSeconds=36"
    )
    assert "&tailLines=5&limitBytes=" in path
    assert headers["Authorization"] == "Bearer very-secret"
    assert not log.cut


def test_as_many_lines_as_were_asked_for_may_not_be_all(server: Https, tmp_path: Path) -> None:
    server.answers = Answers((200, sent(1, 2)))
    log = stream(server, tmp_path)
    assert told(log.lines(2)) == [1, 2]
    assert log.cut


def test_of_a_container_that_was_restarted_the_run_before_is_read_too(server: Https, tmp_path: Path) -> None:
    server.answers = Answers((200, sent(1)), (200, sent(2)))
    assert told(stream(server, tmp_path, RESTARTED).lines(ALL)) == [1, 2]
    assert ["&previous=true" in path for _, path, _ in server.asked] == [True, False]


def test_a_run_before_that_is_not_kept_any_more_is_passed_over(server: Https, tmp_path: Path) -> None:
    server.answers = Answers((400, b'{"message":"previous terminated container not found"}'), (200, sent(2)))
    assert told(stream(server, tmp_path, RESTARTED).lines(ALL)) == [2]


@pytest.mark.parametrize(
    ("status", "code", "gone"),
    [
        (400, "log-not-read", False),
        (403, "no-rights-in-cluster", False),
        (404, "log-not-read", True),
        (500, "apiserver-not-ready", False),
    ],
)
def test_why_there_is_no_log_is_told(
    server: Https, tmp_path: Path, status: int, code: str, gone: bool
) -> None:
    server.answers = Answers((status, b'{"message":"because of that"}'))
    with pytest.raises(NotReadable, match="because of that") as refused:
        list(stream(server, tmp_path).lines(ALL))
    assert (refused.value.unknown.code, refused.value.gone) == (code, gone)


def test_a_kube_apiserver_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    with https() as gone:
        pass
    with pytest.raises(NotReadable) as refused:
        list(stream(gone, tmp_path).lines(ALL))
    assert refused.value.unknown.code == "apiserver-not-reachable"


def test_a_last_line_without_an_end_and_a_very_long_one_are_lines(server: Https, tmp_path: Path) -> None:
    long = b"y" * (module.LINE_BYTES * 2)
    for content, last in ((b"a\n" + long + b"\nz", "z"), (b"a\n" + long, "y" * module.LINE_BYTES)):
        server.answers = Answers((200, content))
        found = list(stream(server, tmp_path).lines(ALL))
        assert (found[0], len(found[1]), found[-1] == last) == ("a", module.LINE_BYTES, True)


# --- what goes on ----------------------------------------------------------------------------------------


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.02)
    made = Feed()
    yield made
    made.close()


def taken(feed: Feed, number: int) -> list[Any]:
    """So many things that have come."""
    come: list[Any] = []

    def enough() -> bool:
        come.extend(feed.take(0.05))
        return len(come) >= number

    eventually(enough, f"{number} have come")
    return [said for _, said in come]


def test_a_stream_that_ends_is_opened_again_and_nothing_is_given_twice(
    server: Https, tmp_path: Path, feed: Feed
) -> None:
    twice = sent(3) + sent(3).replace(b"line 3", b"line 4")
    server.answers = Answers(
        (200, sent(1)), (200, sent(1, 2)), (200, sent(2) + twice), (200, twice + sent(5))
    )
    log = stream(server, tmp_path)
    assert told(log.lines(ALL)) == [1]
    feed.add(log)
    assert told(taken(feed, 4)) == [2, 3, 4, 5]
    assert "follow=true&sinceTime=2026-06-01T12%3A00%3A01Z" in server.asked[1][1]


def test_a_stream_that_cannot_be_had_is_told_and_tried_again(
    server: Https, tmp_path: Path, feed: Feed
) -> None:
    server.answers = Answers((500, b'{"message":"later"}'), (200, sent(1)))
    feed.add(stream(server, tmp_path))
    why, line = taken(feed, 2)[:2]
    assert isinstance(why, Unknown)
    assert told([line]) == [1]


def test_a_pod_that_is_gone_is_told_once_and_left_alone(server: Https, tmp_path: Path, feed: Feed) -> None:
    server.answers = Answers((200, sent(1)), (404, b"{}"))
    feed.add(stream(server, tmp_path))
    assert taken(feed, 2)[1] is None
    assert feed.take(0.1) == []
    assert len(server.asked) == 2


def test_a_stream_that_says_nothing_is_opened_anew(
    server: Https, tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)

    def silent(_: Any) -> tuple[int, bytes]:
        server.answers = Answers((200, sent(1)))
        eventually(lambda: len(server.asked) > 1, "it was asked again")
        return 200, b""

    server.answers = Answers(silent)
    feed.add(stream(server, tmp_path))
    assert told(taken(feed, 1)) == [1]


def test_files_and_streams_come_together_and_a_file_that_is_not_readable_is_told(
    server: Https, folder: Folder, feed: Feed
) -> None:
    server.answers = Answers((200, sent(2)))
    folder.write("0.log", 1)
    feed.add(folder.log())
    feed.add(stream(server, folder.root))
    assert sorted(told(taken(feed, 2))) == [1, 2]
    (folder.root / "var/log/pods").rename(folder.root / "var/log/away")
    assert isinstance(taken(feed, 1)[0], Unknown)


def test_what_nobody_takes_makes_the_stream_wait(
    server: Https, tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed._come, "maxsize", 3)
    server.answers = Answers((200, sent(*range(50))))
    feed.add(stream(server, tmp_path))
    eventually(feed._come.full, "it is full")
    assert told(taken(feed, 50)) == list(range(50))
