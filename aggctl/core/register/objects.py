"""The objects that an API by flags stands for, as people would write them; the APIServices come last."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.extension import External, Image
from aggctl.core.fields import MANAGED_BY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.extension import Api, Extension, ServiceAt, Tls

Object = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
PORT_NAME = "https"
TLS_FOLDER = "/tls"
USER = 65532
"""`nonroot` of the images without a shell; a number, as runAsNonRoot does not take a name for one."""

_WATCHED = (  # what k8s.io/apiserver watches in every extension server; without it /readyz never is ok
    ("", ("namespaces",)),
    (
        "admissionregistration.k8s.io",
        (
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
        ),
    ),
    ("flowcontrol.apiserver.k8s.io", ("flowschemas", "prioritylevelconfigurations")),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What objects depend on in a cluster: the addresses that a network policy admits, and its aggregator.

    That one `reads_endpoints` where it takes the address of a server from there, not from EndpointSlices.
    """

    control_plane: tuple[str, ...] = ()
    reads_endpoints: bool = False


ANYWHERE = Surroundings()


def objects_of(extension: Extension, secret: str, around: Surroundings = ANYWHERE) -> Iterator[Object]:
    """Everything but certificates, in the order to apply it; `secret` names that with the serving pair."""
    server, service = extension.server, extension.service
    if isinstance(server, Image):
        yield from _server_objects(extension, server, secret, around.control_plane)
    elif isinstance(server, External):
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": service.namespace}}
        yield from _external_objects(service, server, around)
    for api in extension.apis:
        yield api_service(api, extension)


def api_service(api: Api, extension: Extension) -> Object:
    """The APIService of one version."""
    service = extension.service
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": _named(service, api.name, namespace=""),
        "spec": {
            "group": api.group,
            "version": api.version,
            "groupPriorityMinimum": extension.group_priority,
            "versionPriority": extension.version_priority,
            "service": {"namespace": service.namespace, "name": service.name, "port": service.port},
        },
    }


def certificate_for(service: ServiceAt, secret: str, tls: Tls, names: tuple[str, ...]) -> Object:
    """The Certificate by which cert-manager fills `secret`."""
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": _named(service, service.name),
        "spec": {
            "secretName": secret,
            "dnsNames": list(names),
            "usages": ["digital signature", "key encipherment", "server auth"],
            "issuerRef": {"group": "cert-manager.io", "kind": tls.kind, "name": tls.name},
        },
    }


def secret_with(service: ServiceAt, secret: str, data: dict[str, str]) -> Object:
    """The Secret that holds a serving pair; `data` is base64."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _named(service, secret),
        "type": "kubernetes.io/tls",
        "data": data,
    }


def _server_objects(
    extension: Extension, server: Image, secret: str, control_plane: tuple[str, ...]
) -> Iterator[Object]:
    service = extension.service
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": service.namespace}}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named(service, service.name)}
    yield from _rights(service)
    if server.network_policy:
        yield _network_policy(service, server, control_plane)
    yield _service(service, {"selector": _selector(service)})
    if server.replicas > 1:
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _named(service, service.name),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(service)}},
        }
    yield _deployment(service, server, secret)


def _rights(service: ServiceAt) -> Iterator[Object]:
    """What the generic library needs: the published CAs, reviews, and what it watches."""
    name = f"{service.namespace}:{service.name}"
    who = [{"kind": "ServiceAccount", "namespace": service.namespace, "name": service.name}]
    yield {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": _named(service, f"{name}:reader", namespace=""),
        "rules": [
            {"apiGroups": [group], "resources": list(resources), "verbs": ["get", "list", "watch"]}
            for group, resources in _WATCHED
        ],
    }
    for suffix, role in (("reader", f"{name}:reader"), ("auth-delegator", "system:auth-delegator")):
        yield {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": _named(service, f"{name}:{suffix}", namespace=""),
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": who,
        }
    yield {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": _named(service, f"{name}:auth-reader", namespace="kube-system"),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
        "subjects": who,
    }


def _service(service: ServiceAt, more: Object) -> Object:
    port = {"name": PORT_NAME, "port": service.port, "protocol": "TCP", "targetPort": PORT_NAME}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _named(service, service.name),
        "spec": {"ports": [port], **more},
    }


def _external_objects(service: ServiceAt, server: External, around: Surroundings) -> Iterator[Object]:
    """The aggregator follows a name by itself; an address wants an EndpointSlice, an older one Endpoints."""
    port: Object = {"name": PORT_NAME, "port": service.port, "protocol": "TCP", "targetPort": server.port}
    if not server.is_address:
        yield _service(service, {"type": "ExternalName", "externalName": server.host, "ports": [port]})
        return
    yield _service(service, {"ports": [port]})
    ports = [{"name": PORT_NAME, "port": server.port, "protocol": "TCP"}]
    metadata = _named(service, f"{service.name}-external")
    metadata["labels"] |= {
        "kubernetes.io/service-name": service.name,
        "endpointslice.kubernetes.io/managed-by": "aggctl",
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": f"IPv{ipaddress.ip_address(server.host).version}",
        "endpoints": [{"addresses": [server.host], "conditions": {"ready": True}}],
        "ports": ports,
    }
    if around.reads_endpoints:
        yield _endpoints(service, server, ports)


def _endpoints(service: ServiceAt, server: External, ports: list[Object]) -> Object:
    """The same once more for an older aggregator; kept from being mirrored into a second EndpointSlice."""
    metadata = _named(service, service.name)
    metadata["labels"] |= {"endpointslice.kubernetes.io/skip-mirror": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata,
        "subsets": [{"addresses": [{"ip": server.host}], "ports": ports}],
    }


def _network_policy(service: ServiceAt, server: Image, control_plane: tuple[str, ...]) -> Object:
    """kube-apiserver has no Pod network of its own: it is admitted by address."""
    peers = [
        {"ipBlock": {"cidr": f"{address}/{ipaddress.ip_address(address).max_prefixlen}"}}
        for address in control_plane
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _named(service, service.name),
        "spec": {
            "podSelector": {"matchLabels": _selector(service)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"port": server.port, "protocol": "TCP"}]}],
        },
    }


def _deployment(service: ServiceAt, server: Image, secret: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _named(service, service.name),
        "spec": {
            "replicas": server.replicas,
            "selector": {"matchLabels": _selector(service)},
            "template": {
                "metadata": {"labels": _selector(service)},
                "spec": {
                    "serviceAccountName": service.name,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(service, server)],
                    "volumes": [
                        {"name": "tls", "secret": {"secretName": secret, "defaultMode": 0o440}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def _container(service: ServiceAt, server: Image) -> Object:
    return {
        "name": service.name,
        "image": server.image,
        "args": list(_arguments(server)),
        **(
            {"env": [{"name": name, "value": value} for name, value in server.environment]}
            if server.environment
            else {}
        ),
        "ports": [{"name": PORT_NAME, "containerPort": server.port, "protocol": "TCP"}],
        # Readiness is asked every five seconds; a start is seen within one.
        "startupProbe": _probe("/readyz") | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": _probe("/readyz"),
        "livenessProbe": _probe("/livez"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 -- in the container, of its own
        ],
    }


def _arguments(server: Image) -> Iterator[str]:
    """Ours, but for those that the user set."""
    theirs = {word.lstrip("-").partition("=")[0].replace("_", "-") for word in server.arguments}
    ours = {
        "secure-port": str(server.port),
        "tls-cert-file": f"{TLS_FOLDER}/tls.crt",
        "tls-private-key-file": f"{TLS_FOLDER}/tls.key",
    }
    yield from (f"--{name}={value}" for name, value in ours.items() if name not in theirs)
    yield from server.arguments


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTPS"}, "periodSeconds": 5}


def _selector(service: ServiceAt) -> dict[str, str]:
    return {"app.kubernetes.io/name": service.name}


def _named(service: ServiceAt, name: str, namespace: str | None = None) -> Object:
    """Metadata; `namespace` is the Service's unless said otherwise, "" for none."""
    where = service.namespace if namespace is None else namespace
    labels = _selector(service) | {MANAGED_BY: "aggctl"}
    return {"name": name, **({"namespace": where} if where else {}), "labels": labels}
