"""The certificates of the layer on one node: where they are or belong, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.findings import Finding
from aggctl.core.questions import FileAt, FolderAt, KeyAt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from aggctl.core.node import Node
    from aggctl.core.pki import Certificate
    from aggctl.core.questions import FileSeen, KeySeen
    from aggctl.core.snapshot import Snapshot

KUBEADM_FOLDER = "/etc/kubernetes/pki"


@dataclass(frozen=True, slots=True)
class Place:
    """One file: its path inside the Pod, on the host, and whether a volume of the Pod covers it."""

    inside: str
    host: str
    mounted: bool


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """The files of the layer, as far as they exist."""

    folder: Place
    ca_at: Place
    ca_key_at: str
    certificate_at: Place
    key_at: Place
    ca: FileSeen | None
    authorities: tuple[Certificate, ...]
    ca_key: KeySeen | None
    certificate_file: FileSeen | None
    certificate: Certificate | None
    intermediates: tuple[Certificate, ...]
    key: KeySeen | None
    client_authorities: tuple[Certificate, ...]
    unreadable: tuple[Finding, ...]
    hidden: tuple[Finding, ...]

    @property
    def signs(self) -> bool:
        """Whether the CA's key is here, so that certificates can be issued."""
        return bool(
            self.authorities and self.ca_key and self.ca_key.public_key == self.authorities[0].public_key
        )

    @property
    def signers(self) -> tuple[Certificate, ...]:
        """The authorities that the client certificate ends at, by way of the intermediates in its file.

        Go takes a certificate that is itself among the roots for trusted, and so does this.
        """
        reached = [self.certificate] if self.certificate else []
        ahead = [each for each in self.intermediates if each.is_ca]
        while found := [each for each in ahead if any(pki.signed_by(one, each) for one in reached)]:
            reached += found
            ahead = [each for each in ahead if each not in found]
        return tuple(
            each
            for each in self.authorities
            if any(each.fingerprint == one.fingerprint or pki.signed_by(one, each) for one in reached)
        )


def see_files(snapshot: Snapshot, node: Node, pki_dir: str) -> LayerFiles:
    """The files behind the flags, or where missing ones belong; what of them cannot be read."""
    folder = _folder(node, pki_dir)
    layer = node.layer
    ca_at = _place(node, layer.ca or f"{folder.inside}/front-proxy-ca.crt", folder)
    certificate_at = _place(node, layer.certificate or f"{folder.inside}/front-proxy-client.crt", folder)
    key_at = _place(node, layer.key or beside(certificate_at.inside), folder)
    ca_key_at = beside(ca_at.host)
    client_ca = _client_ca(node)
    snapshot.expect(
        *(FileAt(path) for path in (ca_at.host, certificate_at.host, *client_ca)),
        *(KeyAt(path) for path in (ca_key_at, key_at.host)),
    )
    ca = snapshot.file(ca_at.host)
    certificate_file = snapshot.file(certificate_at.host)
    authorities, ca_problem = _read(ca, ca_at.host)
    certificates, certificate_problem = _read(certificate_file, certificate_at.host)
    return LayerFiles(
        folder=folder,
        ca_at=ca_at,
        ca_key_at=ca_key_at,
        certificate_at=certificate_at,
        key_at=key_at,
        ca=ca,
        authorities=authorities,
        ca_key=snapshot.key(ca_key_at),
        certificate_file=certificate_file,
        certificate=certificates[0] if certificates else None,
        intermediates=certificates[1:],
        key=snapshot.key(key_at.host),
        client_authorities=tuple(each for path in client_ca for each in _read(snapshot.file(path), path)[0]),
        unreadable=tuple(each for each in (ca_problem, certificate_problem) if each),
        hidden=tuple(_hidden(snapshot, node, ((ca, ca_at), (certificate_file, certificate_at)))),
    )


def beside(certificate_path: str) -> str:
    """The key of a certificate by name, as everybody names them: x.crt and x.key, x.pem and x-key.pem."""
    stem, dot, ending = certificate_path.rpartition(".")
    if not dot or "/" in ending:
        return f"{certificate_path}.key"
    return f"{stem}-key.pem" if ending == "pem" else f"{stem}.key"


def authority_findings(files: LayerFiles, now: datetime, *, in_use: bool) -> Iterator[Finding]:
    """What is wrong with the front-proxy CA; sharing it with clients is a warning where it is `in_use`."""
    path = files.ca_at.host
    judged = files.signers or files.authorities[:1]
    if not any(each.is_ca and each.valid_at(now) for each in judged):
        for authority in judged[:1]:
            own_leaf = (
                files.certificate is not None and files.certificate.fingerprint == authority.fingerprint
            )
            yield from authority_faults(authority, path, now, tolerated=own_leaf and in_use)
    shared = {each.public_key for each in files.client_authorities} & {
        each.public_key for each in files.authorities
    }
    if shared:
        yield Finding(
            code="front-proxy-ca-is-client-ca",
            severity="warning" if in_use else "error",
            subject=path,
            message="it is the CA of ordinary clients too, so any of their certificates may name any user",
            expected="a CA of its own for the front proxy",
            fix="aggctl explain front-proxy-ca-is-client-ca",
        )


def authority_faults(
    authority: Certificate, path: str, now: datetime, *, tolerated: bool = False
) -> Iterator[Finding]:
    """Why a certificate can be nobody's CA now; a leaf that is its own root works: it may be `tolerated`."""
    if not authority.is_ca:
        yield Finding(
            code="front-proxy-ca-is-no-ca",
            severity="warning" if tolerated else "error",
            subject=path,
            message=f"the certificate in it ({authority.subject}) is no CA",
            expected="a certificate with CA:TRUE",
            fix=f"move {path} away and run: aggctl enable --repair",
        )
    if not authority.valid_at(now):
        yield _expired(path, authority, now, "front-proxy-ca-expired")


def client_findings(files: LayerFiles, now: datetime) -> Iterator[Finding]:
    """What is wrong with the client certificate that the aggregator shows to extension servers."""
    leaf, path = files.certificate, files.certificate_at.host
    if leaf is None:
        return
    if files.authorities and not files.signers:
        yield _client(
            "client-certificate-of-another-ca", path, f"{files.ca_at.host} did not sign it", leaf.issuer
        )
    if not leaf.client_auth:
        yield _client(
            "client-certificate-without-client-auth", path, "its usages lack clientAuth", "clientAuth"
        )
    if not leaf.valid_at(now):
        yield _expired(path, leaf, now, "client-certificate-expired")
    if files.key is None:
        yield _client("client-key-missing", path, f"its key {files.key_at.host} is missing", "both files")
    elif files.key.problem:
        yield _client("client-key-not-readable", files.key_at.host, files.key.problem, "an RSA or ECDSA key")
    elif files.key.public_key != leaf.public_key:
        yield _client(
            "client-key-mismatch",
            path,
            f"{files.key_at.host} is not its key",
            "key and certificate of one pair",
        )


def _hidden(
    snapshot: Snapshot, node: Node, files: Iterable[tuple[FileSeen | None, Place]]
) -> Iterator[Finding]:
    """Files that exist for the host and not for the Pod, because a link leads out of its volumes.

    A volume whose own path goes through a link is another matter: the Pod gets what the link leads to.
    """
    for seen, place in files:
        if seen and seen.link and place.mounted and not _within_volumes(snapshot, node, seen.link):
            yield Finding(
                code="file-not-mounted",
                severity="error",
                subject=place.host,
                message=f"it is a symbolic link to {seen.link}, which no volume of the Pod covers",
                expected="a file below a volume of the Pod",
                fix=f"cp --remove-destination {seen.link} {place.host}",
            )


def _within_volumes(snapshot: Snapshot, node: Node, path: str) -> bool:
    if node.manifest.container_path(path) is not None:
        return True
    volumes = tuple(mount.host_path for mount in node.manifest.mounts if not mount.sub_path)
    snapshot.expect(*(FolderAt(each) for each in volumes))
    behind = [folder.link for each in volumes if (folder := snapshot.folder(each)) and folder.link]
    return any(path.startswith(f"{each}/") for each in behind)


def _folder(node: Node, pki_dir: str) -> Place:
    manifest, layer = node.manifest, node.layer
    if pki_dir:
        inside = manifest.container_path(pki_dir)
        return Place(inside or pki_dir, pki_dir, inside is not None)
    client_ca = (*manifest.values("client-ca-file"), "")[0]
    known = next((path for path in (layer.ca, layer.certificate, client_ca) if path and "/" in path[1:]), "")
    inside = known.rpartition("/")[0] or KUBEADM_FOLDER
    host = manifest.host_path(inside)
    return Place(inside, host or inside, host is not None)


def _place(node: Node, inside: str, folder: Place) -> Place:
    host = node.manifest.host_path(inside)
    if host is None and inside.rpartition("/")[0] == folder.inside:
        return Place(inside, f"{folder.host}/{inside.rpartition('/')[2]}", mounted=False)
    return Place(inside, host or inside, host is not None)


def _client_ca(node: Node) -> tuple[str, ...]:
    inside = node.manifest.values("client-ca-file")
    hosts = (node.manifest.host_path(path) for path in inside)
    return tuple(path for path in hosts if path)


def _read(file: FileSeen | None, path: str) -> tuple[tuple[Certificate, ...], Finding | None]:
    if file is None:
        return (), None
    try:
        return pki.read_certificates(file.content), None
    except pki.PkiError as error:
        return (), Finding(
            code="certificate-not-readable",
            severity="error",
            subject=path,
            message=f"{path}: {error}",
            expected="PEM certificates",
            fix=f"move {path} away and run: aggctl enable --repair",
        )


def _expired(path: str, certificate: Certificate, now: datetime, code: str) -> Finding:
    if now < certificate.not_before:
        found = f"it is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    else:
        found = f"it expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    return Finding(
        code=code,
        severity="error",
        subject=path,
        message=found,
        expected=f"a certificate that is valid now ({now:%Y-%m-%d %H:%M} UTC)",
        fix="aggctl enable --repair" if code.startswith("client") else f"aggctl explain {code}",
    )


def _client(code: str, path: str, found: str, expected: str) -> Finding:
    return Finding(
        code=code,
        severity="error",
        subject=path,
        message=found,
        expected=expected,
        fix="aggctl enable --repair     (issues a new pair)",
    )
