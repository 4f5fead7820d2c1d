"""`aggctl certs rotate serving` where Pods serve an API by a Secret: the kubelet's part is the test's."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.hello_in_pods import API, GREETINGS, NAMESPACE, PODS, SECRET, HelloInPods, hello_in_pods
from support.killed import NEVER, killed, spread
from support.kube import MERGE
from support.load import load
from support.refusals import AGGCTL, aggctl, assert_decent, assert_document
from support.waiting import eventually

from aggctl.core import pki
from aggctl.workflows.rotate_serving import NUDGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.refusals import Said

pytestmark = pytest.mark.controlplane

KILL_POINTS = 6
SECONDS = 60.0
Standing = tuple[bytes, ...]


def words(place: HelloInPods, *more: str) -> tuple[str, ...]:
    return ("certs", "rotate", "serving", *more, "--root", str(place.node.root))


def renew(place: HelloInPods, *more: str) -> Said:
    return aggctl(*words(place, "--yes", *more))


def standing(place: HelloInPods) -> Standing:
    """What a rotation changes: the caBundle, the Secret, the file that the server reads."""
    return place.bundle(), place.secret("ca.crt"), place.secret(), place.secret("tls.key"), place.served()


def pods(place: HelloInPods) -> dict[str, str]:
    """Of each Pod its UID, and the mark by which the kubelet was nudged."""
    found = place.kube.get(PODS)["items"]
    return {
        each["metadata"]["uid"]: (each["metadata"].get("annotations") or {}).get(NUDGE, "") for each in found
    }


def assert_whole(place: HelloInPods) -> None:
    """One CA is trusted, that of the Secret, and signed what the server has from it."""
    bundle, authority, certificate, _, served = standing(place)
    assert bundle == authority
    assert certificate == served
    (ca,), (leaf,) = (pki.read_certificates(each) for each in (bundle, served))
    assert pki.signed_by(leaf, ca)


@pytest.fixture(scope="module")
def place(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HelloInPods]:  # noqa: ARG001 -- asked for to be skipped without them
    with hello_in_pods(tmp_path_factory.mktemp("rotate-serving-pods")) as place:
        yield place


def test_under_load_pods_are_annotated_and_get_the_new_secret_with_no_failed_request_and_no_restart(
    place: HelloInPods,
) -> None:
    before, were, apiserver = standing(place), pods(place), place.node.running.apiserver().process
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        said = renew(place, API)
    assert said.status == 0, said.text
    assert_decent(said)
    assert requests.failed == {}
    assert requests.answered >= 100
    assert place.node.running.apiserver().process == apiserver
    assert place.hello.process.poll() is None
    assert not set(standing(place)) & set(before)
    assert_whole(place)
    now = pods(place)
    assert now.keys() == were.keys()
    assert all(now[uid] > were[uid] for uid in now)


def test_no_key_is_told_and_the_new_one_is_in_the_secret_alone(place: HelloInPods) -> None:
    said = renew(place, "-v", "-o", "json")
    assert (said.status, said.document["outcome"]) == (0, "applied"), said.text
    key = place.secret("tls.key")
    told = said.text + place.node.record()
    assert key.decode().splitlines()[1] not in told
    assert base64.b64encode(key).decode()[60:120] not in told


def test_a_dry_run_says_what_would_change_and_writes_nothing(place: HelloInPods) -> None:
    before, everything = standing(place), place.kube.everything()
    said = aggctl(*words(place, API, "--dry-run", "-o", "json"))
    assert (said.status, said.document["outcome"]) == (0, "planned"), said.text
    assert [each["target"] for each in said.document["changes"]] == [
        f"Secret {SECRET.split('/')[4]}/{SECRET.rpartition('/')[2]}",
        f"APIService {API}",
    ]
    assert_document(said)
    assert (standing(place), place.kube.everything()) == (before, everything)


def test_a_secret_that_gets_another_owner_is_left_alone(place: HelloInPods) -> None:
    mark = {"metadata": {"annotations": {"aggctl/created": None}}}
    created = place.kube.get(SECRET)["metadata"]["annotations"]["aggctl/created"]
    assert place.kube.ask("PATCH", SECRET, mark, MERGE)[0] == 200
    before = standing(place)
    try:
        said = renew(place)
    finally:
        mark["metadata"]["annotations"]["aggctl/created"] = created
        assert place.kube.ask("PATCH", SECRET, mark, MERGE)[0] == 200
    assert said.status == 0, said.text
    assert f"Secret {NAMESPACE}/hello-api-tls was not made by aggctl" in said.out
    assert standing(place) == before


def test_where_the_pods_do_not_get_it_old_secret_and_old_bundle_come_back(place: HelloInPods) -> None:
    before, place.brings = standing(place), False
    try:
        with load(place.kube.kubeconfig, GREETINGS) as requests:
            said = renew(place, "--timeout", "2s", "-o", "json")
    finally:
        place.brings = True
    assert (said.status, said.document["outcome"]) == (1, "rolled-back"), said.text
    assert said.codes == ["serving-certificate-old"]
    assert_document(said)
    assert requests.failed == {}
    assert standing(place) == before


def test_interrupted_once_the_new_one_is_served_the_old_one_comes_back_to_the_pods_first(
    place: HelloInPods,
) -> None:
    """The run is held while the Pods get the new Secret, and stopped after that."""
    before, place.brings = standing(place), False
    run = subprocess.Popen(
        [*AGGCTL, *words(place, "--yes", "-o", "json")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with load(place.kube.kubeconfig, GREETINGS) as requests:
            marks = pods(place)
            eventually(lambda: pods(place) != marks, "the Pods are annotated")
            run.send_signal(signal.SIGSTOP)
            place.brings = True
            eventually(lambda: place.served() == place.secret() != before[2], "the new one is served")
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGCONT)
            out, _ = run.communicate(timeout=SECONDS)
    finally:
        place.brings = True
        run.kill()
        run.communicate()
    assert (run.returncode, json.loads(out)["outcome"]) == (130, "rolled-back")
    assert requests.failed == {}
    assert standing(place) == before


@pytest.mark.timeout(400)
def test_killed_anywhere_traffic_goes_on_and_the_next_run_finishes(place: HelloInPods) -> None:
    run = words(place, "--yes")
    points = spread(killed(run, NEVER), KILL_POINTS)
    with load(place.kube.kubeconfig, GREETINGS) as requests:
        for point in points:
            killed(run, point)
            said = renew(place)
            assert said.status == 0, (point, said.text)
            assert_whole(place)
    assert requests.failed == {}
