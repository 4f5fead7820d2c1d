"""The node's files, as kubeadm 1.37 lays them out: names, modes, common names, the manifest to the byte.

Compared with `kubeadm init phase certs|kubeconfig|control-plane|kubelet-start` of v1.37.2, etcd external.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.sandbox import components, state
from aggctl.sandbox.files import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggctl.sandbox.state import State

TEMPLATES = Path(__file__).parent / "templates"
MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"
ADMIN = "etc/kubernetes/admin.conf"
SUPER_ADMIN = "etc/kubernetes/super-admin.conf"
PKI = "/etc/kubernetes/pki"

FLAGS = {
    "advertise-address": "127.0.0.1",
    "allow-privileged": "true",
    "authorization-mode": "Node,RBAC",
    "client-ca-file": f"{PKI}/ca.crt",
    "enable-admission-plugins": "NodeRestriction",
    "enable-bootstrap-token-auth": "true",
    "kubelet-client-certificate": f"{PKI}/apiserver-kubelet-client.crt",
    "kubelet-client-key": f"{PKI}/apiserver-kubelet-client.key",
    "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
    "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
    "service-account-key-file": f"{PKI}/sa.pub",
    "service-account-signing-key-file": f"{PKI}/sa.key",
    "service-cluster-ip-range": "10.96.0.0/12",
    "tls-cert-file": f"{PKI}/apiserver.crt",
    "tls-private-key-file": f"{PKI}/apiserver.key",
}

AGGREGATION = {
    "proxy-client-cert-file": f"{PKI}/front-proxy-client.crt",
    "proxy-client-key-file": f"{PKI}/front-proxy-client.key",
    "requestheader-allowed-names": "front-proxy-client",
    "requestheader-client-ca-file": f"{PKI}/front-proxy-ca.crt",
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-username-headers": "X-Remote-User",
}

EXTRA = {"bind-address": "127.0.0.1", "endpoint-reconciler-type": "none"}
"""kubeadm puts a user's extraArgs behind its own sorted ones. Loopback is refused without `none`."""

SERVING_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that kubeadm issues below one of its CAs."""

    common_name: str
    usage: str = "client"
    organizations: tuple[str, ...] = ()
    sans: tuple[str, ...] = ()


def write(directory: Path, settings: State, *, aggregation: bool) -> None:
    """Write all files of the node below `directory`/root; the manifest last."""
    root = state.root(directory)
    for folder in ("etc/kubernetes/manifests", "etc/ssl/certs", "var/log/pods"):
        (root / folder).mkdir(parents=True)
    _write_certificates(root, settings, aggregation=aggregation)
    write_file(root / "var/lib/kubelet/config.yaml", (TEMPLATES / "kubelet-config.yaml").read_bytes(), 0o644)
    node = f'KUBELET_KUBEADM_ARGS="--hostname-override={settings.node}"\n'
    write_file(root / "var/lib/kubelet/kubeadm-flags.env", node.encode(), 0o644)
    write_file(root / MANIFEST, manifest(settings, aggregation=aggregation).encode())


def manifest(settings: State, *, aggregation: bool) -> str:
    """The static Pod's manifest of kube-apiserver."""
    flags = FLAGS | {
        "etcd-servers": f"http://127.0.0.1:{settings.etcd_port}",
        "secure-port": str(settings.secure_port),
    }
    ordered = sorted((flags | AGGREGATION if aggregation else flags).items())
    lines = (f"    - --{name}={value}" for name, value in (*ordered, *EXTRA.items()))
    return _fill(
        "kube-apiserver.yaml",
        port=str(settings.secure_port),
        version=components.COMPONENTS["kube-apiserver"].version,
        flags="\n".join(lines),
    )


def url(settings: State) -> str:
    """Where the sandbox's kube-apiserver serves."""
    return f"https://127.0.0.1:{settings.secure_port}"


def _write_certificates(root: Path, settings: State, *, aggregation: bool) -> None:
    now = datetime.now(UTC)
    sans = (*SERVING_NAMES, settings.node, "localhost", "10.96.0.1", "127.0.0.1")
    leaves = {
        "apiserver": Leaf("kube-apiserver", "server", sans=sans),
        "apiserver-kubelet-client": Leaf("kube-apiserver-kubelet-client"),
        ADMIN: Leaf("kubernetes-admin", organizations=("kubeadm:cluster-admins",)),
        SUPER_ADMIN: Leaf("kubernetes-super-admin", organizations=("system:masters",)),
    }
    with (
        ThreadPoolExecutor() as threads
    ):  # a key of RSA-2048 takes 20 to 100 ms, outside the interpreter's lock
        account = threads.submit(pki.new_service_account_key)
        front = threads.submit(
            _issue, "front-proxy-ca", {"front-proxy-client": Leaf("front-proxy-client")}, now
        )
        main = _issue("kubernetes", leaves, now)
    authority = main.pop("ca")
    for name, user in ((ADMIN, "kubernetes-admin"), (SUPER_ADMIN, "kubernetes-super-admin")):
        write_file(root / name, _kubeconfig(url(settings), authority, user, main.pop(name)).encode())
    pairs = main | {"ca": authority}
    if aggregation:
        pairs |= {"front-proxy-ca" if name == "ca" else name: pair for name, pair in front.result().items()}
    _write_pairs(root / PKI.lstrip("/"), pairs)
    for name, pem in zip(("sa.key", "sa.pub"), account.result(), strict=True):
        write_file(root / PKI.lstrip("/") / name, pem)


def _issue(common_name: str, leaves: Mapping[str, Leaf], now: datetime) -> dict[str, pki.KeyPair]:
    """A CA (as `ca`) and the leaves below it, each under its name."""
    authority = pki.new_ca(common_name, now)

    def issue(leaf: Leaf) -> pki.KeyPair:
        return pki.issue(
            authority,
            leaf.common_name,
            now,
            usage=leaf.usage,
            organizations=leaf.organizations,
            sans=leaf.sans,
        )

    with ThreadPoolExecutor() as threads:
        return {"ca": authority} | dict(zip(leaves, threads.map(issue, leaves.values()), strict=True))


def _write_pairs(folder: Path, pairs: Mapping[str, pki.KeyPair]) -> None:
    for name, pair in pairs.items():
        write_file(folder / f"{name}.key", pair.key)
        write_file(folder / f"{name}.crt", pair.certificate, 0o644)


def _kubeconfig(server: str, authority: pki.KeyPair, user: str, pair: pki.KeyPair) -> str:
    return _fill(
        "kubeconfig.yaml",
        server=server,
        user=user,
        authority=base64.b64encode(authority.certificate).decode(),
        certificate=base64.b64encode(pair.certificate).decode(),
        key=base64.b64encode(pair.key).decode(),
    )


def _fill(template: str, **values: str) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
