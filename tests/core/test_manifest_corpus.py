"""Real manifests out of the folder named by AGGCTL_CORPUS: each is edited cleanly, or refused rightly.

The files themselves have other licences and are no part of this repository; what shall happen to each is.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from aggctl.core.manifest import NewMount, edit_manifest, read_manifest
from aggctl.errors import Refused

CORPUS = os.environ.get("AGGCTL_CORPUS", "")

pytestmark = pytest.mark.skipif(not CORPUS, reason="AGGCTL_CORPUS names no folder of real manifests")

KUBEADM = {
    "requestheader-client-ca-file": "/etc/kubernetes/pki/front-proxy-ca.crt",
    "requestheader-allowed-names": "front-proxy-client",
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-username-headers": "X-Remote-User",
    "proxy-client-cert-file": "/etc/kubernetes/pki/front-proxy-client.crt",
    "proxy-client-key-file": "/etc/kubernetes/pki/front-proxy-client.key",
    "enable-aggregator-routing": "true",
}

EDITED = {
    # file: how many of the eight flags it lacks
    "sp-003.yaml": 1,
    "sp-005.yaml": 8,
    "sp-007.yaml": 1,
    "sp-009.yaml": 1,
    "sp-013.yaml": 1,
    "sp-015.yaml": 8,
    "sp-017.yaml": 1,
    "sp-019.yaml": 8,
    "sp-021.yaml": 1,
    "sp-023.yaml": 1,
    "sp-025.yaml": 1,
    "sp-027.yaml": 8,
    "sp-029.yaml": 1,
    "sp-033.yaml": 1,
    "sp-035.yaml": 1,
    "sp-037.yaml": 1,
    "sp-039.yaml": 1,
    "sp-041.yaml": 7,
    "sp-043.yaml": 1,
    "sp-045.yaml": 1,
    "sp-047.yaml": 1,
    "sp-049.yaml": 1,
    "sp-057.yaml": 1,
    "sp-061.yaml": 1,
    "sp-063.yaml": 1,
    "sp-068.yaml": 1,
    "sp-070.yaml": 1,
    "sp-072.yaml": 1,
    "sp-074.yaml": 8,
    "sp-076.yaml": 8,
}

REFUSED = {
    "sp-001.yaml": "manifest-is-template",
    "sp-011.yaml": "manifest-is-template",
    "sp-031.json": "flags-in-config-file",
    "sp-051.yaml": "mirror-pod-export",
    "sp-053.yaml": "mirror-pod-export",
    "sp-055.yaml": "manifest-shell-command",
    "sp-059.yaml": "manifest-shell-command",
    "sp-065.yaml": "mirror-pod-export",
    "ot-001.yaml": "not-a-static-pod",
    "ot-004.yaml": "manifest-no-document",
    "ot-007.conf": "manifest-not-yaml",
    "ot-009.yaml": "not-a-static-pod",
    "sd-005.service": "manifest-is-template",
    "tp-002.yaml": "manifest-is-template",
    "tp-004.yaml": "manifest-is-template",
    "tp-006.manifest": "manifest-is-template",
    "tp-008.yaml": "manifest-is-template",
    "tp-010.yaml": "manifest-is-template",
    "tp-012.yaml": "manifest-is-template",
    "tp-015.yaml": "manifest-is-template",
    "tp-018.yaml": "manifest-is-template",
    "tp-020.yaml": "manifest-is-template",
    "ev-001.env": "manifest-not-yaml",
    "ev-003.env": "manifest-not-yaml",
    "k3-001.yaml": "not-a-static-pod",
    "k3-004.yaml": "not-a-static-pod",
    "ka-003.yaml": "not-a-static-pod",
    "ka-006.yaml": "manifest-several-documents",
    "mk-001.args": "manifest-not-yaml",
    "sd-001.service": "manifest-not-yaml",
    "sd-003.service": "manifest-not-yaml",
    "sd-006.service": "manifest-not-yaml",
    "sd-008.service": "manifest-not-yaml",
    "sd-011.service": "manifest-not-yaml",
}


def path_of(name: str) -> Path:
    folders = ("static-pods", "not-editable", "other-forms")
    return next(path for folder in folders if (path := Path(CORPUS) / folder / name).exists())


@pytest.mark.parametrize(("name", "missing"), EDITED.items())
def test_a_static_pod_gets_what_it_lacks_and_nothing_else(name: str, missing: int) -> None:
    manifest = read_manifest(path_of(name).read_bytes(), name)
    wanted = {flag: value for flag, value in KUBEADM.items() if not manifest.values(flag)}

    after = edit_manifest(manifest, wanted)

    assert len(wanted) == missing
    added, removed = difference(manifest.text, after)
    assert removed == []
    assert sorted(line.strip() for line in added) == sorted(f"- --{flag}={wanted[flag]}" for flag in wanted)
    assert edit_manifest(read_manifest(after.encode(), name), wanted) == after


@pytest.mark.parametrize("name", EDITED)
def test_a_static_pod_gets_a_mount_and_nothing_else(name: str) -> None:
    manifest = read_manifest(path_of(name).read_bytes(), name)

    after = edit_manifest(manifest, {}, [NewMount("aggctl-pki", "/etc/aggctl/pki")])

    added, removed = difference(manifest.text, after)
    assert (len(added), removed) == (7, [])
    assert read_manifest(after.encode(), name).host_path("/etc/aggctl/pki/a.crt") == "/etc/aggctl/pki/a.crt"


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_what_is_no_plain_static_pod_is_refused(name: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read_manifest(path_of(name).read_bytes(), name)

    assert caught.value.code == code, caught.value.message
    assert caught.value.message.startswith(name)


def test_every_file_has_an_expected_result() -> None:
    names = {
        path.name
        for folder in ("static-pods", "not-editable", "other-forms")
        for path in (Path(CORPUS) / folder).iterdir()
    }

    assert names == {*EDITED, *REFUSED}


def difference(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines added and lines removed; a final line without a newline counts as the same with one."""
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return [line[2:] for line in lines if line[0] == "+"], [line[2:] for line in lines if line[0] == "-"]
