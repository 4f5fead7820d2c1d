"""`aggctl certs list` on a real kube-apiserver and a real extension server, by the real console script."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.hello import hello_api
from support.https import authority
from support.https import leaf as pair
from support.kube import API_SERVICES, Kube
from support.nodes import Node
from support.refusals import AS_NOBODY, aggctl, assert_decent, assert_document, nobody_may_run
from support.rights import NOBODY, public_folder
from support.sandboxes import sandbox_in

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hello import HelloApi
    from support.refusals import Said

pytestmark = pytest.mark.controlplane

API = "v1alpha1.hello.example.com"
SERVICE = "hello.default.svc"
METRIC = "aggctl_certificate_expiration_timestamp_seconds"
ALL = ["front-proxy-ca", "front-proxy-client", "published-ca", "ca-bundle", "serving"]


@dataclass(frozen=True)
class Place:
    """A cluster with the layer on and an API that is registered; nothing here changes it."""

    node: Node
    kube: Kube
    hello: HelloApi

    def list(self, *words: str, **more: Any) -> Said:
        """On the node."""
        return aggctl("certs", "list", "--root", str(self.node.root), *words, **more)

    def elsewhere(self, root: Path, *words: str, **more: Any) -> Said:
        """On a machine that has nothing of Kubernetes but a kubeconfig."""
        kubeconfig = ("--kubeconfig", str(self.kube.kubeconfig))
        return aggctl("certs", "list", "--root", str(root), *kubeconfig, *words, **more)


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("certs")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        node, kubeconfig = Node(running), running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,)) as hello:
            at = ("--external", f"localhost:{hello.port}", "--cert-out", str(hello.folder), "--yes")
            done = node.aggctl("register", API, "--name", "hello", *at)
            assert done.returncode == 0, done.stderr
            yield Place(node, Kube(kubeconfig), hello)


def rows(said: Said) -> dict[str, str]:
    """The lines of the table, by kind."""
    assert (said.status, said.err) == (0, "")
    assert_decent(said)
    return {line.split()[0]: line for line in said.out.splitlines()}


def items(said: Said) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in said.document["items"]}


def not_checked(said: Said) -> list[str]:
    return [line for line in said.document["summary"] if line.startswith("not checked: ")]


# --- what is listed ---------------------------------------------------------------------------------------


def test_on_a_node_people_get_a_row_for_each_certificate(place: Place) -> None:
    said = place.list()
    found = rows(said)
    assert list(found) == ["KIND", *ALL, "allowed"]
    assert "/etc/kubernetes/pki/front-proxy-client.crt" in found["front-proxy-client"]
    assert "renewed by aggctl" in found["front-proxy-client"]
    assert f"localhost:{place.hello.port}" in found["serving"]
    assert found["allowed"] == "allowed names: front-proxy-client"


def test_scripts_get_the_same_as_items_of_the_one_document(place: Place) -> None:
    said = place.list("-o", "json")
    assert (said.status, said.err) == (0, "")
    assert_document(said)
    assert_decent(said)
    assert (said.document["command"], said.document["outcome"]) == ("certs list", "unchanged")
    found = items(said)
    assert list(found) == ALL
    assert not_checked(said) == []
    on_disk = {
        "front-proxy-ca": place.node.root / "etc/kubernetes/pki/front-proxy-ca.crt",
        "front-proxy-client": place.node.root / "etc/kubernetes/pki/front-proxy-client.crt",
        "ca-bundle": place.hello.folder / "ca.crt",
        "serving": place.hello.folder / "tls.crt",
    }
    for kind, path in on_disk.items():
        certificate = pki.read_certificates(path.read_bytes())[0]
        item = found[kind]
        assert item["fingerprint"] == certificate.fingerprint
        assert item["notAfter"] == certificate.not_after.isoformat()
        left = (certificate.not_after - datetime.now(UTC)).total_seconds()
        assert item["residualSeconds"] == pytest.approx(left, abs=60)
    assert found["published-ca"]["fingerprint"] == found["front-proxy-ca"]["fingerprint"]
    assert found["front-proxy-client"]["issuerFingerprint"] == found["front-proxy-ca"]["fingerprint"]
    assert found["serving"]["issuerFingerprint"] == found["ca-bundle"]["fingerprint"]
    assert [found[kind]["api"] for kind in ("ca-bundle", "serving")] == [API, API]
    assert found["serving"]["note"] == ""


def test_listing_changes_nothing(place: Place) -> None:
    before = place.kube.everything(), place.node.files()
    assert place.list().status == 0
    assert (place.kube.everything(), place.node.files()) == before


def test_what_is_really_served_is_listed_with_what_is_wrong_with_it(place: Place) -> None:
    registered = pki.KeyPair(*((place.hello.folder / name).read_bytes() for name in ("tls.crt", "tls.key")))
    stranger = pair(authority("stranger-ca"), "stranger", "server", SERVICE)
    try:
        place.hello.replace_pair(stranger)
        served = items(place.list("-o", "json"))["serving"]
    finally:
        place.hello.replace_pair(registered)
    assert served["fingerprint"] == pki.read_certificates(stranger.certificate)[0].fingerprint
    assert served["issuerFingerprint"] == ""
    assert "unable to get local issuer certificate" in served["note"]
    assert items(place.list("-o", "json"))["serving"]["note"] == ""


# --- what expires -----------------------------------------------------------------------------------------


def test_what_expires_within_is_a_problem_that_names_it(place: Place) -> None:
    said = place.list("--expiring", "400d", "-o", "json")
    assert (said.status, said.document["outcome"]) == (3, "problems")
    assert_document(said)
    assert set(said.codes) == {"certificate-expires-soon"}
    found = {each["subject"].split()[0]: each for each in said.document["findings"]}
    assert {"front-proxy-client", "serving"} <= set(found)
    assert not {"front-proxy-ca", "published-ca"} & set(found)
    assert found["front-proxy-client"]["fix"] == "aggctl certs rotate client"
    assert list(items(said)) == ALL


def test_people_are_told_what_expires_below_the_table(place: Place) -> None:
    said = place.list("--expiring", "400d")
    assert said.status == 3
    assert_decent(said)
    assert said.out.startswith("KIND ")
    assert "(certificate-expires-soon)" in said.out
    assert "aggctl certs rotate client" in said.out


@pytest.mark.parametrize("within", ["1s", "0s", "30d", "1h30m"])
def test_where_nothing_expires_within_the_status_is_0(place: Place, within: str) -> None:
    said = place.list("--expiring", within, "-o", "json")
    assert (said.status, said.document["outcome"], said.codes) == (0, "unchanged", [])


@pytest.mark.parametrize(
    "words",
    [
        *(("--expiring", each) for each in ("soon", "-1d", "1w", "999999d", "")),
        ("--request-timeout", "0s"),
    ],
    ids=" ".join,
)
def test_what_is_no_duration_is_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = aggctl("certs", "list", "--root", str(tmp_path), *words, "-o", "json")
    assert (said.status, said.codes) == (2, ["duration-not-understood"])
    assert_document(said)


# --- for Prometheus ---------------------------------------------------------------------------------------


def test_prometheus_gets_a_file_of_gauges_that_everybody_may_read(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "aggctl.prom"
    old = os.umask(0o077)
    try:
        said = place.list("--prometheus", str(file), "-o", "json")
    finally:
        os.umask(old)
    assert said.status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["aggctl.prom"]
    samples = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    expected = {
        f"{METRIC}{{{labels(each)}}} {datetime.fromisoformat(each['notAfter']).timestamp():.0f}"
        for each in said.document["items"]
    }
    assert set(samples) == expected


def labels(item: dict[str, Any]) -> str:
    shown = {**item, "fingerprint": item["fingerprint"][:12]}
    return ",".join(f'{name}="{shown[name]}"' for name in ("kind", "api", "where", "fingerprint"))


def test_the_file_is_replaced_as_a_whole_so_that_nobody_reads_half_of_it(
    place: Place, tmp_path: Path
) -> None:
    file = tmp_path / "aggctl.prom"
    file.write_text("old and long" * 1000)
    file.chmod(0o600)
    with file.open() as reader:
        assert place.list("--prometheus", str(file)).status == 0
        assert reader.read() == "old and long" * 1000
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_text().startswith(f"# HELP {METRIC} ")


def test_a_file_that_stays_the_same_is_of_now_all_the_same(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "aggctl.prom"
    assert place.list("--prometheus", str(file)).status == 0
    content, now = file.read_text(), file.stat().st_mtime
    os.utime(file, (0, 0))
    assert place.list("--prometheus", str(file)).status == 0
    assert file.read_text() == content
    assert file.stat().st_mtime >= now


def test_a_file_is_written_also_where_something_expires(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "aggctl.prom"
    assert place.list("--expiring", "400d", "--prometheus", str(file)).status == 3
    assert METRIC in file.read_text()


def test_the_name_of_the_file_may_be_relative(place: Place, tmp_path: Path) -> None:
    said = place.list("--prometheus", "aggctl.prom", cwd=tmp_path)
    assert said.status == 0
    assert METRIC in (tmp_path / "aggctl.prom").read_text()


def a_folder(folder: Path) -> Path:
    (folder / "aggctl.prom").mkdir()
    return folder / "aggctl.prom"


def a_missing_folder(folder: Path) -> Path:
    return folder / "nowhere" / "aggctl.prom"


def a_folder_that_is_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "aggctl.prom"


def a_link(folder: Path) -> Path:
    (folder / "precious").write_text("x")
    (folder / "aggctl.prom").symlink_to(folder / "precious")
    return folder / "aggctl.prom"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_folder, "not a regular file"),
        (a_missing_folder, "No such file or directory"),
        (a_folder_that_is_a_file, "Not a directory"),
        (a_link, "symbolic link"),
    ],
    ids=["a folder", "in a missing folder", "in a folder that is a file", "a link"],
)
def test_a_file_that_cannot_be_written_is_one_sentence(
    place: Place, tmp_path: Path, make: Any, why: str
) -> None:
    file = make(tmp_path)
    before = sorted((each, each.is_symlink()) for each in tmp_path.rglob("*"))
    text, as_json = (place.list("--prometheus", str(file), *more) for more in ((), ("-o", "json")))
    assert (text.status, text.out, as_json.status, as_json.err) == (3, "", 3, "")
    assert_decent(text)
    assert_document(as_json)
    (sentence,) = [line for line in text.err.splitlines() if "(prometheus-file-not-usable)" in line]
    assert str(file) in sentence
    assert why in sentence
    assert as_json.codes == ["prometheus-file-not-usable"]
    assert sorted((each, each.is_symlink()) for each in tmp_path.rglob("*")) == before


def test_a_folder_of_others_is_one_sentence(place: Place, tmp_path: Path) -> None:
    if why := nobody_may_run():
        pytest.skip(why)
    with public_folder() as folder:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_bytes(place.kube.kubeconfig.read_bytes())
        os.chown(kubeconfig, NOBODY, NOBODY)
        words = ("certs", "list", "--kubeconfig", str(kubeconfig), "--prometheus", str(folder / "x.prom"))
        said = aggctl(*words, before=AS_NOBODY, environment={"HOME": str(tmp_path)})
        assert said.status == 3
        assert f"--prometheus {folder}/x.prom cannot be written: Permission denied" in said.err
        assert_decent(said)


# --- from elsewhere, and with a part of it down -----------------------------------------------------------


def test_elsewhere_a_kubeconfig_is_enough_and_the_node_is_named_as_not_checked(
    place: Place, tmp_path: Path
) -> None:
    said = place.elsewhere(tmp_path, "-o", "json")
    assert said.status == 0
    assert list(items(said)) == ALL[2:]
    (line,) = not_checked(said)
    assert line.startswith("not checked: this node's certificates, because ")
    assert list(tmp_path.iterdir()) == []


def test_who_may_not_see_apis_sees_the_rest_and_why(place: Place, tmp_path: Path) -> None:
    """A client certificate that the cluster knows and gives no rights."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(_powerless(place))
    said = place.list("--kubeconfig", str(kubeconfig), "-o", "json")
    assert said.status == 0
    assert list(items(said)) == ALL[:2]
    assert [line.partition(", because ")[0] for line in not_checked(said)] == [
        "not checked: what the cluster publishes",
        "not checked: the registered APIs",
    ]
    assert all("forbidden" in line for line in not_checked(said))


def _powerless(place: Place) -> bytes:
    """The kubeconfig of somebody whom the cluster's CA vouches for, and who has no rights."""
    folder = place.node.root / "etc/kubernetes/pki"
    ca = pki.KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    somebody = pki.issue(ca, "somebody", datetime.now(UTC), usage="client", algorithm="ECDSA-P256")
    config = yaml.safe_load(place.kube.kubeconfig.read_text())
    config["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(somebody.certificate).decode(),
        "client-key-data": base64.b64encode(somebody.key).decode(),
    }
    return yaml.safe_dump(config).encode()


def test_a_server_that_is_away_is_named_and_hides_nothing_else(place: Place) -> None:
    """Another APIService, whose Service does not exist."""
    path = f"{API_SERVICES}/v1.away.example.com"
    spec = {"group": "away.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15}
    away = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.away.example.com"},
        "spec": {**spec, "service": {"name": "away", "namespace": "default"}},
    }
    try:
        place.kube.apply(path, away)
        said = place.list("-o", "json")
    finally:
        place.kube.delete(path)
    assert said.status == 0
    assert list(items(said)) == ALL
    assert not_checked(said) == [
        "not checked: what serves v1.away.example.com, because Service default/away is not there"
    ]


@pytest.fixture
def dead_end(tmp_path: Path, place: Place) -> Path:
    """A kubeconfig whose server takes no connection: port 9 of loopback."""
    text = place.kube.kubeconfig.read_text()
    kubeconfig = tmp_path / "dead-end"
    kubeconfig.write_text(text.replace(place.node.url, "https://127.0.0.1:9"))
    return kubeconfig


def test_with_the_api_down_the_node_is_listed_all_the_same(place: Place, dead_end: Path) -> None:
    said = place.list("--kubeconfig", str(dead_end), "-o", "json")
    assert said.status == 0
    assert list(items(said)) == ALL[:2]
    assert all("127.0.0.1:9 does not answer" in line for line in not_checked(said))
    assert len(not_checked(said)) == 2


def test_with_the_api_down_what_expires_on_the_node_is_found_all_the_same(
    place: Place, dead_end: Path
) -> None:
    said = place.list("--kubeconfig", str(dead_end), "--expiring", "400d", "-o", "json")
    assert (said.status, said.codes) == (3, ["certificate-expires-soon"])


def test_without_a_usable_kubeconfig_the_node_is_listed_all_the_same(place: Place, tmp_path: Path) -> None:
    said = place.list("--kubeconfig", str(tmp_path / "none"), "-o", "json")
    assert said.status == 0
    assert list(items(said)) == ALL[:2]
    assert all("cannot be used: No such file" in line for line in not_checked(said))


@pytest.mark.parametrize("more", [(), ("--expiring", "30d")], ids=["list", "expiring"])
def test_where_nothing_at_all_can_be_seen_that_is_no_empty_list(
    dead_end: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    said = aggctl("certs", "list", "--root", str(root), "--kubeconfig", str(dead_end), *more, "-o", "json")
    assert (said.status, said.document["outcome"]) == (3, "refused")
    assert said.codes == ["apiserver-not-reachable"]
    assert_document(said)


def test_without_a_node_and_without_a_kubeconfig_it_says_how_to_give_one(tmp_path: Path) -> None:
    said = aggctl("certs", "list", "--root", str(tmp_path), environment={"HOME": str(tmp_path)})
    assert (said.status, said.out) == (3, "")
    assert "(kubeconfig-missing)" in said.err
    assert "--kubeconfig FILE" in said.err
    assert_decent(said)
