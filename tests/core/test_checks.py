"""The checks of a running kube-apiserver: each with its opposite, and when waiting is hopeless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import (
    CA,
    MANIFEST,
    ON,
    OTHER_CA,
    PKI,
    SERVER,
    WRITTEN,
    Scene,
    leaf,
)

from aggctl.core.checks import CHECKS, evaluate
from aggctl.core.findings import Finding, NotChecked, Passed
from aggctl.core.plan import Condition
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import (
    PROBE_USER,
    AskAs,
    ContainerLogs,
    FileAt,
    LogSeen,
    ObjectAt,
    Processes,
    ProcessSeen,
    ReadyAt,
    Unknown,
    WhoSeen,
)

if TYPE_CHECKING:
    from aggctl.core.findings import Verdict

LOGS = ContainerLogs("kube-system", "kube-apiserver", "kube-apiserver")
OLD = ProcessSeen(99, 1.0, ("kube-apiserver", "--secure-port=6443"))
NEW = ProcessSeen(100, 5.0, ("kube-apiserver", *ON.words))
REFUSED = Unknown("connection refused", "apiserver-not-reachable")


def verdict(scene: Scene, check: str, **arguments: Any) -> Verdict:
    condition = Condition(check, tuple(arguments.items()))
    return scene.ask(lambda snapshot: evaluate(condition, snapshot))


def finding(scene: Scene, check: str, **arguments: Any) -> Finding:
    found = verdict(scene, check, **arguments)
    assert isinstance(found, Finding)
    return found


def passes(scene: Scene, check: str, **arguments: Any) -> bool:
    return isinstance(verdict(scene, check, **arguments), Passed)


# --- a condition -----------------------------------------------------------------------------------------


def test_a_condition_of_a_newer_aggctl_is_not_checked_and_never_passed() -> None:
    found = verdict(ON, "from-the-future")
    assert isinstance(found, NotChecked)
    assert "from-the-future" in found.why.reason


def test_an_answer_that_could_not_be_had_is_not_checked_with_its_reason() -> None:
    found = verdict(
        ON.answering({AskAs(SERVER, "/c", "/k"): REFUSED}),
        "identity-accepted",
        server=SERVER,
        certificate="/c",
        key="/k",
    )
    assert found == NotChecked(REFUSED)


def test_a_manifest_that_is_none_any_more_is_a_finding() -> None:
    broken = ON.file(MANIFEST, b"kind: List\n")
    assert finding(broken, "manifest-in-force", manifest=MANIFEST).code == "not-a-static-pod"


def test_a_manifest_that_is_gone_is_a_finding() -> None:
    gone = ON.answering({FileAt(MANIFEST): None})
    assert finding(gone, "manifest-in-force", manifest=MANIFEST).code == "manifest-empty"


def test_the_names_that_journals_hold_stay() -> None:
    assert set(CHECKS) >= {"manifest-in-force", "apiserver-ready", "layer-published", "identity-accepted"}


# --- manifest in force -----------------------------------------------------------------------------------


def test_a_process_with_the_manifests_arguments_is_the_manifest_in_force() -> None:
    assert verdict(ON, "manifest-in-force", manifest=MANIFEST) == Passed(
        f"pid 100 runs with the arguments of {MANIFEST}"
    )


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        ((OLD,), "the old process 99 still runs"),
        ((OLD, ProcessSeen(98, 1.0, ("x",))), "the old process 99, 98 still runs"),
        ((), "no new kube-apiserver process yet"),
    ],
    ids=["the old one lingers", "two old ones linger", "between two"],
)
def test_until_then_it_says_what_is_there_and_there_is_hope(
    processes: tuple[ProcessSeen, ...], message: str
) -> None:
    found = finding(ON.answering({Processes(6443): processes}), "manifest-in-force", manifest=MANIFEST)
    assert (found.code, found.message, found.hopeless) == ("manifest-not-in-force", message, False)


def test_the_new_process_does_not_count_beside_the_old_one_which_has_the_port() -> None:
    """A kubelet that was started again does so, and the new one ends at once."""
    beside = ON.answering({Processes(6443): (OLD, NEW)})
    found = finding(beside, "manifest-in-force", manifest=MANIFEST)
    assert (found.message, found.hopeless) == ("the old process 99 still runs", False)


@pytest.mark.parametrize(("unlike", "passed"), [("100:5", False), ("100:4", True), ("99:5", True)])
def test_where_the_arguments_stay_the_same_it_must_be_another_process(unlike: str, passed: bool) -> None:
    assert passes(ON, "manifest-in-force", manifest=MANIFEST, unlike=unlike) is passed


# --- ready -----------------------------------------------------------------------------------------------


def test_an_apiserver_that_says_ok_is_ready() -> None:
    assert passes(ON, "apiserver-ready", server=SERVER, manifest=MANIFEST)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("HTTP 500: [-]poststarthook/rbac", "not ready: HTTP 500: [-]poststarthook/rbac"),
        ("HTTP 403: forbidden", "not ready: HTTP 403: forbidden"),
        (REFUSED, "not ready: connection refused"),
    ],
    ids=["a hook is not done", "authorization is not there yet", "refused"],
)
@pytest.mark.parametrize("manifest", [{"manifest": MANIFEST}, {}], ids=["with its logs", "without"])
def test_any_other_answer_is_not_yet(said: Any, message: str, manifest: dict[str, str]) -> None:
    found = finding(ON.answering({ReadyAt(SERVER): said}), "apiserver-ready", server=SERVER, **manifest)
    assert (found.code, found.message, found.hopeless) == ("apiserver-not-ready", message, False)


# --- published -------------------------------------------------------------------------------------------


def published(scene: Scene, names: str = "front-proxy-client") -> Verdict:
    return verdict(scene, "layer-published", server=SERVER, ca=f"{PKI}/front-proxy-ca.crt", names=names)


@pytest.mark.parametrize(
    ("scene", "names"),
    [
        (ON, "front-proxy-client"),
        (ON.publishing(OTHER_CA, CA), "front-proxy-client"),
        (ON.publishing(CA, names=("a", "front-proxy-client")), "front-proxy-client"),
        (ON.publishing(CA, names=()), "front-proxy-client"),
        (ON, ""),
        (ON.file("front-proxy-ca.crt", CA.certificate + OTHER_CA.certificate), "front-proxy-client"),
    ],
    ids=[
        "ours",
        "ours beside others",
        "our name among others",
        "any name",
        "no name of ours",
        "the first of a bundle",
    ],
)
def test_our_ca_and_names_among_the_published_ones_pass(scene: Scene, names: str) -> None:
    assert isinstance(published(scene, names), Passed)


@pytest.mark.parametrize(
    ("scene", "names", "message"),
    [
        (
            ON.publishing(OTHER_CA),
            "front-proxy-client",
            "the CA of /etc/kubernetes/pki/front-proxy-ca.crt is not",
        ),
        (ON.publishing(), "front-proxy-client", "the CA of"),
        (ON.object(CONFIG_MAP, None), "front-proxy-client", "the CA of"),
        (ON.file("front-proxy-ca.crt", None), "front-proxy-client", "the CA of"),
        (ON.file("front-proxy-ca.crt", b"garbage"), "front-proxy-client", "the CA of"),
        (ON, "front-proxy-client,aggregator", "the name aggregator is not"),
    ],
    ids=["another CA", "no CA", "no ConfigMap", "no CA here", "garbage here", "a name is missing"],
)
def test_anything_else_is_not_published_yet(scene: Scene, names: str, message: str) -> None:
    found = published(scene, names)
    assert isinstance(found, Finding)
    assert (found.code, found.hopeless) == ("layer-not-published", False)
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    "answer", [REFUSED, {"data": {"requestheader-client-ca-file": "garbage"}}], ids=["silent", "garbage"]
)
def test_a_configmap_that_cannot_be_read_is_not_checked(answer: Any) -> None:
    scene = ON.answering({ObjectAt(CONFIG_MAP, SERVER): answer})
    assert isinstance(published(scene), NotChecked)


# --- identity --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        (WhoSeen(201, PROBE_USER), True),
        (WhoSeen(200, PROBE_USER), True),
        (WhoSeen(201, "front-proxy-client"), False),
        (WhoSeen(201, ""), False),
        (WhoSeen(401, ""), False),
        (WhoSeen(403, PROBE_USER), False),
    ],
    ids=[
        "the header's user",
        "the same, by 200",
        "the certificate's own name: an ordinary client's",
        "nobody",
        "not trusted",
        "forbidden",
    ],
)
def test_an_identity_is_accepted_where_the_header_tells_the_user(answer: WhoSeen, accepted: bool) -> None:
    scene = ON.answering({AskAs(SERVER, "/c", "/k"): answer})
    assert passes(scene, "identity-accepted", server=SERVER, certificate="/c", key="/k") is accepted


def test_a_refused_identity_is_told_with_the_status() -> None:
    scene = ON.answering({AskAs(SERVER, "/c", "/k"): WhoSeen(401, "")})
    found = finding(scene, "identity-accepted", server=SERVER, certificate="/c", key="/k")
    assert (found.code, found.hopeless) == ("client-certificate-not-accepted", False)
    assert "HTTP 401" in found.message


# --- logs ------------------------------------------------------------------------------------------------

FLAG = 'Error: invalid argument "maybe" for "--enable-aggregator-routing" flag: strconv.ParseBool'
KLOG = 'E0601 12:00:00.000000       1 run.go:72] "command failed" err="{}"'
ETCD = KLOG.format("context deadline exceeded")
MISSING = KLOG.format(f"open {PKI}/front-proxy-ca.crt: no such file or directory")
ELSEWHERE = KLOG.format("open /srv/ca.crt: no such file or directory")
DENIED = KLOG.format(f"open {PKI}/front-proxy-client.key: permission denied")
TALK = "I0601 12:00:00.000000       1 options.go:228] external host was not specified"


def run(number: int, *lines: str, began: float = WRITTEN + 1) -> LogSeen:
    return LogSeen(number, began, lines)


def dying(*runs: LogSeen) -> Scene:
    return ON.answering({LOGS: runs, Processes(6443): (), ReadyAt(SERVER): REFUSED})


def in_force(scene: Scene) -> Finding:
    return finding(scene, "manifest-in-force", manifest=MANIFEST, logs=1)


@pytest.mark.parametrize(
    ("line", "code", "fix"),
    [
        (MISSING, "file-missing", f"ls -l {PKI}/front-proxy-ca.crt"),
        (ELSEWHERE, "file-not-mounted", "put /srv/ca.crt below a volume of the Pod, or mount it"),
        (DENIED, "file-not-readable-in-pod", f"ls -lZ {PKI}/front-proxy-client.key; restorecon, chmod"),
        (ETCD, "apiserver-crash-loop", "read the evidence; mend what it names"),
        (
            "panic: runtime error: index out of range",
            "apiserver-crash-loop",
            "read the evidence; mend what it names",
        ),
        (
            "F0601 12:00:00.0 1 x.go:1] cannot go on",
            "apiserver-crash-loop",
            "read the evidence; mend what it names",
        ),
    ],
    ids=[
        "a file is missing",
        "a file is not mounted",
        "a file is not readable",
        "etcd",
        "a panic",
        "a fatal line",
    ],
)
def test_a_third_crash_is_hopeless_and_named_by_its_cause(line: str, code: str, fix: str) -> None:
    found = in_force(dying(run(1, TALK, line), run(2, TALK, line)))
    assert (found.code, found.hopeless, found.fix) == (code, True, fix)
    assert found.evidence == (line,)


@pytest.mark.parametrize("line", [MISSING, ELSEWHERE, DENIED, ETCD])
def test_before_the_third_crash_there_is_hope(line: str) -> None:
    found = in_force(dying(run(0, line), run(1, line)))
    assert (found.code, found.hopeless) == ("manifest-not-in-force", False)


def test_a_port_that_the_old_process_still_has_is_waited_for() -> None:
    line = KLOG.format(
        "failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"
    )
    assert not in_force(dying(run(6, line), run(7, line))).hopeless


def test_crashes_are_counted_by_the_restart_number_as_the_kubelet_keeps_two_logs_only() -> None:
    assert in_force(dying(run(7, ETCD))).hopeless


@pytest.mark.parametrize(
    "line",
    [
        FLAG,
        "Error: unknown flag: --aggregator-ca-cert-file",
        "unknown flag: --aggregator-ca-cert-file",
        "error: unknown shorthand flag: 'x' in -x",
        "Error: flag needs an argument: --proxy-client-key-file",
    ],
)
def test_a_flag_that_the_binary_refuses_is_hopeless_at_once(line: str) -> None:
    found = in_force(dying(run(0, "Usage:", line, "  --v Level")))
    assert (found.code, found.hopeless, found.message) == ("flag-refused", True, line)


def test_of_several_runs_the_last_complaint_about_a_flag_is_shown() -> None:
    assert (
        in_force(dying(run(0, "unknown flag: --a"), run(1, "unknown flag: --b"))).message
        == "unknown flag: --b"
    )


@pytest.mark.parametrize(
    "line",
    [
        TALK,
        'W0601 12:00:00.0 1 admission.go:1] rejected: invalid argument "x" for "field" of a webhook',
        'E0601 12:00:00.0 1 controller.go:1] "loading OpenAPI spec failed"',
    ],
    ids=["plain talk", "another's invalid argument", "an error that is not fatal"],
)
def test_ordinary_lines_are_no_death(line: str) -> None:
    assert in_force(dying(run(0, line), run(5, line))).code == "manifest-not-in-force"


def test_a_fatal_line_long_before_the_end_is_an_old_story() -> None:
    assert in_force(dying(run(5, ETCD, *[TALK] * 12))).code == "manifest-not-in-force"


@pytest.mark.parametrize("line", [FLAG, ETCD])
def test_runs_from_before_the_change_say_nothing_of_it(line: str) -> None:
    assert in_force(dying(run(9, line, began=WRITTEN - 1))).code == "manifest-not-in-force"


def test_logs_that_cannot_be_read_leave_hope() -> None:
    scene = ON.answering({LOGS: Unknown("no rights", "no-rights"), Processes(6443): ()})
    assert not in_force(scene).hopeless


def test_without_asking_for_logs_nothing_is_hopeless() -> None:
    assert not finding(dying(run(0, FLAG)), "manifest-in-force", manifest=MANIFEST).hopeless


def test_an_apiserver_that_is_not_ready_because_it_dies_is_hopeless_too() -> None:
    found = finding(dying(run(0, FLAG)), "apiserver-ready", server=SERVER, manifest=MANIFEST)
    assert (found.code, found.hopeless) == ("flag-refused", True)


def test_the_logs_of_an_apiserver_whose_manifest_went_away_meanwhile_are_not_read() -> None:
    scene = dying(run(0, FLAG)).answering({FileAt(MANIFEST): None})
    found = finding(scene, "apiserver-ready", server=SERVER, manifest=MANIFEST)
    assert not found.hopeless


def test_a_healthy_process_passes_whatever_earlier_runs_died_of() -> None:
    assert passes(ON.answering({LOGS: (run(0, FLAG),)}), "manifest-in-force", manifest=MANIFEST, logs=1)


def test_the_evidence_holds_no_more_than_the_line() -> None:
    found = in_force(dying(run(2, leaf(CA).key.decode(), ETCD)))
    assert found.evidence == (ETCD,)
