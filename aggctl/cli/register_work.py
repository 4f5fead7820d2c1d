"""From what was typed at `aggctl register` to a request, and from that to the workflow."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggctl.cli import options as o
from aggctl.cli.wiring import Access, Manners, asker, cluster_ports, run_command
from aggctl.core import extension as e
from aggctl.core.apiservers import addresses
from aggctl.core.cluster_view import reads_endpoints
from aggctl.core.manifestset.apiservice import PRIORITIES
from aggctl.core.manifestset.order import in_namespace
from aggctl.core.manifestset.reader import read_set
from aggctl.core.register.objects import ANYWHERE, Surroundings
from aggctl.core.register.request import Request, of_files, of_flags
from aggctl.core.register.sight import Wanted
from aggctl.core.report import Report
from aggctl.core.text import clean
from aggctl.errors import Refused, UsageError
from aggctl.system.pairs import PairFolder
from aggctl.workflows.observe import settle
from aggctl.workflows.register import Manner
from aggctl.workflows.register import register as register_apis
from aggctl.workflows.unregister import unregister as unregister_apis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.system.ports import Ports

READ_LIMIT = 2 * 1024 * 1024
ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Typed:
    """The options of `register`, as they were typed."""

    apis: tuple[str, ...]
    filenames: tuple[str, ...]
    image: str
    service: str
    external: str
    namespace: str
    name: str
    port: str
    replicas: int
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    network_policy: bool
    tls: str
    cert_out: str
    with_rbac: bool
    group_priority: int
    version_priority: int
    take_over: bool
    force_conflicts: bool
    timeout: str

    @property
    def how(self) -> e.Tls:
        """The way to a certificate: by flags aggctl's own, for the user's files what they say."""
        if not self.tls:
            return e.Tls("" if self.filenames else "self")
        return e.parse_tls(self.tls)


def register(
    typed: Typed, typed_access: o.TypedAccess, manners: Manners, *, dry_run: bool, wait: bool
) -> int:
    """Register, and say what became of it."""

    def work() -> Report:
        request = _request(typed, ANYWHERE)
        if request.errors:
            return Report("register", "refused", findings=request.findings)
        access = Access(*typed_access.checked())
        ports = cluster_ports(access, manners)
        pairs = PairFolder(typed.cert_out) if typed.cert_out else None
        outside = pairs.read() if pairs else None
        if typed.network_policy:
            request = _request(typed, _control_plane(ports))
        elif typed.external and e.parse_external(typed.external).is_address:
            request = _request(typed, _aggregator(ports))
        wanted = Wanted(
            objects=request.objects,
            tls=typed.how,
            namespace=typed.namespace,
            places=request.places,
            outside=outside,
            folder=pairs is not None,
            notes=request.findings,
            take_over=typed.take_over,
            force_conflicts=typed.force_conflicts,
            deadline=o.seconds(typed.timeout),
            manager=access.manager,
        )
        return register_apis(ports, wanted, Manner(dry_run, asker(manners), manners.yes, wait, pairs))

    return run_command("register", manners, work)


def print_objects(typed: Typed, typed_access: o.TypedAccess, manners: Manners, *, dry_run: bool) -> int:
    """Write the objects for Git: in their order, the same bytes each time, without certificates."""
    found: list[Request] = []

    def work() -> Report:
        if not dry_run:
            raise UsageError(
                "yaml-without-dry-run",
                "-o yaml prints the objects and applies none, which --dry-run has to say as well",
                expected="--dry-run -o yaml to print them, or no -o yaml to apply them",
                do="aggctl register … --dry-run -o yaml",
            )
        request = _request(typed, ANYWHERE)
        if typed.network_policy and not request.errors:
            request = _request(typed, _control_plane(cluster_ports(Access(*typed_access.checked()), manners)))
        found.append(request)
        outcome = "refused" if request.errors else "planned"
        return Report("register", outcome, findings=request.errors)

    return run_command("register", manners, work, write=lambda: sys.stdout.write(_as_yaml(found[0], typed)))


def unregister(
    names: tuple[str, ...],
    typed_access: o.TypedAccess,
    manners: Manners,
    *,
    stale: bool,
    timeout: str,
    dry_run: bool,
) -> int:
    """Take APIs away, and say what went."""

    def work() -> Report:
        apis = tuple(dict.fromkeys(e.parse_api(name).name for name in names))
        if not apis and not stale:
            raise _usage(
                "api-name-missing", "no API is named", "VERSION.GROUP, or --stale for all that are stale"
            )
        ports = cluster_ports(Access(*typed_access.checked()), manners)
        manner = Manner(dry_run, asker(manners), manners.yes)
        return unregister_apis(ports, apis, manner, stale=stale, deadline=o.seconds(timeout))

    return run_command("unregister", manners, work)


def _aggregator(ports: Ports) -> Surroundings:
    """From what it takes the address of a server outside the cluster."""
    found, _ = settle(lambda snapshot: reads_endpoints(snapshot, ports.objects.server), ports.look)
    return Surroundings(reads_endpoints=found)


def _control_plane(ports: Ports) -> Surroundings:
    """The addresses that a network policy admits."""
    found, _ = settle(lambda snapshot: addresses(snapshot, ports.objects.server), ports.look)
    if not found:
        raise Refused(
            "control-plane-unknown",
            "the cluster does not tell at which addresses its kube-apiservers are",
            expected="EndpointSlice default/kubernetes, or Leases of kube-system",
            do="leave --network-policy out, and write one with your control plane's addresses",
        )
    return Surroundings(control_plane=found)


# --- what was typed --------------------------------------------------------------------------------------


def _request(typed: Typed, around: Surroundings) -> Request:
    """The request; UsageError where the options do not go together."""
    ways = [name for name in ("filenames", "image", "service", "external") if getattr(typed, name)]
    if len(ways) != 1:
        raise _usage(
            "way-not-understood",
            f"{' and '.join(_OPTIONS[way] for way in ways)} exclude each other"
            if ways
            else "nothing says where the server is",
            "one of --image, --service, --external, -f",
        )
    if "" in typed.filenames:
        raise _usage("way-not-understood", "-f names no file", "a file, a folder, or - for standard input")
    _refuse_without_effect(typed, ways[0])
    e.parse_namespace(typed.namespace)
    if typed.filenames:
        if typed.apis:
            raise _usage(
                "way-not-understood", "with -f the APIs are those of the files", "no VERSION.GROUP with -f"
            )
        items = in_namespace(read_set(_sources(typed.filenames)), typed.namespace)
        return of_files(items, typed.how, with_rbac=typed.with_rbac)
    return of_flags(_extension(typed), typed.how, around)


_OPTIONS = {"filenames": "-f", "image": "--image", "service": "--service", "external": "--external"}
_ONLY_WITH = {
    "name": ("image", "external"),
    "port": ("image",),
    "replicas": ("image",),
    "arguments": ("image",),
    "environment": ("image",),
    "network_policy": ("image",),
    "cert_out": ("external",),
    "with_rbac": ("filenames",),
    "group_priority": ("image", "service", "external"),
    "version_priority": ("image", "service", "external"),
}
_DEFAULTS = {"port": "6443", "replicas": 2, "group_priority": 1000, "version_priority": 15}
_SPELT = {"arguments": "--arg", "environment": "--env"}


def _refuse_without_effect(typed: Typed, way: str) -> None:
    """An option that would be passed over in silence was meant for something."""
    for name, ways in _ONLY_WITH.items():
        value = getattr(typed, name)
        if value and value != _DEFAULTS.get(name) and way not in ways:
            option = _SPELT.get(name, f"--{name.replace('_', '-')}")
            raise _usage(
                "option-without-effect",
                f"{option} has no effect with {_OPTIONS[way]}",
                f"{option} with {' or '.join(_OPTIONS[each] for each in ways)}",
            )


def _extension(typed: Typed) -> e.Extension:
    apis = tuple(dict.fromkeys(e.parse_api(text) for text in typed.apis))
    if not apis:
        raise _usage("api-name-missing", "no API is named", "VERSION.GROUP, as v1beta1.custom.metrics.k8s.io")
    if len({api.group for api in apis}) > 1:
        raise _usage(
            "several-groups", "the APIs are of several groups", "versions of one group; one command a group"
        )
    service, server = _server(typed, apis[0])
    for option, value, highest in (
        ("--group-priority", typed.group_priority, PRIORITIES["groupPriorityMinimum"]),
        ("--version-priority", typed.version_priority, PRIORITIES["versionPriority"]),
    ):
        if not 1 <= value <= highest:
            raise _usage("apiservice-priority", f"{option} {value} is out of range", f"1 to {highest}")
    return e.Extension(apis, service, server, typed.group_priority, typed.version_priority)


def _server(typed: Typed, api: e.Api) -> tuple[e.ServiceAt, e.Image | e.External | None]:
    if typed.service:
        if typed.how.mode == "cert-manager":
            raise _usage(
                "way-not-understood",
                "--tls cert-manager has to know which Secret the server reads, and --service does not tell",
                "--image or -f with cert-manager; or --tls secret=NAME, the Secret that cert-manager fills",
            )
        return e.parse_service(typed.service), None
    default = e.name_of_image(typed.image) if typed.image else e.name_of_image(api.group.replace(".", "-"))
    namespace, name = typed.namespace, e.parse_name(typed.name or default, "--name")
    if typed.external:
        external = e.parse_external(typed.external)
        port = e.IN_CLUSTER_PORT if external.is_address else external.port
        return e.ServiceAt(namespace, name, port), external
    image = e.Image(
        typed.image,
        e.parse_port(typed.port, "--port"),
        typed.replicas,
        typed.arguments,
        tuple(e.parse_environment(text) for text in typed.environment),
        typed.network_policy,
    )
    return e.ServiceAt(namespace, name), image


def _sources(names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Files, the manifests right below folders, and standard input."""
    for name in names:
        if name == "-":
            yield "standard input", _bounded(sys.stdin.buffer)
            continue
        path = Path(name)
        try:
            for each in _manifests(path) if path.is_dir() else [path]:
                _refuse_special(each)
                with each.open("rb") as file:
                    yield str(each), _bounded(file)
        except OSError as error:
            raise Refused(
                "file-not-readable",
                f"{clean(str(error.filename or name))} cannot be read: {error.strerror or error}",
                expected="a file or folder of manifests that you may read, or - for standard input",
                do=f"ls -ld {clean(name)}",
            ) from error


def _manifests(folder: Path) -> list[Path]:
    """The files right below a folder that are called as manifests are."""
    found = sorted(each for each in folder.iterdir() if each.suffix in ENDINGS and not _is_special(each))
    if not found:
        raise Refused(
            "no-manifests",
            f"no manifests are in {clean(str(folder))}",
            expected="files *.yaml, *.yml or *.json",
            do="name the files by -f FILE",
        )
    return found


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _refuse_special(path: Path) -> None:
    """A pipe that nobody writes into, or a device, might be read for ever."""
    if _is_special(path):
        raise Refused(
            "manifests-not-a-file",
            f"{clean(str(path))} is a pipe or a device, no file",
            expected="a file or folder of manifests, or - for standard input",
            do="helm template … | aggctl register -f -",
        )


def _bounded(file: Any) -> bytes:
    content: bytes = file.read(READ_LIMIT + 1)
    return content


def _usage(code: str, message: str, expected: str) -> UsageError:
    return UsageError(code, message, expected=expected, do="aggctl register --help shows examples")


# --- for Git ---------------------------------------------------------------------------------------------


def _as_yaml(request: Request, typed: Typed) -> str:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- only here, 35 ms

    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    for line in _remarks(typed):
        text.write(f"# {line}\n")
    for each in request.objects:
        text.write("---\n")
        writer.dump(each, text)
    return text.getvalue()


def _remarks(typed: Typed) -> tuple[str, ...]:
    """Where the certificate comes from; here it would be another one each time, and hold a key."""
    match typed.how.mode:
        case "insecure":
            return ("The serving certificate is not verified (insecureSkipTLSVerify).",)
        case "cert-manager":
            return ("cert-manager issues the serving certificate and fills in caBundle.",)
        case "secret":
            return (
                f"The serving certificate is in Secret {typed.how.name}; aggctl register fills in caBundle.",
            )
    return (
        "The serving certificate is not here: aggctl register makes it (Secret *-tls) and fills in caBundle,",
        "as field manager aggctl, so that applying this file does not take it away again.",
    )
