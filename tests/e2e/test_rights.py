"""The rights that the documents name are enough: for an API's owner, and for whoever is on call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.accounts import kubeconfig_of, new_account
from support.hello_in_pods import API, IMAGE, NAMESPACE, HelloInPods, hello_in_pods
from support.kube import API_SERVICES
from support.readme import CHECKOUT
from support.refusals import Said, aggctl, assert_document

from aggctl.core.doctor.rights import LEAST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.controlplane

RIGHTS: dict[str, Any] = yaml.safe_load((CHECKOUT / "docs/rights.yaml").read_text())
READING: dict[str, Any] = yaml.safe_load(LEAST)


@dataclass(frozen=True)
class Elsewhere:
    """A machine that is no node, where each user has a kubeconfig with rights of his own."""

    place: HelloInPods
    folder: Path

    def run(self, user: str, *words: str) -> Said:
        who = ("--kubeconfig", str(self.folder / user), "--root", str(self.folder))
        return aggctl(*words, *who, "-o", "json")

    def publishes(self, *words: str) -> str:
        """The outcome of what the API's owner does, which ends well."""
        return outcome(self.run("publisher", *words, "--yes"))

    def registers(self, *words: str) -> str:
        server = ("--image", IMAGE, "--port", str(self.place.hello.port), "--network-policy")
        return self.publishes("register", API, *server, "-n", NAMESPACE, *words)

    def add(self, user: str, rights: dict[str, Any]) -> None:
        """A user with these rights."""
        new_account(self.place.kube, user, rights)
        kubeconfig_of(self.place.kube, user, self.folder / user)


@pytest.fixture(scope="module")
def elsewhere(programs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:  # noqa: ARG001 -- asked for to be skipped without them
    folder = tmp_path_factory.mktemp("rights")
    (folder / "elsewhere").mkdir()
    with hello_in_pods(folder, registered=False) as place:
        made = Elsewhere(place, folder / "elsewhere")
        made.add("publisher", RIGHTS)
        made.add("oncall", READING)
        yield made


def outcome(said: Said) -> str:
    assert_document(said)
    assert said.status == 0, said.text
    return str(said.document["outcome"])


def test_an_owner_publishes_an_api_changes_it_puts_it_back_and_takes_it_away(elsewhere: Elsewhere) -> None:
    assert elsewhere.registers("--replicas", "1") == "applied"
    assert elsewhere.registers("--replicas", "1") == "unchanged"
    assert elsewhere.registers("--replicas", "2") == "applied"
    assert elsewhere.publishes("rollback") == "applied"
    for words in (("doctor",), ("status",), ("logs", API), ("certs", "list")):
        said = elsewhere.run("oncall", *words)
        assert_document(said)
        assert "forbidden" not in said.text, said.text
    assert elsewhere.publishes("unregister", API) == "applied"
    assert elsewhere.place.kube.get(f"{API_SERVICES}/{API}") is None


def test_they_let_nobody_read_all_secrets_or_bind_whatever_he_likes() -> None:
    """But for a namespace of one's own, where one's own Pods run anyway."""
    rules = [
        (set(rule.get("resources", ())), set(rule["verbs"]), "resourceNames" in rule)
        for rule in RIGHTS["rules"]
    ]
    assert not any({"list", "watch"} & verbs for resources, verbs, _ in rules if "secrets" in resources)
    assert all(named for _, verbs, named in rules if "bind" in verbs)
    assert not any({"*", "escalate", "impersonate"} & (verbs | resources) for resources, verbs, _ in rules)
