"""What `enable` decides for a node: what is missing, what stays, what is refused, what --repair mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import (
    CA,
    CA_FLAG,
    CLIENT_CA,
    EIGHT,
    NAMES_FLAG,
    OFF,
    ON,
    OTHER_CA,
    OTHERS,
    PKI,
    ROUTING_FLAG,
    SERVER,
    Scene,
    authority,
    certificate,
    codes,
    leaf,
    nameless,
)

from aggctl.core.manifest import NewMount
from aggctl.core.need import Need, Wanted
from aggctl.core.pki import KeyPair
from aggctl.core.published import CONFIG_MAP
from aggctl.core.questions import ClockSkew, ObjectAt, Unknown

if TYPE_CHECKING:
    from aggctl.core.enable import Sight

EXTERNAL = KeyPair(CA.certificate, b"")
"""A CA that is managed elsewhere: no key of it here."""

TRUST = ("/etc/ssl/certs", "/etc/ssl/certs")
"""A volume that has nothing to do with the layer."""

AGED = authority(days=-400, lifetime=365)
"""A CA that has expired."""


def refused(scene: Scene, **wanted: Any) -> list[str]:
    """The codes of what stands in the way."""
    return codes(scene.see(**wanted).problems)


def need(scene: Scene, **wanted: Any) -> Need:
    """What is to be done, where nothing stands in the way."""
    sight: Sight = scene.see(**wanted)
    assert codes(sight.problems) == []
    return sight.need


def notes(scene: Scene, **wanted: Any) -> list[str]:
    return codes(need(scene, **wanted).notes)


# --- missing, and nothing to do --------------------------------------------------------------------------


def test_without_the_layer_all_eight_flags_a_ca_and_a_client_certificate_are_needed() -> None:
    found = need(OFF)
    assert found.flags == EIGHT
    assert (found.ca_source, found.client_name, found.names) == (
        "mint",
        "front-proxy-client",
        ("front-proxy-client",),
    )
    assert found.mounts == ()


def test_where_all_is_right_nothing_is_needed() -> None:
    found = need(ON)
    assert found.nothing
    assert found.notes == ()


@pytest.mark.parametrize("name", EIGHT)
def test_a_single_missing_flag_is_all_that_is_added(name: str) -> None:
    found = need(ON.flag(**{name.replace("-", "_"): None}))
    assert (found.flags, found.ca_source, found.client_name) == ({name: EIGHT[name]}, "", "")
    assert not found.nothing


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        (ON.mounted(TRUST), {}),
        (ON.pair("front-proxy-client", leaf(CA, days=-400)), {"repair": True}),
        (OFF.flag(**{name.replace("-", "_"): value for name, value in EIGHT.items()}), {}),
        (ON.pair("front-proxy-ca", None), {"ca": EXTERNAL}),
    ],
    ids=["a mount", "a leaf", "a CA and a leaf", "a CA"],
)
def test_a_mount_or_a_certificate_alone_is_something_to_do(scene: Scene, wanted: dict[str, Any]) -> None:
    found = need(scene, **wanted)
    assert (found.flags, found.nothing) == ({}, False)


def test_a_ca_and_a_leaf_that_lie_ready_are_used_and_nothing_is_minted() -> None:
    ready = OFF.pair("front-proxy-ca", CA).pair("front-proxy-client", leaf(CA))
    found = need(ready)
    assert (found.flags, found.ca_source, found.client_name) == (EIGHT, "", "")


def test_a_ca_that_lies_ready_with_its_key_signs_the_leaf() -> None:
    found = need(OFF.pair("front-proxy-ca", CA))
    assert (found.ca_source, found.client_name) == ("", "front-proxy-client")


def test_values_of_their_own_that_agree_with_each_other_stay() -> None:
    tutorial = (
        ON.flag(
            requestheader_client_ca_file="/etc/kubernetes/ssl/aggregator-ca.pem",
            requestheader_allowed_names="aggregator",
            requestheader_username_headers="X-Own-User",
            proxy_client_cert_file="/etc/kubernetes/ssl/aggregator.pem",
            proxy_client_key_file="/etc/kubernetes/ssl/aggregator-key.pem",
        )
        .mounted(("/etc/kubernetes", "/etc/kubernetes"))
        .file("/etc/kubernetes/ssl/aggregator-ca.pem", CA.certificate)
        .file("/etc/kubernetes/ssl/aggregator.pem", leaf(CA, "aggregator").certificate)
        .file("/etc/kubernetes/ssl/aggregator-key.pem", leaf(CA, "aggregator").key)
        .publishing(CA, names=("aggregator",))
    )
    assert need(tutorial).nothing
    assert need(tutorial, repair=True).nothing


def test_on_minikube_the_certificates_join_its_own() -> None:
    folder = "/var/lib/minikube/certs"
    scene = OFF.flag(client_ca_file=f"{folder}/ca.crt").mounted((folder, folder))
    assert need(scene).flags["proxy-client-key-file"] == f"{folder}/front-proxy-client.key"


def test_the_bundle_of_a_rotation_is_kept() -> None:
    assert need(ON.file("front-proxy-ca.crt", OTHER_CA.certificate + CA.certificate)).nothing


def test_with_hyperkube_and_without_a_client_ca_the_same_is_needed() -> None:
    scene = Scene(
        flags={name: value for name, value in OTHERS.items() if name != "client-ca-file"},
        command=("/hyperkube", "apiserver"),
        objects=OFF.objects,
    )
    assert need(scene).flags == EIGHT


# --- the CA ----------------------------------------------------------------------------------------------


def test_a_ca_of_an_earlier_try_is_used_again() -> None:
    assert need(OFF, kept=CA).ca_source == "kept"


def test_it_is_used_again_where_the_cluster_publishes_it() -> None:
    assert need(OFF.publishing(CA), kept=CA).ca_source == "kept"


def test_it_is_not_used_where_the_cluster_publishes_another() -> None:
    assert refused(OFF.publishing(OTHER_CA), kept=CA) == ["another-ca-published"]


@pytest.mark.parametrize(
    "kept",
    [
        KeyPair(b"garbage", CA.key),
        KeyPair(CA.certificate, b"garbage"),
        KeyPair(CA.certificate, OTHER_CA.key),
        AGED,
    ],
    ids=["no certificate", "no key", "key of another", "expired"],
)
def test_what_an_earlier_try_left_in_pieces_is_no_ca(kept: KeyPair) -> None:
    assert need(OFF, kept=kept).ca_source == "mint"


def test_a_ca_that_is_given_is_used_and_signs_the_leaf() -> None:
    found = need(OFF, ca=CA, kept=OTHER_CA)
    assert (found.ca_source, found.client_name) == ("given", "front-proxy-client")


def test_a_given_ca_that_the_cluster_publishes_is_used() -> None:
    assert need(OFF.with_peer().publishing(CA), ca=CA).ca_source == "given"


def test_a_given_ca_that_the_cluster_does_not_publish_is_refused() -> None:
    assert refused(OFF.publishing(OTHER_CA), ca=CA) == ["another-ca-published"]


def test_where_the_cluster_publishes_a_ca_and_the_node_has_none_no_second_one_is_made() -> None:
    sight = OFF.with_peer().publishing(CA).see()
    assert codes(sight.problems) == ["another-ca-published"]
    assert sight.need.ca_source == ""
    assert "--ca-from" in sight.problems[0].fix


def test_where_the_published_ca_cannot_be_read_no_second_one_is_made() -> None:
    scene = OFF.object(CONFIG_MAP, {"data": {"requestheader-client-ca-file": "garbage"}})
    assert refused(scene) == ["published-ca-not-readable"]
    assert refused(scene, repair=True) == ["published-ca-not-readable"]


def test_a_ca_on_disk_that_is_not_the_published_one_is_refused_before_it_is_switched_on() -> None:
    scene = OFF.pair("front-proxy-ca", CA).pair("front-proxy-client", leaf(CA)).publishing(OTHER_CA)
    assert refused(scene) == ["another-ca-published"]


def test_a_ca_in_use_is_left_to_the_gate_though_the_cluster_publishes_another() -> None:
    assert need(ON.publishing(OTHER_CA)).nothing


def test_a_given_ca_beside_another_one_on_the_node_is_refused() -> None:
    assert refused(ON.publishing(CA, OTHER_CA), ca=OTHER_CA) == ["another-ca-published"]


def test_a_given_ca_that_is_the_one_on_the_node_changes_nothing_not_even_with_repair() -> None:
    assert need(ON, ca=CA).nothing
    assert need(ON, ca=CA, repair=True).nothing


def test_repair_replaces_the_nodes_ca_by_the_given_one_that_the_cluster_publishes() -> None:
    found = need(ON.publishing(CA, OTHER_CA), ca=OTHER_CA, repair=True)
    assert (found.ca_source, found.client_name, found.flags) == ("given", "front-proxy-client", {})


def test_repair_with_a_given_ca_keeps_a_leaf_that_is_already_of_that_ca() -> None:
    scene = ON.pair("front-proxy-ca", OTHER_CA).publishing(CA, OTHER_CA)
    found = need(scene, ca=EXTERNAL, repair=True)
    assert (found.ca_source, found.client_name) == ("given", "")


def test_repair_with_a_given_ca_without_its_key_cannot_issue_a_leaf_by_the_old_one() -> None:
    external = KeyPair(OTHER_CA.certificate, b"")
    assert refused(ON.publishing(CA, OTHER_CA), ca=external, repair=True) == ["front-proxy-ca-key-missing"]


def test_repair_replaces_an_expired_ca_by_the_given_one() -> None:
    scene = ON.pair("front-proxy-ca", AGED).pair("front-proxy-client", leaf(AGED)).publishing(AGED, CA)
    assert refused(scene) == ["front-proxy-ca-expired"]
    assert need(scene, ca=CA, repair=True).ca_source == "given"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (AGED, "front-proxy-ca-expired"),
        (CLIENT_CA, "front-proxy-ca-is-client-ca"),
        (leaf(CA), "front-proxy-ca-is-no-ca"),
    ],
    ids=["expired", "the cluster's own CA", "a leaf"],
)
def test_a_given_ca_that_is_none_to_trust_is_refused_before_it_is_installed(
    given: KeyPair, code: str
) -> None:
    assert code in refused(OFF, ca=given)


def test_a_given_ca_without_its_key_cannot_issue_a_leaf() -> None:
    sight = OFF.see(ca=EXTERNAL)
    assert codes(sight.problems) == ["front-proxy-ca-key-missing"]
    assert "--ca-from" in sight.problems[0].fix


def test_a_given_ca_without_its_key_is_enough_where_the_leaf_is_there() -> None:
    found = need(OFF.pair("front-proxy-client", leaf(CA)), ca=EXTERNAL)
    assert (found.ca_source, found.client_name) == ("given", "")


def test_an_external_ca_without_its_key_is_used_and_not_replaced() -> None:
    assert need(ON.file("front-proxy-ca.key", None)).nothing


def test_an_external_ca_cannot_issue_the_leaf_that_is_missing() -> None:
    sight = ON.file("front-proxy-ca.key", None).pair("front-proxy-client", None).see()
    assert codes(sight.problems) == ["front-proxy-ca-key-missing"]
    assert "managed elsewhere" in sight.problems[0].message


def test_the_key_of_another_ca_cannot_issue_it_either_and_is_called_what_it_is() -> None:
    scene = ON.file("front-proxy-ca.key", OTHER_CA.key).pair("front-proxy-client", None)
    assert refused(scene) == ["front-proxy-ca-key-mismatch"]


def test_a_cas_key_without_its_certificate_is_no_reason_to_make_another_ca() -> None:
    assert refused(OFF.file("front-proxy-ca.key", CA.key)) == ["front-proxy-ca-missing"]


def test_the_certificate_of_that_key_may_be_given() -> None:
    scene = OFF.file("front-proxy-ca.key", CA.key)
    assert need(scene, ca=CA).ca_source == "given"
    assert refused(scene, ca=OTHER_CA) == ["front-proxy-ca-missing"]


def test_a_leaf_whose_ca_is_gone_is_not_paired_with_a_new_ca_that_did_not_sign_it() -> None:
    scene = OFF.pair("front-proxy-client", leaf(CA))
    assert refused(scene) == ["client-certificate-of-another-ca"]
    found = need(scene, repair=True)
    assert (found.ca_source, found.client_name) == ("mint", "front-proxy-client")


def test_a_new_leaf_is_not_issued_by_an_expired_ca_though_another_one_in_the_file_is_good() -> None:
    bundle = ON.pair("front-proxy-ca", AGED).file("front-proxy-ca.crt", AGED.certificate + CA.certificate)
    assert need(bundle.pair("front-proxy-client", leaf(CA))).nothing
    broken = bundle.pair("front-proxy-client", leaf(CA, days=-400))
    assert "front-proxy-ca-expired" in refused(broken, repair=True)


def test_an_expired_ca_is_said_once_where_it_should_sign() -> None:
    assert refused(OFF.pair("front-proxy-ca", AGED)) == ["front-proxy-ca-expired"]


@pytest.mark.parametrize("repair", [False, True])
def test_a_ca_file_that_is_garbage_is_refused(repair: bool) -> None:
    assert refused(ON.file("front-proxy-ca.crt", b"garbage"), repair=repair) != []


def test_a_given_ca_takes_the_place_of_garbage_with_repair() -> None:
    found = need(ON.file("front-proxy-ca.crt", b"garbage"), ca=CA, repair=True)
    assert (found.ca_source, found.client_name) == ("given", "")


# --- a CA that is shared, or none ------------------------------------------------------------------------


def test_the_clients_ca_as_front_proxy_ca_is_a_warning_where_a_cluster_lives_with_it() -> None:
    reused = (
        ON.flag(requestheader_client_ca_file=f"{PKI}/ca.crt")
        .pair("front-proxy-client", leaf(CLIENT_CA))
        .publishing(CLIENT_CA)
    )
    assert notes(reused) == ["front-proxy-ca-is-client-ca"]


def test_it_is_an_error_where_the_layer_is_new() -> None:
    scene = OFF.pair("front-proxy-ca", CLIENT_CA).pair("front-proxy-client", leaf(CLIENT_CA))
    assert refused(scene) == ["front-proxy-ca-is-client-ca"]


def test_an_empty_ca_flag_is_a_layer_that_is_new() -> None:
    scene = ON.flag(requestheader_client_ca_file="").pair("front-proxy-ca", CLIENT_CA)
    problems = refused(scene.publishing().pair("front-proxy-client", leaf(CLIENT_CA)), repair=True)
    assert problems == ["front-proxy-ca-is-client-ca"]


def test_the_serving_certificate_as_ca_and_leaf_is_a_warning_where_a_cluster_lives_with_it() -> None:
    reused = leaf(CLIENT_CA, "kubernetes")
    scene = ON.pair("front-proxy-ca", reused).pair("front-proxy-client", reused)
    scene = scene.flag(requestheader_allowed_names="kubernetes").publishing(reused, names=("kubernetes",))
    assert notes(scene) == ["front-proxy-ca-is-no-ca"]


# --- the client certificate ------------------------------------------------------------------------------

BROKEN = {
    "expired": (ON.pair("front-proxy-client", leaf(CA, days=-400)), "client-certificate-expired"),
    "another CA": (ON.pair("front-proxy-client", leaf(OTHER_CA)), "client-certificate-of-another-ca"),
    "for servers": (
        ON.pair("front-proxy-client", leaf(CA, usage="server")),
        "client-certificate-without-client-auth",
    ),
    "another key": (ON.file("front-proxy-client.key", CA.key), "client-key-mismatch"),
    "no key": (ON.file("front-proxy-client.key", None), "client-key-missing"),
    "garbage for a key": (ON.file("front-proxy-client.key", b"x"), "client-key-not-readable"),
    "garbage": (ON.file("front-proxy-client.crt", b"x"), "certificate-not-readable"),
    "key without certificate": (ON.file("front-proxy-client.crt", None), "client-key-without-certificate"),
}
EACH_BROKEN = pytest.mark.parametrize(("scene", "code"), BROKEN.values(), ids=BROKEN)


@EACH_BROKEN
def test_a_broken_client_certificate_is_refused_with_its_cause_and_nothing_else(
    scene: Scene, code: str
) -> None:
    sight = scene.see()
    assert codes(sight.problems) == [code]
    assert sight.need.client_name == ""


@EACH_BROKEN
def test_with_repair_it_is_issued_anew_and_the_manifest_stays(scene: Scene, code: str) -> None:
    del code
    found = need(scene, repair=True)
    assert (found.client_name, found.ca_source, found.flags) == ("front-proxy-client", "", {})


@EACH_BROKEN
def test_with_repair_and_without_the_cas_key_it_is_refused_for_that(scene: Scene, code: str) -> None:
    del code
    assert refused(scene.file("front-proxy-ca.key", None), repair=True) == ["front-proxy-ca-key-missing"]


def test_a_healthy_one_is_not_issued_anew_by_repair() -> None:
    assert need(ON, repair=True).nothing


@pytest.mark.parametrize(
    ("allowed", "name"),
    [
        ("aggregator,front-proxy-client", "front-proxy-client"),
        ("aggregator,other", "aggregator"),
        ("", "front-proxy-client"),
    ],
    ids=["the usual name is allowed", "others are", "any is"],
)
def test_a_new_one_gets_a_name_that_is_allowed(allowed: str, name: str) -> None:
    scene = ON.pair("front-proxy-client", None).flag(requestheader_allowed_names=allowed)
    assert need(scene).client_name == name


# --- allowed names ---------------------------------------------------------------------------------------


def test_a_name_that_is_not_allowed_is_refused_and_added_by_repair() -> None:
    scene = ON.pair("front-proxy-client", leaf(CA, "aggregator"))
    assert refused(scene) == ["client-name-not-allowed"]
    assert need(scene, repair=True).flags == {NAMES_FLAG: "front-proxy-client,aggregator"}


def test_a_certificate_without_a_name_is_not_allowed_either_and_repair_issues_another() -> None:
    scene = ON.pair("front-proxy-client", nameless(CA))
    assert refused(scene) == ["client-name-not-allowed"]
    found = need(scene, repair=True)
    assert (found.client_name, found.flags) == ("front-proxy-client", {})


def test_a_certificate_without_a_name_works_where_any_name_is_allowed() -> None:
    scene = ON.pair("front-proxy-client", nameless(CA)).flag(requestheader_allowed_names="")
    assert need(scene).nothing


def test_an_empty_list_stays_with_a_warning() -> None:
    found = need(ON.flag(requestheader_allowed_names=""))
    assert (found.nothing, codes(found.notes)) == (True, ["allowed-names-empty"])


def test_names_in_quotes_are_the_names() -> None:
    assert need(ON.flag(requestheader_allowed_names='"front-proxy-client"')).nothing


@pytest.mark.parametrize(
    ("published", "peers", "own", "names"),
    [
        pytest.param((), False, "aggregator", ("aggregator",), id="alone: the name in use"),
        pytest.param(("a",), True, "aggregator", ("a", "aggregator"), id="the others' names and this one's"),
        pytest.param(("aggregator",), True, "aggregator", ("aggregator",), id="the same name once"),
        pytest.param((), True, "aggregator", (), id="others allow any: [] and [x] would be [x] for them too"),
    ],
)
def test_a_missing_list_is_derived_from_the_names_in_use_on_every_node(
    published: tuple[str, ...], peers: bool, own: str, names: tuple[str, ...]
) -> None:
    scene = ON.flag(requestheader_allowed_names=None).pair("front-proxy-client", leaf(CA, own))
    scene = scene.publishing(CA, names=published)
    assert need(scene.with_peer() if peers else scene).flags[NAMES_FLAG] == ",".join(names)


def test_leaving_the_list_empty_for_the_others_sake_is_said() -> None:
    scene = ON.flag(requestheader_allowed_names=None).with_peer().publishing(CA, names=())
    assert notes(scene) == ["allowed-names-empty"]


def test_peers_without_the_layer_do_not_keep_the_list_empty() -> None:
    assert need(OFF.with_peer()).names == ("front-proxy-client",)


# --- routing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "wanted", "flags"),
    [
        pytest.param(None, {}, {ROUTING_FLAG: "true"}, id="absent: on"),
        pytest.param(None, {"routing": "keep"}, {}, id="absent, keep"),
        pytest.param(None, {"routing": "off", "routing_asked": True}, {}, id="absent, off: already so"),
        pytest.param("true", {}, {}, id="on"),
        pytest.param("True", {}, {}, id="on in Go's other words"),
        pytest.param(
            "true", {"routing": "off", "routing_asked": True}, {ROUTING_FLAG: "false"}, id="on, off asked"
        ),
        pytest.param("true", {"routing": "off"}, {}, id="on, off not asked by the user"),
        pytest.param("false", {}, {}, id="set off on purpose"),
        pytest.param("False", {"repair": True}, {}, id="set off on purpose is nothing to repair"),
        pytest.param(
            "false", {"routing": "on", "routing_asked": True}, {ROUTING_FLAG: "true"}, id="off, on asked"
        ),
        pytest.param("false", {"routing": "keep", "routing_asked": True}, {}, id="off, keep"),
        pytest.param("maybe", {"repair": True}, {ROUTING_FLAG: "true"}, id="no boolean, repair"),
        pytest.param(
            "maybe",
            {"repair": True, "routing": "keep"},
            {ROUTING_FLAG: "false"},
            id="no boolean, keep: the default",
        ),
    ],
)
def test_routing_is_switched_on_where_it_is_not_set_and_changed_only_when_asked(
    present: str | None, wanted: dict[str, Any], flags: dict[str, str]
) -> None:
    assert need(ON.flag(enable_aggregator_routing=present), **wanted).flags == flags


def test_routing_that_is_no_boolean_is_refused_without_repair() -> None:
    assert refused(ON.flag(enable_aggregator_routing="maybe")) == ["flag-value-wrong"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, ["routing-set-off"]),
        ({"routing_asked": True}, []),
        ({"routing": "keep"}, []),
        ({"routing": "off"}, []),
    ],
    ids=["on by default", "on asked: it is changed", "keep", "off"],
)
def test_that_routing_set_off_stays_is_said_where_it_was_to_be_on(
    wanted: dict[str, Any], said: list[str]
) -> None:
    assert notes(ON.flag(enable_aggregator_routing="false"), **wanted) == said


# --- other flags -----------------------------------------------------------------------------------------


def test_an_invented_flag_is_refused_and_repair_does_not_pretend_to_mend_it() -> None:
    scene = ON.flag(aggregator_ca_cert_file=f"{PKI}/ca.crt")
    assert refused(scene) == ["flag-does-not-exist"]
    assert refused(scene, repair=True) == ["flag-does-not-exist"]


def test_an_empty_header_flag_is_refused_and_repair_writes_kubeadms() -> None:
    scene = ON.flag(requestheader_username_headers="")
    assert refused(scene) == ["flag-value-wrong"]
    assert need(scene, repair=True).flags == {"requestheader-username-headers": "X-Remote-User"}


def test_an_empty_path_is_refused_and_repair_names_the_file() -> None:
    scene = ON.flag(proxy_client_key_file="")
    assert refused(scene) == ["flag-value-wrong"]
    assert need(scene, repair=True).flags == {"proxy-client-key-file": f"{PKI}/front-proxy-client.key"}


def test_a_flag_that_stands_twice_is_a_note() -> None:
    twice = ON.text.replace("    image:", f"    - --{CA_FLAG}={PKI}/front-proxy-ca.crt\n    image:")
    scene = ON.file("/etc/kubernetes/manifests/kube-apiserver.yaml", twice.encode())
    assert notes(scene) == ["flag-set-twice"]


@pytest.mark.parametrize("path", ["pki/front-proxy-ca.crt", "front-proxy-ca.crt"])
@pytest.mark.parametrize("repair", [False, True])
def test_a_relative_path_is_refused_with_repair_too(path: str, repair: bool) -> None:
    assert "file-not-mounted" in refused(ON.flag(requestheader_client_ca_file=path), repair=repair)


# --- clock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew", "wrong"), [(0.0, False), (59.9, False), (-59.9, False), (61.0, True), (-61.0, True)]
)
def test_a_clock_that_is_off_by_more_than_a_minute_either_way_is_refused(skew: float, wrong: bool) -> None:
    assert refused(OFF.answering({ClockSkew(SERVER): skew})) == (["clock-wrong"] if wrong else [])


def test_a_clock_before_the_clusters_own_ca_is_refused_with_its_date() -> None:
    young = authority("kubernetes", days=1)
    sight = OFF.file("ca.crt", young.certificate).see()
    assert codes(sight.problems) == ["clock-wrong"]
    assert f"{certificate(young).not_before:%Y-%m-%d %H:%M}" in sight.problems[0].message


# --- places ----------------------------------------------------------------------------------------------


def test_a_folder_that_no_volume_covers_is_mounted() -> None:
    assert need(OFF.mounted(TRUST)).mounts == (NewMount("front-proxy-certs", PKI),)


def test_a_manifest_without_any_volume_that_names_files_is_cut_off_and_not_completed_by_guess() -> None:
    sight = OFF.mounted().see()
    assert codes(sight.problems) == ["file-not-mounted"]
    assert "cut off" in sight.problems[0].message


def test_a_manifest_without_volumes_and_without_such_files_gets_its_first_volume() -> None:
    scene = OFF.flag(client_ca_file=None).mounted()
    assert [each.path for each in need(scene).mounts] == [PKI]


def test_two_such_folders_are_two_mounts() -> None:
    scene = ON.flag(requestheader_client_ca_file="/srv/a/ca.crt", proxy_client_cert_file="/srv/b/leaf.crt")
    scene = scene.flag(proxy_client_key_file="/srv/b/leaf.key").file("/srv/a/ca.crt", CA.certificate)
    scene = scene.file("/srv/b/leaf.crt", leaf(CA).certificate).file("/srv/b/leaf.key", leaf(CA).key)
    assert need(scene).mounts == (
        NewMount("front-proxy-certs", "/srv/a"),
        NewMount("front-proxy-certs-2", "/srv/b"),
    )


def test_the_volumes_name_gives_way_to_one_that_is_taken() -> None:
    text = OFF.text.replace("volume-0", "front-proxy-certs").replace(PKI, "/other")
    scene = OFF.file("/etc/kubernetes/manifests/kube-apiserver.yaml", text.encode())
    scene = scene.flag(client_ca_file="/other/ca.crt")
    assert [each.name for each in need(scene, pki_dir=PKI).mounts] == ["aggctl-front-proxy-certs"]


@pytest.mark.parametrize(
    "folder",
    [
        "/etc",
        "/",
        "/usr/local/bin",
        "/var/lib",
        "/etc/ssl",
        "/etc/kubernetes/manifests",
        "/etc/kubernetes/..",
        "//etc",
    ],
)
def test_a_folder_that_holds_other_things_is_not_mounted(folder: str) -> None:
    assert "file-not-mounted" in refused(ON.flag(requestheader_client_ca_file=f"{folder.rstrip('/')}/ca.crt"))


@pytest.mark.parametrize("folder", ["/srv/kubernetes", "/etc/kubernetes/ssl/", "/etc/pki2"])
def test_a_folder_of_their_own_is_mounted(folder: str) -> None:
    scene = OFF.mounted(TRUST)
    assert [each.path for each in need(scene, pki_dir=folder).mounts] == [folder.rstrip("/")]


def test_a_pki_dir_that_the_pod_has_needs_no_mount() -> None:
    found = need(OFF.mounted((PKI, PKI), ("/fp", "/srv/fp")), pki_dir="/srv/fp")
    assert (found.mounts, found.flags[CA_FLAG]) == ((), "/fp/front-proxy-ca.crt")


def test_certificates_are_not_put_among_the_manifests_though_a_volume_covers_them() -> None:
    scene = OFF.mounted(("/etc/kubernetes", "/etc/kubernetes"))
    assert refused(scene, pki_dir="/etc/kubernetes/manifests") == ["pki-in-manifest-folder"]
    assert refused(scene, pki_dir="/etc/kubernetes/pki/../manifests") == ["pki-in-manifest-folder"]


# --- the API is silent -----------------------------------------------------------------------------------


def test_a_silent_api_is_refused_and_said_once() -> None:
    assert refused(OFF.silent()) == ["apiserver-not-reachable"]


def test_with_repair_it_goes_on_without_the_api_where_no_ca_is_needed() -> None:
    found = need(ON.silent().flag(requestheader_group_headers=""), repair=True)
    assert found.flags == {"requestheader-group-headers": "X-Remote-Group"}


def test_with_repair_it_makes_no_ca_that_may_be_a_second_one() -> None:
    assert refused(OFF.silent(), repair=True) == ["apiserver-not-reachable"]


def test_repair_does_not_go_past_credentials_that_are_not_accepted() -> None:
    scene = ON.answering({ObjectAt(CONFIG_MAP, SERVER): Unknown("401", "kubeconfig-not-accepted")})
    assert refused(scene, repair=True) == ["kubeconfig-not-accepted"]


@pytest.mark.parametrize(
    ("scene", "only"),
    [(OFF.silent(), True), (OFF.silent().file("ca.crt", b"").flag(aggregator_ca="/x"), False), (ON, False)],
    ids=["silence alone", "silence and an invented flag", "no silence"],
)
def test_that_silence_is_all_that_stands_in_the_way_is_told(scene: Scene, only: bool) -> None:
    assert scene.see().only_silent is only


@pytest.mark.parametrize(("wanted", "source"), [({"ca": CA}, "given"), ({"kept": CA}, "kept")])
def test_with_repair_it_takes_a_ca_that_is_brought_along(wanted: dict[str, Any], source: str) -> None:
    assert need(OFF.silent(), repair=True, **wanted).ca_source == source


def test_what_is_asked_and_decided_shows_no_key() -> None:
    assert "PRIVATE" not in repr(Wanted(ca=CA, kept=CA))
    assert "PRIVATE" not in repr(need(OFF, ca=CA))
