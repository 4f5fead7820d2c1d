"""Kubernetes objects read without trust in their shape: what is not there, or of a wrong type, is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILT_IN_GROUPS = frozenset(
    {
        "", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps",
        "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io",
        "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "extensions",
        "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "lifecycle.k8s.io",
        "networking.k8s.io", "node.k8s.io", "policy", "rbac.authorization.k8s.io", "resource.k8s.io",
        "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io",
    }
)  # fmt: skip
"""What a kube-apiserver of 1.20 to 1.37 serves itself; an APIService takes it away from the whole cluster.

Those with priorities in cmd/kube-apiserver/app/aggregator.go and pkg/controlplane/apiserver/aggregator.go of
1.37.2, the aggregator's own group, and `extensions`, which went in 1.22.
"""

CLUSTER_SCOPED = frozenset(
    {
        ("", "Namespace"), ("", "Node"), ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "IngressClass"), ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "ServiceCIDR"), ("node.k8s.io", "RuntimeClass"),
        ("policy", "PodSecurityPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRole"), ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("resource.k8s.io", "DeviceClass"), ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "CSIDriver"), ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"), ("storage.k8s.io", "VolumeAttachment"),
        ("storage.k8s.io", "VolumeAttributesClass"),
    }
)  # fmt: skip
"""(group, kind) of what kube-apiserver itself serves outside of namespaces."""


def at(value: Any, *path: str) -> Any:
    """What stands at a path of keys; None where it ends early."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def table(value: Any, *path: str) -> dict[str, Any]:
    """The mapping at a path."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def rows(value: Any, *path: str) -> list[Any]:
    """The list at a path."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def tables(value: Any, *path: str) -> Iterator[dict[str, Any]]:
    """The mappings of the list at a path."""
    return (each for each in rows(value, *path) if isinstance(each, dict))


def word(value: Any, *path: str) -> str:
    """The string at a path."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def number(value: Any, *path: str) -> int | None:
    """The integer at a path; a boolean is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def group_of(thing: Any) -> str:
    """The group of an object's apiVersion, '' for the core group."""
    return word(thing, "apiVersion").rpartition("/")[0]


def group_kind(thing: Any) -> tuple[str, str]:
    """What kind of object it is; the kind alone is not enough: management.cattle.io has an APIService too."""
    return group_of(thing), word(thing, "kind")


def name_of(thing: Any) -> str:
    """metadata.name."""
    return word(thing, "metadata", "name")


def namespace_of(thing: Any) -> str:
    """metadata.namespace, '' where there is none."""
    return word(thing, "metadata", "namespace")


def identity(thing: Any) -> tuple[str, str, str, str]:
    """Group, kind, namespace and name: two objects that share them are one object to the cluster."""
    return *group_kind(thing), namespace_of(thing), name_of(thing)


def title(thing: Any) -> str:
    """An object as people name it: `Deployment keda/keda-metrics-apiserver`."""
    where = f"{namespace_of(thing)}/" if namespace_of(thing) else ""
    return clean(f"{word(thing, 'kind')} {where}{name_of(thing)}", 200)


def is_kind(thing: Any, group: str, *kinds: str) -> bool:
    """Whether it is one of these kinds of this group."""
    return group_of(thing) == group and word(thing, "kind") in kinds


def is_api_service(thing: Any) -> bool:
    """Whether it is an APIService of the aggregation layer."""
    return is_kind(thing, "apiregistration.k8s.io", "APIService")


def is_service(thing: Any) -> bool:
    """Whether it is a Service of the core group."""
    return is_kind(thing, "", "Service")
