"""`aggctl certs export` and `import`: the front-proxy CA from node to node, sealed or as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggctl.core import pki
from aggctl.core.certs.sealed import PATH, new_key, seal, unseal
from aggctl.core.report import Report, ShownChange
from aggctl.errors import Refused
from aggctl.system.journal import ROTATION
from aggctl.workflows.rotation import CA_NAMES, keep_next, layer_of, pair_of, read_record

if TYPE_CHECKING:
    from aggctl.core.certs.authority import NextCa
    from aggctl.system.pairs import CaFolder
    from aggctl.system.ports import Ports


def export_files(ports: Ports, folder: CaFolder) -> Report:
    """Write the CA, the new one during a rotation, as the files that `import` and `--ca-from` take."""
    found = ca_to_share(ports)
    said = folder.write(found.pair)
    return Report(
        "certs export",
        "applied",
        summary=(said, f"It is {found.certificate.common_name}, {found.certificate.fingerprint[:12]}."),
        next=(
            "copy the folder to each node, then run there:",
            "aggctl certs import DIR     (or, where the layer is off: aggctl enable --ca-from DIR)",
        ),
    )


def export_sealed(ports: Ports) -> Report:
    """Put the CA into the cluster, encrypted; the key is said once, and is nowhere else."""
    found = ca_to_share(ports)
    key = upload(ports, found)
    return Report(
        "certs export",
        "applied",
        summary=(f"{found.certificate.common_name} waits in the cluster for two hours, encrypted.",),
        changes=(ShownChange("change", "Secret kube-system/aggctl-front-proxy-ca", "AES-256-GCM"),),
        next=(
            f"on each other node: aggctl certs rotate ca --certificate-key {key}",
            f"or, where the layer is off there: aggctl enable --certificate-key {key}",
        ),
    )


def upload(ports: Ports, found: NextCa) -> str:
    """Seal the CA with a new key, and put it where other nodes look; the key."""
    key = new_key()
    live = ports.objects.read(PATH)
    if not ports.objects.put(PATH, seal(found.pair, key, ports.clock.now()), live):
        raise Refused("changed-meanwhile", "another node puts its CA there at this moment", do="run again")
    return key


def download(ports: Ports, key: str) -> pki.KeyPair:
    """The CA that waits in the cluster."""
    certificate, private = unseal(ports.objects.read(PATH), key, ports.clock.now())
    return pki.KeyPair(certificate, private)


def import_pair(ports: Ports, pair: pki.KeyPair) -> Report:
    """Take the new CA of the rotation that is under way; the next `rotate ca` uses it."""
    certificate = pki.read_certificates(pair.certificate)[0]
    record = read_record(ports)
    if record is None or record.finished:
        raise Refused(
            "no-rotation",
            "no rotation of the front-proxy CA is under way, so that nobody waits for a new one here",
            do="to switch the layer on with it: aggctl enable --ca-from DIR",
        )
    if certificate.fingerprint != record.ca:
        raise Refused(
            "another-next-ca",
            f"this is {certificate.common_name} ({certificate.fingerprint[:12]})",
            expected=f"the new CA of the rotation that is under way, {record.ca[:12]}",
            do="export it on the node that began: aggctl certs export DIR",
        )
    if not pair.key:
        raise Refused(
            "given-ca-not-usable",
            f"the key of {certificate.common_name} is not there, and nothing can be signed without it",
            do="copy both files of: aggctl certs export DIR",
        )
    keep_next(ports, pair)
    return Report(
        "certs import",
        "applied",
        summary=(f"{certificate.common_name} is here.",),
        next=("aggctl certs rotate ca",),
    )


def ca_to_share(ports: Ports) -> NextCa:
    """The new CA while a rotation is under way, else the one in force."""
    record, layer = read_record(ports), layer_of(ports)
    kept = pair_of(ports, *(f"{ROTATION}/{name}" for name in CA_NAMES))
    if kept and (record is None or record.finished or kept.certificate.fingerprint != record.ca):
        kept = None  # of an earlier rotation, which another node ended
    found = kept or pair_of(ports, layer.files.ca_at.host, layer.files.ca_key_at)
    if found is None:
        raise Refused(
            "front-proxy-ca-external",
            f"the key of the front-proxy CA is not at {layer.files.ca_key_at}",
            do="export it where it is",
        )
    return found
