"""The kube-apiserver static Pod: whole files, and the mounts that an edit adds."""

from __future__ import annotations

import pytest
from support.manifests import FILES, MOUNTS, NEW, ROUTING, TAIL, command, pod, read

from aggctl.core.manifest import NewMount, edit_manifest, read_manifest
from aggctl.errors import Refused

# --- whole files -----------------------------------------------------------------------------------------


def lines_added(before: str, after: str) -> list[str]:
    """What is new, once it is certain that nothing is missing."""
    rest = iter(after.splitlines(keepends=True))
    added = []
    for line in before.splitlines(keepends=True):
        while (other := next(rest)) != line:
            added.append(other)
    return [*added, *rest]


def edited(name: str) -> tuple[str, str]:
    manifest = read_manifest((FILES / name).read_bytes(), name)
    return manifest.text, edit_manifest(manifest, ROUTING, [NewMount("aggctl-pki", "/etc/aggctl/pki")])


def test_kubeadm_gets_sorted_lines_and_entries_in_its_own_order() -> None:
    assert "".join(lines_added(*edited("kubeadm.yaml"))) == (
        "    - --enable-aggregator-routing=true\n"
        "    - mountPath: /etc/aggctl/pki\n      name: aggctl-pki\n      readOnly: true\n"
        "  - hostPath:\n      path: /etc/aggctl/pki\n      type: DirectoryOrCreate\n    name: aggctl-pki\n"
    )


def test_a_manifest_by_hand_keeps_its_hand() -> None:
    before, after = edited("by-hand.yaml")

    assert "".join(lines_added(before, after)) == (
        '              - "--enable-aggregator-routing=true"\n'
        "              - name: aggctl-pki\n"
        "                mountPath: /etc/aggctl/pki\n"
        "                readOnly: true\n"
        "        - name: aggctl-pki\n"
        "          hostPath:\n"
        "              path: /etc/aggctl/pki\n"
        "              type: DirectoryOrCreate\n"
    )
    assert '"--audit-log-path=-"\n              - "--enable-aggregator-routing=true"\n#   ' in after


@pytest.mark.parametrize(
    ("name", "indent", "newline"), [("pretty.json", "  ", "\n"), ("tabs.json", "\t", "\r\n")]
)
def test_pretty_json_stays_pretty(name: str, indent: str, newline: str) -> None:
    after = edited(name)[1]

    items = ['"--client-ca-file=/etc/kubernetes/pki/ca.crt",', '"--enable-aggregator-routing=true",']
    assert newline.join(indent * 5 + item for item in items) in after
    entry = ['"name": "aggctl-pki",', '"mountPath": "/etc/aggctl/pki",', '"readOnly": true']
    lines = [indent * 5 + "},", indent * 5 + "{", *(indent * 6 + line for line in entry), indent * 5 + "}"]
    assert newline.join(lines) in after
    assert after.count("\n") == after.count(newline)


def test_json_in_one_line_stays_one_line() -> None:
    before, after = edited("one-line.json")

    assert after.count("\n") == 0
    assert len(after) == len(before) + len(
        ',"--enable-aggregator-routing=true"'
        ',{"name":"aggctl-pki","mountPath":"/etc/aggctl/pki","readOnly":true}'
        ',{"name":"aggctl-pki","hostPath":{"path":"/etc/aggctl/pki","type":"DirectoryOrCreate"}}'
    )


# --- mounts ----------------------------------------------------------------------------------------------

PKI = NewMount("front-proxy", "/srv/front-proxy")


def with_mount(text: str) -> str:
    once = edit_manifest(read(text), {}, [PKI])
    assert edit_manifest(read(once), {}, [PKI]) == once
    assert read(once).host_path("/srv/front-proxy/ca.crt") == "/srv/front-proxy/ca.crt"
    return once


def test_missing_lists_are_added_where_container_and_pod_end() -> None:
    before = pod("command:", "- kube-apiserver", "- --a=1", tail="")
    flags = edit_manifest(read(before), ROUTING, [PKI])

    assert with_mount(before) == before + (
        "    volumeMounts:\n"
        "    - mountPath: /srv/front-proxy\n      name: front-proxy\n      readOnly: true\n"
        "  volumes:\n"
        "  - hostPath:\n      path: /srv/front-proxy\n      type: DirectoryOrCreate\n    name: front-proxy\n"
    )
    assert flags == with_mount(before).replace("--a=1\n", "--a=1\n" + NEW)


def test_empty_brackets_are_filled() -> None:
    tail = "    volumeMounts: []\n  volumes: [ ]\n"

    assert 'volumeMounts: [{"mountPath": "/srv/front-proxy", "name": "front-proxy", "readOnly": true}]\n' in (
        with_mount(pod("command: [kube-apiserver, --a=1]", tail=tail))
    )


def test_entries_in_braces_have_neighbours_in_braces() -> None:
    after = with_mount(
        pod(
            "command: [kube-apiserver, --a=1]",
            "volumeMounts: [{ name: a, mountPath: /a }]",
            tail="  volumes:\n  - {hostPath: {path: /a}, name: a}\n",
        )
    )

    assert "}, { name: front-proxy, mountPath: /srv/front-proxy, readOnly: true }]\n" in after
    assert "\n  - {hostPath: {path: /srv/front-proxy, type: DirectoryOrCreate}, name: front-proxy}\n" in after


def test_a_neighbour_with_a_nested_brace_gives_the_usual_indent() -> None:
    tail = TAIL.replace(
        "hostPath:\n      path: /etc/kubernetes/pki\n      type: DirectoryOrCreate", "hostPath: {path: /x}"
    )

    assert "  - hostPath:\n      path: /srv/front-proxy\n" in with_mount(
        pod("command: [kube-apiserver, --a=1]", tail=tail)
    )


def test_volumes_of_other_kinds_and_without_a_name_are_left_alone() -> None:
    odd = "  - projected:\n      sources: []\n    name: token\n  - hostPath: {path: /x}\n"

    assert with_mount(command("--a=1") + odd).startswith(command("--a=1")[: -len(TAIL)])


def test_a_folder_that_is_mounted_already_is_not_mounted_again() -> None:
    text = command("--a=1")

    assert edit_manifest(read(text), {}, [NewMount("other-name", "/etc/kubernetes/pki/")]) == text


@pytest.mark.parametrize(
    ("text", "mount", "code", "words"),
    [
        (command("--a=1"), NewMount("k8s-certs", "/new"), "mount-name-taken", "line 22"),
        (
            command("--a=1").replace("path: /etc", "path: /srv"),
            NewMount("x", "/etc/kubernetes/pki"),
            "mount-path-taken",
            "line 8",
        ),
        (
            pod("command: [kube-apiserver, --a=1]", tail=MOUNTS),
            NewMount("x", "/etc/kubernetes/pki/empty"),
            "mount-path-taken",
            "line 8",
        ),
        (
            pod("command: [kube-apiserver, --a=1]", "volumeMounts:", tail=""),
            PKI,
            "manifest-bad-shape",
            "volumeMounts",
        ),
        (
            pod("command:", "- kube-apiserver", "- --a=1", "x: |", "  y", tail=""),
            PKI,
            "manifest-bad-shape",
            "line 13: a block scalar",
        ),
        (command("--a=1"), NewMount("x", "relative"), "manifest-edit-unproven", "no valid manifest"),
        (command("--a=1"), NewMount("\ud800", "/b"), "manifest-edit-unproven", "no valid manifest"),
    ],
    ids=[
        "name taken",
        "another host path",
        "an emptyDir there",
        "a key without value",
        "a block scalar last",
        "relative",
        "no text",
    ],
)
def test_a_mount_that_is_not_safe_is_refused(text: str, mount: NewMount, code: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        edit_manifest(read(text), {}, [mount])

    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message
