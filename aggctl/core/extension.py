"""What the user asks `register` for: names, where the server is, and how its certificate comes about."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from aggctl.core.text import clean
from aggctl.errors import UsageError

_VERSION = re.compile(r"v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE = re.compile(_LABEL)
_PORT = re.compile(r"[0-9]{1,5}")
_TLS_EXAMPLES = "self, secret=NAME, cert-manager=ISSUER, cert-manager=ISSUER/ClusterIssuer, insecure"
HIGHEST_PORT = 65535
LONGEST_NAME = 253
IN_CLUSTER_PORT = 443


@dataclass(frozen=True, slots=True)
class Api:
    """One version of a group."""

    version: str
    group: str

    @property
    def name(self) -> str:
        """The name of its APIService."""
        return f"{self.version}.{self.group}"

    @property
    def path(self) -> str:
        """Where it answers."""
        return f"/apis/{self.group}/{self.version}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the serving certificate comes from: self, secret, cert-manager, insecure; "" is not said.

    `name` is that of the Secret or the issuer, `kind` the issuer's.
    """

    mode: str = ""
    name: str = ""
    kind: str = "Issuer"


@dataclass(frozen=True, slots=True)
class ServiceAt:
    """A Service and the port by which an APIService reaches it."""

    namespace: str
    name: str
    port: int = IN_CLUSTER_PORT

    @property
    def dns(self) -> str:
        """The name that kube-apiserver verifies the server by."""
        return f"{self.name}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class PairPlace:
    """Where a server reads its serving pair: a Secret and its entries; "" for files outside the cluster."""

    secret: str
    certificate: str = "tls.crt"
    key: str = "tls.key"


NO_SECRET = PairPlace("")


@dataclass(frozen=True, slots=True)
class Image:
    """A server that is to run in the cluster."""

    image: str
    port: int = 6443
    replicas: int = 2
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    network_policy: bool = False


@dataclass(frozen=True, slots=True)
class External:
    """A server outside the cluster."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """An IP address, which a Service of type ExternalName cannot name."""
        return _is_address(self.host)


@dataclass(frozen=True, slots=True)
class Extension:
    """An API by flags: its versions, its Service, and what is behind it; None: a Service that is there."""

    apis: tuple[Api, ...]
    service: ServiceAt
    server: Image | External | None
    group_priority: int = 1000
    version_priority: int = 15


def parse_api(text: str) -> Api:
    """VERSION.GROUP as an Api; UsageError with the parts that are wrong."""
    version, _, group = text.partition(".")
    if not _VERSION.fullmatch(version):
        raise _no_api(text, f"{clean(version, 60)!r} is no version", "v1, v1beta1, v2alpha1 …")
    if "." not in group or not _SUBDOMAIN.fullmatch(group) or len(text) > LONGEST_NAME:
        raise _no_api(text, f"{clean(group, 80)!r} is no group of an extension", "a DNS name with a dot")
    return Api(version, group)


def parse_tls(text: str) -> Tls:
    """The value of --tls."""
    mode, _, value = text.partition("=")
    if mode in ("self", "insecure") and text == mode:
        return Tls(mode)
    if mode == "secret" and _SUBDOMAIN.fullmatch(value):
        return Tls(mode, value)
    issuer, _, kind = value.partition("/")
    if mode == "cert-manager" and _SUBDOMAIN.fullmatch(issuer) and kind in ("", "Issuer", "ClusterIssuer"):
        return Tls(mode, issuer, kind or "Issuer")
    raise UsageError(
        "tls-not-understood",
        f"--tls {clean(text, 80)} is none of the ways to a certificate",
        expected=_TLS_EXAMPLES,
        do="for example: --tls self",
    )


def parse_service(text: str) -> ServiceAt:
    """NAMESPACE/NAME[:PORT]."""
    namespace, _, rest = text.partition("/")
    name, colon, port = rest.partition(":")
    if not (_NAMESPACE.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise _usage(
            "service-not-understood", f"--service {clean(text, 80)} names no Service", "NS/NAME[:PORT]"
        )
    return ServiceAt(namespace, name, parse_port(port, f"--service {text}") if colon else IN_CLUSTER_PORT)


def parse_external(text: str) -> External:
    """HOST:PORT, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (_is_address(bare) or _SUBDOMAIN.fullmatch(bare)) or (":" in bare and bare == host):
        raise _usage("external-not-understood", f"--external {clean(text, 80)} is no HOST:PORT", "HOST:PORT")
    return External(bare, parse_port(port, f"--external {text}"))


def parse_namespace(text: str) -> str:
    """A namespace: one DNS label."""
    if not _NAMESPACE.fullmatch(text):
        raise _usage(
            "name-not-valid",
            f"--namespace {clean(text, 80)} is no name for a namespace",
            "lower-case letters, digits and -, at most 63",
        )
    return text


def parse_name(text: str, option: str) -> str:
    """A name for objects: one DNS label, as Services want it."""
    if not _NAME.fullmatch(text):
        raise _usage(
            "name-not-valid",
            f"{option} {clean(text, 80)} is no name for a Service",
            "lower-case letters, digits and -, beginning with a letter, at most 63",
        )
    return text


def parse_environment(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise _usage("environment-not-understood", f"--env {clean(text, 80)} sets nothing", "NAME=VALUE")
    return name, value


def name_of_image(image: str) -> str:
    """What a server is called that has no name yet: the last part of its image, without tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).lstrip("-0123456789")[:40].rstrip("-") or "extension"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_port(text: str, option: str) -> int:
    """A port."""
    if not (_PORT.fullmatch(text) and 0 < int(text) <= HIGHEST_PORT):
        raise _usage("port-not-valid", f"{clean(option, 80)}: {clean(text, 20)!r} is no port", "1 to 65535")
    return int(text)


def _usage(code: str, message: str, expected: str) -> UsageError:
    return UsageError(code, message, expected=expected, do="aggctl register --help shows examples")


def _no_api(text: str, found: str, expected: str) -> UsageError:
    return UsageError(
        "api-name-not-valid",
        f"{clean(text, 120)!r} is no VERSION.GROUP",
        found=found,
        expected=expected,
        do="write it as in v1beta1.custom.metrics.k8s.io",
    )
