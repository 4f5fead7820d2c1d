"""A kubeadm node and its cluster as plain data, with what a test changes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from aggctl.core import pki
from aggctl.core.cluster_view import API_SERVICES, KUBERNETES_SLICES
from aggctl.core.enable import Sight, see
from aggctl.core.need import Wanted
from aggctl.core.plan import stamp
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    PROBE_USER,
    AnswerSeen,
    ArgumentsAccepted,
    AskApi,
    AskAs,
    ClockSkew,
    ContainerLogs,
    Dial,
    Existing,
    FileAt,
    FileSeen,
    FolderAt,
    FolderSeen,
    KeyAt,
    KeySeen,
    ObjectAt,
    Processes,
    ProcessSeen,
    Question,
    ReadyAt,
    Unknown,
    WhoSeen,
)
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggctl.core.findings import Finding
    from aggctl.core.pki import KeyPair
    from aggctl.core.snapshot import Snapshot

Result = TypeVar("Result")

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERVER = "https://10.0.0.11:6443"
PEER = "10.0.0.12"
PKI = "/etc/kubernetes/pki"
MANIFESTS = "/etc/kubernetes/manifests"
MANIFEST = f"{MANIFESTS}/kube-apiserver.yaml"
WRITTEN = 1000.0
"""When the manifest was last changed, in seconds of the epoch."""

CA_FLAG, NAMES_FLAG, ROUTING_FLAG = (
    "requestheader-client-ca-file",
    "requestheader-allowed-names",
    "enable-aggregator-routing",
)
EIGHT = {
    CA_FLAG: f"{PKI}/front-proxy-ca.crt",
    NAMES_FLAG: "front-proxy-client",
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-username-headers": "X-Remote-User",
    "proxy-client-cert-file": f"{PKI}/front-proxy-client.crt",
    "proxy-client-key-file": f"{PKI}/front-proxy-client.key",
    ROUTING_FLAG: "true",
}
OTHERS = {"advertise-address": "10.0.0.11", "client-ca-file": f"{PKI}/ca.crt", "secure-port": "6443"}


@cache
def authority(common_name: str = "front-proxy-ca", *, days: int = -30, lifetime: int = 3650) -> KeyPair:
    """A CA made so many days from NOW; the same one each time."""
    return pki.new_ca(
        common_name,
        NOW + timedelta(days=days),
        algorithm="ECDSA-P256",
        lifetime=timedelta(days=lifetime),
    )


@cache
def leaf(
    ca: KeyPair,
    common_name: str = "front-proxy-client",
    *,
    days: int = -30,
    lifetime: int = 365,
    usage: str = "client",
) -> KeyPair:
    """A leaf below `ca`; the same one each time."""
    return pki.issue(
        ca,
        common_name,
        NOW + timedelta(days=days),
        usage=usage,
        algorithm="ECDSA-P256",
        lifetime=timedelta(days=lifetime),
    )


@cache
def nameless(ca: KeyPair) -> KeyPair:
    """A client certificate without a CN; the same one each time."""
    named, above = leaf(ca), x509.load_pem_x509_certificate(ca.certificate)
    model = x509.load_pem_x509_certificate(named.certificate)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "nobody")]))
        .issuer_name(above.subject)
        .public_key(model.public_key())
        .serial_number(model.serial_number + 1)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .sign(pki.load_key(ca.key), hashes.SHA256())
    )
    return pki.KeyPair(made.public_bytes(serialization.Encoding.PEM), named.key)


def certificate(pair: KeyPair) -> pki.Certificate:
    """What the pair's certificate says of itself."""
    return pki.read_certificates(pair.certificate)[0]


def manifest_text(
    flags: Iterable[str],
    mounts: Iterable[tuple[str, str]] = ((PKI, PKI),),
    command: Iterable[str] = ("kube-apiserver",),
    env: Mapping[str, str] | None = None,
) -> str:
    """A static Pod as kubeadm writes it; `mounts` are pairs of mountPath and hostPath."""
    mounts = tuple(mounts)
    lines = [
        "apiVersion: v1",
        "kind: Pod",
        "metadata:",
        "  name: kube-apiserver",
        "  namespace: kube-system",
        "spec:",
        "  containers:",
        "  - command:",
        *(f"    - {word}" for word in command),
        *(f"    - {flag}" for flag in flags),
        "    image: registry.k8s.io/kube-apiserver:v1.34.1",
        "    name: kube-apiserver",
    ]
    if env:
        lines += ["    env:"]
        lines += [
            line for name, value in env.items() for line in (f"    - name: {name}", f"      value: {value}")
        ]
    if mounts:
        lines += ["    volumeMounts:"]
        for number, (inside, _) in enumerate(mounts):
            lines += [f"    - mountPath: {inside}", f"      name: volume-{number}", "      readOnly: true"]
    lines += ["  hostNetwork: true"]
    if mounts:
        lines += ["  volumes:"]
        for number, (_, host) in enumerate(mounts):
            lines += ["  - hostPath:", f"      path: {host}", f"    name: volume-{number}"]
    return "\n".join(lines) + "\n"


def file(content: bytes, mode: int = 0o600, *, link: str = "", changed: float = WRITTEN) -> FileSeen:
    """A file of root."""
    return FileSeen(content, stamp(content, mode, 0, 0), link, changed)


def config_map(authorities: bytes, names: Iterable[str] = ("front-proxy-client",)) -> dict[str, Any]:
    """The ConfigMap extension-apiserver-authentication as kube-apiserver writes it."""
    data = {"requestheader-client-ca-file": authorities.decode(), "requestheader-allowed-names": _list(names)}
    return {"kind": "ConfigMap", "data": data}


def _list(names: Iterable[str]) -> str:
    return json.dumps(list(names))


def slices(*addresses: str, ready: bool | None = None, **ports: int) -> dict[str, Any]:
    """An EndpointSliceList; `ports` by name, without the name where it is called `unnamed`."""
    conditions = {} if ready is None else {"conditions": {"ready": ready}}
    found = [
        {"port": port} if name == "unnamed" else {"name": name, "port": port} for name, port in ports.items()
    ]
    endpoints = [{"addresses": [each], **conditions} for each in addresses]
    metadata = {"name": "slice", "namespace": "shop"}
    return {"items": [{"metadata": metadata, "endpoints": endpoints, "ports": found}]}


@dataclass(frozen=True, slots=True)
class Scene:
    """A node and its cluster. `files` holds keys too; `answers` go before what is derived from the rest.

    `complaint` is what the running binary says of any command line.
    """

    flags: Mapping[str, str] = field(default_factory=lambda: {**OTHERS, **EIGHT})
    command: tuple[str, ...] = ("kube-apiserver",)
    mounts: tuple[tuple[str, str], ...] = ((PKI, PKI),)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[Question, Any] = field(default_factory=dict)
    complaint: Any = ""

    @property
    def text(self) -> str:
        """The manifest."""
        return manifest_text(self.words, self.mounts, self.command, self.env)

    @property
    def words(self) -> tuple[str, ...]:
        """The flags as words of the command line."""
        return tuple(f"--{name}={value}" for name, value in self.flags.items())

    def flag(self, **flags: str | None) -> Scene:
        """Set flags (with `_` for `-`), or take them away by None."""
        changed = {**self.flags, **{name.replace("_", "-"): value for name, value in flags.items()}}
        return replace(self, flags={name: value for name, value in changed.items() if value is not None})

    def file(self, path: str, content: bytes | None) -> Scene:
        """Put a file at an absolute path, or below PKI by its name alone; take it away by None."""
        path = path if path.startswith("/") else f"{PKI}/{path}"
        kept = {each: found for each, found in self.files.items() if each != path}
        return replace(self, files=kept if content is None else {**kept, path: content})

    def pair(self, stem: str, pair: KeyPair | None) -> Scene:
        """Put a certificate and its key below PKI, or take both away."""
        scene = self.file(f"{stem}.crt", pair.certificate if pair else None)
        return scene.file(f"{stem}.key", pair.key if pair and pair.key else None)

    def mounted(self, *mounts: tuple[str, str]) -> Scene:
        """Let the Pod have these volumes (mountPath, hostPath)."""
        return replace(self, mounts=mounts)

    def object(self, path: str, found: Any) -> Scene:
        """Let the API answer a GET so."""
        return replace(self, objects={**self.objects, path: found})

    def publishing(self, *pairs: KeyPair, names: Iterable[str] = ("front-proxy-client",)) -> Scene:
        """Let the cluster publish these CAs and names; without a CA, nothing."""
        if not pairs:
            return self.object(CONFIG_MAP, {"kind": "ConfigMap", "data": {}})
        return self.object(CONFIG_MAP, config_map(b"".join(each.certificate for each in pairs), names))

    def with_peer(self) -> Scene:
        """Let there be a second control-plane node."""
        return self.object(KUBERNETES_SLICES, slices("10.0.0.11", PEER, https=6443))

    def silent(self) -> Scene:
        """Let the API be down."""
        silence = Unknown(f"{SERVER} does not answer: refused", "apiserver-not-reachable")
        paths = ("/version", CONFIG_MAP, KUBERNETES_SLICES, API_SERVICES)
        asked: dict[Question, Any] = {ObjectAt(path, SERVER): silence for path in paths}
        return self.answering(
            {**asked, ClockSkew(SERVER): silence, ReadyAt(SERVER): silence, Processes(6443): ()}
        )

    def answering(self, answers: Mapping[Any, Any]) -> Scene:
        """Answer these so, whatever the rest says; a bare status is that of a server asked directly."""
        whole = {
            asked: AnswerSeen(answer) if isinstance(asked, AskApi) and isinstance(answer, int) else answer
            for asked, answer in answers.items()
        }
        return replace(self, answers={**self.answers, **whole})

    def look(self, question: Question) -> Any:
        """Answer a question."""
        if question in self.answers:
            return self.answers[question]
        match question:
            case FileAt(path):
                content = self._all_files().get(path)
                return None if content is None else file(content)
            case KeyAt(path):
                return _key(self._all_files().get(path))
            case FolderAt(path):
                return self._folder(path)
            case Existing(paths):
                return tuple(path for path in paths if path in self.files or self._folder(path))
            case ObjectAt(path, _):
                return self.objects.get(path)
            case Processes(_):
                return (ProcessSeen(100, 5.0, ("kube-apiserver", *self.words)),)
        return {**_WELL, ArgumentsAccepted: self.complaint}[type(question)]

    def ask(self, function: Callable[[Snapshot], Result]) -> Result:
        """What a pure function makes of the scene."""
        return settle(function, self.look)[0]

    def see(self, **wanted: Any) -> Sight:
        """What `enable` makes of the scene."""
        return self.ask(lambda snapshot: see(snapshot, Wanted(**wanted), NOW))

    def _all_files(self) -> dict[str, bytes]:
        return {MANIFEST: self.text.encode(), **self.files}

    def _folder(self, path: str) -> FolderSeen | None:
        below = [each for each in self._all_files() if each.startswith(f"{path}/")]
        names = sorted(each.rpartition("/")[2] for each in below if each.rpartition("/")[0] == path)
        return FolderSeen(tuple(names), writable=True, uid=0, gid=0) if below else None


_WELL: Mapping[type[Question], Any] = {
    ReadyAt: "ok",
    ClockSkew: 0.0,
    AskAs: WhoSeen(201, PROBE_USER),
    Dial: "",
    ContainerLogs: (),
}


def _key(content: bytes | None) -> KeySeen | None:
    if content is None:
        return None
    try:
        return KeySeen(pki.public_key_of(content), stamp(content, 0o600, 0, 0))
    except pki.PkiError as error:
        return KeySeen("", stamp(content, 0o600, 0, 0), str(error))


CA = authority()
CLIENT_CA = authority("kubernetes")
OTHER_CA = authority("other-front-proxy-ca")

_BARE = Scene(
    files={f"{PKI}/ca.crt": CLIENT_CA.certificate},
    objects={
        "/version": {"gitVersion": "v1.34.1"},
        KUBERNETES_SLICES: slices("10.0.0.11", https=6443),
        API_SERVICES: {"items": []},
        CONFIG_MAP: {"kind": "ConfigMap", "data": {"client-ca-file": CLIENT_CA.certificate.decode()}},
    },
)
ON = _BARE.pair("front-proxy-ca", CA).pair("front-proxy-client", leaf(CA)).publishing(CA)
"""A node where the layer is on, as kubeadm sets it up, routing included."""

OFF = replace(_BARE, flags=OTHERS)
"""The same node without any of the eight flags and without the certificates."""


def codes(findings: Iterable[Finding]) -> list[str]:
    """The codes of findings."""
    return [each.code for each in findings]
