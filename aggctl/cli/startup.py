"""A quick start: of Typer only what the command at hand needs.

Typer makes every command of the tree at each start (35 ms for ours) and reads each value by pydantic, whose
import takes 60 ms. A text, a flag and a choice need neither.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer


def narrowed(app: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """The tree with the one command or group that the first argument names; whole where it names none."""
    name = arguments[0] if arguments else ""
    commands = [each for each in app.registered_commands if each.name == name]
    groups = [each for each in app.registered_groups if each.name == name]
    if not (commands or groups):
        return app
    one = copy.copy(app)
    one.registered_commands, one.registered_groups = commands, groups
    return one


def spare_pydantic() -> None:
    """Have Typer read texts, flags and choices without pydantic; a Typer of another make is left as it is."""
    try:
        from typer import core  # noqa: PLC0415 -- its inside, which another version may not have
        from typer._coercion import RuntimeParam, build_runtime_param  # noqa: PLC0415 -- as above
    except ImportError:
        return

    @dataclass(frozen=True)
    class Plain(RuntimeParam):
        """Reads what needs no conversion; all else, also what is to be refused, Typer itself reads."""

        descriptor: Any

        def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
            found = _plain(value, self.annotation)
            if found is not None:
                return found
            return build_runtime_param(self.descriptor)._coerce_value(value, param, ctx)  # noqa: SLF001 -- Typer's own way

    def build(descriptor: Any) -> RuntimeParam:
        return Plain(descriptor.parameter_info, descriptor.annotation, descriptor)

    if getattr(core, "build_runtime_param", None) is build_runtime_param:
        core.build_runtime_param = build  # type: ignore[attr-defined]  # Typer does not hand it on


def _plain(value: Any, wanted: Any) -> Any:
    """The value as `wanted`, a parameter's type; None where it is not so already."""
    if wanted in (str, bool, int, float):
        return value if type(value) is wanted else None
    if wanted == list[str]:
        every = isinstance(value, list | tuple) and all(type(each) is str for each in value)
        return list(value) if every else None
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return next((each for each in wanted if value in (each, each.value)), None)
    return None
