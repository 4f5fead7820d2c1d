"""Certificates renewed while requests go on: by aggctl, and as kubeadm's documentation has it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from functools import partial
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import peers
from measure import RUNS, aggctl, free_port, say, script
from registering import API, HELLO, PATH
from report import Cost, Row
from support.load import load

from aggctl.sandbox import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peers import Scripts

    from aggctl.sandbox.control_plane import Sandbox


def rows(sandbox: Sandbox, scripts: Scripts, folder: Path) -> list[Row]:
    """Each kind of certificate in turn, with one API of a server beside the cluster; the layer is on."""
    root, pair = ("--root", str(sandbox.root)), folder / "rotated"
    more: dict[str, tuple[str, ...]] = {"serving": (API, "--cert-out", str(pair)), "ca": ("--again",)}
    targets = {"client": 3.0, "serving": 10.0, "ca": 15.0}
    found = {kind: Row(f"certs rotate {kind}", peers.KUBEADM, targets[kind]) for kind in targets}
    seen = {name: _Seen(sandbox) for name in (*found, peers.KUBEADM)}
    with _served(sandbox, pair):
        for number in range(RUNS):
            say(f"rotation under load, {number + 1} of {RUNS}")
            by_hand = seen[peers.KUBEADM].during(partial(script, scripts.renew(PATH)))
            for kind, row in found.items():
                command = partial(aggctl, "certs", "rotate", kind, *more.get(kind, ()), *root, "--yes")
                row.runs.append((seen[kind].during(command), by_hand))
    for kind, row in found.items():
        row.besides = f"{seen[kind]}; peer: {seen[peers.KUBEADM]}"
    return list(found.values())


class _Seen:
    """Restarts of kube-apiserver, and requests through it that went wrong, over all runs."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._restarts = 0
        self._outcomes = Counter[str]()

    def during(self, work: Callable[[], Cost]) -> Cost:
        """What the work took, done under load."""
        before = self._process()
        with load(self._sandbox.kubeconfig, PATH) as requests:
            cost = work()
        self._restarts += self._process() != before
        self._outcomes += requests.outcomes
        return cost

    def __str__(self) -> str:
        total = self._outcomes.total()
        failed = total - self._outcomes["200"]
        return f"{self._restarts} restarts, {failed} of {total} requests failed"

    def _process(self) -> list[int]:
        files = sorted(state.containers(self._sandbox.directory).glob("kube-apiserver-*/state.json"))
        return [json.loads(each.read_text())["process"]["pid"] for each in files]


@contextlib.contextmanager
def _served(sandbox: Sandbox, pair: Path) -> Iterator[None]:
    """An API is registered and answers; its server waits until `register` has made its certificate."""
    port = free_port()
    files = ["--tls-cert-file", str(pair / "tls.crt"), "--tls-private-key-file", str(pair / "tls.key")]
    words = [*files, "--port", str(port), "--kubeconfig", str(sandbox.kubeconfig)]
    once_there = ["/bin/sh", "-c", 'until [ -s "$0" ]; do sleep 0.1; done; exec "$@"', files[1]]
    server = subprocess.Popen(
        [*once_there, sys.executable, str(HELLO), *words], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        place = ("--external", f"localhost:{port}", "--name", "hello", "--cert-out", str(pair))
        aggctl("register", API, "--root", str(sandbox.root), *place, "--yes")
        yield
        aggctl("unregister", API, "--root", str(sandbox.root), "--yes")
    finally:
        server.terminate()
        server.wait()
