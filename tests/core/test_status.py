"""The layer and every aggregated API at a glance: what is seen, what is said, and what is not known."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import OTHER_SERVING_CA, SERVING_CA, api_service, service, serving
from support.snapshots import (
    CA,
    MANIFEST,
    NOW,
    OFF,
    ON,
    PEER,
    ROUTING_FLAG,
    SERVER,
    Scene,
    authority,
    certificate,
    leaf,
    slices,
)

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS, LEASES, PEER_ADDRESS
from aggctl.core.checks.workload import pods_path
from aggctl.core.cluster_view import API_SERVICES, KUBERNETES_SLICES
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    AnswerSeen,
    FileAt,
    Handshake,
    ObjectAt,
    PodHandshake,
    RawAt,
    ReadyAt,
    ServedSeen,
    UnavailableApis,
    Unknown,
)
from aggctl.core.status.layer import NOT_KNOWN
from aggctl.core.status.see import MANY, SERVICES, SLICES, Status, see_status
from aggctl.core.status.words import items_of, layer_line, lines_of, metrics, tls_cell
from aggctl.errors import AggctlError, Refused
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggctl.core.pki import KeyPair
    from aggctl.core.questions import Question

Object = dict[str, Any]

API, NAME = "v1.things.example", "things.shop.svc"
ENDPOINT, SECOND = "10.1.0.5:8443", "10.1.0.6:8443"
SERVICE_PATH = "/api/v1/namespaces/shop/services/things"
SLICES_PATH = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
SHOWN = ServedSeen(serving().certificate)
PEER_SERVER = f"https://{PEER}:6443"
FORBIDDEN = Unknown("GET it is forbidden to somebody", "no-rights-in-cluster")
SILENCE = Unknown(f"{SERVER} does not answer: Connection refused", "apiserver-not-reachable")
BUNDLE = base64.b64encode(SERVING_CA.certificate).decode()
PASSED = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}
FAILED = {
    "type": "Available",
    "status": "False",
    "reason": "FailedDiscoveryCheck",
    "message": "failing or missing response: 503",
    "lastTransitionTime": "2026-06-01T11:57:00Z",
}


def registered(
    name: str = API, at: str | None = "shop/things", condition: Mapping[str, str] | None = PASSED, **spec: Any
) -> Object:
    """An APIService with its condition, since twelve days where that does not say."""
    since = {"lastTransitionTime": "2026-05-20T12:00:00Z"}
    made = api_service(name, at, **({"caBundle": BUNDLE} | spec if at else spec))
    conditions = [since | dict(condition)] if condition else []
    return made | {"status": {"conditions": conditions}}


@dataclass(frozen=True)
class World:
    """A node and its cluster with APIs that are well, and what is not as usual."""

    scene: Scene = ON
    apis: tuple[Object, ...] = (registered(),)
    objects: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[Any, Any] = field(default_factory=dict)
    served: Any = SHOWN
    server: str | AggctlError = SERVER

    def look(self, question: Question) -> Any:
        if question in self.said:
            return self.said[question]
        match question:
            case ObjectAt(path, _):
                return {**self.usual, **self.objects}.get(path, self.scene.look(question))
            case RawAt(_, server):
                return AnswerSeen(200, seconds=0.004 if server == SERVER else 0.009)
            case UnavailableApis():
                return {}
            case Handshake():
                return self.served
        return self.scene.look(question)

    @property
    def usual(self) -> dict[str, Any]:
        return {
            API_SERVICES: {"items": list(self.apis)},
            SERVICE_PATH: service(clusterIP="10.96.0.9"),
            SLICES_PATH: slices("10.1.0.5", https=8443),
        }

    def status(self, *names: str) -> Status:
        return settle(lambda snapshot: see_status(snapshot, self.server, names, NOW), self.look)[0]

    def lines(self, *names: str, wide: bool = False) -> tuple[str, ...]:
        return lines_of(self.status(*names), NOW, wide=wide)

    def cells(self, *names: str, wide: bool = False) -> dict[str, str]:
        """The first row of the table by the heads of its columns."""
        head, row = self.lines(*names, wide=wide)[1:3]
        starts = [(head.index(f"{each}"), each) for each in head.split()]
        ends = [start for start, _ in starts[1:]] + [None]
        return {name: row[start:end].strip() for (start, name), end in zip(starts, ends, strict=True)}

    def not_checked(self, *names: str) -> list[str]:
        return [each for each in self.lines(*names) if each.startswith("not checked: ")]

    def elsewhere(self) -> World:
        """Seen from a machine that is no control-plane node."""
        return replace(
            self,
            scene=replace(self.scene, files={}).answering({FileAt(MANIFEST): None}),
            said=dict(self.said),
        )

    def saying(self, said: Mapping[Any, Any]) -> World:
        return replace(self, said={**self.said, **said})

    def with_objects(self, objects: Mapping[str, Any]) -> World:
        return replace(self, objects={**self.objects, **objects})

    def of_two(self) -> World:
        return replace(self, scene=self.scene.with_peer())


def pods(**flags_by_node: Iterable[str]) -> Object:
    """The kube-apiservers' mirror Pods: n1 is the node itself, n2 the peer."""
    hosts = {"n1": "10.0.0.11", "n2": PEER}
    return {
        "items": [
            {
                "spec": {"nodeName": node, "containers": [{"command": ["kube-apiserver", *words]}]},
                "status": {"hostIP": hosts[node]},
            }
            for node, words in flags_by_node.items()
        ]
    }


SEVEN = tuple(f"--{name}=x" for name in f.AGGREGATION_FLAGS if name != f.ROUTING)
GOOD = World()


# --- the layer ---------------------------------------------------------------------------------------------


def test_on_a_node_the_layer_is_told_in_one_line_with_what_expires() -> None:
    assert GOOD.lines()[0] == (
        "Layer on, routing on, 1 of 1 kube-apiserver.    "
        "Front-proxy client until 2027-05-02 (335 d), CA until 2036-04-29"
    )


def test_an_expired_certificate_of_the_layer_is_called_so() -> None:
    scene = ON.pair("front-proxy-client", leaf(CA, days=-400))
    assert "Front-proxy client until 2026-04-27 (expired)" in World(scene).lines()[0]


def test_routing_that_is_off_is_said() -> None:
    scene = ON.flag(**{ROUTING_FLAG: None})
    assert World(scene).lines()[0].startswith("Layer on, routing off, ")


@pytest.mark.parametrize(
    ("scene", "state"),
    [
        (ON, "on"),
        (ON.flag(proxy_client_key_file=None), "partly on"),
        (OFF, "off"),
    ],
)
def test_a_node_without_the_flags_is_not_on(scene: Scene, state: str) -> None:
    assert World(scene).status().layer.state == state


def test_a_node_without_certificates_has_none_that_expire() -> None:
    layer = World(OFF).status().layer
    assert (layer.client_until, layer.ca_until) == (None, None)


def test_nodes_that_differ_are_named_each_with_its_state() -> None:
    world = GOOD.of_two().with_objects({APISERVER_PODS: pods(n1=SEVEN, n2=SEVEN[:3])})
    assert world.lines()[0].startswith(
        "Layer partly on (n1 on, n2 partly on), routing on, 2 of 2 kube-apiservers."
    )


def test_the_nodes_own_manifest_counts_before_what_its_pod_shows() -> None:
    world = GOOD.with_objects({APISERVER_PODS: pods(n1=())})
    assert world.status().layer.nodes == (("n1", "on"),)


def test_from_anywhere_the_pods_tell_of_each_node() -> None:
    world = GOOD.of_two().elsewhere().with_objects({APISERVER_PODS: pods(n1=SEVEN, n2=())})
    layer = world.status().layer
    assert (layer.state, layer.nodes) == ("partly on", (("n1", "on"), ("n2", "off")))


def test_without_pods_it_is_what_the_cluster_publishes() -> None:
    assert GOOD.elsewhere().lines()[0] == (
        "Layer on, as the cluster publishes, routing not known, 1 of 1 kube-apiserver."
    )


def test_a_cluster_that_publishes_no_ca_has_the_layer_off() -> None:
    assert World(OFF).elsewhere().status().layer.state == "off"


def test_what_is_published_and_may_not_be_seen_is_not_known_and_said() -> None:
    world = GOOD.elsewhere().saying({ObjectAt(CONFIG_MAP, SERVER): FORBIDDEN})
    assert world.status().layer.state == NOT_KNOWN
    assert f"not checked: the layer: {FORBIDDEN.reason}" in world.not_checked()


def test_a_published_ca_that_cannot_be_read_is_not_known_either() -> None:
    garbage = {"data": {"requestheader-client-ca-file": "no PEM"}}
    assert GOOD.elsewhere().with_objects({CONFIG_MAP: garbage}).status().layer.state == NOT_KNOWN


# --- with the API down -------------------------------------------------------------------------------------


def test_with_the_api_down_the_layer_is_told_from_the_nodes_files() -> None:
    status = GOOD.saying({ReadyAt(SERVER): SILENCE}).status()
    assert layer_line(status, NOW).startswith("Layer on, routing on, 0 of 1 kube-apiserver.    Front-proxy")
    assert (status.rows, status.why_nothing) == ((), SILENCE)


def test_without_a_kubeconfig_the_reason_is_kept() -> None:
    refused = Refused("kubeconfig-missing", "there is none", do="name one")
    status = World(server=refused).status()
    assert layer_line(status, NOW).startswith("Layer on, routing on.    Front-proxy")
    assert status.why_nothing is refused


def test_elsewhere_with_the_api_down_nothing_at_all_is_known() -> None:
    status = GOOD.elsewhere().saying({ReadyAt(SERVER): SILENCE}).status()
    assert (status.layer.state, status.why_nothing) == (NOT_KNOWN, SILENCE)


def test_who_may_see_nothing_is_told_why() -> None:
    nothing = {ObjectAt(path, SERVER): FORBIDDEN for path in (CONFIG_MAP, API_SERVICES, APISERVER_PODS)}
    assert GOOD.elsewhere().saying(nothing).status().why_nothing == FORBIDDEN


def test_a_node_whose_apiservices_may_not_be_seen_claims_not_that_there_are_none() -> None:
    world = GOOD.saying({ObjectAt(API_SERVICES, SERVER): FORBIDDEN})
    assert world.status().why_nothing is None
    assert world.lines()[1:] == (f"not checked: APIServices: {FORBIDDEN.reason}",)


# --- which APIs --------------------------------------------------------------------------------------------


def test_an_api_that_is_well_is_one_row() -> None:
    assert GOOD.cells() == {
        "NAME": API,
        "SERVICE": "shop/things",
        "AVAILABLE": "True",
        "SINCE": "12d",
        "TLS": "verified, 335 d",
        "ENDPOINTS": "1/1",
        "ANSWER": "4 ms",
    }


def test_apis_are_sorted_by_name_and_those_of_kube_apiserver_itself_are_left_out() -> None:
    apis = (registered("v2.b.example"), registered("v1.apps.example", None), registered("v1.a.example"))
    assert [row.name for row in World(apis=apis).status().rows] == ["v1.a.example", "v2.b.example"]


def test_a_cluster_without_any_says_so() -> None:
    assert World(apis=()).lines()[1:] == ("No API is registered that a Service answers for.",)


def test_a_named_api_is_the_only_one() -> None:
    apis = (registered(), registered("v2.b.example"))
    assert [row.name for row in World(apis=apis).status("v2.b.example").rows] == ["v2.b.example"]


def test_a_named_api_that_is_not_registered_has_a_row_that_says_so() -> None:
    cells = World(said={RawAt("/apis/b.example/v2", SERVER): AnswerSeen(404)}).cells("v2.b.example")
    assert (cells["SERVICE"], cells["AVAILABLE"], cells["ANSWER"]) == ("-", "not registered", "-")


def test_a_named_api_of_kube_apiserver_itself_has_neither_tls_nor_endpoints() -> None:
    cells = World(apis=(registered("v1.apps.example", None),)).cells("v1.apps.example")
    assert cells["SERVICE"] == "kube-apiserver itself"
    assert (cells["TLS"], cells["ENDPOINTS"]) == ("-", "-")


def test_a_named_api_whose_apiservice_may_not_be_seen_answers_all_the_same() -> None:
    world = GOOD.saying({ObjectAt(API_SERVICES, SERVER): FORBIDDEN})
    cells = world.cells(API)
    assert (cells["AVAILABLE"], cells["ENDPOINTS"], cells["ANSWER"]) == ("-", "-", "4 ms")


def test_another_port_than_443_is_shown_with_the_service() -> None:
    assert World(apis=(registered(port=8443),)).cells()["SERVICE"] == "shop/things:8443"


# --- AVAILABLE, SINCE, ANSWER ------------------------------------------------------------------------------


def test_an_api_that_is_not_available_says_why_and_since_when() -> None:
    cells = World(apis=(registered(condition=FAILED),)).cells()
    assert (cells["AVAILABLE"], cells["SINCE"]) == ("False (FailedDiscoveryCheck)", "3m")


def test_an_api_that_nobody_looked_at_yet_is_unknown() -> None:
    cells = World(apis=(registered(condition=None),)).cells()
    assert (cells["AVAILABLE"], cells["SINCE"]) == ("Unknown (not looked at yet)", "-")


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-06-01T11:59:15Z", "45s"),
        ("2026-06-01T07:00:00Z", "5h"),
        ("2026-06-01T11:00:00", "1h"),
        ("2026-06-01T12:00:09Z", "0s"),
        ("yesterday", "-"),
    ],
)
def test_since_is_written_as_kubectl_writes_ages(moment: str, shown: str) -> None:
    world = World(apis=(registered(condition=PASSED | {"lastTransitionTime": moment}),))
    assert world.cells()["SINCE"] == shown


def test_an_api_that_answers_with_an_error_has_no_time() -> None:
    world = GOOD.saying({RawAt("/apis/things.example/v1", SERVER): AnswerSeen(503, "no", 0.001)})
    assert world.cells()["ANSWER"] == "-"


def test_of_several_answers_the_slowest_counts() -> None:
    assert GOOD.of_two().cells()["ANSWER"] == "9 ms"


# --- several kube-apiservers -------------------------------------------------------------------------------


def test_one_kube_apiserver_has_no_column() -> None:
    assert "10.0.0.11" not in GOOD.lines()[1]


def test_each_of_several_has_a_column_by_its_host() -> None:
    cells = GOOD.of_two().cells()
    assert (cells["10.0.0.11"], cells[PEER]) == ("✓", "✓")


def test_the_columns_have_the_names_of_nodes_where_pods_tell_them() -> None:
    cells = GOOD.of_two().with_objects({APISERVER_PODS: pods(n1=SEVEN, n2=SEVEN)}).cells()
    assert (cells["n1"], cells["n2"]) == ("✓", "✓")


def test_the_columns_keep_their_order_whatever_that_of_the_endpoints() -> None:
    turned = {KUBERNETES_SLICES: slices(PEER, "10.0.0.11", https=6443)}
    assert [each for each, _ in GOOD.with_objects(turned).status().labels] == [SERVER, PEER_SERVER]


def test_two_on_one_host_are_told_apart_by_their_ports() -> None:
    peer = {"metadata": {"annotations": {PEER_ADDRESS: "10.0.0.11:6444"}}}
    status = GOOD.with_objects({LEASES: {"items": [peer]}}).status()
    assert [label for _, label in status.labels] == ["10.0.0.11:6443", "10.0.0.11:6444"]


def test_an_apiserver_through_which_it_does_not_answer_has_a_cross() -> None:
    world = GOOD.of_two().saying({RawAt("/apis/things.example/v1", PEER_SERVER): AnswerSeen(503)})
    assert (world.cells()["10.0.0.11"], world.cells()[PEER]) == ("✓", "✗")


def test_an_apiserver_that_holds_it_for_unavailable_has_a_cross_whatever_it_answers() -> None:
    world = GOOD.of_two().saying({UnavailableApis(PEER_SERVER): {API: True}})
    assert (world.cells()["10.0.0.11"], world.cells()[PEER]) == ("✓", "✗")


def test_an_apiserver_that_is_silent_is_counted_and_named() -> None:
    world = GOOD.of_two().saying({ReadyAt(PEER_SERVER): Unknown("no answer")})
    assert "1 of 2 kube-apiservers." in world.lines()[0]
    assert world.not_checked() == [f"not checked: {PEER_SERVER}: no answer"]


# --- TLS ---------------------------------------------------------------------------------------------------


def served(pair: KeyPair, problem: str = "") -> ServedSeen:
    return ServedSeen(pair.certificate, problem)


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        (served(serving("other.shop.svc"), "Hostname mismatch"), "wrong name"),
        (served(serving(days=-400), "certificate has expired"), "expired"),
        (served(serving(days=5), "certificate is not yet valid"), "not yet valid"),
        (served(serving(ca=OTHER_SERVING_CA), "unable to get local issuer certificate"), "other CA"),
        (served(serving(usage="client"), "unsupported certificate purpose"), "wrong usage"),
        (
            served(serving("x", ca=OTHER_SERVING_CA), "unable to get local issuer certificate"),
            "other server",
        ),
        (ServedSeen(b"", "no TLS handshake: WRONG_VERSION_NUMBER"), "plain HTTP"),
        (ServedSeen(b"", "no TLS handshake: it takes the connection and says nothing"), "says nothing"),
        (ServedSeen(b"no PEM"), "certificate unreadable"),
        (Unknown("10.1.0.5:8443 cannot be dialled from here: refused"), "-"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_in_few_words(
    seen: ServedSeen | Unknown, shown: str
) -> None:
    assert World(served=seen).cells()["TLS"] == shown


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"insecureSkipTLSVerify": True, "caBundle": None}, "insecure"),
        ({"caBundle": ""}, "no caBundle"),
        ({"caBundle": base64.b64encode(b"garbage").decode()}, "caBundle unreadable"),
    ],
)
@pytest.mark.parametrize("world", [GOOD, GOOD.elsewhere()], ids=["on a node", "elsewhere"])
def test_what_the_apiservice_says_comes_first_wherever_it_is_seen_from(
    world: World, spec: Object, shown: str
) -> None:
    assert replace(world, apis=(registered(**spec),)).cells()["TLS"] == shown


def test_elsewhere_tls_cannot_be_seen() -> None:
    assert GOOD.elsewhere().cells()["TLS"] == "-"


def behind_pods() -> World:
    """Seen from elsewhere, the one endpoint is a Pod's."""
    pod = {"metadata": {"name": "things-1", "namespace": "shop"}, "status": {"podIP": "10.1.0.5"}}
    through = PodHandshake("shop", "things-1", 8443, NAME, SERVING_CA.certificate.decode(), SERVER)
    return (
        GOOD.elsewhere()
        .with_objects(
            {
                SERVICE_PATH: service(clusterIP="10.96.0.9", selector={"app": "things"}),
                pods_path("shop", {"app": "things"}): {"items": [pod]},
            }
        )
        .saying({through: SHOWN})
    )


def test_elsewhere_tls_is_seen_through_the_pod() -> None:
    assert behind_pods().cells()["TLS"].startswith("verified")


def test_elsewhere_pods_that_may_not_be_listed_leave_tls_unseen() -> None:
    forbidden = {ObjectAt(pods_path("shop", {"app": "things"}), SERVER): FORBIDDEN}
    assert behind_pods().saying(forbidden).cells()["TLS"] == "-"


def test_elsewhere_no_endpoint_is_dialled() -> None:
    world = GOOD.elsewhere()
    _, seen = settle(lambda snapshot: see_status(snapshot, SERVER, (), NOW), world.look)
    assert not any(isinstance(each, Handshake) for each in seen.answers)


def test_elsewhere_the_words_of_a_kube_apiserver_tell() -> None:
    said = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    failed = FAILED | {"message": said}
    answer = {RawAt("/apis/things.example/v1", SERVER): AnswerSeen(503, "service unavailable")}
    world = replace(GOOD.elsewhere(), apis=(registered(condition=failed),)).saying(answer)
    assert world.cells()["TLS"] == "expired"


def test_a_fault_of_some_endpoints_says_of_how_many() -> None:
    pem = SERVING_CA.certificate.decode()
    bad = {Handshake(SECOND, NAME, pem): served(serving("other.shop.svc"), "Hostname mismatch")}
    world = GOOD.with_objects({SLICES_PATH: slices("10.1.0.5", "10.1.0.6", https=8443)}).saying(bad)
    assert world.cells()["TLS"] == "1/2 wrong name"


def test_an_endpoint_that_cannot_be_dialled_is_not_counted_as_verified() -> None:
    pem = SERVING_CA.certificate.decode()
    away = Unknown(f"{SECOND} cannot be dialled from here: timed out")
    world = GOOD.with_objects({SLICES_PATH: slices("10.1.0.5", "10.1.0.6", https=8443)}).saying(
        {Handshake(SECOND, NAME, pem): away}
    )
    assert world.cells()["TLS"] == "1/2 verified, 335 d"
    assert world.not_checked() == [f"not checked: TLS: {away.reason}"]


def test_the_certificate_that_expires_first_gives_the_days() -> None:
    pem = SERVING_CA.certificate.decode()
    short = {Handshake(SECOND, NAME, pem): served(serving(lifetime=40))}
    world = GOOD.with_objects({SLICES_PATH: slices("10.1.0.5", "10.1.0.6", https=8443)}).saying(short)
    assert world.cells()["TLS"] == "verified, 10 d"


def test_an_insecure_api_that_speaks_no_tls_is_called_by_its_fault() -> None:
    api = registered(insecureSkipTLSVerify=True, caBundle=None)
    world = World(apis=(api,), served=ServedSeen(b"", "no TLS handshake: WRONG_VERSION_NUMBER"))
    assert world.cells()["TLS"] == "plain HTTP"


# --- endpoints ---------------------------------------------------------------------------------------------


def test_a_service_that_is_gone_is_called_so_and_what_the_apiservice_says_stays() -> None:
    cells = GOOD.with_objects({SERVICE_PATH: None}).cells()
    assert (cells["ENDPOINTS"], cells["TLS"]) == ("no Service", "-")


def test_endpoints_that_are_not_ready_count_in_all_alone() -> None:
    both = slices("10.1.0.5", https=8443)["items"] + slices("10.1.0.6", ready=False, https=8443)["items"]
    assert GOOD.with_objects({SLICES_PATH: {"items": both}}).cells()["ENDPOINTS"] == "1/2"


def test_an_external_name_has_endpoints_that_nobody_counts() -> None:
    named = {SERVICE_PATH: service(type="ExternalName", externalName="out.example")}
    assert GOOD.with_objects(named).cells()["ENDPOINTS"] == "ExternalName"


@pytest.mark.parametrize("path", [SERVICE_PATH, SLICES_PATH])
def test_endpoints_that_may_not_be_seen_are_not_known_and_said(path: str) -> None:
    world = GOOD.saying({ObjectAt(path, SERVER): FORBIDDEN})
    assert world.cells()["ENDPOINTS"] == "-"
    assert world.not_checked() == [f"not checked: endpoints: {FORBIDDEN.reason}"]


def many(number: int) -> World:
    """So many APIs, each behind a Service of its own; only lists show these."""
    apis = tuple(registered(f"v1.m{each}.example", f"shop/m{each}") for each in range(number))
    services = [service(f"m{each}", clusterIP="10.96.0.9") for each in range(number)]
    found = [
        slices("10.1.0.5", https=8443)["items"][0]
        | {"metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": f"m{each}"}}}
        for each in range(number)
    ]
    return World(apis=apis, objects={SERVICES: {"items": services[1:]}, SLICES: {"items": found}}, said={})


def test_many_services_are_seen_by_two_lists() -> None:
    rows = many(MANY + 1).status().rows
    assert [row.endpoints for row in rows] == [None, *[1] * MANY]


def test_a_service_that_is_in_no_list_is_gone() -> None:
    assert many(MANY + 1).cells()["ENDPOINTS"] == "no Service"


@pytest.mark.parametrize("path", [SERVICES, SLICES])
def test_where_a_list_may_not_be_seen_each_is_asked_for(path: str) -> None:
    number = MANY + 1
    single = {
        f"/api/v1/namespaces/shop/services/m{each}": service(f"m{each}", clusterIP="10.96.0.9")
        for each in range(number)
    }
    world = many(number).with_objects(single).saying({ObjectAt(path, SERVER): FORBIDDEN})
    assert all(row.backend for row in world.status().rows)


# --- what could not be seen --------------------------------------------------------------------------------


def test_where_all_is_seen_nothing_is_said_to_be_not_checked() -> None:
    assert GOOD.not_checked() == []


def test_elsewhere_the_nodes_files_are_named() -> None:
    (line,) = GOOD.elsewhere().not_checked()
    assert line.startswith("not checked: this node's files: no kube-apiserver manifest")
    assert line.endswith("(run on a control-plane node as root)")


def test_a_manifest_that_cannot_be_used_is_named_as_it_is() -> None:
    scene = ON.file("/etc/kubernetes/manifests/second.yaml", ON.text.encode())
    (line,) = World(scene).not_checked()
    assert "second.yaml is a kube-apiserver Pod too" in line
    assert "as root" not in line


def test_metrics_that_may_not_be_read_are_named() -> None:
    world = GOOD.saying({UnavailableApis(SERVER): FORBIDDEN})
    assert world.not_checked() == [f"not checked: /metrics: {FORBIDDEN.reason}"]


def test_one_reason_for_many_apis_is_one_line() -> None:
    apis = (registered(), registered("v2.things.example"))
    world = World(apis=apis).saying({ObjectAt(SERVICE_PATH, SERVER): FORBIDDEN})
    assert world.not_checked() == [f"not checked: endpoints of 2 APIs: {FORBIDDEN.reason}"]


# --- wide, items, metrics ----------------------------------------------------------------------------------


def test_wide_adds_what_else_there_is() -> None:
    cells = World(apis=(registered(condition=FAILED),)).cells(wide=True)
    assert cells["CABUNDLE"] == "2036-04-29"
    assert cells["PRIORITY"] == "1000/15"
    assert cells["DIALLED"] == ENDPOINT
    assert cells["MESSAGE"] == FAILED["message"]


def test_a_bundle_lasts_as_long_as_the_last_of_its_cas() -> None:
    both = authority("older", lifetime=100).certificate + SERVING_CA.certificate
    world = World(apis=(registered(caBundle=base64.b64encode(both).decode()),))
    assert world.cells(wide=True)["CABUNDLE"] == "2036-04-29"


def test_wide_of_an_api_that_is_not_there_has_nothing_to_add() -> None:
    cells = GOOD.cells("v2.b.example", wide=True)
    assert [cells[each] for each in ("CABUNDLE", "PRIORITY", "DIALLED", "MESSAGE")] == ["-"] * 4


def test_wide_shows_a_few_of_many_addresses() -> None:
    hosts = [f"10.1.0.{number}" for number in range(1, 8)]
    cells = GOOD.with_objects({SLICES_PATH: slices(*hosts, https=8443)}).cells(wide=True)
    assert cells["DIALLED"] == "10.1.0.1:8443,10.1.0.2:8443,10.1.0.3:8443,10.1.0.4:8443,+3"


def test_scripts_get_the_layer_and_each_api_as_plain_values() -> None:
    layer, api = json.loads(json.dumps(items_of(GOOD.status())))
    expires = certificate(serving()).not_after.isoformat()
    assert (layer["kind"], layer["state"], layer["routing"]) == ("layer", "on", True)
    assert layer["nodes"] == {"10.0.0.11:6443": "on"}
    assert layer["clientNotAfter"] == certificate(leaf(CA)).not_after.isoformat()
    assert (api["kind"], api["name"], api["service"], api["port"]) == ("api", API, "shop/things", 443)
    assert (api["available"], api["reason"], api["since"]) == ("True", "Passed", "2026-05-20T12:00:00+00:00")
    assert (api["tls"], api["tlsNotAfter"]) == ("verified", expires)
    assert api["certificates"] == [{"endpoint": ENDPOINT, "notAfter": expires}]
    assert (api["endpointsReady"], api["endpoints"], api["dialled"]) == (1, 1, [ENDPOINT])
    assert api["answerSeconds"] == 0.004
    assert [(each["apiserver"], each["works"]) for each in api["apiservers"]] == [(SERVER, True)]


def test_scripts_get_null_for_what_is_not_known() -> None:
    silent = {
        RawAt("/apis/things.example/v1", SERVER): Unknown("timed out"),
        ObjectAt(API_SERVICES, SERVER): FORBIDDEN,
    }
    _, api = items_of(GOOD.saying(silent).status(API))
    names = ("registered", "service", "available", "tls", "tlsNotAfter", "endpointsReady", "answerSeconds")
    assert [api[name] for name in names] == [None] * len(names)
    assert api["apiservers"][0]["said"] == "timed out"


def samples(world: World, *names: str) -> list[str]:
    return [each for each in metrics(world.status(*names)).splitlines() if not each.startswith("#")]


def test_prometheus_gets_a_gauge_for_each_of_four_questions() -> None:
    labels = f'name="{API}",apiserver="10.0.0.11:6443"'
    expires = certificate(serving()).not_after.timestamp()
    expiry = "aggctl_serving_certificate_expiration_timestamp_seconds"
    assert samples(GOOD) == [
        f"aggctl_apiservice_available{{{labels}}} 1",
        f"aggctl_apiservice_answer_seconds{{{labels}}} 0.004000",
        f'aggctl_apiservice_endpoints_ready{{name="{API}"}} 1',
        f'{expiry}{{name="{API}",endpoint="{ENDPOINT}"}} {expires:.0f}',
    ]


def test_every_gauge_says_what_it_is_also_without_a_sample() -> None:
    text = metrics(World(apis=()).status())
    assert [line.split()[1] for line in text.splitlines()] == ["HELP", "TYPE"] * 4


def test_an_api_that_does_not_answer_has_no_time_and_is_not_available() -> None:
    world = GOOD.saying({RawAt("/apis/things.example/v1", SERVER): AnswerSeen(503)})
    found = samples(world)
    assert found[0].endswith("} 0")
    assert not any("answer_seconds" in each for each in found)


@pytest.mark.parametrize(
    ("world", "ready"),
    [
        (GOOD.with_objects({SERVICE_PATH: None}), [f'{{name="{API}"}} 0']),
        (GOOD.saying({ObjectAt(SERVICE_PATH, SERVER): FORBIDDEN}), []),
        (GOOD.with_objects({SERVICE_PATH: service(type="ExternalName", externalName="x.example")}), []),
    ],
    ids=["no Service", "may not be seen", "ExternalName"],
)
def test_endpoints_are_counted_where_that_can_be(world: World, ready: list[str]) -> None:
    name = "aggctl_apiservice_endpoints_ready"
    assert [each.removeprefix(name) for each in samples(world) if each.startswith(name)] == ready


def test_words_of_others_cannot_speak_to_the_terminal() -> None:
    hostile = FAILED | {"status": "\x1b[2J", "reason": "\x1b]0;x\x07", "message": "\x9b31m"}
    text = "\n".join(World(apis=(registered(condition=hostile),)).lines(wide=True))
    assert not any(each in text for each in "\x1b\x07\x9b")


def test_a_certificate_that_was_verified_says_for_how_many_days_it_holds() -> None:
    (row,) = GOOD.status().rows
    assert tls_cell(row.tls, NOW + timedelta(days=300)) == "verified, 35 d"
