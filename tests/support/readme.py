"""The commands of the documents, and how each one is run by a test."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = (*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md")))
SHOWS = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)

YES, AT, OFF = "--yes", "--root {root}", "--routing off"
CHANGE = f"{AT} {YES}"
"""What a test types besides: the sandbox for this node, and the yes that no terminal asks for."""


@dataclass(frozen=True)
class Scene:
    """Commands in the order in which they are run, each with the words that are typed besides.

    `names` stand for what a reader has elsewhere; {root} and others are the test's.
    """

    commands: Mapping[str, str]
    names: Mapping[str, str]

    def words(self, command: str, **values: str) -> list[str]:
        """The words of the command line, without sudo."""
        words = shlex.split(command.removeprefix("sudo ")) + self.commands[command].split()
        return [self.names.get(word, word).format(**values) for word in words]


WALK = Scene(
    {
        "aggctl sandbox up --dir /tmp/aggctl-sandbox": "",
        "aggctl enable --root /tmp/aggctl-sandbox/root --routing off --yes": "",
        "aggctl enable --root /tmp/aggctl-sandbox/root --routing off --yes -o json": "",
        "aggctl register v1.hello.example.com --root /tmp/aggctl-sandbox/root --external localhost:6444"
        " --cert-out /tmp/aggctl-tls --dry-run": "",
        "aggctl history --root /tmp/aggctl-sandbox/root": "",
        "aggctl doctor --root /tmp/aggctl-sandbox/root": "",
        "aggctl status --root /tmp/aggctl-sandbox/root": "",
        "aggctl rollback --root /tmp/aggctl-sandbox/root --yes": "",
        "aggctl sandbox status --dir /tmp/aggctl-sandbox": "",
        "aggctl sandbox down --dir /tmp/aggctl-sandbox": "",
    },
    {
        "/tmp/aggctl-sandbox": "{place}",  # noqa: S108 -- the document's own example
        "/tmp/aggctl-sandbox/root": "{place}/root",  # noqa: S108 -- a name in a document
        "/tmp/aggctl-tls": "{place}-tls",  # noqa: S108 -- a name in a document
    },
)
"""A sandbox as a reader makes it."""

NODE = Scene(
    {
        "sudo aggctl enable --dry-run": f"{AT} {OFF}",
        "sudo aggctl enable": f"{CHANGE} {OFF}",
        "sudo aggctl history": AT,
        "sudo aggctl certs export /root/front-proxy": AT,
        "sudo aggctl rollback": CHANGE,
        "sudo aggctl enable --ca-from /root/front-proxy": f"{CHANGE} {OFF}",
        "aggctl register v1.hello.example.com --external build.example.com:6443 --cert-out ./tls": CHANGE,
        "aggctl unregister --stale --dry-run": AT,
        "sudo aggctl certs timer install": AT,
        "sudo aggctl audit enable": CHANGE,
        "sudo aggctl audit show v1beta1.custom.metrics.k8s.io --since 24h": AT,
        "aggctl explain serving-certificate-wrong-name": "",
    },
    {
        "v1beta1.custom.metrics.k8s.io": "v1.hello.example.com",
        "/root/front-proxy": "{folder}/front-proxy",
        "build.example.com:6443": "localhost:{port}",
        "./tls": "{folder}/tls",
    },
)
"""The only control-plane node of a cluster, with the layer off, and a server beside the cluster."""

PODS = Scene(
    {
        "aggctl status": AT,
        "sudo aggctl doctor": AT,
        "aggctl doctor v1beta1.custom.metrics.k8s.io --kubeconfig admin.conf": "--root {elsewhere}",
        "sudo aggctl doctor --fix": CHANGE,
        "sudo aggctl doctor --bundle for-a-colleague.tar.gz": AT,
        "aggctl doctor --from-bundle for-a-colleague.tar.gz": "--root {elsewhere}",
        "aggctl logs v1beta1.custom.metrics.k8s.io --since 10m": AT,
        "sudo aggctl certs list": AT,
        "aggctl certs list --kubeconfig admin.conf --expiring 30d -o json": "--root {elsewhere}",
        "sudo aggctl certs list --prometheus /var/lib/node_exporter/aggctl.prom": AT,
        "sudo aggctl certs rotate client": CHANGE,
        "aggctl certs rotate serving v1beta1.custom.metrics.k8s.io": CHANGE,
        "sudo aggctl certs rotate ca --preflight-only": AT,
        "sudo aggctl certs rotate ca": CHANGE,
        "sudo aggctl certs rotate due --within 30d --yes": AT,
        "aggctl access grant v1beta1.custom.metrics.k8s.io --to group:devs": CHANGE,
        "aggctl access check v1beta1.custom.metrics.k8s.io --as alice --as-group devs": AT,
        "aggctl access list v1beta1.custom.metrics.k8s.io": AT,
        "aggctl access revoke v1beta1.custom.metrics.k8s.io --to group:devs": CHANGE,
        "aggctl register v1beta1.metrics.k8s.io --service kube-system/metrics-server"
        " --tls secret=metrics-server-tls": CHANGE,
        "aggctl unregister v1beta1.custom.metrics.k8s.io": CHANGE,
        "aggctl register v1beta1.custom.metrics.k8s.io --image registry.example/adapter:1.4"
        " -n custom-metrics --dry-run -o yaml": f"{AT} --port {{port}}",
        "aggctl register -f components.yaml": CHANGE,
        "aggctl register v1beta1.custom.metrics.k8s.io --image registry.example/adapter:1.4"
        " -n custom-metrics": f"{CHANGE} --port {{port}}",
    },
    {
        "admin.conf": "{kubeconfig}",
        "for-a-colleague.tar.gz": "{folder}/for-a-colleague.tar.gz",
        "/var/lib/node_exporter/aggctl.prom": "{folder}/aggctl.prom",
        "components.yaml": "{folder}/components.yaml",
        "v1beta1.custom.metrics.k8s.io": "v1alpha1.hello.example.com",
        "v1beta1.metrics.k8s.io": "v1alpha1.hello.example.com",
        "kube-system/metrics-server": "hello/hello-api",
        "secret=metrics-server-tls": "secret=hello-api-tls",
        "registry.example/adapter:1.4": "registry.example/hello-api:1",
        "custom-metrics": "hello",
    },
)
"""A cluster with the layer on and an API of Pods, which is registered already."""

TWO_NODES = Scene(
    {
        "sudo aggctl enable": f"{CHANGE} {OFF}",
        "sudo aggctl certs export --upload": AT,
        "sudo aggctl enable --certificate-key -": f"--root {{second}} {YES} {OFF}",
    },
    {},
)
"""Two control-plane nodes with the layer off; what is said last is on the standard input of what follows."""

SCENES = (WALK, NODE, PODS, TWO_NODES)

ELSEWHERE = {
    "make demo": (
        "tests/e2e/test_register.py::test_the_demo_goes_from_no_layer_to_an_api_that_is_served_and_back"
    ),
    "make test": ".ci/run::make test",
    "make check": ".ci/run::make check",
    ".ci/run": ".ci/run::make test",
    "make readme": "tests/cli/test_readme.py::test_the_tables_are_those_of_the_code",
    "make picture": "tests/e2e/test_picture.py::test_the_picture_shows_what_the_commands_say_today",
    "make zipapp": "tests/e2e/test_packaging.py::def release",
    "pip install .": "tests/cli/test_wheel.py::test_it_runs_where_nothing_else_is",
    "aggctl status --watch": "tests/e2e/test_status.py::def watching",
    "sudo aggctl certs rotate ca --certificate-key - --wait": (
        "tests/e2e/test_rotate_two_nodes.py::test_two_that_wait_for_each_other_finish_together"
    ),
    "sudo aggctl certs import /root/front-proxy": (
        "tests/e2e/test_rotate_two_nodes.py::test_two_that_wait_for_each_other_finish_together"
    ),
    "cd examples/ansible": "tests/e2e/node/test_ansible.py::def place",
    "ansible-playbook enable.yml --check --diff": (
        "tests/e2e/node/test_ansible.py::test_check_mode_changes_nothing_and_says_what_it_would"
    ),
    "ansible-playbook enable.yml": (
        "tests/e2e/node/test_ansible.py::"
        "test_where_one_node_fails_the_next_is_left_alone_and_the_next_run_goes_on"
    ),
}
"""File, and words in it, of what runs a command that needs more than a sandbox, or that is this very run."""


def commands(document: Path) -> Iterator[str]:
    """What a document tells its reader to type, in its console blocks."""
    for kind, block in blocks(document):
        if kind == "console":
            yield from (line.removeprefix("$ ") for line in block.splitlines())


def blocks(document: Path) -> list[tuple[str, str]]:
    """Kind and text of each block of code that is for a reader to use."""
    return SHOWS.findall(document.read_text(encoding="utf-8"))
