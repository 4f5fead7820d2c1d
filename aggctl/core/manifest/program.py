"""How a container starts kube-apiserver: which of its arguments is the binary, and which are its flags.

The binary identifies the API server: kube-controller-manager has flags of the same names, and a container may
be called anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggctl.core.manifest.yamltext import Scalar

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "busybox"})
_WRAPPERS = frozenset(
    {"go-runner", "flock", "env", "nice", "ionice", "timeout", "tini", "dumb-init", "catatonit"}
)
"""Programs that end in starting another one, whose words come last and are handed on unchanged."""

_IMAGE = re.compile(r"(?:^|/)kube-apiserver(?:-[a-z0-9]+)?(?:[:@]|$)")
_IN_SCRIPT = re.compile(r"(?:^|[\s/;&|(])(?:kube-apiserver|hyperkube\s+apiserver)(?=[\s\\;&|)]|$)")
_CONFIG_FILE = re.compile(r"(?:^|\s)(?:--openshift-config\b|hypershift\s+openshift-kube-apiserver\b)")
_FLAG = re.compile(r"--?[A-Za-z]")

_BOOLEAN = frozenset(
    {
        "allow-privileged", "anonymous-auth", "enable-aggregator-routing", "enable-bootstrap-token-auth",
        "enable-garbage-collector", "enable-priority-and-fairness", "enable-swagger-ui", "kubelet-https",
        "logtostderr", "alsologtostderr", "profiling", "contention-profiling", "repair-malformed-updates",
        "service-account-lookup", "service-account-extend-token-expiration", "watch-cache", "help", "version",
    }
)  # fmt: skip
"""Flags that never take the next argument as their value (pflag's NoOptDefVal)."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of the command line, its name without dashes and with `_` read as `-`.

    `value` is None for a bare flag, '' for `--x=`. `line` counts from 1. A value that is the next list item
    (`- --x` / `- v`) is read where pflag would take it; of bare flags only known booleans never have one.
    """

    name: str
    value: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A flag with the scalars it is written in: one, or two where its value is the next item."""

    flag: Flag
    scalars: tuple[Scalar, ...]


def program_index(words: Sequence[str]) -> int | None:
    """The index of the last word that selects kube-apiserver (the binary, or hyperkube's subcommand).

    None where the words start something else. Whatever follows that word belongs to kube-apiserver.
    """
    if not words or (base(words[0]) not in _WRAPPERS and not is_program(words, 0)):
        return None
    start = next((at for at in range(len(words)) if is_program(words, at)), None)
    if start is None:
        return None
    return start if base(words[start]) == "kube-apiserver" else start + 1


def is_program(words: Sequence[str], at: int) -> bool:
    """Whether kube-apiserver is started by the word at this index (or by it and its subcommand)."""
    name = "" if words[at].startswith("-") else base(words[at])
    following = words[at + 1] if at + 1 < len(words) else ""
    return name == "kube-apiserver" or (name == "hyperkube" and following in {"apiserver", "kube-apiserver"})


def base(word: str) -> str:
    """The last component of a program's path."""
    return word.rsplit("/", 1)[-1]


def is_apiserver_image(image: str) -> bool:
    """Whether an image is kube-apiserver's own by its name."""
    return _IMAGE.search(image) is not None


def shell_with_apiserver(words: Sequence[str]) -> int | None:
    """The index of the word in which a shell is told to start kube-apiserver; None where there is no such."""
    if not words or not any(base(word) in _SHELLS for word in words):
        return None
    return next((at for at, word in enumerate(words) if at and _IN_SCRIPT.search(word)), None)


def config_file_word(words: Sequence[str]) -> int | None:
    """The index of the word that hands kube-apiserver a configuration file in place of flags (OpenShift)."""
    return next((at for at, word in enumerate(words) if _CONFIG_FILE.search(word)), None)


def read_flags(scalars: Sequence[Scalar]) -> tuple[Placed, ...]:
    """The flags among kube-apiserver's arguments; strays are left out, and `--` ends them as in pflag."""
    placed: list[Placed] = []
    at = 0
    while at < len(scalars) and scalars[at].value != "--":
        if not _FLAG.match(scalars[at].value):
            at += 1
            continue
        placed.append(_read_flag(scalars, at))
        at += len(placed[-1].scalars)
    return tuple(placed)


def _read_flag(scalars: Sequence[Scalar], at: int) -> Placed:
    first = scalars[at]
    name, equals, value = first.value.lstrip("-").partition("=")
    name = name.replace("_", "-")
    if equals:
        return Placed(Flag(name, value, first.line), (first,))
    if name not in _BOOLEAN and at + 1 < len(scalars) and not scalars[at + 1].value.startswith("-"):
        return Placed(Flag(name, scalars[at + 1].value, first.line), (first, scalars[at + 1]))
    return Placed(Flag(name, None, first.line), (first,))


def strays(scalars: Sequence[Scalar], placed: Sequence[Placed]) -> tuple[Scalar, ...]:
    """The arguments that are neither flags nor their values, such as a shell redirect that no shell reads."""
    known = {scalar.start for each in placed for scalar in each.scalars}
    return tuple(scalar for scalar in scalars if scalar.start not in known)
