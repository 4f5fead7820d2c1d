"""The kube-apiserver static Pod: what is refused, with which line and reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.manifests import command, pod, read

from aggctl.core.manifest import read_manifest
from aggctl.core.manifest.yamltext import excerpt
from aggctl.errors import Refused


def refusal(text: str | bytes) -> Refused:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(Refused) as caught:
        read_manifest(data, "kube-apiserver.yaml")
    return caught.value


@dataclass(frozen=True)
class No:
    """A refusal as a sentence: its code, and words of its message (the line among them)."""

    says: str
    text: str | bytes
    code: str
    words: str


MIRROR = "metadata:\n  annotations:\n    kubernetes.io/config.mirror: abc\n"
SCRIPT = ("- |", "  exec kube-apiserver \\", "    --a=1")

REFUSALS = [
    No("9 a file all commented out", "# kind: Pod\n# ---\n", "manifest-no-document", "comments"),
    No("9 a file of --- only", "---\n---\n", "manifest-no-document", "comments"),
    No("an empty file", "", "manifest-empty", "empty"),
    No("a file of blanks", "\ufeff \r\n\n", "manifest-empty", "empty"),
    No(
        "a file of more than 1 MiB",
        b"#" * (1024 * 1024 + 1),
        "manifest-too-large",
        "larger than any static Pod",
    ),
    No("bytes that are no UTF-8", b"a: 1\nb: \xff\n", "manifest-not-text", "line 2"),
    No("a NUL", "a: 1\nb: \0\n", "manifest-not-text", "line 2"),
    No("UTF-16", "kind: Pod".encode("utf-16"), "manifest-not-text", "line 1"),
    No("an old Mac's line ends", "a: 1\n\rb: 2\r", "manifest-not-text", "line 2"),
    No("too deep", "[" * 60, "manifest-too-large", "50 levels"),
    No("too many values", "[" + "1," * 20_001 + "]", "manifest-too-large", "20000 values"),
    No("an alias", "a: &x 1\nb: *x\n", "manifest-has-anchors", "line 1: the anchor &x"),
    No("an alias without an anchor", "a:\n  b: *x\n", "manifest-has-anchors", "line 2: the alias *x"),
    No("a tag", "a: !!python/object:os.system x\n", "manifest-has-anchors", "line 1: a tag"),
    No("a key twice", "a: 1\nb: 2\na: 3\n", "manifest-duplicate-key", "line 3: the key a"),
    No("a list as a key", "? [a]\n: b\n", "manifest-bad-shape", "line 1: a key"),
    No("a syntax error", "a: 1\nb: [\n", "manifest-not-yaml", "line 3"),
    No("an error that the parser does not expect", 'a: "\\UFFFFFFFF"', "manifest-not-yaml", "OverflowError"),
    No(
        "a systemd unit",
        "[Unit]\nDescription=x\n",
        "manifest-not-yaml",
        "line 2: the file is no valid YAML (this belongs",
    ),
    No(
        "two documents",
        command("--a=1") + "---\nkind: Service\n",
        "manifest-several-documents",
        "line 24: a second",
    ),
    No(
        "a first document that is empty",
        "---\n---\n" + command("--a=1"),
        "manifest-several-documents",
        "line 3",
    ),
    No(
        "34 an annotation of the kubelet",
        command("--a=1").replace("metadata:\n", MIRROR),
        "mirror-pod-export",
        "line 5: kubernetes.io/config.mirror",
    ),
    No(
        "34 an owner",
        command("--a=1").replace("metadata:\n", "metadata:\n  ownerReferences: [{kind: Node}]\n"),
        "mirror-pod-export",
        "line 4",
    ),
    No(
        "34 a status",
        command("--a=1") + "status:\n  phase: Running\n",
        "mirror-pod-export",
        "line 23: status",
    ),
    No(
        "35 a DaemonSet",
        command("--a=1").replace("kind: Pod", "kind: DaemonSet"),
        "not-a-static-pod",
        "line 2: this is no static Pod (kind: DaemonSet)",
    ),
    No("a missing kind", "a: 1\n", "not-a-static-pod", "line 1: this is no static Pod (no kind)"),
    No("a kind that is a list", "kind: [Pod]\n", "not-a-static-pod", "no kind"),
    No("a sentence", "hello\n", "not-a-static-pod", "no kind"),
    No("a Pod without spec", "kind: Pod\nmetadata: {}\n", "manifest-bad-shape", "the Pod has no spec"),
    No("a Pod without metadata", "kind: Pod\nspec: {}\n", "manifest-bad-shape", "the Pod has no metadata"),
    No(
        "metadata that is a word",
        "kind: Pod\nspec: {}\nmetadata: x\n",
        "manifest-bad-shape",
        "line 3: metadata is no mapping",
    ),
    No("a Pod without containers", "kind: Pod\nspec: {a: b}\nmetadata: {}\n", "no-kube-apiserver", "line 2"),
    No(
        "containers that are a mapping",
        "kind: Pod\nspec: {containers: {}}\nmetadata: {}\n",
        "manifest-bad-shape",
        "containers is no list",
    ),
    No(
        "27 only a controller-manager",
        pod("command: [kube-controller-manager, --requestheader-allowed-names=x]"),
        "no-kube-apiserver",
        "line 8: no container",
    ),
    No(
        "27 two API servers",
        command("--a=1").replace(
            "  hostNetwork", "  - {image: x, command: [kube-apiserver, --b]}\n  hostNetwork"
        ),
        "several-kube-apiservers",
        "line 17: a second",
    ),
    No(
        "26 a wrapper that is not known",
        pod("command: [/weird, kube-apiserver, --a=1]"),
        "no-kube-apiserver",
        "line 10: kube-apiserver is started through /weird",
    ),
    No(
        "26 hyperkube with another subcommand",
        pod("command: [hyperkube, kubelet, --a=1]"),
        "no-kube-apiserver",
        "no container",
    ),
    No("26 a wrapper that starts nothing", pod("command: [env, A=b]"), "no-kube-apiserver", "no container"),
    No(
        "29 a shell in one line",
        pod('command: ["/bin/sh", "-c", "exec kube-apiserver --a=1 1>>/log 2>&1"]'),
        "manifest-shell-command",
        "line 10: kube-apiserver is started by a shell (/bin/sh)",
    ),
    No(
        "30 a shell and a block of lines",
        pod("command:", "- /bin/bash", "- -c", *SCRIPT),
        "manifest-shell-command",
        "line 13",
    ),
    No(
        "30 a shell and a folded block",
        pod("command: [/bin/bash, -ec]", "args:", "- >", "  hyperkube apiserver", "  --a=1"),
        "manifest-shell-command",
        "line 12",
    ),
    No(
        "31 OpenShift's configuration file",
        command("--openshift-config=/x.yaml"),
        "flags-in-config-file",
        "line 12: this is OpenShift's",
    ),
    No(
        "31 the same in a shell",
        pod("command: [bash, -c, 'exec hypershift openshift-kube-apiserver --config=/x']"),
        "flags-in-config-file",
        "line 10",
    ),
    No("36 cut off behind the binary", pod("command:", "- kube-apiserver"), "manifest-no-flags", "line 8"),
    No("36 no command at all", pod(), "manifest-no-flags", "line 8"),
    No(
        "36 no image",
        command("--a=1").replace("    image: registry.k8s.io/kube-apiserver:v1.34.1\n", ""),
        "manifest-bad-shape",
        "line 8: the kube-apiserver container has no image",
    ),
    No(
        "command as a string",
        pod("command: kube-apiserver --a=1"),
        "manifest-bad-shape",
        "line 10: command is no list",
    ),
    No(
        "an argument that is a mapping",
        command("--a: 1"),
        "manifest-bad-shape",
        "line 12: an argument is a list or a mapping",
    ),
    No("an argument that is a number", command("--secure-port", "6443"), "manifest-bad-shape", "line 13"),
    No("an argument that is nothing", command("--a=1", ""), "manifest-bad-shape", "line 13"),
    No(
        "an image that is a list",
        command("--a=1").replace("image: registry.k8s.io/kube-apiserver:v1.34.1", "image: []"),
        "manifest-bad-shape",
        "line 9: image is no string",
    ),
    No(
        "a mount path that is no path",
        command("--a=1").replace("mountPath: /", "mountPath: "),
        "manifest-bad-shape",
        "line 14: mountPath is no absolute path",
    ),
    No(
        "a volume that is a word",
        command("--a=1") + "  - hello\n",
        "manifest-bad-shape",
        "line 23: a volume is no mapping",
    ),
    No("18 ${VAR}", command("--a=${HOST}"), "manifest-is-template", "line 12: ${HOST} is"),
    No("18 <ip>", command("--advertise-address=<ip>"), "manifest-is-template", "line 12: <ip> is"),
    No("single braces", command("--a={host_ip}"), "manifest-is-template", "line 12: {host_ip} is"),
    No(
        "single braces as a path",
        command("--a=1").replace("mountPath: /etc/kubernetes/pki", "mountPath: {PKI}"),
        "manifest-is-template",
        "line 14: {PKI} is",
    ),
    No(
        "UPPERCASE in braces in an annotation",
        command("--a=1").replace("namespace: kube-system", "namespace: x{NAME}"),
        "manifest-is-template",
        "line 5: {NAME} is",
    ),
    No("__DUNDER__", command("--a=__HOST__"), "manifest-is-template", "line 12: __HOST__ is"),
    No("Jinja in a value", command("--a={{ host }}"), "manifest-is-template", "line 12: {{ host }} is"),
    No(
        "Jinja that is YAML by accident",
        command("--a=1").replace("kube-system", "{{ .Namespace }}"),
        "manifest-is-template",
        "line 5: {{ .Namespace }} is",
    ),
    No(
        "Jinja that is no YAML",
        "# {{ no }}\n{% if x %}\nkind: Pod\n",
        "manifest-is-template",
        "line 2: {% is",
    ),
    No("ERB", command("--a=1").replace("kube-system", "<%= @ns %>"), "manifest-is-template", "line 5: <% is"),
    No(
        "19 a probe is not quoted",
        command("--a=1").replace(
            "volumeMounts", "livenessProbe: {httpGet: {host: 'x {{ s3cret }}'}}\n    volumeMounts"
        ),
        "manifest-is-template",
        "line 13: {{ is",
    ),
]


@pytest.mark.parametrize("no", REFUSALS, ids=lambda no: no.says)
def test_refusal(no: No) -> None:
    error = refusal(no.text)

    assert (error.code, no.words in error.message) == (no.code, True), error.message
    assert error.message.startswith("kube-apiserver.yaml")
    assert error.do
    assert "s3cret" not in error.message


@pytest.mark.parametrize(
    "text",
    [
        command("--a=1  # {{ was here }} <ip> ${X}"),
        command("--a=$(POD_IP)", "--b=X.X.X.X"),
        command("--a=1").replace("metadata:\n", "metadata:\n  labels: { tier: control-plane }\n"),
        command("--a=1").replace(
            "volumeMounts",
            "lifecycle: {preStop: {exec: {command: [sh, -c, 'echo ${X} {a}']}}}\n    volumeMounts",
        ),
    ],
    ids=["comments", "$(VAR) and X.X.X.X", "a flow mapping", "a shell's variables in a hook"],
)
def test_what_only_looks_like_a_template_is_read(text: str) -> None:
    assert read(text).values("a")


def test_a_long_foreign_text_is_cut_and_made_printable() -> None:
    assert excerpt("a\x1b\n" + "x" * 99) == "a??" + "x" * 56 + "…"
