"""`aggctl doctor` where all is well, for a colleague, and as the one who mends; the real console script."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority
from support.kube import API_SERVICES, api_service
from support.nodes import AGGCTL, CONFIG_MAP
from support.refusals import aggctl, assert_decent, assert_document
from support.waiting import eventually
from support.ward import API, TURN, Ward, ended, replace, verdicts, ward_in

from aggctl.cli.archive import SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.controlplane

SECRET = "ey" + "JhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWFsaWNl"


@pytest.fixture(scope="module", name="ward")
def _ward(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    with ward_in(tmp_path_factory.mktemp("ward")) as ward:
        ward.well()
        yield ward


def run(ward: Ward, *words: str) -> subprocess.CompletedProcess[str]:
    return ward.node.aggctl("doctor", *words)


# --- no false alarm -------------------------------------------------------------------------------------


def test_a_healthy_cluster_has_no_finding_at_all(ward: Ward) -> None:
    document = ward.doctor()
    assert (document["outcome"], document["findings"]) == ("healthy", [])
    assert set(document) == {
        "apiVersion", "command", "outcome", "summary", "items", "changes", "findings", "next",
    }  # fmt: skip
    states = {each["state"] for item in document["items"] if "hops" in item for each in item["hops"]}
    assert states <= {"ok", "not reached"}


def test_each_hop_has_its_line_in_the_long_form(ward: Ward) -> None:
    said = run(ward, "-v").stdout
    for hop in ("layer", "certificates", "published", "APIService", "Service", "endpoints", "reach", "TLS"):
        assert any(line.split()[1:2] == [hop] for line in said.splitlines()), said


def test_a_bundle_that_somebody_else_injects_is_no_fault(ward: Ward) -> None:
    ward.kube.apply(
        f"{API_SERVICES}/{API}",
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API, "annotations": {"cert-manager.io/inject-ca-from": "default/hello"}},
            "spec": {"caBundle": ward.bundle},
        },
        manager="cert-manager-cainjector",
    )
    assert ward.doctor()["findings"] == []
    ward.remake_api(caBundle=ward.bundle)
    ward.well()


def test_several_published_cas_after_a_rotation_are_no_fault(ward: Ward) -> None:
    key = "requestheader-client-ca-file"
    before = ward.kube.get(CONFIG_MAP)["data"][key]
    both = before + authority("front-proxy-ca-of-last-year").certificate.decode()
    ward.kube.ask("PATCH", CONFIG_MAP, {"data": {key: both}}, "application/merge-patch+json")
    try:
        assert ward.doctor()["findings"] == []
    finally:
        ward.kube.ask("PATCH", CONFIG_MAP, {"data": {key: before}}, "application/merge-patch+json")


# --- exit status ----------------------------------------------------------------------------------------


def test_a_warning_fails_only_where_it_is_to(ward: Ward) -> None:
    ward.remake_api(insecureSkipTLSVerify=True)
    try:
        eventually(lambda: verdicts(ward.doctor()) == ["", "tls-not-verified"], "the API answers", TURN)
        assert (run(ward).returncode, run(ward, "--fail-on", "warning").returncode) == (0, 3)
    finally:
        ward.remake_api(caBundle=ward.bundle)
    ward.well()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nonsense",), "api-name-not-valid"),
        (("--from-bundle", "/nowhere.tar.gz"), "bundle-not-readable"),
        (("--from-bundle", __file__), "bundle-not-readable"),
        (("--request-timeout", "soon"), "duration-not-understood"),
        (("--fix", "--from-bundle", "b.tar.gz"), "option-without-effect"),
        (("--fix", "--bundle", "b.tar.gz"), "option-without-effect"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], code: str) -> None:
    said = aggctl("doctor", *words, "-o", "json")
    assert said.codes == [code]
    assert said.status in (2, 3)
    assert_document(said)
    assert_decent(aggctl("doctor", *words))


def test_an_api_that_is_not_registered_is_a_problem(ward: Ward) -> None:
    done = run(ward, "v1.nowhere.example.com", "-o", "json")
    assert (done.returncode, verdicts(json.loads(done.stdout))) == (3, ["", "api-not-registered"])


def test_a_bundle_goes_nowhere_but_into_a_file(ward: Ward, tmp_path: Path) -> None:
    done = run(ward, "--bundle", str(tmp_path / "no" / "such.tar.gz"), "-o", "json")
    assert [each["code"] for each in json.loads(done.stdout)["findings"]] == ["bundle-not-writable"]


# --- for a colleague ------------------------------------------------------------------------------------


def test_a_bundle_gives_the_same_verdict_elsewhere_and_no_secret(ward: Ward, tmp_path: Path) -> None:
    file = tmp_path / "bundle.tar.gz"
    manifest = ward.node.manifest
    with ward.manifest_kept():
        text = manifest.read_text()
        proxy = "    - name: HTTP_PROXY\n      value: http://alice:hunter2@127.0.0.1:9\n"
        env = f"    env:\n{proxy}    - name: TOKEN\n      value: {SECRET}\n"
        ward.point_at(9)  # first: kube-apiserver takes nothing while it goes down
        replace(manifest, text.replace("    image:", f"{env}    image:", 1).encode())
        ward.told("connection-refused")
        told = json.loads(run(ward, "-o", "json", "--bundle", str(file)).stdout)
    ward.point_at(ward.hello.port)
    assert os.stat(file).st_mode & 0o777 == 0o600  # noqa: PTH116 -- the mode is what is asked
    elsewhere = aggctl("doctor", "--from-bundle", str(file), "-o", "json")
    assert elsewhere.status == 3
    for part in ("items", "findings", "outcome"):
        assert elsewhere.document[part] == told[part]
    with tarfile.open(file) as archive:
        content = b"".join(archive.extractfile(each).read() for each in archive.getmembers())  # type: ignore[union-attr]  # all are files
        assert SNAPSHOT in archive.getnames()
    for secret in (b"hunter2", SECRET.encode(), b"PRIVATE KEY"):
        assert secret not in content
    assert b"HTTP_PROXY" in content
    ward.well()


# --- the one who mends ----------------------------------------------------------------------------------


def test_fix_asks_and_without_a_terminal_wants_yes(ward: Ward) -> None:
    ward.patch_api(service={"name": "gone", "namespace": "gone"})
    ward.told("api-service-stale")
    done = run(ward, "--fix", "-o", "json")
    assert [each["code"] for each in json.loads(done.stdout)["findings"]] == ["not-confirmed"]
    assert ward.kube.get(f"{API_SERVICES}/{API}")
    mended = run(ward, "--fix", "--yes", "-o", "json")
    document = json.loads(mended.stdout)
    assert (mended.returncode, document["outcome"]) == (0, "healthy"), mended.stdout
    assert ward.kube.get(f"{API_SERVICES}/{API}") is None
    ward.remake_api(caBundle=ward.bundle)
    ward.well()


def test_fix_issues_a_client_certificate_and_looks_again(ward: Ward) -> None:
    folder = ward.node.root / "etc/kubernetes/pki"
    foreign = ward.pair(name="front-proxy-client")
    replace(folder / "front-proxy-client.key", foreign.key)
    replace(folder / "front-proxy-client.crt", foreign.certificate)
    ward.told("client-certificate-of-another-ca")
    done = run(ward, "--fix", "--yes", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "healthy"), done.stdout + done.stderr
    ward.well()


def test_fix_leaves_alone_what_is_nobody_elses_to_decide(ward: Ward) -> None:
    before = ward.kube.everything()
    with ward.another_server(ward.pair(**ended(2))):
        ward.told("serving-certificate-expired")
        done = run(ward, "--fix", "--yes", "-o", "json")
    assert done.returncode in (2, 3)
    after = ward.kube.everything()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert not {each for each in changed if "hello" not in each}
    ward.well()


def test_fix_where_nothing_is_to_be_fixed_says_so(ward: Ward) -> None:
    done = run(ward, "--fix")
    assert done.returncode == 0
    assert "nothing of this is aggctl's to mend" in done.stdout


def test_without_fix_nothing_is_ever_written(ward: Ward) -> None:
    ward.point_at(9)
    ward.told("connection-refused")

    def state() -> tuple[Any, Any]:
        kept = {name: at for name, at in ward.kube.everything().items() if "APIService" not in name}
        return kept, ward.node.files()

    before = state()
    ward.doctor()
    assert state() == before
    assert not (ward.node.root / "var/lib/aggctl").exists() or "doctor" not in ward.node.record()
    ward.point_at(ward.hello.port)
    ward.well()


# --- the API is down ------------------------------------------------------------------------------------


def test_from_elsewhere_a_silent_cluster_is_the_finding(ward: Ward, tmp_path: Path) -> None:
    made = tmp_path / "silent.conf"
    made.write_text(ward.kube.kubeconfig.read_text().replace(ward.node.url, "https://127.0.0.1:1"))
    words = [*AGGCTL, "doctor", "-o", "json", "--root", str(ward.elsewhere), "--kubeconfig", str(made)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, verdicts(json.loads(done.stdout))) == (3, ["apiserver-not-reachable"])


def test_without_any_credentials_the_files_of_the_node_still_tell(ward: Ward) -> None:
    admin = ward.kube.kubeconfig
    hidden, both = admin.with_name("admin.hidden"), admin.with_name("super-admin.conf")
    admin.rename(hidden)
    both.rename(both.with_name("super.hidden"))
    try:
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        done = ward.node.aggctl("doctor", "-o", "json", env=environment | {"HOME": str(ward.elsewhere)})
    finally:
        hidden.rename(admin)
        both.with_name("super.hidden").rename(both)
    document = json.loads(done.stdout)
    assert document["items"][0]["hops"][1]["state"] == "ok"
    assert "kubeconfig" in " ".join(document["items"][-1]["reasons"]).lower()


# --- others ---------------------------------------------------------------------------------------------


def test_apis_are_told_apart(ward: Ward) -> None:
    others = [altered_api("v1.a.example.com", "gone"), altered_api("v1.b.example.com", "hello", port=1)]
    for each in others:
        ward.kube.ask("POST", API_SERVICES, each)
    try:
        expected = ["", "", "service-not-found", "service-port-missing"]
        eventually(lambda: sorted(verdicts(ward.doctor())) == expected, "each has its verdict", TURN)
        one = verdicts(ward.doctor(API))
        assert one == ["", ""]
    finally:
        for each in others:
            ward.kube.delete(f"{API_SERVICES}/{each['metadata']['name']}")
    ward.well()


def altered_api(name: str, service: str, port: int = 443) -> dict[str, Any]:
    made = api_service(name, service, insecureSkipTLSVerify=True)
    made["spec"]["service"]["port"] = port
    return made
