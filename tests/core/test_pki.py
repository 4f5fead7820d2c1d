"""Certificates as values: issued as kubeadm issues them, read without a traceback, keys never shown."""

from __future__ import annotations

import base64
import datetime as dt
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from support.clusters import OTHER_SERVING_CA, SERVING_CA, below, serving
from support.snapshots import CA, NOW, OTHER_CA, authority, certificate, leaf

from aggctl.core import pki

YEAR = timedelta(days=365)
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


def x509_of(pair: pki.KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def hand_made(
    *extensions: x509.ExtensionType, names: tuple[str, ...] = ("by hand",), key: pki.PrivateKey | None = None
) -> bytes:
    """A self-signed certificate with any extensions."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + YEAR)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem_of(der: bytes) -> bytes:
    """DER as PEM, whatever is in it."""
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def unsigned_pem(pem: bytes, old: bytes, new: bytes) -> bytes:
    """The certificate with some of its bytes changed; its signature no longer fits."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    assert old in der
    return pem_of(der.replace(old, new))


def pkcs8(key: ed25519.Ed25519PrivateKey | pki.PrivateKey, password: bytes = b"") -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


# --- issuing ---------------------------------------------------------------------------------------------


def test_a_new_ca_lives_ten_years_and_is_dated_back_five_minutes() -> None:
    made = certificate(pki.new_ca("front-proxy-ca", NOW, algorithm="ECDSA-P256"))
    assert (made.not_before, made.not_after) == (NOW - timedelta(minutes=5), NOW + timedelta(days=3650))


def test_a_new_ca_may_sign_certificates_and_carries_its_name_as_kubeadms_does() -> None:
    made = x509_of(CA)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert (certificate(CA).common_name, certificate(CA).sans) == ("front-proxy-ca", ("front-proxy-ca",))


def test_a_new_client_certificate_is_kubeadms_one_year_client_auth_only_no_name_but_its_cn() -> None:
    made = certificate(pki.issue(CA, "front-proxy-client", NOW, usage="client", algorithm="ECDSA-P256"))
    assert (made.common_name, made.organizations, made.sans) == ("front-proxy-client", (), ())
    assert (made.client_auth, made.server_auth, made.is_ca) == (True, False, False)
    assert made.not_after == NOW + YEAR


def test_a_leaf_may_not_sign_certificates() -> None:
    assert not x509_of(leaf(CA)).extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_a_serving_certificate_names_hosts_and_addresses_and_is_for_servers_only() -> None:
    made = certificate(
        pki.issue(
            CA,
            "kube-apiserver",
            NOW,
            usage="server",
            organizations=("o",),
            sans=("kubernetes.default.svc", "10.96.0.1", "fd00::1"),
            algorithm="ECDSA-P256",
        )
    )
    assert made.sans == ("kubernetes.default.svc", "10.96.0.1", "fd00::1")
    assert (made.client_auth, made.server_auth, made.organizations) == (False, True, ("o",))


@pytest.mark.parametrize(
    ("algorithm", "kind", "size"),
    [
        ("RSA-2048", rsa.RSAPrivateKey, 2048),
        ("ECDSA-P256", ec.EllipticCurvePrivateKey, 256),
        ("ECDSA-P384", ec.EllipticCurvePrivateKey, 384),
    ],
)
def test_the_key_is_of_the_algorithm_that_was_asked_for(algorithm: str, kind: type, size: int) -> None:
    made = pki.load_key(pki.new_ca("x", NOW, algorithm=algorithm).key)
    assert (isinstance(made, kind), made.key_size) == (True, size)


def test_a_leaf_below_a_ca_without_a_key_identifier_names_the_key_itself() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bare = pki.KeyPair(hand_made(x509.BasicConstraints(ca=True, path_length=None), key=key), pkcs8(key))
    made = x509_of(pki.issue(bare, "front-proxy-client", NOW, usage="client", algorithm="ECDSA-P256"))
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    assert made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value == known


def test_a_service_account_key_is_a_pair() -> None:
    private, public = pki.new_service_account_key("ECDSA-P256")
    own = pki.load_key(private).public_key()
    loaded = serialization.load_pem_public_key(public)
    assert isinstance(loaded, ec.EllipticCurvePublicKey)
    assert loaded == own


# --- judging ---------------------------------------------------------------------------------------------


def test_a_leaf_is_signed_by_its_ca() -> None:
    assert pki.signed_by(certificate(leaf(CA)), certificate(CA))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(OTHER_CA, id="a CA of another name"),
        pytest.param(authority(days=-31), id="a CA of the same name and another key"),
        pytest.param(leaf(CA), id="a leaf"),
    ],
)
def test_a_leaf_is_not_signed_by(other: pki.KeyPair) -> None:
    assert not pki.signed_by(certificate(leaf(CA)), certificate(other))


def test_a_key_is_told_from_another_by_its_public_half() -> None:
    assert pki.public_key_of(CA.key) == certificate(CA).public_key
    assert pki.public_key_of(OTHER_CA.key) != certificate(CA).public_key


@pytest.mark.parametrize(
    ("moment", "valid"),
    [
        (NOW - timedelta(minutes=5, seconds=1), False),
        (NOW - timedelta(minutes=5), True),
        (NOW + YEAR, True),
        (NOW + YEAR + timedelta(seconds=1), False),
        (NOW.astimezone(dt.timezone(timedelta(hours=9))), True),
    ],
    ids=["just before", "from the first second", "to the last second", "just after", "in another time zone"],
)
def test_a_certificate_is_valid_within_its_dates(moment: dt.datetime, valid: bool) -> None:
    assert certificate(leaf(CA, days=0)).valid_at(moment) is valid


@pytest.mark.parametrize(
    ("extensions", "purposes"),
    [
        pytest.param((), (True, True), id="no usages: good for all"),
        pytest.param((x509.ExtendedKeyUsage([ANY_USAGE]),), (True, True), id="any usage: good for all"),
        pytest.param(
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),), (False, False), id="for neither"
        ),
        pytest.param(
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),), (False, True), id="for servers"
        ),
    ],
)
def test_what_a_certificate_is_good_for_is_what_its_usages_say(
    extensions: tuple[x509.ExtensionType, ...], purposes: tuple[bool, bool]
) -> None:
    made = pki.read_certificates(hand_made(*extensions))[0]
    assert (made.client_auth, made.server_auth) == purposes


def test_of_several_common_names_the_last_counts_as_in_go() -> None:
    assert pki.read_certificates(hand_made(names=("first", "last")))[0].common_name == "last"


def test_a_certificate_may_have_no_common_name() -> None:
    assert pki.read_certificates(hand_made(names=()))[0].common_name == ""


def test_other_extensions_do_not_matter() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert not pki.read_certificates(hand_made(unknown))[0].is_ca


# --- serving ---------------------------------------------------------------------------------------------


ROOT, MIDDLE = SERVING_CA, below(SERVING_CA, "middle")
LOWER = below(MIDDLE, "lower")
OLD_MIDDLE = below(SERVING_CA, "middle", days=-400)
OLD_ROOT = authority("things-ca", days=-4000)
NO_CA = serving("middle.example")
DEEP = serving(ca=LOWER)
SELF_SIGNED = authority("things.shop.svc")
GOOD = serving()


def problem(chain: tuple[pki.KeyPair, ...], authorities: tuple[pki.KeyPair, ...]) -> str:
    read, trusted = (tuple(certificate(each) for each in some) for some in (chain, authorities))
    return pki.serving_problem(read, trusted, "things.shop.svc", NOW)


@pytest.mark.parametrize(
    ("chain", "authorities"),
    [
        pytest.param((GOOD,), (ROOT,), id="signed by the CA"),
        pytest.param((GOOD,), (OTHER_SERVING_CA, ROOT), id="signed by one of the CAs"),
        pytest.param((GOOD, ROOT), (ROOT,), id="the CA is in the chain too"),
        pytest.param((serving("x", "things.shop.svc"),), (ROOT,), id="several names"),
        pytest.param((serving("*.shop.svc"),), (ROOT,), id="a wildcard"),
        pytest.param((DEEP, LOWER, MIDDLE), (ROOT,), id="two intermediate CAs"),
        pytest.param((DEEP, MIDDLE, LOWER), (ROOT,), id="two intermediate CAs, out of order"),
        pytest.param((DEEP, OTHER_SERVING_CA, LOWER), (MIDDLE,), id="an intermediate CA is trusted"),
        pytest.param((SELF_SIGNED,), (SELF_SIGNED,), id="signed by itself, and trusted"),
    ],
)
def test_a_chain_that_a_client_verifies_has_no_problem(
    chain: tuple[pki.KeyPair, ...], authorities: tuple[pki.KeyPair, ...]
) -> None:
    assert problem(chain, authorities) == ""


NOT_SIGNED = "none of the CAs to verify it by that are valid now signed it (issuer CN={})"


@pytest.mark.parametrize(
    ("chain", "authorities", "why"),
    [
        pytest.param(
            (serving(days=-60, lifetime=30),),
            (ROOT,),
            "it is valid from 2026-04-02 until 2026-05-02 only",
            id="expired",
        ),
        pytest.param(
            (serving(days=1),),
            (ROOT,),
            "it is valid from 2026-06-02 until 2027-06-02 only",
            id="not valid yet",
        ),
        pytest.param(
            (serving(usage="client"),),
            (ROOT,),
            "its extended key usage does not allow a server",
            id="for clients",
        ),
        pytest.param((serving("a", "b"),), (ROOT,), "it is for a, b", id="other names"),
        pytest.param((serving("*.svc"),), (ROOT,), "it is for *.svc", id="a wildcard of the level above"),
        pytest.param((serving("*"),), (ROOT,), "it is for *", id="a wildcard for all"),
        pytest.param(
            (leaf(ROOT, "things.shop.svc", usage="server"),),
            (ROOT,),
            "it is for no name at all",
            id="its name is the CN only",
        ),
        pytest.param((GOOD,), (), NOT_SIGNED.format("things-ca"), id="nobody is trusted"),
        pytest.param((GOOD,), (OTHER_SERVING_CA,), NOT_SIGNED.format("things-ca"), id="another CA"),
        pytest.param(
            (GOOD,), (authority("things-ca", days=-31),), NOT_SIGNED.format("things-ca"), id="a namesake"
        ),
        pytest.param(
            (GOOD, ROOT), (OTHER_SERVING_CA,), NOT_SIGNED.format("things-ca"), id="its own CA in the chain"
        ),
        pytest.param(
            (serving(ca=OLD_ROOT),), (OLD_ROOT,), NOT_SIGNED.format("things-ca"), id="the CA expired"
        ),
        pytest.param((DEEP, MIDDLE), (ROOT,), NOT_SIGNED.format("lower"), id="an intermediate CA is missing"),
        pytest.param(
            (serving(ca=OLD_MIDDLE), OLD_MIDDLE),
            (ROOT,),
            NOT_SIGNED.format("middle"),
            id="an intermediate CA expired",
        ),
        pytest.param((serving(ca=NO_CA), NO_CA), (ROOT,), NOT_SIGNED.format("things"), id="signed by a leaf"),
        pytest.param((SELF_SIGNED,), (ROOT,), NOT_SIGNED.format("things.shop.svc"), id="signed by itself"),
    ],
)
def test_a_chain_that_a_client_refuses_is_named_with_the_reason(
    chain: tuple[pki.KeyPair, ...], authorities: tuple[pki.KeyPair, ...], why: str
) -> None:
    assert problem(chain, authorities) == why


# --- reading ---------------------------------------------------------------------------------------------


def test_a_bundle_is_read_in_its_order() -> None:
    both = pki.read_certificates(OTHER_CA.certificate + b"# old\n" + CA.certificate)
    assert [each.common_name for each in both] == ["other-front-proxy-ca", "front-proxy-ca"]


def test_a_key_in_the_same_file_is_passed_over() -> None:
    assert len(pki.read_certificates(leaf(CA).key + leaf(CA).certificate)) == 1


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\xff\x17", id="binary"),
        pytest.param(CA.key, id="a key"),
        pytest.param(CA.certificate[:-40], id="cut off"),
        pytest.param(
            CA.certificate + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="one bad"
        ),
        pytest.param(
            unsigned_pem(CA.certificate, b"front-proxy-ca", b"front-proxy-c\xff"), id="a name that is no text"
        ),
        pytest.param(
            hand_made(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x02\xa5\x00")),
            id="a SAN of a kind that nobody uses",
        ),
        pytest.param(
            unsigned_pem(CA.certificate, bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
            id="X.509 version 8",
        ),
    ],
)
def test_what_is_no_certificate_is_named_so(pem: bytes) -> None:
    with pytest.raises(pki.PkiError, match=r"cannot be read|can be read"):
        pki.read_certificates(pem)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        pytest.param(b"", "no PEM private key", id="nothing"),
        pytest.param(CA.certificate, "no PEM private key", id="a certificate"),
        pytest.param(pkcs8(ec.generate_private_key(ec.SECP256R1()), b"pw"), "encrypted", id="encrypted"),
        pytest.param(pkcs8(ed25519.Ed25519PrivateKey.generate()), "Ed25519", id="Ed25519"),
    ],
)
def test_what_is_no_key_for_kube_apiserver_is_named_with_the_reason(pem: bytes, why: str) -> None:
    with pytest.raises(pki.PkiError, match=why):
        pki.load_key(pem)


def test_a_broken_key_is_not_quoted_in_the_message() -> None:
    lines = CA.key.splitlines()
    with pytest.raises(pki.PkiError) as caught:
        pki.load_key(b"\n".join([*lines[:2], lines[-1]]))
    assert lines[1].decode() not in f"{caught.value!r}"


def test_a_pkcs8_key_is_as_good_as_a_traditional_one() -> None:
    assert pki.public_key_of(pkcs8(pki.load_key(CA.key))) == certificate(CA).public_key


def test_a_pair_shows_its_certificate_and_never_its_key() -> None:
    assert "BEGIN CERTIFICATE" in repr(CA)
    assert "PRIVATE" not in repr(CA)
