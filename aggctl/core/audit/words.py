"""What `audit enable` says of what it found, in an operator's words; `see` decides when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.audit.settings import LOG_FILE, LOG_FLAG
from aggctl.core.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggctl.core.manifest import Manifest
    from aggctl.core.node import Node


def not_a_path(node: Node, name: str, value: str) -> Finding:
    """A flag whose file cannot be told."""
    return Finding(
        code="audit-flag-not-usable",
        severity="error",
        subject=node.manifest.path,
        message=f"--{name}={value} names no file that can be told from the manifest",
        expected="an absolute path",
        fix=f"correct --{name} in {node.manifest.path}, then run again",
    )


def no_policy_file(node: Node, path: str) -> Finding:
    """kube-apiserver would not start again as it is."""
    return Finding(
        code="audit-policy-missing",
        severity="error",
        subject=path,
        message=f"{node.manifest.path} names this audit policy, and there is no such file",
        expected="the policy that kube-apiserver runs with; without the file it does not start again",
        fix=f"put {path} back, or take the flag out of {node.manifest.path}; then run again",
    )


def another_log(node: Node, there: str) -> Finding:
    """Another log than the one that was asked for is in use."""
    return Finding(
        code="audit-log-path-differs",
        severity="error",
        subject=node.manifest.path,
        message=f"--{LOG_FLAG}={there} is set, and whoever reads that log goes by it",
        expected="--log-path left out, or the same",
        fix=f"aggctl audit enable     (without --log-path), or change {node.manifest.path} first",
    )


def not_mounted(node: Node, inside: str, folder: str, flag: str) -> Finding:
    """A file in a folder that must not be mounted."""
    way = f"aggctl audit enable --log-path {LOG_FILE}" if flag == LOG_FLAG else f"correct --{flag}"
    return Finding(
        code="file-not-mounted",
        severity="error",
        subject=node.manifest.path,
        message=f"no volume covers {inside}, and {folder} is not safe to mount",
        expected="a folder of its own",
        fix=way,
    )


def log_read_only(node: Node, inside: str, folder: str) -> Finding:
    """kube-apiserver could not write its records."""
    return Finding(
        code="audit-log-not-writable",
        severity="error",
        subject=node.manifest.path,
        message=f"{inside} lies in {folder}, which the Pod mounts read-only",
        expected="a folder that kube-apiserver can write to",
        fix=f"aggctl audit enable --log-path {LOG_FILE}",
    )


def log_is_folder(path: str) -> Finding:
    """kube-apiserver does not start where its log is a folder."""
    return Finding(
        code="audit-log-not-writable",
        severity="error",
        subject=path,
        message=f"{path} is a folder, and records are written to a file",
        expected="a file, or nothing yet",
        fix=f"aggctl audit enable --log-path {path}/audit.log",
    )


def limit_stays(manifest: Manifest, name: str, asked: int) -> Finding:
    """A limit that somebody set stays."""
    there = manifest.values(name)[-1]
    return Finding(
        code="audit-limit-stays",
        severity="warning",
        subject=manifest.path,
        message=f"--{name}={there} is set on purpose and stays; {asked} was asked for",
        fix=f"change --{name} in {manifest.path}     (kube-apiserver restarts by it)",
    )


def webhook_alone(configuration: str) -> Finding:
    """Records go elsewhere, and no log is added unasked."""
    return Finding(
        code="audit-webhook-alone",
        severity="info",
        subject=configuration,
        message="records go to the webhook as before, no log is written on this node, and so nothing here "
        "can prove them",
        fix=f"aggctl audit enable --log-path {LOG_FILE}     (writes a log as well)",
    )


def log_is_stdout() -> Finding:
    """Records are among the lines of the container's log."""
    return Finding(
        code="audit-log-not-here",
        severity="info",
        subject=f"--{LOG_FLAG}",
        message="records go to the standard output of kube-apiserver, among its other lines, where "
        "aggctl does not read them, and so cannot prove them",
        fix="crictl logs $(crictl ps --name kube-apiserver -q | head -n 1)",
    )


def policy_was_there(path: str) -> Finding:
    """A policy that nobody names yet."""
    return Finding(
        code="audit-policy-found",
        severity="warning",
        subject=path,
        message="this policy was there, though kube-apiserver does not use it yet: all of its rules come "
        "into force",
        fix=f"look at it: cat {path}; where it is not wanted, move it away, then run again",
    )


def not_registered(group: str) -> Finding:
    """A group that no extension server serves; perhaps not yet."""
    return Finding(
        code="api-not-registered",
        severity="warning",
        subject=group,
        message=f"no extension server is registered for {group}; its requests are recorded once there is one",
        fix="kubectl get apiservices     (the names; where this one is mistyped, run again)",
    )


def no_bodies(groups: Sequence[str]) -> Finding:
    """RequestResponse is less than it says, for what kube-apiserver only hands on."""
    return Finding(
        code="audit-bodies-not-seen",
        severity="warning",
        subject=", ".join(groups),
        message="kube-apiserver hands these requests on without reading them: at level RequestResponse its "
        "records hold no body, but for its own refusals",
        fix="switch audit records on in the extension server itself, where bodies are wanted",
    )
