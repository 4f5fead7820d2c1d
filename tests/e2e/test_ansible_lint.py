"""examples/ansible passes ansible-lint, and its README names the variables that the role has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

EXAMPLE = Path(__file__).parents[2] / "examples/ansible"
ROLE = EXAMPLE / "roles/aggctl"
BIN = Path(sys.executable).parent


def lint(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """ansible-lint with its strictest profile, and without a network."""
    return subprocess.run(
        [BIN / "ansible-lint", "--offline", "--strict", "--profile", "production", "--nocolor"],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_passes_the_strictest_profile_and_a_careless_task_would_not(tmp_path: Path) -> None:
    example = shutil.copytree(EXAMPLE, tmp_path / "ansible", ignore=shutil.ignore_patterns("*.tar"))

    passed = lint(example, tmp_path / "home")

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert re.search(r"Passed: 0 failure\(s\), 0 warning\(s\) in \d\d files", passed.stderr), passed.stderr

    with (example / "roles/aggctl/tasks/enable.yml").open("a") as tasks:
        tasks.write("\n- shell: echo careless\n")
    failed = lint(example, tmp_path / "home")

    assert failed.returncode != 0
    assert "no-changed-when" in failed.stdout


def test_the_readme_and_the_argument_specs_name_the_variables_that_the_role_has() -> None:
    there = set(yaml.safe_load((ROLE / "defaults/main.yml").read_text()))
    readme = set(re.findall(r"^\| `(aggctl_\w+)` \|", (EXAMPLE / "README.md").read_text(), re.MULTILINE))
    entries = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    specified = {name for entry in entries for name in entry["options"]}
    assert readme == there
    assert specified == there | {"aggctl_stage"}, "the playbook says which stage"
