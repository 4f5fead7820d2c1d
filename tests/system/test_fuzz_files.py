"""What others wrote or sent, damaged: a value, an error of aggctl, or Unknown; and folders that are swapped.

The table of all readers is in tests/core/test_fuzz_texts.py.
"""

from __future__ import annotations

import json
import os
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mutants import as_json, damaged, mistyped

from aggctl.core.plan import (
    Condition,
    FileChange,
    FolderChange,
    Gate,
    ObjectChange,
    ObjectState,
    Plan,
    Step,
    digest,
    digests_of,
    inverse_plan,
    stamp,
)
from aggctl.core.questions import AnswerSeen
from aggctl.errors import AggctlError, Refused
from aggctl.system import probes
from aggctl.system.answers import message, waits_for
from aggctl.system.files import Changed, Files
from aggctl.system.frontproxy import answer_seen
from aggctl.system.journal import Journal
from aggctl.system.kubeconfig import context_names, find_credentials
from aggctl.system.metrics import aggregator_queue, unavailable_apis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

calm = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


# --- kubeconfigs ------------------------------------------------------------------------------------------


def config(user: Any, **cluster: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


PLAIN = [
    config({"token": "t"}, **{"certificate-authority-data": "AAAA", "tls-server-name": "x"}),
    config({"client-certificate-data": "AAAA", "client-key": "/nowhere/key"}),
]
BY_LIBRARY = [
    config(
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true", "args": ["a"]}}
    ),
    config({"username": "a", "password": "b"}, **{"proxy-url": "http://127.0.0.1:1"}),
    config({"auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}}),
]


def credentials_in(content: bytes, path: Path) -> None:
    """All that is made of a kubeconfig."""
    path.write_bytes(content)
    context_names(str(path), "")
    try:
        found = find_credentials(str(path), "", "")
    except (AggctlError, OSError):
        return
    try:
        found.context()
    except (ssl.SSLError, ValueError, OSError):
        return


@calm
@given(
    st.one_of(
        st.one_of(*map(mistyped, PLAIN)).map(as_json),
        damaged([json.dumps(each, indent=1).encode() for each in PLAIN]),
    )
)
def test_a_damaged_kubeconfig_is_used_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    credentials_in(content, tmp_path_factory.getbasetemp() / "kubeconfig")


@settings(calm, max_examples=25)
@given(st.one_of(*map(mistyped, BY_LIBRARY)).map(as_json))
def test_a_damaged_kubeconfig_with_plug_ins_is_used_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    credentials_in(content, tmp_path_factory.getbasetemp() / "kubeconfig")


def laugh(at: int) -> bytes:
    return b"%c: &%c [%s]\n" % (at + 1, at + 1, b",".join([b"*%c" % at] * 9))


A_TOKEN = b"""\
current-context: it
contexts: [{name: it, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: *n}}]
"""
BOMBS = {
    "laughter": b"a: &a [x]\n" + b"".join(map(laugh, range(97, 110))),
    "laughter in a token": b"a: &a [x]\n" + b"".join(map(laugh, range(97, 110))) + A_TOKEN,
    "a deep list": b"[" * 500_000,
    "deep mappings": b"{a: " * 200_000,
    "a long list": b"[" + b"a," * 1_000_000 + b"a]",
    "a long tag": b"a: !!" + b"a" * 2**20,
    "many lines": b"k: v\n" * 400_000,
    "more than two megabytes": b"#" * (2**21 + 1),
    "an alias of itself": b"current-context: &a [*a]\ncontexts: *a\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_for_a_kubeconfig_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(BOMBS[name])
    with pytest.raises(Refused) as caught:
        find_credentials(str(path), "", "")
    assert caught.value.code == "kubeconfig-not-usable"


def test_remarks_in_any_language_beside_a_ca_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    (tmp_path / "ca.crt").write_text("Autorité de Zürich\n")
    path.write_text(json.dumps(config({"token": "t"}, **{"certificate-authority": "ca.crt"})))
    with pytest.raises(ssl.SSLError):
        find_credentials(str(path), "", "").context()


# --- the journal ------------------------------------------------------------------------------------------

GATE = Gate((Condition("ready", (("server", "https://x"), ("port", 6443))),), 60.0, watch=("/api",))
FILE = stamp(b"x", 0o600, 0, 0)
STATE = ObjectState("b" * 64, "h" * 64, whole=True)
PLAN = Plan(
    "enable",
    "a plan",
    (
        Step("a folder", FolderChange("/etc/x", 0o700)),
        Step("a file", FileChange("/etc/x/y", None, FILE), GATE, GATE, GATE),
        Step("an object", ObjectChange("https://x", "/api/v1/x", "X x", STATE, None)),
    ),
    {digest(b"x"): b"x", "b" * 64: b"y"},
)


def kept(root: Path) -> Path:
    """A journal with one change in it."""
    journal = Journal(home=root / "home")
    if not (root / "home").exists():
        plan = Plan(PLAN.command, PLAN.title, PLAN.steps[:2], PLAN.blobs)
        journal.begin(plan, datetime(2026, 6, 1, tzinfo=UTC)).close({"outcome": "applied"})
    return next((root / "home/history").iterdir())


def read_journal(root: Path) -> None:
    """All that is read of it before anything is done."""
    journal = Journal(home=root / "home")
    try:
        for entry in (*journal.history(), journal.last_applied()):
            if entry:
                datetime.fromisoformat(entry.started)
                assert isinstance(entry.outcome, str)
                undo = inverse_plan(entry.plan, entry.identity, "undo")
                assert all(isinstance(digests_of(each.change), tuple) for each in undo.steps)
    except AggctlError as error:
        assert error.code == "journal-not-readable"  # noqa: PT017 -- as good as a value


@pytest.mark.parametrize("name", ["plan.json", "log.jsonl", "outcome.json"])
def test_a_damaged_record_of_a_change_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    root = tmp_path_factory.mktemp("journal")
    path = kept(root) / name
    whole = path.read_bytes() or b'{"begin": 0}\n{"undone": 0}\n'
    first = json.loads(whole.splitlines()[0] if name == "log.jsonl" else whole)

    @calm
    @given(st.one_of(mistyped(first).map(as_json), damaged([whole]), st.just(b"[" * 5000)))
    def holds(content: bytes) -> None:
        path.write_bytes(content + b"\n")
        read_journal(root)

    holds()


# --- what a server says -----------------------------------------------------------------------------------

ANSWERS = [
    {
        "kind": "Status",
        "message": "x",
        "details": {"causes": [{"reason": "r", "field": "f", "message": "m"}]},
    },
    {"kind": "APIResourceList", "groupVersion": "a/v1", "resources": [{"name": "x", "kind": "X"}]},
]
READY = b"[+]ping ok\n[-]etcd failed: reason withheld\n"


@calm
@given(
    st.one_of(*map(mistyped, ANSWERS)).map(as_json)
    | damaged([READY, *map(as_json, ANSWERS)])
    | st.just(b"[" * 9999)
)
def test_a_damaged_answer_is_words_fit_to_show(content: bytes) -> None:
    assert isinstance(message(content), str)
    assert waits_for(500, content).isprintable()
    seen = answer_seen(200, content, 0.1)
    assert isinstance(seen, AnswerSeen)
    assert all(each.isprintable() for each in (seen.said, seen.group_version, *seen.resources))


METRICS = (
    b'aggregator_unavailable_apiservice{name="v1.a"} 0\n'
    b'workqueue_adds_total{name="APIServiceRegistrationController"} 5\n'
    b'workqueue_depth{name="APIServiceRegistrationController",x="y"} 1e400\n'
)


@calm
@given(damaged([METRICS]))
@pytest.mark.parametrize("read", [unavailable_apis, aggregator_queue])
def test_damaged_metrics_are_numbers_or_no_number(read: Callable[[bytes], object], content: bytes) -> None:
    try:
        read(content)
    except ValueError as error:
        assert "float" in str(error)  # noqa: PT017 -- Cluster.look makes Unknown of it


def test_a_million_apis_in_metrics_are_not_all_kept() -> None:
    line = b'aggregator_unavailable_apiservice{name="v1.%d"} 1\n'
    assert len(unavailable_apis(b"".join(line % number for number in range(20_000)))) == 10_000


# --- /proc ------------------------------------------------------------------------------------------------

STAT = b"7 (kube-apiserver) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 12345 6 7"


@calm
@given(damaged([b"kube-apiserver\0--secure-port=6443\0"]), damaged([STAT]))
def test_a_damaged_process_is_seen_or_is_none(
    tmp_path_factory: pytest.TempPathFactory, cmdline: bytes, stat: bytes
) -> None:
    entry = tmp_path_factory.getbasetemp() / "7"
    (entry / "ns").mkdir(parents=True, exist_ok=True)
    for name in ("ns/net", "cwd"):
        if not (entry / name).is_symlink():
            (entry / name).symlink_to("net:[1]")
    (entry / "cmdline").write_bytes(cmdline)
    (entry / "stat").write_bytes(stat)
    seen = probes.Probes()._process(entry, "net:[1]")
    assert seen is None or (seen.pid, probes._port(seen.argv) >= 0) == (7, True)


# --- links and folders that are swapped ---------------------------------------------------------------------


class Swapping:
    """The system's calls, and somebody who swaps a folder for a link once `name` was looked at."""

    def __init__(self, call: str, name: str, folder: Path, foreign: Path) -> None:
        self._call, self._name, self._folder, self._foreign = call, name, folder, foreign
        self.swapped = False

    def __getattr__(self, called: str) -> Any:
        real = getattr(os, called)

        def call(*words: Any, **more: Any) -> Any:
            result = real(*words, **more)
            if not self.swapped and called == self._call and words[0] == self._name:
                self.swapped = True
                self._folder.rename(self._folder.with_name("moved"))
                self._folder.symlink_to(self._foreign)
            return result

        return call


@pytest.mark.parametrize("call", ["stat", "open"], ids=["once it was looked at", "once it was opened"])
@pytest.mark.parametrize("there", [b"", b"old"], ids=["a new file", "another content"])
def test_a_folder_that_is_swapped_for_a_link_leads_nobody_out(
    tmp_path: Path, call: str, there: bytes
) -> None:
    folder, foreign = tmp_path / "root/pki", tmp_path / "foreign"
    for each in (folder, foreign):
        each.mkdir(parents=True)
        if there:
            (each / "key").write_bytes(there)
    before = (
        stamp(there, (folder / "key").stat().st_mode & 0o777, os.geteuid(), os.getegid()) if there else None
    )
    change = FileChange("/pki/key", before, stamp(b"new", 0o600, os.geteuid(), os.getegid()))
    calls = Swapping(call, "pki", folder, foreign)
    try:
        Files(str(tmp_path / "root"), calls).apply(change, b"new", "x")
    except (OSError, Changed):
        assert call == "stat"  # what was opened is written in, wherever it is by now

    assert calls.swapped
    assert {each.name: each.read_bytes() for each in foreign.iterdir()} == ({"key": there} if there else {})
    content = (folder.with_name("moved") / "key").read_bytes() if call == "open" else b"new"
    assert content == b"new"


@pytest.mark.parametrize("part", ["", "open", "history", "lock"])
def test_a_link_in_place_of_the_journal_is_refused_and_nothing_written_behind_it(
    tmp_path: Path, part: str
) -> None:
    home, foreign = tmp_path / "home", tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    if part:
        home.mkdir(mode=0o700)
    (home / part if part else home).symlink_to(foreign)
    journal = Journal(home=home)
    with pytest.raises(Refused) as caught, journal.locked():
        journal.begin(Plan("enable", "t", ()), datetime(2026, 6, 1, tzinfo=UTC))
    assert caught.value.code == "journal-not-writable"
    assert list(foreign.iterdir()) == []
