"""The package's own source, read as trees: which codes it can say."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aggctl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PACKAGE = Path(aggctl.__file__).parent
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
IN_BETWEEN = frozenset({"no-route"})
"""Names in a table of codes that a sharper one takes the place of before anything is said."""

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
    """Code -> where it is said: by what is handed to anything that takes a `code`, or by a table of codes."""
    modules = list(trees())
    taking = takers(modules)
    found = [codes_in(tree, taking, tables_of(tree)) for tree in modules]
    return {code: place for each in found for code, place in each.items()}


def takers(modules: Iterable[ast.Module]) -> dict[str, int]:
    """Name -> the position of the `code` that it takes."""
    return dict.fromkeys(ERRORS, 0) | {name: position for tree in modules for name, position in _takers(tree)}


def tables_of(tree: ast.Module) -> dict[str, ast.expr]:
    """What a module's own names stand for."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def codes_in(tree: ast.AST, taking: Mapping[str, int], tables: Mapping[str, ast.expr]) -> dict[str, str]:
    """The codes that a part of the source says, and where.

    Those of a table are rows of which one item is called `code`, and keys that a `code` looks up.
    """
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = _given(node, taking[name]) if name in taking else []
            found |= dict.fromkeys(_constants(given), f"{name}(…), line {node.lineno}")
        found |= dict.fromkeys(_constants(_tabled(node, tables)), f"line {getattr(node, 'lineno', 0)}")
    return {code: place for code, place in found.items() if code not in IN_BETWEEN}


def _tabled(node: ast.AST, tables: Mapping[str, ast.expr]) -> Iterator[ast.expr]:
    match node:
        case (
            ast.For(target=ast.Tuple(elts=names), iter=rows)
            | ast.comprehension(target=ast.Tuple(elts=names), iter=rows)
        ):
            position = next((at for at, name in enumerate(names) if _is_code(name)), None)
            for row in getattr(_table(rows, tables), "elts", []) if position is not None else []:
                yield from getattr(row, "elts", [])[position:][:1]
        case ast.Subscript(value=ast.Name(id=name), slice=key) if _is_code(key):
            table = tables.get(name)
            yield from (each for each in (table.keys if isinstance(table, ast.Dict) else []) if each)
        case ast.Assign(targets=[name], value=value) | ast.NamedExpr(target=name, value=value):
            if _is_code(name):
                yield value


def _table(rows: ast.expr, tables: Mapping[str, ast.expr]) -> ast.expr:
    return tables.get(rows.id, rows) if isinstance(rows, ast.Name) else rows


def _is_code(node: ast.expr) -> bool:
    """Whether it is called `code`, as a variable or as a field."""
    return getattr(node, "id", getattr(node, "attr", "")) == "code"


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


def _given(call: ast.Call, position: int) -> list[ast.expr]:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    return [*named, *call.args[position : position + 1]]


def _constants(expressions: Iterable[ast.expr]) -> Iterator[str]:
    for expression in expressions:
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
