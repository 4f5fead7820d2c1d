"""The types of the fields that aggctl reads of Kubernetes' objects, as the API reference gives them.

A field that is not named may be anything. `!` marks what every object of the kind has; elsewhere null stands
for nothing, as in Go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = Any
"""A type (str, int, bool), a Word, a list of one shape, a Map, FIELDS, or fields by their names."""


@dataclass(frozen=True, slots=True)
class Map:
    """A mapping of names that the user chooses to values of one shape."""

    of: Shape


@dataclass(frozen=True, slots=True)
class Word:
    """A string that a pattern matches whole, and what it is called."""

    pattern: str
    called: str


FIELDS, PORT, PORT_OR_NAME, ADDRESS = "fields", "port", "port or name", "address"
"""A tree of managed fields; a port by its number, or by its name as well; an IP address or a DNS name."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
DNS = Word(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", "a DNS name")
"""Of namespaces, Services, ServiceAccounts and containers (apimachinery, pkg/api/validation)."""

SEGMENT = Word(r"(?!\.\.?$)[^/%\x00-\x1f\x7f-\x9f]{1,253}", "a name")
"""Of everything else: what may be part of a path (pkg/api/validation/path)."""

RESOURCE = Word(r"/?[A-Za-z0-9][-A-Za-z0-9._]{0,252}(?:/[-A-Za-z0-9._/]{1,253})?", "the name of a resource")
"""As discovery names it: `pods`, `pods/log`; custom-metrics-apiserver 1.37 has a `/custommetrics`."""

WORDS = Map(str)
METADATA: Mapping[str, Shape] = {
    "name": SEGMENT,
    "namespace": DNS,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "labels": WORDS,
    "annotations": WORDS,
    "finalizers": [str],
    "ownerReferences": [{"kind": str, "name": str, "uid": str}],
    "managedFields": [
        {"manager": str, "operation": str, "subresource": str, "apiVersion": str, "fieldsV1": FIELDS}
    ],
}
NAMED = {**METADATA, "name!": SEGMENT}
IN_NAMESPACE = {**NAMED, "namespace!": DNS}
OBJECT: Mapping[str, Shape] = {"apiVersion": str, "kind": str, "metadata!": NAMED}
STORED: Mapping[str, Shape] = {**OBJECT, "metadata!": {**NAMED, "uid!": str, "resourceVersion!": str}}
STATUS: Mapping[str, Shape] = {
    "message": str,
    "details": {"causes": [{"reason": str, "field": str, "message": str}]},
}
LIST: Mapping[str, Shape] = {"metadata": {"continue": str}}
PARTIAL: Mapping[str, Shape] = {"metadata!": NAMED}
CONDITIONS = [{"type": str, "status": str, "reason": str, "message": str, "lastTransitionTime": str}]
SELECTOR = {"matchLabels": WORDS, "matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
STATE = {
    "waiting": {"reason": str, "message": str},
    "running": {"startedAt": str},
    "terminated": {"exitCode": int, "reason": str, "message": str, "startedAt": str, "finishedAt": str},
}
STATUSES = [
    {"name!": DNS, "ready": bool, "restartCount": int, "image": str, "state": STATE, "lastState": STATE}
]
CONTAINERS = [
    {
        "name!": DNS,
        "image": str,
        "command": [str],
        "args": [str],
        "env": [{"name": str, "value": str}],
        "ports": [{"name": str, "containerPort": int, "hostPort": int, "protocol": str}],
        "volumeMounts": [{"name": str, "mountPath": str, "subPath": str}],
        "securityContext": {"runAsUser": int},
    }
]
POD_SPEC = {
    "nodeName": str,
    "serviceAccountName": DNS,
    "hostNetwork": bool,
    "containers": CONTAINERS,
    "initContainers": CONTAINERS,
    "volumes": [{"name": str}],
    "securityContext": {"runAsUser": int},
}
WORKLOAD: Mapping[str, Shape] = {
    "metadata!": NAMED,
    "spec": {
        "replicas": int,
        "selector": SELECTOR,
        "template": {"metadata": {"labels": WORDS, "annotations": WORDS}, "spec": POD_SPEC},
    },
    "status": {
        "conditions": CONDITIONS,
        "observedGeneration": int,
        "replicas": int,
        "readyReplicas": int,
        "updatedReplicas": int,
        "availableReplicas": int,
        "unavailableReplicas": int,
    },
}
ROLE = {"metadata!": NAMED, "rules": [{"verbs": [str], "apiGroups": [str], "resources": [str]}]}
BINDING = {
    "metadata!": NAMED,
    "roleRef": {"apiGroup": str, "kind": str, "name": str},
    "subjects": [{"apiGroup": str, "kind": str, "name": str, "namespace": str}],
}
REVIEW = {"status": {"allowed": bool, "denied": bool, "reason": str}}

KINDS: Mapping[tuple[str, str], Mapping[str, Shape]] = {
    ("apiregistration.k8s.io", "apiservices"): {
        "metadata!": NAMED,
        "spec!": {
            "group": str,
            "version": str,
            "groupPriorityMinimum": int,
            "versionPriority": int,
            "insecureSkipTLSVerify": bool,
            "caBundle": str,
            "service": {"namespace!": DNS, "name!": DNS, "port": PORT},
        },
        "status": {"conditions": CONDITIONS},
    },
    ("", "services"): {
        "metadata!": IN_NAMESPACE,
        "spec": {
            "type": str,
            "clusterIP": str,
            "externalName": ADDRESS,
            "ipFamilies": [str],
            "selector": WORDS,
            "ports": [{"name": str, "port!": PORT, "protocol": str, "targetPort": PORT_OR_NAME}],
        },
    },
    ("discovery.k8s.io", "endpointslices"): {
        "metadata!": IN_NAMESPACE,
        "endpoints": [
            {
                "addresses": [ADDRESS],
                "conditions": {"ready": bool, "serving": bool, "terminating": bool},
                "targetRef": {"kind": str, "namespace": DNS, "name": SEGMENT},
                "nodeName": str,
            }
        ],
        "ports": [{"name": str, "port": PORT, "protocol": str}],
    },
    ("", "pods"): {
        "metadata!": IN_NAMESPACE,
        "spec": POD_SPEC,
        "status": {
            "phase": str,
            "reason": str,
            "message": str,
            "podIP": str,
            "hostIP": str,
            "startTime": str,
            "conditions": CONDITIONS,
            "containerStatuses": STATUSES,
            "initContainerStatuses": STATUSES,
        },
    },
    **{("apps", name): WORKLOAD for name in ("deployments", "daemonsets", "statefulsets", "replicasets")},
    ("", "namespaces"): {"metadata!": NAMED, "status": {"phase": str, "conditions": CONDITIONS}},
    ("", "nodes"): {"metadata!": NAMED, "status": {"addresses": [{"type": str, "address": str}]}},
    ("", "configmaps"): {"metadata": METADATA, "data": WORDS},
    ("", "secrets"): {"metadata": METADATA, "type": str, "data": WORDS},
    ("", "events"): {
        "metadata": METADATA,
        "type": str,
        "reason": str,
        "message": str,
        "lastTimestamp": str,
    },
    ("coordination.k8s.io", "leases"): {
        "metadata": METADATA,
        "spec": {
            "holderIdentity": str,
            "leaseDurationSeconds": int,
            "leaseTransitions": int,
            "acquireTime": str,
            "renewTime": str,
        },
    },
    ("autoscaling", "horizontalpodautoscalers"): {
        "metadata!": IN_NAMESPACE,
        "spec": {"metrics": [{"type": str}]},
    },
    ("networking.k8s.io", "networkpolicies"): {
        "metadata!": NAMED,
        "spec": {"podSelector": SELECTOR},
    },
    **{("rbac.authorization.k8s.io", name): ROLE for name in ("roles", "clusterroles")},
    **{("rbac.authorization.k8s.io", name): BINDING for name in ("rolebindings", "clusterrolebindings")},
    **{
        ("authorization.k8s.io", name): REVIEW
        for name in ("subjectaccessreviews", "selfsubjectaccessreviews", "localsubjectaccessreviews")
    },
}
"""By group and resource."""

VERSION: Mapping[str, Shape] = {"major": str, "minor": str, "gitVersion": str}
GROUPS: Mapping[str, Shape] = {"groups": [{"name": str, "versions": [{"groupVersion": str, "version": str}]}]}
RESOURCES: Mapping[str, Shape] = {
    "groupVersion": str,
    "resources": [{"name": RESOURCE, "kind": str, "namespaced": bool, "verbs": [str]}],
}
AGGREGATED: Mapping[str, Shape] = {
    "kind": str,
    "items": [
        {"metadata!": {"name!": str}, "versions": [{"version!": str, "freshness": str}]},
    ],
}
"""APIGroupDiscoveryList."""
