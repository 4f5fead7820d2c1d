"""The README's table of what doctor recognises; run as a program it is written anew."""

from __future__ import annotations

from pathlib import Path

from aggctl.cli.explain import explanations
from aggctl.core.doctor.codes import HOPS

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- codes of doctor: made by `make readme` -->", "<!-- end of the codes of doctor -->"


def table() -> str:
    """One row for each code at each hop, with its title."""
    texts = explanations()
    rows = [f"| {hop} | `{code}` | {texts[code]['title']} |" for hop, codes in HOPS.items() for code in codes]
    return "\n".join(("| hop | code | what |", "| --- | --- | --- |", *rows))


def table_in(text: str) -> str:
    """What stands between the two marks; the text without them is an error."""
    _, found, after = text.partition(f"{BEGIN}\n\n")
    inside, closed, _ = after.partition(f"\n\n{END}\n")
    if not found or not closed:
        message = f"README.md has no table between {BEGIN} and {END}"
        raise ValueError(message)
    return inside


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    README.write_text(before.replace(table_in(before), table()), encoding="utf-8")
