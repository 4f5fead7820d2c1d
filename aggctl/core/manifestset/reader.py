"""The user's files as objects; what is no object is refused, and so is a set without an APIService."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggctl.core.manifestset.malformed import mapping, refuse_malformed
from aggctl.core.manifestset.model import Item
from aggctl.core.manifestset.normal import normal
from aggctl.core.manifestset.templates import in_object, is_template
from aggctl.core.manifestset.text import documents
from aggctl.core.shapes import identity, is_api_service, name_of, title, word
from aggctl.core.text import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DOCUMENTS = 1000
_VALUES = re.compile(r"(?:^|[/.-])values(?:[.-][\w.-]*)?\.ya?ml$")
_WAYS = {
    "kustomize.config.k8s.io": "kustomize build FOLDER | aggctl register -f -",
    "template.openshift.io": "oc process -f FILE | aggctl register -f -",
}
_HELM = "helm template CHART | aggctl register -f -     (kustomize build FOLDER | … does as well)"
_SHOWN = 8


def read_set(sources: Iterable[tuple[str, bytes]]) -> tuple[Item, ...]:
    """The objects of some files (name, bytes), in order; Refused where they are no set for `register`."""
    items: list[Item] = []
    for name, data in sources:
        for item in _items(name, data):
            items.append(item)
            _refuse_too_many(items)
    refuse_twice(items)
    _refuse_without_api_service(items)
    return tuple(items)


def refuse_twice(items: Iterable[Item]) -> None:
    """Refused where two objects are the same one to the cluster: the second would undo the first."""
    seen: dict[tuple[str, ...], Item] = {}
    for item in items:
        first = seen.setdefault(identity(item.object), item)
        if first is not item:
            raise Refused(
                "object-twice",
                f"{title(item.object)} stands twice: in {first.place} and in {item.place}.",
                expected="each object once",
                do="remove one of the two",
            )


def _refuse_too_many(items: Sequence[Item]) -> None:
    if len(items) > DOCUMENTS:
        raise Refused(
            "objects-too-large",
            f"{items[-1].place}: this is more than any set of manifests that aggctl reads.",
            expected=f"at most {DOCUMENTS} objects",
            do="name the files of the API alone: aggctl register -f FILE",
        )


def _refuse_without_api_service(items: Sequence[Item]) -> None:
    if any(is_api_service(item.object) for item in items):
        return
    found = [_described(item.object) for item in items]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise Refused(
        "no-apiservice",
        "there is no APIService among these manifests, so that nothing would be registered.",
        found=(", ".join(found[:_SHOWN]) + more) or "no object at all",
        expected="an APIService of apiregistration.k8s.io/v1",
        do="name its file too (-f FILE -f FILE), or let aggctl write it:"
        " aggctl register VERSION.GROUP --service NAMESPACE/NAME",
    )


def _described(thing: dict[str, Any]) -> str:
    if word(thing, "kind") != "APIService":
        return title(thing)
    return f"{title(thing)} of {clean(word(thing, 'apiVersion'), 60)} (another product's kind of that name)"


# --- one file --------------------------------------------------------------------------------------------


def _items(name: str, data: bytes) -> Iterator[Item]:
    for document in documents(name, data):
        for thing, place in _flat(document.value, f"{name}, line {document.line}"):
            _refuse_input_of_others(thing, place, name)
            if placeholder := in_object(thing):
                raise is_template(place, placeholder)
            refuse_malformed(thing, place)
            wanted, notes = normal(thing)
            yield Item(wanted, place, notes)


def _flat(value: Any, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The object, or those of a List; the items of a typed one (`APIServiceList`) name no kind themselves."""
    kind = word(value, "kind")
    if not kind.endswith("List") or not isinstance(value.get("items"), list) or name_of(value):
        yield mapping(value, place), place
        return
    implied = (
        {} if kind == "List" else {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List")}
    )
    for count, item in enumerate(value["items"], start=1):
        yield implied | mapping(item, f"{place}, item {count}"), f"{place}, item {count}"


# --- what is the input of another tool -------------------------------------------------------------------


def _refuse_input_of_others(thing: dict[str, Any], place: str, name: str) -> None:
    if found := _input_of_others(thing, name):
        what, way = found
        raise Refused(
            "objects-to-be-rendered",
            f"{place}: this is {clean(what, 80)}, out of which manifests have yet to be made.",
            expected="the manifests themselves",
            do=way,
        )


def _input_of_others(thing: dict[str, Any], name: str) -> tuple[str, str] | None:
    """What it is and how to make manifests of it; None where it may be one itself."""
    kind, version = word(thing, "kind"), word(thing, "apiVersion")
    if kind in {"Kustomization", "Component", "Template"}:
        way = _WAYS.get(version.partition("/")[0])
        return (f"a {kind} of {version}", way) if way else None
    base = name.rpartition("/")[2]
    if "kind" in thing:
        return None
    if base in {"kustomization.yaml", "kustomization.yml"}:  # kustomize itself does without a kind
        return "a kustomization", _WAYS["kustomize.config.k8s.io"]
    if version in {"v1", "v2"} and word(thing, "name") and word(thing, "version"):
        return "the Chart.yaml of a Helm chart", _HELM
    return ("a file of values", _HELM) if _VALUES.search(base) else None
