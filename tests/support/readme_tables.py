"""The tables of the READMEs and of docs/checks.md, made of the code; run as a program it writes them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aggctl.cli.app import app
from aggctl.cli.explain import explanations
from aggctl.core.doctor.codes import HOPS
from aggctl.core.report import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Rows = Iterator[tuple[str, ...]]

CHECKOUT = Path(__file__).parents[2]
ENGLISH, CHINESE, CHECKS = (CHECKOUT / each for each in ("README.md", "README.zh-CN.md", "docs/checks.md"))
TEXTS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""What no code says: what a hop looks at, and the Chinese of the rest."""


def commands(command: Any, words: tuple[str, ...] = ("aggctl",)) -> Iterator[tuple[str, str]]:
    """Every command that is shown, with the first sentence of its help."""
    for name, each in getattr(command, "commands", {}).items():
        if hasattr(each, "commands"):
            yield from commands(each, (*words, name))
        elif not each.hidden:
            yield " ".join((*words, name)), _first_sentence(each.help)


def table(head: tuple[str, ...], rows: Rows) -> str:
    """A table of Markdown."""
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commands_in_english() -> str:
    """Of each command what its help says."""
    return table(("command", "what it does"), ((f"`{name}`", what) for name, what in _commands()))


def commands_in_chinese() -> str:
    """Of each command what the translation says; one that lacks is an error."""
    said = TEXTS["zh"]["commands"]
    rows = ((f"`{name}`", said[name.removeprefix("aggctl ")]) for name, _ in _commands())
    return table(("命令", "作用"), rows)


def statuses(head: tuple[str, ...], meanings: Mapping[Any, str]) -> str:
    """The exit statuses."""
    return table(head, ((str(status), meanings[status]) for status in MEANINGS))


def statuses_in_chinese() -> str:
    """The translation; one that lacks is an error."""
    return statuses(("退出码", "含义"), {int(each): said for each, said in TEXTS["zh"]["statuses"].items()})


def hops(head: tuple[str, ...], looks_at: Mapping[str, str]) -> str:
    """What doctor looks at, hop by hop, how many causes it knows there, and one of them."""
    return table(head, _hops(looks_at))


def checks() -> str:
    """One row for each code at each hop, with its title."""
    texts = explanations()
    rows = ((hop, f"`{code}`", texts[code]["title"]) for hop, codes in HOPS.items() for code in codes)
    return table(("hop", "code", "what"), rows)


TABLES: dict[Path, dict[str, Callable[[], str]]] = {
    ENGLISH: {
        "commands": commands_in_english,
        "exit statuses": lambda: statuses(("exit status", "meaning"), MEANINGS),
        "hops": lambda: hops(("hop", "what doctor looks at", "causes", "such as"), TEXTS["en"]["hops"]),
    },
    CHINESE: {
        "commands": commands_in_chinese,
        "exit statuses": statuses_in_chinese,
        "hops": lambda: hops(("环节", "检查内容", "原因数", "例如"), TEXTS["zh"]["hops"]),
    },
    CHECKS: {"codes": checks},
}
"""By file and by the name in the marks around the table."""


def written(path: Path, name: str, text: str) -> str:
    """The file's text with the table anew; ValueError where it has no such marks."""
    begin, end = f"<!-- {name}: made by `make readme` -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        message = f"{path.name} has no place between {begin.strip()} and {end}"
        raise ValueError(message)
    return f"{before}{begin}\n{TABLES[path][name]()}\n\n{end}{after}"


def current(path: Path) -> str:
    """The file as it should be."""
    text = path.read_text(encoding="utf-8")
    for name in TABLES[path]:
        text = written(path, name, text)
    return text


def _commands() -> Iterator[tuple[str, str]]:
    return commands(typer.main.get_command(app))


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.]) ", paragraph)[0].rstrip(".")


def _hops(looks_at: Mapping[str, str]) -> Rows:
    for hop, codes in HOPS.items():
        example = TEXTS["examples"][hop]
        if example not in codes:
            message = f"{example} is no code of the hop {hop}"
            raise ValueError(message)
        yield hop, looks_at[hop], str(len(codes)), f"`{example}`"


if __name__ == "__main__":
    for each in TABLES:
        each.write_text(current(each), encoding="utf-8")
