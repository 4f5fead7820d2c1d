"""The layer itself: flags and what runs with them, certificates on disk, what the cluster publishes."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core import pki
from aggctl.core.certs.inventory import CA, CLIENT, CONFIG_MAP_NAME, Held, expires
from aggctl.core.certs.layer import clock_problem
from aggctl.core.checks.apiserver import container_failure, runs_manifest
from aggctl.core.doctor.kubeadm import of_kubeadm
from aggctl.core.doctor.model import BROKEN, NOT_CHECKED, Hop, hop
from aggctl.core.findings import Finding
from aggctl.core.layer_files import authority_findings, client_findings
from aggctl.core.need_findings import any_name, name_not_allowed, nameless
from aggctl.core.published import CONFIG_MAP, read_published
from aggctl.core.questions import ClockSkew, SecurityLabels
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggctl.core.doctor.model import Place
    from aggctl.core.layer_files import LayerFiles
    from aggctl.core.node import Node
    from aggctl.core.published import Published
    from aggctl.core.snapshot import Snapshot

SOON = timedelta(days=30)
MANY_BYTES = 512 * 1024
"""Half of what an object may hold; on "too long" kube-apiserver deletes the map and begins anew."""


def layer_hops(snapshot: Snapshot, place: Place) -> tuple[Hop, ...]:
    """The hops that all APIs share."""
    node, files = place.node, place.files
    if node is None or files is None:
        why = Hop("layer", BROKEN if place.problems else NOT_CHECKED, place.why_no_node, place.problems)
        return (why, Hop("certificates", NOT_CHECKED, place.why_no_node), _published(snapshot, place))
    return (
        hop("layer", lambda: (_switches(node), _of_flags(snapshot, place, node, files))),
        hop("certificates", lambda: (_until(files), _of_files(snapshot, place, node, files))),
        _published(snapshot, place),
    )


def proxy_of(env: Mapping[str, str], addresses: tuple[str, ...]) -> str:
    """HTTPS_PROXY where kube-apiserver would send a request to one of these hosts to that proxy; else empty.

    As golang.org/x/net/http/httpproxy: NO_PROXY holds names, .suffixes, addresses and CIDRs; loopback never
    goes to a proxy.
    """
    lower = {name.lower(): value for name, value in env.items() if value}
    spared = [each.strip() for each in lower.get("no_proxy", "").split(",") if each.strip()]
    sent = "https_proxy" in lower and not all(_is_spared(each, spared) for each in addresses)
    return "HTTPS_PROXY" if sent else ""


def _is_spared(host: str, spared: list[str]) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return "*" in spared or any(host == each or host.endswith(f".{each.lstrip('.')}") for each in spared)
    return ip.is_loopback or "*" in spared or any(_holds(each, ip) for each in spared)


def _holds(spared: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ip in ipaddress.ip_network(spared, strict=False)
    except ValueError:
        return False


def _switches(node: Node) -> str:
    missing = [each for each in node.layer.missing if each != f.ROUTING]
    routing = "routing on" if node.layer.routes else "routing off"
    return f"{len(f.AGGREGATION_FLAGS) - 1 - len(missing)} of 7 flags, {routing}"


def _of_flags(snapshot: Snapshot, place: Place, node: Node, files: LayerFiles) -> Iterator[Finding]:
    yield from _missing(node)
    yield from f.flag_findings(node.manifest)
    if node.layer.ca and not node.layer.names:
        yield any_name(node)
    yield from files.hidden
    for at in (files.ca_at, files.certificate_at, files.key_at):
        if not at.mounted and at.inside in {node.layer.ca, node.layer.certificate, node.layer.key}:
            yield _error(
                "file-not-mounted",
                node.manifest.path,
                f"a flag names {at.inside}, which no volume of the Pod holds",
                f"put it below a mounted folder such as {files.folder.host}, or mount it",
            )
    yield from _process(snapshot, place, node)
    yield from _proxies(node)
    yield from _labels(snapshot, files)


def switched(missing: Iterable[str]) -> str:
    """What a kube-apiserver without these of the eight flags makes of the layer: on, partly on, or off."""
    gone = set(missing) - {f.ROUTING, f.NAMES}
    return "off" if {f.CA, f.CERTIFICATE} <= gone else "partly on" if gone else "on"


def _missing(node: Node) -> Iterator[Finding]:
    gone = [each for each in node.layer.missing if each not in (f.ROUTING, f.NAMES)]
    if not gone:
        return
    off = switched(gone) == "off"
    yield Finding(
        code="layer-off" if off else "layer-partly-on",
        severity="error",
        subject=node.manifest.path,
        message="the aggregation layer is off on this node"
        if off
        else f"some flags of the layer are set, and others are missing: --{', --'.join(gone)}",
        expected="the seven flags together: kube-apiserver starts with fewer, and no API answers",
        fix="sudo aggctl enable",
    )


def _process(snapshot: Snapshot, place: Place, node: Node) -> Iterator[Finding]:
    """What runs, and whether it runs as the manifest says."""
    manifest = node.manifest
    if node.process:
        for server, why in place.silent:
            if server == place.server:
                yield _error(
                    "apiserver-not-reachable", server, f"process {node.process.pid} runs, and {why}", LOGS
                )
        return
    if failure := container_failure(snapshot, manifest, manifest.path, crashes=1):
        yield failure
    elif node.processes:
        found = runs_manifest(snapshot, manifest=manifest.path)
        yield from [found] if isinstance(found, Finding) else []
    else:
        yield Finding(
            code="apiserver-down",
            severity="error",
            subject=place.server,
            message="no kube-apiserver runs on this node",
            expected=f"a process with the arguments of {manifest.path}",
            fix=LOGS,
        )


LOGS = "aggctl logs     (and: journalctl -u kubelet -n 50)"


def _proxies(node: Node) -> Iterator[Finding]:
    """A proxy that is none of the cluster's business; kubeadm copies the variables of its caller's shell."""
    if name := proxy_of(dict(node.manifest.env), ("service.namespace.svc",)):
        yield Finding(
            code="proxy-environment",
            severity="warning",
            subject=node.manifest.path,
            message=f"{name} is set for kube-apiserver, and NO_PROXY does not spare Services (.svc)",
            expected="NO_PROXY with .svc, the Services' and the Pods' networks",
            fix=f"extend NO_PROXY in the env of {node.manifest.path}; that restarts kube-apiserver once",
        )


def _labels(snapshot: Snapshot, files: LayerFiles) -> Iterator[Finding]:
    """Files whose SELinux type is not that of their folder, where SELinux enforces."""
    paths = (files.folder.host, files.ca_at.host, files.certificate_at.host, files.key_at.host)
    if snapshot.unknown(SecurityLabels(paths)):
        return
    folder, *labels = snapshot.labels(paths)
    for path, label in zip(paths[1:], labels, strict=True):
        if label and _type(label) != _type(folder):
            yield Finding(
                code="selinux-label",
                severity="warning",
                subject=path,
                message=f"its SELinux type is {_type(label)}, and that of its folder {_type(folder)}",
                expected=_type(folder),
                fix=f"restorecon -v {path}     (or: chcon --reference {paths[0]} {path})",
            )


def _type(label: str) -> str:
    return (label.split(":") + [""] * 3)[2]


def _of_files(snapshot: Snapshot, place: Place, node: Node, files: LayerFiles) -> Iterator[Finding]:
    yield from files.unreadable
    yield from _absent(node, files)
    yield from authority_findings(files, place.now, in_use=True)
    yield from client_findings(files, place.now)
    yield from nameless(node, files)
    own = files.certificate.common_name if files.certificate else ""
    if own and node.layer.names and own not in node.layer.names:
        yield name_not_allowed(node, files, own)
    yield from _soon(files, place)
    if place.server and snapshot.unknown(ClockSkew(place.server)) is None:
        yield from clock_problem(place.server, snapshot.clock_skew(place.server))


def _absent(node: Node, files: LayerFiles) -> Iterator[Finding]:
    """Files that flags name and that are not there; kube-apiserver goes on without until it restarts."""
    for flag, there, at, code in (
        (node.layer.ca, files.ca, files.ca_at, "front-proxy-ca-missing"),
        (node.layer.certificate, files.certificate_file, files.certificate_at, "client-certificate-missing"),
        (node.layer.key, files.key or files.certificate, files.key_at, "client-key-missing"),
    ):  # a key that is missing beside its certificate is said of the certificate
        if flag and there is None and at.mounted:
            yield _error(code, at.host, "a flag names it and it is not there", "sudo aggctl enable --repair")


def _soon(files: LayerFiles, place: Place) -> Iterator[Finding]:
    held = [Held(CA, files.ca_at.host, each) for each in files.authorities[:1]]
    if files.certificate:
        held.append(Held(CLIENT, files.certificate_at.host, files.certificate))
    for each in held:
        if place.now <= each.certificate.not_after <= place.now + SOON:
            yield expires(each, place.now)


def _until(files: LayerFiles) -> str:
    ends = [each.not_after for each in (files.certificate, *files.authorities[:1]) if each]
    return f"until {min(ends):%Y-%m-%d}" if ends else "none"


def _published(snapshot: Snapshot, place: Place) -> Hop:
    if not place.server:
        return Hop("published", NOT_CHECKED, place.silent[0][1])
    return hop("published", lambda: _of_config_map(snapshot, place))


def _of_config_map(snapshot: Snapshot, place: Place) -> tuple[str, list[Finding]]:
    found = snapshot.object(CONFIG_MAP, place.server)
    if found is None:
        return "nothing", [_unpublished(place)]
    data = found.get("data") or {}
    size = sum(len(str(value)) for value in data.values())
    try:
        published = read_published(snapshot, place.server)
    except NotKnown as unknown:  # the ConfigMap is there: what it holds is no certificate
        return "not readable", [
            _error(
                "published-ca-not-readable",
                CONFIG_MAP_NAME,
                unknown.unknown.reason,
                "aggctl explain published-ca-not-readable",
            )
        ]
    findings = [*_of_published(place, published, data, size), *of_kubeadm(snapshot, place)]
    names = ", ".join(published.names) or "any name"
    return f"{len(published.authorities)} CA{'s' * (len(published.authorities) != 1)}, {names}", findings


def _of_published(
    place: Place, published: Published, data: Mapping[str, str], size: int
) -> Iterator[Finding]:
    if not published.authorities:
        yield _error(
            "layer-off",
            CONFIG_MAP_NAME,
            "the aggregation layer is off: the cluster publishes no front-proxy CA",
            "on each control-plane node: sudo aggctl enable",
        )
        return
    if not data.get("client-ca-file"):
        yield Finding(
            "client-ca-not-published",
            "warning",
            CONFIG_MAP_NAME,
            "the cluster publishes no CA of ordinary clients; older extension servers insist on one",
            "set --client-ca-file for kube-apiserver, or use extension servers built with v0.19 or later",
        )
    if size > MANY_BYTES:
        yield Finding(
            "published-cas-bloated",
            "error",
            CONFIG_MAP_NAME,
            f"it holds {size // 1024} KiB; at 1 MiB kube-apiserver deletes it and begins anew",
            "see which CAs are of no node any more (aggctl certs list), and take them out: "
            "kubectl -n kube-system edit configmap extension-apiserver-authentication",
        )
    if not any(each.valid_at(place.now) for each in published.authorities):
        yield _error(
            "front-proxy-ca-expired",
            CONFIG_MAP_NAME,
            (
                "no CA in it is valid now; the last is until "
                f"{max(each.not_after for each in published.authorities):%Y-%m-%d}"
            ),
            "aggctl explain front-proxy-ca-expired",
        )
    yield from _shared(place, published, data)
    yield from _against(place, published)


def _shared(place: Place, published: Published, data: Mapping[str, str]) -> Iterator[Finding]:
    """A CA that is both published ones; on a node its files tell the same."""
    try:
        of_clients = pki.read_certificates(str(data.get("client-ca-file") or "").encode())
    except pki.PkiError:
        return
    both = {each.public_key for each in published.authorities} & {each.public_key for each in of_clients}
    if both and place.node is None:
        yield Finding(
            "front-proxy-ca-is-client-ca",
            "warning",
            CONFIG_MAP_NAME,
            (
                "the front-proxy CA is the CA of ordinary clients too, so any of their "
                "certificates may name any user"
            ),
            "aggctl explain front-proxy-ca-is-client-ca",
        )


def _against(place: Place, published: Published) -> Iterator[Finding]:
    """The node's own leaf against what is published: extension servers go by that alone."""
    files = place.files
    if files is None or files.certificate is None or not files.authorities:
        return
    known = {each.fingerprint for each in published.authorities}
    own = files.certificate.common_name
    if published.names and own not in published.names:
        yield _error(
            "client-name-not-allowed",
            CONFIG_MAP_NAME,
            f"the CN {own} of {files.certificate_at.host} is not among the published names "
            f"{', '.join(published.names)}",
            "one list of names on every node: aggctl enable --repair (adds the name); [] and [x] make [x]",
        )
    if not known & {each.fingerprint for each in files.authorities}:
        yield _error(
            "layer-not-published",
            CONFIG_MAP_NAME,
            f"the CA of {files.ca_at.host} is not published, so that no extension server trusts this node",
            "compare the nodes by: aggctl certs list; one CA for all: aggctl enable --certificate-key KEY",
        )


def _unpublished(place: Place) -> Finding:
    off = place.node is None or not place.node.layer.ca
    return _error(
        "layer-off" if off else "layer-not-published",
        CONFIG_MAP_NAME,
        "the ConfigMap is not there, and with it nothing by which extension servers know kube-apiserver",
        "on each control-plane node: sudo aggctl enable"
        if off
        else "see what keeps kube-apiserver from writing it: aggctl logs --all | grep authentication",
    )


def _error(code: str, subject: str, message: str, fix: str) -> Finding:
    return Finding(code, "error", subject, message, fix)
