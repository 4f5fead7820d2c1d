"""Templates that nobody has rendered yet, told from manifests that hold braces for a good reason.

Braces alone prove nothing: alerts, dashboards, Vault's annotations and ConfigMaps with a template as their
payload are full of them. So there are two rules, and where neither speaks the server decides in its dry run:

- where the API takes but a name, a label, a number or an image, a brace, `$`, `<` or `%` is a placeholder;
- Helm's own words (`{{ .Values`, `{{ .Release`, `{{ include "` …) are one anywhere in an object.

Neither looks into the payload of a ConfigMap or Secret, the schema of a CRD, the spec of a custom resource.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggctl.core.shapes import BUILT_IN_GROUPS, group_kind, group_of
from aggctl.core.text import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_SIGN = re.compile(r"\{\{|\{%|<%|__[A-Z][A-Z0-9_]*__")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")
_IN_NAME = re.compile(r"[{}$<>%]|__[A-Z][A-Z0-9_]*__")
_HELM = re.compile(
    r"\{\{[^{}\n]{0,200}?(?:\.(?:Values|Release|Chart|Capabilities|Files)\b|\b(?:include|template|tpl)\s+[\"$])"
)

_NAMES = frozenset(
    {
        "apiVersion", "kind", "name", "namespace", "image", "group", "version", "serviceAccountName",
        "serviceAccount", "secretName", "claimName", "priorityClassName", "storageClassName",
        "runtimeClassName", "externalName", "clusterIP", "port", "targetPort", "containerPort", "nodePort",
        "replicas", "caBundle", "groupPriorityMinimum", "versionPriority", "insecureSkipTLSVerify",
    }
)  # fmt: skip
_LABELS = frozenset({"labels", "matchLabels", "selector", "nodeSelector"})
_PAYLOADS = frozenset(
    {("", "ConfigMap"), ("", "Secret"), ("apiextensions.k8s.io", "CustomResourceDefinition")}
)


def in_text(text: str) -> tuple[int, str] | None:
    """The line and the sign of the first template expression of a file that is no YAML."""
    for line, words in enumerate(text.splitlines(), start=1):
        if found := _SIGN.search(_COMMENT.sub("", words)):
            return line, found[0]
    return None


def in_object(thing: dict[str, Any]) -> str | None:
    """The placeholder in an object, fit to show; None where there is none."""
    deep = group_of(thing) in BUILT_IN_GROUPS and group_kind(thing) not in _PAYLOADS
    looked_at = thing if deep else {key: thing.get(key) for key in ("apiVersion", "kind", "metadata")}
    for text, is_name in _scalars(looked_at):
        if is_name and _IN_NAME.search(text):
            return clean(text, 60)
        if helm := _HELM.search(text):
            return clean(helm[0], 60)
    return None


def _scalars(value: Any, *, name: bool = False) -> Iterator[tuple[str, bool]]:
    """Every string, and whether it stands where the API takes a name only."""
    if isinstance(value, str):
        yield value, name
    elif isinstance(value, list):
        for each in value:
            yield from _scalars(each, name=name)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "env":  # names of variables may hold almost anything
                yield from ((text, False) for text, _ in _scalars(each))
            elif key != LAST_APPLIED:
                yield from _scalars(each, name=name or _takes_name(key))


def _takes_name(key: str) -> bool:
    return key in _NAMES or key in _LABELS or key.startswith("cert-manager.io/")


def is_template(where: str, sign: str, *, found: str = "") -> Refused:
    """The refusal of a file that somebody still has to render."""
    return Refused(
        "objects-template",
        f"{where}: {sign} is a placeholder, so this is a template and no manifest.",
        found=found,
        expected="manifests as they come out of helm template, kustomize build or envsubst",
        do="render it first: helm template CHART | aggctl register -f -",
    )
