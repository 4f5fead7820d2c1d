"""What `kubeadm upgrade` is told: which flags go to kubeadm-config, which to a patch file, which nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.kubeadm_configs import LIST, MAPPING, configuration
from support.snapshots import CA, MANIFEST, NOW, OFF, ON, OTHERS, PEER, PKI, SERVER, Scene, codes, file, leaf

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.doctor.bundle import Bundle, read_bundle, write_bundle
from aggctl.core.enable import Minted, Sight, plan_enable, shown_changes
from aggctl.core.need import Wanted
from aggctl.core.persist.configuration import KEY, PATH, TARGET, read_configuration
from aggctl.core.persist.patch import FILE, FOLDER, is_ours, patched_flags
from aggctl.core.persist.steps import Told, configuration_object
from aggctl.core.plan import FileChange, FolderChange, ObjectChange, Plan, plan_to_json
from aggctl.core.questions import FileAt, FolderAt, FolderSeen, ObjectAt, Unknown
from aggctl.core.snapshot import Snapshot
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggctl.core.questions import Question

PLAIN = configuration("apiServer: {}\n")
FORBIDDEN = Unknown("forbidden to admin.conf", "no-rights-in-cluster")
ELSEWHERE = "/srv/front-proxy"
FOREIGN = {
    f.CA: f"{ELSEWHERE}/ca.crt",
    f.CERTIFICATE: f"{ELSEWHERE}/client.crt",
    f.KEY: f"{ELSEWHERE}/client.key",
}


def kubeadm(scene: Scene, text: str = PLAIN) -> Scene:
    """The cluster with a kubeadm-config."""
    return scene.object(
        PATH, {"kind": "ConfigMap", "metadata": {"name": "kubeadm-config"}, "data": {KEY: text}}
    )


def pod(address: str, flags: Mapping[str, str]) -> dict[str, Any]:
    """A kube-apiserver's mirror Pod."""
    words = [f"--{name}={value}" for name, value in flags.items()]
    spec = {"containers": [{"command": ["kube-apiserver", *words]}]}
    return {"metadata": {"name": f"kube-apiserver-{address}"}, "spec": spec, "status": {"hostIP": address}}


def with_peer(scene: Scene, **flags: str | None) -> Scene:
    """Another node that runs with the same flags but for these (with `_` for `-`)."""
    theirs = scene.flag(advertise_address=PEER, **flags).flags
    pods = {"items": [pod("10.0.0.11", scene.flags), pod(PEER, theirs)]}
    return scene.with_peer().object(APISERVER_PODS, pods)


def elsewhere(scene: Scene) -> Scene:
    """The layer's files in a folder that kubeadm does not mount."""
    scene = scene.mounted((PKI, PKI), (ELSEWHERE, ELSEWHERE))
    for stem, pair in (("ca", CA), ("client", leaf(CA))):
        scene = scene.file(f"{ELSEWHERE}/{stem}.crt", pair.certificate).file(
            f"{ELSEWHERE}/{stem}.key", pair.key
        )
    return scene.flag(**{name.replace("-", "_"): value for name, value in FOREIGN.items()})


def told(sight: Sight) -> dict[str, str | None]:
    """What kubeadm-config says of the flags that differ from kubeadm's own, once it is written."""
    own = read_configuration(PLAIN)
    after = read_configuration(sight.persist.text)
    return {name: after.value(name) for name in f.AGGREGATION_FLAGS if after.value(name) != own.value(name)}


def patched(sight: Sight) -> dict[str, str]:
    return patched_flags(sight.persist.patch)


def planned(sight: Sight) -> Plan:
    change = ObjectChange(SERVER, PATH, TARGET, None, None)
    stands_in: Told | None = (change, {}) if sight.persist.edits else None
    made = Minted(CA if sight.need.ca_source else None, leaf(CA) if sight.need.client_name else None)
    return plan_enable(sight, made, Wanted(), stands_in)


# --- kubeadm-config ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [LIST, MAPPING])
@pytest.mark.parametrize(
    "scene", [OFF, ON, ON.flag(enable_aggregator_routing=None)], ids=["off", "on", "no routing"]
)
def test_on_an_ordinary_node_routing_is_all_that_kubeadm_is_told(scene: Scene, version: str) -> None:
    sight = kubeadm(scene, configuration("apiServer: {}\n", version)).see()
    assert (sight.problems, sight.notes) == ((), ())
    assert told(sight) == {f.ROUTING: "true"}
    assert (sight.persist.patch, sight.persist.folders) == (b"", ())


def test_another_name_is_told_as_well() -> None:
    scene = ON.pair("front-proxy-client", leaf(CA, "aggregator")).flag(
        requestheader_allowed_names="aggregator"
    )
    sight = kubeadm(scene.publishing(CA, names=["aggregator"])).see()
    assert told(sight) == {f.NAMES: "aggregator", f.ROUTING: "true"}


@pytest.mark.parametrize(
    ("said", "after"),
    [
        ("{name: requestheader-allowed-names, value: stale}", "front-proxy-client"),
        (
            "{name: requestheader-client-ca-file, value: /etc/kubernetes/pki/old.crt}",
            f"{PKI}/front-proxy-ca.crt",
        ),
    ],
)
def test_a_stale_value_there_is_made_right(said: str, after: str) -> None:
    sight = kubeadm(ON, configuration(f"apiServer: {{extraArgs: [{said}]}}\n")).see()
    assert after in sight.persist.text
    assert told(sight) == {f.ROUTING: "true"}


def test_routing_that_this_node_does_without_is_switched_off_there() -> None:
    text = configuration("apiServer: {extraArgs: [{name: enable-aggregator-routing, value: 'true'}]}\n")
    sight = kubeadm(ON.flag(enable_aggregator_routing=None), text).see(routing="keep")
    assert told(sight) == {f.ROUTING: "false"}


def test_where_it_says_so_already_there_is_nothing_to_do() -> None:
    text = configuration("apiServer: {extraArgs: [{name: enable-aggregator-routing, value: 'true'}]}\n")
    assert kubeadm(ON, text).see().persist.nothing


def test_without_kubeadm_config_there_is_nothing_to_do_and_nothing_to_say() -> None:
    for scene in (ON, ON.object(PATH, {"data": None})):
        assert scene.see().persist.nothing
        assert scene.see().notes == ()


def test_by_persist_kubeadm_it_must_be_there() -> None:
    assert codes(ON.see(persist="kubeadm").problems) == ["kubeadm-config-not-found"]


def test_by_persist_none_it_is_left_alone_and_that_is_said() -> None:
    sight = kubeadm(ON).see(persist="none")
    assert sight.persist.nothing
    assert codes(sight.notes) == ["kubeadm-config-left-alone"]


def test_a_change_that_is_not_waited_for_is_told_later_and_what_needs_no_waiting_at_once() -> None:
    sight = kubeadm(OFF).see(awaited=False)
    assert sight.persist.nothing
    assert codes(sight.notes) == ["kubeadm-config-left-alone"]
    assert kubeadm(ON).see(awaited=False).persist.edits


@pytest.mark.parametrize("path", [PATH, APISERVER_PODS])
def test_what_may_not_be_seen_is_worth_a_line_and_by_persist_kubeadm_a_refusal(path: str) -> None:
    scene = kubeadm(ON).answering({ObjectAt(path, SERVER): FORBIDDEN})
    assert scene.see().persist.nothing
    assert [(each.code, each.severity) for each in scene.see().notes] == [
        ("kubeadm-config-not-readable", "info")
    ]
    assert codes(scene.see(persist="kubeadm").problems) == ["kubeadm-config-not-readable"]


def test_while_the_api_is_silent_kubeadm_is_told_nothing() -> None:
    sight = kubeadm(ON.flag(enable_aggregator_routing=None)).silent().see(repair=True)
    assert sight.persist.nothing
    assert "kubeadm-config-not-readable" in codes(sight.notes)


def test_a_configuration_that_cannot_be_edited_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(Refused) as refused:
        kubeadm(ON, "kind: Other\n").see()
    assert refused.value.code == "kubeadm-config-not-editable"


def test_a_flag_by_a_variable_is_refused_because_kubeadm_would_not_set_the_variable() -> None:
    with pytest.raises(Refused, match="names a variable"):
        kubeadm(ON.flag(requestheader_group_headers="$(GROUPS)")).see()


# --- several nodes -----------------------------------------------------------------------------------------


def test_what_every_node_runs_with_goes_to_kubeadm_config() -> None:
    other = {name: f"{PKI}/other-{name}" for name in (f.CA,)}
    scene = ON.file(other[f.CA], CA.certificate).flag(requestheader_client_ca_file=other[f.CA])
    assert told(with_peer(kubeadm(scene)).see()) == {**other, f.ROUTING: "true"}


def test_a_file_that_another_node_does_not_name_is_a_matter_of_this_node() -> None:
    path = f"{PKI}/other-ca.crt"
    scene = ON.file(path, CA.certificate).flag(requestheader_client_ca_file=path)
    for theirs in (f"{PKI}/front-proxy-ca.crt", None):
        sight = with_peer(kubeadm(scene), requestheader_client_ca_file=theirs).see()
        assert (told(sight), patched(sight)) == ({f.ROUTING: "true"}, {f.CA: path})
        assert b"volume" not in sight.persist.patch


def test_routing_that_another_node_lacks_reaches_it_and_where_it_is_set_off_there_it_stays_so() -> None:
    lacking = with_peer(kubeadm(ON), enable_aggregator_routing=None).see()
    assert (told(lacking), patched(lacking)) == ({f.ROUTING: "true"}, {})
    against = with_peer(kubeadm(ON), enable_aggregator_routing="false").see()
    assert (told(against), patched(against)) == ({}, {f.ROUTING: "true"})


def test_names_that_differ_from_another_nodes_are_told_nobody_because_no_patch_can_replace_them() -> None:
    scene = ON.flag(requestheader_allowed_names="front-proxy-client,mine")
    sight = with_peer(kubeadm(scene), requestheader_allowed_names="front-proxy-client").see()
    assert (told(sight), patched(sight)) == ({f.ROUTING: "true"}, {})
    (note,) = sight.notes
    assert (note.code, note.severity) == ("kubeadm-config-differs", "warning")
    assert f"kube-apiserver-{PEER} runs with front-proxy-client" in note.message


def test_a_node_whose_flags_cannot_be_seen_keeps_kubeadm_from_being_told() -> None:
    sight = kubeadm(ON).with_peer().see()
    assert sight.persist.nothing
    assert PEER in sight.notes[0].message


def test_a_pod_is_this_nodes_by_its_advertised_address_too() -> None:
    own = {**pod("", ON.flags), "status": {}, "metadata": {}}
    assert kubeadm(ON).object(APISERVER_PODS, {"items": [own]}).see().persist.edits


# --- the patch file ----------------------------------------------------------------------------------------


def test_files_that_kubeadm_does_not_mount_go_to_a_patch_file_with_their_mount() -> None:
    sight = kubeadm(elsewhere(ON)).see()
    assert (told(sight), patched(sight)) == ({f.ROUTING: "true"}, FOREIGN)
    text = sight.persist.patch.decode()
    assert (
        text.count('"path": "/spec/volumes/-"')
        == text.count('"path": "/spec/containers/0/volumeMounts/-"')
        == 1
    )
    assert f'{{"hostPath": {{"path": "{ELSEWHERE}"}}, "name": "volume-1"}}' in text


def test_a_mount_that_is_new_is_patched_in_as_well() -> None:
    sight = kubeadm(OFF.flag()).see(pki_dir=ELSEWHERE)
    assert sight.need.mounts
    assert '"type": "DirectoryOrCreate"' in sight.persist.patch.decode()
    assert f"{ELSEWHERE}/front-proxy-ca.crt" in patched(sight).values()


def test_a_volume_that_kubeadm_config_has_is_no_matter_of_a_patch() -> None:
    text = configuration(f"apiServer: {{extraVolumes: [{{mountPath: {ELSEWHERE}}}]}}\n")
    sight = kubeadm(elsewhere(ON), text).see()
    assert (told(sight), sight.persist.patch) == ({**FOREIGN, f.ROUTING: "true"}, b"")


def test_a_patch_of_ours_that_is_no_longer_needed_is_removed_and_one_that_is_right_stays() -> None:
    needed = kubeadm(elsewhere(ON)).see().persist.patch
    assert not kubeadm(elsewhere(ON)).file(FILE, needed).see().persist.patches
    sight = kubeadm(ON).file(FILE, needed).see()
    assert sight.persist.patches
    (change,) = (step.change for step in planned(sight).steps if step.change.path == FILE)
    assert isinstance(change, FileChange)
    assert change.after is None
    assert shown_changes(sight, planned(sight))[0].action == "remove"


def test_somebody_elses_file_of_that_name_is_kept_and_refused_only_where_one_is_needed() -> None:
    theirs = b"- op: remove\n"
    assert not kubeadm(ON).file(FILE, theirs).see().persist.patches
    assert codes(kubeadm(elsewhere(ON)).file(FILE, theirs).see().problems) == ["kubeadm-patch-taken"]


def test_what_a_file_of_ours_holds_besides_flags_is_passed_over() -> None:
    own = kubeadm(elsewhere(ON)).see().persist.patch
    assert (
        patched_flags(own + b'- []\n- {"path": "/spec/containers/0/command/-", "value": "--v=9"}\n')
        == FOREIGN
    )
    assert is_ours(own)


# --- the plan ----------------------------------------------------------------------------------------------


def test_kubeadm_is_told_behind_the_gate_of_the_manifest() -> None:
    sight = kubeadm(elsewhere(ON).flag(enable_aggregator_routing=None)).see()
    plan = planned(sight)
    assert [step.change.path for step in plan.steps] == [FOLDER, MANIFEST, FILE, PATH]
    assert [bool(step.gate) for step in plan.steps] == [False, True, False, False]


def test_where_the_manifest_is_right_nothing_restarts() -> None:
    sight = kubeadm(ON).see()
    assert sight.need.nothing
    assert not sight.restarts
    assert [step.change.path for step in planned(sight).steps] == [PATH]


def test_the_patch_file_is_readable_and_its_folder_is_made() -> None:
    sight = kubeadm(elsewhere(ON)).see()
    folder, file, _ = (step.change for step in planned(sight).steps)
    assert isinstance(folder, FolderChange)
    assert isinstance(file, FileChange)
    assert file.after
    assert (file.after.mode, file.after.uid, file.before) == (0o644, 0, None)


def test_where_kubeadm_config_is_right_the_patch_is_all_that_is_written() -> None:
    text = configuration("apiServer: {extraArgs: [{name: enable-aggregator-routing, value: 'true'}]}\n")
    sight = kubeadm(elsewhere(ON), text).see()
    assert [step.change.path for step in planned(sight).steps] == [FOLDER, FILE]


def test_a_patch_that_changes_keeps_its_old_content_for_the_way_back() -> None:
    old = kubeadm(elsewhere(ON)).see().persist.patch.replace(b"ca.crt", b"old.crt")
    sight = kubeadm(elsewhere(ON)).file(FILE, old).see()
    (change,) = (step.change for step in planned(sight).steps if step.change.path == FILE)
    assert isinstance(change, FileChange)
    assert change.before
    assert planned(sight).blobs[change.before.digest] == old


def test_a_folder_that_cannot_be_written_is_refused_before() -> None:
    scene = kubeadm(elsewhere(ON)).answering({FolderAt(FOLDER): FolderSeen((), writable=False, uid=0, gid=0)})
    assert codes(scene.see().problems) == ["folder-not-writable"]


def test_the_plan_is_shown_as_a_diff_without_secrets_of_neighbours() -> None:
    text = configuration("apiServer:\n  extraArgs:\n  - name: oidc-client-secret\n    value: hunter2\n")
    sight = kubeadm(elsewhere(ON), text).see()
    shown = {each.target: each for each in shown_changes(sight, planned(sight))}
    assert '+    value: "true"' in shown[TARGET].diff
    assert f"--requestheader-client-ca-file={ELSEWHERE}/ca.crt" in shown[FILE].diff
    assert (shown[TARGET].action, shown[FILE].action) == ("change", "create")
    assert "hunter2" not in "".join(each.diff for each in shown.values()) + str(plan_to_json(planned(sight)))


@pytest.mark.parametrize(
    ("version", "args"),
    [
        (LIST, '[{"name": "oidc-client-secret", "value": "hunter2"}, {name: x, value: hunter2}]'),
        (MAPPING, "{a-token: 'hunter2', x: hunter2}"),
    ],
)
def test_of_a_line_that_holds_all_extra_args_only_the_layers_are_shown(version: str, args: str) -> None:
    sight = kubeadm(ON, configuration(f"apiServer: {{extraArgs: {args}}}\n", version)).see()
    (shown,) = shown_changes(sight, planned(sight))
    assert "hunter2" not in shown.diff
    assert shown.diff.count("enable-aggregator-routing") == shown.diff.count("true") == 1


def test_what_is_applied_is_that_one_field() -> None:
    sight = kubeadm(ON).see()
    assert configuration_object(sight.persist)["data"] == {KEY: sight.persist.text}


def test_other_flags_of_the_node_are_none_of_kubeadms_business_here() -> None:
    assert told(kubeadm(ON.flag(v="9")).see()) == {f.ROUTING: "true"}
    assert set(OTHERS) & set(told(kubeadm(ON).see())) == set()


# --- what leaves with a bundle of doctor -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        configuration("apiServer: {extraArgs: [{name: oidc-client-secret, value: hunter2}]}\n"),
        configuration("apiServer: {extraArgs: {a-token: hunter2}}\n", MAPPING),
        configuration("apiServer: {extraEnvs: [{name: PROXY_PASS, value: hunter2}]} # hunter2\n"),
        "hunter2",
    ],
)
def test_a_bundle_holds_of_kubeadm_config_what_concerns_the_layer(text: str) -> None:
    found: dict[Question, Any] = {
        ObjectAt(PATH, SERVER): {"data": {KEY: text}, "metadata": {"name": "hunter2"}}
    }
    assert "hunter2" not in write_bundle(Bundle(SERVER, ("", ""), (), NOW, "", Snapshot(found)))


def test_a_bundle_holds_of_a_patch_file_the_flags_of_the_layer_and_of_somebody_elses_nothing() -> None:
    own = kubeadm(elsewhere(ON)).see().persist.patch + b'- {"op": "add", "path": "/x", "value": "hunter2"}\n'
    for content, flags in ((own, FOREIGN), (b"- hunter2\n", {})):
        bundle = Bundle(SERVER, ("", ""), (), NOW, "", Snapshot({FileAt(FILE): file(content)}))
        assert "hunter2" not in write_bundle(bundle)
        kept = read_bundle(write_bundle(bundle), "it").snapshot.file(FILE)
        assert kept
        assert patched_flags(kept.content) == flags
