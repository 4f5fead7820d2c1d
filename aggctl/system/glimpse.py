"""A glance at a cluster, for completion: names only, by plain credentials, in tens of milliseconds.

It goes by the standard library alone: urllib3 and what else asks a cluster here take 250 ms to load.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggctl.system.kubeconfig import Credentials

LIMIT = 8 * 1024 * 1024
"""Bytes of an answer that are read; a hundred APIServices with their CAs are 300 KB."""

_NAMES = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, application/json"


def aggregated_apis(credentials: Credentials, timeout: float) -> list[tuple[str, str]]:
    """The APIs that an extension server answers: VERSION.GROUP, and its Service.

    OSError, ValueError or HTTPException where no list comes back.
    """
    listed = _items(credentials, "/apis/apiregistration.k8s.io/v1/apiservices", timeout)
    return sorted(
        (str(each["metadata"]["name"]), f"{service.get('namespace')}/{service.get('name')}")
        for each in listed
        if (service := (each.get("spec") or {}).get("service"))
    )


def namespaces(credentials: Credentials, timeout: float) -> list[str]:
    """The namespaces of the cluster; raises as above."""
    return sorted(
        str(each["metadata"]["name"]) for each in _items(credentials, "/api/v1/namespaces", timeout)
    )


def _items(credentials: Credentials, path: str, timeout: float) -> Iterator[dict[str, Any]]:
    headers = {"Accept": _NAMES if path.endswith("namespaces") else "application/json"}
    if credentials.token:
        headers["Authorization"] = f"Bearer {credentials.token}"
    connection = _connection(credentials, timeout)
    try:
        connection.request("GET", urlsplit(credentials.server).path.rstrip("/") + path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(LIMIT)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(clean(body))
    found = json.loads(body)
    yield from found["items"]


def _connection(credentials: Credentials, timeout: float) -> http.client.HTTPConnection:
    """A connection that shows who we are, and verifies the server by the name that the kubeconfig says."""
    address = urlsplit(credentials.server)
    host = address.hostname or ""
    if address.scheme == "http":
        return http.client.HTTPConnection(host, address.port or 80, timeout=timeout)
    port, context = address.port or 443, credentials.context()
    connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    plain = socket.create_connection((host, port), timeout)
    connection.sock = context.wrap_socket(plain, server_hostname=credentials.server_name or host)
    return connection
