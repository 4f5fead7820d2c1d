"""What a place of the command line may hold, by what the help calls it: API, NAMESPACE, CODE, a context.

So an option is completed by its metavar: a new one says FILE, DIR or API, and needs nothing else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.cli.line import Line
    from aggctl.system.kubeconfig import Credentials

    Words = tuple[tuple[str, str], ...]

ADMIN_CONFIG = "etc/kubernetes/admin.conf"


def kinds(option: str, metavar: str) -> tuple[str, ...]:
    """What an option, or with "" an argument, can be; FILE and DIR are for the shell to find."""
    if option in _OF_OPTION:
        return (option,)
    return tuple(
        "FILE" if word.startswith("FILE") else word for word in re.findall(r"[A-Z][A-Za-z.]*", metavar)
    )


def offered(of: tuple[str, ...], line: Line, patience: float) -> Words:
    """The words there are now, those of a cluster within so many seconds."""
    look = next((_OFFERS[kind] for kind in of if kind in _OFFERS), None)
    return look(line, patience) if look else ()


def _apis(line: Line, patience: float) -> Words:
    from aggctl.system.glimpse import aggregated_apis

    credentials = _credentials(line)
    return tuple(aggregated_apis(credentials, patience)) if credentials else ()


def _namespaces(line: Line, patience: float) -> Words:
    from aggctl.system.glimpse import namespaces

    credentials = _credentials(line)
    return tuple((name, "") for name in namespaces(credentials, patience)) if credentials else ()


def _contexts(line: Line, _patience: float) -> Words:
    from aggctl.system.kubeconfig import context_names

    return tuple((name, "") for name in context_names(_path(line, "--kubeconfig"), _admin_config(line)))


def _codes(_line: Line, _patience: float) -> Words:
    from aggctl.cli.explain import explanations

    return tuple((code, text["title"]) for code, text in explanations().items())


def _algorithms(_line: Line, _patience: float) -> Words:
    from aggctl.core.pki import KEY_ALGORITHMS

    return tuple((name, "") for name in KEY_ALGORITHMS)


def _programs(_line: Line, _patience: float) -> Words:
    from aggctl.sandbox.components import COMPONENTS

    return tuple((name, each.version) for name, each in COMPONENTS.items())


def _credentials(line: Line) -> Credentials | None:
    """Those that the command would take, if they are plain ones: nothing is run for a completion."""
    from aggctl.system.kubeconfig import plain_credentials

    return plain_credentials(_path(line, "--kubeconfig"), line.value("--context"), _admin_config(line))


def _admin_config(line: Line) -> str:
    """The node's, where whoever types may read it: the line may begin with sudo, and this runs without."""
    path = Path(_path(line, "--root") or "/") / ADMIN_CONFIG
    return str(path) if os.access(path, os.R_OK) else ""


def _path(line: Line, option: str) -> str:
    """The path that was typed, as the shell will hand it on."""
    typed = os.path.expandvars(line.value(option))
    return str(Path(typed).expanduser()) if typed else ""


OF_CLUSTER = frozenset({"API", "VERSION.GROUP", "NAMESPACE"})
"""What only a cluster knows; all else lies on this machine."""

_OF_OPTION = ("--context", "--key-algorithm")
_OFFERS: dict[str, Callable[[Line, float], Words]] = {
    "API": _apis,
    "VERSION.GROUP": _apis,
    "NAMESPACE": _namespaces,
    "CODE": _codes,
    "PROGRAM": _programs,
    "--context": _contexts,
    "--key-algorithm": _algorithms,
}
