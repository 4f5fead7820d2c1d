"""`aggctl register` of servers in the cluster: real console script, control plane and controllers.

There is no kubelet and no scheduler: the test plays both (support.played_kubelet). What makes Pods, lets them
in or not, collects them, and keeps the endpoints of their Service is real. As no container runs, no API ever
answers here: these tests are about what comes before, and about everything being put back.
"""

from __future__ import annotations

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, service
from support.controllers import ADMISSION, NAMESPACES, WORKLOADS, controllers, standing
from support.kube import API_SERVICES, Kube
from support.nodes import AGGCTL, Node
from support.played_kubelet import PlayedKubelet, Status, deaf_place, played_kubelet, running, waiting
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.sandbox import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.controlplane

API = "v1.things.example.com"
IMAGE = "registry.example/things:1"
SHOP = "shop"
"""A namespace of somebody else, in which Pods have to be `restricted`."""

LONG = ("--timeout", "10m")
"""A deadline that no test waits for: who comes back within SECONDS did not wait for it."""

SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """A cluster with the layer on, the played kubelet, and an address where every connection is refused."""

    node: Node
    kube: Kube
    kubelet: PlayedKubelet
    address: str
    port: int

    def words(self, namespace: str) -> tuple[str, ...]:
        return API, "--image", IMAGE, "-n", namespace, "--port", str(self.port), "--yes"

    def report(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.node.aggctl("register", *words, "-o", "json", timeout=SECONDS)
        return done.returncode, json.loads(done.stdout)

    @contextmanager
    def waiting_for_pods(self, namespace: str, *more: str) -> Iterator[subprocess.Popen[str]]:
        """A run that waits for its Pods, which are there and not ready; at the end it is killed."""
        words = [*AGGCTL, "register", "--root", str(self.node.root), *self.words(namespace), *LONG, *more]
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as run:
            try:
                pods = f"/api/v1/namespaces/{namespace}/pods"
                eventually(lambda: (self.kube.get(pods) or {}).get("items"), "there are Pods")
                yield run
            finally:
                run.kill()

    def apply(self, path: str, api_version: str, kind: str, **more: Any) -> None:
        """Make an object of somebody else."""
        name = path.rpartition("/")[2]
        body = {"apiVersion": api_version, "kind": kind, **more}
        self.kube.apply(path, body | {"metadata": {"name": name, **more.get("metadata", {})}})

    def events(self, collection: str, since: str) -> list[tuple[int, Any]]:
        """What an object of a collection went through since a resourceVersion, each with its revision."""
        answer = self.node.running.admin.ask(f"{collection}?watch=1&resourceVersion={since}&timeoutSeconds=1")
        objects = [json.loads(line)["object"] for line in answer.text.splitlines()]
        return [(int(each["metadata"]["resourceVersion"]), each) for each in objects]

    def history(self) -> list[str]:
        changes = json.loads(self.node.aggctl("history", "-o", "json").stdout)["changes"]
        return [change["action"] for change in changes]


@pytest.fixture(scope="module")
def made_place(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """kube-apiserver dials endpoints here, and so the one address that refuses, never a Service's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(layout.EXTRA, "enable-aggregator-routing", "true")
        folder = tmp_path_factory.mktemp("workloads") / "sandbox"
        with (
            sandbox_in(folder, aggregation="on") as sandbox,
            controllers(sandbox, *NAMESPACES, *WORKLOADS, *ADMISSION),
            played_kubelet(sandbox.sandbox.kubeconfig) as kubelet,
            deaf_place() as (address, port),
        ):
            kube = Kube(sandbox.sandbox.kubeconfig)
            place = Place(Node(sandbox), kube, kubelet, address, port)
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            place.apply(f"/api/v1/namespaces/{SHOP}", "v1", "Namespace", metadata={"labels": labels})
            place.apply(f"/api/v1/namespaces/{SHOP}/configmaps/theirs", "v1", "ConfigMap")
            account = f"/api/v1/namespaces/{SHOP}/serviceaccounts/default"
            eventually(lambda: kube.get(account), "the namespace has its ServiceAccount")
            yield place


@pytest.fixture
def place(made_place: Place) -> Iterator[Place]:
    """The place with Pods that stay as they are made; a test leaves every object of the cluster as it was."""
    made_place.kubelet.status, made_place.kubelet.log = None, ()
    before = standing(made_place.kube)
    yield made_place
    with suppress(AssertionError):  # what differs is told below
        eventually(lambda: standing(made_place.kube) == before, "everything is put back", within=30)
    assert standing(made_place.kube) == before


# --- in the safe order -------------------------------------------------------------------------------------


def test_the_api_service_comes_after_available_pods_and_ready_endpoints_and_goes_when_none_answers(
    place: Place,
) -> None:
    """Every APIService that does not answer hurts the whole cluster, if only for a moment."""
    since = place.kube.get(API_SERVICES)["metadata"]["resourceVersion"]
    place.kubelet.status = running(place.address)
    status, report = place.report(*place.words(SHOP), "--timeout", "5s")
    assert (status, report["outcome"]) == (1, "rolled-back")
    assert [finding["code"] for finding in report["findings"]] == ["api-not-available"]
    assert f"dial tcp {place.address}:{place.port}: connect: " in report["findings"][0]["message"]
    collections = (
        f"/apis/apps/v1/namespaces/{SHOP}/deployments",
        f"/apis/discovery.k8s.io/v1/namespaces/{SHOP}/endpointslices",
        API_SERVICES,
    )
    with ThreadPoolExecutor() as side_by_side:
        deployments, slices, apis = side_by_side.map(lambda each: place.events(each, since), collections)
    available = [at for at, each in deployments if each["status"].get("availableReplicas") == 2]
    ready = [at for at, each in slices if any(one["conditions"]["ready"] for one in each["endpoints"] or ())]
    registered = [at for at, each in apis if each["metadata"]["name"] == API]
    assert max(available[0], ready[0]) < registered[0]


# --- what cannot heal --------------------------------------------------------------------------------------

HOPELESS = {
    "image that is not in the registry": (
        waiting("ErrImagePull", f'failed to pull and unpack image "{IMAGE}": not found'),
        "image-not-pulled",
        "not found",
    ),
    "image that was tried often": (
        waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'),
        "image-not-pulled",
        "Back-off",
    ),
    "container that cannot be made": (
        waiting("CreateContainerConfigError", 'secret "things-token" not found'),
        "container-not-created",
        'secret "things-token" not found',
    ),
    "container that ends again and again": (
        waiting(
            "CrashLoopBackOff",
            "back-off 20s restarting failed container",
            restartCount=2,
            lastState={"terminated": {"exitCode": 2, "reason": "Error", "message": "cannot read /tls"}},
        ),
        "container-crash-loop",
        "cannot read /tls",
    ),
}


@pytest.mark.parametrize(("status", "code", "words"), HOPELESS.values(), ids=HOPELESS)
def test_what_cannot_heal_is_not_waited_for(place: Place, status: Status, code: str, words: str) -> None:
    place.kubelet.status = status
    exit_status, report = place.report(*place.words(SHOP), *LONG)
    assert (exit_status, report["outcome"]) == (1, "rolled-back")
    (finding,) = report["findings"]
    assert finding["code"] == code
    assert words in " ".join((finding["message"], *finding["evidence"]))
    assert "not within" not in finding["message"]


def test_the_last_lines_of_a_container_that_crashed_go_with_the_report(place: Place) -> None:
    place.kubelet.status, _, _ = HOPELESS["container that ends again and again"]
    place.kubelet.log = ("reading flags", "panic: unknown flag: --listen")
    done = place.node.aggctl("register", *place.words(SHOP), *LONG, timeout=SECONDS)
    assert done.returncode == 1
    assert "panic: unknown flag: --listen" in done.stdout


def test_a_quota_that_is_used_up_is_named(place: Place) -> None:
    """The quota's controller, the admission and the words are the cluster's own."""
    path = f"/api/v1/namespaces/{SHOP}/resourcequotas/none"
    place.apply(path, "v1", "ResourceQuota", spec={"hard": {"pods": "0"}})
    eventually(lambda: "hard" in (place.kube.get(path).get("status") or {}), "the quota is in force")
    exit_status, report = place.report(*place.words(SHOP), *LONG)
    assert (exit_status, report["outcome"]) == (1, "rolled-back")
    (finding,) = report["findings"]
    assert finding["code"] == "quota-exceeded"
    assert "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0" in finding["message"]
    place.kube.delete(path)


def test_pods_that_the_namespace_does_not_admit_are_named_with_what_they_violate(
    place: Place, tmp_path: Path
) -> None:
    labels = {"app": "things"}
    container = {"name": "things", "image": IMAGE, "ports": [{"name": "https", "containerPort": place.port}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "things"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container | {"securityContext": {"privileged": True}}]},
            },
        },
    }
    objects = [service(selector=labels), deployment, api_service()]
    file = tmp_path / "things.yaml"
    file.write_text("\n---\n".join(map(json.dumps, objects)))
    exit_status, report = place.report("-f", str(file), "-n", SHOP, "--yes", *LONG)
    assert (exit_status, report["outcome"]) == (1, "rolled-back")
    (finding,) = report["findings"]
    assert finding["code"] == "pods-not-admitted"
    assert 'violates PodSecurity "restricted:latest": privileged' in finding["message"]


def test_no_time_at_all_is_one_look_and_a_report(place: Place) -> None:
    exit_status, report = place.report(*place.words(SHOP), "--timeout", "0")
    assert (exit_status, report["outcome"]) == (1, "rolled-back")
    (finding,) = report["findings"]
    assert finding["code"] == "workload-not-available"
    assert "not within 0 s" in finding["message"]


# --- interrupted -------------------------------------------------------------------------------------------


def test_an_interrupt_while_waiting_puts_everything_back_also_the_namespace(place: Place) -> None:
    with place.waiting_for_pods("interrupted") as run:
        run.send_signal(signal.SIGINT)
        assert run.wait(SECONDS) == 130
    assert place.history()[0] == "rolled-back"


def test_a_namespace_stays_in_which_others_have_put_something_meanwhile(place: Place) -> None:
    theirs = "/api/v1/namespaces/shared/configmaps/theirs"
    with place.waiting_for_pods("shared", "-o", "json") as run:
        place.apply(theirs, "v1", "ConfigMap")
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=SECONDS)
    found = {finding["subject"]: finding["message"] for finding in json.loads(said)["findings"]}
    assert "ConfigMap theirs" in found["Namespace shared"]
    namespace = place.kube.get("/api/v1/namespaces/shared")
    place.kube.delete("/api/v1/namespaces/shared")
    assert run.returncode == 130
    assert namespace["status"]["phase"] == "Active"


def test_after_a_kill_the_next_run_puts_back_what_was_half_done_and_goes_on(place: Place) -> None:
    with place.waiting_for_pods("killed") as run:
        run.kill()
    assert place.history()[0] == "open"
    place.kubelet.status, code, _ = HOPELESS["image that was tried often"]
    again = place.node.aggctl("register", *place.words("killed"), *LONG, timeout=SECONDS)
    assert again.returncode == 1, again.stderr
    assert "was interrupted half-way; it was put back first" in again.stderr
    assert f"({code})" in again.stdout
    assert place.history()[:2] == ["rolled-back", "rolled-back"]
