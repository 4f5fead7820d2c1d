"""The manual page as roff (man(7)), from the command tree: the same words as in each help."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from aggctl import __version__
from aggctl.cli.line import choices
from aggctl.core.report import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Command = tuple[tuple[str, ...], Any]

SHARED_BY = 5
"""An option that so many commands have in the same words stands once, in a section of its own."""

ENVIRONMENT = {
    "KUBECONFIG": "The kubeconfig, or a list of them, where there is no --kubeconfig.",
    "AGGCTL_CERTIFICATE_KEY": "The same as --certificate-key, and not seen in the list of processes.",
    "AGGCTL_COMPLETION_TIMEOUT": "How long completion may ask a cluster that is far away, as 2s.",
    "NO_COLOR": "The same as --no-color.",
    "XDG_STATE_HOME": "Below it lie the records of a user who is not root; default: ~/.local/state.",
    "XDG_CACHE_HOME": "Below it lies what sandboxes run; default: ~/.cache.",
}
FILES = {
    "/etc/kubernetes/admin.conf": "Credentials on a control-plane node, where nothing else is said.",
    "/etc/kubernetes/manifests/kube-apiserver.yaml": "The static Pod whose flags are the layer.",
    "/etc/kubernetes/pki/": "Where certificates of the layer go; --pki-dir names another folder.",
    "/var/lib/aggctl/": "Records and backups of changes, for root alone: they hold private keys.",
    "~/.local/state/aggctl/changes/": "The same of a user who is not root, without private keys of a node.",
    "~/.cache/aggctl/": "Programs that sandboxes run.",
}
SEE_ALSO = "kubectl(1), systemd.timer(5), https://kubernetes.io/docs/tasks/extend-kubernetes/"

DESCRIPTION = """
aggctl switches on the aggregation layer of a Kubernetes control plane, publishes APIs by it, renews its
certificates, and finds what is wrong with it. Changing commands show their plan and ask; what fails is put
back.

Results are on the standard output, talk and progress on the standard error. With -o json there is one
document, whatever happens. Durations are as Go writes them, `90s`, `5m` or `1h30m`, and `30d`. As a plug-in
of kubectl it is `kubectl aggctl`.
"""

_SPECIAL = {"\\": "\\e", "-": "\\-", "^": "\\(ha", "~": "\\(ti", "`": "\\`", "'": "\\(aq"}


def manual(tree: Any) -> str:
    """The whole page; the same text for the same version."""
    commands = [(path, each) for path, each in _walk(tree, ()) if not hasattr(each, "commands")]
    shared = _shared(commands)
    lines = [f'.TH AGGCTL 1 "" "aggctl {__version__}" "aggctl manual"', ".nh", ".ad l"]
    lines += [".SH NAME", f"aggctl \\- {_escaped(tree.help[0].lower() + tree.help[1:].rstrip('.'))}"]
    lines += [".SH SYNOPSIS", ".nf", *(_synopsis(*each) for each in commands), ".fi"]
    lines += [".SH DESCRIPTION", *_text(DESCRIPTION), ".SH COMMANDS"]
    for path, each in _walk(tree, ()):
        lines += [f".SS {_quoted(' '.join(('aggctl', *path)))}", *_text(each.help)] if path else []
        lines += _parameters(each, shared) if path and not hasattr(each, "commands") else []
        lines += _text(each.epilog or "")
    lines += [".SH COMMON OPTIONS", *_text("Those that several commands take, each as it says above.")]
    lines += _options(shared)
    lines += [".SH EXIT STATUS", *_terms({str(status): f"{MEANINGS[status]}." for status in MEANINGS})]
    lines += [".SH ENVIRONMENT", *_terms(ENVIRONMENT), ".SH FILES", *_terms(FILES)]
    return "\n".join([*lines, ".SH SEE ALSO", _escaped(SEE_ALSO)]) + "\n"


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with the words that lead there, in the order of the help."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from _walk(each, (*path, name))


def _shared(commands: list[Command]) -> list[Any]:
    """One of each option that many commands have in the same words."""
    every = [option for _, command in commands for option in _options_of(command)]
    count = Counter(map(_key, every))
    return [option for key, option in {_key(each): each for each in every}.items() if count[key] >= SHARED_BY]


def _key(option: Any) -> tuple[Any, ...]:
    return (*option.opts, *option.secondary_opts, option.metavar, option.help, str(option.default))


def _options_of(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option" and not each.hidden]


def _arguments_of(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "argument"]


def _synopsis(path: tuple[str, ...], command: Any) -> str:
    arguments = "".join(f" \\fI{_escaped(_place(each))}\\fR" for each in _arguments_of(command))
    return f"\\fBaggctl {_escaped(' '.join(path))}\\fR [\\fIOPTIONS\\fR]{arguments}"


def _place(argument: Any) -> str:
    """An argument as a usage line has it: brackets where it may be left out, dots where it may be several."""
    name = re.sub(r"^\[(.*)\](\.\.\.)?$", r"\1", argument.metavar or argument.name.upper())
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 else name


def _parameters(command: Any, shared: list[Any]) -> list[str]:
    """Arguments, the command's own options, and the names of those that stand in the common section."""
    keys = set(map(_key, shared))
    own = [each for each in _options_of(command) if _key(each) not in keys]
    common = [max(each.opts, key=len) for each in _options_of(command) if _key(each) in keys]
    lines: list[str] = []
    for each in _arguments_of(command):
        lines += [".TP", f"\\fI{_escaped(_place(each))}\\fR", _prose(each.help or "")]
    lines += _options(own)
    return [*lines, ".PP", f"Common options: {_prose(', '.join(common))}."] if common else lines


def _options(options: Iterable[Any]) -> list[str]:
    return [line for each in options for line in (".TP", _term(each), _prose(_meaning(each)))]


def _term(option: Any) -> str:
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} \\fI{_escaped(_value(option))}\\fR"


def _value(option: Any) -> str:
    return "|".join(choices(option)) or option.metavar or option.name.upper()


def _meaning(option: Any) -> str:
    default = getattr(option.default, "value", option.default)
    if default in (None, "", False) or not isinstance(default, str | int):
        return str(option.help)
    return f"{option.help} Default: {option.opts[0] if default is True else default}."


def _terms(meanings: dict[str, str]) -> list[str]:
    return [
        line for term in meanings for line in (".TP", f"\\fB{_escaped(term)}\\fR", _prose(meanings[term]))
    ]


def _text(text: str) -> list[str]:
    """Paragraphs; one that begins with \\b, as Typer has it, keeps its lines."""
    lines: list[str] = []
    for paragraph in text.strip("\n").split("\n\n"):
        if paragraph.startswith("\b"):
            kept = [_escaped(line) for line in paragraph.lstrip("\b\n").splitlines()]
            lines += [".PP", ".nf", *kept, ".fi"]
        else:
            lines += [".PP", _prose(paragraph)]
    return lines if text else []


def _prose(text: str) -> str:
    """Running text; what stands between backticks is bold."""
    *parts, last = re.split(r"`([^`\n]+)`", " ".join(text.split()))
    pairs = zip(parts[::2], parts[1::2], strict=True)
    bold = "".join(f"{_escaped(plain)}\\fB{_escaped(code)}\\fR" for plain, code in pairs)
    return bold + _escaped(last)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Text that roff takes for nothing else, in ASCII; hyphens are such that an option can be copied."""
    plain = "".join(
        _SPECIAL.get(each) or (each if each.isascii() else f"\\[u{ord(each):04X}]") for each in text
    )
    return f"\\&{plain}" if plain.startswith(".") else plain
