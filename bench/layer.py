"""Start-up, and the layer switched on: of `enable` its own share, without the restart that it waits for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import peers
from measure import RUNS, aggctl, say, script, timed
from report import Cost, Row

from aggctl.sandbox.layout import MANIFEST
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from peers import Scripts

    from aggctl.sandbox.control_plane import Sandbox

GOOD = 200


def rows(sandbox: Sandbox, scripts: Scripts) -> list[Row]:
    """Measured on a sandbox whose layer is off; it is on afterwards."""
    version = Row("aggctl --version", peers.VERSION, 0.15)
    help_ = Row("aggctl --help", peers.VERSION, 0.25)
    own = Row("enable, own share", peers.FILES, 1.5)
    again = Row("enable, nothing to do", peers.PUBLISHED, 0.8)
    back = Row("rollback --dry-run", peers.PUBLISHED, 0.8)
    root = ("--root", str(sandbox.root))
    enable = ("enable", *root, "--yes", "--routing", "off")
    client = [str(scripts.programs.kubectl), "version", "--client"]
    for number in range(RUNS):
        say(f"start-up and enable, {number + 1} of {RUNS}")
        version.measure(lambda: aggctl("--version"), lambda: timed(client))
        help_.measure(lambda: aggctl("--help"), lambda: timed(client))
        own.measure(lambda: _own_share(sandbox, enable), lambda: script(scripts.files()))
        again.measure(lambda: aggctl(*enable), lambda: script(scripts.published()))
        back.measure(lambda: aggctl("rollback", *root, "--dry-run"), lambda: script(scripts.published()))
        if number + 1 < RUNS:
            aggctl("rollback", *root, "--yes")
    return [version, help_, own, again, back]


def _own_share(sandbox: Sandbox, enable: tuple[str, ...]) -> Cost:
    """Wall time less that from the manifest's rename to the new kube-apiserver being ready."""
    watch = _Restart(sandbox)
    watch.start()
    cost = aggctl(*enable)
    watch.join()
    return Cost(cost.seconds - (watch.ready - watch.renamed), cost.memory, cost.cpu)


class _Restart(threading.Thread):
    """Notes when the manifest is renamed and when the kube-apiserver that follows is ready."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(daemon=True)
        self._manifest = sandbox.root / MANIFEST
        self._client = Client(sandbox.kubeconfig)
        self.renamed = self.ready = 0.0

    def run(self) -> None:
        before = self._manifest.stat().st_ino
        while self._manifest.stat().st_ino == before:
            time.sleep(0.002)
        self.renamed = time.perf_counter()
        while self._answers():
            time.sleep(0.005)
        while not self._answers():
            time.sleep(0.005)
        self.ready = time.perf_counter()

    def _answers(self) -> bool:
        return self._client.ask("/readyz").status == GOOD
