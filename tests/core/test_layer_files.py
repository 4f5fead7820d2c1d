"""The certificates behind the flags: where they are or belong on the host, and what they say."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.snapshots import (
    CA,
    CA_FLAG,
    CLIENT_CA,
    NOW,
    OFF,
    ON,
    OTHER_CA,
    PKI,
    Scene,
    authority,
    codes,
    file,
    leaf,
)

from aggctl.core import pki
from aggctl.core.layer_files import LayerFiles, Place, authority_findings, beside, client_findings, see_files
from aggctl.core.node import see_node
from aggctl.core.questions import FileAt, FolderAt, FolderSeen

MINIKUBE = "/var/lib/minikube/certs"


def see(scene: Scene, pki_dir: str = "") -> LayerFiles:
    return scene.ask(lambda snapshot: see_files(snapshot, see_node(snapshot), pki_dir))


def of_the_ca(scene: Scene, *, in_use: bool = True) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in authority_findings(see(scene), NOW, in_use=in_use)]


def of_the_client(scene: Scene) -> list[str]:
    return codes(client_findings(see(scene), NOW))


# --- where -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("/a/front-proxy-client.crt", "/a/front-proxy-client.key"),
        ("/a/aggregator.pem", "/a/aggregator-key.pem"),
        ("/a/apiserver-aggregator-ca.cert", "/a/apiserver-aggregator-ca.key"),
        ("/a.d/ca", "/a.d/ca.key"),
        ("ca", "ca.key"),
    ],
)
def test_the_key_lies_beside_its_certificate_as_everybody_names_them(certificate: str, key: str) -> None:
    assert beside(certificate) == key


@pytest.mark.parametrize(
    ("scene", "ca_at"),
    [
        pytest.param(
            OFF, Place(f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.crt", mounted=True), id="kubeadm"
        ),
        pytest.param(
            OFF.flag(client_ca_file=f"{MINIKUBE}/ca.crt").mounted((MINIKUBE, MINIKUBE)),
            Place(f"{MINIKUBE}/front-proxy-ca.crt", f"{MINIKUBE}/front-proxy-ca.crt", mounted=True),
            id="minikube",
        ),
        pytest.param(
            OFF.flag(client_ca_file=None),
            Place(f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.crt", mounted=True),
            id="no client CA: kubeadm's folder",
        ),
        pytest.param(
            OFF.flag(client_ca_file="/ca.crt"),
            Place(f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.crt", mounted=True),
            id="a client CA in the root: kubeadm's folder",
        ),
        pytest.param(
            OFF.flag(client_ca_file="/certs/ca.pem").mounted(("/certs", "/srv/ssl")),
            Place("/certs/front-proxy-ca.crt", "/srv/ssl/front-proxy-ca.crt", mounted=True),
            id="another path on the host",
        ),
        pytest.param(
            OFF.mounted(),
            Place(f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.crt", mounted=False),
            id="no mount",
        ),
        pytest.param(
            ON.mounted(("/etc", "/etc"), (f"{PKI}/front-proxy-ca.crt", "/srv/one.crt")),
            Place(f"{PKI}/front-proxy-ca.crt", "/srv/one.crt", mounted=True),
            id="a mount of the single file below one of its folder",
        ),
        pytest.param(
            ON.mounted((f"{PKI}/front-proxy-ca.crt", "/srv/one.crt")),
            Place(f"{PKI}/front-proxy-ca.crt", "/srv/one.crt", mounted=True),
            id="a mount of the single file alone",
        ),
    ],
)
def test_the_ca_is_where_the_flags_say_or_beside_what_is_there(scene: Scene, ca_at: Place) -> None:
    assert see(scene).ca_at == ca_at


def test_the_flags_may_name_a_folder_each() -> None:
    scene = ON.flag(
        requestheader_client_ca_file="/certs/ca.pem", proxy_client_cert_file="/leaf/aggregator.pem"
    )
    files = see(scene.flag(proxy_client_key_file=None).mounted(("/certs", "/srv/a"), ("/leaf", "/srv/b")))
    assert (files.ca_at.host, files.ca_key_at) == ("/srv/a/ca.pem", "/srv/a/ca-key.pem")
    assert (files.certificate_at.host, files.key_at.host) == (
        "/srv/b/aggregator.pem",
        "/srv/b/aggregator-key.pem",
    )


def test_a_key_that_the_flags_name_elsewhere_is_found_there() -> None:
    files = see(ON.flag(proxy_client_key_file="/keys/a.key").mounted((PKI, PKI), ("/keys", "/srv/keys")))
    assert files.key_at == Place("/keys/a.key", "/srv/keys/a.key", mounted=True)


def test_new_files_join_the_certificate_that_is_named_where_the_ca_is_not() -> None:
    scene = OFF.flag(proxy_client_cert_file="/leaf/aggregator.pem").mounted(("/leaf", "/leaf"))
    assert see(scene).ca_at.inside == "/leaf/front-proxy-ca.crt"


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        (
            ((PKI, PKI), ("/fp", "/srv/fp")),
            Place("/fp/front-proxy-ca.crt", "/srv/fp/front-proxy-ca.crt", mounted=True),
        ),
        (((PKI, PKI),), Place("/srv/fp/front-proxy-ca.crt", "/srv/fp/front-proxy-ca.crt", mounted=False)),
    ],
    ids=["mounted elsewhere", "not mounted"],
)
def test_a_folder_that_the_user_names_is_one_of_the_host(
    mounts: tuple[tuple[str, str], ...], place: Place
) -> None:
    assert see(OFF.mounted(*mounts), "/srv/fp").ca_at == place


# --- what is read ----------------------------------------------------------------------------------------


def test_every_certificate_behind_the_flags_is_read() -> None:
    files = see(ON)
    assert [each.common_name for each in files.authorities] == ["front-proxy-ca"]
    assert files.certificate is not None
    assert files.certificate.common_name == "front-proxy-client"
    assert [each.common_name for each in files.client_authorities] == ["kubernetes"]
    assert files.signs


def test_every_client_ca_of_a_bundle_is_seen() -> None:
    both = CLIENT_CA.certificate + OTHER_CA.certificate
    assert len(see(ON.file("ca.crt", both)).client_authorities) == 2


@pytest.mark.parametrize("path", ["/elsewhere/ca.crt", f"{PKI}/gone.crt"], ids=["not mounted", "missing"])
def test_a_client_ca_that_cannot_be_seen_is_none(path: str) -> None:
    assert see(ON.flag(client_ca_file=path)).client_authorities == ()


@pytest.mark.parametrize("name", ["front-proxy-ca.crt", "front-proxy-client.crt"])
def test_a_file_that_holds_no_certificate_is_a_finding_and_no_certificate(name: str) -> None:
    files = see(ON.file(name, b"garbage"))
    (found,) = files.unreadable
    assert (found.code, found.subject) == ("certificate-not-readable", f"{PKI}/{name}")


@pytest.mark.parametrize(
    ("scene", "signs"),
    [
        (ON, True),
        (ON.file("front-proxy-ca.key", None), False),
        (ON.file("front-proxy-ca.key", OTHER_CA.key), False),
        (ON.file("front-proxy-ca.key", b"garbage"), False),
        (ON.file("front-proxy-ca.crt", None), False),
        (ON.file("front-proxy-ca.crt", CA.certificate + OTHER_CA.certificate), True),
        (ON.file("front-proxy-ca.crt", OTHER_CA.certificate + CA.certificate), False),
    ],
    ids=[
        "CA and key",
        "no key (externally managed)",
        "another key",
        "no key at all in it",
        "no CA",
        "new and old, key of the new",
        "old and new, key of the new: kubeadm signs with the first",
    ],
)
def test_certificates_can_be_issued_with_the_key_of_the_first_ca_only(scene: Scene, signs: bool) -> None:
    assert see(scene).signs is signs


# --- the CA ----------------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_good_ca() -> None:
    assert of_the_ca(ON) == []


def test_nothing_is_said_of_a_ca_that_is_not_there() -> None:
    assert of_the_ca(OFF) == []


def test_an_expired_ca_is_an_error_with_its_date() -> None:
    old = authority(days=-400, lifetime=365)
    scene = ON.pair("front-proxy-ca", old).pair("front-proxy-client", leaf(old))
    (found,) = authority_findings(see(scene), NOW, in_use=True)
    assert (found.code, found.severity) == ("front-proxy-ca-expired", "error")
    assert found.message == "it expired on 2026-04-27 12:00 UTC"


def test_a_ca_of_tomorrow_is_not_valid_yet() -> None:
    (found,) = authority_findings(see(OFF.pair("front-proxy-ca", authority(days=1))), NOW, in_use=False)
    assert found.message == "it is not valid before 2026-06-02 11:55 UTC"


def test_an_expired_ca_beside_the_one_that_signed_the_leaf_does_no_harm() -> None:
    old = authority(days=-400, lifetime=365)
    assert of_the_ca(ON.file("front-proxy-ca.crt", old.certificate + CA.certificate)) == []


def test_a_good_ca_beside_the_expired_one_that_signed_the_leaf_does_not_help() -> None:
    old = authority(days=-400, lifetime=365)
    scene = ON.file("front-proxy-ca.crt", old.certificate + CA.certificate).pair(
        "front-proxy-client", leaf(old)
    )
    assert of_the_ca(scene) == [("front-proxy-ca-expired", "error")]


def test_a_serving_certificate_as_ca_is_an_error() -> None:
    assert of_the_ca(OFF.pair("front-proxy-ca", leaf(CLIENT_CA, "kubernetes")), in_use=False) == [
        ("front-proxy-ca-is-no-ca", "error")
    ]


def test_a_leaf_that_another_leaf_signed_does_not_work_in_go_though_it_is_in_use() -> None:
    middle = leaf(CLIENT_CA, "kubernetes")
    scene = ON.pair("front-proxy-ca", middle).pair("front-proxy-client", leaf(middle))
    assert of_the_ca(scene) == [("front-proxy-ca-is-no-ca", "error")]


@pytest.mark.parametrize(("in_use", "severity"), [(True, "warning"), (False, "error")])
def test_a_leaf_that_is_its_own_ca_works_in_go_and_is_a_warning_where_a_cluster_lives_with_it(
    in_use: bool, severity: str
) -> None:
    reused = leaf(CLIENT_CA, "kubernetes")
    scene = ON.pair("front-proxy-ca", reused).pair("front-proxy-client", reused)
    assert of_the_ca(scene, in_use=in_use) == [("front-proxy-ca-is-no-ca", severity)]


@pytest.mark.parametrize(("in_use", "severity"), [(True, "warning"), (False, "error")])
def test_the_ca_of_ordinary_clients_is_a_warning_in_use_and_an_error_for_a_new_layer(
    in_use: bool, severity: str
) -> None:
    scene = ON.pair("front-proxy-ca", CLIENT_CA).pair("front-proxy-client", leaf(CLIENT_CA))
    assert of_the_ca(scene, in_use=in_use) == [("front-proxy-ca-is-client-ca", severity)]


def test_one_shared_ca_in_a_bundle_is_enough_to_be_told() -> None:
    scene = ON.file("front-proxy-ca.crt", CA.certificate + CLIENT_CA.certificate)
    assert of_the_ca(scene) == [("front-proxy-ca-is-client-ca", "warning")]


# --- the client certificate ------------------------------------------------------------------------------


def with_leaf(pair: pki.KeyPair) -> Scene:
    return ON.pair("front-proxy-client", pair)


@pytest.mark.parametrize(
    ("scene", "found"),
    [
        pytest.param(ON, [], id="a good one"),
        pytest.param(OFF, [], id="none"),
        pytest.param(with_leaf(leaf(OTHER_CA)), ["client-certificate-of-another-ca"], id="another CA"),
        pytest.param(
            with_leaf(leaf(authority(days=-31))),
            ["client-certificate-of-another-ca"],
            id="another CA of that name",
        ),
        pytest.param(ON.file("front-proxy-ca.crt", None), [], id="no CA to compare with"),
        pytest.param(
            with_leaf(leaf(CA, usage="server")), ["client-certificate-without-client-auth"], id="for servers"
        ),
        pytest.param(with_leaf(leaf(CA, days=-400)), ["client-certificate-expired"], id="expired"),
        pytest.param(with_leaf(leaf(CA, days=1)), ["client-certificate-expired"], id="not valid yet"),
        pytest.param(ON.file("front-proxy-client.key", None), ["client-key-missing"], id="no key"),
        pytest.param(ON.file("front-proxy-client.key", CA.key), ["client-key-mismatch"], id="another key"),
        pytest.param(
            ON.file("front-proxy-client.key", b"x"), ["client-key-not-readable"], id="no key in its file"
        ),
        pytest.param(
            with_leaf(leaf(OTHER_CA, days=-400, usage="server")),
            [
                "client-certificate-of-another-ca",
                "client-certificate-without-client-auth",
                "client-certificate-expired",
            ],
            id="all at once",
        ),
    ],
)
def test_the_client_certificate_is_told_what_is_wrong_with_it(scene: Scene, found: list[str]) -> None:
    assert of_the_client(scene) == found


@pytest.mark.parametrize(
    "bundle",
    [OTHER_CA.certificate + CA.certificate, CA.certificate + OTHER_CA.certificate],
    ids=["last", "first"],
)
def test_any_ca_of_a_bundle_may_have_signed_the_leaf(bundle: bytes) -> None:
    assert of_the_client(ON.file("front-proxy-ca.crt", bundle)) == []


@cache
def intermediate() -> pki.KeyPair:
    """A CA below CA."""
    key, above = ec.generate_private_key(ec.SECP256R1()), pki.load_key(CA.key)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intermediate")]))
        .issuer_name(x509.load_pem_x509_certificate(CA.certificate).subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(above, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, open_text = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return pki.KeyPair(made.public_bytes(pem), key.private_bytes(pem, form, open_text))


def test_a_leaf_by_way_of_an_intermediate_in_its_own_file_is_good() -> None:
    below = leaf(intermediate())
    scene = with_leaf(below).file("front-proxy-client.crt", below.certificate + intermediate().certificate)
    assert of_the_client(scene) == []


def test_without_the_intermediate_in_its_file_such_a_leaf_is_of_another_ca() -> None:
    assert of_the_client(with_leaf(leaf(intermediate()))) == ["client-certificate-of-another-ca"]


def test_a_leaf_by_way_of_another_leaf_is_of_another_ca_as_in_go() -> None:
    middle = leaf(CA, "no-ca")
    below = leaf(middle)
    scene = with_leaf(below).file("front-proxy-client.crt", below.certificate + middle.certificate)
    assert of_the_client(scene) == ["client-certificate-of-another-ca"]


def test_an_intermediate_that_did_not_sign_the_leaf_does_not_help() -> None:
    foreign = leaf(OTHER_CA)
    scene = with_leaf(foreign).file(
        "front-proxy-client.crt", foreign.certificate + intermediate().certificate
    )
    assert of_the_client(scene) == ["client-certificate-of-another-ca"]


def test_an_expired_leaf_shows_its_date_and_the_way_out() -> None:
    (found,) = client_findings(see(with_leaf(leaf(CA, days=-400))), NOW)
    assert found.message == "it expired on 2026-04-27 12:00 UTC"
    assert found.fix == "aggctl enable --repair"


# --- links -----------------------------------------------------------------------------------------------


def linked(target: str, folder_link: str = "") -> Scene:
    """The CA file seen through a link."""
    path = f"{PKI}/front-proxy-ca.crt"
    folder = FolderSeen(("front-proxy-ca.crt",), writable=True, uid=0, gid=0, link=folder_link)
    return ON.answering({FileAt(path): file(CA.certificate, link=target), FolderAt(PKI): folder})


def test_a_link_out_of_the_pods_volumes_is_a_file_that_the_pod_does_not_have() -> None:
    (found,) = see(linked("/root/ca/front-proxy-ca.crt")).hidden
    assert (found.code, found.subject) == ("file-not-mounted", f"{PKI}/front-proxy-ca.crt")
    assert "cp --remove-destination /root/ca/front-proxy-ca.crt" in found.fix


def test_a_link_that_stays_within_a_volume_is_good() -> None:
    assert see(linked(f"{PKI}/v2/front-proxy-ca.crt")).hidden == ()


def test_a_volume_that_is_itself_a_link_gives_the_pod_what_it_leads_to() -> None:
    assert see(linked("/data/pki/front-proxy-ca.crt", folder_link="/data/pki")).hidden == ()


def test_a_link_out_of_a_volume_that_is_a_link_is_not_good() -> None:
    assert codes(see(linked("/root/ca.crt", folder_link="/data/pki")).hidden) == ["file-not-mounted"]


def test_of_a_file_under_no_volume_nothing_is_said_of_its_link() -> None:
    scene = linked("/root/ca/front-proxy-ca.crt").mounted(("/etc/ssl/certs", "/etc/ssl/certs"))
    assert see(scene).hidden == ()


def test_a_ca_flag_that_is_empty_is_no_place() -> None:
    assert see(ON.flag(**{CA_FLAG: ""})).ca_at.inside == f"{PKI}/front-proxy-ca.crt"
