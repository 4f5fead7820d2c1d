"""What befalls a node while it is changed: in the end it is healthy with the change, or as it was before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import killed
from support.kubeadm.cluster import AGGCTL, MANIFEST
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kubeadm.cluster import KubeadmNode

ENABLE = ("enable", "--persist", "none", "--yes", "-o", "json")
ROUTING = "--enable-aggregator-routing=true"
KEY = "/etc/kubernetes/pki/front-proxy-client.key"
PACKAGES = (Path(killed.__file__).parents[1], Path(killed.__file__).parents[2])


@contextmanager
def running(node: KubeadmNode, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The console script at work on the node, once it has changed the manifest."""
    before = node.manifest.read_bytes()
    command = node.machine.entered(AGGCTL, *words)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        eventually(lambda: node.manifest.read_bytes() != before, "the manifest is replaced")
        yield run


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and the outcome in its document."""
    out, err = run.communicate(timeout=400)
    assert out, err
    return run.returncode, str(json.loads(out)["outcome"])


def asked(node: KubeadmNode, *words: str) -> tuple[int, Any]:
    done = node.aggctl(*words)
    return done.returncode, json.loads(done.stdout)


def leftovers(node: KubeadmNode) -> list[str]:
    return sorted(path.name for path in node.manifest.parent.iterdir() if path.name.startswith("."))


def put_back(node: KubeadmNode, before: Any) -> None:
    """By rollback, to the last byte."""
    status, said = asked(node, "rollback", "--yes", "-o", "json")
    assert (status, said["outcome"]) == (0, "applied"), said
    assert node.files() == before
    assert ROUTING not in node.flags()


def test_without_a_kubelet_nothing_restarts_and_the_files_are_put_back(one: KubeadmNode) -> None:
    before, pid = one.files(), one.apiserver_pid()
    one.service("kubelet").stop(signal.SIGKILL)
    try:
        status, said = asked(one, *ENABLE, "--timeout", "15s")

        assert (status, said["outcome"]) == (1, "rolled-back"), said
        assert one.files() == before
    finally:
        one.start_kubelet()
    one.await_ready()
    assert one.apiserver_pid() == pid


def test_a_kubelet_and_a_containerd_that_die_and_come_back_only_cost_time(one: KubeadmNode) -> None:
    before = one.files()
    with running(one, *ENABLE) as run:
        one.service("kubelet").stop(signal.SIGKILL)
        one.start_kubelet()
        assert ended(run) == (0, "applied")
    assert ROUTING in one.flags()

    with running(one, "rollback", "--yes", "-o", "json") as run:
        one.service("containerd").stop(signal.SIGKILL)
        one.start_containerd()
        assert ended(run) == (0, "applied")
    assert one.files() == before
    assert leftovers(one) == []
    assert one.ready


@pytest.mark.parametrize("folder", ["/var/lib/aggctl", "/etc/kubernetes/pki"])
def test_a_full_disk_changes_nothing(one: KubeadmNode, folder: str) -> None:
    """One that holds the journal, or the certificates."""
    before = one.files()
    one.run("sh", "-ec", f"cp -a {folder} /srv/kept; mount -t tmpfs -o size=400k,mode=0700 none {folder}")
    try:
        one.run("sh", "-c", f"cp -a /srv/kept/. {folder}; cat /dev/zero > {folder}/filler || true")
        listing = f"find {folder} -type f ! -name filler -printf '%m %p ' -exec md5sum {{}} \\;"
        seen = one.run("sh", "-c", listing).stdout

        status, said = asked(one, "certs", "rotate", "client", "--yes", "-o", "json")

        assert status in (1, 3), said
        assert "No space left" in json.dumps(said)
        assert folder == "/var/lib/aggctl" or one.run("sh", "-c", listing).stdout == seen
    finally:
        one.run("sh", "-ec", f"umount {folder}; rm -r /srv/kept")
    assert one.files() == before
    assert asked(one, "certs", "rotate", "client", "--yes", "-o", "json")[0] == 0


def test_a_mistyped_flag_is_refused_by_the_binary_that_runs_before_anything_restarts(
    one: KubeadmNode,
) -> None:
    text, pid = one.manifest.read_text(), one.apiserver_pid()
    one.service("kubelet").stop()
    try:
        typo = "    - --requestheader-allowed-name=front-proxy-client\n"
        one.write(MANIFEST, text.replace("    - --secure-port", f"{typo}    - --secure-port"), 0o600)

        status, said = asked(one, *ENABLE)

        assert status == 3
        assert {each["code"] for each in said["findings"]} & {"flag-refused", "flag-does-not-exist"}
        assert typo in one.manifest.read_text()
    finally:
        one.write(MANIFEST, text, 0o600)
        one.start_kubelet()
    one.await_ready()
    assert one.apiserver_pid() == pid


def test_with_its_image_gone_the_old_kube_apiserver_comes_back_with_the_image(one: KubeadmNode) -> None:
    """The new Pod cannot start, and neither can the old one until somebody brings the image back."""
    before = one.files()
    archive = next(each for each in one.kit.images if each.name == "kube-apiserver.tar")
    one.run("ctr", "-n", "k8s.io", "images", "rm", "registry.k8s.io/kube-apiserver:v1.37.2")
    with running(one, *ENABLE, "--timeout", "60s") as run:
        eventually(lambda: one.files() == before, "the manifest is put back", within=120)
        one.run("ctr", "-n", "k8s.io", "images", "import", archive)
        assert ended(run) == (1, "rolled-back")
    assert one.ready
    assert ROUTING not in one.flags()
    assert leftovers(one) == []


def test_a_power_cut_while_it_waits_is_found_and_closed_as_applied(one: KubeadmNode) -> None:
    before = one.files()
    with running(one, *ENABLE) as run:
        one.machine.power_off()
        run.wait(30)
    one.start()
    one.await_manifest()

    status, said = asked(one, *ENABLE)

    assert (status, said["outcome"]) == (0, "unchanged"), said
    assert "closed now" in " ".join(said["summary"])
    put_back(one, before)


def test_a_power_cut_between_key_and_certificate_is_mended_with_the_api_down(one: KubeadmNode) -> None:
    """kube-apiserver does not start with a key and a certificate that are no pair."""
    before, key = one.files(), one.path(KEY).read_bytes()
    low, high = 0, _rotate_until(one, killed.NEVER)
    assert asked(one, "rollback", "--yes", "-o", "json")[0] == 0
    while high - low > 1:  # the first moment at which the key is new
        middle = (low + high) // 2
        _rotate_until(one, middle)
        low, high = (low, middle) if one.path(KEY).read_bytes() != key else (middle, high)
        if asked(one, "history", "-o", "json")[1]["changes"][0]["action"] == "open":
            assert asked(one, "rollback", "--yes", "-o", "json")[0] == 0
        assert one.files() == before
    _rotate_until(one, high)
    assert one.path(KEY).read_bytes() != key
    one.machine.power_off()
    one.start()
    eventually(lambda: "does not match public key" in _log(one), "kube-apiserver fails", within=120)

    status, said = asked(one, "rollback", "--yes", "-o", "json")

    assert (status, said["outcome"]) == (0, "applied"), said
    assert one.files() == before
    one.await_ready(400)


def _rotate_until(node: KubeadmNode, point: int) -> int:
    """Rotate the client certificate until it kills itself at its `point`th contact with the world."""
    count = node.path("/srv/contacts")
    words = ("certs", "rotate", "client", "--yes")
    path = os.pathsep.join(map(str, PACKAGES))
    done = node.run(
        *(sys.executable, killed.__file__, str(point), "/srv/contacts", *words),
        check=False,
        env={"PYTHONPATH": path},
    )
    if point == killed.NEVER:
        assert done.returncode == 0, done.stderr
        return int(count.read_text())
    return 0


def _log(node: KubeadmNode) -> str:
    """What the newest kube-apiserver said."""
    logs = node.path("/var/log/pods").glob("kube-system_kube-apiserver-*/kube-apiserver/*.log")
    return "".join(path.read_text() for path in logs)
