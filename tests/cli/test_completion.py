"""Completion: what is offered at the cursor, in real shells, in time, and without a word of trouble."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from support.refusals import aggctl, assert_decent
from support.shells import bash_in, environment, fish_offers, found, zsh_in

from aggctl.cli import complete, offers
from aggctl.cli.app import app
from aggctl.cli.complete import FILES, FOLDERS, NO_FILES, Answer, answered
from aggctl.cli.explain import explanations
from aggctl.cli.line import choices, key_of, split
from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.shells import Terminal

TREE: Any = typer.main.get_command(app)
CONTEXTS = ("prod", "my own", "arn:aws:eks:eu-1:cluster/a", "DOM\\user", "$(touch pwned)")


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from walk(each, (*path, name))


COMMANDS = {path: each for path, each in walk(TREE) if path}
LEAVES = {path: each for path, each in COMMANDS.items() if not hasattr(each, "commands")}
WITH_VALUE = [
    (path, each)
    for path, command in LEAVES.items()
    for each in command.params
    if each.param_type_name == "option" and not each.is_flag
]


def offered(*words: str) -> list[str]:
    return [word for word, _ in answer(*words).words]


def answer(*words: str) -> Answer:
    return answered(TREE, list(words), 60.0)


# --- what is offered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_offered_with_what_it_does(path: tuple[str, ...]) -> None:
    *before, name = path
    words = dict(answer(*before, name[:2]).words)
    assert words[name].endswith(".")


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_is_offered_after_a_hyphen(path: tuple[str, ...]) -> None:
    names = {
        name
        for each in LEAVES[path].params
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    }
    assert set(offered(*path, "-")) == names | {"--help", "-h"}


@pytest.mark.parametrize(("path", "option"), [each for each in WITH_VALUE if choices(each[1])])
def test_the_values_of_a_choice_are_offered(path: tuple[str, ...], option: Any) -> None:
    assert offered(*path, key_of(option), "") == choices(option)
    assert offered(*path, f"{key_of(option)}=") == choices(option)


@pytest.mark.parametrize(("path", "option"), [each for each in WITH_VALUE if not choices(each[1])])
def test_files_are_left_to_the_shell_and_where_no_file_belongs_none_is_offered(
    path: tuple[str, ...], option: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "offered", lambda *_: ())
    name = option.metavar or ""
    wanted = FILES if name.startswith("FILE") else FOLDERS if name == "DIR" else NO_FILES
    assert answer(*path, key_of(option), "") == Answer((), wanted)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("status", "-o", "w"), ["wide"]),
        (("status", "-qo", "w"), ["wide"]),
        (("status", "--output=w"), ["wide"]),
        (("status", "-o", "json", "--kubeconfig", "x", "--outp"), []),
        (("status", "-ojson", "--outp"), []),
        (("status", "--output=json", "--outp"), []),
        (("register", "--arg", "a", "--ar"), ["--arg"]),
        (("register", "--wait", "--no-w"), []),
        (("status", "--", "--outp"), []),
        (("nonsense", ""), []),
        (("certs", "nonsense", ""), []),
        (("status", "--nonsense", "--outp"), ["--output"]),
        (("status", "-z", "--outp"), ["--output"]),
        (("status", "--nonsense="), []),
        (("status", "--watch="), []),
        (("certs", "import", "folder", "another"), []),
        (("rollback", "x"), []),
        (("register", "-f", "-", "--wai"), ["--wait"]),
        (("--vers",), ["--version"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("sandbox", "build", "kubea"), ["kubeadm"]),
        (("sandbox", "build", "kubelet", "kubel"), []),
        (("enable", "--key-algorithm", "RSA-4"), ["RSA-4096"]),
    ],
    ids=" ".join,
)
def test_what_stands_before_the_cursor_counts(words: tuple[str, ...], wanted: list[str]) -> None:
    assert offered(*words) == wanted


def test_codes_are_offered_with_their_titles() -> None:
    known = explanations()
    assert dict(answer("explain", "").words) == {code: known[code]["title"] for code in known}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("aggctl status ", ["aggctl", "status", ""]),
        ("aggctl status", ["aggctl", "status"]),
        ('aggctl status "my o', ["aggctl", "status", "my o"]),
        ("aggctl status 'my ", ["aggctl", "status", "my "]),
        ("aggctl status my\\ o", ["aggctl", "status", "my o"]),
        ("aggctl status my\\ ", ["aggctl", "status", "my "]),
        ("aggctl $(x) `y` ", ["aggctl", "$(x)", "`y`", ""]),
        ("aggctl x\\", ["aggctl", "x"]),
        ("aggctl # x", ["aggctl", "#", "x"]),
    ],
)
def test_a_line_is_split_as_a_shell_does_it(line: str, words: list[str]) -> None:
    assert split(line) == words


def test_a_word_that_would_break_the_protocol_or_a_terminal_is_left_out() -> None:
    words = (("good", "told\nin two"), ("two\nlines", ""), ("tab\there", ""), ("\x1b[31mred", ""), ("", ""))
    assert Answer(words).text() == "good\ttold in two\n:4\n"


# --- names of kubeconfigs -----------------------------------------------------------------------------------


def kubeconfig(path: Path, *contexts: str, user: Any = None, server: str = "https://192.0.2.1:6443") -> str:
    """A kubeconfig of these contexts, all for one cluster and one user."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": contexts[0],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of whom nothing is known, and no node."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def test_contexts_are_those_of_the_kubeconfig_that_the_command_would_take(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ("status", "--root", str(home / "nowhere"))
    assert offered(*elsewhere, "--context", "") == []
    kubeconfig(home / ".kube/config", "at-home")
    assert offered(*elsewhere, "--context", "") == ["at-home"]
    kubeconfig(home / "node/etc/kubernetes/admin.conf", "of-the-node")
    assert offered("status", "--root", str(home / "node"), "--context", "") == ["of-the-node"]
    both = kubeconfig(home / "a", "a", "shared"), kubeconfig(home / "b", "b", "shared")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(both))
    assert offered(*elsewhere, "--context", "") == ["a", "shared", "b"]
    given = kubeconfig(home / "given", *CONTEXTS)
    assert offered("status", "--kubeconfig", given, "--context", "") == list(CONTEXTS)


@pytest.mark.parametrize("typed", ["~/given", "$HOME/given", "${HOME}/given"])
def test_a_path_that_the_shell_would_expand_is_expanded(home: Path, typed: str) -> None:
    kubeconfig(home / "given", "there")
    assert offered("status", f"--kubeconfig={typed}", "--context", "") == ["there"]


# --- in time, and not a word of trouble ---------------------------------------------------------------------


def assert_silent(*words: str, **more: str) -> None:
    said = aggctl("__complete", *words, environment={"HOME": "/nonexistent"} | more)
    assert (said.status, said.out, said.err) == (0, ":4\n", "")


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert_silent("status", "--kubeconfig", kubeconfig(tmp_path / "k", "x", server=address), "")


def test_a_kubeconfig_that_is_never_delivered_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "k")
    assert_silent("status", "--kubeconfig", str(tmp_path / "k"), "--context", "")


def test_no_credential_plugin_is_run(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho who are you >/dev/tty\ntouch {tmp_path}/ran\n")
    plugin.chmod(stat.S_IRWXU)
    of_exec = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "IfAvailable",
        }
    }
    given = kubeconfig(tmp_path / "k", "x", user=of_exec)
    assert_silent("status", "--kubeconfig", given, "", **{complete.FAR: "20s"})  # time enough to run it
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "contexts: 7", "kind: Config", "\x00"])
@pytest.mark.parametrize("place", [("status", ""), ("status", "--context", "")], ids=["API", "context"])
def test_a_kubeconfig_that_is_none_offers_nothing(
    tmp_path: Path, content: str, place: tuple[str, ...]
) -> None:
    (tmp_path / "k").write_text(content)
    command, *words = place
    assert offered(command, "--kubeconfig", str(tmp_path / "k"), *words) == []


def test_a_defect_does_not_get_into_the_line() -> None:
    program = """
import sys
from aggctl.cli import complete
def answered(*_):
    print("a warning", file=sys.stderr, flush=True)
    raise ZeroDivisionError
complete.answered = answered
complete.speak(["status", ""])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, ":4\n", "")


def test_a_reader_that_went_away_is_no_trouble() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as gone:
        run = subprocess.run(
            [sys.executable, "-m", "aggctl", "__complete", ""],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("2s", 2.0), ("1m", 60.0), ("nonsense", complete.PATIENCE), (None, complete.PATIENCE)],
)
def test_a_cluster_far_away_gets_the_time_that_the_user_gives(
    typed: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(complete.FAR, raising=False)
    if typed:
        monkeypatch.setenv(complete.FAR, typed)
    assert complete.patience() == seconds


# --- in real shells -----------------------------------------------------------------------------------------

LINES = [
    ("aggctl sta", "aggctl status "),
    ("aggctl certs rotate se", "aggctl certs rotate serving "),
    ("aggctl status --outp", "aggctl status --output "),
    ("aggctl status --output=w", "aggctl status --output=wide "),
    ("aggctl status -o w", "aggctl status -o wide "),
    ("aggctl explain file-not-m", "aggctl explain file-not-mounted "),
    ("aggctl doctor --kubeconfig fi", "aggctl doctor --kubeconfig file.conf "),
    ("aggctl doctor --kubeconfig=fi", "aggctl doctor --kubeconfig=file.conf "),
    ("aggctl enable --ca-from fo", "aggctl enable --ca-from folder/"),
    ("aggctl status --context my", "aggctl status --context my\\ own "),
    ("aggctl status --context my\\ o", "aggctl status --context my\\ own "),
    ('aggctl status --context "my o', 'aggctl status --context "my own" '),
    ("aggctl status --context arn:aws:e", "aggctl status --context arn:aws:eks:eu-1:cluster/a "),
    ("aggctl status --context=arn:", "aggctl status --context=arn:aws:eks:eu-1:cluster/a "),
    ("aggctl status --context DO", "aggctl status --context DOM\\\\user "),
    ("aggctl rollback ", "aggctl rollback "),
    ("aggctl nonsense ", "aggctl nonsense "),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shells work: a file, a folder, and a kubeconfig of odd names."""
    place = tmp_path_factory.mktemp("shells")
    (place / "folder").mkdir()
    (place / "file.conf").touch()
    kubeconfig(place / ".kube/config", *CONTEXTS)
    return place


@pytest.fixture(scope="module", name="bash")
def _bash(folder: Path) -> Iterator[Terminal]:
    with bash_in(folder, "source <(aggctl completion bash)") as shell:
        yield shell


@pytest.fixture(scope="module", name="zsh")
def _zsh(folder: Path) -> Iterator[Terminal]:
    with zsh_in(folder, "source <(aggctl completion zsh)") as shell:
        yield shell


@pytest.mark.parametrize(("typed", "line"), LINES)
def test_bash_completes_a_line(bash: Terminal, typed: str, line: str) -> None:
    assert bash.line_after(f"{typed}\t") == line


def test_bash_quotes_what_it_would_otherwise_run(bash: Terminal, folder: Path) -> None:
    assert bash.line_after("aggctl status --context $\t") == (
        "aggctl status --context \\$\\(touch\\ pwned\\) "
    )
    assert not (folder / "pwned").exists()


def test_bash_offers_folders_alone_where_a_folder_belongs(bash: Terminal) -> None:
    assert bash.line_after("aggctl enable --ca-from f\t") == "aggctl enable --ca-from folder/"


def test_bash_completes_up_to_the_cursor(bash: Terminal) -> None:
    assert bash.line_after("aggctl sta x\x02\x02\t") == "aggctl status x"


def test_bash_completes_where_somebody_changed_what_breaks_words(folder: Path) -> None:
    start = "COMP_WORDBREAKS=$' \\t\\n'; source <(aggctl completion bash)"
    with bash_in(folder, start) as shell:
        assert shell.line_after("aggctl status --output=w\t") == "aggctl status --output=wide "
        typed, line = "aggctl status --context=arn:\t", f"aggctl status --context={CONTEXTS[2]} "
        assert shell.line_after(typed) == line


def test_bash_knows_an_alias_once_it_is_told(folder: Path) -> None:
    start = "source <(aggctl completion bash); alias a=aggctl; complete -F _aggctl a"
    with bash_in(folder, start) as shell:
        assert shell.line_after("a sta\t") == "a status "


@pytest.mark.parametrize(("typed", "line"), LINES)
def test_zsh_completes_a_line(zsh: Terminal, typed: str, line: str) -> None:
    assert zsh.line_after(f"{typed}\t") == line


def test_zsh_loads_it_from_a_folder_of_its_functions(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "_aggctl").write_text(aggctl("completion", "zsh").out)
    start = f"fpath=({tmp_path} $fpath); compinit -u -D"
    with zsh_in(folder, start) as shell:
        assert shell.line_after("aggctl sta\t") == "aggctl status "


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("aggctl sta", ["status"]),
        ("aggctl certs rotate se", ["serving"]),
        ("aggctl status --outp", ["--output"]),
        ("aggctl status --output=w", ["--output=wide"]),
        ("aggctl explain file-not-m", ["file-not-mounted"]),
        ("aggctl doctor --kubeconfig fi", ["file.conf"]),
        ("aggctl doctor --kubeconfig=fi", ["--kubeconfig=file.conf"]),
        ("aggctl enable --ca-from f", ["folder/"]),
        ("aggctl status --context ", list(CONTEXTS)),
        ("aggctl rollback ", []),
        ("aggctl nonsense ", []),
    ],
)
def test_fish_completes_a_line(folder: Path, line: str, wanted: list[str]) -> None:
    assert fish_offers(folder, "aggctl completion fish | source", line) == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_and_nothing_else(shell: str) -> None:
    said = aggctl("completion", shell)
    assert (said.status, said.err) == (0, "")
    checked = subprocess.run(
        [found(shell), "-n"], input=said.out, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_shell_that_is_not_known_is_wrong_usage() -> None:
    said = aggctl("completion", "tcsh")
    assert (said.status, said.out) == (2, "")
    assert "bash" in said.err
    assert_decent(said)


# --- as a plug-in of kubectl --------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="kubectl")
def _kubectl() -> str:
    program = components.find(components.COMPONENTS["kubectl"])
    if program is None:
        pytest.skip("kubectl is not built yet: run `aggctl sandbox build` once, or `make test`")
    return str(program.path)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)


def test_kubectl_runs_it_and_the_help_says_so(kubectl: str) -> None:
    said = run(kubectl, "aggctl", "status", "--help")
    assert said.returncode == 0
    assert said.stdout.startswith("Usage: kubectl aggctl status ")


def test_kubectl_hands_on_the_exit_status(kubectl: str) -> None:
    said = run(kubectl, "aggctl", "explain", "no-such-code")
    assert said.returncode == 2
    wrong = run(kubectl, "aggctl", "status", "--nonsense")
    assert "Try 'kubectl aggctl status" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("sta",), ["status", ":4"]),
        (("status", "-o", ""), ["text", "wide", "json", "yaml", ":4"]),
        (("status", "--output=w"), ["wide", ":4"]),
        (("doctor", "--bundle", ""), [":0"]),
        (("enable", "--ca-from", ""), [":16"]),
    ],
    ids=" ".join,
)
def test_kubectl_completes_by_what_it_answers(
    kubectl: str, words: tuple[str, ...], wanted: list[str]
) -> None:
    said = run(kubectl, "__complete", "aggctl", *words)
    assert [line.partition("\t")[0] for line in said.stdout.splitlines()] == wanted


def test_a_line_of_kubectl_is_completed_in_a_real_shell(kubectl: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kubectl").symlink_to(kubectl)
    start = f"PATH={tmp_path}:$PATH; source <(kubectl completion zsh)"
    with zsh_in(folder, start) as shell:
        assert shell.line_after("kubectl aggctl certs rot\t") == "kubectl aggctl certs rotate "
        assert shell.line_after("kubectl aggctl status --output=w\t") == (
            "kubectl aggctl status --output=wide "
        )


def test_a_link_of_that_name_is_the_plugin(tmp_path: Path) -> None:
    script = found("aggctl", environment()["PATH"])
    (tmp_path / "kubectl-aggctl").symlink_to(script)
    (tmp_path / "kubectl_complete-aggctl").symlink_to(script)
    assert run(str(tmp_path / "kubectl-aggctl"), "-h").stdout.startswith("Usage: kubectl aggctl ")
    assert run(str(tmp_path / "kubectl_complete-aggctl"), "unr").stdout.startswith("unregister\t")
