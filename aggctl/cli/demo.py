"""`aggctl sandbox demo`: the commands as a person would type them, on a real kube-apiserver."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl.core.report import Report
from aggctl.errors import AggctlError
from aggctl.sandbox import control_plane
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.sandbox.control_plane import Sandbox

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
    keys = sorted(json.loads(answer.text).get("data") or {}) if answer.status == 200 else []  # noqa: PLR2004 -- HTTP's OK
    layer = [key for key in keys if key.startswith("requestheader")]
    say(
        "The cluster publishes for extension servers: "
        + (", ".join(layer) if layer else "nothing of the layer")
    )
