"""extraArgs in the text of a ClusterConfiguration: read as kubeadm does, edited as what stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.kubeadm_configs import FILES, LIST, MAPPING, configuration, edited

from aggctl.core import flags as f
from aggctl.core.persist.configuration import agree, layer_part, read_configuration
from aggctl.core.persist.edit import edit_configuration, prove
from aggctl.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

CODE = "kubeadm-config-not-editable"
ROUTING, CA = "enable-aggregator-routing", "requestheader-client-ca-file"


def body(text: str) -> str:
    """A configuration without its two first lines."""
    return text.split("\n", 2)[2]


def value(text: str, name: str, version: str = LIST) -> str | None:
    """What kubeadm would set a flag to."""
    return read_configuration(configuration(text, version)).value(name)


# --- reading -----------------------------------------------------------------------------------------------


def test_without_extra_args_kubeadm_sets_its_seven_flags_and_no_routing() -> None:
    found = read_configuration(configuration("apiServer: {}\n"))
    assert {name: found.value(name) for name in f.AGGREGATION_FLAGS} == {
        f.CA: "/etc/kubernetes/pki/front-proxy-ca.crt",
        f.NAMES: "front-proxy-client",
        f.EXTRA: "X-Remote-Extra-",
        f.GROUP: "X-Remote-Group",
        f.USER: "X-Remote-User",
        f.CERTIFICATE: "/etc/kubernetes/pki/front-proxy-client.crt",
        f.KEY: "/etc/kubernetes/pki/front-proxy-client.key",
        f.ROUTING: None,
    }


def test_kubeadm_mounts_its_certificates_the_systems_and_extra_volumes() -> None:
    volumes = "apiServer: {extraVolumes: [{mountPath: /srv/front-proxy/}, {name: x}]}\n"
    found = read_configuration(configuration(volumes))
    seen = ("/srv/front-proxy/ca.crt", "/etc/kubernetes/pki/ca.crt", "/etc/ssl/certs/ca.crt")
    assert all(found.mounts(path) for path in seen)
    assert not any(found.mounts(path) for path in ("/srv/front-proxy2/ca.crt", "/etc/ca.crt", "ca.crt"))


def test_the_files_are_those_of_its_certificates_dir() -> None:
    assert value("certificatesDir: /srv/pki/\n", CA) == "/srv/pki/front-proxy-ca.crt"


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("[{name: enable-aggregator-routing, value: 'true'}]", ROUTING, "true"),
        (f"[{{name: {CA}, value: /a}}, {{name: {CA}, value: /b}}]", CA, "/b"),
        (f"[{{name: {f.NAMES}, value: a}}, {{name: {f.NAMES}, value: b}}]", f.NAMES, "a,b"),
        ("[{name: requestheader-allowed-names}]", f.NAMES, ""),
        ("[{name: requestheader-allowed-names, value: null}]", f.NAMES, ""),
    ],
    ids=["set", "the last counts", "lists add up", "no value", "null"],
)  # fmt: skip
def test_extra_args_stand_in_the_place_of_kubeadms_own(text: str, name: str, found: str) -> None:
    assert value(f"apiServer: {{extraArgs: {text}}}\n", name) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: InitConfiguration\n", "data.ClusterConfiguration holds no ClusterConfiguration"),
        ("- a\n", "data.ClusterConfiguration holds no ClusterConfiguration"),
        ("kind: ClusterConfiguration\n", "apiVersion is missing"),
        (configuration("", "v1"), "apiVersion is kubeadm.k8s.io/v1, and aggctl knows"),
        (configuration("apiServer: [a]\n"), "line 3: apiServer is no mapping"),
        (configuration("apiServer: {extraArgs: {a: b}}\n"), "line 3: extraArgs is no list"),
        (configuration("apiServer: {extraArgs: [a]}\n"), "line 3: an item of extraArgs is no mapping"),
        (configuration("apiServer: {extraArgs: [{a: b}]}\n", MAPPING), "line 3: extraArgs is no mapping"),
        (configuration("apiServer: {extraArgs: {a: [b]}}\n", MAPPING), "line 3: the value of a is no text"),
        (configuration("apiServer: {extraVolumes: a}\n"), "line 3: extraVolumes is no list"),
        (
            configuration(
                f"apiServer: {{extraArgs: [{{name: {ROUTING}, value: a, mergeMethod: append}}]}}\n"
            ),
            "line 3: enable-aggregator-routing has mergeMethod besides its value",
        ),
        (configuration("a: *b\n"), "line 3: the alias"),
        (configuration("---\nb: 1\n"), "a second YAML document"),
        ("", "is empty"),
    ],
)
def test_what_is_no_plain_cluster_configuration_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason.replace("[", ".")) as refused:
        read_configuration(text)
    assert refused.value.code == CODE
    assert "--persist none" in refused.value.do


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        (ROUTING, None, "false", True),
        (ROUTING, "1", "true", True),
        (ROUTING, None, "true", False),
        (CA, "/a//b.crt", "/a/b.crt", True),
        (CA, "/a.crt", None, False),
        (f.NAMES, "a", "a,b", False),
    ],
)
def test_values_agree_where_kube_apiserver_takes_them_for_the_same(
    name: str, one: str | None, other: str | None, same: bool
) -> None:
    assert agree(name, one, other) is same


# --- editing -----------------------------------------------------------------------------------------------

IN_BRACES = '{name: enable-aggregator-routing, value: "true"}'
IN_JSON = '{"name": "enable-aggregator-routing", "value": "true"}'
IN_LIST = '- name: enable-aggregator-routing\n    value: "true"\n'
AS_KEY = 'enable-aggregator-routing: "true"\n'


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        (LIST, "apiServer: {}\nx: 1\n", f"apiServer:\n  extraArgs:\n  {IN_LIST}x: 1\n"),
        (LIST, "apiServer: {} # c\nx: 1\n", f"apiServer: # c\n  extraArgs:\n  {IN_LIST}x: 1\n"),
        (LIST, "apiServer:\nx: 1\n", f"apiServer:\n  extraArgs:\n  {IN_LIST}x: 1\n"),
        (LIST, "apiServer: null\n", f"apiServer:\n  extraArgs:\n  {IN_LIST}"),
        (LIST, "x: 1\n", f"x: 1\napiServer:\n  extraArgs:\n  {IN_LIST}"),
        (LIST, "x: 1", f"x: 1\napiServer:\n  extraArgs:\n  {IN_LIST}"[:-1]),
        (LIST, "apiServer:\n  extraArgs: []\n", f"apiServer:\n  extraArgs:\n  {IN_LIST}"),
        (LIST, "apiServer:\n  timeout:\nx: 1\n", f"apiServer:\n  timeout:\n  extraArgs:\n  {IN_LIST}x: 1\n"),
        (
            LIST,
            "apiServer:\n  extraArgs:\n  - name: a # c\n    value: b\n  # d\nx: 1\n",
            f"apiServer:\n  extraArgs:\n  - name: a # c\n    value: b\n  {IN_LIST}  # d\nx: 1\n",
        ),
        (
            LIST,
            "apiServer:\n  extraArgs:\n    - {name: a, value: b}\n",
            f"apiServer:\n  extraArgs:\n    - {{name: a, value: b}}\n    - {IN_BRACES}\n",
        ),
        (
            LIST,
            "apiServer:\n  extraArgs:\n  - name: enable-aggregator-routing # c\n    value: 'no'\n",
            "apiServer:\n  extraArgs:\n  - name: enable-aggregator-routing # c\n    value: 'true'\n",
        ),
        (
            LIST,
            "apiServer: {timeout: 4m}\n",
            f'apiServer: {{timeout: 4m, "extraArgs": [{IN_JSON}]}}\n',
        ),
        (
            LIST,
            "apiServer:\n  {}\n",
            f'apiServer:\n  {{"extraArgs": [{IN_JSON}]}}\n',
        ),
        (
            LIST,
            "apiServer: {extraArgs: null, x: 1}\n",
            f"apiServer: {{extraArgs: [{IN_JSON}], x: 1}}\n",
        ),
        (
            LIST,
            f"apiServer:\n  extraArgs: [{{name: {ROUTING}, value: }}]\n",
            f"apiServer:\n  extraArgs: [{IN_BRACES[:-1]} }}]\n",
        ),
        (MAPPING, "apiServer: {}\n", f"apiServer:\n  extraArgs:\n    {AS_KEY}"),
        (MAPPING, "apiServer:\n  extraArgs: {}\n", f"apiServer:\n  extraArgs:\n    {AS_KEY}"),
        (MAPPING, "apiServer:\n  extraArgs:\nx: 1\n", f"apiServer:\n  extraArgs:\n    {AS_KEY}x: 1\n"),
        (
            MAPPING,
            "apiServer:\n  extraArgs:\n      a: b # c\n      # d\nx: 1\n",
            f"apiServer:\n  extraArgs:\n      a: b # c\n      {AS_KEY}      # d\nx: 1\n",
        ),
        (
            MAPPING,
            "apiServer:\n  extraArgs:\n    'a': 'b'\n",
            "apiServer:\n  extraArgs:\n    'a': 'b'\n    'enable-aggregator-routing': 'true'\n",
        ),
        (
            MAPPING,
            "apiServer:\n  extraArgs: {a: b}\n",
            'apiServer:\n  extraArgs: {a: b, enable-aggregator-routing: "true"}\n',
        ),
        (
            MAPPING,
            "apiServer:\n  extraArgs:\n    enable-aggregator-routing:\n    b: c\n",
            'apiServer:\n  extraArgs:\n    enable-aggregator-routing: "true"\n    b: c\n',
        ),
        (
            MAPPING,
            "apiServer:\n  extraArgs:\n    enable-aggregator-routing: false\n",
            f"apiServer:\n  extraArgs:\n    {AS_KEY}",
        ),
    ],
)
def test_a_flag_goes_where_its_neighbours_are_and_looks_like_them(
    version: str, before: str, after: str
) -> None:
    assert body(edited(configuration(before, version), enable_aggregator_routing="true")) == after


def test_a_json_document_stays_one() -> None:
    text = '{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"}'
    assert edited(text, enable_aggregator_routing="true") == (
        f'{text[:-1]}, "apiServer": {{"extraArgs": [{IN_JSON}]}}}}'
    )


@pytest.mark.parametrize("text", ["apiServer: {}\n", "apiServer:\n  timeout: 4m\n", "x: 1\n"])
@pytest.mark.parametrize("version", [LIST, MAPPING])
def test_lines_that_end_in_crlf_go_on_doing_so(version: str, text: str) -> None:
    before = configuration(text, version)
    after = edited(before.replace("\n", "\r\n"), enable_aggregator_routing="true")
    assert after.replace("\r\n", "\n") == edited(before, enable_aggregator_routing="true")
    assert after.count("\n") == after.count("\r\n")


def test_what_is_so_already_is_not_touched() -> None:
    text = configuration("apiServer: {extraArgs: [{name: enable-aggregator-routing, value: '1'}]}\n")
    assert (
        edited(text, enable_aggregator_routing="true", requestheader_allowed_names="front-proxy-client")
        == text
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"apiServer:\n  extraArgs: [{{name: {ROUTING}, value: a}}, {{name: {ROUTING}}}]\n",
            "stands 2 times",
        ),
        (f"apiServer:\n  extraArgs: [{{name: {ROUTING}}}]\n", "has no value"),
        (f"apiServer:\n  extraArgs:\n  - name: {ROUTING}\n    value: |\n      no\n", "a block scalar"),
        ("? apiServer\n: {}\n", "no valid YAML"),
        ("? apiServer\n", "no valid YAML|change its meaning|holds no"),
    ],
)
def test_where_nothing_can_be_put_safely_the_edit_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        edited(configuration(text), enable_aggregator_routing="true")
    assert refused.value.code == CODE


def test_a_comment_in_empty_brackets_stays() -> None:
    text = configuration("apiServer:\n  extraArgs: [\n    # c\n  ]\n")
    after = edited(text, enable_aggregator_routing="true")
    assert "    # c\n  ]\n" in after
    assert read_configuration(after).value(ROUTING) == "true"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (f"x: 1\napiServer: {{extraArgs: [{{name: {ROUTING}, value: true}}]}}\n", "come out as text"),
        (f"x: 1\ny: 1\napiServer: {{extraArgs: [{IN_BRACES}]}}\n", "change its meaning"),
        (f"x:  1\napiServer: {{extraArgs: [{IN_BRACES}]}}\n", "line that nobody asked for"),
    ],
)
def test_the_proof_sees_what_was_not_wanted_whoever_wrote_it(wrong: str, reason: str) -> None:
    before, after = (read_configuration(configuration(each)) for each in ("x: 1\n", wrong))
    with pytest.raises(Refused, match=reason):
        prove(before, after, {ROUTING: "true"}, [])


def test_of_a_bundle_nothing_but_the_layers_flags_remains() -> None:
    args = "[{name: oidc-client-secret, value: hunter2}, {name: enable-aggregator-routing, value: 'true'}]"
    text = configuration(f"apiServer: {{extraArgs: {args}, extraVolumes: [{{mountPath: /srv}}]}}\n")
    part = layer_part(text)
    assert "hunter2" not in part
    assert read_configuration(part).value(ROUTING) == "true"
    assert read_configuration(part).mounts("/srv/ca.crt")
    assert layer_part(layer_part(part)) == layer_part(part)
    assert layer_part("apiServer: hunter2") == ""


def test_of_a_mapping_the_same_remains() -> None:
    text = configuration(
        "apiServer: {extraArgs: {a-secret: hunter2, enable-aggregator-routing: 'true'}}\n", MAPPING
    )
    assert "hunter2" not in layer_part(text)
    assert read_configuration(layer_part(text)).value(ROUTING) == "true"


# --- real ones, and all others -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_in_what_kubeadm_writes_only_the_new_lines_are_new(path: Path) -> None:
    text = path.read_text()
    after = edited(text, enable_aggregator_routing="true")
    new = [line for line in after.splitlines() if line not in text.splitlines()]
    assert [line.strip() for line in new if "apiServer" not in line and "extraArgs" not in line] in (
        ["- name: enable-aggregator-routing", 'value: "true"'],
        ['enable-aggregator-routing: "true"'],
    )
    assert edited(after, enable_aggregator_routing="true") == after


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
NAMES = st.sampled_from(["audit-log-path", "v", "oidc-issuer-url", *f.AGGREGATION_FLAGS])
WORDS = st.text(st.sampled_from("abz/:-_#'\" ,{}1.é"), max_size=8)
QUOTES = st.sampled_from(["'", '"'])
COMMENTS = st.sampled_from(["", " # note", "  # name: value"])
PIECES = st.sampled_from(
    [
        "networking: {}\n",
        "# a line of its own\n",
        "etcd:\n  local:\n    dataDir: /var\n",
        "scheduler: {}\n",
        "dns: {} # c\n",
    ]
)


def _quoted(text: str, quote: str) -> str:
    return "'" + text.replace("'", "''") + "'" if quote == "'" else '"' + text.replace('"', '\\"') + '"'


@st.composite
def _args(draw: st.DrawFn, version: str) -> str:
    """The extraArgs in one of the styles that people write."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    pairs = [(name, _quoted(draw(WORDS), draw(QUOTES)), draw(COMMENTS)) for name in names]
    if not pairs:
        return draw(
            st.sampled_from(
                [
                    "",
                    "  extraArgs:\n",
                    "  extraArgs: null\n",
                    f"  extraArgs: {'[]' if version == LIST else '{}'} # c\n",
                ]
            )
        )
    if draw(st.booleans()):
        items = [
            f"{{name: {name}, value: {text}}}" if version == LIST else f"{name}: {text}"
            for name, text, _ in pairs
        ]
        inside = ", ".join(items)
        return f"  extraArgs: [{inside}]\n" if version == LIST else f"  extraArgs: {{{inside}}}\n"
    pad = draw(st.sampled_from(["  ", "    "])) if version == LIST else "    "
    lines = (
        f"{pad}- name: {name}{comment}\n{pad}  value: {text}{comment}\n"
        if version == LIST
        else f"{pad}{name}: {text}{comment}\n"
        for name, text, comment in pairs
    )
    return "  extraArgs:\n" + "".join(lines)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """A ClusterConfiguration in either version, with comments, and odd in its style."""
    version = draw(st.sampled_from([LIST, MAPPING]))
    args = draw(_args(version))
    timeout = draw(st.sampled_from(["", "  timeout: 4m0s\n", "  # before\n  certSANs: [a]\n"]))
    inside = [args, timeout] if draw(st.booleans()) else [timeout, args]
    server = (
        "apiServer:\n" + "".join(inside)
        if draw(st.booleans())
        else draw(st.sampled_from(["apiServer: {}\n", "apiServer: {} # c\n", ""]))
    )
    pieces = draw(st.lists(PIECES, unique=True))
    text = configuration("".join([*pieces[:2], server, *pieces[2:]]), version)
    text = text if draw(st.booleans()) else text.removesuffix("\n")
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


WANTED = st.dictionaries(
    st.sampled_from(f.AGGREGATION_FLAGS),
    st.sampled_from(["true", "/srv/ca.crt", "a,b", "yes: no", ""]),
    min_size=1,
)


def parsed(text: str) -> dict[str, Any]:
    """The document as another reader has it."""
    return dict(YAML(typ="safe").load(text))


def args_of(text: str) -> list[tuple[str, str]]:
    found = (parsed(text).get("apiServer") or {}).get("extraArgs") or []
    return (
        list(found.items()) if isinstance(found, dict) else [(each["name"], each["value"]) for each in found]
    )


def without_args(text: str) -> dict[str, Any]:
    server = {
        name: value for name, value in (parsed(text).get("apiServer") or {}).items() if name != "extraArgs"
    }
    return parsed(text) | {"apiServer": server}


@patient
@given(configurations(), WANTED)
def test_an_edit_changes_the_wanted_entries_and_no_other_line(text: str, wanted: dict[str, str]) -> None:
    before = read_configuration(text)
    after = edit_configuration(before, wanted)
    changed = {name: value for name, value in wanted.items() if not agree(name, before.value(name), value)}
    kept = [(name, changed.get(name, value)) for name, value in args_of(text)]
    new = [pair for pair in changed.items() if pair[0] not in dict(kept)]
    assert args_of(after) == [*kept, *new]
    assert without_args(after) == without_args(text)
    lines = iter(after.split("\n"))
    untouched = [line for line in text.removesuffix("\n").split("\n") if not _may_change(line, changed)]
    assert all(any(line.rstrip("\r") == one.rstrip("\r") for one in lines) for line in untouched)
    assert after.endswith(("\n", "\r\n")) == text.endswith("\n")
    assert edit_configuration(read_configuration(after), wanted) == after


def _may_change(line: str, changed: dict[str, str]) -> bool:
    """A line with an entry that changes, with its value, or with the brackets that are filled."""
    return (
        "apiServer" in line
        or "extraArgs" in line
        or any(name in line for name in changed)
        or "value:" in line
    )
