"""Reads a static Pod's tree from the top, and refuses at the first thing that cannot be right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aggctl.core.manifest.model import Manifest, Mount, Site
from aggctl.core.manifest.notes import notes_of
from aggctl.core.manifest.program import (
    config_file_word,
    is_apiserver_image,
    is_program,
    program_index,
    read_flags,
    shell_with_apiserver,
)
from aggctl.core.manifest.yamltext import (
    TEMPLATE,
    Items,
    Node,
    Scalar,
    Table,
    bad_shape,
    excerpt,
    is_null,
    is_string,
    is_template,
    is_true,
    walk,
)
from aggctl.core.paths import clean
from aggctl.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MIRROR = ("kubernetes.io/config.mirror", "kubernetes.io/config.source")
_VARIABLE = re.compile(r"\$\{[^}\n]*\}?|\{[A-Za-z_][A-Za-z0-9_.]*\}|<[A-Za-z][^<>\n]*>")
"""Placeholders that nobody expands: `$(VAR)` is Kubernetes' own, `${VAR}` would reach the binary as it is."""


class Reader:
    """Makes a Manifest of a parsed file."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    def read(self, document: Node) -> Manifest:
        """The manifest; Refused at the first thing that cannot be right."""
        pod = self._pod(document)
        self._refuse_export(pod)
        spec = self._table(pod, "spec", pod)
        metadata = self._table(pod, "metadata", pod)
        container, words, program = self._find_container(spec)
        placed = read_flags(words[program + 1 :])
        if not placed:
            raise self._no_flags(container)
        volumes = self._volumes(spec)
        self.refuse_variables(container, metadata, words, volumes)
        mounts, shadows = self.mounts(container, volumes)
        return Manifest(
            path=self.path,
            text=self.text,
            pod_name=self._text_of(metadata, "name"),
            namespace=self._text_of(metadata, "namespace") or "default",
            container=self._text_of(container, "name"),
            image=self._image(container),
            argv=tuple(word.value for word in words),
            flags=tuple(each.flag for each in placed),
            mounts=mounts,
            env=self._env(container),
            host_network=is_true(spec.get("hostNetwork")),
            notes=notes_of(words[program + 1 :], placed, mounts, spec),
            site=Site(pod, spec, container, words, placed, shadows),
        )

    # --- is it a static Pod? -----------------------------------------------------------------------------

    def _pod(self, document: Node) -> Table:
        private = {id(node) for node in _private(document)}
        for node in walk(document):
            if found := _template_in(node, self.text):
                raise is_template(self.path, node.line, found[:2] if id(node) in private else found)
        kind = document.get("kind") if isinstance(document, Table) else None
        if isinstance(document, Table) and isinstance(kind, Scalar) and kind.value == "Pod":
            return document
        line = kind.line if kind else document.line
        found = f"kind: {excerpt(kind.value)}" if isinstance(kind, Scalar) else "no kind"
        raise Refused(
            "not-a-static-pod",
            f"{self.path}, line {line}: this is no static Pod ({found}).",
            expected="kind: Pod",
            do="name the file the kubelet reads: grep staticPodPath /var/lib/kubelet/config.yaml",
        )

    def _refuse_export(self, pod: Table) -> None:
        """A Pod that was read from the API is not the file that the kubelet starts it from."""
        metadata = pod.get("metadata")
        metadata = metadata if isinstance(metadata, Table) else None
        annotations = metadata.get("annotations") if metadata else None
        marks: list[Scalar | None] = [
            annotations.key(name) for name in _MIRROR if isinstance(annotations, Table)
        ]
        if metadata and metadata.get("ownerReferences"):
            marks.append(metadata.key("ownerReferences"))
        status = pod.get("status")
        if status is not None and not (isinstance(status, Table) and not status.entries):
            marks.append(pod.key("status"))
        if mark := next((each for each in marks if each), None):
            raise Refused(
                "mirror-pod-export",
                f"{self.path}, line {mark.line}: {excerpt(mark.value)} shows that this was exported from"
                " the API (a mirror Pod) and is not what the kubelet was given.",
                do="put the original manifest in its place: kubeadm init phase control-plane apiserver",
            )

    # --- which container is it? --------------------------------------------------------------------------

    def _find_container(self, spec: Table) -> tuple[Table, tuple[Scalar, ...], int]:
        """The kube-apiserver container, its arguments, and the index of the program among them."""
        containers = [self._as_table(item, "a container") for item in self._items(spec, "containers")]
        started = [(each, words := self._words(each), _program(each, words)) for each in containers]
        found = [(each, words, program) for each, words, program in started if program is not None]
        if len(found) == 1:
            self._refuse_config_file(found[0][1])
            return found[0]
        if found:
            raise Refused(
                "several-kube-apiservers",
                f"{self.path}, line {found[1][0].line}: a second container of the Pod runs kube-apiserver.",
                do="leave one kube-apiserver container in the Pod",
            )
        raise self._no_container(spec, containers)

    def _no_container(self, spec: Table, containers: Sequence[Table]) -> Refused:
        """The best reason for which no container can be edited."""
        for container in containers:
            words = self._words(container)
            values = [word.value for word in words]
            self._refuse_config_file(words)
            if (at := shell_with_apiserver(values)) is not None:
                return Refused(
                    "manifest-shell-command",
                    f"{self.path}, line {words[at].line}: kube-apiserver is started by a shell"
                    f" ({excerpt(values[0])}), and a script cannot be edited safely.",
                    do="write kube-apiserver and each of its flags as an item of `command`, without a shell",
                )
            if (at := next((at for at in range(len(values)) if is_program(values, at)), None)) is not None:
                return Refused(
                    "no-kube-apiserver",
                    f"{self.path}, line {words[at].line}: kube-apiserver is started through"
                    f" {excerpt(values[0])}, which aggctl does not know.",
                    do="start kube-apiserver directly, as the first item of `command`",
                )
            if not words and is_apiserver_image(self._text_of(container, "image")):
                return self._no_flags(container)
        line = containers[0].line if containers else spec.line
        return Refused(
            "no-kube-apiserver",
            f"{self.path}, line {line}: no container of this Pod runs kube-apiserver.",
            expected="a container whose command begins with kube-apiserver",
            do="name the manifest of the API server, usually /etc/kubernetes/manifests/kube-apiserver.yaml",
        )

    def _no_flags(self, container: Table) -> Refused:
        return Refused(
            "manifest-no-flags",
            f"{self.path}, line {container.line}: kube-apiserver has no flags here; the file looks cut off.",
            expected="a list of flags under command or args",
            do="put the manifest back from a backup, or: kubeadm init phase control-plane apiserver",
        )

    def _refuse_config_file(self, words: Sequence[Scalar]) -> None:
        if (at := config_file_word([word.value for word in words])) is not None:
            raise Refused(
                "flags-in-config-file",
                f"{self.path}, line {words[at].line}: this is OpenShift's API server, which"
                " takes its settings from a configuration file that an operator writes.",
                do="leave it alone: OpenShift has the aggregation layer on, and its operator owns the file",
            )

    def _words(self, container: Table) -> tuple[Scalar, ...]:
        """command, then args."""
        return tuple(
            self._as_word(item) for key in ("command", "args") for item in self._items(container, key)
        )

    def _as_word(self, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            raise bad_shape(self.path, node.line, "an argument is a list or a mapping", expected="a string")
        if not node.style and not is_string(node.value):
            raise bad_shape(
                self.path,
                node.line,
                "an argument without quotes is a number, a boolean or nothing to YAML",
                expected=f'"{excerpt(node.value)}"',
                found=node.value,
            )
        return node

    def _image(self, container: Table) -> str:
        if image := self._text_of(container, "image"):
            return image
        raise bad_shape(
            self.path, container.line, "the kube-apiserver container has no image; the file looks cut off"
        )

    # --- what does it see of the host? -------------------------------------------------------------------

    def _volumes(self, spec: Table) -> dict[str, Table]:
        """The hostPath by the volume's name; other kinds are left out, and so is a volume without a name."""
        found = {}
        for item in self._items(spec, "volumes"):
            volume = self._as_table(item, "a volume")
            host = volume.get("hostPath")
            if host is not None and (name := self._text_of(volume, "name")):
                found[name] = self._as_table(host, "a hostPath")
        return found

    def mounts(
        self, container: Table, volumes: dict[str, Table]
    ) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
        """The hostPath mounts, and the paths at which something else is mounted."""
        mounts, shadows = [], []
        for item in self._items(container, "volumeMounts"):
            entry = self._as_table(item, "a volumeMount")
            where = self._absolute(entry, "mountPath")
            host = volumes.get(self._text_of(entry, "name"))
            if host is None or entry.get("subPathExpr"):
                shadows.append(where)
            else:
                mounts.append(self._mount(entry, where, host))
        return tuple(mounts), tuple(shadows)

    def _mount(self, entry: Table, where: str, host: Table) -> Mount:
        return Mount(
            name=self._text_of(entry, "name"),
            mount_path=where,
            host_path=self._absolute(host, "path"),
            kind=self._text_of(host, "type"),
            read_only=is_true(entry.get("readOnly")),
            sub_path=self._text_of(entry, "subPath").strip("/"),
        )

    def _absolute(self, table: Table, key: str) -> str:
        path = clean(self._text_of(table, key))
        if path is None:
            raise bad_shape(
                self.path, table.line, f"{key} is no absolute path", found=self._text_of(table, key)
            )
        return path

    def _env(self, container: Table) -> tuple[tuple[str, str], ...]:
        entries = [self._as_table(item, "an env entry") for item in self._items(container, "env")]
        return tuple(
            (self._text_of(entry, "name"), self._text_of(entry, "value"))
            for entry in entries
            if entry.key("valueFrom") is None
        )

    def refuse_variables(
        self, container: Table, metadata: Table, words: Sequence[Scalar], volumes: dict[str, Table]
    ) -> None:
        """Placeholders in what aggctl reads; in other places `${VAR}` may belong to a shell."""
        tables = [metadata, container, *volumes.values(), *(self._items(container, "volumeMounts"))]
        plain = [value for table in tables if isinstance(table, Table) for _, value in table.entries]
        for node in [*words, *plain]:
            if isinstance(node, Scalar) and (found := _VARIABLE.search(node.value)):
                raise is_template(self.path, node.line, found[0])

    # --- typed reading -----------------------------------------------------------------------------------

    def _table(self, parent: Table, key: str, default: Table) -> Table:
        node = parent.get(key)
        if node is None:
            raise bad_shape(self.path, default.line, f"the Pod has no {key}")
        return self._as_table(node, key)

    def _as_table(self, node: Node, what: str) -> Table:
        if not isinstance(node, Table):
            raise bad_shape(self.path, node.line, f"{what} is no mapping")
        return node

    def _items(self, parent: Table, key: str) -> tuple[Node, ...]:
        node = parent.get(key)
        if node is None:
            return ()
        if not isinstance(node, Items):
            raise bad_shape(self.path, node.line, f"{key} is no list", expected=f"a list under {key}")
        return node.items

    def _text_of(self, parent: Table, key: str) -> str:
        node = parent.get(key)
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            raise bad_shape(self.path, node.line, f"{key} is no string")
        return node.value


def _program(container: Table, words: Sequence[Scalar]) -> int | None:
    """The index of the last word that selects kube-apiserver; -1 where the image's entry point does."""
    values = [word.value for word in words]
    image = container.get("image")
    by_image = isinstance(image, Scalar) and is_apiserver_image(image.value)
    if by_image and container.get("command") is None and values and values[0].startswith("--"):
        return -1
    return program_index(values)


def _private(document: Node) -> Iterator[Node]:
    """What may hold a password or a token, and is never quoted: probes and the environment."""
    for table in walk(document):
        for key, value in table.entries if isinstance(table, Table) else ():
            if key.value == "env" or key.value.endswith("Probe"):
                yield from walk(value)


def _template_in(node: Node, text: str) -> str:
    """The placeholder in a node; `{NAME}` as a whole value is a mapping with a key and nothing else."""
    if isinstance(node, Scalar):
        found = TEMPLATE.search(node.value)
        return found[0] if found else ""
    if isinstance(node, Table) and node.flow and len(node.entries) == 1:
        key, value = node.entries[0]
        if not key.style and is_null(value) and text[key.end : node.end].strip() == "}":
            return text[node.start : node.end]
    return ""
