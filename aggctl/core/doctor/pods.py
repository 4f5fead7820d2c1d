"""The Pods behind a Service: why they are not ready, and what their last words say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.workload import container_problem, containers_of, pods_path, refused_pods
from aggctl.core.delegation import DELEGATOR, READER, names_of
from aggctl.core.doctor.signs import read_log
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, PodLog
from aggctl.core.resources import path_of
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.doctor.backend import Backend
    from aggctl.core.doctor.model import Place, Subject
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

WORKLOADS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
MESHES = {"istio-proxy": "Istio", "linkerd-proxy": "Linkerd", "consul-dataplane": "Consul"}
_ERRORS_BY_LOG = {
    "privileged-port": ("it may not listen on a port below 1024", "let it listen on one above 1023"),
    "port-taken": (
        "its port is taken by another process of the node",
        "give it a free one: containerPort, its argument and the Service's targetPort",
    ),
    "flow-schema-version-gone": (
        "it asks for a version of FlowSchema that this cluster has no more, or not yet",
        "use a release of it that fits this version of Kubernetes",
    ),
    "kubelet-certificate-not-verified": (
        "it cannot verify the kubelets' serving certificates",
        (
            "set serverTLSBootstrap for the kubelets and approve their CSRs; last resort "
            "--kubelet-insecure-tls "
            "(which is not the APIService's insecureSkipTLSVerify)"
        ),
    ),
    "informers-not-synced": (
        "it may not list what it watches before it gets ready",
        "give its ServiceAccount the rights that its log names",
    ),
    "backing-store-down": ("its own etcd does not answer", "mend its etcd first"),
    "layer-off": ("it found no front-proxy CA published", "sudo aggctl enable, then restart it"),
    "auth-reader-missing": (
        "its ServiceAccount may not read what the cluster publishes of its front proxies",
        (
            f"kubectl -n kube-system create rolebinding {{reader}} --role={READER} "
            "--serviceaccount={account}; then restart it"
        ),
    ),
    "auth-delegator-missing": (
        "its ServiceAccount may not create the reviews by which a server asks who may do what",
        (
            f"kubectl create clusterrolebinding {{delegator}} --clusterrole={DELEGATOR} "
            "--serviceaccount={account}"
        ),
    ),
    "client-ca-not-published": (
        "it insists on a CA of ordinary clients, and none is published",
        "set --client-ca-file for kube-apiserver, or use a newer release of it",
    ),
}


@dataclass(frozen=True, slots=True)
class Pods:
    """The Pods that the Service selects, as far as they may be seen."""

    items: tuple[Object, ...]

    @property
    def account(self) -> tuple[str, str]:
        """Namespace and name of their ServiceAccount."""
        first = self.items[0]
        name = (first.get("spec") or {}).get("serviceAccountName") or "default"
        return str(first["metadata"]["namespace"]), str(name)

    def called_at(self, address: str) -> str:
        """The name of the Pod that has an address; empty where it is none of them."""
        return next(
            (
                str(each["metadata"]["name"])
                for each in self.items
                if (each.get("status") or {}).get("podIP") == address
            ),
            "",
        )


def see_pods(snapshot: Snapshot, subject: Subject, backend: Backend, place: Place) -> Pods:
    """List them; those that are on their way out, evicted or done do not count."""
    found = snapshot.object(pods_path(subject.at.namespace, backend.selector), place.server) or {}
    living = (each for each in found.get("items") or [] if not each["metadata"].get("deletionTimestamp"))
    return Pods(
        tuple(
            each for each in living if (each.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
        )
    )


def of_pods(
    snapshot: Snapshot, subject: Subject, backend: Backend, place: Place, pods: Pods
) -> tuple[str, list[Finding]]:
    """Why there are no ready ones; one that is not ready beside others that are is a warning."""
    ready = [each for each in pods.items if is_ready(each)]
    said = f"{len(ready)}/{len(pods.items)} ready"
    if not pods.items:
        return said, list(_none(snapshot, subject, backend, place))
    severity = "warning" if ready and backend.endpoints else "error"
    unready = [each for each in pods.items if each not in ready][:3]
    snapshot.expect(
        *(each for pod in unready for each in _logs(pod, place)), *(_events(each, place) for each in unready)
    )
    findings = [
        _of_pod(snapshot, subject, place, pod, severity)
        for pod in unready
        if severity == "error" or not _is_young(pod)
    ]
    return said, _distinct(findings)


def is_ready(pod: Object) -> bool:
    """Whether its condition Ready says so."""
    return any(
        (each.get("type"), each.get("status")) == ("Ready", "True")
        for each in (pod.get("status") or {}).get("conditions") or []
    )


def _is_young(pod: Object) -> bool:
    """Whether it is only starting: it has never restarted, and waits for nothing that cannot come."""
    states = list(containers_of(pod))
    return not any(each.get("restartCount") for each in states) and not any(
        container_problem(each, "") for each in states
    )


def _distinct(findings: list[Finding]) -> list[Finding]:
    """One finding per cause; replicas share it."""
    return list({each.code: each for each in reversed(findings)}.values())


def _none(snapshot: Snapshot, subject: Subject, backend: Backend, place: Place) -> Iterator[Finding]:
    """No Pods at all: nobody makes them, or nobody lets them in."""
    namespace, target = subject.at.namespace, f"Service {subject.at.namespace}/{subject.at.name}"
    paths = {kind: path_of("apps/v1", f"{kind}s", namespace) for kind in WORKLOADS}
    snapshot.expect(*(ObjectAt(path, place.server) for path in paths.values()))
    behind = [
        (kind, each)
        for kind, path in paths.items()
        for each in (snapshot.object(path, place.server) or {}).get("items") or []
        if _is_selected(each, backend.selector)
    ]
    for kind, each in behind:
        name = f"{WORKLOADS[kind]} {namespace}/{each['metadata']['name']}"
        if (each.get("spec") or {}).get("replicas") == 0:
            yield Finding(
                "workload-scaled-to-zero",
                "error",
                name,
                "it is scaled to zero, so that nothing is behind the Service",
                f"kubectl -n {namespace} scale {kind} {each['metadata']['name']} --replicas=1",
            )
        elif refused := refused_pods(name, each.get("status") or {}):
            yield refused
    if not behind:
        labels = ",".join(f"{name}={value}" for name, value in sorted(backend.selector.items()))
        yield Finding(
            "service-selects-nothing",
            "error",
            target,
            f"no Pod has its labels {clean(labels, 200)}",
            f"kubectl -n {namespace} get pods --show-labels; correct spec.selector, or start the server",
            expected="Pods with these labels",
        )


def _is_selected(workload: Object, selector: dict[str, str]) -> bool:
    template = (workload.get("spec") or {}).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    return all(labels.get(name) == value for name, value in selector.items())


def _of_pod(snapshot: Snapshot, subject: Subject, place: Place, pod: Object, severity: str) -> Finding:
    name = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    events = _said_by_events(snapshot, pod, place)
    words = _last_words(snapshot, pod, place)
    for state in containers_of(pod):
        problem = container_problem(state, name)
        if problem is None and not state.get("ready"):
            problem = _crashed(state, name)
        if problem:
            sign = read_log(words)
            if sign and problem.code == "container-crash-loop":
                return _by_log(sign, pod, severity, subject)
            return Finding(
                problem.code,
                severity,
                name,
                problem.message,
                f"kubectl -n {pod['metadata']['namespace']} logs {pod['metadata']['name']} --previous"
                if problem.code == "container-crash-loop"
                else f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}",
                evidence=(*problem.evidence, *words[-3:], *events),
            )
    if unscheduled := _unscheduled(pod):
        return Finding(
            "pod-not-scheduled",
            severity,
            name,
            f"no node takes it: {unscheduled}",
            f"make room, or correct what keeps it off: kubectl -n {subject.at.namespace} describe pod "
            f"{pod['metadata']['name']}",
            evidence=events,
        )
    if sign := read_log(words):
        return _by_log(sign, pod, severity, subject)
    return Finding(
        "pod-not-ready",
        severity,
        name,
        "it runs and is not ready"
        if any((each.get("state") or {}).get("running") for each in containers_of(pod))
        else "it has not started",
        f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}",
        evidence=(*events, *words[-3:]),
    )


def _crashed(state: Object, subject: str) -> Finding | None:
    """A container that ended more than once, and is not waiting to be begun anew at this very moment."""
    ended = (state.get("lastState") or {}).get("terminated") or {}
    if not ended or state.get("restartCount", 0) <= 1:
        return None
    how = f"exit status {ended.get('exitCode')}, {ended.get('reason')}"
    message = f"the container ended {state['restartCount']} times, last with {how}"
    return Finding("container-crash-loop", "error", subject, message, "")


def _by_log(sign: tuple[str, str], pod: Object, severity: str, subject: Subject) -> Finding:
    message, fix = _ERRORS_BY_LOG[sign[0]]
    namespace, account = Pods((pod,)).account
    reader, delegator = names_of(namespace, account)
    fix = fix.format(reader=reader, delegator=delegator, account=f"{namespace}:{account}")
    lacks = sign[0] in ("auth-reader-missing", "auth-delegator-missing")
    name = f"ServiceAccount {namespace}/{account}" if lacks else f"Pod {namespace}/{pod['metadata']['name']}"
    return Finding(
        sign[0], severity, name, f"{subject.api.name}: {message}", fix, evidence=(clean(sign[1], 400),)
    )


def _unscheduled(pod: Object) -> str:
    for each in (pod.get("status") or {}).get("conditions") or []:
        if (each.get("type"), each.get("status")) == ("PodScheduled", "False"):
            return clean(str(each.get("message") or each.get("reason")), 400)
    return ""


def _logs(pod: Object, place: Place) -> list[PodLog]:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    return [
        PodLog(namespace, name, str(state["name"]), bool(state.get("restartCount")), place.server)
        for state in containers_of(pod)
        if not state.get("ready") and _has_run(state)
    ]


def _has_run(state: Object) -> bool:
    now = state.get("state") or {}
    return bool(state.get("restartCount") or now.get("running") or now.get("terminated"))


def _last_words(snapshot: Snapshot, pod: Object, place: Place) -> tuple[str, ...]:
    return tuple(
        line
        for each in _logs(pod, place)
        if not snapshot.unknown(each)
        for line in snapshot.pod_log(each)
        if line
    )


def _events(pod: Object, place: Place) -> ObjectAt:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    return ObjectAt(
        f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name%3D{name}", place.server
    )


def _said_by_events(snapshot: Snapshot, pod: Object, place: Place) -> tuple[str, ...]:
    """The newest warnings about a Pod; they fade after an hour."""
    question = _events(pod, place)
    if snapshot.unknown(question):
        return ()
    items = (snapshot.object(question.path, question.server) or {}).get("items") or []
    warnings = [each for each in items if each.get("type") == "Warning"]
    newest = sorted(warnings, key=lambda each: str(each.get("lastTimestamp") or ""))[-2:]
    return tuple(clean(f"{each.get('reason')}: {each.get('message')}", 300) for each in newest)
