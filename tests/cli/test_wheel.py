"""The wheel, as a user installs it: in an environment of its own, far from this checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")
CHECKOUT = Path(__file__).parents[2]
CARRIED = (
    "aggctl/explanations.toml",
    "aggctl/py.typed",
    "aggctl/sandbox/modules/etcd/go.mod",
    "aggctl/sandbox/modules/etcd/go.sum",
    "aggctl/sandbox/modules/kubernetes/go.mod",
    "aggctl/sandbox/modules/kubernetes/go.sum",
    "aggctl/sandbox/templates/kube-apiserver.yaml",
)

pytestmark = pytest.mark.skipif(not UV.exists(), reason="uv is not beside this Python: make test")


def run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, CHECKOUT)
    (found,) = folder.glob("aggctl-*.whl")
    return found


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
