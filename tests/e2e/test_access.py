"""`aggctl access` on a real kube-apiserver and real extension servers, by the real console script."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.controllers import controllers
from support.granted import account, binding, group, role, rule, user
from support.refusals import aggctl, assert_decent, assert_document
from support.waiting import eventually
from support.ward import API, GROUP, PATH, RESOURCES, Ward, ward_in

from aggctl.core import pki
from aggctl.core.access.objects import OF_API, collection, path
from aggctl.core.access.subjects import RBAC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from support.refusals import Said

pytestmark = pytest.mark.controlplane

Object = dict[str, Any]
AGGREGATION = "clusterrole-aggregation-controller"
ROLE = f"aggctl:{API}:read"


@dataclass(frozen=True)
class Place:
    """A cluster with an API that answers, and what aggctl says of who may use it."""

    ward: Ward
    folder: Path

    def access(self, *words: str, kubeconfig: Path | None = None) -> Said:
        who = ("--kubeconfig", str(kubeconfig)) if kubeconfig else ()
        return aggctl("access", *words, "--root", str(self.ward.node.root), *who)

    def grant(self, *words: str, api: str = API, **more: Any) -> Said:
        return self.access("grant", api, *words, "--yes", **more)

    def revoke(self, *words: str, api: str = API) -> Said:
        return self.access("revoke", api, *words, "--yes")

    def check(self, who: str, *words: str, api: str = API, **more: Any) -> tuple[int, list[str]]:
        """Exit status and codes."""
        said = self.access("check", api, "--as", who, *words, "-o", "json", **more)
        assert_document(said)
        return said.status, said.codes

    def credentials(self, name: str) -> Path:
        """The kubeconfig of a user who has no rights but those that a test gives him."""
        folder = self.ward.node.root / "etc/kubernetes/pki"
        ca = pki.KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
        pair = pki.issue(ca, name, datetime.now(UTC), usage="client", algorithm="ECDSA-P256")
        made = self.folder / f"{name}.conf"
        certificates = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
        cluster = {"server": self.ward.node.url, "certificate-authority-data": _in_base64(ca.certificate)}
        config = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {key: _in_base64(value) for key, value in certificates.items()}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        made.write_text(json.dumps(config))
        made.chmod(0o600)
        return made

    @contextmanager
    def made_by_others(self, *objects: Object) -> Iterator[None]:
        """Roles and bindings that somebody else made; they go at the end."""
        for each in objects:
            self.ward.kube.apply(path(each), each)
        try:
            yield
        finally:
            for each in objects:
                self.ward.kube.delete(path(each))


@pytest.fixture(scope="module")
def shared(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("access")
    with ward_in(folder) as ward:
        eventually(lambda: ward.kube.get(PATH), "the API answers")
        ward.kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
        yield Place(ward, folder)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """The cluster with nothing granted, before and after."""
    yield shared
    for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
        where = "" if kind.startswith("Cluster") else "team"
        shared.ward.kube.delete(f"{collection(kind, where)}?labelSelector={quote(OF_API)}")


# --- granting --------------------------------------------------------------------------------------------


def test_who_is_let_in_reaches_the_extension_server_and_who_is_not_ends_at_kube_apiserver(
    place: Place,
) -> None:
    assert place.check("alice") == (3, ["access-denied-by-apiserver"])
    said = place.grant("--to", "user:alice", "-o", "json")
    assert_document(said)
    assert (said.status, said.document["outcome"]) == (0, "applied")
    assert place.check("alice") == (0, [])
    assert place.check("bob") == (3, ["access-denied-by-apiserver"])
    assert f"{PATH}/greetings 200 user='alice'" in place.ward.hello.log


def test_the_rules_are_what_the_api_offers_and_no_wildcard(place: Place) -> None:
    assert place.grant("--to", "group:devs").status == 0
    made = place.ward.kube.get(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ROLE}")
    assert made["rules"] == [{"apiGroups": [GROUP], "resources": ["greetings"], "verbs": ["get", "list"]}]
    assert place.check("carol", "--as-group", "devs") == (0, [])
    assert place.check("carol", "--as-group", "ops") == (3, ["access-denied-by-apiserver"])


def test_a_second_grant_writes_nothing(place: Place) -> None:
    words = ("--to", "group:devs", "--to", "serviceaccount:team/web", "--to", "user:müller")
    assert place.grant(*words).status == 0
    before = place.ward.kube.everything()
    said = place.grant(*words, "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "unchanged")
    assert place.ward.kube.everything() == before
    for who in ("system:serviceaccount:team:web", "müller"):
        assert place.check(who) == (0, [])


def test_a_dry_run_shows_the_plan_and_writes_nothing(place: Place) -> None:
    before = place.ward.kube.everything()
    said = place.access("grant", API, "--to", "group:devs", "--dry-run")
    assert (said.status, place.ward.kube.everything()) == (0, before)
    assert f"create  ClusterRole {ROLE}" in said.out
    assert "get, list of greetings" in said.out


def test_in_a_namespace_the_rest_of_the_cluster_stays_closed(place: Place) -> None:
    assert place.grant("--to", "user:alice", "-n", "team").status == 0
    assert place.check("alice", "-n", "team") == (0, [])
    assert place.check("alice", "-n", "default") == (3, ["access-denied-by-apiserver"])
    assert place.check("alice") == (3, ["access-denied-by-apiserver"])


def test_what_is_granted_is_undone_by_rollback(place: Place) -> None:
    before = place.ward.kube.everything()
    assert place.grant("--to", "user:alice").status == 0
    said = place.ward.node.aggctl("rollback", "--yes")
    assert said.returncode == 0, said.stdout + said.stderr
    assert place.ward.kube.everything() == before


def test_a_view_of_everybody_takes_the_role_in_and_revoke_takes_it_out(place: Place) -> None:
    with controllers(place.ward.node.running, AGGREGATION):
        assert place.grant("--aggregate", "view").status == 0
        view = "/apis/rbac.authorization.k8s.io/v1/clusterroles/view"
        assert any(GROUP in each["apiGroups"] for each in place.ward.kube.get(view)["rules"])
        assert place.revoke("--aggregate", "view").status == 0
        eventually(
            lambda: not any(GROUP in each["apiGroups"] for each in place.ward.kube.get(view)["rules"]),
            "view has lost it",
        )


def test_a_grant_that_does_not_come_into_force_is_put_back(place: Place) -> None:
    before = place.ward.kube.everything()
    said = place.grant("--to", "group:devs", "--aggregate", "edit", "--timeout", "1s", "-o", "json")
    assert (said.status, said.document["outcome"]) == (1, "rolled-back")
    assert said.codes == ["role-not-taken-in"]
    assert place.ward.kube.everything() == before


# --- refused ---------------------------------------------------------------------------------------------


def test_nobody_grants_what_he_has_not_got_himself(place: Place) -> None:
    before = place.ward.kube.everything()
    makes_roles = role(
        "makes-roles",
        rule("get,create,patch", "clusterroles,clusterrolebindings", RBAC),
    )
    with place.made_by_others(makes_roles, binding("makes-roles", makes_roles, user("limited"))):
        said = place.grant("--to", "user:limited", "-o", "json", kubeconfig=place.credentials("limited"))
    assert (said.status, set(said.codes)) == (3, {"rbac-escalation"})
    assert 'Resources:["greetings"]' in said.document["findings"][0]["expected"]
    assert place.ward.kube.everything() == before


def test_who_has_it_himself_may_hand_it_on_in_his_namespace_though_he_cannot_prove_it(place: Place) -> None:
    lead = role(
        "lead",
        rule("*", "roles,rolebindings", RBAC),
        rule("get,list", "greetings", GROUP),
        namespace="team",
    )
    with place.made_by_others(lead, binding("lead", lead, user("lead"), namespace="team")):
        own = place.credentials("lead")
        said = place.grant("--to", "user:alice", "-n", "team", "-o", "json", kubeconfig=own)
        assert (said.status, said.codes) == (0, ["access-not-proven"])
        assert place.check("alice", "-n", "team") == (0, [])
        listed = place.access("list", API, "-n", "team", kubeconfig=own)
        assert listed.status == 0
        assert "not checked: ClusterRoles:" in listed.out


def test_a_role_of_somebody_else_keeps_its_name_and_its_rules(place: Place) -> None:
    theirs = role(ROLE, rule("get", "greetings", GROUP))
    with place.made_by_others(theirs):
        before = place.ward.kube.everything()
        said = place.grant("--to", "group:devs", "-o", "json")
        assert (said.status, said.codes) == (3, ["name-taken"])
        assert place.ward.kube.everything() == before


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("grant", API), 2, "subject-not-understood"),
        (("grant", API, "--to", "devs"), 2, "subject-not-understood"),
        (("grant", "hello", "--to", "group:devs"), 2, "api-name-not-valid"),
        (("grant", API, "--to", "group:devs", "--verbs", "get,"), 2, "words-not-understood"),
        (("grant", API, "--to", "group:devs", "--resources", "a b"), 2, "words-not-understood"),
        (("grant", API, "--to", "group:devs", "-n", "Team"), 2, "name-not-valid"),
        (("grant", API, "--to", "group:devs", "--timeout", "soon"), 2, "duration-not-understood"),
        (("grant", API, "--aggregate", "view", "-n", "team"), 2, "option-without-effect"),
        (("grant", API, "--to", "group:devs"), 3, "not-confirmed"),
        (("grant", API, "--to", "group:devs", "--verbs", "delete"), 3, "verb-not-offered"),
        (("grant", API, "--to", "group:devs", "--resources", "pods"), 3, "resource-not-offered"),
        (("grant", API, "--to", "group:devs", "-n", "nowhere"), 3, "namespace-missing"),
        (("grant", "v1.nothing.example.com", "--to", "group:devs"), 3, "api-not-registered"),
        (("grant", "v1.rbac.authorization.k8s.io", "--to", "group:devs"), 3, "api-served-by-cluster"),
        (("revoke", API), 2, "subject-not-understood"),
        (("revoke", API, "--all", "--to", "group:devs"), 2, "option-without-effect"),
        (("list", "v1.nothing.example.com"), 3, "api-not-registered"),
        (("check", API, "--as", ""), 2, "subject-not-understood"),
        (("check", API, "--as", "bob", "--as-group", "a\tb"), 2, "subject-not-understood"),
        (("check", API, "--as", "bob", "--verb", "*"), 2, "words-not-understood"),
        (("check", API, "--as", "bob", "--name", "a/b"), 2, "words-not-understood"),
        (("check", API, "--as", "bob", "--name", "a", "--verb", "list"), 2, "option-without-effect"),
        (("check", API, "--as", "bob", "--resource", "pods"), 3, "resource-not-offered"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    shared: Place, words: tuple[str, ...], status: int, code: str
) -> None:
    said = shared.access(*words, "-o", "json")
    assert said.status == status, said.text
    assert said.codes == [code]
    assert said.document["outcome"] == "refused"
    assert_document(said)
    assert_decent(said)


# --- taking back -----------------------------------------------------------------------------------------


def test_revoke_takes_back_what_was_granted_and_leaves_the_rest(place: Place) -> None:
    before = place.ward.kube.everything()
    theirs = role("theirs", rule("list", "greetings", GROUP))
    with place.made_by_others(theirs, binding("theirs", theirs, group("devs"))):
        kept = place.ward.kube.everything()
        assert place.grant("--to", "group:devs", "--to", "user:alice").status == 0
        said = place.revoke("--to", "group:devs", "-o", "json")
        assert (said.status, said.codes) == (0, ["role-still-used", "still-has-access"])
        assert place.check("alice") == (0, [])
        assert place.revoke("--to", "user:alice").status == 0
        assert place.check("alice") == (3, ["access-denied-by-apiserver"])
        assert place.ward.kube.everything() == kept
        assert place.revoke("--to", "user:alice", "-o", "json").document["outcome"] == "unchanged"
    assert place.ward.kube.everything() == before


def test_what_is_revoked_is_granted_again_by_rollback(place: Place) -> None:
    assert place.grant("--to", "user:alice", "-n", "team").status == 0
    assert place.revoke("--all").status == 0
    assert place.check("alice", "-n", "team") == (3, ["access-denied-by-apiserver"])
    assert place.ward.node.aggctl("rollback", "--yes").returncode == 0
    assert place.check("alice", "-n", "team") == (0, [])


# --- who reaches it --------------------------------------------------------------------------------------


def test_everybody_and_wildcards_of_others_are_warned_of_and_administrators_are_not(place: Place) -> None:
    wide, some = role("wide", rule("get", "*", "*")), role("some", rule("list", "greetings", GROUP))
    with place.made_by_others(
        wide,
        some,
        binding("wide", wide, user("carol"), account("team", "robot")),
        binding("some", some, group("system:authenticated"), namespace="team"),
    ):
        assert place.grant("--to", "group:devs").status == 0
        said = place.access("list", API, "-o", "json")
        assert_document(said)
        assert said.status == 0
        assert [(each["code"], each["subject"]) for each in said.document["findings"]] == [
            ("access-open-to-all", "group:system:authenticated"),
            ("access-by-wildcard", "serviceaccount:team/robot"),
            ("access-by-wildcard", "user:carol"),
        ]
        by_name = {each["subject"]["name"]: each for each in said.document["items"]}
        assert by_name["system:masters"]["by"] == "kubernetes"
        assert (by_name["devs"]["by"], by_name["devs"]["role"]) == ("aggctl", f"ClusterRole {ROLE}")
        assert (by_name["system:authenticated"]["namespace"], by_name["carol"]["wildcard"]) == ("team", True)
        head, *rows = place.access("list", API, "-o", "wide").out.splitlines()
        assert head.split()[0] == "SUBJECT"
        assert any(row.startswith("group:devs ") and row.endswith(" aggctl") for row in rows)


def test_of_more_bindings_than_a_page_holds_none_is_passed_over(place: Place) -> None:
    some = role("some", rule("list", "greetings", GROUP))
    others = [binding(f"b{number:03}", some, user("bob"), namespace="team") for number in range(510)]
    last = binding("last", some, user("zoe"), namespace="team")
    with place.made_by_others(some, *others, last):
        said = place.access("list", API, "-o", "json")
    found = {each["subject"]["name"]: each["binding"] for each in said.document["items"]}
    assert (said.status, found["zoe"]) == (0, "RoleBinding last")


def test_who_may_not_read_roles_is_told_so(place: Place) -> None:
    said = place.access("list", API, kubeconfig=place.credentials("nobody-special"))
    assert said.status == 3
    assert "(no-rights-in-cluster)" in said.text
    assert 'cannot list resource "clusterrole' in said.text
    assert_decent(said)


# --- which side says no ----------------------------------------------------------------------------------


def test_the_extension_servers_own_no_is_told_from_kube_apiservers(place: Place) -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, Object]:
        if request.path.startswith(f"{PATH}/greetings") and request.headers["X-Remote-User"] == "alice":
            return 403, {"kind": "Status", "code": 403, "message": "alice is on no list of ours"}
        return 200, RESOURCES

    assert place.grant("--to", "user:alice", "--to", "user:carol").status == 0
    with place.ward.another_server(place.ward.pair(), answer):
        said = place.access("check", API, "--as", "alice", "-o", "json")
        assert (said.status, said.codes) == (3, ["access-denied-by-extension-server"])
        assert said.document["findings"][0]["evidence"] == ["403 alice is on no list of ours"]
        assert [each["allowed"] for each in said.document["items"]] == [True, False]
        assert place.check("carol") == (0, [])
        assert place.check("bob") == (3, ["access-denied-by-apiserver"])
    assert place.check("alice") == (0, [])


def test_who_may_not_act_as_others_is_told_that_and_not_that_they_are_shut_out(place: Place) -> None:
    assert place.grant("--to", "user:alice").status == 0
    reviews = role("reviews", rule("create", "subjectaccessreviews", "authorization.k8s.io"))
    with place.made_by_others(reviews, binding("reviews", reviews, user("asks"))):
        own = place.credentials("asks")
        assert place.check("alice", kubeconfig=own) == (3, ["impersonation-forbidden"])
        assert place.check("bob", kubeconfig=own) == (3, ["access-denied-by-apiserver"])


def _in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
