"""Checks of what runs an extension server: its Deployment and Pods, and the endpoints of its Service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggctl.core.cluster_view import ready_endpoints
from aggctl.core.findings import Finding, Passed
from aggctl.core.questions import PodLog
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

CRASHES_BEFORE_GIVING_UP = 2
_NO_IMAGE = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_NOT_CREATED = ("CreateContainerConfigError", "CreateContainerError")
_KUBELET_STARTS = ("services have not yet been read", "failed to sync")
"""Said while the kubelet itself still reads the cluster (pkg/kubelet/kubelet_pods.go, and its caches)."""


def available(snapshot: Snapshot, *, namespace: str, name: str, server: str) -> Passed | Finding:
    """The Deployment runs as many Pods as it wants, of its newest template, as `kubectl rollout status`."""
    path = path_of("apps/v1", "deployments", namespace, name)
    deployment = snapshot.object(path, server)
    target = f"Deployment {namespace}/{name}"
    if deployment is None:
        return _finding("workload-not-available", target, f"{target} is not there", "apply it")
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    if seen and counts == [wanted] * 3:
        return Passed(f"{target}: {wanted} of {wanted} available")
    not_yet = _finding(
        "workload-not-available",
        target,
        f"{target}: {min(counts[:2])} of {wanted} available",
        f"kubectl -n {namespace} describe deployment {name}",
    )
    if not seen:
        return not_yet
    hopeless = refused_pods(target, status)
    if counts[0]:  # before there are new Pods, the newest ones are of the template before
        hopeless = hopeless or _of_pods(snapshot, server, namespace, spec, target)
    return hopeless or not_yet


def endpoints_ready(
    snapshot: Snapshot, *, namespace: str, service: str, port: int, server: str
) -> Passed | Finding:
    """The Service has a ready endpoint behind the port; one of type ExternalName needs none."""
    found = snapshot.object(path_of("v1", "services", namespace, service), server)
    target = f"Service {namespace}/{service}"
    if found is None:
        return _finding(
            "service-not-found", target, f"{target} is not there", "create it, or name another one"
        )
    if addresses := endpoints_of(snapshot, found, port, server):
        return Passed(f"{len(addresses)} endpoints ready")
    return _finding(
        "no-ready-endpoint",
        target,
        f"{target} has no ready endpoint behind port {port}",
        f"kubectl -n {namespace} get pods,endpointslices -o wide",
    )


def endpoints_of(snapshot: Snapshot, service: Object, port: int, server: str) -> tuple[str, ...]:
    """HOST:PORT of each ready endpoint behind a port of a Service; the name of an ExternalName."""
    spec = service.get("spec") or {}
    path = slices_path(service)
    if path is None:
        return (f"{spec.get('externalName')}:{port}",)
    names = {str(each.get("name") or "") for each in spec.get("ports") or [] if each.get("port") == port}
    return tuple(dict.fromkeys(ready_endpoints(snapshot.object(path, server), names)))


def dialled_of(service: Object, port: int, endpoints: tuple[str, ...], *, routed: bool) -> tuple[str, ...]:
    """What kube-apiserver dials for a Service: its ClusterIP where it has one, with routing its endpoints."""
    address = str((service.get("spec") or {}).get("clusterIP") or "")
    if routed or address in ("", "None"):
        return endpoints
    return (f"[{address}]:{port}" if ":" in address else f"{address}:{port}",)


def slices_path(service: Object) -> str | None:
    """Where the endpoints of a Service are listed; None for an ExternalName, which has none."""
    if (service.get("spec") or {}).get("type") == "ExternalName":
        return None
    slices = path_of("discovery.k8s.io/v1", "endpointslices", service["metadata"]["namespace"])
    return f"{slices}?labelSelector=kubernetes.io/service-name={service['metadata']['name']}"


def last_lines(snapshot: Snapshot, *, namespace: str, name: str, server: str) -> tuple[str, ...]:
    """What a container of a Deployment said last that is not ready; nothing where that may not be seen."""
    try:
        deployment = snapshot.object(path_of("apps/v1", "deployments", namespace, name), server) or {}
        pods = _pods_of(snapshot, server, namespace, deployment.get("spec") or {})
        logs = [
            PodLog(
                namespace,
                pod["metadata"]["name"],
                str(state["name"]),
                bool(state.get("restartCount")),
                server,
            )
            for pod in pods
            for state in containers_of(pod)
            if not state.get("ready")
        ]
    except NotKnown:
        return ()
    snapshot.expect(*logs)
    readable = (each for each in logs if not snapshot.unknown(each))
    return next((lines for each in readable if (lines := snapshot.pod_log(each))), ())


def newest(pods: list[Object]) -> list[Object]:
    """The Pods of the newest template; those of the one before are on their way out."""
    last = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    return [pod for pod in pods if _template(pod) == _template(last)] if last else []


def containers_of(pod: Object) -> Iterator[Object]:
    """The states of a Pod's containers, the first ones to run first."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def pods_path(namespace: str, selector: dict[str, str]) -> str:
    """Where the Pods with these labels are listed."""
    labels = ",".join(f"{name}%3D{value}" for name, value in sorted(selector.items()))
    return f"{path_of('v1', 'pods', namespace)}?labelSelector={labels}"


def refused_pods(target: str, status: Object) -> Finding | None:
    """Pods that the API server does not let in: by quota, by admission."""
    for condition in status.get("conditions") or []:
        if (condition.get("type"), condition.get("status")) == ("ReplicaFailure", "True"):
            said = clean(str(condition.get("message")), 400)
            code = "quota-exceeded" if "exceeded quota" in said else "pods-not-admitted"
            return _finding(code, target, f"{target} gets no Pods: {said}", "allow what it says", said)
    return None


def _of_pods(snapshot: Snapshot, server: str, namespace: str, spec: Object, target: str) -> Finding | None:
    """What keeps the Pods from running, where waiting cannot mend it; where they may not be seen, nothing."""
    try:
        pods = _pods_of(snapshot, server, namespace, spec)
    except NotKnown:
        return None
    for pod in pods:
        for state in containers_of(pod):
            if finding := container_problem(state, f"{target}, Pod {pod['metadata']['name']}"):
                return finding
    return None


def _pods_of(snapshot: Snapshot, server: str, namespace: str, spec: Object) -> list[Object]:
    """The newest Pods of a Deployment; without labels to select by, all of the namespace would be its own."""
    labels = (spec.get("selector") or {}).get("matchLabels")
    found = snapshot.object(pods_path(namespace, labels), server) if labels else None
    return newest((found or {}).get("items") or [])


def container_problem(state: Object, subject: str) -> Finding | None:
    """What keeps a container from running, where waiting cannot mend it."""
    waiting = (state.get("state") or {}).get("waiting") or {}
    reason, said = str(waiting.get("reason")), clean(str(waiting.get("message") or ""), 400)
    if reason in _NO_IMAGE or (reason == "ErrImagePull" and "not found" in said):
        image = clean(str(state.get("image")), 200)
        return _finding(
            "image-not-pulled",
            subject,
            f"image {image} cannot be pulled ({reason})",
            "correct the name of the image, or give the node access to the registry",
            said,
        )
    if reason in _NOT_CREATED and not said.startswith(_KUBELET_STARTS):
        return _finding(
            "container-not-created",
            subject,
            f"the container cannot be created: {said}",
            "correct what it names",
            said,
        )
    if reason == "CrashLoopBackOff" and state.get("restartCount", 0) >= CRASHES_BEFORE_GIVING_UP:
        ended = (state.get("lastState") or {}).get("terminated") or {}
        words = clean(str(ended.get("message") or ""), 400)
        how = f"exit status {ended.get('exitCode')} ({ended.get('reason')})"
        message = f"the container ends again and again, with {how}"
        return _finding(
            "container-crash-loop",
            subject,
            message,
            "read its last lines below; correct what they name",
            words,
        )
    return None


def _template(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def _finding(code: str, subject: str, message: str, fix: str, evidence: str | None = None) -> Finding:
    """Evidence is what tells that waiting does not help."""
    return Finding(
        code=code,
        severity="error",
        subject=subject,
        message=message,
        fix=fix,
        evidence=(evidence,) if evidence else (),
        hopeless=evidence is not None,
    )
