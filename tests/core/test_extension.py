"""What is typed at `register` is read as it is meant, or refused by the part that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.extension import (
    Api,
    External,
    ServiceAt,
    Tls,
    name_of_image,
    parse_api,
    parse_environment,
    parse_external,
    parse_name,
    parse_namespace,
    parse_port,
    parse_service,
    parse_tls,
)
from aggctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def code_of(parse: Callable[..., Any], *words: str) -> str:
    """The code of the refusal; whatever was typed is shown bounded."""
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert len(caught.value.message) < 240
    return caught.value.code


BELL = "x\a"


@pytest.mark.parametrize(
    ("parse", "message", "expected"),
    [
        (lambda: parse_api(BELL), "'x' is no VERSION.GROUP", "v1, v1beta1, v2alpha1 …"),
        (lambda: parse_api("v1"), "'v1' is no VERSION.GROUP", "a DNS name with a dot"),
        (
            lambda: parse_tls(BELL),
            "--tls x is none of the ways to a certificate",
            "self, secret=NAME, cert-manager=ISSUER, cert-manager=ISSUER/ClusterIssuer, insecure",
        ),
        (lambda: parse_service(BELL), "--service x names no Service", "NS/NAME[:PORT]"),
        (lambda: parse_service("a/b:\a"), "--service a/b:: '' is no port", "1 to 65535"),
        (lambda: parse_external(BELL), "--external x is no HOST:PORT", "HOST:PORT"),
        (lambda: parse_external("a:x"), "--external a:x: 'x' is no port", "1 to 65535"),
        (
            lambda: parse_namespace(BELL),
            "--namespace x is no name for a namespace",
            "lower-case letters, digits and -, at most 63",
        ),
        (
            lambda: parse_name(BELL, "--name"),
            "--name x is no name for a Service",
            "lower-case letters, digits and -, beginning with a letter, at most 63",
        ),
        (lambda: parse_environment(BELL), "--env x sets nothing", "NAME=VALUE"),
    ],
)
def test_a_refusal_says_what_was_typed_what_is_expected_and_a_way_forward(
    parse: Callable[[], Any], message: str, expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse()
    assert (caught.value.message, caught.value.expected) == (message, expected)
    assert caught.value.do


# --- VERSION.GROUP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version", "group"),
    [
        ("v1.things.example", "v1", "things.example"),
        ("v1beta1.custom.metrics.k8s.io", "v1beta1", "custom.metrics.k8s.io"),
        ("v12alpha34.x-1.y", "v12alpha34", "x-1.y"),
        (f"v1.x{'.x' * 124}y", "v1", f"x{'.x' * 124}y"),
    ],
)
def test_an_api_is_its_version_and_its_group(text: str, version: str, group: str) -> None:
    assert parse_api(text) == Api(version, group)
    assert parse_api(text).name == text


def test_an_api_answers_below_its_group() -> None:
    assert Api("v1", "things.example").path == "/apis/things.example/v1"


VERSION, GROUP = "is no version", "is no group of an extension"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", VERSION),
        ("things.example", VERSION),
        ("1.things.example", VERSION),
        ("v0.things.example", VERSION),
        ("v1gamma1.things.example", VERSION),
        ("v1beta.things.example", VERSION),
        ("V1.things.example", VERSION),
        ("v1", GROUP),
        ("v1.things", GROUP),
        ("v1.Things.example", GROUP),
        ("v1.things.example.", GROUP),
        ("v1.-things.example", GROUP),
        ("v1.things/example.org", GROUP),
        (f"v1.{'x' * 64}.example", GROUP),
        (f"v1{'.x' * 126}", GROUP),
        ("v1.things.example\n", GROUP),
    ],
)
def test_no_api_and_which_part_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=r"is no VERSION\.GROUP") as caught:
        parse_api(text)
    assert (caught.value.code, caught.value.found.partition("' ")[2]) == ("api-name-not-valid", wrong)


# --- --tls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tls"),
    [
        ("self", Tls("self")),
        ("insecure", Tls("insecure")),
        ("secret=things-tls", Tls("secret", "things-tls")),
        ("cert-manager=ca", Tls("cert-manager", "ca", "Issuer")),
        ("cert-manager=ca/Issuer", Tls("cert-manager", "ca", "Issuer")),
        ("cert-manager=ca.example/ClusterIssuer", Tls("cert-manager", "ca.example", "ClusterIssuer")),
    ],
)
def test_a_way_to_a_certificate(text: str, tls: Tls) -> None:
    assert parse_tls(text) == tls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "self=",
        "insecure=true",
        "secret",
        "secret=",
        "secret=Upper",
        "secret=shop/things-tls",
        "cert-manager",
        "cert-manager=/Issuer",
        "cert-manager=ca/Other",
        "x" * 1000,
    ],
)
def test_no_way_to_a_certificate(text: str) -> None:
    assert code_of(parse_tls, text) == "tls-not-understood"


# --- where the server is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("shop/things", ServiceAt("shop", "things", 443)),
        ("shop/things:8443", ServiceAt("shop", "things", 8443)),
        ("2shop/things", ServiceAt("2shop", "things", 443)),
    ],
)
def test_a_service_has_port_443_unless_another_is_named(text: str, service: ServiceAt) -> None:
    assert parse_service(text) == service


def test_a_service_is_verified_by_its_name_in_the_cluster() -> None:
    assert ServiceAt("shop", "things", 8443).dns == "things.shop.svc"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("things", "service-not-understood"),
        ("/things", "service-not-understood"),
        ("shop/", "service-not-understood"),
        ("shop/1st", "service-not-understood"),
        ("shop/things/443", "service-not-understood"),
        ("shop/things:", "port-not-valid"),
        ("shop/things:https", "port-not-valid"),
    ],
)
def test_no_service(text: str, code: str) -> None:
    assert code_of(parse_service, text) == code


@pytest.mark.parametrize(
    ("text", "external", "is_address"),
    [
        ("laptop.example:6443", External("laptop.example", 6443), False),
        ("localhost:1", External("localhost", 1), False),
        ("10.0.0.5:65535", External("10.0.0.5", 65535), True),
        ("[fd00::5]:6443", External("fd00::5", 6443), True),
    ],
)
def test_a_server_outside_the_cluster_is_a_name_or_an_address(
    text: str, external: External, is_address: bool
) -> None:
    assert (parse_external(text), parse_external(text).is_address) == (external, is_address)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("laptop.example", "external-not-understood"),
        (":6443", "external-not-understood"),
        ("https://laptop:6443", "external-not-understood"),
        ("fd00::5:6443", "external-not-understood"),
        ("[fd00::5:6443", "external-not-understood"),
        ("laptop.example:", "port-not-valid"),
        ("[fd00::5]:x", "port-not-valid"),
    ],
)
def test_no_server_outside_the_cluster(text: str, code: str) -> None:
    assert code_of(parse_external, text) == code


@pytest.mark.parametrize("text", ["1", "0443", "65535"])
def test_a_port(text: str) -> None:
    assert parse_port(text, "--port") == int(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", " 1", "1.0", "https", "٤٤٣", "1" * 5000])
def test_no_port(text: str) -> None:
    assert code_of(parse_port, text, "--port") == "port-not-valid"


# --- names and environment -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "things-2", "x" * 63])
def test_a_name_that_services_and_namespaces_may_have(name: str) -> None:
    assert parse_name(name, "--name") == name


@pytest.mark.parametrize("name", ["", "2things", "-a", "a-", "Things", "a.b", "a_b", "x" * 64, "a\n"])
def test_no_name_for_a_service(name: str) -> None:
    assert code_of(parse_name, name, "--name") == "name-not-valid"


@pytest.mark.parametrize("name", ["a", "2things", "x" * 63])
def test_a_namespace_may_begin_with_a_digit(name: str) -> None:
    assert parse_namespace(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "Things", "a.b", "a_b", "x" * 64, "a\n"])
def test_no_name_for_a_namespace(name: str) -> None:
    assert code_of(parse_namespace, name) == "name-not-valid"


@pytest.mark.parametrize(
    ("text", "pair"), [("A=1", ("A", "1")), ("A=", ("A", "")), ("A=b=c d", ("A", "b=c d"))]
)
def test_a_variable_and_its_value(text: str, pair: tuple[str, str]) -> None:
    assert parse_environment(text) == pair


@pytest.mark.parametrize("text", ["", "A", "=1"])
def test_no_variable(text: str) -> None:
    assert code_of(parse_environment, text) == "environment-not-understood"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("hello-api", "hello-api"),
        ("registry.example:5000/team/hello-api:1.2", "hello-api"),
        ("ghcr.io/x/Hello_API-v2@sha256:0123", "hello-api-v2"),
        ("docker.io/library/7-zip", "zip"),
        ("x/---", "extension"),
        ("", "extension"),
        (f"x/{'a' * 39}-b", "a" * 39),
    ],
)
def test_a_server_without_a_name_is_called_as_its_image(image: str, name: str) -> None:
    assert name_of_image(image) == name


@given(st.text(max_size=80) | st.from_regex(r"[a-z0-9./:@_-]{0,80}", fullmatch=True))
def test_whatever_the_image_its_name_is_one_that_a_service_may_have(image: str) -> None:
    name = name_of_image(image)
    assert parse_name(name, "--name") == name
