"""What `kubeadm upgrade` needs to keep audit records: a patch file of this node's own.

kubeadm-config would bring the flags to every node at its next upgrade, also to those where the policy file is
not there: their kube-apiserver would not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core.audit.settings import FLAGS, LOG_FLAG, POLICY_FLAG
from aggctl.core.findings import Finding
from aggctl.core.persist.configuration import KEY, PATH, TARGET, read_configuration
from aggctl.core.persist.decide import NOTHING, Persist, taken
from aggctl.core.persist.patch import FOLDER, is_ours, mounts_for, patch_file
from aggctl.core.questions import FileAt, ObjectAt
from aggctl.core.snapshot import NotKnown
from aggctl.errors import Refused

if TYPE_CHECKING:
    from aggctl.core.manifest import Manifest
    from aggctl.core.persist.configuration import Configuration
    from aggctl.core.questions import FileSeen
    from aggctl.core.snapshot import Snapshot

FILE = f"{FOLDER}/kube-apiserver-aggctl-audit+json.yaml"
COMMAND = "audit enable"


def see_persist(snapshot: Snapshot, server: str, after: Manifest, mode: str) -> Persist:
    """What to write for the manifest as it is going to be; `mode` is auto, kubeadm or none."""
    if mode == "none":
        return Persist(notes=(_left_alone(),), file=FILE)
    try:
        snapshot.expect(ObjectAt(PATH, server), FileAt(FILE))
        live, patched = snapshot.object(PATH, server), snapshot.file(FILE)
        text = ((live or {}).get("data") or {}).get(KEY)
        if text is None:
            return (
                _without(mode, "kubeadm-config-not-found", f"there is no {KEY}")
                if mode != "auto"
                else NOTHING
            )
        return _decide(read_configuration(text), after, patched)
    except NotKnown as not_known:
        return _without(mode, "kubeadm-config-not-readable", not_known.unknown.reason)
    except Refused as refused:
        return _without(mode, refused.code, refused.message)


def _decide(configuration: Configuration, after: Manifest, patched: FileSeen | None) -> Persist:
    said = {each.name: each.value for each in configuration.extras}
    values = {name: after.values(name)[-1] for name in FLAGS if after.values(name)}
    flags = {name: value for name, value in values.items() if said.get(name) != value}
    files = [flags[name] for name in (POLICY_FLAG, LOG_FLAG) if flags.get(name, "").startswith("/")]
    unseen = [path for path in files if not configuration.mounts(path)]
    patch = patch_file(flags, mounts_for(after, unseen), COMMAND)
    foreign = patched.content if patched and not is_ours(patched.content) else b""
    problems = (taken(FILE),) if foreign and patch not in (b"", foreign) else ()
    return Persist(patch=patch or foreign, patched=patched, problems=problems, file=FILE)


def _without(mode: str, code: str, reason: str) -> Persist:
    """Nothing is written: a reason to refuse where it was asked for, else worth a line."""
    asked = mode == "kubeadm"
    found = Finding(
        code=code,
        severity="error" if asked else "info",
        subject=TARGET,
        message=f"the next kubeadm upgrade may drop the flags of audit records: {reason}",
        expected=f"{TARGET}, to see what kubeadm writes by itself" if asked else "",
        fix="aggctl audit enable --persist none     (and keep the flags where the manifest comes from)",
    )
    return Persist(problems=(found,), file=FILE) if asked else Persist(notes=(found,), file=FILE)


def _left_alone() -> Finding:
    return Finding(
        code="kubeadm-config-left-alone",
        severity="info",
        subject=TARGET,
        message="the next kubeadm upgrade writes the manifest anew, and drops the flags of audit records",
        fix="aggctl audit enable     (without --persist none; no restart)",
    )
