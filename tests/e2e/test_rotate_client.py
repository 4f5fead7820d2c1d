"""`aggctl certs rotate client` on a real kube-apiserver, proven by the serial that a real API is shown."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from support.hello import hello_api
from support.https import authority
from support.https import leaf as leaf_below
from support.killed import NEVER, killed
from support.kube import API_SERVICES, Kube, api_service
from support.load import load
from support.nodes import Node
from support.refusals import BadNode, aggctl, assert_decent, assert_document, tree
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.hello import HelloApi
    from support.refusals import Said

pytestmark = pytest.mark.controlplane

API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
LEAF, KEY = "front-proxy-client.crt", "front-proxy-client.key"
Pair = tuple[bytes, bytes]


def renew(root: Path, *words: str) -> Said:
    """Run the console script on the node below `root`."""
    return aggctl("certs", "rotate", "client", "--root", str(root), *words)


@dataclass(frozen=True)
class Place:
    """A node with the layer on, and an API that is registered there."""

    node: Node
    kube: Kube
    hello: HelloApi

    def renew(self, *words: str) -> Said:
        return renew(self.node.root, *words)

    def pki(self, name: str) -> Path:
        return self.node.root / "etc/kubernetes/pki" / name

    def pair(self) -> Pair:
        """Certificate and key on disk."""
        return self.pki(LEAF).read_bytes(), self.pki(KEY).read_bytes()

    def is_shown(self, pair: Pair) -> None:
        """Wait until the extension server notes the serial of this certificate for a new request."""
        serial = f"client-serial={x509.load_pem_x509_certificate(pair[0]).serial_number:x} "

        def asked() -> bool:
            noted = len(self.hello.log)
            assert self.kube.ask("GET", GREETINGS)[0] == 200
            line = eventually(lambda: requests_in(self.hello.log[noted:]), "the request is in its log")
            return serial in line

        eventually(asked, f"{serial}is shown")

    def everything(self) -> object:
        """What a command could have changed: the node with its journal, and the cluster."""
        return tree(self.node.root / "etc"), tree(self.node.root / "var/lib"), self.kube.everything()


def requests_in(log: str) -> str:
    """The last whole line about our requests; empty where there is none."""
    return next((line for line in reversed(log.splitlines()) if GREETINGS in line and "serial" in line), "")


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("rotate-client")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        node, kubeconfig = Node(running), running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = node.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield Place(node, Kube(kubeconfig), hello)


# --- renewed ----------------------------------------------------------------------------------------------


def test_a_renewal_under_load_fails_no_request_and_restarts_nothing(place: Place) -> None:
    old, process = place.pair(), place.node.running.apiserver().process
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        said = place.renew("--yes")
    assert said.status == 0, said.text
    assert_decent(said)
    assert requests.failed == {}
    assert requests.answered >= 100
    assert place.node.running.apiserver().process == process
    new = place.pair()
    assert new[0] != old[0]
    assert new[1] != old[1]
    place.is_shown(new)


def test_the_new_certificate_has_the_old_name_the_same_ca_and_a_year_to_live(place: Place) -> None:
    (old,) = pki.read_certificates(place.pair()[0])
    assert place.renew("--yes").status == 0
    (new,) = pki.read_certificates(place.pair()[0])
    assert (new.common_name, new.organizations) == (old.common_name, old.organizations)
    assert pki.signed_by(new, pki.read_certificates(place.pki("front-proxy-ca.crt").read_bytes())[0])
    assert (new.not_after - new.not_before).days == 365


def test_the_key_stays_for_root_alone_and_is_told_to_nobody(place: Place) -> None:
    modes = {name: place.pki(name).stat().st_mode & 0o777 for name in (LEAF, KEY)}
    old = place.pair()[1].decode()
    said = place.renew("--yes", "-v", "-o", "json")
    assert said.status == 0, said.text
    assert_document(said)
    assert {name: place.pki(name).stat().st_mode & 0o777 for name in (LEAF, KEY)} == modes
    assert modes[KEY] == 0o600
    for key in (old, place.pair()[1].decode()):
        assert key.splitlines()[1] not in said.text + place.node.record()
    assert "PRIVATE KEY" not in said.text + place.node.record()


def test_a_rollback_brings_the_old_pair_back_into_use_with_no_failed_request(place: Place) -> None:
    old = place.pair()
    assert place.renew("--yes").status == 0
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        done = place.node.aggctl("rollback", "--yes")
    assert done.returncode == 0, done.stderr
    assert requests.failed == {}
    assert place.pair() == old
    place.is_shown(old)


# --- nothing changed --------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_it_tried_and_writes_nothing(place: Place) -> None:
    before = place.everything()
    said = place.renew("--dry-run", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "planned"), said.text
    assert [each["target"].rpartition("/")[2] for each in said.document["changes"]] == [KEY, LEAF]
    assert place.everything() == before


def test_without_a_terminal_and_without_yes_nothing_is_changed(place: Place) -> None:
    before = place.everything()
    said = place.renew()
    assert said.status == 3, said.text
    assert "--yes" in said.err
    assert place.everything() == before


def test_an_api_that_is_broken_already_is_refused(place: Place) -> None:
    name, before = "v1.broken.example.com", place.pair()
    place.kube.apply(f"{API_SERVICES}/{name}", api_service(name, "nobody"))
    try:
        said = place.renew("--yes", "-o", "json")
    finally:
        place.kube.delete(f"{API_SERVICES}/{name}")
    assert (said.status, said.codes) == (3, ["api-not-available"]), said.text
    assert name in said.text
    assert place.pair() == before


def test_an_endpoint_that_is_silent_is_refused_by_name(place: Place) -> None:
    before = place.pair()
    place.hello.process.send_signal(signal.SIGSTOP)
    try:
        said = place.renew("--yes", "--request-timeout", "1s", "-o", "json")
    finally:
        place.hello.process.send_signal(signal.SIGCONT)
    assert (said.status, said.codes) == (3, ["endpoint-not-asked"]), said.text
    assert f"localhost:{place.hello.port}" in said.text
    assert place.pair() == before


def without(name: str) -> Callable[[BadNode], None]:
    return lambda node: (node.pki / name).unlink()


def with_another_ca(node: BadNode) -> None:
    """A CA with its key that nobody trusts but this node's files."""
    ca = authority("front-proxy-ca")
    pair = leaf_below(ca, "front-proxy-client")
    for stem, each in (("front-proxy-ca", ca), ("front-proxy-client", pair)):
        (node.pki / f"{stem}.crt").write_bytes(each.certificate)
        (node.pki / f"{stem}.key").write_bytes(each.key)


def with_a_foreign_link(node: BadNode) -> None:
    """The certificate as a link that leads out of the volumes of the Pod."""
    node.write("srv/leaf.crt", (node.pki / LEAF).read_text())
    (node.pki / LEAF).unlink()
    (node.pki / LEAF).symlink_to("/srv/leaf.crt")


def with_the_file_mounted_alone(node: BadNode) -> None:
    path = f"/etc/kubernetes/pki/{LEAF}"
    node.edit("    volumeMounts:\n", f"    volumeMounts:\n    - mountPath: {path}\n      name: leaf\n")
    node.edit("  volumes:\n", f"  volumes:\n  - hostPath:\n      path: {path}\n    name: leaf\n")


def with_garbage(node: BadNode) -> None:
    (node.pki / LEAF).write_text("no certificate\n")


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (without("front-proxy-ca.key"), ["front-proxy-ca-external"]),
        (without(LEAF), ["client-certificate-missing"]),
        (without(KEY), ["client-certificate-missing"]),
        (with_another_ca, ["client-certificate-not-accepted", "endpoint-refuses-identity"]),
        (with_a_foreign_link, ["file-not-mounted"]),
        (with_the_file_mounted_alone, ["file-mounted-alone"]),
        (with_garbage, ["certificate-not-readable", "client-certificate-missing"]),
    ],
    ids=[
        "CA key elsewhere",
        "no certificate",
        "no key",
        "CA of nobody",
        "foreign link",
        "single-file mount",
        "garbage",
    ],
)
def test_a_node_that_cannot_renew_is_refused_with_nothing_changed(
    place: Place, tmp_path: Path, spoil: Callable[[BadNode], None], codes: list[str]
) -> None:
    """On a copy of the node's files; the kube-apiserver that is asked is the real one."""
    shutil.copytree(place.node.root, tmp_path / "root", symlinks=True)
    node = BadNode(tmp_path / "root")
    spoil(node)
    before = node.tree()
    said = renew(node.root, "--yes", "-o", "json")
    assert (said.status, said.codes) == (3, codes), said.text
    assert said.document["outcome"] == "refused"
    assert_decent(said)
    assert_document(said)
    assert node.tree() == before


# --- put back, killed, restarted --------------------------------------------------------------------------


def test_a_pair_that_is_not_taken_in_time_is_put_back_with_no_failed_request(
    place: Place, tmp_path: Path
) -> None:
    """On a copy of the files, as behind a mount of which the Pod sees another folder."""
    shutil.copytree(place.node.root, tmp_path / "root", symlinks=True)
    node = BadNode(tmp_path / "root")
    before = tree(node.root / "etc")
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        said = renew(node.root, "--yes", "--timeout", "2s", "-o", "json")
    assert (said.status, said.document["outcome"]) == (1, "rolled-back"), said.text
    assert said.codes == ["client-certificate-not-loaded"]
    assert_decent(said)
    assert_document(said)
    assert requests.failed == {}
    assert tree(node.root / "etc") == before


@pytest.mark.timeout(300)
def test_killed_between_key_and_certificate_traffic_goes_on_and_the_next_run_finishes(place: Place) -> None:
    """SIGKILL at points that close in on the one between the two renames."""
    words = ("certs", "rotate", "client", "--yes", "--root", str(place.node.root))
    low, high, hit = 0, killed(words, NEVER), False
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        while not hit:
            assert high - low > 1, "no point between the two renames was found"
            point, before = (low + high) // 2, place.pair()
            killed(words, point)
            there = place.pair()
            changed = [now != then for now, then in zip(there, before, strict=True)]
            hit = changed == [False, True]
            low, high = (low, point) if changed[0] else (point, high)
            said = place.renew("--yes")
            assert said.status == 0, (point, said.text)
            assert not {*place.pair()} & {*before, *there}, point
            place.is_shown(place.pair())
    assert requests.failed == {}
    assert "PRIVATE KEY" not in place.node.record()


def test_by_restart_kube_apiserver_comes_back_with_the_new_certificate(place: Place) -> None:
    """For versions that read it at their start only; the manifest is back as it was."""
    before, manifest = place.node.running.apiserver(), place.node.manifest.read_bytes()
    old = place.pair()
    said = place.renew("--yes", "--restart")
    assert said.status == 0, said.text
    assert place.node.running.apiserver().process != before.process
    assert place.node.manifest.read_bytes() == manifest
    assert place.pair()[0] != old[0]
    place.is_shown(place.pair())
