"""Control-plane nodes that replace their front-proxy CA, as a model: what is decided is the real thing.

Files, kube-apiservers and extension servers are values here, and whatever takes time in a cluster is a move
that somebody makes: a kube-apiserver reads a file again, publishes, an extension server follows. A run of
`aggctl certs rotate ca` is a generator that pauses wherever others could come in between: send True to tell
it that its time is up, drop it to kill it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from support.snapshots import CA, NOW, ON, PKI, Scene, authority, certificate, leaf

from aggctl.core import pki
from aggctl.core.certs import authority as a
from aggctl.core.certs import record as r
from aggctl.core.certs.layer import Layer, Target
from aggctl.core.checks import evaluate
from aggctl.core.cluster_view import ClusterView
from aggctl.core.extension import Api, ServiceAt
from aggctl.core.findings import Passed
from aggctl.core.layer_files import see_files
from aggctl.core.node import Node, see_node
from aggctl.core.plan import Condition, FileChange, Gate, digest, inverse
from aggctl.core.published import CONFIG_MAP, Published
from aggctl.core.questions import (
    PROBE_USER,
    AggregatorQueue,
    AnswerSeen,
    AskApi,
    AskAs,
    AskWith,
    ObjectAt,
    QueueSeen,
    UnavailableApis,
    Unknown,
    WhoSeen,
)
from aggctl.workflows.observe import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aggctl.core.pki import Certificate
    from aggctl.core.plan import Plan
    from aggctl.core.questions import Question

NEW_CA = authority("front-proxy-ca-20260601", days=0)
OLD, NEW = certificate(CA), certificate(NEW_CA)
NEXT = a.NextCa(NEW_CA, NEW)
IDENTITIES = a.Identities(new=NEW.fingerprint, old=OLD.fingerprint)
"""A leaf in memory is named by the CA behind it."""

ENDPOINTS = ("10.1.0.5:8443", "10.1.0.6:8443")
TARGET = Target(Api("v1", "things.example"), ServiceAt("shop", "things"), "", ENDPOINTS, ENDPOINTS)
DEADLINE = 60.0
OTHERS, ASKING = "waiting for other nodes", "asking before the switch"
GATES, PROOF = "waiting for gates", "gates of killed runs"
LATE = ("nobody", "leaves", "authorities", "endpoints")

YES, NO = WhoSeen(201, PROBE_USER), WhoSeen(401, "")

if TYPE_CHECKING:
    Run = Generator[None, bool, None]
    Told = Generator[None, bool, bool]


class TrustLostError(AssertionError):
    """Somebody shows a certificate that somebody else does not trust."""


@dataclass
class Host:
    """A control-plane node: its files, what its kube-apiserver has read of them, the change that is open."""

    server: str
    scene: Scene
    trusts: tuple[Certificate, ...] = (OLD,)
    adds: float = 0.0
    shows: Certificate = field(init=False)
    journal: Open | None = None

    def __post_init__(self) -> None:
        self.shows = self.on_disk()

    def content(self, path: str) -> bytes:
        return self.scene.files[path]

    def on_disk(self) -> Certificate:
        """The leaf in its file."""
        return _read(self.content(f"{PKI}/front-proxy-client.crt"))[0]

    def pair_matches(self) -> bool:
        return _public_key(self.content(f"{PKI}/front-proxy-client.key")) == self.on_disk().public_key

    def reads_authorities(self) -> None:
        self.trusts = _read(self.content(f"{PKI}/front-proxy-ca.crt"))

    def reads_leaf(self) -> None:
        """It keeps the pair that it has until the files are one; then it looks at every API again."""
        if self.pair_matches() and self.on_disk() != self.shows:
            self.shows = self.on_disk()
            self.adds += 1


@dataclass
class Open:
    """A plan that is under way, as the journal keeps it."""

    plan: Plan
    begun: list[int] = field(default_factory=list)
    undoing: bool = False


@dataclass
class World:
    """Nodes and extension servers of one cluster; `lacks` are precautions that its runs do without."""

    hosts: list[Host]
    published: tuple[Certificate, ...] = (OLD,)
    follows: dict[str, tuple[Certificate, ...]] = field(
        default_factory=lambda: dict.fromkeys(ENDPOINTS, (OLD,))
    )
    record: dict[str, Any] | None = None
    lacks: str = ""

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(each.server for each in self.hosts)

    # --- moves ---

    def publishes(self, host: Host) -> None:
        """kube-apiserver adds what it trusts to what is there; it takes nothing away."""
        self.published = tuple({each.fingerprint: each for each in (*self.published, *host.trusts)}.values())

    def followed(self, endpoint: str) -> None:
        """An extension server has read the ConfigMap."""
        self.follows[endpoint] = self.published

    def everything_happens(self, late: str = "nobody") -> None:
        """Whoever is not late does what it would do in time."""
        for host in self.hosts:
            if late != "authorities":
                host.reads_authorities()
            if late != "leaves":
                host.reads_leaf()
            self.publishes(host)
        for endpoint in ENDPOINTS if late != "endpoints" else ():
            self.followed(endpoint)

    # --- the law ---

    def check_trust(self) -> None:
        """Every leaf that is shown chains to a CA that every party trusts."""
        parties = {**{each.server: each.trusts for each in self.hosts}, **self.follows}
        for host in self.hosts:
            for party, trusted in parties.items():
                if not any(_signed(host.shows, each) for each in trusted):
                    raise TrustLostError(f"{party} does not trust the leaf that {host.server} shows")

    # --- what aggctl sees ---

    def layer(self, host: Host) -> Layer:
        return _layer(host.server, tuple(sorted(host.scene.files.items())))

    def noted(self) -> r.Record | None:
        return r.from_object(self.record)

    def write(self, record: r.Record) -> None:
        """With what others noted, as compare-and-swap makes it."""
        self.record = r.to_object(r.joined(record, self.noted()))

    def holds(self, gate: Gate, host: Host) -> bool:
        """Whether all conditions hold at this moment."""
        look = partial(self._look, host)
        return all(
            isinstance(settle(partial(evaluate, condition), look)[0], Passed) for condition in gate.conditions
        )

    def _look(self, asking: Host, question: Question) -> Any:
        by_server = {each.server: each for each in self.hosts}
        match question:
            case ObjectAt(path, _) if path == CONFIG_MAP:
                pem = b"".join(each.pem for each in self.published).decode()
                return {"data": {"requestheader-client-ca-file": pem}}
            case ObjectAt(path, _) if path == TARGET.api.path:
                works = self._api_works(asking)
                return (
                    {"groupVersion": "things.example/v1"} if works else Unknown("it answers 401", "refused")
                )
            case UnavailableApis(server):
                return {TARGET.api.name: not self._api_works(by_server[server])}
            case AggregatorQueue(server):
                return QueueSeen(by_server[server].adds, 0.0)
            case AskWith(server, identity):
                return YES if _has(by_server[server].trusts, identity) else NO
            case AskAs(server, _, _):
                host = by_server[server]
                if not asking.pair_matches():
                    return Unknown("key and certificate do not match", "client-key-mismatch")
                return YES if any(_signed(asking.on_disk(), each) for each in host.trusts) else NO
            case AskApi(address, _, _, _, identity):
                return AnswerSeen(200 if _has(self.follows[address], identity) else 401)
        raise NotImplementedError(question)

    def _api_works(self, host: Host) -> bool:
        return all(any(_signed(host.shows, ca) for ca in trusted) for trusted in self.follows.values())


def world_of(nodes: int, lacks: str = "") -> World:
    """So many nodes with the layer on, each with a leaf of its own."""
    hosts = [Host(server, _scene(server, number)) for number, server in enumerate(SERVERS[:nodes])]
    return World(hosts, lacks=lacks)


SERVERS = tuple(f"https://10.0.0.{number}:6443" for number in (11, 12, 13))


def _scene(server: str, number: int) -> Scene:
    address = server.removeprefix("https://").partition(":")[0]
    return ON.flag(advertise_address=address).pair("front-proxy-client", leaf(CA, lifetime=300 + number))


@cache
def _node(server: str) -> Node:
    return _scene(server, 0).ask(see_node)


@cache
def _layer(server: str, files: tuple[tuple[str, bytes], ...]) -> Layer:
    node, scene = _node(server), replace(ON, files=dict(files))
    seen = scene.ask(lambda snapshot: see_files(snapshot, node, ""))
    return Layer(node, seen, ClusterView("v1.34.1", Published((), ()), (), (), 0.0), (TARGET,), ())


_read, _public_key = cache(pki.read_certificates), cache(pki.public_key_of)


@cache
def _signed(leaf: Certificate, ca: Certificate) -> bool:
    return pki.signed_by(leaf, ca)


def _has(trusted: tuple[Certificate, ...], fingerprint: str) -> bool:
    return fingerprint in {each.fingerprint for each in trusted}


# --- a run of `aggctl certs rotate ca` --------------------------------------------------------------------


def rotate(world: World, host: Host) -> Run:
    """Do all that is safe now on this node; the new CA has been brought to every node."""
    yield from _mended(world, host)
    record = world.noted()
    assert not a.ca_problems(world.layer(host), record)
    if record and record.finished:
        return
    if record is None:
        begun = tuple((each, "old") for each in world.servers)
        world.write(r.Record(NEW.fingerprint, (OLD.fingerprint,), NOW, begun))
    while True:
        layer = world.layer(host)
        stage = a.stage_of(layer, NEW.fingerprint)
        ours = r.Record(NEW.fingerprint, (OLD.fingerprint,), NOW)
        world.write(ours.with_stage(host.server, stage, NOW))
        record = world.noted()
        yield
        assert record
        if world.lacks != OTHERS and stage != "old" and r.behind(record, world.servers, stage):
            return
        if stage == "retired":
            yield from _finish(world, host, record)
            return
        if stage == "trusted" and not (yield from _trusted(world, host)):
            return
        if not (yield from _carried_out(world, host, PLANS[stage](layer, host))):
            return


def _switch(layer: Layer, host: Host) -> Plan:
    mine = leaf(NEW_CA, lifetime=300 + SERVERS.index(host.server))
    return a.plan_switch(layer, NEXT, mine, QueueSeen(host.adds, 0.0), DEADLINE)


PLANS: dict[str, Callable[[Layer, Host], Plan]] = {
    "old": lambda layer, _: a.plan_trust(layer, NEXT, IDENTITIES, DEADLINE),
    "trusted": _switch,
    "switched": lambda layer, _: a.plan_retire(layer, NEXT, IDENTITIES, DEADLINE),
}


def _trusted(world: World, host: Host) -> Told:
    gate = Gate((*_servers("taken", world, IDENTITIES.new), *_endpoints("takes", IDENTITIES.new)), DEADLINE)
    return world.lacks == ASKING or (yield from _opens(world, host, gate))


def _finish(world: World, host: Host, record: r.Record) -> Run:
    servers = Gate(_servers("refused", world, IDENTITIES.old), DEADLINE)
    if world.lacks != OTHERS and not (yield from _opens(world, host, servers)):
        return
    world.published = _read(a.pruned(world.published, record).encode())
    yield
    gone = _condition("authority-not-published", server=host.server, fingerprint=OLD.fingerprint)
    gate = Gate((gone, *_endpoints("refuses", IDENTITIES.old)), DEADLINE)
    if (yield from _opens(world, host, gate)):
        world.write(r.Record(record.ca, record.old, NOW, record.nodes, finished=NOW))


def _servers(is_: str, world: World, identity: str) -> tuple[Condition, ...]:
    return tuple(_condition(f"identity-{is_}", server=each, identity=identity) for each in world.servers)


def _endpoints(does: str, identity: str) -> tuple[Condition, ...]:
    at = {"name": TARGET.api.name, "dns": TARGET.service.dns, "bundle": "", "path": TARGET.api.path}
    check = f"endpoint-{does}-identity"
    return tuple(_condition(check, address=each, identity=identity, **at) for each in ENDPOINTS)


def _opens(world: World, host: Host, gate: Gate) -> Told:
    while not world.holds(gate, host):
        if (yield):
            return False
    return True


def _carried_out(world: World, host: Host, plan: Plan) -> Told:
    """Step by step as `execute` does it; what fails or is stopped is put back."""
    host.journal = Open(plan)
    for number, step in enumerate(plan.steps):
        if (yield):
            yield from _put_back(world, host)
            return False
        host.journal.begun.append(number)
        yield
        _apply(host, plan, step.change)
        yield
        if step.gate and world.lacks != GATES and not (yield from _opens(world, host, step.gate)):
            yield from _put_back(world, host)
            return False
    host.journal = None
    yield
    return True


def _mended(world: World, host: Host) -> Run:
    """What a killed run left: in force and its gate open, so closed; else put back."""
    left = host.journal
    if left is None:
        return
    made = not left.undoing and all(_is(host, step.change, "after") for step in left.plan.steps)
    gates = [step.gate for step in left.plan.steps if step.gate]
    if made and (world.lacks == PROOF or all(world.holds(gate, host) for gate in gates)):
        host.journal = None
        return
    yield from _put_back(world, host)


def _put_back(world: World, host: Host) -> Run:
    """Newest first; kube-apiserver gets the time that it needs, and no more than that."""
    assert host.journal
    plan, host.journal.undoing = host.journal.plan, True
    for number in sorted(host.journal.begun, reverse=True):
        step = plan.steps[number]
        if not _is(host, step.change, "before"):
            _apply(host, plan, inverse(step.change))
        yield
        if step.undo_gate:
            host.reads_authorities()
            host.reads_leaf()
            assert world.holds(step.undo_gate, host), f"undone, and {step.undo_gate} does not open"
    host.journal = None
    yield


def _is(host: Host, change: Any, state: str) -> bool:
    assert isinstance(change, FileChange)
    stamp = getattr(change, state)
    return bool(digest(host.content(change.path)) == stamp.digest)


def _apply(host: Host, plan: Plan, change: Any) -> None:
    """Compare, and swap; what is replaced is in the backup."""
    assert _is(host, change, "before"), f"{change.path} is not as it was"
    BACKUPS[change.before.digest] = host.content(change.path)
    content = plan.blobs.get(change.after.digest) or BACKUPS[change.after.digest]
    host.scene = host.scene.file(change.path, content)


BACKUPS: dict[str, bytes] = {}
"""Contents by digest, of all worlds."""


def _condition(check: str, **arguments: str) -> Condition:
    return Condition(check, tuple(arguments.items()))
