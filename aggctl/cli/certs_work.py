"""What `aggctl certs` does with what was typed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from aggctl.cli import options as o
from aggctl.cli.given_ca import ca_in, ca_of
from aggctl.cli.outfile import write_gauges
from aggctl.cli.wiring import Access, asker, cluster_ports, node_ports, run_command
from aggctl.core.certs.words import metrics
from aggctl.core.extension import parse_api
from aggctl.errors import UsageError
from aggctl.system.pairs import CaFolder, PairFolder
from aggctl.workflows.ca_stages import Wishes
from aggctl.workflows.certs_list import certs_list
from aggctl.workflows.rotate_ca import preflight
from aggctl.workflows.rotate_ca import rotate_ca as replace_ca
from aggctl.workflows.rotate_client import rotate_client as renew
from aggctl.workflows.rotate_due import rotate_due as renew_due
from aggctl.workflows.rotate_serving import rotate_serving as renew_serving
from aggctl.workflows.transfer import export_files, export_sealed, import_pair

if TYPE_CHECKING:
    from aggctl.cli.wiring import Manners
    from aggctl.core.report import Report


def show_list(typed: o.TypedAccess, manners: Manners, *, expiring: str | None, prometheus: str | None) -> int:
    """List what there is; for Prometheus into a file as well."""

    def work() -> Report:
        within = None if expiring is None else timedelta(seconds=o.seconds(expiring))
        report, inventory = certs_list(cluster_ports(Access(*typed.checked()), manners), within)
        if prometheus is not None:
            write_gauges(prometheus, metrics(inventory))
        return report

    return run_command("certs list", manners, work)


def rotate_client(typed: o.TypedAccess, manners: Manners, wishes: TypedWishes, *, dry_run: bool) -> int:
    """Renew the front-proxy client certificate of this node."""

    def work() -> Report:
        wanted, ports = wishes.checked(), node_ports(Access(*typed.checked()), manners)
        return renew(
            ports,
            asker(manners),
            dry_run=dry_run,
            deadline=wanted.deadline,
            algorithm=wanted.algorithm,
            restart=wanted.restart,
            lock=wanted.lock,
        )

    return run_command("certs rotate client", manners, work)


@dataclass(frozen=True, slots=True)
class TypedServing:
    """How serving certificates are to be renewed, as it was typed."""

    cert_out: str
    timeout: str
    lock: bool = True


def rotate_serving(
    names: tuple[str, ...],
    typed: o.TypedAccess,
    manners: Manners,
    options: TypedServing,
    *,
    dry_run: bool,
) -> int:
    """Renew the serving certificates of APIs."""

    def work() -> Report:
        apis = tuple(dict.fromkeys(parse_api(name).name for name in names))
        ports = cluster_ports(Access(*typed.checked()), manners)
        return renew_serving(
            ports,
            apis,
            asker(manners),
            pairs=PairFolder(options.cert_out) if options.cert_out else None,
            dry_run=dry_run,
            deadline=o.some_seconds(options.timeout, "--timeout"),
            lock=options.lock,
        )

    return run_command("certs rotate serving", manners, work)


@dataclass(frozen=True, slots=True)
class TypedWishes:
    """How a CA is to be replaced, as it was typed."""

    algorithm: str
    timeout: str
    until: str = "retired"
    again: bool = False
    force: bool = False
    wait: bool = False
    soak: str = "0s"
    emergency: bool = False
    restart: bool = False
    lock: bool = True

    def checked(self) -> Wishes:
        """The same, understood; UsageError where it is not."""
        return Wishes(
            deadline=o.some_seconds(self.timeout, "--timeout"),
            until=self.until,
            again=self.again,
            algorithm=o.known_algorithm(self.algorithm),
            force=self.force,
            wait=self.wait,
            soak=0.0 if self.emergency else o.seconds(self.soak),
            emergency=self.emergency,
            restart=self.restart,
            lock=self.lock,
        )


def rotate_ca(
    typed: o.TypedAccess, manners: Manners, wishes: TypedWishes, certificate_key: str, *, dry_run: bool
) -> int:
    """Replace the front-proxy CA, as far as is safe now."""

    def work() -> Report:
        wanted, ports = wishes.checked(), node_ports(Access(*typed.checked()), manners)
        given = ca_of(ports, certificate_key)
        return replace_ca(ports, wanted, asker(manners), dry_run=dry_run, given=given)

    return run_command("certs rotate ca", manners, work)


def preflight_ca(typed: o.TypedAccess, manners: Manners) -> int:
    """Name who would hold a replacement of the CA."""

    def work() -> Report:
        return preflight(node_ports(Access(*typed.checked()), manners))

    return run_command("certs rotate ca", manners, work)


def rotate_due(
    typed: o.TypedAccess,
    manners: Manners,
    wishes: TypedWishes,
    *,
    within: str,
    cert_out: str,
    dry_run: bool,
) -> int:
    """Renew whatever expires soon."""

    def work() -> Report:
        return renew_due(
            cluster_ports(Access(*typed.checked()), manners),
            timedelta(seconds=o.seconds(within)),
            wishes.checked(),
            asker(manners),
            pairs=PairFolder(cert_out) if cert_out else None,
            dry_run=dry_run,
        )

    return run_command("certs rotate due", manners, work)


def export(typed: o.TypedAccess, manners: Manners, *, folder: str | None, upload: bool) -> int:
    """Hand the CA to other nodes: as files, or encrypted in the cluster."""

    def work() -> Report:
        if upload == bool(folder):
            raise UsageError(
                "export-where",
                "it is not said where to put the CA" if not folder else "both DIR and --upload are given",
                expected="a folder, or --upload",
                do="aggctl certs export --upload",
            )
        ports = node_ports(Access(*typed.checked()), manners)
        return export_files(ports, CaFolder(folder)) if folder else export_sealed(ports)

    return run_command("certs export", manners, work)


def import_ca(typed: o.TypedAccess, manners: Manners, *, folder: str) -> int:
    """Take the new CA that another node exported."""

    def work() -> Report:
        ports = node_ports(Access(*typed.checked()), manners)
        with ports.journal.locked():
            return import_pair(ports, ca_in(folder))

    return run_command("certs import", manners, work)
