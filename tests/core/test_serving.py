"""Who serves, and with which certificate: found in Pods of many shapes, and given to those that have none."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.manifestset import Item
from aggctl.core.podspec import (
    WhyNot,
    pod_spec,
)
from aggctl.core.serving import (
    ServingSecret,
    container_for,
    image_arguments_lost,
    listening_ports,
    serving_secret,
    target_port,
    tls_names,
    with_serving_secret,
    workload_for,
)
from aggctl.errors import Refused

FLAGS = ["--tls-cert-file=/certs/tls.crt", "--tls-private-key-file=/certs/tls.key"]
MOUNT = {"name": "certs", "mountPath": "/certs"}
VOLUME = {"name": "certs", "secret": {"secretName": "serving"}}


def pod(container: dict[str, Any] | None = None, *volumes: dict[str, Any]) -> dict[str, Any]:
    """A Pod's spec whose only container serves with a Secret, but for what is given."""
    usual = {"name": "server", "args": FLAGS, "volumeMounts": [MOUNT]}
    return {"containers": [usual | (container or {})], "volumes": list(volumes) or [VOLUME]}


def deployment(spec: dict[str, Any], name: str = "server", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": labels or {"app": "a"}}, "spec": spec}},
    }


def service(*ports: dict[str, Any], **selector: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "things", "namespace": "shop"},
        "spec": {"ports": list(ports), "selector": selector},
    }


def test_the_names_of_a_certificate_begin_with_the_one_that_is_asked_for() -> None:
    assert tls_names("a", "b") == ("a.b.svc", "a.b", "a.b.svc.cluster.local")
    assert tls_names("a", "b", "corp.local")[2] == "a.b.svc.corp.local"


def test_the_workload_behind_a_service_has_its_labels_and_namespace() -> None:
    elsewhere = deployment(pod(), app="a") | {"metadata": {"name": "z", "namespace": "z"}}
    objects = [deployment(pod(), app="b"), elsewhere, service(app="a"), deployment(pod(), app="a", tier="x")]
    items = [Item(each, "") for each in objects]

    assert workload_for(items, service(app="a")) is items[3]


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ({}, "Service shop/things has no selector, so that its endpoints are made by somebody else"),
        ({"app": "z"}, "Service shop/things selects no workload among these manifests"),
        ({"app": "a"}, "Service shop/things selects several: Deployment shop/one, Deployment shop/two"),
    ],
)
def test_why_there_is_no_workload(selector: dict[str, str], reason: str) -> None:
    items = [Item(deployment(pod(), name), "") for name in ("one", "two")]

    assert workload_for(items, service(**selector)) == WhyNot(reason)


# --- containers ----------------------------------------------------------------------------------------


WEB = {"name": "web", "ports": [{"containerPort": 8080, "name": "http"}]}
API = {"name": "api", "ports": [{"containerPort": 6443, "name": "https"}]}


@pytest.mark.parametrize(
    ("port", "containers", "found"),
    [
        ({"port": 443, "targetPort": 9}, [WEB], "web"),
        ({"port": 443, "targetPort": 6443}, [WEB, API], "api"),
        ({"port": 443, "targetPort": "https"}, [WEB, API], "api"),
        ({"port": 443, "targetPort": "https"}, [API], "api"),
        ({"port": 443}, [WEB, {"name": "s", "args": ["--secure_port", "443"]}], "s"),
        ({"port": 443, "targetPort": "x"}, [API], WhyNot("no container has a port named x")),
        ({"port": 444}, [API], WhyNot("Service shop/things has no port 443")),
        (
            {"port": 443, "targetPort": 9},
            [WEB, API],
            WhyNot("none of 2 containers says that it listens on 9"),
        ),
        ({"port": 443, "targetPort": 9}, [], WhyNot("none of 0 containers says that it listens on 9")),
    ],
)
def test_the_container_behind_a_port(port: dict[str, Any], containers: list[Any], found: object) -> None:
    result = container_for({"containers": containers}, service(port), 443)

    assert (result if isinstance(result, WhyNot) else result["name"]) == found


def test_a_target_port_is_a_number_a_name_or_the_port_itself() -> None:
    things = service({"port": 1}, {"port": 2, "targetPort": "a"}, {"port": 3, "targetPort": 4})

    assert [target_port(things, port) for port in (1, 2, 3, 5)] == [1, "a", 4, None]


@pytest.mark.parametrize(
    ("container", "ports"),
    [
        ({"ports": [{"containerPort": 1}, {"containerPort": "x"}], "args": ["--secure-port=2"]}, (1, 2)),
        ({"ports": [{"containerPort": 1}], "args": ["--secure-port=1"]}, (1,)),
        ({"args": ["--secure-port=" + "9" * 5000]}, ()),
        ({"args": ["--secure-port"]}, ()),
        ({}, ()),
    ],
)
def test_the_ports_that_a_container_names(container: dict[str, Any], ports: tuple[int, ...]) -> None:
    assert listening_ports(container) == ports


# --- which Secret --------------------------------------------------------------------------------------


PROJECTED = {
    "name": "certs",
    "projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "s"}}]},
}
MAPPED = [{"key": "cert", "path": "tls.crt"}, {"key": "key", "path": "tls.key"}]


@dataclass(frozen=True)
class Serves:
    """A Pod's spec, and Secret, cert entry and key entry that are found in it."""

    says: str
    spec: dict[str, Any]
    found: tuple[str, str, str] = ("serving", "tls.crt", "tls.key")
    sub_path: bool = False


SERVES = [
    Serves("a Secret volume", pod()),
    Serves("flags in command", pod({"command": ["/srv", *FLAGS], "args": None})),
    Serves("values as words of their own", pod({"args": ["--tls_cert_file", "/certs/tls.crt", FLAGS[1]]})),
    Serves(
        "a folder in a variable",
        pod(
            {
                "args": [each.replace("/certs", "$(DIR)") for each in FLAGS],
                "env": [{"name": "DIR", "value": "/certs"}],
            }
        ),
    ),
    Serves("a deeper mount counts", pod({"volumeMounts": [{"name": "tmp", "mountPath": "/"}, MOUNT]})),
    Serves("odd slashes", pod({"volumeMounts": [MOUNT | {"mountPath": "/certs//"}]})),
    Serves(
        "other entries of the Secret",
        pod({"args": [FLAGS[0] + "x", FLAGS[1]]}),
        ("serving", "tls.crtx", "tls.key"),
    ),
    Serves(
        "items",
        pod(None, {"name": "certs", "secret": {"secretName": "s", "items": MAPPED}}),
        ("s", "cert", "key"),
    ),
    Serves(
        "items in a folder",
        pod(
            {"args": [each.replace("/certs", "/certs/d") for each in FLAGS]},
            {
                "name": "certs",
                "secret": {
                    "secretName": "s",
                    "items": [each | {"path": f"d/{each['path']}"} for each in MAPPED],
                },
            },
        ),
        ("s", "cert", "key"),
    ),
    Serves("a projected Secret", pod(None, PROJECTED), ("s", "tls.crt", "tls.key")),
    Serves(
        "projected items",
        pod(
            None,
            {
                "name": "certs",
                "projected": {
                    "sources": [{"secret": {"name": "z"}}, {"secret": {"name": "s", "items": MAPPED}}]
                },
            },
        ),
        ("s", "cert", "key"),
    ),
    Serves(
        "single files",
        pod(
            {
                "volumeMounts": [
                    {"name": "certs", "mountPath": "/certs/tls.crt", "subPath": "a.crt"},
                    {"name": "certs", "mountPath": "/certs/tls.key", "subPath": "a.key"},
                ]
            }
        ),
        ("serving", "a.crt", "a.key"),
        sub_path=True,
    ),
    Serves(
        "the usual pair of --cert-dir",
        pod({"args": ["--cert-dir=/certs/"]}),
        ("serving", "apiserver.crt", "apiserver.key"),
    ),
]


@pytest.mark.parametrize("case", SERVES, ids=lambda case: case.says)
def test_the_secret_is_found(case: Serves) -> None:
    found = serving_secret(case.spec, "shop", "server")

    assert isinstance(found, ServingSecret), found
    assert (found.secret, found.cert_entry, found.key_entry) == case.found
    assert (found.namespace, found.container, found.volume, found.given) == ("shop", "server", "certs", True)
    assert found.sub_path is case.sub_path


WHY_NOT = [
    (pod({"args": []}), "it is started without --tls-cert-file and --tls-private-key-file"),
    (pod({"args": FLAGS[:1]}), "only one of --tls-cert-file and --tls-private-key-file is set"),
    (pod({"args": FLAGS[1:]}), "only one of --tls-cert-file and --tls-private-key-file is set"),
    (
        pod({"command": ["sh", "-c", f"exec srv {FLAGS[0]}"], "args": None}),
        "the server is started by a shell, and its flags stand in a script",
    ),
    (pod({"args": ["--tls-cert-file=a", FLAGS[1]]}), "a is no absolute path"),
    (pod({"args": [FLAGS[0], "--tls-private-key-file=a"]}), "a is no absolute path"),
    (pod({"volumeMounts": []}), "/certs/tls.crt is a file of the image: nothing is mounted there"),
    (pod({"volumeMounts": [MOUNT | {"subPathExpr": "$(X)"}]}), "/certs/tls.crt is mounted by subPathExpr"),
    (pod(None, {"name": "certs", "emptyDir": {}}), "/certs/tls.crt lies in a volume of kind emptyDir"),
    (pod(None, {"name": "other"}), "/certs/tls.crt lies in a volume that is not defined"),
    (pod(None, {"name": "certs", "secret": {"items": []}}), "/certs/tls.crt is put there by no Secret"),
    (
        pod(None, {"name": "certs", "secret": {"secretName": "s", "items": MAPPED[:1]}}),
        "/certs/tls.key is put there by no Secret",
    ),
    (
        pod({"args": [FLAGS[0].replace("/tls", "/d/tls"), FLAGS[1]]}),
        "/certs/d/tls.crt is put there by no Secret",
    ),
    (pod({"args": ["--tls-cert-file=/certs", FLAGS[1]]}), "/certs is put there by no Secret"),
    (
        pod(
            None,
            {
                "name": "certs",
                "projected": {"sources": [{"secret": {"name": "a"}}, {"secret": {"name": "b"}}]},
            },
        ),
        "/certs/tls.crt may come from several Secrets",
    ),
    (
        pod(
            {"volumeMounts": [MOUNT, {"name": "key", "mountPath": "/certs/tls.key", "subPath": "tls.key"}]},
            VOLUME,
            {"name": "key", "secret": {"secretName": "k"}},
        ),
        "certificate and key come from two Secrets, serving and k",
    ),
]


@pytest.mark.parametrize(("spec", "reason"), WHY_NOT, ids=lambda each: each if isinstance(each, str) else "")
def test_why_there_is_no_secret(spec: dict[str, Any], reason: str) -> None:
    assert serving_secret(spec, "shop", "server") == WhyNot(reason)


def test_a_container_that_is_not_there_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(IndexError):
        serving_secret(pod(), "shop", "other")


# --- a certificate for who has none --------------------------------------------------------------------


OURS = ["--tls-cert-file=/aggctl-tls/tls.crt", "--tls-private-key-file=/aggctl-tls/tls.key"]


def given_one(container: dict[str, Any], *volumes: dict[str, Any]) -> dict[str, Any]:
    return pod_spec(with_serving_secret(deployment(pod(container, *volumes)), "server", "things-tls"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"args": ["--a"]}, {"args": ["--a", *OURS]}),
        ({"args": None}, {"args": OURS}),
        ({"args": None, "command": ["/srv", "--a"]}, {"args": None, "command": ["/srv", "--a", *OURS]}),
        ({"args": None, "command": ["/srv"]}, {"args": OURS, "command": ["/srv"]}),
        ({"args": ["--a"], "command": ["/srv", "--b"]}, {"args": ["--a", *OURS], "command": ["/srv", "--b"]}),
        ({"args": ["--a", "--", "x"]}, {"args": ["--a", *OURS, "--", "x"]}),
        ({"args": ["--tls-cert-file=/z", "--a"]}, {"args": [OURS[0], "--a", OURS[1]]}),
        (
            {"args": ["--tls_cert_file", "/z", "--a"]},
            {"args": ["--tls_cert_file", OURS[0][16:], "--a", OURS[1]]},
        ),
        ({"args": ["--tls-cert-file"]}, {"args": OURS}),
        ({"args": ["--tls-cert-file=/z", "--tls-cert-file=/y"]}, {"args": [OURS[0], OURS[0], OURS[1]]}),
        (
            {"args": ["--a"], "command": ["/srv", "--tls-private-key-file=/z"]},
            {"args": ["--a", OURS[0]], "command": ["/srv", OURS[1]]},
        ),
        ({"args": [5, "--a"]}, {"args": [5, "--a", *OURS]}),
    ],
)
def test_the_flags_go_where_flags_are(before: dict[str, Any], after: dict[str, Any]) -> None:
    (container,) = given_one(before, {"name": "x", "emptyDir": {}})["containers"]

    assert {key: container[key] for key in after} == after


def test_the_secret_is_mounted_read_only_and_nothing_else_changes() -> None:
    workload = deployment(pod({"args": None, "volumeMounts": None}, {"name": "x", "emptyDir": {}}))
    before = copy.deepcopy(workload)

    after = with_serving_secret(workload, "server", "things-tls")

    assert workload == before
    spec = pod_spec(after)
    assert spec["volumes"] == [
        {"name": "x", "emptyDir": {}},
        {"name": "aggctl-tls", "secret": {"secretName": "things-tls"}},
    ]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "aggctl-tls", "mountPath": "/aggctl-tls", "readOnly": True}
    ]
    assert after["metadata"] == before["metadata"]


def test_what_was_given_is_found_and_not_given_twice() -> None:
    once = with_serving_secret(deployment(pod({"args": None})), "server", "things-tls")

    found = serving_secret(pod_spec(once), "shop", "server")

    assert isinstance(found, ServingSecret)
    assert (found.secret, found.volume, found.given) == ("things-tls", "aggctl-tls", False)
    assert with_serving_secret(once, "server", "things-tls") == once
    other = with_serving_secret(once, "server", "other")
    assert pod_spec(other)["volumes"][-1]["secret"] == {"secretName": "other"}
    assert len(pod_spec(other)["volumes"]) == 2


def test_a_workload_that_serves_with_a_secret_stays_as_it_is() -> None:
    workload = deployment(pod())

    assert with_serving_secret(workload, "server", "things-tls") == workload


def test_a_script_takes_no_flags() -> None:
    workload = deployment(pod({"command": ["sh", "-c", "exec srv"], "args": None}))

    with pytest.raises(Refused, match="container server is started by a shell") as caught:
        with_serving_secret(workload, "server", "things-tls")
    assert caught.value.code == "server-started-by-shell"


def test_flags_of_the_image_are_lost_where_the_manifest_names_none() -> None:
    assert image_arguments_lost({"name": "x"})
    assert not image_arguments_lost({"command": ["/srv"]})
    assert not image_arguments_lost({"args": ["--a"]})


@given(
    st.lists(
        st.sampled_from([*FLAGS, "--tls-cert-file", "/z", "--a", "--", "x", "--cert-dir=/z"]), max_size=6
    )
)
def test_whatever_the_arguments_the_server_ends_up_with_the_secret(words: list[str]) -> None:
    spec = given_one({"args": words}, {"name": "x", "emptyDir": {}})

    found = serving_secret(spec, "shop", "server")

    assert isinstance(found, ServingSecret)
    assert (found.secret, found.cert_entry, found.key_entry) == ("things-tls", "tls.crt", "tls.key")
