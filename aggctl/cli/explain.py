"""`aggctl explain`: the long text of a code, from the package, as nodes have no web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aggctl.cli.options import NoColor, Output, OutputOption
from aggctl.core.doctor.rights import LEAST
from aggctl.errors import UsageError

if TYPE_CHECKING:
    from aggctl.core.report import Report

NO_RIGHTS = "no-rights-in-cluster"
_PARTS = (("cause", "Cause"), ("seen", "Seen by"), ("fix", "Fix"), ("avoid", "Do not"))


def explanations() -> dict[str, dict[str, str]]:
    """Every code with its title, cause, how it was seen, fix, and what to avoid."""
    import tomllib
    from importlib.resources import files

    return tomllib.loads(files("aggctl").joinpath("explanations.toml").read_text(encoding="utf-8"))


def explain_command(
    code: Annotated[str, typer.Argument(metavar="CODE", help="A code as findings and errors show it.")] = "",
    output: OutputOption = Output.text,
    no_color: NoColor = False,
) -> None:
    """Explain a code: cause, how it was recognised, fix, and what not to do. Without one, list all.

    \b
    Examples:
      aggctl explain file-not-mounted
      aggctl explain
    """
    from aggctl.cli.wiring import Manners, run_command
    from aggctl.core.report import Report

    def work() -> Report:
        known = explanations()
        if not code:
            width = max(map(len, known))
            return Report(
                "explain", "unchanged", tuple(f"{each:<{width}}  {known[each]['title']}" for each in known)
            )
        if code not in known:
            raise _unknown(code, known)
        return Report("explain", "unchanged", tuple(_lines(code, known[code])))

    raise typer.Exit(run_command("explain", Manners(output, no_color=no_color), work))


def _lines(code: str, text: dict[str, str]) -> list[str]:
    lines = [f"{code}: {text['title']}"]
    for part, label in _PARTS:
        if part in text:
            first, *rest = text[part].splitlines()
            lines += ["", f"{label + ':':<9} {first}", *(f"          {line}" for line in rest)]
    if code == NO_RIGHTS:
        lines += ["", "What doctor and status need from elsewhere than a node:", "", *LEAST.splitlines()]
    return lines


def _unknown(code: str, known: dict[str, dict[str, str]]) -> UsageError:
    import difflib

    near = difflib.get_close_matches(code, known, n=1)
    return UsageError(
        "code-unknown",
        f"there is no code {code!r}",
        expected=f"perhaps {near[0]}" if near else "a code from: aggctl explain",
        do=f"aggctl explain {near[0]}" if near else "aggctl explain     (lists all)",
    )
