"""Whose logs tell about an API: kube-apiservers by their Pods or this node's files, Pods by their Service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, service
from support.snapshots import SERVER, Scene, slices

from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.extension import Api
from aggctl.core.loglines import Interests
from aggctl.core.logsources import (
    AT_MOST,
    Container,
    NotRead,
    PodFolder,
    Sources,
    possible_servers,
    see_sources,
    with_pods_of,
)
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

THINGS = Api("v1", "things.example")
SELECTED = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dthings"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
LOCAL = PodFolder("kube-system", "kube-apiserver-cp1", ("kube-apiserver",))
NO_RIGHTS = Unknown("GET … is forbidden", "no-rights-in-cluster")
DOWN = Unknown("it does not answer", "apiserver-not-reachable")


def pod(name: str, namespace: str = "shop", *names: str, node: str = "", restarts: int = 0) -> dict[str, Any]:
    containers = names or ("server",)
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": each} for each in containers], "nodeName": node},
        "status": {"containerStatuses": [{"name": containers[0], "restartCount": restarts}]},
    }


def apiserver(node: str, *names: str) -> dict[str, Any]:
    return pod(f"kube-apiserver-{node}", "kube-system", *(names or ("kube-apiserver",)), node=node)


def items(*found: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(found)}


def scene(
    *apis: dict[str, Any],
    apiservers: Iterable[dict[str, Any]] = (apiserver("cp1"),),
    pods: Iterable[dict[str, Any]] = (pod("things-1"),),
    selector: dict[str, str] | None = None,
) -> Scene:
    """A cluster with one API, its Service and its Pods, unless it is said otherwise."""
    chosen = {"app": "things"} if selector is None else selector
    found = cluster(service(selector=chosen))
    found = found.object(API_SERVICES, items(*(apis or (api_service(),))))
    found = found.object(SLICES, slices("10.1.0.5", https=8443)).object(SELECTED, items(*pods))
    return found.object(APISERVER_PODS, items(*apiservers))


def see(
    found: Scene, wanted: Api | None = THINGS, *folders: PodFolder, server: str | Refused = SERVER
) -> Sources:
    return found.ask(lambda snapshot: see_sources(snapshot, server, wanted, folders))


def names(sources: Sources) -> list[str]:
    return [each.source for each in sources.containers]


def reasons(sources: Sources) -> list[str]:
    return [f"{each.source}: {each.reason}" for each in sources.not_read]


# --- with the API ----------------------------------------------------------------------------------------


def test_kube_apiserver_and_the_pods_that_the_service_selects_are_read() -> None:
    sources = see(scene())
    assert sources.containers == (
        Container("kube-apiserver/cp1", "kube-system", "kube-apiserver-cp1", "kube-apiserver", on_node=False),
        Container("pod/things-1", "shop", "things-1", "server", on_node=False),
    )
    assert sources.not_read == ()
    assert sources.interests == Interests(("v1.things.example",), (("shop", "things"),), ("10.1.0.5:8443",))
    assert [each.of_apiserver for each in sources.containers] == [True, False]


def test_a_pod_that_runs_here_is_read_from_its_files() -> None:
    sources = see(scene(), THINGS, LOCAL, PodFolder("shop", "things-1", ("server",)))
    assert [each.on_node for each in sources.containers] == [True, True]


def test_kube_apiservers_files_of_another_cluster_are_left_alone() -> None:
    other = PodFolder("kube-system", "kube-apiserver-kind", ("kube-apiserver",))
    assert names(see(scene(), THINGS, other)) == ["kube-apiserver/cp1", "pod/things-1"]


def test_without_a_mirror_pod_this_nodes_files_are_read() -> None:
    sources = see(scene(apiservers=()), THINGS, LOCAL)
    assert names(sources) == ["kube-apiserver/cp1", "pod/things-1"]
    assert sources.containers[0].on_node


def test_a_control_plane_that_shows_no_kube_apiserver_is_named() -> None:
    (said,) = reasons(see(scene(apiservers=())))
    assert said.startswith("kube-apiserver: the cluster shows no Pod of it")
    (said,) = reasons(see(scene(apiservers=(apiserver("cp1", "one", "two"),))))
    assert said.startswith("kube-apiserver: the cluster shows no Pod of it")


def test_of_a_kube_apiserver_with_a_sidecar_its_own_container_is_read() -> None:
    found = scene(apiservers=(apiserver("cp1", "kube-apiserver", "kms"), apiserver("cp2", "renamed")))
    assert names(see(found))[:2] == ["kube-apiserver/cp1 [kube-apiserver]", "kube-apiserver/cp2"]


def test_without_the_right_to_list_kube_apiservers_this_nodes_is_read() -> None:
    found = scene().answering({ObjectAt(APISERVER_PODS, SERVER): NO_RIGHTS})
    sources = see(found, THINGS, LOCAL)
    assert names(sources) == ["kube-apiserver/cp1", "pod/things-1"]
    assert sources.not_read == (
        NotRead("kube-apiservers of other nodes", NO_RIGHTS.reason, "no-rights-in-cluster"),
    )
    assert sources.not_read[0].words == "not read: kube-apiservers of other nodes: GET … is forbidden"


def test_containers_are_named_where_a_pod_has_several_and_restarts_are_known() -> None:
    sources = see(scene(pods=(pod("things-1", "shop", "server", "proxy", restarts=3),)))
    assert names(sources)[1:] == ["pod/things-1 [server]", "pod/things-1 [proxy]"]
    assert [each.restarts for each in sources.containers] == [0, 3, 0]


def test_without_a_selector_the_pods_are_those_of_the_endpoints() -> None:
    found = slices("10.1.0.5", https=8443)
    refs = [
        {"targetRef": {"kind": "Pod", "name": "things-1"}},
        {"targetRef": {"kind": "Node", "name": "x"}},
        {},
    ]
    found["items"][0]["endpoints"] = [each | {"addresses": ["10.1.0.5"]} for each in refs]
    other = "/api/v1/namespaces/shop/pods/x"  # a Pod that is called as the Node
    with_slices = scene(selector={}).object(SLICES, found).object(other, pod("x"))
    assert names(see(with_slices.object("/api/v1/namespaces/shop/pods/things-1", pod("things-1"))))[1:] == [
        "pod/things-1"
    ]
    assert reasons(see(with_slices)) == [
        "Service shop/things: there are no Pods behind it: its server runs outside the cluster"
    ]


def test_a_server_outside_the_cluster_is_named() -> None:
    outside = service(type="ExternalName", externalName="things.example.com")
    sources = see(scene().object("/api/v1/namespaces/shop/services/things", outside))
    assert names(sources) == ["kube-apiserver/cp1"]
    assert reasons(sources) == [
        "Service shop/things: there are no Pods behind it: its server runs outside the cluster"
    ]
    assert sources.interests.addresses == ("things.example.com:443",)


def test_a_selector_that_finds_nothing_is_named() -> None:
    assert reasons(see(scene(pods=()))) == [
        "Service shop/things: there are no Pods behind it: its selector finds none"
    ]


def test_a_service_that_is_gone_is_named() -> None:
    sources = see(scene().object("/api/v1/namespaces/shop/services/things", None))
    assert reasons(sources) == ["Service shop/things: it is not there, so nothing answers for its APIs"]
    assert sources.interests.addresses == ()


@pytest.mark.parametrize("path", ["/api/v1/namespaces/shop/services/things", SELECTED])
def test_without_rights_in_its_namespace_the_others_are_read(path: str) -> None:
    sources = see(scene().answering({ObjectAt(path, SERVER): NO_RIGHTS}))
    assert names(sources) == ["kube-apiserver/cp1"]
    assert reasons(sources) == ["Pods behind Service shop/things: GET … is forbidden"]


def test_without_a_name_all_apis_are_meant_and_a_pod_that_serves_two_is_read_once() -> None:
    two = (api_service(), api_service("v2.things.example"), api_service("v1.local.example", None))
    sources = see(scene(*two), None)
    assert names(sources) == ["kube-apiserver/cp1", "pod/things-1"]
    assert sources.interests.apis == ("v1.things.example", "v2.things.example")
    assert sources.interests.others == ()


def test_a_pod_behind_two_services_is_read_once() -> None:
    found = scene(api_service(), api_service("v2.other.example", "shop/other"))
    other = service("other", selector={"app": "things"})
    sources = see(found.object("/api/v1/namespaces/shop/services/other", other), None)
    assert names(sources) == ["kube-apiserver/cp1", "pod/things-1"]


def test_other_apis_are_known_so_that_their_lines_can_be_left_out() -> None:
    sources = see(scene(api_service(), api_service("v2.other.example", "shop/other")))
    assert sources.interests.others == ("v2.other.example",)


@pytest.mark.parametrize("apis", [(api_service("v9.other.example"),), (api_service(at=None),)])
def test_an_api_that_no_extension_server_is_registered_for_is_refused(apis: tuple[dict[str, Any]]) -> None:
    with pytest.raises(Refused, match=r"registered for v1\.things\.example") as refused:
        see(scene(*apis))
    assert refused.value.code == "api-not-registered"


def test_containers_are_bounded_and_what_is_left_out_is_named() -> None:
    sources = see(scene(pods=[pod(f"things-{number}") for number in range(AT_MOST + 4)]))
    assert len(sources.containers) == AT_MOST
    assert sources.not_read == (
        NotRead("5 more containers", f"{AT_MOST} are read at most; name one API", "log-not-read"),
    )


# --- without the API -------------------------------------------------------------------------------------


def test_with_the_api_down_this_nodes_kube_apiserver_is_read() -> None:
    others = (PodFolder("kube-system", "etcd-cp1", ("etcd",)), PodFolder("shop", "kube-apiserver-x", ("x",)))
    found = scene().answering({ObjectAt(API_SERVICES, SERVER): DOWN, ObjectAt(APISERVER_PODS, SERVER): DOWN})
    sources = see(found, THINGS, LOCAL, *others)
    assert names(sources) == ["kube-apiserver/cp1"]
    assert sources.not_read == (
        NotRead("the cluster's APIServices", "it does not answer", "apiserver-not-reachable"),
    )
    assert not sources.asked
    assert sources.interests == Interests(("v1.things.example",))
    assert see(found, None, LOCAL).interests == Interests()


def test_without_credentials_too() -> None:
    sources = see(
        scene(), None, LOCAL, server=Refused("kubeconfig-missing", "no kubeconfig was found", do="")
    )
    assert names(sources) == ["kube-apiserver/cp1"]
    assert sources.not_read == (NotRead("the cluster", "no kubeconfig was found", "kubeconfig-missing"),)


def test_the_pods_are_then_those_that_are_called_as_a_service_that_was_dialled() -> None:
    folders = (
        PodFolder("shop", "things-6f-x1", ("server", "proxy")),
        PodFolder("shop", "things", ("server",)),
        PodFolder("shop", "thingsother-1", ("server",)),
        PodFolder("other", "things-1", ("server",)),
    )
    before = Sources((), (), Interests(("v1.things.example",)), asked=False)
    sources = with_pods_of(before, (("shop", "things"),), folders, possible_servers(folders))
    assert names(sources) == ["pod/things-6f-x1 [server]", "pod/things-6f-x1 [proxy]", "pod/things"]
    assert all(each.on_node for each in sources.containers)
    assert sources.interests == Interests(("v1.things.example",), (("shop", "things"),))
    assert sources.not_read == ()


def test_where_none_is_called_so_those_count_that_say_what_they_are() -> None:
    before = Sources((), (), Interests(), asked=False)
    marked = possible_servers((PodFolder("shop", "x-1", ("server",)),))
    assert names(with_pods_of(before, (("shop", "things"),), (), marked)) == ["pod/x-1"]


def test_the_control_plane_itself_is_no_extension_server() -> None:
    folders = (
        LOCAL,
        PodFolder("kube-system", "kube-scheduler-cp1", ("kube-scheduler",)),
        PodFolder("kube-system", "metrics-server-1", ("metrics-server",)),
        PodFolder("shop", "etcd-1", ("etcd",)),
    )
    assert [each.source for each in possible_servers(folders)] == ["pod/metrics-server-1", "pod/etcd-1"]


def test_where_none_is_called_so_it_is_said_that_they_are_not_known() -> None:
    before = Sources((), (NotRead("x", "y", "z"),), Interests(), asked=False)
    sources = with_pods_of(before, (), (), ())
    assert [each.source for each in sources.not_read] == ["x", "the Pods behind the APIs"]
