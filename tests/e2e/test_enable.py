"""`aggctl enable` and `rollback` on a real kube-apiserver, by the real console script."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.nodes import Node
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.core.flags import AGGREGATION_FLAGS, ROUTING
from aggctl.core.need import Wanted
from aggctl.core.questions import ArgumentsAccepted, AskAs, WhoSeen
from aggctl.workflows.enable import enable
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aggctl.core.questions import Question
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports

pytestmark = pytest.mark.controlplane
KEY_TEXT = "PRIVATE KEY"


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    """One node for the tests of this file; each leaves the layer off."""
    with sandbox_in(tmp_path_factory.mktemp("enable") / "sandbox") as running:
        yield Node(running)


@pytest.fixture
def off(node: Node) -> Iterator[Node]:
    """The node with the layer off, before and, by rollback, after the test."""
    before = node.files()
    yield node
    node.aggctl("rollback", "--yes")
    assert node.files() == before


def run(node: Node, wanted: Wanted, ports: Ports | None = None) -> Report:
    return enable(ports or node.ports(), wanted, Manner(dry_run=False, confirm=lambda _: True))


def test_enable_brings_the_flags_into_force_and_publishes_the_ca(off: Node) -> None:
    old_pid = off.pid()
    done = off.aggctl("enable", "--yes", "--routing", "on", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "applied"
    (process,) = off.processes()
    assert process.pid != old_pid
    assert {word[2:].partition("=")[0] for word in process.argv} >= set(AGGREGATION_FLAGS)
    ca = (off.root / "etc/kubernetes/pki/front-proxy-ca.crt").read_text()
    assert off.published()["requestheader-client-ca-file"] == ca
    assert off.published()["requestheader-allowed-names"] == '["front-proxy-client"]'


def test_new_files_have_kubeadms_modes_and_only_wanted_lines_change(off: Node) -> None:
    before = off.manifest.read_text().splitlines()
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (off.root / "etc/kubernetes/pki").iterdir()
    }
    assert [modes[f"front-proxy-{name}"] for name in ("ca.key", "ca.crt", "client.key", "client.crt")] == [
        0o600,
        0o644,
        0o600,
        0o644,
    ]
    after = off.manifest.read_text().splitlines()
    assert [line for line in after if line in before] == before
    assert len(after) - len(before) == len(AGGREGATION_FLAGS) - 1


def test_a_second_enable_changes_nothing_and_restarts_nothing(off: Node) -> None:
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    pid, files, record = off.pid(), off.files(), off.record()
    again = off.aggctl("enable", "--yes", "--routing", "off")
    assert again.returncode == 0
    assert f"Nothing to do: the aggregation layer is on, live in pid {pid}" in again.stdout
    assert (off.pid(), off.files(), off.record()) == (pid, files, record)


def test_no_key_is_in_the_record_or_in_any_output(off: Node) -> None:
    done = off.aggctl("enable", "--yes", "--routing", "off", "-v")
    spoken = done.stdout + done.stderr + off.record() + off.aggctl("history", "-o", "json").stdout
    assert done.returncode == 0
    assert KEY_TEXT not in spoken
    key = (off.root / "etc/kubernetes/pki/front-proxy-ca.key").read_text().splitlines()[1]
    assert key not in spoken


def test_rollback_restores_every_byte_and_the_next_enable_uses_the_published_ca_again(off: Node) -> None:
    before = off.files()
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    first = (off.root / "etc/kubernetes/pki/front-proxy-ca.crt").read_bytes()
    assert off.aggctl("rollback", "--yes").returncode == 0
    assert off.files() == before
    assert off.ready()
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    assert (off.root / "etc/kubernetes/pki/front-proxy-ca.crt").read_bytes() == first
    assert off.published()["requestheader-client-ca-file"].count("BEGIN CERTIFICATE") == 1


def test_our_leaf_is_taken_for_an_identity_and_that_of_another_ca_is_not(off: Node) -> None:
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    look = off.ports().look
    pair = ("/etc/kubernetes/pki/front-proxy-client.crt", "/etc/kubernetes/pki/front-proxy-client.key")
    ports = off.ports()
    foreign = pki.issue(
        pki.new_ca("other", ports.clock.now()), "front-proxy-client", ports.clock.now(), usage="client"
    )
    for name, content in (("foreign.crt", foreign.certificate), ("foreign.key", foreign.key)):
        (off.root / "var" / name).write_bytes(content)
    assert look(AskAs(off.url, *pair)) == WhoSeen(201, "aggctl-probe")
    assert look(AskAs(off.url, "/var/foreign.crt", "/var/foreign.key")) == WhoSeen(401, "")


def test_a_flag_in_the_manifest_that_the_binary_refuses_is_caught_before_the_restart(node: Node) -> None:
    """A bad value that is not in force yet: somebody edited the file while the kubelet was stopped."""
    with stopped_kubelet(node):
        original = node.manifest.read_text()
        pid, files = node.pid(), None
        node.running.add_flag("--max-requests-inflight=lots")
        files = node.files()
        done = node.aggctl("enable", "--yes", "--routing", "off", "-o", "json")
        assert done.returncode == 3
        (finding,) = json.loads(done.stdout)["findings"]
        assert finding["code"] == "flag-refused"
        assert "lots" in finding["message"]
        assert (node.files(), node.pid()) == (files, pid)
        node.running.change_manifest("    - --max-requests-inflight=lots\n", "")
        assert node.manifest.read_text() == original
    assert node.ready()


def test_maybe_is_refused_before_the_restart(node: Node) -> None:
    before, pid = node.files(), node.pid()
    report = run(node, Wanted(routing="maybe"))
    assert (report.outcome, report.findings[0].code) == ("refused", "flag-refused")
    assert 'invalid argument "maybe" for "--enable-aggregator-routing"' in report.findings[0].message
    assert (node.files(), node.pid()) == (before, pid)


def test_maybe_is_rolled_back_with_the_reason_where_the_binary_was_not_asked(node: Node) -> None:
    before = node.files()
    real = node.ports()

    def unchecked(question: Question) -> Any:
        return "" if isinstance(question, ArgumentsAccepted) else real.look(question)

    report = run(node, Wanted(routing="maybe"), replace(real, look=unchecked))
    assert (report.outcome, report.exit_status) == ("rolled-back", 1)
    assert report.findings[0].code == "flag-refused"
    assert 'invalid argument "maybe"' in report.findings[0].message
    assert f"--{ROUTING}" in report.findings[0].message
    assert node.files() == before
    assert node.ready()


def test_a_ca_that_a_failed_try_left_published_is_used_by_the_next_one(off: Node) -> None:
    """The layer came up, its proof did not: the CA is published, and everything is put back."""
    real = off.ports()

    def distrusting(question: Question) -> Any:
        return WhoSeen(401, "") if isinstance(question, AskAs) else real.look(question)

    before = off.files()
    failed = run(off, Wanted(routing="off", deadline=12.0), replace(real, look=distrusting))
    assert (failed.outcome, failed.findings[0].code) == ("rolled-back", "client-certificate-not-accepted")
    assert off.files() == before
    kept = off.root / "var/lib/aggctl/kept"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (kept, *kept.iterdir())} == {0o700, 0o600}
    published = off.published()["requestheader-client-ca-file"]
    assert (kept / "front-proxy-ca.crt").read_text() in published
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    assert off.published()["requestheader-client-ca-file"] == published
    assert not kept.exists()


def test_no_wait_is_closed_by_the_next_run_without_a_second_restart(off: Node) -> None:
    assert off.aggctl("enable", "--yes", "--routing", "off", "--no-wait").returncode == 0
    again = off.aggctl("enable", "--yes", "--routing", "off", "-o", "json")
    assert again.returncode == 0, again.stdout
    assert json.loads(again.stdout)["outcome"] == "unchanged"
    pid = off.pid()
    assert "closed now" in json.loads(again.stdout)["summary"][0]
    assert off.pid() == pid


def test_a_mount_that_is_missing_is_added_and_the_files_are_found_in_it(off: Node) -> None:
    done = off.aggctl("enable", "--yes", "--routing", "off", "--pki-dir", "/srv/front-proxy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mountPath: /srv/front-proxy" in off.manifest.read_text()
    assert (off.root / "srv/front-proxy/front-proxy-client.key").exists()


def test_rollback_works_with_the_api_down(node: Node) -> None:
    before = node.files()
    assert node.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    with stopped_kubelet(node):
        node.running.kill_apiserver()
        undone = node.aggctl("rollback", "--yes")
        assert undone.returncode == 0, undone.stderr
        assert node.files() == before
    eventually(node.ready, "kube-apiserver is back")


def test_a_node_without_the_published_ca_is_refused_and_takes_it_by_ca_from(
    off: Node, tmp_path: Path
) -> None:
    """As on a further control-plane node: the cluster publishes a CA, and this node has none."""
    assert off.aggctl("enable", "--yes", "--routing", "off").returncode == 0
    pki_folder, copy = off.root / "etc/kubernetes/pki", tmp_path / "front-proxy"
    copy.mkdir()
    for name in ("front-proxy-ca.crt", "front-proxy-ca.key"):
        shutil.copy(pki_folder / name, copy)
    assert off.aggctl("rollback", "--yes").returncode == 0
    shutil.rmtree(off.root / "var/lib/aggctl/kept")
    refused = off.aggctl("enable", "--yes", "--routing", "off", "-o", "json")
    assert refused.returncode == 3
    assert [each["code"] for each in json.loads(refused.stdout)["findings"]] == ["another-ca-published"]
    taken = off.aggctl("enable", "--yes", "--routing", "off", "--ca-from", str(copy))
    assert taken.returncode == 0, taken.stderr
    assert (pki_folder / "front-proxy-ca.crt").read_bytes() == (copy / "front-proxy-ca.crt").read_bytes()
    assert off.published()["requestheader-client-ca-file"].count("BEGIN CERTIFICATE") == 1


def stopped_kubelet(node: Node) -> Any:
    """The stand-in kubelet does nothing meanwhile."""
    return node.running.kubelet_stopped()
