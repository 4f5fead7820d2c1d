"""Words of others without what must not be passed on: tokens, passwords, private keys.

What stands for them is an ellipsis, so that a reader sees that something was there. It errs on the side of
removing; prose about secrets (`invalid bearer token`, `secret "default/tls" not found`) stays, as it is what
an operator looks for.
"""

from __future__ import annotations

import re

GONE = "…"

_PRIVATE_KEY = re.compile(
    r"(-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY-----)(?!…)"
    r"(?:(?:Proc-Type|DEK-Info): [^\n\\]*|[A-Za-z0-9+/=\s\\])*"
    r"(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY-----)?"
)
"""Also one that was cut off, and one whose ends of lines are written as `\\n`."""

_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}={0,2}")
"""Three parts of base64url, the first of them begins with `{"`; a continue token of a list has only one."""

_BOOTSTRAP = re.compile(
    r"\.(?<=[a-z0-9]{6}\.)(?<![A-Za-z0-9.-][a-z0-9]{6}\.)(?=[a-z]{0,15}[0-9])[a-z0-9]{16}(?![A-Za-z0-9.-])"
)
"""A kubeadm bootstrap token, ID.SECRET; the ID is public: it is in the name of its Secret."""

_SCHEME = re.compile(
    r"\b(bearer|basic|negotiate)(\s+|%20|\+)(?=[A-Za-z0-9._~+/=-]{6})"
    r"(?!(?:auth|token|credential|certificate|header|request|scheme|constraint|usage)[a-z]*\b)"
    r"[A-Za-z0-9._~+/=-]+",
    re.IGNORECASE,
)

_HEADER = re.compile(
    r"""\b((?:proxy-)?authorization["']?\s*[:=]\s*\[?["']?(?:(?:bearer|basic|digest|negotiate|token)\s+)"""
    r"""|(?:proxy-)?authorization["']?\s*[:=]\s*\[["']?"""
    r"""|(?:set-)?cookie["']?\s*[:=]\s*\[?["']?)[^\s"'\]]+""",
    re.IGNORECASE,
)

_USER_IN_URL = re.compile(r"(?<=://)[^/\s:@\"']{1,200}:[^/\s@\"']{1,500}(?=@)")

_NAMES = (
    r"token|password|passwd|passphrase|client[_-]?secret|secret[_-]?key|secret|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|key-data|certificate[_-]key|credentials?"
)
_SHORT_NAMES = r"(?<![A-Za-z])(?:pass|pwd|dsn)"
"""Words that prose has as well, but for a sign of equality behind them."""

_VALUE = r"""\\?"(?:[^"\\]|\\[^"])*(?:\\?"|$)|'[^']*(?:'|$)|[^\s"',;&\])}]+"""
_ASSIGNED = re.compile(
    rf"(?P<name>{_NAMES}|{_SHORT_NAMES})(?P<sign>\\?[\"']?\s?=\s?)(?P<value>{_VALUE})", re.IGNORECASE
)
_QUOTED_NAME = re.compile(
    rf"(?P<name>{_NAMES}|{_SHORT_NAMES})(?P<sign>\\?[\"']\s?:\s?)(?P<value>{_VALUE})", re.IGNORECASE
)
_COLON = re.compile(rf"(?P<name>{_NAMES})(?P<sign>:\s{{0,4}})(?P<value>{_VALUE})", re.IGNORECASE)

_OBJECT = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*")
"""NAMESPACE/NAME: what klog calls `secret` is the name of one."""

_PATH = re.compile(r"/(?:etc|var|run|root|home|opt|tmp|usr|srv|mnt)(?:/[\w.-]+)+")

_HARMLESS = frozenset({"", "true", "false", "null", "nil", "<nil>", "none", "{}", "[]", GONE})
_LONG = 12


_SIGNS = (
    (("private key-----",), _PRIVATE_KEY, rf"\1{GONE}"),
    (("eyj",), _JWT, GONE),
    ((".",), _BOOTSTRAP, f".{GONE}"),
    (("authorization", "cookie"), _HEADER, rf"\1{GONE}"),
    (("bearer", "basic", "negotiate"), _SCHEME, rf"\1\2{GONE}"),
    (("@",), _USER_IN_URL, GONE),
)
"""What is looked for, where any of these words stands: a plain search costs a hundredth of a pattern."""

_NAME_SIGNS = (
    "token",
    "pass",
    "pwd",
    "dsn",
    "secret",
    "credential",
    "_key",
    "-key",
    "apikey",
    "sskey",
    "tekey",
    "key-",
)


def without_secrets(text: str) -> str:
    """The same text, of one line or of many, with an ellipsis wherever a secret stood."""
    lower = text.lower()
    for signs, pattern, instead in _SIGNS:
        if any(each in lower for each in signs):
            text = pattern.sub(instead, text)
    if not any(each in lower for each in _NAME_SIGNS):
        return text
    for pattern in (_ASSIGNED, _QUOTED_NAME):
        text = pattern.sub(_assigned, text)
    return _COLON.sub(_said, text)


def _assigned(found: re.Match[str]) -> str:
    """NAME=VALUE or "NAME": VALUE, where the value is no file, no name of an object and no word for none."""
    bare = found["value"].replace("\\", "").strip("\"'")
    harmless = bare.lower() in _HARMLESS or _PATH.fullmatch(bare) or _OBJECT.fullmatch(bare)
    return found[0] if harmless else _gone(found)


def _said(found: re.Match[str]) -> str:
    """NAME: VALUE, which prose has as well: there only what looks like a secret is one."""
    value, quoted = found["value"], found["value"].startswith(("'", '"', "\\"))
    if found["name"].lower().startswith("pass") or found["sign"] == ":":
        return _assigned(found)
    looks_so = len(value) >= _LONG and any(each.isdigit() for each in value)
    return _assigned(found) if looks_so and not quoted else found[0]


def _gone(found: re.Match[str]) -> str:
    quote = re.match(r"\\?[\"']", found["value"])
    around = quote[0] if quote else ""
    return f"{found['name']}{found['sign']}{around}{GONE}{around}"
