"""The bill of materials (SBOM, CycloneDX): what uv says of the lock, cut down to what is in the one file."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Collection

Bill = dict[str, Any]
ROOT = "aggctl"


def make_bill(exported: Bill, carried: Collection[str], version: str, digest: str, epoch: int) -> str:
    """As JSON: the wheels that are inside, no others, and pex, whose start-up code is inside as well.

    `digest` is the SHA-256 of the wheel of aggctl itself. The serial number follows from the content.
    """
    components = [_cut(component, carried) for component in exported["components"]]
    inside = [component for component in components if component["externalReferences"]]
    root = exported["metadata"]["component"]
    root |= {
        "type": "application",
        "version": version,
        "purl": f"pkg:pypi/{ROOT}@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    known = {root["bom-ref"], *(component["bom-ref"] for component in inside)}
    bill = exported | {
        "components": [*inside, _pex()],
        "dependencies": [
            each | {"dependsOn": sorted(known.intersection(each.get("dependsOn", ())))}
            for each in exported["dependencies"]
            if each["ref"] in known
        ],
    }
    bill["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bill["serialNumber"] = None
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bill, sort_keys=True)).urn
    return json.dumps(bill, indent=2) + "\n"


def _cut(component: Bill, carried: Collection[str]) -> Bill:
    """The component with those of its files that are inside."""
    files = component.get("externalReferences", ())
    kept = [file for file in files if unquote(file["url"]).rpartition("/")[2] in carried]
    return component | {"externalReferences": kept}


def _pex() -> Bill:
    version = metadata.version("pex")
    purl = f"pkg:pypi/pex@{version}"
    return {"type": "library", "bom-ref": purl, "name": "pex", "version": version, "purl": purl}
