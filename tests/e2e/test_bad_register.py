"""What an operator can do wrong with `register` and `unregister`, by the console script in text and in JSON.

Each case is owed one clear sentence with its code, the right exit status, and nothing written: every object
that etcd holds has its revision of before, every file of the operator is as it was.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from ruamel.yaml import YAML
from support.https import Https, authority, https
from support.kube import API_SERVICES, Kube, api_service
from support.refusals import (
    AGGCTL,
    AS_NOBODY,
    JOURNAL,
    BadNode,
    Said,
    Tree,
    aggctl,
    assert_decent,
    assert_document,
    assert_refused,
    clean_environment,
    nobody_may_run,
    tree,
)
from support.sandboxes import Running, sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.sandbox import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.controlplane

API = "v1.things.example.com"
SECRETS = "/api/v1/namespaces/default/secrets"
SERVICES = "/api/v1/namespaces/default/services"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
INSECURE = ("--external", "localhost:9", "--tls", "insecure", "--timeout", "0")
IMAGE = (API, "--image", "registry.example/things:1")
LAST_WRITTEN = "/registry/services/specs/default/kubernetes"
TRANSIENT = ("leases", "masterleases", "peerserverleases", "events")
NOW = datetime.now(UTC)
CA, OTHER_CA = (pki.new_ca(name, NOW, algorithm="ECDSA-P256") for name in ("things-ca", "other-ca"))

Object = dict[str, Any]


@dataclass
class Operator(BadNode):
    """Somebody with a kubeconfig below a root of their own, and a folder to work in beside it."""

    running: Running = field(kw_only=True)

    @property
    def work(self) -> Path:
        return self.root.parent / "work"

    @property
    def twin(self) -> Path:
        """A second root, for a second run at the same time."""
        return self.root.with_name("twin")

    @property
    def kube(self) -> Kube:
        return Kube(self.running.sandbox.kubeconfig)

    def put(self, name: str, *objects: Any) -> str:
        """A file of manifests; its path."""
        path = self.work / name
        path.write_text("\n".join(json.dumps(each) for each in objects))
        return str(path)

    def stored(self) -> dict[str, int]:
        """Every key of etcd with its revision, but those that kube-apiserver writes by itself."""
        settings = state.load(self.running.directory)
        assert settings is not None
        asked = {"key": _base64(b"/registry/"), "range_end": _base64(b"/registry0"), "keys_only": True}
        address = f"http://127.0.0.1:{settings.etcd_port}/v3/kv/range"
        found = urllib3.request("POST", address, body=json.dumps(asked), retries=False).json()["kvs"]
        revisions = {base64.b64decode(each["key"]).decode(): int(each["mod_revision"]) for each in found}
        return {key: at for key, at in revisions.items() if key.split("/")[2] not in TRANSIENT}

    def tree(self) -> Tree:
        """The operator's files, and what the cluster holds."""
        objects = {key: (revision, 0, 0, "") for key, revision in self.stored().items()}
        return tree(self.root.parent) | objects


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@contextlib.contextmanager
def operator_of(running: Running) -> Iterator[Operator]:
    with TemporaryDirectory(prefix="aggctl-bad-") as folder:
        Path(folder).chmod(0o755)  # for whoever is nobody
        operator = Operator(Path(folder) / "root", running=running)
        operator.admin.parent.mkdir(parents=True)
        operator.work.mkdir()
        shutil.copy(running.sandbox.kubeconfig, operator.admin)
        eventually(
            lambda: LAST_WRITTEN in operator.stored(), "kube-apiserver has made what it makes by itself"
        )
        yield operator


@pytest.fixture(scope="module")
def control_plane(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:  # noqa: ARG001 -- asked for to be skipped without them
    with sandbox_in(tmp_path_factory.mktemp("bad") / "sandbox", aggregation="on") as running:
        yield running


@pytest.fixture
def operator(control_plane: Running) -> Iterator[Operator]:
    """An operator of a cluster with the layer on."""
    with operator_of(control_plane) as operator:
        yield operator


def refused(operator: Operator, code: str, says: str, *words: str, status: int = 3) -> Said:
    """Refused in text and in JSON by this code; the sentence says what is wrong, and a line what to do."""
    said = assert_refused(operator, code, *words, status=status)
    assert says in said.text, said.text
    assert "    do  " in said.text
    return said


def misused(operator: Operator, code: str, says: str, *words: str) -> None:
    """Wrong usage, in JSON alone: what is typed is read before any layout is chosen."""
    before = operator.tree()
    said = operator.run(*words, "--yes", "-o", "json")
    assert operator.tree() == before
    assert (said.status, said.codes, said.err) == (2, [code], ""), said.text
    assert says in said.document["findings"][0]["message"] + said.document["findings"][0]["expected"]
    assert_document(said)
    assert_decent(said)


# --- the command line -------------------------------------------------------------------------------------

NAMES = {
    "nothing": "",
    "no dot": "v1",
    "no group": "v1.",
    "no version": "things.example.com",
    "a group without a dot": "v1.things",
    "a built-in group without a dot": "v1.apps",
    "the core group": ".v1",
    "an upper-case version": "V1.things.example.com",
    "two dots": "v1.things..com",
    "too long": "v1." + "a." * 130 + "com",
    "a terminal's command": "v1.\x1b[2Jthings\x07.com",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_that_is_no_version_and_group_is_wrong_usage(operator: Operator, name: str) -> None:
    misused(operator, "api-name-not-valid", "is no VERSION.GROUP", "register", name, *INSECURE)


USAGE: dict[str, tuple[tuple[str, ...], str, str]] = {
    "no way": ((API,), "way-not-understood", "one of --image, --service, --external, -f"),
    "two ways": ((*IMAGE, *INSECURE), "way-not-understood", "--image and --external exclude each other"),
    "files and a name": ((API, "-f", "x"), "way-not-understood", "no VERSION.GROUP with -f"),
    "a file without a name": (("-f", ""), "way-not-understood", "-f names no file"),
    "no API": (INSECURE, "api-name-missing", "no API is named"),
    "several groups": ((API, "v1.b.example.com", *INSECURE), "several-groups", "of several groups"),
    "nowhere for the certificate": ((API, "--external", "localhost:9"), "cert-out-missing", "--cert-out DIR"),
    "--tls of no kind": ((*IMAGE, "--tls", "strong"), "tls-not-understood", "--tls strong"),
    "--service without namespace": ((API, "--service", "x"), "service-not-understood", "--service x"),
    "--service with a port": ((API, "--service", "a/b:70000"), "port-not-valid", "'70000' is no port"),
    "--external without port": ((API, "--external", "localhost"), "external-not-understood", "HOST:PORT"),
    "--external with port 0": ((API, "--external", "localhost:0"), "port-not-valid", "'0' is no port"),
    "port 0": ((*IMAGE, "--port", "0"), "port-not-valid", "--port: '0' is no port"),
    "port 70000": ((*IMAGE, "--port", "70000"), "port-not-valid", "1 to 65535"),
    "port abc": ((*IMAGE, "--port", "abc"), "port-not-valid", "--port: 'abc' is no port"),
    "--env without =": ((*IMAGE, "--env", "DEBUG"), "environment-not-understood", "NAME=VALUE"),
    "a namespace that cannot be": ((*IMAGE, "-n", "My_NS"), "name-not-valid", "--namespace My_NS"),
    "the same with files": (("-f", "x", "-n", "a/b"), "name-not-valid", "--namespace a/b"),
    "a name that cannot be": ((*IMAGE, "--name", "1x"), "name-not-valid", "--name 1x"),
    "a group's priority of 0": ((*IMAGE, "--group-priority", "0"), "apiservice-priority", "1 to 20000"),
    "and of 20001": ((*IMAGE, "--group-priority", "20001"), "apiservice-priority", "20001 is out of range"),
    "and of 1001": ((*IMAGE, "--version-priority", "1001"), "apiservice-priority", "--version-priority 1001"),
    "files for a Pod": ((*IMAGE, "--cert-out", "x"), "option-without-effect", "--cert-out with --external"),
    "a Pod's port outside": (
        (API, *INSECURE, "--port", "1"),
        "option-without-effect",
        "--port has no effect with --external",
    ),
    "a priority for files": (
        ("-f", "x", "--group-priority", "5"),
        "option-without-effect",
        "--group-priority has no effect with -f",
    ),
    "a timeout of words": ((API, *INSECURE, "--timeout", "soon"), "duration-not-understood", "'soon'"),
    "a timeout below zero": ((API, *INSECURE, "--timeout=-1s"), "duration-not-understood", "'-1s'"),
    "no patience": ((API, *INSECURE, "--request-timeout", "0"), "duration-not-understood", "no time at all"),
    "no manager": ((API, *INSECURE, "--field-manager", ""), "field-manager-not-valid", "--field-manager ''"),
}


@pytest.mark.parametrize(("words", "code", "says"), USAGE.values(), ids=USAGE.keys())
def test_options_that_cannot_be_meant_are_wrong_usage(
    operator: Operator, words: tuple[str, ...], code: str, says: str
) -> None:
    refused(operator, code, says, "register", *words, "--yes", status=2)


@pytest.mark.parametrize(
    "words",
    [
        ("register", API, "--bogus"),
        ("register", API, "--replicas", "0"),
        ("register", API, "--replicas", "two"),
        ("register", API, "--group-priority", "high"),
        ("register", API, "-o", "xml"),
        ("register", API, "--tls"),
        ("unregister", API, "-o", "yaml"),
        ("unregister", API, "--image", "x"),
    ],
)
def test_an_unknown_word_is_wrong_usage(words: tuple[str, ...]) -> None:
    said = aggctl(*words)
    assert (said.status, said.out) == (2, ""), said.text
    assert_decent(said)


def test_yaml_is_printed_only_where_nothing_is_applied(operator: Operator) -> None:
    before = operator.tree()
    said = operator.run("register", API, *INSECURE, "--yes", "-o", "yaml")
    assert (said.status, said.out, "(yaml-without-dry-run)" in said.err) == (2, "", True), said.text
    assert "--dry-run -o yaml" in said.err
    assert_decent(said)
    assert operator.tree() == before
    assert operator.run("register", API, *INSECURE, "--dry-run", "-o", "yaml").status == 0


def test_without_a_terminal_nothing_is_done_unless_yes(operator: Operator) -> None:
    refused(operator, "not-confirmed", "--yes", "register", API, *INSECURE)


# --- whose the group is -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crd(control_plane: Running) -> str:
    """The name of an API that a CustomResourceDefinition serves."""
    kube = Kube(control_plane.sandbox.kubeconfig)
    names = {"plural": "toys", "singular": "toy", "kind": "Toy"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "toys.crd.example.com"},
        "spec": {"group": "crd.example.com", "scope": "Cluster", "names": names, "versions": [version]},
    }
    kube.apply(f"{CRDS}/toys.crd.example.com", definition)
    name = "v1.crd.example.com"

    def local() -> bool:
        conditions = (kube.get(f"{API_SERVICES}/{name}") or {}).get("status", {}).get("conditions", [])
        return bool(kube.get("/apis/crd.example.com/v1")) and [each["reason"] for each in conditions] == [
            "Local"
        ]

    eventually(local, "the CRD is served")
    return name


BY_FORCE = ("--yes", "--take-over", "--force-conflicts")


def test_a_built_in_group_is_refused_also_by_force(operator: Operator) -> None:
    group = "rbac.authorization.k8s.io"
    command = ("register", f"v1.{group}", *INSECURE, *BY_FORCE)
    refused(operator, "group-built-in", f"{group}, which kube-apiserver serves itself", *command)


def test_a_version_that_a_crd_serves_is_refused_also_by_force(operator: Operator, crd: str) -> None:
    refused(operator, "api-served-by-cluster", "Custom", "register", crd, *INSECURE, *BY_FORCE)


# --- files ------------------------------------------------------------------------------------------------


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def of_prose(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("no manifest")


def of_pipes(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "things.yaml")


HELM = 'apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ include "things.fullname" . }}\n'
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a Helm template": (text(HELM), "objects-template", "line 4: {{ is a placeholder"),
    "no YAML": (text("a: [b\nc: d\n"), "objects-not-yaml", "line 2"),
    "binary": (text(bytes(range(256)) * 9), "objects-not-text", "is no UTF-8"),
    "empty": (text(b""), "no-apiservice", "no object at all"),
    "a folder without manifests": (of_prose, "no-manifests", "*.yaml, *.yml or *.json"),
    "a folder with a pipe": (of_pipes, "no-manifests", "no manifests are in"),
    "not there": (lambda _: None, "file-not-readable", "No such file or directory"),
    "a dangling link": (lambda path: path.symlink_to("gone"), "file-not-readable", "No such file"),
    "a pipe": (os.mkfifo, "manifests-not-a-file", "is a pipe or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "manifests-not-a-file", "is a pipe or a device"),
    "10 MB": (text(b"# a comment of nobody\n" * 500_000), "objects-too-large", "larger than any set"),
    "a YAML bomb": (text(BOMB), "objects-alias-bomb", "without aliases"),
    "a terminal's commands": (text('kind: "\\e]0;owned\\a\\e[2J"\napiVersion: 1\n'), "object-malformed", ""),
}


@pytest.mark.parametrize(("make", "code", "says"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_set_of_manifests_is_refused_by_name(
    operator: Operator, make: Callable[[Path], object], code: str, says: str
) -> None:
    path = operator.work / "things.yaml"
    make(path)
    said = refused(operator, code, says, "register", "-f", str(path), "--yes")
    assert str(path) in said.text or code == "no-apiservice"


def test_an_empty_standard_input_is_refused(operator: Operator) -> None:
    refused(operator, "no-apiservice", "no object at all", "register", "-f", "-", "--yes")


def test_a_file_of_somebody_else_is_refused_without_a_word_of_sudo(
    operator: Operator, tmp_path: Path
) -> None:
    path = tmp_path / "things.yaml"
    path.touch(mode=0)
    if os.geteuid() == 0:
        operator.before = AS_NOBODY
        required(nobody_may_run())
    said = refused(operator, "file-not-readable", "Permission denied", "register", "-f", str(path), "--yes")
    assert "sudo" not in said.text


def required(missing: str) -> None:
    """Skip when something is missing here; where no tier may be skipped that is a failure."""
    if missing:
        pytest.skip(missing)


# --- what is in them --------------------------------------------------------------------------------------


def api(name: str = API, **spec: Any) -> Object:
    return api_service(name, "things", **spec)


def without(object_: Object, field_: str) -> Object:
    return object_ | {"spec": {name: value for name, value in object_["spec"].items() if name != field_}}


def service(port: int = 443) -> Object:
    ports = [{"name": "https", "port": port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "things", "namespace": "default"},
        "spec": {"ports": ports},
    }


def config_map(name: str = "things", **more: Any) -> Object:
    namespace = {"namespace": more.pop("namespace")} if "namespace" in more else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **namespace}, **more}


BUNDLE = _base64(CA.certificate)
SETS: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "no APIService": ((service(),), "no-apiservice", "Service default/things"),
    "no Service anywhere": ((api(),), "service-not-found", "neither among the objects nor in the cluster"),
    "an APIService without Service": (
        (without(api(), "service"),),
        "apiservice-without-service",
        "names no Service",
    ),
    "a port that it has not": ((api(), service(80)), "service-port-missing", "it has no port 443"),
    "two of one name": ((api(), api(), service()), "object-twice", "line 1 and in"),
    "a caBundle of no base64": ((api(caBundle="!"), service()), "ca-bundle-not-readable", "is no base64"),
    "a caBundle of no PEM": (
        (api(caBundle=_base64(b"CA")), service()),
        "ca-bundle-not-readable",
        "no PEM certificate",
    ),
    "a caBundle of bare PEM": (
        (api(caBundle=CA.certificate.decode()), service()),
        "ca-bundle-not-readable",
        "not base64 of it",
    ),
    "caBundle and insecure": (
        (api(caBundle=BUNDLE, insecureSkipTLSVerify=True), service()),
        "apiservice-bundle-and-insecure",
        "one of the two",
    ),
    "a priority of 0": (
        (api(groupPriorityMinimum=0), service()),
        "apiservice-priority",
        "spec.groupPriorityMinimum is 0",
    ),
    "a built-in group": ((api("v1.apps"), service()), "group-built-in", "apps, which kube-apiserver serves"),
    "the core group": ((api("v1."), service()), "group-built-in", "which kube-apiserver serves"),
    "a group without a dot": ((api("v1.things"), service()), "apiservice-group", "a DNS name with a dot"),
    "another name": (
        (api() | {"metadata": {"name": "v2.things.example.com"}}, service()),
        "apiservice-name",
        API,
    ),
    "a slip in a field": ((api(caBudle="x"), service()), "apiservice-unknown-field", "write caBundle"),
    "a kind that nobody knows": (
        (api(), service(), {"apiVersion": "a.example/v1", "kind": "Thing", "metadata": {"name": "x"}}),
        "kind-unknown",
        "no kind Thing in a.example/v1",
    ),
    "a namespace that is not there": (
        (api(), service(), config_map(namespace="nowhere")),
        "namespace-missing",
        "kubectl create namespace nowhere",
    ),
    "a field that no schema has": (
        (api(), service(), config_map(dta={"a": "b"})),
        "object-not-valid",
        "ConfigMap default/things: ",
    ),
    "a name that cannot be": ((api(), service(), config_map("T_")), "object-not-valid", 'ConfigMap "T_"'),
    "no object": (([1],), "object-malformed", "this is a list"),
}


@pytest.mark.parametrize(("objects", "code", "says"), SETS.values(), ids=SETS.keys())
def test_a_set_of_manifests_that_cannot_serve_is_refused_by_what_is_wrong(
    operator: Operator, objects: tuple[Any, ...], code: str, says: str
) -> None:
    insecure = code in ("object-not-valid", "service-not-found")  # else its certificate is looked for first
    tls = ("--tls", "insecure") if insecure else ()
    refused(operator, code, says, "register", "-f", operator.put("set.json", *objects), "--yes", *tls)


def test_a_port_that_the_service_in_the_cluster_has_not_is_refused(operator: Operator) -> None:
    operator.kube.apply(f"{SERVICES}/there", service(80) | {"metadata": {"name": "there"}})
    command = ("register", API, "--service", "default/there", "--tls", "insecure", "--yes")
    refused(operator, "service-port-missing", "has no port 443 (it has 80)", *command)
    refused(
        operator, "service-not-found", "default/gone", "register", API, "--service", "default/gone", "--yes"
    )
    operator.kube.delete(f"{SERVICES}/there")


def test_a_namespace_that_is_being_deleted_is_refused(operator: Operator) -> None:
    """Nothing in this cluster ends namespaces, so that it stays as it is."""
    path = "/api/v1/namespaces/going"
    operator.kube.apply(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}})
    operator.kube.delete(path)
    command = ("register", API, *INSECURE, "--yes", "-n", "going")
    refused(operator, "namespace-terminating", "namespace going is being deleted", *command)


# --- --tls secret=NAME --------------------------------------------------------------------------------------

NAME = "things-example-com.default.svc"


def issued(
    *names: str, ca: pki.KeyPair = CA, usage: str = "server", days: int = 0, lifetime: int = 1
) -> pki.KeyPair:
    """A serving pair with one thing or another about it."""
    names = names or (NAME,)
    return pki.issue(
        ca,
        names[0],
        NOW + timedelta(days=days),
        usage=usage,
        sans=names,
        algorithm="ECDSA-P256",
        lifetime=timedelta(days=lifetime),
    )


def put_secret(kube: Kube, name: str, pair: pki.KeyPair, **more: bytes | None) -> None:
    """The Secret with a pair and its CA; `more` are entries that are other, or None for those that lack."""
    entries = {"tls_crt": pair.certificate, "tls_key": pair.key, "ca_crt": CA.certificate} | more
    data = {entry.replace("_", "."): _base64(value) for entry, value in entries.items() if value is not None}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    kube.delete(f"{SECRETS}/{name}")
    kube.apply(f"{SECRETS}/{name}", body)


BAD_SECRETS: dict[str, tuple[pki.KeyPair, dict[str, bytes | None], str]] = {
    "no tls.crt": (issued(), {"tls_crt": None}, "it has no tls.crt"),
    "no tls.key": (issued(), {"tls_key": None}, "it has no tls.key"),
    "no ca.crt": (issued(), {"ca_crt": None}, "signed it (issuer CN=things-ca)"),
    "another name": (issued("other.default.svc"), {}, "it is for other.default.svc"),
    "expired": (issued(days=-3), {}, "it is valid from"),
    "not yet valid": (issued(days=3), {}, "it is valid from"),
    "the key of another": (issued(), {"tls_key": issued().key}, "tls.key is not the key of tls.crt"),
    "for clients": (issued(usage="client"), {}, "does not allow a server"),
    "a CA that is not in ca.crt": (issued(ca=OTHER_CA), {}, "signed it (issuer CN=other-ca)"),
    "no PEM in tls.crt": (issued(), {"tls_crt": b"hello"}, "can be read from its tls.crt"),
    "no PEM in ca.crt": (issued(), {"ca_crt": b"hello"}, "can be read from the CA to verify it by"),
    "key and certificate swapped": (
        issued(),
        {"tls_crt": issued().key, "tls_key": CA.certificate},
        "can be read from its tls.crt",
    ),
}


@pytest.mark.parametrize(("pair", "more", "says"), BAD_SECRETS.values(), ids=BAD_SECRETS.keys())
def test_a_secret_that_cannot_serve_is_refused_by_what_is_wrong(
    operator: Operator, pair: pki.KeyPair, more: dict[str, bytes | None], says: str
) -> None:
    put_secret(operator.kube, "bad-tls", pair, **more)
    command = ("register", API, "--external", "localhost:9", "--tls", "secret=bad-tls", "--yes")
    said = refused(operator, "secret-not-usable", says, *command)
    assert "Secret default/bad-tls" in said.text
    key = pair.key.decode().splitlines()[1]
    assert key not in said.text


def test_a_secret_that_is_not_there_is_refused(operator: Operator) -> None:
    command = ("register", API, "--external", "localhost:9", "--tls", "secret=nowhere", "--yes")
    refused(operator, "secret-not-usable", "Secret default/nowhere does not exist", *command)


def test_a_cert_manager_that_is_not_there_is_refused(operator: Operator) -> None:
    command = ("register", API, "--external", "localhost:9", "--tls", "cert-manager=ca", "--yes")
    refused(operator, "cert-manager-missing", "this cluster has no cert-manager", *command)


# --- --cert-out -------------------------------------------------------------------------------------------


def open_to_all(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def holding(make: Callable[[Path], object], name: str = "tls.key") -> Callable[[Path], Path]:
    """A folder in which something else has the name of one of the three files."""

    def spoil(folder: Path) -> Path:
        folder.mkdir()
        make(folder / name)
        return folder

    return spoil


def link_of_somebody(path: Path) -> Path:
    required("" if os.geteuid() == 0 else "only root makes links of somebody else")
    path.with_name("real").mkdir()
    path.symlink_to("real")
    os.chown(path, 65534, 65534, follow_symlinks=False)
    return path / "tls"


def linked(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


def a_file(path: Path) -> Path:
    path.touch()
    return path


CERT_OUT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file": (a_file, "is no folder"),
    "below a file": (lambda path: a_file(path) / "tls", "Not a directory"),
    "writable by everybody": (open_to_all, "is writable by everybody"),
    "below such a folder": (lambda path: open_to_all(path) / "tls", "is writable by everybody"),
    "a link into such a folder": (
        lambda path: linked(path, open_to_all(path.with_name("open")).name) / "tls",
        "is writable by everybody",
    ),
    "a link of somebody else": (link_of_somebody, "is a symbolic link of uid 65534"),
    "a link to nowhere": (lambda path: linked(path, "gone"), "is no folder"),
    "a link to itself": (lambda path: linked(path, path.name), "Too many levels of symbolic links"),
    "with a link for the key": (
        holding(lambda path: path.symlink_to("../victim")),
        "tls.key is no regular file",
    ),
    "with a folder for the key": (holding(Path.mkdir), "tls.key is no regular file"),
    "with a pipe for the certificate": (holding(os.mkfifo, "tls.crt"), "tls.crt is no regular file"),
}


@pytest.mark.parametrize(("make", "says"), CERT_OUT.values(), ids=CERT_OUT.keys())
def test_a_key_is_not_put_where_others_may_read_or_replace_it(
    operator: Operator, make: Callable[[Path], Path], says: str
) -> None:
    command = ("register", API, "--external", "localhost:9", "--yes", "--cert-out")
    refused(operator, "cert-out-not-usable", says, *command, str(make(operator.work / "out")))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_made(operator: Operator) -> None:
    folder = operator.work / "out"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:
        operator.before = AS_NOBODY
        required(nobody_may_run())
    command = ("register", API, "--external", "localhost:9", "--yes", "--cert-out", str(folder))
    refused(operator, "cert-out-not-usable", "cannot be written", *command)


@pytest.mark.parametrize("there", [True, False], ids=["a pair that was there", "no folder before"])
def test_files_are_as_they_were_after_a_server_that_never_answers(operator: Operator, there: bool) -> None:
    folder = operator.work / "deep" / "tls"
    if there:
        folder.mkdir(parents=True)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).write_text("of somebody")
        (folder / "tls.key").chmod(0o640)
    before, files = operator.stored(), tree(operator.work)
    said = operator.run(
        "register", API, "--external", "localhost:9", "--timeout", "0", "--yes", "--cert-out", str(folder)
    )
    assert (said.status, "The serving certificate is in" in said.err) == (1, True), said.text
    assert (tree(operator.work), operator.stored()) == (files, before)
    assert_decent(said)
    assert_closed(operator.root)


def assert_closed(root: Path) -> None:
    """Nothing is open in the journal, and no record of it holds a key."""
    home = root / JOURNAL
    assert list(home.glob("open/*")) == []
    records = [path.read_text() for path in home.rglob("*.json*")]
    assert records
    assert not [each for each in records if "PRIVATE KEY" in each]


# --- credentials ------------------------------------------------------------------------------------------


def kubeconfig(operator: Operator, **parts: Any) -> None:
    """The administrator's kubeconfig with other parts of its cluster or user."""
    data = YAML(typ="safe").load(operator.admin)
    cluster, user = data["clusters"][0]["cluster"], data["users"][0]["user"]
    for name, value in parts.items():
        key = name.replace("_", "-")
        (cluster if key in cluster else user)[key] = value
    operator.admin.write_text(json.dumps(data))


def as_client(operator: Operator, name: str, ca: pki.KeyPair | None = None, **more: Any) -> None:
    """The kubeconfig of a user of this name."""
    folder = operator.running.sandbox.root / "etc/kubernetes/pki"
    own = pki.KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    pair = pki.issue(ca or own, name, more.pop("now", NOW), usage="client", algorithm="ECDSA-P256", **more)
    data = {"client_certificate_data": _base64(pair.certificate), "client_key_data": _base64(pair.key)}
    kubeconfig(operator, **data)


MASTERS = ("system:masters",)
CREDENTIALS: dict[str, tuple[Callable[[Operator], object], str, str]] = {
    "missing": (lambda operator: operator.admin.unlink(), "kubeconfig-missing", "no kubeconfig was found"),
    "no YAML": (
        lambda operator: operator.admin.write_text("a: ["),
        "kubeconfig-not-usable",
        "admin.conf cannot be used",
    ),
    "an expired certificate": (
        lambda operator: as_client(operator, "admin", now=NOW - timedelta(days=366), organizations=MASTERS),
        "kubeconfig-not-accepted",
        "admin.conf (401",
    ),
    "a certificate of another cluster": (
        lambda operator: as_client(operator, "admin", OTHER_CA, organizations=MASTERS),
        "kubeconfig-not-accepted",
        "admin.conf (401",
    ),
    "the CA of another cluster": (
        lambda operator: kubeconfig(operator, certificate_authority_data=_base64(OTHER_CA.certificate)),
        "apiserver-not-trusted",
        "the CA of the kubeconfig did not sign it",
    ),
    "an address that is none": (
        lambda operator: kubeconfig(operator, server="example"),
        "kubeconfig-not-usable",
        "'example' is no https:// address",
    ),
    "the API is down": (
        lambda operator: kubeconfig(operator, server="https://127.0.0.1:9"),
        "apiserver-not-reachable",
        "https://127.0.0.1:9 does not answer: Connection refused",
    ),
    "a user without rights": (
        lambda operator: as_client(operator, "jane"),
        "no-rights-in-cluster",
        'User "jane" cannot',
    ),
}


@pytest.mark.parametrize(("spoil", "code", "says"), CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_kubeconfig_that_does_not_serve_is_refused_by_name(
    operator: Operator, spoil: Callable[[Operator], object], code: str, says: str
) -> None:
    spoil(operator)
    operator.environment["HOME"] = "/nonexistent"
    refused(operator, code, says, "register", API, *INSECURE, "--yes")


def test_a_kubeconfig_that_is_named_and_not_there_is_not_replaced_by_another(operator: Operator) -> None:
    command = ("register", API, *INSECURE, "--yes", "--kubeconfig", "/nonexistent/config")
    refused(operator, "kubeconfig-not-usable", "/nonexistent/config", *command)


def test_a_right_that_is_missing_is_named_by_verb_and_resource(operator: Operator) -> None:
    """Whoever may see all and apply Services is told what is missing for an APIService, and only that."""
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["*"]},
    ]
    subject = {"kind": "User", "name": "rita", "apiGroup": rbac}
    role = {"apiVersion": f"{rbac}/v1", "metadata": {"name": "rita"}}
    reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": "rita"}
    base = f"/apis/{rbac}/v1/clusterrole"
    operator.kube.apply(f"{base}s/rita", role | {"kind": "ClusterRole", "rules": rules})
    binding = {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]}
    operator.kube.apply(f"{base}bindings/rita", role | binding)
    as_client(operator, "rita")
    eventually(lambda: "rita" in operator.run("register", API, *INSECURE, "--yes").text, "the role counts")
    said = refused(
        operator, "no-rights-in-cluster", f"APIService {API}: ", "register", API, *INSECURE, "--yes"
    )
    assert 'User "rita" cannot patch resource "apiservices"' in said.text
    assert "services " not in said.text.replace("apiservices", "")


# --- the layer off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("register", API, *INSECURE), ("unregister", API)])
def test_with_the_layer_off_enable_is_pointed_to(shared_sandbox: Running, words: tuple[str, ...]) -> None:
    with operator_of(shared_sandbox) as operator:
        refused(operator, "layer-off", "sudo aggctl enable", *words, "--yes")


# --- unregister -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), "api-name-missing", "--stale for all that are stale"),
        (("things",), "api-name-not-valid", "'things' is no VERSION.GROUP"),
        (("v1.apps",), "api-name-not-valid", "'v1.apps' is no VERSION.GROUP"),
        ((API, "v1."), "api-name-not-valid", "'v1.' is no VERSION.GROUP"),
        (("things", "--stale"), "api-name-not-valid", "'things' is no VERSION.GROUP"),
        ((API, "--timeout", "soon"), "duration-not-understood", "'soon' is no duration"),
    ],
    ids=["none", "no API", "built in", "two", "stale", "a timeout of words"],
)
def test_unregister_of_no_api_is_wrong_usage(
    operator: Operator, words: tuple[str, ...], code: str, says: str
) -> None:
    misused(operator, code, says, "unregister", *words)


def test_what_the_cluster_serves_itself_is_not_taken_away(operator: Operator, crd: str) -> None:
    for name in (crd, "v1.rbac.authorization.k8s.io"):
        refused(operator, "api-served-by-cluster", "serves it itself", "unregister", name, API, "--yes")


@pytest.mark.parametrize("words", [(API,), ("--stale",)])
def test_what_is_not_there_needs_no_taking_away(operator: Operator, words: tuple[str, ...]) -> None:
    before = operator.tree()
    said = operator.run("unregister", *words, "--yes")
    as_json = operator.run("unregister", *words, "--yes", "-o", "json")
    assert operator.tree() == before
    assert (said.status, said.out.startswith("Nothing to do: ")) == (0, True), said.text
    assert (as_json.status, as_json.document["outcome"]) == (0, "unchanged")
    assert_document(as_json)


@pytest.mark.parametrize("cause", ["the API is down", "a user without rights"])
def test_unregister_needs_the_cluster_as_well(operator: Operator, cause: str) -> None:
    spoil, code, says = CREDENTIALS[cause]
    spoil(operator)
    refused(operator, code, says, "unregister", API, "--yes")


# --- a server that does not serve -------------------------------------------------------------------------

GROUPS = ("text.example.com", "json.example.com")
"""Two registrations side by side have a name each."""

SANS = tuple(f"{group.replace('.', '-')}.default.svc" for group in GROUPS)
GOOD = issued(*SANS, lifetime=2)


def discovery(group: str, resources: Any) -> Object:
    return {"kind": "APIResourceList", "groupVersion": f"{group}/v1", "resources": resources}


def things(**more: Any) -> Object:
    return {"name": "things", "kind": "Thing", "namespaced": True, "verbs": ["get", "list"], **more}


@contextlib.contextmanager
def serving(answer: Callable[[str], Any], pair: pki.KeyPair = GOOD, status: int = 200) -> Iterator[Https]:
    """An extension server that answers for each group what `answer` says."""
    with https(pair=pair) as server:
        for group in GROUPS:
            server.says(f"/apis/{group}/v1", status, answer(group))
        yield server


@contextlib.contextmanager
def dumb() -> Iterator[Https]:
    with https(pair=GOOD) as server:
        server.hang = threading.Event()
        yield server


class _Plain(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def speaking_http() -> Iterator[Https]:
    with HTTPServer(("127.0.0.1", 0), _Plain) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Https(f"http://127.0.0.1:{plain.server_address[1]}")
        plain.shutdown()
        thread.join()


@contextlib.contextmanager
def silent(*, listening: bool) -> Iterator[Https]:
    """A port that takes connections and says nothing, or one that nobody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        if listening:
            holder.listen()
        yield Https(f"https://127.0.0.1:{holder.getsockname()[1]}")


def side_by_side(operator: Operator, server: Https, timeout: str) -> tuple[Said, Said]:
    """Register both APIs of a server, one by a run in text, one by a run in JSON with its own journal."""
    shutil.copytree(operator.root, operator.twin, dirs_exist_ok=True)

    def run(root: Path, group: str, *more: str) -> Said:
        words = ("--external", _at(server), "--tls", "secret=good-tls", "--timeout", timeout, "--yes", *more)
        return aggctl("register", f"v1.{group}", "--root", str(root), *words)

    with ThreadPoolExecutor() as pool:
        in_text = pool.submit(run, operator.root, GROUPS[0])
        in_json = pool.submit(run, operator.twin, GROUPS[1], "-o", "json")
        return in_text.result(), in_json.result()


def nothing(_group: str) -> Object:
    return {}


def other(_group: str) -> Object:
    return discovery("other.example.com", [things()])


def half(group: str) -> bytes:
    return json.dumps(discovery(group, [things()])).encode()[:80]


UNVERIFIED = "serving-certificate-not-verified"
SERVERS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a certificate of another CA": (
        lambda: serving(nothing, issued(*SANS, ca=OTHER_CA)),
        UNVERIFIED,
        "issuer certificate",
    ),
    "a certificate for another name": (
        lambda: serving(nothing, issued("other.default.svc")),
        UNVERIFIED,
        "not valid for '",
    ),
    "an expired certificate": (
        lambda: serving(nothing, issued(*SANS, days=-3)),
        UNVERIFIED,
        "certificate has expired",
    ),
    "plain HTTP": (speaking_http, UNVERIFIED, "no TLS handshake"),
    "TLS and no word": (dumb, "api-not-available", "no kube-apiserver has looked at it yet"),
    "connections and no word": (
        lambda: silent(listening=True),
        UNVERIFIED,
        "no TLS handshake: it takes the connection and says nothing",
    ),
    "nothing listens": (lambda: silent(listening=False), "api-not-available", "connection refused"),
    "404": (lambda: serving(nothing, status=404), "api-not-available", "/v1: 404"),
    "another group": (lambda: serving(other), "api-answers-other-group", "answers for other.example.com/v1"),
    "half a document": (lambda: serving(half), "answer-not-understood", "answered what cannot be read"),
    "a page": (
        lambda: serving(lambda _: b"<html>\x1b[31mred\x1b]0;owned\x07</html>"),
        "answer-not-understood",
        "answered what cannot be read",
    ),
    "a document without end": (
        lambda: serving(lambda _: b"[" * 200_000),
        "answer-not-understood",
        "answered what cannot be read",
    ),
    "resources of other types": (
        lambda: serving(lambda group: discovery(group, [things(name=1, kind=None, verbs=5), "x"])),
        "answer-not-understood",
        "resources[0].name is a whole number, and not a string",
    ),
    "resources that are no list": (
        lambda: serving(lambda group: discovery(group, {"a": 1})),
        "answer-not-understood",
        "resources is a mapping, and not a list",
    ),
    "a resource that no path can name": (
        lambda: serving(lambda group: discovery(group, [things(name="th\x1b]0;owned\x07\x1b[2Jings")])),
        "answer-not-understood",
        "resources[0].name is 'things', and not the name of a resource",
    ),
    "a terminal's commands": (
        lambda: serving(
            lambda group: discovery(group, []) | {"groupVersion": "\x1b]0;owned\x07\x1b[2J\x9b31m"}
        ),
        "api-answers-other-group",
        "answers for 31m",
    ),
}


@pytest.mark.parametrize(("server", "code", "says"), SERVERS.values(), ids=SERVERS.keys())
def test_a_server_that_does_not_serve_ends_with_its_cause_and_everything_put_back(
    operator: Operator, server: Callable[[], Any], code: str, says: str
) -> None:
    put_secret(operator.kube, "good-tls", GOOD)
    before = operator.stored()
    with server() as running:
        said, as_json = side_by_side(operator, running, "1s")
    assert operator.stored() == before
    assert (said.status, as_json.status) == (1, 1), said.text
    assert f"({code})" in said.out, said.text
    assert says in said.out, said.text
    assert "everything was put back" in said.out
    assert (as_json.document["outcome"], as_json.codes[0]) == ("rolled-back", code)
    assert as_json.err == ""
    assert_document(as_json)
    for each in (said, as_json):
        assert_decent(each)
        assert "defect" not in each.text
        assert r"\u001b" not in each.text
    for root in (operator.root, operator.twin):
        assert_closed(root)


HARMLESS: dict[str, tuple[Any, list[str]]] = {
    "a terminal's commands": (
        [things(kind="\x9b31mTh\x1b]0;owned\x07\x1b[2Jing", verbs=["get\u202e", "list"])],
        ["things", "31mThing", "true", "get", ",list"],
    ),
    "5 MB": ([things(name=f"things{n}", more="x" * 500) for n in range(9000)], ["…", "and", "8900", "more"]),
}


@pytest.mark.parametrize(("resources", "line"), HARMLESS.values(), ids=HARMLESS.keys())
def test_what_a_server_says_of_its_resources_cannot_do_harm(
    operator: Operator, resources: Any, line: list[str]
) -> None:
    put_secret(operator.kube, "good-tls", GOOD)
    before = operator.stored()
    with serving(lambda group: discovery(group, resources)) as server:
        said, as_json = side_by_side(operator, server, "20s")
        assert (said.status, as_json.status) == (0, 0), said.text + as_json.text
        gone = operator.run("unregister", *(f"v1.{group}" for group in GROUPS), "--yes")
    assert gone.status == 0, gone.text
    assert operator.stored() == before
    assert not line or line in [each.split() for each in said.out.splitlines()]
    assert len(said.out.splitlines()) < 120
    assert as_json.document["outcome"] == "applied"
    assert len(as_json.document["summary"]) < 120
    for each in (said, as_json):
        assert_decent(each)
        assert r"\u001b" not in each.text


def test_timeout_0_looks_once_and_reports(operator: Operator) -> None:
    before = operator.stored()
    said, as_json = (
        operator.run("register", API, *INSECURE, "--yes", "-o", layout) for layout in ("text", "json")
    )
    assert operator.stored() == before
    assert (said.status, as_json.status, as_json.codes) == (1, 1, ["api-not-available"]), said.text
    assert "not within 0 s" in said.out
    assert (as_json.document["outcome"], as_json.err) == ("rolled-back", "")
    assert_document(as_json)
    assert_closed(operator.root)


# --- manners ----------------------------------------------------------------------------------------------


def test_quiet_leaves_the_result_only(operator: Operator) -> None:
    said = operator.run("register", API, *INSECURE, "--yes", "-q")
    assert (said.status, said.err) == (1, ""), said.text
    assert "(api-not-available)" in said.out


def test_no_color_is_heeded_on_a_terminal() -> None:
    for no_color in ("", "1"):
        reader, writer = os.openpty()
        done = subprocess.run(
            [*AGGCTL, "register", "nonsense", *INSECURE],
            stdin=writer,
            stdout=writer,
            stderr=writer,
            check=False,
            env=clean_environment() | {"TERM": "xterm-256color", "NO_COLOR": no_color},
        )
        os.close(writer)
        said = os.read(reader, 65536)
        os.close(reader)
        assert (done.returncode, b"api-name-not-valid" in said) == (2, True)
        assert (b"\x1b[31m" in said) is not bool(no_color)


FAILING = ("register", API, *INSECURE, "--yes")


@pytest.mark.parametrize(
    ("closing", "words", "status"),
    [
        (">&-", FAILING, 1),
        ("2>&-", FAILING, 1),
        (">&- 2>&- <&-", FAILING, 1),
        (">&- 2>&- <&-", ("unregister", API, "--yes"), 0),
        (">&- 2>&- <&-", ("register", API), 2),
        (">/dev/full", FAILING, 1),
    ],
)
def test_closed_streams_change_no_exit_status(
    operator: Operator, closing: str, words: tuple[str, ...], status: int
) -> None:
    before = operator.stored()
    operator.before = ("/bin/sh", "-c", f'"$@" {closing}', "sh")
    said = operator.run(*words)
    assert said.status == status, said.text
    assert_decent(said)
    assert operator.stored() == before


# --- interrupted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["text", "json"])
def test_ctrl_c_at_the_question_changes_nothing(operator: Operator, layout: str) -> None:
    before = operator.tree()
    reader, writer = os.openpty()
    with subprocess.Popen(
        [*AGGCTL, "register", "--root", str(operator.root), API, *INSECURE, "-o", layout],
        stdin=writer,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        os.close(writer)
        assert process.stderr
        seen = ""
        while "[y/N]" not in seen:
            seen += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    os.close(reader)
    said = Said(process.returncode, out, seen + err)
    assert (said.status, "nothing was changed" in said.text) == (130, True), said.text
    assert_decent(said)
    assert operator.tree() == before
    if layout == "json":
        assert said.codes == ["interrupted"]
        assert_document(said)


def test_ctrl_c_while_the_api_is_asked_changes_nothing(operator: Operator) -> None:
    before = operator.stored()
    with https() as server:
        server.hang = threading.Event()
        trusted = _base64(authority("kubernetes").certificate)
        kubeconfig(operator, server=server.address, certificate_authority_data=trusted)
        asking = (API, *INSECURE, "--yes", "--request-timeout", "2s")
        with subprocess.Popen(
            [*AGGCTL, "register", "--root", str(operator.root), *asking],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        ) as process:
            eventually(lambda: server.asked, "the API is asked")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, "nothing was changed" in err) == (130, True), out + err
    assert_decent(Said(process.returncode, out, err))
    assert operator.stored() == before
    assert not (operator.root / JOURNAL).exists()


# --- the API goes away in the middle ----------------------------------------------------------------------


def test_an_api_that_goes_away_is_told_and_running_again_goes_on(
    operator: Operator, control_plane: Running
) -> None:
    put_secret(operator.kube, "good-tls", GOOD)
    old = control_plane.apiserver()
    word = ("register", "v1.text.example.com", "--tls", "secret=good-tls", "--yes", "--external")
    with serving(lambda group: discovery(group, [things()])) as server, silent(listening=False) as nobody:
        with control_plane.kubelet_stopped():
            command = [
                *AGGCTL,
                *word,
                _at(nobody),
                "--root",
                str(operator.root),
                "--timeout",
                "4s",
                "-o",
                "json",
            ]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, env=clean_environment(), text=True
            ) as process:
                path = f"{API_SERVICES}/v1.text.example.com"
                eventually(lambda: operator.kube.get(path), "the APIService is there")
                control_plane.kill_apiserver()
                out, _ = process.communicate(timeout=60)
            said = Said(process.returncode, out, "")
            assert (said.status, said.document["outcome"]) == (4, "rollback-incomplete"), said.text
            assert {"apiserver-not-reachable"} <= set(said.codes)
            assert "aggctl" in said.document["next"][0]
            assert_document(said)
            assert_decent(said)
            down = operator.run(*word, _at(server))
            assert (down.status, "(open-journal)" in down.err) == (4, True), down.text
        control_plane.await_other(old)
        again = operator.run(*word, _at(server), "--timeout", "30s", "-o", "json")
        assert (again.status, again.document["outcome"]) == (0, "applied"), again.text
        assert "was put back first" in again.document["summary"][0]
        assert operator.run("unregister", "v1.text.example.com", "--yes").status == 0
    assert_closed(operator.root)


def _at(server: Https) -> str:
    return f"localhost:{server.address.rpartition(':')[2]}"
