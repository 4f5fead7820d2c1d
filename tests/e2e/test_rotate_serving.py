"""`aggctl certs rotate serving` on a real kube-apiserver and a real extension server, outside and in Pods."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from support.hello import hello_api
from support.https import authority
from support.killed import NEVER, killed, spread
from support.kube import API_SERVICES, Kube, api_service
from support.load import load
from support.nodes import Node
from support.refusals import AGGCTL, aggctl, assert_decent, assert_document
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.core.checks.extension import condition_of
from aggctl.core.questions import Handshake, ServedSeen
from aggctl.system.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hello import HelloApi
    from support.refusals import Said

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]
if TYPE_CHECKING:
    Renewing = subprocess.Popen[str]

API, SERVICE = "v1alpha1.hello.example.com", "hello.default.svc"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
CERTIFICATES = ("ca.crt", "tls.crt", "tls.key")
KILL_POINTS = 7
SECONDS = 60.0


@dataclass(frozen=True)
class Outside:
    """A cluster with the layer on, and an API whose server is outside of it and reads files."""

    node: Node
    kube: Kube
    hello: HelloApi

    def words(self, *more: str, at: Path | None = None) -> tuple[str, ...]:
        files = ("--cert-out", str(at or self.hello.folder))
        return ("certs", "rotate", "serving", *more, *files, "--root", str(self.node.root))

    def renew(self, *more: str, at: Path | None = None) -> Said:
        return aggctl(*self.words("--yes", *more, at=at))

    def report(self, *more: str, at: Path | None = None) -> tuple[int, str, list[str]]:
        """Exit status, outcome and codes."""
        said = self.renew(*more, "-o", "json", at=at)
        assert_document(said)
        assert_decent(said)
        return said.status, said.document["outcome"], said.codes

    def bundle(self) -> list[str]:
        """Fingerprints of the CAs that the API is verified by."""
        return prints(base64.b64decode(self.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"]))

    def served(self) -> str:
        """The fingerprint of the certificate that a new connection is shown."""
        seen = Probes().look(Handshake(f"localhost:{self.hello.port}", SERVICE, ""))
        assert isinstance(seen, ServedSeen), seen
        return prints(seen.certificate)[0]

    def answers(self) -> bool:
        return bool(self.kube.ask("GET", GREETINGS)[0] == 200)

    @contextmanager
    def deaf(self, *more: str) -> Iterator[tuple[Renewing, Path]]:
        """A renewal under way that writes its files where no server reads them, and so waits."""
        with TemporaryDirectory() as folder:
            before = self.bundle()
            for name in CERTIFICATES:
                shutil.copy(self.hello.folder / name, folder)
            words = self.words(API, "--yes", "-o", "json", *more, at=Path(folder))
            run = subprocess.Popen(
                [*AGGCTL, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                eventually(
                    lambda: files_in(Path(folder))["ca.crt"] != files_in(self.hello.folder)["ca.crt"],
                    "written",
                )
                assert len(self.bundle()) == len(before) + 1
                yield run, Path(folder)
            finally:
                run.kill()
                run.communicate()

    def everything(self) -> object:
        """What a command could have changed: the files of the server, and the cluster once it is at rest."""
        eventually(self._at_rest, "kube-apiserver has written what it thinks of each API")
        return files_in(self.hello.folder), self.kube.everything()

    def _at_rest(self) -> bool:
        items = self.kube.get(API_SERVICES)["items"]
        found = {each["metadata"]["name"]: condition_of(each).get("status") for each in items}
        return found[API] == "True" and all(found.values())

    def is_whole(self) -> None:
        """The server shows what is in its file, and that is verified by the one CA of the bundle."""
        files = {name: (self.hello.folder / name).read_bytes() for name in CERTIFICATES}
        assert prints(files["tls.crt"]) == [self.served()]
        assert self.bundle() == prints(files["ca.crt"])
        (ca,), (leaf,) = (pki.read_certificates(files[name]) for name in ("ca.crt", "tls.crt"))
        assert pki.signed_by(leaf, ca)


def prints(pem: bytes) -> list[str]:
    return [each.fingerprint for each in pki.read_certificates(pem)]


def files_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in CERTIFICATES if (folder / name).exists()}


@pytest.fixture(scope="module")
def outside(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("rotate-serving")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        node, kubeconfig = Node(running), running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = node.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield Outside(node, Kube(kubeconfig), hello)


# --- outside the cluster: renewed --------------------------------------------------------------------------


def bundles_since(kube: Kube, version: str) -> list[list[str]]:
    """Every caBundle that the API has had since a resourceVersion, in their order."""
    query = f"?watch=true&resourceVersion={version}&timeoutSeconds=1&fieldSelector=metadata.name={API}"
    _, found = kube.ask("GET", f"{API_SERVICES}{query}")
    events = [json.loads(line) for line in found.splitlines()]
    every = [prints(base64.b64decode(each["object"]["spec"]["caBundle"])) for each in events]
    return [each for number, each in enumerate(every) if not number or each != every[number - 1]]


def test_under_load_no_request_fails_nothing_restarts_and_both_cas_are_trusted_in_the_middle(
    outside: Outside,
) -> None:
    (old,), process = outside.bundle(), outside.node.running.apiserver().process
    served, version = outside.served(), outside.kube.get(API_SERVICES)["metadata"]["resourceVersion"]
    with load(outside.kube.kubeconfig, GREETINGS) as requests:
        said = outside.renew(API)
    assert said.status == 0, said.text
    assert_decent(said)
    assert requests.failed == {}
    assert requests.answered >= 100
    assert outside.node.running.apiserver().process == process
    assert outside.hello.process.poll() is None
    (new,) = outside.bundle()
    assert bundles_since(outside.kube, version) == [[new, old], [new]]
    assert new != old
    assert outside.served() != served
    outside.is_whole()


def test_without_a_name_all_that_can_be_is_renewed_and_the_key_is_told_to_nobody(outside: Outside) -> None:
    before = files_in(outside.hello.folder)
    said = outside.renew("-v", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "applied"), said.text
    outside.is_whole()
    key = outside.hello.folder / "tls.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() != before["tls.key"]
    for each in (key.read_text(), before["tls.key"].decode()):
        assert each.splitlines()[1] not in said.text + outside.node.record()


def test_a_later_rollback_passes_it_over_and_brings_no_old_ca_back(outside: Outside) -> None:
    """What would be undone is the registration before it."""
    assert outside.renew().status == 0
    said = aggctl("rollback", "--dry-run", "-o", "json", "--root", str(outside.node.root))
    assert said.status == 0, said.text
    changes = {each["target"]: each["action"] for each in said.document["changes"]}
    assert changes == {f"APIService {API}": "remove", "Service default/hello": "remove"}


# --- nothing changed ---------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_change_and_writes_nothing(outside: Outside) -> None:
    before = outside.everything()
    said = aggctl(*outside.words("--dry-run", "-o", "json"))
    assert (said.status, said.document["outcome"]) == (0, "planned"), said.text
    targets = [each["target"] for each in said.document["changes"]]
    assert targets == [str(outside.hello.folder), f"APIService {API}"]
    assert outside.everything() == before


def test_without_a_terminal_and_without_yes_nothing_is_changed(outside: Outside) -> None:
    before = outside.everything()
    said = aggctl(*outside.words())
    assert said.status == 3, said.text
    assert "(not-confirmed)" in said.err
    assert outside.everything() == before


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("v9.hello.example.com", "--cert-out", "{folder}"), 3, "api-not-registered"),
        (("hello", "--cert-out", "{folder}"), 2, "api-name-not-valid"),
        ((API,), 2, "cert-out-missing"),
        ((API, "--cert-out", "{folder}/tls.crt"), 3, "cert-out-not-usable"),
        ((API, "--cert-out", "{folder}", "--timeout", "soon"), 2, "duration-not-understood"),
    ],
    ids=["unknown", "no API's name", "nowhere to write", "no folder", "no duration"],
)
def test_wrong_words_change_nothing(outside: Outside, words: tuple[str, ...], status: int, code: str) -> None:
    before = outside.everything()
    more = (each.format(folder=outside.hello.folder) for each in words)
    root = ("--root", str(outside.node.root), "-o", "json", "--yes")
    said = aggctl("certs", "rotate", "serving", *more, *root)
    assert (said.status, said.codes) == (status, [code]), said.text
    assert_document(said)
    assert outside.everything() == before


def test_an_endpoint_that_says_nothing_is_refused_by_name(outside: Outside) -> None:
    before = files_in(outside.hello.folder), outside.bundle()
    outside.hello.process.send_signal(signal.SIGSTOP)
    try:
        said = outside.renew("-o", "json")
    finally:
        outside.hello.process.send_signal(signal.SIGCONT)
    assert (said.status, said.codes) == (3, ["endpoint-shows-no-certificate"]), said.text
    assert_document(said)
    assert f"localhost:{outside.hello.port}" in said.text
    assert (files_in(outside.hello.folder), outside.bundle()) == before


def test_an_api_whose_service_is_gone_is_refused(outside: Outside) -> None:
    name = "v1.broken.example.com"
    bundle = base64.b64encode(outside.hello.ca.certificate).decode()
    outside.kube.apply(f"{API_SERVICES}/{name}", api_service(name, "nobody", caBundle=bundle), "aggctl")
    before = files_in(outside.hello.folder), outside.bundle()
    try:
        found = outside.report()
    finally:
        outside.kube.delete(f"{API_SERVICES}/{name}")
    assert found == (3, "refused", ["service-not-found"])
    assert (files_in(outside.hello.folder), outside.bundle()) == before


# --- left alone --------------------------------------------------------------------------------------------

NAME = "v1.theirs.example.com"


def theirs(mark: str = "", **spec: Any) -> Object:
    made = api_service(NAME, "nobody", **spec)
    made["metadata"] |= {"annotations": {mark: "default/ca"}} if mark else {}
    return made


SOME_CA = base64.b64encode(authority("some-ca").certificate).decode()


@pytest.mark.parametrize(
    ("made", "manager", "said"),
    [
        (theirs("cert-manager.io/inject-ca-from"), "aggctl", "cert-manager renews it"),
        (theirs("service.beta.openshift.io/inject-cabundle"), "aggctl", "the cluster renews it"),
        (theirs(insecureSkipTLSVerify=True), "aggctl", "insecureSkipTLSVerify"),
        (theirs(caBundle=SOME_CA), "helm", "somebody else fills its caBundle"),
    ],
    ids=["cert-manager's", "injected", "insecure", "another owner's"],
)
def test_what_is_not_ours_is_left_alone_and_said(
    outside: Outside, made: Object, manager: str, said: str
) -> None:
    """The two that have no server here are not even dialled."""
    outside.kube.apply(f"{API_SERVICES}/{NAME}", made, manager)
    try:
        before = outside.everything()
        found = outside.renew(NAME)
        assert outside.everything() == before
    finally:
        outside.kube.delete(f"{API_SERVICES}/{NAME}")
    assert found.status == 0, found.text
    assert "Nothing to renew." in found.out
    assert said in found.out
    assert NAME in found.out
    assert_decent(found)


# --- put back ----------------------------------------------------------------------------------------------


def test_a_server_that_never_reloads_keeps_its_certificate_and_the_old_bundle(
    outside: Outside, tmp_path: Path
) -> None:
    """Its new files are written where it does not look."""
    for name in CERTIFICATES:
        shutil.copy(outside.hello.folder / name, tmp_path)
    files, bundle = files_in(tmp_path), outside.bundle()
    with load(outside.kube.kubeconfig, GREETINGS) as requests:
        found = outside.report("--timeout", "2s", at=tmp_path)
    assert found == (1, "rolled-back", ["serving-certificate-old"])
    assert requests.failed == {}
    assert (files_in(tmp_path), outside.bundle()) == (files, bundle)
    outside.is_whole()


def test_a_folder_that_was_made_for_it_is_gone_again(outside: Outside, tmp_path: Path) -> None:
    assert outside.report("--timeout", "1s", at=tmp_path / "new")[0] == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_puts_everything_back(outside: Outside, stop: signal.Signals) -> None:
    before = outside.bundle()
    with outside.deaf() as (run, folder):
        run.send_signal(stop)
        out, _ = run.communicate(timeout=SECONDS)
        assert files_in(folder) == files_in(outside.hello.folder)
    assert (run.returncode, json.loads(out)["outcome"]) == (130, "rolled-back")
    assert outside.bundle() == before
    outside.is_whole()


def test_where_the_server_goes_on_with_the_new_certificate_both_cas_stay_and_the_next_run_mends_it(
    outside: Outside,
) -> None:
    """It gets the new files, and never the old ones again."""
    with load(outside.kube.kubeconfig, GREETINGS) as requests:
        with outside.deaf("--timeout", "3s") as (run, folder):
            run.send_signal(signal.SIGSTOP)
            new = files_in(folder)
            outside.hello.replace_pair(pki.KeyPair(new["tls.crt"], new["tls.key"]))
            eventually(lambda: [outside.served()] == prints(new["tls.crt"]), "the new certificate is served")
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGCONT)
            out, _ = run.communicate(timeout=SECONDS)
            assert files_in(folder) != new
        report = json.loads(out)
        assert report["outcome"] == "rollback-incomplete"
        assert report["findings"][-1]["code"] == "serving-certificate-stays"
        assert run.returncode == 4
        assert len(outside.bundle()) == 2
        assert outside.renew().status == 0
    assert requests.failed == {}
    outside.is_whole()


@pytest.mark.timeout(400)
def test_killed_anywhere_traffic_goes_on_and_the_next_run_finishes(outside: Outside) -> None:
    """SIGKILL between any two contacts with the world, spread over the whole run."""
    words = outside.words(API, "--yes")
    points = spread(killed(words, NEVER), KILL_POINTS)
    with load(outside.kube.kubeconfig, GREETINGS) as requests:
        for point in points:
            killed(words, point)
            said = outside.renew(API)
            assert said.status == 0, (point, said.text)
            outside.is_whole()
            left = {
                each.name for each in outside.hello.folder.iterdir() if not each.name.startswith("hello.")
            }
            assert left == set(CERTIFICATES), point
    assert requests.failed == {}
