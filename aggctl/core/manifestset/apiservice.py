"""What can be wrong with an APIService by itself: kube-apiserver's rules, and what it takes and cannot work.

The rules are those of kube-aggregator/pkg/apis/apiregistration/validation/validation.go (1.37).
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.findings import Finding
from aggctl.core.shapes import BUILT_IN_GROUPS, at, name_of, number, table, title, word
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PRIORITIES = {"groupPriorityMinimum": 20000, "versionPriority": 1000}
"""The highest value of each; the lowest is 1."""

DEFAULT_PORT = 443
_USUAL = {"groupPriorityMinimum": 1000, "versionPriority": 15}
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_VERSION = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_USUAL_VERSION = re.compile(r"v[1-9][0-9]*(?:(?:alpha|beta)[1-9][0-9]*)?")
_LONGEST_GROUP = 253
_LAST_PORT = 65535

_SPEC: dict[str, type] = {
    "caBundle": str,
    "group": str,
    "groupPriorityMinimum": int,
    "insecureSkipTLSVerify": bool,
    "service": dict,
    "version": str,
    "versionPriority": int,
}
_SERVICE: dict[str, type] = {"name": str, "namespace": str, "port": int}
_WORDS = {str: "a string", int: "an integer", bool: "true or false", dict: "a mapping"}


def check_api_service(thing: dict[str, Any], place: str) -> tuple[Finding, ...]:
    """Every problem of one APIService that shows without a cluster."""
    about = f"{title(thing)} ({place})"
    spec = table(thing, "spec")
    if not spec:
        message = "it has no spec"
        return (_error("apiservice-wrong-type", about, message, expected="a mapping", fix="write its spec"),)
    version, group = word(spec, "version"), word(spec, "group")
    return (
        *_fields(about, spec, "spec", _SPEC),
        *_fields(about, table(spec, "service"), "spec.service", _SERVICE),
        *check_group_version(about, version, group),
        *_name(about, name_of(thing), f"{version}.{group}"),
        *_priorities(about, spec),
        *_service(about, spec),
        *_trust(about, spec),
    )


def check_group_version(about: str, version: str, group: str) -> Iterator[Finding]:
    """What is wrong with a version and a group, wherever they were named."""
    if not _VERSION.fullmatch(version):
        yield _error(
            "apiservice-version",
            about,
            f"its version is {_shown(version)}, which is no version of an API",
            expected="v1, v1beta1, v2alpha1 or the like",
            fix="set spec.version, and the first part of metadata.name",
        )
    elif not _USUAL_VERSION.fullmatch(version):
        yield Finding(
            "apiservice-version",
            "warning",
            about,
            f"its version is {version}; clients prefer every version of the usual form to it",
            expected="v1, v1beta1, v2alpha1 or the like",
            fix="name it so, if the API is still yours to name",
        )
    if group in BUILT_IN_GROUPS and (group or version == "v1"):
        yield _error(
            "group-built-in",
            about,
            f"its group is {_shown(group)}, which kube-apiserver serves itself",
            expected="a group of your own, such as metrics.example.com",
            fix="name another group: an APIService for this one takes the API away from the whole cluster",
        )
    elif "." not in group or not _SUBDOMAIN.fullmatch(group) or len(group) > _LONGEST_GROUP:
        yield _error(
            "apiservice-group",
            about,
            f"its group is {_shown(group)}, which is no name of a group",
            expected="a DNS name with a dot, in small letters, such as metrics.example.com",
            fix="set spec.group, and the rest of metadata.name",
        )


def port_of(api_service: dict[str, Any]) -> int:
    """The port of the Service at which the API answers: 443 where none is named."""
    return number(api_service, "spec", "service", "port") or DEFAULT_PORT


# --- one rule each ---------------------------------------------------------------------------------------


def _fields(about: str, part: dict[str, Any], where: str, known: dict[str, type]) -> Iterator[Finding]:
    """Fields that do not exist, and values of another type than the field's."""
    for field, value in part.items():
        if field not in known:
            near = _nearest(field, known)
            yield _error(
                "apiservice-unknown-field",
                about,
                f"{where}.{clean(field, 60)} does not exist",
                expected=", ".join(known),
                fix=f"write {near}" if near else f"remove {clean(field, 60)}",
            )
        elif value is not None and type(value) is not known[field]:
            yield _error(
                "apiservice-wrong-type",
                about,
                f"{where}.{field} is not {_WORDS[known[field]]}",
                expected=_WORDS[known[field]],
                fix=f"correct {where}.{field}",
            )


def _nearest(field: str, known: Iterable[str]) -> str:
    """The field that was probably meant; case counts for the server."""
    small = {each.lower(): each for each in known}
    found = difflib.get_close_matches(field.lower(), small, n=1, cutoff=0.7)
    return small[found[0]] if found else ""


def _name(about: str, name: str, wanted: str) -> Iterator[Finding]:
    if name != wanted:
        yield _error(
            "apiservice-name",
            about,
            f"its name is not spec.version.spec.group, {_shown(wanted)}",
            expected=f"metadata.name: {clean(wanted)}",
            fix="make the name, the version and the group agree",
        )


def _priorities(about: str, spec: dict[str, Any]) -> Iterator[Finding]:
    meant = {_nearest(field, PRIORITIES) for field in spec if field not in _SPEC}
    for field, highest in PRIORITIES.items():
        value = spec.get(field)
        found = number(value)
        if found is None and (field in meant or value is not None):
            continue  # a typo or a wrong type, and reported as that
        if found is None or not 1 <= found <= highest:
            yield _error(
                "apiservice-priority",
                about,
                f"spec.{field} is {'missing' if found is None else found}",
                expected=f"1 to {highest}",
                fix=f"{field}: {_USUAL[field]} is usual",
            )


def _service(about: str, spec: dict[str, Any]) -> Iterator[Finding]:
    service = table(spec, "service")
    if not service:
        yield _error(
            "apiservice-without-service",
            about,
            "it names no Service, so that kube-apiserver looks to itself",
            expected="spec.service with a name and a namespace",
            fix="name the Service that serves the API",
        )
        return
    missing = [field for field in ("name", "namespace") if not service.get(field)]
    if missing:
        yield _error(
            "apiservice-service-incomplete",
            about,
            f"spec.service has no {' and no '.join(missing)}",
            expected="a name and a namespace",
            fix="set it, or name the namespace for all of the set: aggctl register -f … -n NAMESPACE",
        )
    port = number(service, "port")
    if port is not None and not 1 <= port <= _LAST_PORT:
        yield _error(
            "apiservice-port",
            about,
            f"spec.service.port is {port}",
            expected=f"1 to {_LAST_PORT}",
            fix="the port of the Service, 443 where none is named",
        )


def _trust(about: str, spec: dict[str, Any]) -> Iterator[Finding]:
    bundle = word(spec, "caBundle")
    if bundle and at(spec, "insecureSkipTLSVerify") is True:
        yield _error(
            "apiservice-bundle-and-insecure",
            about,
            "it has a caBundle and insecureSkipTLSVerify as well",
            expected="one of the two",
            fix="remove insecureSkipTLSVerify: with a caBundle nothing needs it",
        )
    if bundle and (reason := _unreadable(bundle)):
        yield _error(
            "ca-bundle-not-readable",
            about,
            f"its caBundle {reason}",
            expected="PEM certificates in base64",
            fix="base64 -w0 ca.crt     (or leave caBundle out: --tls self fills it in)",
        )


def _unreadable(bundle: str) -> str:
    """Why a caBundle is none; '' where it is one. A note of the reader tells of blanks in it."""
    if "-----BEGIN" in bundle:
        return "is PEM itself and not base64 of it"
    try:
        pem = base64.b64decode("".join(bundle.split()), validate=True)
    except (binascii.Error, ValueError):
        return "is no base64"
    try:
        pki.read_certificates(pem)
    except pki.PkiError:
        return "is base64 of something that is no PEM certificate"
    return ""


def _error(code: str, about: str, message: str, *, expected: str, fix: str) -> Finding:
    return Finding(code, "error", about, message, fix=fix, expected=expected)


def _shown(text: str) -> str:
    return clean(text, 100) or "empty"
