"""A command line that is being typed, read against the command tree: which word comes next."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, field
from typing import Any

import typer

Parameter = Any
"""An option or argument of Typer, whose own types come from the click that it carries."""

_CURSOR = "\0"


@dataclass(slots=True)
class Line:
    """What stands before the cursor: the command, the values of its options, its arguments.

    `awaited` is an option whose value comes next; `plain` says that `--` ended the options.
    """

    command: Any
    path: tuple[str, ...] = ()
    values: dict[str, list[str]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    awaited: Parameter | None = None
    plain: bool = False

    @property
    def is_group(self) -> bool:
        """Whether a command comes next."""
        return hasattr(self.command, "commands")

    def options(self) -> list[Parameter]:
        """Those that this command has, help included."""
        parent = typer.Context(self.command, help_option_names=["--help", "-h"])
        found: list[Parameter] = self.command.get_params(typer.Context(self.command, parent=parent))
        return [each for each in found if each.param_type_name == "option" and not each.hidden]

    def option(self, name: str) -> Parameter | None:
        """The option of this name, as `--output` or `-o`."""
        return next((each for each in self.options() if name in (*each.opts, *each.secondary_opts)), None)

    def argument(self) -> Parameter | None:
        """The argument that comes next."""
        left = len(self.arguments)
        for each in self.command.params:
            if each.param_type_name == "argument":
                if each.nargs == -1 or left < each.nargs:
                    return each
                left -= each.nargs
        return None

    def value(self, name: str) -> str:
        """What was typed for an option; the last counts."""
        return (self.values.get(name) or [""])[-1]

    def is_spent(self, option: Parameter) -> bool:
        """Whether it was typed already and may not be typed again."""
        return not option.multiple and key_of(option) in self.values

    def read(self, word: str) -> bool:
        """Go on by one word; False where there is no such command."""
        if self.awaited is not None:
            self._note(self.awaited, word)
            self.awaited = None
        elif self.plain or not word.startswith("-") or word == "-":
            return self._enter(word) if self.is_group else self._argue(word)
        elif word == "--":
            self.plain = True
        elif word.startswith("--"):
            self._long(word)
        else:
            self._short(word)
        return True

    def _argue(self, word: str) -> bool:
        self.arguments.append(word)
        return True

    def _enter(self, word: str) -> bool:
        found = self.command.commands.get(word)
        if found is None:
            return False
        self.command, self.path = found, (*self.path, word)
        return True

    def _long(self, word: str) -> None:
        name, has_value, value = word.partition("=")
        option = self.option(name)
        if option is None:
            return
        if has_value or option.is_flag:
            self._note(option, value)
        else:
            self.awaited = option

    def _short(self, word: str) -> None:
        """`-q`, `-qv`, `-n NAMESPACE`, `-nNAMESPACE`."""
        for at, letter in enumerate(word[1:], start=2):
            option = self.option(f"-{letter}")
            if option is None:
                return
            if not option.is_flag:
                if word[at:]:
                    self._note(option, word[at:])
                else:
                    self.awaited = option
                return
            self._note(option, "")

    def _note(self, option: Parameter, value: str) -> None:
        self.values.setdefault(key_of(option), []).append(value)


def choices(parameter: Parameter) -> list[str]:
    """The values of a parameter that is one of several words; none for any other."""
    nobody = typer.Context(typer.core.TyperCommand(None))
    return [each.value for each in parameter.shell_complete(nobody, "")]


def key_of(option: Parameter) -> str:
    """The longest name of an option, as `--output`."""
    return str(max(option.opts, key=len))


def read_line(tree: Any, words: list[str]) -> Line | None:
    """All words before the cursor; None where they lead to no command."""
    line = Line(tree)
    return line if all(line.read(word) for word in words) else None


def split(text: str) -> list[str]:
    """The words of a line as a shell splits it, nothing of it run; the last is the one at the cursor.

    A quotation that is still open ends at the cursor.
    """
    for close in ("", '"', "'"):
        with contextlib.suppress(ValueError):
            *words, last = shlex.split(text + _CURSOR + close)
            return [*words, last.removesuffix(_CURSOR)]
    return [""]  # shlex knows no other fault than a quotation that is open
