"""What `aggctl logs` does with what was typed."""

from __future__ import annotations

import json
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from aggctl.cli import options as o
from aggctl.cli.render import shown as fit
from aggctl.cli.trouble import silence
from aggctl.cli.wiring import Access, cluster_ports, run_command
from aggctl.core.extension import parse_api
from aggctl.core.loglines import moment, shown
from aggctl.core.report import Report
from aggctl.workflows import logs as workflow

if TYPE_CHECKING:
    from rich.console import Console

    from aggctl.cli.wiring import Manners
    from aggctl.core.loglines import Line
    from aggctl.core.logsources import NotRead
    from aggctl.workflows.logs import Wishes

INTERRUPTED = 130
_STYLES = {"W": "yellow", "E": "red", "F": "bold red"}
_OF_SOURCES = ("cyan", "magenta", "green", "blue", "bright_cyan", "bright_magenta")
WIDEST = 48
"""Columns that a source's name may take before the words of all lines move."""


@dataclass(frozen=True, slots=True)
class TypedWishes:
    """What is wanted, as it was typed."""

    api: str
    since: str
    tail: int
    everything: bool

    def checked(self) -> Wishes:
        """The same, understood; UsageError where it is not."""
        api = parse_api(self.api) if self.api else None
        return workflow.Wishes(api, o.some_seconds(self.since, "--since"), self.tail, self.everything)


def show(typed: o.TypedAccess, manners: Manners, wishes: TypedWishes) -> int:
    """Show what there is."""
    lines: list[Line] = []

    def work() -> Report:
        wanted = wishes.checked()
        report, found = workflow.logs(cluster_ports(Access(*typed.checked()), manners), wanted)
        lines.extend(found)
        if manners.output is o.Output.text:
            _Shower(manners).tell(report)
        return report

    def write() -> None:
        _Shower(manners).show(tuple(lines))

    return run_command("logs", manners, work, write=write if manners.output is o.Output.text else None)


def follow(typed: o.TypedAccess, manners: Manners, wishes: TypedWishes) -> int:
    """Show what there is and what comes; only an error ends it otherwise than by who listens."""
    shower = _Shower(manners)
    begun: list[Report] = []
    stopped: list[bool] = []

    def begin(report: Report, lines: tuple[Line, ...]) -> None:
        begun.append(report)
        shower.tell(report)
        shower.show(lines)

    def come(lines: tuple[Line, ...], troubles: tuple[NotRead, ...]) -> None:
        shower.say(*(each.words for each in troubles))
        shower.show(lines)

    def work() -> Report:
        wanted, ports = wishes.checked(), cluster_ports(Access(*typed.checked()), manners)
        try:
            workflow.follow(ports, wanted, begin, come, shower.gone)
        except KeyboardInterrupt:
            if not begun or manners.output is o.Output.text:
                raise
            stopped.append(True)  # a document behind the lines would be none of them
        return Report("logs", "unchanged")

    status = run_command("logs", manners, work, write=lambda: None)
    return INTERRUPTED if stopped else status


class _Shower:
    """Lines to standard output, what is to be said beside them to standard error."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._console = manners.console(stderr=False)
        self._width = 0
        self._lost = False
        self._styles: dict[str, str] = {}

    def tell(self, report: Report) -> None:
        """What could not be read, and what else is to be known."""
        self.say(*(f"{each.message}" for each in report.findings))

    def say(self, *sentences: str) -> None:
        """Say it, unless only the result is wanted."""
        if not self._manners.quiet:
            console = self._manners.console(stderr=True)
            for each in sentences:
                console.print(fit(each, console), markup=False)

    def show(self, lines: tuple[Line, ...]) -> None:
        """Write the lines and let go of them; a reader that went away is no error."""
        try:
            self._write(lines)
            sys.stdout.flush()
        except BrokenPipeError:
            self._lost = True
            silence(sys.stdout)

    def _write(self, lines: tuple[Line, ...]) -> None:
        self._width = max([self._width, *(min(WIDEST, len(line.source)) for line in lines)])
        for line in lines:
            if self._manners.output is o.Output.json:
                sys.stdout.write(json.dumps(line.item()) + "\n")
            elif self._console.is_terminal and not self._console.no_color:
                self._console.print(self._coloured(line, self._console))
            else:
                sys.stdout.write(fit(shown(line, self._width), self._console) + "\n")

    def gone(self) -> bool:
        """Whether nobody reads any more: a pipe tells it before the next line is written."""
        try:
            listening = select.poll()
            listening.register(sys.stdout.fileno(), 0)
            return self._lost or any(event & select.POLLERR for _, event in listening.poll(0))
        except (OSError, ValueError):
            return self._lost

    def _coloured(self, line: Line, console: Console) -> Text:
        style = self._styles.setdefault(line.source, _OF_SOURCES[len(self._styles) % len(_OF_SOURCES)])
        start, words = moment(line.at), shown(line, self._width)
        end = len(start) + 1 + max(self._width, len(line.source))
        text = Text(fit(words, console), style=_STYLES.get(line.level, ""))
        text.stylize("dim not bold", 0, len(start))
        text.stylize(style, len(start), end)
        return text
