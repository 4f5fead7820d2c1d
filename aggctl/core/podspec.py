"""Workloads and the Pods that they make: where the Pod template is, what a container's command line says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggctl.core.shapes import group_of, rows, table, tables, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "CronJob": ("batch", ("spec", "jobTemplate", "spec", "template")),
    "DaemonSet": ("apps", ("spec", "template")),
    "Deployment": ("apps", ("spec", "template")),
    "Job": ("batch", ("spec", "template")),
    "Pod": ("", ()),
    "ReplicaSet": ("apps", ("spec", "template")),
    "ReplicationController": ("", ("spec", "template")),
    "StatefulSet": ("apps", ("spec", "template")),
}
"""The group of each kind of workload, and the path of its Pod template."""

_SHELLS = frozenset({"sh", "bash", "ash", "dash", "busybox", "zsh"})
_SCRIPT = re.compile(r"-[a-zA-Z]*c[a-zA-Z]*")
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


@dataclass(frozen=True, slots=True)
class WhyNot:
    """There is no answer, and why."""

    reason: str


def is_workload(thing: Any) -> bool:
    """Whether it is an object of Kubernetes' own that makes Pods, or is one."""
    group, _ = _TEMPLATES.get(word(thing, "kind"), (None, ()))
    return group == group_of(thing)


def pod_template(workload: dict[str, Any]) -> dict[str, Any]:
    """The Pod template of a workload: its own mapping, not a copy. A Pod is its own template."""
    return table(workload, *_TEMPLATES[workload["kind"]][1])


def pod_spec(workload: dict[str, Any]) -> dict[str, Any]:
    """The spec of the Pods that a workload makes."""
    return table(pod_template(workload), "spec")


def pod_labels(workload: dict[str, Any]) -> dict[str, Any]:
    """The labels of the Pods that a workload makes."""
    return table(pod_template(workload), "metadata", "labels")


def service_account(pod: dict[str, Any]) -> str:
    """The ServiceAccount of a Pod's spec; serviceAccount is the older spelling of the field."""
    return word(pod, "serviceAccountName") or word(pod, "serviceAccount") or "default"


def containers(pod: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The containers of a Pod's spec that run side by side."""
    return tuple(tables(pod, "containers"))


# --- command lines ---------------------------------------------------------------------------------------


def command_line(container: dict[str, Any]) -> tuple[str, ...]:
    """command, then args, with `$(NAME)` replaced as the kubelet does, where the value is known."""
    known = {word(each, "name"): each["value"] for each in tables(container, "env") if word(each, "value")}

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else known.get(match[1], match[0])

    return tuple(_REFERENCE.sub(value, each) for each in _words(container))


def _words(container: dict[str, Any]) -> Iterator[str]:
    return (each for key in ("command", "args") for each in rows(container, key) if isinstance(each, str))


def flag(words: Sequence[str], name: str) -> str | None:
    """The value of a flag, of which the last counts; None where it is not there, '' where it has no value.

    `--f=v`, `--f v`, and `_` for `-`, as the generic API server takes it (component-base,
    WordSepNormalizeFunc).
    """
    found = None
    for at, each in enumerate(words):
        if each == "--":
            break
        given, equals, value = each.partition("=")
        if given[:1] == "-" and given.lstrip("-").replace("_", "-") == name:
            found = value if equals else _following(words, at)
    return found


def _following(words: Sequence[Any], at: int) -> str:
    following = words[at + 1] if at + 1 < len(words) else ""
    return following if isinstance(following, str) and not following.startswith("-") else ""


def started_by_shell(container: dict[str, Any]) -> bool:
    """Whether a shell reads a script, so that a flag behind it would be no flag of the server."""
    words = command_line(container)
    program = words[0].rpartition("/")[2] if words else ""
    return program in _SHELLS and any(_SCRIPT.fullmatch(each) for each in words[1:3])


def with_flag(container: dict[str, Any], name: str, value: str) -> None:
    """Set a flag in place: where it stands, else behind the others."""
    lists = [container[key] for key in ("command", "args") if rows(container, key)]
    if not [words for words in lists if _set(words, name, value)]:
        words = _list_for_flags(container)
        words.insert(words.index("--") if "--" in words else len(words), f"--{name}={value}")


def _set(words: list[Any], name: str, value: str) -> bool:
    """Set every flag of that name in a list, up to a `--`; whether there was one."""
    end = words.index("--") if "--" in words else len(words)
    found = [at for at in range(end) if isinstance(words[at], str) and flag([words[at]], name) is not None]
    for at in found:
        given, equals, _ = words[at].partition("=")
        if not equals and _following(words[:end], at):
            words[at + 1] = value
        else:
            words[at] = f"{given}={value}"
    return bool(found)


def _list_for_flags(container: dict[str, Any]) -> list[Any]:
    """args; or command, where that alone holds flags."""
    command: list[Any] = rows(container, "command")
    if not rows(container, "args") and any(str(each).startswith("-") for each in command):
        return command
    words: list[Any] = rows(container, "args")
    container["args"] = words
    return words


def words_of(pod: dict[str, Any]) -> Iterator[str]:
    """Commands and arguments of a Pod's containers."""
    for one in (pod.get("spec") or {}).get("containers") or []:
        yield from map(str, (*(one.get("command") or ()), *(one.get("args") or ())))
