"""`aggctl sandbox demo`: the commands as a person would type them, on a real kube-apiserver."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.core.report import Report
from aggctl.errors import AggctlError
from aggctl.sandbox import control_plane
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.sandbox.control_plane import Sandbox

HELLO = Path(__file__).parents[2] / "examples/hello-api/hello_api.py"
"""An extension server; it lies beside the package in a checkout, and not in a wheel."""

API = "v1alpha1.hello.example.com"
GREETINGS = "/apis/hello.example.com/v1alpha1/greetings"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


def run_demo(say: Callable[[str], None]) -> Report:
    """Run the whole demo; the sandbox is taken down also after a failure or Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="aggctl-demo-") as folder:
        place = Path(folder) / "sandbox"
        try:
            _act(control_plane.up(place, "off", say=say), say)
        finally:
            if place.exists():
                control_plane.down(place, say=say)
    return Report(
        "sandbox demo",
        "applied",
        summary=(
            "",
            "The demo is over; its sandbox is gone.",
        ),
    )


def _act(sandbox: Sandbox, say: Callable[[str], None]) -> None:
    root = ["--root", str(sandbox.root)]
    say(f"A real kube-apiserver runs at {sandbox.url}, with the aggregation layer off.")
    _published(sandbox, say)
    _type(
        say,
        "enable",
        *root,
        "--routing",
        "off",
        "--yes",
        note="a sandbox has no Pod network: routing stays off",
    )
    _published(sandbox, say)
    _type(say, "enable", *root, "--routing", "off", note="again: nothing to do")
    _type(
        say,
        *("enable", *root, "--routing", "on", "--yes", "--timeout", "1s"),
        note="a change that fails on purpose: no kube-apiserver starts within one second",
        expect=1,
    )
    _type(say, "history", *root, note="both are on record")
    _type(say, "rollback", *root, "--yes", note="and the first one is undone")
    _type(
        say, "enable", *root, "--routing", "off", "--yes", "--quiet", note="on again, for an API to register"
    )
    _extend(sandbox, say)


def _extend(sandbox: Sandbox, say: Callable[[str], None]) -> None:
    """Register a real extension server, ask it through kube-apiserver, and take it away again."""
    if not HELLO.exists():
        say(f"\n# no extension server to register: {HELLO} is not there (it comes with a checkout)")
        return
    root = ["--root", str(sandbox.root)]
    folder, port = sandbox.directory / "hello", _free_port()
    at = ["--external", f"localhost:{port}", "--name", "hello", "--cert-out", str(folder)]
    with _hello(sandbox, folder, port):
        _type(say, "register", API, *root, *at, "--yes", note="an API of a server beside the cluster")
        _type(say, "register", API, *root, *at, "--yes", note="again: nothing to do")
        say(f"\n# what it serves, by a plain GET\nGET {GREETINGS}")
        found = json.loads(Client(sandbox.kubeconfig).ask(GREETINGS).text)
        for item in found["items"]:
            say(f"  {item['metadata']['namespace']}/{item['metadata']['name']}: {item['status']['message']}")
        if kubectl := shutil.which("kubectl"):
            say("\n# and by kubectl\n$ kubectl get greetings -A")
            subprocess.run(
                [kubectl, "--kubeconfig", str(sandbox.kubeconfig), "get", "greetings", "-A"], check=False
            )
        _rotate(sandbox, say, folder)
        _type(say, "unregister", API, *root, "--yes", note="and it is taken away")


def _rotate(sandbox: Sandbox, say: Callable[[str], None], folder: Path) -> None:
    """Replace every certificate of the layer while somebody uses the API."""
    rotate, root = ["certs", "rotate"], ["--root", str(sandbox.root)]
    _type(say, "certs", "list", *root, note="every certificate of the layer")
    with _load(sandbox, GREETINGS) as counter:
        _type(say, *rotate, "client", *root, "--yes", note="a new client certificate, under load")
        say(f"  {counter}")
        _type(
            say, *rotate, "serving", API, *root, "--cert-out", str(folder), "--yes", note="a new serving CA"
        )
        say(f"  {counter}")
        _type(say, *rotate, "ca", *root, "--yes", note="a new front-proxy CA, in five stages")
        say(f"  {counter}")


@dataclass
class _Counter:
    """Requests that were answered, and those that were not."""

    answered: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"GET {GREETINGS}: {self.answered} answered so far, {self.failed} failed"


@contextlib.contextmanager
def _load(sandbox: Sandbox, path: str) -> Iterator[_Counter]:
    """Ask for `path` all the time, by two at once, until the block ends."""
    counter, over = _Counter(), threading.Event()
    client, one_at_a_time = Client(sandbox.kubeconfig), threading.Lock()

    def ask() -> None:
        while not over.is_set():
            good = client.ask(path).status == HTTPStatus.OK
            with one_at_a_time:
                counter.answered += good
                counter.failed += not good

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for each in askers:
        each.start()
    try:
        yield counter
    finally:
        over.set()
        for each in askers:
            each.join()


@contextlib.contextmanager
def _hello(sandbox: Sandbox, folder: Path, port: int) -> Iterator[None]:
    """The example as a process, begun once `register` has made its certificate, ended with the block."""
    words = ["--port", str(port), "--kubeconfig", str(sandbox.kubeconfig)]
    files = ["--tls-cert-file", str(folder / "tls.crt"), "--tls-private-key-file", str(folder / "tls.key")]
    when_there = ["/bin/sh", "-c", 'until [ -s "$0" ]; do sleep 0.1; done; exec "$@"', files[1]]
    with (sandbox.directory / "hello.log").open("wb") as log:
        process = subprocess.Popen(
            [*when_there, sys.executable, str(HELLO), *words, *files],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def _type(say: Callable[[str], None], *words: str, note: str, expect: int = 0) -> None:
    say(f"\n# {note}\n$ aggctl {' '.join(words)}")
    done = subprocess.run([sys.executable, "-m", "aggctl", *words], stdin=subprocess.DEVNULL, check=False)
    if done.returncode != expect:
        raise AggctlError(
            "defect",
            f"aggctl {words[0]} ended with status {done.returncode}",
            expected=f"status {expect}",
            do="see its message above",
        )


def _published(sandbox: Sandbox, say: Callable[[str], None]) -> None:
    """What any extension server would find."""
    answer = Client(sandbox.kubeconfig).ask(CONFIG_MAP)
    keys = sorted(json.loads(answer.text).get("data") or {}) if answer.status == HTTPStatus.OK else []
    layer = [key for key in keys if key.startswith("requestheader")]
    say(
        "The cluster publishes for extension servers: "
        + (", ".join(layer) if layer else "nothing of the layer")
    )
