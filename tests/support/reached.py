"""What a part of the package can come to say: its own code, and all that this refers to."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from support.source import PACKAGE, codes_in, tables_of, takers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Name(NamedTuple):
    """Something that a module defines."""

    module: str
    name: str


def codes_of_findings(package: str) -> set[str]:
    """Codes that modules below `package` say, or what they use of others; not those of a mere Unknown."""
    taking = takers(_modules().values())
    del taking["Unknown"]
    return {
        code
        for each in _reached(package)
        for code in codes_in(_definitions()[each], taking, tables_of(_modules()[each.module]))
    }


@cache
def _modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def _definitions() -> dict[Name, ast.stmt]:
    found: dict[Name, ast.stmt] = {}
    for module, tree in _modules().items():
        for node in tree.body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found[Name(module, name)] = node
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    found[Name(module, name)] = node
    return found


@cache
def _imports() -> dict[Name, Name]:
    return {
        Name(module, each.asname or each.name): Name(node.module, each.name)
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for each in node.names
    }


def _reached(package: str) -> set[Name]:
    waiting = [each for each in _definitions() if f"{each.module}.".startswith(f"{package}.")]
    found = set(waiting)
    while waiting:
        more = {each for each in _referred(waiting.pop()) if each in _definitions()} - found
        found |= more
        waiting += more
    return found


def _referred(definition: Name) -> Iterator[Name]:
    for node in ast.walk(_definitions()[definition]):
        match node:
            case ast.Name(id=name):
                yield _origin(Name(definition.module, name))
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                module = _imports().get(Name(definition.module, name))
                if module:
                    yield _origin(Name(".".join(module), attribute))


def _origin(name: Name) -> Name:
    """Where it is defined; packages hand on what their modules define."""
    while name not in _definitions() and name in _imports():
        name = _imports()[name]
    return name
