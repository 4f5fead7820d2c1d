"""From a node and its cluster to what is missing for audit records, what stands in the way, and the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.kubeadm_configs import configuration
from support.snapshots import MANIFEST, MANIFESTS, ON, SERVER, Scene, codes, file

from aggctl.core.audit.check import recorded
from aggctl.core.audit.persist import FILE
from aggctl.core.audit.plan import live_conditions, plan_audit, shown_changes
from aggctl.core.audit.policy import new_policy
from aggctl.core.audit.see import Sight, see
from aggctl.core.audit.settings import (
    AGE,
    LOG_FILE,
    POLICY_FILE,
    Settings,
    Wanted,
    checked_log,
    group_of,
    groups_of,
)
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.findings import Finding, Passed
from aggctl.core.manifest import read_manifest
from aggctl.core.manifest.model import Mount
from aggctl.core.node_change import UNDO_SECONDS
from aggctl.core.persist.configuration import KEY, PATH
from aggctl.core.persist.patch import FOLDER
from aggctl.core.plan import FileChange, FolderChange, inverse_plan, plan_from_json, plan_to_json, standing
from aggctl.core.questions import (
    ArgumentsAccepted,
    FileAt,
    FolderAt,
    FolderSeen,
    ObjectAt,
    Processes,
    ProcessSeen,
    Recorded,
    Unknown,
)
from aggctl.errors import Refused, UsageError

if TYPE_CHECKING:
    from aggctl.core.plan import Plan

REGISTRATION, GROUP = "apiregistration.k8s.io", "hello.example.com"
POLICY = "/etc/kubernetes/audit-policy.yaml"
CATCH_ALL = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"
PODS_ONLY = CATCH_ALL + b"  resources:\n  - group: ''\n    resources: [pods]\n"
LOG_FOLDER = LOG_FILE.rpartition("/")[0]


def api(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"service": {"namespace": "default", "name": "hello"}}}


NODE = ON.object(API_SERVICES, {"items": [api(f"v1alpha1.{GROUP}"), {"metadata": {"name": "v1.apps"}}]}).file(
    "/var/log/syslog", b""
)
"""A node with one aggregated API, and no audit records."""

MOUNTED = (("/etc/kubernetes", "/etc/kubernetes"), ("/var/log/audit", "/var/log/audit"))


def audited(policy: bytes | None = PODS_ONLY, **flags: str | None) -> Scene:
    """The node with a policy and a log of its own, both in force."""
    there: dict[str, str | None] = {"audit_policy_file": POLICY, "audit_log_path": "/var/log/audit/kube.log"}
    scene = writable(NODE.mounted(*MOUNTED).flag(**there | flags).file("/var/log/audit/kube.log", b""))
    return scene.file(POLICY, policy)


def writable(scene: Scene) -> Scene:
    """The log's folder as a log's folder has to be mounted."""
    text = scene.text.replace("volume-1\n      readOnly: true", "volume-1")
    return scene.answering({FileAt(MANIFEST): file(text.encode())})


def folder(path: str, *, writable: bool = True, link: str = "") -> Scene:
    """The node with a folder that is there already."""
    names = ("kube-apiserver.yaml",) if path == MANIFESTS else ()
    return NODE.answering({FolderAt(path): FolderSeen(names, writable=writable, uid=0, gid=0, link=link)})


def seen(scene: Scene, **wanted: Any) -> Sight:
    return scene.ask(lambda snapshot: see(snapshot, Wanted(**wanted)))


def planned(sight: Sight) -> Plan:
    assert codes(sight.problems) == []
    return plan_audit(sight, 60.0)


def paths(plan: Plan) -> list[str]:
    return [step.change.path for step in plan.steps]


def kubeadm(scene: Scene, body: str = "") -> Scene:
    """A cluster that kubeadm made."""
    return scene.object(PATH, {"kind": "ConfigMap", "data": {KEY: configuration(body)}})


# --- what is missing ---------------------------------------------------------------------------------------


def test_all_aggregated_groups_are_recorded_and_who_registers_them() -> None:
    assert seen(NODE).need.levels == {REGISTRATION: "Metadata", GROUP: "Metadata"}


def test_of_several_only_the_named_ones_are_and_bodies_where_they_are_asked_for() -> None:
    sight = seen(NODE, groups=("other.io",), bodies=(GROUP,))
    assert sight.need.levels == {REGISTRATION: "Metadata", "other.io": "Metadata", GROUP: "RequestResponse"}
    assert codes(sight.notes) == ["api-not-registered", "audit-bodies-not-seen"]


def test_a_bare_node_gets_flags_limits_mounts_and_a_policy() -> None:
    need = seen(NODE).need
    assert need.flags == {
        "audit-policy-file": POLICY_FILE,
        "audit-log-path": LOG_FILE,
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "100",
    }
    assert need.policy == new_policy({REGISTRATION: "Metadata", GROUP: "Metadata"})
    assert [(each.name, each.path, each.writable) for each in need.mounts] == [
        ("audit-policy", "/etc/kubernetes/audit", False),
        ("audit-log", LOG_FOLDER, True),
    ]


def test_limits_that_are_asked_for_are_set() -> None:
    assert seen(NODE, limits=((AGE, 7),)).need.flags[AGE] == "7"


def test_names_of_volumes_that_are_taken_are_not_used_again() -> None:
    text = NODE.text.replace("volume-0", "audit-log")
    need = seen(NODE.answering({FileAt(MANIFEST): file(text.encode())})).need
    assert [each.name for each in need.mounts] == ["audit-policy", "aggctl-audit-log"]
    text = NODE.text.replace("volume-0", "audit-policy")
    need = seen(NODE.answering({FileAt(MANIFEST): file(text.encode())})).need
    assert [each.name for each in need.mounts] == ["aggctl-audit-policy", "audit-log"]


def test_a_policy_and_a_log_that_are_there_stay_with_the_limits_that_the_log_has_not() -> None:
    need = seen(audited()).need
    assert (need.flags, need.mounts, need.policy_at.host) == ({}, (), POLICY)
    assert need.log
    assert need.log.host == "/var/log/audit/kube.log"
    assert need.policy.endswith(PODS_ONLY.decode().partition("rules:\n")[2])
    assert need.edits


def test_where_all_is_recorded_already_nothing_is_needed() -> None:
    sight = seen(audited(CATCH_ALL))
    assert sight.need.nothing
    assert not sight.restarts
    assert planned(sight).steps == ()


def test_a_limit_that_is_missing_is_added_to_a_log_only_where_it_is_asked_for() -> None:
    assert seen(audited(CATCH_ALL), limits=((AGE, 7),)).need.flags == {AGE: "7"}


def test_a_limit_that_is_set_stays_and_that_is_said() -> None:
    sight = seen(audited(CATCH_ALL, audit_log_maxage="3"), limits=((AGE, 7),))
    assert sight.need.nothing
    assert [(each.code, "--audit-log-maxage=3" in each.message) for each in sight.notes] == [
        ("audit-limit-stays", True)
    ]
    assert seen(audited(CATCH_ALL, audit_log_maxage="7"), limits=((AGE, 7),)).notes == ()


def test_a_webhook_alone_gets_rules_and_no_log() -> None:
    sight = seen(audited(audit_log_path=None, audit_webhook_config_file="/etc/kubernetes/hook.yaml"))
    assert (sight.need.flags, sight.need.log) == ({}, None)
    assert sight.need.edits
    assert codes(sight.notes) == ["audit-webhook-alone"]
    assert "audit-recorded" not in [each.check for each in live_conditions(sight)]


def test_a_webhook_gets_a_log_besides_where_one_is_asked_for() -> None:
    scene = audited(audit_log_path=None, audit_webhook_config_file="/etc/kubernetes/hook.yaml")
    sight = seen(scene, log=LOG_FILE)
    assert sight.need.flags["audit-log-path"] == LOG_FILE
    assert codes(sight.notes) == []


def test_records_on_standard_output_stay_there_and_cannot_be_proven() -> None:
    sight = seen(audited(CATCH_ALL, audit_log_path="-"))
    assert (sight.need.nothing, sight.need.log) == (True, None)
    assert codes(sight.notes) == ["audit-log-not-here"]


def test_a_policy_that_nobody_used_yet_is_used_and_that_is_said() -> None:
    sight = seen(NODE.file(POLICY_FILE, PODS_ONLY))
    assert codes(sight.notes) == ["audit-policy-found"]
    assert "pods" in sight.need.policy


def test_a_policy_without_a_log_gets_a_log() -> None:
    need = seen(audited(CATCH_ALL, audit_log_path=None)).need
    assert need.flags["audit-log-path"] == LOG_FILE
    assert not need.edits


# --- what stands in the way --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "wanted", "code"),
    [
        (audited(None), {}, "audit-policy-missing"),
        (audited(audit_policy_file="audit.yaml"), {}, "audit-flag-not-usable"),
        (audited(audit_log_path="$(LOGS)/a.log"), {}, "audit-flag-not-usable"),
        (audited(), {"log": "/var/log/other/a.log"}, "audit-log-path-differs"),
        (NODE, {"log": "/var/log/audit.log"}, "file-not-mounted"),
        (NODE, {"log": "/usr/audit.log"}, "file-not-mounted"),
        (NODE.mounted(("/srv", "/srv")), {"log": "/srv/audit.log"}, "audit-log-not-writable"),
        (NODE.file(f"{LOG_FILE}/x", b""), {}, "audit-log-not-writable"),
        (replace(NODE, complaint="unknown flag: --audit-log-path"), {}, "flag-refused"),
        (folder("/etc/kubernetes/audit", writable=False), {}, "folder-not-writable"),
        (folder(MANIFESTS, writable=False), {}, "folder-not-writable"),
        (folder("/etc/kubernetes/audit", link="/srv/audit"), {}, "folder-is-a-link"),
        (audited().answering({FileAt(POLICY): file(PODS_ONLY, link="/srv/p.yaml")}), {}, "folder-is-a-link"),
        (NODE.silent(), {}, "apiserver-not-reachable"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(scene: Scene, wanted: dict[str, Any], code: str) -> None:
    assert set(codes(seen(scene, **wanted).problems)) == {code}


def test_a_log_flag_of_another_kind_is_named_by_its_own_way() -> None:
    scene = NODE.file("/etc/policy.yaml", CATCH_ALL).flag(audit_policy_file="/etc/policy.yaml")
    (problem,) = seen(scene).problems
    assert (problem.code, problem.fix) == ("file-not-mounted", "correct --audit-policy-file")


def test_a_policy_that_cannot_be_read_is_a_refusal() -> None:
    with pytest.raises(Refused) as refused:
        seen(audited(b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n"))
    assert refused.value.code == "audit-policy-not-readable"


def test_a_binary_that_cannot_be_asked_is_no_fault_of_the_flags() -> None:
    assert seen(replace(NODE, complaint=Unknown("gone"))).problems == ()


def test_without_a_process_nobody_is_asked() -> None:
    sight = seen(NODE.answering({Processes(6443): ()}))
    assert sight.problems == ()
    assert planned(sight).steps[-1].undo_gate is None


def test_the_binary_is_asked_about_the_whole_new_command_line() -> None:
    asked = [question for question in settled(NODE) if isinstance(question, ArgumentsAccepted)]
    assert f"--audit-policy-file={POLICY_FILE}" in asked[0].flags
    assert "--secure-port=6443" in asked[0].flags


def settled(scene: Scene) -> list[Any]:
    looked: list[Any] = []

    def look(question: Any) -> Any:
        looked.append(question)
        return scene.look(question)

    from aggctl.workflows.observe import settle  # noqa: PLC0415 -- what a scene asks with, to watch it

    settle(lambda snapshot: see(snapshot, Wanted()), look)
    return looked


# --- the plan ----------------------------------------------------------------------------------------------


def test_a_bare_node_gets_folders_and_policy_before_its_manifest() -> None:
    plan = planned(seen(NODE))
    assert paths(plan) == ["/etc/kubernetes/audit", "/var/log/kubernetes", LOG_FOLDER, POLICY_FILE, MANIFEST]
    folders = [each.change.mode for each in plan.steps if isinstance(each.change, FolderChange)]
    assert folders == [0o755, 0o755, 0o700]
    assert [bool(step.gate) for step in plan.steps] == [False, False, False, False, True]


def test_the_gate_is_the_new_process_ready_and_a_record_of_a_request() -> None:
    gate = planned(seen(NODE)).steps[-1].gate
    assert gate
    assert [each.check for each in gate.conditions] == [
        "manifest-in-force",
        "apiserver-ready",
        "audit-recorded",
    ]
    assert dict(gate.conditions[-1].arguments) == {"server": SERVER, "log": LOG_FILE}
    assert gate.deadline == 60.0


def test_a_new_manifest_has_the_flags_and_the_mounts() -> None:
    plan = planned(seen(NODE))
    change = plan.steps[-1].change
    assert isinstance(change, FileChange)
    assert change.after
    after = read_manifest(plan.blobs[change.after.digest], MANIFEST)
    assert after.host_path(LOG_FILE) == LOG_FILE
    new = {each.mount_path: each for each in after.mounts}
    assert new[LOG_FOLDER] == Mount("audit-log", LOG_FOLDER, LOG_FOLDER, "DirectoryOrCreate", read_only=False)
    assert new["/etc/kubernetes/audit"].read_only


def test_a_policy_in_use_is_changed_while_kube_apiserver_is_stopped_so_that_undoing_is_too() -> None:
    plan = planned(seen(audited()))
    ends, policy, starts = plan.steps
    assert paths(plan) == [MANIFEST, POLICY, MANIFEST]
    assert isinstance(ends.change, FileChange)
    assert isinstance(starts.change, FileChange)
    assert (ends.change.after, starts.change.before) == (None, None)
    assert ends.change.before == starts.change.after  # the manifest itself stays
    checks = [[each.check for each in gate.conditions] for gate in (ends.gate, starts.gate) if gate]
    assert checks == [["apiserver-stopped"], ["manifest-in-force", "apiserver-ready", "audit-recorded"]]
    assert policy.gate is None
    undone = inverse_plan(plan, "x", "undo").steps
    assert [each.gate.conditions[0].check if each.gate else "" for each in undone] == [
        "apiserver-stopped",
        "",
        "manifest-in-force",
    ]
    assert undone[-1].gate
    assert undone[-1].gate.deadline == UNDO_SECONDS


def test_flags_come_with_the_start_where_the_policy_changes_too() -> None:
    sight = seen(audited(), limits=((AGE, 7),))
    plan = planned(sight)
    last = plan.steps[-1].change
    assert isinstance(last, FileChange)
    assert last.after
    assert b"--audit-log-maxage=7" in plan.blobs[last.after.digest]
    assert [(each.action, each.target) for each in shown_changes(sight, plan)] == [
        ("change", POLICY),
        ("change", MANIFEST),
    ]


def test_what_a_restart_takes_away_and_brings_back_is_not_shown_as_a_change() -> None:
    sight = seen(audited())
    (shown,) = shown_changes(sight, planned(sight))
    assert (shown.action, shown.target) == ("change", POLICY)
    assert "+  - group: hello.example.com" in shown.diff


def test_of_steps_with_one_target_the_last_one_stands_in_the_end() -> None:
    plan = planned(seen(audited()))
    assert standing(plan) == plan.steps[1:]
    assert standing(planned(seen(NODE))) == planned(seen(NODE)).steps


def test_a_plan_survives_its_json() -> None:
    plan = planned(seen(audited()))
    assert plan_from_json(plan_to_json(plan), plan.blobs) == plan


def test_the_plan_is_shown_with_folders_and_diffs() -> None:
    sight = seen(NODE)
    shown = {each.target: each for each in shown_changes(sight, planned(sight))}
    assert shown[LOG_FOLDER].detail == "0700   folder"
    assert shown[POLICY_FILE].action == "create"
    assert "+  - group: hello.example.com" in shown[POLICY_FILE].diff
    assert f"+    - --audit-log-path={LOG_FILE}" in shown[MANIFEST].diff


def test_a_policy_keeps_its_mode_and_owner() -> None:
    scene = audited().answering({FileAt(POLICY): file(PODS_ONLY, 0o640)})
    (change,) = (step.change for step in planned(seen(scene)).steps if step.change.path == POLICY)
    assert isinstance(change, FileChange)
    assert change.after
    assert change.after.mode == 0o640


def test_a_mount_alone_is_waited_for_as_another_process() -> None:
    """A log in no volume: its records end with the container."""
    scene = audited(CATCH_ALL, audit_log_path=LOG_FILE)
    need = seen(scene).need
    assert (need.flags, [each.path for each in need.mounts]) == ({}, [LOG_FOLDER])
    unlike = dict(live_conditions(seen(scene))[0].arguments)["unlike"]
    assert unlike == "100:5"


# --- what kubeadm upgrade is told --------------------------------------------------------------------------


def test_a_cluster_of_kubeadms_gets_a_patch_file_for_this_node() -> None:
    sight = seen(kubeadm(NODE))
    assert paths(planned(sight))[-2:] == [MANIFEST, FILE]
    patch = sight.persist.patch.decode()
    assert patch.startswith("# Written by aggctl audit enable: ")
    assert f'"--audit-policy-file={POLICY_FILE}"' in patch
    assert f'"mountPath": "{LOG_FOLDER}", "name": "audit-log", "readOnly": false' in patch
    assert shown_changes(sight, planned(sight))[-1].detail == "for kubeadm upgrade … --patches"


def test_what_kubeadm_config_says_already_needs_no_patch() -> None:
    body = f"""\
apiServer:
  extraArgs:
  - {{name: audit-policy-file, value: {POLICY}}}
  - {{name: audit-log-path, value: /var/log/audit/kube.log}}
  extraVolumes:
  - {{name: a, hostPath: /var/log/audit, mountPath: /var/log/audit}}
"""
    assert seen(kubeadm(audited(CATCH_ALL), body)).persist.nothing
    other = body.replace("kube.log", "other.log")
    patch = seen(kubeadm(audited(CATCH_ALL), other)).persist.patch.decode()
    assert ("--audit-log-path=/var/log/audit/kube.log" in patch, "volumeMounts" in patch) == (True, False)


def test_where_only_the_patch_is_missing_nothing_restarts() -> None:
    sight = seen(kubeadm(audited(CATCH_ALL)))
    assert not sight.restarts
    assert paths(planned(sight)) == [FOLDER, FILE]


def test_a_patch_that_is_there_is_not_written_again_and_an_old_one_is_replaced() -> None:
    patch = seen(kubeadm(audited(CATCH_ALL))).persist.patch
    assert seen(kubeadm(audited(CATCH_ALL)).file(FILE, patch)).persist.nothing
    assert seen(kubeadm(audited(CATCH_ALL)).file(FILE, patch + b"# \n")).persist.patch == patch


def test_somebody_elses_file_of_that_name_is_left_alone() -> None:
    assert codes(seen(kubeadm(NODE).file(FILE, b"- mine")).problems) == ["kubeadm-patch-taken"]
    body = "apiServer:\n  extraArgs:\n"
    said = [f"  - {{name: audit-policy-file, value: {POLICY}}}", "  - {name: audit-log-path, value: '-'}"]
    scene = kubeadm(audited(CATCH_ALL, audit_log_path="-"), body + "\n".join(said) + "\n")
    assert seen(scene.file(FILE, b"- mine")).persist.nothing


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (NODE, "kubeadm-config-not-found"),
        (NODE.answering({ObjectAt(PATH, SERVER): Unknown("forbidden")}), "kubeadm-config-not-readable"),
        (kubeadm(NODE, "apiServer: []\n"), "kubeadm-config-not-editable"),
    ],
)
def test_a_kubeadm_config_that_cannot_be_read_is_refused_where_it_was_asked_for_and_else_said(
    scene: Scene, code: str
) -> None:
    assert codes(seen(scene, persist="kubeadm").problems) == [code]
    said = codes(seen(scene).notes)
    assert said == ([] if code.endswith("not-found") else [code])


def test_by_persist_none_nothing_is_written_for_kubeadm_and_that_is_said() -> None:
    sight = seen(kubeadm(NODE), persist="none")
    assert FILE not in paths(planned(sight))
    assert codes(sight.notes) == ["kubeadm-config-left-alone"]


# --- the check ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [True, False])
def test_a_request_that_left_a_record_passes_and_one_that_did_not_fails(*, found: bool) -> None:
    scene = NODE.answering(
        {Recorded("/apis/apiregistration.k8s.io/v1/apiservices?limit=1", SERVER, LOG_FILE): found}
    )
    verdict = scene.ask(lambda snapshot: recorded(snapshot, server=SERVER, log=LOG_FILE))
    if found:
        assert isinstance(verdict, Passed)
    else:
        assert isinstance(verdict, Finding)
        assert (verdict.code, verdict.hopeless) == ("audit-not-recorded", False)


# --- what was typed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "group"),
    [
        ("v1beta1.custom.metrics.k8s.io", "custom.metrics.k8s.io"),
        ("custom.metrics.k8s.io", "custom.metrics.k8s.io"),
        ("v1.example", "v1.example"),
    ],
)
def test_an_api_and_a_group_name_the_group(typed: str, group: str) -> None:
    assert group_of(typed) == group


@pytest.mark.parametrize(
    ("policy", "log", "webhook", "records"),
    [("/p", "/l", "", True), ("/p", "", "/w", True), ("/p", "", "", False), ("", "/l", "/w", False)],
)
def test_records_need_a_policy_and_a_place(policy: str, log: str, webhook: str, *, records: bool) -> None:
    assert Settings(policy, log, webhook).records is records


def test_each_group_is_named_once() -> None:
    assert groups_of(["v1.a.io", "a.io", "b.io"]) == ("a.io", "b.io")


@pytest.mark.parametrize(
    "typed", ["", "apps", "Hello.io", "v1beta1.Custom.io", "a.io/v1", "a..io", "x" * 300]
)
def test_what_is_no_group_is_wrong_usage(typed: str) -> None:
    with pytest.raises(UsageError) as wrong:
        group_of(typed)
    assert wrong.value.code == "api-name-not-valid"


@pytest.mark.parametrize(
    ("typed", "path"), [("", ""), (LOG_FILE, LOG_FILE), ("/srv//logs/../logs/a.log", "/srv/logs/a.log")]
)
def test_a_log_is_a_file_by_its_absolute_path(typed: str, path: str) -> None:
    assert checked_log(typed) == path


@pytest.mark.parametrize(
    "typed", ["-", "audit.log", "/audit.log", "/var/log/", "/var/log/$(X)/a", "/a/b\n", "/a/b,c"]
)
def test_what_is_no_file_of_a_folder_of_its_own_is_wrong_usage(typed: str) -> None:
    with pytest.raises(UsageError) as wrong:
        checked_log(typed)
    assert wrong.value.code == "audit-log-path-wrong"


def test_a_process_with_the_flags_as_words_of_their_own_is_asked_about_them_whole() -> None:
    words = ("kube-apiserver", "--secure-port", "6443", "--audit-log-path=$(X)", "--v")
    scene = audited(CATCH_ALL, audit_log_path="/var/log/audit/kube.log").answering(
        {Processes(6443): (ProcessSeen(7, 1.0, words),)}
    )
    assert seen(scene, limits=((AGE, 1),)).problems == ()
