"""examples/hello-api against a real kube-apiserver: whom it believes, and what it follows while it runs."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from ruamel.yaml import YAML
from support.hello import GROUP, PROGRAM, HelloApi, ask, command, hello_api
from support.https import authority, leaf
from support.nodes import CONFIG_MAP, Node
from support.sandboxes import sandbox_in
from support.waiting import eventually

from aggctl.core import pki
from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.controlplane
BASE = f"/apis/{GROUP}/v1alpha1"
GREETINGS = f"{BASE}/namespaces/default/greetings"
ALICE = {"X-Remote-User": "alice"}
SERVICES = "/api/v1/namespaces/default/services"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
REFUSED = (ssl.SSLError, ConnectionError)
"""How a refused handshake looks under TLS 1.3: an alert, or the end of the connection before it was read."""
AT_ONCE = 5.0


@pytest.fixture(scope="module")
def node(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:  # noqa: ARG001 -- asked for to be skipped without them
    """A control plane with the layer on; each test leaves what is published as it was."""
    with sandbox_in(tmp_path_factory.mktemp("hello") / "sandbox", aggregation="on") as running:
        yield Node(running)


@pytest.fixture(scope="module")
def hello(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HelloApi]:
    """A server for the tests that do not change its files."""
    with hello_api(tmp_path_factory.mktemp("hello") / "api", node.running.sandbox.kubeconfig) as started:
        yield started


@pytest.fixture
def own(node: Node, tmp_path: Path) -> Iterator[HelloApi]:
    """A server of the test's own."""
    with hello_api(tmp_path / "api", node.running.sandbox.kubeconfig) as started:
        yield started


@pytest.fixture
def publish(node: Node) -> Iterator[Callable[..., None]]:
    """Change keys of the published ConfigMap; afterwards they are as they were."""
    before = node.published()

    def change(**keys: str) -> None:
        _patch(node, {f"requestheader-{key.replace('_', '-')}": value for key, value in keys.items()})

    yield change
    _patch(node, before)


def _patch(node: Node, data: dict[str, str]) -> None:
    assert _change(node, "PATCH", CONFIG_MAP, {"data": data}) == 200


def _change(node: Node, method: str, path: str, body: Any = None) -> int:
    """A request of the administrator that is neither GET nor POST; its status."""
    who = find_credentials(str(node.running.sandbox.kubeconfig), "", "")
    address = urlsplit(who.server)
    connection = http.client.HTTPSConnection(address.netloc, context=who.context())
    headers = {"Content-Type": "application/merge-patch+json"}
    with closing(connection):
        connection.request(method, path, json.dumps(body) if body else None, headers)
        return connection.getresponse().status


def front_proxy(node: Node, name: str = "front-proxy-client") -> pki.KeyPair:
    """A pair on the node: that of kube-apiserver as a client, or of the CA."""
    folder = node.root / "etc/kubernetes/pki"
    return pki.KeyPair((folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes())


def user_of(hello: HelloApi, client: pki.KeyPair, headers: dict[str, str]) -> dict[str, Any]:
    reply = hello.ask(f"{GREETINGS}/hello", client, headers)
    assert reply.status == 200, reply.body
    user: dict[str, Any] = reply.body["status"]["user"]
    return user


def is_let_in(hello: HelloApi, client: pki.KeyPair) -> bool:
    try:
        return hello.ask(GREETINGS, client, ALICE).status == 200
    except REFUSED:
        return False


# --- whom it believes ---


def test_the_front_proxy_may_speak_for_a_user_with_groups_and_extras(hello: HelloApi, node: Node) -> None:
    with closing(hello.connect(front_proxy(node))) as connection:
        connection.putrequest("GET", f"{GREETINGS}/hello")
        connection.putheader("X-Remote-User", "Zoë Жук".encode())
        for group in ("cooks", "system:authenticated"):
            connection.putheader("X-Remote-Group", group)
        for scope in ("read", "write"):
            connection.putheader("X-Remote-Extra-Example.com%2Fscopes", scope)
        connection.endheaders()
        greeting = json.load(connection.getresponse())
    assert greeting["status"]["message"] == "Hello, Zoë Жук!"
    assert greeting["status"]["user"]["groups"] == ["cooks", "system:authenticated"]
    assert greeting["status"]["user"]["extra"] == {"example.com/scopes": ["read", "write"]}


@pytest.mark.parametrize("path", ["/apis", BASE, GREETINGS])
def test_a_request_without_a_certificate_is_anonymous_and_forbidden(hello: HelloApi, path: str) -> None:
    reply = hello.ask(path, headers=ALICE)
    assert (reply.status, reply.body["kind"], reply.body["reason"]) == (403, "Status", "Forbidden")
    assert "system:anonymous" in reply.body["message"]


@pytest.mark.parametrize("name", ["another-ca", "front-proxy-ca"])
def test_a_certificate_of_another_ca_is_refused_whatever_its_name(
    hello: HelloApi, node: Node, name: str
) -> None:
    assert not is_let_in(hello, leaf(authority(name), "front-proxy-client"))
    assert is_let_in(hello, leaf(front_proxy(node, "front-proxy-ca"), "front-proxy-client"))


def test_a_certificate_of_the_right_ca_for_another_purpose_is_refused(hello: HelloApi, node: Node) -> None:
    assert not is_let_in(hello, leaf(front_proxy(node, "front-proxy-ca"), "front-proxy-client", "server"))


def test_a_name_that_is_not_allowed_is_unauthorized(hello: HelloApi, node: Node) -> None:
    other = leaf(front_proxy(node, "front-proxy-ca"), "somebody")
    reply = hello.ask(GREETINGS, other, ALICE)
    assert (reply.status, reply.body["reason"]) == (401, "Unauthorized")
    assert "'somebody' is not an allowed name" in reply.body["message"]


def test_a_request_that_names_no_user_is_unauthorized(hello: HelloApi, node: Node) -> None:
    reply = hello.ask(GREETINGS, front_proxy(node), {"X-Remote-Group": "system:masters"})
    assert (reply.status, reply.body["kind"], reply.body["reason"]) == (401, "Status", "Unauthorized")
    assert "X-Remote-User" in reply.body["message"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_is_told_without_a_certificate(hello: HelloApi, path: str) -> None:
    reply = hello.ask(path)
    assert (reply.status, reply.body) == (200, "ok")


def test_a_connection_without_a_certificate_is_ended_so_that_the_client_dials_anew(hello: HelloApi) -> None:
    """One that began while the layer was off was never asked for one, and would be refused for ever."""
    with closing(hello.connect()) as connection:
        assert ask(connection, GREETINGS, ALICE).status == 403
        assert connection.sock is None


# --- what it answers ---


def test_it_describes_its_group_versions_and_resource(node: Node, tmp_path: Path) -> None:
    versions = ("v1beta1", "v1alpha1")
    with hello_api(tmp_path, node.running.sandbox.kubeconfig, versions=versions) as two:

        def seen(path: str) -> Any:
            return two.ask(path, front_proxy(node), ALICE).body

        (group,) = seen("/apis")["groups"]
        assert [each["version"] for each in group["versions"]] == list(versions)
        assert seen(f"/apis/{GROUP}") == {"kind": "APIGroup", "apiVersion": "v1"} | group
        for version in versions:
            listed = seen(f"/apis/{GROUP}/{version}")
            assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", f"{GROUP}/{version}")
            (resource,) = listed["resources"]
            assert (resource["name"], resource["kind"], resource["namespaced"]) == (
                "greetings",
                "Greeting",
                True,
            )
            assert resource["verbs"] == ["get", "list"]
            (first, *_) = seen(f"/apis/{GROUP}/{version}/greetings")["items"]
            assert first["apiVersion"] == f"{GROUP}/{version}"


def test_a_list_and_its_items_agree(hello: HelloApi, node: Node) -> None:
    client = front_proxy(node)
    for path, namespace in ((f"{BASE}/greetings", "default"), (f"{BASE}/namespaces/x/greetings", "x")):
        listed = hello.ask(path, client, ALICE).body
        assert listed["kind"] == "GreetingList"
        for item in listed["items"]:
            assert item["metadata"]["namespace"] == namespace
            one = f"{BASE}/namespaces/{namespace}/greetings/{item['metadata']['name']}"
            assert hello.ask(one, client, ALICE).body == item


def test_kubectl_gets_a_table(hello: HelloApi, node: Node) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    found = hello.ask(f"{BASE}/greetings", front_proxy(node), ALICE | accept).body
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in found["columnDefinitions"]] == ["Name", "Says"]
    assert found["rows"][0]["cells"] == ["hello", "Hello, alice!"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{GREETINGS}/nobody", 404),
        ("GET", f"{BASE}/farewells", 404),
        ("GET", f"/apis/{GROUP}/v2", 404),
        ("GET", "/apis/example.com", 404),
        ("GET", "/openapi/v3", 404),
        ("GET", f"{GREETINGS}?watch=true", 405),
        ("POST", GREETINGS, 405),
        ("DELETE", f"{GREETINGS}/hello", 405),
        ("BREW", GREETINGS, 405),
    ],
)
def test_what_is_not_there_or_not_possible_is_a_status(
    hello: HelloApi, node: Node, method: str, path: str, status: int
) -> None:
    with closing(hello.connect(front_proxy(node))) as connection:
        reply = ask(connection, path, ALICE, method)
    assert (reply.status, reply.body["kind"], reply.body["code"]) == (status, "Status", status)
    assert reply.body["reason"] == {404: "NotFound", 405: "MethodNotAllowed"}[status]


def test_headers_and_body_leave_in_one_write_on_a_connection_that_stays(hello: HelloApi, node: Node) -> None:
    """One TLS record each: in two writes Nagle and the delayed acknowledgement cost 40 ms a request."""
    with closing(hello.connect(front_proxy(node))) as connection:
        connection.connect()
        for _ in range(3):
            connection.sock.sendall(f"GET {GREETINGS} HTTP/1.1\r\nX-Remote-User: alice\r\n\r\n".encode())
            head, _, body = connection.sock.recv(1 << 16).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(body)["kind"] == "GreetingList"


def test_a_request_is_logged_with_the_serial_of_the_client_certificate(hello: HelloApi, node: Node) -> None:
    pair = leaf(front_proxy(node, "front-proxy-ca"), "front-proxy-client")
    serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
    hello.ask(f"{GREETINGS}/hello?token=hush", pair, {"X-Remote-User": "mallory' \x1b[2J\x07"})
    shown = f"client-serial={serial:x} client-issuer='CN=front-proxy-ca'"
    said = f'GET {GREETINGS}/hello 200 user="mallory\'" {shown}'
    line = eventually(lambda: [each for each in hello.log.splitlines() if each.endswith(said)], said, AT_ONCE)
    assert re.fullmatch(r"\S+Z", line[0].removesuffix(said).strip())
    assert not re.search(r"hush|[\x00-\x09\x0b-\x1f\x7f]", hello.log)


def test_a_refused_request_is_logged_with_the_user_and_the_reason(hello: HelloApi, node: Node) -> None:
    hello.ask(f"{BASE}/farewells", front_proxy(node), ALICE)
    hello.ask(f"{BASE}/farewells", headers=ALICE)
    for who in ("404 user='alice' client-serial=[0-9a-f]+", "403 user='system:anonymous' client-serial=none"):
        assert re.search(f"GET {BASE}/farewells {who} .* refused=", hello.log)


# --- what it follows ---


def shows(hello: HelloApi, pair: pki.KeyPair) -> bool:
    return hello.ask("/livez").certificate == ssl.PEM_cert_to_DER_cert(pair.certificate.decode())


def test_a_renewed_serving_pair_is_shown_on_new_connections_and_old_ones_stay(
    own: HelloApi, node: Node
) -> None:
    with closing(own.connect(front_proxy(node))) as kept:
        before = ask(kept, GREETINGS, ALICE)
        pair = own.replace_pair()
        assert shows(own, pair)
        assert ask(kept, GREETINGS, ALICE) == before


def test_files_that_are_no_pair_leave_the_old_one_in_use(own: HelloApi) -> None:
    before, pair = own.ask("/livez").certificate, own.new_pair()
    for name, content in (("tls.key", pair.key), ("tls.crt", b"no certificate"), ("tls.crt", b"")):
        own.replace(name, content)
        assert own.ask("/livez").certificate == before
        assert own.ask("/livez").certificate == before
    (own.folder / "tls.crt").unlink()
    assert own.ask("/livez").certificate == before
    own.replace("tls.crt", pair.certificate)
    assert shows(own, pair)
    assert own.log.count("the serving certificate stays as it was") == 3  # once for each reason


def test_half_a_new_pair_does_not_keep_a_new_ca_out(
    own: HelloApi, node: Node, publish: Callable[..., None]
) -> None:
    before = own.ask("/livez").certificate
    own.replace("tls.key", own.new_pair().key)
    added = authority("front-proxy-ca-new")
    publish(client_ca_file=node.published()["requestheader-client-ca-file"] + added.certificate.decode())
    eventually(lambda: is_let_in(own, leaf(added, "front-proxy-client")), "the new CA is trusted", AT_ONCE)
    assert own.ask("/livez").certificate == before


def test_a_ca_is_accepted_while_it_is_published_also_on_connections_that_stay(
    own: HelloApi, node: Node, publish: Callable[..., None]
) -> None:
    old = node.published()["requestheader-client-ca-file"]
    added = authority("front-proxy-ca-new")
    client = leaf(added, "front-proxy-client")
    assert not is_let_in(own, client)
    with closing(own.connect(front_proxy(node))) as of_old, closing(own.connect(client)) as of_new:
        assert ask(of_old, GREETINGS, ALICE).status == 200
        publish(client_ca_file=old + added.certificate.decode())
        eventually(lambda: is_let_in(own, client), "the new CA is trusted", AT_ONCE)
        assert ask(of_new, GREETINGS, ALICE).status == 200
        publish(client_ca_file=old)
        eventually(lambda: not is_let_in(own, client), "the new CA is no longer trusted", AT_ONCE)
        assert ask(of_new, GREETINGS, ALICE).status == 401
        assert ask(of_old, GREETINGS, ALICE).status == 200


def test_names_and_headers_are_those_that_are_published(
    own: HelloApi, node: Node, publish: Callable[..., None]
) -> None:
    other = leaf(front_proxy(node, "front-proxy-ca"), "second-front-proxy")
    assert not is_let_in(own, other)
    publish(
        allowed_names='["front-proxy-client", "second-front-proxy"]',
        username_headers='["X-Remote-User", "X-Who"]',
        group_headers='["X-Remote-Group", "X-Team"]',
        extra_headers_prefix='["X-Remote-Extra-", "X-More-"]',
    )
    eventually(lambda: is_let_in(own, other), "the other name is allowed", AT_ONCE)
    seen = user_of(own, other, {"X-Who": "bob", "X-Team": "cooks", "X-More-Tool": "pan"})
    assert seen == {"name": "bob", "groups": ["cooks"], "extra": {"tool": ["pan"]}}


def test_it_comes_to_life_when_the_layer_is_switched_on_and_says_once_that_it_waits(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> None:
    with sandbox_in(tmp_path / "sandbox", grace=1.0) as running:
        node = Node(running)
        with hello_api(tmp_path / "api", running.sandbox.kubeconfig) as hello:
            for _ in range(2):
                reply = hello.ask(GREETINGS, leaf(authority("front-proxy-ca"), "front-proxy-client"), ALICE)
                assert (reply.status, reply.body["kind"]) == (403, "Status")
            assert hello.ask("/readyz").status == 200
            _patch(node, {"something": "else"})
            assert node.aggctl("enable", "--yes", "--routing", "off").returncode == 0
            eventually(lambda: is_let_in(hello, front_proxy(node)), "it is trusted")
            assert hello.log.count("publishes no front-proxy CA") == 1


# --- through kube-apiserver ---


@pytest.fixture
def unregistered(node: Node) -> Iterator[None]:
    """What a test registers is gone after it."""
    yield
    _change(node, "DELETE", f"{API_SERVICES}/v1alpha1.{GROUP}")
    _change(node, "DELETE", f"{SERVICES}/hello")


def register(node: Node, objects: list[dict[str, Any]]) -> None:
    for each in objects:
        path = {"Service": SERVICES, "APIService": API_SERVICES}[each["kind"]]
        answer = node.running.admin.ask(path, each)
        assert answer.status == 201, answer.text


def served(node: Node) -> Any:
    """A greeting through kube-apiserver, once it serves the API."""

    def ask_for_it() -> Any:
        answer = node.running.admin.ask(f"{GREETINGS}/hello")
        return json.loads(answer.text) if answer.status == 200 else None

    return eventually(ask_for_it, "kube-apiserver serves the API")


@pytest.mark.usefixtures("unregistered")
def test_kube_apiserver_serves_it_to_its_own_users(node: Node, own: HelloApi) -> None:
    register(node, [service(own), api_service(own)])
    greeting = served(node)
    assert greeting["status"]["message"] == "Hello, kubernetes-admin!"
    assert "kubeadm:cluster-admins" in greeting["status"]["user"]["groups"]
    serial = x509.load_pem_x509_certificate(front_proxy(node).certificate).serial_number
    assert f"user='kubernetes-admin' client-serial={serial:x} " in own.log
    eventually(lambda: "greetings" in discovered(node), "discovery lists the resource")


@pytest.mark.usefixtures("unregistered")
def test_the_readme_works_as_it_stands(node: Node, tmp_path: Path) -> None:
    """Its commands one by one, but for the sandbox, which is there, the port, and kubectl."""
    text = (PROGRAM.parent / "README.md").read_text()
    shell = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert shell
    up, pair, start, apply = re.split(r"\n(?=\w)", shell[1].replace("\\\n", ""), maxsplit=3)
    assert up == "aggctl sandbox up --dir /tmp/hello --aggregation on"
    subprocess.run(["/bin/bash", "-ec", pair], cwd=tmp_path, check=True, capture_output=True)
    start = start.replace("/tmp/hello", str(node.running.directory)).replace("6444", "0")  # noqa: S108 -- the README's words
    with started_by(start.removesuffix(" &"), tmp_path) as port:
        apply = (
            apply.replace("kubectl apply -f -", "cat")
            .partition("\nkubectl get")[0]
            .replace("6444", str(port))
        )
        yaml = subprocess.run(
            ["/bin/bash", "-ec", apply], cwd=tmp_path, check=True, capture_output=True
        ).stdout
        register(node, list(YAML(typ="safe", pure=True).load_all(yaml)))
        assert served(node)["status"]["message"] == "Hello, kubernetes-admin!"


@contextmanager
def started_by(line: str, folder: Path) -> Iterator[int]:
    """The server that a command line of the README starts; the port that it says it has."""
    words = line.split()
    assert words[:2] == ["python", "hello_api.py"]
    process = subprocess.Popen([sys.executable, str(PROGRAM), *words[2:]], cwd=folder, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        yield int(process.stdout.readline().rpartition(b":")[2])
    finally:
        process.terminate()
        process.communicate(timeout=AT_ONCE)


def discovered(node: Node) -> set[str]:
    """The resources of our group in the document that kubectl reads first."""
    context = find_credentials(str(node.running.sandbox.kubeconfig), "", "").context()
    connection = http.client.HTTPSConnection(urlsplit(node.url).netloc, context=context)
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    with closing(connection):
        connection.request("GET", "/apis", headers={"Accept": accept})
        groups = json.load(connection.getresponse())["items"]
    versions = (each for group in groups if group["metadata"]["name"] == GROUP for each in group["versions"])
    return {resource["resource"] for version in versions for resource in version.get("resources", [])}


def service(hello: HelloApi) -> dict[str, Any]:
    """There are no Pods here: the Service is another name for this machine."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": hello.port}]},
    }


def api_service(hello: HelloApi) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1alpha1.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": "v1alpha1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "caBundle": base64.b64encode(hello.ca.certificate).decode(),
            "service": {"name": "hello", "namespace": "default", "port": hello.port},
        },
    }


# --- as a process ---


def test_sigterm_ends_it_at_once_also_with_a_client_attached(own: HelloApi, node: Node) -> None:
    with closing(own.connect(front_proxy(node))) as kept:
        assert ask(kept, GREETINGS, ALICE).status == 200
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(AT_ONCE) == 0
    assert "Traceback" not in own.log


def test_it_stays_below_60_mb(hello: HelloApi, node: Node) -> None:
    for _ in range(20):
        assert is_let_in(hello, front_proxy(node))
    status = Path(f"/proc/{hello.process.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 60_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no certificate", "tls.crt cannot be read: No such file or directory"),
        ("no pair", "tls.crt and {folder}/tls.key are not a certificate and its key (KEY_VALUES_MISMATCH)"),
        ("encrypted key", "are not a certificate and its key"),
        ("port that is none", "cannot listen on 127.0.0.1, port 65536: "),
        ("no kubeconfig", "none.conf cannot be used: No such file or directory"),
        ("port taken", "cannot listen on 127.0.0.1, port {port}: [Errno 98] Address already in use"),
    ],
)
def test_bad_input_is_one_sentence(node: Node, tmp_path: Path, change: str, said: str) -> None:
    ca = authority("hello-api-ca")
    pair, other = leaf(ca, "hello", "server"), leaf(ca, "hello", "server")
    key = {"no pair": other.key, "encrypted key": encrypted(pair.key)}.get(change, pair.key)
    (tmp_path / "tls.key").write_bytes(key)
    if change != "no certificate":
        (tmp_path / "tls.crt").write_bytes(pair.certificate)
    kubeconfig = tmp_path / "none.conf" if change == "no kubeconfig" else node.running.sandbox.kubeconfig
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = {"port taken": taken.getsockname()[1], "port that is none": 65536}.get(change, 0)
        done = subprocess.run(
            command(tmp_path, kubeconfig, port), capture_output=True, text=True, check=False, timeout=30
        )
    *_, line = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert said.format(folder=tmp_path, port=port) in line
    assert (done.returncode, done.stdout) == (1, "")


def encrypted(key: bytes) -> bytes:
    """A private key behind a password, for which no server may ask a terminal."""
    return pki.load_key(key).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
