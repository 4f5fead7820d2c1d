"""From what a dry run on the server made of each object to the plan: what differs, the APIServices last."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggctl.core.checks.extension import api_of, service_of
from aggctl.core.checks.workload import pods_path
from aggctl.core.fields import content_stamp, created_stamp, kept, owned_stamp
from aggctl.core.findings import Finding
from aggctl.core.plan import Condition, Gate, ObjectChange, ObjectState, Plan, Step, canonical, digest
from aggctl.core.report import ShownChange
from aggctl.core.text import unified_diff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.register.sight import Sight, Wanted
    from aggctl.core.resources import Located

Object = dict[str, Any]

OK, CREATED, FORBIDDEN, NOT_FOUND = 200, 201, 403, 404
INSECURE = ".spec.insecureSkipTLSVerify"
_SERVICE_WATCH = (
    "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io/service-name={}"
)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """An object to apply, as it is now, and what a dry run made of it; `stand_in`: in another namespace.

    `conflicts` are (field, manager) where others own what we want to set.
    """

    located: Located
    config: Object = field(repr=False)
    live: Object | None = field(repr=False)
    status: int
    result: Object = field(repr=False)
    message: str = ""
    conflicts: tuple[tuple[str, str], ...] = ()
    force: bool = False
    stand_in: bool = False

    @property
    def changes(self) -> bool:
        """Whether applying would write anything."""
        return self.live is None or _timeless(self.result) != _timeless(self.live)

    @property
    def only_insecure(self) -> bool:
        """The one thing in the way is that somebody else says insecureSkipTLSVerify."""
        return bool(self.conflicts) and all(name == INSECURE for name, _ in self.conflicts)


def problems_of(rehearsed: tuple[Rehearsed, ...]) -> Iterator[Finding]:
    """What the server refuses, object by object."""
    for each in rehearsed:
        if each.status in (OK, CREATED) or (each.stand_in and each.status == FORBIDDEN):
            continue
        if each.status == NOT_FOUND and _awaits_its_role(each, rehearsed):
            continue
        if each.conflicts:
            yield from _conflicts(each)
        elif each.status == FORBIDDEN:
            yield _problem(
                "no-rights-in-cluster", each, "ask for that right, or use a kubeconfig that has it"
            )
        else:
            yield _problem("object-not-valid", each, "correct what it names, then run again")


def _awaits_its_role(each: Rehearsed, rehearsed: tuple[Rehearsed, ...]) -> bool:
    """Whether it binds a role that is written ahead of it and is not there yet.

    To whoever is not in system:masters kube-apiserver answers 404 then, to see whether he may bind it.
    """
    wanted = each.config.get("roleRef") or {}
    return any(
        (one.located.kind, one.config["metadata"]["name"]) == (wanted.get("kind"), wanted.get("name"))
        and one.located.namespace in ("", each.located.namespace)
        for one in rehearsed
        if one.live is None
    )


def plan_register(
    sight: Sight, wanted: Wanted, rehearsed: tuple[Rehearsed, ...], command: str = "register"
) -> Plan:
    """Apply what differs; no step: nothing does."""
    changed = [each for each in rehearsed if each.changes]
    names = ", ".join(sight.apis)
    steps: list[Step] = []
    blobs: dict[str, bytes] = {}
    workloads = workload_gate(sight, wanted, rehearsed)
    for each in changed:
        change, contents = change_of(sight.server, wanted.manager, each)
        blobs |= contents
        first_api = each.located.kind == "APIService" and not any(
            step.change.target.startswith("APIService ") for step in steps
        )
        steps.append(Step(each.located.target, change, needs=workloads if first_api else None))
    if steps:
        last = steps[-1]
        steps[-1] = Step(last.title, last.change, gate=final_gate(sight, wanted, rehearsed), needs=last.needs)
    return Plan(command, f"register {names}", tuple(steps), blobs)


def workload_gate(sight: Sight, wanted: Wanted, rehearsed: tuple[Rehearsed, ...]) -> Gate:
    """What must run before an APIService may point at it."""
    conditions: list[Condition] = []
    watch: list[str] = []
    for each in rehearsed:
        if each.located.kind == "Deployment":
            metadata, spec = each.config["metadata"], each.config["spec"]
            namespace, name = each.located.namespace, metadata["name"]
            conditions.append(
                _condition("workload-available", namespace=namespace, name=name, server=sight.server)
            )
            collection = each.located.path.rpartition("/")[0]
            watch += [
                f"{collection}?fieldSelector=metadata.name%3D{name}",
                pods_path(namespace, (spec.get("selector") or {}).get("matchLabels") or {}),
            ]
    for service in dict.fromkeys(
        filter(None, (service_of(each.config) for each in rehearsed if each.located.kind == "APIService"))
    ):
        conditions.append(
            _condition(
                "endpoints-ready",
                namespace=service.namespace,
                service=service.name,
                port=service.port,
                server=sight.server,
            )
        )
        watch.append(_SERVICE_WATCH.format(service.namespace, service.name))
    return Gate(
        tuple(conditions),
        wanted.deadline,
        waits_for="the server's Pods" if len(conditions) > 1 else "the Service",
        server=sight.server,
        watch=tuple(watch),
    )


def final_gate(sight: Sight, wanted: Wanted, rehearsed: tuple[Rehearsed, ...]) -> Gate:
    """Each kube-apiserver that can be asked gets an answer from our Service, over TLS that verifies."""
    own = workload_gate(sight, wanted, rehearsed)
    conditions = list(own.conditions)
    apis = [each.config for each in rehearsed if each.located.kind == "APIService"]
    for each in apis:
        service = service_of(each)
        name = each["metadata"]["name"]
        if service:
            conditions += [
                _condition("serving-certificate-verified", name=name, server=sight.server),
                _condition(
                    "api-available",
                    name=name,
                    namespace=service.namespace,
                    service=service.name,
                    server=sight.server,
                ),
            ]
    for server in sight.roster.servers:
        for each in apis:
            api = api_of(each)
            conditions.append(_condition("api-answers", group=api.group, version=api.version, server=server))
        if server in sight.metered:
            conditions += [
                _condition("api-available-here", name=each["metadata"]["name"], server=server)
                for each in apis
            ]
    watch = tuple(
        f"/apis/apiregistration.k8s.io/v1/apiservices?fieldSelector=metadata.name%3D{each['metadata']['name']}"
        for each in apis
    )
    return Gate(
        tuple(conditions),
        wanted.deadline,
        waits_for="the API to answer",
        server=sight.server,
        watch=(*own.watch, *watch),
    )


def shown_changes(rehearsed: tuple[Rehearsed, ...], details: dict[str, str]) -> tuple[ShownChange, ...]:
    """The changes for people; of Secrets no content."""
    return tuple(
        ShownChange(
            "change" if each.live else "create",
            each.located.target,
            details.get(each.located.path, ""),
            _diff(each),
        )
        for each in rehearsed
        if each.changes
    )


def change_of(server: str, manager: str, each: Rehearsed) -> tuple[ObjectChange, dict[str, bytes]]:
    """What makes an object as the dry run showed it, and the blobs that doing and undoing it need."""
    config = canonical(each.config)
    holds = owned_stamp(each.result, manager) if each.live else created_stamp(each.config)
    after = ObjectState(digest(config), holds)
    blobs = {after.blob: config}
    before = None
    if each.live:
        backup = canonical(kept(each.live))
        before = ObjectState(digest(backup), content_stamp(each.live), whole=True)
        blobs[before.blob] = backup
    path, target = each.located.path, each.located.target
    return ObjectChange(server, path, target, before, after, each.force, manager), blobs


def _diff(each: Rehearsed) -> str:
    """What changes in an object, as JSON lines; Secrets hold keys."""
    if each.located.kind == "Secret" or each.live is None:
        return ""
    old, new = (json.dumps(_readable(one), indent=1, sort_keys=True) for one in (each.live, each.result))
    return unified_diff(f"{old}\n", f"{new}\n", each.located.target)


def _readable(object_: Object) -> Object:
    plain = kept(object_)
    plain["metadata"] = {name: value for name, value in plain["metadata"].items() if name != "managedFields"}
    return plain


def _timeless(object_: Object) -> Object:
    """An object without the moments at which its managers last wrote."""
    plain = kept(object_)
    entries = [{k: v for k, v in each.items() if k != "time"} for each in plain["metadata"]["managedFields"]]
    plain["metadata"]["managedFields"] = entries
    return plain


def _conflicts(each: Rehearsed) -> Iterator[Finding]:
    for name, manager in each.conflicts:
        yield Finding(
            code="field-conflict",
            severity="error",
            subject=f"{each.located.target}, {name}",
            message=f"{name} belongs to field manager {manager}",
            fix="leave it out of what you apply, or take it over by --force-conflicts",
        )


def _problem(code: str, each: Rehearsed, fix: str) -> Finding:
    return Finding(code, "error", each.located.target, f"{each.located.target}: {each.message}", fix)


def _condition(check: str, **arguments: str | int) -> Condition:
    return Condition(check, tuple(arguments.items()))
