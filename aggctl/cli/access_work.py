"""What `aggctl access` does with what was typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggctl.cli import options as o
from aggctl.cli.wiring import Access, asker, cluster_ports, run_command
from aggctl.core.access.check import Asked
from aggctl.core.access.revoke import Unwanted
from aggctl.core.access.rules import Wanted
from aggctl.core.access.subjects import is_name, parse_subject
from aggctl.core.extension import parse_api, parse_namespace
from aggctl.core.text import clean
from aggctl.errors import UsageError
from aggctl.workflows import access as workflow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggctl.cli.wiring import Manners
    from aggctl.core.access.subjects import Subject
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports

_VERB = re.compile(r"[a-z]{1,40}|\*")
_RESOURCE = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9._:/*-]{0,251}[A-Za-z0-9*])?")


@dataclass(frozen=True, slots=True)
class Typed:
    """What is to be granted or taken back, as it was typed."""

    api: str
    to: tuple[str, ...]
    namespace: str
    aggregate: str
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """To whom; UsageError where one is nobody."""
        return tuple(dict.fromkeys(parse_subject(each) for each in self.to))

    @property
    def place(self) -> str:
        """The namespace, "" where none is named; UsageError where a built-in role cannot be meant there."""
        if self.namespace and self.aggregate:
            raise UsageError(
                "option-without-effect",
                f"--aggregate {self.aggregate} is about a ClusterRole, which is in no namespace",
                expected="--aggregate without --namespace",
                do=f"aggctl access grant {clean(self.api, 120)} --aggregate {self.aggregate}",
            )
        return parse_namespace(self.namespace) if self.namespace else ""


@dataclass(frozen=True, slots=True)
class TypedQuestion:
    """What is asked by `check`, as it was typed."""

    api: str
    user: str
    groups: tuple[str, ...]
    verb: str
    resource: str
    name: str
    namespace: str

    def checked(self) -> Asked:
        """The same, understood; UsageError where it is not."""
        for option, name in (("--as", self.user), *(("--as-group", each) for each in self.groups)):
            if not is_name(name):
                raise _usage("subject-not-understood", f"{option} {clean(name, 80)!r} names nobody", "a name")
        if self.name and self.verb == "list":
            raise _usage("option-without-effect", "--name is of one object, and list is of all", "--verb get")
        return Asked(
            parse_api(self.api),
            self.user,
            self.groups,
            _fitting((self.verb,), _VERB, "--verb", "*")[0] if self.verb else "",
            _fitting((self.resource,), _RESOURCE, "--resource", "*")[0] if self.resource else "",
            parse_namespace(self.namespace) if self.namespace else "",
            _object_name(self.name),
        )


def grant(
    typed: Typed,
    access: o.TypedAccess,
    manners: Manners,
    *,
    timeout: str,
    force_conflicts: bool,
    dry_run: bool,
) -> int:
    """Grant, and say what became of it."""

    def work() -> Report:
        if not typed.to and not typed.aggregate:
            raise _nobody("--to group:NAME, or --aggregate view")
        wanted = Wanted(
            parse_api(typed.api),
            typed.subjects,
            _fitting(_words(typed.verbs), _VERB, "--verbs"),
            _fitting(_words(typed.resources), _RESOURCE, "--resources"),
            typed.place,
            typed.aggregate,
            deadline=o.some_seconds(timeout, "--timeout"),
            manager=access.manager,
            force_conflicts=force_conflicts,
        )
        return workflow.grant(_ports(access, manners), wanted, asker(manners), dry_run=dry_run)

    return run_command(workflow.GRANT, manners, work)


def revoke(typed: Typed, access: o.TypedAccess, manners: Manners, *, everything: bool, dry_run: bool) -> int:
    """Take back, and say what went."""

    def work() -> Report:
        if not (typed.to or typed.aggregate or everything):
            raise _nobody("--to group:NAME, --aggregate view, or --all")
        if everything and (typed.to or typed.aggregate):
            raise _usage(
                "option-without-effect", "--all leaves nobody out, --to is about somebody", "one of them"
            )
        unwanted = Unwanted(parse_api(typed.api), typed.subjects, typed.place, typed.aggregate, everything)
        return workflow.revoke(_ports(access, manners), unwanted, asker(manners), dry_run=dry_run)

    return run_command(workflow.REVOKE, manners, work)


def show_list(api: str, access: o.TypedAccess, manners: Manners, *, namespace: str, wide: bool) -> int:
    """List who reaches the API."""

    def work() -> Report:
        found, place = parse_api(api), parse_namespace(namespace) if namespace else ""
        return workflow.list_access(_ports(access, manners), found, place, wide=wide)

    return run_command("access list", manners, work)


def check(typed: TypedQuestion, access: o.TypedAccess, manners: Manners) -> int:
    """Say whether somebody may use the API."""

    def work() -> Report:
        asked = typed.checked()
        return workflow.check(_ports(access, manners), asked)

    return run_command("access check", manners, work)


def _ports(access: o.TypedAccess, manners: Manners) -> Ports:
    return cluster_ports(Access(*access.checked()), manners)


def _words(typed: Iterable[str]) -> tuple[str, ...]:
    """`get,list` and options that are repeated alike."""
    return tuple(dict.fromkeys(each for word in typed for each in word.split(",")))


def _fitting(
    words: tuple[str, ...], shape: re.Pattern[str], option: str, banned: str = ""
) -> tuple[str, ...]:
    for each in words:
        if not shape.fullmatch(each) or each == banned:
            raise _usage(
                "words-not-understood",
                f"{option} {clean(each, 80)!r} is none",
                "names as the API's discovery has them, as get,list or greetings,pods/requests",
            )
    return words


def _object_name(text: str) -> str:
    """A name that can be a part of a path."""
    if text and not (is_name(text) and "/" not in text and text not in (".", "..")):
        raise _usage(
            "words-not-understood", f"--name {clean(text, 80)!r} is no name of an object", "without a slash"
        )
    return text


def _nobody(expected: str) -> UsageError:
    return _usage("subject-not-understood", "nobody is named", expected)


def _usage(code: str, message: str, expected: str) -> UsageError:
    return UsageError(code, message, expected=expected, do="aggctl access --help shows the commands")
