"""All that doctor saw as text, with secrets removed, and back: the same verdict, elsewhere.

A value is a JSON scalar, or an object with one of the keys `tuple`, `text`, `bytes`, `json`, or `is` for one
of our records by its name and fields. Only records of `questions` come back: a bundle is a stranger's file.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aggctl.core import questions
from aggctl.core.persist.configuration import KEY, PATH, layer_part
from aggctl.core.persist.patch import FILE, is_ours, patch_file, patched_flags
from aggctl.core.questions import (
    AnswerSeen,
    ContainerLogs,
    FileAt,
    FileSeen,
    LogSeen,
    MetadataIn,
    ObjectAt,
    PodLog,
    ProcessSeen,
    Stamp,
    Unknown,
)
from aggctl.core.secrets_out import without_secrets
from aggctl.core.snapshot import Snapshot
from aggctl.core.typed import NotTyped, read_json, typed
from aggctl.errors import Refused

VERSION = "aggctl/bundle/v1"
_RECORDS = {
    name: found
    for name, found in vars(questions).items()
    if isinstance(found, type) and dataclasses.is_dataclass(found)
}
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_PROXY = re.compile(r"(?:https?|no|all)_proxy", re.IGNORECASE)
_ITEM = re.compile(r"(?=^[ \t]*- )|(?=\{)", re.MULTILINE)
"""Where an item of a list begins, in either style of YAML: a variable, or a header of a probe."""

_VALUE = re.compile(
    r"""(?P<key>\bvalue["']?:[ \t]*)(?P<value>[|>][^\n]*(?:\n[ \t]+(?!name:).*)*|[^\s,}][^\n,}]*)"""
)
_SECRET_FLAG = re.compile(
    r"--?[\w-]*(?:token|passw(?:or)?d|pass|pwd|secret|key|dsn|credentials?)", re.IGNORECASE
)
_SECRET_KEY = re.compile(
    r"(?:.*[/_.-])?(?:token|passw(?:or)?d|pass|pwd|dsn|(?:api|access|secret|private)[_-]?key)", re.IGNORECASE
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?")
_GONE = "removed"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A diagnosis to be made again: what it was made with, and all that was seen."""

    server: str
    problem: tuple[str, str]
    names: tuple[str, ...]
    now: datetime
    held: str
    snapshot: Snapshot


def write_bundle(bundle: Bundle) -> str:
    """The bundle as JSON, the same bytes for the same bundle; secrets are left out here."""
    answers = [
        {"question": _encode(asked), "answer": _encode(_without_secrets(asked, answer))}
        for asked, answer in bundle.snapshot.answers.items()
    ]
    document = {
        "apiVersion": VERSION,
        "server": bundle.server,
        "problem": list(bundle.problem),
        "names": list(bundle.names),
        "now": bundle.now.isoformat(),
        "held": bundle.held,
        "answers": sorted(answers, key=lambda each: json.dumps(each["question"], sort_keys=True)),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_bundle(text: str, where: str) -> Bundle:
    """What a bundle holds; Refused for anything else."""
    try:
        document = read_json(text.encode("utf-8", "replace"))
        if document["apiVersion"] != VERSION:
            raise unreadable(where, f"its version is {str(document['apiVersion'])[:60]!r}")
        answers = dict(_answer(each) for each in document["answers"])
        code, message = map(str, document["problem"])
        return Bundle(
            str(document["server"]),
            (code, message),
            tuple(map(str, document["names"])),
            datetime.fromisoformat(document["now"]).astimezone(UTC),
            str(document["held"]),
            Snapshot(answers),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise unreadable(where, f"{type(error).__name__} while reading it") from error


def _answer(found: dict[str, Any]) -> tuple[Any, Any]:
    """A question with its answer, which is held against the API as if a server gave it."""
    asked, answer = _decode(found["question"]), _decode(found["answer"])
    if isinstance(asked, ObjectAt | MetadataIn) and isinstance(answer, dict):
        try:
            typed(asked.path, answer, partial=isinstance(asked, MetadataIn))
        except NotTyped as error:
            return asked, Unknown(f"the bundle has another thing for {asked.path}: {error}")
    return asked, answer


def unreadable(where: str, found: str) -> Refused:
    """Why a file, or what is in it, is no bundle."""
    return Refused(
        "bundle-not-readable",
        f"{where} is no bundle that this version of aggctl can read",
        found=found,
        expected=f"a file that `aggctl doctor --bundle` wrote ({VERSION})",
        do="make a new one: aggctl doctor --bundle FILE.tar.gz",
    )


# --- values as JSON, and back ------------------------------------------------------------------------------


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: _encode(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return {"is": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return {"tuple": [_encode(each) for each in value]}
    if isinstance(value, bytes):
        return _encode_bytes(value)
    return {"json": value} if isinstance(value, dict | list) else value


def _encode_bytes(value: bytes) -> dict[str, str]:
    """Text as text, so that whoever hands it on can read what it is."""
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(value).decode()}


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "is" in value:
        fields = {str(name): _decode(each) for name, each in value["fields"].items()}
        return _RECORDS[value["is"]](**fields)
    if "tuple" in value:
        return tuple(_decode(each) for each in value["tuple"])
    if "text" in value:
        return str(value["text"]).encode()
    if "bytes" in value:
        return base64.b64decode(value["bytes"], validate=True)
    return value["json"]


# --- what must not leave ----------------------------------------------------------------------------------


def _without_secrets(asked: questions.Question, answer: Any) -> Any:
    """The answer as a stranger may see it; keys and Secrets were never part of one."""
    match asked, answer:
        case FileAt(path), FileSeen():
            content = _of_patch(answer.content) if path == FILE else _of_file(answer.content)
            return dataclasses.replace(answer, content=content, stamp=_unlike(answer.stamp))
        case ContainerLogs(), tuple():
            return tuple(
                dataclasses.replace(each, lines=_lines(each.lines)) if isinstance(each, LogSeen) else each
                for each in answer
            )
        case PodLog(), tuple():
            return _lines(answer)
        case _, AnswerSeen():
            return dataclasses.replace(answer, said=without_secrets(answer.said))
        case _, Unknown():
            return dataclasses.replace(answer, reason=without_secrets(answer.reason))
        case ObjectAt(path, _), dict():
            return _of_kubeadm(answer) if path == PATH else _of_object(answer)
        case _, tuple() if answer and isinstance(answer[0], ProcessSeen):
            return tuple(dataclasses.replace(each, argv=_lines(each.argv)) for each in answer)
    return answer


def _unlike(stamp: Stamp) -> Stamp:
    """A digest of what held a secret would tell whether a guess is right."""
    return dataclasses.replace(stamp, digest="")


def _of_file(content: bytes) -> bytes:
    items = _ITEM.split(content.decode("utf-8", "replace"))
    return _of_text("".join(map(_of_item, items))).encode()


def _of_patch(content: bytes) -> bytes:
    """Of a patch file of ours its flags, as they are those of the layer; of another one nothing."""
    return patch_file(patched_flags(content), ()) if is_ours(content) else b""


def _of_kubeadm(found: dict[str, Any]) -> dict[str, Any]:
    return {"data": {KEY: layer_part(str((found.get("data") or {}).get(KEY) or ""))}}


def _of_text(text: str) -> str:
    """Of a file of certificates nothing but these: what stands beside them is nobody's business."""
    return "".join(_CERTIFICATE.findall(text)) or without_secrets(text)


def _of_word(text: str) -> str:
    """A value in an object; what certificates are published in is public already, and its size counts."""
    public = "BEGIN CERTIFICATE" in text and "PRIVATE KEY" not in text
    return text if public else without_secrets(text)


def _of_item(text: str) -> str:
    """Proxies stay, as they are what may be wrong; whoever logs in to one is left out later."""
    name = re.search(r"""\bname["']?:[ \t]*["']?([\w.-]+)""", text)
    return text if name and _PROXY.fullmatch(name[1]) else _VALUE.sub(rf"\g<key>{_GONE}", text)


def _lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_words([without_secrets(each) for each in lines]))


def _words(words: list[Any]) -> list[Any]:
    """Arguments, where a secret may be the word behind its flag; a path is none."""
    return [
        _GONE
        if isinstance(word, str)
        and isinstance(before, str)
        and _SECRET_FLAG.fullmatch(before)
        and not word.startswith(("/", "-"))
        else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def _of_object(value: Any) -> Any:
    """An object without values of variables, without what was applied last, and without managers."""
    if isinstance(value, list):
        return _words([_of_object(each) for each in value])
    if not isinstance(value, dict):
        return _of_word(value) if isinstance(value, str) else value
    kept = {
        name: _GONE if isinstance(each, str) and _SECRET_KEY.fullmatch(str(name)) else _of_object(each)
        for name, each in value.items()
        if name not in ("managedFields", _LAST_APPLIED, "env", "envFrom")
    }
    if "env" in value:
        kept["env"] = [_of_env(each) for each in value["env"] or []]
    return kept


def _of_env(variable: Any) -> Any:
    name = str(variable.get("name")) if isinstance(variable, dict) else ""
    if _PROXY.fullmatch(name):
        return {"name": name, "value": without_secrets(str(variable.get("value") or ""))}
    return {"name": name, "value": _GONE}
