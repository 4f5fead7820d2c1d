"""What `register` says: the situation, the notes beside the plan, what the API serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.clusters import api_service, cluster, namespace, path, service
from support.snapshots import CA, NOW, SERVER, codes

from aggctl.core import pki
from aggctl.core.apiservers import Roster
from aggctl.core.extension import NO_SECRET, Api, PairPlace, ServiceAt, Tls
from aggctl.core.findings import Finding
from aggctl.core.questions import ObjectAt, Unknown
from aggctl.core.register.certificates import Minted, Serving
from aggctl.core.register.plan import INSECURE, Rehearsed
from aggctl.core.register.sight import Sight, Wanted
from aggctl.core.register.words import (
    apis_of,
    details,
    notes,
    served_resources,
    situation,
    tries,
    unchanged_reasons,
)
from aggctl.core.resources import Located, target_of
from aggctl.core.snapshot import NotKnown

if TYPE_CHECKING:
    from aggctl.core.snapshot import Snapshot

Object = dict[str, Any]

AT, PLACE = ServiceAt("shop", "things"), PairPlace("things-tls")
PEER, HIDDEN = "https://10.0.0.12:6443", "https://10.0.0.13:6443"
WANTED = Wanted((), Tls("self"), "shop", {})


def located(found: Object) -> Located:
    return Located(found, path(found), target_of(found))


def sight(
    *servings: Serving, servers: tuple[str, ...] = (SERVER,), silent: Any = (), metered: Any = None
) -> Sight:
    objects = (service(), api_service(), api_service("v1beta1.things.example"))
    known = Roster(servers, silent)
    return Sight(
        SERVER, tuple(map(located, objects)), {}, servings, known, servers if metered is None else metered, ()
    )


# --- the situation ---------------------------------------------------------------------------------------


def test_the_apis_are_those_of_the_apiservices() -> None:
    assert apis_of(sight()) == (Api("v1", "things.example"), Api("v1beta1", "things.example"))


@pytest.mark.parametrize(
    ("serving", "said"),
    [
        (
            Serving(AT, "mint", PLACE, because="there is none yet"),
            "with a new certificate (there is none yet)",
        ),
        (Serving(AT, "keep", PLACE), "with the certificate that is there"),
        (Serving(AT, "given"), "verified by the caBundle of the file"),
        (Serving(AT, "injected"), "verified by a caBundle that somebody else fills in"),
        (Serving(AT, "insecure"), "without verifying its certificate"),
    ],
    ids=["mint", "keep", "given", "injected", "insecure"],
)
def test_one_line_says_which_service_serves_and_how_it_is_verified(serving: Serving, said: str) -> None:
    names = "v1.things.example, v1beta1.things.example"
    assert situation(sight(serving)) == (f"{names} by Service shop/things, {said}",)


@pytest.mark.parametrize(
    ("silent", "said"), [((), "1 of 1"), (((PEER, "timed out"), (HIDDEN, "refused")), "1 of 3")]
)
def test_nothing_to_do_has_its_reasons_and_counts_only_who_was_asked(silent: Any, said: str) -> None:
    first, second = unchanged_reasons(sight(Serving(AT, "keep", PLACE), silent=silent))
    assert first == f"Nothing to do: every object is as wanted, {said} kube-apiservers get an answer."
    assert second.endswith("with the certificate that is there")


def test_a_new_secret_is_shown_with_its_name_and_end_and_never_its_content() -> None:
    pair = pki.issue(CA, AT.dns, NOW, usage="server", sans=(AT.dns,), algorithm="ECDSA-P256")
    servings = (Serving(AT, "mint", PLACE), Serving(AT, "mint", NO_SECRET), Serving(AT, "keep", PLACE))
    minted = {AT: Minted(CA.certificate, pair)}
    where = "/api/v1/namespaces/shop/secrets/things-tls"
    assert details(sight(servings[0]), minted) == {
        where: "serving certificate for things.shop.svc, until 2027-06-01"
    }
    assert details(sight(*servings[1:]), minted) == {}


# --- notes -----------------------------------------------------------------------------------------------


def rehearsed(*conflicts: tuple[str, str]) -> Rehearsed:
    of = located(api_service())
    return Rehearsed(of, of.object, of.object, 200, of.object, conflicts=conflicts)


OWN = Finding("manifest-read-as", "info", "x", "y", "z")


@pytest.mark.parametrize(
    ("seen", "wanted", "conflicts", "expected"),
    [
        (sight(Serving(AT, "keep", PLACE)), WANTED, (), []),
        (sight(), replace(WANTED, notes=(OWN,)), (), ["manifest-read-as"]),
        (sight(Serving(AT, "insecure")), WANTED, (), ["insecure-as-asked"]),
        (sight(), WANTED, ((INSECURE, "helm"),), ["insecure-taken-over"]),
        (sight(), WANTED, ((".spec.caBundle", "helm"),), []),
        (sight(silent=((PEER, "timed out"),)), WANTED, (), ["apiserver-not-asked"]),
        (sight(servers=(SERVER, PEER), metered=(SERVER,)), WANTED, (), ["metrics-not-readable"]),
        (sight(servers=(SERVER, PEER), metered=()), WANTED, (), ["metrics-not-readable"] * 2),
        (sight(metered=()), WANTED, (), []),
    ],
    ids=[
        "all is well",
        "of the files",
        "insecure, each time",
        "taken over by consent",
        "another conflict",
        "a silent kube-apiserver",
        "one whose metrics are hidden",
        "all of them",
        "that of a single one, which says nothing more",
    ],
)
def test_what_the_user_should_know_is_noted(
    seen: Sight, wanted: Wanted, conflicts: Any, expected: list[str]
) -> None:
    assert codes(notes(seen, wanted, (rehearsed(*conflicts),))) == expected


def test_notes_name_whom_they_are_about() -> None:
    seen = sight(Serving(AT, "insecure"), silent=((PEER, "timed\nout"),), metered=())
    insecure, taken, silent, metrics = notes(seen, WANTED, (rehearsed((INSECURE, "helm")),))
    assert (insecure.severity, insecure.subject) == ("warning", "Service shop/things")
    assert (taken.severity, taken.subject) == ("warning", "APIService v1.things.example")
    assert "belonged to helm" in taken.message
    assert (silent.subject, silent.message) == (PEER, "this kube-apiserver was not asked: timed out")
    assert (metrics.severity, metrics.subject) == ("info", SERVER)


# --- what is served --------------------------------------------------------------------------------------

THINGS = {
    "resources": [
        {"name": "things", "kind": "Thing", "namespaced": True, "verbs": ["get", "list"]},
        {"name": "colours\x1b[31m", "kind": "Colour", "namespaced": False, "verbs": None},
    ]
}
PATHS = ("/apis/things.example/v1", "/apis/things.example/v1beta1")


def served(of: Sight, *answers: Any) -> tuple[str, ...]:
    scene = cluster(namespace())
    for where, answer in zip(PATHS, answers, strict=True):
        scene = scene.answering({ObjectAt(where, SERVER): answer})
    return scene.ask(lambda snapshot: served_resources(snapshot, of))


def test_what_each_version_serves_is_a_table_as_kubectl_has_it() -> None:
    assert served(sight(), THINGS, {"resources": THINGS["resources"][:1]}) == (
        "v1.things.example, v1beta1.things.example answers through 1 kube-apiserver.",
        "NAME      KIND     NAMESPACED   VERBS",
        "things    Thing    true         get,list",
        "colours   Colour   false",
        "things    Thing    true         get,list",
    )


@pytest.mark.parametrize("answer", [None, {}, {"resources": None}], ids=["404", "nothing", "null"])
def test_a_version_that_serves_nothing_has_no_row(answer: Any) -> None:
    seen = sight(servers=(SERVER, PEER))
    first, *table = served(seen, answer, answer)
    assert first.endswith("answers through 2 kube-apiservers.")
    assert table == ["NAME   KIND   NAMESPACED   VERBS"]


@pytest.mark.parametrize(("count", "more"), [(100, ()), (101, ("… and 1 more",)), (350, ("… and 250 more",))])
def test_of_very_many_resources_the_first_hundred_are_shown(count: int, more: tuple[str, ...]) -> None:
    resources = [{"name": f"r{each}", "kind": "Thing", "verbs": "odd"} for each in range(count)]
    lines = served(sight(), {"resources": resources}, None)
    assert lines[2:102] == tuple(f"r{each}".ljust(7) + "Thing   false" for each in range(100))
    assert lines[102:] == more


def test_all_versions_are_asked_side_by_side() -> None:
    rounds = []

    def look(snapshot: Snapshot) -> tuple[str, ...]:
        rounds.append(1)
        return served_resources(snapshot, sight())

    cluster().ask(look)
    assert len(rounds) == 2


def test_what_a_version_serves_is_not_made_up_where_it_does_not_answer() -> None:
    with pytest.raises(NotKnown):
        served(sight(), THINGS, Unknown("HTTP 503"))


def test_a_plain_get_is_offered_for_each_version() -> None:
    assert tries(sight()) == tuple(f"Try: kubectl get --raw {each}" for each in PATHS)
