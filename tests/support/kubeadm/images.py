"""Container images without a registry: an archive as `docker save` writes it, of one layer of programs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSYBOX = Path("/bin/busybox")
TOOLS = ("cat", "false", "httpd", "nc", "sh", "sleep", "wget")


def image(target: Path, tag: str, program: Path, command: Sequence[str] = ()) -> Path:
    """Write the image `tag` of one program, which it runs if not told otherwise, to `target`."""
    return _archive(target, tag, {f"usr/local/bin/{program.name}": program}, (), command or [program.name])


def busybox_image(target: Path, tag: str, command: Sequence[str]) -> Path:
    """Write the image `tag` of a shell and some tools."""
    return _archive(target, tag, {"bin/busybox": BUSYBOX}, [f"bin/{tool}" for tool in TOOLS], command)


def _archive(
    target: Path, tag: str, programs: dict[str, Path], links: Sequence[str], command: Sequence[str]
) -> Path:
    """`links` are other names of the first program."""
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        for path, program in programs.items():
            _add_program(tar, path, program)
        for link in links:
            _add_link(tar, link, "/" + next(iter(programs)))
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/bin"], "Entrypoint": list(command), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        _add_bytes(tar, config_name, config)
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        tar.add(layer, "layer.tar")
    layer.unlink()
    return target


def _add_program(tar: tarfile.TarFile, path: str, program: Path) -> None:
    entry = tar.gettarinfo(program.resolve(), path)
    entry.mode, entry.uid, entry.gid, entry.mtime = 0o755, 0, 0, 0
    with program.open("rb") as content:
        tar.addfile(entry, content)


def _add_link(tar: tarfile.TarFile, path: str, target: str) -> None:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
