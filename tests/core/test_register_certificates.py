"""A Service's certificate: kept while it is good, made anew where it is not, verified before it is used."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import OTHER_SERVING_CA, SERVING_CA, api_service, below, cluster, pair_seen, serving
from support.snapshots import NOW, SERVER, authority

from aggctl.core.extension import NO_SECRET, PairPlace, ServiceAt, Tls
from aggctl.core.findings import Finding
from aggctl.core.pki import KeyPair, public_key_of, read_certificates
from aggctl.core.questions import PairAt, Unknown
from aggctl.core.register.certificates import (
    INJECTORS,
    Serving,
    bundle_of,
    default_mode,
    encoded,
    new_pair,
    pair_problem,
    serving_of,
    still_trusted,
)
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.questions import PairSeen

Object = dict[str, Any]

AT = ServiceAt("shop", "things")
PLACE = PairPlace("things-tls")
CA, OTHER = SERVING_CA.certificate, OTHER_SERVING_CA.certificate
GOOD = serving()
DEAD_CA = authority("dead-ca", days=-400, lifetime=300)
DEAD = DEAD_CA.certificate
EXPIRED = serving(days=-60, lifetime=30)
FOREIGN = serving(ca=OTHER_SERVING_CA)


def with_bundle(bundle: bytes) -> Object:
    """An APIService that verifies by this PEM; of an empty one it has none."""
    more: dict[str, Any] = {"caBundle": base64.b64encode(bundle).decode()} if bundle else {}
    return api_service(**more)


def decide(
    tls: Tls | None = None,
    *,
    secret: Any = None,
    place: PairPlace = PLACE,
    published: bytes | None = None,
    declared: Object | None = None,
    outside: KeyPair | None = None,
    folder: bool = False,
) -> Serving | Finding:
    """What is decided; `secret` is in the cluster, `published` the caBundle there (None: no APIService)."""
    tls = tls or Tls("self")
    asked = {PairAt("shop", name, SERVER): secret for name in (place.secret, tls.name)}
    return (
        cluster()
        .answering(asked)
        .ask(
            lambda snapshot: serving_of(
                snapshot,
                SERVER,
                AT,
                tls,
                declared=declared or api_service(),
                live=None if published is None else with_bundle(published),
                place=place,
                outside=outside,
                folder=folder or outside is not None,
                now=NOW,
            )
        )
    )


def problem_of(found: Serving | Finding) -> str:
    assert isinstance(found, Finding)
    assert (found.code, found.severity) == ("secret-not-usable", "error")
    assert "things.shop.svc" in found.expected
    return found.message


# --- which way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "mode"),
    [
        (api_service(), "self"),
        ({"metadata": {"annotations": None}}, "self"),
        (api_service(caBundle=""), "self"),
        (api_service(insecureSkipTLSVerify=True), "self"),
        (with_bundle(CA), "given"),
        *((api_service() | {"metadata": {"annotations": {each: "x"}}}, "injected") for each in INJECTORS),
        (with_bundle(CA) | {"metadata": {"annotations": {INJECTORS[0]: "x"}}}, "injected"),
        (api_service() | {"metadata": {"annotations": {"note": "x"}}}, "self"),
    ],
)
def test_a_users_own_api_service_says_which_way_it_wants(thing: Object, mode: str) -> None:
    assert default_mode(thing) == mode


@pytest.mark.parametrize(
    ("tls", "declared", "serving"),
    [
        (Tls("insecure"), with_bundle(CA), Serving(AT, "insecure")),
        (Tls("cert-manager", "ca"), api_service(), Serving(AT, "injected", PLACE)),
        (Tls(), with_bundle(CA), Serving(AT, "given", bundle=CA.decode())),
        (
            Tls(),
            api_service() | {"metadata": {"annotations": {INJECTORS[0]: "x"}}},
            Serving(AT, "injected", PLACE),
        ),
        (Tls("self"), with_bundle(OTHER), Serving(AT, "mint", PLACE, because="there is none yet")),
    ],
    ids=[
        "insecure",
        "cert-manager",
        "given by the file",
        "injected says the file",
        "self, whatever the file says",
    ],
)
def test_the_way_that_is_said_is_taken(tls: Tls, declared: Object, serving: Serving) -> None:
    assert decide(tls, declared=declared) == serving


# --- self, in the cluster --------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [None, b"", CA], ids=["no APIService", "no caBundle", "a caBundle"])
def test_where_there_is_no_pair_one_is_made_and_what_is_published_goes_on_being_trusted(
    published: bytes | None,
) -> None:
    bundle = (published or b"").decode()
    assert decide(published=published) == Serving(AT, "mint", PLACE, bundle, "there is none yet")


@pytest.mark.parametrize(
    ("published", "bundle"),
    [(None, CA), (b"", CA), (CA, CA), (OTHER + CA, OTHER + CA)],
    ids=["no APIService", "no caBundle", "the same", "another CA beside it"],
)
@pytest.mark.parametrize("created", [True, False], ids=["made by aggctl", "made by others"])
def test_a_good_pair_is_kept(published: bytes | None, bundle: bytes, created: bool) -> None:
    found = decide(secret=pair_seen(GOOD, created=created), published=published)
    assert found == Serving(AT, "keep", PLACE, bundle.decode())


def test_a_pair_whose_ca_somebody_dropped_from_the_bundle_is_kept_and_its_ca_added() -> None:
    found = decide(secret=pair_seen(GOOD), published=OTHER + DEAD)
    assert found == Serving(AT, "keep", PLACE, (OTHER + CA).decode())


@pytest.mark.parametrize(
    ("secret", "because"),
    [
        (pair_seen(EXPIRED), "it is valid from 2026-04-02 until 2026-05-02 only"),
        (pair_seen(serving("old.shop.svc")), "it is for old.shop.svc"),
        (
            pair_seen(FOREIGN),
            "none of the CAs to verify it by that are valid now signed it (issuer CN=other-things-ca)",
        ),
        (
            pair_seen(GOOD, b""),
            "none of the CAs to verify it by that are valid now signed it (issuer CN=things-ca)",
        ),
        (pair_seen(GOOD, lacks=("tls.key",)), "it has no tls.key"),
    ],
    ids=["expired", "for another name", "of another CA", "without its CA", "without its key"],
)
def test_a_pair_of_ours_that_is_not_good_any_more_is_made_anew(secret: PairSeen, because: str) -> None:
    assert decide(secret=secret) == Serving(AT, "mint", PLACE, because=because)


def test_a_pair_of_others_is_never_written_over() -> None:
    message = problem_of(decide(secret=pair_seen(EXPIRED, created=False)))
    assert message.startswith("Secret shop/things-tls was not made by aggctl, and it is valid from ")


def test_a_secret_that_may_not_be_seen_is_not_taken_for_a_missing_one() -> None:
    with pytest.raises(NotKnown):
        decide(secret=Unknown("forbidden", "no-rights-in-cluster"))


# --- self, outside the cluster ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outside", "published", "serving"),
    [
        (None, None, Serving(AT, "mint", because="there is none yet")),
        (GOOD, None, Serving(AT, "mint", because="there is none yet")),
        (None, CA, Serving(AT, "keep", bundle=CA.decode())),
        (GOOD, CA, Serving(AT, "keep", bundle=CA.decode())),
        (
            EXPIRED,
            CA,
            Serving(
                AT, "mint", bundle=CA.decode(), because="it is valid from 2026-04-02 until 2026-05-02 only"
            ),
        ),
        (
            serving(ca=DEAD_CA),
            DEAD,
            Serving(
                AT,
                "mint",
                bundle=DEAD.decode(),
                because="none of the CAs to verify it by that are valid now signed it (issuer CN=dead-ca)",
            ),
        ),
    ],
    ids=[
        "nothing yet",
        "a pair, and nothing to verify it by",
        "a pair that nobody sees here",
        "a good pair",
        "an expired pair",
        "the pair of an expired CA",
    ],
)
def test_a_server_outside_the_cluster_keeps_a_good_pair(
    outside: KeyPair | None, published: bytes | None, serving: Serving
) -> None:
    assert decide(place=NO_SECRET, outside=outside, published=published) == serving


def test_a_server_outside_the_cluster_gets_another_pair_for_one_that_was_lost() -> None:
    found = decide(place=NO_SECRET, folder=True, published=CA)
    assert found == Serving(AT, "mint", bundle=CA.decode(), because="there is none yet")


@pytest.mark.parametrize(
    ("how", "place", "writes"),
    [
        ("mint", PLACE, (True, False)),
        ("mint", NO_SECRET, (False, True)),
        ("keep", PLACE, (False, False)),
        ("keep", NO_SECRET, (False, False)),
    ],
)
def test_a_new_pair_goes_to_its_secret_or_to_files(
    how: str, place: PairPlace, writes: tuple[bool, bool]
) -> None:
    serving = Serving(AT, how, place)
    assert (serving.writes_secret, serving.writes_files) == writes


# --- the user's own Secret -------------------------------------------------------------------------------

SECRET = Tls("secret", "mine")
SELF_SIGNED, MIDDLE = authority("things.shop.svc"), below(SERVING_CA, "middle")
NAMESAKE = serving(ca=authority("things"))


def chain(*pairs: KeyPair) -> KeyPair:
    return replace(pairs[0], certificate=b"".join(each.certificate for each in pairs))


@pytest.mark.parametrize(
    ("secret", "bundle"),
    [
        (pair_seen(GOOD), CA),
        (pair_seen(chain(GOOD, SERVING_CA), b""), CA),
        (pair_seen(chain(serving(ca=MIDDLE), MIDDLE), b""), MIDDLE.certificate),
        (pair_seen(SELF_SIGNED, b""), SELF_SIGNED.certificate),
        (pair_seen(NAMESAKE, b""), NAMESAKE.certificate),
    ],
    ids=[
        "with ca.crt",
        "with its CA at the end of the chain",
        "with an intermediate CA at the end",
        "signed by itself",
        "signed by one of its own name",
    ],
)
def test_a_secret_that_verifies_is_used_as_it_is(secret: PairSeen, bundle: bytes) -> None:
    assert decide(SECRET, secret=secret) == Serving(AT, "keep", PairPlace("mine"), bundle.decode())


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (None, "does not exist"),
        (pair_seen(GOOD, lacks=("tls.crt", "tls.key")), "cannot be used: it has no tls.crt and no tls.key"),
        (pair_seen(EXPIRED), "cannot be used: it is valid from 2026-04-02 until 2026-05-02 only"),
        (
            pair_seen(serving(usage="client")),
            "cannot be used: its extended key usage does not allow a server",
        ),
        (pair_seen(serving("*.example")), "cannot be used: it is for *.example"),
        (
            pair_seen(GOOD, OTHER),
            "cannot be used: none of the CAs to verify it by that are valid now signed it",
        ),
        (
            pair_seen(GOOD, b""),
            "cannot be used: none of the CAs to verify it by that are valid now signed it",
        ),
        (pair_seen(replace(GOOD, certificate=b"x"), b""), "cannot be used: no PEM certificate can be read"),
        (pair_seen(GOOD, b"\xff"), "cannot be used: no PEM certificate can be read"),
        (pair_seen(replace(GOOD, key=FOREIGN.key)), "cannot be used: tls.key is not the key of tls.crt"),
    ],
    ids=[
        "absent",
        "empty",
        "expired",
        "for clients",
        "for another name",
        "of another CA",
        "nothing to verify it by",
        "no certificate",
        "ca.crt is none",
        "another's key",
    ],
)
def test_a_secret_that_does_not_verify_is_refused_with_the_reason(
    secret: PairSeen | None, problem: str
) -> None:
    message = problem_of(decide(SECRET, secret=secret))
    assert message.startswith(f"Secret shop/mine {problem}")


# --- parts -----------------------------------------------------------------------------------------------


def test_a_pair_verified_by_its_ca_has_no_problem() -> None:
    assert pair_problem(pair_seen(GOOD), CA.decode(), AT, NOW) == ""


def test_a_bundle_has_each_ca_once_in_order() -> None:
    (one,), (other,) = read_certificates(CA), read_certificates(OTHER)
    assert bundle_of([other, one, other]) == (OTHER + CA).decode()


def test_what_expired_is_not_trusted_any_more() -> None:
    names = [each.common_name for each in still_trusted((CA + DEAD).decode(), NOW)]
    assert names == ["things-ca"]
    (authority,) = read_certificates(CA)
    assert still_trusted(CA.decode(), authority.not_after) == []


@pytest.mark.parametrize("bundle", ["", "no PEM"])
def test_a_bundle_that_cannot_be_read_trusts_nobody(bundle: str) -> None:
    assert still_trusted(bundle, NOW) == []


def test_bytes_are_carried_in_base64() -> None:
    assert encoded(b"\x00\xff") == "AP8="


def test_a_serving_shows_no_bundle() -> None:
    assert "BEGIN" not in repr(Serving(AT, "keep", PLACE, CA.decode()))


# --- made ------------------------------------------------------------------------------------------------


def test_a_new_pair_is_good_for_its_service_by_a_ca_of_its_own() -> None:
    made = new_pair(AT, NOW)
    seen = pair_seen(made.pair, made.authority)
    assert pair_problem(seen, made.authority.decode(), AT, NOW) == ""
    assert pair_problem(seen, new_pair(AT, NOW).authority.decode(), AT, NOW) != ""
    (authority,) = read_certificates(made.authority)
    assert (authority.is_ca, authority.common_name) == (True, "things.shop.svc CA")
    (leaf,) = read_certificates(made.pair.certificate)
    assert leaf.sans == ("things.shop.svc", "things.shop", "things.shop.svc.cluster.local")


def test_the_key_of_the_new_ca_is_kept_nowhere() -> None:
    made = new_pair(AT, NOW)
    (authority,) = read_certificates(made.authority)
    assert public_key_of(made.pair.key) != authority.public_key
    assert b"PRIVATE KEY" not in made.authority + made.pair.certificate
