"""Which folder the kubelet reads static Pods from."""

from __future__ import annotations

import pytest
from support.snapshots import Scene

from aggctl.core.kubelet import CONFIG, DEFAULT_FOLDER, static_pods

FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
DEFAULTS = "/etc/default/kubelet"


def folder(**files: str) -> str:
    paths = {"config": CONFIG, "flags": FLAGS, "defaults": DEFAULTS, "other": "/etc/kubelet.yaml"}
    scene = Scene(files={paths[name]: text.encode() for name, text in files.items()})
    return scene.ask(static_pods).folder


@pytest.mark.parametrize(
    ("config", "found"),
    [
        pytest.param("kind: x\nstaticPodPath: /srv/pods\nport: 1\n", "/srv/pods", id="plain"),
        pytest.param('staticPodPath: "/srv/my pods"\n', "/srv/my pods", id="double quotes and a blank"),
        pytest.param("staticPodPath: '/srv/pods' # ours\n", "/srv/pods", id="single quotes and a comment"),
        pytest.param("staticPodPath: /srv/pods # ours", "/srv/pods", id="a comment, no final newline"),
        pytest.param("staticPodPath: /srv/pods\r\nport: 1\r\n", "/srv/pods", id="CRLF"),
        pytest.param("staticPodPath: /srv//pods/./\n", "/srv/pods", id="doubled slashes, a dot"),
        pytest.param('{"kind": "x", "staticPodPath": "/srv/pods", "port": 1}', "/srv/pods", id="JSON"),
        pytest.param("# staticPodPath: /srv/pods\n", DEFAULT_FOLDER, id="commented out"),
        pytest.param('staticPodPath: ""\n', DEFAULT_FOLDER, id="empty"),
        pytest.param("xstaticPodPath: /srv/pods\n", DEFAULT_FOLDER, id="another key"),
        pytest.param("kind: KubeletConfiguration\n", DEFAULT_FOLDER, id="not set"),
        pytest.param("\xff\x00", DEFAULT_FOLDER, id="no text"),
    ],
)
def test_the_folder_is_what_the_kubelets_file_says(config: str, found: str) -> None:
    assert folder(config=config) == found


def test_without_any_configuration_it_is_kubeadms_folder_and_says_so() -> None:
    found = Scene().ask(static_pods)
    assert (found.folder, "kubeadm's default" in found.source) == (DEFAULT_FOLDER, True)


def test_the_kubelets_flag_wins_over_its_file() -> None:
    by_flag = 'KUBELET_EXTRA_ARGS="--pod-manifest-path=/flag/pods"'
    assert folder(config="staticPodPath: /file/pods\n", defaults=by_flag) == "/flag/pods"


def test_a_flag_that_is_commented_out_does_not_count() -> None:
    by_flag = '# KUBELET_EXTRA_ARGS="--pod-manifest-path=/flag/pods"\n'
    assert folder(config="staticPodPath: /file/pods\n", defaults=by_flag) == "/file/pods"


def test_the_last_of_several_flags_wins_as_on_a_command_line() -> None:
    assert folder(flags="X=--pod-manifest-path=/first", defaults="Y=--pod-manifest-path /last") == "/last"


def test_a_configuration_file_that_a_flag_names_is_the_one_that_is_read() -> None:
    text = 'KUBELET_EXTRA_ARGS="--config=/etc/kubelet.yaml"'
    found = folder(defaults=text, other="staticPodPath: /other\n", config="staticPodPath: /file\n")
    assert found == "/other"


def test_the_source_names_the_file_that_told() -> None:
    scene = Scene(files={CONFIG: b"staticPodPath: /srv/pods\n"})
    assert scene.ask(static_pods).source == f"staticPodPath in {CONFIG}"
