"""examples/rotate-serving on a real kube-apiserver: as its ServiceAccount, with its rights and no others."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.hello_in_pods import API, GREETINGS, HelloInPods, hello_in_pods
from support.https import authority
from support.kube import API_SERVICES, APPLY, api_service
from support.load import load
from support.refusals import (
    AS_NOBODY,
    Said,
    assert_decent,
    assert_document,
    clean_environment,
    nobody_may_run,
)
from support.rights import public_folder
from support.waiting import eventually

from aggctl.core import pki
from aggctl.core.lease import PATH as LOCK
from aggctl.core.resources import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]
Right = tuple[Object, int, str]
"""A verb of a rule of a Role, by the number of the rule."""

TESTS = Path(__file__).parents[1]
OBJECTS: list[Object] = list(
    yaml.safe_load_all((TESTS.parent / "examples/rotate-serving/cronjob.yaml").read_text())
)
(CRONJOB,) = (each for each in OBJECTS if each["kind"] == "CronJob")
POD: Object = CRONJOB["spec"]["jobTemplate"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
HOME, ACCOUNT = CRONJOB["metadata"]["namespace"], POD["spec"]["serviceAccountName"]
DAILY: list[str] = CONTAINER["args"]
DUE = ["4000d" if each == "30d" else each for each in DAILY]
"""The same on a day when everything is due, also the front-proxy CA that the cluster publishes."""

PODS = f"/api/v1/namespaces/{HOME}/pods?dryRun=All"
PUBLISHED = "extension-apiserver-authentication"
SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """The API, and a Pod of the CronJob: what is mounted there lies in `account` and `state`."""

    place: HelloInPods
    account: Path
    state: Path

    def run(self, *words: str) -> Said:
        """Run aggctl in the Pod's environment, by a user that is not root."""
        (mount,) = CONTAINER["volumeMounts"]
        values = ((each["name"], each["value"]) for each in CONTAINER["env"])
        environment = {
            name: value.replace(mount["mountPath"], str(self.state), 1) for name, value in values
        } | {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.place.node.port)}
        who = AS_NOBODY if os.geteuid() == 0 else ()
        done = subprocess.run(
            [*who, sys.executable, TESTS / "support/in_pod.py", self.account, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            env=clean_environment() | environment,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def standing(self) -> tuple[bytes, ...]:
        """What a rotation of the serving certificate changes."""
        return self.place.bundle(), self.place.secret(), self.place.secret("tls.key"), self.place.served()

    def answers(self) -> bool:
        return bool(self.place.kube.ask("GET", GREETINGS)[0] == 200)

    def new_pod(self) -> None:
        """Its emptyDir went with the one before."""
        for each in self.state.iterdir():
            shutil.rmtree(each)

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """The ServiceAccount lacks a right meanwhile."""
        role, number, verb = right
        less = deepcopy(role)
        less["rules"][number]["verbs"].remove(verb)
        less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
        self.place.kube.apply(path(role), less)
        eventually(lambda: not self.may(right), "the right is gone")
        try:
            yield
        finally:
            self.place.kube.apply(path(role), role)
            eventually(lambda: self.may(right), "the right is back")

    def may(self, right: Right) -> bool:
        role, number, verb = right
        rule = role["rules"][number]
        asked: Object = {
            "nonResourceAttributes": {"verb": verb, "path": rule.get("nonResourceURLs", [""])[0]}
        }
        if "resources" in rule:
            named = rule.get("resourceNames", [""])[0]
            where = {"namespace": role["metadata"].get("namespace", ""), "name": named}
            what = {"group": rule["apiGroups"][0], "resource": rule["resources"][0]}
            asked = {"resourceAttributes": {"verb": verb, **what, **where}}
        spec = {"user": f"system:serviceaccount:{HOME}:{ACCOUNT}", **asked}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.place.kube.ask("POST", reviews, review)[1]["status"]["allowed"])


def path(of: Object) -> str:
    """Where an object of the example is."""
    metadata = of["metadata"]
    return path_of(
        of["apiVersion"], f"{of['kind'].lower()}s", metadata.get("namespace", ""), metadata["name"]
    )


def codes(said: Said) -> list[str]:
    """Of the findings in the one document."""
    assert_document(said)
    assert_decent(said)
    return said.codes


@pytest.fixture(scope="module")
def job(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:  # noqa: ARG001 -- asked for to be skipped without them
    if os.geteuid() == 0 and (why := nobody_may_run()):
        pytest.skip(why)
    with hello_in_pods(tmp_path_factory.mktemp("from-cluster")) as place, public_folder() as folder:
        place.by_itself = True
        for each in OBJECTS:
            place.kube.apply(path(each), each)
        (folder / "state").mkdir()
        (folder / "state").chmod(0o777)  # as an emptyDir is
        token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        account = f"/api/v1/namespaces/{HOME}/serviceaccounts/{ACCOUNT}"
        status, made = place.kube.ask("POST", f"{account}/token", token)
        assert status == 201, made
        (folder / "token").write_text(made["status"]["token"])
        shutil.copy(place.node.root / "etc/kubernetes/pki/ca.crt", folder / "ca.crt")
        yield Job(place, folder, folder / "state")


# --- with the rights of the example ------------------------------------------------------------------------


def test_on_a_day_with_nothing_due_it_says_so_and_what_it_does_not_see_from_there(job: Job) -> None:
    before = job.standing()
    said = job.run(*DAILY)
    assert (said.status, said.err) == (0, "")
    why = "no kube-apiserver manifest at /etc/kubernetes/manifests"
    unseen = f"not checked: this node's certificates, because {why}"
    assert said.out.splitlines() == ["Nothing is due.", unseen]
    assert job.standing() == before


@pytest.mark.parametrize("words", [DUE, ["certs", "rotate", "serving", API, "--yes"]], ids=["due", "serving"])
def test_the_certificate_is_renewed_with_no_failed_request_and_that_of_nodes_is_left_alone(
    job: Job, words: list[str]
) -> None:
    before = job.standing()
    nodes = job.place.node.files(), job.place.node.published()
    with load(job.place.kube.kubeconfig, GREETINGS) as requests:
        said = job.run(*words)
    assert said.status == 0, said.text
    assert_decent(said)
    assert requests.failed == {}
    after = job.standing()
    assert not set(after) & set(before)
    assert after[1] == after[3]  # the server has what the Secret has
    (ca,) = pki.read_certificates(after[0])
    assert pki.signed_by(pki.read_certificates(after[3])[0], ca)
    assert (job.place.node.files(), job.place.node.published()) == nodes


def test_an_api_that_it_may_not_see_does_not_keep_its_own_from_being_renewed(job: Job) -> None:
    """Both are due; the other comes first by its name, and is a problem."""
    before, name = job.standing(), "v1.another.example.com"
    bundle = base64.b64encode(authority("another-ca").certificate).decode()
    job.place.kube.apply(f"{API_SERVICES}/{name}", api_service(name, "another", caBundle=bundle), "aggctl")
    try:
        said = job.run(*DUE, "-o", "json")
    finally:
        job.place.kube.delete(f"{API_SERVICES}/{name}")
    assert said.status == 3, said.text
    assert codes(said) == ["no-rights-in-cluster"]
    assert "/services/another is forbidden to the Pod's ServiceAccount" in said.out
    assert not set(job.standing()) & set(before)


# --- with less ---------------------------------------------------------------------------------------------


def words(role: Object, rule: Object, verb: str) -> str:
    """A right, as `kubectl auth can-i` is asked for it."""
    what = (rule.get("resources") or rule["nonResourceURLs"])[0]
    names, namespace = rule.get("resourceNames"), role["metadata"].get("namespace")
    return f"{verb} {what}{f'/{names[0]}' if names else ''}{f' -n {namespace}' if namespace else ''}"


RIGHTS = {
    words(each, rule, verb): (each, number, verb)
    for each in OBJECTS
    if each["kind"] in {"Role", "ClusterRole"}
    for number, rule in enumerate(each["rules"])
    for verb in rule["verbs"]
}
OF_THE_LOCK = "leases/aggctl-control-plane -n kube-system"
TO_KEEP = {name: right for name, right in RIGHTS.items() if name.endswith(OF_THE_LOCK) and right[2] != "get"}
"""To renew the lock, and to give it back: without these it expires."""

TO_UNDO = {name: right for name, right in RIGHTS.items() if right[2] == "update" and name not in TO_KEEP}
BY_ITS_ADDRESS = "get endpointslices/kubernetes -n default"
"""Without it the address in the Pod's environment is asked, as in a sandbox, which tells no other one."""

TO_DO = {name: right for name, right in RIGHTS.items() if name not in {*TO_UNDO, *TO_KEEP, BY_ITS_ADDRESS}}


@pytest.mark.parametrize("right", TO_DO.values(), ids=TO_DO)
def test_each_right_is_needed_and_without_it_nothing_is_changed(job: Job, right: Right) -> None:
    before = job.standing()
    with job.without(right):
        said = job.run(*DUE, "-o", "json")
    assert said.status in {1, 3}, said.text
    assert set(codes(said)) <= {"no-rights-in-cluster", "apis-not-checked"}
    assert "is forbidden" in said.out
    assert "system:serviceaccount:aggctl:rotate-serving" in said.out
    assert job.standing() == before
    assert job.answers()
    assert not list(job.state.rglob("open/*"))


def test_without_the_role_of_the_cluster_nothing_is_changed(job: Job) -> None:
    """The binding of extension-apiserver-authentication-reader, which says whether the layer is on."""
    (binding,) = (each for each in OBJECTS if each.get("roleRef", {}).get("name") == f"{PUBLISHED}-reader")
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [PUBLISHED], "verbs": ["get"]}
    right = ({"metadata": binding["metadata"], "rules": [rule]}, 0, "get")
    before = job.standing()
    job.place.kube.delete(path(binding))
    try:
        eventually(lambda: not job.may(right), "the right is gone")
        said = job.run(*DUE, "-o", "json")
    finally:
        job.place.kube.apply(path(binding), binding)
        eventually(lambda: job.may(right), "the right is back")
    assert said.status == 3, said.text
    assert codes(said) == ["no-rights-in-cluster"]
    assert job.standing() == before


def test_who_may_not_delete_the_lock_renews_and_says_how_it_goes_away(job: Job) -> None:
    """The next run finds its holder dead, on the same machine at once."""
    with job.without(TO_KEEP[f"delete {OF_THE_LOCK}"]):
        said = job.run(*DUE, "-o", "json")
    assert said.status == 0, said.text
    assert codes(said) == ["control-plane-lock-left"]
    assert f"kubectl -n kube-system delete lease {LOCK.rpartition('/')[2]}" in said.out
    assert job.place.kube.get(LOCK)
    said = job.run(*DUE)
    assert said.status == 0, said.text
    assert job.place.kube.get(LOCK) is None


def test_who_may_not_list_the_apis_does_not_say_that_nothing_is_due(job: Job) -> None:
    with job.without(RIGHTS["list apiservices"]):
        said = job.run(*DAILY)
    assert said.status == 3
    assert_decent(said)
    assert "Nothing is due." not in said.out
    assert "(apis-not-checked)" in said.out


@pytest.mark.parametrize("right", TO_UNDO.values(), ids=TO_UNDO)
def test_without_a_right_that_undoing_needs_it_is_said_what_is_left_and_a_new_pod_gets_on(
    job: Job, right: Right
) -> None:
    """The server does not take the new certificate, so it has to be undone; the API goes on answering."""
    before, job.place.brings = job.standing(), False
    try:
        with job.without(right):
            said = job.run(*DUE, "--timeout", "4s", "-o", "json")
        assert said.status == 4, said.text
        assert codes(said) == ["serving-certificate-old", "no-rights-in-cluster"]
        assert len(pki.read_certificates(job.place.bundle())) == 2
        assert job.answers()
    finally:
        job.place.brings = True
    job.new_pod()
    assert job.run(*DUE).status == 0
    after = job.standing()
    assert not set(after) & set(before)
    assert len(pki.read_certificates(after[0])) == 1


def test_with_all_rights_what_is_not_taken_by_the_server_is_undone(job: Job) -> None:
    before, job.place.brings = job.standing(), False
    try:
        said = job.run(*DUE, "--timeout", "4s", "-o", "json")
    finally:
        job.place.brings = True
    assert said.status == 1, said.text
    assert codes(said) == ["serving-certificate-old"]
    assert job.standing() == before
    assert job.answers()


# --- its manifest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "each", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata'].get('namespace')}"
)
def test_every_object_has_known_fields_alone(job: Job, each: Object) -> None:
    strictly = f"{path(each)}?fieldManager=strict&force=true&fieldValidation=Strict&dryRun=All"
    status, answer = job.place.kube.ask("PATCH", strictly, each, APPLY)
    assert status == 200, answer


def pod(**container: Any) -> Object:
    """A Pod of the CronJob, with changes to its container."""
    spec = POD["spec"] | {"containers": [CONTAINER | container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


def test_its_pods_are_admitted_where_pods_have_to_be_restricted(job: Job) -> None:
    status, answer = job.place.kube.ask("POST", f"{PODS}&fieldValidation=Strict", pod())
    assert status == 201, answer


def test_other_pods_are_not_admitted_there(job: Job) -> None:
    status, answer = job.place.kube.ask("POST", PODS, pod(securityContext={}))
    assert status == 403
    assert 'violates PodSecurity "restricted:latest"' in answer["message"]


def test_its_pods_can_write_nothing_but_their_own_memory() -> None:
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert [list(each) for each in POD["spec"]["volumes"]] == [["name", "emptyDir"]]
    assert CRONJOB["spec"]["concurrencyPolicy"] == "Forbid"
