"""Credentials for a cluster: read here where they are plain certificates or tokens, else by `kubernetes`.

Plain ones are the rule on a control-plane node, and reading them takes 20 ms where importing the `kubernetes`
package takes 300. Exec plug-ins, OIDC, in-cluster files and lists of kubeconfigs are that package's work.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggctl.core.text import clean
from aggctl.core.typed import NotTyped, hold
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT, VALUES = 2 * 1024 * 1024, 50_000
"""Bytes, and signs that a value begins with; two thousand clusters have fewer."""

_TEXTS = {
    "current-context": str,
    "contexts": [{"name": str, "context": {"cluster": str, "user": str}}],
    "clusters": [{"name": str, "cluster": {"server": str, "tls-server-name": str}}],
    "users": [{"name": str, "user": {"token": str}}],
}
"""An alias may stand for a list of lists of lists without end, which no text is to be made of."""

_TOKEN_NAMES = ("BearerToken", "authorization")
"""What the `kubernetes` package calls a token: newer versions the first, older ones the second."""

_SCHEME = re.compile("^bearer ", re.IGNORECASE)
"""What it puts before a token: `Bearer ` from a kubeconfig, `bearer ` from a Pod's files."""

_ERRNO = re.compile(r"^\[Errno \d+\] ")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach a cluster and who to be there. `source` says for people where this came from."""

    source: str
    server: str
    authority: bytes
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    insecure: bool = False
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """A TLS context that verifies the server, and shows our certificate where there is one."""
        return tls_context(self.authority, self.certificate, self.key, insecure=self.insecure)


def tls_context(
    authority: bytes, certificate: bytes = b"", key: bytes = b"", *, insecure: bool = False
) -> ssl.SSLContext:
    """A TLS context from PEM in memory; the key goes to OpenSSL through a memory file, never a disk."""
    if insecure:  # the system's own CAs, 25 ms to read, would verify nothing
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.create_default_context(
            cadata=authority.decode("ascii", "ignore") if authority else None  # PEM may hold remarks
        )
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # as in Go; Debian's Python would go below
    # Kubernetes' own CAs carry no Authority Key Identifier, which this flag would demand from Python 3.13 on.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go: what is trusted may be no root
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        with _memory_file(certificate) as public, _memory_file(key) as private:
            context.load_cert_chain(public, private)
    return context


def find_credentials(kubeconfig: str, context: str, node_config: str) -> Credentials:
    """The credentials that are meant: the option, $KUBECONFIG, this node's admin.conf, then kubectl's own.

    Refused where there are none, or where a file is none; the sentence names the file.
    """
    chosen = _chosen(kubeconfig, node_config)
    if chosen and os.pathsep not in chosen:
        return _read(chosen, context) or _by_library(chosen, context)
    default = _default()
    if not chosen and default.exists():
        return _read(str(default), context) or _by_library(str(default), context)
    return _by_library(chosen, context)


def plain_credentials(kubeconfig: str, context: str, node_config: str) -> Credentials | None:
    """The same where a single file holds them as certificates or a token: nothing is run, nobody is asked."""
    chosen = _chosen(kubeconfig, node_config) or str(_default())
    return None if os.pathsep in chosen else _read(chosen, context)


def context_names(kubeconfig: str, node_config: str) -> list[str]:
    """The contexts of the files that are meant; one that cannot be read has none."""
    found: dict[str, None] = {}
    for path in (_chosen(kubeconfig, node_config) or str(_default())).split(os.pathsep):
        with contextlib.suppress(Refused, KeyError, TypeError):
            found |= {str(each["name"]): None for each in _parse(path)["contexts"]}
    return list(found)


def _chosen(kubeconfig: str, node_config: str) -> str:
    """The option, $KUBECONFIG, or this node's admin.conf; empty where none of them is there."""
    chosen = kubeconfig or os.environ.get("KUBECONFIG", "")
    return chosen or (node_config if node_config and Path(node_config).exists() else "")


def _default() -> Path:
    return Path.home() / ".kube" / "config"


def _read(path: str, wanted: str) -> Credentials | None:
    """A kubeconfig whose user is certificates or a token; None where it needs the library."""
    data = _parse(path)
    try:
        hold(data, _TEXTS)
        contexts = {each["name"]: each["context"] for each in data["contexts"]}
        name = wanted or data["current-context"]
        if name not in contexts:
            raise _broken(
                path, f"it has no context {clean(name, 60)!r}", "name one of its contexts by --context"
            )
        cluster = _named(data["clusters"], contexts[name]["cluster"], "cluster")
        user = _named(data["users"], contexts[name]["user"], "user")
        if set(user) - {
            "client-certificate-data",
            "client-key-data",
            "client-certificate",
            "client-key",
            "token",
        }:
            return None
        if set(cluster) & {"proxy-url"}:
            return None
        folder = Path(path).parent
        return Credentials(
            source=path,
            server=_address(path, str(cluster["server"])),
            authority=_part(cluster, "certificate-authority", folder),
            certificate=_part(user, "client-certificate", folder),
            key=_part(user, "client-key", folder),
            token=str(user.get("token", "")),
            insecure=str(cluster.get("insecure-skip-tls-verify")).lower() == "true",
            server_name=str(cluster.get("tls-server-name", "")),
        )
    except KeyError as error:
        raise _broken(path, f"it has no {clean(str(error.args[0]), 60)}") from error
    except (TypeError, AttributeError) as error:
        raise _broken(path, "it has not the shape of a kubeconfig") from error
    except NotTyped as error:
        raise _broken(path, f"it has not the shape of a kubeconfig: {error}") from error
    except binascii.Error as error:
        raise _broken(path, f"its data is no base64 ({error})") from error
    except ValueError as error:
        raise _broken(path, "a path in it is none") from error
    except OSError as error:
        raise _broken(path, f"{error.filename}: {error.strerror}") from error


def _address(path: str, server: str) -> str:
    if not server.startswith(("https://", "http://")):
        raise _broken(path, f"its server {clean(server, 80)!r} is no https:// address")
    return server.rstrip("/")


def _parse(path: str) -> Any:
    try:
        with Path(path).open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise _broken(path, f"{error.strerror}") from error
    if len(content) > LIMIT:
        raise _broken(path, "it is larger than 2 MiB, so it is no kubeconfig")
    if not content.strip():
        raise _broken(path, "it is empty")
    if sum(map(content.count, (b"\n", b",", b"[", b"{"))) > VALUES:
        raise _broken(path, "it holds more than any kubeconfig")
    return _parse_yaml(path, content)


def _parse_yaml(path: str, content: bytes) -> Any:
    """Mappings, lists and texts, as a context may be called 1.30; ruamel would take 12 times as long."""
    import yaml  # noqa: PLC0415 -- 11 ms that --help need not pay

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return yaml.load(content, loader)  # noqa: S506 -- it makes nothing but these
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _broken(path, "it is no YAML") from error


def _named(entries: Any, name: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] | None = next((each[kind] for each in entries if each["name"] == name), None)
    if found is None:
        raise KeyError(f"{kind} {name!r}, which its context names")
    return found


def _part(entry: dict[str, Any], name: str, folder: Path) -> bytes:
    if entry.get(f"{name}-data"):
        return base64.b64decode(str(entry[f"{name}-data"]).encode("utf-8", "replace"), validate=True)
    return (folder / entry[name]).read_bytes() if entry.get(name) else b""


def _broken(path: str, why: str, do: str = "") -> Refused:
    return Refused(
        "kubeconfig-not-usable",
        f"the kubeconfig {path} cannot be used: {why}",
        do=do or "give a good one by --kubeconfig FILE (on a control-plane node: /etc/kubernetes/admin.conf)",
    )


def _by_library(chosen: str, context: str) -> Credentials:
    from kubernetes import client, config  # noqa: PLC0415 -- 300 ms, only where its plug-ins are needed

    configuration = client.Configuration()
    in_pod = not chosen and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    try:
        with _logged() as logged:
            if in_pod:
                load: Any = config.load_incluster_config  # the package has no types
                load(configuration)
            else:
                load = config.load_kube_config
                load(chosen or None, context or None, configuration, persist_config=False)
    except config.ConfigException as error:
        raise Refused(
            "kubeconfig-missing",
            f"no kubeconfig was found ({clean(str(error), 120)})" if chosen else "no kubeconfig was found",
            found="" if chosen else "neither --kubeconfig nor $KUBECONFIG, no admin.conf, no ~/.kube/config",
            do="give one by --kubeconfig FILE (on a control-plane node: /etc/kubernetes/admin.conf)",
        ) from error
    except OSError:
        raise
    except Exception as error:  # of whatever kind a file of another shape makes that package raise
        raise _broken(chosen or str(_default()), "the kubernetes package cannot read it") from error
    authorization = next(filter(None, map(configuration.get_api_key_with_prefix, _TOKEN_NAMES)), "")
    if (said := logged.getvalue()) and not (authorization or configuration.cert_file):
        raise _no_credentials(chosen or str(_default()), said)
    return Credentials(
        source=chosen or ("the Pod's ServiceAccount" if in_pod else "the default kubeconfig"),
        server=str(configuration.host).rstrip("/"),
        authority=_file(configuration.ssl_ca_cert),
        certificate=_file(configuration.cert_file),
        key=_file(configuration.key_file),
        token=_SCHEME.sub("", str(authorization)),
        insecure=not configuration.verify_ssl,
        server_name=str(getattr(configuration, "tls_server_name", "") or ""),
    )


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    """What the package says of a plug-in that failed: it goes on without, and would print it as it is."""
    import logging  # noqa: PLC0415 -- the package loads it, and nobody else

    words = io.StringIO()
    handler = logging.StreamHandler(words)
    logging.getLogger().addHandler(handler)
    try:
        yield words
    finally:
        logging.getLogger().removeHandler(handler)


def _no_credentials(path: str, said: str) -> Refused:
    from aggctl.core.secrets_out import without_secrets  # noqa: PLC0415 -- patterns that nobody else needs

    return Refused(
        "credential-plugin-failed",
        f"the plug-in that the kubeconfig {path} names gave no credentials",
        found=clean(without_secrets(_ERRNO.sub("", said))),
        do="run the command of users[].user.exec in it by hand, and log in as it says",
    )


def _file(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""


@contextlib.contextmanager
def _memory_file(content: bytes) -> Any:
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
