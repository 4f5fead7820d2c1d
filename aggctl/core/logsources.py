"""Whose logs tell about aggregated APIs: kube-apiservers, and the Pods behind the Services of APIServices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.checks.workload import endpoints_of, pods_path, slices_path
from aggctl.core.cluster_view import API_SERVICES, ServiceOf, aggregated_apis
from aggctl.core.loglines import Interests
from aggctl.core.questions import ObjectAt
from aggctl.core.resources import path_of
from aggctl.core.snapshot import NotKnown, side_by_side
from aggctl.core.text import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.core.extension import Api
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

KUBE_SYSTEM, APISERVER = "kube-system", "kube-apiserver"
AT_MOST = 60
"""Containers that are read; a cluster that has more behind its APIs is asked about one API."""


@dataclass(frozen=True, slots=True)
class PodFolder:
    """A Pod whose logs lie on this node, with the names of its containers."""

    namespace: str
    pod: str
    containers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """A container whose log is read: from this node's files, or else through the API."""

    source: str
    namespace: str
    pod: str
    name: str
    on_node: bool
    restarts: int = 0

    @property
    def of_apiserver(self) -> bool:
        """Whether kube-apiserver itself writes it."""
        return self.source.startswith(f"{APISERVER}/")


@dataclass(frozen=True, slots=True)
class NotRead:
    """A source that cannot be read, and why; `code` is a cause that `aggctl explain` knows."""

    source: str
    reason: str
    code: str

    @property
    def words(self) -> str:
        """The sentence about it."""
        return f"not read: {self.source}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read, what cannot be, and what the lines are about; without the API `asked` is False."""

    containers: tuple[Container, ...]
    not_read: tuple[NotRead, ...]
    interests: Interests
    asked: bool = True


def see_sources(
    snapshot: Snapshot, server: str | Refused, wanted: Api | None, folders: tuple[PodFolder, ...]
) -> Sources:
    """What tells about the API, or about all; Refused where no extension server is registered for it."""
    if isinstance(server, Refused):
        return _of_node(NotRead("the cluster", server.message, server.code), wanted, folders)
    snapshot.expect(ObjectAt(API_SERVICES, server), ObjectAt(APISERVER_PODS, server))
    if unknown := snapshot.unknown(ObjectAt(API_SERVICES, server)):
        return _of_node(NotRead("the cluster's APIServices", unknown.reason, unknown.code), wanted, folders)
    every = aggregated_apis(snapshot, server)
    chosen = tuple(each for each in every if wanted is None or each.name == wanted.name)
    if wanted and not chosen:
        raise _not_registered(wanted.name)
    services = tuple(dict.fromkeys((each.namespace, each.service) for each in chosen))
    seen = side_by_side(partial(_behind, snapshot, server, each, folders) for each in services)
    addresses = side_by_side(partial(_addresses, snapshot, server, each) for each in chosen)
    apiservers, silent = _apiservers(snapshot, server, folders)
    containers = (*apiservers, *(each for found, _ in seen for each in found))
    missing = (*silent, *(each for _, found in seen for each in found))
    names = tuple(each.name for each in chosen)
    interests = Interests(
        names,
        services,
        tuple(dict.fromkeys(each for found in addresses for each in found)),
        tuple(each.name for each in every if each.name not in names),
    )
    return _bounded(Sources(tuple(dict.fromkeys(containers)), missing, interests))


MARKS = (b"extension-apiserver-authentication", b"RequestHeaderAuthRequestController")
"""What a server on k8s.io/apiserver says when it starts and takes request headers for an identity."""

_CONTROL_PLANE = ("kube-apiserver-", "kube-controller-manager-", "kube-scheduler-", "etcd-")


def possible_servers(folders: tuple[PodFolder, ...]) -> tuple[Container, ...]:
    """Everything on this node but the control plane, some of which begins its log in the same way."""
    return tuple(
        one
        for each in folders
        if not (each.namespace == KUBE_SYSTEM and each.pod.startswith(_CONTROL_PLANE))
        for one in _in_folder(each, f"pod/{each.pod}")
    )


def with_pods_of(
    sources: Sources,
    services: tuple[tuple[str, str], ...],
    folders: tuple[PodFolder, ...],
    marked: tuple[Container, ...],
) -> Sources:
    """Without the API: the Pods of this node that are called as the Services that kube-apiserver names.

    What a Service selects only the API tells; a Deployment and its Service mostly have one name. Where none
    is called so, those count that are `marked` as extension servers by their own words.
    """
    found = [
        each
        for namespace, name in services
        for each in folders
        if each.namespace == namespace and (each.pod == name or each.pod.startswith(f"{name}-"))
    ]
    called = tuple(dict.fromkeys(one for each in found for one in _in_folder(each, f"pod/{each.pod}")))
    containers = called or marked
    interests = replace(sources.interests, services=services)
    missing = () if containers else (_NOT_NAMED,)
    return _bounded(
        replace(
            sources,
            containers=(*sources.containers, *containers),
            not_read=(*sources.not_read, *missing),
            interests=interests,
        )
    )


_NOT_NAMED = NotRead(
    "the Pods behind the APIs",
    "without the API it is not known which they are; no Pod of this node is called as a Service that"
    " kube-apiserver names, or says that it is an extension server",
    "log-not-read",
)


def _of_node(why: NotRead, wanted: Api | None, folders: tuple[PodFolder, ...]) -> Sources:
    """What this node alone can tell."""
    return Sources(
        _local_apiservers(folders), (why,), Interests((wanted.name,) if wanted else ()), asked=False
    )


def _local_apiservers(folders: Iterable[PodFolder]) -> tuple[Container, ...]:
    return tuple(
        one
        for each in folders
        if each.namespace == KUBE_SYSTEM and each.pod.startswith(f"{APISERVER}-")
        for one in _in_folder(each, f"{APISERVER}/{each.pod.removeprefix(f'{APISERVER}-')}")
        if one.name == APISERVER
    )


def _in_folder(folder: PodFolder, source: str) -> tuple[Container, ...]:
    return tuple(
        Container(_marked(source, name, folder.containers), folder.namespace, folder.pod, name, on_node=True)
        for name in folder.containers
    )


def _marked(source: str, name: str, names: tuple[str, ...]) -> str:
    """A container is named where its Pod has others."""
    return clean(f"{source} [{name}]" if len(names) > 1 else source, 160)


def _apiservers(
    snapshot: Snapshot, server: str, folders: tuple[PodFolder, ...]
) -> tuple[tuple[Container, ...], tuple[NotRead, ...]]:
    """Every kube-apiserver by its mirror Pod; this node's by its files, unless it is of another cluster."""
    local = _local_apiservers(folders)
    try:
        pods = _items(snapshot.object(APISERVER_PODS, server))
    except NotKnown as error:
        why = NotRead("kube-apiservers of other nodes", error.unknown.reason, error.unknown.code)
        return local, (why,)
    found = tuple(
        one
        for pod in pods
        for one in _containers(pod, f"{APISERVER}/{_node_of(pod)}", folders)
        if one.name == APISERVER or len(_names(pod)) == 1
    )
    if not found:
        return local, () if local else (_NO_APISERVER,)
    return found, ()


_NO_APISERVER = NotRead(
    APISERVER,
    "the cluster shows no Pod of it, and there is no log of it below /var/log/pods here; on a managed control"
    " plane its provider has it",
    "log-not-read",
)


def _behind(
    snapshot: Snapshot, server: str, service: tuple[str, str], folders: tuple[PodFolder, ...]
) -> tuple[tuple[Container, ...], tuple[NotRead, ...]]:
    """The containers behind a Service, or why there are none."""
    namespace, name = service
    target = f"Service {namespace}/{name}"
    try:
        found = snapshot.object(path_of("v1", "services", namespace, name), server)
        if found is None:
            return (), (NotRead(target, "it is not there, so nothing answers for its APIs", "log-not-read"),)
        pods = _pods_of(snapshot, server, found)
    except NotKnown as error:
        return (), (NotRead(f"Pods behind {target}", error.unknown.reason, error.unknown.code),)
    if not pods:
        return (), (NotRead(target, _no_pods(found), "log-not-read"),)
    return tuple(one for pod in pods for one in _containers(pod, f"pod/{_name(pod)}", folders)), ()


def _no_pods(service: Object) -> str:
    if (service.get("spec") or {}).get("selector"):
        return "there are no Pods behind it: its selector finds none"
    return "there are no Pods behind it: its server runs outside the cluster"


def _pods_of(snapshot: Snapshot, server: str, service: Object) -> list[Object]:
    """The Pods that a Service selects; without a selector those that its endpoints name."""
    namespace = str(service["metadata"]["namespace"])
    if selector := (service.get("spec") or {}).get("selector"):
        return _items(snapshot.object(pods_path(namespace, selector), server))
    path = slices_path(service)
    slices = _items(snapshot.object(path, server)) if path else []
    named = [
        str(target.get("name"))
        for each in slices
        for endpoint in each.get("endpoints") or []
        if (target := endpoint.get("targetRef") or {}).get("kind") == "Pod"
    ]
    paths = [path_of("v1", "pods", namespace, each) for each in dict.fromkeys(named)]
    snapshot.expect(*(ObjectAt(each, server) for each in paths))
    return [pod for each in paths if (pod := snapshot.object(each, server))]


def _addresses(snapshot: Snapshot, server: str, api: ServiceOf) -> tuple[str, ...]:
    """HOST:PORT as kube-apiserver dials them; none where that may not be seen."""
    try:
        found = snapshot.object(path_of("v1", "services", api.namespace, api.service), server)
        return endpoints_of(snapshot, found, api.port, server) if found else ()
    except NotKnown:
        return ()


def _containers(pod: Object, source: str, folders: tuple[PodFolder, ...]) -> tuple[Container, ...]:
    """A Pod's containers; read from this node's files where it runs here."""
    metadata, names = pod["metadata"], _names(pod)
    here = {(each.namespace, each.pod) for each in folders}
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    restarts = {each.get("name"): int(each.get("restartCount") or 0) for each in statuses}
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    return tuple(
        Container(
            _marked(source, each, names),
            namespace,
            name,
            each,
            on_node=(namespace, name) in here,
            restarts=restarts.get(each, 0),
        )
        for each in names
    )


def _names(pod: Object) -> tuple[str, ...]:
    return tuple(str(each["name"]) for each in (pod.get("spec") or {}).get("containers") or [])


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _node_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or _name(pod).removeprefix(f"{APISERVER}-"))


def _items(found: Object | None) -> list[Object]:
    return list((found or {}).get("items") or [])


def _bounded(sources: Sources) -> Sources:
    """No more containers than can be read side by side."""
    left = len(sources.containers) - AT_MOST
    if left <= 0:
        return sources
    more = NotRead(f"{left} more containers", f"{AT_MOST} are read at most; name one API", "log-not-read")
    return replace(sources, containers=sources.containers[:AT_MOST], not_read=(*sources.not_read, more))


def _not_registered(name: str) -> Refused:
    return Refused(
        "api-not-registered",
        f"no extension server is registered for {name}",
        expected="the name of an APIService that names a Service",
        do="see: kubectl get apiservices",
    )
