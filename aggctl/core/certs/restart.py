"""A restart of kube-apiserver within a plan, for versions that read their leaf at the start only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggctl.core.node_change import condition, while_stopped
from aggctl.core.plan import Gate

if TYPE_CHECKING:
    from aggctl.core.certs.layer import Layer
    from aggctl.core.plan import Plan

RESTART_SECONDS = 240.0


def restarting(plan: Plan, layer: Layer) -> Plan:
    """The same plan with kube-apiserver away meanwhile, and its gates asked at the end.

    But for what only a running process can show to have been loaded.
    """
    manifest, there = layer.node.manifest.path, layer.node.file
    server, last = layer.node.server, plan.steps[-1]
    back = (
        condition("manifest-in-force", manifest=manifest),
        condition("apiserver-ready", server=server, manifest=manifest),
    )
    asked = last.gate.conditions if last.gate else ()
    proven = tuple(each for each in asked if each.check != "client-certificate-loaded")
    gates = Gate((*back, *proven), RESTART_SECONDS), Gate(back, RESTART_SECONDS)
    steps = while_stopped(layer.node, plan.steps, there.stamp, gates, RESTART_SECONDS)
    return replace(plan, steps=steps, blobs={**plan.blobs, there.stamp.digest: there.content})
