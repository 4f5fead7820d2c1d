"""`aggctl explain`: every code that aggctl can say has its text, and no text is about another."""

from __future__ import annotations

import ast
import json

import pytest
from support.refusals import aggctl, assert_decent, assert_document
from support.source import CODE, all_strings, codes_in, said_codes, tables_of

from aggctl.cli.explain import explanations

PARTS = {"title", "cause", "seen", "fix"}
KNOWN = explanations()


def test_every_code_that_the_source_says_is_explained() -> None:
    assert {code: place for code, place in said_codes().items() if code not in KNOWN} == {}


def test_codes_are_really_found_in_the_source() -> None:
    named = {"no-manifest", "flag-refused", "apiserver-not-trusted", "defect", "interrupted"}
    tabled = {"connection-lost", "tls-too-old", "identity-refused", "port-taken", "server-fails"}
    assert named | tabled <= set(said_codes())


@pytest.mark.parametrize(
    "source",
    [
        """
_SIGNS = tuple((hop, code, compile(pattern)) for hop, code, pattern in (("reach", "port-of-another", "x"),))
""",
        """
_ROWS = (("port-of-another", "x"),)
def f(words):
    for code, pattern in _ROWS:
        ...
""",
        """
_MESSAGES = {"port-of-another": "x"}
def f(sign):
    return _MESSAGES[sign.code]
""",
        """
def f(some):
    code = "port-of-another" if some else given()
""",
    ],
    ids=["rows of a comprehension", "rows of a loop", "keys", "a variable"],
)
def test_a_code_is_found_in_a_table(source: str) -> None:
    tree = ast.parse(source)
    assert set(codes_in(tree, {}, tables_of(tree))) == {"port-of-another"}


def test_a_string_that_no_code_is_taken_from_is_none() -> None:
    tree = ast.parse('_PARTS = {"no-code": 1}\nfor hop, why in (("no-code", "x"),):\n    _PARTS[hop]\n')
    assert set(codes_in(tree, {}, tables_of(tree))) == set()


def test_every_explanation_is_about_a_code_of_the_source() -> None:
    assert set(KNOWN) - all_strings() == set()


@pytest.mark.parametrize("code", KNOWN)
def test_an_explanation_has_its_four_parts(code: str) -> None:
    assert set(KNOWN[code]) - {"avoid"} == PARTS
    assert all(text.strip() for text in KNOWN[code].values())
    assert CODE.fullmatch(code)
    assert not KNOWN[code]["title"].endswith(".")


def test_a_code_is_explained_in_text_and_in_json() -> None:
    said, as_json = aggctl("explain", "file-not-mounted"), aggctl("explain", "file-not-mounted", "-o", "json")
    assert (said.status, as_json.status, said.err, as_json.err) == (0, 0, "", "")
    for label in ("Cause:", "Seen by:", "Fix:", "Do not:"):
        assert label in said.out
    assert_document(as_json)
    assert as_json.document["summary"] == said.out.splitlines()


def test_without_a_code_all_are_listed() -> None:
    said = aggctl("explain")
    assert said.status == 0
    assert [line.split()[0] for line in said.out.splitlines()] == list(KNOWN)


@pytest.mark.parametrize(
    ("typed", "meant"), [("no-manifst", "no-manifest"), ("open_journal", "open-journal")]
)
def test_an_unknown_code_is_wrong_usage_with_the_nearest_one(typed: str, meant: str) -> None:
    said = aggctl("explain", typed)
    assert (said.status, said.out) == (2, "")
    assert f"aggctl explain {meant}" in said.err
    assert_decent(said)


def test_a_code_like_no_other_leads_to_the_list() -> None:
    said = aggctl("explain", "xyzzy", "-o", "json")
    assert (said.status, said.codes) == (2, ["code-unknown"])
    assert "aggctl explain" in json.dumps(said.document["next"])
