"""`aggctl certs rotate ca` on a real kube-apiserver with a real extension server."""

from __future__ import annotations

import signal
import ssl
import subprocess
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

import pytest
from support.hello import ask, hello_api
from support.killed import NEVER, killed, spread
from support.kube import API_SERVICES, MERGE, Kube, api_service
from support.load import load
from support.nodes import Node
from support.refusals import AGGCTL, aggctl, assert_decent
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.sandbox import components
from aggctl.system.kubeconfig import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hello import HelloApi
    from support.refusals import Said

pytestmark = pytest.mark.controlplane

API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
RECORD = "/api/v1/namespaces/kube-system/configmaps/aggctl-front-proxy-rotation"
KILL_POINTS = 9
AS_AGGREGATOR = {"X-Remote-User": "system:kube-aggregator", "X-Remote-Group": "system:masters"}


@dataclass(frozen=True)
class Place:
    """A node with the layer on, and an API that is registered there."""

    node: Node
    kube: Kube
    hello: HelloApi

    def rotate(self, *words: str) -> Said:
        return aggctl("certs", "rotate", *words, "--root", str(self.node.root))

    def replace(self, *words: str) -> Said:
        """Rotate the CA, also right after another time."""
        return self.rotate("ca", "--yes", "--again", *words)

    def file(self, name: str) -> Path:
        return self.node.root / "etc/kubernetes/pki" / name

    def authorities(self) -> list[str]:
        """Fingerprints of the file, in its order."""
        return prints(self.file("front-proxy-ca.crt").read_bytes())

    def published(self) -> list[str]:
        return prints(self.kube.get(CONFIG_MAP)["data"]["requestheader-client-ca-file"].encode())

    def leaf(self) -> pki.KeyPair:
        names = ("front-proxy-client.crt", "front-proxy-client.key")
        return pki.KeyPair(*(self.file(each).read_bytes() for each in names))

    def accepts(self, leaf: pki.KeyPair) -> bool:
        """Whether the extension server takes this leaf for the aggregator's."""
        context = tls_context((self.hello.folder / "ca.crt").read_bytes(), leaf.certificate, leaf.key)
        context.check_hostname = False  # it is dialled by its address
        connection = HTTPSConnection("127.0.0.1", self.hello.port, timeout=10, context=context)
        with closing(connection):
            try:
                return ask(connection, GREETINGS, AS_AGGREGATOR).status == 200
            except (ssl.SSLError, ConnectionError):  # which of them is a matter of who is first
                return False

    def record(self) -> str:
        """Everything in the journal that is no backup."""
        files = (self.node.root / "var/lib/aggctl").rglob("*.json*")
        return "".join(path.read_text() for path in files)


def prints(pem: bytes) -> list[str]:
    return [each.fingerprint for each in pki.read_certificates(pem)]


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("rotate-ca")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        node, kubeconfig = Node(running), running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = node.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield Place(node, Kube(kubeconfig), hello)


# --- the whole of it --------------------------------------------------------------------------------------


def test_a_whole_replacement_under_load_fails_no_request_and_restarts_nothing(place: Place) -> None:
    """The old leaf is accepted before, and refused after; the record says that it ended."""
    old, before, pid = place.leaf(), place.authorities(), place.node.running.apiserver().process
    assert place.accepts(old)
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        said = place.replace()
    assert said.status == 0, said.text
    assert_decent(said)
    assert requests.failed == {}
    assert requests.answered > 0
    assert place.node.running.apiserver().process == pid
    (new,) = place.authorities()
    assert new not in before
    assert place.published() == [new]
    assert place.accepts(place.leaf())
    assert not place.accepts(old)
    assert place.kube.get(RECORD)["data"]["finished"]


def test_files_keep_owner_and_mode_and_no_key_is_told(place: Place) -> None:
    said = place.replace()
    assert said.status == 0, said.text
    for name in ("front-proxy-ca.key", "front-proxy-client.key"):
        assert place.file(name).stat().st_mode & 0o777 == 0o600
        assert place.file(name).read_text() not in said.text + place.record()
    assert "PRIVATE KEY" not in said.text + place.record()
    assert not (place.node.root / "var/lib/aggctl/rotation").exists()
    leaf = pki.read_certificates(place.leaf().certificate)[0]
    assert leaf.common_name == "front-proxy-client"


def test_kubeadm_renews_the_leaf_with_the_new_ca(place: Place) -> None:
    """The first CA of the file is the one of the key, which is what kubeadm signs with."""
    kubeadm = components.find(components.COMPONENTS["kubeadm"])
    if kubeadm is None:
        pytest.skip("kubeadm not built yet: run `aggctl sandbox build kubeadm` once, or `make test`")
    said = place.replace("--stage", "switch")
    assert said.status == 0, said.text
    assert len(place.authorities()) == 2
    words = ["certs", "renew", "front-proxy-client", "--cert-dir", str(place.file("."))]
    admin = ["--kubeconfig", str(place.kube.kubeconfig)]
    subprocess.run([kubeadm.path, *words, *admin], check=True, capture_output=True)
    renewed = pki.read_certificates(place.leaf().certificate)[0]
    new = pki.read_certificates(place.file("front-proxy-ca.crt").read_bytes())[0]
    assert pki.signed_by(renewed, new)
    eventually(lambda: place.accepts(place.leaf()), "the renewed leaf is accepted")
    assert place.rotate("ca", "--yes").status == 0
    assert place.authorities() == [new.fingerprint]


# --- stages -----------------------------------------------------------------------------------------------


def test_each_stage_can_be_stopped_at_and_the_next_run_goes_on(place: Place) -> None:
    (old,), leaf = place.authorities(), place.leaf()
    assert place.replace("--stage", "trust").status == 0
    first, second = place.authorities()
    assert (first, place.leaf()) == (old, leaf)
    assert set(place.published()) == {old, second}
    again = place.rotate("ca", "--yes", "--stage", "trust")
    assert (again.status, place.authorities()) == (0, [old, second])
    assert place.rotate("ca", "--yes", "--stage", "switch").status == 0
    assert place.authorities() == [second, old]
    assert place.leaf() != leaf
    assert place.accepts(leaf)
    assert place.rotate("ca", "--yes").status == 0
    assert place.authorities() == [second]
    assert not place.accepts(leaf)


def test_a_soak_keeps_the_old_ca_trusted(place: Place) -> None:
    leaf = place.leaf()
    said = place.replace("--soak", "1h")
    assert (said.status, len(place.authorities())) == (0, 2), said.text
    assert "waits until" in said.out
    assert place.accepts(leaf)
    assert place.rotate("ca", "--yes", "--soak", "1s", "--wait").status == 0
    assert len(place.authorities()) == 1


def test_what_was_replaced_within_a_day_is_left_as_it_is(place: Place) -> None:
    assert place.replace().status == 0
    before = place.node.files()
    said = place.rotate("ca", "--yes")
    assert said.status == 0
    assert "Nothing to do" in said.out
    assert place.node.files() == before


@pytest.mark.parametrize("words", [("--dry-run",), ("--preflight-only",)], ids=" ".join)
def test_looking_ahead_changes_nothing(place: Place, words: tuple[str, ...]) -> None:
    before = place.node.files(), place.kube.everything()
    said = place.rotate("ca", "--again", *words)
    assert said.status == 0, said.text
    assert_decent(said)
    assert (place.node.files(), place.kube.everything()) == before


def test_after_a_leak_no_backup_holds_an_old_key(place: Place) -> None:
    place.replace()
    said = place.replace("--emergency")
    assert said.status == 0, said.text
    in_force = {place.file(name).read_bytes() for name in ("front-proxy-ca.key", "front-proxy-client.key")}
    backups = [path.read_bytes() for path in (place.node.root / "var/lib/aggctl").rglob("blobs/*")]
    assert {each for each in backups if b"PRIVATE KEY" in each} <= in_force


# --- what holds it ----------------------------------------------------------------------------------------


def test_an_endpoint_that_does_not_follow_holds_the_switch_by_name(place: Place) -> None:
    """A server that stands still: its watch of the ConfigMap gets nothing, nor do requests."""
    (old,) = place.authorities()
    said = place.replace("--stage", "trust")
    assert said.status == 0, said.text
    place.hello.process.send_signal(signal.SIGSTOP)
    try:
        said = place.rotate("ca", "--yes", "--timeout", "1s", "--request-timeout", "1s")
    finally:
        place.hello.process.send_signal(signal.SIGCONT)
    assert said.status == 3, said.text
    assert f"localhost:{place.hello.port}" in said.text
    assert place.authorities()[0] == old
    eventually(lambda: place.accepts(place.leaf()), "the server is back")
    eventually(lambda: place.rotate("ca", "--yes").status == 0, "the rotation goes on")


def test_an_api_that_is_broken_already_is_refused(place: Place) -> None:
    name, before = "v1.broken.example.com", place.node.files()
    place.kube.apply(f"{API_SERVICES}/{name}", api_service(name, "nobody"))
    try:
        said = place.replace("-o", "json")
        preflight = place.rotate("ca", "--preflight-only", "-o", "json")
    finally:
        place.kube.delete(f"{API_SERVICES}/{name}")
    assert said.status == preflight.status == 3
    assert "api-not-available" in said.codes
    assert "api-not-available" in preflight.codes
    assert place.node.files() == before


def test_without_the_ca_key_it_is_managed_externally(place: Place) -> None:
    key = place.file("front-proxy-ca.key")
    away = key.rename(key.with_suffix(".away"))
    try:
        said = place.replace("-o", "json")
    finally:
        away.rename(key)
    assert (said.status, said.codes) == (3, ["front-proxy-ca-external"])


def test_a_record_that_is_none_is_refused_and_stays(place: Place) -> None:
    record = place.kube.get(RECORD)
    place.kube.ask("PATCH", RECORD, {"data": {"nodes": "?"}}, MERGE)
    try:
        said = place.rotate("ca", "--yes", "-o", "json")
    finally:
        place.kube.ask("PATCH", RECORD, {"data": record["data"]}, MERGE)
    assert (said.status, said.codes) == (3, ["rotation-record-not-readable"])


# --- killed -----------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_killed_anywhere_traffic_goes_on_and_the_next_run_finishes(place: Place) -> None:
    """SIGKILL at points spread over all system calls, looks and requests of a whole replacement."""
    words = ("certs", "rotate", "ca", "--again", "--yes", "--root", str(place.node.root))
    points = spread(killed(words, NEVER), KILL_POINTS)
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        for point in points:
            killed(words, point)
            said = place.rotate("ca", "--yes")
            assert said.status == 0, (point, said.text)
            (new,) = place.authorities()
            assert place.published() == [new], point
            assert place.accepts(place.leaf()), point
            assert place.kube.get(RECORD)["data"]["finished"], point
    assert requests.failed == {}


def test_a_ca_that_is_also_the_one_of_ordinary_clients_is_replaced_by_one_of_its_own(place: Place) -> None:
    """A fault that tutorials make: afterwards a leaf of that CA is an ordinary client's, no more."""
    ca = pki.KeyPair(*(place.file(f"ca.{ending}").read_bytes() for ending in ("crt", "key")))
    leaf = pki.issue(ca, "front-proxy-client", datetime.now(UTC), usage="client")
    contents = {
        "front-proxy-ca.crt": ca.certificate,
        "front-proxy-ca.key": ca.key,
        "front-proxy-client.key": leaf.key,
        "front-proxy-client.crt": leaf.certificate,
    }
    for name, content in contents.items():
        draft = place.file(f".{name}")
        draft.write_bytes(content)
        draft.chmod(0o600)
        draft.replace(place.file(name))
    eventually(lambda: prints(ca.certificate)[0] in place.published(), "it is published")
    only = {"data": {"requestheader-client-ca-file": ca.certificate.decode()}}
    place.kube.ask("PATCH", CONFIG_MAP, only, MERGE)
    eventually(lambda: place.accepts(leaf), "the extension server takes it")
    said = place.replace()
    assert said.status == 0, said.text
    (new,) = place.authorities()
    assert place.published() == [new] != prints(ca.certificate)


# --- with a restart ---------------------------------------------------------------------------------------


def test_asked_for_a_restart_kube_apiserver_restarts_once_and_has_the_new_leaf(place: Place) -> None:
    """What versions below 1.20 need: it is away while the files change."""
    before, old = place.node.running.apiserver(), place.leaf()
    said = place.rotate("client", "--yes", "--restart")
    assert said.status == 0, said.text
    after = place.node.running.apiserver()
    assert (after.process != before.process, after.restarts - before.restarts) == (True, 1)
    assert place.leaf() != old
    eventually(lambda: place.kube.ask("GET", GREETINGS)[0] == 200, "the API answers")


def test_a_restart_that_does_not_come_to_pass_is_put_back(place: Place) -> None:
    """The stand-in kubelet stands still: kube-apiserver never ends; files and process stay as they were."""
    before, process = place.node.files(), place.node.running.apiserver().process
    run = subprocess.Popen(
        [*AGGCTL, "certs", "rotate", "client", "--restart", "--yes", "--root", str(place.node.root)],
        stdin=subprocess.DEVNULL,
    )
    with place.node.running.kubelet_stopped():
        eventually(lambda: not place.node.manifest.exists(), "the manifest is away")
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    assert place.node.files() == before
    assert place.node.running.apiserver().process == process


def test_connections_between_kube_apiservers_hold_the_end_for_five_minutes(place: Place) -> None:
    """With --peer-ca-file they show an old leaf for as long; a leaked key does not wait for that."""
    before = place.node.running.apiserver()
    place.node.running.add_flag("--peer-ca-file=/etc/kubernetes/pki/ca.crt")
    place.node.running.await_other(before)
    said = place.replace()
    assert (said.status, len(place.authorities())) == (0, 2), said.text
    assert "waits until" in said.out
    assert place.rotate("ca", "--yes", "--emergency").status == 0
    assert len(place.authorities()) == 1
