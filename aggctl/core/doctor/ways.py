"""How an API answers through each kube-apiserver: a request, its own gauge, and the words of the condition.

`Available` is one status that all kube-apiservers write; the gauge is what each of them found itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.core.checks.extension import condition_of
from aggctl.core.doctor.signs import DISCOVERY, Sign, read_sign, sign_of_status
from aggctl.core.published import read_published
from aggctl.core.questions import RawAt, UnavailableApis
from aggctl.core.secrets_out import without_secrets
from aggctl.core.snapshot import NotKnown
from aggctl.core.text import clean

if TYPE_CHECKING:
    from aggctl.core.doctor.model import Object, Place
    from aggctl.core.extension import Api
    from aggctl.core.questions import AnswerSeen
    from aggctl.core.snapshot import Snapshot

ALL_OF_IT, FORBIDDEN, UNAVAILABLE = 200, 403, 503
ANONYMOUS = "system:anonymous"
PROXY_NAMES = ("front-proxy-client", "system:auth-proxy", "aggregator", "kube-apiserver-aggregator")
"""Common names of front-proxy certificates: kubeadm's and microk8s', k3s' and RKE2's, kops'."""

_USER = re.compile(r'User "(?P<name>[^"]+)"')
_FORWARDED = "error trying to reach service"
NOT_ASKED = "service unavailable"
"""What a kube-apiserver says that holds an API for unavailable: it did not ask."""


@dataclass(frozen=True, slots=True)
class Way:
    """Through one kube-apiserver: its answer, or why there is none; what it finds of the API itself."""

    server: str
    answer: AnswerSeen | None
    why: str
    unavailable: bool | None
    proxies: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the API answered, and this kube-apiserver does not hold it for unavailable.

        Where the caller was refused by name, that is no fault of the API's.
        """
        answered = self.answer is not None and self.answer.status == ALL_OF_IT
        return (answered or self.denied) and not self.unavailable

    @property
    def denied(self) -> bool:
        """Whether the caller himself was refused: by a name that is no front proxy's."""
        found = _USER.search(self.answer.said) if self.answer and self.answer.status == FORBIDDEN else None
        return found is not None and found["name"] not in (*self.proxies, ANONYMOUS)

    @property
    def said(self) -> str:
        """Its own words, where it asked."""
        words = self.answer.said if self.answer else self.why
        return "" if words == NOT_ASKED else words


@dataclass(frozen=True, slots=True)
class Ways:
    """All of them, and what the condition Available says."""

    every: tuple[Way, ...]
    available: bool
    reason: str
    message: str

    @property
    def works(self) -> bool:
        """Whether the API answers through every kube-apiserver."""
        return bool(self.every) and all(each.works for each in self.every)

    @property
    def broken(self) -> tuple[Way, ...]:
        """Those through which it does not."""
        return tuple(each for each in self.every if not each.works)

    def is_broken_through(self, server: str) -> bool:
        """Whether it does not answer through this very kube-apiserver."""
        return server in [each.server for each in self.broken]

    @property
    def evidence(self) -> tuple[str, ...]:
        """What kube-apiservers say of it, each once."""
        said = [f"GET through {each.server}: {each.said}" for each in self.broken if each.said]
        condition = f"Available={self.available}, {self.reason}: {self.message}" if not self.available else ""
        return tuple(dict.fromkeys(each for each in (*said, condition) if each))

    def signs(self, hop: str) -> tuple[Sign, ...]:
        """What the words stand for that lead to a hop; nothing where the API answers everywhere."""
        if self.works:
            return ()
        found = [sign for each in self.broken if (sign := _of_way(each))]
        if not self.available and (sign := read_sign(self.message)):
            found.append(sign)
        return tuple({sign.code: sign for sign in reversed(found) if sign.hop == hop}.values())


def see_ways(snapshot: Snapshot, place: Place, api: Api, live: Object | None) -> Ways:
    """Ask through every kube-apiserver that answers."""
    snapshot.expect(
        *(RawAt(api.path, each) for each in place.servers),
        *(UnavailableApis(each) for each in place.servers),
    )
    condition = condition_of(live or {})
    return Ways(
        tuple(_way(snapshot, place, each, api) for each in place.servers),
        condition.get("status") == "True",
        clean(str(condition.get("reason") or "not looked at yet"), 100),
        without_secrets(clean(str(condition.get("message") or ""), 600)),
    )


def _proxies(snapshot: Snapshot, place: Place) -> tuple[str, ...]:
    """The names of front proxies: the usual ones, those that are published, this node's own."""
    own = place.files.certificate.common_name if place.files and place.files.certificate else ""
    try:
        published = read_published(snapshot, place.server).names
    except NotKnown:
        published = ()
    return (*PROXY_NAMES, *published, own)


def _way(snapshot: Snapshot, place: Place, server: str, api: Api) -> Way:
    gauge = None
    if not snapshot.unknown(UnavailableApis(server)):
        gauge = snapshot.unavailable_apis(server).get(api.name)
    if unknown := snapshot.unknown(RawAt(api.path, server)):
        return Way(server, None, unknown.reason, gauge)
    answer = snapshot.raw(api.path, server)
    proxies = _proxies(snapshot, place) if answer.status == FORBIDDEN else ()
    return Way(server, replace(answer, said=without_secrets(answer.said)), "", gauge, proxies)


def _of_way(way: Way) -> Sign | None:
    """What an answer through the aggregator stands for: words that are known, else the status."""
    if way.answer is None:
        return Sign(DISCOVERY, "discovery-slow", way.why) if "timed out" in way.why.lower() else None
    if not way.said and way.answer.status in (ALL_OF_IT, UNAVAILABLE):
        return None  # the kube-apiserver did not ask: what it found stands in the condition
    known = read_sign(way.said)
    if known or way.answer.status == ALL_OF_IT or way.said.startswith(_FORWARDED):
        return known
    return sign_of_status(way.answer.status, way.said)
