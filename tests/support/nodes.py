"""A sandbox as a control-plane node: run aggctl on it, and ask what it became."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.cli.options import Output
from aggctl.cli.wiring import Access, Manners, node_ports
from aggctl.core.questions import Processes, ProcessSeen, ReadyAt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sandboxes import Running

    from aggctl.system.ports import Ports

CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"
AGGCTL = [sys.executable, "-m", "aggctl"]


@dataclass(frozen=True)
class Node:
    """The node of one sandbox."""

    running: Running

    @property
    def root(self) -> Path:
        return self.running.sandbox.root

    @property
    def url(self) -> str:
        return self.running.sandbox.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    def aggctl(self, command: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the real console script with this node's root; stdin is no terminal."""
        return subprocess.run(
            [*AGGCTL, command, "--root", str(self.root), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **more,
        )

    def ports(self) -> Ports:
        """The real ports, as the command line builds them."""
        return node_ports(Access(str(self.root)), Manners(Output.json, yes=True))

    def processes(self) -> tuple[ProcessSeen, ...]:
        found: tuple[ProcessSeen, ...] = self.ports().look(Processes(self.port))
        return found

    def pid(self) -> int:
        (process,) = self.processes()
        return process.pid

    def ready(self) -> bool:
        return bool(self.ports().look(ReadyAt(self.url)) == "ok")

    def published(self) -> dict[str, str]:
        answer = self.running.admin.ask(CONFIG_MAP)
        data: dict[str, str] = json.loads(answer.text).get("data", {}) if answer.status == 200 else {}
        return data

    def files(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Every file below /etc/kubernetes with mode, owner and content."""
        return dict(_files(self.root / "etc/kubernetes", self.root))

    def record(self) -> str:
        """Everything in the journal but the blobs, as text."""
        home = self.root / "var/lib/aggctl"
        texts = (path for path in home.rglob("*") if path.is_file() and path.parent.name != "blobs")
        return "\n".join(path.read_text() for path in texts if path.parent.name != "kept")


def _files(folder: Path, root: Path) -> Iterator[tuple[str, tuple[int, int, int, bytes]]]:
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        yield str(path.relative_to(root)), (info.st_mode, info.st_uid, info.st_gid, content)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with changes."""
    return {**os.environ, **changes}
