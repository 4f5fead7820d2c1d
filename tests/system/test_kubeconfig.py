"""Kubeconfigs: which one is meant, what is read from it, and what is no kubeconfig."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes.config import incluster_config
from support.https import authority, leaf

from aggctl.errors import Refused
from aggctl.system import kubeconfig as kubeconfig_module
from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a kubeconfig, outside of any cluster."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    return home


def config(server: str = "https://192.0.2.1:6443", **user: Any) -> dict[str, Any]:
    ca = base64.b64encode(authority("kubernetes").certificate).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "first",
        "contexts": [
            {"name": "first", "context": {"cluster": "c", "user": "u"}},
            {"name": "astray", "context": {"cluster": "gone", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": "u", "user": user or {"token": "very-secret"}}],
    }


def write(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("said", "insecure"), [(True, True), ("true", True), (False, False), ("no", False), (None, False)]
)
def test_what_is_served_is_verified_unless_the_kubeconfig_says_no(
    tmp_path: Path, said: object, insecure: bool
) -> None:
    content = config()
    content["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = said
    assert find_credentials(write(tmp_path / "it", content), "", "").insecure is insecure


def test_a_context_may_have_a_number_for_a_name(tmp_path: Path) -> None:
    content = config()
    content["contexts"][0]["name"] = 1.30
    written = write(tmp_path / "it", yaml.safe_dump(content).replace("name: 1.3", "name: 1.30"))
    assert find_credentials(written, "1.30", "").server == "https://192.0.2.1:6443"


# --- which one --------------------------------------------------------------------------------------------


def test_the_option_wins_over_everything(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = write(tmp_path / "given", config("https://given"))
    monkeypatch.setenv("KUBECONFIG", write(tmp_path / "env", config("https://env")))
    admin = write(tmp_path / "admin.conf", config("https://admin"))
    write(home / ".kube/config", config("https://home"))
    assert find_credentials(given, "", admin).server == "https://given"
    assert find_credentials("", "", admin).server == "https://env"
    monkeypatch.delenv("KUBECONFIG")
    assert find_credentials("", "", admin).server == "https://admin"
    assert find_credentials("", "", "").server == "https://home"


def test_where_there_is_none_the_way_to_give_one_is_named() -> None:
    with pytest.raises(Refused) as refused:
        find_credentials("", "", "")
    assert refused.value.code == "kubeconfig-missing"
    assert "--kubeconfig" in refused.value.do


def test_in_a_pod_it_is_the_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `kubernetes` package hands its token on with `bearer ` before it."""
    (tmp_path / "token").write_text("very-secret")
    (tmp_path / "ca.crt").write_bytes(authority("kubernetes").certificate)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = find_credentials("", "", "")
    assert (found.server, found.token) == ("https://[fd00::1]:443", "very-secret")
    assert found.authority == authority("kubernetes").certificate
    assert found.source == "the Pod's ServiceAccount"


def test_a_list_of_kubeconfigs_is_merged_as_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = config("https://both")
    first = write(tmp_path / "a", {**both, "users": []})
    second = write(tmp_path / "b", {**both, "clusters": [], "contexts": []})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    found = find_credentials("", "", "")
    assert (found.server, found.token) == ("https://both", "very-secret")


# --- what is read -----------------------------------------------------------------------------------------


def test_certificates_are_read_from_data_and_from_files_beside_it(tmp_path: Path) -> None:
    pair = leaf(authority("kubernetes"), "admin")
    (tmp_path / "admin.key").write_bytes(pair.key)
    data = base64.b64encode(pair.certificate).decode()
    path = write(tmp_path / "c", config(**{"client-certificate-data": data, "client-key": "admin.key"}))
    found = find_credentials(path, "", "")
    assert (found.certificate, found.key) == (pair.certificate, pair.key)
    assert found.authority == authority("kubernetes").certificate
    found.context()


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    found = find_credentials(write(tmp_path / "c", config()), "", "")
    assert "very-secret" not in repr(found)


def test_the_key_goes_to_openssl_through_no_disk(tmp_path: Path) -> None:
    pair = leaf(authority("kubernetes"), "admin")
    before = sorted(tmp_path.rglob("*"))
    kubeconfig_module.tls_context(authority("kubernetes").certificate, pair.certificate, pair.key)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_context_is_taken_when_asked_for(tmp_path: Path) -> None:
    data = config()
    data["contexts"].append({"name": "second", "context": {"cluster": "d", "user": "u"}})
    data["clusters"].append({"name": "d", "cluster": {"server": "https://second"}})
    assert find_credentials(write(tmp_path / "c", data), "second", "").server == "https://second"


def plug_in(command: str, *args: str) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    return {"apiVersion": version, "command": command, "args": [*args], "interactiveMode": "Never"}


def credential(**status: str) -> str:
    kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    return json.dumps({**kind, "status": status})


def test_an_exec_plug_in_is_run_by_the_library(tmp_path: Path) -> None:
    user = plug_in("echo", credential(token="t"))  # noqa: S106 -- a test's
    found = find_credentials(write(tmp_path / "c", config(exec=user)), "", "")
    assert (found.server, found.token) == ("https://192.0.2.1:6443", "t")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (plug_in("no-such-command"), "No such file or directory: 'no-such-command'"),
        (plug_in("false"), "exec: process returned 1"),
        (plug_in("sh", "-c", r"printf '\033[31mlog in\n' >&2; exit 3"), "exec: process returned 3. log in"),
        (plug_in("echo", "no JSON"), "failed to decode process output"),
        (plug_in("echo", credential()), "missing token or clientCertificateData"),
        (plug_in("echo", credential(clientCertificateData="x")), "missing clientKeyData"),
        (plug_in("sh", "-c", "echo Bearer abcdef0123456789 >&2; exit 1"), "returned 1. Bearer …"),
    ],
)
def test_a_plug_in_that_gives_no_credentials_is_told_in_its_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], user: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "c", config(exec=user))
    with pytest.raises(Refused) as caught:
        find_credentials(path, "", "")
    assert caught.value.code == "credential-plugin-failed"
    assert path in caught.value.message
    assert said in caught.value.found
    assert "\033" not in caught.value.found
    assert capfd.readouterr() == ("", "")


def test_a_token_beside_a_plug_in_that_fails_is_taken_as_the_library_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    user = config(exec=plug_in("false"), token="t")  # noqa: S106 -- a test's
    assert find_credentials(write(tmp_path / "c", user), "", "").token == "t"  # noqa: S105 -- a test's
    assert capfd.readouterr() == ("", "")


# --- what is no kubeconfig --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "   \n",
        "just words",
        "[]",
        "a: [",
        "\x00\x01",
        "a: b",
        "{}",
        "!!python/object/apply:os.system [echo]",
        yaml.safe_dump({**config(), "current-context": "nowhere"}),
        yaml.safe_dump({**config(), "users": []}),
        yaml.safe_dump({**config(), "users": None}),
        yaml.safe_dump(config(**{"client-certificate-data": "%%%"})),
        yaml.safe_dump(config(**{"client-certificate": "/no/such/file"})),
    ],
)
def test_what_is_no_kubeconfig_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "broken", content)
    with pytest.raises(Refused) as refused:
        find_credentials(path, "", "")
    assert refused.value.code == "kubeconfig-not-usable"
    assert path in refused.value.message
    assert "very-secret" not in refused.value.message


@pytest.mark.parametrize("context", ["nowhere", "astray"])
def test_a_context_that_is_not_there_is_named(tmp_path: Path, context: str) -> None:
    with pytest.raises(Refused) as refused:
        find_credentials(write(tmp_path / "c", config()), context, "")
    assert "nowhere" in refused.value.message or "gone" in refused.value.message


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_kubeconfig_that_cannot_be_opened_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Refused) as refused:
        find_credentials(str(tmp_path / path), "", "")
    assert refused.value.code == "kubeconfig-not-usable"


def test_a_huge_file_is_no_kubeconfig(tmp_path: Path) -> None:
    path = write(tmp_path / "huge", "#" * (3 * 1024 * 1024))
    with pytest.raises(Refused, match="larger than 2 MiB"):
        find_credentials(path, "", "")
