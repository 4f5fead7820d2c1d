"""`aggctl register` on a real kube-apiserver and a real extension server, by the real console script."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.hello import hello_api
from support.kube import API_SERVICES, Kube, api_service
from support.nodes import AGGCTL, Node
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hello import HelloApi

pytestmark = pytest.mark.controlplane

API = "v1alpha1.hello.example.com"
DISCOVERY = "/apis/hello.example.com/v1alpha1"
SERVICE = "hello.default.svc"
NOW = datetime.now(UTC)
CA = pki.new_ca("extension-ca", NOW, algorithm="ECDSA-P256")
OTHER_CA = pki.new_ca("other-ca", NOW, algorithm="ECDSA-P256")


def pair(
    name: str = SERVICE, *, ca: pki.KeyPair = CA, usage: str = "server", at: datetime = NOW
) -> pki.KeyPair:
    """A serving pair with one thing or another about it."""
    return pki.issue(
        ca, name, at, usage=usage, sans=(name,), algorithm="ECDSA-P256", lifetime=timedelta(days=1)
    )


@dataclass(frozen=True)
class Place:
    """A cluster with the layer on, and an extension server beside it that nobody has registered yet."""

    node: Node
    kube: Kube
    hello: HelloApi

    def aggctl(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.node.aggctl(command, *words)

    def words(self, *more: str) -> tuple[str, ...]:
        at = f"localhost:{self.hello.port}"
        return (API, "--external", at, "--name", "hello", "--yes", "--timeout", "20s", *more)

    def register(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.aggctl("register", *self.words(*more))

    def report(self, *more: str) -> tuple[int, dict[str, Any]]:
        done = self.register(*more, "-o", "json")
        return done.returncode, json.loads(done.stdout)

    @property
    def cert_out(self) -> tuple[str, str]:
        return "--cert-out", str(self.hello.folder)

    def api(self, name: str = API) -> Any:
        return self.kube.get(f"{API_SERVICES}/{name}")

    def bundle(self) -> bytes:
        return base64.b64decode(self.api()["spec"].get("caBundle", ""))

    def secret(self, name: str, pair_: pki.KeyPair, **more: bytes) -> None:
        data = {"tls.crt": pair_.certificate, "tls.key": pair_.key, "ca.crt": CA.certificate}
        data |= {key.replace("_", "."): value for key, value in more.items()}
        self.kube.apply(
            f"/api/v1/namespaces/default/secrets/{name}",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "type": "Opaque",
                "data": {key: base64.b64encode(value).decode() for key, value in data.items() if value},
            },
        )

    def says_hello(self) -> bool:
        status, found = self.kube.ask("GET", f"{DISCOVERY}/greetings")
        return bool(status == 200 and found["kind"] == "GreetingList")


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("register")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        kubeconfig = running.sandbox.kubeconfig
        with hello_api(folder / "hello", kubeconfig, (SERVICE,), ("v1alpha1", "v1")) as hello:
            yield Place(Node(running), Kube(kubeconfig), hello)


@pytest.fixture
def clean(place: Place) -> Iterator[Place]:
    """The place with nothing registered, before and after."""
    yield place
    for name in (API, "v1.hello.example.com"):
        place.kube.delete(f"{API_SERVICES}/{name}")
    for path in ("services/hello", "secrets/hello-cert", "secrets/bad-cert"):
        place.kube.delete(f"/api/v1/namespaces/default/{path}")


# --- by flags ----------------------------------------------------------------------------------------------


def test_an_api_is_served_over_verified_tls_and_what_it_serves_is_said(clean: Place) -> None:
    status, report = clean.report(*clean.cert_out)
    assert (status, report["outcome"]) == (0, "applied")
    assert [change["target"] for change in report["changes"]] == [
        "Service default/hello",
        f"APIService {API}",
    ]
    assert any(line.split() == ["greetings", "Greeting", "true", "get,list"] for line in report["summary"])
    assert clean.says_hello()
    spec = clean.api()["spec"]
    assert "insecureSkipTLSVerify" not in spec
    (authority,) = pki.read_certificates(clean.bundle())
    leaf = pki.read_certificates((clean.hello.folder / "tls.crt").read_bytes())[0]
    assert pki.signed_by(leaf, authority)
    assert leaf.sans == (SERVICE, "hello.default", "hello.default.svc.cluster.local")


def test_a_second_registration_writes_nothing(clean: Place) -> None:
    assert clean.register(*clean.cert_out).returncode == 0
    before = clean.kube.everything()
    files = {path.name: path.read_bytes() for path in clean.hello.folder.iterdir() if path.suffix != ".log"}
    status, report = clean.report(*clean.cert_out)
    assert (status, report["outcome"]) == (0, "unchanged")
    assert clean.kube.everything() == before
    assert files == {
        path.name: path.read_bytes() for path in clean.hello.folder.iterdir() if path.suffix != ".log"
    }


def test_without_cert_out_the_live_ca_bundle_is_carried_forward(clean: Place) -> None:
    assert clean.register(*clean.cert_out).returncode == 0
    bundle = clean.bundle()
    assert clean.report()[1]["outcome"] == "unchanged"
    status, report = clean.report("--version-priority", "20")
    assert (status, report["outcome"]) == (0, "applied")
    assert clean.bundle() == bundle
    assert clean.api()["spec"]["versionPriority"] == 20


def test_a_pair_that_has_expired_is_replaced_and_the_old_ca_stays_in_the_bundle(clean: Place) -> None:
    assert clean.register(*clean.cert_out).returncode == 0
    (old,) = pki.read_certificates(clean.bundle())
    clean.hello.replace_pair(pair(at=NOW - timedelta(days=3)))
    status, report = clean.report(*clean.cert_out)
    assert (status, report["outcome"]) == (0, "applied"), report
    assert [each.fingerprint for each in pki.read_certificates(clean.bundle())][1:] == [old.fingerprint]
    assert clean.says_hello()


def test_versions_of_one_group_share_a_server(clean: Place) -> None:
    done = clean.aggctl("register", "v1.hello.example.com", *clean.words(*clean.cert_out))
    assert done.returncode == 0, done.stderr
    assert {clean.api(name)["spec"]["service"]["name"] for name in (API, "v1.hello.example.com")} == {"hello"}
    assert clean.bundle() == base64.b64decode(clean.api("v1.hello.example.com")["spec"]["caBundle"])


def test_a_dry_run_shows_the_plan_and_writes_nothing(clean: Place) -> None:
    before = clean.kube.everything()
    status, report = clean.report(*clean.cert_out, "--dry-run")
    assert (status, report["outcome"]) == (0, "planned")
    assert [change["action"] for change in report["changes"]] == ["create", "create"]
    assert clean.kube.everything() == before


def test_the_objects_for_git_are_the_same_each_time_and_the_cluster_takes_them(clean: Place) -> None:
    words = (
        "register",
        API,
        "--image",
        "registry.example/hello:1",
        "-n",
        "default",
        "--dry-run",
        "-o",
        "yaml",
    )
    first, second = (clean.aggctl(*words) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    assert "PRIVATE KEY" not in first.stdout
    assert "caBundle:" not in first.stdout
    manifest = clean.hello.folder / "git.yaml"
    manifest.write_text(first.stdout)
    done = clean.aggctl("register", "-f", str(manifest), "--dry-run", "-o", "json")
    assert done.returncode == 0, done.stdout
    assert {change["target"] for change in json.loads(done.stdout)["changes"]} > {"Deployment default/hello"}


# --- each way to a certificate, and its opposite --------------------------------------------------------


def problem(code: str, report: dict[str, Any]) -> dict[str, Any]:
    (found,) = [finding for finding in report["findings"] if finding["code"] == code]
    return dict(found)


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (pair(ca=OTHER_CA), "issuer certificate"),
        (pair("other.default.svc"), "not valid for 'hello.default.svc'"),
        (pair(at=NOW - timedelta(days=3)), "expired"),
    ],
    ids=["another CA", "another name", "expired"],
)
def test_secret_what_is_served_must_verify(clean: Place, served: pki.KeyPair, words: str) -> None:
    good = pair()
    clean.hello.replace_pair(good)
    clean.secret("hello-cert", good)
    assert clean.register("--tls", "secret=hello-cert").returncode == 0
    clean.hello.replace_pair(served)
    status, report = clean.report("--tls", "secret=hello-cert", "--timeout", "1s")
    assert (status, report["outcome"]) == (3, "problems")
    assert words in problem("serving-certificate-not-verified", report)["message"]
    clean.hello.replace_pair(good)
    assert clean.report("--tls", "secret=hello-cert")[1]["outcome"] == "unchanged"


def test_self_what_is_served_must_verify(clean: Place) -> None:
    assert clean.register(*clean.cert_out).returncode == 0
    good = pki.KeyPair(*((clean.hello.folder / name).read_bytes() for name in ("tls.crt", "tls.key")))
    clean.hello.replace_pair(pair(ca=OTHER_CA))
    status, report = clean.report("--timeout", "1s")
    assert (status, report["outcome"]) == (3, "problems")
    assert problem("serving-certificate-not-verified", report)
    clean.hello.replace_pair(good)
    assert clean.report()[1]["outcome"] == "unchanged"


def test_secret_its_ca_becomes_the_bundle(clean: Place) -> None:
    served = pair()
    clean.hello.replace_pair(served)
    clean.secret("hello-cert", served)
    status, report = clean.report("--tls", "secret=hello-cert")
    assert (status, report["outcome"]) == (0, "applied"), report
    assert clean.bundle() == CA.certificate
    assert clean.says_hello()


@pytest.mark.parametrize(
    ("bad", "more", "words"),
    [
        (pair(ca=OTHER_CA), {}, "none of the CAs"),
        (pair("other.default.svc"), {}, "it is for other.default.svc"),
        (pair(at=NOW - timedelta(days=3)), {}, "it is valid from"),
        (pair(at=NOW + timedelta(days=3)), {}, "it is valid from"),
        (pair(usage="client"), {}, "extended key usage"),
        (pair(), {"tls_key": pair().key}, "not the key of tls.crt"),
        (pair(), {"tls_crt": b""}, "no tls.crt"),
        (pair(), {"tls_key": b""}, "no tls.key"),
        (pair(), {"tls_crt": b"no PEM"}, "no PEM certificate"),
    ],
    ids=["CA", "name", "expired", "not yet valid", "usage", "key", "no tls.crt", "no tls.key", "no PEM"],
)
def test_secret_is_verified_before_it_is_used(
    clean: Place, bad: pki.KeyPair, more: dict[str, bytes], words: str
) -> None:
    clean.secret("bad-cert", bad, **more)
    before = clean.kube.everything()
    status, report = clean.report("--tls", "secret=bad-cert")
    assert (status, report["outcome"]) == (3, "refused")
    assert words in problem("secret-not-usable", report)["message"]
    assert clean.kube.everything() == before


def test_insecure_is_a_word_to_be_said_and_warned_of_each_time(clean: Place) -> None:
    clean.hello.replace_pair(pair(ca=OTHER_CA))
    for outcome in ("applied", "unchanged"):
        status, report = clean.report("--tls", "insecure")
        assert (status, report["outcome"]) == (0, outcome)
        assert problem("insecure-as-asked", report)["severity"] == "warning"
    assert clean.says_hello()


def test_self_after_insecure_has_it_verified_from_then_on(clean: Place) -> None:
    clean.hello.replace_pair(pair(ca=OTHER_CA))
    assert clean.register("--tls", "insecure").returncode == 0
    assert clean.register(*clean.cert_out).returncode == 0
    assert not clean.api()["spec"].get("insecureSkipTLSVerify")
    assert clean.says_hello()
    assert clean.report(*clean.cert_out)[1]["outcome"] == "unchanged"


CERTIFICATES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "certificates.cert-manager.io"},
    "spec": {
        "group": "cert-manager.io",
        "scope": "Namespaced",
        "names": {"plural": "certificates", "singular": "certificate", "kind": "Certificate"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


@contextmanager
def certificates_known(kube: Kube) -> Iterator[None]:
    """cert-manager's kind; its controllers are played by the test."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/certificates.cert-manager.io"
    kube.apply(path, CERTIFICATES)
    eventually(lambda: kube.get("/apis/cert-manager.io/v1"), "the kind Certificate is served")
    yield
    kube.delete(path)
    eventually(lambda: not kube.get("/apis/cert-manager.io/v1"), "the kind Certificate is gone")


def test_cert_manager_fills_in_the_bundle_which_stays_its_own(clean: Place) -> None:
    served = pair()
    clean.hello.replace_pair(served)
    with certificates_known(clean.kube):
        process = subprocess.Popen(
            [
                *AGGCTL,
                "register",
                "--root",
                str(clean.node.root),
                *clean.words("--tls", "cert-manager=our-ca"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        made = eventually(clean.api, "the APIService is there")
        assert made["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "default/hello"
        certificate = clean.kube.get("/apis/cert-manager.io/v1/namespaces/default/certificates/hello")
        assert certificate["spec"]["dnsNames"][0] == SERVICE
        bundle = {"spec": {"caBundle": base64.b64encode(CA.certificate).decode()}}
        injected = api_service(API, "hello") | bundle
        clean.kube.apply(f"{API_SERVICES}/{API}", {**injected}, "cert-manager-cainjector")
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        assert clean.report("--tls", "cert-manager=our-ca")[1]["outcome"] == "unchanged"
        owners = {
            entry["manager"]
            for entry in clean.api()["metadata"]["managedFields"]
            if "f:caBundle" in entry["fieldsV1"].get("f:spec", {})
        }
        assert owners == {"cert-manager-cainjector"}


def test_cert_manager_is_refused_where_it_is_not_installed(clean: Place) -> None:
    before = clean.kube.everything()
    status, report = clean.report("--tls", "cert-manager=our-ca")
    assert status == 3
    assert problem("cert-manager-missing", report) or problem("kind-unknown", report)
    assert clean.kube.everything() == before


# --- what belongs to others ------------------------------------------------------------------------------


def test_an_api_of_another_product_is_refused_and_named_until_it_is_taken_over(clean: Place) -> None:
    clean.kube.apply(f"{API_SERVICES}/{API}", api_service(API, "theirs"), "helm")
    before = clean.kube.everything()
    status, report = clean.report(*clean.cert_out)
    assert status == 3
    message = problem("api-owned-by-another", report)["message"]
    assert "default/theirs" in message
    assert "helm" in message
    assert clean.kube.everything() == before
    assert clean.register(*clean.cert_out, "--take-over").returncode == 0
    assert clean.says_hello()


def test_a_conflict_is_told_field_by_field_and_forced_only_when_asked(clean: Place) -> None:
    theirs = api_service(API, "hello", groupPriorityMinimum=77)
    theirs["spec"]["service"]["port"] = clean.hello.port
    clean.kube.apply(f"{API_SERVICES}/{API}", theirs, "another")
    status, report = clean.report(*clean.cert_out)
    assert status == 3
    found = problem("field-conflict", report)
    assert found["message"] == ".spec.groupPriorityMinimum belongs to field manager another"
    assert clean.api()["spec"]["groupPriorityMinimum"] == 77
    assert clean.register(*clean.cert_out, "--force-conflicts").returncode == 0
    assert clean.api()["spec"]["groupPriorityMinimum"] == 1000


def test_insecure_of_another_manager_is_switched_off_only_with_consent(clean: Place) -> None:
    theirs = api_service(API, "hello", insecureSkipTLSVerify=True)
    theirs["spec"]["service"]["port"] = clean.hello.port
    clean.kube.apply(f"{API_SERVICES}/{API}", theirs, "another")
    status, report = clean.report(*clean.cert_out)
    assert status == 3
    assert "another" in problem("consent-needed", report)["message"]
    assert clean.api()["spec"]["insecureSkipTLSVerify"] is True
    assert clean.register(*clean.cert_out, "--force-conflicts").returncode == 0
    assert not clean.api()["spec"].get("insecureSkipTLSVerify")
    assert clean.says_hello()


def test_rolling_back_gives_a_taken_over_api_back_to_its_owner(clean: Place) -> None:
    theirs = api_service(API, "hello", insecureSkipTLSVerify=True)
    theirs["spec"]["service"]["port"] = clean.hello.port
    clean.kube.apply(f"{API_SERVICES}/{API}", theirs, "another")
    before = clean.api()
    assert clean.register(*clean.cert_out, "--force-conflicts").returncode == 0
    assert clean.aggctl("rollback", "--yes").returncode == 0
    after = clean.api()
    assert after["spec"] == before["spec"]
    managers = [
        [e["manager"] for e in each["metadata"]["managedFields"] if not e.get("subresource")]
        for each in (before, after)
    ]
    assert managers == [["another"], ["another"]]


def test_a_group_that_a_crd_serves_is_refused_also_with_take_over(clean: Place) -> None:
    with certificates_known(clean.kube):
        words = ("v1.cert-manager.io", "--external", f"localhost:{clean.hello.port}", "--tls", "insecure")
        for more in ((), ("--take-over",)):
            done = clean.aggctl("register", *words, "--yes", "--timeout", "1s", *more, "-o", "json")
            assert done.returncode == 3
            assert problem("api-served-by-cluster", json.loads(done.stdout))


# --- when it does not work -------------------------------------------------------------------------------


def test_a_server_that_does_not_answer_leaves_nothing_behind(clean: Place) -> None:
    before = clean.kube.everything()
    folder = clean.hello.folder.parent / "nobody-reads"
    words = (API, "--external", "localhost:9", "--name", "hello", "--yes", "--timeout", "1s")
    done = clean.aggctl("register", *words, "--cert-out", str(folder), "-o", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["outcome"]) == (1, "rolled-back")
    assert clean.kube.everything() == before
    assert not folder.exists()
    assert "PRIVATE KEY" not in clean.node.record() + done.stdout + done.stderr


@contextmanager
def waiting(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A registration that waits for a server that never answers."""
    words = (API, "--external", "localhost:9", "--name", "hello", "--yes", "--tls", "insecure")
    with subprocess.Popen(
        [*AGGCTL, "register", "--root", str(place.node.root), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        eventually(place.api, "the APIService is there")
        yield process


def test_ctrl_c_puts_everything_back(clean: Place) -> None:
    before = clean.kube.everything()
    with waiting(clean) as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert clean.kube.everything() == before


def test_after_a_kill_the_next_run_goes_on_from_there(clean: Place) -> None:
    with waiting(clean) as process:
        process.kill()
        process.wait(30)
    assert clean.api() is not None
    status, report = clean.report(*clean.cert_out)
    assert (status, report["outcome"]) == (0, "applied")
    assert clean.says_hello()
    assert "open" not in clean.aggctl("history").stdout


def test_a_rollback_takes_a_registration_back(clean: Place) -> None:
    before = clean.kube.everything()
    assert clean.register(*clean.cert_out).returncode == 0
    assert clean.aggctl("rollback", "--yes").returncode == 0
    assert clean.kube.everything() == before


def test_a_change_in_the_name_of_another_field_manager_is_undone_in_that_name(clean: Place) -> None:
    ours = (*clean.cert_out, "--field-manager", "team-a")
    assert clean.register(*ours).returncode == 0
    before = clean.api()
    assert clean.report(*ours, "--version-priority", "20")[1]["outcome"] == "applied"
    assert clean.aggctl("rollback", "--yes").returncode == 0
    assert clean.api()["spec"] == before["spec"]
    assert clean.report(*ours)[1]["outcome"] == "unchanged"


def test_with_the_layer_off_it_is_refused_and_enable_is_pointed_to(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> None:
    with sandbox_in(tmp_path / "sandbox") as running:
        node = Node(running)
        done = node.aggctl(
            "register", API, "--external", "localhost:9", "--tls", "insecure", "--yes", "-o", "json"
        )
        assert done.returncode == 3
        assert "aggctl enable" in problem("layer-off", json.loads(done.stdout))["fix"]


def test_the_demo_goes_from_no_layer_to_an_api_that_is_served_and_back(programs: dict[str, Path]) -> None:  # noqa: ARG001 -- asked for to be skipped without them
    done = subprocess.run([*AGGCTL, "sandbox", "demo"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for words in ("default/hello: Hello, kubernetes-admin!", "everything was put back", "1 API is gone"):
        assert words in said
