"""What an operator can do wrong, one by one: a sentence, the right exit status, and nothing written.

Every case is a copy of a real node's files with its real kube-apiserver running, spoilt in one way. What the
kubelet takes part in runs on the sandbox itself.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML
from support.refusals import (
    AGGCTL,
    ENABLE,
    JOURNAL,
    BadNode,
    aggctl,
    assert_decent,
    assert_document,
    assert_refused,
    can_mount,
    clean_environment,
    own_mounts,
    tree,
)
from support.sandboxes import Running, sandbox_in
from support.waiting import eventually

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.controlplane
NOBODY = 65534
LAYOUTS = ("text", "json")


@pytest.fixture(scope="module")
def control_plane(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:  # noqa: ARG001 -- asked for to be skipped without them
    with sandbox_in(tmp_path_factory.mktemp("bad") / "sandbox") as running:
        yield running


@pytest.fixture
def node(control_plane: Running) -> Iterator[BadNode]:
    """A copy of the node's files, in a folder that everybody may enter."""
    with TemporaryDirectory(prefix="aggctl-bad-") as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(control_plane.sandbox.root, f"{folder}/root", symlinks=True)
        node = BadNode(Path(folder) / "root")
        shutil.rmtree(node.root / JOURNAL, ignore_errors=True)  # of the tests that change the sandbox itself
        yield node


def required(missing: str) -> None:
    """Skip when something is missing here; where no tier may be skipped that is a failure."""
    if missing:
        pytest.skip(missing)


# --- the manifest -----------------------------------------------------------------------------------------


def replaced_by(content: bytes) -> Callable[[BadNode], object]:
    return lambda node: node.manifest.write_bytes(content)


def cut_after(line: str, *, half: bool = False) -> Callable[[BadNode], None]:
    """The lines up to the first that begins so, and perhaps half of the next."""

    def spoil(node: BadNode) -> None:
        lines = node.manifest.read_text().splitlines(keepends=True)
        at = next(number for number, each in enumerate(lines) if each.strip().startswith(line))
        rest = lines[at + 1][: len(lines[at + 1]) // 2] if half else ""
        node.manifest.write_text("".join(lines[: at + 1]) + rest)

    return spoil


def edited(old: str, new: str) -> Callable[[BadNode], None]:
    return lambda node: node.edit(old, new)


def comments(node: BadNode) -> None:
    """A manifest of 10 MB that is one all the same."""
    with node.manifest.open("a") as file:
        file.writelines("# a comment that somebody's script repeats\n" for _ in range(240_000))


def beside(name: str) -> Callable[[BadNode], object]:
    return lambda node: shutil.copy2(node.manifest, node.manifest.with_name(name))


def linked(target: str) -> Callable[[BadNode], None]:
    def spoil(node: BadNode) -> None:
        node.manifest.rename(node.root / "etc/real.yaml")
        node.manifest.symlink_to(target)

    return spoil


def no_manifest(node: BadNode) -> None:
    node.manifest.unlink()


def a_folder(node: BadNode) -> None:
    node.manifest.unlink()
    node.manifest.mkdir()


def a_pipe(node: BadNode) -> None:
    node.manifest.unlink()
    os.mkfifo(node.manifest)


MANIFESTS: dict[str, tuple[Callable[[BadNode], object], str]] = {
    "no manifest": (no_manifest, "no-manifest"),
    "no manifest folder": (lambda node: shutil.rmtree(node.manifest.parent), "no-manifest"),
    "a folder of that name": (a_folder, "no-manifest"),
    "a pipe of that name": (a_pipe, "no-manifest"),
    "empty": (replaced_by(b""), "manifest-empty"),
    "blank": (replaced_by(b"\n \n"), "manifest-empty"),
    "comments only": (replaced_by(b"# apiVersion: v1\n"), "manifest-no-document"),
    "cut in its first word": (replaced_by(b"apiVer"), "not-a-static-pod"),
    "cut within a key": (cut_after("kind: Pod", half=True), "manifest-not-yaml"),
    "cut after kind": (cut_after("kind: Pod"), "manifest-bad-shape"),
    "cut in the flags": (cut_after("- --authorization-mode"), "manifest-bad-shape"),
    "cut after the image": (cut_after("image: "), "file-not-mounted"),
    "cut in a probe": (cut_after("readinessProbe"), "file-not-mounted"),
    "cut after the mounts": (cut_after("hostNetwork"), "mount-path-taken"),
    "cut in the volumes": (cut_after("type: RuntimeDefault"), "mount-path-taken"),
    "binary": (replaced_by(bytes(range(256)) * 20), "manifest-not-text"),
    "zeros, as after a crash": (replaced_by(bytes(4096)), "manifest-not-text"),
    "10 MB of zeros": (replaced_by(bytes(10 * 1024 * 1024)), "manifest-too-large"),
    "10 MB of YAML": (comments, "manifest-too-large"),
    "no YAML": (edited("kind: Pod", "kind: [Pod"), "manifest-not-yaml"),
    "a tab": (edited("  hostNetwork", "\thostNetwork"), "manifest-not-yaml"),
    "a template": (edited("--allow-privileged=true", "--allow-privileged={{ yes }}"), "manifest-is-template"),
    "a Deployment": (edited("kind: Pod", "kind: Deployment"), "not-a-static-pod"),
    "another Pod": (edited("    - kube-apiserver\n", "    - kube-scheduler\n"), "no-kube-apiserver"),
    "a link": (linked("../../real.yaml"), "manifest-is-a-link"),
    "an absolute link": (linked("/etc/real.yaml"), "manifest-is-a-link"),
    "a dangling link": (linked("/etc/nowhere"), "no-manifest"),
    "a .bak beside it": (beside("kube-apiserver.yaml.bak"), "second-apiserver-manifest"),
    "an editor's ~ beside it": (beside("kube-apiserver.yaml~"), "second-apiserver-manifest"),
}


@pytest.mark.parametrize(("spoil", "code"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_cannot_be_edited_is_refused_by_name(
    node: BadNode, spoil: Callable[[BadNode], object], code: str
) -> None:
    spoil(node)
    said = assert_refused(node, code)
    assert "/etc/kubernetes/manifests" in said.text
    assert "    do " in said.text
    assert not (node.root / JOURNAL).exists()


def test_the_file_that_is_beside_the_manifest_is_named_with_the_command_that_moves_it(node: BadNode) -> None:
    beside("kube-apiserver.yaml.bak")(node)
    assert "mv /etc/kubernetes/manifests/kube-apiserver.yaml.bak /root/" in node.run(*ENABLE).text


def test_a_name_with_an_escape_sequence_is_shown_harmlessly(node: BadNode) -> None:
    beside("x\x1b]0;owned\x07\x1b[2J.yaml")(node)
    said = assert_refused(node, "second-apiserver-manifest")
    assert r"\x1b[2J.yaml" in said.text


def test_a_manifest_that_is_named_and_not_there(node: BadNode) -> None:
    said = assert_refused(node, "no-manifest", *ENABLE, "--manifest", "/etc/kubernetes/manifests/nope.yaml")
    assert "/etc/kubernetes/manifests/nope.yaml" in said.text


def test_a_manifest_where_the_kubelet_does_not_read(node: BadNode) -> None:
    shutil.copy2(node.manifest, node.root / "etc/copy.yaml")
    said = assert_refused(node, "manifest-not-read-by-kubelet", *ENABLE, "--manifest", "/etc/copy.yaml")
    assert "/etc/kubernetes/manifests" in said.text


# --- the file system --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["../real-pki", "/etc/real-pki"])
def test_keys_are_not_written_through_a_link(node: BadNode, target: str) -> None:
    node.pki.rename(node.root / "etc/real-pki")
    node.pki.symlink_to("../real-pki" if target.startswith("..") else target)
    said = assert_refused(node, "pki-is-a-link")
    assert "/etc/real-pki" in said.text


def test_without_rights_it_says_sudo(node: BadNode) -> None:
    if os.geteuid() == 0:
        node.before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        required("" if _nobody_runs(node.before) else "nobody may run this checkout's Python")
    else:
        node.manifest.chmod(0)
    said = assert_refused(node, "no-rights")
    assert "/etc/kubernetes/manifests/kube-apiserver.yaml: Permission denied" in said.text
    assert "sudo aggctl enable" in said.text


@pytest.mark.parametrize("command", ["rollback", "history"])
def test_without_rights_to_the_journal_it_says_sudo(node: BadNode, command: str) -> None:
    home = node.root / JOURNAL
    (home / "open").mkdir(parents=True)
    home.chmod(0 if os.geteuid() else 0o700)
    if os.geteuid() == 0:
        node.before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        required("" if _nobody_runs(node.before) else "nobody may run this checkout's Python")
    said = node.run(command)
    home.chmod(0o700)
    assert (said.status, "(no-rights)" in said.text, "sudo" in said.text) == (3, True, True), said.text
    assert_decent(said)


def _nobody_runs(before: tuple[str, ...]) -> bool:
    done = subprocess.run([*before, sys.executable, "-c", "import aggctl.cli.app"], check=False)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("", "folder-not-writable"),
        ("etc/kubernetes/manifests", "folder-not-writable"),
        ("etc/kubernetes/pki", "folder-not-writable"),
        ("var/lib", "journal-not-writable"),
    ],
)
def test_a_read_only_file_system_is_found_before_anything_is_done(
    node: BadNode, place: str, code: str
) -> None:
    required(can_mount())
    target = str(node.root / place)
    with own_mounts(node.root, ("--bind", "-o", "ro", target, target)) as (enter, seen_at):
        node.before, node.seen_at = enter, seen_at
        assert_refused(node, code)
    assert not (node.root / JOURNAL).exists()


@pytest.mark.parametrize("place", ["var/lib/aggctl", "etc/kubernetes/pki", "etc/kubernetes/manifests"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_leaves_everything_as_it_was(node: BadNode, place: str, layout: str) -> None:
    required(can_mount())
    folder = node.root / place
    folder.mkdir(mode=0o700, exist_ok=True)
    with own_mounts(node.root, ("-t", "tmpfs", "-o", "size=64k,mode=0700", "full", str(folder))) as (
        node.before,
        node.seen_at,
    ):
        full = node.seen_at / place
        shutil.copytree(folder, full, symlinks=True, dirs_exist_ok=True)
        _fill(full / ".full")
        before = _of_kubernetes(node)
        said = node.run(*ENABLE, "-o", layout)
        assert _of_kubernetes(node) == before
        assert_decent(said)
        assert said.status == (3 if place == JOURNAL else 1), said.text
        assert "No space left on device" in said.text
        code = "journal-not-writable" if place == JOURNAL else "write-failed"
        if layout == "json":
            assert_document(said)
            assert said.codes == [code]
            assert said.document["outcome"] == ("refused" if place == JOURNAL else "rolled-back")
        else:
            assert f"({code})" in said.text
        assert not list((node.seen_at / JOURNAL).glob("open/*"))


def _fill(path: Path) -> None:
    """Take the last byte of a file system."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def _of_kubernetes(node: BadNode) -> dict[str, tuple[int, int, int, str]]:
    """All but the journal's own folders, which may be made before it is known that nothing fits in."""
    return {path: what for path, what in node.tree().items() if not path.startswith(JOURNAL)}


# --- work in progress -------------------------------------------------------------------------------------


def test_while_another_aggctl_works_it_waits_for_nobody(node: BadNode) -> None:
    home = node.root / JOURNAL
    home.mkdir(mode=0o700)
    with (home / "lock").open("w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        (home / "lock").chmod(0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = assert_refused(node, "another-aggctl-running")
    assert f"pid {os.getpid()}" in said.text


def test_an_open_change_is_found_and_put_back_by_the_command_that_is_named(node: BadNode) -> None:
    """`--no-wait` leaves the change open; here no kubelet takes it up, so its gate never holds."""
    before = node.tree()
    begun = node.run(*ENABLE, "--no-wait", "--timeout", "1s")
    assert begun.status == 0, begun.text
    assert_decent(begun)
    said = assert_refused(node, "open-journal", *ENABLE, "--dry-run")
    assert "aggctl rollback" in said.text
    as_it_is = node.tree()
    again = node.run(*ENABLE)
    assert (again.status, "(open-journal)" in again.text) == (3, True), again.text
    assert node.tree() == as_it_is
    undone = node.run("rollback", "--yes")
    assert undone.status == 0, undone.text
    assert _without_journal(node.tree()) == _without_journal(before)


def _without_journal(found: dict[str, tuple[int, int, int, str]]) -> dict[str, tuple[int, int, int, str]]:
    return {path: what for path, what in found.items() if not path.startswith(JOURNAL)}


def test_a_kubelet_that_does_nothing_is_waited_for_and_then_everything_is_back(
    control_plane: Running,
) -> None:
    root = control_plane.sandbox.root
    running = control_plane.apiserver()
    before = tree(root / "etc")
    with control_plane.kubelet_stopped():
        said = BadNode(root).run(*ENABLE, "--timeout", "2s", "-o", "json")
        assert tree(root / "etc") == before
    assert (said.status, said.document["outcome"]) == (1, "rolled-back"), said.text
    assert said.codes == ["manifest-not-in-force"]
    assert "kubelet" in said.document["findings"][0]["fix"]
    assert_decent(said)
    assert_document(said)
    eventually(lambda: control_plane.admin.ask("/readyz").status == 200, "the API is healthy")
    assert control_plane.apiserver().process == running.process


def test_a_manifest_that_somebody_changes_while_the_question_is_open_stays_theirs(node: BadNode) -> None:
    """A person reads the plan and says yes; meanwhile another tool has written the file."""
    reader, writer = os.openpty()
    process = subprocess.Popen(
        [*AGGCTL, "enable", "--root", str(node.root), "--routing", "off", "-o", "json"],
        stdin=writer,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    os.close(writer)
    assert process.stderr
    seen = ""
    while "[y/N]" not in seen:
        seen += process.stderr.read(1)
    node.edit("--allow-privileged=true", "--allow-privileged=false")
    theirs = node.tree()
    os.write(reader, b"y\n")
    out, err = process.communicate(timeout=60)
    os.close(reader)
    assert _without_journal(node.tree()) == _without_journal(theirs)
    assert process.returncode == 1, out + err
    assert '"changed-meanwhile"' in out
    assert "Traceback" not in out + err


# --- the question -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def asked(node: BadNode, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int, bytes]]:
    """aggctl on a terminal of its own that has shown its plan and asks; what it said is the last of three."""
    reader, writer = os.openpty()
    process = subprocess.Popen(
        [_tool("setsid"), "--ctty", *AGGCTL, "enable", "--root", node.root, "--routing", "off", *options],
        stdin=writer,
        stdout=writer,
        stderr=writer,
        env=clean_environment() | {"TERM": "xterm-256color"},
    )
    os.close(writer)
    said = b""
    try:
        while b"[y/N]" not in said:
            said += os.read(reader, 4096)
        yield process, reader, said
    finally:
        process.kill()
        process.wait(60)
        os.close(reader)


def _rest(process: subprocess.Popen[bytes], reader: int) -> tuple[int, str]:
    """Exit status, and what was said after the answer."""
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
        while part := os.read(reader, 4096):
            said += part
    return process.wait(60), said.decode()


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"n\n", 3, "Nothing was changed."),
        (b"\n", 3, "Nothing was changed."),
        (b"yse\n", 3, "Nothing was changed."),
        (b"\x04", 3, "Nothing was changed."),
        (b"\x03", 130, "nothing was changed"),
    ],
    ids=["n", "Return", "a slip", "Ctrl-D", "Ctrl-C"],
)
def test_anything_but_yes_changes_nothing(node: BadNode, answer: bytes, status: int, words: str) -> None:
    before = node.tree()
    with asked(node) as (process, reader, _):
        os.write(reader, answer)
        ended, said = _rest(process, reader)
    assert (ended, words in said) == (status, True), said
    assert "Traceback" not in said
    assert node.tree() == before


@pytest.mark.parametrize("answer", [b"y\n", b"YES\n"])
def test_yes_is_yes(node: BadNode, answer: bytes) -> None:
    with asked(node, "--no-wait") as (process, reader, _):
        os.write(reader, answer)
        ended, said = _rest(process, reader)
    assert ended == 0, said
    assert "--requestheader-client-ca-file=" in node.manifest.read_text()


@pytest.mark.parametrize("options", [("-q",), ("-o", "json")])
def test_nobody_is_asked_about_a_plan_that_was_not_shown(node: BadNode, options: tuple[str, ...]) -> None:
    with asked(node, *options) as (_, _, said):
        assert b"+    - --requestheader-client-ca-file=" in said


def _tool(name: str) -> str:
    found = shutil.which(name)
    required("" if found else f"the program {name} is missing (package util-linux)")
    return found or name


# --- clocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", ["-10m", "+10m", "-2d", "+2y"])
def test_a_wrong_clock_is_named(node: BadNode, shift: str) -> None:
    required("" if shutil.which("faketime") else "the program faketime is missing (package faketime)")
    node.before = ("faketime", "-f", shift)
    said = node.run(*ENABLE)
    assert said.status == 3, said.text
    assert "clock" in said.text
    assert_refused(node, "apiserver-not-trusted" if shift == "+2y" else "clock-wrong")


# --- credentials ------------------------------------------------------------------------------------------


def kubeconfig(node: BadNode, change: Callable[[dict[str, str], dict[str, str]], object]) -> None:
    """Change cluster and user of admin.conf."""
    yaml = YAML(typ="safe")
    data = yaml.load(node.admin)
    change(data["clusters"][0]["cluster"], data["users"][0]["user"])
    with node.admin.open("w") as file:
        yaml.dump(data, file)


def garbled(part: str) -> Callable[[BadNode], None]:
    """One of the three PEMs is something else."""
    return lambda node: kubeconfig(
        node, lambda cluster, user: (cluster if part in cluster else user).update({part: "aGVsbG8="})
    )


def plug_in(command: str) -> Callable[[BadNode], None]:
    """Credentials come from a command."""
    how = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"}

    def only_that(_: object, user: dict[str, Any]) -> None:
        user.clear()
        user["exec"] = how

    return lambda node: kubeconfig(node, only_that)


def expired(node: BadNode) -> None:
    """The client certificate ended yesterday."""
    ca = pki.KeyPair((node.pki / "ca.crt").read_bytes(), (node.pki / "ca.key").read_bytes())
    long_ago = datetime.now(UTC) - timedelta(days=366)
    _with_client(node, pki.issue(ca, "admin", long_ago, usage="client", organizations=("system:masters",)))


def of_another_cluster(node: BadNode) -> None:
    """Signed by a CA that this cluster never saw; the CA in the kubeconfig is still this cluster's."""
    now = datetime.now(UTC)
    _with_client(node, pki.issue(pki.new_ca("kubernetes", now), "admin", now, usage="client"))


def without_rights(node: BadNode) -> None:
    """A certificate of the right CA for a user whom nobody gave anything."""
    ca = pki.KeyPair((node.pki / "ca.crt").read_bytes(), (node.pki / "ca.key").read_bytes())
    _with_client(node, pki.issue(ca, "jane", datetime.now(UTC), usage="client"))


def wrong_authority(node: BadNode) -> None:
    other = pki.new_ca("kubernetes", datetime.now(UTC)).certificate
    kubeconfig(node, lambda cluster, _: cluster.update({"certificate-authority-data": _base64(other)}))


def _with_client(node: BadNode, pair: pki.KeyPair) -> None:
    kubeconfig(
        node,
        lambda _, user: user.update(
            {
                "client-certificate-data": _base64(pair.certificate),
                "client-key-data": _base64(pair.key),
            }
        ),
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def no_kubeconfig(node: BadNode) -> None:
    for path in node.admin.parent.glob("*.conf"):
        path.unlink()


def a_folder_for_admin(node: BadNode) -> None:
    node.admin.unlink()
    node.admin.mkdir()


def contents(text: str) -> Callable[[BadNode], object]:
    return lambda node: node.admin.write_text(text)


CREDENTIALS: dict[str, tuple[Callable[[BadNode], object], str]] = {
    "missing": (no_kubeconfig, "kubeconfig-missing"),
    "empty": (contents(""), "kubeconfig-not-usable"),
    "garbage": (contents("garbage: ["), "kubeconfig-not-usable"),
    "a list": (contents("- a\n"), "kubeconfig-not-usable"),
    "no contexts": (contents("apiVersion: v1\nkind: Config\n"), "kubeconfig-not-usable"),
    "binary": (lambda node: node.admin.write_bytes(bytes(range(256))), "kubeconfig-not-usable"),
    "a folder": (a_folder_for_admin, "kubeconfig-not-usable"),
    "a garbled key": (garbled("client-key-data"), "kubeconfig-not-usable"),
    "a garbled certificate": (garbled("client-certificate-data"), "kubeconfig-not-usable"),
    "a garbled CA": (garbled("certificate-authority-data"), "kubeconfig-not-usable"),
    "a plug-in that is not installed": (plug_in("no-such-command"), "credential-plugin-failed"),
    "a plug-in that fails": (plug_in("false"), "credential-plugin-failed"),
    "an expired certificate": (expired, "kubeconfig-not-accepted"),
    "of another cluster": (of_another_cluster, "kubeconfig-not-accepted"),
    "the CA of another cluster": (wrong_authority, "apiserver-not-trusted"),
    "a user without rights": (without_rights, "no-rights-in-cluster"),
}


@pytest.mark.parametrize(("spoil", "code"), CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_kubeconfig_that_does_not_serve_is_refused_by_name(
    node: BadNode, spoil: Callable[[BadNode], object], code: str
) -> None:
    spoil(node)
    node.environment["HOME"] = "/nonexistent"
    said = assert_refused(node, code)
    assert "kubeconfig" in said.text or "admin.conf" in said.text
    assert not (node.root / JOURNAL).exists()


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_kubeconfig_that_is_named_and_not_there_is_not_replaced_by_another(
    node: BadNode, given: str
) -> None:
    if given == "environment":
        node.environment["KUBECONFIG"] = "/nonexistent/config"
    options = ("--kubeconfig", "/nonexistent/config") if given == "option" else ()
    said = assert_refused(node, "kubeconfig-not-usable", *ENABLE, *options)
    assert "/nonexistent/config" in said.text


def test_a_context_that_is_not_there(node: BadNode) -> None:
    said = assert_refused(node, "kubeconfig-not-usable", *ENABLE, "--context", "nope")
    assert "'nope'" in said.text


# --- other distributions ----------------------------------------------------------------------------------

DISTRIBUTIONS = {
    "k3s": ("etc/rancher/k3s/config.yaml", "systemctl restart k3s"),
    "RKE2": ("etc/rancher/rke2/config.yaml", "systemctl restart rke2-server"),
    "k0s": ("etc/k0s/k0s.yaml", "systemctl restart k0scontroller"),
    "microk8s": ("var/snap/microk8s/current/args/kube-apiserver", "snap restart microk8s"),
    "Talos": ("system/state/config.yaml", "talosctl patch machineconfig"),
    "OpenShift": ("etc/kubernetes/static-pod-resources/x", "oc get kubeapiserver cluster"),
}


@pytest.mark.parametrize(("name", "sign", "recipe"), [(name, *rest) for name, rest in DISTRIBUTIONS.items()])
def test_another_distribution_is_refused_with_its_own_recipe(
    node: BadNode, name: str, sign: str, recipe: str
) -> None:
    node.write(sign)
    said = assert_refused(node, "distribution-manages-kube-apiserver")
    assert f"this node runs {name}" in said.text
    assert recipe in said.text


def test_a_systemd_unit_is_refused_with_what_to_do(node: BadNode) -> None:
    node.manifest.unlink()
    node.write("etc/systemd/system/kube-apiserver.service")
    said = assert_refused(node, "systemd-unit")
    assert "systemctl restart kube-apiserver.service" in said.text


# --- --ca-from --------------------------------------------------------------------------------------------


def put_ca(folder: Path, certificate: bytes, key: bytes = b"") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "front-proxy-ca.crt").write_bytes(certificate)
    if key:
        (folder / "front-proxy-ca.key").write_bytes(key)


def a_leaf(folder: Path, node: BadNode) -> None:
    put_ca(folder, (node.pki / "apiserver.crt").read_bytes(), (node.pki / "apiserver.key").read_bytes())


def mismatched(folder: Path, node: BadNode) -> None:
    put_ca(
        folder,
        pki.new_ca("front-proxy-ca", datetime.now(UTC)).certificate,
        (node.pki / "ca.key").read_bytes(),
    )


def the_clients_ca(folder: Path, node: BadNode) -> None:
    put_ca(folder, (node.pki / "ca.crt").read_bytes(), (node.pki / "ca.key").read_bytes())


def an_expired_ca(folder: Path, _: BadNode) -> None:
    pair = pki.new_ca("front-proxy-ca", datetime.now(UTC) - timedelta(days=3700))
    put_ca(folder, pair.certificate, pair.key)


def no_key(folder: Path, _: BadNode) -> None:
    put_ca(folder, pki.new_ca("front-proxy-ca", datetime.now(UTC)).certificate)


def a_pipe_of_a_ca(folder: Path, _: BadNode) -> None:
    folder.mkdir()
    os.mkfifo(folder / "front-proxy-ca.crt")


AUTHORITIES: dict[str, tuple[Callable[[Path, BadNode], object], str]] = {
    "no folder": (lambda _folder, _node: None, "given-ca-not-usable"),
    "an empty folder": (lambda folder, _: folder.mkdir(), "given-ca-not-usable"),
    "garbage": (lambda folder, _: put_ca(folder, b"garbage\n"), "given-ca-not-usable"),
    "a garbled key": (
        lambda folder, _: put_ca(folder, pki.new_ca("x", datetime.now(UTC)).certificate, b"garbage"),
        "given-ca-not-usable",
    ),
    "a leaf": (a_leaf, "given-ca-not-usable"),
    "a key of another": (mismatched, "given-ca-not-usable"),
    "a pipe": (a_pipe_of_a_ca, "given-ca-not-usable"),
    "no key": (no_key, "front-proxy-ca-key-missing"),
    "the CA of clients": (the_clients_ca, "front-proxy-ca-is-client-ca"),
    "expired": (an_expired_ca, "front-proxy-ca-expired"),
}


@pytest.mark.parametrize(("make", "code"), AUTHORITIES.values(), ids=AUTHORITIES.keys())
def test_a_ca_that_cannot_serve_is_refused(
    node: BadNode, tmp_path: Path, make: Callable[[Path, BadNode], object], code: str
) -> None:
    folder = tmp_path / "ca"
    make(folder, node)
    assert_refused(node, code, *ENABLE, "--ca-from", str(folder))
    assert not (node.root / JOURNAL).exists()


# --- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("enabel",),
        ("enable", "--bogus"),
        ("enable", "--routing", "maybe"),
        ("enable", "-o", "xml"),
        ("enable", "left over"),
        ("enable", "--root"),
        ("rollback", "--timeout", "5m"),
        ("sandbox", "sideways"),
    ],
)
def test_an_unknown_word_is_wrong_usage(words: tuple[str, ...]) -> None:
    said = aggctl(*words)
    assert (said.status, said.out) == (2, ""), said.text
    assert_decent(said)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--timeout", "soon"), "duration-not-understood"),
        (("--timeout", "0s"), "duration-not-understood"),
        (("--timeout=-5m",), "duration-not-understood"),
        (("--request-timeout", "5 s"), "duration-not-understood"),
        (("--key-algorithm", "ROT13"), "key-algorithm-unknown"),
    ],
)
def test_a_value_that_cannot_be_is_wrong_usage(node: BadNode, options: tuple[str, ...], code: str) -> None:
    assert_refused(node, code, *ENABLE, *options, status=2)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    said = aggctl("enable", "--root", str(tmp_path / "nope"), "-o", "json")
    assert (said.status, said.codes) == (3, ["no-root"])
    assert_document(said)


def test_without_a_terminal_nothing_is_done_unless_yes(node: BadNode) -> None:
    said = assert_refused(node, "not-confirmed", "enable", "--routing", "off")
    assert "--yes" in said.text
    assert not (node.root / JOURNAL).exists()


def test_a_dry_run_shows_the_plan_and_writes_nothing(node: BadNode) -> None:
    before = node.tree()
    said, as_json = node.run(*ENABLE, "--dry-run"), node.run(*ENABLE, "--dry-run", "-o", "json")
    assert node.tree() == before
    assert (said.status, as_json.status) == (0, 0), said.text
    assert as_json.document["outcome"] == "planned"
    assert "+    - --requestheader-client-ca-file=" in said.out
    for each in (said, as_json):
        assert_decent(each)
    assert_document(as_json)
    assert stat.S_IMODE(node.manifest.stat().st_mode) == 0o600
