"""An API served beside a sandbox, registered by aggctl and by kubectl in turn, each time from nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

import peers
from measure import RUNS, aggctl, free_port, say, script
from report import Cost, Row

from aggctl.core import pki
from aggctl.core.extension import Api, Extension, External, ServiceAt, Tls
from aggctl.core.register.request import of_flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers import Scripts

    from aggctl.sandbox.control_plane import Sandbox

HELLO = Path(__file__).parents[1] / "examples/hello-api/hello_api.py"
API, GROUP, SERVICE = "v1alpha1.hello.example.com", "hello.example.com", "hello.default.svc"
PATH = f"/apis/{GROUP}/v1alpha1"


def rows(sandbox: Sandbox, scripts: Scripts, folder: Path) -> list[Row]:
    """From nothing to an answer, and again with nothing to do; the layer is on."""
    register = Row("register", peers.REGISTER, 1.3, of_peer=True)
    again = Row("register, nothing to do", peers.REGISTER, 1.2)
    by = Registration(sandbox, scripts, folder)
    with by.served():
        for number in range(RUNS):
            say(f"register, {number + 1} of {RUNS}")
            register.measure(by.aggctl_does, by.kubectl_does)
        by.aggctl()
        for _ in range(RUNS):
            again.measure(by.aggctl, by.kubectl)
        by.aggctl_takes_away()
    return [register, again]


class Registration:
    """Both ways, with the same objects: a Service and an APIService, the certificate is there."""

    def __init__(self, sandbox: Sandbox, scripts: Scripts, folder: Path) -> None:
        self._sandbox, self._folder, self._port = sandbox, folder, free_port()
        self._kubectl = [str(scripts.programs.kubectl), "--kubeconfig", str(sandbox.kubeconfig)]
        self._objects = folder / "objects.json"
        self._script = scripts.register(self._objects, API, PATH)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """The server runs, with a certificate in a Secret; so both register the same objects."""
        now = datetime.now(UTC)
        ca = pki.new_ca("bench", now, algorithm="ECDSA-P256")
        pair = pki.issue(ca, SERVICE, now, usage="server", sans=(SERVICE,), algorithm="ECDSA-P256")
        contents = {"ca.crt": ca.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}
        for name, content in contents.items():
            (self._folder / name).write_bytes(content)
        files = [f"--from-file={self._folder / name}" for name in contents]
        self._run("create", "secret", "generic", "hello", *files)
        self._objects.write_text(json.dumps(self._of_aggctl(ca.certificate)))
        words = ["--tls-cert-file", "tls.crt", "--tls-private-key-file", "tls.key", "--port", str(self._port)]
        process = subprocess.Popen(
            [sys.executable, str(HELLO), *words, "--kubeconfig", str(self._sandbox.kubeconfig)],
            cwd=self._folder,
            stdin=DEVNULL,
            stdout=subprocess.PIPE,
            stderr=DEVNULL,
        )
        try:
            if process.stdout:
                process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait()
            self._run("delete", "secret", "hello")

    def aggctl(self) -> Cost:
        """Register by aggctl."""
        place = ("--external", f"localhost:{self._port}", "--name", "hello", "--tls", "secret=hello")
        return aggctl("register", API, "--root", str(self._sandbox.root), *place, "--yes")

    def kubectl(self) -> Cost:
        """Register by the three commands of the same effect."""
        return script(self._script)

    def aggctl_does(self) -> Cost:
        """From nothing, and take it away (not timed)."""
        cost = self.aggctl()
        self.aggctl_takes_away()
        return cost

    def aggctl_takes_away(self) -> None:
        """Unregister."""
        aggctl("unregister", API, "--root", str(self._sandbox.root), "--yes")

    def kubectl_does(self) -> Cost:
        """From nothing, and take it away (not timed)."""
        cost = self.kubectl()
        self._run("delete", "-f", str(self._objects))
        return cost

    def _run(self, *words: str) -> None:
        subprocess.run([*self._kubectl, *words], check=True, stdout=DEVNULL)

    def _of_aggctl(self, authority: bytes) -> dict[str, Any]:
        """What aggctl itself prints for Git, with the CA that it fills in."""
        version = Api("v1alpha1", GROUP)
        at, where = ServiceAt("default", "hello", self._port), External("localhost", self._port)
        found = of_flags(Extension((version,), at, where), Tls("secret", "hello")).objects
        items = [each for each in found if each["kind"] != "Namespace"]
        items[-1]["spec"]["caBundle"] = base64.b64encode(authority).decode()
        return {"apiVersion": "v1", "kind": "List", "items": items}
