"""`aggctl version`: this program, its Python, and the kube-apiserver where one answers."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from aggctl import __version__
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.report import Report
from aggctl.core.text import clean
from aggctl.errors import Refused
from aggctl.workflows.observe import server_of

if TYPE_CHECKING:
    from aggctl.system.ports import Ports

LONGEST = 60


def version(ports: Ports | None) -> Report:
    """The versions; without ports no server is asked. One that does not answer is said, and is no failure."""
    items: list[dict[str, Any]] = [
        {"component": "aggctl", "version": __version__},
        {
            "component": "python",
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
        },
    ]
    lines = [f"Client Version: {__version__}", f"Python Version: {platform.python_version()}"]
    if ports is None:
        return Report("version", "unchanged", tuple(lines), items=tuple(items))
    found = _server(ports)
    if isinstance(found, Finding):
        lines.append(f"Server Version: not known; {found.message}")
        return Report("version", "unchanged", tuple(lines), (), (found,), items=tuple(items), told=True)
    lines.append(f"Server Version: {found['version']}")
    return Report("version", "unchanged", tuple(lines), items=(*items, found))


def _server(ports: Ports) -> dict[str, Any] | Finding:
    server = server_of(ports)
    if isinstance(server, Refused):
        return Finding(server.code, "warning", "the cluster", server.message, server.do)
    answer = ports.look(ObjectAt("/version", server))
    if isinstance(answer, Unknown):
        return Finding(answer.code, "warning", server, answer.reason, f"aggctl explain {answer.code}")
    said = {key: clean(str(value), LONGEST) for key, value in (answer or {}).items()}
    if "gitVersion" not in said:
        why = f"{server}/version says no version of Kubernetes"
        code = "answer-not-understood"
        return Finding(code, "warning", server, why, f"aggctl explain {code}")
    parts = {key: said[key] for key in ("platform", "goVersion", "buildDate") if key in said}
    return {"component": "kube-apiserver", "version": said["gitVersion"], "server": server, **parts}
