"""The user's own manifests: what is refused, with which place and reason."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from aggctl.core.manifestset import builder, read_set
from aggctl.core.manifestset.builder import NODES
from aggctl.core.manifestset.text import LIMIT
from aggctl.errors import Refused

API = """\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.things.example.com}
spec: {group: things.example.com}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
CLUSTER_ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n"
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NESTED = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [[[[[[[[[*a{n - 1}]]]]]]]]]\n" for n in range(1, 15))


@dataclass(frozen=True)
class No:
    """A refusal as a sentence: its code, and words of its message."""

    says: str
    text: str | bytes
    code: str
    words: str
    name: str = "x.yaml"


def named(before: str, after: str) -> str:
    return CONFIG.replace(before, after)


REFUSALS = [
    # --- no text
    No("more than 2 MiB", b"#" * (LIMIT + 1), "objects-too-large", "x.yaml is larger"),
    No("bytes that are no UTF-8", b"a: 1\nb: \xff\n", "objects-not-text", "is no UTF-8 in line 2"),
    No("a NUL", "a: 1\nb: \0\n", "objects-not-text", r"has the control character '\x00' in line 2"),
    No("an image", b"\x89PNG\r\n\x1a\n", "objects-not-text", "is no UTF-8 in line 1"),
    No("UTF-16", CONFIG.encode("utf-16"), "objects-not-text", "PowerShell"),
    No("half a character", 'a: "\\ud800"\n', "objects-not-text", "line 1: it has half a character"),
    No("half a character in JSON", '{"\\ud800": 1}', "objects-not-text", "line 1: it has half a character"),
    # --- no YAML
    No("a syntax error", "a: 1\nb: [\n", "objects-not-yaml", "line 3: the file is no valid YAML"),
    No(
        "prose",
        "[x]\nSection=y\n",
        "objects-not-yaml",
        "line 2: the file is no valid YAML (this belongs to nothing",
    ),
    No("an error nobody expects", 'a: "\\UFFFFFFFF"', "objects-not-yaml", "OverflowError"),
    No("JSON cut off", '{"a": [1,', "objects-not-yaml", "x.yaml, line 1"),
    No(
        "an unknown alias",
        "a: 1\nb: *hunter2\n",
        "objects-not-yaml",
        "line 2: an alias (*) stands here for nothing",
    ),
    No("an alias of itself", "a: &a [*a]\n", "objects-not-yaml", "line 1: an alias (*)"),
    No(
        "an alias as a key",
        "a: &a x\nb: {*a : 1}\n",
        "objects-not-yaml",
        "line 2: an alias (*) stands where a key",
    ),
    No("a tag", "a: 1\nb: !hunter2 x\n", "objects-not-yaml", "line 2: a YAML tag"),
    No("a tag on a list", "a: !hunter2 [1]\n", "objects-not-yaml", "line 1: a YAML tag"),
    No(
        "a tag that is a password",
        "a: !hunter2!x y\n",
        "objects-not-yaml",
        "line 1: the file is no valid YAML (a YAML tag",
    ),
    No("a list as a key", "a: {x: 1}\n? [a]\n: b\n", "objects-not-yaml", "line 2: a list or a mapping"),
    No("no key", "? \n: b\n", "objects-not-yaml", "line 1: a key is missing or null"),
    No("a merge of a word", "a: {<<: 1}\n", "objects-not-yaml", "line 1: `<<` merges a mapping"),
    No("a key twice", "a: 1\nb: 2\na: 3\n", "objects-duplicate-key", "line 3: the key a stands here again"),
    No("a key twice in JSON", '{"a": 1, "a": 2}', "objects-duplicate-key", "x.yaml: the key a stands twice"),
    # --- more than it says
    No("a billion laughs", LAUGHS, "objects-alias-bomb", f"line 6: it has more than {NODES}"),
    No(
        "a long string, often",
        f"a: &a {'x' * 90000}\nb: [{'*a,' * 1000}]\n",
        "objects-alias-bomb",
        "line 2: it has more",
    ),
    No("depth by aliases", NESTED, "objects-alias-bomb", "line 12: aliases nest it"),
    No(
        "too many values in JSON",
        json.dumps({"a": [1] * NODES}),
        "objects-too-large",
        "line 1: it holds more",
    ),
    No("too deep", "[" * 101, "objects-too-large", "more than 100 levels"),
    No("too deep in JSON", '{"a":' * 101 + "1" + "}" * 101, "objects-too-large", "line 1: it holds more"),
    No("far too deep in JSON", '{"a":' * 100_000, "objects-too-large", "more than 100 levels"),
    No(
        "too many objects",
        "\n---\n".join(named("c", f"c{n}") for n in range(1001)),
        "objects-too-large",
        "x.yaml, line 5001",
    ),
    # --- templates
    No(
        "Helm, and no YAML",
        "# {{ no }}\n{{- if .Values.x }}\na: b\n{{- end }}\n",
        "objects-template",
        "line 2: {{ is",
    ),
    No("Helm in the middle", 'a: {{ include "x" . }}-y\n', "objects-template", "line 1: {{ is"),
    No("Jinja, and no YAML", "a: b\n{% if x %}\nc: d\n", "objects-template", "line 2: {% is"),
    No("ERB, and no YAML", "a: b\n<% if x %>\nc: d\n", "objects-template", "line 2: <% is"),
    No("a line to fill in", "a:\n__MORE__\n- b\n", "objects-template", "line 2: __MORE__ is"),
    No("a template as a key", "a: 1\n{{ x }}: 2\n", "objects-template", "line 2: {{ is"),
    No("a mapping as a key", "a: 1\n{x: y}: 2\n", "objects-not-yaml", "line 2: a list or a mapping"),
    No("YAML by accident", "a: 1\nb: {{ x }}\n", "objects-template", "line 2: {{ is"),
    No("a name", named("name: c", "name: '{{ x }}'"), "objects-template", "line 1: {{ x }} is"),
    No("a shell's variable", named("name: c", "name: c, namespace: '${NS}'"), "objects-template", "${NS} is"),
    No("a kustomize variable", named("name: c", "name: $(NAME)"), "objects-template", "$(NAME) is"),
    No("a hint to fill in", named("name: c", "name: <your-name>"), "objects-template", "<your-name> is"),
    No("__DUNDER__", named("name: c", "name: x, labels: {a: __X__}"), "objects-template", "__X__ is"),
    No(
        "a bundle to fill in",
        API.replace("spec: {", "spec: {caBundle: '${CA_BUNDLE}', "),
        "objects-template",
        "${CA",
    ),
    No(
        "Helm's words in an annotation",
        named("name: c", "name: c, annotations: {a: 'x {{ .Release.Name }}'}"),
        "objects-template",
        "line 1: {{ .Release is",
    ),
    No(
        "a placeholder for cert-manager",
        named("name: c", "name: c, annotations: {cert-manager.io/inject-ca-from: $(NS)/x}"),
        "objects-template",
        "$(NS)/x is",
    ),
    No(
        "Helm's words in a variable of a Pod",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {c: [{env: [{value: '{{ .Values.a }}'}]}]}\n",
        "objects-template",
        "{{ .Values is",
    ),
    No(
        "a name in a List",
        json.dumps(
            {"kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "${A}"}}]}
        ),
        "objects-template",
        "line 1, item 1: ${A} is",
    ),
    # --- the input of another tool
    No(
        "a kustomization",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
        "objects-to-be-rendered",
        "line 1: this is a Kustomization of kustomize.config.k8s.io/v1beta1,",
    ),
    No(
        "a short kustomization",
        "resources: [a.yaml]\n",
        "objects-to-be-rendered",
        "a kustomization,",
        "d/kustomization.yaml",
    ),
    No(
        "a chart",
        "apiVersion: v2\nname: x\nversion: 1.2.3\n",
        "objects-to-be-rendered",
        "the Chart.yaml of a Helm chart",
    ),
    No("values", "image: x\n", "objects-to-be-rendered", "a file of values", "chart/values.yaml"),
    No("other values", "image: x\n", "objects-to-be-rendered", "a file of values", "values-prod.yml"),
    No(
        "an OpenShift template",
        "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: '${X}'}\n",
        "objects-to-be-rendered",
        "a Template of template.openshift.io/v1",
    ),
    # --- no object
    No("a word", "hello\n", "object-malformed", "line 1: this is text"),
    No("a list", "- a\n", "object-malformed", "line 1: this is a list"),
    No("a number", "# x\n5\n", "object-malformed", "line 2: this is a number"),
    No("no apiVersion", "kind: Pod\n", "object-malformed", "line 1: this has no apiVersion"),
    No(
        "an apiVersion that is none", named("v1", "a/b/c"), "object-malformed", "its apiVersion cannot be one"
    ),
    No("no kind", "apiVersion: v1\n", "object-malformed", "this has no kind"),
    No("a kind that is none", named("ConfigMap", "config map"), "object-malformed", "its kind cannot be one"),
    No("no metadata", "apiVersion: v1\nkind: Pod\n", "object-malformed", "its metadata is nothing"),
    No(
        "metadata of a wrong type",
        "apiVersion: v1\nkind: Pod\nmetadata: [a]\n",
        "object-malformed",
        "metadata is a list",
    ),
    No("no name", named("name: c", "generateName: c"), "object-malformed", "this has no name"),
    No("a name that is a number", named("name: c", "name: 5"), "object-malformed", "its name cannot be one"),
    No("a name that is a path", named("name: c", "name: ../x"), "object-malformed", "its name cannot be one"),
    No("a name of dots", named("name: c", "name: '..'"), "object-malformed", "its name cannot be one"),
    No(
        "a bad namespace",
        named("name: c", "name: c, namespace: A/b"),
        "object-malformed",
        "its namespace cannot be one",
    ),
    No(
        "a namespace that is true",
        named("name: c", "name: c, namespace: yes"),
        "object-malformed",
        "its namespace",
    ),
    No(
        "labels that are a list",
        named("name: c", "name: c, labels: [a]"),
        "object-malformed",
        "metadata.labels is a list",
    ),
    No(
        "a label that is a number",
        named("name: c", "name: c, labels: {v: 1.10}"),
        "object-malformed",
        "of v in metadata.labels",
    ),
    No(
        "an annotation that is true",
        named("name: c", "name: c, annotations: {a: yes}"),
        "object-malformed",
        "is a boolean",
    ),
    No(
        "a word in a List",
        json.dumps({"kind": "List", "items": ["x"]}),
        "object-malformed",
        "line 1, item 1: this is text",
    ),
    # --- no set
    No(
        "one object twice",
        CONFIG + "---\n" + CONFIG,
        "object-twice",
        "in x.yaml, line 1 and in x.yaml, line 5",
    ),
    No(
        "a ClusterRole twice, in two namespaces that it does not have",
        f"{CLUSTER_ROLE}metadata: {{name: a, namespace: b}}\n---\n{CLUSTER_ROLE}metadata: {{name: a}}\n",
        "object-twice",
        "ClusterRole a stands twice",
    ),
    No(
        "an APIService in two versions",
        API + "---\n" + API.replace("io/v1", "io/v1beta1"),
        "object-twice",
        "APIService v1.t",
    ),
    No("nothing at all", "", "no-apiservice", "there is no APIService"),
    No("only comments", "# a\n---\n# b\n", "no-apiservice", "there is no APIService"),
]


def refusal(no: No) -> Refused:
    data = no.text.encode() if isinstance(no.text, str) else no.text
    with pytest.raises(Refused) as caught:
        read_set([(no.name, data)])
    return caught.value


@pytest.mark.parametrize("no", REFUSALS, ids=lambda no: no.says)
def test_refusal(no: No) -> None:
    error = refusal(no)

    assert (error.code, no.words in error.message) == (no.code, True), error.message
    assert error.message.endswith(".")
    assert error.do
    assert "hunter2" not in f"{error.message} {error.found} {error.do}"


def test_a_template_that_is_no_yaml_tells_what_the_parser_said() -> None:
    error = refusal(No("", "a: b\n{{ if x }}\nc: d\n", "", ""))

    assert error.found == "no valid YAML (could not find expected ':'), line 3"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no object at all"),
        (CONFIG, "ConfigMap c"),
        (
            "apiVersion: management.cattle.io/v3\nkind: APIService\nmetadata: {name: h}\n",
            "APIService h of management.cattle.io/v3 (another product's kind of that name)",
        ),
        (
            "\n---\n".join(named("c}", f"c{n}}}") for n in range(10)),
            ", ".join(f"ConfigMap c{n}" for n in range(8)) + " and 2 more",
        ),
    ],
    ids=["nothing", "another kind", "another group's kind", "many"],
)
def test_a_set_without_an_apiservice_tells_what_there_was(text: str, found: str) -> None:
    assert refusal(No("", text, "", "")).found == found


def test_foreign_words_are_made_fit_to_show() -> None:
    error = refusal(No("", json.dumps({"apiVersion": "v1", "kind": "Pod\x1b[31m" + "x" * 200}), "", ""))

    assert error.found == "Pod" + "x" * 76 + "…"


def test_too_many_values_are_refused_before_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "NODES", 100)

    error = refusal(No("", "a:\n" + "- x\n" * 100, "", ""))

    assert (error.code, error.message) == (
        "objects-too-large",
        "x.yaml, line 99: it has more than 100 keys and values.",
    )


def test_files_are_one_set() -> None:
    with pytest.raises(Refused, match=r"in a\.yaml, line 1 and in b\.yaml, line 1"):
        read_set([("a.yaml", API.encode()), ("b.yaml", API.encode())])


def test_a_kind_of_flux_is_no_kustomization() -> None:
    flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x}\n"

    assert len(read_set([("x", f"{API}---\n{flux}".encode())])) == 2
