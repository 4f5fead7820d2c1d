"""Answers to a shell that completes a line, in the protocol of cobra, which kubectl's plug-ins share.

Each line is a word that fits, where it helps with a tab and what it is; the last one is `:` and a number that
says what the shell may add (https://github.com/spf13/cobra/blob/main/completions.go, ShellCompDirective).
What cannot be found out in time is left out. Nothing is asked, told or written.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from aggctl.cli import offers
from aggctl.cli.line import Line, Parameter, choices, key_of, read_line, split
from aggctl.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggctl.cli.offers import Words

FILES, NO_FILES, FOLDERS = 0, 4, 16
"""cobra's directives: the shell's own files, none of them, folders only."""

PATIENCE = 0.2
"""Seconds that a cluster has; with the start of Python an answer comes within 0.3, whoever is away."""

HUNG = 2.0
"""Seconds after which a file of this machine will not be read any more, as on a share that hangs."""

FAR = "AGGCTL_COMPLETION_TIMEOUT"
"""How long a cluster far away may take, as `2s`."""

_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """Words that fit, each with what it is, and what the shell may add."""

    words: Words = ()
    directive: int = NO_FILES

    def text(self) -> str:
        """The answer as the protocol has it; a word that would break it, or a terminal, is left out."""
        fit = [(word, clean(told)) for word, told in self.words if word and clean(word, _LONGEST) == word]
        return (
            "".join(f"{word}\t{told}\n" if told else f"{word}\n" for word, told in fit)
            + f":{self.directive}\n"
        )


def speak(words: list[str]) -> None:
    """Answer on standard output and end; `--line TEXT` is a whole line up to the cursor, as bash has it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    typed = split(words[1])[1:] if words[0:1] == ["--line"] and words[1:] else words
    answer = Answer()
    with contextlib.suppress(Exception):  # a defect is no reason to write into somebody's command line
        answer = answered(_tree(typed), typed, patience())
    with contextlib.suppress(OSError):
        os.write(1, answer.text().encode())
    os._exit(0)  # whoever still looks something up is not waited for


def answered(tree: Parameter, typed: list[str], patience: float) -> Answer:
    """What fits at the last of the words; a cluster has `patience` seconds."""
    *before, word = typed or [""]
    line = read_line(tree, before)
    if line is None:
        return Answer()
    if line.awaited is not None:
        return _values(line, line.awaited, word, patience)
    if line.plain or not word.startswith("-"):
        return _commands(line, word) if line.is_group else _arguments(line, word, patience)
    name, has_value, value = word.partition("=")
    if not has_value:
        return _fitting(_options(line), word)
    option = line.option(name)
    return _values(line, option, value, patience) if option and not option.is_flag else Answer()


def _tree(typed: list[str]) -> Parameter:
    """The commands that the first word begins, or leads to: the others cost 50 ms."""
    from aggctl.cli.app import app
    from aggctl.cli.startup import narrowed

    few = copy.copy(narrowed(app, typed[:-1]))
    if len(typed) == 1:
        few.registered_commands = [each for each in app.registered_commands if _begins(typed[0], each.name)]
        few.registered_groups = [each for each in app.registered_groups if _begins(typed[0], each.name)]
    return typer.main.get_command(few)


def _begins(word: str, name: str | None) -> bool:
    return (name or "").startswith(word)


def patience() -> float:
    """Seconds that a cluster has; the environment may give more."""
    from aggctl.cli.options import seconds

    with contextlib.suppress(Exception):
        return seconds(os.environ[FAR])
    return PATIENCE


def _commands(line: Line, word: str) -> Answer:
    shown = [(name, each) for name, each in line.command.commands.items() if not each.hidden]
    return _fitting(tuple((name, each.get_short_help_str(_LONGEST)) for name, each in shown), word)


def _options(line: Line) -> Words:
    return tuple(
        (name, option.help or "")
        for option in line.options()
        if not line.is_spent(option)
        for name in (*option.opts, *option.secondary_opts)
    )


def _arguments(line: Line, word: str, patience: float) -> Answer:
    argument = line.argument()
    if argument is None:
        return Answer()
    found = _values(line, argument, word, patience)
    return Answer(tuple(each for each in found.words if each[0] not in line.arguments), found.directive)


def _values(line: Line, parameter: Parameter, word: str, patience: float) -> Answer:
    """What an option or argument may be: one of its choices, or what its name in the help stands for."""
    known = choices(parameter)
    if known:
        return _fitting(tuple((each, "") for each in known), word)
    name = "" if parameter.param_type_name == "argument" else key_of(parameter)
    kinds = offers.kinds(name, parameter.metavar or "")
    if "FILE" in kinds:
        return Answer(directive=FILES)
    if "DIR" in kinds:
        return Answer(directive=FOLDERS)
    limit = patience if offers.OF_CLUSTER & set(kinds) else max(patience, HUNG)
    return _fitting(_in_time(lambda: offers.offered(kinds, line, limit), limit), word)


def _fitting(words: Words, word: str) -> Answer:
    return Answer(tuple(each for each in words if each[0].startswith(word)))


def _in_time(look: Callable[[], Words], patience: float) -> Words:
    """What was found within so many seconds; what hangs, as a name that does not resolve, is left."""
    found: list[Words] = []

    def work() -> None:
        with contextlib.suppress(Exception):
            found.append(look())

    looking = threading.Thread(target=work, daemon=True)
    looking.start()
    looking.join(patience)
    return found[0] if found else ()
