"""Questions that can be asked of a node and its cluster, and the answers: frozen records, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file is, without its content: SHA-256 of the bytes, permission bits, owner."""

    digest: str
    mode: int
    uid: int
    gid: int


# --- answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A regular file, cut at the reader's limit (`complete` tells); `changed` is in seconds of the epoch.

    `link` is where the path really leads where a symbolic link is on the way.
    """

    content: bytes = field(repr=False)
    stamp: Stamp
    link: str = ""
    changed: float = 0.0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class KeySeen:
    """A private key without its secret: fingerprint of the public half, or the `problem` with the file."""

    public_key: str
    stamp: Stamp
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FolderSeen:
    """A folder: names of its regular files (links to such included), whether this process may write in it."""

    files: tuple[str, ...]
    writable: bool
    uid: int
    gid: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A kube-apiserver process of this network namespace; paths in `argv` are those of its container."""

    pid: int
    started: float
    argv: tuple[str, ...]


PROBE_USER = "aggctl-probe"
"""The harmless user as whom an identity is tried; it has the rights of `system:authenticated`."""


@dataclass(frozen=True, slots=True)
class WhoSeen:
    """How a server took a request-header identity: HTTP status, the user name that it answered."""

    status: int
    username: str


@dataclass(frozen=True, slots=True)
class LogSeen:
    """The last lines of one run of a container; `run` is the restart count, `began` the first line's time."""

    run: int
    began: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairSeen:
    """A Secret of type kubernetes.io/tls without its key: certificates (PEM), the key's public fingerprint.

    `lacks` names the entries that it should have and has not, `created` tells whether aggctl made it.
    """

    certificate: bytes
    authority: bytes
    public_key: str
    lacks: tuple[str, ...]
    created: bool


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """How many APIServices were put into the aggregator's queue since its start, and how many wait in it."""

    adds: float
    depth: float


@dataclass(frozen=True, slots=True)
class ServedSeen:
    """The certificate (PEM) that an endpoint serves, and why it cannot be verified; empty where it can."""

    certificate: bytes
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AnswerSeen:
    """How a GET ended: HTTP status (0: no answer came because of what was shown), words, and seconds.

    `group_version` and `resources` (names) are those of a discovery document.
    """

    status: int
    said: str = ""
    seconds: float = 0.0
    group_version: str = ""
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, and why. `code` is a cause that `aggctl explain` knows."""

    reason: str
    code: str = "not-known"


# --- questions -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file that holds no secret -> FileSeen, or None where there is none."""

    path: str


@dataclass(frozen=True, slots=True)
class KeyAt:
    """A private key -> KeySeen, or None where there is none."""

    path: str


@dataclass(frozen=True, slots=True)
class FolderAt:
    """A folder -> FolderSeen, or None where there is none."""

    path: str


@dataclass(frozen=True, slots=True)
class Existing:
    """Which of some paths exist -> tuple of those that do."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectAt:
    """GET of `path` at the kube-apiserver `server` (URL) -> its JSON, or None for 404."""

    path: str
    server: str


@dataclass(frozen=True, slots=True)
class ReadyAt:
    """GET of /readyz at `server` -> "ok", or what it says instead."""

    server: str


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """The Date header of `server` less this machine's clock, in seconds -> float."""

    server: str


@dataclass(frozen=True, slots=True)
class Processes:
    """kube-apiserver processes that serve `port` in this network namespace -> tuple of ProcessSeen."""

    port: int


@dataclass(frozen=True, slots=True)
class ArgumentsAccepted:
    """What the binary of process `pid` says of other flags (`--version`) -> its complaint, or ""."""

    pid: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskAs:
    """How `server` takes the pair of files (host paths) as a request-header identity -> WhoSeen."""

    server: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class AskWith:
    """How `server` takes a pair in memory, named by its fingerprint, as an identity -> WhoSeen."""

    server: str
    identity: str


@dataclass(frozen=True, slots=True)
class AskApi:
    """GET of `path` at the extension server `address` (HOST:PORT), as kube-apiserver would -> AnswerSeen.

    `name` is what it is verified for by `authority` (PEM, "" for not at all), `identity` the pair in memory
    that is shown ("" for none). Status 0: the server ended the handshake because of it.
    """

    address: str
    name: str
    authority: str
    path: str
    identity: str


@dataclass(frozen=True, slots=True)
class RawAt:
    """How a GET of `path` through `server` ends, whatever its status -> AnswerSeen.

    Where a `user` is named it is made as that user, in `groups`: an impersonation.
    """

    path: str
    server: str
    user: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MayDo:
    """Whether `user` (with `groups`; "" for the user of the kubeconfig) may do something -> bool.

    Asked by an access review, which is made and not kept.
    """

    user: str
    groups: tuple[str, ...]
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    server: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class StaleApis:
    """The versions (GROUP/VERSION) whose discovery document `server` holds for stale -> tuple of them."""

    server: str


@dataclass(frozen=True, slots=True)
class SecurityLabels:
    """SELinux labels of host paths -> tuple, "" where there is none; all are "" where it does not enforce."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AggregatorQueue:
    """The aggregator's work queue of APIServices at `server` -> QueueSeen."""

    server: str


@dataclass(frozen=True, slots=True)
class Dial:
    """A fresh TCP connection to `address` (HOST:PORT) from this node -> "" or the error."""

    address: str


@dataclass(frozen=True, slots=True)
class ContainerLogs:
    """Logs of a static Pod's container that the kubelet keeps here -> tuple of LogSeen, newest last."""

    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class PairAt:
    """The serving pair in a Secret -> PairSeen, or None where there is no such Secret."""

    namespace: str
    name: str
    server: str


@dataclass(frozen=True, slots=True)
class MetadataIn:
    """The metadata alone of a collection's objects -> a list of PartialObjectMetadata, or None for 404."""

    path: str
    server: str


@dataclass(frozen=True, slots=True)
class MayGet:
    """Whether the user of the kubeconfig may GET a path that is no resource -> bool."""

    path: str
    server: str


@dataclass(frozen=True, slots=True)
class UnavailableApis:
    """The gauge aggregator_unavailable_apiservice at `server` -> whether it is set, by name of APIService.

    It is what this one kube-apiserver sees; the condition Available is one status that all of them write.
    """

    server: str


@dataclass(frozen=True, slots=True)
class PodLog:
    """The last lines of a container, of its run before this one with `previous` -> tuple of lines."""

    namespace: str
    pod: str
    container: str
    previous: bool
    server: str


@dataclass(frozen=True, slots=True)
class Handshake:
    """A TLS handshake with `address` (HOST:PORT) for `name`, verified by `authority` (PEM) -> ServedSeen."""

    address: str
    name: str
    authority: str


@dataclass(frozen=True, slots=True)
class PodHandshake:
    """The same with a Pod's port, through pods/portforward of the kube-apiserver `server` -> ServedSeen."""

    namespace: str
    pod: str
    port: int
    name: str
    authority: str
    server: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """Whether a GET of `path` through `server` leaves an audit record in a log file (host path) -> bool."""

    path: str
    server: str
    log: str


Question = (
    FileAt
    | KeyAt
    | FolderAt
    | Existing
    | ObjectAt
    | ReadyAt
    | ClockSkew
    | Processes
    | ArgumentsAccepted
    | AskAs
    | AskWith
    | AskApi
    | AggregatorQueue
    | RawAt
    | MayDo
    | StaleApis
    | SecurityLabels
    | Dial
    | ContainerLogs
    | MetadataIn
    | MayGet
    | PairAt
    | UnavailableApis
    | PodLog
    | Handshake
    | PodHandshake
    | Recorded
)
