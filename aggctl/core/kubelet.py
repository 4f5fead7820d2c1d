"""What the kubelet's configuration says of static Pods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core.questions import FileAt

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot

CONFIG = "/var/lib/kubelet/config.yaml"
DEFAULT_FOLDER = "/etc/kubernetes/manifests"
_FLAG_FILES = ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")
_SCALAR = re.compile(  # YAML or JSON
    r"""(?:^|[{,])\s*["']?staticPodPath["']?\s*:[ \t]*(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s#,}"']+)""",
    re.MULTILINE,
)
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StaticPods:
    """The folder that the kubelet reads static Pods from, and where that was found."""

    folder: str
    source: str


def static_pods(snapshot: Snapshot) -> StaticPods:
    """The kubelet's staticPodPath; its flag wins over its file, as in the kubelet. kubeadm's default else."""
    snapshot.expect(*(FileAt(path) for path in (*_FLAG_FILES, CONFIG)))
    flags = " ".join(_COMMENT.sub("", _text(snapshot, path)) for path in _FLAG_FILES)
    by_flag = _flag(flags, "pod-manifest-path")
    if by_flag:
        return StaticPods(_clean(by_flag), "--pod-manifest-path of the kubelet")
    config = _flag(flags, "config") or CONFIG
    found = _SCALAR.search(_text(snapshot, config))
    folder = found["value"].strip("\"'") if found else ""
    if folder:
        return StaticPods(_clean(folder), f"staticPodPath in {config}")
    return StaticPods(DEFAULT_FOLDER, "kubeadm's default; no kubelet configuration names another")


def _text(snapshot: Snapshot, path: str) -> str:
    seen = snapshot.file(path)
    return seen.content.decode("utf-8", "replace") if seen else ""


def _flag(text: str, name: str) -> str:
    found = re.findall(rf"--{name}[= ]([^\s\"']+)", text)
    return str(found[-1]) if found else ""


def _clean(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
