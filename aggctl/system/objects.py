"""Objects of the cluster: applied, restored and deleted so that nobody else's work is lost.

Server-side apply has no create-only, but a created object answers 201; a resourceVersion in the body makes it
a true compare-and-swap, a UID in the preconditions makes a deletion one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aggctl.core.fields import MANAGER, restored, restored_owners, stamps
from aggctl.core.kinds import OBJECT, STATUS, STORED
from aggctl.core.plan import ObjectChange, canonical
from aggctl.core.text import clean
from aggctl.core.typed import NotTyped, hold, read_json, typed
from aggctl.errors import Failed, Refused
from aggctl.system.files import Changed

if TYPE_CHECKING:
    from aggctl.core.plan import Change
    from aggctl.system.cluster import Cluster

OK, CREATED, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 201, 403, 404, 409
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TRIES = 5
"""Status is written often; a compare-and-swap that only lost against that is tried again."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that belongs to another field manager."""

    field: str
    manager: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to an object: its status, the object or the Status, the fields in conflict."""

    status: int
    body: dict[str, Any] = field(repr=False)

    @property
    def message(self) -> str:
        """The server's words, fit to show."""
        return clean(str(self.body.get("message") or f"HTTP {self.status}"), 600)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """The fields that others own, of a 409."""
        causes = (self.body.get("details") or {}).get("causes") or []
        return tuple(
            Conflict(clean(str(each.get("field")), 200), _manager(str(each.get("message"))))
            for each in causes
            if each.get("reason") == "FieldManagerConflict"
        )


class Objects:
    """Objects at one kube-apiserver, changed in the name of one field manager."""

    def __init__(self, cluster: Cluster, manager: str = MANAGER, server: str = "") -> None:
        self._cluster = cluster
        self._server = server
        self.manager = manager
        self._as = f"fieldManager={quote(manager, safe='')}"

    @property
    def server(self) -> str:
        """The kube-apiserver that is asked; that of the kubeconfig, where no other is meant."""
        return self._server or self._cluster.credentials.server

    def at(self, server: str) -> Objects:
        """The same objects at another kube-apiserver of the cluster."""
        return Objects(self._cluster, self.manager, server)

    @property
    def source(self) -> str:
        """Where the credentials come from: a file, or the Pod's own."""
        return self._cluster.credentials.source

    def read(self, path: str) -> dict[str, Any] | None:
        """The object at `path`, or None; Failed where it may not be seen."""
        answer = self._send("GET", path)
        if answer.status == NOT_FOUND:
            return None
        return _good(answer, f"GET {path}")

    def rehearse(self, path: str, config: dict[str, Any], *, force: bool) -> Answer:
        """What the server would make of an apply; nothing is written."""
        return self._apply(path, config, force=force, more="&dryRun=All")

    def put(self, path: str, wanted: dict[str, Any], live: dict[str, Any] | None) -> bool:
        """Write an object of our own where it still is as `live`; False where somebody wrote it meanwhile."""
        version = {"resourceVersion": live["metadata"]["resourceVersion"]} if live else {}
        body = wanted | {"metadata": wanted["metadata"] | version}
        if live is None:
            answer = self._send("POST", f"{path.rpartition('/')[0]}?{self._as}", body)
        else:
            answer = self._send("PUT", f"{path}?{self._as}", body)
        if answer.status == CONFLICT or (live and answer.status == NOT_FOUND):
            return False
        _good(answer, f"write {path}")
        return True

    def remove(self, path: str, live: dict[str, Any]) -> bool:
        """Delete an object of our own where it still is as `live`; False where somebody wrote it since."""
        still = {name: live["metadata"][name] for name in ("uid", "resourceVersion")}
        answer = self._send("DELETE", path, {"preconditions": still})
        if answer.status == CONFLICT:
            return False
        if answer.status != NOT_FOUND:
            _good(answer, f"delete {path}")
        return True

    def patch(self, path: str, body: dict[str, Any]) -> bool:
        """Merge into an object whose resourceVersion the body names; False where it has another by now."""
        answer = self._send("PATCH", path, body, MERGE)
        if answer.status == CONFLICT:
            return False
        _good(answer, f"patch {path}")
        return True

    def annotate(self, path: str, name: str, value: str) -> None:
        """Set an annotation on an object, as a nudge to who watches it; nothing depends on it."""
        self._send("PATCH", path, {"metadata": {"annotations": {name: value}}}, MERGE)

    def drop(self, path: str) -> None:
        """Delete it where it is there; failing that is no fault, as nobody needs it gone."""
        self._send("DELETE", path)

    def apply(self, change: Change, content: bytes | None, _draft: str = "") -> None:
        """Make a change where the cluster still holds its *before*; Changed where it holds neither side."""
        assert isinstance(change, ObjectChange)  # noqa: S101 -- for the type checker; Ports.of looked
        self._refuse_another_cluster(change)
        if change.manager != self.manager:
            Objects(self._cluster, change.manager, self._server).apply(change, content)
            return
        for _ in range(TRIES):
            live = self._living(change.path)
            if self._is(live, change, after=True):
                return
            if not self._is(live, change, after=False) and not self._half_restored(live, change):
                raise Changed(change.target)
            if self._make(change, live, content):
                return
        raise Changed(change.target)

    def holds(self, change: Change) -> str:
        """Which side of `change` the cluster shows: `before`, `after` or `other`."""
        assert isinstance(change, ObjectChange)  # noqa: S101 -- as above
        self._refuse_another_cluster(change)
        if change.manager != self.manager:
            return Objects(self._cluster, change.manager, self._server).holds(change)
        live = self._living(change.path)
        if self._is(live, change, after=True):
            return "after"
        return "before" if self._is(live, change, after=False) else "other"

    def sweep(self, change: Change, draft: str) -> None:
        """Nothing is ever left half made here."""

    # --- one change --------------------------------------------------------------------------------------

    def _make(self, change: ObjectChange, live: dict[str, Any] | None, content: bytes | None) -> bool:
        """Try it once; False where the object was written meanwhile, so that one has to look again."""
        if change.after is None or content is None:
            return self._delete(change, live or {})
        wanted = json.loads(content)
        if change.after.whole:
            return self._restore(change.path, live, wanted)
        if live is not None:
            wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        answer = self._apply(change.path, wanted, force=change.force and live is not None)
        if answer.status == CONFLICT and not (live and answer.conflicts):
            return False
        _good(answer, f"apply {change.target}")
        if live is None and answer.status != CREATED:
            self._withdraw(change, answer.body)
            raise Changed(change.target)
        return True

    def _withdraw(self, change: ObjectChange, theirs: dict[str, Any]) -> None:
        """Take our fields out of an object that somebody else made within these milliseconds."""
        metadata = {
            name: theirs["metadata"][name] for name in ("name", "namespace") if name in theirs["metadata"]
        }
        bare = {"apiVersion": theirs["apiVersion"], "kind": theirs["kind"], "metadata": metadata}
        _good(self._apply(change.path, bare, force=False), f"withdraw from {change.target}")

    def _delete(self, change: ObjectChange, live: dict[str, Any]) -> bool:
        options = {"propagationPolicy": "Background", "preconditions": {"uid": live["metadata"]["uid"]}}
        answer = self._send("DELETE", change.path, options)
        if answer.status == CONFLICT:
            return False
        if answer.status != NOT_FOUND:
            _good(answer, f"delete {change.target}", also=(202,))
        return True

    def _restore(self, path: str, live: dict[str, Any] | None, before: dict[str, Any]) -> bool:
        """Put an object back as it was; False where it was written or deleted meanwhile."""
        if live is None:
            body = before | {"metadata": before["metadata"] | {"managedFields": None}}
            answer = self._send("POST", f"{path.rpartition('/')[0]}?{self._as}", body)
        else:
            body = restored(live, before, self.manager)
            answer = self._send("PUT", f"{path}?{self._as}", body)
        if answer.status == CONFLICT or (live and answer.status == NOT_FOUND):
            return False
        return self._restore_owners(path, _good(answer, f"restore {path}"), before)

    def _restore_owners(self, path: str, live: dict[str, Any] | None, before: dict[str, Any]) -> bool:
        """Give its fields back to who owned them: to the server, what was put back is ours now."""
        for _ in range(TRIES):
            if live is None:
                break
            metadata = {
                "managedFields": restored_owners(live, before, self.manager),
                "resourceVersion": live["metadata"]["resourceVersion"],
            }
            answer = self._send("PATCH", path, {"metadata": metadata}, MERGE)
            if answer.status not in (CONFLICT, NOT_FOUND):
                _good(answer, f"restore the field managers of {path}")
                return True
            live = self.read(path)
        return False

    def _half_restored(self, live: dict[str, Any] | None, change: ObjectChange) -> bool:
        """Whether an interrupted run restored the content, and not yet its owners.

        Only then is aggctl a manager by update: all else it applies.
        """
        owner = {"manager": self.manager, "operation": "Update"}
        entries = ((live or {}).get("metadata") or {}).get("managedFields") or []
        return bool(change.after and change.after.whole) and any(
            owner.items() <= each.items() for each in entries
        )

    def _is(self, live: dict[str, Any] | None, change: ObjectChange, *, after: bool) -> bool:
        state = change.after if after else change.before
        if live is None or state is None:
            return live is None and state is None
        return state.holds in stamps(live, self.manager)

    def _living(self, path: str) -> dict[str, Any] | None:
        """The object; one that is being deleted already is none."""
        live = self.read(path)
        return None if live and live["metadata"].get("deletionTimestamp") else live

    def _refuse_another_cluster(self, change: ObjectChange) -> None:
        if change.server != self.server:
            raise Refused(
                "another-cluster",
                f"{change.target} was changed at {change.server}, and the kubeconfig names another server",
                found=self.server,
                do="give the kubeconfig of that cluster by --kubeconfig or --context, then run again",
            )

    # --- requests ----------------------------------------------------------------------------------------

    def _apply(self, path: str, config: dict[str, Any], *, force: bool, more: str = "") -> Answer:
        query = f"?{self._as}&fieldValidation=Strict&force={str(force).lower()}{more}"
        return self._send("PATCH", path + query, config, APPLY)

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        sent = None if body is None else canonical(body)
        status, content = self._cluster.send(method, self.server + path, sent, content_type)
        if status in (OK, CREATED) and method != "DELETE":
            return Answer(status, _object_in(content, method, path))
        try:
            found = read_json(content)
            hold(found, STATUS)
        except NotTyped:
            found = {"message": clean(content)}
        return Answer(status, found)


def _object_in(content: bytes, method: str, path: str) -> dict[str, Any]:
    """The object that was read or made; Failed where something else came back with 200."""
    try:
        found = read_json(content)
        hold(found, STORED if method == "GET" else OBJECT)
        return typed(path, found)
    except NotTyped as error:
        raise Failed(
            "answer-not-understood",
            f"{method} {path.partition('?')[0]}: what came back cannot be read: {error}",
            do="ask kube-apiserver by its own address: a proxy between it and here may answer in its place",
        ) from error


def _good(answer: Answer, what: str, also: tuple[int, ...] = ()) -> dict[str, Any]:
    if answer.status in (OK, CREATED, *also):
        return answer.body
    raise refusal(answer, what)


def refusal(answer: Answer, what: str) -> Failed:
    """The server's no as an error with a code of its own."""
    if answer.conflicts:
        fields = ", ".join(f"{each.field} of {each.manager}" for each in answer.conflicts)
        return Failed(
            "field-conflict",
            f"{what}: fields belong to other field managers: {fields}",
            do="leave them out, or take them over by --force-conflicts",
        )
    code, do = _CODES.get(
        answer.status, ("apiserver-refused", "see what the server says; mend it, run again")
    )
    return Failed(code, f"{what}: {answer.message}", do=do)


_CODES = {
    401: ("kubeconfig-not-accepted", "give a kubeconfig that the cluster accepts: --kubeconfig FILE"),
    FORBIDDEN: ("no-rights-in-cluster", "ask for that right, or use a kubeconfig that has it"),
    400: ("object-not-valid", "correct the field that is named, then run again"),
    422: ("object-not-valid", "correct the field that is named, then run again"),
    500: ("object-not-valid", "correct the field that is named, then run again"),
    CONFLICT: ("changed-meanwhile", "look what else changes it, then run again"),
}
"""500 is what server-side apply answers for a field that no schema has (seen on 1.37.2)."""


def _manager(message: str) -> str:
    """The name in: conflict with "helm" using apps/v1."""
    return clean(message.removeprefix('conflict with "').partition('"')[0], 100)
