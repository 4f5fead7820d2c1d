"""What a case of doctor can put in place of what is well: certificates, the node, the cluster's objects."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support.clusters import OTHER_SERVING_CA, SERVING_CA, api_service, namespace, service, serving
from support.snapshots import (
    CA,
    CLIENT_CA,
    MANIFESTS,
    NOW,
    ON,
    OTHER_CA,
    Scene,
    authority,
    leaf,
    nameless,
    slices,
)

from aggctl.core import pki
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.checks.workload import pods_path
from aggctl.core.cluster_view import API_SERVICES, KUBERNETES_SLICES
from aggctl.core.doctor.effects import AUTOSCALERS
from aggctl.core.extension import Api
from aggctl.core.namespaces import NAMESPACES
from aggctl.core.persist.configuration import PATH as KUBEADM_CONFIG
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import FolderAt, ServedSeen, Unknown
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from aggctl.core.pki import KeyPair

Object = dict[str, Any]

API = Api("v1", "things.example")
GROUP_VERSION = f"{API.group}/{API.version}"
CLUSTER_IP, PORT = "10.96.0.44", 8443
HOSTS = ("10.1.0.5", "10.1.0.6")
LABELS = {"app": "things"}
OBJECTS = {
    "apiServices": API_SERVICES,
    "service": path_of("v1", "services", "shop", "things"),
    "serviceElsewhere": "/api/v1/services?fieldSelector=metadata.name%3Dthings",
    "namespace": path_of("v1", "namespaces", "", "shop"),
    "namespaces": NAMESPACES,
    "slices": (
        "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
        "?labelSelector=kubernetes.io/service-name=things"
    ),
    "pods": pods_path("shop", LABELS),
    "deployments": path_of("apps/v1", "deployments", "shop"),
    "events": "/api/v1/namespaces/shop/events?fieldSelector=involvedObject.name%3Dthings-1",
    "policies": path_of("networking.k8s.io/v1", "networkpolicies", "shop"),
    "autoscalers": AUTOSCALERS,
    "configMap": CONFIG_MAP,
    "apiserverPods": APISERVER_PODS,
    "kubeadmConfig": KUBEADM_CONFIG,
}
"""Objects and lists of the cluster by the names that cases use; those that are not there are None."""


PAIRS: Mapping[str, KeyPair] = {
    "front-proxy-ca": CA,
    "expired": leaf(CA, days=-400),
    "expires soon": leaf(CA, days=-350),
    "not yet valid": leaf(CA, days=1),
    "of another CA": leaf(OTHER_CA),
    "for servers": leaf(CA, usage="server"),
    "with another CN": leaf(CA, "apiserver-aggregator"),
    "without a CN": nameless(CA),
    "of the CA of clients": leaf(CLIENT_CA),
    "another CA": OTHER_CA,
    "the CA of clients": CLIENT_CA,
    "expired CA": authority("front-proxy-ca", days=-4000),
}
"""Pairs to put in place of front-proxy-client or front-proxy-ca."""


def _nameless_server() -> KeyPair:
    return pki.issue(SERVING_CA, "things.shop.svc", NOW, usage="server", algorithm="ECDSA-P256")


_LOCAL = "unable to get local issuer certificate"
RUNNING: Object = {"running": {"startedAt": "2026-06-01T11:00:00Z"}}
TEXTS = {
    "MANIFEST": ON.text,
    "BLOAT": "x" * 600 * 1024,
    "EXPIRED": base64.b64encode(authority("things-ca", days=-4000).certificate).decode(),
    "BOTH": base64.b64encode(SERVING_CA.certificate + OTHER_SERVING_CA.certificate).decode(),
}
"""What cases name instead of writing it out."""

SERVED: Mapping[str, ServedSeen | Unknown] = {
    "well": ServedSeen(serving().certificate),
    "expired": ServedSeen(serving(days=-400).certificate, "certificate has expired"),
    "expires soon": ServedSeen(serving(days=-350).certificate),
    "not yet valid": ServedSeen(serving(days=1).certificate, "certificate is not yet valid"),
    "another name": ServedSeen(
        serving("things.other.svc").certificate,
        "Hostname mismatch, certificate is not valid for 'things.shop.svc'.",
    ),
    "wildcard": ServedSeen(serving("*.shop.svc").certificate),
    "CN only": ServedSeen(
        _nameless_server().certificate, "Hostname mismatch, certificate is not valid for 'things.shop.svc'."
    ),
    "of another CA": ServedSeen(serving(ca=OTHER_SERVING_CA).certificate, _LOCAL),
    "signed by itself": ServedSeen(serving(ca=OTHER_SERVING_CA).certificate, "self-signed certificate"),
    "of another server": ServedSeen(serving("kubelet-n1", ca=OTHER_SERVING_CA).certificate, _LOCAL),
    "for clients": ServedSeen(serving(usage="client").certificate, "unsuitable certificate purpose"),
    "SHA-1": ServedSeen(serving().certificate, "CA signature digest algorithm too weak"),
    "small key": ServedSeen(serving().certificate, "EE certificate key too weak"),
    "not verified": ServedSeen(serving().certificate, "there is no CA to verify it by"),
    "plain HTTP": ServedSeen(b"", "no TLS handshake: WRONG_VERSION_NUMBER"),
    "TLS 1.1": ServedSeen(b"", "no TLS handshake: UNSUPPORTED_PROTOCOL"),
    "nothing": ServedSeen(b"", "no TLS handshake: it takes the connection and says nothing"),
    "reset": ServedSeen(b"", "no TLS handshake: Connection reset by peer"),
    "not dialled": Unknown("it cannot be dialled from here: Connection refused"),
}
"""What an endpoint may serve, with the words of OpenSSL by which this node refuses it."""


# --- the node ----------------------------------------------------------------------------------------------


def node(case: Mapping[str, Any], place: str) -> Scene:
    """The control-plane node of a case; from anywhere none of its files is seen."""
    scene = replace(ON, env=case.get("env") or {})
    scene = scene.flag(enable_aggregator_routing="true" if case.get("routing") else None)
    scene = scene.flag(**{name.replace("-", "_"): value for name, value in (case.get("flags") or {}).items()})
    for name, kind in (case.get("files") or {}).items():
        if "." in name or name.startswith("/"):
            scene = scene.file(name, None if kind is None else TEXTS.get(kind, kind).encode())
        else:
            scene = scene.pair(name, None if kind is None else PAIRS[kind])
    if place == "anywhere":
        return replace(scene, files={}).answering({FolderAt(MANIFESTS): None})
    return scene


# --- the cluster -------------------------------------------------------------------------------------------


def cluster(case: Mapping[str, Any], scene: Scene) -> Scene:
    """The objects of a case beside the node."""
    if case.get("peer"):
        scene = scene.with_peer()
    if case.get("balancer"):
        scene = scene.object(KUBERNETES_SLICES, None)
    if "published" in case:
        said = case["published"]
        authorities = [PAIRS[each] for each in said.get("authorities", ["front-proxy-ca"])]
        scene = scene.publishing(*authorities, names=said.get("names", ["front-proxy-client"]))
    else:
        scene = scene.publishing(CA)
    config = scene.objects[CONFIG_MAP]
    data = {"client-ca-file": CLIENT_CA.certificate.decode(), **config["data"]}
    objects = _usual(case, scene) | {"configMap": {**config, "data": data}}
    for name, patch in (case.get("objects") or {}).items():
        objects[name] = merged(objects.get(name), patch)
    for name, found in objects.items():
        scene = scene.object(OBJECTS.get(name, name), found)
    return scene


def _usual(case: Mapping[str, Any], scene: Scene) -> Object:
    command = ["kube-apiserver", *scene.words]
    ends = {"addresses": HOSTS, "ready": True, "ports": {"https": PORT}, **(case.get("endpoints") or {})}
    return {
        "apiServices": {"items": _api_services(case)},
        "service": service(clusterIP=CLUSTER_IP, selector=LABELS, ipFamilies=["IPv4"]),
        "serviceElsewhere": {"items": []},
        "namespace": namespace(),
        "namespaces": {"items": [namespace()]},
        "slices": slices(*ends["addresses"], ready=ends["ready"], **ends["ports"]),
        "pods": {"items": _pods(case)},
        "deployments": {"items": [_deployment()]},
        "apiserverPods": {"items": [_apiserver_pod(command)]},
    }


def _apiserver_pod(command: list[str]) -> Object:
    metadata = {"name": "kube-apiserver", "namespace": "kube-system"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "kube-apiserver", "command": command}]}}


def _api_services(case: Mapping[str, Any]) -> list[Object]:
    said = case.get("condition")
    status = "True" if said is None else str(said.get("status", "False"))
    condition = {"reason": "Passed", "message": "all checks passed"} if said is None else said
    live = api_service(caBundle=base64.b64encode(SERVING_CA.certificate).decode()) | {
        "status": {"conditions": [{"type": "Available", "status": status, **_words(condition)}]}
    }
    if "apiService" in case:
        live = merged(live, case["apiService"])
    builtin = api_service("v1.apps", None)
    return [builtin] if live is None else [builtin, live]


def _words(condition: Mapping[str, Any]) -> Object:
    """A check that failed is what conditions mostly tell of."""
    return {"reason": "FailedDiscoveryCheck", "message": ""} | {
        key: value for key, value in condition.items() if key != "status"
    }


def _pods(case: Mapping[str, Any]) -> list[Object]:
    return [merged(_pod(number), patch) for number, patch in enumerate(case.get("pods", [{}, {}]), 1)]


def _pod(number: int) -> Object:
    return {
        "metadata": {"name": f"things-{number}", "namespace": "shop", "labels": LABELS},
        "spec": {
            "serviceAccountName": "things",
            "containers": [{"name": "server", "ports": [{"name": "https", "containerPort": PORT}]}],
        },
        "status": {
            "podIP": HOSTS[number - 1],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "server", "ready": True, "state": RUNNING}],
        },
    }


def _deployment() -> Object:
    template = {"metadata": {"labels": LABELS}}
    metadata = {"name": "things", "namespace": "shop"}
    return {"metadata": metadata, "spec": {"replicas": 2, "template": template}, "status": {}}


def merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396): null takes away, lists are replaced."""
    if isinstance(patch, str):
        return TEXTS.get(patch, patch)
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        found[key] = merged(found.get(key), value)
    return {key: value for key, value in found.items() if key not in patch or value is not None}
