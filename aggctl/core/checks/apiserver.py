"""Checks of a running kube-apiserver: it is the one of the manifest, ready, and takes our identity.

Each is a pure function `check(snapshot, **arguments) -> Passed | Finding`; an answer that could not be had
leaves it by NotKnown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.findings import Finding, Passed
from aggctl.core.published import read_published
from aggctl.core.questions import PROBE_USER

if TYPE_CHECKING:
    from aggctl.core.manifest import Manifest
    from aggctl.core.pki import Certificate
    from aggctl.core.questions import FileSeen, LogSeen
    from aggctl.core.snapshot import Snapshot

CREATED = (200, 201)
CRASHES_BEFORE_GIVING_UP = 3

_FLAG_ERRORS = re.compile(  # as pflag words them, on a line of their own
    r"^(error: )?(invalid argument .* for \"|unknown (shorthand )?flag|flag needs an argument)", re.IGNORECASE
)
_FILE_ERRORS = re.compile(r"open (?P<path>/\S+): (?P<why>no such file or directory|permission denied)")
_PORT_TAKEN = "bind: address already in use"
_FATAL = re.compile(r"^(Error: |E\d{4} .*\"command failed\"|F\d{4} |panic: )")


def runs_manifest(snapshot: Snapshot, *, manifest: str, unlike: str = "", logs: int = 0) -> Passed | Finding:
    """The one kube-apiserver process, not `unlike` (PID:START), has the arguments of the manifest on disk.

    A kubelet that was itself started again starts the new one beside the old one, which has the port and
    answers, and the new one ends at once (kubelet 1.37). With `logs` the container's logs tell when waiting
    is hopeless.
    """
    from aggctl.core.node import runs, secure_port  # noqa: PLC0415 -- 12 ms that only commands with a manifest pay

    seen = _manifest(snapshot, manifest)
    found = snapshot.processes(secure_port(seen))
    old = [each for each in found if not runs(each, seen) or f"{each.pid}:{each.started:.0f}" == unlike]
    if found and not old:
        return Passed(f"pid {found[-1].pid} runs with the arguments of {manifest}")
    if logs and (failure := container_failure(snapshot, seen, manifest)):
        return failure
    pids = ", ".join(str(process.pid) for process in old)
    return Finding(
        code="manifest-not-in-force",
        severity="error",
        subject=manifest,
        message=f"the old process {pids} still runs" if found else "no new kube-apiserver process yet",
        fix="see that the kubelet runs and reads this folder: journalctl -u kubelet -n 50",
    )


def stopped(snapshot: Snapshot, *, port: int) -> Passed | Finding:
    """No kube-apiserver process serves on the port."""
    found = snapshot.processes(port)
    if not found:
        return Passed("kube-apiserver has ended")
    pids = ", ".join(str(each.pid) for each in found)
    return Finding(
        code="apiserver-not-stopped",
        severity="error",
        subject=f"kube-apiserver on port {port}",
        message=f"process {pids} still runs",
        fix="see that the kubelet runs: journalctl -u kubelet -n 50",
    )


def ready(snapshot: Snapshot, *, server: str, manifest: str = "") -> Passed | Finding:
    """This very kube-apiserver answers ok on /readyz; while it starts, 401, 403 and 500 mean "not yet"."""
    unknown = snapshot.unknown_ready(server)
    said = unknown.reason if unknown else snapshot.ready(server)
    if said == "ok":
        return Passed(f"{server} is ready")
    if manifest and (failure := container_failure(snapshot, _manifest(snapshot, manifest), manifest)):
        return failure
    return Finding(
        code="apiserver-not-ready",
        severity="error",
        subject=server,
        message=f"not ready: {said}",
        fix="see the container's log: crictl logs $(crictl ps -a --name kube-apiserver -q | head -n 1)",
    )


def publishes(snapshot: Snapshot, *, server: str, ca: str, names: str) -> Passed | Finding:
    """The ConfigMap extension-apiserver-authentication holds the CA in file `ca` and the names (by comma)."""
    published = read_published(snapshot, server)
    file = snapshot.file(ca)
    own = _first_certificate(file)
    if own is None or own.fingerprint not in {each.fingerprint for each in published.authorities}:
        return _not_published(server, f"the CA of {ca} is not published")
    missing = [name for name in names.split(",") if name and name not in published.names]
    if missing and published.names:
        return _not_published(server, f"the name {missing[0]} is not among the allowed names")
    return Passed("CA and names published")


def accepts_identity(snapshot: Snapshot, *, server: str, certificate: str, key: str) -> Passed | Finding:
    """This kube-apiserver takes the client certificate for a request-header identity.

    Another name than the header's is that of the certificate itself: it was taken for an ordinary client's.
    """
    answer = snapshot.who(server, certificate, key)
    if answer.status in CREATED and answer.username == PROBE_USER:
        return Passed(f"{server} accepts {certificate}")
    return Finding(
        code="client-certificate-not-accepted",
        severity="error",
        subject=server,
        message=f"{server} does not take {certificate} for a request-header identity (HTTP {answer.status})",
        expected="the name of the X-Remote-User header",
        fix="compare issuer, CN and expiry with the flags: aggctl enable --dry-run",
    )


def _manifest(snapshot: Snapshot, path: str) -> Manifest:
    from aggctl.core.node import cached_manifest  # noqa: PLC0415 -- the same

    file = snapshot.file(path)
    return cached_manifest(file.content if file else b"", path)


def _first_certificate(file: FileSeen | None) -> Certificate | None:
    try:
        return pki.read_certificates(file.content)[0] if file else None
    except pki.PkiError:
        return None


def _not_published(server: str, message: str) -> Finding:
    return Finding(
        code="layer-not-published",
        severity="error",
        subject="ConfigMap kube-system/extension-apiserver-authentication",
        message=f"{message} by {server}",
        fix="kubectl -n kube-system get configmap extension-apiserver-authentication -o yaml",
    )


def container_failure(
    snapshot: Snapshot, manifest: Manifest, path: str, crashes: int = CRASHES_BEFORE_GIVING_UP
) -> Finding | None:
    """What the containers of the manifest died of since it was written, where waiting cannot mend it."""
    file = snapshot.file(path)
    if file is None or snapshot.unknown_logs(manifest.namespace, manifest.pod_name, manifest.container):
        return None
    logs = snapshot.logs(manifest.namespace, manifest.pod_name, manifest.container)
    recent = [run for run in logs if run.began >= file.changed]
    return failure_of(recent, manifest, path, crashes)


def failure_of(
    runs_seen: list[LogSeen], manifest: Manifest, path: str, crashes: int = CRASHES_BEFORE_GIVING_UP
) -> Finding | None:
    """Read the logs of the runs since the change; None while there is still hope: fewer `crashes`.

    A port that is taken is hope, too, where more than one crash is waited for: the old process ends.
    """
    for run in reversed(runs_seen):
        for line in reversed(run.lines):
            if _FLAG_ERRORS.search(line):
                return _failure("flag-refused", manifest, path, line, f"correct the flag in {path}")
    fatal = [
        (run, line)
        for run in runs_seen
        for line in run.lines[-12:]
        if _FATAL.search(line) and not (crashes > 1 and _PORT_TAKEN in line)
    ]
    # The kubelet keeps the logs of the last two runs only, so their numbers count, not the files.
    if max((run.run for run, _ in fatal), default=-1) + 1 < crashes:
        return None
    line = fatal[-1][1]
    missing = next((match for _, each in reversed(fatal) if (match := _FILE_ERRORS.search(each))), None)
    if missing is None:
        return _failure("apiserver-crash-loop", manifest, path, line, "read the evidence; mend what it names")
    if missing["why"] == "permission denied":
        return _failure(
            "file-not-readable-in-pod", manifest, path, line, f"ls -lZ {missing['path']}; restorecon, chmod"
        )
    if manifest.host_path(missing["path"]) is None:
        return _failure(
            "file-not-mounted",
            manifest,
            path,
            line,
            f"put {missing['path']} below a volume of the Pod, or mount it",
        )
    return _failure("file-missing", manifest, path, line, f"ls -l {missing['path']}")


def _failure(code: str, manifest: Manifest, path: str, line: str, fix: str) -> Finding:
    return Finding(
        code=code,
        severity="error",
        subject=f"container {manifest.container} of {path}",
        message=line,
        fix=fix,
        evidence=(line,),
        hopeless=True,
    )
