"""Requests to a kube-apiserver: what it answers, what it refuses, and what is no answer at all."""

from __future__ import annotations

import base64
import errno
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.https import Https, authority, https, leaf

from aggctl.core import pki
from aggctl.core.cluster_view import API_SERVICES
from aggctl.core.fields import CREATED
from aggctl.core.questions import (
    AskAs,
    ClockSkew,
    MayDo,
    MayGet,
    MetadataIn,
    ObjectAt,
    PairAt,
    PairSeen,
    PodLog,
    Question,
    RawAt,
    ReadyAt,
    StaleApis,
    UnavailableApis,
    Unknown,
    WhoSeen,
)
from aggctl.system import cluster as cluster_module
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.kubeconfig import Credentials, find_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from support.sandboxes import Running

    from aggctl.core.pki import KeyPair

PATH = "/api/v1/namespaces/kube-system/configmaps/x"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture
def server() -> Iterator[Https]:
    with https() as running:
        yield running


def ask(server: Https, root: Path, *, timeout: float = 5.0, **more: Any) -> Cluster:
    options = {"authority": authority("kubernetes").certificate, **more}
    return Cluster(lambda: Credentials("the test", server.address, **options), Files(str(root)), timeout)


def reason(answer: Any, code: str) -> str:
    assert isinstance(answer, Unknown), answer
    assert answer.code == code
    return answer.reason


def test_an_object_is_its_json(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 200, {"kind": "ConfigMap", "data": {"a": "b"}})
    found = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert found == {"kind": "ConfigMap", "data": {"a": "b"}}


def test_a_discovery_document_of_any_size_names_its_version(server: Https, tmp_path: Path) -> None:
    many = [{"name": f"thing-{number:0>120}"} for number in range(12_000)]
    server.says("/apis/g/v1", 200, {"groupVersion": "g/v1", "resources": many})
    found = ask(server, tmp_path, timeout=30.0).look(RawAt("/apis/g/v1", server.address))
    assert (found.status, found.group_version) == (200, "g/v1")
    assert 0 < len(found.resources) < len(many)


def test_an_answer_is_told_by_its_status_and_its_words(server: Https, tmp_path: Path) -> None:
    server.says("/apis/g/v1", 503, b"service unavailable\n")
    found = ask(server, tmp_path).look(RawAt("/apis/g/v1", server.address))
    assert (found.status, found.said, found.group_version) == (503, "service unavailable", "")


def test_what_aggregated_discovery_holds_for_stale_is_named(server: Https, tmp_path: Path) -> None:
    versions = [{"version": "v1", "freshness": "Stale"}, {"version": "v2", "freshness": "Current"}]
    items = [{"metadata": {"name": "g"}, "versions": versions}]
    server.says("/apis", 200, {"kind": "APIGroupDiscoveryList", "items": items})
    assert ask(server, tmp_path).look(StaleApis(server.address)) == ("g/v1",)
    assert "v=v2beta1" in server.asked[-1][2]["Accept"]


def test_without_aggregated_discovery_nothing_is_known_to_be_fresh(server: Https, tmp_path: Path) -> None:
    server.says("/apis", 200, {"kind": "APIGroupList", "groups": []})
    assert isinstance(ask(server, tmp_path).look(StaleApis(server.address)), Unknown)


def test_whether_another_user_may_do_something_is_asked_by_a_review(server: Https, tmp_path: Path) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    server.says(path, 201, {"status": {"allowed": True}})
    asked = MayDo("alice", ("staff",), "get", "", "configmaps", "kube-system", "x", server.address)
    assert ask(server, tmp_path).look(asked) is True
    (_, _, request) = server.asked[-1]
    spec = json.loads(request["body"])["spec"]
    assert (spec["user"], spec["groups"]) == ("alice", ["staff"])
    assert spec["resourceAttributes"] == {
        "verb": "get",
        "resource": "configmaps",
        "namespace": "kube-system",
        "name": "x",
    }


def test_a_token_is_shown_to_the_server_and_to_nobody_else(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 401, {"message": "Unauthorized"})
    cluster = ask(server, tmp_path, token="very-secret")  # noqa: S106 -- a test's
    said = reason(cluster.look(ObjectAt(PATH, server.address)), "kubeconfig-not-accepted")
    assert server.asked[0][2]["Authorization"] == "Bearer very-secret"
    assert "very-secret" not in said
    assert "very-secret" not in repr(cluster.credentials)


def test_404_is_no_object(server: Https, tmp_path: Path) -> None:
    assert ask(server, tmp_path).look(ObjectAt(PATH, server.address)) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "kubeconfig-not-accepted"),
        (403, "no-rights-in-cluster"),
        (500, "apiserver-not-ready"),
        (503, "apiserver-not-ready"),
        (302, "apiserver-not-ready"),
    ],
)
def test_a_refusal_is_unknown_with_its_cause_and_the_servers_words(
    server: Https, tmp_path: Path, status: int, code: str
) -> None:
    server.says(PATH, status, {"kind": "Status", "message": "the words of the server"})
    answer = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert "the words of the server" in reason(answer, code)


@pytest.mark.parametrize("body", [b'{"kind": "Status", "status": "Failure"}', b"[]", b'"text"', b"3"])
def test_200_with_something_else_than_an_object_is_unknown(
    server: Https, tmp_path: Path, body: bytes
) -> None:
    server.says(PATH, 200, body)
    reason(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), "answer-not-understood")


@pytest.mark.parametrize("body", [b'{"kind": "ConfigMap", "da', b"", b"<html>", b"\xff\xfe"])
def test_half_a_body_is_unknown(server: Https, tmp_path: Path, body: bytes) -> None:
    server.says(PATH, 200, body)
    assert isinstance(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), Unknown)


def test_a_body_without_end_is_cut_off(
    server: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "BODY_LIMIT", 1000)
    server.says(PATH, 200, {"kind": "ConfigMap", "data": {"a": "b" * 1000}})
    answer = ask(server, tmp_path).look(ObjectAt(PATH, server.address))
    assert isinstance(answer, Unknown)
    assert "longer than" in answer.reason


def test_escape_sequences_of_a_server_never_reach_a_terminal(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 403, {"message": "\x1b]0;owned\x07red \x1b[31malert\x1b[0m\r\n\x9b2J\u202e"})
    said = reason(ask(server, tmp_path).look(ObjectAt(PATH, server.address)), "no-rights-in-cluster")
    assert said.endswith("red alert 2J")
    assert said.isprintable()


def test_a_server_that_hangs_is_given_up(server: Https, tmp_path: Path) -> None:
    server.hang = threading.Event()
    answer = ask(server, tmp_path, timeout=0.3).look(ObjectAt(PATH, server.address))
    assert "does not answer" in reason(answer, "apiserver-not-reachable")


def test_a_closed_port_is_unknown_with_the_systems_words(tmp_path: Path) -> None:
    with https() as gone:
        pass
    answer = ask(gone, tmp_path).look(ReadyAt(gone.address))
    assert "refused" in reason(answer, "apiserver-not-reachable")


# --- who the server is ------------------------------------------------------------------------------------


def test_a_server_of_another_ca_is_not_trusted(server: Https, tmp_path: Path) -> None:
    cluster = ask(server, tmp_path, authority=authority("another").certificate)
    reason(cluster.look(ObjectAt(PATH, server.address)), "apiserver-not-trusted")
    assert server.asked == []


def test_a_server_under_another_name_is_not_trusted(tmp_path: Path) -> None:
    with https("10.96.0.1", "kubernetes") as server:
        reason(ask(server, tmp_path).look(ReadyAt(server.address)), "apiserver-not-trusted")
        assert server.asked == []


def test_a_tls_server_name_of_the_kubeconfig_is_the_name_that_counts(tmp_path: Path) -> None:
    with https("kubernetes") as server:
        server.says("/readyz", 200, b"ok")
        assert ask(server, tmp_path, server_name="kubernetes").look(ReadyAt(server.address)) == "ok"
        wrong = ask(server, tmp_path, server_name="other").look(ReadyAt(server.address))
        reason(wrong, "apiserver-not-trusted")


def test_a_server_that_is_not_to_be_verified_is_not(server: Https, tmp_path: Path) -> None:
    server.says("/readyz", 200, b"ok")
    cluster = ask(server, tmp_path, authority=authority("another").certificate, insecure=True)
    assert cluster.look(ReadyAt(server.address)) == "ok"


# --- health, clock ----------------------------------------------------------------------------------------


def test_ready_is_ok_and_anything_else_is_quoted(server: Https, tmp_path: Path) -> None:
    cluster = ask(server, tmp_path)
    server.says("/readyz", 200, b"ok")
    assert cluster.look(ReadyAt(server.address)) == "ok"
    server.says("/readyz", 500, b"[+]ping ok\n[-]etcd failed\nreadyz check failed")
    said = cluster.look(ReadyAt(server.address))
    assert said.startswith("HTTP 500")
    assert "etcd" in said


def test_the_clock_skew_is_that_of_the_date_header(server: Https, tmp_path: Path) -> None:
    server.says("/version", 200, {})
    skew = ask(server, tmp_path).look(ClockSkew(server.address))
    assert abs(skew) < 60


# --- identities -------------------------------------------------------------------------------------------


def give(root: Path, pair: KeyPair) -> AskAs:
    (root / "pki").mkdir(exist_ok=True)
    (root / "pki/leaf.crt").write_bytes(pair.certificate)
    (root / "pki/leaf.key").write_bytes(pair.key)
    return AskAs("", "/pki/leaf.crt", "/pki/leaf.key")


def who(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """As kube-apiserver: the name of the header where the certificate is trusted, else 401."""
    if not handler.connection.getpeercert():  # it is an SSLSocket
        return 401, b'{"kind": "Status"}'
    name = handler.headers["X-Remote-User"]
    return 201, b'{"status": {"userInfo": {"username": "%s"}}}' % name.encode()


def test_an_identity_of_the_front_proxy_ca_is_accepted_and_another_is_not(tmp_path: Path) -> None:
    proxy = authority("front-proxy-ca")
    with https(clients=proxy) as server:
        server.answers[REVIEW] = who
        cluster = ask(server, tmp_path)
        question = give(tmp_path, leaf(proxy, "front-proxy-client"))
        question = AskAs(server.address, question.certificate, question.key)
        assert cluster.look(question) == WhoSeen(201, "aggctl-probe")
        assert server.asked[0][2]["X-Remote-Group"] == "system:authenticated"
        give(tmp_path, leaf(authority("another"), "front-proxy-client"))
        answer = cluster.look(question)
        assert isinstance(answer, Unknown) or answer == WhoSeen(401, "")


def test_an_old_server_is_asked_by_an_access_review(tmp_path: Path) -> None:
    proxy = authority("front-proxy-ca")
    with https(clients=proxy) as server:
        server.says(ACCESS, 201, {"status": {"allowed": True}})
        question = give(tmp_path, leaf(proxy, "front-proxy-client"))
        answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
        assert answer.status == 201
        assert [path for _, path, _ in server.asked] == [REVIEW, ACCESS]


@pytest.mark.parametrize("body", [b"[]", b"half {", b'{"status": 3}', b'{"status": {"userInfo": []}}'])
def test_an_odd_answer_names_nobody(server: Https, tmp_path: Path, body: bytes) -> None:
    server.says(REVIEW, 201, body)
    question = give(tmp_path, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
    assert answer == WhoSeen(201, "")


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_pair_that_is_missing_or_damaged_is_unknown(
    server: Https, tmp_path: Path, content: bytes | None
) -> None:
    question = give(tmp_path, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    key = tmp_path / "pki/leaf.key"
    key.unlink() if content is None else key.write_bytes(content)
    answer = ask(server, tmp_path).look(AskAs(server.address, question.certificate, question.key))
    assert isinstance(answer, Unknown)
    assert errno.errorcode[errno.ENOENT] not in answer.reason
    assert server.asked == []


def test_a_key_is_read_below_the_root_only(server: Https, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    give(outside, leaf(authority("front-proxy-ca"), "front-proxy-client"))
    (root / "pki").symlink_to(outside / "pki")
    answer = ask(server, root).look(AskAs(server.address, "/pki/leaf.crt", "/pki/leaf.key"))
    assert isinstance(answer, Unknown)
    assert server.asked == []


# --- rights, collections, the gauge, logs ------------------------------------------------------------------

METRICS = b"""\
# HELP aggregator_unavailable_apiservice [ALPHA] Gauge of APIServices which are marked as unavailable
# TYPE aggregator_unavailable_apiservice gauge
aggregator_unavailable_apiservice{name="v1.apps"} 0
aggregator_unavailable_apiservice{name="v1beta1.metrics.k8s.io"} 1
aggregator_unavailable_apiservice{name="v1.late.example.com"} 1e+00
# TYPE aggregator_unavailable_apiservice_total counter
aggregator_unavailable_apiservice_total{name="v1.apps",reason="FailedDiscoveryCheck"} 7
x_aggregator_unavailable_apiservice{name="v1.x"} 1
apiserver_request_total{code="200",resource="apiservices",verb="GET"} 12
"""


def test_the_gauge_of_each_api_is_read_and_nothing_else(server: Https, tmp_path: Path) -> None:
    server.says("/metrics", 200, METRICS)
    assert ask(server, tmp_path).look(UnavailableApis(server.address)) == {
        "v1.apps": False,
        "v1beta1.metrics.k8s.io": True,
        "v1.late.example.com": True,
    }


def test_without_aggregated_apis_there_is_no_gauge(server: Https, tmp_path: Path) -> None:
    server.says("/metrics", 200, b"process_start_time_seconds 1.7e+09\n")
    assert ask(server, tmp_path).look(UnavailableApis(server.address)) == {}


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ({"status": {"allowed": True}}, True),
        ({"status": {"allowed": False, "denied": True}}, False),
        ({"status": {"allowed": False, "evaluationError": "no RBAC"}}, False),
        ({"status": {}}, False),
        ({}, False),
    ],
)
def test_a_right_is_had_where_the_server_says_so(
    server: Https, tmp_path: Path, body: dict[str, Any], may: bool
) -> None:
    server.says(ACCESS, 201, body)
    assert ask(server, tmp_path).look(MayGet("/metrics", server.address)) is may
    method, _, asked = server.asked[0]
    assert method == "POST"
    assert json.loads(asked["body"])["spec"] == {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}


def test_of_a_collection_only_the_metadata_is_asked_for(server: Https, tmp_path: Path) -> None:
    found = {"kind": "PartialObjectMetadataList", "items": [{"metadata": {"name": "a"}}]}
    server.says("/api/v1/secrets", 200, found)
    assert ask(server, tmp_path).look(MetadataIn("/api/v1/secrets", server.address)) == found
    accepted = server.asked[0][2]["Accept"]
    assert accepted == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


# --- lists in pages ----------------------------------------------------------------------------------------

LIST = "/apis/rbac.authorization.k8s.io/v1/rolebindings?labelSelector=a%3Db"
FIRST, TOKEN, SECOND = f"{LIST}&limit=500", "v1/7=+", f"{LIST}&limit=500&continue=v1%2F7%3D%2B"


def page(*names: str, then: str = "", **labels: str) -> dict[str, Any]:
    """A page of objects with managed fields, and what the next one is asked by."""
    metadata = {"labels": labels, "managedFields": [{"manager": "kubectl"}]}
    items = [{"metadata": {"name": name, **metadata}} for name in names]
    return {"kind": "List", "metadata": {"resourceVersion": "7", "continue": then}, "items": items}


def names_of(found: Any) -> list[tuple[str, bool]]:
    """Each object, and whether its managed fields are there."""
    return [(each["metadata"]["name"], "managedFields" in each["metadata"]) for each in found["items"]]


def test_a_list_is_read_to_its_last_page(server: Https, tmp_path: Path) -> None:
    server.says(FIRST, 200, page("a", then=TOKEN))
    server.says(SECOND, 200, page("b", "c"))
    found = ask(server, tmp_path).look(ObjectAt(LIST, server.address))
    assert names_of(found) == [("a", False), ("b", False), ("c", False)]
    assert (found["kind"], found["metadata"]["continue"]) == ("List", "")


def test_the_managed_fields_of_what_aggctl_may_write_to_are_kept(server: Https, tmp_path: Path) -> None:
    ours = {"app.kubernetes.io/managed-by": "aggctl"}
    server.says(FIRST, 200, page("a", then=TOKEN, **ours))
    server.says(SECOND, 200, page("b"))
    assert names_of(ask(server, tmp_path).look(ObjectAt(LIST, server.address))) == [("a", True), ("b", False)]
    server.says(f"{API_SERVICES}?limit=500", 200, page("v1.a", then="more"))
    server.says(f"{API_SERVICES}?limit=500&continue=more", 200, page("v1.b") | {"metadata": None})
    found = ask(server, tmp_path).look(MetadataIn(API_SERVICES, server.address))
    assert names_of(found) == [("v1.a", True), ("v1.b", True)]


def test_a_list_of_one_page_stays_as_it_is(server: Https, tmp_path: Path) -> None:
    server.says(FIRST, 200, page("a"))
    assert ask(server, tmp_path).look(ObjectAt(LIST, server.address)) == page("a")


def test_what_is_no_list_has_no_second_page(server: Https, tmp_path: Path) -> None:
    server.says(PATH, 200, {"kind": "ConfigMap", "metadata": {"continue": "more"}})
    assert ask(server, tmp_path).look(ObjectAt(PATH, server.address))["metadata"] == {"continue": "more"}
    assert len(server.asked) == 1


def test_a_list_whose_second_page_is_refused_is_not_taken_for_the_whole(
    server: Https, tmp_path: Path
) -> None:
    server.says(FIRST, 200, page("a", then=TOKEN))
    server.says(SECOND, 410, {"message": "The provided continue parameter is too old"})
    said = reason(ask(server, tmp_path).look(ObjectAt(LIST, server.address)), "apiserver-not-ready")
    assert "answered 410: The provided continue parameter is too old" in said


@pytest.mark.parametrize("items", [None, [], page("a")["items"]])
def test_pages_without_end_are_turned_for_some_time(
    server: Https, tmp_path: Path, items: list[Any] | None
) -> None:
    server.says(FIRST, 200, page("a", then=TOKEN))
    server.says(SECOND, 200, page(then=TOKEN) | {"items": items})
    found = ask(server, tmp_path, timeout=0.2).look(ObjectAt(LIST, server.address))
    assert "its pages have no end" in reason(found, "answer-not-understood")


LOG = "/api/v1/namespaces/shop/pods/web-1/log?container=web&tailLines=12&limitBytes=16384&previous="


@pytest.mark.parametrize("previous", [False, True])
def test_the_last_lines_of_a_container_come_fit_to_show(
    server: Https, tmp_path: Path, previous: bool
) -> None:
    server.says(LOG + str(previous).lower(), 200, b"first\n\n\x1b[31mred\x1b[0m\x00\xff\n" + b"x" * 600)
    said = ask(server, tmp_path).look(PodLog("shop", "web-1", "web", previous, server.address))
    assert said[:2] == ("first", "red \ufffd")
    assert (len(said), len(said[2])) == (3, 500)


def questions(address: str) -> list[tuple[str, Question]]:
    """Each question whose answer needs a right, with its path."""
    return [
        ("/metrics", UnavailableApis(address)),
        (ACCESS, MayGet("/metrics", address)),
        ("/api/v1/secrets", MetadataIn("/api/v1/secrets", address)),
        (SECRET, PairAt("shop", "tls", address)),
        (f"{LOG}false", PodLog("shop", "web-1", "web", False, address)),
    ]


@pytest.mark.parametrize("number", range(5), ids=["gauge", "right", "metadata", "pair", "log"])
@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "kubeconfig-not-accepted"), (403, "no-rights-in-cluster"), (500, "apiserver-not-ready")],
)
def test_what_may_not_be_seen_is_unknown_and_why(
    server: Https, tmp_path: Path, number: int, status: int, code: str
) -> None:
    path, question = questions(server.address)[number]
    server.says(path, status, {"kind": "Status", "message": "the words of the server"})
    assert "the words of the server" in reason(ask(server, tmp_path).look(question), code)


# --- serving pairs -----------------------------------------------------------------------------------------

SECRET = "/api/v1/namespaces/shop/secrets/tls"  # noqa: S105 -- its path
PAIR = leaf(authority("kubernetes"), "web.shop.svc", "server", "web.shop.svc")


def secret(data: dict[str, bytes], **metadata: Any) -> dict[str, Any]:
    encoded = {name: base64.b64encode(content).decode() for name, content in data.items()}
    return {"kind": "Secret", "metadata": {"name": "tls", **metadata}, "data": encoded}


WHOLE = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key, "ca.crt": b"a CA"}
KEY = pki.public_key_of(PAIR.key)


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (secret(WHOLE), PairSeen(PAIR.certificate, b"a CA", KEY, (), False)),
        (secret(WHOLE, annotations={CREATED: "x"}), PairSeen(PAIR.certificate, b"a CA", KEY, (), True)),
        (secret({"tls.crt": PAIR.certificate}), PairSeen(PAIR.certificate, b"", "", ("tls.key",), False)),
        (secret({"tls.key": PAIR.key, "tls.crt": b""}), PairSeen(b"", b"", KEY, ("tls.crt",), False)),
        (secret({"tls.crt": b"x", "tls.key": b"y"}), PairSeen(b"x", b"", "", (), False)),
        ({"kind": "Secret", "metadata": {}}, PairSeen(b"", b"", "", ("tls.crt", "tls.key"), False)),
    ],
    ids=["whole", "of aggctl", "no key", "no certificate", "a key that is none", "empty"],
)  # fmt: skip
def test_a_pair_is_seen_without_its_key(
    server: Https, tmp_path: Path, found: dict[str, Any], seen: PairSeen
) -> None:
    server.says(SECRET, 200, found)
    answer = ask(server, tmp_path).look(PairAt("shop", "tls", server.address))
    assert answer == seen
    assert PAIR.key.decode().splitlines()[1] not in repr(answer)


def test_a_secret_that_is_not_there_is_none(server: Https, tmp_path: Path) -> None:
    assert ask(server, tmp_path).look(PairAt("shop", "tls", server.address)) is None


@pytest.mark.parametrize(
    "body", [b'{"kind": "Secret", "metadata": {}, "data": {"tls.key": "a"}}', b"[]", b"{"]
)
def test_what_is_no_secret_is_unknown(server: Https, tmp_path: Path, body: bytes) -> None:
    server.says(SECRET, 200, body)
    assert isinstance(ask(server, tmp_path).look(PairAt("shop", "tls", server.address)), Unknown)


# --- a real one --------------------------------------------------------------------------------------------


@pytest.mark.controlplane
def test_a_real_kube_apiserver_answers_as_the_one_above(shared_sandbox: Running) -> None:
    kubeconfig = str(shared_sandbox.sandbox.kubeconfig)
    cluster = Cluster(lambda: find_credentials(kubeconfig, "", ""), Files("/"))
    server = shared_sandbox.sandbox.url
    assert cluster.look(MayGet("/metrics", server)) is True
    assert cluster.look(UnavailableApis(server))["v1.apps"] is False
    found = cluster.look(MetadataIn("/apis/apiregistration.k8s.io/v1/apiservices", server))
    assert found["kind"] == "PartialObjectMetadataList"
    assert {tuple(sorted(each)) for each in found["items"]} == {("apiVersion", "kind", "metadata")}
    assert cluster.look(MetadataIn("/apis/none.example.com/v1/things", server)) is None
    assert cluster.look(PairAt("default", "none", server)) is None
    log = cluster.look(PodLog("default", "none", "none", False, server))
    assert 'pods "none" not found' in reason(log, "apiserver-not-ready")
