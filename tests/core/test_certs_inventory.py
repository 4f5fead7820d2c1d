"""The certificates of the layer as they are listed: what is seen, what hides nothing else, what expires."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.clusters import (
    OTHER_SERVING_CA,
    SERVING_CA,
    api_service,
    below,
    cluster,
    service,
    serving,
)
from support.snapshots import (
    CA,
    MANIFEST,
    NOW,
    OFF,
    ON,
    OTHER_CA,
    PKI,
    SERVER,
    Scene,
    certificate,
    leaf,
    nameless,
    slices,
)

from aggctl.core import pki
from aggctl.core.certs.inventory import Held, Inventory, expiring, take_inventory
from aggctl.core.certs.words import METRIC, items, metrics, table
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.extension import ServiceAt
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import FileAt, Handshake, KeyAt, ObjectAt, ServedSeen, Unknown
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggctl.core.pki import Certificate, KeyPair
    from aggctl.core.snapshot import Snapshot

API = "v1.things.example"
AT = ServiceAt("shop", "things")
SERVICE_PATH = "/api/v1/namespaces/shop/services/things"
SLICES_PATH = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
ENDPOINT, SECOND = "10.1.0.5:8443", "10.1.0.6:8443"
CLIENT = leaf(CA)
DAY = timedelta(days=1)


def registered(
    scene: Scene = ON,
    served: Mapping[str, ServedSeen | Unknown] | None = None,
    bundle: bytes = SERVING_CA.certificate,
    items: Iterable[dict[str, Any]] = (),
) -> Scene:
    """A scene in which v1.things.example is registered, and its endpoints serve what is said."""
    served = {ENDPOINT: ServedSeen(serving().certificate)} if served is None else served
    hosts = [each.partition(":")[0] for each in served]
    one = api_service(caBundle=base64.b64encode(bundle).decode())
    scene = cluster(service(), scene=scene).object(SLICES_PATH, slices(*hosts, https=8443))
    scene = scene.object(API_SERVICES, {"items": [one, *items]})
    pem = bundle.decode("ascii", "ignore")
    return scene.answering({Handshake(address, AT.dns, pem): seen for address, seen in served.items()})


def inventory(scene: Scene, server: str | AggctlError = SERVER) -> Inventory:
    return scene.ask(lambda snapshot: take_inventory(snapshot, server))


def seen(found: Inventory) -> list[tuple[str, str]]:
    """(kind, CN) of all that is listed."""
    return [(each.kind, each.certificate.common_name) for each in found.held]


def one(found: Inventory, kind: str) -> Held:
    (held,) = [each for each in found.held if each.kind == kind]
    return held


def held(pair: KeyPair, kind: str = "serving", **more: Any) -> Held:
    return Held(kind, more.pop("where", ENDPOINT), certificate(pair), **more)


def lines(*all_held: Held, names: tuple[str, ...] = ()) -> tuple[str, ...]:
    return table(Inventory(all_held, names, ()), NOW)


def elsewhere(scene: Scene = ON) -> Scene:
    """The same cluster seen from a machine that is no control-plane node."""
    return replace(scene, files={}).answering({FileAt(MANIFEST): None})


ON_NODE = [("front-proxy-ca", "front-proxy-ca"), ("front-proxy-client", "front-proxy-client")]
PUBLISHED = [("published-ca", "front-proxy-ca")]
OF_API = [("ca-bundle", "things-ca"), ("serving", "things")]


# --- what is seen, and where -----------------------------------------------------------------------------


def test_on_a_node_all_certificates_of_the_layer_are_listed() -> None:
    found = inventory(registered())
    assert seen(found) == [*ON_NODE, *PUBLISHED, *OF_API]
    assert (found.names, found.not_checked) == (("front-proxy-client",), ())
    assert [each.where for each in found.held] == [
        f"{PKI}/front-proxy-ca.crt",
        f"{PKI}/front-proxy-client.crt",
        "ConfigMap kube-system/extension-apiserver-authentication",
        f"APIService {API}",
        ENDPOINT,
    ]
    assert [each.api for each in found.held] == ["", "", "", API, API]


def test_elsewhere_what_the_cluster_shows_is_listed_and_the_node_is_not_checked() -> None:
    found = inventory(elsewhere(registered()))
    assert seen(found) == [*PUBLISHED, *OF_API]
    ((what, why),) = found.not_checked
    assert what == "this node's certificates"
    assert "kube-apiserver" in why


def test_where_the_layer_is_off_nothing_is_listed_and_all_was_looked_at() -> None:
    assert inventory(OFF) == Inventory((), (), ())


def test_an_api_that_kube_apiserver_serves_itself_has_no_certificate_of_its_own() -> None:
    found = inventory(registered(items=[api_service("v1.apps", None)]))
    assert [each.api for each in found.held if each.api] == [API, API]


def test_each_ready_endpoint_is_asked_for_what_it_serves() -> None:
    other = serving(ca=OTHER_SERVING_CA)
    problem = "unable to get local issuer certificate"
    served = {ENDPOINT: ServedSeen(serving().certificate), SECOND: ServedSeen(other.certificate, problem)}
    found = [each for each in inventory(registered(served=served)).held if each.kind == "serving"]
    assert [(each.where, each.certificate, each.note) for each in found] == [
        (ENDPOINT, certificate(serving()), ""),
        (SECOND, certificate(other), problem),
    ]


def test_every_ca_of_a_bundle_is_listed() -> None:
    found = inventory(registered(bundle=SERVING_CA.certificate + OTHER_SERVING_CA.certificate, served={}))
    assert [cn for kind, cn in seen(found) if kind == "ca-bundle"] == ["things-ca", "other-things-ca"]


def test_an_api_without_a_bundle_shows_what_it_serves_unverified() -> None:
    unverified = ServedSeen(serving().certificate, "there is no CA to verify it by")
    found = inventory(registered(bundle=b"", served={ENDPOINT: unverified}))
    assert [kind for kind, _ in seen(found)[3:]] == ["serving"]
    assert one(found, "serving").note == "there is no CA to verify it by"


# --- what cannot be seen hides nothing else --------------------------------------------------------------

FORBIDDEN = Unknown("GET … is forbidden to admin.conf", "no-rights-in-cluster")
NOT_OURS = Unknown("/etc/kubernetes/…: Permission denied", "no-rights")
BROKEN_DER = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
NO_API = [*ON_NODE, *PUBLISHED]

HIDDEN: dict[str, tuple[Scene, list[tuple[str, str]], str, str]] = {
    "the ConfigMap may not be read": (
        registered().answering({ObjectAt(CONFIG_MAP, SERVER): FORBIDDEN}),
        [*ON_NODE, *OF_API],
        "what the cluster publishes",
        FORBIDDEN.reason,
    ),
    "the published CA is no PEM": (
        registered(ON.object(CONFIG_MAP, {"data": {"requestheader-client-ca-file": "scrambled"}})),
        [*ON_NODE, *OF_API],
        "what the cluster publishes",
        "the front-proxy CA that the cluster publishes: no PEM",
    ),
    "APIServices may not be listed": (
        registered().answering({ObjectAt(API_SERVICES, SERVER): FORBIDDEN}),
        NO_API,
        "the registered APIs",
        FORBIDDEN.reason,
    ),
    "the Service may not be read": (
        registered().answering({ObjectAt(SERVICE_PATH, SERVER): FORBIDDEN}),
        [*NO_API, OF_API[0]],
        f"what serves {API}",
        FORBIDDEN.reason,
    ),
    "the endpoints may not be read": (
        registered().answering({ObjectAt(SLICES_PATH, SERVER): FORBIDDEN}),
        [*NO_API, OF_API[0]],
        f"what serves {API}",
        FORBIDDEN.reason,
    ),
    "the Service is gone": (
        registered().object(SERVICE_PATH, None),
        [*NO_API, OF_API[0]],
        f"what serves {API}",
        "Service shop/things is not there",
    ),
    "no endpoint is ready": (
        registered(served={}),
        [*NO_API, OF_API[0]],
        f"what serves {API}",
        "Service shop/things has no ready endpoint",
    ),
    "one endpoint cannot be dialled": (
        registered(served={ENDPOINT: Unknown("no route to host"), SECOND: ServedSeen(serving().certificate)}),
        [*NO_API, *OF_API],
        f"{ENDPOINT} of {API}",
        "no route to host",
    ),
    "one endpoint speaks no TLS": (
        registered(
            served={
                ENDPOINT: ServedSeen(b"", "no TLS handshake: wrong version number"),
                SECOND: ServedSeen(serving().certificate),
            }
        ),
        [*NO_API, *OF_API],
        f"{ENDPOINT} of {API}",
        "no TLS handshake: wrong version number",
    ),
    "one endpoint serves what is no certificate": (
        registered(served={ENDPOINT: ServedSeen(BROKEN_DER), SECOND: ServedSeen(serving().certificate)}),
        [*NO_API, *OF_API],
        f"{ENDPOINT} of {API}",
        "no PEM certificate can be read from it",
    ),
    "the caBundle is no PEM": (
        registered(bundle=b"scrambled"),
        [*NO_API, OF_API[1]],
        f"the caBundle of {API}",
        "no PEM certificate can be read from it",
    ),
    "a key on the node may not be read": (
        registered().answering({KeyAt(f"{PKI}/front-proxy-ca.key"): NOT_OURS}),
        [*PUBLISHED, *OF_API],
        "this node's certificates",
        NOT_OURS.reason,
    ),
    "the manifest may not be read": (
        registered().answering({FileAt(MANIFEST): NOT_OURS}),
        [*PUBLISHED, *OF_API],
        "this node's certificates",
        NOT_OURS.reason,
    ),
    "the CA's file is no PEM": (
        registered(ON.file("front-proxy-ca.crt", b"scrambled")),
        [ON_NODE[1], *PUBLISHED, *OF_API],
        f"{PKI}/front-proxy-ca.crt",
        "no PEM certificate can be read from it",
    ),
    "the client's file is no PEM": (
        registered(ON.file("front-proxy-client.crt", b"scrambled")),
        [ON_NODE[0], *PUBLISHED, *OF_API],
        f"{PKI}/front-proxy-client.crt",
        "no PEM certificate can be read from it",
    ),
}


@pytest.mark.parametrize(("scene", "left", "what", "why"), HIDDEN.values(), ids=HIDDEN.keys())
def test_what_cannot_be_seen_is_named_with_the_reason_and_hides_nothing_else(
    scene: Scene, left: list[tuple[str, str]], what: str, why: str
) -> None:
    found = inventory(scene)
    assert seen(found) == left
    ((named, reason),) = found.not_checked
    assert named == what
    assert reason.startswith(why)


def test_with_the_api_down_the_node_is_listed_all_the_same() -> None:
    found = inventory(registered().silent())
    assert seen(found) == ON_NODE
    assert [what for what, _ in found.not_checked] == ["what the cluster publishes", "the registered APIs"]


NO_KUBECONFIG = Refused("kubeconfig-missing", "no kubeconfig was found", do="give one")


def test_without_credentials_the_node_is_listed_all_the_same() -> None:
    found = inventory(registered(), NO_KUBECONFIG)
    assert seen(found) == ON_NODE
    assert {why for _, why in found.not_checked} == {"no kubeconfig was found"}


def test_without_credentials_elsewhere_that_is_the_error() -> None:
    with pytest.raises(Refused, match="no kubeconfig was found"):
        inventory(elsewhere(), NO_KUBECONFIG)


def test_where_neither_node_nor_cluster_can_be_seen_it_is_no_empty_list_but_an_error() -> None:
    with pytest.raises(NotKnown, match="does not answer"):
        inventory(elsewhere().silent())


def test_many_apis_are_looked_at_in_as_many_rounds_as_one() -> None:
    scene, apis, served = registered(), [], ServedSeen(serving().certificate)
    for name in (f"things{number}" for number in range(100)):
        apis.append(api_service(f"v1.{name}.example", f"shop/{name}"))
        scene = cluster(service(name), scene=scene)
        scene = scene.object(SLICES_PATH.replace("=things", f"={name}"), slices("10.1.0.7", https=8443))
        scene = scene.answering({Handshake("10.1.0.7:8443", f"{name}.shop.svc", ""): served})
    looks, found = rounds(scene.object(API_SERVICES, {"items": apis}))
    assert (len(found.held), found.not_checked) == (103, ())
    assert looks == rounds(registered())[0]


def rounds(scene: Scene) -> tuple[int, Inventory]:
    """How often the function is run until all is seen, and what is."""
    calls: list[Snapshot] = []

    def counted(snapshot: Snapshot) -> Inventory:
        calls.append(snapshot)
        return take_inventory(snapshot, SERVER)

    found = scene.ask(counted)
    return len(calls), found


# --- what is said of a certificate -----------------------------------------------------------------------


def test_a_published_ca_that_is_not_on_the_node_is_marked() -> None:
    found = inventory(ON.publishing(CA, OTHER_CA))
    notes = [(each.certificate.common_name, each.note) for each in found.held if each.kind == "published-ca"]
    assert notes == [("front-proxy-ca", ""), ("other-front-proxy-ca", "not on this node")]


def test_elsewhere_no_published_ca_is_marked_as_there_is_nothing_to_compare_it_with() -> None:
    found = inventory(elsewhere(ON.publishing(CA, OTHER_CA)))
    assert [each.note for each in found.held] == ["", ""]


@pytest.mark.parametrize(
    ("scene", "managed"),
    [
        (ON, "aggctl"),
        (ON.file("front-proxy-ca.key", None), "externally"),
        (ON.file("front-proxy-ca.key", OTHER_CA.key), "externally"),
    ],
    ids=["the CA's key is here", "no key", "another key"],
)
def test_who_renews_is_said_of_what_lies_on_the_node(scene: Scene, managed: str) -> None:
    found = inventory(scene)
    assert [each.managed for each in found.held] == [managed, managed, ""]


BELOW = below(SERVING_CA, "intermediate")


@pytest.mark.parametrize(
    ("scene", "kind", "signer"),
    [
        (ON, "front-proxy-client", CA),
        (ON, "front-proxy-ca", CA),
        (ON.pair("front-proxy-client", leaf(OTHER_CA)), "front-proxy-client", None),
        (ON.pair("front-proxy-client", leaf(OTHER_CA)).publishing(OTHER_CA), "front-proxy-client", OTHER_CA),
        (registered(), "serving", SERVING_CA),
        (
            registered(served={ENDPOINT: ServedSeen(serving(ca=OTHER_SERVING_CA).certificate)}),
            "serving",
            None,
        ),
        (registered(bundle=BELOW.certificate), "ca-bundle", None),
        (
            registered(
                bundle=BELOW.certificate, served={ENDPOINT: ServedSeen(serving(ca=BELOW).certificate)}
            ),
            "serving",
            BELOW,
        ),
    ],
    ids=[
        "the client by the CA of the node",
        "a root by itself",
        "by nobody who is seen",
        "by a CA that is published",
        "what is served by the bundle",
        "what is served by nobody who is seen",
        "an intermediate by nobody who is seen",
        "by an intermediate",
    ],
)
def test_the_ca_that_signed_it_is_found_among_all_cas_that_are_seen(
    scene: Scene, kind: str, signer: KeyPair | None
) -> None:
    assert one(inventory(scene), kind).issuer == (certificate(signer).fingerprint if signer else "")


def test_a_ca_of_the_same_name_that_did_not_sign_it_is_no_issuer() -> None:
    namesake = pki.new_ca("front-proxy-ca", NOW, algorithm="ECDSA-P256")
    scene = ON.pair("front-proxy-ca", namesake).publishing(namesake)
    assert one(inventory(scene), "front-proxy-client").issuer == ""


def test_a_root_that_was_renewed_with_its_key_is_its_own_issuer() -> None:
    renewed = _again(CA)
    found = inventory(ON.file("front-proxy-ca.crt", CA.certificate + renewed.certificate))
    issuers = [each.issuer for each in found.held if each.kind == "front-proxy-ca"]
    assert issuers == [certificate(CA).fingerprint, certificate(renewed).fingerprint]


def _again(ca: KeyPair) -> KeyPair:
    """Another certificate of the same name and key."""
    old, key = x509.load_pem_x509_certificate(ca.certificate), pki.load_key(ca.key)
    made = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(old.serial_number + 1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return pki.KeyPair(made.public_bytes(serialization.Encoding.PEM), ca.key)


# --- what expires ----------------------------------------------------------------------------------------


def ending(days: float) -> Certificate:
    """The client certificate, if it ended so many days from NOW."""
    return replace(certificate(CLIENT), not_after=NOW + timedelta(days=days))


EXPIRY: dict[str, tuple[float, float, str, str, str]] = {
    "expired": (-1, 30, "certificate-expired", "error", "front-proxy-client: expired on 2026-05-31"),
    "expired and nothing else asked for": (
        -1,
        0,
        "certificate-expired",
        "error",
        "front-proxy-client: expired on 2026-05-31",
    ),
    "soon": (
        29.5,
        30,
        "certificate-expires-soon",
        "warning",
        "front-proxy-client: expires on 2026-07-01 (29 d)",
    ),
    "at that very moment": (
        30,
        30,
        "certificate-expires-soon",
        "warning",
        "front-proxy-client: expires on 2026-07-01 (30 d)",
    ),
    "at this very moment": (
        0,
        0,
        "certificate-expires-soon",
        "warning",
        "front-proxy-client: expires on 2026-06-01 (0 d)",
    ),
}


@pytest.mark.parametrize(
    ("days", "within", "code", "severity", "message"), EXPIRY.values(), ids=EXPIRY.keys()
)
def test_what_expires_is_a_finding(
    days: float, within: float, code: str, severity: str, message: str
) -> None:
    one = Held("front-proxy-client", "a file", ending(days), managed="aggctl")
    (finding,) = expiring(Inventory((one,), (), ()), timedelta(days=within), NOW)
    assert (finding.code, finding.severity, finding.message) == (code, severity, message)
    assert (finding.subject, finding.fix) == (
        "front-proxy-client at a file",
        "aggctl certs rotate client",
    )


def test_what_does_not_expire_within_is_no_finding() -> None:
    one = Held("front-proxy-client", "a file", ending(30.1))
    assert expiring(Inventory((one,), (), ()), timedelta(days=30), NOW) == ()


@pytest.mark.parametrize(
    ("kind", "managed", "fix"),
    [
        ("front-proxy-ca", "aggctl", "aggctl certs rotate ca"),
        ("front-proxy-ca", "externally", "aggctl explain front-proxy-ca-key-missing"),
        ("front-proxy-client", "externally", "aggctl explain front-proxy-ca-key-missing"),
        ("published-ca", "", "aggctl certs rotate ca"),
        ("ca-bundle", "", "aggctl certs rotate serving"),
        ("serving", "", "aggctl certs rotate serving"),
    ],
)
def test_the_fix_is_what_renews_that_kind(kind: str, managed: str, fix: str) -> None:
    one = Held(kind, "x", ending(1), managed=managed)
    assert [each.fix for each in expiring(Inventory((one,), (), ()), 2 * DAY, NOW)] == [fix]


# --- for people ------------------------------------------------------------------------------------------


def columns(line: str) -> list[str]:
    return re.split(r" {3,}", line)


def test_people_get_one_line_for_each_then_the_names_and_what_was_not_checked() -> None:
    problem = ServedSeen(serving().certificate, "Hostname mismatch")
    found = inventory(elsewhere(registered(ON.publishing(CA, names=("a", "b")), {ENDPOINT: problem})))
    head, published, bundle, served, names, not_checked = table(found, NOW)
    assert columns(head) == ["KIND", "SUBJECT", "EXPIRES", "ISSUER", "WHERE", "NOTE"]
    assert columns(published) == [
        "published-ca",
        "front-proxy-ca",
        "2036-04-29 (3620 d)",
        "itself",
        "ConfigMap kube-system/extension-apiserver-authentication",
    ]
    assert columns(bundle)[-2:] == [f"APIService {API}", API]
    assert columns(served)[2:] == [
        "2027-05-02 (335 d)",
        certificate(SERVING_CA).fingerprint[:12],
        ENDPOINT,
        f"{API}; Hostname mismatch",
    ]
    assert names == "allowed names: a, b"
    assert not_checked.startswith("not checked: this node's certificates, because ")


def test_columns_stand_below_their_heads() -> None:
    head, *rows = table(inventory(registered()), NOW)[:6]
    starts = [head.index(name) for name in columns(head)]
    for row in rows:
        assert all(row[start - 1 : start] in (" ", "") for start in starts if start), row


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-0.001, "2026-06-01 (expired)"),
        (-40, "2026-04-22 (expired)"),
        (0, "2026-06-01 (0 d)"),
        (0.9, "2026-06-02 (0 d)"),
        (30, "2026-07-01 (30 d)"),
    ],
)
def test_the_table_says_how_long_it_is_still_valid(days: float, said: str) -> None:
    assert columns(lines(Held("serving", "x", ending(days)))[1])[2] == said


@pytest.mark.parametrize(
    ("managed", "said"), [("aggctl", "renewed by aggctl"), ("externally", "renewed externally")]
)
def test_the_table_says_who_renews(managed: str, said: str) -> None:
    assert columns(lines(held(CLIENT, managed=managed))[1])[-1] == said


def test_an_issuer_that_was_not_seen_is_called_by_its_name() -> None:
    assert columns(lines(held(CLIENT))[1])[3] == "CN=front-proxy-ca"


def test_a_certificate_without_a_common_name_is_called_by_its_subject() -> None:
    named = nameless(CA)
    assert columns(lines(held(named))[1])[1] == "O=nobody"
    (finding,) = expiring(Inventory((held(named),), (), ()), 999 * DAY, NOW)
    assert finding.message.startswith("O=nobody: expires on ")


EVIL = "x\x1b[31mred\nforged   line\u202e"


def test_hostile_text_stays_on_its_line_and_colours_nothing() -> None:
    evil = replace(certificate(CLIENT), common_name=EVIL, issuer=EVIL)
    what = Held("serving", EVIL, evil, EVIL, note=EVIL)
    found = Inventory((what,), (EVIL,), ((EVIL, EVIL),))
    (finding,) = expiring(found, 999 * DAY, NOW)
    shown = [*table(found, NOW), *metrics(found).splitlines(), finding.subject, finding.message]
    assert len(shown) == 4 + 3 + 2
    for line in shown:
        assert not set(line) & set("\x1b\n\u202e"), line


def test_a_name_without_end_does_not_widen_the_table_without_end() -> None:
    endless = replace(certificate(CLIENT), common_name="x" * 5000, issuer="y" * 5000)
    assert max(map(len, lines(Held("serving", "z" * 5000, endless, note="n" * 5000)))) < 400


# --- for scripts -----------------------------------------------------------------------------------------


def test_scripts_get_the_same_with_full_fingerprints() -> None:
    found = inventory(registered())
    got = {each["kind"]: each for each in items(found, NOW)}
    assert [each["kind"] for each in items(found, NOW)] == [each.kind for each in found.held]
    assert got["front-proxy-client"] == {
        "kind": "front-proxy-client",
        "api": "",
        "where": f"{PKI}/front-proxy-client.crt",
        "subject": "CN=front-proxy-client",
        "fingerprint": certificate(CLIENT).fingerprint,
        "issuer": "CN=front-proxy-ca",
        "issuerFingerprint": certificate(CA).fingerprint,
        "notAfter": "2027-05-02T12:00:00+00:00",
        "residualSeconds": 335 * 86400,
        "managed": "aggctl",
        "note": "",
    }
    assert got["serving"]["api"] == API


def test_what_has_expired_has_less_than_nothing_left() -> None:
    (item,) = items(Inventory((Held("serving", "x", ending(-1)),), (), ()), NOW)
    assert item["residualSeconds"] == -86400


# --- for Prometheus --------------------------------------------------------------------------------------

SAMPLE = re.compile(rf'{METRIC}\{{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\}} -?[0-9]+')


def test_prometheus_gets_one_gauge_for_each_certificate() -> None:
    found = inventory(registered())
    help_, type_, *samples = metrics(found).splitlines()
    assert help_.startswith(f"# HELP {METRIC} ")
    assert type_ == f"# TYPE {METRIC} gauge"
    assert len(samples) == len(found.held)
    assert (
        f'{METRIC}{{kind="serving",api="{API}",where="{ENDPOINT}",'
        f'fingerprint="{certificate(serving()).fingerprint[:12]}"}} '
        f"{certificate(serving()).not_after.timestamp():.0f}"
    ) in samples
    assert metrics(found).endswith("\n")


@pytest.mark.parametrize("evil", ['a"b', "a\\", 'a\\"', "a\nb", "a} 1"])
def test_a_label_cannot_end_early(evil: str) -> None:
    text = metrics(Inventory((held(CLIENT, where=evil, api=evil),), (), ()))
    (sample,) = text.splitlines()[2:]
    assert SAMPLE.fullmatch(sample), sample


def test_quotes_and_backslashes_are_escaped_as_prometheus_reads_them() -> None:
    assert 'where="C:\\\\x \\"y\\""' in metrics(Inventory((held(CLIENT, where='C:\\x "y"'),), (), ()))


def test_the_text_for_prometheus_is_the_same_whatever_the_order_and_names_nothing_twice() -> None:
    found = inventory(registered())
    turned = replace(found, held=(*reversed(found.held), *found.held))
    assert metrics(turned) == metrics(found)


def test_without_certificates_there_is_no_sample() -> None:
    assert metrics(Inventory((), (), ())).splitlines()[2:] == []
    assert table(Inventory((), (), ()), NOW) == ("KIND   SUBJECT   EXPIRES   ISSUER   WHERE   NOTE",)
