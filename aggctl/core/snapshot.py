"""What was seen on a node and its cluster: questions and their answers.

A question is a frozen record that names one thing to look at. A `Snapshot` maps questions to answers, and a
pure function reads it through typed methods. What nobody looked at yet raises `Unasked`; `workflows.observe`
looks and runs the function again. An answer that could not be had is `Unknown`, and reading it raises
`NotKnown`: a precondition then refuses, a gate says "not yet", and doctor "not checked". It never passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
class ServedSeen:
    """The certificate (PEM) that an endpoint serves, and why it cannot be verified; empty where it can."""

    certificate: bytes
    problem: str = ""


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
    | Dial
    | ContainerLogs
    | MetadataIn
    | MayGet
    | PairAt
    | UnavailableApis
    | PodLog
    | Handshake
)


class Unasked(Exception):  # noqa: N818 -- a signal to look, no error
    """A pure function read what nobody looked at yet."""

    def __init__(self, questions: Iterable[Question]) -> None:
        super().__init__()
        self.questions = frozenset(questions)


class NotKnown(Exception):  # noqa: N818 -- an answer that is no answer
    """A pure function met an answer that could not be had."""

    def __init__(self, question: Question, unknown: Unknown) -> None:
        super().__init__(unknown.reason)
        self.question = question
        self.unknown = unknown


class Snapshot:
    """Answers to questions; immutable, `with_answers` gives a larger one."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[Question, Any] | None = None) -> None:
        self._answers: dict[Question, Any] = dict(answers or {})

    def with_answers(self, answers: Mapping[Question, Any]) -> Snapshot:
        """Give a snapshot that also holds `answers`."""
        return Snapshot({**self._answers, **answers})

    def expect(self, *questions: Question) -> None:
        """Say early what will be read, so that it is looked at side by side."""
        missing = [question for question in questions if question not in self._answers]
        if missing:
            raise Unasked(missing)

    def unknown(self, question: Question) -> Unknown | None:
        """The reason why `question` has no answer, or None where it has one."""
        self.expect(question)
        answer = self._answers[question]
        return answer if isinstance(answer, Unknown) else None

    def file(self, path: str) -> FileSeen | None:
        """The file at a host path."""
        answer: FileSeen | None = self._known(FileAt(path))
        return answer

    def key(self, path: str) -> KeySeen | None:
        """The private key at a host path."""
        answer: KeySeen | None = self._known(KeyAt(path))
        return answer

    def folder(self, path: str) -> FolderSeen | None:
        """The folder at a host path."""
        answer: FolderSeen | None = self._known(FolderAt(path))
        return answer

    def existing(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the host paths that exist."""
        answer: tuple[str, ...] = self._known(Existing(paths))
        return answer

    def object(self, path: str, server: str) -> dict[str, Any] | None:
        """The Kubernetes object or list at an API path."""
        answer: dict[str, Any] | None = self._known(ObjectAt(path, server))
        return answer

    def ready(self, server: str) -> str:
        """What /readyz says."""
        answer: str = self._known(ReadyAt(server))
        return answer

    def clock_skew(self, server: str) -> float:
        """Seconds by which the server's clock is ahead."""
        answer: float = self._known(ClockSkew(server))
        return answer

    def processes(self, port: int) -> tuple[ProcessSeen, ...]:
        """The kube-apiserver processes behind a port of this node."""
        answer: tuple[ProcessSeen, ...] = self._known(Processes(port))
        return answer

    def complaint(self, pid: int, flags: tuple[str, ...]) -> str:
        """What the running binary has against flags, or the empty string."""
        answer: str = self._known(ArgumentsAccepted(pid, flags))
        return answer

    def who(self, server: str, certificate: str, key: str) -> WhoSeen:
        """How a server takes a request-header identity."""
        answer: WhoSeen = self._known(AskAs(server, certificate, key))
        return answer

    def dial(self, address: str) -> str:
        """The error of a fresh TCP connection, or the empty string."""
        answer: str = self._known(Dial(address))
        return answer

    def unknown_ready(self, server: str) -> Unknown | None:
        """Why /readyz could not be asked, or None where it answered."""
        return self.unknown(ReadyAt(server))

    def unknown_logs(self, namespace: str, pod: str, container: str) -> Unknown | None:
        """Why the container's logs could not be read, or None where they could."""
        return self.unknown(ContainerLogs(namespace, pod, container))

    def logs(self, namespace: str, pod: str, container: str) -> tuple[LogSeen, ...]:
        """The runs of a container on this node, newest last."""
        answer: tuple[LogSeen, ...] = self._known(ContainerLogs(namespace, pod, container))
        return answer

    def metadata_in(self, path: str, server: str) -> dict[str, Any] | None:
        """The metadata of a collection's objects."""
        answer: dict[str, Any] | None = self._known(MetadataIn(path, server))
        return answer

    def may_get(self, path: str, server: str) -> bool:
        """Whether the user may GET a path that is no resource."""
        answer: bool = self._known(MayGet(path, server))
        return answer

    def pair(self, namespace: str, name: str, server: str) -> PairSeen | None:
        """The serving pair in a Secret, without its key."""
        answer: PairSeen | None = self._known(PairAt(namespace, name, server))
        return answer

    def unavailable_apis(self, server: str) -> dict[str, bool]:
        """Which APIServices this kube-apiserver holds for unavailable."""
        answer: dict[str, bool] = self._known(UnavailableApis(server))
        return answer

    def pod_log(self, question: PodLog) -> tuple[str, ...]:
        """The last lines of a container."""
        answer: tuple[str, ...] = self._known(question)
        return answer

    def served(self, address: str, name: str, authority: str) -> ServedSeen:
        """What an endpoint serves, tried against a CA."""
        answer: ServedSeen = self._known(Handshake(address, name, authority))
        return answer

    def _known(self, question: Question) -> Any:
        self.expect(question)
        answer = self._answers[question]
        if isinstance(answer, Unknown):
            raise NotKnown(question, answer)
        return answer
