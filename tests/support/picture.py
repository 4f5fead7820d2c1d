"""docs/terminal.svg, the picture in the README: real commands on a real kube-apiserver, as on a terminal.

Run as a program it records anew, and writes only where more than numbers differ: times, ports, process ids
and dates are others each time.
"""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from support.hello import hello_api
from support.https import authority
from support.kube import API_SERVICES, MERGE, Kube
from support.sandboxes import sandbox_in
from support.waiting import eventually

PICTURE = Path(__file__).parents[2] / "docs/terminal.svg"
WIDTH = 118
"""Columns of the picture; what is longer is folded."""
SIZE = (50, 240)
"""Lines and columns of the terminal that is recorded: nothing is cut or folded there."""

API = "v1alpha1.hello.example.com"
ROOT = "--root sandbox/root"
REMOTE_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""A picture in a README may load nothing."""


@dataclass(frozen=True)
class Terminal:
    """A terminal in `folder`; what was typed and said is in `text`, with its colours."""

    folder: Path
    text: Text

    def type(self, line: str, *, status: int = 0) -> None:
        """Run a command line of aggctl, and keep what is on the screen after it."""
        self.text.append("$ ", "bold green").append(f"{line}\n", "bold")
        ended, said = run(self.folder, line.split())
        assert ended == status, said
        left = screen(said.replace(str(self.folder), "~"))
        self.text.append_text(Text.from_ansi(left)).append("\n\n")

    def remark(self, line: str) -> None:
        self.text.append(f"# {line}\n", "italic")


def run(folder: Path, words: list[str]) -> tuple[int, str]:
    """Run aggctl on a terminal of its own; its exit status, and all that it wrote."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(SIZE[1]))
        os.execv(sys.executable, [sys.executable, "-m", *words])  # noqa: S606 -- a list, no shell
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    said = b""
    try:
        while part := os.read(terminal, 1 << 16):
            said += part
    except OSError:  # how Linux says that the other end was closed
        pass
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode()


def screen(said: str) -> str:
    """What stays on the screen: Rich redraws a spinner by erasing its line, or the one above."""
    lines = [""]
    for part in re.split(r"(\r?\n|\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[hl])", said):
        match part:
            case "\n" | "\r\n":
                lines.append("")
            case "\x1b[1A":
                lines.pop()
            case "\x1b[2K":
                lines[-1] = ""
            case "\r" | "\x1b[?25h" | "\x1b[?25l":
                pass
            case _:
                lines[-1] += part
    return "\n".join(lines).rstrip()


def record() -> str:
    """Enable, register and doctor in a sandbox of their own, as SVG."""
    with tempfile.TemporaryDirectory(prefix="aggctl-picture-") as name:
        folder = Path(name)
        terminal = Terminal(folder, Text())
        with sandbox_in(folder / "sandbox") as running:
            kube = Kube(running.sandbox.kubeconfig)
            with hello_api(folder / "tls", kube.kubeconfig) as hello:
                _play(terminal, kube, hello.port)
    return drawn(terminal.text)


def _play(terminal: Terminal, kube: Kube, port: int) -> None:
    terminal.type(f"aggctl enable {ROOT} --routing off --yes")
    terminal.type(f"aggctl register {API} {ROOT} --external localhost:{port} --name hello --cert-out tls -y")
    terminal.remark("somebody's chart gives the APIService another CA")
    other = base64.b64encode(authority("another-ca").certificate).decode()
    kube.ask("PATCH", f"{API_SERVICES}/{API}", {"spec": {"caBundle": other}}, MERGE)
    eventually(lambda: not _is_available(kube), "kube-apiserver notices")
    terminal.type(f"aggctl doctor {ROOT}", status=3)


def _is_available(kube: Kube) -> bool:
    conditions = kube.get(f"{API_SERVICES}/{API}")["status"]["conditions"]
    return any((each["type"], each["status"]) == ("Available", "True") for each in conditions)


def drawn(text: Text) -> str:
    """The text as a terminal's window."""
    console = Console(
        width=WIDTH, record=True, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    text.rstrip()
    console.print(text)
    picture = console.export_svg(title="aggctl", theme=MONOKAI, unique_id="aggctl")
    return "\n".join(line.rstrip() for line in REMOTE_FONTS.sub("", picture).splitlines()) + "\n"


def essence(picture: str) -> list[str]:
    """What each line of the picture says, without spaces, and with 0 for each number."""
    lines = defaultdict[str, str](str)
    for each in ET.fromstring(picture).iter():  # noqa: S314 -- our own file
        if each.tag.endswith("text"):
            lines[each.get("y", "")] += each.text or ""
    return [re.sub(r"\d+", "0", "".join(line.split())) for line in lines.values()]


if __name__ == "__main__":
    new = record()
    if not PICTURE.exists() or essence(new) != essence(PICTURE.read_text(encoding="utf-8")):
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(new, encoding="utf-8")
