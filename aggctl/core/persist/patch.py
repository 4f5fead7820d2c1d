"""What only this node's kube-apiserver needs, as a patch file for `kubeadm upgrade … --patches DIR`.

For kubeadm NAME+json.yaml is a JSON patch where NAME begins with that of the component; the files are applied
in the order of their names (kubernetes/cmd/kubeadm/app/util/patches). A flag that is added stands behind
kubeadm's own of the same name, and kube-apiserver goes by the last one (pflag's stringValue.Set).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aggctl.core.flags import AGGREGATION_FLAGS
from aggctl.core.manifest.model import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggctl.core.manifest import Manifest, Mount

FOLDER = "/etc/kubernetes/patches"
FILE = f"{FOLDER}/kube-apiserver-aggctl+json.yaml"
MODE = 0o644

_WRITTEN_BY = b"# Written by aggctl "
_HEAD = f"""\
# Written by aggctl {{}}: what this node's kube-apiserver needs besides the ConfigMap kubeadm-config.
# kubeadm upgrade … --patches {FOLDER}
"""
_COMMAND = "/spec/containers/0/command/-"


def patch_file(flags: Mapping[str, str], mounts: Iterable[Mount], command: str = "enable") -> bytes:
    """The patch that adds flags, and mounts with their volumes; empty for no flags."""
    if not flags:
        return b""
    added: list[tuple[str, Any]] = [(_COMMAND, f"--{name}={value}") for name, value in flags.items()]
    for each in mounts:
        sub = {"subPath": each.sub_path} if each.sub_path else {}
        mount = {"mountPath": each.mount_path, "name": each.name, "readOnly": each.read_only, **sub}
        kind = {"type": each.kind} if each.kind else {}
        volume = {"hostPath": {"path": each.host_path, **kind}, "name": each.name}
        added += [("/spec/containers/0/volumeMounts/-", mount), ("/spec/volumes/-", volume)]
    lines = (json.dumps({"op": "add", "path": path, "value": value}) for path, value in added)
    return (_HEAD.format(command) + "".join(f"- {line}\n" for line in lines)).encode()


def is_ours(content: bytes) -> bool:
    """Whether aggctl wrote the patch file, and nobody another first line."""
    return content.startswith(_WRITTEN_BY)


def patched_flags(content: bytes) -> dict[str, str]:
    """Those of the eight flags that a patch file of ours adds; what it holds besides is passed over."""
    found: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        try:
            operation = json.loads(line.removeprefix("- "))
        except ValueError:
            continue
        if isinstance(operation, dict) and operation.get("path") == _COMMAND:
            name, _, value = str(operation.get("value")).removeprefix("--").partition("=")
            found |= {name: value} if name in AGGREGATION_FLAGS else {}
    return found


def mounts_for(manifest: Manifest, paths: Iterable[str]) -> tuple[Mount, ...]:
    """The mounts of the manifest by which the container sees files."""
    seen = (mount_of(path, manifest.mounts) for path in paths)
    return tuple(dict.fromkeys(filter(None, seen)))
