"""A command on the modelled node, and what is owed after it: all before, or all after."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.world import MANIFEST, NAMES, SERVER, World

from aggctl.core import pki
from aggctl.core.need import Wanted
from aggctl.core.questions import ReadyAt
from aggctl.errors import AggctlError
from aggctl.workflows.enable import enable
from aggctl.workflows.in_turn import Manner
from aggctl.workflows.rollback import rollback

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import Tree

    from aggctl.core.report import Report

OTHER_FOLDER = "/etc/kubernetes/front-proxy"
KINDS = ("off", "unmounted", "expired", "leafless")


@dataclass(frozen=True)
class Result:
    """What a command said, as scripts see it."""

    outcome: str
    status: int
    text: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def codes(self) -> list[str]:
        return [each["code"] for each in self.document["findings"]]

    @property
    def summary(self) -> str:
        return "\n".join(self.document["summary"])


def wanted_for(kind: str, **more: Any) -> Wanted:
    """What is asked of a node of this kind."""
    options: dict[str, Any] = {"key_algorithm": "ECDSA-P256", "deadline": 6.0}
    own: dict[str, dict[str, Any]] = {"unmounted": {"pki_dir": OTHER_FOLDER}, "expired": {"repair": True}}
    options |= own.get(kind, {})
    return Wanted(**{**options, **more})


def yes(_planned: Report) -> bool:
    return True


def run_enable(world: World, kind: str = "off", *, wait: bool = True, **more: Any) -> Result:
    """`aggctl enable --yes`; an error that is none of aggctl's own escapes, and fails the test."""
    return _run(lambda: enable(world.ports(), wanted_for(kind, **more), Manner(False, yes, wait)))


def run_rollback(world: World, *, force: bool = False, dry_run: bool = False) -> Result:
    """`aggctl rollback --yes`."""
    return _run(lambda: rollback(world.ports(), yes, dry_run=dry_run, force=force))


def run_dry(world: World, kind: str = "off", **more: Any) -> Result:
    """`aggctl enable --dry-run`."""
    return _run(lambda: enable(world.ports(), wanted_for(kind, **more), Manner(True, yes)))


def _run(work: Any) -> Result:
    try:
        report: Report = work()
    except AggctlError as error:
        said = [error.message, error.found, error.expected, error.do, *error.evidence]
        findings = [{"code": error.code, "subject": "", "message": " ".join(said)}]
        return Result(error.outcome, error.exit_status, json.dumps({"findings": findings, "summary": []}))
    return Result(report.outcome, report.exit_status, json.dumps(report.to_json()))


# --- what is owed -----------------------------------------------------------------------------------------


def after_of(kind: str, before: Tree, now: Tree) -> bool:
    """Whether the node is all after: what was to be made is there with its mode, the rest as before."""
    folder = "front-proxy" if kind == "unmounted" else "pki"
    made = {
        "off": NAMES,
        "unmounted": NAMES,
        "expired": NAMES[2:],
        "leafless": NAMES[2:],
    }[kind]
    expected = {f"{folder}/{name}" for name in made}
    expected |= {"front-proxy"} if kind == "unmounted" else set()
    manifest = MANIFEST.removeprefix("/etc/kubernetes/")
    expected |= set() if kind == "expired" else {manifest}
    return (
        changed_paths(before, now) == expected
        and all(now[f"{folder}/{name}"][1] == (0o600 if name.endswith(".key") else 0o644) for name in made)
        and _pair(now, folder)
        and before[manifest][:4] == now[manifest][:4]
    )


def _pair(now: Tree, folder: str) -> bool:
    ca_key, ca, key, leaf = (now[f"{folder}/{name}"][4] for name in NAMES)
    authority, client = pki.read_certificates(ca)[0], pki.read_certificates(leaf)[0]
    return (
        pki.public_key_of(ca_key) == authority.public_key
        and pki.public_key_of(key) == client.public_key
        and pki.signed_by(client, authority)
    )


def changed_paths(before: Tree, now: Tree) -> set[str]:
    """Paths that are not as they were."""
    return {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}


def drafts(world: World) -> list[Path]:
    """Half-written files of a plan, wherever."""
    return [path for path in world.root.rglob(".*") if "draft" in path.name]


def open_records(world: World) -> list[str]:
    """Names of the changes that the journal holds open."""
    folder = world.path("/var/lib/aggctl/open")
    return [each.name for each in folder.iterdir() if each.name[0] != "."] if folder.exists() else []


_BODY = re.compile(rb"PRIVATE KEY-----\n([A-Za-z0-9+/=]{20,})")


def secrets(world: World) -> set[str]:
    """The first line of every private key on the node and in its backups."""
    files = (path for path in world.root.rglob("*") if path.is_file())
    return {found.decode() for path in files for found in _BODY.findall(path.read_bytes())}


def assert_no_secret_leaks(world: World, *results: Result) -> None:
    """No key in a record, nor in what was said; and what holds keys is for root alone."""
    home = world.path("/var/lib/aggctl")
    records = [path.read_text() for path in home.rglob("*") if path.suffix in (".json", ".jsonl")]
    known = secrets(world)
    for text in [*records, *(result.text for result in results)]:
        assert "PRIVATE KEY" not in text
        assert not [each for each in known if each in text]
    for path in home.rglob("*"):
        assert path.lstat().st_mode & 0o077 == 0, path


def assert_before(world: World, before: Tree) -> None:
    assert changed_paths(before, world.tree()) == set()
    assert drafts(world) == []


def assert_after(world: World, kind: str, before: Tree) -> None:
    assert after_of(kind, before, world.tree()), changed_paths(before, world.tree())
    assert drafts(world) == []
    assert lives(world)


def lives(world: World) -> bool:
    """Whether kube-apiserver would start from what is on disk, and does."""
    return bool(World(world.folder).look(ReadyAt(SERVER)) == "ok")
