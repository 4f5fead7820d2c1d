"""Who may do what: what an access review asks, and the headers of a request in somebody's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from aggctl.core.questions import MayDo, RawAt

_ATTRIBUTES = ("verb", "group", "resource", "subresource", "namespace", "name")


def access_review(asked: MayDo) -> dict[str, Any]:
    """The spec of an access review; of oneself, where no user is named."""
    what = {"resourceAttributes": {key: value for key in _ATTRIBUTES if (value := getattr(asked, key))}}
    return what | ({"user": asked.user, "groups": list(asked.groups)} if asked.user else {})


def named(who: RawAt | None, accept: str) -> MutableMapping[str, str]:
    """The headers of a request that wants `accept`, made in the name of somebody else where one is meant."""
    if who is None or not who.user:
        return {"Accept": accept}
    from urllib3 import HTTPHeaderDict  # noqa: PLC0415 -- 80 ms that --help need not pay

    headers = HTTPHeaderDict({"Accept": accept, "Impersonate-User": _as_sent(who.user)})
    for group in who.groups:  # each in a header of its own
        headers.add("Impersonate-Group", _as_sent(group))
    return headers


def _as_sent(name: str) -> str:
    """http.client writes Latin-1, and kube-apiserver reads UTF-8."""
    return name.encode().decode("latin-1")
