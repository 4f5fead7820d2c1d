"""The control-plane lock: one change of the control plane at a time, whichever node or timer makes it.

It is a Lease that is taken by compare-and-swap, renewed by a thread through whichever kube-apiserver answers
(this node's own may be restarting), and deleted in the end. Never hold it while waiting for another node.
"""

from __future__ import annotations

import contextlib
import platform
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aggctl.core import lease
from aggctl.core.apiservers import peers_not_ready, ready_servers
from aggctl.errors import AggctlError, Interrupted, Refused
from aggctl.system import oneself
from aggctl.system.signals import Stopped
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggctl.core.findings import Finding
    from aggctl.core.lease import Lease, Watched
    from aggctl.core.report import Report
    from aggctl.system.objects import Objects
    from aggctl.system.ports import Ports

PATIENCE = 240.0
"""How long to wait for another one, where the command has no --timeout of its own."""

LOOK_SECONDS = 1.0
GRACE_SECONDS = 10.0
"""For a kube-apiserver that is restarting just now; and beyond the duration of a dead holder's Lease."""

TRIES = 5
_WATCHED = f"{lease.PATH.rpartition('/')[0]}?fieldSelector=metadata.name={lease.NAME}"
_NO_RIGHTS = "no-rights-in-cluster"
_NO_SILENCE = (_NO_RIGHTS, "control-plane-busy", "interrupted")
Answer = TypeVar("Answer")
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Locking:
    """Who takes it, from where, and what to do without it.

    `server` is this node's own kube-apiserver, or the kubeconfig's; `seconds` is the patience with another
    holder. Without `lock` (--no-lock) it is not taken; with `silence_ok` also not where no API answers.
    """

    command: str
    server: str
    seconds: float = PATIENCE
    lock: bool = True
    silence_ok: bool = False


@dataclass(slots=True)
class Held:
    """The lock while it is held; `waited` tells that another one had it first, so what was seen is old.

    With `keep` it is not given back but left to expire. `notes` and, after the end, `findings` are for the
    report.
    """

    waited: bool = False
    keep: bool = False
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def told(self, report: Report) -> Report:
        """The report with what is to be said of the lock."""
        return replace(
            report,
            summary=(*report.summary, *self.notes),
            findings=(*report.findings, *self.findings),
        )


@contextlib.contextmanager
def control_plane(ports: Ports, locking: Locking) -> Iterator[Held]:
    """Hold the lock inside; Refused where another one does not end, or where it cannot be taken.

    The caller handles signals by `ports.stop`.
    """
    held = Held()
    turn = _begun(ports, locking, held)
    if turn is None:
        yield held
        return
    try:
        with turn.renewed():
            yield held
    finally:
        if held.keep:
            held.notes = (f"The control-plane lock is left to expire, in {lease.SECONDS} s.",)
        else:
            held.findings = turn.give_back()


def others_not_ready(ports: Ports, server: str) -> tuple[Finding, ...]:
    """Just before the kube-apiserver at `server` restarts: the others that are not ready."""
    try:
        return settle(lambda snapshot: peers_not_ready(snapshot, server), ports.look)[0]
    except Refused:  # without credentials nobody can be asked: an undo goes by what the node shows
        return ()


def _begun(ports: Ports, locking: Locking, held: Held) -> _Turn | None:
    """The lock, taken; None where the work is to go on without."""
    if not locking.lock:
        return None
    try:
        turn = _Turn(ports, locking)
        held.waited = turn.take()
    except AggctlError as error:
        if not locking.silence_ok or error.code in _NO_SILENCE:
            raise
        held.notes = (f"The control-plane lock was not taken, as no API answers: {error.message}",)
        return None
    return turn


class _Turn:
    """One holder of the lock."""

    def __init__(self, ports: Ports, locking: Locking) -> None:
        self._ports = ports
        self._seconds = locking.seconds
        self._holder = lease.Holder(platform.node() or "unknown", locking.command, oneself.mark())
        self._servers = _servers(ports, locking.server)
        self._silence_seconds = 0.0 if locking.silence_ok else GRACE_SECONDS
        self._silence: Refused | None = None
        self._was_busy = False
        self._seen: Watched | None = None
        self._ended = threading.Event()
        self._lost: tuple[Finding, ...] = ()

    def take(self) -> bool:
        """Take it; whether another holder was waited for."""
        began = self._ports.clock.monotonic()
        if self._try():
            return False
        progress = self._ports.progress
        progress.begin("waiting for the control-plane lock", self._patience)
        if self._seen:
            progress.say(f"The control plane is being changed by {self._who}; waiting for it to end.")
        with self._ports.watch(self._servers[0], (_WATCHED,)) as pause:
            while not self._try():
                self._go_on_waiting(began)
                pause(LOOK_SECONDS)
        progress.done()
        return self._was_busy

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it inside, whatever else is being done."""
        thread = threading.Thread(target=self._renew_on, name="control-plane-lock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def give_back(self) -> tuple[Finding, ...]:
        """Delete it where it is ours; what is to be said of it."""
        if self._lost:
            return self._lost
        try:
            for _ in range(TRIES):
                live = self._ask(_read)
                if live is None:
                    return ()
                if not self._is_ours(live):
                    return (lease.lost(lease.read(live)),)
                if self._ask(partial(_remove, live)):
                    return ()
        except AggctlError as error:
            return (lease.left(error.message),)
        return (lease.left("it is written by others all the time"),)

    # --- taking it ---

    def _try(self) -> bool:
        """Take it where it is free; False where it is not, or where no kube-apiserver answers just now."""
        try:
            return self._is_taken()
        except Refused as error:
            if error.code == _NO_RIGHTS:
                raise
            self._silence = error
            return False

    def _is_taken(self) -> bool:
        live = self._ask(_read)
        if self._is_ours(live):  # only the answer to our own write was lost
            return True
        now = self._ports.clock.monotonic()
        self._seen = lease.watched(self._seen, live, now)
        found = self._seen.lease
        free = self._seen.is_free(now) or bool(found and oneself.is_gone(found.mark))
        taken = free and self._write(live)
        self._was_busy |= not taken
        return taken

    def _go_on_waiting(self, began: float) -> None:
        try:
            self._ports.stop.check()
        except Stopped as stopped:
            self._ports.progress.failed()
            raise Interrupted(
                "interrupted",
                f"interrupted by {stopped} while the control-plane lock was waited for; nothing is half done",
                do="run it again",
            ) from stopped
        spent = self._ports.clock.monotonic() - began
        if spent >= self._patience:
            self._ports.progress.failed()
            raise (self._silence if self._silence and not self._seen else lease.busy(self._holding, spent))
        self._ports.progress.waiting(self._who)

    @property
    def _holding(self) -> Lease | None:
        return self._seen.lease if self._seen else None

    @property
    def _who(self) -> str:
        return lease.in_words(self._holding) if self._seen or not self._silence else self._silence.message

    @property
    def _patience(self) -> float:
        """A holder that died is waited for to the end of its Lease; an API that is silent, for a moment."""
        if not self._seen:
            return self._silence_seconds
        return max(self._seconds, (self._holding.seconds if self._holding else 0.0) + GRACE_SECONDS)

    # --- keeping it ---

    def _renew_on(self) -> None:
        while not self._ended.wait(lease.RENEW_SECONDS):
            with contextlib.suppress(Exception):  # tried again soon; the Lease lasts for many of these
                self._renew()

    def _renew(self) -> None:
        live = self._ask(_read)
        if self._is_ours(live):
            self._write(live)
            return
        self._lost = (lease.lost(lease.read(live)),)
        self._ended.set()

    # --- requests ---

    def _is_ours(self, live: Object | None) -> bool:
        found = lease.read(live)
        return found is not None and found.holder == self._holder.identity

    def _write(self, live: Object | None) -> bool:
        wanted = lease.held(live, self._holder, self._ports.clock.now())
        return self._ask(lambda at: at.put(lease.PATH, wanted, live))

    def _ask(self, work: Callable[[Objects], Answer]) -> Answer:
        """Of the first kube-apiserver that answers; where none does, Refused by what the first one said."""
        errors: list[AggctlError] = []
        for server in self._servers:
            try:
                return work(self._ports.objects.at(server))
            except AggctlError as error:
                errors.append(error)
        raise _refusal(errors[0]) from errors[0]


def _servers(ports: Ports, own: str) -> tuple[str, ...]:
    """Where to ask, each by its own address; by the kubeconfig's where this node's own is silent."""
    starts = tuple(dict.fromkeys((own, ports.objects.server)))
    for start in starts:
        if ready := settle(partial(ready_servers, server=start), ports.look)[0]:
            return tuple(dict.fromkeys((*ready, *starts)))
    return starts


def _read(at: Objects) -> Object | None:
    return at.read(lease.PATH)


def _remove(live: Object, at: Objects) -> bool:
    return at.remove(lease.PATH, live)


def _refusal(error: AggctlError) -> Refused:
    if error.code == _NO_RIGHTS:
        return lease.not_permitted(error.message)
    return lease.not_asked(error.code, error.message)
