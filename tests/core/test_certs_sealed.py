"""The CA on its way to another node: whoever lacks the key, or comes late, gets nothing."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshots import CA, NOW

from aggctl.core.certs.sealed import ENTRIES, LIFETIME, PATH, new_key, seal, unseal
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = new_key()
CERTIFICATE, PRIVATE = ENTRIES
Object = dict[str, Any]


def sealed(**data: Any) -> Object:
    """The Secret, with entries put in place of its own; None takes one away."""
    secret = seal(CA, KEY, NOW)
    kept = {**secret["data"], **{name.replace("_", "."): value for name, value in data.items()}}
    return {**secret, "data": {name: value for name, value in kept.items() if value is not None}}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def of(secret: Object, name: str) -> bytes:
    return base64.b64decode(secret["data"][name])


def test_with_the_key_the_pair_comes_out_as_it_went_in() -> None:
    assert unseal(sealed(), KEY, NOW) == (CA.certificate, CA.key)


def test_the_secret_is_one_of_kube_system_that_says_when_it_ends() -> None:
    secret = sealed()
    metadata = secret["metadata"]
    assert f"/api/v1/namespaces/{metadata['namespace']}/secrets/{metadata['name']}" == PATH
    assert (secret["kind"], metadata["namespace"]) == ("Secret", "kube-system")
    assert of(secret, "expires").decode() == "2026-06-01T14:00:00+00:00"


def test_neither_the_key_nor_what_it_seals_stands_in_the_secret() -> None:
    content = b"".join(of(sealed(), name) for name in ("expires", *ENTRIES))
    for secret in (KEY.encode(), bytes.fromhex(KEY), b"PRIVATE KEY", CA.key.splitlines()[1]):
        assert secret not in content


def test_no_two_keys_and_no_two_seals_are_alike() -> None:
    keys = {new_key() for _ in range(50)}
    assert (len(keys), {len(bytes.fromhex(key)) for key in keys}) == (50, {32})
    nonces = {of(seal(CA, KEY, NOW), name)[:12] for _ in range(10) for name in ENTRIES}
    assert len(nonces) == 20


def test_the_key_is_taken_in_capitals_too() -> None:
    assert unseal(sealed(), KEY.upper(), NOW) == (CA.certificate, CA.key)


@pytest.mark.parametrize("seconds", [0, 1, LIFETIME.total_seconds()])
def test_it_is_good_for_two_hours(seconds: float) -> None:
    assert unseal(sealed(), KEY, NOW + timedelta(seconds=seconds)) == (CA.certificate, CA.key)


def refused(found: Object | None, key: str = KEY, after: timedelta = timedelta(0)) -> str:
    """What is said of it."""
    with pytest.raises(Refused) as error:
        unseal(found, key, NOW + after)
    assert error.value.code == "certificate-key-not-usable"
    assert "aggctl certs export --upload" in error.value.do
    assert key not in (error.value.message + error.value.expected + error.value.do) or not key
    return error.value.message


def test_where_none_waits_that_is_said() -> None:
    assert "no CA waits in the cluster" in refused(None)


def test_after_two_hours_it_is_over() -> None:
    assert "expired at 2026-06-01T14:00:00" in refused(sealed(), after=LIFETIME + timedelta(seconds=1))


def test_another_key_does_not_fit() -> None:
    assert "does not fit" in refused(sealed(), new_key())


@pytest.mark.parametrize("key", ["", "xyz", KEY[:-2], f"{KEY}00", "é" * 64, "g" * 64, KEY[:-1]])
def test_what_is_no_key_is_said_to_be_none(key: str) -> None:
    assert "the certificate key is none" in refused(sealed(), key)


FUTURE = encoded(b"2036-06-01T14:00:00+00:00")


def flipped(name: str, at: int) -> Callable[[], Object]:
    """The Secret with one bit of an entry changed."""

    def spoil() -> Object:
        content = bytearray(of(secret := sealed(), name))
        content[at] ^= 1
        secret["data"][name] = encoded(bytes(content))
        return secret

    return spoil


def swapped() -> Object:
    """The two entries in each other's place."""
    secret = sealed()
    first, second = (secret["data"][name] for name in ENTRIES)
    return {**secret, "data": {**secret["data"], CERTIFICATE: second, PRIVATE: first}}


@pytest.mark.parametrize(
    "spoil",
    [
        flipped(CERTIFICATE, 0),
        flipped(CERTIFICATE, -1),
        flipped(PRIVATE, 12),
        lambda: sealed(expires=FUTURE),
        swapped,
    ],
    ids=["the nonce", "the tag", "the content", "a later end", "the entries swapped"],
)
def test_what_somebody_altered_does_not_fit(spoil: Callable[[], Object]) -> None:
    """Also the end of its time, which is bound to what is encrypted."""
    assert "does not fit" in refused(spoil())


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": {}},
        {"data": {"expires": FUTURE}},
        sealed(expires=None),
        sealed(expires=encoded(b"soon")),
        sealed(expires=encoded(b"\xff")),
        sealed(expires=encoded(b"2036-06-01T14:00:00")),
        sealed(expires="="),
        sealed(expires=5),
        {"data": {**sealed()["data"], PRIVATE: ""}},
        {"data": {**sealed()["data"], PRIVATE: encoded(bytes(12))}},
    ],
    ids=[
        "no data",
        "data is null",
        "data is a list",
        "empty data",
        "no entries",
        "no end",
        "an end that is no moment",
        "an end that is no text",
        "an end without a zone",
        "no base64",
        "a number",
        "an empty entry",
        "a nonce alone",
    ],
)
def test_what_aggctl_did_not_write_is_refused(found: Object) -> None:
    assert refused(found)


@given(
    st.dictionaries(st.sampled_from(("expires", *ENTRIES)), st.one_of(st.text(), st.binary(), st.integers()))
)
def test_whatever_stands_there_is_refused_in_one_way(data: dict[str, Any]) -> None:
    assert refused({"data": data})
