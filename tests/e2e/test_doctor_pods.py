"""Faults of the Pods behind an API, of their ServiceAccount, and of one kube-apiserver of two.

Scheduler, kubelet and containers are played (no image can be fetched); the rest is real: who makes Pods, who
lets them in, what their endpoints are, what a ServiceAccount may do, and a server that reads what it may.
"""

from __future__ import annotations

import base64
import json
import subprocess
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML
from support.accounts import kubeconfig_of, new_account
from support.controllers import ADMISSION, NAMESPACES, WORKLOADS, controllers
from support.hello import hello_api
from support.hello_in_pods import IMAGE, NAMESPACE, PODS, SERVICE
from support.https import authority
from support.kube import API_SERVICES, MERGE, Kube, api_service
from support.nodes import AGGCTL, Node
from support.played_kubelet import own_address, played_kubelet, running, waiting
from support.sandboxes import sandbox_in
from support.two_nodes import two_nodes_in
from support.waiting import eventually
from support.ward import (
    API,
    RESOURCES,
    TURN,
    Ward,
    black_hole,
    ended,
    replace,
    server_at,
    ward_in,
)

from aggctl.cli.options import Output
from aggctl.cli.wiring import Access, Manners, cluster_ports
from aggctl.core import pki
from aggctl.core.doctor.rights import LEAST
from aggctl.core.questions import Unknown
from aggctl.sandbox import layout
from aggctl.workflows.doctor import examine_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from support.hello import HelloApi
    from support.played_kubelet import PlayedKubelet

pytestmark = pytest.mark.controlplane

DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{SERVICE}"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1"
READER = f"{BINDINGS}/namespaces/kube-system/rolebindings/{NAMESPACE}:{SERVICE}:auth-reader"
DELEGATOR = f"{BINDINGS}/clusterrolebindings/{NAMESPACE}:{SERVICE}:auth-delegator"
QUOTAS = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"


@dataclass(frozen=True)
class InPods(Ward):
    """The ward, whose server is what Pods run."""

    kubelet: PlayedKubelet

    def new_pods(self) -> None:
        """End the Pods; the Deployment makes others."""
        for each in self.kube.get(PODS)["items"]:
            self.kube.delete(f"{PODS}/{each['metadata']['name']}")


@pytest.fixture(scope="module", name="ward")
def _ward(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[InPods]:
    with _in_pods(tmp_path_factory.mktemp("pods")) as ward:
        ward.well()
        yield ward


@contextmanager
def _in_pods(folder: Path) -> Iterator[InPods]:
    address = own_address()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", "true")
        with sandbox_in(folder / "sandbox", aggregation="on") as made:
            kube = Kube(made.sandbox.kubeconfig)
            (folder / "elsewhere").mkdir()
            names = (f"{SERVICE}.{NAMESPACE}.svc",)
            with (
                controllers(made, *NAMESPACES, *WORKLOADS, *ADMISSION),
                hello_api(folder / "hello", kube.kubeconfig, names, bind=address) as hello,
                played_kubelet(kube.kubeconfig) as kubelet,
            ):
                kubelet.status, kubelet.address = running(address), address
                ward = InPods(Node(made), kube, hello, address, folder / "elsewhere", kubelet)
                _register(ward, hello)
                yield ward


def _register(ward: Ward, hello: HelloApi) -> None:
    """Everything that `register --image` makes; the server gets the pair that is in the Secret."""
    server = ("--image", IMAGE, "--port", str(hello.port), "--replicas", "1", "-n", NAMESPACE, "--yes")
    done = ward.node.aggctl("register", API, *server, "--no-wait")
    assert done.returncode == 0, done.stdout + done.stderr
    data = ward.kube.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{SERVICE}-tls")["data"]
    pair = [base64.b64decode(data[name]) for name in ("tls.crt", "tls.key")]
    hello.replace_pair(pki.KeyPair(pair[0], pair[1]))
    done = ward.node.aggctl("register", API, *server)
    assert done.returncode == 0, done.stdout + done.stderr


# --- Pods -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """How to break it, and what doctor has to say, from the node and from anywhere."""

    code: str
    breaks: Callable[[InPods], AbstractContextManager[object]]
    printed: bool = False


def _pods(status: dict[str, Any], *log: str) -> Callable[[InPods], AbstractContextManager[None]]:
    """The containers are in another state, and said this last."""

    @contextmanager
    def breaks(ward: InPods) -> Iterator[None]:
        well, ward.kubelet.log = ward.kubelet.status, log
        ward.kubelet.status = status
        ward.new_pods()
        try:
            yield
        finally:
            ward.kubelet.status = well
            ward.new_pods()

    return breaks


def _crashed(*log: str) -> Callable[[InPods], AbstractContextManager[None]]:
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    return _pods(
        waiting("CrashLoopBackOff", "back-off 5m0s", restartCount=5, lastState=ended),
        *(log or ("panic: no",)),
    )


@contextmanager
def _scaled_to_zero(ward: InPods) -> Iterator[None]:
    ward.kube.ask("PATCH", DEPLOYMENT, {"spec": {"replicas": 0}}, MERGE)
    try:
        yield
    finally:
        ward.kube.ask("PATCH", DEPLOYMENT, {"spec": {"replicas": 1}}, MERGE)


@contextmanager
def _selects_nothing(ward: InPods) -> Iterator[None]:
    path = f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}"
    before = ward.kube.get(path)["spec"]["selector"]
    ward.kube.ask("PATCH", path, {"spec": {"selector": {next(iter(before)): "nobody"}}}, MERGE)
    try:
        yield
    finally:
        ward.kube.ask("PATCH", path, {"spec": {"selector": before}}, MERGE)


@contextmanager
def _no_quota(ward: InPods) -> Iterator[None]:
    meta = {"metadata": {"name": "none"}}
    ward.kube.ask("POST", QUOTAS, meta | {"spec": {"hard": {"pods": "0"}}})
    eventually(
        lambda: (ward.kube.get(f"{QUOTAS}/none") or {}).get("status", {}).get("hard"), "the quota counts"
    )
    ward.new_pods()
    try:
        yield
    finally:
        ward.kube.delete(f"{QUOTAS}/none")
        ward.kube.ask("PATCH", DEPLOYMENT, {"spec": {"replicas": 0}}, MERGE)  # or it waits to try again
        ward.kube.ask("PATCH", DEPLOYMENT, {"spec": {"replicas": 1}}, MERGE)


UNREADY = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [{"ready": False, "restartCount": 2, "state": {"running": {}}}],
}
UNSCHEDULED = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
    "containerStatuses": [{"ready": False, "state": {"waiting": {"reason": "Pending"}}}],
}
PODS_FAULTS = {
    "the image is not found": Fault(
        "image-not-pulled", _pods(waiting("ImagePullBackOff", "manifest unknown: not found"))
    ),
    "it crashes": Fault("container-crash-loop", _crashed()),
    "it may not use its port": Fault(
        "privileged-port", _crashed("panic: listen tcp 0.0.0.0:443: bind: permission denied")
    ),
    "another process has its port": Fault(
        "port-taken", _crashed("failed to listen on 0.0.0.0:10250: bind: address already in use")
    ),
    "it asks for what this version has no more": Fault(
        "flow-schema-version-gone",
        _crashed("failed to list *v1beta1.FlowSchema: the server could not find the requested resource"),
    ),
    "it is not ready": Fault("pod-not-ready", _pods(UNREADY, "serving")),
    "no node takes it": Fault("pod-not-scheduled", _pods(UNSCHEDULED)),
    "it is scaled to zero": Fault("workload-scaled-to-zero", _scaled_to_zero, printed=True),
    "the Service selects nothing": Fault("service-selects-nothing", _selects_nothing),
    "the quota is used up": Fault("quota-exceeded", _no_quota),
}  # fmt: skip


@pytest.mark.parametrize("name", PODS_FAULTS)
def test_doctor_says_why_nothing_is_ready(ward: InPods, name: str) -> None:
    fault = PODS_FAULTS[name]
    with fault.breaks(ward):
        found = ward.told(fault.code)
        ward.told(fault.code, ward.doctor_from_anywhere)
        if fault.printed:
            ward.obey(found["fix"])
            ward.well()
    ward.well()


# --- TLS as served, seen from elsewhere -----------------------------------------------------------------


def test_from_elsewhere_the_certificate_is_looked_at_through_the_pod(ward: InPods) -> None:
    hops = {each["name"]: each for each in ward.doctor_from_anywhere()["items"][1]["hops"]}
    assert (hops["TLS"]["state"], hops["TLS"]["said"]) == ("ok", "1/1 verified")


def test_from_elsewhere_a_certificate_that_kube_apiserver_did_not_look_at_anew_is_found(ward: InPods) -> None:
    """An old connection goes on; whoever connects anew is shown what expired."""
    served = [(ward.hello.folder / name).read_bytes() for name in ("tls.crt", "tls.key")]
    ca, name = authority("doctor"), f"{SERVICE}.{NAMESPACE}.svc"
    patched = base64.b64encode(
        ca.certificate + base64.b64decode(ward.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"])
    )
    before = ward.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"]
    ward.patch_api(caBundle=patched.decode())
    ward.hello.replace_pair(ward.pair(ca=ca, name=name, **ended(2)))
    try:
        found = ward.told("serving-certificate-expired", ward.doctor_from_anywhere)
        assert f"{ward.address}:{ward.hello.port}" in found["subject"]
    finally:
        ward.hello.replace_pair(pki.KeyPair(served[0], served[1]))
        ward.patch_api(caBundle=before)
    ward.well()


# --- the server's ServiceAccount ------------------------------------------------------------------------


def _kubeconfig_of(ward: Ward, namespace: str, account: str) -> Path:
    """The credentials that a Pod of this ServiceAccount has."""
    return kubeconfig_of(ward.kube, account, ward.elsewhere / f"{account}.conf", namespace)


@contextmanager
def _served_by_its_account(ward: InPods) -> Iterator[None]:
    """The Pods' server, begun anew with what its ServiceAccount may read."""
    kubeconfig = _kubeconfig_of(ward, NAMESPACE, SERVICE)
    names = (f"{SERVICE}.{NAMESPACE}.svc",)
    with hello_api(ward.elsewhere / "again", kubeconfig, names, bind=ward.address) as again:
        pair = [(ward.hello.folder / name).read_bytes() for name in ("tls.crt", "tls.key")]
        again.replace_pair(pki.KeyPair(pair[0], pair[1]))
        with _target_port(ward, again.port):
            yield


@contextmanager
def _target_port(ward: InPods, port: int) -> Iterator[None]:
    """The Pods' server listens on another port."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}"
    before = ward.kube.get(path)["spec"]["ports"]
    ports = [each | {"targetPort": port} for each in before]
    ward.kube.ask("PATCH", path, {"spec": {"ports": ports}}, MERGE)
    try:
        yield
    finally:
        ward.kube.ask("PATCH", path, {"spec": {"ports": before}}, MERGE)


@contextmanager
def _asking_who_may(ward: InPods) -> Iterator[None]:
    """A server that has kube-apiserver decide who may do what, as the generic library's do by default."""
    asking = Kube(_kubeconfig_of(ward, NAMESPACE, SERVICE))
    reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, Any]:
        if "system:masters" in (request.headers.get_all("X-Remote-Group") or []):
            return 200, RESOURCES  # what the library never asks about
        spec = {"user": request.headers["X-Remote-User"], "nonResourceAttributes": {"path": request.path}}
        status, review = asking.ask("POST", reviews, {"spec": spec | {"groups": ["system:authenticated"]}})
        if status != 201:
            return 500, {
                "kind": "Status",
                "message": f"Internal Server Error: {review['message']}",
                "code": 500,
            }
        return 200, RESOURCES

    pair = [(ward.hello.folder / name).read_bytes() for name in ("tls.crt", "tls.key")]
    with server_at(ward.address, pki.KeyPair(pair[0], pair[1]), answer) as port, _target_port(ward, port):
        yield


def test_a_server_that_may_not_read_what_is_published(ward: InPods) -> None:
    binding = ward.kube.get(READER)
    ward.kube.delete(READER)
    with _served_by_its_account(ward):
        found = ward.told("auth-reader-missing")
        ward.told("auth-reader-missing", ward.doctor_from_anywhere)
        ward.obey(found["fix"].replace("; then restart the server", ""))
        ward.well()  # it looks again by itself, each few seconds
    assert binding["roleRef"] == ward.kube.get(READER)["roleRef"]
    ward.well()


def test_a_server_that_may_not_ask_who_may_do_what(ward: InPods) -> None:
    with _asking_who_may(ward):
        ward.well()
        ward.kube.delete(DELEGATOR)
        found = ward.told("auth-delegator-missing")
        assert found["severity"] == "error"
        ward.told("auth-delegator-missing", ward.doctor_from_anywhere)
        done = ward.node.aggctl("doctor", "--fix", "--yes", "-o", "json")
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "healthy"), done.stdout
        assert ward.kube.get(DELEGATOR)["roleRef"]["name"] == "system:auth-delegator"
        undone = ward.node.aggctl("rollback", "--yes")
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert ward.kube.get(DELEGATOR) is None
        ward.obey(found["fix"])
        ward.well()
    ward.well()


def test_a_right_that_is_missing_behind_a_server_that_answers_is_a_warning(ward: InPods) -> None:
    ward.kube.delete(DELEGATOR)
    found = ward.told("auth-delegator-missing")
    assert found["severity"] == "warning"
    ward.obey(found["fix"])
    ward.well()


# --- a caBundle that is not the server's -----------------------------------------------------------------


def _apply_bundle(ward: Ward, manager: str, ca: bytes) -> None:
    found = ward.kube.get(f"{API_SERVICES}/{API}")
    body = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API},
        "spec": {
            key: found["spec"][key] for key in ("group", "version", "groupPriorityMinimum", "versionPriority")
        }
        | {"service": found["spec"]["service"], "caBundle": base64.b64encode(ca).decode()},
    }
    ward.kube.apply(f"{API_SERVICES}/{API}", body, manager)


def test_fix_puts_the_ca_of_the_servers_secret_into_a_stale_bundle(ward: InPods) -> None:
    before = ward.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"]
    _apply_bundle(ward, "aggctl", authority("of-last-year").certificate)
    ward.told("serving-certificate-of-another-ca")
    done = ward.node.aggctl("doctor", "--fix", "--yes", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "healthy"), done.stdout + done.stderr
    assert ward.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"] == before
    ward.well()


def test_fix_forces_nothing_on_whoever_else_sets_the_bundle(ward: InPods) -> None:
    before = base64.b64decode(ward.kube.get(f"{API_SERVICES}/{API}")["spec"]["caBundle"])
    _apply_bundle(ward, "cainjector", authority("of-last-year").certificate)
    ward.told("serving-certificate-of-another-ca")
    done = ward.node.aggctl("doctor", "--fix", "--yes", "-o", "json")
    assert done.returncode == 3
    assert "field-conflict" in [each["code"] for each in json.loads(done.stdout)["findings"]]
    _apply_bundle(ward, "cainjector", before)
    ward.well()


# --- who asks -------------------------------------------------------------------------------------------


def test_a_user_without_rights_is_told_so_and_what_was_not_checked(ward: InPods) -> None:
    ward.kube.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "nobody"}})
    kubeconfig = _kubeconfig_of(ward, "default", "nobody")
    document = ward.doctor_from_anywhere(kubeconfig)
    api = next(each for each in document["items"] if each["name"] == API)
    assert api["verdict"] == "caller-has-no-rights"
    assert (document["outcome"], {each["severity"] for each in document["findings"]}) == (
        "healthy",
        {"warning"},
    )
    reasons = " ".join(document["items"][-1]["reasons"])
    assert "forbidden" in reasons
    assert "token" not in json.dumps(document).replace("tokenreviews", "")


def test_the_least_rights_are_enough_and_no_more_than_are_used(ward: InPods) -> None:
    """In health, and where Pods, reach and endpoints are broken: nothing is forbidden, all are needed."""
    rights: dict[str, Any] = YAML(typ="safe").load(LEAST)
    new_account(ward.kube, "oncall", rights)
    ward.kube.ask(
        "POST", API_SERVICES, api_service("v1beta1.custom.metrics.k8s.io", "gone", insecureSkipTLSVerify=True)
    )
    access = Access(str(ward.elsewhere), str(_kubeconfig_of(ward, "default", "oncall")))
    ports = cluster_ports(access, Manners(Output.json))
    asked: list[str] = []
    states: dict[str, Callable[[InPods], AbstractContextManager[object]]] = {
        "": lambda _: nullcontext(),
        "container-crash-loop": _crashed(),
        "workload-scaled-to-zero": _scaled_to_zero,
        "connection-refused": _refuses,
    }
    for code, breaks in states.items():
        with breaks(ward):
            if code:
                ward.told(code)
            _, seen, _ = examine_all(ports, ())
        unknown = {each.code: each.reason for each in seen.answers.values() if isinstance(each, Unknown)}
        assert "no-rights-in-cluster" not in unknown, unknown
        asked += [repr(each) for each in seen.answers]
        ward.well_of(API)
    text = " ".join(asked)
    used = {
        "pods/log": "PodLog(",
        "pods/portforward": "PodHandshake(",
        "pods/proxy": "/proxy/livez",
        "/metrics": "UnavailableApis(",
        "subjectaccessreviews": "MayDo(user='system:",
    }
    for rule in rights["rules"]:
        for resource in (*rule.get("resources", ()), *rule.get("nonResourceURLs", ())):
            assert used.get(resource, f"/{resource}") in text, resource
    ward.kube.delete(f"{API_SERVICES}/v1beta1.custom.metrics.k8s.io")
    ward.well()


@contextmanager
def _refuses(ward: InPods) -> Iterator[None]:
    """Nothing listens on the port any more."""
    with black_hole(ward.address) as port:
        pass
    with _target_port(ward, port):
        eventually(
            lambda: "connection refused" in json.dumps(ward.kube.get(f"{API_SERVICES}/{API}")["status"]),
            "kube-apiserver notices",
            TURN,
        )
        yield


# --- more than one kube-apiserver -----------------------------------------------------------------------


def test_one_kube_apiserver_of_two_is_broken(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> None:
    """The second one shows extension servers a certificate of a CA that nobody publishes."""
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", "true")
        with two_nodes_in(tmp_path / "nodes") as nodes:
            kubeconfig, address = nodes.first.running.sandbox.kubeconfig, own_address()
            with hello_api(tmp_path / "hello", kubeconfig, ("hello.default.svc",), bind=address) as hello:
                ward = Ward(nodes.first, Kube(kubeconfig), hello, address, tmp_path / "elsewhere")
                ward.set_up()
                ward.well()
                folder = nodes.second.root / layout.PKI.lstrip("/")
                before = {
                    name: (folder / name).read_bytes()
                    for name in ("front-proxy-client.crt", "front-proxy-client.key")
                }
                foreign = ward.pair(name="front-proxy-client")
                replace(folder / "front-proxy-client.key", foreign.key)
                replace(folder / "front-proxy-client.crt", foreign.certificate)
                found = ward.told("api-not-available-everywhere", ward.doctor_from_anywhere)
                assert nodes.second.url in found["message"]
                on_it = _doctor_on(nodes.second)
                assert "client-certificate-of-another-ca" in [each["code"] for each in on_it["findings"]]
                for name, content in reversed(before.items()):
                    replace(folder / name, content)
                ward.well()


def _doctor_on(node: Node) -> dict[str, Any]:
    run = node.aggctl("doctor", "-o", "json")
    assert run.returncode == 3, run.stdout + run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


# --- without routing ------------------------------------------------------------------------------------


def test_a_headless_service_cannot_be_dialled_without_routing(
    programs: object,  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> None:
    with ward_in(tmp_path, routing=False) as ward:
        services = "/api/v1/namespaces/default/services"
        external = {"type": "ExternalName", "externalName": ward.address, "ports": [{"port": 443}]}
        headless = {"clusterIP": "None", "ports": [{"name": "https", "port": ward.hello.port}]}
        for spec, code in ((headless, "service-headless"), (external, "")):
            ward.kube.delete(f"{services}/hello")
            ward.kube.ask("POST", services, {"metadata": {"name": "hello"}, "spec": spec})
            ward.patch_api(service={"port": ward.hello.port})
            if code:
                ward.told(code)
                ward.told(code, ward.doctor_from_anywhere)
        ward.well()
        words = [*AGGCTL, "doctor", "--root", str(ward.node.root)]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert f"✓ {API}" in text or f"ok {API}" in text
