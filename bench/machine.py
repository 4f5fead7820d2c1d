"""When and on what it was measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aggctl import __version__
from aggctl.sandbox.probe import Client

if TYPE_CHECKING:
    from peers import Programs

ROOT = Path(__file__).parents[1]


def facts(programs: Programs, kubeconfig: Path) -> dict[str, str]:
    """Date, machine and versions, for people."""
    kubectl = json.loads(_said([str(programs.kubectl), "version", "--client", "-o", "json"]))
    server = json.loads(Client(kubeconfig).ask("/version").text)["gitVersion"]
    mebibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {mebibytes} MiB, Linux {platform.release()}, "
        f"load before it {os.getloadavg()[0]:.1f}",
        "aggctl": f"{__version__}{_commit()}, Python {platform.python_version()}",
        "Kubernetes": f"{server}, kubectl {kubectl['clientVersion']['gitVersion']}, kubeadm built with it",
    }


def _processor() -> str:
    """The name that the kernel gives the first core; machines without one have a kind."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return ""
    changed = " and changes" if _said([git, "-C", str(ROOT), "status", "--porcelain", "-uno"]) else ""
    return f" at {_said([git, '-C', str(ROOT), 'rev-parse', '--short', 'HEAD'])}{changed}"


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
