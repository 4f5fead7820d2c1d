"""Watches as a bell: an event cuts a pause short, and a watch that fails costs nothing but speed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority, leaf
from support.kube import Kube
from support.waiting import eventually

from aggctl.system import watch
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.kubeconfig import Credentials, find_credentials
from aggctl.system.watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.sandboxes import Running

    Pause = Callable[[float], None]

pytestmark = pytest.mark.timeout(60)

HOUR = 3600.0
"""Only an event ends such a pause; without one the test runs into its timeout."""

SHORT = 0.1
PATH = "/api/v1/pods"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'{"type":"MODIFIED"}\n'


class Bell:
    """A server of watches that does what a test says; each connection belongs to one thread."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        pair = leaf(authority("kubernetes"), "kube-apiserver", "server", "127.0.0.1")
        (folder / "tls.pem").write_bytes(pair.certificate + pair.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "tls.pem")
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        self.goodbyes: list[bool] = []
        self._orders: list[SimpleQueue[Callable[[ssl.SSLSocket], Any] | None]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def ring(self, event: bytes = EVENT) -> None:
        """Send an event on the newest watch."""
        self._orders[-1].put(lambda connection: connection.sendall(b"%x\r\n%b\r\n" % (len(event), event)))

    def hang_up(self) -> None:
        """End the newest watch from this side."""
        self._orders[-1].put(lambda connection: connection.shutdown(socket.SHUT_RDWR))

    def close(self) -> None:
        """Wait for every client to go, and count those that did."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for each in self._orders:
            each.put(None)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                plain, _ = self._listener.accept()
                plain.settimeout(10)
                self._threads.append(threading.Thread(target=self._serve, args=(plain,)))
                self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
            self.asked.append(connection.recv(4096).decode())
            orders: SimpleQueue[Callable[[ssl.SSLSocket], Any] | None] = SimpleQueue()
            self._orders.append(orders)
            connection.sendall(self._answer)
            with contextlib.suppress(BrokenPipeError):
                for order in iter(orders.get, None):
                    order(connection)
            self.goodbyes.append(_ended(connection))


def _ended(connection: ssl.SSLSocket) -> bool:
    """Whether the client ends this connection, too."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def bell(folder: Path, answer: bytes = STREAM) -> Iterator[Bell]:
    """A server that holds every test to it: no connection is left open."""
    made = Bell(folder, answer)
    try:
        yield made
    finally:
        made.close()
    assert made.goodbyes == [True] * len(made.asked)


def cluster_at(address: str, **more: Any) -> Cluster:
    options = {"authority": authority("kubernetes").certificate, **more}
    return Cluster(lambda: Credentials("the test", address, **options), Files("/"))


def lasts(pause: Pause) -> bool:
    """Whether a pause lasts as long as it is asked to; a session ticket of TLS may cut the first short."""
    began = time.monotonic()
    pause(SHORT)
    return time.monotonic() - began >= SHORT


def assert_only_the_interval(pause: Pause) -> None:
    eventually(lambda: lasts(pause), "nothing wakes any more", 5)
    assert lasts(pause)


# --- events ------------------------------------------------------------------------------------------------


def test_an_event_ends_a_pause_and_the_next_pause_waits_again(tmp_path: Path) -> None:
    with bell(tmp_path) as server, watching(cluster_at(server.address), server.address, (PATH,)) as pause:
        for _ in range(3):
            assert_only_the_interval(pause)
            server.ring()
            pause(HOUR)


def test_an_event_during_the_pause_ends_it(tmp_path: Path) -> None:
    with bell(tmp_path) as server, watching(cluster_at(server.address), server.address, (PATH,)) as pause:
        assert_only_the_interval(pause)
        timer = threading.Timer(SHORT, server.ring)
        timer.start()
        pause(HOUR)
        timer.join()


def test_an_event_on_any_of_several_paths_ends_it(tmp_path: Path) -> None:
    both = (PATH, f"{PATH}?fieldSelector=metadata.name%3Dx")
    with bell(tmp_path) as server, watching(cluster_at(server.address), server.address, both) as pause:
        assert_only_the_interval(pause)
        server.ring()
        pause(HOUR)
        asked = [head.split()[1] for head in server.asked]
    cached = "watch=1&resourceVersion=0"
    assert asked == [f"{PATH}?{cached}", f"{PATH}?fieldSelector=metadata.name%3Dx&{cached}"]


def test_an_event_that_comes_in_many_parts_is_taken_whole(tmp_path: Path) -> None:
    with bell(tmp_path) as server, watching(cluster_at(server.address), server.address, (PATH,)) as pause:
        pause(0)
        server.ring(b"x" * 4 * watch.CHUNK)
        pause(HOUR)
        assert_only_the_interval(pause)


@pytest.mark.controlplane
def test_a_real_kube_apiserver_rings_for_what_is_watched_and_for_nothing_else(
    shared_sandbox: Running,
) -> None:
    kubeconfig = shared_sandbox.sandbox.kubeconfig
    cluster, kube = Cluster(lambda: find_credentials(str(kubeconfig), "", ""), Files("/")), Kube(kubeconfig)
    collection = "/api/v1/namespaces/default/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap"}
    watched = f"{collection}?fieldSelector=metadata.name%3Dwatched"
    with watching(cluster, cluster.credentials.server, (watched,)) as pause:
        kube.apply(f"{collection}/other", body | {"metadata": {"name": "other"}})
        assert_only_the_interval(pause)
        kube.apply(f"{collection}/watched", body | {"metadata": {"name": "watched"}})
        pause(HOUR)
        assert_only_the_interval(pause)
    for name in ("other", "watched"):
        kube.delete(f"{collection}/{name}")


@pytest.mark.controlplane
def test_a_change_before_the_first_pause_ends_that_at_once(shared_sandbox: Running) -> None:
    kubeconfig = shared_sandbox.sandbox.kubeconfig
    cluster, kube = Cluster(lambda: find_credentials(str(kubeconfig), "", ""), Files("/")), Kube(kubeconfig)
    early = "/api/v1/namespaces/default/configmaps/early"
    watched = "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dearly"
    with watching(cluster, cluster.credentials.server, (watched,)) as pause:
        kube.apply(early, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "early"}})
        pause(HOUR)
        kube.delete(early)
        pause(HOUR)


def test_who_never_pauses_asks_for_no_watch(tmp_path: Path) -> None:
    with bell(tmp_path) as server:
        with watching(cluster_at(server.address), server.address, (PATH,)):
            pass
        assert server.asked == []


# --- who asks ----------------------------------------------------------------------------------------------


def test_a_token_is_shown_to_the_server(tmp_path: Path) -> None:
    with bell(tmp_path) as server:
        cluster = cluster_at(server.address, token="very-secret")  # noqa: S106 -- a test's
        with watching(cluster, server.address, (PATH,)) as pause:
            pause(0)
        assert "\r\nAuthorization: Bearer very-secret\r\n" in server.asked[0]


@pytest.mark.parametrize(
    "more", [{"server_name": "kubernetes"}, {"authority": authority("another").certificate}]
)
def test_a_server_that_cannot_be_verified_hears_nothing(tmp_path: Path, more: dict[str, Any]) -> None:
    with bell(tmp_path) as server:
        with watching(cluster_at(server.address, **more), server.address, (PATH,)) as pause:
            assert_only_the_interval(pause)
        assert server.asked == []


# --- no watch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"220 no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["forbidden", "not found", "HTTP/1.0", "closed at once", "not HTTP", "silent"],
)
def test_a_watch_that_is_refused_leaves_the_interval(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CONNECT_SECONDS", 0.3)
    with bell(tmp_path, answer) as server:
        with watching(cluster_at(server.address), server.address, (PATH,)) as pause:
            assert_only_the_interval(pause)
        assert len(server.asked) == 1


def test_a_watch_that_breaks_leaves_the_interval(tmp_path: Path) -> None:
    with bell(tmp_path) as server, watching(cluster_at(server.address), server.address, (PATH,)) as pause:
        pause(0)
        server.hang_up()
        pause(HOUR)
        assert_only_the_interval(pause)


def test_a_server_that_is_not_there_leaves_the_interval(tmp_path: Path) -> None:
    with bell(tmp_path) as gone:
        pass
    before = open_files()
    with watching(cluster_at(gone.address), gone.address, (PATH, PATH)) as pause:
        assert_only_the_interval(pause)
    assert open_files() == before


def open_files() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def test_nothing_to_watch_needs_no_credentials() -> None:
    def none() -> Credentials:
        raise AssertionError("nobody asked for any")

    with watching(Cluster(none, Files("/")), "https://192.0.2.1", ()) as pause:
        assert lasts(pause)


def test_an_error_of_the_one_who_waits_closes_every_watch(tmp_path: Path) -> None:
    with (
        bell(tmp_path) as server,
        contextlib.suppress(KeyError),
        watching(cluster_at(server.address), server.address, (PATH, PATH)) as pause,
    ):
        pause(0)
        raise KeyError
    assert len(server.asked) == 2
