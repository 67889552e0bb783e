"""Every PDU in every phase of a discovery session, and streams that no target should send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import ProtocolError
from iscsid.protocol.codes import (
    AsyncEvent,
    Opcode,
    RejectReason,
    Stage,
)
from iscsid.protocol.pdu import (
    KNOWN_PDUS,
    AsyncMessage,
    KnownPdu,
    LoginResponse,
    LogoutResponse,
    NopIn,
    Pdu,
    RawPdu,
    Reject,
    RequestPdu,
    TextResponse,
    decode,
)
from tests.support.pdus import pdus
from tests.support.scripted_discovery import ANSWER, ISID, Conversation, Numbers


def target_pdus() -> list[KnownPdu]:
    numbers = Numbers(stat_sn=0xFFFFFFFF, exp_cmd_sn=7, max_cmd_sn=7)
    return [
        TextResponse(final=True, initiator_task_tag=1, **numbers),
        NopIn(**numbers),
        AsyncMessage(async_event=AsyncEvent.SCSI_EVENT, **numbers),
        Reject(reason=RejectReason.PROTOCOL_ERROR, **numbers),
        LogoutResponse(initiator_task_tag=2, **numbers),
        LoginResponse(transit=False, current_stage=Stage(0), isid=ISID, **numbers),
    ]


TAKEN = {
    "asking": {TextResponse, NopIn, AsyncMessage},
    "answered": {NopIn, AsyncMessage},
    "leaving": {TextResponse, NopIn, AsyncMessage, Reject, LogoutResponse},
}


def in_phase(phase: str) -> Conversation:
    conversation = Conversation()
    if phase != "asking":
        conversation.answer(ANSWER)
    if phase == "leaving":
        conversation.exchange.log_out()
    return conversation


@pytest.mark.parametrize("phase", TAKEN)
@pytest.mark.parametrize("pdu", target_pdus(), ids=lambda pdu: type(pdu).__name__)
def test_only_what_may_come_in_a_phase_is_taken(phase: str, pdu: KnownPdu) -> None:
    conversation = in_phase(phase)
    if type(pdu) in TAKEN[phase]:
        conversation.deliver(pdu)
    else:
        with pytest.raises(ProtocolError):
            conversation.deliver(pdu)


@pytest.mark.parametrize("phase", TAKEN)
@pytest.mark.parametrize("opcode", [0x01, 0x21, 0x25, 0x31, 0x3E])
def test_a_pdu_of_no_business_here_is_named(phase: str, opcode: int) -> None:
    pdu = RawPdu(header=bytes([opcode]) + bytes(47))
    with pytest.raises(ProtocolError, match=rf"a PDU \({pdu.opcode}\) came"):
        in_phase(phase).deliver(pdu)


REQUESTS = [kind.opcode for kind in KNOWN_PDUS.values() if issubclass(kind, RequestPdu)]


@pytest.mark.parametrize("opcode", REQUESTS)
def test_requests_are_not_taken_from_a_target(opcode: Opcode) -> None:
    request = decode(bytes([opcode]) + bytes(47), b"")
    with pytest.raises(ProtocolError, match=rf"a PDU \({opcode}\) came"):
        in_phase("answered").deliver(request)


@given(st.lists(pdus(), max_size=8), st.booleans())
def test_any_pdus_are_taken_or_one_documented_error(sent: list[Pdu], leaves: bool) -> None:
    conversation = Conversation()
    if leaves:
        conversation.exchange.log_out()
    for pdu in sent:
        if not conversation.exchange.bytes_wanted:
            break
        try:
            conversation.deliver(pdu)
        except ProtocolError as error:
            assert str(error).isprintable() and len(str(error)) < 400
            break
        conversation.sent()
    assert all(note.isprintable() for note in conversation.exchange.take_notes())


@given(st.binary(max_size=60), st.lists(st.integers(1, 30), max_size=6), st.booleans())
def test_where_an_answer_was_cut_does_not_matter(name: bytes, cuts: list[int], more: bool) -> None:
    text = ANSWER + b"TargetName=" + name + b"\0" + ANSWER.replace(b":a", b":b")
    whole = Conversation()
    whole.answer(text)
    cut = Conversation()
    rest = text
    for length in cuts:
        cut.answer(rest[:length], tag=1, final=False, more=more)
        rest = rest[length:]
    cut.answer(rest)
    assert {r.target_name: r for r in cut.exchange.take_records()} == {
        r.target_name: r for r in whole.exchange.take_records()
    }
    assert cut.exchange.take_notes() == whole.exchange.take_notes()
