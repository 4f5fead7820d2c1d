"""Wheel and sdist, as a user installs them: in an environment of its own, far from this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")
CHECKOUT = Path(__file__).parents[2]
BUILD = (UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir")
CARRIED = (
    "aggctl/explanations.toml",
    "aggctl/py.typed",
    "aggctl/sandbox/modules/etcd/go.mod",
    "aggctl/sandbox/modules/etcd/go.sum",
    "aggctl/sandbox/modules/kubernetes/go.mod",
    "aggctl/sandbox/modules/kubernetes/go.sum",
    "aggctl/sandbox/templates/kube-apiserver.yaml",
)
NOT_OF_THE_WHEEL = ("test_readme.py", "test_wheel.py")

pytestmark = pytest.mark.skipif(not UV.exists(), reason="uv is not beside this Python: make test")


def run(*words: str | Path, place: Path = Path("/")) -> str:
    """Run it with the environment of a user, who has heard of neither pytest nor this checkout."""
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        timeout=580,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("built")
    run(*BUILD, folder, CHECKOUT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("aggctl-*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist."""
    place = tmp_path_factory.mktemp("unpacked")
    (sdist,) = built.glob("aggctl-*.tar.gz")
    subprocess.run(["/bin/tar", "-xf", sdist, "-C", place], check=True)
    (folder,) = place.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, the locked versions of what it needs, and pytest.

    The tests of the sdist lie beside it, without the sources: what they test can only be the wheel.
    """
    place = tmp_path_factory.mktemp("installed") / "venv"
    needed = place.parent / "needed.txt"
    needed.write_text(
        run(
            *(UV, "export", "--quiet", "--frozen", "--no-default-groups", "--group", "test"),
            "--no-emit-project",
            place=unpacked,
        )
    )
    into = ("pip", "install", "--quiet", "--compile-bytecode", "--python", place / "bin/python")
    run(UV, "venv", "--quiet", "--python", sys.executable, place)
    run(UV, *into, "--require-hashes", "--requirements", needed)
    run(UV, *into, "--no-deps", wheel)
    shutil.copytree(unpacked, place.parent / "tests-alone")
    shutil.rmtree(place.parent / "tests-alone/aggctl")
    return place / "bin"


def test_it_carries_what_is_no_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert set(CARRIED) - names == set()
    assert not [name for name in names if name.startswith("tests/")]


def test_it_runs_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, place)
    run(UV, "pip", "install", "--quiet", "--python", place / "bin/python", wheel)
    aggctl = place / "bin/aggctl"
    assert run(aggctl, "--version").startswith("aggctl ")
    assert "no kube-apiserver manifest" in run(aggctl, "explain", "no-manifest")
    assert "No changes on record." in run(aggctl, "history", "--root", tmp_path)


def test_the_sdist_gives_the_wheel_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    run(*BUILD, tmp_path, "--wheel", CHECKOUT)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_sdist_has_all_files_of_the_checkout(unpacked: Path) -> None:
    if not (CHECKOUT / ".git").exists():
        files = sorted(path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "tests").rglob("*.py"))
    else:
        files = run("git", "-C", CHECKOUT, "ls-files").splitlines()
    there = [name for name in files if (CHECKOUT / name).exists()]
    assert [name for name in there if not (unpacked / name).exists()] == []


def test_the_tests_of_the_sdist_are_found(installed: Path) -> None:
    place = installed.parents[1] / "tests-alone"
    said = run(
        installed / "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "tests/core", place=place
    )
    assert "tests/core/test_manifest.py::" in said
    assert "error" not in said.splitlines()[-1]


@pytest.mark.timeout(600)  # half a minute where nothing else runs
def test_the_tests_of_the_command_line_pass_on_the_installed_wheel(installed: Path) -> None:
    place = installed.parents[1] / "tests-alone"
    run(
        *(installed / "pytest", "-p", "no:cacheprovider", "-q", "-n", "2", "--no-header"),
        *(
            "-m",
            "not controlplane",
            *(f"--ignore=tests/cli/{name}" for name in NOT_OF_THE_WHEEL),
            "tests/cli",
        ),
        place=place,
    )
