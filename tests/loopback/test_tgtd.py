"""Logging in to tgtd, Debian's main target in user space: what it alone does, or alone can vary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from iscsid.errors import (
    AuthenticationFailed,
    ChapAlgorithmsRefused,
    LoginRejected,
    NegotiationError,
)
from iscsid.protocol.names import IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import ChapAlgorithm, Digest, LoginPlan, Offer
from tests.loopback.driver import discover, log_in
from tests.loopback.plans import ALICE, DISCOVERY, MUTUAL, OURS, THEIRS, WRONG, full_name, plan
from tests.loopback.tgtd_loopback import LiveTgtd

BOTH = (Digest.CRC32C, Digest.NONE)


def test_an_open_target_is_logged_in_to_over_ipv6(tgtd: LiveTgtd) -> None:
    with log_in(tgtd.ipv6_portal, plan("plain")) as session:
        session.ping()
        session.log_out()


@pytest.mark.parametrize("cmd_sn", [1, 0x7FFFFFFF, 0xFFFFFFFE])
def test_the_session_goes_on_with_the_numbers_of_the_login(tgtd: LiveTgtd, cmd_sn: int) -> None:
    with log_in(tgtd.portal, replace(plan("plain"), cmd_sn=cmd_sn)) as session:
        session.ping()
        session.log_out()


# --- authentication -----------------------------------------------------------------------------


def test_a_target_that_cannot_prove_itself_is_left(tgtd: LiveTgtd) -> None:
    with pytest.raises(AuthenticationFailed):
        log_in(tgtd.portal, plan("chap", OURS, THEIRS))


@pytest.mark.parametrize(
    "algorithms",
    [
        (ChapAlgorithm.SHA3_256, ChapAlgorithm.MD5),
        (ChapAlgorithm.SHA1, ChapAlgorithm.MD5),
        (ChapAlgorithm.MD5, ChapAlgorithm.SHA256),
        (ChapAlgorithm.SHA256, ChapAlgorithm.MD5),
        (ChapAlgorithm.SHA3_256, ChapAlgorithm.SHA256, ChapAlgorithm.SHA1, ChapAlgorithm.MD5),
    ],
    ids=lambda algorithms: ",".join(each.name for each in algorithms),
)
def test_a_list_of_algorithms_with_md5_in_it_logs_in(
    tgtd: LiveTgtd, algorithms: tuple[ChapAlgorithm, ...]
) -> None:
    """tgtd takes number 7 for SHA-1 and then chokes on SHA-256: MD5 alone is the way out."""
    with log_in(tgtd.portal, plan("chap", OURS, None, *algorithms)) as session:
        session.ping()


@pytest.mark.parametrize(
    "algorithm", [ChapAlgorithm.SHA1, ChapAlgorithm.SHA256, ChapAlgorithm.SHA3_256]
)
def test_an_algorithm_it_does_not_know_is_named(tgtd: LiveTgtd, algorithm: ChapAlgorithm) -> None:
    with pytest.raises(ChapAlgorithmsRefused, match=algorithm.name):
        log_in(tgtd.portal, plan("chap", OURS, None, algorithm))


# --- refusals -----------------------------------------------------------------------------------


def test_a_target_that_is_closed_to_us_refuses(tgtd: LiveTgtd) -> None:
    with pytest.raises((LoginRejected, AuthenticationFailed), match="refused the login"):
        log_in(tgtd.portal, plan("closed"))


# --- redirections -------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[LiveTgtd]:
    """Another tgtd, where the target moving has gone, and wants mutual CHAP."""
    other = LiveTgtd("127.0.0.2")
    try:
        other.add_target(full_name("moving"), {}, account=MUTUAL)
        yield other
    finally:
        other.stop()


@pytest.mark.parametrize("permanent", [False, True])
def test_a_redirection_is_followed(tgtd: LiveTgtd, elsewhere: LiveTgtd, permanent: bool) -> None:
    tgtd.redirect(full_name("moving"), elsewhere.portal, permanent=permanent)
    with log_in(tgtd.portal, plan("moving", OURS, THEIRS)) as session:
        assert session.trail.portal == elsewhere.portal
        assert session.trail.moved_to == (elsewhere.portal if permanent else None)
        session.ping()


def test_a_redirection_does_not_let_the_other_target_skip_chap(
    tgtd: LiveTgtd, elsewhere: LiveTgtd
) -> None:
    tgtd.redirect(full_name("moving"), elsewhere.portal, permanent=False)
    wrong = replace(THEIRS, password=WRONG)
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(tgtd.portal, plan("moving", OURS, wrong))
    with pytest.raises(AuthenticationFailed, match="required"):
        log_in(tgtd.portal, plan("moving"))


def test_two_targets_that_send_us_to_and_fro_are_left(elsewhere: LiveTgtd) -> None:
    other = LiveTgtd("127.0.0.3")
    try:
        for here, there in ((other, elsewhere), (elsewhere, other)):
            here.add_target(full_name("roaming"), {})
            here.redirect(full_name("roaming"), there.portal, permanent=False)
        with pytest.raises(LoginRejected, match="circle") as raised:
            log_in(other.portal, plan("roaming"))
    finally:
        other.stop()
    way = " -> ".join(map(str, (other.portal, elsewhere.portal, other.portal)))
    assert way in raised.value.what


# --- parameters ---------------------------------------------------------------------------------

LARGE = Offer(max_burst_length=16776192, first_burst_length=262144, max_outstanding_r2t=8)
PARAMETERS = [
    ("HeaderDigest", "CRC32C", Offer(header_digest=BOTH), "header_digest", Digest.CRC32C),
    ("HeaderDigest", "None", Offer(header_digest=BOTH), "header_digest", Digest.NONE),
    ("DataDigest", "CRC32C", Offer(data_digest=BOTH), "data_digest", Digest.CRC32C),
    ("InitialR2T", "No", Offer(), "initial_r2t", False),
    ("InitialR2T", "Yes", Offer(), "initial_r2t", True),
    ("InitialR2T", "No", Offer(initial_r2t=True), "initial_r2t", True),
    ("ImmediateData", "Yes", Offer(), "immediate_data", True),
    ("ImmediateData", "No", Offer(), "immediate_data", False),
    ("ImmediateData", "Yes", Offer(immediate_data=False), "immediate_data", False),
    ("MaxBurstLength", "131072", LARGE, "max_burst_length", 131072),
    ("MaxBurstLength", "16777215", LARGE, "max_burst_length", 16776192),
    ("FirstBurstLength", "131072", LARGE, "first_burst_length", 131072),
    ("FirstBurstLength", "512", LARGE, "first_burst_length", 512),
    ("DefaultTime2Wait", "9", Offer(), "default_time2wait", 9),
    ("DefaultTime2Wait", "0", Offer(default_time2wait=7), "default_time2wait", 7),
    ("DefaultTime2Retain", "20", Offer(default_time2retain=9), "default_time2retain", 9),
    ("DefaultTime2Retain", "5", Offer(default_time2retain=9), "default_time2retain", 5),
    ("MaxOutstandingR2T", "4", LARGE, "max_outstanding_r2t", 4),
    ("MaxConnections", "8", Offer(), "max_connections", 1),
    ("ErrorRecoveryLevel", "0", Offer(), "error_recovery_level", 0),
    (
        "MaxRecvDataSegmentLength",
        "65536",
        Offer(),
        "target_max_recv_data_segment_length",
        65536,
    ),
]


@pytest.mark.parametrize(
    ("key", "value", "offer", "attribute", "agreed"),
    PARAMETERS,
    ids=[f"{key}={value} {number}" for number, (key, value, *_) in enumerate(PARAMETERS)],
)
def test_every_parameter_tgtd_can_vary_is_agreed_and_the_session_lives(
    tgtd: LiveTgtd, key: str, value: str, offer: Offer, attribute: str, agreed: object
) -> None:
    name = full_name("varied")
    tgtd.add_target(name, {})
    try:
        tgtd.update(name, key, value)
        with log_in(tgtd.portal, plan("varied", offer=offer)) as session:
            assert getattr(session.result.parameters, attribute) == agreed
            session.ping()
            session.log_out()
    finally:
        tgtd.remove_target(name)


@pytest.mark.parametrize("digests", [(Digest.CRC32C,), BOTH], ids=["always", "prefer-on"])
def test_a_session_with_both_digests_lives(tgtd: LiveTgtd, digests: tuple[Digest, ...]) -> None:
    name = full_name("digests")
    tgtd.add_target(name, {}, parameters={"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"})
    try:
        offer = Offer(header_digest=digests, data_digest=digests)
        with log_in(tgtd.portal, plan("digests", offer=offer)) as session:
            parameters = session.result.parameters
            assert parameters.header_digest is parameters.data_digest is Digest.CRC32C
            session.ping()
            session.log_out()
    finally:
        tgtd.remove_target(name)


def test_a_required_digest_that_is_not_to_be_had_ends_the_login(tgtd: LiveTgtd) -> None:
    name = full_name("digests")
    tgtd.add_target(name, {}, parameters={"HeaderDigest": "None"})
    try:
        with pytest.raises(NegotiationError, match="HeaderDigest"):
            log_in(tgtd.portal, plan("digests", offer=Offer(header_digest=(Digest.CRC32C,))))
    finally:
        tgtd.remove_target(name)


# --- discovery ----------------------------------------------------------------------------------


def names_at(portal: Portal, login: LoginPlan = DISCOVERY) -> set[IscsiName]:
    return {record.target_name for record in discover(portal, login)}


def test_discovery_lists_every_target_with_its_address(tgtd: LiveTgtd) -> None:
    records = {record.target_name: record for record in discover(tgtd.portal, DISCOVERY)}
    assert set(records) >= {full_name(name) for name in ("plain", "chap", "mutual", "moving")}
    assert records[full_name("plain")].addresses == (TargetAddress(tgtd.portal, 1),)


def test_discovery_over_ipv6_gives_the_ipv6_address(tgtd: LiveTgtd) -> None:
    records = discover(tgtd.ipv6_portal, DISCOVERY)
    assert {record.addresses for record in records} == {(TargetAddress(tgtd.ipv6_portal, 1),)}


@pytest.mark.parametrize("length", [512, 8192, 262144])
def test_three_hundred_targets_are_discovered_however_short_the_pdus(length: int) -> None:
    many = LiveTgtd()
    try:
        wanted = {full_name(f"number{number}") for number in range(300)}
        for name in sorted(wanted):
            many.add_target(name, {})
        offer = Offer(max_recv_data_segment_length=length)
        assert names_at(many.portal, replace(DISCOVERY, offer=offer)) == wanted
    finally:
        many.stop()


def test_discovery_is_open_again_without_the_account() -> None:
    guarded = LiveTgtd()
    try:
        guarded.add_target(full_name("plain"), {})
        guarded.require_for_discovery(ALICE)
        with pytest.raises(AuthenticationFailed):
            discover(guarded.portal, DISCOVERY)
        guarded.open_discovery(ALICE)
        assert names_at(guarded.portal) == {full_name("plain")}
    finally:
        guarded.stop()
