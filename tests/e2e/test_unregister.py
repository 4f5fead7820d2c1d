"""`aggctl unregister` on a real kube-apiserver with real controllers of namespaces and owners.

The API that is taken away is served by examples/hello-api, a process beside the cluster.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.controllers import NAMESPACES, Controllers, controllers, standing
from support.hello import HelloApi, hello_api
from support.kube import API_SERVICES, Kube, api_service
from support.nodes import AGGCTL, Node
from support.refusals import Said, aggctl, assert_decent, assert_document
from support.sandboxes import sandbox_in
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sandboxes import Running

pytestmark = pytest.mark.controlplane

ALPHA, FIRST = "v1alpha1.hello.example.com", "v1.hello.example.com"
THEIRS = "v1.theirs.example.org"
"""An API of somebody else; its Service, where it has one, is of a server that does not run."""

PROVIDED = ("serviceaccount-controller", "root-ca-certificate-publisher-controller")
"""What puts into every namespace what nobody asked for."""

CORE, RBAC = "/api/v1/namespaces", "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Place:
    """A cluster with the layer on, and an extension server beside it."""

    node: Node
    kube: Kube
    hello: HelloApi
    controllers: Controllers

    def aggctl(self, *words: str) -> Said:
        """Run it without a terminal; what it says in JSON keeps to the contract."""
        said = aggctl(*words, "--root", str(self.node.root))
        assert_decent(said)
        if "json" in words:
            assert_document(said)
        return said

    def unregister(self, *words: str) -> Said:
        return self.aggctl("unregister", *words, "--yes", "-o", "json")

    def register(self, namespace: str, *apis: str, hello: HelloApi | None = None) -> None:
        """Publish versions of the server's group by a Service in a namespace that aggctl makes."""
        server = hello or self.hello
        at = ("--external", f"localhost:{server.port}", "--cert-out", str(server.folder))
        said = self.aggctl("register", *apis, *at, "--name", "hello", "-n", namespace, "--yes")
        assert said.status == 0, said.text

    def registered(self) -> set[str]:
        """APIServices that a Service answers for."""
        items = self.kube.get(API_SERVICES)["items"]
        return {each["metadata"]["name"] for each in items if each["spec"].get("service")}

    def publish(self, name: str, service: str, namespace: str = "default") -> None:
        """An APIService of somebody else."""
        self.kube.apply(f"{API_SERVICES}/{name}", api_service(name, service, namespace))

    def make(self, path: str, kind: str, **more: Any) -> None:
        """An object of somebody else."""
        metadata = {"name": path.rpartition("/")[2]}
        self.kube.apply(path, {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more})

    def service(self, name: str) -> None:
        """A Service of somebody else for a server outside the cluster, where nobody listens."""
        ports = [{"name": "https", "port": 443}]
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": ports}
        self.make(f"{CORE}/default/services/{name}", "Service", spec=spec)

    def ending(self) -> set[str]:
        """Namespaces that were deleted and are not gone: the next stale API would hold them, too."""
        items = self.kube.get(CORE)["items"]
        return {each["metadata"]["name"] for each in items if each["status"]["phase"] == "Terminating"}

    def is_answered(self, api: str) -> bool:
        version, _, group = api.partition(".")
        return self.kube.get(f"/apis/{group}/{version}") is not None

    def left(self, collection: str, since: str) -> dict[str, int]:
        """The revision, after `since`, at which each object of a collection went or was told to go."""
        answer = self.node.running.admin.ask(f"{collection}?watch=1&resourceVersion={since}&timeoutSeconds=1")
        found: dict[str, int] = {}
        for event in map(json.loads, answer.text.splitlines()):
            metadata = event["object"]["metadata"]
            if event["type"] == "DELETED" or metadata.get("deletionTimestamp"):
                found.setdefault(metadata["name"], int(metadata["resourceVersion"]))
        return found


def codes(said: Said) -> dict[str, str]:
    """The findings of a report: subject by code."""
    return {finding["code"]: finding["subject"] for finding in said.document["findings"]}


@pytest.fixture(scope="module")
def made_place(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("unregister")
    with sandbox_in(folder / "sandbox", aggregation="on") as running:
        kubeconfig = running.sandbox.kubeconfig
        with (
            controllers(running, *NAMESPACES, *PROVIDED) as started,
            hello_api(folder / "hello", kubeconfig, ("hello.default.svc",), ("v1alpha1", "v1")) as hello,
        ):
            yield Place(Node(running), Kube(kubeconfig), hello, started)


@pytest.fixture
def place(made_place: Place) -> Iterator[Place]:
    """The place with no API that a Service answers for, before and after."""
    yield made_place
    for name in made_place.registered():
        made_place.kube.delete(f"{API_SERVICES}/{name}")
    for name in ("hello", "theirs"):
        made_place.kube.delete(f"{CORE}/default/services/{name}")
    eventually(lambda: not made_place.ending(), "the namespaces that were deleted are gone")


# --- what aggctl made --------------------------------------------------------------------------------------


def test_all_that_aggctl_made_goes_the_api_service_first_and_the_namespace_last(place: Place) -> None:
    before = standing(place.kube)
    place.register("alone", ALPHA)
    since = place.kube.get(API_SERVICES)["metadata"]["resourceVersion"]
    said = place.unregister(ALPHA)
    assert (said.status, said.document["outcome"]) == (0, "applied")
    targets = [change["target"] for change in said.document["changes"]]
    assert targets == [f"APIService {ALPHA}", "Service alone/hello", "Namespace alone"]
    assert not place.is_answered(ALPHA)
    assert standing(place.kube) == before
    collections = (API_SERVICES, f"{CORE}/alone/services", CORE)
    with ThreadPoolExecutor() as side_by_side:
        apis, services, namespaces = side_by_side.map(lambda each: place.left(each, since), collections)
    assert apis[ALPHA] < services["hello"] < namespaces["alone"]


def test_a_namespace_stays_where_others_have_put_something_into_it_and_that_is_named(place: Place) -> None:
    place.register("shared", ALPHA)
    place.make(f"{CORE}/shared/configmaps/theirs", "ConfigMap")
    said = place.unregister(ALPHA)
    assert (said.status, said.document["outcome"]) == (0, "applied")
    (finding,) = said.document["findings"]
    assert (finding["code"], finding["subject"]) == ("namespace-not-empty", "Namespace shared")
    assert "ConfigMap theirs" in finding["message"]
    assert place.kube.get(f"{CORE}/shared/configmaps/theirs")
    assert place.kube.get(f"{CORE}/shared")["status"]["phase"] == "Active"
    assert place.kube.get(f"{CORE}/shared/services/hello") is None


def test_undoing_a_registration_leaves_such_a_namespace_too(place: Place) -> None:
    place.register("undone", ALPHA)
    place.make(f"{CORE}/undone/configmaps/theirs", "ConfigMap")
    said = place.aggctl("rollback", "--yes", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "applied")
    assert codes(said) == {"namespace-not-empty": "Namespace undone"}
    assert place.registered() == set()
    assert place.kube.get(f"{CORE}/undone/services/hello") is None
    assert place.kube.get(f"{CORE}/undone/configmaps/theirs")


def test_a_server_that_two_versions_share_goes_with_the_last_one(place: Place) -> None:
    place.register("both", ALPHA, FIRST)
    first = place.unregister(FIRST)
    assert (first.status, first.document["outcome"]) == (0, "applied")
    assert [change["target"] for change in first.document["changes"]] == [f"APIService {FIRST}"]
    assert codes(first).keys() == {"still-used"}
    assert (place.is_answered(FIRST), place.is_answered(ALPHA)) == (False, True)
    last = place.unregister(ALPHA)
    assert [change["target"] for change in last.document["changes"]] == [
        f"APIService {ALPHA}",
        "Service both/hello",
        "Namespace both",
    ]
    assert place.kube.get(f"{CORE}/both/services/hello") is None


def test_an_api_of_a_server_that_died_goes_with_all_that_aggctl_made(place: Place, tmp_path: Path) -> None:
    """What it served cannot be listed any more; that is no reason to keep its namespace."""
    with hello_api(tmp_path / "hello", place.kube.kubeconfig) as mortal:
        place.register("dead", ALPHA, hello=mortal)
    eventually(lambda: not place.is_answered(ALPHA), "the API does not answer")
    said = place.unregister(ALPHA)
    assert (said.status, said.document["findings"]) == (0, [])
    targets = [change["target"] for change in said.document["changes"]]
    assert targets == [f"APIService {ALPHA}", "Service dead/hello", "Namespace dead"]


def test_a_dry_run_shows_what_would_go_and_writes_nothing(place: Place) -> None:
    place.publish(THEIRS, "theirs")
    before, record = standing(place.kube), place.node.record()
    said = place.aggctl("unregister", THEIRS, "--dry-run", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "planned")
    assert [change["target"] for change in said.document["changes"]] == [f"APIService {THEIRS}"]
    assert (standing(place.kube), place.node.record()) == (before, record)


def test_rollback_brings_all_of_it_back_with_its_field_managers(place: Place) -> None:
    place.register("again", ALPHA)
    label = {"metadata": {"labels": {"team": "theirs"}}}
    paths = f"{API_SERVICES}/{ALPHA}", f"{CORE}/again/services/hello", f"{CORE}/again"
    for path in paths:
        live = place.kube.get(path)
        place.kube.apply(path, {"apiVersion": live["apiVersion"], "kind": live["kind"], **label})
    before = [owners(place.kube.get(path)) for path in paths]
    assert place.unregister(ALPHA).status == 0
    said = place.aggctl("rollback", "--yes", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "applied"), said.document
    assert [owners(place.kube.get(path)) for path in paths] == before
    eventually(lambda: place.is_answered(ALPHA), "the API answers again")
    assert place.unregister(ALPHA).document["changes"][-1]["target"] == "Namespace again"


def owners(live: Any) -> dict[tuple[str, str], Any]:
    """Who owns which fields of an object, outside status."""
    entries = [each for each in live["metadata"]["managedFields"] if not each.get("subresource")]
    return {(each["manager"], each["operation"]): each["fieldsV1"] for each in entries}


# --- what others made --------------------------------------------------------------------------------------


def test_an_api_of_others_goes_alone_and_its_owner_is_named(place: Place) -> None:
    place.service("theirs")
    place.publish(THEIRS, "theirs")
    before = standing(place.kube)
    said = place.unregister(THEIRS)
    assert (said.status, said.document["outcome"]) == (0, "applied")
    (finding,) = said.document["findings"]
    assert (finding["code"], finding["severity"]) == ("not-made-by-aggctl", "warning")
    assert "owner: somebody" in finding["message"]
    assert before.keys() - standing(place.kube).keys() == {f"APIService /{THEIRS}"}


@pytest.mark.parametrize("name", ["v1.networking.k8s.io", "v1.widgets.example.org"])
def test_an_api_that_the_cluster_serves_itself_is_refused(place: Place, name: str) -> None:
    """Built in, or a CustomResourceDefinition's: it would be made again at once."""
    definition(place)
    before = standing(place.kube)
    said = place.unregister(name)
    assert (said.status, said.document["outcome"]) == (3, "refused")
    assert codes(said) == {"api-served-by-cluster": f"APIService {name}"}
    assert standing(place.kube) == before


def definition(place: Place) -> None:
    """A CustomResourceDefinition, which kube-apiserver serves by an APIService of its own."""
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    spec = {
        "group": "widgets.example.org",
        "names": names,
        "scope": "Cluster",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    name = "widgets.widgets.example.org"
    place.kube.apply(
        f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}",
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": spec,
        },
    )
    eventually(lambda: place.kube.get("/apis/widgets.example.org/v1"), "the CRD is served")


def test_what_is_not_registered_is_nothing_to_do(place: Place) -> None:
    said = place.unregister("v1.nobody.example.org")
    assert (said.status, said.document["outcome"]) == (0, "unchanged")
    assert "none of v1.nobody.example.org is registered" in said.document["summary"][0]


def test_with_the_layer_off_it_is_refused_and_points_to_enable(shared_sandbox: Running) -> None:
    said = aggctl("unregister", THEIRS, "--root", str(shared_sandbox.sandbox.root), "--yes", "-o", "json")
    assert_document(said)
    assert (said.status, said.codes) == (3, ["layer-off"])
    assert "aggctl enable" in said.document["findings"][0]["fix"]


def test_what_was_granted_of_it_is_named_and_taken_back_afterwards(place: Place) -> None:
    place.register("granted", ALPHA)
    eventually(lambda: place.is_answered(ALPHA), "the API answers")
    granted = place.aggctl("access", "grant", ALPHA, "--to", "user:alice", "--yes")
    assert granted.status == 0, granted.text
    roles = f"{RBAC}/clusterroles?labelSelector=aggctl%2Fapi%3D{ALPHA}"
    assert place.kube.get(roles)["items"]

    said = place.unregister(ALPHA)
    assert (said.status, codes(said)) == (0, {"grants-stay": f"APIService {ALPHA}"})
    assert place.kube.get(roles)["items"]

    revoked = place.aggctl("access", "revoke", ALPHA, "--all", "--yes")
    assert revoked.status == 0, revoked.text
    assert not place.kube.get(roles)["items"]


# --- stale -------------------------------------------------------------------------------------------------


def test_stale_takes_those_whose_service_or_namespace_is_gone_and_no_other(place: Place) -> None:
    place.service("theirs")
    place.publish(THEIRS, "theirs")  # its server is down, which may pass
    place.publish("v1.lost.example.org", "lost")
    place.publish("v2.lost.example.org", "lost", "nowhere")
    said = place.unregister("--stale")
    assert (said.status, said.document["outcome"]) == (0, "applied")
    targets = {change["target"] for change in said.document["changes"]}
    assert targets == {"APIService v1.lost.example.org", "APIService v2.lost.example.org"}
    assert place.registered() == {THEIRS}
    assert place.unregister("--stale").document["outcome"] == "unchanged"


def stuck(place: Place, namespace: str) -> None:
    """A namespace that cannot end, as the discovery of an API whose Service is missing fails."""
    place.publish("v1.lost.example.org", "lost")
    place.make(f"{CORE}/{namespace}", "Namespace")
    place.kube.delete(f"{CORE}/{namespace}")
    eventually(lambda: waits(place, namespace), "the namespace is stuck")


def waits(place: Place, namespace: str) -> bool:
    """Whether the namespace controller says that it waits for the stale API."""
    live = place.kube.get(f"{CORE}/{namespace}") or {"status": {}}
    return any(
        (each["type"], each["status"]) == ("NamespaceDeletionDiscoveryFailure", "True")
        and "lost.example.org/v1" in each["message"]
        for each in live["status"].get("conditions", ())
    )


def test_a_namespace_that_is_stuck_because_of_it_is_named_before_and_seen_to_go_on(place: Place) -> None:
    stuck(place, "stuck")
    planned = place.aggctl("unregister", "--stale", "--dry-run", "-o", "json")
    assert "stuck because of it: stuck" in planned.document["summary"][0]
    said = place.aggctl("unregister", "--stale", "--yes")
    assert said.status == 0, said.text
    assert not waits(place, "stuck")
    assert "stuck because of it: stuck" in said.err
    assert any("waiting for the namespaces that were stuck: stuck" in line for line in said.err.splitlines())
    eventually(lambda: place.kube.get(f"{CORE}/stuck") is None, "the namespace is gone")


def test_an_interrupt_while_a_namespace_goes_on_leaves_what_is_done(place: Place) -> None:
    stuck(place, "slow")
    words = [*AGGCTL, "unregister", "--root", str(place.node.root), "--stale", "--yes"]
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with place.controllers.paused(), subprocess.Popen(words, text=True, **pipes) as run:
        assert any("waiting for the API to be gone" in line for line in run.stderr or ())
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "1 API is gone" in out
    assert "(interrupted)" in out
    assert place.registered() == set()


def test_one_that_became_healthy_while_the_plan_was_looked_at_is_left_alone(place: Place) -> None:
    """Somebody is asked on a terminal, and makes the Service before he says yes."""
    place.publish(THEIRS, "theirs")
    leader, follower = pty.openpty()
    words = [*AGGCTL, "unregister", "--root", str(place.node.root), "--stale"]
    with subprocess.Popen(words, stdin=follower, stdout=subprocess.PIPE, stderr=follower, text=True) as run:
        os.close(follower)
        shown = read_until(leader, "[y/N]")
        place.service("theirs")
        os.write(leader, b"y\n")
        shown += read_until(leader, None)
        run.wait(60)
        os.close(leader)
    assert f"APIService {THEIRS}" in shown
    assert "(changed-meanwhile)" in shown
    assert run.returncode == 3
    assert place.registered() == {THEIRS}


def read_until(terminal: int, text: str | None) -> str:
    """What is written on a terminal up to some text, or to the end."""
    seen = ""
    with suppress(OSError):  # EIO: the other side is closed
        while text is None or text not in seen:
            if not (part := os.read(terminal, 4096)):
                break
            seen += part.decode()
    return seen
