"""What `aggctl audit` does with what was typed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.cli import options as o
from aggctl.cli.render import shown as fit
from aggctl.cli.wiring import Access, asker, node_ports, run_command
from aggctl.core.audit.events import Filter
from aggctl.core.audit.settings import LIMITS, Wanted, checked_log, group_of, groups_of
from aggctl.core.loglines import NANO
from aggctl.workflows import audit as workflow
from aggctl.workflows.in_turn import Manner

if TYPE_CHECKING:
    from aggctl.cli.wiring import Manners
    from aggctl.core.report import Report


@dataclass(frozen=True, slots=True)
class TypedWishes:
    """What is to be recorded, as it was typed; `limits` are days, files and megabytes, None for not said."""

    apis: tuple[str, ...]
    bodies: tuple[str, ...]
    log_path: str
    limits: tuple[int | None, int | None, int | None]
    manifest: str
    persist: str
    timeout: str

    def checked(self) -> Wanted:
        """The same, understood; UsageError where it is not."""
        limits = zip(LIMITS, self.limits, strict=True)
        return Wanted(
            groups=groups_of(self.apis),
            bodies=groups_of(self.bodies),
            log=checked_log(self.log_path),
            limits=tuple((name, value) for name, value in limits if value is not None),
            manifest=self.manifest,
            deadline=o.some_seconds(self.timeout, "--timeout"),
            persist=self.persist,
        )


@dataclass(frozen=True, slots=True)
class Sought:
    """Which records are wanted, as it was typed."""

    api: str
    since: str
    user: str
    verb: str
    limit: int
    manifest: str

    def checked(self, now: float) -> workflow.Wishes:
        """The same, understood; UsageError where it is not."""
        group = group_of(self.api) if self.api else ""
        version = self.api.removesuffix(group).removesuffix(".") if group else ""
        since = max(0, int((now - o.some_seconds(self.since, "--since")) * NANO))
        wanted = Filter(since, group, version, self.user, self.verb)
        return workflow.Wishes(wanted, self.limit, self.manifest)


def enable(typed: o.TypedAccess, manners: Manners, wishes: TypedWishes, *, dry_run: bool, lock: bool) -> int:
    """Have requests recorded."""

    def work() -> Report:
        wanted = wishes.checked()
        ports = node_ports(Access(*typed.checked()), manners)
        return workflow.enable(ports, wanted, Manner(dry_run, asker(manners), lock=lock))

    return run_command("audit enable", manners, work)


def show(typed: o.TypedAccess, manners: Manners, sought: Sought) -> int:
    """Show what was recorded."""
    found: list[str] = []
    console = manners.console(stderr=False)

    def work() -> Report:
        ports = node_ports(Access(*typed.checked()), manners)
        report, lines = workflow.show(ports, sought.checked(ports.clock.now().timestamp()))
        found.extend(lines)
        if manners.output is o.Output.text and not manners.quiet:
            talk = manners.console(stderr=True)
            for each in report.findings:
                talk.print(fit(f"{each.message}   ({each.code})", talk), markup=False)
            if not lines:
                talk.print("No such request is on record.", markup=False)
        return report

    def write() -> None:
        sys.stdout.writelines(f"{fit(line, console)}\n" for line in found)

    return run_command("audit show", manners, work, write=write if manners.output is o.Output.text else None)
