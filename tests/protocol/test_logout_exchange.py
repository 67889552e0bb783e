"""The logout of a session that was only tried: in good order, with digests, and misunderstood."""

from __future__ import annotations

from typing import Any

import pytest

from iscsid.errors import MalformedPdu, ProtocolError
from iscsid.protocol.codes import (
    RESERVED_TAG,
    AsyncEvent,
    LogoutOutcome,
    LogoutReason,
    RejectReason,
)
from iscsid.protocol.digests import append_digest
from iscsid.protocol.logout_exchange import INITIATOR_TASK_TAG, LogoutExchange
from iscsid.protocol.parameters import AgreedParameters, Digest, Isid, LoginResult
from iscsid.protocol.pdu import (
    AsyncMessage,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    Pdu,
    Reject,
    TextResponse,
    decode,
)

NUMBERS: dict[str, Any] = {"stat_sn": 8, "exp_cmd_sn": 6, "max_cmd_sn": 9}
GOOD = LogoutResponse(initiator_task_tag=INITIATOR_TASK_TAG, **NUMBERS)
PING = NopIn(
    initiator_task_tag=RESERVED_TAG, target_transfer_tag=1, data=b"are you there?", **NUMBERS
)
REJECT = Reject(reason=RejectReason.PROTOCOL_ERROR, **NUMBERS)
EVENT = AsyncMessage(async_event=AsyncEvent.LOGOUT_REQUESTED, **NUMBERS)

BOTH = [(Digest.NONE, Digest.NONE), (Digest.CRC32C, Digest.NONE), (Digest.CRC32C, Digest.CRC32C)]


def exchange(header: Digest = Digest.NONE, data: Digest = Digest.NONE) -> LogoutExchange:
    agreed = AgreedParameters(header_digest=header, data_digest=data)
    return LogoutExchange(
        LoginResult(isid=Isid(bytes(6)), tsih=1, cmd_sn=5, exp_stat_sn=7, parameters=agreed)
    )


def answer(logout: LogoutExchange, octets: bytes) -> None:
    """Hand octets over as a driver would; some may be left when the exchange wants no more."""
    while octets and (wanted := logout.bytes_wanted):
        logout.receive_data(octets[:wanted])
        octets = octets[wanted:]


def sealed(pdu: Pdu, header: Digest, data: Digest) -> bytes:
    octets = pdu.encode()
    return append_digest(octets[:48], header) + (
        append_digest(octets[48:], data) if octets[48:] else b""
    )


def test_the_request_closes_the_session_with_the_numbers_of_the_login() -> None:
    logout = exchange()
    request = decode(logout.data_to_send(), b"")
    assert request == LogoutRequest(
        reason=LogoutReason.CLOSE_SESSION,
        initiator_task_tag=INITIATOR_TASK_TAG,
        cmd_sn=5,
        exp_stat_sn=7,
    )
    assert logout.data_to_send() == b"" and not logout.is_over


@pytest.mark.parametrize(("header", "data"), BOTH)
def test_a_good_answer_ends_it_whatever_was_on_its_way(header: Digest, data: Digest) -> None:
    logout = exchange(header, data)
    request = logout.data_to_send()
    assert request == append_digest(request[:48], header)
    for pdu in (PING, EVENT, GOOD):
        assert not logout.is_over
        answer(logout, sealed(pdu, header, data))
    assert (logout.is_over, logout.diagnostic, logout.bytes_wanted) == (True, "", 0)


@pytest.mark.parametrize(("place", "which"), [(48, "header"), (68, "data")])
def test_a_wrong_digest_is_not_taken_for_an_answer(place: int, which: str) -> None:
    octets = bytearray(sealed(PING, Digest.CRC32C, Digest.CRC32C))
    assert len(octets) == 48 + 4 + 16 + 4
    octets[place] ^= 1
    with pytest.raises(MalformedPdu, match=f"the {which} digest"):
        answer(exchange(Digest.CRC32C, Digest.CRC32C), bytes(octets))


@pytest.mark.parametrize(
    ("pdu", "diagnostic"),
    [
        (REJECT, "the target rejected our Logout Request: protocol error"),
        (
            LogoutResponse(
                response=LogoutOutcome.CLEANUP_FAILED,
                initiator_task_tag=INITIATOR_TASK_TAG,
                **NUMBERS,
            ),
            "the target answered our Logout Request: cleanup failed",
        ),
    ],
)
def test_a_bad_answer_ends_it_with_a_complaint(pdu: Pdu, diagnostic: str) -> None:
    logout = exchange()
    answer(logout, pdu.encode())
    assert (logout.is_over, logout.diagnostic) == (True, diagnostic)


@pytest.mark.parametrize(
    "pdu",
    [
        TextResponse(final=True, initiator_task_tag=INITIATOR_TASK_TAG, **NUMBERS),
        LogoutResponse(initiator_task_tag=INITIATOR_TASK_TAG + 1, **NUMBERS),
    ],
    ids=["another kind", "another's answer"],
)
def test_what_is_no_answer_to_ours_is_an_error(pdu: Pdu) -> None:
    with pytest.raises(ProtocolError):
        answer(exchange(), pdu.encode())
