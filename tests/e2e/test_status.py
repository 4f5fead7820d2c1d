"""`aggctl status` on real kube-apiservers and a real extension server, by the real console script."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import pytest
import yaml
from support.hello import hello_api
from support.https import leaf as pair
from support.kube import API_SERVICES, api_service
from support.refusals import AGGCTL, aggctl, assert_decent, assert_document, clean_environment
from support.two_nodes import two_nodes_in
from support.waiting import eventually
from support.ward import API, OTHER_CA, SERVICE, Ward, black_hole, replace, ward_in

from aggctl.core import pki
from aggctl.sandbox import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.refusals import Said
    from support.two_nodes import TwoNodes

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]
NEW = "v1.new.example.com"
HEAD = ["NAME", "SERVICE", "AVAILABLE", "SINCE", "TLS", "ENDPOINTS", "ANSWER"]


@dataclass(frozen=True)
class Place:
    """A cluster with an API that answers."""

    ward: Ward

    def words(self, *words: str) -> tuple[str, ...]:
        return ("status", "--root", str(self.ward.node.root), *words)

    def status(self, *words: str, **more: Any) -> Said:
        """On the node."""
        return aggctl(*self.words(*words), **more)

    def await_answer(self) -> None:
        """All is well, or well again: kube-apiserver may need a moment to notice."""
        eventually(lambda: api_of(self.status("-o", "json"))["answerSeconds"], "the API answers")

    def elsewhere(self, *words: str, kubeconfig: Path | None = None) -> Said:
        """On a machine that has nothing of Kubernetes but a kubeconfig."""
        at = str(kubeconfig or self.ward.kube.kubeconfig)
        return aggctl("status", "--root", str(self.ward.elsewhere), "--kubeconfig", at, *words)


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    with ward_in(tmp_path_factory.mktemp("status")) as ward:
        found = Place(ward)
        found.await_answer()
        yield found


def api_of(said: Said, name: str = API) -> Object:
    """The item of an API."""
    found: list[Object] = [each for each in said.document["items"] if each["name"] == name]
    assert found, said.text
    return found[0]


def table(said: Said) -> list[str]:
    assert said.status == 0, said.text
    assert_decent(said)
    return said.out.splitlines()


# --- what is shown -----------------------------------------------------------------------------------------


def test_on_a_node_an_api_that_is_well_is_one_row_below_the_layer(place: Place) -> None:
    layer, head, row = table(place.status())
    assert layer.startswith("Layer on, routing on, 1 of 1 kube-apiserver.    Front-proxy client until 20")
    assert head.split() == HEAD
    assert row.startswith(f"{API}  default/{SERVICE}")
    assert " True " in row
    assert " verified, 364 d " in row
    assert " 1/1 " in row
    assert row.endswith(" ms")


def test_scripts_get_the_layer_and_each_api_as_items_of_the_one_document(place: Place) -> None:
    said = place.status("-o", "json")
    assert (said.status, said.err) == (0, "")
    assert_document(said)
    assert (said.document["command"], said.document["outcome"]) == ("status", "unchanged")
    layer, api = said.document["items"]
    assert (layer["state"], layer["apiservers"]) == ("on", [place.ward.node.url])
    served = pki.read_certificates((place.ward.hello.folder / "tls.crt").read_bytes())[0]
    endpoint = f"{place.ward.address}:{place.ward.hello.port}"
    assert api["certificates"] == [{"endpoint": endpoint, "notAfter": served.not_after.isoformat()}]
    assert 0 < api["answerSeconds"] < 6
    assert [each["works"] for each in api["apiservers"]] == [True]


def test_yaml_is_the_same_document(place: Place) -> None:
    said = place.status("-o", "yaml")
    assert said.status == 0
    document = yaml.safe_load(said.out)
    as_json = place.status("-o", "json").document
    assert document.keys() == as_json.keys()
    assert document["items"][0] == as_json["items"][0]


def test_wide_shows_the_addresses_that_kube_apiserver_dials(place: Place) -> None:
    _, head, row = table(place.status("-o", "wide"))
    assert head.split() == [*HEAD, "CABUNDLE", "PRIORITY", "DIALLED", "MESSAGE"]
    assert f"{place.ward.address}:{place.ward.hello.port}" in row


def test_looking_changes_nothing(place: Place) -> None:
    before = place.ward.kube.everything(), place.ward.node.files()
    assert place.status().status == 0
    assert (place.ward.kube.everything(), place.ward.node.files()) == before


def test_a_certificate_for_another_name_is_called_so(place: Place) -> None:
    with place.ward.another_server(place.ward.pair(name="other.default.svc")):
        assert api_of(place.status("-o", "json"))["tls"] == "wrong name"
    place.await_answer()


def test_an_endpoint_that_takes_no_connection_hides_nothing_else(place: Place) -> None:
    other = api_service(NEW, SERVICE, caBundle=place.ward.bundle)
    with black_hole(place.ward.address) as port:
        place.ward.point_at(port)
        try:
            place.ward.kube.ask("POST", API_SERVICES, other)
            said = place.status("-o", "json")
        finally:
            place.ward.kube.delete(f"{API_SERVICES}/{NEW}")
            place.ward.point_at(place.ward.hello.port)
    place.await_answer()
    assert said.status == 0
    assert [each["tls"] for each in said.document["items"][1:]] == [None, None]
    assert any("cannot be dialled from here" in line for line in said.document["summary"])


def test_what_is_no_api_is_wrong_usage(place: Place) -> None:
    said = place.status("hello", "-o", "json")
    assert (said.status, said.codes) == (2, ["api-name-not-valid"])


# --- from elsewhere, with few rights, with the API down ----------------------------------------------------


def test_elsewhere_a_kubeconfig_is_enough_and_the_node_is_named_as_not_checked(place: Place) -> None:
    layer, _, row, missing = table(place.elsewhere())
    assert layer == "Layer on, as the cluster publishes, routing not known, 1 of 1 kube-apiserver."
    assert row.split()[2:] == ["True", row.split()[3], "-", "1/1", *row.split()[-2:]]
    assert missing.startswith("not checked: this node's files: ")


@pytest.fixture(scope="module")
def powerless(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of somebody whom the cluster's CA vouches for, and who has no rights."""
    folder = place.ward.node.root / "etc/kubernetes/pki"
    ca = pki.KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    somebody = pki.issue(ca, "somebody", datetime.now(UTC), usage="client", algorithm="ECDSA-P256")
    config = yaml.safe_load(place.ward.kube.kubeconfig.read_text())
    config["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(somebody.certificate).decode(),
        "client-key-data": base64.b64encode(somebody.key).decode(),
    }
    path = tmp_path_factory.mktemp("powerless") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_who_may_not_see_apis_sees_the_nodes_layer_and_why(place: Place, powerless: Path) -> None:
    layer, *missing = table(place.status("--kubeconfig", str(powerless)))
    assert layer.startswith("Layer on, ")
    assert [line.split(": ")[1] for line in missing] == ["APIServices"]
    assert "forbidden" in missing[0]


def test_who_may_see_nothing_elsewhere_is_told_so_by_one_sentence(place: Place, powerless: Path) -> None:
    said = place.elsewhere("-o", "json", kubeconfig=powerless)
    assert (said.status, said.codes) == (3, ["no-rights-in-cluster"])
    assert_document(said)


def test_who_may_not_see_apis_is_told_whether_a_named_one_answers(place: Place, powerless: Path) -> None:
    said = place.elsewhere(API, "-o", "json", kubeconfig=powerless)
    assert said.status == 0
    api = api_of(said)
    assert (api["registered"], api["apiservers"][0]["works"]) == (None, True)


@contextmanager
def api_down(place: Place) -> Iterator[None]:
    running = place.ward.node.running
    before = running.apiserver()
    with running.kubelet_stopped():
        running.kill_apiserver()
        yield
    running.await_other(before)
    place.await_answer()


def test_with_the_api_down_the_layer_is_told_from_files_and_then_why_there_is_no_more(place: Place) -> None:
    with api_down(place):
        text, as_json, elsewhere = (
            place.status(),
            place.status("-o", "json"),
            place.elsewhere(),
        )
    assert (text.status, as_json.status, elsewhere.status) == (3, 3, 3)
    layer, error, *_ = text.out.splitlines()
    assert layer.startswith("Layer on, routing on, 0 of 1 kube-apiserver.    Front-proxy client until 20")
    assert error.startswith("✗ cannot ask the cluster: ")
    assert "/etc/kubernetes/admin.conf)   (apiserver-not-reachable)" in error
    assert_document(as_json)
    assert (as_json.codes, as_json.document["items"][0]["state"]) == (["apiserver-not-reachable"], "on")
    assert elsewhere.out == ""
    assert elsewhere.err.startswith("✗ cannot ask the cluster: ")
    for each in (text, as_json, elsewhere):
        assert_decent(each)


def test_without_a_node_and_without_a_kubeconfig_it_says_how_to_give_one(tmp_path: Path) -> None:
    said = aggctl("status", "--root", str(tmp_path), environment={"HOME": str(tmp_path)})
    assert (said.status, said.out) == (3, "")
    assert "(kubeconfig-missing)" in said.err


# --- for Prometheus ----------------------------------------------------------------------------------------


def test_prometheus_gets_a_file_of_gauges(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "status.prom"
    assert place.status("--prometheus", str(file)).status == 0
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    at = f'name="{API}",apiserver="{place.ward.node.url.removeprefix("https://")}"'
    assert lines[0] == f"aggctl_apiservice_available{{{at}}} 1"
    assert lines[1].startswith(f"aggctl_apiservice_answer_seconds{{{at}}} 0.")
    assert lines[2] == f'aggctl_apiservice_endpoints_ready{{name="{API}"}} 1'
    endpoint = f"{place.ward.address}:{place.ward.hello.port}"
    assert lines[3].partition("} ")[0] == (
        f'aggctl_serving_certificate_expiration_timestamp_seconds{{name="{API}",endpoint="{endpoint}"'
    )


def test_a_file_that_cannot_be_written_is_one_sentence(place: Place, tmp_path: Path) -> None:
    said = place.status("--prometheus", str(tmp_path / "nowhere" / "x.prom"), "-o", "json")
    assert (said.status, said.codes) == (3, ["prometheus-file-not-usable"])


# --- --watch -----------------------------------------------------------------------------------------------


@contextmanager
def watching(place: Place, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A run of --watch; it is ended by its own pid, if it did not end itself."""
    process = subprocess.Popen(
        [*AGGCTL, *place.words("--watch")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment() | {"TERM": "xterm-256color"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def another_api(place: Place) -> Iterator[None]:
    place.ward.kube.ask("POST", API_SERVICES, api_service(NEW, "nowhere"))
    try:
        yield
    finally:
        place.ward.kube.delete(f"{API_SERVICES}/{NEW}")


def read_until(stream: IO[str] | None, start: str) -> str:
    """The first line that begins so; the run's timeout ends a test in which none comes."""
    assert stream is not None
    return next(line for line in stream if line.startswith(start))


@pytest.mark.timeout(28)  # without an event the next look comes after 30 s
def test_a_watch_shows_an_api_that_comes_and_ends_with_ctrl_c(place: Place) -> None:
    with watching(place) as process:
        assert " True " in read_until(process.stdout, API)
        with another_api(place):
            assert "default/nowhere" in read_until(process.stdout, NEW)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "")


def test_a_watch_whose_reader_went_away_ends_at_the_next_event(place: Place) -> None:
    reader, writer = os.pipe()
    with watching(place, stdout=writer) as process:
        os.close(writer)
        with os.fdopen(reader) as stream:
            read_until(stream, API)
        with another_api(place):
            assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_on_a_terminal_a_watch_is_redrawn_in_place(place: Place) -> None:
    reader, writer = os.openpty()
    with watching(place, stdout=writer) as process:
        os.close(writer)
        said = ""
        with another_api(place), os.fdopen(reader, "rb", 0) as terminal:
            while NEW not in said:
                said += terminal.read(4096).decode()
            process.send_signal(signal.SIGINT)
    assert said.count("\x1b[H") >= 1


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_a_document_cannot_be_watched(place: Place, output: str) -> None:
    said = place.status("--watch", "-o", output)
    assert (said.status, said.codes) == (2, ["option-without-effect"])


# --- two kube-apiservers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("status-two-nodes")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", "false")  # the other cluster has it on
        nodes = stack.enter_context(two_nodes_in(folder))
        kubeconfig = nodes.first.running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, ("hello.default.svc",)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = nodes.first.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield nodes


def matrix(nodes: TwoNodes) -> list[bool]:
    """Whether the API works through the first, and through the second."""
    said = aggctl("status", API, "--root", str(nodes.first.root), "-o", "json")
    works = {each["apiserver"]: each["works"] for each in api_of(said)["apiservers"]}
    return [works.get(node.url, False) for node in nodes.both]


def test_each_of_two_kube_apiservers_has_a_column(two: TwoNodes) -> None:
    eventually(lambda: matrix(two) == [True, True], "the API answers through both")
    layer, head, row = table(aggctl("status", "--root", str(two.first.root)))
    assert "2 of 2 kube-apiservers." in layer
    assert head.split()[-2:] == ["127.0.0.1", "127.0.0.2"]
    assert row.split()[-2:] == ["✓", "✓"]


def test_one_that_shows_a_bad_certificate_is_seen_apart_from_the_other(two: TwoNodes) -> None:
    folder = two.second.root / "etc/kubernetes/pki"
    names = ("front-proxy-client.key", "front-proxy-client.crt")
    before = {name: (folder / name).read_bytes() for name in names}
    stranger = pair(OTHER_CA, "front-proxy-client")
    try:
        for name, content in zip(names, (stranger.key, stranger.certificate), strict=True):
            replace(folder / name, content)
        eventually(lambda: matrix(two) == [True, False], "it answers through the first alone")
    finally:
        for name in names:
            replace(folder / name, before[name])
    eventually(lambda: matrix(two) == [True, True], "it answers through both again")
