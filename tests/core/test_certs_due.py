"""What is due: each certificate by the command that renews it, once, and what others renew by name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.clusters import serving
from support.snapshots import CA, NOW, authority, certificate, leaf

from aggctl.core.certs.due import Due, see_due, unseen
from aggctl.core.certs.inventory import APIS, BUNDLE, EXTERNALLY, PUBLISHED, SERVING, Held, Inventory
from aggctl.core.certs.inventory import CA as ON_NODE
from aggctl.core.certs.inventory import CLIENT as LEAF

MONTH = timedelta(days=30)
LASTS = certificate(leaf(CA))
ENDS = certificate(leaf(CA, lifetime=50))
"""Twenty days from now."""

CA_LASTS, CA_ENDS = certificate(CA), certificate(authority("ending", lifetime=50))
ONE, TWO = "v1.one.example", "v1.two.example"


def due(*held: Held, within: timedelta = MONTH) -> Due:
    return see_due(Inventory(held, (), ()), within, NOW)


def nothing_but(**what: object) -> Due:
    return Due(**{"authority": False, "client": False, "apis": (), "elsewhere": (), **what})  # type: ignore[arg-type]  # each field gets its own type


EXTERNAL = Held(LEAF, "/x", ENDS, managed=EXTERNALLY)
CASES: dict[str, tuple[tuple[Held, ...], Due]] = {
    "nothing there": ((), nothing_but()),
    "all lasts": ((Held(ON_NODE, "/ca", CA_LASTS), Held(LEAF, "/x", LASTS)), nothing_but()),
    "the leaf": ((Held(ON_NODE, "/ca", CA_LASTS), Held(LEAF, "/x", ENDS)), nothing_but(client=True)),
    "the CA, and its leaf with it": (
        (Held(ON_NODE, "/ca", CA_ENDS), Held(LEAF, "/x", ENDS)),
        nothing_but(authority=True),
    ),
    "the CA alone": ((Held(ON_NODE, "/ca", CA_ENDS), Held(LEAF, "/x", LASTS)), nothing_but(authority=True)),
    "a published CA ends by itself": ((Held(PUBLISHED, "ConfigMap", CA_ENDS),), nothing_but()),
    "APIs, each once, in their order": (
        (
            Held(BUNDLE, "APIService", CA_ENDS, TWO),
            Held(SERVING, "10.1.0.5:8443", certificate(serving(lifetime=50)), TWO),
            Held(SERVING, "10.1.0.6:8443", certificate(serving(lifetime=50)), ONE),
            Held(SERVING, "10.1.0.7:8443", certificate(serving()), "v1.lasts.example"),
        ),
        nothing_but(apis=(TWO, ONE)),
    ),
    "a leaf that others renew": ((EXTERNAL,), nothing_but(elsewhere=(EXTERNAL,))),
}


@pytest.mark.parametrize(("held", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_due_is_told_by_what_renews_it(held: tuple[Held, ...], expected: Due) -> None:
    found = due(*held)
    assert found == expected
    assert found.nothing == (expected == nothing_but())


def test_what_ends_just_then_is_due_and_what_ends_a_moment_later_is_not() -> None:
    held, left = Held(LEAF, "/x", ENDS), ENDS.not_after - NOW
    assert due(held, within=left).client
    assert due(held, within=left - timedelta(seconds=1)).nothing


def test_where_the_apis_are_not_known_that_is_a_problem_with_the_reason() -> None:
    parts = (("what the cluster publishes", "refused"), (APIS, "forbidden\x1b[2J"))
    (finding,) = unseen(Inventory((), (), parts))
    assert (finding.code, finding.severity, finding.subject) == ("apis-not-checked", "error", "APIServices")
    assert "forbidden" in finding.message
    assert "\x1b" not in finding.message


def test_what_else_was_not_checked_is_no_problem_of_its_own() -> None:
    assert unseen(Inventory((), (), (("this node's certificates", "it is none"),))) == ()
