"""The front-proxy CA replaced on two control-plane nodes: two kube-apiservers on one etcd, under load."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.hello import hello_api
from support.kube import API_SERVICES, Kube, api_service
from support.load import load
from support.refusals import AGGCTL, aggctl
from support.sandboxes import kill
from support.two_nodes import two_nodes_in
from support.waiting import eventually

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.load import Load
    from support.nodes import Node
    from support.refusals import Said
    from support.two_nodes import TwoNodes

pytestmark = pytest.mark.controlplane

API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
UPLOADED = "/api/v1/namespaces/kube-system/secrets/aggctl-front-proxy-ca"
KEY = re.compile(r"--certificate-key ([0-9a-f]{64})")


@dataclass(frozen=True)
class Place:
    """Two nodes, and an API of a server beside them."""

    nodes: TwoNodes

    @property
    def kube(self) -> Kube:
        return Kube(self.nodes.first.running.sandbox.kubeconfig)

    def under_load(self, stack: ExitStack) -> list[Load]:
        """Requests through each kube-apiserver."""
        configs = [node.running.sandbox.kubeconfig for node in self.nodes.both]
        return [stack.enter_context(load(each, GREETINGS)) for each in configs]

    def processes(self) -> list[object]:
        return [node.running.apiserver().process for node in self.nodes.both]

    def published(self) -> list[str]:
        return prints(self.kube.get(CONFIG_MAP)["data"]["requestheader-client-ca-file"].encode())


def rotate(node: Node, kind: str, *words: str) -> Said:
    return aggctl("certs", "rotate", kind, "--yes", *words, "--root", str(node.root))


def authorities(node: Node) -> list[str]:
    return prints((node.root / "etc/kubernetes/pki/front-proxy-ca.crt").read_bytes())


def prints(pem: bytes) -> list[str]:
    return [each.fingerprint for each in pki.read_certificates(pem)]


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("rotate-two-nodes")
    with two_nodes_in(folder) as nodes:
        kubeconfig = nodes.first.running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = nodes.first.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield Place(nodes)


def test_run_on_each_node_in_turn_no_request_fails_and_nothing_restarts(place: Place) -> None:
    """The first prints the key by which the second takes the new CA; both go on as far as is safe."""
    first, second = place.nodes.both
    before, (old,) = place.processes(), authorities(first)
    with ExitStack() as stack:
        requests = place.under_load(stack)
        begun = rotate(first, "ca")
        assert begun.status == 0, begun.text
        assert second.url in begun.out
        key = KEY.search(begun.out)
        assert key, begun.text
        took = rotate(second, "ca", "--certificate-key", key[1])
        assert took.status == 0, took.text
        for _ in range(2):  # each round ends where the other node is waited for
            for node in place.nodes.both:
                assert rotate(node, "ca").status == 0
    assert [each.failed for each in requests] == [{}, {}]
    assert all(each.answered for each in requests)
    assert place.processes() == before
    (new,) = authorities(first)
    assert new != old
    assert (authorities(second), place.published()) == ([new], [new])
    assert place.kube.get(UPLOADED) is None
    assert not (first.root / "var/lib/aggctl/rotation").exists()
    assert not (second.root / "var/lib/aggctl/rotation").exists()


def test_two_that_wait_for_each_other_finish_together(place: Place) -> None:
    """With the new CA as files, and --wait."""
    first, second = place.nodes.both
    (old,) = authorities(first)
    assert rotate(first, "ca", "--again", "--stage", "trust").status == 0
    folder = str(place.nodes.first.root.parent / "carried")
    assert aggctl("certs", "export", folder, "--root", str(first.root)).status == 0
    missing = rotate(second, "ca", "-o", "json")
    assert (missing.status, missing.codes) == (3, ["next-ca-missing"])
    assert aggctl("certs", "import", folder, "--root", str(second.root)).status == 0
    words = ["certs", "rotate", "ca", "--yes", "--wait", "-o", "json", "--root", str(first.root)]
    waiting = subprocess.Popen([*AGGCTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        done = rotate(second, "ca", "--wait")
        out, _ = waiting.communicate(timeout=120)
    finally:
        waiting.kill()
        waiting.wait()
    assert done.status == 0, done.text
    assert waiting.returncode == 0, out
    assert json.loads(out)["outcome"] in ("applied", "unchanged")
    assert authorities(first) == authorities(second) == place.published() != [old]


def test_each_node_renews_its_own_leaf_and_one_serving_certificate_is_for_both(place: Place) -> None:
    before = place.processes()
    with ExitStack() as stack:
        requests = place.under_load(stack)
        for node in place.nodes.both:
            said = rotate(node, "client")
            assert said.status == 0, said.text
        hello = place.nodes.first.running.directory.parent / "hello"
        said = rotate(place.nodes.first, "serving", API, "--cert-out", str(hello))
        assert said.status == 0, said.text
    assert [each.failed for each in requests] == [{}, {}]
    assert place.processes() == before


def test_two_that_begin_at_the_same_moment_do_not_make_two_cas(place: Place) -> None:
    """One of them is refused, with nothing changed there, and takes the other's."""
    (old,) = place.published()
    runs = [
        subprocess.Popen(
            [*AGGCTL, "certs", "rotate", "ca", "--again", "--yes", "--root", str(node.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in place.nodes.both
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 3], said
    first, late = sorted(range(2), key=lambda number: runs[number].returncode)
    assert "rotation-begun-elsewhere" in said[late][1] or "next-ca-missing" in said[late][1], said
    assert authorities(place.nodes.both[late]) == [old]
    key = KEY.search(said[first][0])
    assert key, said
    assert rotate(place.nodes.both[late], "ca", "--certificate-key", key[1]).status == 0
    for _ in range(2):
        for node in place.nodes.both:
            assert rotate(node, "ca").status == 0
    (new,) = place.published()
    assert new != old
    assert [authorities(node) for node in place.nodes.both] == [[new], [new]]


def test_a_node_that_is_away_blocks_by_name_until_it_is_back(place: Place) -> None:
    """Its kubelet stands still and its kube-apiserver is dead, in the middle of a replacement."""
    first, second = place.nodes.both
    begun = rotate(first, "ca", "--again")
    key = KEY.search(begun.out)
    assert key, begun.text
    with second.running.kubelet_stopped():
        kill(second.running.apiserver().process)
        said = rotate(first, "ca", "-o", "json")
        assert said.status == 3, said.text
        assert second.url in said.out
        preflight = rotate(first, "ca", "--preflight-only", "-o", "json")
        assert "apiserver-not-asked" in preflight.codes
        lost = "v1.lost.example.org"
        place.kube.apply(f"{API_SERVICES}/{lost}", api_service(lost, "lost"))
        said = rotate(first, "ca", "-o", "json")  # what it ends at first may come of a node that is away
        assert (said.status, set(said.codes)) == (3, {"api-not-available", "apiserver-not-asked"})
        place.kube.delete(f"{API_SERVICES}/{lost}")
    eventually(second.ready, "the second node is back")
    assert rotate(second, "ca", "--certificate-key", key[1]).status == 0
    for _ in range(2):
        for node in place.nodes.both:
            assert rotate(node, "ca").status == 0
    assert authorities(first) == authorities(second) == place.published()
    assert len(place.published()) == 1


def test_a_node_with_another_ca_is_refused(place: Place) -> None:
    """The cluster publishes a CA that the second node lacks."""
    first, second = place.nodes.both
    assert rotate(first, "ca", "--again", "--stage", "trust").status == 0
    record = "/api/v1/namespaces/kube-system/configmaps/aggctl-front-proxy-rotation"
    kept = place.kube.get(record)
    place.kube.delete(record)
    try:
        said = rotate(second, "ca", "-o", "json")
        assert (said.status, said.codes) == (3, ["another-ca-published"])
    finally:
        fresh = {key: kept[key] for key in ("apiVersion", "kind", "data")}
        place.kube.apply(record, fresh | {"metadata": {"name": kept["metadata"]["name"]}})
