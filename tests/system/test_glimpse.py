"""The glance at a cluster for completion: names only, and an exception from whatever is no list."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from aggctl.system import glimpse
from aggctl.system.glimpse import aggregated_apis, namespaces
from aggctl.system.kubeconfig import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0
LISTED = {
    "items": [
        {"metadata": {"name": "v1.b"}, "spec": {"service": {"namespace": "n", "name": "s"}}},
        {"metadata": {"name": "v1.apps"}, "spec": {}},
        {"metadata": {"name": "v1.a"}, "spec": {"service": {"namespace": "n", "name": "t"}}},
        {"metadata": {"name": "v1.none"}},
    ]
}


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """A server that answers every request so; gives its address and what it was asked."""
    asked: list[BaseHTTPRequestHandler] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self)
            self.send_response(status)
            self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def credentials(server: str) -> Credentials:
    return Credentials("a file", server, b"", token="secret")  # noqa: S106 -- nobody's


def test_apis_that_a_service_answers_are_listed_by_name_with_their_services() -> None:
    with answering(200, json.dumps(LISTED).encode()) as (server, _):
        assert aggregated_apis(credentials(server), PATIENCE) == [("v1.a", "n/t"), ("v1.b", "n/s")]


def test_namespaces_are_listed_by_name() -> None:
    with answering(200, json.dumps(LISTED).encode()) as (server, _):
        assert namespaces(credentials(server), PATIENCE) == ["v1.a", "v1.apps", "v1.b", "v1.none"]


def test_the_token_is_shown_and_the_path_of_a_proxy_is_kept() -> None:
    with answering(200, b'{"items": []}') as (server, asked):
        namespaces(credentials(f"{server}/k8s/clusters/c-1"), PATIENCE)
    (request,) = asked
    assert request.path == "/k8s/clusters/c-1/api/v1/namespaces"
    assert request.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b'{"items": ['),
        (401, b'{"kind": "Status"}'),
        (302, b""),
        (500, b"\x1b[31mno"),
    ],
)
def test_what_is_no_list_is_an_error(status: int, body: bytes) -> None:
    with answering(status, body) as (server, asked), pytest.raises((OSError, ValueError, HTTPException)):
        aggregated_apis(credentials(server), PATIENCE)
    assert len(asked) == 1


def test_of_an_answer_that_does_not_end_no_more_than_the_limit_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = json.dumps(LISTED).encode()
    monkeypatch.setattr(glimpse, "LIMIT", len(body) - 1)
    with answering(200, body) as (server, _), pytest.raises(ValueError, match="Expecting"):
        aggregated_apis(credentials(server), PATIENCE)
