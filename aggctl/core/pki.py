"""Certificates of the aggregation layer as values: issue them, and say what they are.

Names, lifetimes and extensions are kubeadm's (kubernetes/cmd/kubeadm/app/util/pkiutil/pki_helpers.go,
phases/certs/certlist.go), so that `kubeadm certs` goes on working with what aggctl writes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

BACKDATE = timedelta(minutes=5)
"""kubeadm dates certificates back by this much, so that a clock slightly behind still accepts them."""

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
KEY_ALGORITHMS = ("RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256", "ECDSA-P384")
"""kubeadm's `encryptionAlgorithm` names; kube-apiserver reads RSA and ECDSA keys, no Ed25519."""

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for a certificate that it cannot take apart; parts are read late."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM. The key never shows in a `repr`."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one X.509 certificate says of itself. Fingerprints are SHA-256 in hex."""

    common_name: str
    organizations: tuple[str, ...]
    issuer: str
    subject: str
    not_before: datetime
    not_after: datetime
    is_ca: bool
    client_auth: bool
    server_auth: bool
    sans: tuple[str, ...]
    fingerprint: str
    public_key: str
    pem: bytes = field(repr=False)

    def valid_at(self, moment: datetime) -> bool:
        """Whether `moment` (aware) lies within the certificate's validity."""
        return self.not_before <= moment <= self.not_after


class PkiError(ValueError):
    """Text that is no certificate or key of a kind Kubernetes reads; the message says which and why."""


def new_ca(
    common_name: str, now: datetime, *, algorithm: str = "RSA-2048", lifetime: timedelta = CA_LIFETIME
) -> KeyPair:
    """Make a self-signed CA with the key usages of kubeadm's, and its name as a SAN."""
    key = _new_key(algorithm)
    name = _name(common_name, ())
    certificate = (
        _builder(name, name, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(
    ca: KeyPair,
    common_name: str,
    now: datetime,
    *,
    usage: str,
    organizations: Iterable[str] = (),
    sans: Iterable[str] = (),
    algorithm: str = "RSA-2048",
    lifetime: timedelta = LEAF_LIFETIME,
) -> KeyPair:
    """Issue a leaf below `ca`; `usage` is `client` or `server`, `sans` are DNS names and IP addresses."""
    key = _new_key(algorithm)
    authority = x509.load_pem_x509_certificate(ca.certificate)
    purpose = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}[usage]
    builder = (
        _builder(_name(common_name, organizations), authority.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    names = [_general_name(san) for san in sans]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pair(builder.sign(load_key(ca.key), hashes.SHA256()), key)


def read_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Read every certificate of a PEM file, in its order; PkiError where there is none or one is broken."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except _UNREADABLE as error:
        raise PkiError(f"no PEM certificate can be read from it ({error})") from error
    try:
        return tuple(_describe(certificate) for certificate in found)
    except _UNREADABLE as error:
        raise PkiError(f"a certificate in it has parts that cannot be read ({error})") from error


def load_key(pem: bytes) -> PrivateKey:
    """Read an unencrypted RSA or ECDSA private key; PkiError for anything else, quoting nothing of it."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise PkiError("the private key is encrypted; kube-apiserver cannot read it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PkiError("no PEM private key can be read from it") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PkiError(f"the private key is of type {type(key).__name__}; kube-apiserver reads RSA and ECDSA")
    return key


def public_key_of(pem: bytes) -> str:
    """The fingerprint of a private key's public half, to compare with `Certificate.public_key`."""
    return _public_fingerprint(load_key(pem).public_key())


def signed_by(certificate: Certificate, authority: Certificate) -> bool:
    """Whether `authority` signed `certificate`: the signature itself, not only the names."""
    try:
        _load(certificate).verify_directly_issued_by(_load(authority))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def serving_problem(
    chain: tuple[Certificate, ...], authorities: tuple[Certificate, ...], name: str, now: datetime
) -> str:
    """Why a client that trusts `authorities` and asks for `name` refuses this chain, leaf first; or empty.

    As kube-apiserver does it: the name must be a SAN, the common name never counts; each CA up to a trusted
    one must be valid too (crypto/x509, Certificate.isValid).
    """
    leaf = chain[0]
    if not leaf.valid_at(now):
        return f"it is valid from {leaf.not_before:%Y-%m-%d} until {leaf.not_after:%Y-%m-%d} only"
    if not leaf.server_auth:
        return "its extended key usage does not allow a server"
    if not {name, f"*.{name.partition('.')[2]}"} & set(leaf.sans):
        return f"it is for {', '.join(leaf.sans) or 'no name at all'}"
    trusted = [each for each in authorities if each.valid_at(now)]
    above = [each for each in chain[1:] if each.is_ca and each.valid_at(now)]
    link = leaf
    while link not in trusted and not any(signed_by(link, each) for each in trusted):
        signer = next((each for each in above if signed_by(link, each)), None)
        if signer is None:
            return f"none of the CAs to verify it by that are valid now signed it (issuer {link.issuer})"
        above.remove(signer)
        link = signer
    return ""


def new_service_account_key(algorithm: str = "RSA-2048") -> tuple[bytes, bytes]:
    """A key pair for ServiceAccount tokens as kubeadm's sa.key and sa.pub: (private PEM, public PEM)."""
    key = _new_key(algorithm)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _key_pem(key), public


def _new_key(algorithm: str) -> PrivateKey:
    kind, _, size = algorithm.partition("-")
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    return ec.generate_private_key({"P256": ec.SECP256R1(), "P384": ec.SECP384R1()}[size])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _name(common_name: str, organizations: Iterable[str]) -> x509.Name:
    units = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, unit) for unit in organizations]
    return x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        subject_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]  # a CA key that signed is RSA or ECDSA
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_id)


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _pair(certificate: x509.Certificate, key: PrivateKey) -> KeyPair:
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _load(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.pem)


def _describe(certificate: x509.Certificate) -> Certificate:
    purposes, is_ca, sans = _extensions(certificate)
    anything = purposes is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes
    return Certificate(
        common_name=_last(certificate.subject, NameOID.COMMON_NAME),
        organizations=tuple(
            str(unit.value) for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ),
        issuer=certificate.issuer.rfc4514_string(),
        subject=certificate.subject.rfc4514_string(),
        not_before=certificate.not_valid_before_utc.astimezone(UTC),
        not_after=certificate.not_valid_after_utc.astimezone(UTC),
        is_ca=is_ca,
        client_auth=anything or ExtendedKeyUsageOID.CLIENT_AUTH in (purposes or ()),
        server_auth=anything or ExtendedKeyUsageOID.SERVER_AUTH in (purposes or ()),
        sans=sans,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        public_key=_public_fingerprint(certificate.public_key()),
        pem=certificate.public_bytes(serialization.Encoding.PEM),
    )


def _extensions(
    certificate: x509.Certificate,
) -> tuple[x509.ExtendedKeyUsage | None, bool, tuple[str, ...]]:
    purposes: x509.ExtendedKeyUsage | None = None
    is_ca = False
    sans: tuple[str, ...] = ()
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage):
            purposes = value
        elif isinstance(value, x509.BasicConstraints):
            is_ca = value.ca
        elif isinstance(value, x509.SubjectAlternativeName):
            sans = (
                *value.get_values_for_type(x509.DNSName),
                *(str(address) for address in value.get_values_for_type(x509.IPAddress)),
            )
    return purposes, is_ca, sans


def _last(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    """Go's pkix.Name keeps the last value of a repeated attribute, and kube-apiserver goes by it."""
    values = name.get_attributes_for_oid(oid)
    return str(values[-1].value) if values else ""


def _public_fingerprint(key: PublicKeyTypes) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
