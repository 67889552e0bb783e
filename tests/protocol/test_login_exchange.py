"""The login as a whole: stages, offers of the target's own, redirections, ends of the stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    LoginRejected,
    NegotiationError,
    ProtocolError,
    Retry,
)
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.login_status import STATUSES, authentication_required
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import (
    AgreedParameters,
    Digest,
    LoginResult,
    Offer,
    Redirection,
)
from tests.target.chap_fixtures import ONE_WAY, script
from tests.target.pairing import (
    ISID,
    RANDOM,
    carry,
    failure_of,
    log_in,
    make_plan,
    result_of,
)
from tests.target.profile import EVERY_KEY, LIO, PROFILES, TGTD, Profile
from tests.target.script import Script, add, hang_up, only, put
from tests.target.scripted import ScriptedTarget

NOP_IN = b"\x20" + bytes(47)
PLANS = {
    "normal": make_plan(),
    "discovery": make_plan(discovery=True),
    "operational stage only": make_plan(skip_security=True),
    "discovery, operational stage only": make_plan(discovery=True, skip_security=True),
}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_every_kind_of_target_is_logged_in_to(profile: Profile, plan: object, rounds: int) -> None:
    slow = Script(profile=profile, security_rounds=rounds, operational_rounds=rounds)
    result = result_of(slow, plan)  # type: ignore[arg-type]
    assert result.tsih == profile.tsih
    assert result.target_alias == (profile.alias or None)


def test_the_result_is_what_the_next_pdu_builds_on() -> None:
    result = result_of(Script(profile=LIO), make_plan(cmd_sn=41))
    assert result == LoginResult(
        isid=ISID,
        tsih=1,
        cmd_sn=41,
        exp_stat_sn=LIO.first_stat_sn + 2,
        target_alias="LIO Target",
        target_portal_group_tag=1,
        parameters=AgreedParameters(
            max_recv_data_segment_length=262144,
            target_max_recv_data_segment_length=65536,
            default_time2retain=0,
        ),
    )


def test_a_login_takes_two_requests_and_one_without_the_security_stage() -> None:
    assert len(log_in()[1].login_requests) == 2
    assert len(log_in(plan=make_plan(skip_security=True))[1].login_requests) == 1


def test_the_stage_follows_the_login() -> None:
    exchange, target = LoginExchange(make_plan(), RANDOM), ScriptedTarget()
    stages = [exchange.stage]
    while exchange.result is None:
        target.receive_data(exchange.data_to_send())
        for octet in target.data_to_send():
            exchange.receive_data(bytes([octet]))
        stages.append(exchange.stage)
    assert stages == [
        Stage.SECURITY_NEGOTIATION,
        Stage.OPERATIONAL_NEGOTIATION,
        Stage.FULL_FEATURE_PHASE,
    ]


def test_the_security_stage_is_not_skipped_with_credentials() -> None:
    plan = replace(ONE_WAY, skip_security=True)
    assert result_of(script(), plan).tsih


# --- not one octet too many ---------------------------------------------------------------------


def test_what_follows_the_last_response_is_left_in_the_stream() -> None:
    """It belongs to the kernel: an istgt that pings at once must not lose its Nop-In."""
    exchange, target = LoginExchange(make_plan(), RANDOM), ScriptedTarget()
    stream, ping = b"", NOP_IN
    while exchange.result is None:
        target.receive_data(exchange.data_to_send())
        stream += target.data_to_send()
        if target.login.is_through:
            stream, ping = stream + ping, b""
        wanted = exchange.bytes_wanted
        exchange.receive_data(stream[:wanted])
        stream = stream[wanted:]
    assert stream == NOP_IN
    assert exchange.bytes_wanted == 0
    assert exchange.data_to_send() == b""


def test_a_finished_login_takes_nothing_more() -> None:
    exchange, _ = log_in()
    with pytest.raises(RuntimeError):
        exchange.receive_data(b"\0")


def test_a_failed_login_takes_nothing_more() -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    with pytest.raises(LoginRejected):
        carry(exchange, ScriptedTarget(Script(statuses={0: 0x0300})))
    assert exchange.bytes_wanted == 0
    assert exchange.result is None
    with pytest.raises(RuntimeError):
        exchange.receive_data(b"\0")


def test_more_octets_than_wanted_are_our_own_error() -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    with pytest.raises(ValueError, match="48 were wanted"):
        exchange.receive_data(bytes(49))


# --- offers of the target's own -----------------------------------------------------------------


@pytest.mark.parametrize(
    "originated",
    [
        EVERY_KEY,
        EVERY_KEY[::-1],
        (("TaskReporting", "ResponseFence,RFC3720"),),
        (("iSCSIProtocolLevel", "2"), ("IFMarker", "Yes"), ("OFMarkInt", "1~5")),
        (("X-com.example.key", "anything"), ("RDMAExtensions", "Yes")),
    ],
    ids=["all", "all backwards", "task reporting", "obsolete", "unknown"],
)
@pytest.mark.parametrize("plan", [PLANS["normal"], PLANS["discovery"]], ids=["normal", "discovery"])
def test_a_target_that_waits_for_answers_to_its_own_offers_gets_all(
    originated: tuple[tuple[str, str], ...], plan: object
) -> None:
    """LIO gives up with "No response for proposed key" otherwise."""
    strict = replace(LIO, originates=originated)
    result_of(Script(profile=strict, operational_rounds=1), plan)  # type: ignore[arg-type]


def test_operational_keys_offered_in_the_security_stage_are_answered_there() -> None:
    offers = (("MaxBurstLength", "65536"), ("X-a", "1"))
    early = Script(originates_early=offers, security_rounds=1)
    exchange, target = log_in(early)
    assert b"MaxBurstLength=65536\0X-a=NotUnderstood\0" in target.login_requests[1]
    assert isinstance(exchange.result, LoginResult)
    assert exchange.result.parameters.max_burst_length == 65536


def test_offers_in_the_last_response_are_ignored() -> None:
    late = Script(edit=add(1, ("TaskReporting", "FastAbort"), ("X-a", "1"), ("IFMarker", "Yes")))
    assert result_of(late).parameters == result_of().parameters


def test_declarations_are_taken_from_whichever_response_they_come_in() -> None:
    late = Script(portal_group_tag=None, declares=(), edit=add(1, ("TargetPortalGroupTag", "9")))
    result = result_of(late)
    assert result.target_portal_group_tag == 9
    assert result.parameters.target_max_recv_data_segment_length == 8192


def test_a_target_without_portal_group_tag_is_logged_in_to() -> None:
    assert result_of(Script(portal_group_tag=None)).target_portal_group_tag is None


@pytest.mark.parametrize("name", ["AuthMethod", "CHAP_A", "CHAP_N"])
def test_security_keys_after_the_security_stage_end_the_login(name: str) -> None:
    error = failure_of(Script(edit=add(1, (name, "5"))), make_plan(skip_security=False))
    assert isinstance(error, ProtocolError)


def test_an_illegal_answer_ends_the_login_and_names_key_offer_and_answer() -> None:
    error = failure_of(Script(edit=put(1, "MaxBurstLength", "16777215")))
    assert isinstance(error, NegotiationError)
    assert (error.key, error.offered, error.answered) == (
        "MaxBurstLength",
        "16776192",
        "16777215",
    )


@pytest.mark.parametrize(
    ("offer", "values", "agreed"),
    [
        ((Digest.CRC32C, Digest.NONE), "CRC32C,None", Digest.CRC32C),
        ((Digest.NONE, Digest.CRC32C), "CRC32C,None", Digest.NONE),
        ((Digest.CRC32C, Digest.NONE), "None", Digest.NONE),
        ((Digest.NONE, Digest.CRC32C), "CRC32C", Digest.CRC32C),
        ((Digest.CRC32C,), "CRC32C,None", Digest.CRC32C),
        ((Digest.NONE,), "CRC32C,None", Digest.NONE),
        ((Digest.CRC32C,), "None", None),
        ((Digest.NONE,), "CRC32C", None),
    ],
    ids=["prefer-on", "prefer-off", "on but not there", "off but required", "always", "never",
         "always but not there", "never but required"],
)  # fmt: skip
def test_digests_are_agreed_by_the_policy(
    offer: tuple[Digest, ...], values: str, agreed: Digest | None
) -> None:
    target = Script(values={"HeaderDigest": values, "DataDigest": values})
    plan = make_plan(offer=Offer(header_digest=offer, data_digest=offer))
    if agreed is None:
        assert isinstance(failure_of(target, plan), NegotiationError)
    else:
        parameters = result_of(target, plan).parameters
        assert (parameters.header_digest, parameters.data_digest) == (agreed, agreed)


# --- statuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [each for each in STATUSES if each >> 8 in (2, 3)])
@pytest.mark.parametrize("number", [0, 1])
def test_every_refusal_ends_the_login_with_its_decision(status: int, number: int) -> None:
    error = failure_of(Script(statuses={number: status}))
    assert error.retry is STATUSES[status].retry
    if status == 0x0201:
        assert str(error) == str(authentication_required())


@pytest.mark.parametrize("status", [0x0100, 0x0103, 0x01FF, 0x0001, 0x0400, 0xFFFF])
def test_an_unknown_status_ends_the_login(status: int) -> None:
    error = failure_of(Script(statuses={0: status}, moved_to=("10.0.0.1",)))
    assert isinstance(error, LoginRejected)
    assert error.status == status


def test_a_refusal_after_chap_is_a_refusal() -> None:
    error = failure_of(script(statuses={3: 0x0302}), ONE_WAY)
    assert isinstance(error, LoginRejected)
    assert error.retry is Retry.SOON


# --- redirections -------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "permanent"), [(0x0101, False), (0x0102, True)])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_target_may_move_at_any_time_of_the_login(
    status: int, permanent: bool, number: int, profile: Profile
) -> None:
    moving = script(profile, statuses={number: status}, moved_to=("10.0.0.1:3261",))
    exchange, _ = log_in(moving, ONE_WAY)
    assert exchange.result == Redirection((Portal("10.0.0.1", 3261),), permanent)
    assert exchange.bytes_wanted == 0


def test_a_discovery_session_may_be_redirected_too() -> None:
    moving = Script(statuses={0: 0x0101}, moved_to=("[2001:db8::1]",))
    exchange, _ = log_in(moving, make_plan(discovery=True))
    assert exchange.result == Redirection((Portal("2001:db8::1"),), permanent=False)


def test_a_redirection_to_nowhere_ends_the_login() -> None:
    error = failure_of(Script(statuses={0: 0x0101}))
    assert isinstance(error, LoginRejected)
    assert error.status == 0x0101


# --- the end of the stream ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_a_closed_connection_is_reported_with_the_stage(number: int) -> None:
    plan = make_plan(skip_security=number == 0)
    error = failure_of(Script(amend=hang_up(number)), plan)
    assert isinstance(error, ConnectionFailed)
    assert "operational negotiation" in error.what


def test_a_connection_closed_within_a_response_is_no_refusal() -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    exchange.receive_data(b"\x23")
    error = exchange.connection_closed()
    assert isinstance(error, ConnectionFailed)
    assert not isinstance(error, AuthenticationFailed)
    assert "within" in error.what
    assert exchange.bytes_wanted == 0


def test_a_connection_closed_before_chap_began_is_not_blamed_on_the_password() -> None:
    error = failure_of(script(amend=hang_up(0)), ONE_WAY)
    assert isinstance(error, ConnectionFailed)


# --- the scripted target itself ------------------------------------------------------------------


def test_a_profile_answers_in_the_order_of_the_real_target() -> None:
    _, target = log_in(Script(profile=TGTD))
    assert target.sent[0][48:].startswith(b"TargetPortalGroupTag=1\0AuthMethod=None\0")


def test_a_fault_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError, match="not in response"):
        log_in(Script(edit=put(0, "HeaderDigest", "None")))


def test_a_script_can_replace_a_whole_text() -> None:
    assert result_of(Script(edit=only(0, ("TargetAlias", "x")))).target_alias == "x"
