"""`aggctl logs` on a real kube-apiserver: what it says of a broken API, what the Pods behind one say.

The Pod is the cluster's own; its kubelet is played and answers kube-apiserver with the lines of the test.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.hello import hello_api
from support.https import authority
from support.kube import API_SERVICES, MERGE, Kube, api_service
from support.nodes import Node
from support.played_kubelet import played_kubelet, running
from support.refusals import AGGCTL, Said, aggctl, assert_decent, assert_document, clean_environment
from support.sandboxes import kill, sandbox_in
from support.waiting import eventually

from aggctl.core.extension import parse_api
from aggctl.workflows import logs as workflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from aggctl.core.loglines import Line
    from aggctl.core.logsources import NotRead

pytestmark = pytest.mark.controlplane

API, SHOWN = "v1alpha1.hello.example.com", "v1.shown.example.com"
UNKNOWN_CA = "x509: certificate signed by unknown authority"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
PODS, POD = "/api/v1/namespaces/default/pods", "shown-1"


PATIENT = ("--request-timeout", "30s")
"""A machine that is busy with other tests is no reason for a log that is not read."""


class Log(dict[str, Any]):
    """Containers' logs as their kubelet answers them; a stream waits for a line that it has not sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, list[str]] = {}
        self.sent: dict[str, int] = {}
        self.asked: list[dict[str, list[str]]] = []
        self.followed: set[str] = set()
        self.over = threading.Event()

    def forget(self) -> None:
        """Let no container have said anything."""
        self.lines.clear()
        self.sent.clear()
        self.asked.clear()

    def say(self, *texts: str, ago: float = 0.0, pod: str = POD) -> None:
        """Let the container write lines, one after the other."""
        for text in texts:
            moment = datetime.now(UTC) - timedelta(seconds=ago)
            self.lines.setdefault(pod, []).append(f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z {text}")

    def get(self, path: str, _default: Any = None) -> Any:
        parts = urlsplit(path)
        pod = parts.path.removeprefix("/containerLogs/default/").removesuffix("/server")
        self.asked.append(parse_qs(parts.query))
        return partial(self._stream, pod) if "follow" in self.asked[-1] else (200, self._content(pod))

    def _content(self, pod: str) -> bytes:
        lines = self.lines.get(pod, [])
        self.sent[pod] = len(lines)
        return "".join(f"{line}\n" for line in lines).encode()

    def _stream(self, pod: str, _: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        self.followed.add(pod)

        def more() -> bool:
            return len(self.lines.get(pod, [])) > self.sent.get(pod, 0) or self.over.is_set()

        eventually(more, "another line, or the end")
        return 200, self._content(pod)


@dataclass
class Place:
    """A cluster with an API that is broken and one whose Pod speaks; and what goes on in it."""

    node: Node
    kube: Kube
    log: Log = field(default_factory=Log)

    def logs(self, *words: str) -> Said:
        return aggctl("logs", "--root", str(self.node.root), *PATIENT, *words)

    def elsewhere(self, root: Path, *words: str) -> Said:
        """On a machine that has nothing of Kubernetes but a kubeconfig."""
        kubeconfig = ("--kubeconfig", str(self.kube.kubeconfig))
        return aggctl("logs", "--root", str(root), *kubeconfig, *PATIENT, *words)

    @contextmanager
    def following(
        self, *words: str, root: Path | None = None
    ) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
        """The command while it follows, and its standard output."""
        with subprocess.Popen(
            [*AGGCTL, "logs", "--root", str(root or self.node.root), "--follow", *PATIENT, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        ) as process:
            assert process.stdout
            try:
                yield process, process.stdout
            finally:
                process.kill()

    def patch(self, spec: dict[str, Any]) -> None:
        done, said = self.kube.ask("PATCH", f"{API_SERVICES}/{API}", {"spec": spec}, MERGE)
        assert done == 200, said


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("logs")
    with sandbox_in(folder / "sandbox", aggregation="on") as made:
        kubeconfig = made.sandbox.kubeconfig
        found = Place(Node(made), Kube(kubeconfig))
        with (
            hello_api(folder / "hello", kubeconfig, ("hello.default.svc",)) as hello,
            played_kubelet(kubeconfig) as kubelet,
        ):
            kubelet.server.answers = found.log
            kubelet.status = running("10.1.0.5")
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = found.node.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            _show(found.kube)
            wrong = base64.b64encode(authority("another").certificate).decode()
            found.patch({"caBundle": wrong})
            eventually(lambda: UNKNOWN_CA in made.apiserver_log(), "the API is broken")
            yield found
            found.log.over.set()


def _show(kube: Kube) -> None:
    """The second API: its Service selects a Pod, which no controller made."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert kube.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account)[0] == 201
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shown"},
        "spec": {"selector": {"app": "shown"}, "ports": [{"port": 443}]},
    }
    assert kube.ask("POST", "/api/v1/namespaces/default/services", service)[0] == 201
    assert kube.ask("POST", API_SERVICES, api_service(SHOWN, "shown"))[0] == 201
    _new_pod(kube, POD)


def _new_pod(kube: Kube, name: str) -> None:
    """A Pod behind the Service, which runs."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "shown"}},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "server", "image": "registry.example/shown:1"}],
        },
    }
    assert kube.ask("POST", PODS, pod)[0] == 201
    path = f"{PODS}/{name}"
    eventually(lambda: (kube.get(path) or {}).get("status", {}).get("phase") == "Running", "the Pod runs")


@pytest.fixture(autouse=True)
def _own_lines(request: pytest.FixtureRequest) -> None:
    """Each test has a Pod that said nothing yet."""
    found: Place = request.getfixturevalue("place")
    found.log.forget()


# --- what there is ---------------------------------------------------------------------------------------


def test_what_kube_apiserver_says_of_a_broken_api_is_shown_and_nothing_of_others(place: Place) -> None:
    said = place.logs(API)
    assert said.status == 0
    assert_decent(said)
    lines = said.out.splitlines()
    assert any('E remote_available_controller.go:471] "Unhandled Error"' in line for line in lines)
    assert any(API in line and UNKNOWN_CA in line for line in lines)
    assert not [line for line in lines if SHOWN in line]
    assert all(line[24:].startswith(f" kube-apiserver/{_node(place)} ") for line in lines)
    assert [line[:24] for line in lines] == sorted(line[:24] for line in lines)
    assert said.err == (
        "not read: Service default/hello: there are no Pods behind it: its server runs outside the cluster\n"
    )
    assert place.logs(API, "--quiet").err == ""


def test_what_its_pod_says_stands_beside_it_clean_and_without_secrets(place: Place) -> None:
    place.log.say('I1128 07:17:55.009508       1 main.go:1] "all is well"', ago=3)
    place.log.say(
        *[f"E1128 07:17:55.00950{number}       1 a.go:7] \x1b[2J\x1b]0;x\x07bad" for number in range(3)]
    )
    place.log.say(f"W1128 07:17:55.009508       1 b.go:9] rejected: Authorization: Bearer {JWT}")
    said = place.logs(SHOWN)
    assert (said.status, said.err) == (0, "")
    assert_decent(said)
    assert JWT[:20] not in said.out
    assert "\x1b" not in said.out
    of_pod = [line[25:] for line in said.out.splitlines() if f" pod/{POD} " in line]
    width = len(f"kube-apiserver/{_node(place)}")
    assert of_pod[0].startswith(f"{f'pod/{POD}':<{width}} E a.go:7] bad   (3 times, until ")
    assert of_pod[1:] == [f"{f'pod/{POD}':<{width}} W b.go:9] rejected: Authorization: Bearer …"]
    assert any(f"kube-apiserver/{_node(place)} " in line and SHOWN in line for line in said.out.splitlines())
    everything = place.logs(SHOWN, "--all", "--tail", "7")
    assert "all is well" in everything.out
    assert "its last 7 lines were read" in everything.err
    assert place.log.asked[-1]["tailLines"] == ["7"]
    assert 3598 <= int(place.log.asked[-1]["sinceSeconds"][0]) <= 3602


def test_scripts_get_one_document_with_what_could_not_be_read(place: Place) -> None:
    place.log.say("panic: it broke")
    said = place.logs("-o", "json")
    assert (said.status, said.err) == (0, "")
    assert_document(said)
    assert (said.document["command"], said.document["outcome"]) == ("logs", "unchanged")
    assert {tuple(each) for each in said.document["items"]} == {("time", "source", "line", "times")}
    assert [each["line"] for each in said.document["items"] if each["source"] == f"pod/{POD}"] == [
        "panic: it broke"
    ]
    assert said.codes == ["log-not-read"]


def test_from_elsewhere_the_pods_are_read_and_kube_apiserver_is_named(place: Place, tmp_path: Path) -> None:
    place.log.say("panic: it broke")
    said = place.elsewhere(tmp_path, SHOWN)
    assert said.status == 0
    assert said.out.endswith(f" pod/{POD} panic: it broke\n")
    assert said.err.startswith("not read: kube-apiserver: the cluster shows no Pod of it")


def test_where_nothing_matters_it_is_said(place: Place, tmp_path: Path) -> None:
    place.log.say("I1128 07:17:55.009508       1 main.go:1] fine")
    said = place.elsewhere(tmp_path, SHOWN)
    assert (said.status, said.out) == (0, "")
    assert "no line that matters since 20" in said.err
    assert "(1 read)" in said.err


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("v9.nobody.example.com",), 3, "api-not-registered"),
        (("nonsense",), 2, "api-name-not-valid"),
        ((API, "--since", "soon"), 2, "duration-not-understood"),
        ((API, "--since", "0s"), 2, "duration-not-understood"),
    ],
)
def test_what_is_not_there_or_not_understood_is_one_sentence(
    place: Place, words: tuple[str, ...], status: int, code: str
) -> None:
    said = place.logs(*words)
    assert (said.status, said.out) == (status, "")
    assert f"({code})" in said.err
    assert_decent(said)


def test_where_nothing_at_all_can_be_read_the_reason_is_the_error(tmp_path: Path) -> None:
    said = aggctl("logs", "--root", str(tmp_path), environment={"HOME": str(tmp_path)})
    assert (said.status, said.out) == (3, "")
    assert "no log could be read; the cluster: no kubeconfig was found" in said.err
    assert "(kubeconfig-missing)" in said.err


def test_a_file_that_cannot_be_read_is_made_up_for_by_the_api(place: Place) -> None:
    place.log.say("panic: it broke")
    here = place.node.root / f"var/log/pods/default_{POD}_uid/server"
    here.mkdir(parents=True)
    os.mkfifo(here / "0.log")
    try:
        said = place.logs(SHOWN)
    finally:
        shutil.rmtree(here.parent)
    assert (said.status, said.err) == (0, "")
    assert f" pod/{POD} " in said.out
    assert "panic: it broke" in said.out


# --- what comes ------------------------------------------------------------------------------------------


def test_what_comes_is_followed_until_an_interrupt(place: Place) -> None:
    place.log.say("panic: before")
    with place.following() as (process, out):
        _await(out, "panic: before")
        place.log.say("panic: after")
        _await(out, f"pod/{POD}", "panic: after")
        place.patch({"versionPriority": 16})
        _await(out, f"kube-apiserver/{_node(place)}", API)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was changed" in err
    assert "Traceback" not in err


def test_scripts_follow_one_object_a_line_and_no_line_comes_twice(place: Place) -> None:
    place.log.say("panic: 1")
    with place.following(SHOWN, "-o", "json", "--all") as (process, out):
        seen = [_await(out, "panic: 1")]
        for number in (2, 3):
            place.log.say(f"panic: {number}")
            seen.append(_await(out, f"panic: {number}"))
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=60)
    assert [json.loads(each)["line"] for each in seen] == ["panic: 1", "panic: 2", "panic: 3"]
    assert "panic" not in rest
    assert all(json.loads(line) for line in rest.splitlines())
    assert (process.returncode, "interrupted" in err) == (130, False)


def test_a_reader_that_goes_away_ends_it_without_a_word(place: Place) -> None:
    with place.following(API, "--quiet") as (process, out):
        assert out.readline()
        out.close()
        place.patch({"versionPriority": 17})  # which kube-apiserver has something to say of
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_it_ends_also_where_nothing_more_is_said(place: Place, tmp_path: Path) -> None:
    place.log.say("panic: it broke")
    kubeconfig = ("--kubeconfig", str(place.kube.kubeconfig))
    with place.following(SHOWN, "--quiet", *kubeconfig, root=tmp_path) as (process, out):
        assert out.readline()
        out.close()
        assert process.wait(30) == 0


def test_the_pod_that_comes_for_one_that_is_gone_is_followed_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "NEW_PODS_AFTER", 0.1)
    said: list[str] = []
    told: list[str] = []
    deleted: list[bool] = []

    def come(lines: tuple[Line, ...], troubles: tuple[NotRead, ...]) -> None:
        said.extend(f"{line.source}: {line.text}" for line in lines)
        told.extend(each.words for each in troubles)

    def gone() -> bool:
        """Once the first Pod is followed, another one takes its place; what that says is waited for."""
        if not deleted and "shown-2" in place.log.followed:
            deleted.append(True)
            _new_pod(place.kube, "shown-3")
            place.kube.delete(f"{PODS}/shown-2")
            eventually(lambda: place.kube.get(f"{PODS}/shown-2") is None, "the Pod is gone")
            place.log.say("panic: the last words", pod="shown-2")
            place.log.say("panic: the first words", pod="shown-3")
        return "pod/shown-3: panic: the first words" in said

    _new_pod(place.kube, "shown-2")
    wishes = workflow.Wishes(parse_api(SHOWN), 3600, 100)
    workflow.follow(place.node.ports(), wishes, lambda *_: None, come, gone)
    assert "not read: pod/shown-2: the Pod is gone" in told
    place.kube.delete(f"{PODS}/shown-3")
    eventually(lambda: place.kube.get(f"{PODS}/shown-3") is None, "the Pod is gone")


# --- with the API down -----------------------------------------------------------------------------------


def test_with_the_api_down_this_nodes_files_tell(programs: dict[str, Path], tmp_path: Path) -> None:  # noqa: ARG001 -- asked for to be skipped without them
    with sandbox_in(tmp_path / "sandbox", aggregation="on") as made:
        node = Node(made)
        kube = Kube(made.sandbox.kubeconfig)
        assert kube.ask("POST", API_SERVICES, api_service(API, "nowhere"))[0] == 201
        eventually(lambda: API in made.apiserver_log(), "kube-apiserver says something of it")
        here = node.root / "var/log/pods/shop_things-7d-x_uid/server"
        here.mkdir(parents=True)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
        (here / "0.log").write_text(
            f'{now} stderr F I1128 07:17:55.009508 1 a.go:1] "x" n="extension-apiserver-authentication"\n'
            f"{now} stderr F E1128 07:17:55.009508 1 b.go:2] it broke\n"
        )
        with made.kubelet_stopped():
            kill(made.apiserver().process)
            said = aggctl("logs", API, "--root", str(node.root))
    assert said.status == 0
    assert_decent(said)
    assert any(" kube-apiserver/" in line and API in line for line in said.out.splitlines())
    assert any(" pod/things-7d-x " in line and "E b.go:2] it broke" in line for line in said.out.splitlines())
    assert said.err.startswith("not read: the cluster's APIServices: ")
    assert "does not answer" in said.err


def _node(place: Place) -> str:
    (folder,) = (place.node.root / "var/log/pods").glob("kube-system_kube-apiserver-*")
    return folder.name.split("_")[1].removeprefix("kube-apiserver-")


def _await(out: IO[str], *parts: str) -> str:
    """The next line with all of these in it; pytest's timeout ends the wait."""
    for line in out:
        if all(part in line for part in parts):
            return line
    raise AssertionError(f"the output ended without {parts}")
