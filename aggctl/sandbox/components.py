"""Programs of the control plane: found, or built once from the go.mod and go.sum beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.errors import Refused, UsageError
from aggctl.sandbox import build
from aggctl.sandbox.build import Component
from aggctl.sandbox.files import exclusive
from aggctl.sandbox.golang import find_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MODULES = Path(__file__).parent / "modules"


def _kubernetes(name: str) -> Component:
    return Component(
        name=name,
        module=MODULES / "kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version="1.37.2",
        stamps={
            # without these --version answers v0.0.0-master
            "k8s.io/component-base/version.gitVersion": "v1.37.2",
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "37",
        },
    )


COMPONENTS = {
    component.name: component
    for component in (
        Component("etcd", MODULES / "etcd", "go.etcd.io/etcd/server/v3", "3.7.3"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubelet"),
        _kubernetes("kubeadm"),
        _kubernetes("kubectl"),
        Component(
            "test-adapter",
            MODULES / "custom-metrics",
            "sigs.k8s.io/custom-metrics-apiserver/test-adapter",
            "1.37.0",
        ),
        Component(
            "metrics-server",
            MODULES / "metrics-server",
            "sigs.k8s.io/metrics-server/cmd/metrics-server",
            "0.9.0",
        ),
    )
}

USUAL = ("etcd", "kube-apiserver", "kube-controller-manager", "test-adapter", "kubeadm", "kubectl")
"""What a sandbox, the demo and the tests that need no root run; the others make a real node."""


@dataclass(frozen=True, slots=True)
class Found:
    """A program and where it came from."""

    path: Path
    source: str


def provide(
    names: Iterable[str], say: Callable[[str], None], *, table: Mapping[str, Component] = COMPONENTS
) -> dict[str, Path]:
    """The programs by name: from KUBEBUILDER_ASSETS, PATH or the cache, else built into the cache.

    `say` gets a line per thing worth knowing: what was found where, how the build is going.
    UsageError before anything is built where a name is not in the table.
    """
    programs = {}
    for component in _named(names, table):
        name = component.name
        found = find(component)
        if found is None:
            found = Found(_build_once(component, say), "built")
        elif found.source != "cache":
            say(f"{name} from {found.source}: {found.path} ({_version(found.path)})")
        programs[name] = found.path
    return programs


def _named(names: Iterable[str], table: Mapping[str, Component]) -> list[Component]:
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in table]
    if unknown:
        raise UsageError(
            "component-unknown",
            f"there is no component {' and no '.join(map(repr, unknown))}",
            expected=f"one of {', '.join(table)}",
            do="aggctl sandbox build     (without a name: what a sandbox needs)",
        )
    return [table[name] for name in wanted]


def find(component: Component) -> Found | None:
    """Look for a program without building it."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for source, folder in (("KUBEBUILDER_ASSETS", assets), ("PATH", os.environ.get("PATH"))):
        path = shutil.which(component.name, path=folder) if folder else None
        if path:
            return Found(Path(path).absolute(), source)
    cached = cache_folder() / component.folder / component.name
    return Found(cached, "cache") if cached.exists() else None


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/aggctl, or ~/.cache/aggctl; the standard has a relative XDG_CACHE_HOME ignored."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "aggctl"


def _build_once(component: Component, say: Callable[[str], None]) -> Path:
    folder = _made(cache_folder() / component.folder)
    target = folder / component.name

    def busy() -> None:
        say(f"{component.name} is being built by another aggctl: waiting for it")

    with exclusive(folder / f".{component.name}.lock", busy):
        if not target.exists():
            build.build(component, target, find_go(cache_folder(), say), say)
    return target


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            "cache-not-writable",
            f"the folder for built programs cannot be made: {error.strerror or error}: {error.filename}",
            do="give a folder of yours: export XDG_CACHE_HOME=/path/to/folder",
        ) from error
    return folder


def _version(program: Path) -> str:
    """First line of `--version`, whatever the program makes of it."""
    try:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    return next(iter(run.stdout.splitlines()), "version unknown")
