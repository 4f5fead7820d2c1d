"""What stands in the way of switching the layer on, in an operator's words; `need` decides when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core import flags as f
from aggctl.core.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.core.layer_files import LayerFiles
    from aggctl.core.node import Node


def another(files: LayerFiles, message: str) -> Finding:
    """Two front-proxy CAs in one cluster would come of it."""
    return Finding(
        code="another-ca-published",
        severity="error",
        subject=files.ca_at.host,
        message=message,
        expected="one front-proxy CA for the whole cluster",
        fix="on a node that has it: aggctl certs export --upload; here: aggctl enable --certificate-key KEY "
        "(or as files: aggctl enable --ca-from DIR)",
    )


def orphan(files: LayerFiles) -> Finding:
    """A leaf whose CA is gone."""
    return Finding(
        code="client-certificate-of-another-ca",
        severity="error",
        subject=files.certificate_at.host,
        message=f"the CA that signed it is not at {files.ca_at.host}, and a new one would not fit it",
        expected=files.certificate.issuer if files.certificate else "",
        fix="put the CA back, or issue a new CA and a new pair by: aggctl enable --repair",
    )


def api_needed(files: LayerFiles) -> Finding:
    """A CA must not be made while nobody knows whether there is one."""
    return Finding(
        code="apiserver-not-reachable",
        severity="error",
        subject=files.ca_at.host,
        message="a new CA is needed, and while the API is silent nobody knows whether there is one",
        expected="a kube-apiserver that answers",
        fix="start kube-apiserver first, or give the CA by --ca-from DIR",
    )


def key_without_ca(files: LayerFiles) -> Finding:
    """The CA's key without its certificate."""
    return Finding(
        code="front-proxy-ca-missing",
        severity="error",
        subject=files.ca_key_at,
        message=f"the CA's key is there and its certificate {files.ca_at.host} is not",
        expected="both or none",
        fix=f"put the certificate back, or move {files.ca_key_at} away",
    )


def no_ca_key(files: LayerFiles, *, given: bool) -> Finding:
    """A leaf is to be issued and the key for it is elsewhere."""
    mismatch = files.ca_key is not None and files.authorities
    return Finding(
        code="front-proxy-ca-key-mismatch" if mismatch else "front-proxy-ca-key-missing",
        severity="error",
        subject=files.ca_key_at,
        message="a client certificate is needed, and the key on this node is not the front-proxy CA's"
        if mismatch
        else "a client certificate is needed, and the CA is managed elsewhere: its key is not here",
        expected=f"{files.certificate_at.host} and {files.key_at.host}, signed by that CA",
        fix="put the pair there, or give the CA with its key by --ca-from DIR"
        if not given
        else "put the CA's key beside its certificate in the folder that --ca-from names",
    )


def name_not_allowed(node: Node, files: LayerFiles, name: str) -> Finding:
    """The CN of the leaf is not on the list."""
    return Finding(
        code="client-name-not-allowed",
        severity="error",
        subject=files.certificate_at.host,
        message=f"its CN {name} is not among --{f.NAMES}={','.join(node.layer.names or ())}",
        expected="the CN among the allowed names; a SAN does not count",
        fix="aggctl enable --repair     (adds the name)",
    )


def nameless(node: Node, files: LayerFiles) -> Iterator[Finding]:
    """A leaf without a CN."""
    if files.certificate and not files.certificate.common_name and node.layer.names != ():
        yield Finding(
            code="client-name-not-allowed",
            severity="error",
            subject=files.certificate_at.host,
            message=f"it has no CN, so that no --{f.NAMES} can allow it",
            expected="a CN; a SAN does not count",
            fix="aggctl enable --repair     (issues a new pair)",
        )


def any_name(node: Node) -> Finding:
    """The list of allowed names is empty on this node."""
    return Finding(
        code="allowed-names-empty",
        severity="warning",
        subject=node.manifest.path,
        message=f"--{f.NAMES} is empty: every certificate of the front-proxy CA may name any user",
        fix="aggctl explain allowed-names-empty",
    )


def any_name_elsewhere(node: Node) -> Finding:
    """The list of allowed names is empty on the other nodes."""
    return Finding(
        code="allowed-names-empty",
        severity="warning",
        subject=node.manifest.path,
        message="the other nodes allow any name; a name set here would narrow the list for all of them",
        fix="aggctl explain allowed-names-empty",
    )
