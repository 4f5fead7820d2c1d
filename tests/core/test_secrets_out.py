"""What must not be passed on is taken out of others' words; what an operator looks for stays in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggctl.core.secrets_out import GONE, without_secrets

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl-_x"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"

SECRETS = {
    "a bearer token": ("Authorization: Bearer s3cr3tvalue", "Authorization: Bearer …"),
    "a short one in a header": ("Authorization: Bearer abc", "Authorization: Bearer …"),
    "one in a map of Go": (
        "map[Authorization:[Bearer abc] Accept:[*/*]]",
        "map[Authorization:[Bearer …] Accept:[*/*]]",
    ),
    "a bearer token without a header": ("got bearer 0123456789abcdef", "got bearer …"),
    "a basic password": ("Authorization: Basic YWRtaW46aHVudGVyMg==", "Authorization: Basic …"),
    "a cookie": ("Cookie: session=0123456789", "Cookie: …"),
    "a JWT": (f"verify {JWT}: expired", "verify …: expired"),
    "a JWT that was cut off": ("verify eyJhbGciOiJSUzI1Ni", "verify …"),
    "a JWT in a URL": (f"GET /x?access_token={JWT}&y=1", "GET /x?access_token=…&y=1"),
    "a continue token": ("GET /pods?continue=eyJ2IjoibWV0YS5rOHMuaW8", "GET /pods?continue=…"),
    "a bootstrap token": ("join abcdef.0123456789abcdef", "join abcdef.…"),
    "a private key": (f"bad {KEY} here", "bad -----BEGIN RSA PRIVATE KEY-----… here"),
    "one with headers": (
        KEY.replace("MIIEow", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nMIIEow"),
        "-----BEGIN RSA PRIVATE KEY-----…",
    ),
    "a private key that was cut off": (KEY[:45], "-----BEGIN RSA PRIVATE KEY-----…"),
    "a key in one line of klog": (
        KEY.replace("\n", "\\n"),
        "-----BEGIN RSA PRIVATE KEY-----…",
    ),
    "a token that is set": ("--token=abc123 --v=2", "--token=… --v=2"),
    "a token in quotes": ('token="abc 123" v="2"', 'token="…" v="2"'),
    "a token in quotes in quotes": (r'err="token=\"abc 1\" is bad"', r'err="token=\"…\" is bad"'),
    "quotes that do not end": ('token="abc 1', 'token="…"'),
    "single quotes": ("password='hunter 2' x", "password='…' x"),
    "a password": ("dial user=me password=hunter2 host=db", "dial user=me password=… host=db"),
    "a password behind a colon": ("password: hunter2", "password: …"),
    "a client's secret": ("--oidc-client-secret=hunter2", "--oidc-client-secret=…"),
    "one that begins like a path": ("password=/Zq8+xyz/9", "password=…"),
    "a bare secret": ("secret=hunter2", "secret=…"),
    "an environment variable": ("AWS_SECRET_ACCESS_KEY=abc/DEF+1", "AWS_SECRET_ACCESS_KEY=…"),
    "an API key": ("api_key=k1, next", "api_key=…, next"),
    "JSON": ('{"clientSecret":"hunter2","id":1}', '{"clientSecret":"…","id":1}'),
    "JSON in JSON": (r'"{\"password\": \"hunter2\"}"', r'"{\"password\": \"…\"}"'),
    "a map of Go": ("map[password:hunter2 user:me]", "map[password:… user:me]"),
    "a kubeconfig": ("client-key-data: LS0tLS1CRUdJTiBSU0E1", "client-key-data: …"),
    "a certificate key": ("--certificate-key=00ff", "--certificate-key=…"),
    "a token behind a colon": ("token: 8f3a9c1d7e2b", "token: …"),
    "a user in a URL": ("https://me:hunter2@db.example/x", "https://…@db.example/x"),
    "many lines": ("a\npassword=x\nb\ntoken=y", "a\npassword=…\nb\ntoken=…"),
}

HARMLESS = [
    'Unable to authenticate the request" err="[invalid bearer token, service account token has expired]"',
    "Bearer token authentication failed",
    "invalid bearer token: signature is invalid",
    "basic constraints are missing",
    'secret "default/hello-tls" not found',
    'secret="kube-system/bootstrap-token-abcdef"',
    "--token-auth-file=/etc/kubernetes/tokens.csv",
    "--service-account-signing-key-file=/etc/kubernetes/pki/sa.key",
    "token: signature is invalid",
    'token: "some words that are not one, 1 of them"',
    "--certificate-key=/etc/kubernetes/key",
    "token=/var/run/secrets/kubernetes.io/serviceaccount/token",
    "automountServiceAccountToken=false",
    'token=""',
    "token=<nil>",
    "x509: certificate signed by unknown authority",
    "https://hello.default.svc:443/apis/hello.example.com/v1alpha1",
    "dial tcp 10.0.0.5:8443: connect: connection refused",
    "v1beta1.metrics.k8s.io failed with: failing or missing response from https://10.1.2.3:443/apis",
    "-----BEGIN CERTIFICATE-----",
    "authorization: RBAC: clusterrole not found",
    "",
]


@pytest.mark.parametrize(("said", "left"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_taken_out_and_the_words_around_it_stay(said: str, left: str) -> None:
    assert without_secrets(said) == left


@pytest.mark.parametrize("said", HARMLESS)
def test_what_is_said_about_secrets_stays_word_for_word(said: str) -> None:
    assert without_secrets(said) == said


@pytest.mark.parametrize(("said", "left"), SECRETS.values(), ids=SECRETS.keys())
def test_what_was_taken_out_once_is_not_touched_again(said: str, left: str) -> None:
    assert without_secrets(without_secrets(said)) == left


SHAPES = (
    "Authorization: Bearer {}",
    "--token={}",
    'token="{}"',
    "password: {}",
    '"password": "{}"',
    "://u:{}@h",
)
VALUES = st.from_regex(r"[A-Z][A-Za-z0-9_-]{11,60}[0-9]", fullmatch=True)
AROUND = st.text(st.characters(codec="ascii", exclude_characters="\"'\\=:-"), max_size=30)


@given(st.sampled_from(SHAPES), VALUES, AROUND, AROUND)
def test_no_secret_survives_in_any_surrounding(shape: str, value: str, before: str, after: str) -> None:
    left = without_secrets(f"{before} {shape.format(value)} {after}")
    assert value not in left
    assert GONE in left


@given(st.text(max_size=300))
def test_any_text_at_all_can_be_given(said: str) -> None:
    assert isinstance(without_secrets(said), str)


def test_a_long_line_is_gone_through_once() -> None:
    for piece in ("token", "a.", "eyJ", "password: ", "bearer ", '\\"', "-----BEGIN PRIVATE KEY-----"):
        said = piece * (200_000 // len(piece))  # a step for each pair of characters would take minutes
        assert without_secrets(said)
