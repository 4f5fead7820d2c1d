"""examples/prometheus: promtool takes the rules, each alert is tried, and what they read exists."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.examples import EXAMPLES, commands, copied, run
from support.hello import hello_api
from support.kube import API_SERVICES, Kube, api_service
from support.nodes import Node
from support.refusals import aggctl
from support.sandboxes import sandbox_in
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = EXAMPLES / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((EXAMPLE / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
API = "v1alpha1.hello.example.com"


@pytest.fixture(scope="module")
def promtool() -> Path:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool (package prometheus) is missing")
    return Path(path).parent


def test_the_commands_of_the_readme_find_nothing_wrong(promtool: Path, tmp_path: Path) -> None:
    folder = copied("prometheus", tmp_path)
    said = run(commands(folder), folder, promtool)
    assert said.status == 0, said.text
    assert said.out.count("SUCCESS") == 3


def test_each_alert_is_tried_and_would_be_missed(promtool: Path, tmp_path: Path) -> None:
    """Without the rules promtool says so."""
    folder = copied("prometheus", tmp_path, {"- alert: ": "- alert: Not"})
    said = run("promtool test rules rules_test.yaml", folder, promtool)
    assert said.status == 1, said.text
    assert [each for each in ALERTS if f"alertname: {each}, " not in said.text] == []


def test_the_readme_tells_of_each_alert() -> None:
    told = re.findall(r"`(Agg\w+)`", (EXAMPLE / "README.md").read_text())
    assert sorted(told) == sorted(ALERTS)


@pytest.fixture(scope="module")
def texts(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """What there really is to read, by its source, with an API that answers and then loses its Service."""
    place = tmp_path_factory.mktemp("prometheus")
    with (
        sandbox_in(place / "sandbox", aggregation="on") as running,
        hello_api(place / "hello", running.sandbox.kubeconfig) as hello,
    ):
        node, kube = Node(running), Kube(running.sandbox.kubeconfig)
        at = ("--external", f"localhost:{hello.port}", "--name", "hello", "--cert-out", str(hello.folder))
        assert node.aggctl("register", API, *at, "--yes").returncode == 0
        kube.apply(f"{API_SERVICES}/v1.away.example.com", api_service("v1.away.example.com", "away"))
        for name, *command in (("certs", "certs", "list"), ("status", "status")):
            said = aggctl(*command, "--root", str(node.root), "--prometheus", str(place / f"{name}.prom"))
            assert said.status == 0, said.text
        kube.delete("/api/v1/namespaces/default/services/hello")
        unavailable = f'aggregator_unavailable_apiservice_total{{name="{API}"'
        eventually(lambda: unavailable in metrics(kube), "kube-apiserver notices it")
        written = {name: (place / f"{name}.prom").read_text() for name in ("certs", "status")}
        yield written | {"kube-apiserver": metrics(kube)}


def metrics(kube: Kube) -> str:
    status, text = kube.ask("GET", "/metrics")
    assert status == 200
    return str(text)


@pytest.mark.controlplane
def test_every_number_and_label_that_a_rule_reads_is_really_written(texts: dict[str, str]) -> None:
    there = dict(samples("\n".join(texts.values())))
    for rule in RULES:
        for name in re.findall(r"\b(?:aggctl|aggregator)_\w+", rule["expr"]):
            assert name in there, rule
            grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
            assert set(grouped[1].split(", ") if grouped else ()) - {"instance"} <= there[name]


def samples(text: str) -> Iterator[tuple[str, set[str]]]:
    """Names of numbers, and their labels."""
    for name, labels in re.findall(r"^([a-z]\w+)\{([^}]*)\}", text, re.MULTILINE):
        yield name, set(re.findall(r"(\w+)=", labels))


@pytest.mark.controlplane
@pytest.mark.parametrize("name", ["certs", "status"])
def test_promtool_takes_what_aggctl_writes(
    name: str, texts: dict[str, str], promtool: Path, tmp_path: Path
) -> None:
    (tmp_path / "aggctl.prom").write_text(texts[name])
    said = run("promtool check metrics < aggctl.prom", tmp_path, promtool)
    assert (said.status, said.text) == (0, "")
