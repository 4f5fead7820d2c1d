"""A cluster in a test's hands: any request to a sandbox's kube-apiserver, all its objects at a glance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import urllib3

from aggctl.system.kubeconfig import find_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
_TRANSIENT = frozenset({"events", "leases", "componentstatuses"})


@dataclass(frozen=True)
class Kube:
    """Requests as the user of a kubeconfig."""

    kubeconfig: Path

    @cached_property
    def _server(self) -> tuple[str, urllib3.PoolManager]:
        found = find_credentials(str(self.kubeconfig), "", "")
        token = {"Authorization": f"Bearer {found.token}"} if found.token else {}
        return found.server, urllib3.PoolManager(
            ssl_context=found.context(), retries=False, timeout=10, headers=token
        )

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and the JSON of the answer."""
        server, pool = self._server
        content = None if body is None else json.dumps(body).encode()
        headers = {**pool.headers, "Content-Type": kind}
        answer = pool.request(method, server + path, body=content, headers=headers)
        try:
            return answer.status, json.loads(answer.data or b"{}")
        except ValueError:
            return answer.status, answer.data.decode()

    def get(self, path: str) -> Any:
        """An object, or None."""
        status, found = self.ask("GET", path)
        return found if status == 200 else None

    def apply(self, path: str, body: Any, manager: str = "somebody") -> Any:
        """Server-side apply as another field manager."""
        status, found = self.ask("PATCH", f"{path}?fieldManager={manager}&force=true", body, APPLY)
        assert status in (200, 201), found
        return found

    def delete(self, path: str) -> None:
        status, found = self.ask("DELETE", path)
        assert status in (200, 202, 404), found

    def everything(self) -> dict[str, str]:
        """The resourceVersion of every object of the cluster that stays as it is when nobody changes it."""
        return dict(self._objects())

    def _objects(self) -> Iterator[tuple[str, str]]:
        groups = self.get("/apis")["groups"]
        places = ["/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups)]
        for place in places:
            for resource in (self.get(place) or {}).get("resources", []):
                if "list" in resource["verbs"] and resource["name"] not in _TRANSIENT:
                    for item in (self.get(f"{place}/{resource['name']}") or {}).get("items", []):
                        metadata = item["metadata"]
                        name = f"{metadata.get('namespace', '')}/{metadata['name']}"
                        yield f"{resource['kind']} {name}", metadata.get("resourceVersion", "")


def api_service(name: str, service: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """An APIService of somebody else."""
    version, _, group = name.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "service": {"name": service, "namespace": namespace, "port": 443},
            **spec,
        },
    }
