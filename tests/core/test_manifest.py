"""The kube-apiserver static Pod: what an edit puts where, and the proof that it is nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.manifests import NEW, ROUTING, TAIL, command, pod, read

from aggctl.core.manifest import NewMount, edit_manifest, proof
from aggctl.core.manifest.splice import Splice, quote
from aggctl.errors import Refused


@dataclass(frozen=True)
class Edit:
    """An edit as a sentence; `old` is the one place of the text that becomes `new`."""

    says: str
    text: str
    old: str
    new: str
    flags: tuple[tuple[str, str], ...] = tuple(ROUTING.items())


def behind(says: str, text: str, anchor: str, new: str = NEW) -> Edit:
    return Edit(says, text, anchor, anchor + new)


SORTED = ("--allow-privileged=true", "--client-ca-file=/c", "--secure-port=6443")
UNSORTED = ("--secure-port=6443", "--allow-privileged=true", "--client-ca-file=/c")
LIST_LAST = pod("command:", "- kube-apiserver", "- --b=1", "- --a=2", tail="")

EDITS = [
    # 5.1 comments, blanks, endings
    behind(
        "1 in a CRLF file new lines end in CRLF",
        command(*UNSORTED).replace("\n", "\r\n"),
        "    - --client-ca-file=/c\r\n",
        NEW.replace("\n", "\r\n"),
    ),
    behind(
        "2 a missing final newline stays missing, and no line is glued to another",
        LIST_LAST.removesuffix("\n"),
        "    - --a=2",
        "\n" + NEW.removesuffix("\n"),
    ),
    behind(
        "2 the same with CRLF",
        LIST_LAST.removesuffix("\n").replace("\n", "\r\n"),
        "    - --a=2",
        "\r\n" + NEW.removesuffix("\n"),
    ),
    behind(
        "3 blanks at a line end are no part of the value and stay",
        command("--b=1", "--a=json    "),
        "    - --a=json    \n",
    ),
    behind(
        "4 a comment and a blank line stay with the flag below them",
        pod("command:", "- kube-apiserver", "- --a=1", "", "# etcd", "- --f=2", "- --g=3"),
        "    - --a=1\n",
    ),
    behind(
        "5 a flag commented out at column 0 is not set",
        command("--b=1", "--a=2").replace(
            "    - --a=2\n", "    - --a=2\n#    - --enable-aggregator-routing=1\n"
        ),
        "    - --a=2\n",
    ),
    behind(
        "6 of one live flag and its commented twins the live one counts, and draws the others to it",
        command("--z=1", "--requestheader-allowed-names=x", "--a=2").replace(
            "    - --a=2\n", "    # - --proxy-client-cert-file=/y\n    - --a=2\n"
        ),
        "    - --requestheader-allowed-names=x\n",
    ),
    behind(
        "7 a comment behind a flag stays there, umlauts included",
        command("--b=1", "--a=2     # <- geändert, früher 0"),
        "    - --a=2     # <- geändert, früher 0\n",
    ),
    behind(
        "7 a comment that goes on below in the same column is not cut in two",
        command("--b=1", "--a=2  # one").replace("# one\n", "# one\n             # two\n"),
        "    - --a=2  # one\n             # two\n",
    ),
    behind(
        "7 the same at the end of a file without a newline",
        LIST_LAST.removesuffix("\n") + "  # one\n             # two",
        "             # two",
        "\n" + NEW.removesuffix("\n"),
    ),
    Edit(
        "7b a # without a blank before it belongs to the value",
        command("--enable-aggregator-routing=a#b"),
        "routing=a#b",
        "routing=true",
    ),
    behind(
        "8 a comment with less indent, between two keys of the container, stays behind the list",
        command("--b=1", "--a=2").replace("    volumeMounts", "  # probes below\n    volumeMounts"),
        "    - --a=2\n",
    ),
    behind(
        "10 a comment and --- ahead of the Pod",
        "# note\n---\n" + command(*SORTED),
        "    - --allow-privileged=true\n    - --client-ca-file=/c\n",
    ),
    behind("10 a --- behind the Pod", command(*UNSORTED) + "---\n", "    - --client-ca-file=/c\n"),
    behind(
        "11 a blank line inside a container",
        command("--b=1", "--a=2").replace("    image", "\n    image"),
        "    - --a=2\n",
    ),
    behind("a byte order mark stays", "\ufeff" + command(*UNSORTED), "    - --client-ca-file=/c\n"),
    # 5.2 values and quoting
    behind(
        "12 among double-quoted flags a new one is double-quoted",
        command('"--b=1"', '"--a=2"'),
        '    - "--a=2"\n',
        '    - "--enable-aggregator-routing=true"\n',
    ),
    behind(
        "12 among single-quoted flags a new one is single-quoted",
        command("'--b=1'", "'--a=2'"),
        "    - '--a=2'\n",
        "    - '--enable-aggregator-routing=true'\n",
    ),
    Edit(
        "12 a quoted flag keeps its quotes with another value",
        command("'--enable-aggregator-routing=false'  # no"),
        "routing=false'",
        "routing=true'",
    ),
    behind("13 quotes inside a plain scalar stay", command('--b="x"', "--a=2"), "    - --a=2\n"),
    behind("14 several = and colons in a value", command("--b=A=true,B=a:b", "--a=2"), "    - --a=2\n"),
    Edit(
        "15 an empty value is replaced",
        command("--enable-aggregator-routing=", "--a=2"),
        "routing=\n",
        "routing=true\n",
    ),
    Edit(
        "15 a bare flag is true, and gets another value",
        command("--enable-aggregator-routing", "--a=2"),
        "routing\n",
        "routing=false\n",
        (("enable-aggregator-routing", "false"),),
    ),
    Edit("16 False is set, but off", command("--enable-aggregator-routing=False"), "=False", "=true"),
    Edit(
        "17 a flag with underscores keeps them",
        command("--enable_aggregator_routing=false"),
        "_routing=false",
        "_routing=true",
    ),
    behind("18 $(VAR) is Kubernetes' own", command("--b=$(POD_IP)", "--a=[::1]"), "    - --a=[::1]\n"),
    behind("19 a very long value is never folded", command("--b=1", "--a=" + "x" * 5000), "x\n"),
    behind("20 a misspelled flag is left alone", command("--b=1", "--athorization-mode=Node"), "mode=Node\n"),
    behind(
        "22 a shell redirect as an item stays last",
        command("--b=1", "--a=2", "1>>/var/log/x 2>&1"),
        "    - --a=2\n",
    ),
    behind("22 a new flag goes before --", command("--b=1", "--a=2", "--", "--c=3"), "    - --a=2\n"),
    Edit(
        "a value that is an item of its own is replaced there",
        command("--proxy-client-cert-file", "/old", "--a=2"),
        "- /old\n",
        "- /new\n",
        (("proxy-client-cert-file", "/new"),),
    ),
    behind(
        "a new flag does not come between a flag and its value",
        command("--a=2", "--proxy-client-cert-file", "/c"),
        "    - /c\n",
    ),
    # 5.3 where the flags live
    behind(
        "23 of command and args the list with the flags",
        pod("command:", "- kube-apiserver", "args:", "- --b=1", "- --a=2"),
        "    - --a=2\n",
    ),
    Edit(
        "23 the first of args comes below its key, with the comment of the next flag left to that",
        pod("command: [kube-apiserver]", "args:", "", "# note", "- --f=1", "- --g=2", "- --h=3"),
        "    args:\n",
        "    args:\n" + NEW,
    ),
    behind(
        "24 the indent of that very list",
        pod("command:", "  - kube-apiserver", "  - --b=1", "  - --a=2"),
        "      - --a=2\n",
        "  " + NEW,
    ),
    behind(
        "25 found by key: command first, name later",
        command("--b=1", "--a=2")
        .replace("  - name: kube-apiserver\n    image", "  - image")
        .replace(TAIL, "    name: kube-apiserver\n" + TAIL),
        "    - --a=2\n",
    ),
    behind(
        "26 never between hyperkube and its subcommand",
        pod("command:", "- /hyperkube", "- apiserver", "- --f=1", "- --g=2", "- --h=3"),
        "    - apiserver\n",
    ),
    behind(
        "26 never among the words of a wrapper",
        pod(
            "command:",
            "- /go-runner",
            "- --log-file=/x/kube-apiserver",
            "- /bin/kube-apiserver",
            "- --f=1",
            "- --g=2",
            "- --h=3",
        ),
        "    - /bin/kube-apiserver\n",
    ),
    behind(
        "27 the API server among sidecars, whose flags have the same names",
        pod("command: [kube-controller-manager, --requestheader-allowed-names=x]", "volumeMounts: []")
        .replace(TAIL, "")
        .replace("  - name: kube-apiserver\n", "  - name: other\n")
        + "  - name: api\n    image: i\n    command:\n    - kube-apiserver\n    - --b=1\n    - --a=2\n"
        + TAIL,
        "    - --a=2\n",
    ),
    behind(
        "28 the container may be called anything",
        command("--b=1", "--a=2").replace("- name: kube-apiserver", "- name: apiserver"),
        "    - --a=2\n",
    ),
    Edit(
        "33 inside the brackets of a flow sequence",
        pod("command: [kube-apiserver, --b=1, --a=2]"),
        ", --a=2]",
        ", --a=2, --enable-aggregator-routing=true]",
    ),
    Edit(
        "33 a flow sequence of one flag",
        pod("command: [kube-apiserver]", "args: ['--b=1']"),
        "['--b=1']",
        "['--b=1', '--enable-aggregator-routing=true']",
    ),
    Edit(
        "33 a flow sequence of one flag on a line of its own",
        pod("command: [kube-apiserver]", "args: [", '  "--b=1"', "]"),
        '      "--b=1"\n',
        '      "--b=1",\n      "--enable-aggregator-routing=true"\n',
    ),
    Edit(
        "33 the first place of a flow sequence",
        pod("command: [kube-apiserver]", "args: ['--f=1','--g=1','--h=1']"),
        "['--f",
        "['--enable-aggregator-routing=true','--f",
    ),
    Edit(
        "33 a value that brackets would split is quoted",
        pod("command: [kube-apiserver, --b=1]"),
        "--b=1]",
        '--b=1, "--requestheader-allowed-names=a,b"]',
        (("requestheader-allowed-names", "a,b"),),
    ),
    Edit(
        "args alone, where the image starts kube-apiserver by itself",
        pod("args:", "- --b=1", "- --a=2"),
        "    - --a=2\n",
        "    - --a=2\n" + NEW,
    ),
    # order
    Edit(
        "in a sorted list each new flag has its place",
        command("--allow-privileged=true", "--etcd-servers=x", "--secure-port=1"),
        "    - --etcd-servers=x\n",
        NEW
        + "    - --etcd-servers=x\n"
        + "    - --proxy-client-cert-file=/c\n"
        + "    - --requestheader-allowed-names=x\n",
        (
            ("requestheader-allowed-names", "x"),
            ("enable-aggregator-routing", "true"),
            ("proxy-client-cert-file", "/c"),
        ),
    ),
    Edit(
        "in a list without order the new flags keep the order of the request",
        command("--z=1", "--a=2"),
        "    - --a=2\n",
        "    - --a=2\n    - --requestheader-allowed-names=x\n" + NEW,
        (("requestheader-allowed-names", "x"), ("enable-aggregator-routing", "true")),
    ),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.says)
def test_edit(edit: Edit) -> None:
    assert edit.text.count(edit.old) == 1
    wanted = edit.text.replace(edit.old, edit.new)

    assert edit_manifest(read(edit.text), dict(edit.flags)) == wanted


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.says)
def test_an_edit_made_twice_is_the_edit_made_once(edit: Edit) -> None:
    once = edit_manifest(read(edit.text), dict(edit.flags))

    assert edit_manifest(read(once), dict(edit.flags)) == once


def test_what_is_already_so_stays_byte_for_byte() -> None:
    text = command("--enable-aggregator-routing")

    assert edit_manifest(read(text), ROUTING) == text


# --- edits that are refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            command("--enable-aggregator-routing=false", "--enable_aggregator_routing"),
            "flag-set-twice",
            "lines 12, 13",
        ),
        (pod("command:", "- kube-apiserver", "-", "  --a=1"), "manifest-bad-shape", "line 13"),
        (pod("command: [kube-apiserver, --a=1 # note", "]"), "manifest-bad-shape", "line 10: a comment"),
        (
            pod("command:", "- kube-apiserver", "- >-", "  --a=1"),
            "manifest-bad-shape",
            "line 12: a block scalar",
        ),
        (
            pod("command:", "- kube-apiserver", "- |-", "  --enable-aggregator-routing=false"),
            "manifest-bad-shape",
            "line 12",
        ),
    ],
    ids=[
        "set twice",
        "a dash on its own line",
        "a comment in brackets",
        "a block scalar before it",
        "a block scalar itself",
    ],
)
def test_an_edit_that_is_not_safe_is_refused(text: str, code: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        edit_manifest(read(text), ROUTING)

    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message


def test_a_value_that_is_no_text_is_never_written() -> None:
    with pytest.raises(Refused) as caught:
        edit_manifest(read(command("--a=1")), {"b": "\ud800"})

    assert caught.value.code == "manifest-edit-unproven"


# --- the proof -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (command("--a=1", "--b=2"), "--enable-aggregator-routing did not come out"),
        (
            command("--a=1", "--b=2", "--enable-aggregator-routing=true").replace(
                "hostNetwork: true", "hostNetwork: false"
            ),
            "something else",
        ),
        (command("--b=2", "--a=1", "--enable-aggregator-routing=true"), "something else"),
        (command("--a=1", "--enable-aggregator-routing=true"), "something else"),
        (command("--a=1", '"--b=2"', "--enable-aggregator-routing=true"), "something else"),
        (
            command("--a=1", "--b=2  # note", "--enable-aggregator-routing=true"),
            "a line that nobody asked for",
        ),
    ],
    ids=["flag missing", "another value", "order", "a flag lost", "other quotes", "a comment"],
)
def test_the_proof_finds_what_nobody_asked_for(after: str, words: str) -> None:
    before = read(command("--a=1", "--b=2"))

    with pytest.raises(Refused) as caught:
        proof.prove(before, read(after), ROUTING, [], [])

    assert caught.value.code == "manifest-edit-unproven"
    assert words in caught.value.message


PKI = NewMount("front-proxy", "/srv/front-proxy")


def test_the_proof_misses_no_mount() -> None:
    manifest = read(command("--a=1"))

    with pytest.raises(Refused, match="the mounts did not come out as wanted"):
        proof.prove(manifest, manifest, {}, [PKI], [])


def test_the_proof_lets_a_spliced_line_differ_and_no_other() -> None:
    before, after = command("--a=1", "--b=2"), command("--a=1 # x", "--b=2 # y")
    splices = [Splice(at, at, " # ") for at in (before.index("--a=1") + 5, before.index("--b=2") + 5)]

    proof.prove(read(before), read(after), {}, [], splices)
    with pytest.raises(Refused, match="nobody asked for"):
        proof.prove(read(before), read(after), {}, [], splices[:1])


@pytest.mark.parametrize(
    ("value", "style", "flow", "text"),
    [
        ("--a=b", "", False, "--a=b"),
        ("--a=b: c", "", False, '"--a=b: c"'),
        ("--a=b #c", "", False, '"--a=b #c"'),
        ("--a=b:", "", False, '"--a=b:"'),
        ("--a=b,c", "", False, "--a=b,c"),
        ("--a=b,c", "", True, '"--a=b,c"'),
        ("true", "", False, '"true"'),
        ("6443", "", False, '"6443"'),
        ("", "", False, '""'),
        ("it's", "'", False, "'it''s'"),
        ("a\tb", "'", False, '"a\\tb"'),
        ('a"b\\', '"', False, '"a\\"b\\\\"'),
        ("--a=b", "|", False, '"--a=b"'),
    ],
)
def test_a_value_is_quoted_like_its_neighbours_unless_that_changes_it(
    value: str, style: str, text: str, *, flow: bool
) -> None:
    assert quote(value, style, flow=flow) == text
