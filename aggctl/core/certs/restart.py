"""A restart of kube-apiserver within a plan, for versions that read their leaf at the start only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.node import secure_port
from aggctl.core.plan import Condition, FileChange, Gate, Step

if TYPE_CHECKING:
    from aggctl.core.certs.layer import Layer
    from aggctl.core.plan import Plan

RESTART_SECONDS = 240.0


def restarting(plan: Plan, layer: Layer) -> Plan:
    """The same plan with kube-apiserver away meanwhile: its manifest goes first, and comes back last.

    So the kubelet's own documentation has a static Pod restarted. The plan's gates are asked at the end, but
    for what only a running process can show to have been loaded.
    """
    manifest, content = layer.node.manifest.path, layer.node.file.content
    there = layer.node.file.stamp
    server, last = layer.node.server, plan.steps[-1]
    gone = Gate(
        (_condition("apiserver-stopped", port=secure_port(layer.node.manifest)),),
        RESTART_SECONDS,
        waits_for="kube-apiserver to end",
    )
    back = (
        _condition("manifest-in-force", manifest=manifest),
        _condition("apiserver-ready", server=server, manifest=manifest),
    )
    asked = last.gate.conditions if last.gate else ()
    proven = tuple(each for each in asked if each.check != "client-certificate-loaded")
    steps = (
        Step("kube-apiserver ends", FileChange(manifest, there, None), gate=gone, undo_gate=_gate(*back)),
        *(replace(each, gate=None, undo_gate=None) for each in plan.steps),
        Step(
            "kube-apiserver starts",
            FileChange(manifest, None, there),
            gate=_gate(*back, *proven),
            undo_gate=gone,
        ),
    )
    return replace(plan, steps=steps, blobs={**plan.blobs, there.digest: content})


def _gate(*conditions: Condition) -> Gate:
    return Gate(conditions, RESTART_SECONDS)


def _condition(check: str, **arguments: str | float) -> Condition:
    return Condition(check, tuple(arguments.items()))
