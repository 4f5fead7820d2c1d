"""What was seen on a node and its cluster: questions and their answers.

A question is a frozen record that names one thing to look at. A `Snapshot` maps questions to answers, and a
pure function reads it through typed methods. What nobody looked at yet raises `Unasked`; `workflows.observe`
looks and runs the function again. An answer that could not be had is `Unknown`, and reading it raises
`NotKnown`: a precondition then refuses, a gate says "not yet", and doctor "not checked". It never passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aggctl.core.questions import (
    AggregatorQueue,
    ArgumentsAccepted,
    AskAs,
    AskWith,
    ClockSkew,
    ContainerLogs,
    Dial,
    Existing,
    FileAt,
    FolderAt,
    Handshake,
    KeyAt,
    MayGet,
    MetadataIn,
    ObjectAt,
    PairAt,
    Processes,
    RawAt,
    ReadyAt,
    SecurityLabels,
    StaleApis,
    UnavailableApis,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggctl.core.questions import (
        AnswerSeen,
        AskApi,
        FileSeen,
        FolderSeen,
        KeySeen,
        LogSeen,
        MayDo,
        PairSeen,
        PodHandshake,
        PodLog,
        ProcessSeen,
        Question,
        QueueSeen,
        Recorded,
        ServedSeen,
        WhoSeen,
    )

Seen = TypeVar("Seen")


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


def side_by_side(looks: Iterable[Callable[[], Seen]]) -> list[Seen]:
    """What each of them sees; what was not looked at yet is asked for all of them at once."""
    seen: list[Seen] = []
    questions: set[Question] = set()
    for look in looks:
        try:
            seen.append(look())
        except Unasked as unasked:
            questions |= unasked.questions
    if questions:
        raise Unasked(questions)
    return seen


class Snapshot:
    """Answers to questions; immutable, `with_answers` gives a larger one."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[Question, Any] | None = None) -> None:
        self._answers: dict[Question, Any] = dict(answers or {})

    def with_answers(self, answers: Mapping[Question, Any]) -> Snapshot:
        """Give a snapshot that also holds `answers`."""
        return Snapshot({**self._answers, **answers})

    @property
    def answers(self) -> Mapping[Question, Any]:
        """Everything that was looked at."""
        return self._answers

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

    def who_with(self, server: str, identity: str) -> WhoSeen:
        """How a server takes an identity that is held in memory."""
        answer: WhoSeen = self._known(AskWith(server, identity))
        return answer

    def direct(self, question: AskApi) -> AnswerSeen:
        """How an extension server answers that is asked directly."""
        answer: AnswerSeen = self._known(question)
        return answer

    def raw(self, path: str, server: str, user: str = "", groups: tuple[str, ...] = ()) -> AnswerSeen:
        """How a GET through a kube-apiserver ends, made as `user` where one is named."""
        answer: AnswerSeen = self._known(RawAt(path, server, user, groups))
        return answer

    def may(self, question: MayDo) -> bool:
        """Whether somebody may do something."""
        answer: bool = self._known(question)
        return answer

    def stale_apis(self, server: str) -> tuple[str, ...]:
        """The versions whose discovery is stale at a kube-apiserver."""
        answer: tuple[str, ...] = self._known(StaleApis(server))
        return answer

    def labels(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """The SELinux labels of host paths."""
        answer: tuple[str, ...] = self._known(SecurityLabels(paths))
        return answer

    def queue(self, server: str) -> QueueSeen:
        """The aggregator's work queue."""
        answer: QueueSeen = self._known(AggregatorQueue(server))
        return answer

    def recorded(self, question: Recorded) -> bool:
        """Whether a request leaves an audit record."""
        answer: bool = self._known(question)
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
        return self.served_by(Handshake(address, name, authority))

    def served_by(self, question: Handshake | PodHandshake) -> ServedSeen:
        """What an endpoint serves, by whichever way it was asked."""
        answer: ServedSeen = self._known(question)
        return answer

    def _known(self, question: Question) -> Any:
        self.expect(question)
        answer = self._answers[question]
        if isinstance(answer, Unknown):
            raise NotKnown(question, answer)
        return answer
