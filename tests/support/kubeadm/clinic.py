"""Three real nodes with one API, looked at by `aggctl doctor` from each node and from elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from support.kubeadm.cluster import ADAPTER_IMAGE, AGGCTL
from support.waiting import eventually

if TYPE_CHECKING:
    from support.kubeadm.cluster import Cluster, KubeadmNode

API, NAMESPACE, SERVER = "v1beta1.custom.metrics.k8s.io", "custom-metrics", "test-adapter"
ELSEWHERE = "elsewhere"
"""The machine that is the nodes' switch: it has a kubeconfig and nothing else, and no way to Pods."""

NOTICED = 360.0
"""kube-apiserver checks an API anew every 30 seconds; a kubelet waits up to 5 minutes with what crashed."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Clinic:
    """The cluster with its API; `template` is that of the Pods when all is well."""

    cluster: Cluster
    template: Object

    @property
    def places(self) -> tuple[str, ...]:
        """Each node, and elsewhere."""
        return (*(each.name for each in self.cluster.nodes), ELSEWHERE)

    def node(self, name: str) -> KubeadmNode:
        return next(each for each in self.cluster.nodes if each.name == name)

    def doctor(self, place: str) -> Object:
        """The document of a run on a node, or elsewhere."""
        words: tuple[str, ...] = ("doctor", API, "-o", "json")
        if place == ELSEWHERE:
            kubeconfig = str(self.cluster.first.path("/etc/kubernetes/admin.conf"))
            run = self.cluster.kit.switch.run(AGGCTL, *words, "--kubeconfig", kubeconfig, check=False)
        else:
            run = self.node(place).aggctl(*words)
        assert run.returncode in (0, 3), run.stdout + run.stderr
        found: Object = json.loads(run.stdout)
        assert (run.returncode == 0) is (found["outcome"] == "healthy")
        return found

    def told(self, place: str, wanted: tuple[str, ...]) -> Object:
        """The document whose verdicts are those, once kube-apiservers noticed."""
        seen: list[Object] = []

        def come() -> bool:
            seen[:] = [self.doctor(place)]
            return verdicts(seen[0]) == wanted

        try:
            eventually(come, f"doctor says {wanted} on {place}", NOTICED)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{json.dumps(seen, indent=1)}") from late
        return seen[0]

    def well(self, *places: str) -> None:
        """Doctor finds nothing wrong there any more."""
        for place in places:
            assert self.told(place, ("", ""))["outcome"] == "healthy"

    def kubectl(self, *words: str) -> str:
        return str(self.cluster.first.kubectl(*words).stdout)

    def object(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json"))
        return found

    def patch(self, kind: str, name: str, *operations: Object) -> None:
        """Change an object by a JSON patch."""
        self.kubectl("-n", NAMESPACE, "patch", kind, name, "--type=json", "-p", json.dumps(operations))

    def pods_are(self, template: Object) -> None:
        """Let the Deployment make Pods of another template, after those of the one before."""
        self.patch("deployment", SERVER, {"op": "replace", "path": "/spec/template", "value": template})

    def rolled_out(self) -> None:
        self.kubectl("-n", NAMESPACE, "rollout", "status", "deployment", SERVER, "--timeout=120s")


def verdicts(document: Object) -> tuple[str, ...]:
    """The verdict on the layer and on the API; of the API there is none where nobody answers."""
    return tuple(each["verdict"] for each in document["items"] if "verdict" in each)


def clinic_in(cluster: Cluster) -> Clinic:
    """Register the API; its one Pod is on the first node."""
    server = ("--image", ADAPTER_IMAGE, "-n", NAMESPACE, "--replicas", "1")
    cluster.first.aggctl("register", API, *server, "--yes", "--no-wait", check=True)
    clinic = Clinic(cluster, {})
    selector = {"kubernetes.io/hostname": cluster.first.name}
    clinic.patch(
        "deployment",
        SERVER,
        {"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}},
        {"op": "add", "path": "/spec/template/spec/nodeSelector", "value": selector},
    )
    clinic.rolled_out()
    return replace(clinic, template=clinic.object("deployment", SERVER)["spec"]["template"])
