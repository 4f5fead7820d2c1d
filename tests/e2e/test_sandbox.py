"""The sandbox against the real etcd and kube-apiserver."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML
from support.sandboxes import Running, arguments, await_end, kill, sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.errors import Failed, Refused
from aggctl.sandbox import control_plane, layout, processes, state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.controlplane

PUBLISHED = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
CRI_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) F .*")


def test_admin_conf_has_an_administrators_rights(shared_sandbox: Running) -> None:
    assert shared_sandbox.admin.ask("/api/v1/secrets").status == 200


def test_with_the_layer_off_nothing_of_it_is_there(shared_sandbox: Running) -> None:
    published = json.loads(shared_sandbox.admin.ask(PUBLISHED).text)["data"]

    assert list(published) == ["client-ca-file"]
    assert shared_sandbox.status().aggregation == "off"
    assert not list((shared_sandbox.sandbox.root / "etc/kubernetes/pki").glob("front-proxy-*"))


def test_keys_and_manifest_are_for_their_owner_only(shared_sandbox: Running) -> None:
    root = shared_sandbox.sandbox.root
    private = [
        *root.rglob("*.key"),
        root / layout.ADMIN,
        root / layout.MANIFEST,
        root.parent / "sandbox.json",
    ]

    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_process_has_the_manifests_arguments_below_its_working_folder(shared_sandbox: Running) -> None:
    manifest = YAML(typ="safe").load(shared_sandbox.manifest)

    assert arguments(shared_sandbox.apiserver().process) == manifest["spec"]["containers"][0]["command"]


def test_logs_are_in_the_format_of_the_cri(shared_sandbox: Running) -> None:
    lines = shared_sandbox.apiserver_log().splitlines()

    assert lines
    assert [line for line in lines if not CRI_LINE.fullmatch(line)] == []


def test_up_on_a_running_sandbox_leaves_it_as_it_is(shared_sandbox: Running) -> None:
    before = shared_sandbox.everything()

    again = control_plane.up(shared_sandbox.directory, "off", say=print)

    assert again.did == "already"
    assert shared_sandbox.everything() == before


@pytest.mark.usefixtures("programs")
def test_with_the_layer_on_its_ca_is_published(tmp_path: Path) -> None:
    with sandbox_in(tmp_path / "sandbox", "on") as sandbox:
        published = json.loads(sandbox.admin.ask(PUBLISHED).text)["data"]
        authority = (sandbox.sandbox.root / "etc/kubernetes/pki/front-proxy-ca.crt").read_text()
        client = (sandbox.sandbox.root / "etc/kubernetes/pki/front-proxy-client.crt").read_bytes()

        assert published["requestheader-client-ca-file"] == authority
        assert json.loads(published["requestheader-allowed-names"]) == ["front-proxy-client"]
        assert pki.read_certificates(client)[0].common_name == "front-proxy-client"
        assert sandbox.status().aggregation == "on"


def test_a_changed_manifest_stops_the_old_process_and_then_starts_the_new(sandbox: Running) -> None:
    old = sandbox.apiserver()

    sandbox.add_flag("--event-ttl=2h")
    new = sandbox.await_other(old)

    log = sandbox.kubelet_log()
    assert "--event-ttl=2h" in arguments(new.process)
    assert log.index(f"pid {old.process.pid} of Pod kube-system/kube-apiserver ended") < log.index(
        f"pid {new.process.pid}"
    )


def test_a_half_written_manifest_is_an_error_and_the_old_pod_goes_on(sandbox: Running) -> None:
    old, whole = sandbox.apiserver(), sandbox.manifest.read_bytes()

    sandbox.manifest.write_bytes(whole[:3])
    sandbox.await_log("couldn't parse as pod")
    assert sandbox.apiserver() == old

    sandbox.manifest.write_bytes(whole)
    sandbox.manifest.with_name("zz-marker").write_text("kind: Nothing")
    sandbox.await_log("zz-marker: cannot process the manifest")
    assert sandbox.apiserver() == old


def test_a_dot_file_is_ignored_and_any_other_ending_is_a_pod(sandbox: Running) -> None:
    other = sandbox.manifest.read_text().replace(
        "  name: kube-apiserver\n  namespace", "  name: other\n  namespace"
    )
    hidden = sandbox.manifest.with_name(".kube-apiserver.yaml")

    hidden.write_text(other)
    sandbox.manifest.with_name("zz-marker").write_text("")
    sandbox.await_log("zz-marker: cannot process the manifest")
    assert sandbox.containers("other") == []

    backup = hidden.rename(hidden.with_name("kube-apiserver.yaml.bak"))
    sandbox.await_log("started Pod other")
    backup.unlink()
    eventually(lambda: not sandbox.containers("other"), "the Pod of the removed file is gone")


def test_of_two_files_with_the_same_pod_the_last_one_read_runs(sandbox: Running) -> None:
    old = sandbox.apiserver()
    copy = sandbox.manifest.read_text().replace("    image:", "    - --event-ttl=3h\n    image:")

    sandbox.manifest.with_name("kube-apiserver.yaml.bak").write_text(copy)
    new = sandbox.await_other(old)

    assert "--event-ttl=3h" in arguments(new.process)
    assert "Pod kube-system/kube-apiserver is also in" in sandbox.kubelet_log()


def test_a_file_under_no_mount_does_not_exist_for_the_process(sandbox: Running) -> None:
    outside = sandbox.sandbox.root / "etc/other/fp-ca.crt"
    outside.parent.mkdir()
    shutil.copy(sandbox.sandbox.root / "etc/kubernetes/pki/ca.crt", outside)

    sandbox.add_flag("--requestheader-client-ca-file=/etc/other/fp-ca.crt")

    eventually(
        lambda: "etc/other/fp-ca.crt: no such file or directory" in sandbox.apiserver_log(),
        "kube-apiserver says that the file is missing",
    )
    eventually(lambda: not sandbox.status().processes[2].running, "the status says that it died")
    assert "no such file or directory" in "".join(sandbox.status().processes[2].last_lines)


def test_a_single_file_mount_does_not_see_a_later_rename(sandbox: Running) -> None:
    old, host = sandbox.apiserver(), sandbox.sandbox.root / "etc/motd"
    host.write_text("old")
    sandbox.change_manifest(
        "    volumeMounts:\n", "    volumeMounts:\n    - mountPath: /etc/kubernetes/motd\n      name: motd\n"
    )
    sandbox.change_manifest(
        "  volumes:\n", "  volumes:\n  - hostPath:\n      path: /etc/motd\n      type: File\n    name: motd\n"
    )
    new = sandbox.await_other(old)
    inside = sandbox.directory / f"run/containers/kube-apiserver-{new.uid}/rootfs/etc/kubernetes/motd"

    host.with_name("draft").write_text("new")
    host.with_name("draft").replace(host)

    assert inside.read_text() == "old"


@pytest.mark.usefixtures("programs")
def test_a_lingering_process_keeps_its_pid_after_its_port_is_closed(tmp_path: Path) -> None:
    with sandbox_in(tmp_path / "sandbox", linger=4.0) as sandbox:
        old = sandbox.apiserver()
        sandbox.add_flag("--event-ttl=2h")

        eventually(lambda: _refused(int(old.secure_port or 0)), "the port refuses")
        assert sandbox.apiserver() == old  # and it is the only one

        sandbox.await_other(old)
        assert (
            f"pid {old.process.pid} of Pod kube-system/kube-apiserver ended: exit status -9"
            in sandbox.kubelet_log()
        )


def test_a_killed_kube_apiserver_is_started_again(sandbox: Running) -> None:
    old = sandbox.apiserver()

    kill(old.process)
    new = sandbox.await_other(old)

    assert (new.uid, new.restarts) == (old.uid, 1)


def test_a_new_stand_in_adopts_what_the_killed_one_left_running(sandbox: Running) -> None:
    server, kubelet = sandbox.apiserver(), sandbox.process("kubelet")
    kill(kubelet)
    assert [process.running for process in sandbox.status().processes] == [True, False, True]

    assert control_plane.up(sandbox.directory, "off", say=print).did == "restarted"
    sandbox.await_log(f"adopted pid {server.process.pid}")
    assert sandbox.apiserver() == server

    kill(server.process)
    assert sandbox.await_other(server).restarts == 1


def test_a_dead_etcd_is_reported_and_up_starts_it_with_its_data(sandbox: Running) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}}
    assert sandbox.admin.ask("/api/v1/namespaces", namespace).status == 201
    kill(sandbox.process("etcd"))

    etcd = sandbox.status().processes[0]
    assert (etcd.running, etcd.pid, bool(etcd.last_lines)) == (False, None, True)

    control_plane.up(sandbox.directory, "off", say=print)
    eventually(lambda: sandbox.admin.ask("/api/v1/namespaces/kept").status == 200, "the namespace is there")


def test_down_ends_every_process_and_removes_the_folder(sandbox: Running) -> None:
    running = sandbox.everything()

    ended = control_plane.down(sandbox.directory, say=print)

    assert sorted(line.split()[0] for line in ended) == ["etcd", "kube-apiserver", "kubelet"]
    assert [processes.alive(process) for process in running] == [False] * 3
    assert not sandbox.directory.exists()


def test_down_ends_also_what_a_killed_stand_in_left(sandbox: Running) -> None:
    running = sandbox.everything()
    kill(sandbox.process("kubelet"))

    control_plane.down(sandbox.directory, say=print)

    assert [processes.alive(process) for process in running] == [False] * 3


def test_what_down_kept_comes_up_again(sandbox: Running) -> None:
    control_plane.down(sandbox.directory, say=print, keep=True)

    assert control_plane.up(sandbox.directory, "off", say=print).did == "restarted"
    assert sandbox.status().healthy


def test_everything_ends_when_the_folder_is_removed(sandbox: Running) -> None:
    running = sandbox.everything()

    eventually(lambda: _removed(sandbox.directory), "the folder is removed, though its processes write there")

    for process in running:
        await_end(process)


def test_a_process_that_only_has_the_pid_of_ours_is_left_alone(sandbox: Running) -> None:
    settings = state.load(sandbox.directory)
    assert settings is not None
    etcd = settings.processes["etcd"]
    earlier = processes.Process(etcd.pid, etcd.started - 1)

    assert not processes.send(earlier, signal.SIGKILL)
    assert processes.alive(etcd)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(Refused, match="not a sandbox"):
        control_plane.up(tmp_path, "off", say=print)
    with pytest.raises(Refused, match="not a sandbox"):
        control_plane.down(tmp_path, say=print)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("taken", [0, 1, 2], ids=["etcd", "etcd-peer", "kube-apiserver"])
def test_a_port_that_was_taken_meanwhile_is_replaced_by_another(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        first = [*control_plane._free_ports()]
        first[taken] = thief.getsockname()[1]
        choices = iter([tuple(first), control_plane._free_ports()])
        monkeypatch.setattr(control_plane, "_free_ports", lambda: next(choices))

        with sandbox_in(tmp_path / "sandbox") as sandbox:
            assert sandbox.status().healthy


def test_a_folder_that_cannot_be_made_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Failed, match="cannot be used") as failure:
        control_plane.up(tmp_path / "file/sandbox", "off", say=print)

    assert "Not a directory" in failure.value.found


def test_where_a_program_fails_its_words_are_shown_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "kube-apiserver"):
        program = tmp_path / "assets" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))

    with pytest.raises(Failed, match="etcd ended") as failure:
        control_plane.up(tmp_path / "sandbox", "off", say=print)

    assert failure.value.evidence == ("no such luck",)
    assert not (tmp_path / "sandbox").exists()


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
