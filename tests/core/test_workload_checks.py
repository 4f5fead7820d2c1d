"""What runs an extension server: available, not yet, or hopeless with the cluster's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import cluster, service
from support.snapshots import SERVER, Scene, slices

from aggctl.core.checks import evaluate
from aggctl.core.checks.workload import endpoints_of, last_lines, pods_path
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.core.plan import Condition
from aggctl.core.questions import ObjectAt, PodLog, Unknown
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

LABELS = {"app.kubernetes.io/name": "things", "tier": "api"}
PODS = pods_path("shop", LABELS)
DEPLOYMENT = path_of("apps/v1", "deployments", "shop", "things")
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name=things"
)
FORBIDDEN = Unknown("forbidden", "no-rights-in-cluster")
SEEN = {"observedGeneration": 3}
RUNNING = {**SEEN, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
STARTING = {**SEEN, "updatedReplicas": 2, "replicas": 2}


def deployment(status: Any, *, selector: Any = LABELS, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "things", "namespace": "shop", "generation": 3},
        "spec": {"replicas": 2, "selector": {"matchLabels": selector}, **spec},
        "status": status,
    }


def pod(*containers: Object, name: str = "things-b-1", template: str = "b", minute: int = 5) -> Object:
    metadata = {
        "name": name,
        "labels": {"pod-template-hash": template},
        "creationTimestamp": f"2026-06-01T11:0{minute}:00Z",
    }
    return {"metadata": metadata, "status": {"containerStatuses": list(containers)}}


def container(reason: str = "", message: str | None = None, **more: Any) -> Object:
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}} if reason else {}
    return {"name": "server", "image": "registry/things:1", "ready": False, **waiting, **more}


def running(status: Any, *pods: Object, **spec: Any) -> Scene:
    return cluster(deployment(status, **spec)).object(PODS, {"items": list(pods)})


def verdict(scene: Scene, check: str, **arguments: Any) -> Verdict:
    condition = Condition(check, (("namespace", "shop"), *arguments.items(), ("server", SERVER)))
    return scene.ask(lambda snapshot: evaluate(condition, snapshot))


def available(scene: Scene) -> Verdict:
    return verdict(scene, "workload-available", name="things")


def failed(found: Verdict) -> Finding:
    assert isinstance(found, Finding)
    return found


# --- available -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "spec", "said"),
    [
        (RUNNING, {}, "2 of 2"),
        ({**RUNNING, "observedGeneration": 4}, {}, "2 of 2"),
        ({**SEEN, "updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}, {"replicas": 1}, "1 of 1"),
        (SEEN, {"replicas": 0}, "0 of 0"),
    ],
    ids=["two", "seen later still", "one", "none wanted"],
)
def test_as_many_new_pods_as_wanted_are_available(status: Object, spec: Object, said: str) -> None:
    assert available(running(status, **spec)) == Passed(f"Deployment shop/things: {said} available")


def test_a_deployment_that_does_not_say_how_many_wants_one() -> None:
    silent = deployment({**SEEN, "updatedReplicas": 1, "availableReplicas": 1, "replicas": 1})
    del silent["spec"]["replicas"]
    assert isinstance(available(cluster(silent)), Passed)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "0 of 2"),
        ({**RUNNING, "observedGeneration": 2}, "2 of 2"),
        ({**RUNNING, "availableReplicas": 1}, "1 of 2"),
        ({**RUNNING, "updatedReplicas": 1}, "1 of 2"),
        ({**RUNNING, "replicas": 3}, "2 of 2"),
    ],
    ids=["no status", "the new template is not seen", "one is not ready", "one is old", "an old one is left"],
)
def test_until_then_it_is_not_yet_and_there_is_hope(status: Any, said: str) -> None:
    found = failed(available(running(status)))
    assert (found.code, found.hopeless) == ("workload-not-available", False)
    assert found.message == f"Deployment shop/things: {said} available"


def test_a_deployment_that_is_not_there_is_not_available() -> None:
    found = failed(available(cluster()))
    assert (found.code, found.message) == ("workload-not-available", "Deployment shop/things is not there")


def test_a_deployment_that_may_not_be_seen_is_not_checked() -> None:
    assert available(cluster().answering({ObjectAt(DEPLOYMENT, SERVER): FORBIDDEN})) == NotChecked(FORBIDDEN)


# --- hopeless --------------------------------------------------------------------------------------------

PULLED = 'rpc error: code = NotFound desc = failed to pull and unpack image "registry/things:1": not found'
CRASHED = {"terminated": {"exitCode": 2, "reason": "Error", "message": "open /tls/tls.crt: no such file"}}


@pytest.mark.parametrize(
    ("broken", "code", "message", "evidence"),
    [
        (
            container("ErrImagePull", PULLED),
            "image-not-pulled",
            "image registry/things:1 cannot be pulled (ErrImagePull)",
            (PULLED,),
        ),
        (
            container("ImagePullBackOff", "Back-off pulling image"),
            "image-not-pulled",
            "image registry/things:1 cannot be pulled (ImagePullBackOff)",
            ("Back-off pulling image",),
        ),
        (
            container("InvalidImageName", None, image="Not/An:Image:"),
            "image-not-pulled",
            "image Not/An:Image: cannot be pulled (InvalidImageName)",
            (),
        ),
        (
            container("ErrImageNeverPull", "Container image is not present with pull policy of Never"),
            "image-not-pulled",
            "image registry/things:1 cannot be pulled (ErrImageNeverPull)",
            ("Container image is not present with pull policy of Never",),
        ),
        (
            container("CreateContainerConfigError", 'secret "token" not found'),
            "container-not-created",
            'the container cannot be created: secret "token" not found',
            ('secret "token" not found',),
        ),
        (
            container("CreateContainerError", 'exec: "/server": permission denied'),
            "container-not-created",
            'the container cannot be created: exec: "/server": permission denied',
            ('exec: "/server": permission denied',),
        ),
        (
            container("CrashLoopBackOff", "back-off 20s", restartCount=2, lastState=CRASHED),
            "container-crash-loop",
            "the container ends again and again, with exit status 2 (Error)",
            ("open /tls/tls.crt: no such file",),
        ),
        (
            container("CrashLoopBackOff", "back-off 20s", restartCount=7),
            "container-crash-loop",
            "the container ends again and again, with exit status None (None)",
            (),
        ),
    ],
    ids=[
        "image not found",
        "image not pulled again and again",
        "no image name, and no word on it",
        "image not on the node, and not to be pulled",
        "configuration of the container",
        "command of the container",
        "crash loop",
        "crash loop without a word",
    ],
)
@pytest.mark.parametrize("where", ["containerStatuses", "initContainerStatuses"])
def test_what_waiting_does_not_mend_ends_at_once_with_the_containers_words(
    broken: Object, code: str, message: str, evidence: tuple[str, ...], where: str
) -> None:
    found = failed(available(running(STARTING, pod() | {"status": {where: [broken]}})))
    assert (found.code, found.hopeless) == (code, True)
    assert (found.subject, found.message) == ("Deployment shop/things, Pod things-b-1", message)
    assert found.evidence == evidence


QUOTA = 'pods "things-b-" is forbidden: exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5'
ADMISSION = 'pods "things-b-" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'


@pytest.mark.parametrize("let_in", [0, 1], ids=["none is let in", "one is"])
@pytest.mark.parametrize(
    ("said", "code"),
    [(QUOTA, "quota-exceeded"), (ADMISSION, "pods-not-admitted")],
    ids=["quota", "admission"],
)
def test_pods_that_are_not_let_in_end_it_at_once_with_the_servers_words(
    said: str, code: str, let_in: int
) -> None:
    refused = [
        {"type": "Available", "status": "False"},
        {"type": "ReplicaFailure", "status": "True", "message": said},
    ]
    found = failed(available(running({**SEEN, "updatedReplicas": let_in, "conditions": refused})))
    assert (found.code, found.hopeless, found.evidence) == (code, True, (said,))


def test_one_broken_pod_among_good_ones_is_found() -> None:
    good = pod(container(ready=True), name="things-b-0")
    found = failed(
        available(running({**STARTING, "availableReplicas": 1}, good, pod(container("ImagePullBackOff"))))
    )
    assert found.subject.endswith("Pod things-b-1")


def test_words_of_a_container_are_shown_without_what_a_terminal_would_obey() -> None:
    found = failed(available(running(STARTING, pod(container("CreateContainerError", "\x1b[2Jno\nway")))))
    assert found.evidence == ("no way",)


# --- what may still heal ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "states",
    [
        pod(container("ErrImagePull", "registry: toomanyrequests: rate exceeded")),
        pod(container("ContainerCreating")),
        pod(container("PodInitializing")),
        pod(container("CreateContainerConfigError", "services have not yet been read at least once, cannot")),
        pod(container("CreateContainerConfigError", "failed to sync secret cache: timed out waiting")),
        pod(container("CrashLoopBackOff", "back-off 10s", restartCount=1, lastState=CRASHED)),
        pod(container(state={"running": {}})),
        pod(container(state=CRASHED, restartCount=5)),
        pod(),
        pod() | {"status": None},
    ],
    ids=[
        "the registry is busy",
        "the image is being pulled",
        "an init container runs",
        "the kubelet has just started",
        "the kubelet waits for a Secret",
        "it ended twice",
        "it runs and is not ready",
        "it ended just now",
        "not scheduled",
        "no status",
    ],
)
def test_what_may_still_heal_is_waited_for(states: Object) -> None:
    assert not failed(available(running(STARTING, states))).hopeless


@pytest.mark.parametrize(("kind", "status"), [("ReplicaFailure", "False"), ("Progressing", "True")])
def test_other_conditions_do_not_end_it(kind: str, status: str) -> None:
    conditions = [{"type": kind, "status": status, "message": QUOTA}]
    assert not failed(available(running({**SEEN, "conditions": conditions}))).hopeless


BROKEN_OLD = pod(container("ImagePullBackOff"), name="things-a-1", template="a", minute=1)


@pytest.mark.parametrize("order", [1, -1], ids=["the old ones first", "the new ones first"])
def test_pods_of_an_older_template_are_not_looked_at(order: int) -> None:
    pods = [BROKEN_OLD, pod(container("ContainerCreating"))][::order]
    assert not failed(available(running(STARTING, *pods))).hopeless


def test_pods_of_the_newest_template_are_looked_at_beside_healthy_older_ones() -> None:
    healthy = pod(container(ready=True), name="things-a-1", template="a", minute=1)
    found = failed(available(running(STARTING, healthy, pod(container("ImagePullBackOff")))))
    assert found.hopeless


REFUSED_BEFORE = [{"type": "ReplicaFailure", "status": "True", "message": QUOTA}]


@pytest.mark.parametrize(
    "status",
    [
        {**STARTING, "observedGeneration": 2, "conditions": REFUSED_BEFORE},
        {**SEEN, "replicas": 2},
    ],
    ids=["the controller has not seen the new template", "it has made no Pod of it"],
)
def test_what_ailed_the_template_before_does_not_end_the_wait_for_its_correction(status: Object) -> None:
    assert not failed(available(running(status, BROKEN_OLD))).hopeless


def test_pods_that_may_not_be_seen_leave_hope_and_no_pass() -> None:
    scene = running(STARTING).answering({ObjectAt(PODS, SERVER): FORBIDDEN})
    found = failed(available(scene))
    assert (found.code, found.hopeless) == ("workload-not-available", False)


@pytest.mark.parametrize("selector", [None, {}])
def test_without_labels_to_select_by_no_pod_of_the_namespace_is_blamed(selector: Any) -> None:
    everybodys = {"items": [pod(container("ImagePullBackOff"))]}
    scene = cluster(deployment(STARTING, selector=selector)).object(pods_path("shop", {}), everybodys)
    assert not failed(available(scene)).hopeless


# --- endpoints -------------------------------------------------------------------------------------------

READY = slices("10.1.0.5", "fd00::5", https=6443)


def endpoints(scene: Scene, port: int = 443) -> Verdict:
    return verdict(scene, "endpoints-ready", service="things", port=port)


def test_a_ready_endpoint_behind_the_port_passes() -> None:
    assert endpoints(cluster(service()).object(SLICES, READY)) == Passed("2 endpoints ready")


@pytest.mark.parametrize(
    ("found", "port"),
    [
        (slices("10.1.0.5", ready=False, https=6443), 443),
        (slices("10.1.0.5", metrics=9090), 443),
        (READY, 8443),
        ({"items": []}, 443),
        (None, 443),
    ],
    ids=["not ready", "ready behind another port", "no such port", "no slice", "no slices at all"],
)
def test_without_a_ready_endpoint_behind_the_port_it_is_not_yet(found: Any, port: int) -> None:
    finding = failed(endpoints(cluster(service()).object(SLICES, found), port))
    assert (finding.code, finding.hopeless) == ("no-ready-endpoint", False)
    assert finding.message == f"Service shop/things has no ready endpoint behind port {port}"


def test_a_service_that_is_not_there_has_no_endpoints() -> None:
    found = failed(endpoints(cluster()))
    assert (found.code, found.hopeless) == ("service-not-found", False)


def test_a_service_of_type_externalname_needs_no_endpoints() -> None:
    outside = service(type="ExternalName", externalName="things.example.com")
    assert isinstance(endpoints(cluster(outside)), Passed)


@pytest.mark.parametrize("path", [path_of("v1", "services", "shop", "things"), SLICES])
def test_endpoints_that_may_not_be_seen_are_not_checked(path: str) -> None:
    scene = cluster(service()).object(SLICES, READY).answering({ObjectAt(path, SERVER): FORBIDDEN})
    assert endpoints(scene) == NotChecked(FORBIDDEN)


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        (service(), ("10.1.0.5:6443", "[fd00::5]:6443")),
        (service(type="ExternalName", externalName="things.example.com"), ("things.example.com:443",)),
        (service(ports=None), ()),
        (service() | {"spec": None}, ()),
    ],
    ids=["endpoints", "ExternalName", "no ports", "no spec"],
)
def test_addresses_behind_a_service_can_be_dialled(found: Object, addresses: tuple[str, ...]) -> None:
    scene = cluster().object(SLICES, READY)
    assert scene.ask(lambda snapshot: endpoints_of(snapshot, found, 443, SERVER)) == addresses


def test_a_port_without_a_name_is_the_services_only_one() -> None:
    nameless = service(ports=[{"port": 443}])
    scene = cluster().object(SLICES, slices("10.1.0.5", unnamed=6443))
    assert scene.ask(lambda snapshot: endpoints_of(snapshot, nameless, 443, SERVER)) == ("10.1.0.5:6443",)


# --- last lines ------------------------------------------------------------------------------------------


def log(name: str = "things-b-1", container: str = "server", *, previous: bool = False) -> PodLog:
    return PodLog("shop", name, container, previous, SERVER)


def lines(scene: Scene) -> tuple[str, ...]:
    return scene.ask(lambda snapshot: last_lines(snapshot, namespace="shop", name="things", server=SERVER))


def test_a_container_that_ended_is_read_as_it_was_before_it_ended() -> None:
    scene = running(STARTING, pod(container(restartCount=2)))
    assert lines(scene.answering({log(previous=True): ("cannot open /tls/tls.crt",)})) == (
        "cannot open /tls/tls.crt",
    )


def test_of_containers_that_are_not_ready_the_first_that_says_something_is_shown() -> None:
    states = (
        container(name="sidecar", ready=True),
        container(name="proxy"),
        container(name="hidden"),
        container(),
    )
    asked = {
        log(container="proxy"): (),
        log(container="hidden"): FORBIDDEN,
        log(): ("waiting for the CA",),
    }
    assert lines(running(STARTING, pod(*states)).answering(asked)) == ("waiting for the CA",)


def test_the_logs_of_a_hundred_pods_are_read_side_by_side() -> None:
    pods = [pod(container(), name=f"things-b-{number}") for number in range(100)]
    rounds = []

    def look(snapshot: Snapshot) -> tuple[str, ...]:
        rounds.append(1)
        return last_lines(snapshot, namespace="shop", name="things", server=SERVER)

    scene = running(STARTING, *pods)
    assert scene.answering({log(f"things-b-{number}"): () for number in range(100)}).ask(look) == ()
    assert len(rounds) == 4  # the Deployment, its Pods, their logs, and the answer


def test_pods_of_an_older_template_have_nothing_to_say() -> None:
    scene = running(STARTING, BROKEN_OLD, pod(container()))
    assert lines(scene.answering({log(): ("new",)})) == ("new",)


@pytest.mark.parametrize(
    "scene",
    [
        cluster(),
        running(STARTING),
        running(RUNNING, pod(container(ready=True))),
        running(STARTING, pod(container())).answering({ObjectAt(PODS, SERVER): FORBIDDEN}),
        cluster().answering({ObjectAt(DEPLOYMENT, SERVER): FORBIDDEN}),
        cluster(deployment(STARTING, selector={})).object(
            pods_path("shop", {}), {"items": [pod(container())]}
        ),
    ],
    ids=["no Deployment", "no Pods", "all ready", "hidden Pods", "hidden Deployment", "others' Pods"],
)
def test_where_there_is_nothing_to_read_there_are_no_lines(scene: Scene) -> None:
    assert lines(scene) == ()
