"""Small kube-apiserver manifests, written line by line."""

from __future__ import annotations

from pathlib import Path

from aggctl.core.manifest import Manifest, read_manifest

FILES = Path(__file__).parent.parent / "core" / "manifests"
ROUTING = {"enable-aggregator-routing": "true"}
NEW = "    - --enable-aggregator-routing=true\n"

HEAD = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.34.1
"""
TAIL = """\
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: k8s-certs
"""
MOUNTS = """\
    volumeMounts:
    - {mountPath: /etc/kubernetes/, name: parent}
    - {mountPath: /etc/kubernetes/pki, name: pki, subPath: sub}
    - {mountPath: /etc/kubernetes/pki/empty, name: empty}
    - {mountPath: /etc/kubernetes/pki/expr, name: pki, subPathExpr: $(X)}
    - {mountPath: /file.crt, name: file}
  volumes:
  - {name: parent, hostPath: {path: /srv/a/}}
  - {name: pki, hostPath: {path: /data/pki, type: ""}}
  - {name: empty, emptyDir: {}}
  - {name: file, hostPath: {path: /data/one.crt, type: File}}
"""


def pod(*lines: str, head: str = HEAD, tail: str = TAIL) -> str:
    """A Pod whose container has these lines of text."""
    return head + "".join(f"    {line}\n" for line in lines) + tail


def command(*items: str) -> str:
    """A Pod that runs kube-apiserver with these list items."""
    return pod("command:", "- kube-apiserver", *(f"- {item}" for item in items))


def read(text: str) -> Manifest:
    return read_manifest(text.encode(), "kube-apiserver.yaml")
