"""Real SSH to machines: Debian's sshd on each, keys made for the test, nothing of this machine's own SSH."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from support.kubeadm.machine import Machine, Service

SERVER = """\
Port 22
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
# The folder is below /tmp, where everybody may write.
StrictModes no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Keys:
    """A user's key, and the host key of every machine that is known to it."""

    folder: Path

    @property
    def user(self) -> Path:
        return self.folder / "user"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def options(self) -> str:
        """What ssh is to go by: these keys alone, and no host that is not known."""
        chosen = {
            "IdentitiesOnly": "yes",
            "IdentityFile": self.user,
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
        }
        return " ".join(f"-o {name}={value}" for name, value in chosen.items())


def missing() -> str:
    """What this machine lacks for SSH, in words; empty where nothing is missing."""
    packages = {"sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
    absent = sorted({package for program, package in packages.items() if not _found(program)})
    return f"SSH needs Debian's packages: apt-get install {' '.join(absent)}" if absent else ""


def new_keys(folder: Path) -> Keys:
    """The key of a user that no machine knows yet."""
    folder.mkdir()
    keys = Keys(folder)
    _make_key(keys.user)
    return keys


def serve_ssh(machine: Machine, address: str, keys: Keys) -> Service:
    """Start sshd on a machine, at port 22 of its own network; it lets the user in as root."""
    host_key = keys.folder / f"{machine.name}-host"
    _make_key(host_key)
    kind, key, *_ = host_key.with_suffix(".pub").read_text().split()
    with keys.known_hosts.open("a") as known:
        known.write(f"{address} {kind} {key}\n")
    config = keys.folder / f"{machine.name}-sshd"
    config.write_text(SERVER.format(host_key=host_key, authorized=keys.user.with_suffix(".pub")))
    machine.run("mkdir", "-p", "/run/sshd")
    service = machine.serve("sshd", _found("sshd"), "-D", "-e", "-f", config)
    eventually(lambda: "Server listening" in service.log.read_text(), f"sshd of {machine.name} listens")
    return service


def _make_key(path: Path) -> None:
    words = [_found("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(words, check=True)


def _found(program: str) -> str:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
