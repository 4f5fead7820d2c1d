"""What tests run against: the built components, sandboxes; and Hypothesis without chance in CI."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from support.sandboxes import PROGRAMS, Running, sandbox_in

from aggctl.sandbox import components

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    # A run in the background inherits ignored signals, and hands them on to what the tests start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)

REQUIRED = os.environ.get("AGGCTL_REQUIRE_TIERS") == "1"
"""Nothing may be skipped: a tier that cannot run is a failure (CI)."""

_OVER_CORPUS = ["core/test_manifest_corpus.py", "core/test_extension_corpus.py"]
collect_ignore = [] if os.environ.get("AGGCTL_CORPUS") else _OVER_CORPUS


def pytest_report_header() -> str:
    """Say what this run leaves out, so that nobody takes it for more than it is."""
    corpus = os.environ.get("AGGCTL_CORPUS", "none (set AGGCTL_CORPUS to a folder of real manifests)")
    return f"corpus: {corpus}; a skipped test is {'a failure' if REQUIRED else 'allowed'}"


settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 -- the hook's own signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where nothing may be skipped."""
    report = yield
    if REQUIRED and report.skipped:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}: skipping is forbidden here (AGGCTL_REQUIRE_TIERS=1): {report.longrepr}"
        )
    return report


@pytest.fixture(scope="session", name="programs")
def _programs() -> dict[str, Path]:
    """etcd and kube-apiserver; without them the test is skipped, or fails where tiers are required."""
    found = {name: components.find(components.COMPONENTS[name]) for name in PROGRAMS}
    missing = [name for name, program in found.items() if program is None]
    if missing:
        message = f"{' and '.join(missing)} not built yet: run `aggctl sandbox up` once, or `make test`"
        pytest.skip(message)
    return {name: program.path for name, program in found.items() if program}


@pytest.fixture
def sandbox(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path: Path,
) -> Iterator[Running]:
    """A sandbox of the test's own, with the layer off."""
    with sandbox_in(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture(scope="session")
def shared_sandbox(
    programs: dict[str, Path],  # noqa: ARG001 -- asked for to be skipped without them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A sandbox with the layer off, for tests that change nothing."""
    with sandbox_in(tmp_path_factory.mktemp("shared") / "sandbox") as running:
        yield running
