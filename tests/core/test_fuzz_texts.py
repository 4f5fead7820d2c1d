"""Texts of others, damaged: every reader below gives a value, or says in an error of aggctl what is wrong.

What reads foreign text, and where it is fuzzed:

| text | reader | here, or |
| --- | --- | --- |
| static Pod manifests | core.manifest | here, test_manifest_properties |
| kubeadm-config, patches of kubeadm | core.persist | here |
| audit policies | core.audit.policy | here |
| audit records | core.audit.events | test_audit_events |
| manifests of an API (-f) | core.manifestset, core.register.request | here, test_manifestset_properties |
| PEM: certificates, bundles, keys | core.pki | here |
| objects, lists, discovery, reviews | core.typed | test_fuzz_objects |
| the published CAs | core.published | here |
| rotation record, sealed CA | core.certs | here |
| logs: CRI, docker, klog, JSON | core.loglines, core.doctor.signs, core.secrets_out | here |
| kubelet's configuration | core.kubelet | here |
| bundles of doctor | core.doctor.bundle, cli.archive | here, test_hostile_files |
| plans of the journal | core.plan, system.journal | tests/system/test_fuzz_files |
| kubeconfigs | system.kubeconfig | tests/system/test_fuzz_files |
| /metrics, refusals, answers of extension servers | system | tests/system/test_fuzz_files |
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mutants import damaged, mistyped
from support.snapshots import EIGHT, NOW, SERVER, authority, config_map, file, leaf

from aggctl.core import kubelet, loglines, pki
from aggctl.core.audit.policy import edit_policy, new_policy, read_policy
from aggctl.core.certs import record, sealed
from aggctl.core.doctor import signs
from aggctl.core.doctor.bundle import Bundle, read_bundle, write_bundle
from aggctl.core.extension import parse_tls
from aggctl.core.manifest import is_apiserver_pod, read_manifest
from aggctl.core.manifestset import read_set
from aggctl.core.persist.configuration import layer_part, read_configuration
from aggctl.core.persist.patch import is_ours, patch_file, patched_flags
from aggctl.core.published import CONFIG_MAP, read_published
from aggctl.core.questions import FileAt, ObjectAt, RawAt
from aggctl.core.register.request import of_files
from aggctl.core.secrets_out import without_secrets
from aggctl.core.snapshot import NotKnown, Snapshot, Unasked
from aggctl.core.text import clean, has_long_tag
from aggctl.errors import AggctlError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent
calm = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def survives(read: Callable[[Any], object], given_: Any) -> None:
    """An error of aggctl is as good as a value; anything else escapes."""
    try:
        read(given_)
    except AggctlError as error:
        assert all((error.code, error.message, error.do)), given_  # noqa: PT017 -- see above


def files(folder: str) -> list[bytes]:
    return [each.read_bytes() for each in sorted((FOLDER / folder).glob("*.yaml"))]


# --- YAML ------------------------------------------------------------------------------------------------


@calm
@given(damaged(files("manifests")))
def test_a_damaged_manifest_is_read_or_refused(content: bytes) -> None:
    survives(is_apiserver_pod, content)
    survives(lambda text: read_manifest(text, "x.yaml"), content)


@calm
@given(damaged(files("kubeadm_configs")))
def test_a_damaged_kubeadm_config_is_read_or_refused(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    survives(read_configuration, text)
    survives(layer_part, text)


@calm
@given(damaged([patch_file(EIGHT, ())]))
def test_of_a_damaged_patch_what_can_be_read_is(content: bytes) -> None:
    survives(is_ours, content)
    assert isinstance(patched_flags(content), dict)


POLICY = new_policy({"things.example.com": "Metadata", "apiregistration.k8s.io": "RequestResponse"})


@calm
@given(damaged([POLICY.encode()]))
def test_a_damaged_audit_policy_is_edited_or_refused(content: bytes) -> None:
    survives(
        lambda text: edit_policy(read_policy(text, "x.yaml"), {"others.example.com": "Metadata"}), content
    )


API = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": "v1.things.example.com"},
    "spec": {
        "group": "things.example.com",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "service": {"namespace": "shop", "name": "things", "port": 443},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "things", "namespace": "shop"},
    "spec": {"selector": {"app": "things"}, "ports": [{"port": 443, "targetPort": "https"}]},
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "things", "namespace": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "things"}},
        "template": {
            "metadata": {"labels": {"app": "things"}},
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "things:1",
                        "args": ["--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"],
                        "ports": [{"name": "https", "containerPort": 8443}],
                        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
                    }
                ],
                "volumes": [{"name": "tls", "secret": {"secretName": "things-tls"}}],
            },
        },
    },
}
SET = {"apiVersion": "v1", "kind": "List", "items": [API, SERVICE, DEPLOYMENT]}


@calm
@given(
    st.one_of(
        mistyped(SET).map(lambda found: json.dumps(found).encode()),
        damaged([json.dumps(SET, indent=1).encode()]),
    )
)
def test_a_damaged_set_of_manifests_becomes_a_request_or_is_refused(content: bytes) -> None:
    survives(lambda text: of_files(read_set([("x.yaml", text)]), parse_tls("self"), with_rbac=True), content)


@pytest.mark.parametrize(
    "read", [lambda text: read_manifest(text, "x"), lambda text: read_set([("x", text)])]
)
def test_a_tag_of_a_megabyte_is_refused_unread(read: Callable[[bytes], object]) -> None:
    """To scan it takes ruamel minutes."""
    with pytest.raises(Refused, match="tag of a thousand characters"):
        read(b"a: !!" + b"a" * 2**19)


@pytest.mark.parametrize(
    "text", [b"!x 1", b"a: !!binary aGk=", b'{"a":"b!' + b"c" * 5000 + b'"}', b"#" + b"!" * 5000]
)
def test_other_words_are_no_long_tag(text: bytes) -> None:
    assert not has_long_tag(text)


# --- PEM -------------------------------------------------------------------------------------------------

PAIRS = (authority(), leaf(authority()), leaf(authority(), usage="server"))
PEMS = [each.certificate for each in PAIRS] + [PAIRS[1].certificate + PAIRS[0].certificate]
DERS = [x509.load_pem_x509_certificate(each.certificate).public_bytes(Encoding.DER) for each in PAIRS]


def as_pem(der: bytes, kind: str) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind.encode(), body, kind.encode())


def look_at(pem: bytes) -> None:
    """All that is asked of certificates anywhere."""
    try:
        found = pki.read_certificates(pem)
    except pki.PkiError:
        return
    pki.serving_problem(found, found, "a.b", NOW)
    assert [pki.signed_by(found[0], each) for each in found]


@calm
@given(st.one_of(damaged(PEMS), damaged(DERS).map(lambda der: as_pem(der, "CERTIFICATE"))))
def test_a_damaged_certificate_is_read_or_refused(pem: bytes) -> None:
    look_at(pem)


@calm
@given(damaged([each.key for each in PAIRS]))
def test_a_damaged_key_is_read_or_refused_without_quoting_it(pem: bytes) -> None:
    try:
        pki.public_key_of(pem)
    except pki.PkiError as error:
        assert "BEGIN" not in str(error)  # noqa: PT017 -- a refusal is as good as a result


@calm
@given(st.text(max_size=60) | damaged([PEMS[0]]).map(lambda pem: pem.decode("utf-8", "replace")))
def test_a_damaged_published_ca_is_read_or_not_known(text: str) -> None:
    found = config_map(b"")
    found["data"] |= {"requestheader-client-ca-file": clean(text, 5000), "requestheader-allowed-names": text}
    try:
        read_published(Snapshot({ObjectAt(CONFIG_MAP, SERVER): found}), SERVER)
    except NotKnown as error:
        assert error.unknown.code == "published-ca-not-readable"  # noqa: PT017 -- as above


# --- what aggctl wrote itself, and anybody may have changed ------------------------------------------------

RECORD = record.to_object(record.Record("a" * 64, ("b" * 64,), NOW, ((SERVER, "old"),), NOW, NOW))
KEY = sealed.new_key()
SEALED = sealed.seal(PAIRS[0], KEY, NOW)
BUNDLE = json.loads(
    write_bundle(
        Bundle(
            SERVER,
            ("", ""),
            ("v1.a.b",),
            NOW,
            "",
            Snapshot({RawAt("/a", SERVER): None, FileAt("/b"): file(b"x")}),
        )
    )
)


@calm
@given(mistyped(RECORD))
def test_a_damaged_record_of_a_rotation_is_read_or_named(found: Any) -> None:
    try:
        record.from_object(found)
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- what its callers expect


@calm
@given(mistyped(SEALED))
def test_a_damaged_ca_for_another_node_is_opened_or_refused(found: Any) -> None:
    survives(lambda one: sealed.unseal(one, KEY, NOW), found)


@calm
@given(mistyped(BUNDLE))
def test_a_damaged_bundle_is_read_or_refused(found: Any) -> None:
    survives(lambda one: read_bundle(json.dumps(one), "it"), found)


# --- logs ------------------------------------------------------------------------------------------------

LINES = [
    b'2026-06-01T12:00:00.123456789Z stdout F I0601 12:00:00.000000       1 x.go:1] "hello" err=<\n\tx\n >',
    b'{"log":"W0601 12:00:00.000000   1 x.go:1] hello\\n","stream":"stderr","time":"2026-06-01T12:00:00.1Z"}',
    b'2026-06-01T12:00:00.1+01:00 stderr P {"level":"error","ts":1.5,"msg":"x","err":"y"}',
    b'2026-06-01T12:00:00Z stdout F {"ts":"2026-06-01T12:00:00Z","level":30,"message":{"a":1}}',
    b"2026-06-01T12:00:00Z stdout F ts=2026-06-01T12:00:00Z level=warn msg=hello Authorization: Bearer abc",
    b"Error from server: dial tcp 10.0.0.1:443: connect: bad status from https://10.0.0.1:443: 403",
]  # fmt: skip
RECORDS = [
    json.loads(LINES[1]),
    json.loads(LINES[2].split(b" ", 3)[3]),
    json.loads(LINES[3].split(b" ", 3)[3]),
]


A_TIME = rb"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})?"


def in_cri(found: Any) -> bytes:
    return b"2026-06-01T12:00:00Z stdout F " + json.dumps(found).encode()


def read_all(text: str) -> None:
    """All that is made of lines anywhere."""
    for cri in (True, False):
        joiner = loglines.Joiner("a", 0, cri=cri)
        found = [line for raw in text.split("\n") for line in joiner.feed(raw)] + list(joiner.rest())
        loglines.services_named(found)
        for line in loglines.merged(found):
            assert loglines.shown(line, 80).isprintable()
            loglines.moment(line.at)
    signs.read_log(text.splitlines())
    signs.read_sign(text)
    assert clean(without_secrets(text)).isprintable()


@calm
@given(
    st.one_of(
        damaged(LINES),
        st.one_of(*map(mistyped, RECORDS)).map(in_cri),
        st.from_regex(A_TIME, fullmatch=True).map(lambda time: time + b" stdout F x"),
        st.just(b'{"a":' * 5000),
    )
)  # fmt: skip
def test_a_damaged_log_is_read_as_it_is(content: bytes) -> None:
    read_all(content.decode("utf-8", "replace"))


KUBELET = (
    b'KUBELET_KUBEADM_ARGS="--config=/x --pod-manifest-path=/y"\nstaticPodPath: /etc/kubernetes/manifests\n'
)


@calm
@given(damaged([KUBELET]))
def test_a_damaged_configuration_of_kubelet_names_some_folder(content: bytes) -> None:
    paths = [*kubelet._FLAG_FILES, kubelet.CONFIG, "/x"]
    try:
        assert kubelet.static_pods(
            Snapshot({FileAt(path): file(content) for path in paths})
        ).folder.startswith("/")
    except Unasked as asked:
        assert len(asked.questions) == 1  # noqa: PT017 -- it names another file to look at
