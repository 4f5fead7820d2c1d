"""`aggctl enable` on an ordinary day: what it does, what it says, and when it does nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.cases import (
    assert_after,
    assert_before,
    changed_paths,
    open_records,
    run_dry,
    run_enable,
    run_rollback,
    wanted_for,
)
from support.world import MANIFEST, PKI, Faults, FaultyCalls, World, authorities, failing, make_world, tree

from aggctl.core import pki
from aggctl.workflows.enable import enable
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from pathlib import Path

    from aggctl.core.report import Report


def again(world: World) -> World:
    return World(world.folder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "node", "off")


@pytest.mark.parametrize("kind", ["off", "unmounted", "expired", "leafless"])
def test_each_kind_of_node_ends_with_the_layer_on(tmp_path: Path, kind: str) -> None:
    world = make_world(tmp_path / "node", kind)
    before = world.tree()
    result = run_enable(world, kind)
    assert (result.outcome, result.status) == ("applied", 0)
    assert_after(world, kind, before)
    assert open_records(world) == []


def test_a_second_run_is_unchanged_and_gives_the_reasons_flag_by_flag(world: World) -> None:
    run_enable(world)
    everything = tree(world.root)
    result = run_enable(again(world))
    assert (result.outcome, result.status) == ("unchanged", 0)
    assert "--enable-aggregator-routing=true" in result.summary
    assert "CN front-proxy-client is allowed" in result.summary
    assert tree(world.root) == everything


def test_a_dry_run_writes_nothing_at_all(world: World) -> None:
    everything = tree(world.root)
    result = run_dry(world)
    assert (result.outcome, result.status) == ("planned", 0)
    assert len(result.document["changes"]) == 5
    assert tree(world.root) == everything
    assert not world.path("/var/lib/aggctl").exists()


def test_a_refusal_writes_nothing_at_all(world: World) -> None:
    world.path(MANIFEST).with_suffix(".bak").write_bytes(world.path(MANIFEST).read_bytes())
    everything = tree(world.root)
    result = run_enable(world)
    assert (result.outcome, result.status) == ("refused", 3)
    assert result.codes == ["second-apiserver-manifest"]
    assert tree(world.root) == everything


def test_a_no_at_the_prompt_writes_nothing_at_all(world: World) -> None:
    everything = tree(world.root)
    report = enable(world.ports(), wanted_for("off"), Manner(False, lambda _: False))
    assert report.exit_status == 3
    assert tree(world.root) == everything


def test_an_interrupt_at_the_prompt_writes_nothing_at_all(world: World) -> None:
    def interrupt(_: Report) -> bool:
        raise KeyboardInterrupt

    everything = tree(world.root)
    with pytest.raises(KeyboardInterrupt):
        enable(world.ports(), wanted_for("off"), Manner(False, interrupt))
    assert tree(world.root) == everything


def test_where_only_routing_is_missing_the_plan_says_what_that_costs_and_how_to_do_without(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path / "node", "on")
    text = world.path(MANIFEST).read_text()
    world.path(MANIFEST).write_text(text.replace("    - --enable-aggregator-routing=true\n", ""))
    planned = run_dry(again(world))
    assert "only routing to endpoints is not set" in planned.summary
    assert "--routing keep" in planned.summary
    assert "restarts once" in planned.summary
    assert run_dry(again(world), routing="keep").outcome == "unchanged"


def test_a_silent_api_is_a_refusal_that_writes_nothing(world: World) -> None:
    world.faults = Faults("silent", for_good=True)
    world.path(MANIFEST).write_bytes(world.path(MANIFEST).read_bytes() + b"# touched\n")
    everything = tree(world.root)
    result = run_enable(world)
    assert result.outcome == "refused"
    assert "apiserver-not-reachable" in result.codes
    assert tree(world.root) == everything


def test_what_cannot_be_read_is_a_refusal(world: World) -> None:
    world.faults = Faults(unreadable=f"{PKI}/front-proxy-ca.crt")
    assert run_enable(world).outcome == "refused"
    assert not world.path("/var/lib/aggctl").exists()


# --- not waited for, interrupted, open --------------------------------------------------------------------


def test_what_was_not_waited_for_stays_open_and_the_next_run_closes_it(world: World) -> None:
    before = world.tree()
    assert run_enable(world, wait=False).outcome == "applied"
    assert len(open_records(world)) == 1
    result = run_enable(again(world))
    assert result.outcome == "unchanged"
    assert "closed now" in result.summary
    assert open_records(world) == []
    assert_after(world, "off", before)


def test_closing_an_open_change_sweeps_the_draft_that_its_crash_left(world: World) -> None:
    run_enable(world, wait=False)
    (record,) = open_records(world)
    world.path(f"{PKI}/.front-proxy-client.key.aggctl-draft-{record}").write_text("a key")
    before = {name for name in world.tree() if "draft" not in name}
    assert run_enable(again(world)).outcome == "unchanged"
    assert set(world.tree()) == before


def test_a_dry_run_does_not_close_what_is_open(world: World) -> None:
    run_enable(world, wait=False)
    everything = tree(world.root)
    assert run_dry(again(world)).codes == ["open-journal"]
    assert tree(world.root) == everything


def test_an_open_change_that_does_not_hold_is_refused_with_the_way_back(world: World) -> None:
    before = world.tree()
    run_enable(world, wait=False)
    world = again(world)
    world.path(f"{PKI}/front-proxy-client.crt").unlink()
    result = run_enable(world)
    assert (result.outcome, result.status, result.codes) == ("refused", 3, ["open-journal"])
    assert "aggctl rollback" in result.text
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


def test_an_open_change_that_cannot_be_closed_is_a_refusal_and_not_a_traceback(world: World) -> None:
    run_enable(world, wait=False)
    full = World(world.folder, FaultyCalls(failing(errno.EROFS, 3, changes_only=True, persistent=True)))
    assert run_enable(full).outcome == "refused"


# --- another aggctl ---------------------------------------------------------------------------------------


def test_another_aggctl_that_is_running_is_named(world: World) -> None:
    home = world.path("/var/lib/aggctl")
    home.mkdir(mode=0o700)
    hold = (
        "import fcntl,os,sys; f=open(sys.argv[1],'w'); f.write(str(os.getpid())); f.flush();"
        "fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()"
    )
    before = world.tree()
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        result = run_enable(world)
        assert result.codes == ["another-aggctl-running"]
        assert str(other.pid) in result.text
        assert_before(world, before)
        other.communicate()
    assert run_enable(again(world)).outcome == "applied"


def test_a_lock_file_left_behind_holds_nobody_up(world: World) -> None:
    home = world.path("/var/lib/aggctl")
    home.mkdir(mode=0o700)
    (home / "lock").write_text("4711")
    assert run_enable(world).outcome == "applied"


def test_the_lock_is_held_while_the_gate_is_waited_for(world: World) -> None:
    seen: list[str] = []

    def try_it() -> None:
        descriptor = os.open(world.path("/var/lib/aggctl/lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen.append("free")
        except BlockingIOError:
            seen.append("held")
        finally:
            os.close(descriptor)

    world.clock.on_pause.append(try_it)
    assert run_enable(world).outcome == "applied"
    assert seen
    assert set(seen) == {"held"}


# --- disks ------------------------------------------------------------------------------------------------


def test_a_journal_that_cannot_be_written_is_a_refusal_and_nothing_changed(world: World) -> None:
    everything = tree(world.root)
    world.calls = FaultyCalls(failing(errno.EROFS, 1, changes_only=True, persistent=True))
    result = run_enable(world)
    assert (result.outcome, result.codes) == ("refused", ["journal-not-writable"])
    assert tree(world.root) == everything


def test_a_home_that_others_may_write_is_a_refusal(world: World) -> None:
    before = world.tree()
    world.path("/var/lib/aggctl").mkdir()
    world.path("/var/lib/aggctl").chmod(0o777)
    assert run_enable(world).codes == ["journal-not-writable"]
    assert_before(world, before)


def test_a_failed_write_names_the_file(world: World) -> None:
    failed: list[str] = []

    def full(name: str, _number: int, _changes: int) -> None:
        if name == "rename" and world.path(f"{PKI}/front-proxy-client.crt").exists() and not failed:
            failed.append(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world.calls = FaultyCalls(full)
    result = run_enable(world)
    assert result.outcome == "rolled-back"
    first = result.document["findings"][0]
    assert (first["code"], first["subject"]) == ("write-failed", MANIFEST)


def test_a_manifest_that_cannot_be_put_back_keeps_the_files_that_it_needs(world: World) -> None:
    """Without them kube-apiserver would not come up again: worse than before."""
    before = world.tree()
    world.faults = Faults("identity-refused")
    waited: list[int] = []
    world.clock.on_pause.append(lambda: waited.append(1))

    def full(name: str, _number: int, _changes: int) -> None:
        if waited and name in ("write", "open"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world.calls = FaultyCalls(full)
    result = run_enable(world)
    assert (result.outcome, result.status) == ("rollback-incomplete", 4)
    assert result.codes.count("left-in-place") == 4
    assert_after(world, "off", before)
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


def test_a_file_system_without_hard_links_takes_renames(world: World) -> None:
    def no_links(name: str, _number: int, _changes: int) -> None:
        if name == "link":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    before = world.tree()
    world.calls = FaultyCalls(no_links)
    assert run_enable(world).outcome == "applied"
    assert_after(world, "off", before)


@pytest.mark.parametrize("path", [MANIFEST, f"{PKI}/front-proxy-client.crt"])
def test_what_somebody_else_changed_after_the_plan_was_shown_is_theirs_and_the_rest_is_put_back(
    world: World, path: str
) -> None:
    theirs = world.path(MANIFEST).read_bytes() + b"# theirs\n"

    def confirm(_: Report) -> bool:
        world.path(path).write_bytes(theirs)
        return True

    before = world.tree()
    report = enable(world.ports(), wanted_for("off"), Manner(False, confirm))
    assert (report.outcome, report.exit_status) == ("rolled-back", 1)
    assert [each.code for each in report.findings] == ["changed-meanwhile"]
    assert changed_paths(before, world.tree()) == {path.removeprefix("/etc/kubernetes/")}
    assert world.path(path).read_bytes() == theirs


# --- CAs --------------------------------------------------------------------------------------------------


def test_a_given_ca_is_taken(world: World) -> None:
    _, proxy = authorities()
    assert run_enable(world, ca=proxy).outcome == "applied"
    assert world.path(f"{PKI}/front-proxy-ca.crt").read_bytes() == proxy.certificate


@pytest.mark.parametrize("half", ["front-proxy-ca.crt", "front-proxy-ca.key"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nMII", None])
def test_a_damaged_copy_of_a_kept_ca_is_not_used(world: World, half: str, content: bytes | None) -> None:
    world.faults = Faults("never-publishes")
    assert run_enable(world).outcome == "rolled-back"
    other = pki.new_ca("other", world.clock.now(), algorithm="ECDSA-P256")
    replacement = {"front-proxy-ca.crt": other.certificate, "front-proxy-ca.key": other.key}[half]
    world.path(f"/var/lib/aggctl/kept/{half}").write_bytes(replacement if content is None else content)
    assert run_enable(again(world)).outcome == "applied"


def test_a_repair_can_be_undone_though_the_old_key_was_in_no_snapshot(tmp_path: Path) -> None:
    world = make_world(tmp_path / "node", "expired")
    before = world.tree()
    assert run_enable(world, "expired").outcome == "applied"
    assert changed_paths(before, world.tree()) == {"pki/front-proxy-client.key", "pki/front-proxy-client.crt"}
    assert run_rollback(again(world)).outcome == "applied"
    assert_before(world, before)


def test_an_expired_client_certificate_is_refused_without_repair(tmp_path: Path) -> None:
    world = make_world(tmp_path / "node", "expired")
    report = enable(
        world.ports(), replace(wanted_for("expired"), repair=False), Manner(False, lambda _: True)
    )
    assert report.outcome == "refused"
    assert [each.code for each in report.findings] == ["client-certificate-expired"]
