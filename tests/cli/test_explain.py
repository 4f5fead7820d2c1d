"""`aggctl explain`: every code that aggctl can say has its text, and no text is about another."""

from __future__ import annotations

import json

import pytest
from support.refusals import aggctl, assert_decent, assert_document
from support.source import CODE, all_strings, said_codes

from aggctl.cli.explain import explanations

PARTS = {"title", "cause", "seen", "fix"}
KNOWN = explanations()


def test_every_code_that_the_source_says_is_explained() -> None:
    assert {code: place for code, place in said_codes().items() if code not in KNOWN} == {}


def test_codes_are_really_found_in_the_source() -> None:
    assert {"no-manifest", "flag-refused", "apiserver-not-trusted", "defect", "interrupted"} <= set(
        said_codes()
    )


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
