"""The least rights that doctor needs are those by which it asks, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from support.doctor_cases import CASES, seen_by

from aggctl.core.doctor.effects import AUTOSCALERS
from aggctl.core.doctor.rights import LEAST
from aggctl.core.questions import MayDo, ObjectAt, PodHandshake, PodLog, RawAt, UnavailableApis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.questions import Question

Need = tuple[str, str, str]
"""(group, resource, verb); a path that is no resource has group and resource in one."""

OF_EVERYBODY = {("", "/version", "get")}
"""What system:authenticated may do without a grant (system:public-info-viewer, system:discovery)."""

ROLE: dict[str, Any] = YAML(typ="safe").load(LEAST)


def granted() -> set[Need]:
    return {
        (group, what, verb)
        for rule in ROLE["rules"]
        for group in rule.get("apiGroups", [""])
        for what in (*rule.get("resources", ()), *rule.get("nonResourceURLs", ()))
        for verb in rule["verbs"]
    }


def needs(asked: Question) -> Iterator[Need]:
    match asked:
        case ObjectAt(path, _):
            yield _of_path(path)
        case PodLog():
            yield ("", "pods/log", "get")
        case RawAt(path, _) if "/proxy/" in path:
            yield ("", "pods/proxy", "get")
        case PodHandshake():  # by WebSocket that is a GET, which needs the right to create from 1.35 on
            yield ("", "pods/portforward", "get")
            yield ("", "pods/portforward", "create")
        case UnavailableApis():
            yield ("", "/metrics", "get")
        case MayDo(user=user) if user:
            yield ("authorization.k8s.io", "subjectaccessreviews", "create")


def _of_path(path: str) -> Need:
    parts = re.fullmatch(
        r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/[^/]+(?=/))?/(?P<resource>[^/]+)(?P<name>/[^/]+)?",
        urlsplit(path).path,
    )
    if parts is None:
        return ("", path, "get")
    return (parts["group"] or "", parts["resource"], "get" if parts["name"] else "list")


def asked_from_anywhere() -> set[Need]:
    return {
        need
        for case in CASES
        if case.place == "anywhere"
        for asked in seen_by(case)[2].answers
        for need in needs(asked)
    }


def test_all_that_doctor_asks_for_is_granted() -> None:
    assert asked_from_anywhere() - granted() - OF_EVERYBODY == set()


def test_nothing_is_granted_that_changes_or_reads_secrets() -> None:
    passing = {"subjectaccessreviews", "pods/portforward"}
    assert {verb for _, what, verb in granted() if what not in passing} <= {"get", "list", "watch"}
    assert "secrets" not in {what for _, what, _ in granted()}


def test_what_is_granted_is_asked_for_or_watched() -> None:
    for_metrics = {_of_path(AUTOSCALERS)}
    assert {each for each in granted() - asked_from_anywhere() if each[2] != "watch"} == for_metrics


def test_of_config_maps_only_the_one_that_is_published_and_kubeadms_may_be_read() -> None:
    (rule,) = [each for each in ROLE["rules"] if "configmaps" in each.get("resources", ())]
    assert rule["resourceNames"] == ["extension-apiserver-authentication", "kubeadm-config"]
