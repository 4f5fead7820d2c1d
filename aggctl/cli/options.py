"""Options that commands share, with kubectl's and kubeadm's names and meanings."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from aggctl.errors import UsageError

_GO_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>h|m(?!s)|s|ms)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Output(StrEnum):
    """How the result is written."""

    text = "text"
    json = "json"


def seconds(text: str) -> float:
    """A Go duration (`90s`, `5m`, `1h30m`; a bare number is seconds, as in kubectl) in seconds."""
    if re.fullmatch(r"\d+", text):
        return float(text)
    parts = list(_GO_DURATION.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise UsageError(
            "duration-not-understood",
            f"{text!r} is no duration",
            expected="a number with a unit, as 90s or 5m",
            do="for example: --timeout 5m",
        )
    return sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)


Root = Annotated[str, typer.Option("--root", metavar="DIR", help="Every path of the node is below it.")]
Kubeconfig = Annotated[
    str,
    typer.Option("--kubeconfig", metavar="FILE", help="Credentials; default: $KUBECONFIG, then admin.conf."),
]
Context = Annotated[str, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="How long kube-apiserver may take to come back.")
]
RequestTimeout = Annotated[
    str, typer.Option("--request-timeout", metavar="DURATION", help="How long one request may take.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: causes of errors, evidence.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colour; NO_COLOR does the same.")]
