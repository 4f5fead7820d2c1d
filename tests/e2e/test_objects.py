"""Objects of a real kube-apiserver: applied, put back and deleted, and nobody else's work is lost.

The law of most tests: what an undo leaves is what would be there had aggctl never come by. Where others
changed the object meanwhile, a twin that aggctl never touched tells what that is.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import API_SERVICES, MERGE, Kube, api_service
from support.nodes import Node
from support.sandboxes import sandbox_in
from support.waiting import eventually
from support.world import in_child

from aggctl.core import pki
from aggctl.core.extension import Extension, ServiceAt, Tls, parse_api, parse_external
from aggctl.core.fields import CREATED, content_stamp, created_stamp, kept, managers, owned_stamp
from aggctl.core.plan import ObjectChange, ObjectState, Plan, Step, canonical, digest, inverse
from aggctl.core.register.request import of_flags
from aggctl.core.register.sight import Wanted
from aggctl.core.resources import target_of
from aggctl.errors import Failed, Refused
from aggctl.system.cluster import JSON, Cluster
from aggctl.system.files import Changed, Files
from aggctl.system.kubeconfig import Credentials, find_credentials
from aggctl.system.objects import Conflict, Objects
from aggctl.workflows.execute import Ended, execute
from aggctl.workflows.open_change import close_or_mend
from aggctl.workflows.register import Manner, register
from aggctl.workflows.rollback import rollback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aggctl.core.plan import Change
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]
Blobs = dict[str, bytes]
Answer = tuple[int, bytes]
Meets = Callable[[str, str, Callable[[], Answer]], Answer]
"""What becomes of a request: its method, its path, and what sends it."""

CORE, APPS, RBAC = "/api/v1", "/apis/apps/v1", "/apis/rbac.authorization.k8s.io/v1"
IN_DEFAULT = "namespaces/default"
RBAC_GROUP = "rbac.authorization.k8s.io"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    """A node with the layer on; each test has objects with names of its own."""
    with sandbox_in(tmp_path_factory.mktemp("objects") / "sandbox", aggregation="on") as running:
        yield Node(running)


@pytest.fixture(scope="module")
def kube(node: Node) -> Kube:
    """Everybody else."""
    return Kube(node.running.sandbox.kubeconfig)


@pytest.fixture
def objects(node: Node) -> Objects:
    return objects_of(node)


# --- requests that something meets -------------------------------------------------------------------------


class Met(Cluster):
    """The cluster, where something may happen before, after or instead of a request."""

    def __init__(self, kubeconfig: Path, meets: Meets) -> None:
        super().__init__(partial(find_credentials, str(kubeconfig), "", ""), Files("/"))
        self._meets = meets

    def send(
        self, method: str, url: str, body: bytes | None = None, content_type: str = JSON
    ) -> tuple[int, bytes]:
        path = url.removeprefix(self.credentials.server)
        return self._meets(method, path, partial(super().send, method, url, body, content_type))


def just_go(_method: str, _path: str, go: Callable[[], Answer]) -> Answer:
    return go()


def objects_of(node: Node, meets: Meets = just_go, manager: str = "aggctl") -> Objects:
    return Objects(Met(node.running.sandbox.kubeconfig, meets), manager)


def writes(method: str, path: str) -> bool:
    return method != "GET" and "dryRun" not in path


def once_before(wanted: str, event: Callable[[], object], at: str = "/") -> Meets:
    """Have `event` happen just before the first such request that writes below `at`."""
    left = [event]

    def meets(method: str, path: str, go: Callable[[], Answer]) -> Answer:
        if left and method == wanted and path.startswith(at) and writes(method, path):
            left.pop()()
        return go()

    return meets


# --- changes as `register` plans them ----------------------------------------------------------------------


def intend(objects: Objects, path: str, config: Object, *, force: bool = False) -> tuple[ObjectChange, Blobs]:
    """The change from what is there to `config`, and its blobs."""
    live = objects.read(path)
    if live is None:
        mark = {"annotations": {CREATED: f"token-{next(_NUMBERS)}"}}
        config = config | {"metadata": config["metadata"] | mark}
    answer = objects.rehearse(path, config, force=force)
    assert answer.status in (200, 201), answer.body
    holds = owned_stamp(answer.body, objects.manager) if live else created_stamp(config)
    blob = canonical(config)
    after, blobs = ObjectState(digest(blob), holds), {digest(blob): blob}
    before = None
    if live:
        backup = canonical(kept(live))
        before = ObjectState(digest(backup), content_stamp(live), whole=True)
        blobs[before.blob] = backup
    return ObjectChange(objects.server, path, target_of(config), before, after, force), blobs


def deletion(objects: Objects, path: str) -> tuple[ObjectChange, Blobs]:
    """The change that deletes what is there."""
    live = objects.read(path)
    assert live
    backup = canonical(kept(live))
    before = ObjectState(digest(backup), content_stamp(live), whole=True)
    return ObjectChange(objects.server, path, target_of(live), before, None), {before.blob: backup}


def make(objects: Objects, change: Change, blobs: Blobs) -> None:
    assert isinstance(change, ObjectChange)
    objects.apply(change, blobs[change.after.blob] if change.after else None)


def undo(objects: Objects, change: ObjectChange, blobs: Blobs) -> None:
    make(objects, inverse(change), blobs)


# --- objects -----------------------------------------------------------------------------------------------


def new_name() -> str:
    return f"x-{next(_NUMBERS)}"


def named(kind: str, name: str, api_version: str = "v1", **more: Any) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        **more,
    }


def config_map(name: str, **data: str) -> Object:
    return named("ConfigMap", name, data=data)


def config_map_path(name: str) -> str:
    return f"{CORE}/{IN_DEFAULT}/configmaps/{name}"


def service(name: str, *ports: int, **spec: Any) -> Object:
    listed = [{"name": f"p{port}", "port": port, "protocol": "TCP"} for port in ports]
    return named("Service", name, spec={"ports": listed, **spec})


def deployment(name: str, *containers: Object, **spec: Any) -> Object:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}}
    return named(
        "Deployment",
        name,
        "apps/v1",
        spec={"selector": {"matchLabels": labels}, "template": template, **spec},
    )


def container(name: str, image: str, *ports: int) -> Object:
    return {"name": name, "image": image, "ports": [{"containerPort": port} for port in ports]}


def role_binding(name: str, *users: str) -> Object:
    subjects = [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user} for user in users]
    role = {"apiGroup": RBAC_GROUP, "kind": "Role", "name": "none"}
    return named("RoleBinding", name, f"{RBAC_GROUP}/v1", roleRef=role, subjects=subjects)


def secret(name: str, **data: str) -> Object:
    return named("Secret", name, type="Opaque", data=data)


def labelled(config: Object, **labels: str) -> Object:
    return config | {"metadata": config["metadata"] | {"labels": labels}}


def content(live: Object, name: str = "") -> Object:
    """An object as others see it, `name` set aside, and without the moments of its changes."""
    plain: Object = json.loads(
        canonical(kept(live)).decode().replace(name, "NAME") if name else canonical(kept(live))
    )
    for each in plain["metadata"]["managedFields"]:
        each.pop("time")
    return plain


# --- creating ----------------------------------------------------------------------------------------------


def test_what_is_created_is_ours_and_made_once(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    change, blobs = intend(objects, path, config_map(name, a="1"))
    assert objects.holds(change) == "before"
    make(objects, change, blobs)
    live = kube.get(path)
    assert (live["data"], managers(live), objects.holds(change)) == ({"a": "1"}, ("aggctl",), "after")
    make(objects, change, blobs)
    assert kube.get(path) == live


@pytest.mark.parametrize("theirs", [{"b": "theirs"}, {"a": "theirs"}], ids=["beside ours", "in our place"])
@pytest.mark.parametrize("force", [False, True], ids=["", "by force"])
def test_a_second_creator_in_between_keeps_its_object(
    node: Node, kube: Kube, theirs: dict[str, str], force: bool
) -> None:
    path = config_map_path(name := new_name())
    change, blobs = intend(objects_of(node), path, config_map(name, a="1"), force=force)
    raced = objects_of(node, once_before("PATCH", lambda: kube.apply(path, config_map(name, **theirs))))
    with pytest.raises(Changed):
        make(raced, change, blobs)
    live = kube.get(path)
    assert (live["data"], managers(live)) == (theirs, ("somebody",))
    assert "annotations" not in live["metadata"]


def test_what_was_created_goes_again_whoever_wrote_into_it(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    change, blobs = intend(objects, path, config_map(name, a="1"))
    make(objects, change, blobs)
    kube.apply(path, config_map(name, b="2"))
    undo(objects, change, blobs)
    assert kube.get(path) is None
    undo(objects, change, blobs)


# --- changing ----------------------------------------------------------------------------------------------


def test_an_object_that_was_changed_since_the_plan_is_left_alone(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    change, blobs = intend(objects, path, config_map(name, b="ours"))
    kube.apply(path, config_map(name, a="2"), "helm")
    live = kube.get(path)
    with pytest.raises(Changed):
        make(objects, change, blobs)
    assert objects.holds(change) == "other"
    assert kube.get(path) == live


def test_an_object_that_is_changed_at_that_very_moment_is_left_alone(node: Node, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    change, blobs = intend(objects_of(node), path, config_map(name, b="ours"))
    raced = objects_of(node, once_before("PATCH", lambda: kube.apply(path, config_map(name, a="2"), "helm")))
    with pytest.raises(Changed):
        make(raced, change, blobs)
    assert kube.get(path)["data"] == {"a": "2"}


def write_status(kube: Kube, path: str) -> None:
    """As the Deployment controller does: the annotation comes with the status."""
    annotations = {"deployment.kubernetes.io/revision": str(next(_NUMBERS))}
    body = {"metadata": {"annotations": annotations}, "status": {"observedGeneration": 1}}
    status, found = kube.ask("PATCH", f"{path}/status?fieldManager=controller", body, MERGE)
    assert status == 200, found


@pytest.mark.parametrize("moment", ["since the plan", "at that very moment", "since the change"])
def test_a_status_that_was_written_is_no_change(node: Node, kube: Kube, moment: str) -> None:
    path = f"{APPS}/{IN_DEFAULT}/deployments/{(name := new_name())}"
    kube.apply(path, deployment(name, container("a", "a:1")), "helm")
    before = content(kube.get(path))
    write = partial(write_status, kube, path)
    objects = objects_of(node, once_before("PATCH", write) if moment == "at that very moment" else just_go)
    change, blobs = intend(objects, path, labelled(deployment(name, container("a", "a:1")), x="y"))
    if moment == "since the plan":
        write()
    make(objects, change, blobs)
    if moment == "since the change":
        write()
    assert objects.holds(change) == "after"
    undo(objects, change, blobs)
    assert objects.holds(change) == "before"
    assert content(kube.get(path)) == before


def test_an_object_that_never_rests_is_given_up(node: Node, kube: Kube) -> None:
    path = f"{APPS}/{IN_DEFAULT}/deployments/{(name := new_name())}"
    kube.apply(path, deployment(name, container("a", "a:1")), "helm")
    before = content(kube.get(path))

    def meets(method: str, asked: str, go: Callable[[], Answer]) -> Answer:
        if writes(method, asked):
            write_status(kube, path)
        return go()

    restless = objects_of(node, meets)
    change, blobs = intend(restless, path, labelled(deployment(name, container("a", "a:1")), x="y"))
    with pytest.raises(Changed):
        make(restless, change, blobs)
    assert content(kube.get(path)) == before


# --- fields of others --------------------------------------------------------------------------------------


def test_each_field_of_others_is_named_with_its_manager_and_nothing_is_written(
    objects: Objects, kube: Kube
) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1", c="1"), "helm")
    kube.ask("PATCH", f"{path}?fieldManager=kubectl-edit", {"data": {"b": "1"}}, MERGE)
    live = kube.get(path)
    answer = objects.rehearse(path, config_map(name, a="2", b="2", c="1"), force=False)
    assert (answer.status, set(answer.conflicts)) == (
        409,
        {Conflict(".data.a", "helm"), Conflict(".data.b", "kubectl-edit")},
    )
    assert kube.get(path) == live


def test_a_conflict_that_a_change_meets_is_said_field_by_field(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1", b="1"), "helm")
    live = kube.get(path)
    change, blobs = intend(objects, path, config_map(name, a="2", b="2"), force=True)
    with pytest.raises(Failed, match=r"other field managers: \.data\.a of helm, \.data\.b of helm$") as error:
        make(objects, replace(change, force=False), blobs)
    assert (error.value.code, "--force-conflicts" in error.value.do) == ("field-conflict", True)
    assert kube.get(path) == live


def test_force_takes_a_field_over(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1", b="1"), "helm")
    change, blobs = intend(objects, path, config_map(name, a="2"), force=True)
    make(objects, change, blobs)
    live = kube.get(path)
    assert (live["data"], set(managers(live))) == ({"a": "2", "b": "1"}, {"helm", "aggctl"})
    status, answer = kube.ask(
        "PATCH", f"{path}?fieldManager=helm", config_map(name, a="1"), "application/apply-patch+yaml"
    )
    assert (status, "aggctl" in answer["message"]) == (409, True)


def test_a_rehearsal_writes_nothing(objects: Objects, kube: Kube) -> None:
    there, absent = new_name(), new_name()
    kube.apply(config_map_path(there), config_map(there, a="1"), "helm")
    live = kube.get(config_map_path(there))
    seen = [
        objects.rehearse(config_map_path(name), config_map(name, a="2"), force=True).status
        for name in (there, absent)
    ]
    assert seen == [200, 201]
    assert kube.get(config_map_path(there)) == live
    assert kube.get(config_map_path(absent)) is None


# --- undo --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A kind of object: what helm applied, what aggctl adds to it or takes over, what is edited meanwhile."""

    path: str
    theirs: Callable[[str], Object]
    adds: Callable[[str], Object]
    takes: Callable[[str], Object]
    edit: Object


def fake_api(name: str, **spec: Any) -> Object:
    made = api_service(f"v1.{name}.example.com", "nobody", **spec)
    return made | {"metadata": {"name": f"v1.{name}.example.com"}}


BUNDLE = pki.new_ca("some", datetime(2026, 1, 1, tzinfo=UTC), algorithm="ECDSA-P256").certificate
IN_BASE64 = base64.b64encode(BUNDLE).decode()
THREE = (container("a", "a:1", 80, 81), container("b", "b:1"), container("c", "c:1", 90))
CASES = {
    "APIService": Case(
        f"{API_SERVICES}/v1.{{}}.example.com",
        lambda name: fake_api(name, insecureSkipTLSVerify=True),
        lambda name: labelled(fake_api(name), x="y"),
        lambda name: fake_api(name, insecureSkipTLSVerify=False, caBundle=IN_BASE64, versionPriority=20),
        {"spec": {"groupPriorityMinimum": 1000}, "metadata": {"labels": {"edited": "yes"}}},
    ),
    "Deployment": Case(
        f"{APPS}/{IN_DEFAULT}/deployments/{{}}",
        lambda name: deployment(name, *THREE, replicas=2),
        lambda name: deployment(name, container("z", "z:1", 1), container("b", "b:1", 7)),
        lambda name: deployment(
            name, container("c", "c:2", 91), container("a", "a:2", 82, 81), replicas=3, minReadySeconds=1
        ),
        {"spec": {"revisionHistoryLimit": 3}, "metadata": {"annotations": {"note": "edited"}}},
    ),
    "Service": Case(
        f"{CORE}/{IN_DEFAULT}/services/{{}}",
        lambda name: service(name, 1, 2, 3, selector={"app": "x"}, clusterIP="None"),
        lambda name: service(name, 9, 3),
        lambda name: service(name, 3, 1, selector={"app": "ours"}, sessionAffinity="ClientIP"),
        {"spec": {"publishNotReadyAddresses": True}, "metadata": {"annotations": {"note": "edited"}}},
    ),
    "Service of another type": Case(
        f"{CORE}/{IN_DEFAULT}/services/{{}}",
        lambda name: service(name, 1, selector={"app": "x"}),
        lambda name: service(name, 1, type="ExternalName", externalName="localhost"),
        lambda name: service(
            name, 2, type="ExternalName", externalName="localhost", selector={"app": "ours"}
        ),
        {"metadata": {"annotations": {"note": "edited"}}},
    ),
    "ConfigMap": Case(
        config_map_path("{}"),
        lambda name: config_map(name, a="1", b="1"),
        lambda name: config_map(name, c="ours"),
        lambda name: config_map(name, a="ours", c="ours"),
        {"data": {"edited": "again", "new": "yes"}},
    ),
    "RoleBinding": Case(
        f"{RBAC}/{IN_DEFAULT}/rolebindings/{{}}",
        lambda name: role_binding(name, "one", "two"),
        lambda name: labelled(role_binding(name, "one", "two"), x="y"),
        lambda name: role_binding(name, "three"),
        {"metadata": {"annotations": {"note": "edited"}}},
    ),
    "Secret": Case(
        f"{CORE}/{IN_DEFAULT}/secrets/{{}}",
        lambda name: secret(name, a="MQ==", b="MQ=="),
        lambda name: secret(name, c="Mg=="),
        lambda name: labelled(secret(name, a="Mg=="), x="y"),
        {"data": {"edited": "Mw=="}},
    ),
}
kinds = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ways = pytest.mark.parametrize("way", ["adds", "takes"], ids=["added to", "taken over by force"])


def put_there(kube: Kube, case: Case, name: str) -> str:
    """An object of helm's that somebody edited."""
    kube.apply(path := case.path.format(name), labelled(case.theirs(name), team="a"), "helm")
    first = (
        {"data": {"edited": "MQ=="}} if "data" in case.edit else {"metadata": {"annotations": {"first": "1"}}}
    )
    edit(kube, path, first)
    return path


def edit(kube: Kube, path: str, body: Object) -> None:
    status, answer = kube.ask("PATCH", f"{path}?fieldManager=kubectl-edit", body, MERGE)
    assert status == 200, answer


@kinds
@ways
def test_an_undone_change_leaves_content_and_owners_as_they_were(
    objects: Objects, kube: Kube, case: Case, way: str
) -> None:
    path = put_there(kube, case, name := new_name())
    before = kube.get(path)
    change, blobs = intend(objects, path, getattr(case, way)(name), force=way == "takes")
    make(objects, change, blobs)
    assert kube.get(path)["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    undo(objects, change, blobs)
    after = kube.get(path)
    assert kept(after) == kept(before)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert objects.holds(change) == "before"


@kinds
@ways
def test_an_undo_leaves_what_others_changed_meanwhile(
    objects: Objects, kube: Kube, case: Case, way: str
) -> None:
    names = [new_name(), new_name()]
    path, twin = (put_there(kube, case, name) for name in names)
    change, blobs = intend(objects, path, getattr(case, way)(names[0]), force=way == "takes")
    make(objects, change, blobs)
    for each in (path, twin):
        edit(kube, each, case.edit)
        edit(kube, each, {"metadata": {"annotations": {"first": None}}})
        kube.ask("PATCH", f"{each}?fieldManager=newcomer", {"metadata": {"labels": {"new": "1"}}}, MERGE)
    undo(objects, change, blobs)
    assert without_address(content(kube.get(path), names[0])) == without_address(
        content(kube.get(twin), names[1])
    )


def without_address(live: Object) -> Object:
    spec = {
        key: value for key, value in live.get("spec", {}).items() if key not in ("clusterIP", "clusterIPs")
    }
    return live | {"spec": spec}


@pytest.mark.parametrize("method", ["PUT", "PATCH"], ids=["content", "owners"])
def test_what_is_written_at_the_very_moment_of_an_undo_stays(node: Node, kube: Kube, method: str) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    change, blobs = intend(objects_of(node), path, config_map(name, a="2"), force=True)
    make(objects_of(node), change, blobs)
    raced = objects_of(node, once_before(method, partial(edit, kube, path, {"data": {"new": "yes"}})))
    undo(raced, change, blobs)
    live = kube.get(path)
    assert (live["data"], managers(live)) == ({"a": "1", "new": "yes"}, ("helm", "kubectl-edit"))


@pytest.mark.parametrize("method", ["PUT", "PATCH"], ids=["content", "owners"])
def test_an_object_that_somebody_deletes_at_the_very_moment_of_an_undo_stays_away(
    node: Node, kube: Kube, method: str
) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    change, blobs = intend(objects_of(node), path, config_map(name, b="2"))
    make(objects_of(node), change, blobs)
    raced = objects_of(node, once_before(method, partial(kube.delete, path)))
    with pytest.raises(Changed):
        undo(raced, change, blobs)
    assert kube.get(path) is None


def test_a_field_that_its_owner_took_back_is_left_alone(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    change, blobs = intend(objects, path, config_map(name, a="2"), force=True)
    make(objects, change, blobs)
    kube.apply(path, config_map(name, a="3"), "helm")
    live = kube.get(path)
    with pytest.raises(Changed):
        undo(objects, change, blobs)
    assert kube.get(path) == live


@kinds
def test_an_undone_deletion_makes_the_object_again_with_its_owners(
    objects: Objects, kube: Kube, case: Case
) -> None:
    path = put_there(kube, case, new_name())
    before = kube.get(path)
    change, blobs = deletion(objects, path)
    make(objects, change, blobs)
    assert kube.get(path) is None
    make(objects, change, blobs)
    undo(objects, change, blobs)
    assert kept(kube.get(path)) == kept(before)


# --- deleting ----------------------------------------------------------------------------------------------


def test_an_object_that_was_replaced_by_one_of_its_name_is_not_deleted(node: Node, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")

    def replace_it() -> None:
        kube.delete(path)
        kube.apply(path, config_map(name, a="2"), "helm")

    raced = objects_of(node, once_before("DELETE", replace_it))
    change, blobs = deletion(raced, path)
    with pytest.raises(Changed):
        make(raced, change, blobs)
    assert kube.get(path)["data"] == {"a": "2"}


def test_an_object_that_somebody_else_deletes_at_that_moment_is_deleted(node: Node, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    kube.apply(path, config_map(name, a="1"), "helm")
    raced = objects_of(node, once_before("DELETE", partial(kube.delete, path)))
    make(raced, *deletion(raced, path))
    assert kube.get(path) is None


def test_an_object_that_is_being_deleted_is_none(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    held = config_map(name, a="1")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    change, blobs = intend(objects, path, config_map(name, b="ours"))
    kube.apply(path, held, "helm")
    gone, backup = deletion(objects, path)
    kube.delete(path)
    dying = content(kube.get(path))
    assert (objects.holds(change), objects.holds(gone)) == ("before", "after")
    make(objects, gone, backup)
    with pytest.raises(Changed):
        make(objects, change, blobs)
    assert content(kube.get(path)) == dying
    edit(kube, path, {"metadata": {"finalizers": None}})


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_change_of_another_cluster_is_refused(objects: Objects, kube: Kube) -> None:
    path = config_map_path(name := new_name())
    change, blobs = intend(objects, path, config_map(name, a="1"))
    elsewhere = replace(change, server="https://192.0.2.1:6443")
    for work in (partial(make, objects, elsewhere, blobs), partial(objects.holds, elsewhere)):
        with pytest.raises(Refused, match=r"ConfigMap default/x.* was changed at https://192") as error:
            work()
        assert (error.value.code, error.value.found) == ("another-cluster", objects.server)
    assert kube.get(path) is None


@pytest.mark.parametrize(
    ("spoil", "named_field"),
    [
        (lambda spec: spec.update(replica=1), "replica"),
        (lambda spec: spec["template"]["spec"]["containers"][0].update(imagePolicy="x"), "imagePolicy"),
        (lambda spec: spec.update(replicas="many"), "replicas"),
        (lambda spec: spec.update(selector={"matchLabels": {"app": "other"}}), "selector"),
    ],
    ids=["unknown", "unknown, deep inside", "of another type", "not valid"],
)
def test_a_field_that_is_wrong_is_named(
    objects: Objects, kube: Kube, spoil: Callable[[Object], None], named_field: str
) -> None:
    path = f"{APPS}/{IN_DEFAULT}/deployments/{(name := new_name())}"
    good = deployment(name, container("a", "a:1"))
    change, blobs = intend(objects, path, good)
    bad = json.loads(blobs[change.after.blob]) if change.after else {}
    spoil(bad["spec"])
    with pytest.raises(Failed, match=named_field) as error:
        objects.apply(change, canonical(bad))
    assert (error.value.code, f"apply Deployment default/{name}" in error.value.message) == (
        "object-not-valid",
        True,
    )
    assert kube.get(path) is None


def test_what_an_api_that_is_away_says_is_quoted(objects: Objects, kube: Kube) -> None:
    """The aggregator answers for it, and no JSON."""
    name = new_name()
    kube.apply(f"{API_SERVICES}/v1.{name}.example.com", fake_api(name))
    path = f"/apis/{name}.example.com/v1/things/x"

    def said() -> str:
        with pytest.raises(Failed) as error:
            objects.read(path)
        return error.value.message if error.value.code == "apiserver-refused" else ""

    assert eventually(said, "it is known to be away", 20) == f"GET {path}: service unavailable"


# --- rights ------------------------------------------------------------------------------------------------


def user(node: Node, name: str) -> Objects:
    """Somebody with a client certificate of the cluster's CA, and no rights but those of everybody."""
    folder = node.root / "etc/kubernetes/pki"
    ca = pki.KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    leaf = pki.issue(ca, name, datetime.now(UTC), usage="client", algorithm="ECDSA-P256")
    credentials = Credentials("the test", node.url, ca.certificate, leaf.certificate, leaf.key)
    return Objects(Cluster(lambda: credentials, Files("/")))


def let_see(kube: Kube, name: str) -> None:
    """Give a user the right to see Deployments, and no other."""
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
    role = named("Role", name, f"{RBAC_GROUP}/v1", rules=rules)
    binding = role_binding(name, name)
    binding["roleRef"]["name"] = name
    for each in (role, binding):
        kube.apply(f"{RBAC}/{IN_DEFAULT}/{each['kind'].lower()}s/{name}", each)


@pytest.mark.parametrize("verb", ["get", "patch", "update", "delete"])
def test_a_right_that_is_missing_is_named_by_verb_and_resource(
    node: Node, objects: Objects, kube: Kube, verb: str
) -> None:
    path = f"{APPS}/{IN_DEFAULT}/deployments/{(name := new_name())}"
    kube.apply(path, deployment(name, container("a", "a:1")), "helm")
    change, blobs = intend(objects, path, labelled(deployment(name, container("a", "a:1")), x="y"))
    gone, backup = deletion(objects, path)
    if verb == "update":
        make(objects, change, blobs)
    live = kube.get(path)
    them = user(node, name)
    if verb != "get":
        let_see(kube, name)
        eventually(lambda: may_see(them, path), "kube-apiserver knows of the binding", 10)
    works: dict[str, Callable[[], object]] = {
        "get": partial(them.read, path),
        "patch": partial(make, them, change, blobs),
        "update": partial(undo, them, change, blobs),
        "delete": partial(make, them, gone, backup),
    }
    said = (
        f'User "{name}" cannot {verb} resource "deployments" in API group "apps" in the namespace "default"'
    )
    with pytest.raises(Failed) as error:
        works[verb]()
    assert error.value.code == "no-rights-in-cluster"
    assert said in error.value.message
    assert kube.get(path) == live


def may_see(them: Objects, path: str) -> bool:
    try:
        return bool(them.read(path))
    except Failed:
        return False


# --- whole plans -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ten:
    """Ten objects of a cluster that a plan creates or changes, and all that this must not leave behind."""

    node: Node
    kube: Kube
    name: str

    def existing(self) -> list[tuple[str, Object]]:
        """Objects of helm's that the plan changes, by force where fields are not free."""
        name = self.name
        return [(CASES[kind].path.format(name), CASES[kind].theirs(name)) for kind in CHANGED]

    def wanted(self) -> list[tuple[str, Object, bool]]:
        """The objects of the plan, the APIService last."""
        name, cluster_role = self.name, {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": self.name}
        binding = role_binding(name, name) | {"kind": "ClusterRoleBinding", "roleRef": cluster_role}
        role = named("ClusterRole", name, f"{RBAC_GROUP}/v1", rules=[])
        created = [
            (f"{CORE}/{IN_DEFAULT}/serviceaccounts/{name}", named("ServiceAccount", name)),
            (f"{RBAC}/clusterroles/{name}", without_namespace(role)),
            (f"{RBAC}/clusterrolebindings/{name}", without_namespace(binding)),
            (f"{CORE}/{IN_DEFAULT}/services/{name}-new", service(f"{name}-new", 443)),
        ]
        changed = [(CASES[kind].path.format(name), CASES[kind].takes(name)) for kind in CHANGED]
        return [*((*each, False) for each in created), *((*each, True) for each in changed)]

    def plan(self, command: str = "register") -> Plan:
        objects = objects_of(self.node)
        blobs: Blobs = {}
        steps: list[Step] = []
        for path, config, force in self.wanted():
            change, contents = intend(objects, path, config, force=force)
            steps.append(Step(change.target, change))
            blobs |= contents
        return Plan(command, "ten objects", tuple(steps), blobs)

    def ports(self, meets: Meets = just_go) -> Ports:
        return replace(self.node.ports(), objects=objects_of(self.node, meets))

    def run(self, meets: Meets, plan: Plan | None = None) -> Ended:
        ports = self.ports(meets)
        with ports.journal.locked():
            return execute(plan or self.plan(), ports)

    def roll_back(self, meets: Meets = just_go) -> Report:
        return rollback(self.ports(meets), lambda _: True, dry_run=False, force=False)


CHANGED = ("ConfigMap", "RoleBinding", "Secret", "Service", "Deployment", "APIService")


def without_namespace(config: Object) -> Object:
    return config | {"metadata": {"name": config["metadata"]["name"]}}


@pytest.fixture
def ten(node: Node, kube: Kube) -> Iterator[Ten]:
    """Ten objects before a plan; nothing of it is in force or on record after the test."""
    made = Ten(node, kube, new_name())
    for path, config in made.existing():
        kube.apply(path, config, "helm")
    yield made
    left_open = made.ports().journal.open_entry()
    if left_open:  # the next test shall not fail of it, too
        made.roll_back()
    for path, *_ in made.wanted():
        kube.delete(path)
    assert left_open is None


@lru_cache(maxsize=1)
def collections(kube: Kube) -> tuple[str, ...]:
    """The paths of all collections, but for those that only ever tell the time."""
    versions = (each["preferredVersion"]["groupVersion"] for each in kube.get("/apis")["groups"])
    places = (CORE, *(f"/apis/{each}" for each in versions if "example.com" not in each))
    return tuple(
        f"{place}/{each['name']}"
        for place in places
        for each in kube.get(place)["resources"]
        if "list" in each["verbs"] and each["name"] not in ("events", "leases", "componentstatuses")
    )


def everything(kube: Kube) -> dict[str, Object]:
    """Every object of the cluster as it is, but for its status."""
    return {
        f"{path} {each['metadata'].get('namespace')} {each['metadata']['name']}": {
            **kept(each),
            "uid": each["metadata"]["uid"],
        }
        for path in collections(kube)
        for each in kube.get(path)["items"]
    }


def lost(number: int, *, arrives: bool) -> Meets:
    """Lose the n-th request that writes: before it arrives, or the answer to it."""
    seen = count(1)

    def meets(method: str, path: str, go: Callable[[], Answer]) -> Answer:
        if not writes(method, path) or next(seen) != number:
            return go()
        if arrives:
            go()
        raise Failed("apiserver-not-reachable", f"{method} {path} was lost", do="look at the network")

    return meets


arrival = pytest.mark.parametrize("arrives", [False, True], ids=["request lost", "answer lost"])


@arrival
@pytest.mark.parametrize("number", range(1, 11))
def test_a_fault_at_any_object_leaves_nothing_of_ours_and_nothing_of_others_touched(
    ten: Ten, number: int, arrives: bool
) -> None:
    before = everything(ten.kube)
    ended = ten.run(lost(number, arrives=arrives))
    assert (ended.outcome, ended.findings[0].code) == ("rolled-back", "apiserver-not-reachable")
    assert everything(ten.kube) == before


def test_without_a_fault_all_ten_are_in_force_and_can_be_undone(ten: Ten) -> None:
    before = everything(ten.kube)
    assert ten.run(just_go).outcome == "applied"
    after = everything(ten.kube)
    assert len([each for each in after if each not in before and ten.name in each]) == 4
    assert sum(after[each] != before[each] for each in before) == len(CHANGED)
    assert ten.roll_back().outcome == "applied"
    assert everything(ten.kube) == before


def lost_twice(number: int, *, arrives: bool) -> Meets:
    """Lose the answer to the last of ten changes, and then the n-th request of the undo.

    Each of the six objects of others takes two of them, content and owners, then each of ours one.
    """
    first, second = lost(10, arrives=True), lost(10 + number, arrives=arrives)
    return lambda method, path, go: first(method, path, partial(second, method, path, go))


@pytest.mark.parametrize(
    ("number", "arrives"),
    [*((number, False) for number in range(1, 17)), *((number, True) for number in (1, 3, 5, 7, 9, 11))],
)
def test_an_undo_that_meets_a_fault_itself_is_ended_by_a_rollback(
    ten: Ten, number: int, arrives: bool
) -> None:
    before = everything(ten.kube)
    assert ten.run(lost_twice(number, arrives=arrives)).outcome == "rollback-incomplete"
    assert ten.roll_back().outcome == "applied"
    assert everything(ten.kube) == before


@pytest.mark.parametrize("number", [2, 12, 13, 16])
def test_an_object_that_is_back_is_back_though_the_answer_was_lost(ten: Ten, number: int) -> None:
    before = everything(ten.kube)
    assert ten.run(lost_twice(number, arrives=True)).outcome == "rolled-back"
    assert everything(ten.kube) == before


def test_what_others_write_between_two_tries_of_an_undo_does_not_hold_it_up(ten: Ten) -> None:
    path = CASES["APIService"].path.format(ten.name)
    assert ten.run(lost_twice(3, arrives=False)).outcome == "rollback-incomplete"
    edit(ten.kube, path, {"metadata": {"annotations": {"note": "edited"}}})
    assert ten.roll_back().outcome == "applied"
    assert ten.kube.get(path)["metadata"]["annotations"] == {"note": "edited"}


def test_a_plan_that_meets_a_second_creator_is_put_back_and_theirs_stays(ten: Ten) -> None:
    before = everything(ten.kube)
    path, config, _ = ten.wanted()[3]
    theirs = partial(ten.kube.apply, path, labelled(config, made="elsewhere"))
    ended = ten.run(once_before("PATCH", theirs, path))
    assert (ended.outcome, ended.findings[0].code) == ("rolled-back", "changed-meanwhile")
    after = everything(ten.kube)
    assert {each: after[each] for each in before} == before
    live = ten.kube.get(path)
    assert (live["metadata"]["labels"], managers(live)) == ({"made": "elsewhere"}, ("somebody",))


# --- killed, and the API away ------------------------------------------------------------------------------


def dies(number: int, *, after: bool) -> Meets:
    """SIGKILL this very process before, or just after, the n-th request that writes."""
    seen = count(1)

    def meets(method: str, path: str, go: Callable[[], Answer]) -> Answer:
        its_time = writes(method, path) and next(seen) == number
        if its_time and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = go()
        if its_time:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return meets


moments = pytest.mark.parametrize(
    ("number", "after"), [(1, False), (1, True), (5, False), (5, True), (8, True), (10, False), (10, True)]
)


@moments
def test_a_kill_at_any_object_is_put_back_by_a_rollback(ten: Ten, number: int, after: bool) -> None:
    before = everything(ten.kube)
    assert in_child(lambda: ten.run(dies(number, after=after)))
    assert ten.roll_back().outcome == "applied"
    assert everything(ten.kube) == before


@moments
def test_a_kill_at_any_object_is_put_back_by_the_same_command(ten: Ten, number: int, after: bool) -> None:
    """But for what was made in full: that is in force."""
    before = everything(ten.kube)
    assert in_child(lambda: ten.run(dies(number, after=after)))
    (said,) = close_or_mend(ten.ports(), "register", change_it=True)
    if (number, after) == (10, True):
        assert "it is in force and closed now" in said
        assert ten.roll_back().outcome == "applied"
    else:
        assert "half-way; it was put back first" in said
    assert everything(ten.kube) == before


def test_a_kill_in_the_middle_of_an_undo_is_ended_by_a_rollback(ten: Ten) -> None:
    before = everything(ten.kube)
    first, second = lost(10, arrives=True), dies(13, after=True)
    assert in_child(
        lambda: ten.run(lambda method, path, go: first(method, path, partial(second, method, path, go)))
    )
    assert ten.roll_back().outcome == "applied"
    assert everything(ten.kube) == before


def test_another_command_refuses_while_a_change_is_open_and_says_what_to_run(ten: Ten) -> None:
    assert in_child(lambda: ten.run(dies(5, after=True)))
    with pytest.raises(Refused, match="was interrupted and is open") as error:
        close_or_mend(ten.ports(), "unregister", change_it=True)
    assert "aggctl rollback" in error.value.do
    ten.roll_back()


def test_the_api_gone_in_the_middle_is_said_with_what_to_run_and_mended_once_it_is_back(ten: Ten) -> None:
    before = everything(ten.kube)
    running, seen = ten.node.running, count(1)

    def goes_away(method: str, path: str, go: Callable[[], Answer]) -> Answer:
        if writes(method, path) and next(seen) == 7:
            running.kill_apiserver()
        return go()

    with running.kubelet_stopped():
        ended = ten.run(goes_away)
        again = ten.roll_back()
    assert (ended.outcome, again.outcome) == ("rollback-incomplete", "rollback-incomplete")
    assert "does not answer" in ended.findings[0].message
    assert {each.code for each in ended.findings[2:]} == {"left-in-place"}
    assert all("then: aggctl rollback" in each.fix for each in ended.findings[2:])
    eventually(ten.node.ready, "kube-apiserver is back")
    assert ten.roll_back().outcome == "applied"
    assert everything(ten.kube) == before


def test_register_says_what_to_run_where_the_api_goes_away_and_begins_anew_once_it_is_back(
    node: Node, kube: Kube
) -> None:
    """Nobody listens at the address, so that the second run is undone as a whole."""
    before, name, seen = everything(kube), new_name(), count(1)
    at, tls = ServiceAt("default", name, 443), Tls("insecure")
    asked = of_flags(
        Extension((parse_api(f"v1.{name}.example.com"),), at, parse_external("localhost:1")), tls
    )
    wanted = Wanted(asked.objects, tls, "default", asked.places, deadline=1.0)

    def goes_away(method: str, path: str, go: Callable[[], Answer]) -> Answer:
        if writes(method, path) and next(seen) == 2:
            node.running.kill_apiserver()
        return go()

    def run(meets: Meets) -> Report:
        ports = replace(node.ports(), objects=objects_of(node, meets))
        return register(ports, wanted, Manner(dry_run=False, confirm=lambda _: True, yes=True))

    with node.running.kubelet_stopped():
        gone = run(goes_away)
    assert (gone.outcome, gone.exit_status) == ("rollback-incomplete", 4)
    assert "not everything could be put back. Run: aggctl rollback" in gone.summary[0]
    eventually(node.ready, "kube-apiserver is back")
    assert run(just_go).outcome == "rolled-back"
    assert everything(kube) == before
