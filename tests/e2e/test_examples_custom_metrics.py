"""examples/custom-metrics as its README has it: a real adapter, a real autoscaler, a Deployment grows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.examples import EXAMPLES, built, commands, copied, run

from aggctl.sandbox import control_plane

if TYPE_CHECKING:
    from pathlib import Path

    from support.refusals import Said

ALONE = ("unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",)))
"""A network of its own, as the test-adapter takes port 8080, and no other."""

METRIC = "http-requests-per-second"


@pytest.fixture(scope="module")
def said(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Said:  # noqa: ARG001 -- asked for to be skipped without them
    """What the commands for a laptop said, one after the other."""
    folders = built("kubectl", "kube-controller-manager", "test-adapter")
    place = tmp_path_factory.mktemp("custom-metrics")
    folder = copied("custom-metrics", place, {"/tmp/shop": str(place / "sandbox")})  # noqa: S108 -- the README's words
    try:
        return run("ip link set lo up\n" + commands(folder), folder, *folders, before=ALONE)
    finally:
        if (place / "sandbox").exists():
            control_plane.down(place / "sandbox", say=print)


@pytest.mark.controlplane
def test_the_readme_works_from_the_sandbox_up_to_the_sandbox_down(said: Said) -> None:
    assert said.status == 0, said.text


@pytest.mark.controlplane
def test_the_number_that_was_written_is_read_through_kube_apiserver(said: Said) -> None:
    found = re.search(r'^\{"kind":"MetricValueList".*\}', said.out, re.MULTILINE)
    assert found, said.text
    (item,) = json.loads(found[0])["items"]
    assert (item["describedObject"]["name"], item["metric"]["name"], item["value"]) == ("shop", METRIC, "500")


@pytest.mark.controlplane
def test_the_autoscaler_goes_by_it_and_the_deployment_grows(said: Said) -> None:
    assert said.out.count("horizontalpodautoscaler.autoscaling/shop condition met") == 2, said.text
    assert "deployment.apps/shop condition met" in said.out


@pytest.mark.controlplane
def test_doctor_says_that_an_autoscaler_reads_no_metrics_when_the_adapter_is_gone(said: Said) -> None:
    assert re.search(r"connection-refused$", said.out, re.MULTILINE), said.text
    assert "1 HorizontalPodAutoscaler reads no metrics" in said.out


def test_the_command_for_a_cluster_makes_the_objects_of_an_adapter() -> None:
    readme = (EXAMPLES / "custom-metrics/README.md").read_text()
    (line,) = re.findall(r"^\$ (aggctl register .*)$", readme, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line), "--dry-run", "-o", "yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout
    assert "name: v1beta2.custom.metrics.k8s.io" in done.stdout
