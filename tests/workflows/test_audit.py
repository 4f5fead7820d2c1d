"""`aggctl audit` on an ordinary day and on a bad one, on the modelled node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.cases import run_rollback, yes
from support.world import MANIFEST, NOW, READY, Faults, World, make_world, tree

from aggctl.core.audit.events import Filter
from aggctl.core.audit.settings import LOG_FILE, POLICY_FILE, Wanted
from aggctl.core.questions import Recorded
from aggctl.errors import Refused
from aggctl.workflows.audit import Wishes, enable, show
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import Tree

    from aggctl.core.questions import LogSeen, Question
    from aggctl.core.report import Report

POLICY_FLAG = b"--audit-policy-file="
THEIRS = "/etc/kubernetes/pki/policy.yaml"
PODS_ONLY = b"""\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata   # what is done with Pods
  resources: [{group: "", resources: [pods]}]
"""
RECORD = (
    '{"kind":"Event","stage":"ResponseComplete","verb":"get","auditID":"a","user":{"username":"jane"},'
    '"objectRef":{"resource":"greetings","apiGroup":"hello.example.com"},'
    '"requestReceivedTimestamp":"2026-03-01T11:59:00.000000Z"}\n'
)


@dataclass
class Recording(World):
    """A node whose kube-apiserver writes records where its flags say so and nothing keeps it from that.

    Without its manifest it ends. `policies` are those that it started with.
    """

    mute: bool = False
    policies: list[bytes] = field(default_factory=list)

    def _on_disk(self) -> bytes:
        path = self.path(MANIFEST)
        return path.read_bytes() if path.exists() else b""

    def _advance(self) -> None:
        before = self._text
        super()._advance()
        if self._text not in (before, b"") and self.path(THEIRS).exists():
            self.policies.append(self.path(THEIRS).read_bytes())

    @property
    def _running(self) -> bool:
        return bool(self._text) and super()._running

    def _logs(self) -> tuple[LogSeen, ...]:
        return super()._logs() if self._text else ()

    def _answer(self, question: Question) -> Any:
        if isinstance(question, Recorded):
            return POLICY_FLAG in self._text and self._age >= READY and not self.mute
        return super()._answer(question)


@pytest.fixture
def world(tmp_path: Path) -> Recording:
    made = make_world(tmp_path / "node", "on")
    return Recording(made.folder, faults=Faults(served=("v1.hello.example.com",)))


def run(world: World, *, dry_run: bool = False, **wanted: Any) -> Report:
    return enable(world.ports(), Wanted(**{"deadline": 6.0, **wanted}), Manner(dry_run, yes))


def again(world: Recording) -> Recording:
    return Recording(world.folder, faults=world.faults)


def seen(world: World) -> Tree:
    """All of the node but aggctl's own records."""
    return {path: each for path, each in tree(world.root).items() if not path.startswith("var/lib/aggctl")}


def codes(report: Report) -> list[str]:
    return [each.code for each in report.findings]


def test_records_are_switched_on_with_policy_flags_and_folders(world: Recording) -> None:
    report = run(world)
    assert (report.outcome, report.exit_status) == ("applied", 0)
    assert "- group: hello.example.com" in world.path(POLICY_FILE).read_text()
    assert f"--audit-log-path={LOG_FILE}" in world.path(MANIFEST).read_text()
    assert world.path(LOG_FILE).parent.is_dir()
    assert "apiregistration.k8s.io, hello.example.com" in "\n".join(report.summary)


def test_a_second_run_is_unchanged_and_writes_nothing(world: Recording) -> None:
    run(world)
    everything = tree(world.root)
    report = run(again(world))
    assert (report.outcome, report.exit_status) == ("unchanged", 0)
    assert tree(world.root) == everything


def test_a_second_run_says_so_where_records_are_not_in_force(world: Recording) -> None:
    run(world)
    broken = again(world)
    broken.mute = True
    report = run(broken)
    assert (report.outcome, report.exit_status, codes(report)) == ("problems", 3, ["audit-not-recorded"])


def test_where_no_record_is_written_everything_is_put_back(world: Recording) -> None:
    world.mute = True
    before = seen(world)
    report = run(world)
    assert (report.outcome, report.exit_status) == ("rolled-back", 1)
    assert codes(report) == ["audit-not-recorded"]
    assert "everything was put back" in report.summary[0]
    assert seen(world) == before


@pytest.mark.parametrize("fault", ["flag-refused", "crash-loop", "never-comes-back", "silent"])
def test_whatever_keeps_kube_apiserver_away_everything_is_put_back(world: Recording, fault: str) -> None:
    world.faults = Faults(fault)
    before = seen(world)
    assert run(world).outcome == "rolled-back"
    assert seen(world) == before


def test_a_rollback_takes_all_of_it_away(world: Recording) -> None:
    before = seen(world)
    run(world)
    assert run_rollback(again(world)).outcome == "applied"
    assert seen(world) == before


def test_records_outlive_a_rollback(world: Recording) -> None:
    run(world)
    world.path(LOG_FILE).write_text(RECORD)
    assert run_rollback(again(world)).outcome == "applied"
    assert world.path(LOG_FILE).read_text() == RECORD


@pytest.mark.parametrize(
    "manner", [Manner(True, yes), Manner(False, lambda _: False)], ids=["dry run", "a no"]
)
def test_what_is_only_shown_writes_nothing_at_all(world: Recording, manner: Manner) -> None:
    everything = tree(world.root)
    report = enable(world.ports(), Wanted(), manner)
    assert report.outcome == ("planned" if manner.dry_run else "refused")
    assert tree(world.root) == everything


def test_a_silent_api_is_a_refusal_that_writes_nothing(world: Recording) -> None:
    world.faults = Faults("silent", for_good=True)
    world.path(MANIFEST).write_bytes(world.path(MANIFEST).read_bytes() + b"# touched\n")
    everything = tree(world.root)
    report = run(world)
    assert (report.outcome, codes(report)) == ("refused", ["apiserver-not-reachable"])
    assert tree(world.root) == everything


def test_a_plan_tells_its_price(world: Recording) -> None:
    assert "restarts once on this node" in "\n".join(run(world, dry_run=True).summary)


# --- a policy in use --------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path: Path) -> Recording:
    """A node with a policy of somebody else's, whose log ends with its container: it lies in no volume."""
    made = make_world(tmp_path / "node", "on")
    flags = f"    - --audit-policy-file={THEIRS}\n    - --audit-log-path={LOG_FILE}\n"
    text = made.path(MANIFEST).read_text().replace("    image:", f"{flags}    image:")
    made.path(MANIFEST).write_text(text)
    made.path(THEIRS).write_bytes(PODS_ONLY)
    return Recording(made.folder)


def test_a_policy_in_use_changes_with_the_manifest_while_kube_apiserver_is_away(theirs: Recording) -> None:
    report = run(theirs)
    assert report.outcome == "applied"
    policy = theirs.path(THEIRS).read_bytes()
    assert policy.endswith(PODS_ONLY.partition(b"rules:\n")[2])
    assert theirs.policies == [policy]
    assert f"mountPath: {LOG_FILE.rpartition('/')[0]}\n" in theirs.path(MANIFEST).read_text()


def test_a_rollback_puts_the_old_policy_back_before_kube_apiserver_starts_with_it(theirs: Recording) -> None:
    before = seen(theirs)
    run(theirs)
    undone = again(theirs)
    report = run_rollback(undone)
    assert (report.outcome, "was not waited for" in report.summary) == ("applied", False)
    assert seen(theirs) == before
    assert undone.policies == [PODS_ONLY]


def test_a_policy_that_brings_no_records_is_put_back_before_kube_apiserver_starts_with_it(
    theirs: Recording,
) -> None:
    theirs.mute = True
    before = seen(theirs)
    report = run(theirs)
    assert (report.outcome, codes(report)) == ("rolled-back", ["audit-not-recorded"])
    assert seen(theirs) == before
    assert theirs.policies[-1] == PODS_ONLY


# --- reading ----------------------------------------------------------------------------------------------


def shown(world: World, since: float = 3600.0, **wanted: Any) -> tuple[Report, tuple[str, ...]]:
    wishes = Wishes(Filter(int((NOW.timestamp() - since) * 1e9), **wanted), 10)
    return show(world.ports(), wishes)


def test_records_are_shown_without_the_api(world: Recording) -> None:
    run(world)
    world.path(LOG_FILE).write_text(RECORD)
    world.faults = Faults("silent", for_good=True)
    report, lines = shown(world)
    assert (report.exit_status, [each["user"] for each in report.items]) == (0, ["jane"])
    assert lines[0].split()[1:4] == ["jane", "get", "greetings.hello.example.com"]


def test_rotated_files_are_read_where_they_may_hold_something_since_then(world: Recording) -> None:
    run(world)
    folder = world.path(LOG_FILE).parent
    world.path(LOG_FILE).write_text(RECORD.replace('"a"', '"new"'))
    (folder / "audit-2026-03-01T11-59-30.000.log").write_text(RECORD.replace('"a"', '"rotated"'))
    (folder / "audit-2026-03-01T09-00-00.000.log").write_text("{\n")  # older than what is asked for: not read
    report, _ = shown(world)
    assert ({each["auditID"] for each in report.items}, codes(report)) == ({"new", "rotated"}, [])
    assert codes(shown(world, since=86400.0)[0]) == ["audit-lines-not-read"]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("", "audit-off", "no audit policy"),
        ("--audit-policy-file=/p", "audit-off", "no log"),
        ("--audit-policy-file=/p --audit-log-path=-", "audit-log-not-here", "standard output"),
        ("--audit-policy-file=/p --audit-webhook-config-file=/w", "audit-log-not-here", "a webhook (/w)"),
        ("--audit-policy-file=/p --audit-log-path=/a/b.log", "audit-log-not-here", "in no folder"),
        (f"--audit-policy-file=/p --audit-log-path={POLICY_FILE}", "audit-log-not-here", "in no folder"),
    ],
)
def test_where_there_is_no_log_to_read_that_is_refused_with_the_reason(
    world: Recording, flags: str, code: str, words: str
) -> None:
    lines = "".join(f"    - {flag}\n" for flag in flags.split())
    text = world.path(MANIFEST).read_text().replace("    image:", f"{lines}    image:")
    world.path(MANIFEST).write_text(text)
    with pytest.raises(Refused, match=words.replace("(", r"\(").replace(")", r"\)")) as refused:
        shown(again(world))
    assert (refused.value.code, refused.value.exit_status) == (code, 3)


def test_a_log_that_is_not_there_yet_is_said_to_be_none(world: Recording) -> None:
    run(world)
    with pytest.raises(Refused, match="is not there yet") as refused:
        shown(world)
    assert refused.value.code == "audit-log-not-here"
