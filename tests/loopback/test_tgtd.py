"""Logging in to tgtd, Debian's main target in user space."""

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
from iscsid.protocol.login_status import authentication_required
from iscsid.protocol.names import IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    Digest,
    LoginPlan,
    Offer,
)
from iscsid.secret import Secret
from tests.loopback.conftest import ALICE, MUTUAL, tgtd_name
from tests.loopback.driver import discover, log_in
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.target.pairing import make_plan

OURS = Credentials(ALICE.user, Secret(ALICE.password))
THEIRS = Credentials(MUTUAL.mutual_user, Secret(MUTUAL.mutual_password))
WRONG = Secret("secret-wrong-789")
BOTH = (Digest.CRC32C, Digest.NONE)


def plan(
    name: str,
    outgoing: Credentials | None = None,
    incoming: Credentials | None = None,
    *algorithms: ChapAlgorithm,
    offer: Offer | None = None,
    skip_security: bool = False,
) -> LoginPlan:
    made = make_plan(
        authentication=Authentication(outgoing, incoming, algorithms or (ChapAlgorithm.MD5,)),
        offer=offer,
        skip_security=skip_security,
    )
    return replace(made, target_name=tgtd_name(name))


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_open_target_is_logged_in_to(tgtd: LiveTgtd, skip: bool, family: str) -> None:
    portal = tgtd.portal if family == "IPv4" else tgtd.ipv6_portal
    with log_in(portal, plan("plain", skip_security=skip)) as session:
        assert session.result.tsih
        assert session.result.target_portal_group_tag == 1
        session.ping()
        session.log_out()


@pytest.mark.parametrize("cmd_sn", [1, 0x7FFFFFFF, 0xFFFFFFFE])
def test_the_session_goes_on_with_the_numbers_of_the_login(tgtd: LiveTgtd, cmd_sn: int) -> None:
    with log_in(tgtd.portal, replace(plan("plain"), cmd_sn=cmd_sn)) as session:
        session.ping()
        session.log_out()


# --- authentication -----------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_a_target_that_wants_chap_says_so(tgtd: LiveTgtd, name: str, skip: bool) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        log_in(tgtd.portal, plan(name, skip_security=skip))
    assert str(raised.value) == str(authentication_required())


def test_one_way_chap_logs_in(tgtd: LiveTgtd) -> None:
    with log_in(tgtd.portal, plan("chap", OURS)) as session:
        session.ping()


def test_mutual_chap_logs_in(tgtd: LiveTgtd) -> None:
    with log_in(tgtd.portal, plan("mutual", OURS, THEIRS)) as session:
        session.ping()


@pytest.mark.parametrize("wrong", [replace(OURS, password=WRONG), replace(OURS, username="eve")])
@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_our_wrong_secret_is_refused(tgtd: LiveTgtd, name: str, wrong: Credentials) -> None:
    incoming = THEIRS if name == "mutual" else None
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(tgtd.portal, plan(name, wrong, incoming))


@pytest.mark.parametrize(
    "wrong", [replace(THEIRS, password=WRONG), replace(THEIRS, username="somebody")]
)
def test_a_target_with_a_wrong_secret_is_left(tgtd: LiveTgtd, wrong: Credentials) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(tgtd.portal, plan("mutual", OURS, wrong))


def test_a_target_that_cannot_prove_itself_is_left(tgtd: LiveTgtd) -> None:
    with pytest.raises(AuthenticationFailed):
        log_in(tgtd.portal, plan("chap", OURS, THEIRS))


def test_credentials_for_an_open_target_are_named_as_the_cause(tgtd: LiveTgtd) -> None:
    with pytest.raises(AuthenticationFailed, match="does not take CHAP"):
        log_in(tgtd.portal, plan("plain", OURS))


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


def test_a_target_that_is_not_there_is_not_found(tgtd: LiveTgtd) -> None:
    with pytest.raises(LoginRejected) as raised:
        log_in(tgtd.portal, plan("nowhere"))
    assert raised.value.status == 0x0203


def test_a_target_that_is_closed_to_us_refuses(tgtd: LiveTgtd) -> None:
    with pytest.raises((LoginRejected, AuthenticationFailed), match="refused the login"):
        log_in(tgtd.portal, plan("closed"))


# --- redirections -------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[LiveTgtd]:
    """Another tgtd, where the target moving has gone, and wants mutual CHAP."""
    other = LiveTgtd("127.0.0.2")
    try:
        other.add_target(tgtd_name("moving"), {}, account=MUTUAL)
        yield other
    finally:
        other.stop()


@pytest.mark.parametrize("permanent", [False, True])
def test_a_redirection_is_followed(tgtd: LiveTgtd, elsewhere: LiveTgtd, permanent: bool) -> None:
    tgtd.redirect(tgtd_name("moving"), elsewhere.portal, permanent=permanent)
    with log_in(tgtd.portal, plan("moving", OURS, THEIRS)) as session:
        assert session.trail.portal == elsewhere.portal
        assert session.trail.moved_to == (elsewhere.portal if permanent else None)
        session.ping()


def test_a_redirection_does_not_let_the_other_target_skip_chap(
    tgtd: LiveTgtd, elsewhere: LiveTgtd
) -> None:
    tgtd.redirect(tgtd_name("moving"), elsewhere.portal, permanent=False)
    wrong = replace(THEIRS, password=WRONG)
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(tgtd.portal, plan("moving", OURS, wrong))
    with pytest.raises(AuthenticationFailed, match="required"):
        log_in(tgtd.portal, plan("moving"))


def test_two_targets_that_send_us_to_and_fro_are_left(elsewhere: LiveTgtd) -> None:
    other = LiveTgtd("127.0.0.3")
    try:
        for here, there in ((other, elsewhere), (elsewhere, other)):
            here.add_target(tgtd_name("roaming"), {})
            here.redirect(tgtd_name("roaming"), there.portal, permanent=False)
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
    name = tgtd_name("varied")
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
    name = tgtd_name("digests")
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
    name = tgtd_name("digests")
    tgtd.add_target(name, {}, parameters={"HeaderDigest": "None"})
    try:
        with pytest.raises(NegotiationError, match="HeaderDigest"):
            log_in(tgtd.portal, plan("digests", offer=Offer(header_digest=(Digest.CRC32C,))))
    finally:
        tgtd.remove_target(name)


# --- discovery ----------------------------------------------------------------------------------

DISCOVERY = make_plan(discovery=True)


def names_at(portal: Portal, login: LoginPlan = DISCOVERY) -> set[IscsiName]:
    return {record.target_name for record in discover(portal, login)}


def test_discovery_lists_every_target_with_its_address(tgtd: LiveTgtd) -> None:
    records = {record.target_name: record for record in discover(tgtd.portal, DISCOVERY)}
    assert set(records) >= {tgtd_name(name) for name in ("plain", "chap", "mutual", "moving")}
    assert records[tgtd_name("plain")].addresses == (TargetAddress(tgtd.portal, 1),)


def test_discovery_over_ipv6_gives_the_ipv6_address(tgtd: LiveTgtd) -> None:
    records = discover(tgtd.ipv6_portal, DISCOVERY)
    assert {record.addresses for record in records} == {(TargetAddress(tgtd.ipv6_portal, 1),)}


@pytest.mark.parametrize("length", [512, 8192, 262144])
def test_three_hundred_targets_are_discovered_however_short_the_pdus(length: int) -> None:
    many = LiveTgtd()
    try:
        wanted = {tgtd_name(f"number{number}") for number in range(300)}
        for name in sorted(wanted):
            many.add_target(name, {})
        offer = Offer(max_recv_data_segment_length=length)
        assert names_at(many.portal, replace(DISCOVERY, offer=offer)) == wanted
    finally:
        many.stop()


def test_discovery_with_chap_both_ways_of_failing_and_the_one_that_works() -> None:
    guarded = LiveTgtd()
    try:
        guarded.add_target(tgtd_name("plain"), {})
        guarded.require_for_discovery(ALICE)
        chap = replace(DISCOVERY, authentication=Authentication(OURS))
        wrong = Authentication(replace(OURS, password=WRONG))
        assert names_at(guarded.portal, chap) == {tgtd_name("plain")}
        with pytest.raises(AuthenticationFailed, match="0201"):
            discover(guarded.portal, replace(DISCOVERY, authentication=wrong))
        with pytest.raises(AuthenticationFailed) as raised:
            discover(guarded.portal, DISCOVERY)
        assert str(raised.value) == str(authentication_required(is_discovery=True))
        guarded.open_discovery(ALICE)
        assert names_at(guarded.portal) == {tgtd_name("plain")}
    finally:
        guarded.stop()
