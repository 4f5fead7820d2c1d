"""Workloads and their Pods: where the Pod template is, and what a command line says."""

from __future__ import annotations

from typing import Any

import pytest

from aggctl.core.podspec import (
    command_line,
    flag,
    is_workload,
    pod_labels,
    pod_spec,
    service_account,
    started_by_shell,
)

TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c"}]}}
WORKLOADS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Pod", **TEMPLATE},
    {"apiVersion": "v1", "kind": "ReplicationController", "spec": {"template": TEMPLATE}},
    {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": TEMPLATE}},
    {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": TEMPLATE}},
    {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": TEMPLATE}},
    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"template": TEMPLATE}},
    {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": TEMPLATE}},
    {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["kind"])
def test_the_pods_of_every_workload_are_found(workload: dict[str, Any]) -> None:
    assert is_workload(workload)
    assert (pod_labels(workload), pod_spec(workload)) == ({"app": "a"}, {"containers": [{"name": "c"}]})


@pytest.mark.parametrize(
    "thing", [{"apiVersion": "example.com/v1", "kind": "Deployment"}, {"kind": "Service"}, {}]
)
def test_other_kinds_are_no_workloads(thing: dict[str, Any]) -> None:
    assert not is_workload(thing)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"serviceAccountName": "a", "serviceAccount": "b"}, "a"),
        ({"serviceAccount": "b"}, "b"),
        ({}, "default"),
    ],
)
def test_the_service_account_of_a_pod(spec: dict[str, Any], name: str) -> None:
    assert service_account(spec) == name


# --- command lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--tls-cert-file=a"], "a"),
        (["--tls-cert-file", "a"], "a"),
        (["--tls_cert_file=a"], "a"),
        (["-tls-cert-file=a"], "a"),
        (["--tls-cert-file=a", "--tls-cert-file=b"], "b"),
        (["--tls-cert-file=a=b"], "a=b"),
        (["--tls-cert-file"], ""),
        (["--tls-cert-file", "--x"], ""),
        (["--", "--tls-cert-file=a"], None),
        (["tls-cert-file=a"], None),
        (["--other=--tls-cert-file"], None),
        ([], None),
    ],
)
def test_a_flag_is_read_as_the_server_reads_it(words: list[str], value: str | None) -> None:
    assert flag(words, "tls-cert-file") == value


def test_references_are_replaced_as_the_kubelet_does() -> None:
    container = {
        "command": ["$(BIN)", "$$(BIN)"],
        "args": ["$(A)/$(B)", "$(FROM)", 5],
        "env": [
            {"name": "BIN", "value": "/srv"},
            {"name": "A", "value": "a"},
            {"name": "B", "value": "$(A)"},
            {"name": "FROM", "valueFrom": {}},
        ],
    }

    assert command_line(container) == ("/srv", "$(BIN)", "a/$(A)", "$(FROM)")


@pytest.mark.parametrize(
    ("container", "shell"),
    [
        ({"command": ["/bin/sh", "-c", "exec x"]}, True),
        ({"command": ["bash"], "args": ["-ec", "x"]}, True),
        ({"command": ["/busybox/busybox", "sh", "-c", "x"]}, True),
        ({"command": ["bash", "/run.sh", "--secure-port=1"]}, False),
        ({"command": ["/srv", "-c", "x"]}, False),
        ({}, False),
    ],
)
def test_a_script_is_told_from_a_program(container: dict[str, Any], shell: bool) -> None:
    assert started_by_shell(container) is shell
