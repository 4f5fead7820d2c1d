"""Laws of the manifest: no bytes crash it, and an edit is exactly its lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggctl.core.manifest import NewMount, edit_manifest, is_apiserver_pod, read_manifest
from aggctl.errors import Refused

FILES = sorted((Path(__file__).parent / "manifests").iterdir())
ROUTING = {"enable-aggregator-routing": "true"}
MOUNT = NewMount("aggctl-pki", "/etc/aggctl/pki")

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)

SNIPPETS = [
    "\t",
    "\r",
    "- ",
    ": ",
    "#",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "|",
    ">",
    "'",
    '"',
    "\\U",
    "%",
    "---\n",
    "\n",
    "\x85",
    "!!x ",
    "?",
    ",",
    "é",
]


def survives(data: bytes) -> None:
    """Reading and editing end in a result or in Refused."""
    is_apiserver_pod(data)
    try:
        edit_manifest(read_manifest(data, "x.yaml"), ROUTING, [MOUNT])
    except Refused as error:
        assert error.code  # noqa: PT017 -- a refusal is as good as a result; anything else escapes


@patient
@given(
    st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(SNIPPETS)).map(lambda x: "".join(x).encode()))
)
def test_no_bytes_crash_it(data: bytes) -> None:
    survives(data)


@patient
@given(st.data())
def test_no_slip_in_a_manifest_crashes_it(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(FILES)).read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    survives((text[:start] + data.draw(st.sampled_from(["", *SNIPPETS])) + text[start + length :]).encode())


FLAG = st.from_regex(r"--[a-z][a-z-]{0,12}=[ -~]{0,20}", fullmatch=True)


@patient
@given(
    st.lists(FLAG, min_size=1, max_size=8),
    st.sampled_from(["plain", '"', "'"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_removing_the_new_line_gives_the_original_back(
    flags: list[str], style: str, newline: str, final: bool
) -> None:
    text = newline.join(
        [
            "kind: Pod",
            "metadata: {}",
            "spec:",
            "  containers:",
            "  - image: i",
            "    command:",
            "    - kube-apiserver",
            *(f"    - {written(flag, style)}" for flag in flags),
        ]
    )
    text += newline if final else ""
    try:
        manifest = read_manifest(text.encode(), "x.yaml")
        after = edit_manifest(manifest, {"proxy-client-key-file": "/k"})
    except Refused as error:
        assert error.code in {"manifest-is-template", "manifest-not-yaml", "manifest-bad-shape"}  # noqa: PT017 -- a plain scalar may be anything
        return

    lines = after.splitlines(keepends=True)
    new = [line for line in lines if "--proxy-client-key-file=/k" in line]
    assert len(new) == 1
    assert "".join(line for line in lines if line != new[0]).rstrip("\r\n") == text.rstrip("\r\n")
    assert after.endswith(newline) == final
    assert edit_manifest(read_manifest(after.encode(), "x.yaml"), {"proxy-client-key-file": "/k"}) == after


def written(flag: str, style: str) -> str:
    if style == '"':
        return '"' + flag.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "'" + flag.replace("'", "''") + "'" if style == "'" else flag


@patient
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=30), st.sampled_from(FILES))
def test_any_value_that_is_written_is_read_again(value: str, file: Path) -> None:
    manifest = read_manifest(file.read_bytes(), file.name)
    try:
        after = edit_manifest(manifest, {"new-flag": value})
    except Refused as error:
        assert error.code == "manifest-edit-unproven"  # noqa: PT017 -- what YAML or a template would take for something else
        return
    assert read_manifest(after.encode(), file.name).values("new-flag") == (value,)


@pytest.mark.parametrize(
    "text",
    ["[" * 1_000_000, "a: b\n" * 200_000, "# c\n" * 250_000, '"' + "x " * 500_000, "- - " * 200_000],
    ids=["brackets", "lines", "comments", "a quote", "dashes"],
)
@pytest.mark.timeout(20)
def test_a_large_file_is_refused_in_time(text: str) -> None:
    with pytest.raises(Refused):
        read_manifest(text.encode(), "x.yaml")
