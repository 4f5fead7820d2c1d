"""Real shells at a terminal: what stands on the line after the keys that somebody pressed."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.refusals import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0
SHOW = "\x07"
"""Ctrl-G: prints the line and empties it."""

_BASH = r"""
PS1='' PS2=''
for each in 'bell-style none' 'page-completions off' 'enable-bracketed-paste off'; do bind "set $each"; done
__show() { printf '\n<<%s>>\n' "$READLINE_LINE"; READLINE_LINE=; }
bind -x '"\C-g": __show'
"""
_ZSH = r"""
PS1='' PS2='' PROMPT_EOL_MARK=''
unset zle_bracketed_paste
setopt no_beep no_prompt_cr
autoload -Uz compinit && compinit -u -D
LISTMAX=10000
__show() { print -r -- $'\n'"<<$BUFFER>>"; BUFFER= }
zle -N __show
bindkey '^G' __show
bindkey '^I' complete-word
"""


def found(program: str, where: str | None = None) -> str:
    """The path of a program that a test needs; without it the test is skipped, or fails where none may be."""
    path = shutil.which(program, path=where)
    if path is None:
        pytest.skip(f"{program} is missing: apt-get install {program}")
    return path


def environment(**more: str) -> dict[str, str]:
    """One in which this checkout's aggctl is the one that a shell finds."""
    beside = str(Path(sys.executable).parent)
    here = clean_environment()
    return here | {
        "PATH": f"{beside}{os.pathsep}{here['PATH']}",
        "TERM": "dumb",
        "COLUMNS": "200",
        "AGGCTL_COMPLETION_TIMEOUT": f"{PATIENCE:.0f}s",  # a busy machine must not decide what is offered
        **more,
    }


@dataclass
class Terminal:
    """A shell at a pseudo-terminal."""

    descriptor: int
    heard: str = ""

    def line_after(self, keys: str) -> str:
        """The line as it stands once these keys were pressed."""
        os.write(self.descriptor, (keys + SHOW).encode())
        end = time.monotonic() + PATIENCE
        while not (shown := re.search(r"<<(.*?)>>", self.heard, re.DOTALL)):
            left = end - time.monotonic()
            assert left > 0, f"no answer from the shell: {self.heard[-2000:]!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.heard += os.read(self.descriptor, 65536).decode(errors="replace")
        self.heard = self.heard[shown.end() :]
        return shown.group(1)


@contextmanager
def bash_in(folder: Path, start: str, **more: str) -> Iterator[Terminal]:
    """An interactive bash that works in a folder, without anybody's own settings; `start` are commands."""
    settings = folder / ".bashrc"
    settings.write_text(f"{_BASH}\n{start}\n")
    with _at_terminal([found("bash"), "--noprofile", "--rcfile", str(settings), "-i"], folder, more) as bash:
        yield bash


@contextmanager
def zsh_in(folder: Path, start: str, **more: str) -> Iterator[Terminal]:
    """An interactive zsh, as above."""
    (folder / ".zshrc").write_text(f"{_ZSH}\n{start}\n")
    with _at_terminal([found("zsh"), "-d", "-i"], folder, more | {"ZDOTDIR": str(folder)}) as zsh:
        yield zsh


def fish_offers(folder: Path, start: str, line: str, **more: str) -> list[str]:
    """What fish offers at the end of a line, without the descriptions."""
    told = subprocess.run(
        [found("fish"), "--no-config", "-c", f"{start}\ncomplete -C {_quoted(line)}"],
        cwd=folder,
        env=environment(HOME=str(folder), **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert told.stderr == ""
    return [each.partition("\t")[0] for each in told.stdout.splitlines()]


def _quoted(text: str) -> str:
    """As fish reads it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@contextmanager
def _at_terminal(words: list[str], folder: Path, more: dict[str, str]) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        cwd=folder,
        env=environment(HOME=str(folder), **more),
    )
    os.close(theirs)
    try:
        yield Terminal(ours)
    finally:
        os.close(ours)  # the shell is hung up on, and ends
        shell.terminate()
        try:
            shell.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            shell.kill()
            shell.wait()
