"""The package's own source, read as trees: which codes it can say."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aggctl

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(aggctl.__file__).parent
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
ERRORS = ("AggctlError", "UsageError", "Refused", "Failed", "RollbackIncomplete", "Interrupted")


def trees() -> Iterator[ast.Module]:
    """Every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"), str(path))


def all_strings() -> set[str]:
    """Every string constant of the package."""
    return {
        node.value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def said_codes() -> dict[str, str]:
    """Code -> where it is said: what is handed to anything that takes a `code`, by position or by name."""
    found: dict[str, str] = {}
    modules = list(trees())
    takers = dict.fromkeys(ERRORS, 0) | {
        name: position for tree in modules for name, position in _takers(tree)
    }
    for tree in modules:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in takers:
                found |= dict.fromkeys(_codes(call, takers[name]), f"{name}(…), line {call.lineno}")
    return found


def _takers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions with a parameter `code`, and records with such a field; and its position."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            if "code" in names:
                yield node.name, names.index("code")
        if isinstance(node, ast.ClassDef):
            fields = [
                each.target.id
                for each in node.body
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
            ]
            if "code" in fields:
                yield node.name, fields.index("code")


def _codes(call: ast.Call, position: int) -> Iterator[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    given += call.args[position : position + 1]
    for expression in given:
        for each in _results(expression):
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and CODE.fullmatch(each.value):
                yield each.value


def _results(expression: ast.expr) -> Iterator[ast.expr]:
    """What an expression may come to; not its condition."""
    if isinstance(expression, ast.IfExp):
        yield from _results(expression.body)
        yield from _results(expression.orelse)
    else:
        yield expression
