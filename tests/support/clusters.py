"""Objects of a cluster as its API answers them, and what it says of its kinds."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from support.snapshots import NOW, ON, Scene, authority

from aggctl.core import pki
from aggctl.core.questions import PairSeen
from aggctl.core.resources import discovery_path, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.pki import KeyPair

Object = dict[str, Any]

RBAC, CERT_MANAGER = "rbac.authorization.k8s.io/v1", "cert-manager.io/v1"
KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "Pod": ("pods", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "ServiceAccount": ("serviceaccounts", True),
    },
    "apps/v1": {"Deployment": ("deployments", True)},
    "apiregistration.k8s.io/v1": {"APIService": ("apiservices", False)},
    "discovery.k8s.io/v1": {"EndpointSlice": ("endpointslices", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    RBAC: {
        "ClusterRole": ("clusterroles", False),
        "ClusterRoleBinding": ("clusterrolebindings", False),
        "Role": ("roles", True),
        "RoleBinding": ("rolebindings", True),
    },
    CERT_MANAGER: {"Certificate": ("certificates", True), "ClusterIssuer": ("clusterissuers", False)},
}
"""(resource, whether it is in namespaces) by apiVersion and kind; cert-manager is no part of a cluster."""


def discovery(api_version: str) -> Object:
    """The APIResourceList of a group's version; as in a real one, a subresource has its object's kind."""
    resources = [
        {"name": f"{name}{sub}", "kind": kind, "namespaced": namespaced, "verbs": ["get"]}
        for kind, (name, namespaced) in KINDS[api_version].items()
        for sub in ("/status", "")
    ]
    return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}


DISCOVERY = {discovery_path(each): discovery(each) for each in KINDS if each != CERT_MANAGER}
"""What a cluster without cert-manager says of its kinds, by path."""


def path(of: Object) -> str:
    """Where an object is."""
    resource, _ = KINDS[of["apiVersion"]][of["kind"]]
    metadata = of["metadata"]
    return path_of(of["apiVersion"], resource, metadata.get("namespace", ""), metadata["name"])


def cluster(*objects: Object, without: Iterable[str] = (), scene: Scene = ON) -> Scene:
    """A cluster with the layer on that has these objects, and knows all kinds but those of `without`."""
    lacking = {discovery_path(each) for each in without}
    for where, found in DISCOVERY.items():
        if where not in lacking:
            scene = scene.object(where, found)
    for each in objects:
        scene = scene.object(path(each), each)
    return scene


def namespace(name: str = "shop", **metadata: Any) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def service(name: str = "things", namespace: str = "shop", *, port: int = 443, **spec: Any) -> Object:
    """A Service with one port, called `https`; without a selector unless `spec` has one."""
    ports = [{"name": "https", "port": port, "protocol": "TCP", "targetPort": "https"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ClusterIP", "ports": ports, **spec},
    }


def api_service(
    name: str = "v1.things.example", at: str | None = "shop/things", *, port: int = 443, **spec: Any
) -> Object:
    """An APIService for the Service `at` (NAMESPACE/NAME); None: kube-apiserver serves it itself."""
    version, _, group = name.partition(".")
    where, _, called = (at or "").partition("/")
    reference = {"service": {"namespace": where, "name": called, "port": port}} if at else {}
    priorities = {"groupPriorityMinimum": 1000, "versionPriority": 15}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {"group": group, "version": version, **priorities, **reference, **spec},
    }


SERVING_CA, OTHER_SERVING_CA = authority("things-ca"), authority("other-things-ca")


@cache
def serving(
    *sans: str, ca: KeyPair = SERVING_CA, days: int = -30, lifetime: int = 365, usage: str = "server"
) -> KeyPair:
    """A serving pair for these names, for things.shop.svc where none is said; the same one each time."""
    return pki.issue(
        ca,
        "things",
        NOW + timedelta(days=days),
        usage=usage,
        sans=sans or ("things.shop.svc",),
        algorithm="ECDSA-P256",
        lifetime=timedelta(days=lifetime),
    )


@cache
def below(ca: KeyPair, name: str, *, days: int = -30, lifetime: int = 365) -> KeyPair:
    """An intermediate CA that `ca` signed; the same one each time."""
    above, begin = x509.load_pem_x509_certificate(ca.certificate), NOW + timedelta(days=days)
    key = pki.load_key(authority(name).key)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=lifetime))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(pki.load_key(ca.key), hashes.SHA256())
    )
    return pki.KeyPair(made.public_bytes(serialization.Encoding.PEM), authority(name).key)


def pair_seen(
    pair: KeyPair,
    authorities: bytes = SERVING_CA.certificate,
    *,
    created: bool = True,
    lacks: Iterable[str] = (),
) -> PairSeen:
    """The Secret with a serving pair, made by aggctl unless `created` is False."""
    return PairSeen(pair.certificate, authorities, pki.public_key_of(pair.key), tuple(lacks), created)
