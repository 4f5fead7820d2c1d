"""A diagnosis as people and scripts read it: what is broken first, evidence before the fix."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doctoring import well

from aggctl.core.doctor.examine import Diagnosis
from aggctl.core.doctor.model import BROKEN, NOT_CHECKED, OK, SKIPPED, WARNED, Exam, Hop
from aggctl.core.doctor.words import EVIDENCE_LINES, FEW, MARKS, items_of, lines_of
from aggctl.core.findings import Finding

API = "v1.things.example"
LAYER = (Hop("layer", OK, "7 of 7 flags"), Hop("published", OK, "1 CA"))
PLACE = well().diagnosis().place


def finding(code: str = "a-code", severity: str = "error", **more: Any) -> Finding:
    return Finding(
        code, severity, **{"subject": "the thing", "message": f"{code} found", "fix": "mend it"} | more
    )


def exam(*findings: Finding, name: str = API, effects: tuple[str, ...] = ()) -> Exam:
    state = BROKEN if any(each.severity == "error" for each in findings) else WARNED if findings else OK
    return Exam(name, LAYER, (Hop("Service", OK, "there"), Hop("reach", state, "seen", findings)), effects)


def diagnosis(*exams: Exam, layer: tuple[Hop, ...] = LAYER, unseen: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis(PLACE, layer, tuple(replace(each, layer=layer) for each in exams), unseen)


def lines(found: Diagnosis, *, verbose: bool = False) -> list[str]:
    return list(lines_of(found, verbose=verbose))


# --- for people ------------------------------------------------------------------------------------------


def test_what_is_well_is_one_line() -> None:
    assert lines(diagnosis(exam())) == [f"✓ {API}"]


def test_an_api_that_answers_on_a_broken_layer_is_one_line_that_points_there() -> None:
    lines = lines_of(well(flags={"proxy-client-key-file": None}).diagnosis(), verbose=False)
    assert (
        "! v1.things.example: answered a moment ago, and what they stand on is broken: see the layer" in lines
    )


def test_a_few_that_are_well_are_named_and_many_are_counted() -> None:
    names = [f"v{number}.things.example" for number in range(1, FEW + 2)]
    assert lines(diagnosis(*(exam(name=each) for each in names[:FEW]))) == [f"✓ {', '.join(names[:FEW])}"]
    assert lines(diagnosis(*(exam(name=each) for each in names))) == [f"✓ {FEW + 1} APIs answer"]


def test_a_broken_api_shows_its_way_and_the_evidence_before_the_fix() -> None:
    broken = finding(expected="something else", evidence=("dial: refused",))
    assert lines(diagnosis(exam(broken, effects=("garbage collection waits",)))) == [
        f"✗ {API:<36} a-code",
        "    layer ✓  published ✓  Service ✓  reach ✗",
        "    found     a-code found",
        "    at        the thing",
        "    expected  something else",
        "    evidence  dial: refused",
        "    do        mend it",
        "    effect    garbage collection waits",
        "1 problem. Details: aggctl explain a-code",
    ]


def test_what_the_message_says_already_is_not_said_again() -> None:
    said = lines(diagnosis(exam(finding(subject="found", expected="a-code"))))
    assert not [each for each in said if each.startswith(("    at ", "    expected "))]


def test_of_much_evidence_the_first_lines_are_shown_each_in_one_line() -> None:
    evidence = tuple(f"line\n{number}\x1b[2J" for number in range(EVIDENCE_LINES + 3))
    shown = [each for each in lines(diagnosis(exam(finding(evidence=evidence)))) if "evidence" in each]
    assert shown == [f"    evidence  line {number}" for number in range(EVIDENCE_LINES)]


def test_broken_apis_come_first_then_warnings_then_what_is_well() -> None:
    warned, broken = finding("w", "warning"), finding("e")
    found = lines(diagnosis(exam(name="v1.a.b"), exam(warned, name="v1.c.d"), exam(broken, name="v1.e.f")))
    assert [each.split()[:2] for each in found if each[0] in "✗!✓"] == [
        ["✗", "v1.e.f"], ["!", "v1.c.d"], ["✓", "v1.a.b"]
    ]  # fmt: skip
    assert found[-1] == "1 problem, 1 warning. Details: aggctl explain e"


def test_what_else_is_wrong_with_an_api_is_named_by_its_code() -> None:
    found = lines(diagnosis(exam(finding("first"), finding("second"), finding("third", "warning"))))
    assert "    ✗ second found   (second)" in found
    assert "    ! third found   (third)" in found
    assert found[-1] == "2 problems, 1 warning. Details: aggctl explain first"


def test_something_worth_knowing_is_marked_as_such() -> None:
    assert "    · note found   (note)" in lines(diagnosis(exam(finding(), finding("note", "info"))))


def test_warnings_alone_lead_to_their_explanation() -> None:
    found = lines(diagnosis(exam(finding("w", "warning"), finding("v", "warning"))))
    assert found[-1] == "2 warnings. Details: aggctl explain w"


BROKEN_LAYER = (Hop("layer", BROKEN, "off", (finding("layer-off"),)), Hop("published", SKIPPED))


def test_the_layers_problem_is_shown_once_above_the_apis_that_stand_on_it() -> None:
    found = lines(diagnosis(exam(), exam(name="v2.things.example"), layer=BROKEN_LAYER))
    assert found[:3] == [
        "✗ the layer",
        "    layer ✗  published ·",
        "    ✗ layer-off found   (layer-off)",
    ]
    assert found.count("    why       it stands on the layer, which is broken: see above") == 2
    assert found[-1] == "1 problem. Details: aggctl explain layer-off"


def test_a_warning_about_the_layer_leaves_its_apis_well() -> None:
    layer = (Hop("layer", WARNED, "", (finding("w", "warning"),)),)
    found = lines(diagnosis(exam(), layer=layer))
    assert (found[0], found[-2]) == ("! the layer", f"✓ {API}")


def test_what_was_not_checked_is_said_with_the_reason() -> None:
    assert "not checked: kubelet: no rights" in lines(diagnosis(exam(), unseen=("kubelet: no rights",)))


def test_a_cluster_without_apis_says_so() -> None:
    assert lines(diagnosis()) == ["No API is registered that a Service answers for."]


def test_where_no_kube_apiserver_answers_nothing_is_said_of_apis() -> None:
    silent = replace(diagnosis(layer=BROKEN_LAYER), listed=False)
    assert not [each for each in lines(silent) if each.startswith("No API")]


def test_verbosely_every_hop_has_a_line() -> None:
    states = (OK, WARNED, BROKEN, NOT_CHECKED, SKIPPED)
    hops = tuple(Hop(f"hop{n}", state, "seen\x07", (finding(),) if state == BROKEN else ())
                 for n, state in enumerate(states))  # fmt: skip
    found = lines(diagnosis(Exam(API, LAYER, hops)), verbose=True)
    assert "    ✓ layer         7 of 7 flags" in found
    for number, state in enumerate(states):
        tail = "   (a-code)" if state == BROKEN else ""
        assert f"    {MARKS[state]} hop{number}          seen{tail}" in found


def test_verbosely_also_what_is_well_shows_its_hops() -> None:
    assert lines(diagnosis(exam()), verbose=True) == [
        "✓ the layer",
        "    ✓ layer         7 of 7 flags",
        "    ✓ published     1 CA",
        f"✓ {API}",
        "    ✓ Service       there",
        "    ✓ reach         seen",
    ]


def test_a_healthy_cluster_says_nothing_else() -> None:
    assert lines(well().diagnosis()) == [f"✓ {API}"]


# --- for scripts -----------------------------------------------------------------------------------------


def test_a_script_reads_the_layer_each_api_and_what_was_not_checked() -> None:
    found = items_of(diagnosis(exam(finding(), effects=("it waits",)), unseen=("x: y",)))
    assert [each["name"] for each in found] == ["layer", API, "not checked"]
    assert found[0] == {
        "name": "layer",
        "verdict": "",
        "hops": [
            {"name": "layer", "state": "ok", "said": "7 of 7 flags", "codes": []},
            {"name": "published", "state": "ok", "said": "1 CA", "codes": []},
        ],
    }
    assert (found[1]["verdict"], found[1]["effects"]) == ("a-code", ["it waits"])
    assert found[1]["hops"][1] == {"name": "reach", "state": "broken", "said": "seen", "codes": ["a-code"]}
    assert found[1]["findings"][0]["fix"] == "mend it"
    assert found[2]["reasons"] == ["x: y"]


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [((), ""), (("info",), "a"), (("info", "warning"), "b"), (("warning", "error", "error"), "b")],
    ids=["none", "something worth knowing", "a warning", "an error"],
)
def test_the_layers_verdict_is_the_first_of_its_worst_findings(
    severities: tuple[str, ...], verdict: str
) -> None:
    findings = tuple(finding(code, each) for code, each in zip("abc", severities, strict=False))
    assert items_of(diagnosis(layer=(Hop("layer", OK, "", findings),)))[0]["verdict"] == verdict


def test_an_api_that_is_well_has_no_verdict() -> None:
    assert items_of(diagnosis(exam()))[1]["verdict"] == ""


def test_what_scripts_read_is_json_also_of_a_real_diagnosis() -> None:
    found = items_of(well(answer={"status": 503, "said": "boom"}).diagnosis())
    assert json.loads(json.dumps(found))[1]["verdict"] == "server-fails"


@given(st.text(max_size=200), st.lists(st.text(max_size=600), max_size=6), st.booleans())
def test_no_words_of_others_make_a_second_line(said: str, evidence: list[str], verbose: bool) -> None:
    hops = (Hop("reach", BROKEN, said, (finding(evidence=tuple(evidence)),)),)
    found = lines(diagnosis(Exam(API, (), hops)), verbose=verbose)
    assert not [each for each in found if len(each.splitlines()) > 1]
