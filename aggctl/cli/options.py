"""Options that commands share, with kubectl's and kubeadm's names and meanings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from aggctl.core.text import clean
from aggctl.errors import UsageError

_GO_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>d|h|ms|m|s|us|µs|μs|ns)")
_UNITS = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}
_LONGEST = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits: 292 years."""

LONGEST_MANAGER = 128
"""As kube-apiserver has it (apimachinery, ValidateFieldManager)."""


class Output(StrEnum):
    """How the result is written."""

    text = "text"
    json = "json"


def seconds(text: str) -> float:
    """A Go duration (`90s`, `5m`, `1h30m`; a bare number is seconds, as in kubectl; and `30d`) in seconds."""
    written = f"{text}s" if re.fullmatch(r"[0-9]+", text) else text
    parts = list(_GO_DURATION.finditer(written))
    total = sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)
    if not parts or "".join(part.group() for part in parts) != written or total >= _LONGEST:
        raise _no_duration(text)
    return total


def some_seconds(text: str, option: str) -> float:
    """A duration that something can be waited for: nothing here waits without an end, or not at all."""
    found = seconds(text)
    if found <= 0:
        raise UsageError(
            "duration-not-understood",
            f"{option} {text} leaves no time at all",
            expected="more than 0s",
            do=f"for example: {option} 5m" if option == "--timeout" else f"for example: {option} 5s",
        )
    return found


def known_algorithm(name: str) -> str:
    """A key algorithm by kubeadm's name; UsageError for any other."""
    from aggctl.core.pki import KEY_ALGORITHMS  # noqa: PLC0415 -- 70 ms that --help need not pay

    if name not in KEY_ALGORITHMS:
        raise UsageError(
            "key-algorithm-unknown",
            f"there is no key algorithm {name!r}",
            expected=", ".join(KEY_ALGORITHMS),
            do="for example: --key-algorithm ECDSA-P256",
        )
    return name


@dataclass(frozen=True, slots=True)
class TypedAccess:
    """Where a command works and who it is in the cluster, as it was typed."""

    root: str
    kubeconfig: str = ""
    context: str = ""
    request_timeout: str = "5s"
    manager: str = "aggctl"

    def checked(self) -> tuple[str, str, str, float, str]:
        """The same with the duration in seconds; UsageError where that is none."""
        patience = some_seconds(self.request_timeout, "--request-timeout")
        if not (self.manager.isprintable() and 0 < len(self.manager) <= LONGEST_MANAGER):
            raise UsageError(
                "field-manager-not-valid",
                f"--field-manager {clean(self.manager, 60)!r} is no name of a field manager",
                expected=f"1 to {LONGEST_MANAGER} printable characters",
                do="leave it out: it is aggctl then",
            )
        return self.root, self.kubeconfig, self.context, patience, self.manager


def _no_duration(text: str) -> UsageError:
    return UsageError(
        "duration-not-understood",
        f"{text!r} is no duration",
        expected="a number with a unit, as 90s, 5m or 1h30m",
        do="write it as Go and kubectl do, for example: --timeout 5m",
    )


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
CertificateKey = Annotated[
    str,
    typer.Option(
        "--certificate-key",
        metavar="KEY",
        envvar="AGGCTL_CERTIFICATE_KEY",
        show_envvar=False,
        help="Take the CA that waits, encrypted, in the cluster; - reads the key from the standard input.",
    ),
]
KeyAlgorithm = Annotated[
    str, typer.Option("--key-algorithm", metavar="NAME", help="As kubeadm's encryptionAlgorithm.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Restart kube-apiserver, which versions below 1.20 need.")
]
NoLock = Annotated[
    bool,
    typer.Option(
        "--no-lock",
        help="Do not keep others from changing the control plane meanwhile: for an API that is down.",
    ),
]
CertOut = Annotated[
    str, typer.Option("--cert-out", metavar="DIR", help="Where an external server reads its certificate.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: causes of errors, evidence.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colour; NO_COLOR does the same.")]
