"""What aggctl is compared with: programs of the same Kubernetes, and scripts that do the work by them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure import say

from aggctl.sandbox import build, components
from aggctl.sandbox.golang import find_go

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "kubectl version --client"
PUBLISHED = "kubectl get --raw /readyz, get configmap"
REGISTER = "kubectl apply, wait, get --raw"
KUBEADM = "kubeadm renew, kube-apiserver restarted"
FILES = "kubeadm init phase certs front-proxy-ca, -client"
LOOK = "kubectl get …, get --raw of each API"


@dataclass(frozen=True, slots=True)
class Programs:
    """The peers' programs; a kubectl on the PATH may be another version, or a wrapper of several."""

    kubectl: Path
    kubeadm: Path

    @classmethod
    def built(cls) -> Programs:
        """From the cache, or built into it like the sandbox's kube-apiserver."""
        return cls(_built("kubectl"), _built("kubeadm"))


def _built(name: str) -> Path:
    component = components.COMPONENTS[name]
    target = components.cache_folder() / component.folder / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        build.build(component, target, find_go(components.cache_folder(), say), say)
    return target


@dataclass(frozen=True, slots=True)
class Scripts:
    """The work of the rows as shell scripts, for one cluster; `root` is the node's file system."""

    programs: Programs
    kubeconfig: Path
    root: Path

    @property
    def _kubectl(self) -> str:
        return shlex.join([str(self.programs.kubectl), "--kubeconfig", str(self.kubeconfig)])

    def published(self) -> str:
        """Whether the layer is on, as far as kubectl tells: ready, and the CA that is published."""
        return f"""set -e
kubectl() {{ {self._kubectl} "$@"; }}
kubectl get --raw /readyz
kubectl -n kube-system get configmap extension-apiserver-authentication -o yaml
"""

    def files(self) -> str:
        """The CA and the client certificate of the layer, and no more: no flag, no restart, no proof."""
        return f"""set -e
pki=$(mktemp -d)
for each in front-proxy-ca front-proxy-client; do
  {self.programs.kubeadm} init phase certs $each --cert-dir "$pki" --kubernetes-version v1.37.2
done
rm -r "$pki"
"""

    def register(self, objects: Path, name: str, path: str) -> str:
        """The documented three commands."""
        return f"""set -e
kubectl() {{ {self._kubectl} "$@"; }}
kubectl apply --server-side -f {objects}
kubectl wait --for=condition=Available apiservice/{name}
kubectl get --raw {path}
"""

    def renew(self, path: str) -> str:
        """The documented way to a new client certificate of the layer, without its 20 seconds of waiting.

        https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/#manual-certificate-renewal
        """
        manifests = self.root / "etc/kubernetes/manifests"
        return f"""set -e
kubectl() {{ {self._kubectl} "$@"; }}
{self.programs.kubeadm} certs renew front-proxy-client \\
  --cert-dir {self.root}/etc/kubernetes/pki --kubeconfig {self.kubeconfig}
mv {manifests}/kube-apiserver.yaml {self.root}/kube-apiserver.yaml
while kubectl get --raw /readyz; do sleep 0.1; done
mv {self.root}/kube-apiserver.yaml {manifests}/kube-apiserver.yaml
until kubectl get --raw /readyz; do sleep 0.1; done
until kubectl get --raw {path}; do sleep 0.1; done
"""

    def look(self) -> str:
        """What status and doctor look at, as far as kubectl shows it: no certificate as it is served."""
        return f"""kubectl() {{ {self._kubectl} "$@"; }}
kubectl get --raw /readyz
kubectl -n kube-system get configmap extension-apiserver-authentication -o yaml
kubectl get apiservices -o yaml
kubectl get services,endpointslices,pods --all-namespaces -o yaml
each='{{range .items[?(@.spec.service)]}}{{.spec.group}}/{{.spec.version}} {{end}}'
for api in $(kubectl get apiservices -o jsonpath="$each"); do kubectl get --raw "/apis/$api" || true; done
"""
