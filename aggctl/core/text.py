"""Words of others, made fit to show: bounded, and without what a terminal would take for a command."""

from __future__ import annotations

import difflib
import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


_UNFIT = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, invisible formatting, lone surrogates, line and paragraph separators."""

_SECRETS = re.compile(  # of env, a probe's headers, extraArgs; flags such as --oidc-client-secret, not paths
    r"""^( \s*(?:-\s+)?["']?(?:value|[a-z-]*(?:token|password|secret)[a-z-]*)["']?\s*:\s"""
    r"""|.*--[a-z-]*(?:token|password|secret)[a-z-]*=)(?!["']?(?:true|false|/)).+"""
)


_LONG_TAG = re.compile(rb"(?:^|[\s,\[{:-])![^\s,\[\]{}]{1000}")


def has_long_tag(yaml: bytes) -> bool:
    """Whether a tag is longer than any; ruamel's time for one grows with the square of its length."""
    return bool(_LONG_TAG.search(yaml))


def clean(text: str | bytes, limit: int = 300) -> str:
    """One line of at most `limit` characters; escape sequences and control characters become blanks."""
    if isinstance(text, bytes):
        text = text[: limit * 8].decode("utf-8", "replace")
    plain = _ESCAPES.sub("", text[: limit * 8])
    plain = "".join(" " if unicodedata.category(each) in _UNFIT else each for each in plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def ago(seconds: float) -> str:
    """A span of time as people write it: `3 s`, `4 min`, `2 h`, `12 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds // (60 if unit == 'min' else size):.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"  # noqa: PLR2004 -- below ten a tenth is worth showing


def unified_diff(old: str, new: str, path: str) -> str:
    """A unified diff; long lines are cut and values of neighbours left out, as they may hold a token."""
    diff = difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, n=1, lineterm="")
    lines = (_SECRETS.sub(r"\1…", line) for line in diff)
    return "\n".join(line if len(line) <= 160 else f"{line[:60]}…" for line in lines)  # noqa: PLR2004 -- columns
