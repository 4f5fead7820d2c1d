"""A control-plane node as its files and processes show it: the one manifest, and what runs it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from aggctl.core.distributions import refuse_foreign, refuse_unit
from aggctl.core.flags import Layer, read_layer
from aggctl.core.kubelet import StaticPods, static_pods
from aggctl.core.manifest import is_apiserver_pod, read_manifest
from aggctl.core.manifest.program import program_index
from aggctl.core.questions import FileAt
from aggctl.errors import Refused

if TYPE_CHECKING:
    from aggctl.core.manifest import Manifest
    from aggctl.core.questions import FileSeen, FolderSeen, ProcessSeen
    from aggctl.core.snapshot import Snapshot

DEFAULT_PORT = 6443
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- compared with, never bound to


@dataclass(frozen=True, slots=True)
class Node:
    """This node's kube-apiserver: its manifest, the file that it is in, its address and its processes."""

    manifest: Manifest
    file: FileSeen
    folder: FolderSeen
    layer: Layer
    server: str
    processes: tuple[ProcessSeen, ...]

    @property
    def process(self) -> ProcessSeen | None:
        """The process whose arguments are the manifest's, or None."""
        return next((each for each in self.processes if runs(each, self.manifest)), None)


cached_manifest = lru_cache(maxsize=32)(read_manifest)
"""Gates read the same text ten times a second; parsing it each time took 28 % of a core."""

_cached_is_pod = lru_cache(maxsize=32)(is_apiserver_pod)


def see_node(snapshot: Snapshot, manifest_path: str = "") -> Node:
    """The node, or Refused: another distribution, no manifest, two of them, or one that is no static Pod."""
    kubelet = static_pods(snapshot)
    if not manifest_path:
        refuse_foreign(snapshot)
    path = manifest_path or _find_manifest(snapshot, kubelet)
    file = snapshot.file(path)
    if file is None:
        raise _no_manifest(path, "there is no such file")
    if file.link:
        raise _linked(snapshot, path, file.link, kubelet)
    manifest = cached_manifest(file.content, path)
    folder = _check_folder(snapshot, path, kubelet)
    port = secure_port(manifest)
    return Node(
        manifest, file, folder, read_layer(manifest), server_url(manifest, port), snapshot.processes(port)
    )


def runs(process: ProcessSeen, manifest: Manifest) -> bool:
    """Whether the process has the manifest's arguments; $(VAR) matches whatever it became.

    What comes before them (the binary, go-runner, hyperkube's subcommand) differs between Pod and process.
    """
    wanted, actual = _arguments(manifest.argv), _arguments(process.argv)
    return len(wanted) == len(actual) and all(map(_same_word, wanted, actual))


def secure_port(manifest: Manifest) -> int:
    """The port that kube-apiserver serves on."""
    values = manifest.values("secure-port")
    return int(values[-1]) if values and values[-1].isdigit() else DEFAULT_PORT


def server_url(manifest: Manifest, port: int) -> str:
    """The address of this kube-apiserver itself, never that of a load balancer before several."""
    advertised = _last(manifest, "advertise-address")
    bound = _last(manifest, "bind-address")
    host = bound if bound not in _ANY else advertised or "127.0.0.1"
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _arguments(words: tuple[str, ...]) -> tuple[str, ...]:
    program = program_index(words)
    if program is not None:
        return words[program + 1 :]
    return words if words[:1] and words[0].startswith("-") else words[1:]


def _same_word(wanted: str, actual: str) -> bool:
    fixed, variable, _ = wanted.partition("$")
    return actual.startswith(fixed) if variable else wanted == actual


def _last(manifest: Manifest, name: str) -> str:
    """A flag's value; empty where it is a variable whose value the manifest does not tell."""
    value = (manifest.values(name) or ("",))[-1]
    for variable, text in manifest.env:
        value = value.replace(f"$({variable})", text)
    return "" if "$(" in value else value


def _find_manifest(snapshot: Snapshot, kubelet: StaticPods) -> str:
    folder = snapshot.folder(kubelet.folder)
    if folder is None:
        refuse_unit(snapshot)
        raise _no_manifest(kubelet.folder, f"there is no such folder ({kubelet.source})")
    usual = [name for name in folder.files if name.startswith("kube-apiserver.")]
    if "kube-apiserver.yaml" in usual:
        return f"{kubelet.folder}/kube-apiserver.yaml"
    snapshot.expect(*(FileAt(f"{kubelet.folder}/{name}") for name in _pod_files(folder)))
    found = [name for name in _pod_files(folder) if _is_pod(snapshot, f"{kubelet.folder}/{name}")]
    best = [name for name in found if name in usual] or found or usual
    if best:
        return f"{kubelet.folder}/{best[0]}"
    refuse_unit(snapshot)
    raise _no_manifest(kubelet.folder, "no file in it is a Pod that runs kube-apiserver")


def _no_manifest(place: str, found: str) -> Refused:
    return Refused(
        "no-manifest",
        f"no kube-apiserver manifest at {place}",
        found=found,
        expected="the static Pod of a control-plane node, as kubeadm writes it",
        do="run this on a control-plane node, or name the file by --manifest FILE "
        "(a managed control plane, as of EKS, GKE or AKS, has none to change; its layer is on)",
    )


def _linked(snapshot: Snapshot, path: str, target: str, kubelet: StaticPods) -> Refused:
    folder = snapshot.folder(path.rpartition("/")[0])
    return Refused(
        "manifest-is-a-link",
        f"{path} is reached through a symbolic link; replacing it would break the link",
        found=f"it leads to {target}",
        expected="a regular file in a regular folder",
        do=f"name the folder itself, {folder.link}, where the kubelet is told of it: {kubelet.source}"
        if folder and folder.link
        else f"make it a regular file in the kubelet's folder: cp --remove-destination {target} {path}",
    )


def _check_folder(snapshot: Snapshot, path: str, kubelet: StaticPods) -> FolderSeen:
    parent, _, name = path.rpartition("/")
    if parent != kubelet.folder:
        raise Refused(
            "manifest-not-read-by-kubelet",
            f"{path} is not in the folder that the kubelet reads",
            found=f"{kubelet.folder} ({kubelet.source})",
            expected=parent,
            do=f"name the file that the kubelet runs by --manifest {kubelet.folder}/…",
        )
    folder = snapshot.folder(parent)
    if folder is None:
        raise _no_manifest(parent, "there is no such folder")
    others = [each for each in _pod_files(folder) if each != name]
    snapshot.expect(*(FileAt(f"{parent}/{each}") for each in others))
    for other in others:
        if reason := _is_pod(snapshot, f"{parent}/{other}"):
            raise Refused(
                "second-apiserver-manifest",
                f"{parent}/{other} is a kube-apiserver Pod too; which of the two runs is not defined",
                found=reason,
                expected=f"{path} alone; the kubelet takes every file without a leading dot for a Pod",
                do=f"move it away: mv {parent}/{other} /root/",
            )
    return folder


def _pod_files(folder: FolderSeen) -> list[str]:
    return [name for name in folder.files if not name.startswith(".")]


def _is_pod(snapshot: Snapshot, path: str) -> str | None:
    seen = snapshot.file(path)
    return _cached_is_pod(seen.content) if seen else None
