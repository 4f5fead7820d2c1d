"""Faults of the layer itself on a node: flags, certificates, what is published, an API that is down."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.https import authority
from support.nodes import CONFIG_MAP
from support.waiting import eventually
from support.ward import API, TURN, Ward, ended, replace, verdicts, ward_in

from aggctl.core import pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.controlplane

CLIENT = ("front-proxy-client.crt", "front-proxy-client.key")
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


@dataclass(frozen=True)
class Fault:
    """How to break it, what doctor has to say, and whether the command that it prints is run to mend it."""

    code: str
    breaks: Callable[[Ward], AbstractContextManager[object]]
    printed: bool = False
    anywhere: tuple[str, ...] = ()


@pytest.fixture(scope="module", name="ward")
def _ward(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ward]:
    with ward_in(tmp_path_factory.mktemp("ward")) as ward:
        ward.well()
        yield ward


# --- flags: each restarts kube-apiserver -------------------------------------------------------------------


def _flags(*changes: tuple[str, str]) -> Callable[[Ward], AbstractContextManager[None]]:
    """Another manifest, by a substitution of its text."""

    @contextmanager
    def breaks(ward: Ward) -> Iterator[None]:
        with ward.manifest_kept() as manifest:
            text = manifest.read_text()
            for pattern, by in changes:
                text, count = re.subn(pattern, by, text, flags=re.MULTILINE)
                assert count, pattern
            ward.manifest_is(text)
            yield

    return breaks


def _without(*names: str) -> Callable[[Ward], AbstractContextManager[None]]:
    return _flags(*((rf"^ *- --{name}.*\n", "") for name in names))


@contextmanager
def _off(ward: Ward) -> Iterator[None]:
    """The flags are gone, and what was published with them."""
    with _without("requestheader-", "proxy-client-")(ward):
        ward.kube.delete(CONFIG_MAP)
        yield


@contextmanager
def _unknown_flag(ward: Ward) -> Iterator[None]:
    """kube-apiserver does not start with it: doctor has files alone."""
    with ward.manifest_kept() as manifest:
        text = manifest.read_text().replace(
            "- --allow-privileged", "- --no-such-flag=1\n    - --allow-privileged"
        )
        ward.manifest_is(text, comes_up=False)
        eventually(lambda: not ward.node.ready(), "kube-apiserver is down", TURN)
        yield


@contextmanager
def _missing_file(ward: Ward) -> Iterator[None]:
    with ward.manifest_kept() as manifest:
        text = manifest.read_text().replace("pki/front-proxy-ca.crt", "pki/fp-ca.crt")
        ward.manifest_is(text, comes_up=False)
        eventually(lambda: not ward.node.ready(), "kube-apiserver is down", TURN)
        yield


@contextmanager
def _second_manifest(ward: Ward) -> Iterator[None]:
    """A copy that an editor left, which the kubelet takes for a Pod; the kubelet looks away meanwhile."""
    copy = ward.node.manifest.with_name("kube-apiserver.yaml.bak")
    with ward.node.running.kubelet_stopped():
        copy.write_bytes(ward.node.manifest.read_bytes())
        try:
            yield
        finally:
            copy.unlink(missing_ok=True)


PROXY = (
    r"\1    env:\n    - name: HTTPS_PROXY\n      value: http://127.0.0.1:9\n"
    r"    - name: NO_PROXY\n      value: 10.0.0.0/8\n"
)

FLAGS = {
    "no flags": Fault("layer-off", _off, printed=True, anywhere=("layer-off",)),
    "one of a pair is missing": Fault("layer-partly-on", _without("proxy-client-key-file"), printed=True),
    "the CN is not allowed": Fault(
        "client-name-not-allowed",
        _flags((r"allowed-names=front-proxy-client", "allowed-names=aggregator")),
        printed=True,
    ),
    "a proxy in the environment": Fault(
        "proxy-environment", _flags((r"^( *image:.*\n)", PROXY)), anywhere=("proxy-environment",)
    ),
    "a flag that this version has not": Fault("flag-refused", _unknown_flag),
    "a file that a flag names is not there": Fault("file-missing", _missing_file),
    "a second manifest": Fault("second-apiserver-manifest", _second_manifest),
}


# --- certificates ------------------------------------------------------------------------------------------


def _client(**how: Any) -> Callable[[Ward], AbstractContextManager[None]]:
    """Another pair in place of the front-proxy client's; kube-apiserver takes it up by itself."""

    @contextmanager
    def breaks(ward: Ward) -> Iterator[None]:
        with ward.files_kept(*CLIENT) as folder:
            ca = how.get("ca") or pki.KeyPair(
                *((folder / f"front-proxy-ca.{end}").read_bytes() for end in ("crt", "key"))
            )
            begins = how.get("begins", datetime.now(UTC))
            lifetime = how.get("lifetime", timedelta(days=365))
            usage = how.get("usage", "client")
            pair = pki.issue(ca, "front-proxy-client", begins, usage=usage, lifetime=lifetime)
            replace(folder / CLIENT[1], pair.key)
            replace(folder / CLIENT[0], pair.certificate)
            yield

    return breaks


@contextmanager
def _another_key(ward: Ward) -> Iterator[None]:
    with ward.files_kept(*CLIENT) as folder:
        replace(folder / CLIENT[1], authority("nobody").key)
        yield


@contextmanager
def _another_ca_file(ward: Ward) -> Iterator[None]:
    with ward.files_kept("front-proxy-ca.crt") as folder:
        replace(folder / "front-proxy-ca.crt", authority("another-ca").certificate)
        yield
    _forget(ward, authority("another-ca").certificate)


@contextmanager
def _shared_ca(ward: Ward) -> Iterator[None]:
    """Clients are let in by certificates of the front-proxy CA, too."""
    with ward.files_kept("ca.crt") as folder:
        both = (folder / "ca.crt").read_bytes() + (folder / "front-proxy-ca.crt").read_bytes()
        replace(folder / "ca.crt", both)
        yield
    _forget(ward, (folder / "front-proxy-ca.crt").read_bytes(), "client-ca-file")


def _forget(ward: Ward, ca: bytes, key: str = "requestheader-client-ca-file") -> None:
    """What was published once stays published, until somebody takes it out."""

    def taken_out() -> bool:
        data = (ward.kube.get(CONFIG_MAP) or {}).get("data", {})
        kept = data.get(key, "").replace(ca.decode().strip(), "").strip()
        ward.kube.ask("PATCH", CONFIG_MAP, {"data": {key: kept + "\n"}}, "application/merge-patch+json")
        return ca.decode().strip() not in ward.kube.get(CONFIG_MAP)["data"][key]

    eventually(taken_out, "the CA is not published any more", TURN)


CERTIFICATES = {
    "the client certificate expired": Fault(
        "client-certificate-expired", _client(**ended(2)), printed=True
    ),
    "the client certificate is of another CA": Fault(
        "client-certificate-of-another-ca", _client(ca=authority("another")), printed=True
    ),
    "the client certificate is not for clients": Fault(
        "client-certificate-without-client-auth", _client(usage="server"), printed=True
    ),
    "the key is another's": Fault("client-key-mismatch", _another_key, printed=True),
    "the CA file holds another CA": Fault("client-certificate-of-another-ca", _another_ca_file),
    "the front-proxy CA is the clients' CA": Fault(
        "front-proxy-ca-is-client-ca", _shared_ca, anywhere=("front-proxy-ca-is-client-ca",)
    ),
}  # fmt: skip


# --- what is published -------------------------------------------------------------------------------------


@contextmanager
def _gone(ward: Ward) -> Iterator[None]:
    """Nobody may make the ConfigMap again: admission forbids it, to kube-apiserver itself as well."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.metadata.name != 'extension-apiserver-authentication'"}],
    }
    meta = {"metadata": {"name": "nobody-publishes"}}
    ward.kube.ask("POST", POLICIES, meta | {"spec": spec})
    ward.kube.ask(
        "POST", BINDINGS, meta | {"spec": {"policyName": "nobody-publishes", "validationActions": ["Deny"]}}
    )
    try:

        def gone() -> bool:
            ward.kube.delete(CONFIG_MAP)
            refused, _ = ward.kube.ask(
                "POST",
                CONFIG_MAP.rpartition("/")[0],
                {"metadata": {"name": "extension-apiserver-authentication"}},
            )
            return refused == 422 and ward.kube.get(CONFIG_MAP) is None

        eventually(gone, "the ConfigMap is gone", TURN)
        yield
    finally:
        ward.kube.delete(f"{BINDINGS}/nobody-publishes")
        ward.kube.delete(f"{POLICIES}/nobody-publishes")
        eventually(lambda: ward.kube.get(CONFIG_MAP), "the ConfigMap is published again", TURN)


@contextmanager
def _bloated(ward: Ward) -> Iterator[None]:
    """So many CAs that half of what an object may hold is used up."""
    key = "requestheader-client-ca-file"
    before = ward.kube.get(CONFIG_MAP)["data"][key]
    many = "".join(
        f"# {number:0>4096}\n" for number in range(140)
    )  # text between certificates counts as well
    ward.kube.ask("PATCH", CONFIG_MAP, {"data": {key: before + many}}, "application/merge-patch+json")
    try:
        yield
    finally:
        ward.kube.ask("PATCH", CONFIG_MAP, {"data": {key: before}}, "application/merge-patch+json")


PUBLISHED = {
    "the ConfigMap is gone": Fault("layer-not-published", _gone, anywhere=("layer-off",)),
    "the ConfigMap is bloated": Fault("published-cas-bloated", _bloated, anywhere=("published-cas-bloated",)),
}

FAULTS = FLAGS | CERTIFICATES | PUBLISHED


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_names_the_cause_and_what_it_prints_mends_it(ward: Ward, name: str) -> None:
    fault = FAULTS[name]
    with fault.breaks(ward):
        found = ward.told(fault.code)
        assert found["fix"]
        for code in fault.anywhere:
            ward.told(code, ward.doctor_from_anywhere)
        if fault.printed:
            ward.obey(found["fix"])
            ward.well()
    ward.well()


def test_an_api_whose_layer_is_broken_has_the_cause_there(ward: Ward) -> None:
    with _client(**ended(2))(ward):
        ward.told("client-certificate-expired")
        document = ward.doctor(API)
    assert verdicts(document) == ["client-certificate-expired"] * 2
    ward.well()
