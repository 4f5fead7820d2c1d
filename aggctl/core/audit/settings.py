"""What a manifest says of audit records: the policy, the log with its limits, the webhook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core.extension import parse_api
from aggctl.core.paths import clean as clean_path
from aggctl.core.text import clean
from aggctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.manifest import Manifest

POLICY_FLAG, LOG_FLAG = "audit-policy-file", "audit-log-path"
WEBHOOK_FLAG = "audit-webhook-config-file"
AGE, BACKUPS, SIZE = "audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize"
LIMITS = {AGE: 30, BACKUPS: 10, SIZE: 100}
"""Days, files and megabytes: what CIS asks for. kube-apiserver's own default of each is no limit."""

FLAGS = (POLICY_FLAG, LOG_FLAG, AGE, BACKUPS, SIZE)
POLICY_FILE = "/etc/kubernetes/audit/policy.yaml"
LOG_FILE = "/var/log/kubernetes/audit/audit.log"
STDOUT = "-"
REGISTRATION = "apiregistration.k8s.io"
"""The group of the APIServices: who registers an API, or changes where its requests go."""

_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_VERSIONED = re.compile(r"v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?\..+\..+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for: groups by name (none: all that are aggregated), those with bodies, the log.

    `limits` are flags with their values; `persist` is auto, kubeadm or none.
    """

    groups: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    log: str = ""
    limits: tuple[tuple[str, int], ...] = ()
    manifest: str = ""
    deadline: float = 240.0
    persist: str = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective values of the flags in a manifest, paths as the container sees them; "" is not set."""

    policy: str
    log: str
    webhook: str

    @property
    def records(self) -> bool:
        """Whether anything is recorded anywhere: without a policy kube-apiserver records nothing."""
        return bool(self.policy and (self.log or self.webhook))


def read_settings(manifest: Manifest) -> Settings:
    """The settings as kube-apiserver takes them: of a flag that stands twice the last value."""
    return Settings(*((manifest.values(name) or ("",))[-1] for name in (POLICY_FLAG, LOG_FLAG, WEBHOOK_FLAG)))


def group_of(text: str) -> str:
    """The group that VERSION.GROUP or GROUP names; UsageError for anything else.

    A rule of a policy cannot tell versions apart.
    """
    if _VERSIONED.fullmatch(text):
        return parse_api(text).group
    if _GROUP.fullmatch(text):
        return text
    raise UsageError(
        "api-name-not-valid",
        f"{clean(text, 80)!r} is neither an API nor a group",
        expected="VERSION.GROUP, or the name of a group with a dot in it",
        do="for example: aggctl audit enable custom.metrics.k8s.io",
    )


def groups_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The groups of several, each once."""
    return tuple(dict.fromkeys(group_of(each) for each in texts))


def checked_log(path: str) -> str:
    """--log-path without doubled slashes; UsageError where it is no file in a folder of its own."""
    if not path:
        return ""
    plain = clean_path(path) or ""
    if not plain.isprintable() or plain.count("/") < 2 or path.endswith("/") or set(plain) & set("$,\\"):  # noqa: PLR2004 -- the root and a folder
        raise UsageError(
            "audit-log-path-wrong",
            f"--log-path {clean(path, 120)!r} is no file that records can be written to",
            expected="the absolute path of a file in a folder of its own",
            do=f"for example: --log-path {LOG_FILE}     (the default)",
        )
    return plain
