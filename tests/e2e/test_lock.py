"""Control-plane nodes take turns: the Lease on real kube-apiservers, by the real console script."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from support.accounts import RBAC, kubeconfig_of, new_account
from support.hello import hello_api
from support.kube import API_SERVICES, Kube
from support.refusals import AGGCTL, aggctl, assert_decent, assert_document
from support.sandboxes import kill
from support.two_nodes import two_nodes_in
from support.waiting import eventually

from aggctl.core.certs.record import PATH as RECORD
from aggctl.core.certs.sealed import PATH as UPLOADED
from aggctl.core.lease import NAME
from aggctl.core.lease import PATH as LEASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.nodes import Node
    from support.two_nodes import TwoNodes

    Run = subprocess.Popen[str]

pytestmark = pytest.mark.controlplane

OTHER = "node-9_enable_another-boot.1.1"
ENABLE = ("enable", "--routing", "on", "--yes")
API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
SECONDS = 120.0


@pytest.fixture(scope="module")
def nodes(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:  # noqa: ARG001 -- asked for to be skipped without them
    with two_nodes_in(tmp_path_factory.mktemp("lock")) as both:
        yield both


@pytest.fixture
def first(nodes: TwoNodes) -> Iterator[Node]:
    """The first of two nodes, on which routing is all that is missing, before and after the test."""
    before = [node.files() for node in nodes.both]
    yield nodes.first
    release(nodes.first)
    for node in nodes.both:
        eventually(node.ready, "it is ready")
    for node in nodes.both:
        said = aggctl("rollback", "--yes", "--root", str(node.root))
        assert said.status == 0, said.text
    assert [node.files() for node in nodes.both] == before
    assert lease(nodes.first) is None


def kube(node: Node) -> Kube:
    return Kube(node.running.sandbox.kubeconfig)


def lease(node: Node) -> Any:
    return kube(node).get(LEASE)


def release(node: Node) -> None:
    kube(node).delete(LEASE)


def hold(node: Node, seconds: int = 600) -> Any:
    """Another node's Lease, which nobody renews; it is that of a live one for so many seconds."""
    times = dict.fromkeys(("acquireTime", "renewTime"), "2026-03-01T12:00:00.000000Z")
    spec = {"holderIdentity": OTHER, "leaseDurationSeconds": seconds, **times}
    metadata = {"name": NAME, "namespace": "kube-system"}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    status, made = kube(node).ask("POST", LEASE.rpartition("/")[0], body)
    assert status == 201, made
    return made


def on(node: Node, *words: str) -> Run:
    """The console script at work on a node."""
    return subprocess.Popen(
        [*AGGCTL, *words, "--root", str(node.root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def waiting(node: Node, *words: str) -> Iterator[Run]:
    """The same once it says for whom it waits."""
    run = on(node, *words)
    try:
        assert run.stderr
        said = ""
        while "waiting for it to end" not in said:
            line = run.stderr.readline()
            assert line, said
            said += line
        assert "aggctl enable on node-9" in said
        yield run
    finally:
        run.kill()
        run.communicate()


# --- another holder ---------------------------------------------------------------------------------------


def test_who_meets_another_holder_changes_nothing_until_that_one_has_ended(first: Node) -> None:
    hold(first)
    before = first.manifest.read_bytes()
    with waiting(first, *ENABLE) as run:
        assert first.manifest.read_bytes() == before
        release(first)
        assert run.wait(SECONDS) == 0
    assert first.manifest.read_bytes() != before
    assert lease(first) is None


def test_a_holder_that_died_is_passed_over_when_its_lease_is_up(first: Node) -> None:
    """Its clock is months behind ours; that it was not seen to renew is what counts."""
    hold(first, seconds=2)
    said = aggctl(*ENABLE, "--root", str(first.root))
    assert said.status == 0, said.text
    assert "aggctl enable on node-9" in said.err
    assert lease(first) is None


def test_a_holder_that_goes_on_renewing_is_refused_by_name_with_nothing_changed(first: Node) -> None:
    live = hold(first, seconds=2)
    before, over = first.files(), threading.Event()

    def renew() -> None:
        number = 0
        while not over.wait(0.3):
            number += 1
            spec = {"renewTime": f"2026-03-01T12:00:00.{number:06d}Z"}
            kube(first).ask("PATCH", LEASE, {"spec": spec}, "application/merge-patch+json")

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        said = aggctl(*ENABLE, "--timeout", "3s", "-o", "json", "--root", str(first.root))
    finally:
        over.set()
        thread.join()
    assert (said.status, said.document["outcome"], said.codes) == (3, "refused", ["control-plane-busy"])
    assert_document(said)
    assert_decent(said)
    assert "aggctl enable on node-9" in said.out
    assert first.files() == before
    assert lease(first)["metadata"]["uid"] == live["metadata"]["uid"]


@pytest.mark.parametrize(
    "words",
    [ENABLE, ("certs", "rotate", "client", "--yes"), ("certs", "rotate", "ca", "--yes")],
    ids=" ".join,
)
def test_an_interrupt_while_waiting_leaves_everything_as_it_is(first: Node, words: tuple[str, ...]) -> None:
    live, before = hold(first), first.files()
    with waiting(first, *words) as run:
        run.send_signal(signal.SIGINT)
        assert run.wait(SECONDS) == 130
    assert first.files() == before
    assert lease(first)["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    for each in (RECORD, UPLOADED):  # of the CA's replacement, which had begun with no file changed
        kube(first).delete(each)


def test_without_the_lock_nobody_is_waited_for_and_the_other_ones_stays(first: Node) -> None:
    live = hold(first)
    said = aggctl(*ENABLE, "--no-lock", "--root", str(first.root))
    assert said.status == 0, said.text
    assert lease(first)["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


def test_a_dry_run_and_a_run_with_nothing_to_do_neither_wait_nor_take_it(first: Node) -> None:
    assert aggctl(*ENABLE, "--root", str(first.root)).status == 0
    live = hold(first)
    for words in (("rollback", "--dry-run"), ENABLE, ("certs", "rotate", "client", "--dry-run")):
        said = aggctl(*words, "-o", "json", "--root", str(first.root))
        assert (said.status, said.document["outcome"] in ("planned", "unchanged")) == (0, True), said.text
    assert lease(first)["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


# --- its own end ------------------------------------------------------------------------------------------


def test_it_is_renewed_through_the_other_kube_apiserver_while_this_one_is_away(
    first: Node, nodes: TwoNodes
) -> None:
    other = kube(nodes.second)
    before = first.manifest.read_bytes()
    with first.running.kubelet_stopped():
        run = on(first, *ENABLE)
        eventually(lambda: first.manifest.read_bytes() != before, "the manifest is replaced")
        began = other.get(LEASE)["spec"]["renewTime"]
        kill(first.running.apiserver().process)
        eventually(lambda: other.get(LEASE)["spec"]["renewTime"] != began, "it is renewed")
    out, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, out + err
    assert lease(first) is None


def test_an_interrupt_gives_it_back_with_all_the_rest(first: Node, nodes: TwoNodes) -> None:
    before, manifest = first.files(), first.manifest.read_bytes()
    run = on(first, *ENABLE)
    eventually(lambda: first.manifest.read_bytes() != manifest, "the manifest is replaced")
    assert lease(nodes.second)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 130, out + err
    assert (first.files(), lease(first)) == (before, None)


def test_the_lease_of_a_killed_one_is_taken_at_once_on_its_own_machine(first: Node, nodes: TwoNodes) -> None:
    """From another machine it is waited for to its end, as of any holder that died."""
    before = first.manifest.read_bytes()
    run = on(first, *ENABLE)
    eventually(lambda: first.manifest.read_bytes() != before, "the manifest is replaced")
    run.kill()
    run.communicate()
    killed = lease(nodes.second)["spec"]["holderIdentity"]
    eventually(lambda: routed(first) and first.ready(), "kube-apiserver runs by the new manifest")
    said = aggctl(*ENABLE, "--root", str(nodes.second.root))
    assert said.status == 0, said.text
    assert "control-plane lock" not in said.err
    assert str(run.pid) in killed
    assert lease(first) is None
    assert aggctl(*ENABLE, "--root", str(first.root)).status == 0  # finds its change in force, and closes it


def routed(node: Node) -> bool:
    return any("--enable-aggregator-routing=true" in each.argv for each in node.processes())


# --- two at the same moment -------------------------------------------------------------------------------


@dataclass
class Watch:
    """What was seen of both kube-apiservers and of the Lease, twenty times a second."""

    holders: list[str] = field(default_factory=list)
    away: dict[str, int] = field(default_factory=dict)
    both_away: int = 0


@contextmanager
def watched(nodes: TwoNodes) -> Iterator[Watch]:
    seen, over = Watch(), threading.Event()

    def ask(node: Node, path: str) -> tuple[int, Any]:
        try:
            return kube(node).ask("GET", path)
        except urllib3.exceptions.HTTPError:
            return 0, {}

    def look() -> None:
        while not over.wait(0.05):
            away = [node.url for node in nodes.both if ask(node, "/readyz")[0] != 200]
            seen.both_away += len(away) == 2
            for url in away:
                seen.away[url] = seen.away.get(url, 0) + 1
            found = [ask(node, LEASE) for node in nodes.both if node.url not in away]
            holder = next((each["spec"]["holderIdentity"] for status, each in found if status == 200), "")
            if holder and holder not in seen.holders[-1:]:
                seen.holders.append(holder)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_two_nodes_that_restart_at_the_same_moment_are_never_away_at_once(
    first: Node, nodes: TwoNodes
) -> None:
    hold(first)
    with watched(nodes) as seen, waiting(first, *ENABLE) as one, waiting(nodes.second, *ENABLE) as two:
        release(first)
        assert [run.wait(SECONDS) for run in (one, two)] == [0, 0]
    assert seen.both_away == 0
    assert set(seen.away) == {node.url for node in nodes.both}
    assert [each for each in seen.holders if each != OTHER] == list(dict.fromkeys(seen.holders))[-2:]


# --- before a restart -------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--no-lock",)], ids=["with the lock", "without"])
def test_no_node_restarts_while_the_other_one_is_not_ready(
    first: Node, nodes: TwoNodes, more: tuple[str, ...]
) -> None:
    second, before = nodes.second, first.files()
    with second.running.kubelet_stopped():
        kill(second.running.apiserver().process)
        said = aggctl(*ENABLE, *more, "-o", "json", "--root", str(first.root))
    assert (said.status, said.document["outcome"], said.codes) == (3, "refused", ["peer-not-ready"])
    assert said.document["findings"][0]["subject"] == second.url
    assert_document(said)
    assert_decent(said)
    assert (first.files(), lease(first)) == (before, None)
    eventually(second.ready, "the second one is back")


def test_an_undo_of_what_succeeded_waits_for_the_other_one_as_well(first: Node, nodes: TwoNodes) -> None:
    second = nodes.second
    assert aggctl(*ENABLE, "--root", str(first.root)).status == 0
    before = first.files()
    with second.running.kubelet_stopped():
        kill(second.running.apiserver().process)
        said = aggctl("rollback", "--yes", "-o", "json", "--root", str(first.root))
    assert (said.status, said.codes) == (3, ["peer-not-ready"])
    assert first.files() == before
    eventually(second.ready, "the second one is back")


# --- rights -----------------------------------------------------------------------------------------------


@pytest.fixture
def operator(first: Node, tmp_path: Path) -> Path:
    """The kubeconfig of a user who may do everything but with Leases."""
    groups = ["", "apiregistration.k8s.io", "discovery.k8s.io", "authentication.k8s.io"]
    rules = [
        {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "operator"}, "rules": rules}
    new_account(kube(first), "operator", role)
    return kubeconfig_of(kube(first), "operator", tmp_path / "operator.conf")


def test_without_rights_on_leases_the_rights_are_named_and_the_way_without(
    first: Node, operator: Path
) -> None:
    words = (*ENABLE, "--kubeconfig", str(operator), "--root", str(first.root))
    before = first.files()
    said = aggctl(*words, "-o", "json")
    assert (said.status, said.codes) == (3, ["no-rights-in-cluster"]), said.text
    (finding,) = said.document["findings"]
    assert "leases" in finding["expected"]
    assert "--no-lock" in finding["fix"]
    assert first.files() == before
    without = aggctl(*words, "--no-lock")
    assert without.status == 0, without.text


# --- certificates -----------------------------------------------------------------------------------------


def test_two_timers_at_the_same_moment_renew_a_serving_certificate_once(
    nodes: TwoNodes, tmp_path: Path
) -> None:
    """Both saw the old certificate; the second one finds it renewed when its turn comes."""
    config, words = nodes.first.running.sandbox.kubeconfig, ("certs", "rotate", "serving", API, "--yes")
    with hello_api(tmp_path / "hello", config, (SERVICE,)) as hello:
        at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
        done = nodes.first.aggctl("register", API, "--name", "hello", *at)
        assert done.returncode == 0, done.stderr
        where = ("--cert-out", str(hello.folder))
        since = kube(nodes.first).get(API_SERVICES)["metadata"]["resourceVersion"]
        hold(nodes.first)
        with waiting(nodes.first, *words, *where) as one, waiting(nodes.second, *words, *where) as two:
            release(nodes.first)
            said = [run.communicate(timeout=SECONDS) for run in (one, two)]
        assert [run.returncode for run in (one, two)] == [0, 0], said
        assert sorted("Nothing to renew any more" in out for out, _ in said) == [False, True], said
        assert len(bundles_since(nodes.first, since)) == 2  # both CAs, then the new one alone
        done = nodes.first.aggctl("unregister", API, "--yes")
        assert done.returncode == 0, done.stderr
    assert lease(nodes.first) is None


def bundles_since(node: Node, version: str) -> list[str]:
    """Every caBundle that the API has had since a resourceVersion, in their order."""
    query = f"?watch=true&resourceVersion={version}&timeoutSeconds=1&fieldSelector=metadata.name={API}"
    _, found = kube(node).ask("GET", f"{API_SERVICES}{query}")
    every = [json.loads(line)["object"]["spec"]["caBundle"] for line in found.splitlines()]
    return [each for number, each in enumerate(every) if not number or each != every[number - 1]]
