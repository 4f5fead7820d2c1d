"""The eight flags as one unit: as kube-apiserver would take them, and what is wrong with them."""

from __future__ import annotations

import pytest
from support.snapshots import CA_FLAG, EIGHT, NAMES_FLAG, ROUTING_FLAG, codes, manifest_text

from aggctl.core import flags as f
from aggctl.core.manifest import Manifest, read_manifest


def manifest(*words: str) -> Manifest:
    return read_manifest(manifest_text(["--secure-port=6443", *words]).encode(), "m.yaml")


def layer(*words: str) -> f.Layer:
    return f.read_layer(manifest(*words))


def findings(*words: str) -> list[str]:
    return codes(f.flag_findings(manifest(*words)))


EIGHT_WORDS = tuple(f"--{name}={value}" for name, value in EIGHT.items())


def test_the_eight_flags_of_kubeadm_and_routing_miss_nothing() -> None:
    assert layer(*EIGHT_WORDS).missing == ()
    assert findings(*EIGHT_WORDS) == []


def test_without_any_flag_all_eight_are_missing() -> None:
    assert layer().missing == f.AGGREGATION_FLAGS


@pytest.mark.parametrize("name", EIGHT)
def test_each_flag_that_is_not_there_is_missed_by_name(name: str) -> None:
    assert layer(*(word for word in EIGHT_WORDS if not word.startswith(f"--{name}="))).missing == (name,)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        pytest.param(("--requestheader-allowed-names=a",), ("a",), id="one"),
        pytest.param(("--requestheader-allowed-names=a,b",), ("a", "b"), id="two by comma"),
        pytest.param(
            ("--requestheader-allowed-names=a", "--requestheader-allowed-names=b"), ("a", "b"), id="added up"
        ),
        pytest.param(('--requestheader-allowed-names="a","b"',), ("a", "b"), id="quotes of CSV"),
        pytest.param(("--requestheader-allowed-names=",), (), id="empty: any name"),
        pytest.param(("--requestheader_allowed_names=a",), ("a",), id="underscores"),
        pytest.param(("--requestheader-allowed-names", "a"), ("a",), id="the value as a word of its own"),
        pytest.param((), None, id="not set"),
    ],
)
def test_a_list_flag_is_read_as_pflag_reads_it(words: tuple[str, ...], names: tuple[str, ...] | None) -> None:
    assert layer(*words).names == names


def test_of_a_file_flag_that_stands_twice_the_last_counts() -> None:
    assert layer(f"--{CA_FLAG}=/first.crt", f"--{CA_FLAG}=/last.crt").ca == "/last.crt"


@pytest.mark.parametrize(
    ("word", "routes"),
    [
        *((f"--{ROUTING_FLAG}={value}", True) for value in ("1", "t", "T", "TRUE", "true", "True")),
        *((f"--{ROUTING_FLAG}={value}", False) for value in ("0", "f", "F", "FALSE", "false", "False")),
        (f"--{ROUTING_FLAG}", True),
        (f"--{ROUTING_FLAG}=maybe", False),
        ("--v=2", False),
    ],
)
def test_routing_is_on_where_go_reads_true(word: str, routes: bool) -> None:
    assert layer(word).routes is routes


def test_a_list_as_one_value_is_joined_by_commas() -> None:
    assert layer("--requestheader-allowed-names=a,b").value(NAMES_FLAG) == "a,b"


# --- findings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "invention",
    [
        "aggregator-ca-cert-file",
        "requestheader-client-ca",
        "proxy-client-cert",
        "enable-aggregator-routes",
        "requestheader-allowed-name",
    ],
)
def test_a_flag_that_tutorials_made_up_is_an_error_with_its_line(invention: str) -> None:
    found = list(f.flag_findings(manifest(f"--{invention}=/x")))
    assert codes(found) == ["flag-does-not-exist"]
    assert found[0].subject == "m.yaml:11"
    assert found[0].severity == "error"
    assert f"--{invention}" in found[0].message


@pytest.mark.parametrize(
    "real",
    [
        "requestheader-uid-headers=X-Remote-Uid",
        "aggregator-reject-forwarding-redirect=true",
        "proxy-client-key-file=/x",
        "egress-selector-config-file=/x",
    ],
)
def test_a_flag_that_exists_is_no_invention(real: str) -> None:
    assert findings(f"--{real}") == []


@pytest.mark.parametrize(
    ("name", "effect"),
    [(CA_FLAG, "the last one counts"), (NAMES_FLAG, "their values add up")],
)
def test_a_flag_that_stands_twice_is_a_warning_with_both_lines_and_the_effect(name: str, effect: str) -> None:
    (found,) = f.flag_findings(manifest(f"--{name}=/a", f"--{name}=/a"))
    assert (found.code, found.severity) == ("flag-set-twice", "warning")
    assert found.message == f"--{name} stands in lines 11, 12; {effect}"


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        pytest.param(f"--{ROUTING_FLAG}=maybe", True, id="routing that is no boolean"),
        pytest.param(f"--{ROUTING_FLAG}=", True, id="routing that is empty"),
        pytest.param(f"--{ROUTING_FLAG}=False", False, id="routing as Go also reads it"),
        pytest.param("--requestheader-username-headers=", True, id="no header for the user"),
        pytest.param("--requestheader-group-headers=,", True, id="nothing but a comma for the group"),
        pytest.param("--requestheader-extra-headers-prefix=X-Own-", False, id="a header of their own"),
        pytest.param(f"--{CA_FLAG}=pki/ca.crt", True, id="a relative path"),
        pytest.param(f"--{CA_FLAG}=", True, id="an empty path"),
        pytest.param('--proxy-client-cert-file="/a.crt"', True, id="a path whose quotes are part of it"),
        pytest.param("--proxy-client-key-file=/a.key", False, id="an absolute path"),
        pytest.param("--requestheader-allowed-names=", False, id="no name: legal, and any name"),
    ],
)
def test_a_value_is_wrong_where_kube_apiserver_could_do_nothing_with_it(word: str, wrong: bool) -> None:
    assert findings(word) == (["flag-value-wrong"] if wrong else [])


def test_a_wrong_value_is_shown_with_its_line_and_what_was_expected() -> None:
    (found,) = f.flag_findings(manifest(f"--{ROUTING_FLAG}=maybe"))
    assert (found.subject, found.message) == ("m.yaml:11", f'--{ROUTING_FLAG} is "maybe"')
    assert found.expected == "true or false"
