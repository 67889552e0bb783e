"""Logging in to istgt: what it alone does."""

from __future__ import annotations

import pytest

from iscsid.errors import AuthenticationFailed, NegotiationError
from iscsid.protocol.names import IscsiName, TargetAddress
from iscsid.protocol.parameters import ChapAlgorithm
from tests.loopback.conftest import UNITS
from tests.loopback.driver import discover, log_in
from tests.loopback.istgt import Istgt
from tests.loopback.plans import DISCOVERY, OURS, THEIRS, plan


def test_the_other_portal_group_has_its_own_tag(istgt: Istgt) -> None:
    with log_in(istgt.second_portal, plan("plain")) as session:
        assert session.result.target_portal_group_tag == 2


def test_a_list_of_algorithms_with_md5_in_it_logs_in(istgt: Istgt) -> None:
    algorithms = (ChapAlgorithm.SHA256, ChapAlgorithm.SHA1, ChapAlgorithm.MD5)
    with log_in(istgt.portal, plan("chap", OURS, None, *algorithms)) as session:
        session.ping()


def test_a_target_that_does_not_insist_on_mutual_chap_proves_itself(istgt: Istgt) -> None:
    with log_in(istgt.portal, plan("chap", OURS, THEIRS)) as session:
        session.ping()


def test_a_target_that_insists_on_mutual_chap_refuses_one_way(istgt: Istgt) -> None:
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(istgt.portal, plan("mutual", OURS))


def test_a_target_that_requires_digests_does_not_get_a_session_without(istgt: Istgt) -> None:
    """It answers Reject and success, and then never another word."""
    with pytest.raises(NegotiationError, match="HeaderDigest"):
        log_in(istgt.portal, plan("digests"))


def test_discovery_lists_every_unit_in_both_portal_groups(istgt: Istgt) -> None:
    addresses = (TargetAddress(istgt.portal, 1), TargetAddress(istgt.second_portal, 2))
    records = {record.target_name: record.addresses for record in discover(istgt.portal, DISCOVERY)}
    assert records == {IscsiName(unit.target_name): addresses for unit in UNITS}
