"""Plain YAML scalars as kubectl reads them, so that aggctl applies what `kubectl apply` would.

kubectl goes through sigs.k8s.io/yaml and so go.yaml.in/yaml/v2 (resolve.go), which is neither YAML 1.1 nor
1.2: `yes` is a boolean, `0440` is octal, `1:30` and `2020-01-01` are strings.
"""

from __future__ import annotations

import math
import re

Plain = str | int | float | bool | None

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_INTEGER = re.compile(
    r"[-+]?(?:(?P<hex>0[xX][0-9a-fA-F]+)|(?P<bin>0[bB][01]+)|(?P<oct>0[oO]?[0-7]+)|0|[1-9][0-9]*)"
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASES = {"hex": 16, "bin": 2, "oct": 8, None: 10}
_LONGEST = 80
"""Characters of a number; `int` is slow on long ones, and no integer of 64 bits needs more in any base."""

_LEAST, _MOST = -(2**63), 2**64 - 1


def resolve(text: str) -> Plain:
    """The value of a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST:
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    whole = _integer(plain)
    if whole is not None:
        return whole
    return _float(plain, text) if _FLOAT.fullmatch(plain) else text


def key(text: str) -> str | None:
    """The same of a mapping's key, which JSON wants as a string; None for a null, which cannot be one."""
    value = resolve(text)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f"{value:g}"


def _integer(plain: str) -> int | None:
    match = _INTEGER.fullmatch(plain)
    if not match:
        return None
    base = _BASES[match.lastgroup]
    digits = plain.lower().replace("0o", "0")
    value = int(digits, base)
    return value if _LEAST <= value <= _MOST else None


def _float(plain: str, text: str) -> Plain:
    """JSON writes 8.0 as 8; what is too large for a float stays the string that it was."""
    value = float(plain)
    if math.isinf(value):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
