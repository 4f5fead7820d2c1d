"""The one place that builds real ports, runs a workflow, and turns what comes back into output and status."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from aggctl.cli import render, trouble
from aggctl.cli.options import Output
from aggctl.cli.progress import ConsoleProgress
from aggctl.core.fields import MANAGER
from aggctl.core.questions import (
    AggregatorQueue,
    AskApi,
    AskAs,
    AskWith,
    ClockSkew,
    Existing,
    FileAt,
    FolderAt,
    KeyAt,
    MayDo,
    MayGet,
    MetadataIn,
    ObjectAt,
    PairAt,
    PodHandshake,
    PodLog,
    RawAt,
    ReadyAt,
    Recorded,
    StaleApis,
    UnavailableApis,
)
from aggctl.core.snapshot import NotKnown
from aggctl.errors import AggctlError, Interrupted, Refused
from aggctl.system.clock import Clock
from aggctl.system.cluster import Cluster
from aggctl.system.files import Files
from aggctl.system.journal import Journal
from aggctl.system.kubeconfig import find_credentials
from aggctl.system.objects import Objects
from aggctl.system.ports import Ports
from aggctl.system.probes import Probes
from aggctl.system.signals import Stop
from aggctl.system.watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.core.questions import Question
    from aggctl.core.report import Report
    from aggctl.system.logs import Logs

ADMIN_CONFIGS = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")
_OF_FILES = (FileAt, KeyAt, FolderAt, Existing)
_OF_CLUSTER = (
    ObjectAt,
    ReadyAt,
    ClockSkew,
    AskAs,
    AskWith,
    AskApi,
    AggregatorQueue,
    MayDo,
    MayGet,
    MetadataIn,
    PairAt,
    PodHandshake,
    PodLog,
    RawAt,
    StaleApis,
    UnavailableApis,
)


class PatientConsole(Console):
    """A console whose reader may go away: work in progress goes on, where Rich would exit."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True
        trouble.silence(self.file)


@dataclass(frozen=True, slots=True)
class Manners:
    """How the user wants to be talked to."""

    output: Output
    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False

    def console(self, *, stderr: bool) -> Console:
        """A console that does not decorate what goes into a pipe."""
        return PatientConsole(
            stderr=stderr, no_color=self.no_color or None, soft_wrap=True, highlight=False, emoji=False
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Where a command works: the node's root, and who to be in the cluster."""

    root: str
    kubeconfig: str = ""
    context: str = ""
    request_timeout: float = 5.0
    manager: str = MANAGER


def node_ports(access: Access, manners: Manners) -> Ports:
    """Ports for a command that works on this node: its journal is the node's."""
    return _ports(access, manners, Journal(access.root))


def cluster_ports(access: Access, manners: Manners) -> Ports:
    """Ports for a command that works from anywhere: its journal is the node's for root, else the user's."""
    if access.root != "/" or os.geteuid() == 0:
        return node_ports(access, manners)
    return _ports(access, manners, Journal(home=_state_folder()))


def _state_folder() -> Path:
    """$XDG_STATE_HOME/aggctl, or ~/.local/state/aggctl; the standard has a relative one ignored."""
    named = os.environ.get("XDG_STATE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".local/state") / "aggctl" / "changes"


def _ports(access: Access, manners: Manners, journal: Journal) -> Ports:
    root = access.root
    if not Path(root).is_dir():
        raise Refused("no-root", f"there is no folder {root}", do="name the root of a node by --root DIR")
    files = Files(root)
    admin = next((path for each in ADMIN_CONFIGS if _is_there(path := files.host_path(each))), "")
    find = partial(find_credentials, access.kubeconfig, access.context, admin)
    cluster = Cluster(find, files, access.request_timeout)
    probes = Probes(root)

    def look(question: Question) -> Any:
        if isinstance(question, _OF_FILES):
            return files.look(question)
        if isinstance(question, Recorded):
            return _is_recorded(question, cluster, root)
        return cluster.look(question) if isinstance(question, _OF_CLUSTER) else probes.look(question)

    quiet = manners.quiet or manners.output is Output.json
    return Ports(
        look=look,
        files=files,
        objects=Objects(cluster, access.manager),
        journal=journal,
        clock=Clock(),
        progress=ConsoleProgress(manners.console(stderr=True), quiet=quiet),
        stop=Stop(),
        watch=partial(watching, cluster),
        hold=cluster.hold,
        logs=partial(_logs, cluster, root),
    )


def _is_recorded(question: Recorded, cluster: Cluster, root: str) -> Any:
    from aggctl.system.auditlog import is_recorded  # noqa: PLC0415 -- what only `aggctl audit` need pay

    return is_recorded(question, cluster, root)


def _logs(cluster: Cluster, root: str) -> Logs:
    from aggctl.system.logs import Logs  # noqa: PLC0415 -- 15 ms that only `aggctl logs` need pay

    return Logs(cluster, root)


def _is_there(path: str) -> bool:
    """Whether there is such a file; one that may not be seen is none."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def asker(manners: Manners) -> Callable[[Report], bool]:
    """Show the plan and ask; without a terminal only --yes is an answer."""

    def confirm(planned: Report) -> bool:
        talk = manners.console(stderr=True)
        terminal = sys.stdin is not None and sys.stdin.isatty()
        asks = terminal and not manners.yes  # nobody is asked about a plan that was not shown
        if asks or (manners.output is Output.text and not manners.quiet):
            with contextlib.suppress(OSError):
                render.show_report(planned, talk, verbose=manners.verbose)
        if manners.yes:
            return True
        if not terminal:
            raise Refused(
                "not-confirmed",
                "there is no terminal to ask on",
                expected="--yes, to apply without being asked",
                do="look at the plan by --dry-run, then run again with --yes",
            )
        talk.print("Apply? [y/N] ", end="", markup=False)
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            talk.print()  # Ctrl-D leaves the cursor behind the question
        return answer.strip().lower() in ("y", "yes")

    return confirm


def run_command(
    command: str, manners: Manners, work: Callable[[], Report], *, write: Callable[[], object] | None = None
) -> int:
    """Run a workflow, show what it reports or raises, and give the exit status.

    `write` writes another result than the report, where the report is no refusal.
    """
    try:
        report = work()
    except AggctlError as error:
        return _fail(command, manners, error)
    except KeyboardInterrupt:
        return _fail(
            command,
            manners,
            Interrupted("interrupted", "interrupted; nothing was changed", do="run it again"),
        )
    except NotKnown as error:
        return _fail(command, manners, trouble.not_known(error))
    except OSError as error:
        return _fail(command, manners, trouble.of_the_system(error))
    except Exception as error:  # noqa: BLE001 -- whatever it is, an operator gets a sentence
        return _fail(command, manners, trouble.defect(error))
    with trouble.result_written():
        if write and report.exit_status == 0:
            write()
        elif manners.output is Output.json:
            render.write_json(report)
        else:
            render.show_report(report, manners.console(stderr=False), verbose=manners.verbose)
    return report.exit_status


def _fail(command: str, manners: Manners, error: AggctlError) -> int:
    with trouble.result_written():
        if manners.output is Output.json:
            render.write_json(render.report_of_error(command, error))
        else:
            render.show_error(error, manners.console(stderr=True), verbose=manners.verbose)
    return error.exit_status
