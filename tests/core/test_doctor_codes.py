"""The list of doctor's codes by hop: none is missing, none is only in the list."""

from __future__ import annotations

from support.reached import codes_of_findings

from aggctl.core.doctor.codes import HOPS
from aggctl.core.doctor.examine import BEHIND_SERVICE
from aggctl.core.doctor.place import NO_NODE

NEVER_SHOWN = NO_NODE | {"api-name-not-valid", "bundle-not-readable", "kubeadm-config-not-editable"}
"""Why a machine is no node, which is said in words; what is refused before doctor begins; a kubeadm-config
that cannot be read, of which doctor says nothing."""


def test_every_code_that_doctor_says_stands_at_a_hop() -> None:
    assert codes_of_findings("aggctl.core.doctor") - _listed() - NEVER_SHOWN == set()


def test_every_code_at_a_hop_is_one_that_doctor_says() -> None:
    assert _listed() - codes_of_findings("aggctl.core.doctor") == set()


def test_no_code_stands_twice_at_one_hop() -> None:
    assert {hop: len(codes) for hop, codes in HOPS.items()} == {
        hop: len(set(codes)) for hop, codes in HOPS.items()
    }


def test_the_hops_are_those_of_an_examination_in_its_order() -> None:
    layer, service = ("layer", "certificates", "published"), ("APIService", "Service")
    assert tuple(HOPS) == (*layer, *service, *BEHIND_SERVICE, "rights")


def _listed() -> set[str]:
    return {code for codes in HOPS.values() for code in codes}
