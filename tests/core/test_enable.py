"""From what was seen to a plan: the order of its steps, its gates, what stands in the way, what is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.snapshots import (
    CA,
    EIGHT,
    MANIFEST,
    MANIFESTS,
    NAMES_FLAG,
    NOW,
    OFF,
    ON,
    OTHER_CA,
    OTHERS,
    PKI,
    ROUTING_FLAG,
    SERVER,
    Scene,
    codes,
    file,
    leaf,
    slices,
)

from aggctl.core import pki
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.enable import Minted, Sight, live_conditions, plan_enable, see, shown_changes
from aggctl.core.manifest import read_manifest
from aggctl.core.need import Wanted
from aggctl.core.plan import Condition, FileChange, FolderChange, Plan
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    ArgumentsAccepted,
    Dial,
    FileAt,
    FolderAt,
    FolderSeen,
    KeyAt,
    ObjectAt,
    Processes,
    ProcessSeen,
    Unknown,
)
from aggctl.core.text import unified_diff
from aggctl.errors import Refused
from aggctl.workflows.observe import settle

CLIENT = leaf(CA)
READ_ONLY = FolderSeen((), writable=False, uid=0, gid=0)


def planned(scene: Scene, minted: Minted | None = None, **wanted: Any) -> tuple[Sight, Plan]:
    """The plan where nothing stands in the way, with certificates that were made for it."""
    sight = scene.see(**wanted)
    assert codes(sight.problems) == []
    made = minted or Minted(CA if sight.need.ca_source else None, CLIENT if sight.need.client_name else None)
    return sight, plan_enable(sight, made, Wanted(**wanted))


def paths(plan: Plan) -> list[str]:
    return [step.change.path for step in plan.steps]


# --- the plan --------------------------------------------------------------------------------------------


def test_keys_come_before_their_certificates_and_the_manifest_comes_last() -> None:
    _, plan = planned(OFF)
    assert paths(plan) == [
        f"{PKI}/front-proxy-ca.key",
        f"{PKI}/front-proxy-ca.crt",
        f"{PKI}/front-proxy-client.key",
        f"{PKI}/front-proxy-client.crt",
        MANIFEST,
    ]


def test_only_the_last_step_waits() -> None:
    _, plan = planned(OFF)
    assert [bool(step.gate) for step in plan.steps] == [False] * 4 + [True]
    assert [bool(step.undo_gate) for step in plan.steps] == [False] * 4 + [True]


def test_where_nothing_is_needed_the_plan_has_no_step() -> None:
    assert planned(ON)[1].steps == ()


@pytest.mark.parametrize(
    ("scene", "wanted", "changed"),
    [
        pytest.param(
            ON.flag(enable_aggregator_routing=None), {}, [MANIFEST], id="a flag: the manifest alone"
        ),
        pytest.param(
            ON.pair("front-proxy-client", leaf(CA, days=-400)),
            {"repair": True},
            [f"{PKI}/front-proxy-client.key", f"{PKI}/front-proxy-client.crt"],
            id="an expired leaf: its pair alone, no restart",
        ),
        pytest.param(
            OFF.pair("front-proxy-ca", CA).pair("front-proxy-client", CLIENT),
            {},
            [MANIFEST],
            id="files lie ready",
        ),
    ],
)
def test_nothing_but_what_is_needed_changes(scene: Scene, wanted: dict[str, Any], changed: list[str]) -> None:
    assert paths(planned(scene, **wanted)[1]) == changed


def test_a_new_pair_alone_is_waited_for_at_its_certificate() -> None:
    _, plan = planned(ON.pair("front-proxy-client", leaf(CA, days=-400)), repair=True)
    assert [bool(step.gate) for step in plan.steps] == [False, True]


def test_a_given_ca_without_its_key_writes_no_key_file() -> None:
    external = pki.KeyPair(CA.certificate, b"")
    scene = OFF.pair("front-proxy-client", CLIENT)
    _, plan = planned(scene, Minted(external), ca=external)
    assert paths(plan) == [f"{PKI}/front-proxy-ca.crt", MANIFEST]


def test_keys_are_roots_alone_and_certificates_readable_as_kubeadms_are() -> None:
    _, plan = planned(OFF)
    modes = [
        step.change.after.mode
        for step in plan.steps
        if isinstance(step.change, FileChange) and step.change.after
    ]
    assert modes == [0o600, 0o644, 0o600, 0o644, 0o600]


def test_the_manifest_keeps_its_mode_and_owner() -> None:
    own = file(OFF.text.encode())
    odd = replace(own, stamp=replace(own.stamp, mode=0o640, uid=7, gid=8))
    _, plan = planned(OFF.answering({FileAt(MANIFEST): odd}))
    change = plan.steps[-1].change
    assert isinstance(change, FileChange)
    assert change.before == odd.stamp
    assert change.after == replace(odd.stamp, digest=change.after.digest if change.after else "")


def test_new_files_belong_to_the_owner_of_their_folder() -> None:
    folder = FolderSeen((), writable=True, uid=5, gid=6)
    _, plan = planned(OFF.answering({FolderAt(PKI): folder}))
    change = plan.steps[0].change
    assert isinstance(change, FileChange)
    assert change.after is not None
    assert (change.after.uid, change.after.gid) == (5, 6)


def test_files_that_are_replaced_keep_their_owner() -> None:
    scene = ON.pair("front-proxy-client", leaf(CA, days=-400))
    path = f"{PKI}/front-proxy-client.crt"
    seen = file(leaf(CA, days=-400).certificate)
    scene = scene.answering({FileAt(path): replace(seen, stamp=replace(seen.stamp, uid=5, gid=6))})
    _, plan = planned(scene, repair=True)
    change = plan.steps[-1].change
    assert isinstance(change, FileChange)
    assert change.after is not None
    assert (change.path, change.after.uid, change.after.gid) == (path, 5, 6)


def test_the_contents_lie_beside_the_plan_by_their_digests() -> None:
    _, plan = planned(OFF)
    for step in plan.steps:
        assert isinstance(step.change, FileChange)
        assert step.change.after is not None
        assert step.change.after.digest in plan.blobs
    written = [
        plan.blobs[step.change.after.digest]
        for step in plan.steps
        if isinstance(step.change, FileChange) and step.change.after
    ]
    assert written[:4] == [CA.key, CA.certificate, CLIENT.key, CLIENT.certificate]


def test_the_new_manifest_has_the_eight_flags_and_the_old_ones() -> None:
    _, plan = planned(OFF)
    change = plan.steps[-1].change
    assert isinstance(change, FileChange)
    assert change.after is not None
    after = read_manifest(plan.blobs[change.after.digest], MANIFEST)
    assert {flag.name: flag.value for flag in after.flags} == {**OTHERS, **EIGHT}


def test_a_folder_that_is_missing_is_made_first_with_those_above_it() -> None:
    _, plan = planned(OFF, pki_dir="/srv/kubernetes/fp")
    assert [step.change for step in plan.steps[:3]] == [
        FolderChange("/srv", 0o755),
        FolderChange("/srv/kubernetes", 0o755),
        FolderChange("/srv/kubernetes/fp", 0o755),
    ]


def test_a_folder_that_the_flags_name_for_the_leaf_alone_is_made_too() -> None:
    scene = ON.flag(proxy_client_cert_file="/srv/leaf/a.pem", proxy_client_key_file=None)
    _, plan = planned(scene.file("/srv/x", b""))
    assert paths(plan) == ["/srv/leaf", "/srv/leaf/a-key.pem", "/srv/leaf/a.pem", MANIFEST]


def test_a_folder_that_is_there_is_not_made() -> None:
    assert not [step for step in planned(OFF)[1].steps if isinstance(step.change, FolderChange)]


def test_a_new_ca_outlives_the_undo_of_a_failed_try() -> None:
    assert planned(OFF)[1].keep == (f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.key")


def test_without_a_new_ca_nothing_outlives_it() -> None:
    assert planned(OFF.pair("front-proxy-ca", CA))[1].keep == ()


@pytest.mark.parametrize("algorithm", ["ECDSA-P256", "RSA-2048"])
def test_certificates_of_any_algorithm_go_into_the_plan_as_they_are(algorithm: str) -> None:
    ca = pki.new_ca("front-proxy-ca", NOW, algorithm=algorithm)
    client = pki.issue(ca, "front-proxy-client", NOW, usage="client", algorithm=algorithm)
    _, plan = planned(OFF, Minted(ca, client))
    assert {ca.key, ca.certificate, client.key, client.certificate} <= set(plan.blobs.values())


# --- gates -----------------------------------------------------------------------------------------------


def test_the_gate_asks_for_the_new_process_then_its_readiness_the_configmap_and_the_identity() -> None:
    sight, plan = planned(OFF, deadline=77.0)
    gate = plan.steps[-1].gate
    assert gate is not None
    assert (gate.conditions, gate.deadline) == (live_conditions(sight), 77.0)
    assert gate.conditions == (
        Condition("manifest-in-force", (("manifest", MANIFEST), ("unlike", ""), ("logs", 1))),
        Condition("apiserver-ready", (("server", SERVER), ("manifest", MANIFEST))),
        Condition(
            "layer-published",
            (("server", SERVER), ("ca", f"{PKI}/front-proxy-ca.crt"), ("names", "front-proxy-client")),
        ),
        Condition(
            "identity-accepted",
            (
                ("server", SERVER),
                ("certificate", f"{PKI}/front-proxy-client.crt"),
                ("key", f"{PKI}/front-proxy-client.key"),
            ),
        ),
    )


def unlike_of(sight: Sight) -> Any:
    return dict(live_conditions(sight)[0].arguments)["unlike"]


def test_where_a_mount_is_all_that_changes_it_asks_for_another_process() -> None:
    scene = ON.mounted(("/etc/ssl/certs", "/etc/ssl/certs"))
    assert unlike_of(scene.see()) == "100:5"


def test_where_certificates_are_all_that_changes_the_running_process_will_do() -> None:
    sight = ON.pair("front-proxy-client", leaf(CA, days=-400)).see(repair=True)
    assert unlike_of(sight) == ""


def test_where_a_flag_changes_with_the_mount_the_arguments_tell() -> None:
    scene = ON.mounted(("/etc/ssl/certs", "/etc/ssl/certs")).flag(enable_aggregator_routing=None)
    assert unlike_of(scene.see()) == ""


def test_the_undo_waits_until_the_old_apiserver_is_back_and_stays() -> None:
    _, plan = planned(OFF)
    gate = plan.steps[-1].undo_gate
    assert gate is not None
    assert [each.check for each in gate.conditions] == ["manifest-in-force", "apiserver-ready"]
    assert gate.steady > 0


@pytest.mark.parametrize(
    "scene",
    [
        OFF.silent(),
        OFF.answering({Processes(6443): (ProcessSeen(1, 1.0, ("kube-apiserver", "--other=1")),)}),
    ],
    ids=["the API was silent", "its process was not the manifest's"],
)
def test_an_apiserver_that_was_not_healthy_before_is_not_waited_for_in_the_undo(scene: Scene) -> None:
    _, plan = planned(scene, ca=CA, repair=True)
    assert plan.steps[-1].undo_gate is None


# --- what stands in the way ------------------------------------------------------------------------------


def refused(scene: Scene, **wanted: Any) -> list[str]:
    return codes(scene.see(**wanted).problems)


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (FileAt(MANIFEST), "no-rights"),
        (KeyAt(f"{PKI}/front-proxy-ca.key"), "no-rights"),
        (FolderAt(PKI), "no-rights"),
    ],
    ids=["the manifest", "a key", "the folder of the certificates"],
)
def test_what_may_not_be_read_is_refused_in_one_sentence(question: Any, code: str) -> None:
    with pytest.raises(Refused) as caught:
        OFF.answering({question: Unknown(f"{question.path}: Permission denied", code)}).see()
    assert (caught.value.code, caught.value.do) == (code, "sudo aggctl enable")
    assert question.path in caught.value.message


def test_a_file_that_cannot_be_read_for_another_reason_points_to_its_explanation() -> None:
    with pytest.raises(Refused) as caught:
        OFF.answering({FileAt(MANIFEST): Unknown("Input/output error", "file-not-readable")}).see()
    assert caught.value.do == "aggctl explain file-not-readable"


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("v1.6.13", ["version-too-old"]),
        ("v1.7.0", []),
        ("v1.34.1+k3s1", []),
        ("v2.0.0", []),
        ("unknown", []),
        ("v1.6+", []),
    ],
)
def test_a_kube_apiserver_from_before_the_layer_is_refused(version: str, found: list[str]) -> None:
    assert refused(OFF.object("/version", {"gitVersion": version})) == found


def test_of_a_silent_one_the_image_tells_the_version() -> None:
    text = OFF.text.replace("v1.34.1", "v1.6.0").encode()
    scene = OFF.silent().file(MANIFEST, text)
    assert "version-too-old" in refused(scene, ca=CA, repair=True)


@pytest.mark.parametrize(
    ("folder", "subject"),
    [(MANIFESTS, MANIFESTS), (PKI, PKI)],
    ids=["of the manifest", "of the certificates"],
)
def test_a_folder_that_cannot_be_written_is_refused_and_named(folder: str, subject: str) -> None:
    names = ("kube-apiserver.yaml",) if folder == MANIFESTS else ()
    sight = OFF.answering({FolderAt(folder): replace(READ_ONLY, files=names)}).see()
    assert [(each.code, each.subject) for each in sight.problems] == [("folder-not-writable", subject)]


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        (ON.answering({FolderAt(PKI): READ_ONLY}).flag(enable_aggregator_routing=None), {}),
        (
            ON.answering({FolderAt(MANIFESTS): replace(READ_ONLY, files=("kube-apiserver.yaml",))}).pair(
                "front-proxy-client", leaf(CA, days=-400)
            ),
            {"repair": True},
        ),
    ],
    ids=["certificates, where only the manifest changes", "the manifest, where only certificates change"],
)
def test_a_folder_that_is_not_to_be_written_may_be_read_only(scene: Scene, wanted: dict[str, Any]) -> None:
    assert refused(scene, **wanted) == []


def test_nothing_is_written_through_a_folder_that_is_a_link() -> None:
    folder = FolderSeen((), writable=True, uid=0, gid=0, link="/data/pki")
    sight = OFF.answering({FolderAt(PKI): folder}).see()
    assert codes(sight.problems) == ["pki-is-a-link"]
    assert "--pki-dir /data/pki" in sight.problems[0].fix


def test_where_nothing_is_to_be_written_there_such_a_folder_is_good() -> None:
    folder = FolderSeen((), writable=True, uid=0, gid=0, link="/data/pki")
    assert refused(ON.answering({FolderAt(PKI): folder})) == []


def question_to_the_binary(scene: Scene) -> ArgumentsAccepted:
    """Which process is asked about which command line."""
    asked: list[ArgumentsAccepted] = []

    def look(question: Any) -> Any:
        if isinstance(question, ArgumentsAccepted):
            asked.append(question)
        return scene.look(question)

    settle(lambda snapshot: see(snapshot, Wanted(), NOW), look)
    return asked[0]


def test_the_running_binary_is_asked_about_the_whole_new_command_line() -> None:
    assert sorted(question_to_the_binary(OFF).flags) == sorted(
        f"--{name}={value}" for name, value in {**OTHERS, **EIGHT}.items()
    )


def test_it_is_asked_with_the_values_that_its_variables_became() -> None:
    process = ProcessSeen(
        100, 5.0, ("kube-apiserver", "--bind-address=10.0.0.11", "--v", "2", "--logtostderr")
    )
    words = ("'--bind-address=$(IP)'", "--v", "$(LEVEL)", "--logtostderr")
    text = OFF.text.replace(
        "    - --advertise-address=10.0.0.11\n", "".join(f"    - {word}\n" for word in words)
    )
    scene = OFF.file(MANIFEST, text.replace("    - --secure-port=6443\n", "").encode())
    at = "https://127.0.0.1:6443"
    here = {ObjectAt(path, at): answer for path, answer in OFF.objects.items()}
    asked = question_to_the_binary(scene.answering({Processes(6443): (process,), **here})).flags
    assert asked[:3] == ("--bind-address=10.0.0.11", "--v=2", "--logtostderr")


@pytest.mark.parametrize(
    ("arguments", "pid"),
    [(OFF.words, 100), (("--other=1",), 200)],
    ids=["the one of the manifest", "without such a one the newest"],
)
def test_of_several_processes_the_one_that_is_replaced_is_asked(arguments: tuple[str, ...], pid: int) -> None:
    processes = (
        ProcessSeen(100, 1.0, ("kube-apiserver", *arguments)),
        ProcessSeen(200, 9.0, ("kube-apiserver", "--not-ours=1")),
    )
    assert question_to_the_binary(OFF.answering({Processes(6443): processes})).pid == pid


def test_flags_that_it_refuses_are_refused_with_its_words_before_any_restart() -> None:
    sight = replace(OFF, complaint="unknown flag: --requestheader-client-ca-file").see()
    assert codes(sight.problems) == ["flag-refused"]
    assert "unknown flag" in sight.problems[0].message


def test_a_binary_that_cannot_be_asked_is_no_reason_to_refuse() -> None:
    assert codes(replace(OFF, complaint=Unknown("gone", "binary-not-asked")).see().problems) == []


def test_where_no_process_runs_nobody_is_asked() -> None:
    assert (
        codes(replace(OFF.answering({Processes(6443): ()}), complaint="would complain").see().problems) == []
    )


def test_where_the_manifest_stays_nobody_is_asked() -> None:
    assert codes(replace(ON, complaint="would complain").see().problems) == []


def with_metrics(scene: Scene) -> Scene:
    """A cluster with metrics-server, whose Pod this node does not reach."""
    api = {
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"service": {"namespace": "n", "name": "m"}},
    }
    listed = (
        "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices?labelSelector=kubernetes.io/service-name=m"
    )
    scene = scene.object(API_SERVICES, {"items": [api]}).object(listed, slices("10.1.0.5", https=4443))
    scene = scene.object(
        "/api/v1/namespaces/n/services/m", {"spec": {"ports": [{"name": "https", "port": 443}]}}
    )
    return scene.answering({Dial("10.1.0.5:4443"): "timed out"})


def test_an_api_that_routing_would_break_is_refused_and_named() -> None:
    sight = with_metrics(OFF).see()
    assert [(each.code, each.subject) for each in sight.problems] == [
        ("routing-breaks-service", "v1beta1.metrics.k8s.io")
    ]
    assert "--routing keep" in sight.problems[0].fix


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [(OFF, {"routing": "keep"}), (ON, {}), (ON.flag(enable_aggregator_routing="false"), {})],
    ids=["without routing", "routing was on already", "routing stays off"],
)
def test_where_routing_does_not_change_it_breaks_nothing(scene: Scene, wanted: dict[str, Any]) -> None:
    assert refused(with_metrics(scene), **wanted) == []


def test_while_other_problems_stand_the_binary_and_the_services_are_left_in_peace() -> None:
    assert refused(with_metrics(OFF.publishing(OTHER_CA))) == ["another-ca-published"]


def test_a_node_of_another_distribution_is_refused_before_anything_else_is_looked_at() -> None:
    with pytest.raises(Refused) as caught:
        ON.file("/etc/rancher/k3s/config.yaml", b"").see()
    assert caught.value.code == "distribution-manages-kube-apiserver"


def test_restarts_are_told_from_changes_that_need_none() -> None:
    assert OFF.see().restarts
    assert not ON.pair("front-proxy-client", leaf(CA, days=-400)).see(repair=True).restarts


# --- what is shown ---------------------------------------------------------------------------------------


def shown(scene: Scene, **wanted: Any) -> list[tuple[str, str, str]]:
    sight, plan = planned(scene, **wanted)
    return [(each.action, each.target, each.detail) for each in shown_changes(sight, plan)]


def test_each_file_is_shown_with_its_mode_and_what_it_is() -> None:
    assert shown(OFF) == [
        ("create", f"{PKI}/front-proxy-ca.key", f"0600   key of {PKI}/front-proxy-ca.crt"),
        ("create", f"{PKI}/front-proxy-ca.crt", "0644   a new CA, 10 y"),
        ("create", f"{PKI}/front-proxy-client.key", f"0600   key of {PKI}/front-proxy-client.crt"),
        ("create", f"{PKI}/front-proxy-client.crt", "0644   CN front-proxy-client, 1 y"),
        ("change", MANIFEST, ""),
    ]


@pytest.mark.parametrize(
    ("wanted", "detail"), [({"ca": CA}, "the given CA"), ({"kept": CA}, "the CA of an earlier try")]
)
def test_where_a_ca_comes_from_is_shown(wanted: dict[str, Any], detail: str) -> None:
    assert ("create", f"{PKI}/front-proxy-ca.crt", f"0644   {detail}") in shown(OFF, **wanted)


def test_a_pair_that_is_replaced_is_shown_as_changed() -> None:
    scene = ON.pair("front-proxy-client", leaf(CA, days=-400))
    assert [action for action, _, _ in shown(scene, repair=True)] == ["change", "change"]


def test_a_new_folder_is_shown() -> None:
    assert shown(OFF, pki_dir="/srv")[0] == ("create", "/srv", "0755   folder")


def test_the_manifest_is_shown_as_a_diff_of_the_lines_that_change() -> None:
    sight, plan = planned(ON.flag(enable_aggregator_routing=None))
    (change,) = shown_changes(sight, plan)
    lines = change.diff.splitlines()
    assert [line for line in lines if line.startswith("+") and not line.startswith("+++")] == [
        f"+    - --{ROUTING_FLAG}=true"
    ]
    assert [line for line in lines if line.startswith("-") and not line.startswith("---")] == []


def test_no_key_is_shown() -> None:
    sight, plan = planned(OFF)
    told = repr(shown_changes(sight, plan))
    assert not [line for key in (CA.key, CLIENT.key) for line in key.decode().splitlines() if line in told]


@pytest.mark.parametrize(
    "neighbour",
    [
        "      value: s3cret",
        '      "value": "s3cret"',
        "    - value: s3cret",
        "    - --oidc-client-secret=s3cret",
        "    - --some-password-thing=s3cret",
        "    - x" + "." * 160 + "s3cret",
    ],
    ids=[
        "env or a header",
        "JSON",
        "first in its item",
        "a flag for a secret",
        "a flag for a password",
        "a long line",
    ],
)
def test_the_diff_shows_no_secret_of_a_neighbouring_line(neighbour: str) -> None:
    old, new = f"a\n{neighbour}\nb\n", f"a\n{neighbour}\nnew\nb\n"
    diff = unified_diff(old, new, "m.yaml")
    assert "+new" in diff
    assert "s3cret" not in diff


def test_the_diff_shows_an_ordinary_neighbour() -> None:
    assert " plain: words" in unified_diff("plain: words\n", "plain: words\nnew\n", "m.yaml")


def test_the_names_that_are_wanted_stand_in_the_gate() -> None:
    sight = ON.flag(requestheader_allowed_names=None).publishing(CA, names=("a",)).with_peer().see()
    assert dict(live_conditions(sight)[2].arguments)["names"] == sight.need.flags[NAMES_FLAG]


def test_a_plan_can_be_shown_where_only_the_api_is_silent() -> None:
    assert OFF.silent().see().only_silent


def test_no_plan_is_shown_where_the_published_ca_cannot_be_read() -> None:
    scene = OFF.object(CONFIG_MAP, {"data": {"requestheader-client-ca-file": "garbage"}})
    assert not scene.see().only_silent
