"""Headers of Login Responses, the C bit, and the bounds: what may come, and what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from iscsid.errors import LoginRejected, MalformedPdu, ProtocolError
from iscsid.protocol.codes import RejectReason, Stage
from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.parameters import Isid, LoginResult, Offer
from iscsid.protocol.pdu import AsyncMessage, LoginResponse, NopIn, Reject, TextResponse
from tests.target.pairing import (
    ISID,
    RANDOM,
    carry,
    failure_of,
    log_in,
    make_plan,
    result_of,
)
from tests.target.profile import ISTGT, LIO, PROFILES, Profile
from tests.target.script import Script, add, change
from tests.target.scripted import ScriptedTarget

OTHER_ISID = Isid(bytes.fromhex("00023d0000ff"))
OPERATIONAL, FULL_FEATURE = Stage.OPERATIONAL_NEGOTIATION, Stage.FULL_FEATURE_PHASE


@pytest.mark.parametrize(
    ("number", "fields", "words"),
    [
        (0, {"initiator_task_tag": 7}, "Task Tag"),
        (1, {"initiator_task_tag": 0xFFFFFFFF}, "Task Tag"),
        (0, {"isid": OTHER_ISID}, "ISID"),
        (1, {"isid": Isid(bytes(6))}, "ISID"),
        (0, {"version_active": 1}, "version"),
        (0, {"current_stage": OPERATIONAL}, "is of the"),
        (1, {"current_stage": Stage.SECURITY_NEGOTIATION}, "is of the"),
        (0, {"current_stage": Stage(2)}, "is of the"),
        (0, {"next_stage": FULL_FEATURE}, "goes to the"),
        (0, {"next_stage": Stage.SECURITY_NEGOTIATION}, "goes to the"),
        (0, {"next_stage": Stage(2)}, "goes to the"),
        (1, {"next_stage": OPERATIONAL}, "goes to the"),
        (1, {"stat_sn": 0}, "StatSN"),
        (1, {"stat_sn": 2}, "StatSN"),
        (1, {"tsih": 0}, "TSIH"),
        (0, {"continue_": True}, "text continues"),
        (1, {"continue_": True}, "text continues"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_header_that_does_not_answer_the_request_ends_the_login(
    number: int, fields: dict[str, Any], words: str
) -> None:
    error = failure_of(Script(amend=change(number, **fields)))
    assert isinstance(error, ProtocolError)
    assert words in error.what


@pytest.mark.parametrize("stat_sn", [0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_stat_sn_may_begin_anywhere_and_wraps(stat_sn: int) -> None:
    profile = replace(PROFILES[0], first_stat_sn=stat_sn)
    result = result_of(Script(profile=profile))
    assert result.exp_stat_sn == (stat_sn + 2) % 2**32


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_refusal_is_read_before_anything_else_of_its_header(profile: Profile) -> None:
    """tgtd zeroes ISID and StatSN in it, istgt repeats T, CSG and NSG of the request."""
    for number in (0, 1):
        error = failure_of(Script(profile=profile, statuses={number: 0x0203}))
        assert isinstance(error, LoginRejected)
        assert error.status == 0x0203


def test_a_refusal_counts_whatever_else_is_wrong_with_it() -> None:
    wrong = {"isid": OTHER_ISID, "initiator_task_tag": 9, "version_active": 3, "stat_sn": 77}
    fault = change(1, status_class=3, status_detail=1, data=b"no text at all", **wrong)
    error = failure_of(Script(amend=fault))
    assert isinstance(error, LoginRejected)
    assert error.status == 0x0301


def test_the_next_stage_of_a_response_without_transit_means_nothing() -> None:
    assert ISTGT.next_stage_without_transit
    result_of(Script(profile=ISTGT, security_rounds=2, operational_rounds=2))


def test_a_tsih_before_the_last_response_means_nothing() -> None:
    """An IBM target sends it from the first response on."""
    assert result_of(Script(tsih_at_once=True)).tsih == 0x0100


@pytest.mark.parametrize(
    "pdu",
    [
        NopIn(stat_sn=0, exp_cmd_sn=0, max_cmd_sn=0),
        AsyncMessage(async_event=1, stat_sn=0, exp_cmd_sn=0, max_cmd_sn=0),  # type: ignore[arg-type]
        TextResponse(final=True, stat_sn=0, exp_cmd_sn=0, max_cmd_sn=0),
        Reject(reason=RejectReason.PROTOCOL_ERROR, stat_sn=0, exp_cmd_sn=0, max_cmd_sn=0),
    ],
    ids=lambda pdu: type(pdu).__name__,
)
@pytest.mark.parametrize("number", [0, 1])
def test_another_pdu_than_a_login_response_ends_the_login(number: int, pdu: Any) -> None:
    def amend(at: int, response: LoginResponse) -> LoginResponse | bytes:
        octets: bytes = pdu.encode()
        return octets if at == number else response

    error = failure_of(Script(amend=amend))
    assert isinstance(error, MalformedPdu)
    assert str(pdu.opcode) in error.what


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n".ljust(48, b"."),
        b"\0" * 48,
        b"\xff" * 48,
        b"\x23" + b"\x87" * 47,
    ],
    ids=["http", "ssh", "zeroes", "ones", "huge"],
)
def test_another_protocols_octets_end_the_login(octets: bytes) -> None:
    error = failure_of(Script(amend=lambda _number, _response: octets))
    assert isinstance(error, ProtocolError)


def test_a_response_longer_than_allowed_is_refused_at_its_header() -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    header = bytearray(48)
    header[0], header[5:8] = 0x23, (8193).to_bytes(3, "big")
    with pytest.raises(MalformedPdu, match="8193"):
        exchange.receive_data(bytes(header))
    assert exchange.bytes_wanted == 0


# --- pieces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 16, 47, 48, 100, 511, 8192])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_text_cut_anywhere_with_the_c_bit_is_joined(piece: int, profile: Profile) -> None:
    script = Script(profile=profile, edit=lambda _number, sent: sent[:3])
    cut, whole = result_of(replace(script, piece=piece)), result_of(script)
    assert replace(cut, exp_stat_sn=whole.exp_stat_sn) == whole
    assert (piece > 40) or cut.exp_stat_sn != whole.exp_stat_sn


@pytest.mark.parametrize("step", [1, 7, 47, 48, 49, 0])
def test_octets_may_come_in_any_portions(step: int) -> None:
    exchange, _ = log_in(Script(profile=LIO), step=step)
    assert isinstance(exchange.result, LoginResult)


EXTRA = tuple((f"X-com.example.key{number}", "v" * 200) for number in range(100))
LONG = make_plan(offer=Offer(extra=EXTRA))


def test_a_long_text_of_ours_goes_in_pieces_that_are_acknowledged() -> None:
    exchange, target = log_in(plan=LONG)
    continued = [bool(each[1] & 0x40) for each in target.login_requests]
    assert continued == [False, True, True, False]
    assert isinstance(exchange.result, LoginResult)


@pytest.mark.parametrize(
    "fields",
    [{"data": b"X-key=1\0"}, {"transit": True, "next_stage": FULL_FEATURE}, {"continue_": True}],
    ids=["text", "transit", "continues"],
)
def test_a_piece_of_ours_answered_with_anything_but_an_empty_response_ends_the_login(
    fields: dict[str, Any],
) -> None:
    error = failure_of(Script(amend=change(1, **fields)), LONG)
    assert isinstance(error, ProtocolError)
    assert "empty" in error.what


@pytest.mark.parametrize(
    "text",
    [
        b"TargetAlias",
        b"TargetAlias=a",
        b"=a\0",
        b"\xff\xfe=a\0",
        b"targetAlias=a\0",
        b"Target Alias=a\0",
        b"K" * 64 + b"=a\0",
        b"TargetAlias=" + b"a" * 256 + b"\0",
        b"TargetAlias=a\0garbage",
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_text_that_is_no_text_ends_the_login(number: int, text: bytes) -> None:
    assert isinstance(failure_of(Script(amend=change(number, data=text))), ProtocolError)


# --- bounds -------------------------------------------------------------------------------------


def test_a_target_that_never_ends_its_text_is_left() -> None:
    def amend(_number: int, response: LoginResponse) -> LoginResponse:
        return replace(response, transit=False, continue_=True, data=b"X")

    assert "no end" in failure_of(Script(amend=amend)).what


def test_a_target_that_never_grants_the_transit_is_left() -> None:
    script = Script(security_rounds=10**6)
    assert "no end" in failure_of(script).what
    script = Script(operational_rounds=10**6)
    assert "no end" in failure_of(script).what


def test_a_target_that_never_stops_talking_is_left() -> None:
    def amend(_number: int, response: LoginResponse) -> LoginResponse:
        return replace(response, transit=False, continue_=True, data=b"X" * 8192)

    error = failure_of(Script(amend=amend))
    assert isinstance(error, ProtocolError)


@pytest.mark.parametrize(("rounds", "octets"), [(2, 65536), (256, 400)])
def test_the_bounds_can_be_set(rounds: int, octets: int) -> None:
    exchange = LoginExchange(make_plan(), RANDOM, max_rounds=rounds, max_bytes=octets)
    with pytest.raises(ProtocolError, match="no end"):
        carry(exchange, ScriptedTarget(Script(operational_rounds=300)))


def test_what_a_login_needs_at_most_is_allowed() -> None:
    exchange = LoginExchange(make_plan(), RANDOM, max_rounds=2, max_bytes=1000)
    carry(exchange, ScriptedTarget())
    assert isinstance(exchange.result, LoginResult)


def test_pieces_may_be_empty_but_not_for_ever() -> None:
    def amend(_number: int, response: LoginResponse) -> LoginResponse:
        return replace(response, transit=False, continue_=True, data=b"")

    assert isinstance(failure_of(Script(amend=amend)), ProtocolError)


def test_every_request_of_a_login_has_the_isid_and_the_cmd_sn_of_the_plan() -> None:
    _, target = log_in(plan=make_plan(cmd_sn=0xFFFFFFFF))
    for each in target.login_requests:
        assert each[8:14] == ISID
        assert each[24:28] == b"\xff" * 4


def test_a_key_sent_in_two_responses_ends_the_login() -> None:
    error = failure_of(Script(edit=add(1, ("TargetPortalGroupTag", "1"))))
    assert "second time" in error.what
