"""`aggctl audit` on a real kube-apiserver with a real extension server, by the real console script."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from support.hello import GROUP, hello_api
from support.kube import API_SERVICES, Kube
from support.nodes import Node
from support.refusals import aggctl, assert_decent
from support.sandboxes import sandbox_in

from aggctl.core.audit.persist import FILE as PATCH
from aggctl.core.audit.settings import LOG_FILE, POLICY_FILE, Wanted
from aggctl.core.persist.configuration import PATH as KUBEADM_CONFIG
from aggctl.core.questions import FolderAt
from aggctl.workflows.audit import enable
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.refusals import Said

    from aggctl.core.questions import Question
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports

pytestmark = pytest.mark.controlplane

API = f"v1alpha1.{GROUP}"
GREETINGS = f"/apis/{GROUP}/v1alpha1/namespaces/default/greetings"
THEIRS = """\
apiVersion: audit.k8s.io/v1 # the only version left
kind: Policy
rules:
  # Only what is done with config maps
  - level: Metadata
    resources:
    - group: "" # the group without a name
      resources: ["configmaps"]
"""
KUBEADM = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"


@dataclass(frozen=True)
class Place:
    """A cluster with the layer on and one aggregated API."""

    node: Node
    kube: Kube

    def aggctl(self, *words: str) -> Said:
        return aggctl("audit", words[0], "--root", str(self.node.root), *words[1:])

    def below(self, path: str) -> Path:
        return self.node.root / path.lstrip("/")

    def shown(self, *words: str) -> list[dict[str, Any]]:
        said = self.aggctl("show", *words, "-o", "json")
        assert said.status == 0, said.text
        items: list[dict[str, Any]] = said.document["items"]
        return items

    def greets(self, name: str, **headers: str) -> int:
        """Ask for one greeting; the status."""
        server, pool = self.kube._server
        answer = pool.request("GET", f"{server}{GREETINGS}/{name}", headers={**pool.headers, **headers})
        return int(answer.status)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.below(LOG_FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("audit")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        kubeconfig, node = running.sandbox.kubeconfig, Node(running)
        with hello_api(folder / "hello", kubeconfig, ("hello.default.svc",)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--name", "hello")
            done = node.aggctl("register", API, *at, "--yes")
            assert done.returncode == 0, done.stderr
            yield Place(node, Kube(kubeconfig))


@pytest.fixture(scope="module")
def recorded(place: Place) -> Iterator[Place]:
    """The place with records, switched on once for the tests that only read; off again behind them.

    A policy of somebody else was there before.
    """
    place.below(POLICY_FILE).parent.mkdir()
    place.below(POLICY_FILE).write_text(THEIRS)
    before = place.node.files()
    metadata = {"name": "kubeadm-config", "namespace": "kube-system"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    status, said = place.kube.ask(
        "POST", KUBEADM_CONFIG.rpartition("/")[0], config | {"data": {"ClusterConfiguration": KUBEADM}}
    )
    assert status == 201, said
    done = place.aggctl("enable", "--yes", "-o", "json")
    assert (done.status, done.document["outcome"]) == (0, "applied"), done.text
    yield place
    undone = place.node.aggctl("rollback", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert place.node.files() == before
    place.kube.delete(KUBEADM_CONFIG)
    assert place.below(LOG_FILE).exists()  # records outlive the undo


def run(ports: Ports) -> Report:
    return enable(ports, Wanted(), Manner(dry_run=False, confirm=lambda _: True))


# --- before -----------------------------------------------------------------------------------------------


def test_without_records_show_says_so_and_how_to_have_them(place: Place) -> None:
    said = place.aggctl("show")
    assert (said.status, said.out) == (3, "")
    assert "(audit-off)" in said.err
    assert "sudo aggctl audit enable" in said.err
    assert_decent(said)


def test_a_dry_run_shows_the_plan_and_changes_nothing(place: Place) -> None:
    before, pid = place.node.files(), place.node.pid()
    said = place.aggctl("enable", "--dry-run", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "planned")
    assert [change["target"] for change in said.document["changes"]][-2:] == [
        POLICY_FILE,
        f"/{place.node.manifest.relative_to(place.node.root)}",
    ]
    assert (place.node.files(), place.node.pid()) == (before, pid)


def test_a_policy_that_kube_apiserver_would_not_start_with_is_refused_with_its_line(place: Place) -> None:
    policy, pid = place.below(POLICY_FILE), place.node.pid()
    policy.parent.mkdir()
    policy.write_text(THEIRS.replace("Metadata", "metadata"))
    before = place.node.files()
    said = place.aggctl("enable", "--yes")
    assert said.status == 3
    assert f"{POLICY_FILE}, line 5: a rule's level is none of None, Metadata" in said.err
    assert (place.node.files(), place.node.pid()) == (before, pid)
    shutil.rmtree(policy.parent)


# --- what cannot be brought into force --------------------------------------------------------------------


def test_a_kube_apiserver_that_does_not_start_with_its_log_is_put_back(place: Place) -> None:
    """A folder is in the log's place, and nobody noticed beforehand."""
    log, before, ports = place.below(LOG_FILE), place.node.files(), place.node.ports()
    log.mkdir(parents=True)

    def unnoticed(question: Question) -> Any:
        return None if question == FolderAt(LOG_FILE) else ports.look(question)

    report = run(replace(ports, look=unnoticed))
    assert (report.outcome, report.findings[0].code) == ("rolled-back", "apiserver-crash-loop")
    assert "is a directory" in " ".join(report.findings[0].evidence)
    assert place.node.files() == before
    assert place.node.ready()
    assert log.is_dir()
    shutil.rmtree(log.parent)


# --- records ----------------------------------------------------------------------------------------------


def test_flags_policy_and_log_are_in_force_and_a_patch_file_keeps_them_through_an_upgrade(
    recorded: Place,
) -> None:
    (process,) = recorded.node.processes()
    assert f"--audit-policy-file={POLICY_FILE}" in process.argv
    modes = [
        stat.S_IMODE(each.stat().st_mode)
        for each in (recorded.below(LOG_FILE).parent, recorded.below(LOG_FILE))
    ]
    assert modes == [0o700, 0o600]
    assert f"--audit-log-path={LOG_FILE}" in recorded.below(PATCH).read_text()


def test_rules_go_ahead_of_those_of_others_whose_text_stays_byte_for_byte(recorded: Place) -> None:
    policy = recorded.below(POLICY_FILE).read_text()
    head, _, rules = THEIRS.partition("rules:\n")
    new = f"""\
  - level: Metadata
    omitStages:
    - RequestReceived
    resources:
    - group: apiregistration.k8s.io
    - group: {GROUP}
"""
    assert policy == f"{head}rules:\n{new}{rules}"
    recorded.kube.get("/api/v1/namespaces/default/configmaps/theirs")
    assert "theirs" in {each["name"] for each in recorded.shown("--verb", "get")}


def test_a_policy_in_use_is_changed_in_force_and_a_rollback_brings_the_old_one_back_into_force(
    recorded: Place,
) -> None:
    before = recorded.node.files()
    done = recorded.aggctl("enable", "--request-response", API, "--yes", "-o", "json")
    assert [change["target"] for change in done.document["changes"]] == [POLICY_FILE], done.text
    recorded.greets("hello")
    recorded.greets("refused", **{"Impersonate-User": "jane"})
    assert recorded.node.aggctl("rollback", "--yes").returncode == 0
    assert recorded.node.files() == before
    recorded.greets("afterwards")
    by_name = {each["objectRef"].get("name"): each for each in recorded.records()}
    levels = [by_name[name]["level"] for name in ("hello", "refused", "afterwards")]
    assert levels == ["RequestResponse", "RequestResponse", "Metadata"]
    # What an extension server answers is handed on unread; what kube-apiserver says itself is recorded.
    assert "responseObject" not in by_name["hello"]
    assert by_name["refused"]["responseObject"]["reason"] == "Forbidden"


def test_a_second_run_changes_nothing_and_restarts_nothing(recorded: Place) -> None:
    before, pid = recorded.node.files(), recorded.node.pid()
    again = recorded.aggctl("enable", "--yes")
    assert again.status == 0
    assert "Nothing to do" in again.out
    assert (recorded.node.files(), recorded.node.pid()) == (before, pid)


def test_show_tells_who_asked_for_what_in_whose_name_and_what_became_of_it(recorded: Place) -> None:
    assert recorded.greets("hello") == 200
    assert recorded.greets("mine", **{"Impersonate-User": "jane"}) == 403
    by_name = {each["name"]: each for each in recorded.shown(API)}
    assert {
        key: by_name["mine"][key] for key in ("user", "impersonatedUser", "verb", "namespace", "status")
    } == {
        "user": "kubernetes-admin",
        "impersonatedUser": "jane",
        "verb": "get",
        "namespace": "default",
        "status": 403,
    }
    assert (by_name["hello"]["status"], by_name["hello"]["impersonatedUser"]) == (200, "")
    assert by_name["hello"]["sourceIPs"] == ["127.0.0.1"]
    (line,) = [
        each for each in recorded.aggctl("show", GROUP, "--user", "jane").out.splitlines() if "mine" in each
    ]
    assert line.split()[1:] == [
        "kubernetes-admin",
        "as",
        "jane",
        "get",
        f"greetings.{GROUP}",
        "default/mine",
        "403",
        "127.0.0.1",
    ]


def test_a_record_is_in_the_file_before_the_answer_ends(recorded: Place) -> None:
    """What the proof counts on: by default the log is written in blocking mode."""
    for number in range(20):
        recorded.greets(f"quick-{number}")
        assert f"quick-{number}" in recorded.below(LOG_FILE).read_text().splitlines()[-1]


def test_who_registers_an_api_is_recorded_and_discovery_is_not(recorded: Place) -> None:
    recorded.kube.get(f"{API_SERVICES}/{API}")
    recorded.kube.get(f"/apis/{GROUP}/v1alpha1")
    shown = recorded.shown("apiregistration.k8s.io", "--verb", "get")
    assert API in {each["name"] for each in shown}
    assert all(each["resource"] for each in recorded.shown())


def test_a_caller_cannot_hide_a_request_behind_another_ones_audit_id(recorded: Place) -> None:
    for name in ("first", "second"):
        recorded.greets(name, **{"Audit-ID": "chosen"})
    assert {each["name"] for each in recorded.shown(GROUP) if each["auditID"] == "chosen"} == {
        "first",
        "second",
    }


def test_lines_that_are_no_records_are_counted_and_the_rest_is_shown_fit_for_a_terminal(
    recorded: Place,
) -> None:
    recorded.greets("%1b%5b2Jevil")
    with recorded.below(LOG_FILE).open("ab") as log:
        log.write(b"{\n" + b"x" * (3 << 20) + b"\n")
    said = recorded.aggctl("show")
    assert (said.status, "2 lines are no audit record" in said.err) == (0, True)
    assert "evil" in said.out
    assert "\x1b" not in said.text
    assert "audit-lines-not-read" in recorded.aggctl("show", "-o", "json").codes


def test_only_the_newest_are_shown_of_more_than_are_wanted(recorded: Place) -> None:
    for name in ("older", "newer"):
        recorded.greets(name)
    said = recorded.aggctl("show", GROUP, "--limit", "1", "-o", "json")
    assert [each["name"] for each in said.document["items"]] == ["newer"]
    assert "audit-lines-left-out" in said.codes


def test_what_nobody_did_is_said_to_be_on_no_record(recorded: Place) -> None:
    said = recorded.aggctl("show", "--user", "nobody-at-all")
    assert (said.status, said.out) == (0, "")
    assert said.err.endswith("No such request is on record.\n")
