"""What a node lacks for the layer to be on: flags, files, mounts. Decided from what was seen, nothing minted.

What works stays: other paths, names and CAs that agree with each other are kept. What is missing is added.
What is wrong is refused with its cause, or replaced where the user asked for `--repair`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from posixpath import normpath
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core import pki
from aggctl.core.findings import Finding
from aggctl.core.layer_files import (
    KUBEADM_FOLDER,
    authority_faults,
    authority_findings,
    client_findings,
)
from aggctl.core.manifest import NewMount
from aggctl.core.need_findings import (
    another,
    any_name,
    any_name_elsewhere,
    api_needed,
    key_without_ca,
    name_not_allowed,
    nameless,
    no_ca_key,
    orphan,
)
from aggctl.core.node_change import UNSAFE_MOUNTS
from aggctl.core.questions import KeySeen, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aggctl.core.cluster_view import ClusterView
    from aggctl.core.layer_files import LayerFiles, Place
    from aggctl.core.node import Node
    from aggctl.core.pki import KeyPair

_NEEDED_FILES = ("client-ca-file", "tls-cert-file", "service-account-key-file", "etcd-cafile")
_MENDED_BY_REPAIR = frozenset(
    {"flag-value-wrong", "client-name-not-allowed", "client-certificate-expired", "client-key-missing"}
    | {"client-certificate-of-another-ca", "client-certificate-without-client-auth", "client-key-mismatch"}
    | {"client-key-not-readable", "certificate-not-readable"}
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked `enable` for. `ca` is what --ca-from gave; its key may be empty.

    `persist` is auto, kubeadm or none: where `kubeadm upgrade` is told of it, once the result was `awaited`.
    """

    routing: str = "on"
    routing_asked: bool = False
    repair: bool = False
    key_algorithm: str = "RSA-2048"
    manifest: str = ""
    pki_dir: str = ""
    deadline: float = 240.0
    persist: str = "auto"
    awaited: bool = True
    ca: KeyPair | None = field(default=None, repr=False)
    kept: KeyPair | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Need:
    """What is to be done. `ca_source` is "", "mint", "given" or "kept"; `client_name` that of a new leaf."""

    flags: dict[str, str]
    mounts: tuple[NewMount, ...]
    ca_source: str
    client_name: str
    names: tuple[str, ...]
    notes: tuple[Finding, ...]
    problems: tuple[Finding, ...]

    @property
    def nothing(self) -> bool:
        """Whether the node has all that it needs."""
        return not (self.flags or self.mounts or self.ca_source or self.client_name)


def find_need(
    node: Node, files: LayerFiles, cluster: ClusterView | None, wanted: Wanted, now: datetime
) -> Need:
    """Decide what is missing; what is wrong and not to be mended here comes back as `problems`."""
    wanted = replace(wanted, kept=_usable(wanted.kept, now))
    ca_source, ca_problems = _ca(node, files, cluster, wanted)
    files = _with_ca(files, {"given": wanted.ca, "kept": wanted.kept}.get(ca_source))
    in_use = bool(node.layer.ca) and not ca_source
    findings = [
        *f.flag_findings(node.manifest),
        *files.unreadable,
        *files.hidden,
        *authority_findings(files, now, in_use=in_use),
        *client_findings(files, now),
        *nameless(node, files),
        *_clock(files, cluster, now),
    ]
    client_name, client_problems = _client(node, files, findings, ca_source, wanted, now)
    if ca_problems:  # what is said of a leaf without a CA would only distract
        client_problems = []
    names, name_findings = _names(node, files, cluster, client_name)
    findings += [*ca_problems, *client_problems, *name_findings, *_routing_notes(node, wanted)]
    if ca_source == "given":  # the file of that name is yet to be written
        findings = [_of_the_given(each, files.ca_at.host) for each in findings]
    errors = [each for each in findings if each.severity == "error"]
    mended = [each for each in errors if wanted.repair and each.code in _MENDED_BY_REPAIR]
    return Need(
        flags=_flags(node, files, names, wanted),
        mounts=tuple(_mounts(node, files)),
        ca_source=ca_source,
        client_name=client_name,
        names=names,
        notes=tuple(each for each in findings if each.severity != "error"),
        problems=(
            *(each for each in errors if each not in mended),
            *_unsafe_folders(node, files),
            *_cut_off(node),
        ),
    )


def _of_the_given(finding: Finding, path: str) -> Finding:
    if finding.subject != path:
        return finding
    return replace(finding, subject="--ca-from", message=f"the CA that --ca-from gives: {finding.message}")


def _with_ca(files: LayerFiles, pair: KeyPair | None) -> LayerFiles:
    """The files as they will be with a CA that is brought along, so that it is judged like one on disk."""
    if pair is None:
        return files
    key = KeySeen(pki.public_key_of(pair.key), Stamp("", 0, 0, 0)) if pair.key else None
    return replace(
        files,
        authorities=pki.read_certificates(pair.certificate),
        ca_key=key,
        unreadable=tuple(each for each in files.unreadable if each.subject != files.ca_at.host),
    )


def _usable(kept: KeyPair | None, now: datetime) -> KeyPair | None:
    """The CA that an earlier try left, if it is still a CA with its key."""
    try:
        first = pki.read_certificates(kept.certificate)[0] if kept else None
        whole = first and kept and first.valid_at(now) and first.public_key == pki.public_key_of(kept.key)
    except pki.PkiError:
        return None
    return kept if whole else None


def _clock(files: LayerFiles, cluster: ClusterView | None, now: datetime) -> Iterator[Finding]:
    behind = next((each for each in files.client_authorities if now < each.not_before), None)
    skew = cluster.skew if cluster else 0.0
    if behind is None and abs(skew) <= 60:  # noqa: PLR2004 -- seconds; certificates are dated back five minutes
        return
    found = (
        f"the cluster's CA is not valid before {behind.not_before:%Y-%m-%d %H:%M} UTC"
        if behind
        else f"kube-apiserver's clock differs by {skew:+.0f} s"
    )
    yield Finding(
        code="clock-wrong",
        severity="error",
        subject="clock",
        message=f"it is {now:%Y-%m-%d %H:%M:%S} UTC on this machine, and {found}",
        expected="clocks within 60 s, or new certificates are not valid yet",
        fix="set the clock: chronyc makestep     (or: timedatectl set-ntp true)",
    )


def _ca(
    node: Node, files: LayerFiles, cluster: ClusterView | None, wanted: Wanted
) -> tuple[str, list[Finding]]:
    """Where a CA for this node comes from, empty where the present one stays; one for the whole cluster."""
    published = {each.fingerprint for each in cluster.published.authorities} if cluster else set()
    given, kept = _fingerprint(wanted.ca), _fingerprint(wanted.kept)
    own = {each.fingerprint for each in files.authorities}
    replaces = wanted.repair and bool(given) and given not in own
    if files.ca is not None and not replaces:
        return "", _present_ca(node, files, published, given)
    if given and published and given not in published:
        return "", [another(files, "--ca-from gives another CA than the cluster publishes")]
    if files.ca_key is not None and not replaces and files.ca_key.public_key != _public_key(wanted.ca):
        return "", [key_without_ca(files)]
    if given:
        return "given", []
    if kept and (not published or kept in published):
        return "kept", []
    if published:
        return "", [another(files, "the cluster publishes a front-proxy CA and this node has none")]
    return "mint", [] if cluster else [api_needed(files)]


def _present_ca(node: Node, files: LayerFiles, published: set[str], given: str) -> list[Finding]:
    own = {each.fingerprint for each in files.authorities}
    if given and given not in own:
        return [another(files, "--ca-from gives another CA than the one on this node")]
    if published and own and not published & own and not node.layer.ca:
        return [another(files, "the cluster publishes another front-proxy CA than this node has")]
    return []


def _client(
    node: Node,
    files: LayerFiles,
    findings: list[Finding],
    ca_source: str,
    wanted: Wanted,
    now: datetime,
) -> tuple[str, list[Finding]]:
    """The name for a new client certificate, empty where the present one stays."""
    orphaned = files.certificate is not None and ca_source == "mint"
    broken = orphaned or any(each.code.startswith(("client-", "certificate-")) for each in findings)
    if files.certificate_file is not None and not (broken and wanted.repair):
        return "", [orphan(files)] if orphaned else []
    if files.certificate_file is None and files.key is not None and not wanted.repair:
        return "", [
            Finding(
                code="client-key-without-certificate",
                severity="error",
                subject=files.key_at.host,
                message=f"the key is there and its certificate {files.certificate_at.host} is not",
                expected="both or none",
                fix="put the certificate back, or issue a new pair by: aggctl enable --repair",
            )
        ]
    if ca_source != "mint":
        if not files.signs:
            return "", [no_ca_key(files, given=wanted.ca is not None)]
        if faults := [*authority_faults(files.authorities[0], files.ca_at.host, now)]:
            return "", [each for each in faults if each not in findings]
    allowed = node.layer.names or ()
    return f.DEFAULT_NAME if f.DEFAULT_NAME in allowed or not allowed else allowed[0], []


def _names(
    node: Node, files: LayerFiles, cluster: ClusterView | None, client_name: str
) -> tuple[tuple[str, ...], list[Finding]]:
    """The allowed names: those in use on every node, or the union that clusters publish would break one."""
    own = client_name or (files.certificate.common_name if files.certificate else "")
    present = node.layer.names
    if present is not None:
        if present and own and own not in present:
            return (*present, own), [name_not_allowed(node, files, own)]
        return present, [any_name(node)] if not present else []
    published = cluster.published if cluster else None
    if published and published.authorities and not published.names and cluster and cluster.peers:
        return (), [any_name_elsewhere(node)]
    return tuple(dict.fromkeys([*(published.names if published else ()), own or f.DEFAULT_NAME])), []


def _flags(node: Node, files: LayerFiles, names: tuple[str, ...], wanted: Wanted) -> dict[str, str]:
    layer = node.layer
    target = {
        f.CA: files.ca_at.inside,
        f.NAMES: ",".join(names),
        **{name: ",".join(layer.headers[name] or (default,)) for name, default in f.HEADERS.items()},
        f.CERTIFICATE: files.certificate_at.inside,
        f.KEY: files.key_at.inside,
    }
    missing = {name: value for name, value in target.items() if layer.value(name) is None}
    repaired = {
        name: value
        for name, value in target.items()
        if wanted.repair and layer.value(name) not in (None, value)
    }
    return {**missing, **repaired, **_routing(node, wanted)}


def _routing(node: Node, wanted: Wanted) -> dict[str, str]:
    present = node.layer.routing
    if wanted.routing == "keep" and (present is None or f.is_boolean(present)):
        return {}
    wish = {"on": "true", "off": "false", "keep": "false"}.get(wanted.routing, wanted.routing)
    if present is None:
        return {f.ROUTING: wish} if wish != "false" else {}
    if not f.is_boolean(present):
        return {f.ROUTING: wish} if wanted.repair else {}
    differs = node.layer.routes != (wish == "true")
    return {f.ROUTING: wish} if differs and wanted.routing_asked else {}


def _routing_notes(node: Node, wanted: Wanted) -> Iterator[Finding]:
    present = node.layer.routing
    if wanted.routing == "on" and present and f.is_boolean(present) and not node.layer.routes:
        if _routing(node, wanted):
            return
        yield Finding(
            code="routing-set-off",
            severity="warning",
            subject=node.manifest.path,
            message=f"--{f.ROUTING}={present} is set on purpose and stays",
            fix="aggctl enable --routing on     (to change it; one restart)",
        )


def _mounts(node: Node, files: LayerFiles) -> Iterator[NewMount]:
    taken = {mount.name for mount in node.manifest.mounts}
    for number, folder in enumerate(_unmounted_folders(files)):
        name = "front-proxy-certs" if number == 0 else f"front-proxy-certs-{number + 1}"
        yield NewMount(name if name not in taken else f"aggctl-{name}", folder)


def _cut_off(node: Node) -> Iterator[Finding]:
    """Files that kube-apiserver cannot start without, below no volume at all: the file's end is missing."""
    manifest = node.manifest
    if manifest.mounts or manifest.site.shadows:
        return
    named = [(name, path) for name in _NEEDED_FILES for path in manifest.values(name) if path.startswith("/")]
    if named:
        name, path = named[0]
        yield Finding(
            code="file-not-mounted",
            severity="error",
            subject=manifest.path,
            message=f"--{name} names {path}, and the Pod mounts no volume at all; the file looks cut off",
            expected="volumes and volumeMounts, as kubeadm writes them at the end of the file",
            fix=f"put {manifest.path} back from a backup, or: kubeadm init phase control-plane apiserver",
        )


def _unsafe_folders(node: Node, files: LayerFiles) -> Iterator[Finding]:
    manifests = node.manifest.path.rpartition("/")[0]
    places = (files.ca_at, files.certificate_at, files.key_at)
    if any(normpath(each.host).rpartition("/")[0] == manifests for each in places):
        yield Finding(
            code="pki-in-manifest-folder",
            severity="error",
            subject=manifests,
            message=f"certificates would lie in {manifests}, where the kubelet takes every file for a Pod",
            expected="certificates in a folder of their own",
            fix=f"aggctl enable --pki-dir {KUBEADM_FOLDER}",
        )
    for folder in _unmounted_folders(files):
        if folder in UNSAFE_MOUNTS or not folder.startswith("/"):
            yield Finding(
                code="file-not-mounted",
                severity="error",
                subject=node.manifest.path,
                message=f"no volume covers {folder or 'a relative path'}, which is not safe to mount",
                expected="certificates in a folder of their own",
                fix=f"put them into one, and correct the flags in {node.manifest.path}",
            )


def _unmounted_folders(files: LayerFiles) -> tuple[str, ...]:
    places: tuple[Place, ...] = (files.ca_at, files.certificate_at, files.key_at)
    return tuple(dict.fromkeys(_parent(each.inside) for each in places if not each.mounted))


def _parent(path: str) -> str:
    """The folder of a path, without `..` and doubled slashes if it is absolute."""
    return (
        "/" + normpath(path).lstrip("/").rpartition("/")[0]
        if path.startswith("/")
        else path.rpartition("/")[0]
    )


def _fingerprint(pair: KeyPair | None) -> str:
    return pki.read_certificates(pair.certificate)[0].fingerprint if pair else ""


def _public_key(pair: KeyPair | None) -> str:
    return pki.read_certificates(pair.certificate)[0].public_key if pair else "none"
