"""A cluster with one aggregated API that is well, seen from a node or from anywhere, and ways to break it.

A case says what is not as usual, by the keys of `KEYS`; whatever it does not name is well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from support.ailments import API, GROUP_VERSION, HOSTS, OBJECTS, SERVED, cluster, node
from support.snapshots import NOW, PEER, PKI, SERVER, WRITTEN, Scene

from aggctl.core import pki
from aggctl.core.doctor.examine import Diagnosis, diagnose
from aggctl.core.questions import (
    AnswerSeen,
    AskApi,
    ClockSkew,
    ContainerLogs,
    Dial,
    Handshake,
    LogSeen,
    MayDo,
    ObjectAt,
    PodHandshake,
    PodLog,
    Processes,
    ProcessSeen,
    Question,
    RawAt,
    ReadyAt,
    SecurityLabels,
    StaleApis,
    UnavailableApis,
    Unknown,
)
from aggctl.errors import Refused
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.findings import Finding
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]
Result = TypeVar("Result")

BALANCER = "https://api.example:6443"
"""What a kubeconfig names that is used from anywhere."""

SERVERS = {"n1": SERVER, "n2": f"https://{PEER}:6443"}
ANONYMOUS = 'forbidden: User "system:anonymous" cannot get path "/livez"'
NOT_SAID = object()
FORBIDDEN = Unknown("forbidden to things.kubeconfig", "no-rights-in-cluster")

KEYS = frozenset(
    [
        "condition",
        "answer",
        "answers",
        "gauges",
        "routing",
        "peer",
        "silent",
        "balancer",
        "apiService",
        "objects",
        "pods",
        "endpoints",
        "flags",
        "env",
        "files",
        "published",
        "served",
        "dial",
        "direct",
        "held",
        "may",
        "stale",
        "labels",
        "skew",
        "processes",
        "logs",
        "podLogs",
        "throughPods",
        "forwarded",
        "hidden",
        "named",
    ]
)
"""What a case may say of the world; `null` takes an object, a file, a flag or a field away."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A cluster and the place that it is looked at from: `node`, or `anywhere`."""

    place: str
    case: Mapping[str, Any]
    scene: Scene = field(repr=False)

    @property
    def server(self) -> str | Refused:
        """What the kubeconfig names."""
        if self.case.get("silent") == "no kubeconfig":
            return Refused("no-kubeconfig", "there is no kubeconfig", do="name one")
        return BALANCER if self.place == "anywhere" else SERVER

    @property
    def held(self) -> str:
        """The fingerprint of the leaf that is held for direct questions; empty where there is none."""
        content = self.scene.files.get(f"{PKI}/front-proxy-client.crt")
        if self.place == "anywhere" or not content or not self.case.get("held", True):
            return ""
        try:
            return pki.read_certificates(content)[0].fingerprint
        except pki.PkiError:
            return ""

    def ask(self, function: Callable[[Snapshot], Result]) -> Result:
        """What a pure function makes of it."""
        return settle(function, self.look)[0]

    def diagnosis(self) -> Diagnosis:
        """What doctor makes of it."""
        return self.examined()[0]

    def examined(self) -> tuple[Diagnosis, Snapshot]:
        """The same, with all that it looked at."""
        names = tuple(self.case.get("named") or ())
        return settle(lambda snapshot: diagnose(snapshot, self.server, names, NOW, self.held), self.look)

    def look(self, question: Question) -> Any:
        """Answer a question: as the case says, else as the node and its cluster are."""
        said = _SAID[type(question)](self, question) if type(question) in _SAID else NOT_SAID
        return self.scene.look(question) if said is NOT_SAID else said

    def _raw(self, asked: RawAt) -> AnswerSeen | Unknown:
        if asked.path != API.path:  # a Pod, through kube-apiserver: it knows nobody, if it answers
            return seen(self.case.get("throughPods", {"status": 403, "said": ANONYMOUS}))
        usual = {"status": 503, "said": "service unavailable"} if "condition" in self.case else {}
        return seen(self.case.get("answers", {}).get(_called(asked.server), self.case.get("answer", usual)))

    def _served_by_pod(self, asked: PodHandshake) -> Any:
        """Whoever may not use pods/portforward sees nothing of TLS from elsewhere."""
        if not self.case.get("forwarded"):
            return FORBIDDEN
        address = f"{HOSTS[int(asked.pod.rpartition('-')[2]) - 1]}:{asked.port}"
        return SERVED[_of(self.case.get("served", "well"), address, "well")]

    def _gauge(self, asked: UnavailableApis) -> dict[str, bool] | Unknown:
        if "metrics" in self.case.get("hidden", ()):
            return FORBIDDEN
        unavailable = self.case.get("gauges", {}).get(_called(asked.server), "condition" in self.case)
        return {API.name: bool(unavailable)}

    def _ready(self, asked: ReadyAt | ClockSkew) -> Any:
        if self.case.get("silent") in ("all", _called(asked.server)):
            return Unknown(f"{asked.server} does not answer: Connection refused", "apiserver-not-reachable")
        return float(self.case.get("skew", 0.0)) if isinstance(asked, ClockSkew) else NOT_SAID

    def _may(self, asked: MayDo) -> Any:
        return _known(self.case.get("may", {}).get(asked.resource if asked.user else "caller", True))

    def _logs(self, _: ContainerLogs) -> Any:
        runs = self.case.get("logs", ())
        return FORBIDDEN if runs == "hidden" else tuple(LogSeen(5, WRITTEN + 1, tuple(run)) for run in runs)

    def _object(self, asked: ObjectAt) -> Any:
        hidden = {OBJECTS.get(name) for name in self.case.get("hidden", ())}
        return FORBIDDEN if asked.path in hidden else NOT_SAID

    def _processes(self, _: Processes) -> Any:
        said = self.case.get("processes")
        return NOT_SAID if said is None else tuple(ProcessSeen(7, 9.0, tuple(argv)) for argv in said)


_SAID: Mapping[type[Any], Callable[[Patient, Any], Any]] = {
    RawAt: Patient._raw,
    UnavailableApis: Patient._gauge,
    ReadyAt: Patient._ready,
    ClockSkew: Patient._ready,
    Dial: lambda told, asked: _of(told.case.get("dial", ""), asked.address, ""),
    Handshake: lambda told, asked: SERVED[_of(told.case.get("served", "well"), asked.address, "well")],
    PodHandshake: Patient._served_by_pod,
    AskApi: lambda told, asked: seen(_of(told.case.get("direct", {}), asked.address, {})),
    MayDo: Patient._may,
    StaleApis: lambda told, _: _known(told.case.get("stale", ())),
    SecurityLabels: lambda told, asked: _known(told.case.get("labels", ("",) * len(asked.paths))),
    PodLog: lambda told, asked: _known(told.case.get("podLogs", {}).get(asked.container, ())),
    Processes: Patient._processes,
    ContainerLogs: Patient._logs,
    ObjectAt: Patient._object,
}


def _called(server: str) -> str:
    """What cases call a kube-apiserver; a load balancer leads to the first one."""
    return next((name for name, url in SERVERS.items() if url == server), "n1")


def seen(said: Mapping[str, Any] | str) -> AnswerSeen | Unknown:
    """An answer by what a case says of it: "hidden" or another reason for none, a discovery document."""
    if isinstance(said, str):
        return FORBIDDEN if said == "hidden" else Unknown(said)
    usual: Object = {"group_version": GROUP_VERSION, "resources": ("things/status", "things")}
    whole = {"status": 200, "seconds": 0.004, **(usual if said.get("status", 200) == 200 else {}), **said}
    return AnswerSeen(**whole)


def patient(case: Mapping[str, Any], place: str = "node") -> Patient:
    """The cluster of a case, looked at from a place."""
    unknown = set(case) - KEYS
    assert not unknown, f"a case may not say {unknown}"
    return Patient(place, case, cluster(case, node(case, place)))


def well(place: str = "node", **case: Any) -> Patient:
    """The same by keywords."""
    return patient(case, place)


def verdict(found: Diagnosis) -> Finding | None:
    """That of the API, or the layer's first error where no API could be looked at."""
    if found.exams:
        return found.exams[0].verdict
    return next((each for each in found.findings if each.severity == "error"), None)


def hop_of(found: Diagnosis, finding: Finding | None) -> str:
    """The hop that a finding stands at; empty for none."""
    hops = (*found.layer, *(each for exam in found.exams for each in exam.hops))
    return next((each.name for each in hops if finding in each.findings), "")


def states(found: Diagnosis) -> dict[str, str]:
    """The state of each hop by its name; those of the first API go before the layer's."""
    return {each.name: each.state for each in (*found.layer, *(found.exams[0].hops if found.exams else ()))}


def asked_of(patient: Patient) -> tuple[Question, ...]:
    """All that doctor asks."""
    return tuple(patient.examined()[1].answers)


def said(found: Diagnosis, name: str) -> str:
    return next(each.said for each in (*found.layer, *found.exams[0].hops) if each.name == name)


def codes(found: Iterable[Finding], severity: str = "error") -> set[str]:
    """The codes of findings of a severity."""
    return {each.code for each in found if each.severity == severity}


def _of(said: Any, address: str, usual: Any) -> Any:
    """What a case says of an address: the same of all of them, or of some by HOST:PORT."""
    by_address = isinstance(said, Mapping) and any(":" in key for key in said)
    return said.get(address, usual) if by_address else said


def _known(said: Any) -> Any:
    return FORBIDDEN if said == "hidden" else tuple(said) if isinstance(said, list) else said
