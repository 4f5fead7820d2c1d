"""Whether the next `kubeadm upgrade` would leave the layer as it runs now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.apiservers import APISERVER_PODS
from aggctl.core.findings import Finding
from aggctl.core.persist.configuration import KEY, PATH, TARGET, agree, read_configuration
from aggctl.core.persist.patch import FILE, FOLDER, is_ours, patched_flags
from aggctl.core.persist.servers import flags_of, see_servers, shared_flags
from aggctl.core.questions import FileAt, ObjectAt
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggctl.core.doctor.model import Place
    from aggctl.core.node import Node
    from aggctl.core.persist.configuration import Configuration
    from aggctl.core.snapshot import Snapshot


def of_kubeadm(snapshot: Snapshot, place: Place) -> Iterator[Finding]:
    """Where kubeadm-config differs from what runs; nothing where it is not to be seen, or not kubeadm's."""
    said, pods = ObjectAt(PATH, place.server), ObjectAt(APISERVER_PODS, place.server)
    snapshot.expect(said, *(() if place.node else (pods,)))
    found = None if snapshot.unknown(said) else snapshot.object(PATH, place.server)
    text = ((found or {}).get("data") or {}).get(KEY)
    if not text:
        return
    try:
        configuration = read_configuration(text)
    except Refused:
        return
    if place.node:
        yield from _on_node(snapshot, place.node, configuration)
    elif snapshot.unknown(pods) is None:
        yield from _from_anywhere(snapshot, place.server, configuration)


def _on_node(snapshot: Snapshot, node: Node, configuration: Configuration) -> Iterator[Finding]:
    """By the manifest, and the patch file of ours."""
    if set(node.layer.missing) - {f.ROUTING}:
        return  # the layer itself is not whole, and that is said
    patch = None if snapshot.unknown(FileAt(FILE)) else snapshot.file(FILE)
    patched = patched_flags(patch.content) if patch and is_ours(patch.content) else {}
    yield from _difference(node.manifest.path, flags_of(node.manifest), configuration, patched)


def _from_anywhere(snapshot: Snapshot, server: str, configuration: Configuration) -> Iterator[Finding]:
    """By the Pods, and by the flags that every node has in common: nodes have patch files for their own."""
    servers = see_servers(snapshot, server)
    for each in servers:
        flags = {name: value for name, value in each.flags.items() if value is not None}
        if set(f.AGGREGATION_FLAGS) - set(flags) - {f.ROUTING}:
            continue
        wanted = {f.ROUTING: "false"} | flags
        shared = shared_flags(configuration, wanted, servers)
        yield from _difference(each.name, {name: wanted[name] for name in shared}, configuration, {})


def _difference(
    subject: str, flags: Mapping[str, str], configuration: Configuration, patched: Mapping[str, str]
) -> Iterator[Finding]:
    after = {name: patched.get(name, configuration.value(name)) for name in flags}
    differing = [name for name, value in flags.items() if not agree(name, value, after[name])]
    if not differing:
        return
    would = (
        f"drop --{name}={flags[name]}" if after[name] is None else f"set --{name}={after[name]}"
        for name in differing
    )
    yield Finding(
        code="kubeadm-config-differs",
        severity="warning",
        subject=subject,
        message=f"{TARGET} says otherwise: the next kubeadm upgrade would {', '.join(would)}",
        expected=f"its extraArgs, or a patch file in {FOLDER}, with what runs now",
        fix="on that node: sudo aggctl enable     (no restart where the manifest is right)",
        evidence=tuple(f"runs with --{name}={flags[name]}" for name in differing),
    )
