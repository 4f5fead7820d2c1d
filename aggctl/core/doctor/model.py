"""What doctor says of an API: its hops in order, each with what was seen there, and one verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aggctl.core import pki
from aggctl.core.checks.extension import api_of, ca_bundle_of
from aggctl.core.findings import Finding
from aggctl.core.secrets_out import without_secrets
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from aggctl.core.extension import Api, ServiceAt
    from aggctl.core.layer_files import LayerFiles
    from aggctl.core.node import Node

Object = dict[str, Any]

OK, WARNED, BROKEN, NOT_CHECKED, SKIPPED = "ok", "warning", "broken", "not checked", "not reached"


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop: its state, what was seen there in a few words, and what is wrong with it.

    A broken hop without a finding has its cause at a later one, as a Service without endpoints in its Pods.
    """

    name: str
    state: str
    said: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Exam:
    """One API: its own hops, what follows from a broken one, and the layer's hops before them."""

    name: str
    layer: tuple[Hop, ...]
    hops: tuple[Hop, ...]
    effects: tuple[str, ...] = ()
    works: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong on its way, in the order of the hops."""
        return tuple(finding for hop in (*self.layer, *self.hops) for finding in hop.findings)

    @property
    def verdict(self) -> Finding | None:
        """The cause at the first broken hop; without one the first warning, or None.

        A warning about the layer concerns no API in particular.
        """
        errors = (each for each in self.findings if each.severity == "error")
        own = (finding for hop in self.hops for finding in hop.findings if finding.severity == "warning")
        return next(errors, None) or next(own, None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where doctor looks from: the kube-apiserver that is asked, all that answer by their own addresses.

    On a control-plane node also its manifest and files, and the fingerprint of its front-proxy leaf, which is
    held for direct questions to extension servers; `why_no_node` says why there is none of these.
    """

    server: str
    servers: tuple[str, ...]
    now: datetime
    silent: tuple[tuple[str, str], ...] = ()
    node: Node | None = None
    files: LayerFiles | None = None
    identity: str = ""
    why_no_node: str = ""
    routed: bool | None = None
    problems: tuple[Finding, ...] = ()

    @property
    def dials(self) -> bool:
        """Whether what this node dials is what its kube-apiserver dials: not through a tunnel."""
        return self.node is not None and not self.node.manifest.values("egress-selector-config-file")


@dataclass(frozen=True, slots=True)
class Subject:
    """An API under examination: its APIService as it is, and what that asks for."""

    api: Api
    live: Object = field(repr=False)
    at: ServiceAt
    bundle: str
    insecure: bool

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"APIService {self.api.name}"


def subject_of(live: Object, at: ServiceAt) -> Subject:
    """What an APIService asks for whose Service is `at`."""
    insecure = bool((live.get("spec") or {}).get("insecureSkipTLSVerify"))
    return Subject(api_of(live), live, at, ca_bundle_of(live), insecure)


def hop(name: str, look: Callable[[], tuple[str, Iterable[Finding]]]) -> Hop:
    """Look at one hop; what cannot be seen there makes it "not checked", never a pass."""
    try:
        said, found = look()
        findings = tuple(without(each) for each in found)
    except NotKnown as unknown:
        return Hop(name, NOT_CHECKED, unknown.unknown.reason)
    except AggctlError as error:
        finding = Finding(error.code, "error", name, error.message, error.do, error.expected)
        return Hop(name, BROKEN, error.message, (finding,))
    except pki.PkiError as error:
        return Hop(name, NOT_CHECKED, str(error))
    return Hop(name, state_of(findings), said, findings)


def without(finding: Finding) -> Finding:
    """The finding with no secret in the words of others."""
    evidence = tuple(without_secrets(each) for each in finding.evidence)
    return replace(finding, message=without_secrets(finding.message), evidence=evidence)


def host_of(address: str) -> str:
    """The host of HOST:PORT, an IPv6 address without its brackets."""
    return address.rpartition(":")[0].strip("[]")


def state_of(findings: tuple[Finding, ...]) -> str:
    """The state that findings bring a hop into."""
    severities = {each.severity for each in findings}
    return BROKEN if "error" in severities else WARNED if "warning" in severities else OK


def skipped(*names: str) -> list[Hop]:
    """Hops behind a broken one, about which nothing can be said."""
    return [Hop(name, SKIPPED) for name in names]
