"""A plain kubeconfig is read as a real reader reads it; whatever is not plain is left to that one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aggctl.core.plainyaml import read_plain

OF_KUBEADM = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTi+/BDRVJU==
    server: https://10.0.0.11:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: LS0t
    client-key-data: LS0t
"""


def really(text: str) -> Any:
    """What a real reader makes of it; None where it is no YAML."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        return None


def test_a_kubeconfig_of_kubeadm_is_plain_and_read_as_it_is() -> None:
    found = read_plain(OF_KUBEADM)
    assert found is not None
    assert found == really(OF_KUBEADM)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  - b: c\n  - d: e\n    f:\n      g: h\n",
        "a:\n- b:\n  - c: d\ne: f",
        "a:\n- b:\n    c: d\n  e: {}\n",
    ],
    ids=["an indented sequence", "a sequence in a sequence", "a mapping in a sequence"],
)
def test_blocks_within_blocks_are_read_as_they_are(text: str) -> None:
    assert read_plain(text) == really(text) != None  # noqa: E711 -- one comparison of all three


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: b # why\n",
        "a: 'b'\n",
        "a: 12\n",
        "a: 1e3\n",
        "a: true\n",
        "a: No\n",
        "y: a\n",
        "a: b:\n",
        "a: b\na: c\n",
        "a:\n",
        "a:\nb: c\n",
        "a:\n  b: c\n   d: e\n",
        "a: b\n  c: d\n",
        "- a: b\n- c: d\n",
        "  a: b\nc: d\n",
        "a:\n- b: c\n - d: e\n",
        "a: &b c\n",
        "a: *b\n",
        "a: |\n  b\n",
        "a: b\n---\nc: d\n",
        "a: b\n\nc: d\n",
        "a:\tb\n",
        "a: ü\n",
        "a: b\x85c: d\n",
        "a: b\r\n",
        "a: {b: c}\n",
    ],
)
def test_what_is_not_plain_is_left_to_a_real_reader(text: str) -> None:
    assert read_plain(text) is None


KEYS = st.sampled_from(["a", "b", "name", "no", "y", "client-key-data"])
VALUES = st.sampled_from(
    [
        "",
        " ",
        " {}",
        " c",
        " true",
        " off",
        " 1",
        " a:",
        " a:b",
        " /a",
        " LS0t==",
        " h://[::1]:1",
        " -",
        " a #",
    ]
)
LINES = st.builds(
    lambda indent, dash, key, value: f"{indent}{dash}{key}:{value}",
    st.sampled_from(["", "  ", "    ", " ", "      "]),
    st.sampled_from(["", "- ", "- - "]),
    KEYS,
    VALUES,
)


@given(st.lists(LINES, max_size=7).map("\n".join))
def test_whatever_is_taken_for_plain_is_read_as_a_real_reader_reads_it(text: str) -> None:
    found = read_plain(text)
    assert found is None or found == really(text)


@given(st.text("ab:- \n{}#'\"|&*!%@`,[]?~=<>.0", max_size=40))
def test_any_text_at_all_is_read_alike_or_not_at_all(text: str) -> None:
    found = read_plain(text)
    assert found is None or found == really(text)
