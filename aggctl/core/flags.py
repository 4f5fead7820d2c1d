"""The eight flags of the aggregation layer as one unit: what is set, missing, wrong, or an invention.

Seven are kubeadm's (kubernetes/cmd/kubeadm/app/phases/controlplane/manifests.go); the eighth lets the
aggregator dial endpoints where ClusterIPs are not routable.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.core.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggctl.core.manifest import Manifest

CA = "requestheader-client-ca-file"
NAMES = "requestheader-allowed-names"
EXTRA = "requestheader-extra-headers-prefix"
GROUP = "requestheader-group-headers"
USER = "requestheader-username-headers"
CERTIFICATE = "proxy-client-cert-file"
KEY = "proxy-client-key-file"
ROUTING = "enable-aggregator-routing"

AGGREGATION_FLAGS = (CA, NAMES, EXTRA, GROUP, USER, CERTIFICATE, KEY, ROUTING)
HEADERS: Mapping[str, str] = {EXTRA: "X-Remote-Extra-", GROUP: "X-Remote-Group", USER: "X-Remote-User"}
LISTS = frozenset({NAMES, EXTRA, GROUP, USER})
"""Flags whose values add up when they stand twice; of the others the last counts (pflag)."""

DEFAULT_NAME = "front-proxy-client"

_REAL = frozenset({*AGGREGATION_FLAGS, "requestheader-uid-headers", "aggregator-reject-forwarding-redirect"})
_FAMILY = re.compile(r"^(aggregator-|requestheader-|proxy-client-|enable-aggregator)")
# Go's strconv.ParseBool, which pflag uses.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class Layer:
    """The flags of the layer as one manifest sets them; None is a flag that is not there."""

    ca: str | None
    names: tuple[str, ...] | None
    headers: Mapping[str, tuple[str, ...] | None]
    certificate: str | None
    key: str | None
    routing: str | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The flags that are not there, routing among them."""
        return tuple(name for name in AGGREGATION_FLAGS if self.value(name) is None)

    @property
    def routes(self) -> bool:
        """Whether the aggregator dials endpoints instead of ClusterIPs."""
        return is_true(self.routing)

    def value(self, name: str) -> str | None:
        """One flag's effective value as text."""
        found: Mapping[str, str | tuple[str, ...] | None] = {
            CA: self.ca,
            NAMES: self.names,
            CERTIFICATE: self.certificate,
            KEY: self.key,
            ROUTING: self.routing,
            **self.headers,
        }
        value = found[name]
        return ",".join(value) if isinstance(value, tuple) else value


def read_layer(manifest: Manifest) -> Layer:
    """The effective values of the eight flags, as kube-apiserver would take them."""
    return Layer(
        ca=_last(manifest, CA),
        names=_all(manifest, NAMES),
        headers={name: _all(manifest, name) for name in HEADERS},
        certificate=_last(manifest, CERTIFICATE),
        key=_last(manifest, KEY),
        routing=_last(manifest, ROUTING),
    )


def is_boolean(value: str) -> bool:
    """Whether kube-apiserver takes the text for a boolean."""
    return value in _TRUE | _FALSE


def is_true(value: str | None) -> bool:
    """Whether kube-apiserver takes a boolean flag with this value for set; one that is not there is not."""
    return value in _TRUE


def effective(name: str, values: Sequence[str]) -> str | None:
    """What kube-apiserver makes of a flag with all its values in their order; None where it has none."""
    if not values:
        return None
    return ",".join(_parts(values)) if name in LISTS else values[-1]


def flag_findings(manifest: Manifest) -> Iterator[Finding]:
    """What is wrong with the flags of the layer by their names and values alone."""
    yield from _inventions(manifest)
    yield from _repetitions(manifest)
    layer = read_layer(manifest)
    if layer.routing is not None and not is_boolean(layer.routing):
        yield _bad_value(manifest, ROUTING, layer.routing, "true or false")
    for name, default in HEADERS.items():
        if layer.headers[name] == ():
            yield _bad_value(manifest, name, "", default)
    for name in (CA, CERTIFICATE, KEY):
        value = layer.value(name)
        if value is not None and not value.startswith("/"):
            yield _bad_value(manifest, name, value, "the absolute path of a file")


def _last(manifest: Manifest, name: str) -> str | None:
    values = manifest.values(name)
    return values[-1] if values else None


def _all(manifest: Manifest, name: str) -> tuple[str, ...] | None:
    values = manifest.values(name)
    return _parts(values) if values else None


def _parts(values: Sequence[str]) -> tuple[str, ...]:
    """The parts of a list as pflag reads it: as CSV, so that quotes around a part are no part of it."""
    return tuple(part for row in csv.reader(values) for part in row if part)


def _line(manifest: Manifest, name: str) -> int:
    return next((flag.line for flag in reversed(manifest.flags) if flag.name == name), 0)


def _inventions(manifest: Manifest) -> Iterator[Finding]:
    for flag in manifest.flags:
        if _FAMILY.match(flag.name) and flag.name not in _REAL:
            yield Finding(
                code="flag-does-not-exist",
                severity="error",
                subject=f"{manifest.path}:{flag.line}",
                message=f"kube-apiserver has no flag --{flag.name}; it was made up by some tutorials",
                expected=f"--{CA} names the CA of the layer",
                fix=f"remove line {flag.line} of {manifest.path}",
            )


def _repetitions(manifest: Manifest) -> Iterator[Finding]:
    for name in AGGREGATION_FLAGS:
        lines = [flag.line for flag in manifest.flags if flag.name == name]
        if len(lines) > 1:
            places = ", ".join(str(line) for line in lines)
            effect = "their values add up" if name in LISTS else "the last one counts"
            yield Finding(
                code="flag-set-twice",
                severity="warning",
                subject=f"{manifest.path}:{lines[-1]}",
                message=f"--{name} stands in lines {places}; {effect}",
                expected="one line for each flag",
                fix=f"keep one of the lines {places} of {manifest.path}",
            )


def _bad_value(manifest: Manifest, name: str, value: str, expected: str) -> Finding:
    line = _line(manifest, name)
    return Finding(
        code="flag-value-wrong",
        severity="error",
        subject=f"{manifest.path}:{line}",
        message=f'--{name} is "{value}"',
        expected=expected,
        fix=f"correct line {line} of {manifest.path}, or run: aggctl enable --repair",
    )
