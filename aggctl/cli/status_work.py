"""What `aggctl status` does with what was typed."""

from __future__ import annotations

import io
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.cli import options as o
from aggctl.cli import render
from aggctl.cli.outfile import write_gauges
from aggctl.cli.trouble import result_written
from aggctl.cli.wiring import Access, Manners, cluster_ports, run_command
from aggctl.core.extension import parse_api
from aggctl.core.report import Report
from aggctl.core.status.words import metrics
from aggctl.errors import Refused, UsageError
from aggctl.workflows.status import report_on, take_status, watch_status

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from aggctl.core.status.see import Status
    from aggctl.system.ports import Ports

INTERRUPTED = 130
DOCUMENTS = ("json", "yaml")


@dataclass(frozen=True, slots=True)
class Typed:
    """What is wanted, as it was typed."""

    apis: tuple[str, ...]
    view: str
    prometheus: str | None
    quiet: bool
    verbose: bool
    no_color: bool

    @property
    def manners(self) -> Manners:
        """A document is JSON, which every reader of YAML takes; `show` writes the nicer YAML."""
        output = o.Output.json if self.view in DOCUMENTS else o.Output.text
        return Manners(output, quiet=self.quiet, verbose=self.verbose, no_color=self.no_color)

    @property
    def names(self) -> tuple[str, ...]:
        """The APIs; UsageError where one is no VERSION.GROUP."""
        return tuple(dict.fromkeys(parse_api(name).name for name in self.apis))

    def report(self, ports: Ports, status: Status, now: datetime) -> Report:
        """The report on it; for Prometheus into a file as well."""
        if self.prometheus is not None:
            write_gauges(self.prometheus, metrics(status))
        return report_on(ports, status, now, wide=self.view == "wide")


def show(typed: Typed, access: o.TypedAccess) -> int:
    """Show it once."""
    made: list[Report] = []

    def work() -> Report:
        names, ports = typed.names, cluster_ports(Access(*access.checked()), typed.manners)
        made.append(typed.report(ports, *take_status(ports, names)))
        return made[0]

    def write() -> None:
        sys.stdout.write(_as_yaml(made[0]))

    return run_command("status", typed.manners, work, write=write if typed.view == "yaml" else None)


def watch(typed: Typed, access: o.TypedAccess) -> int:
    """Show it again and again; Ctrl-C, or a reader that goes away, ends it."""
    shown = _Shown(typed)
    interrupted: list[bool] = []

    def work() -> Report:
        if typed.view in DOCUMENTS:
            raise UsageError(
                "option-without-effect",
                f"-o {typed.view} is one document, and --watch shows one view after the other",
                expected="-o text or -o wide with --watch",
                do="aggctl status --watch -o wide",
            )
        names, ports = typed.names, cluster_ports(Access(*access.checked()), typed.manners)
        try:
            watch_status(ports, lambda: shown.look(ports, names))
        except KeyboardInterrupt:
            interrupted.append(True)
        return Report("status", "unchanged")

    status = run_command("status", typed.manners, work, write=lambda: None)
    return INTERRUPTED if interrupted else status


class _Shown:
    """What --watch shows: in one place on a terminal, one below the other in a pipe."""

    def __init__(self, typed: Typed) -> None:
        self._typed = typed
        self._console = typed.manners.console(stderr=False)
        self._once = False

    def look(self, ports: Ports, names: tuple[str, ...]) -> bool | None:
        """Look and show; whether the cluster could be asked, None where nobody reads any more.

        What cannot be seen at the first time is an error; later it may come back.
        """
        if self._once and _gone(self._console):
            return None
        try:
            status, now = take_status(ports, names)
        except Refused as refused:
            if not self._once:
                raise
            render.show_error(refused, self._typed.manners.console(stderr=True), verbose=self._typed.verbose)
            return False
        report = self._typed.report(ports, status, now)
        with result_written():
            self._console.clear()  # nothing where it is no terminal
            self._console.print(f"{now:%Y-%m-%d %H:%M:%S} UTC", markup=False)
            render.show_report(report, self._console, verbose=self._typed.verbose)
        self._once = True
        return bool(status.place.servers)


def _gone(console: Console) -> bool:
    """Whether nobody reads any more: a pipe tells it before the next line is written."""
    try:
        listening = select.poll()
        listening.register(sys.stdout.fileno(), 0)
        return console.quiet or any(event & select.POLLERR for _, event in listening.poll(0))
    except (OSError, ValueError):
        return console.quiet


def _as_yaml(report: Report) -> str:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- only here, 35 ms

    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    text = io.StringIO()
    writer.dump(_quoted(report.to_json()), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    """The same with quotes about `on` and its like, which readers of YAML 1.1 take for true."""
    from ruamel.yaml.scalarstring import SingleQuotedScalarString  # noqa: PLC0415 -- as above

    if isinstance(value, dict):
        return {_quoted(name): _quoted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    is_word = isinstance(value, str) and value.lower() in ("on", "off", "yes", "no", "y", "n")
    return SingleQuotedScalarString(value) if is_word else value
